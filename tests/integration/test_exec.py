"""``palclient exec``: a command that runs while a seat is held; its exit code, its signals, and what becomes of it when the seat is lost."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakeserver import FakeTriad
from palclient import cli
from palclient.cli.exec import BY_SIGNAL
from tests import hostile
from tests.canned import CannedMaster
from tests.children import LIMIT_S, Child, wait_until

pytestmark = pytest.mark.real

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals that one process sends another")
MAIN = "import sys; from palclient.cli import main; sys.exit(main())"
SAY_AND_WAIT = "import sys; print('running', flush=True); sys.stdin.readline()"
SAY_SIGNALS = """
import signal, sys
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGINT):
    signal.signal(number, lambda number, frame: print("got", signal.Signals(number).name, flush=True))
print("running", flush=True)
sys.stdin.readline()
sys.exit(7)
"""


@pytest.fixture(scope="module")
def triad() -> Iterator[FakeTriad]:
    """A triad that no test of this module hurts; each gives back what it takes."""
    with FakeTriad(features={"X": 2}) as triad:
        triad.wait_until_serving(LIMIT_S)
        yield triad


def in_use(triad: FakeTriad) -> int:
    """Seats taken, by the master's word."""
    return int(triad.usage()["features"][0]["in_use"])


def python(program: str) -> list[str]:
    """The end of a command line that runs this."""
    return ["--", sys.executable, "-c", program]


def test_a_seat_is_held_while_the_command_runs_and_its_exit_code_is_passed_on(triad: FakeTriad) -> None:
    """api, the command line: exec; what the command reads and writes is its own affair."""
    command = python("print('running', flush=True); import sys; sys.exit(int(input()))")
    with Child(MAIN, "exec", "X", "--count", "2", "--servers", triad.servername, *command) as child:
        child.wait_for("running")
        assert in_use(triad) == 2
        child.tell("41")
        assert (child.end(), child.complained) == (41, "")
        assert in_use(triad) == 0


@pytest.mark.parametrize("is_feature_last", [False, True])
def test_words_after_the_two_hyphens_are_the_commands_own(is_feature_last: bool, triad: FakeTriad, capfd: pytest.CaptureFixture[str]) -> None:  # noqa: FBT001 - a column of the table
    """Options of the command that exec has, too, and further pairs of hyphens: ``git checkout -- file`` is not ``git checkout file``."""
    words = ["--wait", "1", "--json", "--", "--count", "a b"]
    command = [sys.executable, "-c", "import sys; print(sys.argv[1:])", *words]
    own = ["--servers", triad.servername, "X"] if is_feature_last else ["X", "--servers", triad.servername]
    assert cli.main(["exec", *own, "--", *command]) == 0
    assert capfd.readouterr().out == f"{words}\n"


WRONG: list[tuple[list[str], int, str]] = [
    (["X", "--", "/no/such/program"], 127, "/no/such/program: No such file"),
    (["X", "--", str(Path(__file__).parent)], 126, "Permission denied"),
    (["Y", "--", "true"], 7, "Y"),
    (["X", "--count", "3", "--", "true"], 7, "-26"),
    (["X", "--count", "0", "--", "true"], 2, "count"),
    (["X", "--wait", "-1", "--", "true"], 2, "seconds"),
    (["", "--", "true"], 2, "feature"),
]


@pytest.mark.parametrize("argv, code, told", WRONG, ids=[" ".join(argv[:3]) for argv, _, _ in WRONG])
def test_what_cannot_be_done_has_its_exit_code_and_leaves_no_seat_taken(
    argv: list[str], code: int, told: str, triad: FakeTriad, capfd: pytest.CaptureFixture[str]
) -> None:
    """api, exit codes; 126 and 127 are a shell's."""
    assert cli.main(["exec", "--servers", triad.servername, *argv]) == code
    seen = capfd.readouterr()
    assert told in seen.err
    assert "Traceback" not in seen.err
    assert in_use(triad) == 0


@pytest.mark.parametrize("argv", [["X"], ["X", "--"], ["--", "true"], ["X", "--on-loss", "cry", "--", "true"], ["X", "--count", "two", "--", "true"]])
def test_wrong_usage_ends_with_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """api, exit codes."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["exec", *argv])
    assert ended.value.code == 2
    assert "usage: palclient exec" in capsys.readouterr().err


@POSIX
def test_signals_are_handed_on_and_the_code_is_the_commands(triad: FakeTriad) -> None:
    """api: forwards signals; SIGINT, too, where no terminal sends it to both."""
    with Child(MAIN, "exec", "X", "--servers", triad.servername, *python(SAY_SIGNALS)) as child:
        child.wait_for("running")
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGINT):
            child.process.send_signal(number)
            child.wait_for(f"got {number.name}")
        assert in_use(triad) == 1
        child.tell()
        assert (child.end(), child.complained) == (7, "")
        assert in_use(triad) == 0


@POSIX
def test_a_command_that_a_signal_ended_ends_with_128_and_its_number(triad: FakeTriad) -> None:
    """As a shell does; the seat comes back."""
    with Child(MAIN, "exec", "X", "--servers", triad.servername, *python(SAY_AND_WAIT)) as child:
        child.wait_for("running")
        child.process.send_signal(signal.SIGTERM)
        assert (child.end(), child.complained) == (BY_SIGNAL + signal.SIGTERM, "")
        assert in_use(triad) == 0


@POSIX
@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_in_line_gives_the_place_up(number: signal.Signals, triad: FakeTriad) -> None:
    """Before the command has begun, a signal ends exec itself, in good order."""
    with Child(MAIN, "exec", "X", "--count", "2", "--servers", triad.servername, *python(SAY_AND_WAIT)) as holder:
        holder.wait_for("running")
        with Child(MAIN, "exec", "X", "--wait", "inf", "--servers", triad.servername, *python(SAY_AND_WAIT)) as child:
            wait_until(lambda: triad.usage()["features"][0]["queued"] == 1, "it stands in line")
            child.process.send_signal(number)
            assert child.end() == BY_SIGNAL + number
            assert "Traceback" not in child.complained
        assert triad.usage()["features"][0]["queued"] == 0
        holder.tell()
        assert holder.end() == 0


@pytest.mark.parametrize("on_loss, code", [("warn", 3), ("stop", 1)])
def test_a_loss_is_told_and_ends_the_command_if_that_is_wanted(on_loss: str, code: int) -> None:
    """api: ``--on-loss warn|stop``."""
    master = CannedMaster(ttl_s=b"0.6")
    program = "import sys; print('running', flush=True); sys.exit(int(sys.stdin.readline()))"
    with (
        hostile.Server(master) as server,
        Child(MAIN, "exec", "X", "--on-loss", on_loss, "--servers", f"{server.port}@127.0.0.1", *python(program)) as child,
    ):
        child.wait_for("running")
        master.spoilt, master.weather = "/v1/renewals", hostile.Visit.reset
        if on_loss == "warn":
            claims = len(master.asked)
            wait_until(lambda: any(method == "PUT" for _, method, _ in master.asked[claims:]), "the seat is claimed again, so it was lost")
            child.tell("3")
        assert child.end() == code
    assert "palclient: the seat of X is lost: no master confirmed it in time" in child.complained
    assert ("the command is ended" in child.complained) is (on_loss == "stop")
