"""Naming new license servers in many INI files: first look, then write, and be able to go back (R).

    plan = plan_redirect(["/srv/clients"], to="27000@new1,27000@new2,27000@new3")
    print(plan.diff())
    report = plan.apply()
    undo_redirect(report.journal)

The splice of the value is ``IniDocument.spliced``; this package finds the files, replaces them whole, and keeps the journal.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from palclient.errors import ConfigError
from palclient.models import ServerName
from palclient.redirect.change import Wish, carried_out, foreseen, restorable, tidied
from palclient.redirect.crew import Crew, Late
from palclient.redirect.find import Found, Look, looked_at, nothing_found, place_of
from palclient.redirect.journal import Journal, default_path, read_journal
from palclient.redirect.values import FileChange, FileOutcome, RedirectReport, Splice, Status, Why
from palclient.servername import parse_servername

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import TypeVar

    Result = TypeVar("Result")
    Path = str | os.PathLike[str]
    Progress = Callable[[int, int], None]

__all__ = [
    "FileChange", "FileOutcome", "RedirectPlan", "RedirectReport", "Splice", "Status", "Why", "plan_redirect", "plan_undo", "undo_redirect",
]  # fmt: skip

JOBS = 8
PATH_TIMEOUT_S = 10.0
_JOBS_LIMIT = 64  # threads that work; more do not make a disk faster
_LONGEST_S = 3600


def plan_redirect(
    paths: Path | Iterable[Path],
    *,
    to: str | ServerName | None = None,
    port: int | None = None,
    only_from: str | ServerName | None = None,
    add: str | None = None,
    jobs: int = JOBS,
    path_timeout: float = PATH_TIMEOUT_S,
    on_progress: Progress | None = None,
) -> RedirectPlan:
    """Find out what is to change in which files, and write nothing.

    Args:
        paths: files, folders (every ``*.ini`` below them), and patterns (``*``, ``?``, ``[...]``, ``**`` for folders at any depth).
        to: the SERVERNAME to write, ``27000@lic1,27000@lic2,27000@lic3`` or one server.
        port: in the place of ``to``: keep each file's hosts, and give all of them this port (1 to 65535).
        only_from: leave files alone whose SERVERNAME is not this one.
        add: the section into which a file gets SERVERNAME that has none; a named file that does not exist is made.
        jobs: how many files are looked at at the same time, 1 to 64.
        path_timeout: seconds after which a file or folder that does not answer is given up.
        on_progress: is called on this thread with how many paths are done and how many are known.

    Blocks for reading all files; a silent share costs at most ``path_timeout``.

    Raises:
        ServerNameError: ``to`` or ``only_from`` is no SERVERNAME (R2).
        ConfigError: arguments that do not go together, or out of range.
    """
    wish = _wish(to, port, only_from, add)
    named = [Look(order=order, path=path, is_named=True) for order, path in enumerate(_paths(paths))]
    limits = _Limits(jobs=jobs, path_timeout=path_timeout)
    found = _found(named, wish, limits, on_progress)
    empty = {look.order for look in named} - {order for order, _ in found}
    found += [(order, nothing_found(named[order])) for order in empty]
    found.sort(key=lambda pair: (pair[0], pair[1].path))
    return RedirectPlan(results=tuple(_once(found)), run=os.urandom(4).hex())


def plan_undo(journal: Path, *, jobs: int = JOBS, path_timeout: float = PATH_TIMEOUT_S, on_progress: Progress | None = None) -> RedirectPlan:
    """Find out what undoing the run of ``journal`` would change, and write nothing (R5).  Blocks for reading its files.

    Raises:
        ConfigError: the journal cannot be read, or is none; or arguments out of range.
    """
    run, changes = read_journal(os.fsdecode(journal))
    limits = _Limits(jobs=jobs, path_timeout=path_timeout)
    results = _at_once([change.reversed() for change in changes], lambda change, _: restorable(change), limits, on_progress)
    return RedirectPlan(results=tuple(results), run=run, undone=changes)


def undo_redirect(journal: Path, *, jobs: int = JOBS, path_timeout: float = PATH_TIMEOUT_S, on_progress: Progress | None = None) -> RedirectReport:
    """Put back each file that still has what the run of ``journal`` wrote (R5); those that somebody has changed since are left alone and reported.

    It may be broken off and done again.  Arguments, blocking and errors as for ``plan_undo``.
    """
    return plan_undo(journal, jobs=jobs, path_timeout=path_timeout).apply(jobs=jobs, path_timeout=path_timeout, on_progress=on_progress)


@dataclass(frozen=True, slots=True, kw_only=True)
class RedirectPlan:
    """What is to happen to each file.

    ``results`` has a ``FileChange`` for each that is to be written, and a ``FileOutcome`` for each that is settled already.  ``run`` is a name for the run.  ``undone`` has the changes of the run that is being undone; None: nothing is being undone.
    """

    results: tuple[FileChange | FileOutcome, ...]
    run: str
    undone: tuple[FileChange, ...] | None = None

    @property
    def changes(self) -> tuple[FileChange, ...]:
        """The files that are to be written."""
        return tuple(result for result in self.results if isinstance(result, FileChange))

    @property
    def outcomes(self) -> tuple[FileOutcome, ...]:
        """The files that are settled: right already, skipped, failed."""
        return tuple(result for result in self.results if isinstance(result, FileOutcome))

    def foreseen(self) -> tuple[FileOutcome, ...]:
        """What ``apply`` would report if every change can be written; a warning tells where that is in doubt."""
        return tuple(foreseen(result) if isinstance(result, FileChange) else result for result in self.results)

    def diff(self) -> str:
        """The changes as a unified diff, for people.  Does not block."""
        return "".join(change.hunk for change in self.changes)

    def apply(
        self, *, journal: Path | None = None, jobs: int = JOBS, path_timeout: float = PATH_TIMEOUT_S, on_progress: Progress | None = None
    ) -> RedirectReport:
        """Write the changes.  A file that was changed since the plan was made is skipped (R9); a failure does not end the run (R6).

        ``journal`` is a new file (default: one in the user's state directory).  There is none when nothing is to be written, nor for an undo, which can be
        done again.  ``jobs``, ``path_timeout`` and ``on_progress`` as for ``plan_redirect``.  Blocks for writing all files.

        Raises:
            ConfigError: the journal cannot be written, and no file was changed.  Or arguments out of range.
        """
        limits = _Limits(jobs=jobs, path_timeout=path_timeout)
        if self.undone is not None:
            _at_once(self.undone, lambda change, _: tidied(change, self.run), limits)
        if not self.changes:
            return RedirectReport(outcomes=self.outcomes)
        record = (
            None
            if self.undone is not None
            else Journal.begun(os.path.abspath(os.fsdecode(journal or default_path(self.run))), self.run, self.changes)
        )
        try:
            written = iter(_at_once(self.changes, lambda change, is_wanted: carried_out(change, self.run, is_wanted), limits, on_progress, record))
        finally:
            notes = record.close() if record is not None else ()
        outcomes = tuple(next(written) if isinstance(result, FileChange) else result for result in self.results)
        return RedirectReport(outcomes=outcomes, journal=None if record is None else record.path, notes=notes)


# ------------------------------------------------------------------------------------------------------------ arguments


@dataclass(frozen=True, slots=True, kw_only=True)
class _Limits:
    """How many files at a time, and how many seconds for each."""

    jobs: int
    path_timeout: float

    def __post_init__(self) -> None:
        if not 1 <= self.jobs <= _JOBS_LIMIT:
            raise ConfigError(f"jobs: is {self.jobs}, and may be 1 to {_JOBS_LIMIT}.")
        if not 0 < self.path_timeout <= _LONGEST_S:
            raise ConfigError(f"path timeout: is {self.path_timeout} s, and may be up to {_LONGEST_S} s, and more than none.")


def _wish(to: str | ServerName | None, port: int | None, only_from: str | ServerName | None, add: str | None) -> Wish:
    if (to is None) == (port is None):
        raise ConfigError("Say either which SERVERNAME to write (to), or which port (port).")
    if port is not None and not 1 <= port <= 65535:
        raise ConfigError(f"port: is {port}, and ports go from 1 to 65535.")
    if add is not None and (port is not None or only_from is not None):
        raise ConfigError("A SERVERNAME that is added has no old value: add goes with neither port nor only_from.")
    if add is not None and (not add.strip() or not (add.isascii() and add.isprintable()) or "]" in add):
        raise ConfigError(f"add: {add!a} cannot be the name of a section.")
    return Wish(to=_servername(to, "--to"), port=port, only_from=_servername(only_from, "--from"), add=None if add is None else add.strip())


def _servername(value: str | ServerName | None, source: str) -> ServerName | None:
    return parse_servername(value, source=source) if isinstance(value, str) else value


def _paths(paths: Path | Iterable[Path]) -> list[str]:
    return [os.fsdecode(path) for path in ([paths] if isinstance(paths, str | os.PathLike) else paths)]


# ------------------------------------------------------------------------------------------------------------ many at once


def _found(named: list[Look], wish: Wish, limits: _Limits, on_progress: Progress | None) -> list[tuple[int, FileChange | FileOutcome]]:
    """Every look that the named ones lead to, with the order of its name."""
    crew: Crew[Look, Found] = Crew(
        lambda look, _: looked_at(look, wish), jobs=limits.jobs, timeout_s=limits.path_timeout, place_of=lambda look: place_of(look.path)
    )
    results: list[tuple[int, FileChange | FileOutcome]] = []
    known = len(named)
    for look in named:
        crew.add(look)
    for ended, (look, found) in enumerate(crew.results(), start=1):
        if isinstance(found, Late):
            results.append((look.order, _silent(look.path, found, limits)))
        else:
            known += len(found.looks)
            for further in found.looks:
                crew.add(further)
            results += [(look.order, result) for result in found.results]
        if on_progress is not None:
            on_progress(ended, known)
    return results


def _at_once(
    changes: Sequence[FileChange],
    work: Callable[[FileChange, Callable[[], bool]], Result],
    limits: _Limits,
    on_progress: Progress | None = None,
    record: Journal | None = None,
) -> list[Result | FileOutcome]:
    """The result of ``work`` for each of ``changes``, in their order."""
    crew: Crew[tuple[int, FileChange], Result] = Crew(
        lambda task, is_wanted: work(task[1], is_wanted),
        jobs=limits.jobs,
        timeout_s=limits.path_timeout,
        place_of=lambda task: place_of(task[1].target),
    )
    for task in enumerate(changes):
        crew.add(task)
    results: dict[int, Result | FileOutcome] = {}
    for (number, change), result in crew.results():
        results[number] = _silent(change.path, result, limits) if isinstance(result, Late) else result
        if record is not None:
            record.note(number, results[number])  # type: ignore[arg-type]  # only writing is recorded, which gives outcomes
        if on_progress is not None:
            on_progress(len(results), len(changes))
    return [results[number] for number in range(len(changes))]


def _silent(path: str, late: Late, limits: _Limits) -> FileOutcome:
    reason = f"no answer within {limits.path_timeout:g} s" if late.was_tried else "not tried, since nothing else there has answered"
    return FileOutcome(path=path, status=Status.FAILED, why=Why.SILENT if late.was_tried else Why.UNTRIED, reason=reason)


def _once(found: Iterable[tuple[int, FileChange | FileOutcome]]) -> Iterator[FileChange | FileOutcome]:
    """Each file once, under the first of its names: two changes of one file would be in each other's way."""
    seen: set[str] = set()
    for _, result in found:
        name = os.path.normcase(result.target if isinstance(result, FileChange) else os.path.abspath(result.path))
        if name not in seen:
            seen.add(name)
            yield result
