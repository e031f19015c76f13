"""Guided fuzzing of the readers: ``python -m tests.fuzz [READER] [SECONDS]``, where atheris is installed (``pip install atheris``; it is no requirement).

Whatever the bytes, only the documented errors come out; outside the value's span no byte changes; there and back restores the file (issue 6).
The same is held by hypothesis in ``tests/property``, in every run of the tests; this one goes on for as long as it is told.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any

from palclient.errors import ConfigError, IniError, ServerNameError
from palclient.ini import read_ini
from palclient.licensefile import read_license_file
from palclient.models import ServerName
from palclient.optionsfile import read_options_file
from palclient.servername import parse_servername

VALUES = ("27000@new1,27000@new2,27000@new3", "@n")


def servername(raw: bytes) -> None:
    """N6: a value, whose canonical text is itself; or an error that points into the text."""
    text = raw.decode("utf-8", "surrogateescape")
    found = _result(text)
    if isinstance(found, ServerName):
        assert parse_servername(str(found)) == found
    else:
        assert 0 <= found.position <= len(text)
        assert all(char.isprintable() or char in "\n\t" for char in str(found))


def _result(text: str) -> ServerName | ServerNameError:
    try:
        return parse_servername(text)
    except ServerNameError as error:
        return error


def ini(raw: bytes) -> None:
    """R1: the splice, and back; with a key in the middle, too, which luck alone would not write."""
    half = len(raw) // 2
    for content in (raw, b"[A]\n" + raw[:half] + b"\nServerName" + raw[half:], raw[:half] + b"\n[B]\nSERVERNAME=" + raw[half:]):
        _there_and_back(content)


def _there_and_back(raw: bytes) -> None:
    try:
        document = read_ini(raw)
        entry = document.servername_entry()
    except ConfigError:
        return
    for value in VALUES:
        changed = document.spliced(entry, value)
        again = read_ini(changed)
        back = again.find(section=entry.section)
        assert back is not None
        assert back.value == value
        assert changed[: entry.span[0]] + changed[back.span[1] :] == raw[: entry.span[0]] + raw[entry.span[1] :]
        try:
            restored = again.spliced(back, entry.value)
        except IniError:
            continue  # an old value that is no plain text, which the journal keeps as bytes
        assert restored == raw


def license_file(raw: bytes) -> None:
    """Issue 6: a file with its problems, each at a place that is there."""
    try:
        found = read_license_file(raw)
    except ConfigError:
        return
    for problem in found.problems:
        assert problem.line >= 1
        assert problem.column >= 1
        found.explain(problem)


def options_file(raw: bytes) -> None:
    """Issue 6, as for license files."""
    try:
        found = read_options_file(raw)
    except ConfigError:
        return
    assert all(problem.line >= 1 and problem.column >= 1 for problem in found.problems)


READERS: dict[str, Callable[[bytes], None]] = {function.__name__: function for function in (servername, ini, license_file, options_file)}


def main(name: str = "ini", seconds: str = "60") -> None:
    """Fuzz one reader for so long.  Ends the process: with 0 when nothing was found, else with what was found in a file ``crash-...``."""
    try:
        atheris: Any = importlib.import_module("atheris")
    except ImportError:
        sys.exit("atheris is not installed here: pip install atheris")
    atheris.instrument_all()
    atheris.Setup([sys.argv[0], f"-max_total_time={seconds}", "-max_len=4096"], READERS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
