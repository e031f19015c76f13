"""How commands speak: data to stdout, talk to stderr, colour only where a person looks."""

from __future__ import annotations

import json
import os
import sys
from typing import TextIO

STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


def has_colour(stream: TextIO | None) -> bool:
    """Whether a person looks who wants colour: a terminal, and neither NO_COLOR nor a dumb one."""
    return stream is not None and stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def styled(text: str, style: str, stream: TextIO | None) -> str:
    """The text in a style of ``STYLES`` where ``stream`` shows colour, plain elsewhere."""
    return f"\x1b[{STYLES[style]}m{text}\x1b[0m" if has_colour(stream) else text


def say(text: str = "") -> None:
    """A line of the result, on stdout; characters that the terminal's encoding lacks are replaced and no reason to fail."""
    _print(text, sys.stdout)


def say_json(value: object) -> None:
    """The result for a machine, on stdout."""
    print(json.dumps(value, indent=2), flush=True)


def complain(text: str) -> None:
    """Talk, on stderr."""
    _print(text, sys.stderr)


def _print(text: str, stream: TextIO | None) -> None:
    if stream is None:  # whoever started this closed it
        return
    encoding = stream.encoding or "ascii"
    print(text.encode(encoding, "replace").decode(encoding), file=stream, flush=True)
