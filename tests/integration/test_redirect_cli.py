"""``palclient redirect`` from outside: exit codes, what is said where, tables for machines, verifying, the one-file tool."""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from fakeserver import FakeTriad
from palclient.cli.redirect import listed
from palclient.cli.redirect import main as redirect
from palclient.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
OLD, NEW = "27000@old1,27000@old2,27000@old3", "27000@new1,27000@new2,27000@new3"
TEXT = f"[License]\nSERVERNAME={OLD}\n"
posix = pytest.mark.skipif(os.name != "posix", reason="make and terminals of POSIX")


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """How a run ended and what it said."""

    code: int
    out: str
    err: str


class Tool:
    """The command in this process, in a folder of its own."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys

    def __call__(self, *words: str) -> Said:
        """Run it."""
        try:
            code = redirect(list(words))
        except SystemExit as end:  # argparse
            code = int(str(end.code))
        said = self._capsys.readouterr()
        return Said(code=code, out=said.out, err=said.err)

    def ini(self, name: str = "x.ini", text: str = TEXT) -> Path:
        """An INI file."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="")
        return path


@pytest.fixture
def tool(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Tool:
    """The tool, with a state directory of its own."""
    monkeypatch.chdir(tmp_path)
    for name in ("XDG_STATE_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / "state"))
    return Tool(tmp_path, capsys)


# ------------------------------------------------------------------------------------------------------------- exit codes


def test_a_run_and_the_way_back(tool: Tool) -> None:
    """R5, R6, R8: 0; the numbers on stdout; the journal's name, before and after."""
    path = tool.ini()
    said = tool("--to", NEW, ".")
    assert (said.code, path.read_text()) == (0, TEXT.replace(OLD, NEW))
    assert said.out.startswith("1 file: 1 changed, 0 already right, 0 skipped, 0 failed.\nTo go back: palclient redirect --undo ")
    journal = said.out.split()[-1]
    assert said.err == f"Journal: {journal}\n"
    assert journal.startswith(str(tool.folder / "state"))
    assert tool("--to", NEW, ".").out == "1 file: 0 changed, 1 already right, 0 skipped, 0 failed.\n"
    undone = tool("--undo", journal)
    assert (undone.code, undone.out, path.read_text()) == (0, "1 file: 1 put back, 0 as before already, 0 skipped, 0 failed.\n", TEXT)


def test_one_failure_is_1_and_the_others_are_changed(tool: Tool) -> None:
    """R6."""
    tool.ini()
    said = tool("--to", NEW, "x.ini", "missing.ini")
    assert (said.code, "1 changed" in said.out) == (1, True)
    assert "failed: missing.ini: there is no such file" in said.err


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["x.ini"],
        ["--to", "27000@a;27000@b", "x.ini"],
        ["--to", NEW, "--from", "27000@a,27000@b", "x.ini"],
        ["--to", NEW],
        ["--to", NEW, "--port", "1", "x.ini"],
        ["--port", "65536", "x.ini"],
        ["--port", "many", "x.ini"],
        ["--to", NEW, "--jobs", "0", "x.ini"],
        ["--to", NEW, "--path-timeout", "0", "x.ini"],
        ["--to", NEW, "--list", "missing.txt"],
        ["--to", NEW, "--report", "no/report.csv", "x.ini"],
        ["--to", NEW, "--report", "x.ini", "."],
        ["--to", NEW, "--jobs", "²", "x.ini"],
        ["--to", NEW, "--path-timeout", "soon", "x.ini"],
        ["--to", NEW, "--journal", "x.ini/journal", "x.ini"],
        ["--undo", "missing.jsonl"],
        ["--undo", "x.ini"],
        ["--undo", "x.ini", "x.ini"],
        ["--undo", "x.ini", "--verify"],
    ],
)
def test_wrong_usage_is_2_and_touches_nothing(tool: Tool, words: list[str]) -> None:
    """R6: and it is said why."""
    path = tool.ini()
    said = tool(*words)
    assert (said.code, said.out, path.read_text()) == (2, "", TEXT)
    assert said.err
    assert "invalid" not in said.err  # argparse would name a function of the program


def test_a_spec_that_is_refused_shows_the_caret(tool: Tool) -> None:
    """R2, N6: as the parser says it."""
    said = tool("--to", "27000@a;27000@b;27000@c", "x.ini")
    assert said.err.splitlines()[:3] == ["--to, column 8: semicolons stand between the servers.", "    27000@a;27000@b;27000@c", "           ^"]


def test_check_is_3_when_files_need_changing_and_writes_nothing(tool: Tool) -> None:
    """R6."""
    path = tool.ini()
    said = tool("--to", NEW, "--check", ".")
    assert (said.code, path.read_text(), said.out) == (3, TEXT, "1 file: 1 to be changed, 0 already right, 0 skipped, 0 failed.\n")
    assert tool("--to", OLD, "--check", ".").code == 0
    assert tool("--to", NEW, "--check", ".", "missing.ini").code == 1
    assert not (tool.folder / "state").exists()


def test_nothing_with_servername_is_4(tool: Tool) -> None:
    """R6, R7: no file at all, or one without."""
    assert tool("--to", NEW, ".").code == 4
    tool.ini(text="[A]\nb=1\n")
    said = tool("--to", NEW, "x.ini")
    assert (said.code, said.err) == (4, "skipped: x.ini: no section has a SERVERNAME.\n")
    assert tool("--to", NEW, "--from", OLD, str(tool.ini("y.ini", "[A]\nSERVERNAME=27000@z\n"))).code == 0


def test_undoing_what_somebody_has_changed_since_is_1(tool: Tool) -> None:
    """R5, R6."""
    path = tool.ini()
    tool("--to", NEW, "--journal", "j", ".")
    path.write_text("[mine]\n")
    said = tool("--undo", "j")
    assert (said.code, path.read_text()) == (1, "[mine]\n")
    assert "changed by somebody else" in said.err


# ------------------------------------------------------------------------------------------------------------- what is shown


def test_a_dry_run_shows_a_diff_and_writes_nothing(tool: Tool) -> None:
    """R3: the diff alone on stdout, for a pipe."""
    path = tool.ini()
    said = tool("--to", NEW, "--dry-run", "x.ini")
    assert (said.code, path.read_text()) == (0, TEXT)
    assert said.out == f"--- x.ini\n+++ x.ini\n@@ -1,2 +1,2 @@\n [License]\n-SERVERNAME={OLD}\n+SERVERNAME={NEW}\n"
    assert said.err == "1 file: 1 to be changed, 0 already right, 0 skipped, 0 failed.\n"


def test_json_has_every_file(tool: Tool) -> None:
    """R6."""
    tool.ini("a.ini", "[A]\nSERVERNAME=27000@a ; remark\n")
    tool.ini("b.ini", "")
    said = tool("--to", NEW, "--json", ".")
    value = json.loads(said.out)
    assert (value["changed"], value["right"], value["skipped"], value["failed"]) == (1, 0, 1, 0)
    assert Path(value["journal"]).is_file()
    first, second = value["files"]
    assert (first["status"], first["line"], first["old"], first["new"], len(first["warnings"])) == ("changed", 2, "27000@a ; remark", NEW, 1)
    assert (second["status"], second["why"], second["reason"]) == ("skipped", "no-servername", "the file is empty")
    assert "+SERVERNAME=27000@a" in json.loads(tool("--to", "27000@a", "--json", "--dry-run", ".").out)["diff"]


@posix
def test_where_nothing_was_written_there_is_no_way_back(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    """R6: a run that failed at every file does not ask to be undone."""
    path = tool.ini()
    flushed: list[int] = []

    def flush(descriptor: int) -> None:
        flushed.append(descriptor)
        if len(flushed) > 1:  # the first is the journal
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", flush)
    said = tool("--to", NEW, path.name)
    assert (said.code, path.read_text(), "To go back" in said.out) == (1, TEXT, False)


@posix
def test_a_report_is_a_table_of_all_files_whatever_their_names(tool: Tool) -> None:
    """R6: for spreadsheets."""
    tool.ini()
    tool.ini("with,comma.ini")
    strange = os.fsencode(tool.folder) + b"/\xff.ini"
    try:
        Path(os.fsdecode(strange)).write_text(TEXT)
    except OSError as error:
        assert error.errno == errno.EILSEQ  # noqa: PT017  # a file system that has UTF-8 alone
    said = tool("--to", NEW, "--report", "report.csv", ".")
    assert said.code == 0
    with (tool.folder / "report.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["status"] for row in rows} == {"changed"}
    assert "with,comma.ini" in " ".join(row["path"] for row in rows)
    assert tool("--to", NEW, "--report", "report.csv", "with,comma.ini").code == 0
    assert len((tool.folder / "report.csv").read_bytes().splitlines()) == 2


def test_a_thousand_failures_are_not_a_thousand_lines(tool: Tool) -> None:
    """R6."""
    said = tool("--to", NEW, *(f"{number}.ini" for number in range(100)))
    assert len(said.err.splitlines()) == 21
    assert "and 80 more" in said.err


def test_of_a_thousand_warnings_the_screen_shows_a_few(tool: Tool) -> None:
    """R6: as of files that failed; the table has all."""
    for number in range(30):
        tool.ini(f"{number:02}.ini", "[A]\nSERVERNAME=a\nSERVERNAME=b\n")
    said = tool("--to", NEW, "--check", ".", "--report", "r.csv")
    assert [line.partition(":")[0] for line in said.err.splitlines()] == ["warning"] * 21
    assert said.err.endswith("warning: and 10 more; --report FILE.csv or --json names all of them\n")
    assert (tool.folder / "r.csv").read_text(encoding="utf-8").count("is not seen") == 30


def terminal() -> tuple[int, int]:
    """Both ends of one.  Not on Windows."""
    if sys.platform != "win32":
        return os.openpty()
    raise NotImplementedError


@posix
def test_a_person_at_a_terminal_sees_a_bar(tool: Tool) -> None:
    """R6: on stderr, and nobody else does."""
    tool.ini()
    ours, theirs = terminal()
    program = "import sys; from palclient.cli.redirect import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "--to", NEW, "--journal", "j", "."]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm"}
    subprocess.run(command, stderr=theirs, stdout=subprocess.PIPE, env=environment, check=True, timeout=30)
    os.close(theirs)
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert "writing [" in shown
    assert "] 1/1" in shown


# ------------------------------------------------------------------------------------------------------------- lists


@pytest.mark.parametrize(
    "content",
    [
        b"a.ini\nb c.ini\n",
        b'a.ini\r\n\r\n "b c.ini" \r\n',
        b"\xef\xbb\xbfa.ini\nb c.ini",
        "\ufeffa.ini\r\nb c.ini\r\n".encode("utf-16-le"),
        "\ufeffa.ini\r\nb c.ini\r\n".encode("utf-16-be"),
        b"a.ini\0b c.ini\0",
    ],
)
def test_a_list_is_read_as_the_usual_tools_write_it(tool: Tool, content: bytes) -> None:
    """R1: editors, cmd, PowerShell, find -print0."""
    (tool.folder / "list.txt").write_bytes(content)
    assert listed("list.txt") == ["a.ini", "b c.ini"]
    tool.ini("a.ini")
    tool.ini("b c.ini")
    assert "2 changed" in tool("--to", NEW, "--list", "list.txt").out


def test_names_between_nul_bytes_are_taken_exactly(tool: Tool) -> None:
    """R1, R6: find -print0 is for names that a line cannot hold."""
    (tool.folder / "list.txt").write_bytes(b' "a".ini \0new\nline.ini\0')
    assert listed("list.txt") == [' "a".ini ', "new\nline.ini"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_report_for_which_there_is_no_room_does_not_hide_what_was_done(tool: Tool) -> None:
    """R6: the files have been changed, and the way back is told."""
    path = tool.ini()
    program = "import sys; from palclient.cli.redirect import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "--to", NEW, "--journal", "j", "--report", "/dev/full", path.name]
    said = subprocess.run(
        command, cwd=tool.folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False, timeout=30
    )
    assert (said.returncode, path.read_text()) == (1, TEXT.replace(OLD, NEW))
    assert "1 changed" in said.stdout
    assert "To go back" in said.stdout
    assert f"/dev/full: the report is not complete: {os.strerror(errno.ENOSPC)}." in said.stderr


def test_a_list_that_cannot_be_read_says_so(tool: Tool) -> None:
    """R6."""
    with pytest.raises(ConfigError, match="the list cannot be read"):
        listed(str(tool.folder))


# ------------------------------------------------------------------------------------------------------------- verifying


@contextmanager
def closed_ports() -> Iterator[str]:
    """A SERVERNAME on which nobody listens, for as long as the block lasts."""
    with socket.socket() as one, socket.socket() as two, socket.socket() as three:
        for bound in (one, two, three):
            bound.bind(("127.0.0.1", 0))
        yield ",".join(f"{bound.getsockname()[1]}@127.0.0.1" for bound in (one, two, three))


def test_verify_writes_nothing_when_no_server_answers_unless_forced(tool: Tool) -> None:
    """R3: 5."""
    path = tool.ini()
    with closed_ports() as servers:
        said = tool("--to", servers, "--verify", ".")
        assert (said.code, path.read_text()) == (5, TEXT)
        assert "none of these servers answers" in said.err
        assert said.err.count("(refused: ") == 3
        forced = tool("--to", servers, "--verify", "--force", ".")
        assert (forced.code, path.read_text()) == (0, TEXT.replace(OLD, servers))
        assert "Going on all the same" in forced.err


@pytest.mark.real
def test_verify_asks_the_new_triad_for_its_master(tool: Tool) -> None:
    """R3: 0 while it serves, 6 when one node is left alone (T1)."""
    path = tool.ini()
    with FakeTriad(features={"X": 1}) as triad:
        triad.wait_until_serving()
        assert tool("--to", triad.servername, "--verify", ".").code == 0
        assert path.read_text() == TEXT.replace(OLD, triad.servername)
        triad.primary.kill()
        triad.secondary.kill()
        said = tool("--to", triad.servername.replace("127.0.0.1", "localhost"), "--verify", ".")
        assert (said.code, path.read_text()) == (6, TEXT.replace(OLD, triad.servername))
        assert "none of these servers is master" in said.err


# ------------------------------------------------------------------------------------------------------------- one file


@posix
@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_the_one_file_tool_runs_with_python_alone(tool: Tool) -> None:
    """R9: built by make, run without any package, any variable, and this checkout."""
    subprocess.run(["make", "pyz", f"PYZ={tool.folder / 'one.pyz'}", f"PYTHON={sys.executable}"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    path = tool.ini()

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        alone = [sys.executable, "-I", "-S", "one.pyz", *words]
        return subprocess.run(alone, cwd=tool.folder, env={"HOME": str(tool.folder)}, capture_output=True, text=True, check=False, timeout=30)

    done = run("--to", NEW, "--journal", "j", "x.ini")
    assert (done.returncode, path.read_text()) == (0, TEXT.replace(OLD, NEW)), done.stderr
    assert "To go back: python3 one.pyz --undo " in done.stdout  # there is no other palclient
    assert run("redirect", "--undo", "j").returncode == 0
    assert path.read_text() == TEXT
    with closed_ports() as servers:
        assert run("--to", servers, "--verify", "x.ini").returncode == 5
    assert "usage: python3 one.pyz" in run("--help").stdout
