"""The command line as its user has it: what it says, to whom, and with which exit code it ends; and that it leaves nothing behind.

(``redirect`` and ``license`` have tests of their own beside this.)
"""

from __future__ import annotations

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from fakeserver import FakeTriad
from palclient import Client, cli
from palclient.cli import screen
from palclient.cli.config import run as run_config
from palclient.config import Surroundings
from tests import hostile
from tests.children import LIMIT_S, ROOT, Child, clean_environment, wait_until

pytestmark = pytest.mark.real

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals that one process sends another")
MAIN = "import sys; from palclient.cli import main; sys.exit(main())"


@pytest.fixture(scope="module")
def triad() -> Iterator[FakeTriad]:
    """Three servers in good health."""
    with FakeTriad(features={"X": 2, "Y": 1}) as triad:
        triad.wait_until_serving(LIMIT_S)
        yield triad


@pytest.fixture(autouse=True)
def no_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable and no file of this machine says anything about servers."""
    for name in [name for name in os.environ if name.startswith("PALCLIENT_")]:
        monkeypatch.delenv(name)
    for name in ("HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS"):
        monkeypatch.setenv(name, str(tmp_path / "home"))


# --- what a user gets wrong ---------------------------------------------------------------------------------------------------------

WRONG_USAGE = [
    [],
    ["chekout"],
    ["status", "--timeout", "soon"],
    ["status", "--timeout"],
    ["status", "--port", "27000"],
    ["status", "X"],
    ["status", "--json", "--lmstat"],
    ["config", "--ini"],
    ["demo", "now"],
]


@pytest.mark.parametrize("argv", WRONG_USAGE, ids=" ".join)
def test_wrong_usage_ends_with_2_and_the_usage(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """api, exit codes: 2 is usage."""
    with pytest.raises(SystemExit) as ended:
        cli.main(argv)
    told = capsys.readouterr()
    assert (ended.value.code, told.out) == (2, "")
    assert told.err.startswith("usage: palclient")


WRONG_CONFIGURATION: list[tuple[list[str], str]] = [
    (["status"], "SERVERNAME"),
    (["status", "--servers", ""], "SERVERNAME"),
    (["status", "--servers", "27000@a;27000@b;27000@c"], "27000@a,27000@b,27000@c"),
    (["status", "--servers", "27000@a,27000@b"], "three"),
    (["status", "--servers", "27000@a", "--timeout", "-1"], "seconds"),
    (["status", "--servers", "27000@a", "--timeout", "nan"], "seconds"),
    (["status", "--ini", "no-such.ini"], "no-such.ini"),
    (["status", "--ini", "."], "."),
    (["config"], "PALCLIENT_SERVERNAME"),
    (["config", "--json"], "PALCLIENT_SERVERNAME"),
    (["config", "--ini", "no-such.ini"], "no-such.ini"),
    (["config", "--servers", "0@a"], "65535"),
]


@pytest.mark.parametrize("argv, named", WRONG_CONFIGURATION, ids=[" ".join(argv) for argv, _ in WRONG_CONFIGURATION])
def test_a_wrong_configuration_ends_with_2_and_advice(argv: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    """api, exit codes; issue "the main job": no traceback ever reaches a user of the command line."""
    assert cli.main(argv) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert named in told.err
    assert "Traceback" not in told.err


def test_a_mistake_of_our_own_is_one_line_for_the_user_and_a_traceback_for_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    """Issue "the main job": no traceback ever reaches a user; exit code 1."""
    closed = io.StringIO()
    closed.close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", closed)  # whatever is printed raises ValueError, which no command expects
        assert cli.main(["config", "--servers", "27000@a"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("Something went wrong inside palclient: ValueError")
    assert "Traceback" not in told


# --- status and config --------------------------------------------------------------------------------------------------------------


def test_status_shows_every_node_and_who_holds_what(triad: FakeTriad, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """api: the triad's nodes, who is master, who holds what; exit code 0 when a master serves."""
    ini = triad.write_ini(tmp_path / "palclient.ini")
    with Client(ini=ini) as client, client.checkout("X"):
        assert cli.main(["status", "--ini", str(ini), "--usage"]) == 0
    told = capsys.readouterr()
    assert str(ini) in told.out
    for node, says in zip(triad.nodes, ("master", "standby", "standby"), strict=True):
        assert re.search(rf"{node.endpoint} +{node.role} +{says} \(term \d+\)", told.out)
    assert "X: 1 of 2 in use" in told.out
    assert f"pid {os.getpid()}" in told.out
    assert "Y: 0 of 1 in use" in told.out
    assert told.err == ""


def test_status_in_the_manner_of_lmstat_has_a_line_for_each_node_and_each_user(triad: FakeTriad, capsys: pytest.CaptureFixture[str]) -> None:
    """Issue "the triad in full": `UP (MASTER)`, users with start time; usage without being asked for it."""
    with Client(triad.servername) as client, client.checkout("X"):
        assert cli.main(["status", "--servers", triad.servername, "--lmstat"]) == 0
    told = capsys.readouterr().out
    assert f"  {triad.primary.endpoint}: server UP (MASTER)\n" in told
    assert f"  {triad.secondary.endpoint}: server UP (standby)\n" in told
    assert re.search(
        rf"Users of X: \(2 licenses issued; 1 license in use; 0 queued\)\n.* {os.getpid()}\), start \w{{3}} \d+/\d+ \d+:\d\d, 1 license\n", told
    )


def test_status_for_machines_says_the_same(triad: FakeTriad, capsys: pytest.CaptureFixture[str]) -> None:
    """api: ``--json`` everywhere."""
    with Client(triad.servername) as client, client.checkout("Y") as lease:
        assert cli.main(["status", "--servers", triad.servername, "--usage", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(node["endpoint"], node["role"], node["state"]) for node in told["nodes"]] == [
        (node.endpoint, node.role, "master" if node.is_master else "standby") for node in triad.nodes
    ]
    (pool,) = (pool for pool in told["usage"] if pool["feature"] == "Y")
    assert (pool["in_use"], pool["total"], [holder["id"] for holder in pool["holders"]]) == (1, 1, [lease.id])


@pytest.mark.parametrize("json_option", [[], ["--json"]], ids=["text", "json"])
def test_status_of_servers_that_do_not_answer_ends_with_5_and_names_each(json_option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """api, exit codes: 5 is no server reachable."""
    with ExitStack() as stack:
        ports = [stack.enter_context(hostile.closed_port()) for _ in range(2)]
        ports.append(stack.enter_context(hostile.Server(hostile.is_silent)).port)
        servername = ",".join(f"{port}@127.0.0.1" for port in ports)
        assert cli.main(["status", "--servers", servername, "--timeout", "0.3", "--usage", *json_option]) == 5
    told = capsys.readouterr().out
    assert all(f"{port}@127.0.0.1" in told for port in ports)
    assert told.count("refused: ") == 2
    assert told.count("timed out: ") == 1


def test_status_without_a_quorum_ends_with_6(capsys: pytest.CaptureFixture[str]) -> None:
    """api, exit codes; T1, T9: reachable does not mean serving."""
    with FakeTriad(features={"X": 1}, start=("primary",)) as alone:
        assert cli.main(["status", "--servers", alone.servername, "--usage"]) == 6
    assert "No server serves licenses: two of the three must be running" in capsys.readouterr().out


def test_config_says_which_servername_is_in_force_and_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """I4, I5: the winner with its reason; what outranks it on real machines is reported on stderr."""
    ini = tmp_path / "palclient.ini"
    ini.write_text("[License]\nservername = 27000@lic1 , 27000@lic2,27000@lic3\n", encoding="ascii")
    monkeypatch.setenv("PALCLIENT_INI", str(ini))
    monkeypatch.setenv("LM_LICENSE_FILE", "27000@old")
    assert cli.main(["config"]) == 0
    told = capsys.readouterr()
    assert told.out.startswith(f"SERVERNAME=27000@lic1,27000@lic2,27000@lic3\nfrom variable PALCLIENT_INI names {ini}")
    assert "note: LM_LICENSE_FILE is 27000@old (environment)" in told.err
    assert cli.main(["config", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["servername"] == "27000@lic1,27000@lic2,27000@lic3"
    assert facts["trail"][-1]["place"].endswith(str(ini))
    assert {one["name"] for one in facts["outranking"]} == {"LM_LICENSE_FILE"}
    assert cli.main(["config", "--servers", "27000@other"]) == 0
    assert capsys.readouterr().out.startswith("SERVERNAME=27000@other\n")


def test_config_tells_what_outranks_also_when_there_is_no_servername(capsys: pytest.CaptureFixture[str]) -> None:
    """I5: a program that finds its servers while palclient finds none has them from there; on Windows also from the registry, which is read by a function that is passed in."""
    there = Surroundings(
        environ={"LM_LICENSE_FILE": "27000@old"},
        application_directory=lambda: None,
        config_directories=lambda app: (("config folder of the user", f"/none/{app}"),),
        registry=lambda: (("HKLM\\SOFTWARE\\FLEXlm License Manager\\PALISADE_LICENSE_FILE", "27000@older"),),
    )
    options = Namespace(servers=None, ini=None, app=None, json=False)
    assert run_config(options, surroundings=there) == 2
    told = capsys.readouterr().err
    assert "config folder of the user: /none/palclient/palclient.ini: no such file" in told
    assert "note: LM_LICENSE_FILE is 27000@old (environment); palclient does not go by it" in told
    assert told.endswith(
        "note: HKLM\\SOFTWARE\\FLEXlm License Manager\\PALISADE_LICENSE_FILE is 27000@older (registry); "
        "palclient does not go by it, other programs on this machine may\n"
    )


def test_config_shows_a_warning_as_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """I1, N6: with its file and line."""
    ini = tmp_path / "x.ini"
    ini.write_text("[A]\nSERVERNAME=a\nSERVERNAME=b\n", encoding="ascii")
    assert cli.main(["config", "--ini", str(ini)]) == 0
    assert f"warning: {ini}, line 3: This SERVERNAME is not seen: line 2 has the first" in capsys.readouterr().err
    assert cli.main(["config", "--ini", str(ini), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["warnings"][0].startswith("line 3: This SERVERNAME is not seen")


# --- pipes, colours, interruptions --------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    """A stream at which a person looks."""

    def isatty(self) -> bool:
        """Yes."""
        return True


@pytest.mark.parametrize(
    "variables, stream, coloured",
    [
        ({}, Terminal(), True),
        ({"NO_COLOR": ""}, Terminal(), True),  # an empty value does not count (no-color.org)
        ({"NO_COLOR": "1"}, Terminal(), False),
        ({"TERM": "dumb"}, Terminal(), False),
        ({}, io.StringIO(), False),
    ],
)
def test_there_is_colour_on_a_terminal_and_nowhere_else(
    variables: dict[str, str],
    stream: io.StringIO,
    coloured: bool,  # noqa: FBT001 - a column of the table
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """api: ``NO_COLOR``; issue "the main job": coloured on a terminal, plain in a pipe."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert screen.styled("held", "green", stream) == ("\x1b[32mheld\x1b[0m" if coloured else "held")


def test_characters_that_a_terminal_lacks_are_no_reason_to_fail() -> None:
    """A file name in any script is shown as well as the terminal can."""
    with Child(MAIN, "config", "--ini", "Lizenz-\u00fc\u6f22.ini", environment={"PYTHONIOENCODING": "ascii"}) as child:
        assert child.end() == 2
    assert "Lizenz-??.ini" in child.complained


@POSIX
def test_a_reader_that_has_seen_enough_is_no_error_to_tell_of(triad: FakeTriad) -> None:
    """``palclient status | head -0``: exit code 1, and not a word."""
    command = [sys.executable, "-c", MAIN, "status", "--servers", triad.servername, "--json"]
    with subprocess.Popen(command, env=clean_environment(), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(LIMIT_S) == 1


@POSIX
def test_ctrl_c_ends_with_130_and_one_word() -> None:
    """api, exit codes; no traceback."""
    with hostile.Server(hostile.is_silent) as server:
        with Child(MAIN, "status", "--servers", f"{server.port}@127.0.0.1", "--timeout", "60") as child:
            assert server.was_asked.wait(LIMIT_S)
            child.process.send_signal(signal.SIGINT)
            assert child.end() == 130
        assert child.complained == "Interrupted.\n"


# --- the demo -----------------------------------------------------------------------------------------------------------------------


def test_the_demo_keeps_every_promise_and_says_so_to_machines() -> None:
    """api, the command line: exit 0 only if every promise held.  Its own count of promises is checked here against the story that it tells."""
    with Child(MAIN, "demo", "--json") as child:
        assert (child.end(), child.complained) == (0, "")
    told = json.loads("\n".join(child.said))
    promises = [step for step in told["steps"] if "promise" in step]
    assert told["kept"] is True
    assert len(promises) == 18
    assert all(step["kept"] is True for step in promises)
    story = " ".join(step["step"] for step in told["steps"] if "step" in step)
    for word in ("SERVERNAME=", "checked out", "SIGKILL", "PRIMARY_IS_MASTER", "SIGSTOP", "returned"):
        assert word in story
    times = [step["at_ms"] for step in told["steps"]]
    assert times == sorted(times)
    assert times[-1] < 15_000


ENDS = {signal.SIGINT: 130, signal.SIGTERM: -signal.SIGTERM, signal.SIGKILL: -signal.SIGKILL} if sys.platform != "win32" else {}


@POSIX
@pytest.mark.slow
@pytest.mark.parametrize("moment", ["primary killed", "primary frozen"])
def test_no_process_is_left_behind_when_the_demo_is_ended_in_the_middle(moment: str, tmp_path: Path) -> None:
    """Issue "the main job": whatever ends the parent; a frozen primary dies, too.  All ends at the same time."""

    def end_by(number: signal.Signals) -> None:
        folder = tmp_path / number.name
        folder.mkdir()
        with Child(MAIN, "demo", environment={"TMPDIR": str(folder)}) as child:
            servername = child.wait_for("SERVERNAME=").partition("SERVERNAME=")[2]
            child.wait_for(moment)
            child.process.send_signal(number)
            assert child.end() == ENDS[number]
        assert "Traceback" not in child.complained
        ports = [int(entry.partition("@")[0]) for entry in servername.split(",")]
        wait_until(lambda: all(map(is_free, ports)), f"nobody has any of {ports} after {number.name}")
        if number == signal.SIGINT:
            assert list(folder.iterdir()) == []

    with ThreadPoolExecutor(len(ENDS)) as threads:
        list(threads.map(end_by, ENDS))


def is_free(port: int) -> bool:
    """Whether nobody listens, not even somebody frozen."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
