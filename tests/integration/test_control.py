"""The control port and ``palclient triad``: a fake triad under test from any language (F, docs/reference/control.md)."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fakeserver import Control, FakeTriad, FakeTriadError
from fakeserver.faults import FAULTS
from palclient.cli.triad import HELP, asked
from tests.integration import probing
from tests.integration.probing import LIMIT_S, wait_for

pytestmark = pytest.mark.real

HOWTO = Path(__file__).resolve().parents[2] / "docs" / "howto" / "failover-with-curl.md"
ID = "0f4e8a5e-0c53-4b2d-9a9e-3d5f7c1f2b60"


@pytest.fixture(scope="module")
def triad() -> Iterator[FakeTriad]:
    """One triad for all tests of this module."""
    with FakeTriad(features={"X": 5}, ttl_s=30.0) as triad:
        triad.wait_until_serving(LIMIT_S)
        yield triad


@pytest.fixture
def control(triad: FakeTriad) -> Iterator[Control]:
    """Its control, with all healed afterwards."""
    with Control(triad) as control:
        yield control
    triad.reset()


def ask(control: Control, method: str, path: str, body: object = None, **headers: str) -> tuple[int, dict[str, Any]]:
    """A request below ``/control``, and its answer."""
    return probing.ask("127.0.0.1", control.port, method, f"/control{path}", body, timeout=LIMIT_S, **headers)


def test_faults_are_played_and_healed_over_http(triad: FakeTriad, control: Control) -> None:
    """F: the words of the design page; the answer comes when the fault is there."""
    status, told = ask(control, "PUT", "/nodes/primary/faults/slow", {"latency_s": 0.2, "clients_only": True})
    assert (status, [fault["name"] for fault in told["faults"]]) == (200, ["slow"])
    began = time.monotonic()
    assert triad.primary.status() is not None
    assert time.monotonic() - began >= 0.2
    assert ask(control, "PUT", "/nodes/primary/faults/overloaded")[0] == 200
    assert ask(control, "DELETE", "/nodes/primary/faults/slow")[1]["faults"][0]["name"] == "overloaded"
    assert ask(control, "DELETE", "/nodes/primary/faults")[1]["faults"] == []


def test_processes_are_killed_frozen_and_started_over_http(triad: FakeTriad, control: Control) -> None:
    """F: kill, restart, pause, resume, stop; heal lets what is frozen go on, and starts nothing."""
    assert ask(control, "POST", "/nodes/tertiary/pause")[1]["state"] == "frozen"
    assert ask(control, "POST", "/nodes/tertiary/resume")[1]["state"] in {"standby", "electing", "no_quorum"}
    assert ask(control, "POST", "/nodes/tertiary/kill")[1]["state"] == "down"
    assert ask(control, "POST", "/nodes/secondary/pause")[0] == 200
    nodes = ask(control, "POST", "/heal")[1]["nodes"]
    assert (nodes["tertiary"]["state"], nodes["tertiary"]["pid"]) == ("down", None)
    assert nodes["secondary"]["state"] != "frozen"
    assert ask(control, "POST", "/nodes/tertiary/restart")[1]["pid"] == triad.tertiary.pid
    assert ask(control, "POST", "/nodes/tertiary/stop")[1]["state"] == "down"


def test_links_are_cut_and_mended_over_http(triad: FakeTriad, control: Control) -> None:
    """F: one link, one way or both; a node from both others."""
    ask(control, "PUT", "/links/primary/secondary", {"one_way": True})
    assert [node.faults[0].name for node in (triad.primary, triad.secondary)] == ["partition"] * 2
    assert ask(control, "DELETE", "/links/primary/secondary")[1]["nodes"]["primary"]["faults"] == []
    assert len(ask(control, "PUT", "/nodes/primary/isolated")[1]["faults"]) == 2
    wait_for(lambda: triad.secondary.is_master, "the secondary serves")
    names = [entry["name"] for entry in ask(control, "GET", "/journal")[1]["journal"]]
    assert {"partition", "elected", "serving"} <= set(names)
    assert any("Lost connection" in line for line in ask(control, "GET", "/nodes/secondary/log")[1]["log"])


def test_a_pool_is_filled_and_a_triad_reset_over_http(triad: FakeTriad, control: Control) -> None:
    """F: fill, expire, reset."""
    triad.wait_until_serving(LIMIT_S)
    assert ask(control, "PUT", "/faults/fill", {"feature": "X"})[0] == 200
    assert triad.usage()["features"][0]["in_use"] == 5
    assert ask(control, "DELETE", "/faults/fill")[0] == 200
    assert triad.usage()["features"][0]["in_use"] == 0
    assert ask(control, "PUT", "/faults/expire", {"feature": "X"})[0] == 200
    nodes = ask(control, "POST", "/reset")[1]["nodes"]
    assert [node["faults"] for node in nodes.values()] == [[]] * 3
    assert nodes["primary"]["state"] == "master"


@pytest.mark.parametrize(
    "status, call, body, said",
    [
        (404, "GET /moon", None, "means nothing"),
        (404, "POST /nodes/fourth/kill", None, "means nothing"),
        (404, "POST /nodes/primary/tickle", None, "means nothing"),
        (400, "PUT /nodes/primary/faults/sloth", None, "There is no fault 'sloth'"),
        (400, "PUT /nodes/primary/faults/slow", {"latency_s": "long"}, "latency_s must be a number"),
        (400, "PUT /nodes/primary/faults/slow", {"latency_s": 10**400}, "latency_s must be a number"),
        (400, "PUT /nodes/primary/faults/slow", b"{", "not JSON"),
        (400, "PUT /nodes/primary/faults/slow", b"[" * 60_000, "not JSON"),
        (400, "PUT /nodes/primary/faults/slow", b"[]", "not a JSON object"),
        (400, "PUT /links/primary/primary", None, "two ends"),
        (400, "PUT /links/primary/nobody", None, "There is no 'nobody'"),
        (400, "PUT /links/primary/secondary", {"one_way": 1}, "one_way"),
        (400, "PUT /faults/fill", {}, "takes a feature"),
        (413, "POST /heal", b" " * 70_000, "at most"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_sentence(control: Control, status: int, call: str, body: object, said: str) -> None:
    """Issue "the triad in full", bad input: a problem reply, and nothing is changed."""
    method, path = call.split()
    got, problem = ask(control, method, path, body)
    assert (got, problem["status"]) == (status, status)
    assert said in problem["detail"]
    assert all(node["faults"] == [] for node in ask(control, "GET", "")[1]["nodes"].values())


def test_no_web_page_gets_at_the_control(control: Control) -> None:
    """Neither from another origin, nor by a name that leads here."""
    assert ask(control, "POST", "/nodes/primary/kill", Origin="http://evil.example")[0] == 403
    assert ask(control, "POST", "/nodes/primary/kill", Host=f"evil.example:{control.port}")[0] == 403
    assert ask(control, "GET", "", Host="localhost")[1]["nodes"]["primary"]["state"] == "master"


def test_a_port_that_is_taken_is_named_and_no_thread_is_left(triad: FakeTriad) -> None:
    """Issue "the triad in full", bad input; style 16."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(FakeTriadError, match=rf"Port {port} of 127\.0\.0\.1 cannot be had for the control"):
            Control(triad, port=port)
    with Control(triad):
        assert any(thread.name == "fakeserver control" for thread in threading.enumerate())
    assert not any(thread.name == "fakeserver control" for thread in threading.enumerate())


# --- by hand ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "typed, means",
    [
        ("kill primary", ("POST", "nodes/primary/kill", {})),
        (
            "slow primary latency_s=0.2 clients_only=true",
            ("PUT", "nodes/primary/faults/slow", {"latency_s": 0.2, "clients_only": True}),
        ),
        ("garbage secondary kind=not_json", ("PUT", "nodes/secondary/faults/garbage", {"kind": "not_json"})),
        ("partition primary tertiary one_way=true", ("PUT", "links/primary/tertiary", {"one_way": True})),
        ("mend primary tertiary", ("DELETE", "links/primary/tertiary", {})),
        ("isolate primary", ("PUT", "nodes/primary/isolated", {})),
        *[(f"{verb} tertiary", ("POST", f"nodes/tertiary/{verb}", {})) for verb in ("stop", "restart", "pause", "resume")],
        ("fill X", ("PUT", "faults/fill", {"feature": "X"})),
        ("expire X", ("PUT", "faults/expire", {"feature": "X"})),
        ("heal", ("POST", "heal", {})),
        ("heal primary", ("DELETE", "nodes/primary/faults", {})),
        ("heal primary slow", ("DELETE", "nodes/primary/faults/slow", {})),
        ("reset", ("POST", "reset", {})),
        ("reread", ("POST", "reread", {})),
        ("report", ("GET", "report", {})),
        ("journal", ("GET", "journal", {})),
        ("status", ("GET", "", {})),
    ],
)
def test_a_typed_command_is_a_call_of_the_control(typed: str, means: tuple[str, str, dict[str, object]]) -> None:
    """F, from the command line: the same names."""
    assert asked(typed.split()) == means


def test_the_help_names_every_fault_of_a_node() -> None:
    """F: all of them, from the command line."""
    named = HELP.partition("clients_only=true\n")[2].partition("fill FEATURE")[0].split()
    assert {*named, "fill", "expire", "partition"} == set(FAULTS)


def test_a_typed_command_that_means_nothing_is_said_so() -> None:
    """F, from the command line."""
    with pytest.raises(ValueError, match=r"'fly me to moon' means nothing here; type help\."):
        asked("fly me to moon".split())


def by_hand(*arguments: str) -> subprocess.Popen[str]:
    """``palclient triad``."""
    command = [sys.executable, "-c", "import sys; from palclient.cli import main; sys.exit(main(sys.argv[1:]))", "triad", *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("leaves", ["quit", "exit"])
def test_a_triad_by_hand_prints_an_ini_does_what_is_typed_and_quits(leaves: str) -> None:
    """Issue "the triad in full", from other languages; api, the command line."""
    with by_hand("--feature", "X=1") as hand:
        out, err = hand.communicate(f"status\n\nkill tertiary\nsink primary\nslow primary\njournal\nhelp\n{leaves}\nstatus\n", timeout=LIMIT_S)
    assert hand.returncode == 0
    assert re.match(r"\[Network\]\nSERVERNAME=\d+@127\.0\.0\.1,\d+@127\.0\.0\.1,\d+@127\.0\.0\.1\n\nControl: http://127\.0\.0\.1:\d+/control\n", out)
    assert len(re.findall(r"^primary +\d+@127\.0\.0\.1 +master +term 1$", out, flags=re.MULTILINE)) == 1  # after the end nothing is done
    assert re.search(r"^\d+\.\d{3} tertiary  killed \{\}$", out, flags=re.MULTILINE)
    assert re.search(r"^tertiary +\d+@127\.0\.0\.1 +down", out, flags=re.MULTILINE)
    assert "There is no fault 'sink'" in err
    assert "slow needs latency_s." in err
    assert err.endswith(f"{HELP}\n")


def test_a_triad_by_hand_reads_its_options_again(tmp_path: Path) -> None:
    """G7, by a typed order; a file that cannot be read is said so, and the triad goes on."""
    options = tmp_path / "options"
    options.write_text("EXCLUDE X USER ann\n", encoding="ascii")
    with by_hand("--feature", "X=1", "--options", str(options)) as hand:
        assert hand.stdin is not None
        assert hand.stdout is not None
        endpoint = next(line for line in hand.stdout if line.startswith("SERVERNAME=")).removeprefix("SERVERNAME=")
        assert [hand.stdout.readline() for _ in range(2)][1].startswith("Control: ")

        def typed(order: str) -> str:
            hand.stdin.write(f"{order}\n")  # type: ignore[union-attr]
            hand.stdin.flush()  # type: ignore[union-attr]
            return hand.stdout.readline()  # type: ignore[union-attr]

        port = endpoint.partition("@")[0]
        asked = {"feature": "X", "version": "0", "count": 1, "holder": {"user": "ann", "host": "pc7"}, "nonce": "n"}

        def take() -> int:
            connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=LIMIT_S)
            connection.request("PUT", f"/v1/checkouts/{ID}", body=json.dumps(asked), headers={"Prefer": "wait=10"})
            status = connection.getresponse().status
            connection.close()
            return status

        assert take() == 403
        options.write_text("", encoding="ascii")
        assert typed("reread").startswith("primary ")
        assert [hand.stdout.readline().split()[0] for _ in range(2)] == ["secondary", "tertiary"]
        assert take() == 201
        assert [json.loads(typed("report"))["event"], *(json.loads(hand.stdout.readline())["event"] for _ in range(2))] == [
            "CONNECTED",
            "DENIED",
            "OUT",
        ]
        options.unlink()
        _, err = hand.communicate("reread\nquit\n", timeout=LIMIT_S)
    assert hand.returncode == 0
    assert str(options) in err


def test_without_a_terminal_the_end_of_the_input_is_no_reason_to_go() -> None:
    """From other languages: who starts it with no input at all has it until SIGTERM."""
    with by_hand() as hand:
        assert hand.stdin is not None
        assert hand.stdout is not None
        hand.stdin.close()
        hand.stdin = None
        address = next(line for line in hand.stdout if line.startswith("Control:"))
        port = address.rpartition(":")[2].partition("/")[0]
        for verb in ("kill", "restart"):  # which take longer than to see that there is no input
            assert probing.ask("127.0.0.1", int(port), "POST", f"/control/nodes/tertiary/{verb}", timeout=LIMIT_S)[0] == 200
        hand.send_signal(signal.SIGTERM)
        out, err = hand.communicate(timeout=LIMIT_S)
    assert (hand.returncode, out, err) == (0, "", "")


@pytest.mark.parametrize(
    "words, says",
    [
        (["--heartbeat", "0"], "heartbeat"),
        (["--ttl", "0.001"], "ttl"),
        (["--feature", "X"], "NAME=SEATS"),
        (["--control", "65536"], "is no port"),
    ],
)
def test_a_value_that_cannot_be_is_a_mistake_of_usage(words: list[str], says: str) -> None:
    """Api, exit codes: 2, and the word that is wrong."""
    with by_hand(*words) as hand:
        out, err = hand.communicate(timeout=LIMIT_S)
    assert (hand.returncode, out) == (2, "")
    assert says in err


@pytest.mark.skipif(shutil.which("curl") is None or shutil.which("sh") is None, reason="the page is for those who have curl and a shell")
def test_the_failover_with_curl_goes_as_the_page_says(tmp_path: Path) -> None:
    """docs/howto/failover-with-curl.md: every command of the page, in its order."""
    start, *steps = re.findall(r"^```sh\n(.*?)^```$", HOWTO.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    words = start.split()
    assert words[:3] == ["palclient", "triad", "--control"]
    with by_hand("--control", port, *words[4:]) as hand:
        assert hand.stdout is not None
        while not hand.stdout.readline().startswith("Control:"):
            assert hand.poll() is None
        script = "\necho ---\n".join(step.replace(words[3], port) for step in steps)
        done = subprocess.run(["sh", "-eu", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        hand.send_signal(signal.SIGTERM)
        hand.communicate(timeout=LIMIT_S)
    assert (done.returncode, done.stderr) == (0, "")
    _, grant, _, again, usage, *_ = done.stdout.split("---\n")
    first, second = json.loads(grant), json.loads(again)
    assert first["id"] == second["id"] == ID
    assert (second["seq"], second["role"]) == (first["seq"], "secondary")
    assert second["term"] > first["term"] == 1
    assert json.loads(usage)["features"][0]["in_use"] == 1
