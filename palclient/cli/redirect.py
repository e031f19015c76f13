"""``palclient redirect``: other servers in many INI files, and the way back (R).  Also the door of the one-file tool."""

from __future__ import annotations

import argparse
import os
import re
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palclient.cli.redirect_screen import Bar, open_table, say_report, summarize, write_table
from palclient.cli.screen import complain, say
from palclient.errors import ConfigError, TriadUnavailable

if TYPE_CHECKING:
    from palclient.redirect import RedirectPlan, RedirectReport

OK, FAILED, NEEDS_CHANGE, NOTHING_FOUND = 0, 1, 3, 4
_LIST_LIMIT_BYTES = 64 << 20  # a list of a hundred thousand long paths has 10 MB

EPILOG = """exit codes: 0 every file is as it should be; 1 some file failed, or was changed by somebody else meanwhile; 2 wrong usage, or a SERVERNAME that is
none; 3 --check found files that need changing; 4 no file with SERVERNAME was found; 5, 6 --verify: no server answers, or none is master"""


def add_to(commands: Any) -> None:
    """Declare the command and its options."""
    declare(commands.add_parser("redirect", help="name other servers in many INI files, and be able to go back", epilog=EPILOG))


def declare(parser: argparse.ArgumentParser) -> None:
    """The options, for the command and for the one-file tool."""
    parser.add_argument("paths", metavar="PATH", nargs="*", help="files, folders (all *.ini below them), patterns such as 'C:\\Users\\*\\app\\*.ini'")
    parser.add_argument(
        "--list", metavar="FILE", dest="lists", action="append", default=[], help="a file with a path on each line; - reads them from stdin"
    )
    parser.add_argument("--to", metavar="SPEC", help="the SERVERNAME to write: 27000@lic1,27000@lic2,27000@lic3, or one server")
    parser.add_argument("--port", metavar="N", type=_whole(1, 65535), help="in the place of --to: keep each file's hosts, and change their ports")
    parser.add_argument("--from", metavar="SPEC", dest="only_from", help="rewrite only files that name SPEC now")
    parser.add_argument("--add", metavar="SECTION", help="give files without SERVERNAME one in this section; make a named file that is missing")
    parser.add_argument("--undo", metavar="JOURNAL", help="put back what the run of this journal changed")
    parser.add_argument("--dry-run", action="store_true", help="show what would change, and write nothing")
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 3 if files need changing")
    parser.add_argument("--verify", action="store_true", help="first ask the new servers, and write nothing unless one is master")
    parser.add_argument("--force", action="store_true", help="write also when --verify finds no master")
    parser.add_argument("--journal", metavar="FILE", help="where to keep what is needed to go back (default: a new file in your state directory)")
    parser.add_argument("--report", metavar="FILE.csv", help="a table of all files")
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.add_argument("--jobs", metavar="N", type=_whole(1, 64), default=8, help="files at a time (default 8)")
    parser.add_argument("--path-timeout", metavar="S", type=_seconds, default=10.0, help="seconds until a silent path is given up (default 10)")
    parser.set_defaults(run=run, parser=parser)


def main(argv: list[str] | None = None) -> int:
    """The one-file tool: the same without the word ``redirect``, which may be said all the same (R9)."""
    from palclient.cli import guarded

    words = sys.argv[1:] if argv is None else argv
    file, python = Path(sys.argv[0]).name, "py -3" if sys.platform == "win32" else "python3"
    prog = f"{python} {file}" if file.endswith(".pyz") else "palclient redirect"
    parser = argparse.ArgumentParser(prog=prog, description="Name other license servers in many INI files.", epilog=EPILOG)
    declare(parser)
    is_said = words[:1] == ["redirect"] and not os.path.lexists("redirect")
    return guarded(run, parser.parse_args(words[1:] if is_said else words))


def run(options: argparse.Namespace) -> int:
    """Plan, verify, write, tell."""
    _refuse_nonsense(options)
    with open_table(options.report) if options.report else nullcontext() as table:
        plan = _plan(options)
        if options.verify:
            _verify(plan, options)
        report = _as_if(plan) if options.dry_run or options.check else _apply(plan, options)
        trouble = write_table(table, report) if table is not None else ""
        _tell(report, plan, options)  # also when there is no room for the table: the files have been changed
    if trouble:
        complain(f"{options.report}: the report is not complete: {trouble}. All else is as said above.")
        return FAILED
    return _exit_code(report, options)


def _tell(report: RedirectReport, plan: RedirectPlan, options: argparse.Namespace) -> None:
    if options.json:
        say_report(report, plan if options.dry_run else None)
        return
    if options.dry_run and plan.changes:
        say(plan.diff().removesuffix("\n"))
    is_trial = options.dry_run or options.check
    summarize(report, command=options.parser.prog, is_undo=options.undo is not None, is_trial=is_trial, to_stdout=not options.dry_run)


def _refuse_nonsense(options: argparse.Namespace) -> None:
    """Wrong usage, and a SPEC that is no SERVERNAME, end here with exit code 2, before any file is looked at (R6)."""
    from palclient.servername import parse_servername

    chosen = [name for name in ("--to", "--port", "--undo") if getattr(options, name[2:]) is not None]
    if len(chosen) != 1:
        options.parser.error("say one of --to, --port and --undo" if not chosen else f"{' and '.join(chosen)} do not go together")
    if options.undo is None:
        if not options.paths and not options.lists:
            options.parser.error("name at least one file, folder or pattern, or a --list")
        for name, value in (("--to", options.to), ("--from", options.only_from)):
            if value is not None:
                parse_servername(value, source=name)
        return
    others = {"PATH": options.paths, "--list": options.lists, "--from": options.only_from, "--add": options.add, "--journal": options.journal}
    wrong = [name for name, value in others.items() if value]
    if wrong or options.verify:
        options.parser.error(f"--undo takes all from its journal: leave out {', '.join(wrong or ['--verify'])}")


def _plan(options: argparse.Namespace) -> RedirectPlan:
    from palclient.redirect import plan_redirect, plan_undo

    bar = Bar("looking")
    limits: dict[str, Any] = {"jobs": options.jobs, "path_timeout": options.path_timeout, "on_progress": bar}
    try:
        if options.undo is not None:
            return plan_undo(options.undo, **limits)
        paths = [*options.paths, *(path for name in options.lists for path in listed(name))]
        return plan_redirect(paths, to=options.to, port=options.port, only_from=options.only_from, add=options.add, **limits)
    finally:
        bar.wipe()


def _verify(plan: RedirectPlan, options: argparse.Namespace) -> None:
    """R3: each SERVERNAME that would be written is asked, that of ``--to`` in any case."""
    from palclient.cli.verify import refuse_without_master
    from palclient.servername import parse_servername

    try:
        for value in [options.to] if options.to is not None else dict.fromkeys(change.new for change in plan.changes):
            refuse_without_master(parse_servername(value))
    except TriadUnavailable as error:
        if not options.force:
            raise
        complain(f"warning: {error.message}\nGoing on all the same (--force).")


def _apply(plan: RedirectPlan, options: argparse.Namespace) -> RedirectReport:
    from palclient.redirect.journal import default_path

    bar = Bar("putting back" if options.undo is not None else "writing")
    journal = options.journal or default_path(plan.run)
    if plan.changes and options.undo is None:
        complain(f"Journal: {journal}")  # known before the first file is touched, in case the run is killed
    try:
        return plan.apply(journal=journal, jobs=options.jobs, path_timeout=options.path_timeout, on_progress=bar)
    finally:
        bar.wipe()


def _as_if(plan: RedirectPlan) -> RedirectReport:
    """The report of a run that writes nothing: every change counts as made."""
    from palclient.redirect import RedirectReport

    return RedirectReport(outcomes=plan.foreseen())


def _exit_code(report: RedirectReport, options: argparse.Namespace) -> int:
    from palclient.redirect import Status

    if not report.is_complete:
        return FAILED
    if options.check and report.of(Status.CHANGED):
        return NEEDS_CHANGE
    return OK if report.found_any or options.undo is not None else NOTHING_FOUND


def listed(name: str) -> list[str]:
    r"""The paths of a list file: a line each, in UTF-8 or, as PowerShell writes them, UTF-16; or with NUL bytes between, as ``find -print0`` writes them.

    Blanks around a path and one pair of double quotes are dropped, but between NUL bytes nothing is: there the name is exact.  Raises ``ConfigError``.
    """
    try:
        raw = sys.stdin.buffer.read(_LIST_LIMIT_BYTES + 1) if name == "-" else _read(name)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise ConfigError(f"{name}: the list cannot be read: {reason}.", path=name) from error
    if len(raw) > _LIST_LIMIT_BYTES:
        raise ConfigError(f"{name}: the list has more than {_LIST_LIMIT_BYTES} bytes.", path=name)
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        lines = raw.decode("utf-16", "replace").splitlines()
    elif b"\0" in raw:
        return [os.fsdecode(piece) for piece in raw.split(b"\0") if piece]
    else:
        lines = [os.fsdecode(piece) for piece in raw.removeprefix(b"\xef\xbb\xbf").splitlines()]
    trimmed = [line.strip() for line in lines]
    return [line[1:-1] if len(line) > 1 and line[0] == line[-1] == '"' else line for line in trimmed if line]


def _read(name: str) -> bytes:
    with open(name, "rb") as file:
        return file.read(_LIST_LIMIT_BYTES + 1)


def _whole(least: int, most: int) -> Any:
    def whole_number(text: str) -> int:
        if not re.fullmatch("[0-9]{1,9}", text) or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!a} is no whole number from {least} to {most}")
        return int(text)

    return whole_number


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text!a} is no number of seconds, more than 0 and at most 3600")
    return seconds
