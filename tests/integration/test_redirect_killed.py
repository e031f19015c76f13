"""A redirect that is killed at any moment: every file is the old or the new one, whole, and undoing works from what the journal holds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from palclient.redirect import Status, undo_redirect
from tests.children import Child, clean_environment

pytestmark = [pytest.mark.real, pytest.mark.skipif(os.name != "posix", reason="Windows has no SIGKILL")]

if sys.platform != "win32":
    KILL = signal.SIGKILL
else:
    KILL = signal.SIGTERM  # for the table below, which is made there, too
FILES = 500
NEW = "27000@new1,27000@new2,27000@new3"
LONGEST_S = 1.5  # from a process's start to its end, when the machine is not busy

RUN = """
import sys
from palclient.redirect import plan_redirect
folder, journal, to = sys.argv[1:]
plan_redirect(folder, to=to).apply(journal=journal, on_progress=lambda done, of: print(f"done {done}.", flush=True))
"""
TOOL = "import sys; from palclient.cli.redirect import main; sys.exit(main())"


def old(number: int) -> bytes:
    """What file ``number`` has before: no two have the same length."""
    return b"[License]\r\n" + b";" * number + f"\r\nSERVERNAME=27000@old{number}\r\nlast=1".encode()


def new(number: int) -> bytes:
    """What it has after."""
    return old(number).replace(f"27000@old{number}".encode(), NEW.encode())


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """Folders with files."""
    folder = tmp_path / "fleet"
    for number in range(FILES):
        path = folder / f"pc{number % 7}" / f"{number}.ini"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(old(number))
    return folder


def written(fleet: Path) -> int:
    """How many files are new.  Each is old or new, and there is nothing else but scratch files."""
    states = []
    for path in fleet.rglob("*"):
        if path.suffix == ".ini":
            number, content = int(path.stem), path.read_bytes()
            assert content in {old(number), new(number)}, path
            states.append(content == new(number))
        else:
            assert path.is_dir() or path.name.startswith(".palclient-")
    assert len(states) == FILES
    return sum(states)


def restored(fleet: Path, journal: Path) -> None:
    """Undo, and see that all is as it was, without a trace."""
    if journal.exists() and journal.read_bytes().count(b"\n") > 0:
        report = undo_redirect(journal)
        assert {outcome.status for outcome in report.outcomes} <= {Status.CHANGED, Status.RIGHT}
    assert written(fleet) == 0
    assert not list(fleet.rglob(".palclient-*"))


@pytest.mark.parametrize("done, how", [(1, KILL), (9, KILL), (120, KILL), (433, KILL), (200, signal.SIGINT), (200, signal.SIGTERM)])
def test_ended_after_so_many_files_each_is_old_or_new_and_undoing_restores_all(fleet: Path, tmp_path: Path, done: int, how: signal.Signals) -> None:
    """R4, R5: threads are in the middle of their files at that moment."""
    journal = tmp_path / "journal"
    with Child(RUN, str(fleet), str(journal), NEW) as child:
        child.wait_for(f"done {done}.")
        child.process.send_signal(how)
        child.process.wait()
    assert done <= written(fleet)
    restored(fleet, journal)


def test_undoing_that_is_killed_can_be_done_again(fleet: Path, tmp_path: Path) -> None:
    """R5."""
    journal = tmp_path / "journal"
    subprocess.run([sys.executable, "-c", RUN, fleet, journal, NEW], env=clean_environment(), stdout=subprocess.DEVNULL, check=True)
    assert written(fleet) == FILES
    undo = "import sys; from palclient.redirect import undo_redirect; undo_redirect(sys.argv[1], on_progress=lambda done, of: print(f'done {done}.', flush=True))"
    with Child(undo, str(journal)) as child:
        child.wait_for("done 100.")
        child.process.kill()
        child.process.wait()
    assert 0 < written(fleet) <= FILES - 100
    restored(fleet, journal)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_at_any_moment_of_two_hundred_redirects(fleet: Path, tmp_path: Path) -> None:
    """Issue 6: 200 redirects of 500 files, by the command line, killed at a moment of chance from the start of the process to its end."""
    luck = Random(6)
    broken_off = 0
    for round_number in range(200):
        journal = tmp_path / f"journal{round_number}"
        command = [sys.executable, "-c", TOOL, "--to", NEW, "--journal", str(journal), str(fleet)]
        with subprocess.Popen(command, env=clean_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                process.wait(luck.uniform(0.0, LONGEST_S))
            except subprocess.TimeoutExpired:
                process.kill()
        broken_off += 0 < written(fleet) < FILES
        restored(fleet, journal)
    assert broken_off >= 10  # else the moments were badly chosen
