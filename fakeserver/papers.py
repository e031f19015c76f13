"""The files that a node reads at its start, and on ``reread``: its options file (G7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from palclient.optionsfile import OptionsFile


def read_options(path: str | None) -> OptionsFile | None:
    """The options file at this path; None for None.  Blocks for the reading.  Raises LicenseFileError when it cannot be read at all."""
    if path is None:
        return None
    from palclient.optionsfile import read_options_file  # a node without options does not load it

    return read_options_file(path)
