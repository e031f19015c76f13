"""plan_redirect, apply, undo_redirect: what is changed in which file, what is left alone, and the way back."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from difflib import unified_diff
from itertools import product
from pathlib import Path
from threading import Event, get_ident
from time import monotonic, sleep

import pytest

from palclient.errors import ConfigError, ServerNameError
from palclient.redirect import FileOutcome, RedirectReport, Status, Why, plan_redirect, plan_undo, undo_redirect
from palclient.redirect.change import carried_out
from palclient.redirect.crew import SILENCES, Crew, Late
from palclient.redirect.find import place_of
from tests.privileges import NOBODY, as_nobody, give_away, named_pipe, open_folder, room_for

OLD, NEW = "27000@old1,27000@old2,27000@old3", "27000@new1,27000@new2,27000@new3"
TEXT = f"; by hand\r\n[License]\r\nSERVERNAME = {OLD} \r\nother=1"
posix = pytest.mark.skipif(os.name != "posix", reason="links and rights of POSIX")


@pytest.fixture(autouse=True)
def state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory for the journals that nobody names."""
    folder = tmp_path_factory.mktemp("state")
    for name in ("XDG_STATE_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.setenv(name, str(folder))
    return folder


def ini(folder: Path, name: str = "x.ini", text: str | bytes = TEXT) -> Path:
    """An INI file."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode("latin-1"))
    return path


def redirected(*paths: Path | str, **options: object) -> RedirectReport:
    """The report of a whole run."""
    return plan_redirect(paths, **({"to": NEW} | options)).apply()  # type: ignore[arg-type]  # the test's own options


def only(report: RedirectReport) -> FileOutcome:
    """Its one outcome."""
    (outcome,) = report.outcomes
    return outcome


# ------------------------------------------------------------------------------------------------------------- one file


@pytest.mark.parametrize("quote", ["", '"', "'"])
@pytest.mark.parametrize("end", ["\r\n", "\n", "\r"])
@pytest.mark.parametrize("bom, codec", [(b"", "cp1252"), (b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")])
def test_the_value_changes_and_no_other_byte(tmp_path: Path, bom: bytes, codec: str, end: str, quote: str) -> None:
    """R1: encoding, BOM, line ends, comments, blanks, quotes, a missing final newline."""
    text = f"; é SERVERNAME={OLD}{end}[A] ;x{end}\tServerName =\t{quote}VALUE{quote} \x1a{end}b = 1;2{end}[B]"
    path = ini(tmp_path, text=bom + text.replace("VALUE", OLD).encode(codec))
    assert only(redirected(path)).status is Status.CHANGED
    assert path.read_bytes() == bom + text.replace("VALUE", NEW).encode(codec)


def test_a_file_that_says_it_already_is_not_touched(tmp_path: Path) -> None:
    """R1: not even its time, and it counts as success; blanks and case say nothing else."""
    path = ini(tmp_path, text=f"[A]\nSERVERNAME={NEW.upper().replace(',', ' , ')}\n")
    os.utime(path, ns=(1, 1))
    report = redirected(path)
    assert (only(report).status, report.journal, report.is_complete, report.found_any) == (Status.RIGHT, None, True, True)
    assert path.stat().st_mtime_ns == 1


def test_the_effective_key_is_edited_and_others_are_warned_of(tmp_path: Path) -> None:
    """R1, I1: the first key of the first section of a name."""
    text = "SERVERNAME=27000@none\n[A]\nservername=VALUE\nSERVERNAME=27000@twice\n[a]\nSERVERNAME=27000@again\n"
    path = ini(tmp_path, text=text.replace("VALUE", OLD))
    outcome = only(redirected(path))
    assert path.read_text() == text.replace("VALUE", NEW)
    assert [warning.line for warning in outcome.warnings] == [1, 4, 6]


def test_sections_that_agree_are_changed_together(tmp_path: Path) -> None:
    """R1, I2: to change one of two would make them contradict each other."""
    text = '[A]\nSERVERNAME=VALUE\n[B]\nx=1\n[C]\nSERVERNAME="VALUE"\n'
    path = ini(tmp_path, text=text.replace("VALUE", OLD))
    report = redirected(path)
    assert path.read_text() == text.replace("VALUE", NEW)
    undo_redirect(report.journal or "")
    assert path.read_text() == text.replace("VALUE", OLD)


def test_sections_that_contradict_each_other_are_left_to_a_person(tmp_path: Path) -> None:
    """I2: both are shown."""
    path = ini(tmp_path, text="[A]\nSERVERNAME=27000@a\n[B]\nSERVERNAME=27000@b\n")
    outcome = only(redirected(path))
    assert (outcome.status, outcome.why) == (Status.FAILED, Why.UNUSABLE)
    assert "27000@a" in outcome.reason
    assert "27000@b" in outcome.reason


def test_what_stands_behind_a_semicolon_goes_with_a_warning(tmp_path: Path) -> None:
    """R1: it is part of the value."""
    path = ini(tmp_path, text="[A]\nSERVERNAME=27000@old ; the old one\n")
    outcome = only(redirected(path))
    assert path.read_text() == f"[A]\nSERVERNAME={NEW}\n"
    assert ["semicolon" in warning.message for warning in outcome.warnings] == [True]


@pytest.mark.parametrize(
    "text, reason",
    [
        ("", "the file is empty"),
        ("[A]\nb=1\n", "no section has a SERVERNAME."),
        (f"[A]\n;SERVERNAME={OLD}\n", "no section has a SERVERNAME. Line 2 has one behind a ';', so it does not count."),
        (f"SERVERNAME={OLD}\n", "no section has a SERVERNAME. Line 1 has one, but it stands before the first section."),
    ],
)
def test_a_file_without_servername_is_skipped_and_never_gets_one(tmp_path: Path, text: str, reason: str) -> None:
    """R7."""
    path = ini(tmp_path, text=text)
    report = redirected(path)
    assert (only(report).status, only(report).why, only(report).reason) == (Status.SKIPPED, Why.NO_SERVERNAME, reason)
    assert (path.read_text(), report.found_any) == (text, False)


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"[A]\nSERVERNAME=a\n\0", "NUL byte"),
        ("[A]\nSERVERNAME=27000@a\n".encode("utf-16-le"), "UTF-16 without"),
        (b"[A]\nSERVERNAME=27000@a\n" + b";" * (1 << 20), "more than 1048576 bytes"),
        (b"\x7fELF\0\0\1", "NUL byte"),
    ],
)
def test_what_is_no_ini_file_is_reported_and_left_alone(tmp_path: Path, content: bytes, reason: str) -> None:
    """I3 and issue 6, faults: binary, huge."""
    path = ini(tmp_path, text=content)
    outcome = only(redirected(path))
    assert (outcome.status, outcome.why) == (Status.FAILED, Why.UNUSABLE)
    assert reason in outcome.reason
    assert path.read_bytes() == content


# ------------------------------------------------------------------------------------------------------------- arguments


def test_only_files_that_name_the_old_servers_are_rewritten(tmp_path: Path) -> None:
    """R2, N2: by meaning, not by spelling or case; what is no SERVERNAME names nothing."""
    mine = ini(tmp_path, "mine.ini", f"[A]\nSERVERNAME={OLD.replace(',', ', ').upper()}\n")
    others = [
        ini(tmp_path, f"other{n}.ini", f"[A]\nSERVERNAME={value}\n") for n, value in enumerate(["27000@old1", OLD.replace(",", ";"), "27001@x"])
    ]
    report = redirected(mine, *others, only_from=OLD)
    assert [outcome.status for outcome in report.outcomes] == [Status.CHANGED] + [Status.SKIPPED] * 3
    assert {outcome.why for outcome in report.of(Status.SKIPPED)} == {Why.OTHER_SERVERNAME}
    assert (report.is_complete, report.found_any) == (True, True)


def test_a_new_port_keeps_the_hosts(tmp_path: Path) -> None:
    """R2."""
    path = ini(tmp_path, text="[A]\nSERVERNAME=27000@a,@B,[::1]\n")
    redirected(path, to=None, port=28000)
    assert path.read_text() == "[A]\nSERVERNAME=28000@a,28000@B,28000@[::1]\n"


@pytest.mark.parametrize("value, reason", [("27000@a;27000@b", "semicolon"), ("1@a,2@a,3@a", "named twice")])
def test_a_new_port_for_what_cannot_have_it_is_an_error_of_that_file(tmp_path: Path, value: str, reason: str) -> None:
    """R2, N5: three servers on one host differ by their ports alone."""
    path = ini(tmp_path, text=f"[A]\nSERVERNAME={value}\n")
    outcome = only(redirected(path, to=None, port=28000))
    assert outcome.status is Status.FAILED
    assert reason in outcome.reason
    assert path.read_text() == f"[A]\nSERVERNAME={value}\n"


@pytest.mark.parametrize(
    "options",
    [
        {"to": "27000@a;27000@b"},
        {"only_from": "27000@a,27000@b"},
        {"port": 1},
        {"to": None},
        {"to": None, "port": 0},
        {"jobs": 0},
        {"jobs": 65},
        {"path_timeout": 0},
        {"add": "a]b"},
        {"add": "é"},
        {"add": "A", "only_from": OLD},
    ],
)
def test_arguments_are_refused_before_any_file_is_looked_at(tmp_path: Path, options: dict[str, object]) -> None:
    """R2, R6."""
    path = ini(tmp_path)
    with pytest.raises(ConfigError):
        redirected(path, **options)
    assert path.read_bytes() == TEXT.encode()


def test_what_to_refuses_points_into_the_argument() -> None:
    """R2: the parser's own error, told of --to."""
    with pytest.raises(ServerNameError, match="--to, column 8: "):
        plan_redirect("x", to="27000@a;27000@b")


# ------------------------------------------------------------------------------------------------------------- adding


@pytest.mark.parametrize(
    "before, after",
    [
        (b"", "[License]EOLSERVERNAME=NEWEOL"),
        (b"[x]\na=1", "[x]\na=1\n[License]\nSERVERNAME=NEW\n"),
        (b"[x]\r\na=1\r\n", "[x]\r\na=1\r\n[License]\r\nSERVERNAME=NEW\r\n"),
        (b"[LICENSE ] z\r\na=1\r\n", "[LICENSE ] z\r\nSERVERNAME=NEW\r\na=1\r\n"),
        (b"[x]\n[license]", "[x]\n[license]\nSERVERNAME=NEW"),
        (b";c", ";cEOL[License]EOLSERVERNAME=NEWEOL"),
        (b"[license]\n[x]\n[license]\nservername=27000@a\n", "[license]\nSERVERNAME=NEW\n[x]\n[license]\nservername=27000@a\n"),
    ],
)
def test_a_servername_is_added_only_when_asked_for_and_can_be_undone(tmp_path: Path, before: bytes, after: str) -> None:
    """R7: into its section if there is one, else at the end; a shadowed one is not seen (I1)."""
    path = ini(tmp_path, text=before)
    report = redirected(path, add="License")
    assert path.read_bytes().decode() == after.replace("EOL", os.linesep).replace("NEW", NEW)
    undo_redirect(report.journal or "")
    assert path.read_bytes() == before


def test_a_servername_is_added_to_utf_16_too(tmp_path: Path) -> None:
    """R7, I3."""
    path = ini(tmp_path, text="\ufeff[ä]\r\n[b]\r\nc=ü\r\n".encode("utf-16-be"))
    redirected(path, add="b")
    assert path.read_bytes().decode("utf-16") == f"[ä]\r\n[b]\r\nSERVERNAME={NEW}\r\nc=ü\r\n"


def test_a_named_file_that_is_missing_is_made_and_undoing_removes_it(tmp_path: Path) -> None:
    """R7: with --add alone, and no folder is made."""
    path = tmp_path / "new.ini"
    assert only(redirected(path)).status is Status.FAILED
    report = redirected(path, tmp_path / "no" / "new.ini", add="License")
    assert [outcome.status for outcome in report.outcomes] == [Status.CHANGED, Status.FAILED]
    assert path.read_text() == f"[License]\nSERVERNAME={NEW}\n"
    assert only(undo_redirect(report.journal or "")).status is Status.CHANGED
    assert not path.exists()
    assert only(undo_redirect(report.journal or "")).status is Status.RIGHT


def test_a_file_that_the_run_has_made_is_not_removed_when_somebody_has_written_to_it_meanwhile(tmp_path: Path) -> None:
    """R5, R9: also between looking and undoing."""
    path = tmp_path / "new.ini"
    journal = redirected(path, add="License").journal or ""
    plan = plan_undo(journal)
    content = path.read_bytes() + b"; mine"
    path.write_bytes(content)
    assert only(plan.apply()).why is Why.CHANGED_SINCE
    assert path.read_bytes() == content
    assert [outcome.why for outcome in plan_undo(journal).outcomes] == [Why.CHANGED_SINCE]


# ------------------------------------------------------------------------------------------------------------- many files


def tree(folder: Path) -> None:
    """Folders with INI files and others, one with a file's name among them."""
    for name in ("a.ini", "B.INI", ".hidden.ini", "sub/c.ini", "sub/deep/d.Ini", "folder.ini/e.ini"):
        ini(folder, name)
    ini(folder, "readme.txt", TEXT)
    ini(folder, "sub/.palclient-0123-4567.tmp", TEXT)


def paths(report: RedirectReport, folder: Path, status: Status = Status.CHANGED) -> list[str]:
    """The paths of what became so, as a person would write them in that folder."""
    return [Path(outcome.path).relative_to(folder).as_posix() for outcome in report.of(status)]


def test_a_folder_stands_for_all_ini_files_below_it(tmp_path: Path) -> None:
    """R1: in either case of letters; a folder with a file's name is said so, and gone into."""
    tree(tmp_path)
    report = redirected(tmp_path)
    assert paths(report, tmp_path) == [".hidden.ini", "B.INI", "a.ini", "folder.ini/e.ini", "sub/c.ini", "sub/deep/d.Ini"]
    assert [(outcome.path, outcome.why) for outcome in report.of(Status.SKIPPED)] == [(str(tmp_path / "folder.ini"), Why.FOLDER)]


@pytest.mark.parametrize(
    "pattern, found",
    [
        ("*.txt", ["readme.txt"]),
        ("[ab].ini", ["a.ini"]),
        ("?.ini", ["a.ini"]),
        ("sub/*.ini", ["sub/c.ini"]),
        ("*/c.ini", ["sub/c.ini"]),
        ("**/c.ini", ["sub/c.ini"]),
        ("sub/**", ["sub/c.ini", "sub/deep/d.Ini"]),
        ("s*", ["sub/c.ini", "sub/deep/d.Ini"]),
        ("*/*/*.Ini", ["sub/deep/d.Ini"]),
    ],
)
@posix
def test_patterns_are_expanded_by_the_tool(tmp_path: Path, pattern: str, found: list[str]) -> None:
    """R1: Windows' own shell does not."""
    tree(tmp_path)
    assert paths(redirected(str(tmp_path / pattern)), tmp_path) == found


@posix
def test_a_relative_pattern_counts_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """R1."""
    tree(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert [outcome.path for outcome in redirected("*.ini").outcomes if outcome.status is Status.CHANGED] == [
        ".hidden.ini",
        "a.ini",
        "folder.ini/e.ini",
    ]
    assert (tmp_path / "a.ini").read_bytes() != TEXT.encode()


def test_a_file_whose_name_looks_like_a_pattern_is_itself(tmp_path: Path) -> None:
    """R1."""
    ini(tmp_path, "a.ini")
    strange = ini(tmp_path, "[a].ini")
    assert paths(redirected(strange), tmp_path) == ["[a].ini"]


def test_a_pattern_and_a_folder_without_files_say_so(tmp_path: Path) -> None:
    """R6: nothing was found, and that is told of each name."""
    report = redirected(tmp_path, str(tmp_path / "*.ini"))
    assert [(outcome.status, outcome.why) for outcome in report.outcomes] == [(Status.SKIPPED, Why.NOTHING_FOUND)] * 2
    assert (report.is_complete, report.found_any) == (True, False)


@posix
def test_a_file_of_several_names_is_changed_once(tmp_path: Path) -> None:
    """R4: links lead to one target."""
    path = ini(tmp_path)
    (tmp_path / "link.ini").symlink_to(path)
    report = redirected(path, tmp_path, str(tmp_path / "*.ini"), path)
    assert len(report.of(Status.CHANGED)) == 1
    assert report.is_complete
    assert (tmp_path / "link.ini").is_symlink()


@posix
def test_whatever_is_wrong_with_one_file_the_others_are_changed() -> None:
    """R6 and issue 6, faults: unreadable, read-only, vanished, a loop of links, a folder, a pipe, a name that is no UTF-8."""
    with open_folder() as folder, as_nobody():
        good = [ini(folder, f"good{number}.ini") for number in range(3)]
        strange = Path(os.fsdecode(os.fsencode(folder) + b"/\xff\xfe\n.ini"))
        try:
            good.append(ini(folder, strange.name))
        except OSError:
            assert sys.platform == "darwin"  # its file system has UTF-8 alone
        ini(folder, "unreadable.ini").chmod(0)
        ini(folder, "readonly.ini").chmod(0o444)
        (folder / "loop.ini").symlink_to("loop.ini")
        (folder / "nowhere.ini").symlink_to("gone.ini")
        named_pipe(folder / "pipe.ini")
        ini(folder / "closed", "x.ini")
        (folder / "closed").chmod(0)
        report = plan_redirect([folder, folder / "missing.ini"], to=NEW).apply(journal=folder / "journal")
        assert sorted(outcome.path for outcome in report.of(Status.CHANGED)) == sorted(map(str, good))
        failed = {Path(outcome.path).name: outcome.reason for outcome in report.of(Status.FAILED)}
        assert failed.keys() == {"unreadable.ini", "readonly.ini", "loop.ini", "nowhere.ini", "pipe.ini", "closed", "missing.ini"}
        assert "read-only" in failed["readonly.ini"]
        assert "Permission denied" in failed["unreadable.ini"]
        assert not report.is_complete
        undo_redirect(report.journal or "")
        assert {path.read_bytes() for path in good} == {TEXT.encode()}
        (folder / "closed").chmod(0o755)


@posix
def test_a_link_to_a_folder_is_skipped_as_a_folder_is_unless_it_is_named(tmp_path: Path) -> None:
    """R1, R4, and issue 6, "a directory named x.ini": links below a folder are not followed, since they may lead back, and that is no failure."""
    path = ini(tmp_path, "real/a.ini")
    (tmp_path / "x.ini").symlink_to("real")
    (tmp_path / "real" / "back.ini").symlink_to("..")
    plan = plan_redirect(tmp_path, to=NEW)
    reason = "it is a link to a folder, and links to folders are not followed"
    assert [(outcome.path, outcome.why, outcome.reason) for outcome in plan.outcomes] == [
        (str(tmp_path / "real" / "back.ini"), Why.FOLDER, reason),
        (str(tmp_path / "x.ini"), Why.FOLDER, reason),
    ]
    assert [change.target for change in plan.changes] == [str(path)]
    assert [change.target for change in plan_redirect(tmp_path / "x.ini", to=NEW).changes] == [str(path)]
    assert plan.apply().is_complete


def test_a_name_that_is_empty_is_told_so() -> None:
    """R6: an unset variable of a script is not the folder in which it was started."""
    (outcome,) = plan_redirect("", to=NEW).outcomes
    assert (outcome.status, outcome.reason) == (Status.FAILED, "the name is empty")


def test_a_file_that_was_changed_between_plan_and_write_is_skipped(tmp_path: Path) -> None:
    """R9: what the plan was made for is not there any more."""
    changed, gone, fine = ini(tmp_path, "changed.ini"), ini(tmp_path, "gone.ini"), ini(tmp_path, "fine.ini")
    plan = plan_redirect(tmp_path, to=NEW)
    changed.write_text("[License]\nSERVERNAME=27000@somebody\n")
    gone.unlink()
    report = plan.apply()
    assert [outcome.status for outcome in report.outcomes] == [Status.SKIPPED, Status.CHANGED, Status.FAILED]
    assert report.outcomes[0].why is Why.CHANGED_SINCE
    assert not report.is_complete
    assert changed.read_text() == "[License]\nSERVERNAME=27000@somebody\n"
    assert fine.read_bytes() == TEXT.replace(OLD, NEW).encode()
    undo_redirect(report.journal or "")
    assert changed.read_text() == "[License]\nSERVERNAME=27000@somebody\n"


def test_a_file_that_is_changed_at_the_very_last_moment_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """R9: while the new content is being flushed, somebody writes to the old file."""
    path = ini(tmp_path)
    plan = plan_redirect(path, to=NEW)
    flush = os.fsync

    def slow_flush(descriptor: int) -> None:
        flush(descriptor)
        if list(tmp_path.glob(".palclient-*")):  # and not the journal
            path.write_bytes(b"mine")

    monkeypatch.setattr(os, "fsync", slow_flush)
    assert only(plan.apply(journal=tmp_path / "journal")).why is Why.CHANGED_SINCE
    assert path.read_bytes() == b"mine"
    assert sorted(child.name for child in tmp_path.iterdir()) == ["journal", "x.ini"]


def test_a_file_that_nobody_waits_for_any_more_is_not_replaced(tmp_path: Path) -> None:
    """R8: it was reported as silent, so it must not change afterwards."""
    path = ini(tmp_path)
    (change,) = plan_redirect(path, to=NEW).changes
    outcome = carried_out(change, "run", lambda: False)
    assert (outcome.status, path.read_bytes()) == (Status.FAILED, TEXT.encode())


@posix
def test_the_plan_knows_already_what_may_not_be_written() -> None:
    """R3: a dry run foresees it."""
    with open_folder() as folder, as_nobody():
        ini(folder).chmod(0o444)
        plan = plan_redirect(folder, to=NEW)
        assert [outcome.reason for outcome in plan.outcomes] == ["it is read-only for this user"]
        assert plan.changes == ()


def test_progress_goes_up_to_all(tmp_path: Path) -> None:
    """R6: told on the caller's thread."""
    for number in range(5):
        ini(tmp_path, f"{number}.ini")
    seen: list[tuple[int, int]] = []
    plan = plan_redirect(tmp_path, to=NEW, on_progress=lambda done, of: seen.append((done, of)))
    assert seen[-1][0] == seen[-1][1] >= 5
    seen.clear()
    plan.apply(on_progress=lambda done, of: seen.append((done, of)))
    assert seen == [(number, 5) for number in range(1, 6)]


# ------------------------------------------------------------------------------------------------------------- the diff


def test_the_diff_shows_what_would_change_and_nothing_is_written(tmp_path: Path) -> None:
    """R3: a unified diff, as patch reads it."""
    lines = [f"key{number}=1" for number in range(9)]
    path = ini(tmp_path, text="\n".join(["[A]", *lines, f"SERVERNAME={OLD}", "last=1"]))
    assert plan_redirect(path, to=NEW).diff() == (
        f"--- {path}\n+++ {path}\n@@ -8,5 +8,5 @@\n key6=1\n key7=1\n key8=1\n-SERVERNAME={OLD}\n+SERVERNAME={NEW}\n last=1\n"
    )
    assert NEW not in path.read_text()


def test_the_diff_of_two_places_and_of_an_addition(tmp_path: Path) -> None:
    """R3."""
    far = ini(tmp_path, text="[A]\nSERVERNAME=a\n" + "k=1\n" * 9 + "[B]\nSERVERNAME=a\n")
    near = ini(tmp_path, "near.ini", text="[A]\nSERVERNAME=a\n[B]\nSERVERNAME=a\n")
    bare = ini(tmp_path, "bare.ini", text="[A]\nk=1\n")
    assert plan_redirect(far, to=NEW).diff().count("@@ -") == 2
    assert plan_redirect(near, to=NEW).diff().count("@@ -1,4 +1,4 @@") == 1
    assert plan_redirect(bare, to="@n", add="A").diff().splitlines()[2:] == ["@@ -1,2 +1,3 @@", " [A]", "+SERVERNAME=@n", " k=1"]
    assert plan_redirect(tmp_path / "no.ini", to="@n", add="A").diff().splitlines()[2:] == ["@@ -0,0 +1,2 @@", "+[A]", "+SERVERNAME=@n"]


LINE_END = re.compile(r"\r\n|\r|\n")
LINE = "a key=of a line that is long enough for some of them to lie near, and others not"


@pytest.mark.parametrize("encoding", ["ascii", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("line", ["", "k=1", LINE, LINE * 3, LINE * 20])
def test_the_diff_of_a_change_anywhere_is_the_one_of_the_standard_library(tmp_path: Path, encoding: str, line: str) -> None:
    """R3: only what is near a change is split into lines, however long they are and however they end."""
    path = tmp_path / "x.ini"
    for end, before, after in product(["\n", "\r\n", "\r", "\n\r", "\r\r\n"], [0, 3, 40], [0, 2, 40]):
        text = end.join(["[A]", *[line] * before, f"SERVERNAME={OLD}", *[line] * after, "last=1"])
        path.write_bytes(text.encode(encoding))
        old, new = (LINE_END.sub("\n", some).split("\n") for some in (text, text.replace(OLD, NEW)))
        wanted = unified_diff(old, new, str(path), str(path), lineterm="")
        assert [shown if len(shown) <= 501 else f"{shown[:501]}..." for shown in wanted] == plan_redirect(path, to=NEW).diff().splitlines()


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only the superuser gives files away")
def test_an_owner_or_a_group_that_cannot_be_kept_is_told_before_anything_is_written() -> None:
    """R3, R4: of a file that any user may write, but only some may give back to whom it belonged."""
    with open_folder() as folder:
        for name, user, group in (
            ("own.ini", NOBODY, 0),
            ("other.ini", 0, 0),
            ("group.ini", NOBODY, 4711),
            ("shared/group.ini", NOBODY, 4711),
        ):
            path = ini(folder, name)
            path.chmod(0o666)
            give_away(path, user, group)
        give_away(folder / "shared", NOBODY, 4711)
        (folder / "shared").chmod(0o2777)
        with as_nobody():
            plan = plan_redirect(folder, to=NEW)
            doubted = {
                Path(outcome.path).relative_to(folder).as_posix(): outcome.warnings[0].message for outcome in plan.foreseen() if outcome.warnings
            }
            assert list(doubted) == ["group.ini", "other.ini"]
            assert "owner and group (0:0) can probably not be kept" in doubted["other.ini"]
            report = plan.apply(journal=folder / "journal")
            undoing = plan_undo(folder / "journal")
        failed = report.of(Status.FAILED)
        assert [(Path(outcome.path).name, outcome.reason) for outcome in failed] == [
            ("group.ini", f"its owner and group ({NOBODY}:4711) cannot be kept by this user"),
            ("other.ini", "its owner and group (0:0) cannot be kept by this user"),
        ]
        assert not any(outcome.warnings for outcome in report.of(Status.CHANGED))
        assert not any(outcome.warnings for outcome in undoing.foreseen())


def test_nothing_in_a_file_moves_the_cursor_of_whoever_reads_the_diff(tmp_path: Path) -> None:
    """N6, for the diff: escape sequences are shown as such."""
    path = ini(tmp_path, text="[A]\n;\x1b[2J\nSERVERNAME=27000@a\x07\n")
    assert all(char.isprintable() or char == "\n" for char in plan_redirect(path, to=NEW).diff())


# ------------------------------------------------------------------------------------------------------------- journal and undo


def test_the_journal_is_complete_before_the_first_file_is_touched(tmp_path: Path, state: Path) -> None:
    """R5: the write-ahead rule; every file's old bytes, flushed."""
    for number in range(3):
        ini(tmp_path, f"{number}.ini")
    plan = plan_redirect(tmp_path, to=NEW)
    seen: list[list[str]] = []

    def first(done: int, of: int) -> None:
        del of
        if done == 1:
            (journal,) = state.rglob("*.jsonl")
            seen.append([json.loads(line).get("target", "") for line in journal.read_text().splitlines()])

    report = plan.apply(jobs=1, on_progress=first)
    assert [name for name in seen[0] if name] == [str(tmp_path / f"{number}.ini") for number in range(3)]
    assert report.journal is not None
    assert report.journal.startswith(str(state))
    if os.name == "posix":
        assert Path(report.journal).stat().st_mode & 0o077 == 0


def test_the_journal_is_flushed_before_anything_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """R5: a power cut after the first rename must not have eaten it."""
    ini(tmp_path)
    flush, flushed = os.fsync, list[int]()

    def noted_flush(descriptor: int) -> None:
        flushed.append(os.fstat(descriptor).st_ino)
        flush(descriptor)

    plan = plan_redirect(tmp_path, to=NEW)
    monkeypatch.setattr(os, "fsync", noted_flush)
    plan.apply(journal=tmp_path / "journal")
    assert flushed == [(tmp_path / "journal").stat().st_ino, (tmp_path / "x.ini").stat().st_ino]


def test_undo_restores_what_is_as_the_run_left_it_and_reports_the_rest(tmp_path: Path) -> None:
    """R5."""
    same, edited, gone = (ini(tmp_path, name) for name in ("a.ini", "b.ini", "c.ini"))
    report = redirected(same, edited, gone)
    edited.write_bytes(edited.read_bytes() + b"\r\n; mine")
    gone.unlink()
    undone = undo_redirect(report.journal or "")
    assert [(outcome.status, outcome.why) for outcome in undone.outcomes] == [
        (Status.CHANGED, None),
        (Status.SKIPPED, Why.CHANGED_SINCE),
        (Status.FAILED, Why.SYSTEM),
    ]
    assert same.read_bytes() == TEXT.encode()
    assert edited.read_bytes().endswith(b"; mine")
    again = undo_redirect(report.journal or "")
    assert [outcome.status for outcome in again.outcomes] == [Status.RIGHT, Status.SKIPPED, Status.FAILED]


def test_undo_can_be_looked_at_first(tmp_path: Path) -> None:
    """R3, R5."""
    path = ini(tmp_path)
    journal = redirected(path).journal or ""
    plan = plan_undo(journal)
    assert f"-SERVERNAME = {NEW} \n+SERVERNAME = {OLD} \n" in plan.diff()
    assert NEW.encode() in path.read_bytes()


def test_undo_works_from_what_a_killed_run_has_left(tmp_path: Path) -> None:
    """R5: some files written, some not, a scratch file half-written, and no word in the journal on what became of them."""
    for number in range(4):
        ini(tmp_path, f"{number}.ini")
    report = redirected(tmp_path)
    journal = Path(report.journal or "")
    whole = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(whole[:5]) + b'{"n": 0, "beca')
    run = json.loads(whole[0])["run"]
    (tmp_path / "2.ini").write_bytes(TEXT.encode())
    scratch = []

    def spy(done: int, of: int) -> None:
        del done, of

    plan = plan_undo(journal)
    from palclient.redirect.change import _scratch  # what a killed run leaves has this name

    for change in plan.changes:
        scratch.append(tmp_path / _scratch(change, run))
        scratch[-1].write_bytes(b"half")
    undone = plan.apply(on_progress=spy)
    assert [outcome.status for outcome in undone.outcomes] == [Status.CHANGED, Status.CHANGED, Status.RIGHT, Status.CHANGED]
    assert {path.read_bytes() for path in tmp_path.glob("*.ini")} == {TEXT.encode()}
    assert not any(path.exists() for path in scratch)


@pytest.mark.parametrize("splice", [[0, "", "AAAA"], [9, "MQ==", "Mg=="], [10_000, "MQ==", "Mg=="]])
def test_a_journal_that_has_been_tampered_with_restores_nothing(tmp_path: Path, splice: list[object]) -> None:
    """R5: what does not lead back to the old file's digest is not written."""
    path = ini(tmp_path)
    journal = Path(redirected(path).journal or "")
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    lines[1]["splices"] = [splice]
    journal.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert only(undo_redirect(journal)).why is Why.CHANGED_SINCE
    assert path.read_bytes() == TEXT.replace(OLD, NEW).encode()


def test_a_journal_that_cannot_be_written_stops_the_run_before_it_begins(tmp_path: Path) -> None:
    """R5: no change without a way back."""
    path = ini(tmp_path)
    taken = ini(tmp_path, "taken", "mine")
    for journal in (taken, path / "no" / "journal"):
        with pytest.raises(ConfigError, match="No INI file was changed"):
            plan_redirect(path, to=NEW).apply(journal=journal)
    assert (path.read_bytes(), taken.read_text()) == (TEXT.encode(), "mine")


@posix
def test_a_disk_without_room_for_the_journal_stops_the_run_before_it_begins(tmp_path: Path) -> None:
    """R5 and issue 6, faults."""
    for number in range(30):
        ini(tmp_path, f"{number}.ini")
    plan = plan_redirect(tmp_path, to=NEW)
    with room_for(4096), pytest.raises(ConfigError, match="No INI file was changed"):
        plan.apply(journal=tmp_path / "journal")
    assert not (tmp_path / "journal").exists()
    assert {path.read_bytes() for path in tmp_path.glob("*.ini")} == {TEXT.encode()}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[A]\nSERVERNAME=a\n",
        b"{}\n",
        b"[]\n",
        b'{"palclient_redirect": 2, "run": "ab"}\n',
        b'{"palclient_redirect": 1, "run": "../x"}\n',
        b'{"palclient_redirect": 1, "run": "ab"}\n{"n": 0}\n',
        b'{"palclient_redirect": 1, "run": "ab"}\n{"n": 0, "became": "what"}\n',
        b'{"palclient_redirect": 1, "run": "ab"}\n{"n": [], "became": "written"}\n',
        b'{"palclient_redirect": 1, "run": "ab"}\n{"n":0,"path":"p","target":"t","line":1,"old":"","new":"","old_sha256":null,"new_sha256":null,"splices":[]}\n',
        b'{"palclient_redirect": 1, "run": "ab"}\n{"n":0,"path":"p","target":"t","line":1,"old":"","new":"","old_sha256":"a","new_sha256":"b","splices":[[-1,"",""]]}\n',
        b'{"palclient_redirect": 1, "run": "ab"}\n{"n":0,"path":"p","target":"t","line":1,"old":"","new":"","old_sha256":"a","new_sha256":"b","splices":[[0,"!",""]]}\n',
        b"[" * 100_000 + b"\n",
        b"\xff\n",
    ],
)
def test_what_is_no_journal_is_refused(tmp_path: Path, content: bytes) -> None:
    """R5: with the line, and before any file is touched."""
    with pytest.raises(ConfigError, match="this is no journal of palclient redirect") as caught:
        undo_redirect(ini(tmp_path, "journal", content))
    assert caught.value.line is not None
    with pytest.raises(ConfigError, match="the journal cannot be read"):
        undo_redirect(tmp_path / "missing")


# ------------------------------------------------------------------------------------------------------------- silent machines


def crew_of(work: Callable[[str, Callable[[], bool]], str], *tasks: str, timeout_s: float = 0.05, jobs: int = 2) -> dict[str, str | Late]:
    """All results."""
    crew: Crew[str, str] = Crew(work, jobs=jobs, timeout_s=timeout_s, place_of=lambda task: task[0])
    for task in tasks:
        crew.add(task)
    return dict(crew.results())


@pytest.mark.parametrize("computes", [True, False])
def test_only_jobs_that_wait_for_the_system_get_more_threads(*, computes: bool) -> None:
    """R8: where the process computes all the time, which it can on one thread at a time, others would double the time."""
    threads = set()

    def work(task: str, is_wanted: Callable[[], bool]) -> str:
        del is_wanted
        threads.add(get_ident())
        sleep(0.005)
        return task

    crew: Crew[str, str] = Crew(work, jobs=4, timeout_s=10, place_of=str, used_s=monotonic if computes else lambda: 0.0)
    for number in range(40):
        crew.add(str(number))
    assert len(list(crew.results())) == 40
    assert len(threads) == (1 if computes else 4)


def test_a_job_that_nobody_waits_behind_gets_one_thread() -> None:
    """R8: no second thread makes one job quicker, nor does one that has nothing to do need help."""
    threads = set()

    def work(task: str, is_wanted: Callable[[], bool]) -> str:
        del is_wanted
        threads.add(get_ident())
        sleep(0.02)
        return task

    crew: Crew[str, str] = Crew(work, jobs=4, timeout_s=10, place_of=str, used_s=lambda: 0.0)
    crew.add("1")
    for task, _ in crew.results():
        if task == "1":
            sleep(0.01)  # as long as a caller likes
            crew.add("2")
    assert len(threads) == 1


def test_jobs_that_do_not_end_are_left_behind_and_the_rest_is_done() -> None:
    """R8: more of them than there are threads."""
    never = Event()

    def work(task: str, is_wanted: Callable[[], bool]) -> str:
        del is_wanted
        if task[0] != "z":
            never.wait()
        return task.upper()

    silent = [f"{place}{number}" for place in "ab" for number in range(3)]
    results = crew_of(work, *silent, *(f"z{number}" for number in range(50)), timeout_s=0.4)  # a busy machine must not make the z late
    never.set()
    assert len(results) == 56
    assert all(results[f"z{number}"] == f"Z{number}" for number in range(50))
    assert all(isinstance(results[task], Late) for task in silent)


def test_a_place_that_stays_silent_is_given_up() -> None:
    """R8: 500 files of a machine that is off do not cost 500 timeouts."""
    never = Event()
    begun: list[str] = []

    def work(task: str, is_wanted: Callable[[], bool]) -> str:
        del is_wanted
        begun.append(task)
        never.wait()
        return task

    results = crew_of(work, *(f"a{number}" for number in range(500)), jobs=1)
    never.set()
    late = [result for result in results.values() if isinstance(result, Late)]
    assert len(late) == 500
    assert sum(result.was_tried for result in late) == len(begun) == SILENCES


def test_when_there_may_be_no_more_threads_the_rest_is_given_up_in_the_end() -> None:
    """R8, style 5: the threads are bounded, and so is the wait."""
    never = Event()

    def work(task: str, is_wanted: Callable[[], bool]) -> str:
        del is_wanted
        never.wait()
        return task

    crew: Crew[str, str] = Crew(work, jobs=2, timeout_s=0.05, place_of=str, threads_limit=3)
    for number in range(9):
        crew.add(str(number))
    late = [result for _, result in crew.results() if isinstance(result, Late)]
    never.set()
    assert [result.was_tried for result in late] == [True] * 3 + [False] * 6


def test_threads_that_come_back_make_room_for_others() -> None:
    """R8: a long list of machines that are off outlasts no limit, as long as the system lets go of each in the end."""
    free = Event()

    def work(task: str, is_wanted: Callable[[], bool]) -> str:
        while task[0] == "a" and is_wanted() and not free.is_set():
            free.wait(0.01)
        return task

    crew: Crew[str, str] = Crew(work, jobs=2, timeout_s=0.3, place_of=str, threads_limit=3)
    for number in range(4):
        crew.add(f"a{number}")
    crew.add("z")
    assert dict(crew.results())["z"] == "z"
    free.set()


def test_a_job_that_is_late_is_not_wanted_any_more() -> None:
    """R8: so that a file is not replaced after it was reported as silent."""
    wanted: list[bool] = []
    late, asked = Event(), Event()

    def work(task: str, is_wanted: Callable[[], bool]) -> str:
        wanted.append(is_wanted())
        late.wait(10)
        wanted.append(is_wanted())
        asked.set()
        return task

    assert isinstance(crew_of(work, "a")["a"], Late)
    late.set()
    assert asked.wait(10)
    assert wanted == [True, False]


def test_an_error_of_our_own_comes_out_where_the_results_are_read() -> None:
    """Style 14: nothing is swallowed on a thread."""

    def work(task: str, is_wanted: Callable[[], bool]) -> str:
        raise KeyError(task, is_wanted)

    with pytest.raises(KeyError):
        crew_of(work, "a")


@pytest.mark.parametrize("path, place", [(r"\\PC7\c$\x.ini", "pc7"), ("//pc7/share/a/x.ini", "pc7"), ("/mnt/pc7/x.ini", "/mnt/pc7"), ("x.ini", "")])
def test_the_place_of_a_file_is_its_machine_or_its_folder(path: str, place: str) -> None:
    """R8."""
    assert place_of(path) == place
