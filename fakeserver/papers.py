"""The files that a node reads at its start, and on ``reread``: its license file (T12) and its options file (G7)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fakeserver.pools import LicensedLine
from fakeserver.settings import Settings
from palclient.errors import LicenseFileError

if TYPE_CHECKING:
    from palclient.optionsfile import OptionsFile


@dataclass(frozen=True, slots=True, kw_only=True)
class License:
    """What a node may give away: the seats of each pool, and the lines behind them.  ``facts`` are for the journal."""

    features: Mapping[str, int]
    lines: Mapping[str, tuple[LicensedLine, ...]] = field(default_factory=dict)
    facts: Mapping[str, object] = field(default_factory=dict)


def read_license(settings: Settings) -> License:
    """The license of a node.  Blocks for the reading.

    Raises LicenseFileError with the field's number, the file, the line and the reason when the file is not for this node, or was altered (T12).
    """
    if settings.license_file is None:
        return License(features=settings.features)
    from fakeserver.licenses import licensed_lines, no_triad, not_served, objection  # a node without a license file does not load them
    from palclient.licensefile import read_license_file

    read = read_license_file(settings.license_file)
    refused = no_triad(read) or objection(read, settings.hostids)
    if refused is not None:
        raise LicenseFileError(str(refused), path=refused.path, line=refused.line)
    lines = licensed_lines(read)
    facts = {
        "file": read.path,
        "problems": [str(problem) for problem in read.problems],
        "not_served": [f"line {line}: {reason}" for line, reason in not_served(read)],
    }
    return License(features={feature: sum(line.seats for line in each) for feature, each in lines.items()}, lines=lines, facts=facts)


def read_options(path: str | None) -> OptionsFile | None:
    """The options file at this path; None for None.  Blocks for the reading.  Raises LicenseFileError when it cannot be read at all."""
    if path is None:
        return None
    from palclient.optionsfile import read_options_file  # a node without options does not load it

    return read_options_file(path)
