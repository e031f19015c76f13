"""The journal of a run: what was in every file, flushed to the disk before the first of them is touched (R5).

One JSON object a line.  The first is the header; then one for each file that is to change, with the bytes that give way and the digests of the file before
and after; the rest says what became of them.  A run that was killed leaves those last ones out, and the digests tell.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from palclient.errors import ConfigError
from palclient.redirect.values import FileChange, FileOutcome, Splice, Status, Why

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any, BinaryIO

_FORMAT = 1
_LINE_LIMIT_BYTES = 8 << 20  # an INI file has 1 MiB at most; its bytes stand here twice at most, in base64


class Journal:
    """A journal that is being written."""

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._trouble: OSError | None = None

    @classmethod
    def begun(cls, path: str, run: str, changes: Iterable[FileChange]) -> Journal:
        """A new journal with all that is to be changed, flushed to the disk.  Raises ``ConfigError`` if it cannot be written; then there is none."""
        try:
            os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o600)
        except (OSError, ValueError) as error:
            raise _unwritable(path, error) from error
        header = {"palclient_redirect": _FORMAT, "run": run, "began": datetime.now(UTC).isoformat(timespec="seconds")}
        lines = [header, *(_intent(number, change) for number, change in enumerate(changes))]
        try:
            _write(descriptor, b"".join(_line(line) for line in lines))
            os.fsync(descriptor)
        except OSError as error:
            os.close(descriptor)
            os.unlink(path)
            raise _unwritable(path, error) from error
        return cls(path, descriptor)

    def note(self, number: int, outcome: FileOutcome) -> None:
        """What became of the change of this number.  If that cannot be written, the digests still tell; see ``close``."""
        if outcome.why is Why.SILENT:
            return  # it may still be written
        try:
            _write(self._descriptor, _line({"n": number, "became": "written" if outcome.status is Status.CHANGED else "untouched"}))
        except OSError as error:
            self._trouble = error

    def close(self) -> tuple[str, ...]:
        """Done; gives what is worth telling, in sentences."""
        os.close(self._descriptor)
        if self._trouble is None:
            return ()
        return (f"The journal {self.path} is not complete ({self._trouble.strerror}); undoing works from what it has.",)


def default_path(run: str) -> str:
    """Where a journal goes that nobody named: a new file in the user's state directory (R8)."""
    began = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    return str(_state_directory() / "redirect" / f"{began}-{run}.jsonl")


def _state_directory() -> Path:
    """As platformdirs has it, which the one-file tool does not bring along (R9)."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "palclient"
    elif sys.platform == "darwin":  # noqa: RET505  # mypy takes what follows a bare `if` for unreachable
        return Path.home() / "Library" / "Application Support" / "palclient"
    else:
        return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "palclient"


def read_journal(path: str) -> tuple[str, tuple[FileChange, ...]]:
    """The name of the run, and the changes that it may have written.  A last line that was cut short is passed over: what it speaks of was not begun.

    Raises:
        ConfigError: the file cannot be read, or is no journal.
    """
    run = ""
    changes: dict[int, FileChange] = {}
    at = 0
    try:
        with open(path, "rb") as file:
            for at, raw in enumerate(_whole_lines(file), start=1):
                if at == 1:
                    run = _run(json.loads(raw))
                else:
                    _take_in(json.loads(raw), changes)
    except OSError as error:
        message = f"{path}: the journal cannot be read: {error.strerror or error}."
        raise ConfigError(message, path=path, advice="Check the name; each run prints where its journal is.") from error
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise _no_journal(path, at) from error
    if not run:
        raise _no_journal(path, 1)
    return run, tuple(changes.values())


def _whole_lines(file: BinaryIO) -> Iterator[bytes]:
    while (raw := file.readline(_LINE_LIMIT_BYTES)).endswith(b"\n"):
        yield raw
    if len(raw) == _LINE_LIMIT_BYTES:
        raise ValueError("no line is so long")


def _run(line: Any) -> str:
    run = line["run"]
    if line["palclient_redirect"] != _FORMAT or not isinstance(run, str) or not run.isalnum():
        raise ValueError("another format")
    return run


def _take_in(line: Any, changes: dict[int, FileChange]) -> None:
    number = line["n"]
    if not isinstance(number, int):
        raise TypeError("a number of another type")
    if "became" not in line:
        changes[number] = _change(line)
    elif line["became"] == "untouched":
        changes.pop(number, None)
    elif line["became"] != "written":
        raise ValueError("an unknown word")


def _no_journal(path: str, line: int) -> ConfigError:
    advice = "Name the file that the run printed. An empty one is of a run that was ended before it changed anything."
    return ConfigError(f"{path}, line {line}: this is no journal of palclient redirect.", path=path, line=line, advice=advice)


def _unwritable(path: str, error: OSError | ValueError) -> ConfigError:
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    is_taken = os.path.lexists(path)
    advice = "Each run needs a journal of its own: name a new file." if is_taken else "Name another file with --journal, on a disk with room."
    return ConfigError(f"{path}: the journal cannot be written: {reason}. No INI file was changed.", path=path, advice=advice)


def _intent(number: int, change: FileChange) -> dict[str, object]:
    return {
        "n": number,
        "path": change.path,
        "target": change.target,
        "line": change.line,
        "old": change.old,
        "new": change.new,
        "old_sha256": change.old_sha256,
        "new_sha256": change.new_sha256,
        "splices": [[splice.start, _text(splice.old), _text(splice.new)] for splice in change.splices],
    }


def _change(line: Any) -> FileChange:
    texts = {name: line[name] for name in ("path", "target", "old", "new")}
    digests = {name: line[name] for name in ("old_sha256", "new_sha256")}
    if not all(isinstance(value, str) for value in texts.values()) or not isinstance(line["line"], int):
        raise TypeError("a member of another type")
    if not all(value is None or isinstance(value, str) for value in digests.values()) or set(digests.values()) == {None}:
        raise TypeError("a digest of another type")
    return FileChange(line=line["line"], splices=tuple(_splice(*splice) for splice in line["splices"]), **texts, **digests)


def _splice(start: object, old: object, new: object) -> Splice:
    if not (isinstance(start, int) and start >= 0 and isinstance(old, str) and isinstance(new, str)):
        raise TypeError("a splice of another type")
    return Splice(start=start, old=base64.b64decode(old, validate=True), new=base64.b64decode(new, validate=True))


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


def _line(value: Mapping[str, object]) -> bytes:
    return json.dumps(value).encode("ascii") + b"\n"


def _write(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
