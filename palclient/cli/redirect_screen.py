"""What ``palclient redirect`` shows: the bar, the summary, the tables for machines (R6)."""

from __future__ import annotations

import csv
import os
import shutil
import sys
from collections import Counter
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from palclient.cli.screen import complain, say, say_json
from palclient.errors import ConfigError
from palclient.redirect import FileOutcome, Status, Why

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TextIO

    from palclient.redirect import RedirectPlan, RedirectReport

_REDRAW_S = 0.1
_SHOWN = 20  # files of each kind that are named; the table for machines has all of them
_COLUMNS = ("path", "status", "why", "reason", "line", "old", "new", "warnings")
_HEAD = ",".join(_COLUMNS).encode("utf-8-sig")
_COMMON = {Why.NO_SERVERNAME: "no SERVERNAME", Why.OTHER_SERVERNAME: "another SERVERNAME than --from names"}  # in many files of a healthy fleet


class Bar:
    """A progress bar on stderr, where a person looks.  Call it with how many are done and of how many."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._began = monotonic()
        self._drawn = -_REDRAW_S
        self._is_seen = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"

    def __call__(self, done: int, of: int) -> None:
        """Draw it, at most ten times a second."""
        now = monotonic()
        if not self._is_seen or (now - self._drawn < _REDRAW_S and done != of):
            return
        self._drawn = now
        print(f"\r{self._line(done, of, now - self._began)}", end="", file=sys.stderr, flush=True)

    def wipe(self) -> None:
        """Leave the line empty."""
        if self._is_seen:
            print(f"\r{' ' * (shutil.get_terminal_size().columns - 1)}\r", end="", file=sys.stderr, flush=True)

    def _line(self, done: int, of: int, took_s: float) -> str:
        left_s = took_s / done * (of - done) if done else 0.0
        tail = f" {done}/{of}" + (f", {left_s:.0f} s left" if took_s > 1 and done < of else "")
        width = max(4, min(40, shutil.get_terminal_size().columns - len(self._what) - len(tail) - 6))
        full = width * done // max(of, 1)
        return f"{self._what} [{'#' * full}{'.' * (width - full)}]{tail}    "


def shown(text: str) -> str:
    """A path or a reason on a terminal: nothing in a file's name may move the cursor."""
    return "".join(char if char.isprintable() or char == "\n" else ascii(char)[1:-1] for char in text)


def summarize(report: RedirectReport, *, command: str, is_undo: bool = False, is_trial: bool = False, to_stdout: bool = True) -> None:
    """What was skipped and what failed on stderr, then the numbers.  ``command`` is what a person calls to go back."""
    warnings = [(outcome.path, warning) for outcome in report.outcomes for warning in outcome.warnings]
    for path, warning in warnings[:_SHOWN]:
        complain(shown(f"warning: {path}, line {warning.line}: {warning.message}"))
    _count_rest("warning", len(warnings))
    _name([outcome for outcome in report.of(Status.SKIPPED) if outcome.why not in _COMMON or len(report.outcomes) == 1], "skipped")
    _name(report.of(Status.FAILED), "failed")
    for note in report.notes:
        complain(f"note: {note}")
    speak = say if to_stdout else complain
    speak(_numbers(report, is_undo=is_undo, is_trial=is_trial))
    if report.journal is not None and any(outcome.status is Status.CHANGED or outcome.why is Why.SILENT for outcome in report.outcomes):
        speak(shown(f"To go back: {command} --undo {_quoted(report.journal)}"))


def _name(outcomes: Iterable[FileOutcome], word: str) -> None:
    found = list(outcomes)
    for outcome in found[:_SHOWN]:
        line = "" if outcome.line is None or "line " in outcome.reason else f", line {outcome.line}"
        complain(shown(f"{word}: {outcome.path}{line}: {outcome.reason}"))
    _count_rest(word, len(found))


def _count_rest(word: str, count: int) -> None:
    if count > _SHOWN:
        complain(f"{word}: and {count - _SHOWN} more; --report FILE.csv or --json names all of them")


def _numbers(report: RedirectReport, *, is_undo: bool, is_trial: bool) -> str:
    changed = ("to be put back" if is_trial else "put back") if is_undo else ("to be changed" if is_trial else "changed")
    right = "as before already" if is_undo else "already right"
    parts = [f"{len(report.of(Status.CHANGED))} {changed}", f"{len(report.of(Status.RIGHT))} {right}"]
    skipped = report.of(Status.SKIPPED)
    reasons = Counter(_COMMON.get(outcome.why, outcome.reason) if outcome.why else outcome.reason for outcome in skipped)
    why = "; ".join(f"{count} {reason}" for reason, count in reasons.most_common(3)) + ("; ..." if len(reasons) > 3 else "")
    parts.append(f"{len(skipped)} skipped" + (f" ({shown(why)})" if skipped else ""))
    parts.append(f"{len(report.of(Status.FAILED))} failed")
    count = len(report.outcomes)
    return f"{count} file{'s' if count != 1 else ''}: " + ", ".join(parts) + "."


def _quoted(path: str) -> str:
    return f'"{path}"' if " " in path else path


def open_table(path: str) -> TextIO:
    """The file for the table, before anything is done: a run whose result cannot be kept is not begun.  Raises ``ConfigError``.

    Only an earlier table is overwritten: a slip of the pen must not cost an INI file or the journal.
    """
    try:
        if Path(path).is_file():
            with open(path, "rb") as file:
                head = file.read(len(_HEAD))
            if head not in {b"", _HEAD}:
                raise FileExistsError(None, "there is such a file, and it is no report")
        return open(path, "w", encoding="utf-8-sig", errors="backslashreplace", newline="")
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise ConfigError(f"{path}: the report cannot be written: {reason}. No INI file was changed.", path=path) from error


def write_table(file: TextIO, report: RedirectReport) -> str:
    """One line for each file; then the table is closed.  Gives what the system says if it cannot be written, else nothing.

    With a byte order mark, since it is opened in spreadsheets.
    """
    try:
        with file:
            table = csv.writer(file)
            table.writerow(_COLUMNS)
            table.writerows(_row(outcome).values() for outcome in report.outcomes)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def say_report(report: RedirectReport, plan: RedirectPlan | None = None) -> None:
    """Everything, for a machine."""
    numbers = {status.name.lower(): len(report.of(status)) for status in Status}
    files = [_row(outcome) | {"warnings": [warning.message for warning in outcome.warnings]} for outcome in report.outcomes]
    value = {**numbers, "journal": report.journal, "notes": list(report.notes), "files": files}
    say_json(value if plan is None else value | {"diff": plan.diff()})


def _row(outcome: FileOutcome) -> dict[str, object]:
    warnings = " ".join(f"line {warning.line}: {warning.message}" for warning in outcome.warnings)
    why = outcome.why.value if outcome.why else ""
    values = (outcome.path, outcome.status.value, why, outcome.reason, outcome.line, outcome.old, outcome.new, warnings)
    return dict(zip(_COLUMNS, values, strict=True))
