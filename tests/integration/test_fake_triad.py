"""The fake triad as three real processes: who serves through kills, freezes and stops, what becomes of a seat, and that no process is left behind.

Nothing here sleeps: each test waits for what it wants to see, with a deadline.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from fakeserver import FakeNode, FakeTriad, FakeTriadError, NotServing
from fakeserver.disk import Disk
from fakeserver.events import SaveBallot

pytestmark = pytest.mark.real

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 15.0
HOLDER = {"user": "ann", "host": "pc7", "display": ":0", "pid": 4711, "app": "risk"}
ASKED = {"feature": "X", "version": "0", "count": 1, "holder": HOLDER, "nonce": "n"}


def ask(node: FakeNode, method: str, path: str, body: object = None, **headers: str) -> tuple[int, dict[str, Any]]:
    """One request to a node, and its answer."""
    connection = http.client.HTTPConnection(node.host, node.port, timeout=LIMIT_S)
    try:
        connection.request(method, path, body=None if body is None else json.dumps(body), headers=headers)
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read())
    finally:
        connection.close()


def take_seat(node: FakeNode, name: str, *, after_term: int = 0) -> tuple[int, dict[str, Any]]:
    """A checkout of one seat of X under ``name``, parked until there is a master of a term above ``after_term``."""
    return ask(node, "PUT", f"/v1/checkouts/{name}", ASKED, **{"Prefer": "wait=10", "After-Term": str(after_term)})


def in_use(triad: FakeTriad) -> int:
    """How many seats of X are taken, as the master counts."""
    (pool,) = triad.usage()["features"]
    return int(pool["in_use"])


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition, to a deadline."""
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {LIMIT_S:g} s: {what}"
        time.sleep(0.005)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that is dead, and not reaped by whoever should, does not."""
    with suppress(FileNotFoundError):  # there is no /proc elsewhere than on Linux
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def refuses_connections(node: FakeNode) -> bool:
    """Whether nobody listens at the node's port."""
    try:
        socket.create_connection((node.host, node.port), timeout=LIMIT_S).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.fixture(scope="module")
def whole() -> Iterator[FakeTriad]:
    """A triad that no test of this module hurts."""
    with FakeTriad(features={"X": 5}) as triad:
        triad.wait_until_serving(LIMIT_S)
        yield triad


# --- a triad in good health ---------------------------------------------------------------------------------------------------------


def test_a_fresh_triad_serves_from_its_primary(whole: FakeTriad) -> None:
    """T2, T3: all three up, the primary is master, the others follow it."""
    assert whole.wait_for_master(LIMIT_S) is whole.primary
    assert [node.state for node in whole.nodes] == ["master", "standby", "standby"]
    assert [node.is_master for node in whole.nodes] == [True, False, False]
    assert {node.term for node in whole.nodes} == {whole.primary.term}


def test_a_seat_is_taken_counted_and_given_back(whole: FakeTriad) -> None:
    """G3: asked twice under one id, one seat."""
    name = str(uuid.uuid4())
    assert take_seat(whole.primary, name)[0] == 201
    assert take_seat(whole.primary, name)[0] == 200
    assert in_use(whole) == 1
    assert ask(whole.primary, "DELETE", f"/v1/checkouts/{name}")[1]["returned"] is True
    assert in_use(whole) == 0


def test_a_node_that_is_not_master_points_to_the_one_that_is(whole: FakeTriad) -> None:
    """T6; protocol: 421 with the master's role, at once even when parking is allowed."""
    status, problem = take_seat(whole.tertiary, str(uuid.uuid4()))
    assert (status, problem["type"], problem["master"]) == (421, "urn:palclient:problem:not-master", "primary")


def test_the_triad_tells_what_it_is(whole: FakeTriad, tmp_path: Path) -> None:
    """Api, the fake triad: servername, write_ini, status, log_lines, journal."""
    assert whole.servername == ",".join(f"{node.port}@127.0.0.1" for node in whole.nodes)
    assert f"SERVERNAME={whole.servername}\n" in whole.write_ini(tmp_path / "palclient.ini").read_text(encoding="ascii")
    status = whole.status()
    assert {role: told["role"] for role, told in status.items()} == {role: role for role in ("primary", "secondary", "tertiary")}
    assert status["primary"]["triad"] == whole.servername.split(",")
    assert any("CONNECTED, master is 127.0.0.1" in line for line in whole.primary.log_lines())
    times = [entry.at_s for entry in whole.journal]
    assert times == sorted(times)
    assert {entry.node for entry in whole.journal.named("started")} == {"primary", "secondary", "tertiary"}


def test_a_place_in_line_survives_the_master() -> None:
    """Issue "the triad in full", queue: first come, first served, also at the next master, whoever finds it first."""
    holding, first, second = (str(uuid.uuid4()) for _ in range(3))

    def stand(node: FakeNode, name: str) -> tuple[int, dict[str, Any]]:
        return ask(node, "PUT", f"/v1/checkouts/{name}", ASKED | {"queue": True}, **{"Prefer": "wait=10", "After-Term": "1"})

    with FakeTriad(features={"X": 1}, ttl_s=30) as triad:
        triad.wait_until_serving(LIMIT_S)
        take_seat(triad.primary, holding)
        assert [stand(triad.primary, name)[1]["position"] for name in (first, second)] == [1, 2]
        triad.primary.kill()
        assert stand(triad.secondary, second)[1]["position"] == 2
        ask(triad.secondary, "DELETE", f"/v1/checkouts/{holding}")
        assert [stand(triad.secondary, name)[0] for name in (second, first)] == [202, 201]


def test_both_logs_go_on_at_the_new_master(tmp_path: Path) -> None:
    """T6, T14: written by whoever is master, and by nobody else; `report()` gives the triad's, in order."""
    name = str(uuid.uuid4())
    with FakeTriad(features={"X": 1}, state_dir=tmp_path) as triad:
        triad.wait_until_serving(LIMIT_S)
        take_seat(triad.primary, name)
        assert triad.secondary.log_lines() == ()
        triad.primary.kill()
        take_seat(triad.secondary, name, after_term=1)
        ask(triad.secondary, "DELETE", f"/v1/checkouts/{name}")
        lines = triad.report()
        assert [(line["role"], line["event"]) for line in lines] == [("primary", "CONNECTED"), ("primary", "OUT")] + [
            ("secondary", event) for event in ("CONNECTED", "IN")
        ]
        assert [line["id"] for line in lines if "id" in line] == [name, name]
        assert (triad.tertiary.report(), triad.tertiary.log_lines()) == ((), ())
        words = [line.split(" ", 2)[2] for line in triad.secondary.log_lines()]
        assert words[:3] == ["Lost connection to 127.0.0.1", "Connected to 127.0.0.1", "CONNECTED, master is 127.0.0.1"]
    assert len((tmp_path / "secondary" / "report.jsonl").read_text(encoding="utf-8").splitlines()) == 2


def test_nodes_have_no_part_in_the_users_terminal(whole: FakeTriad) -> None:
    """Ctrl-C is for the user's program, which may still want to return its seats: each node has a session of its own."""
    assert all(node.pid is not None and os.getsid(node.pid) == node.pid for node in whole.nodes)


# --- losing a node ------------------------------------------------------------------------------------------------------------------


def test_a_seat_survives_the_loss_and_the_return_of_the_primary() -> None:
    """T4, T5, G2, G3: killed, the secondary serves with the same seat; back again, the primary resumes, and the seat counts once throughout."""
    name = str(uuid.uuid4())
    with FakeTriad(features={"X": 5}, ttl_s=30.0) as triad:  # nobody renews here, and the machine may be slow
        triad.wait_until_serving(LIMIT_S)
        granted = take_seat(triad.primary, name)[1]
        triad.primary.kill()
        assert (triad.primary.state, triad.primary.pid, triad.primary.term) == ("down", None, None)
        assert refuses_connections(triad.primary)
        status, held = take_seat(triad.secondary, name, after_term=granted["term"])
        assert (status, held["seq"], held["role"]) == (200, granted["seq"], "secondary")
        assert held["term"] > granted["term"]
        assert in_use(triad) == 1
        triad.primary.restart()
        wait_until(lambda: triad.primary.is_master, "the primary resumes (T5)")
        assert triad.wait_until_serving(LIMIT_S) is triad.primary
        assert take_seat(triad.primary, name)[1]["seq"] == granted["seq"]
        assert in_use(triad) == 1


def test_the_first_master_stays_until_it_freezes_and_cannot_serve_when_it_thaws() -> None:
    """T4, T5, T7, E5: without PRIMARY_IS_MASTER a primary that comes later follows; after a freeze a master sees at once how late it is."""
    name = str(uuid.uuid4())
    with FakeTriad(features={"X": 5}, primary_is_master=False, start=("secondary", "tertiary")) as triad:
        assert triad.primary.state == "down"
        assert triad.wait_for_master(LIMIT_S) is triad.secondary
        triad.primary.restart()
        assert triad.wait_until_serving(LIMIT_S) is triad.secondary
        term = triad.secondary.term or 0
        triad.secondary.pause()
        assert triad.secondary.state == "frozen"
        assert take_seat(triad.primary, name, after_term=term)[0] == 201
        assert triad.wait_for_master(LIMIT_S) is triad.primary
        triad.secondary.resume()
        status = triad.secondary.status()
        assert status is not None
        assert status["state"] != "master"
        assert take_seat(triad.secondary, name)[0] == 421
        assert triad.wait_until_serving(LIMIT_S) is triad.primary


def test_a_master_that_stops_in_good_order_hands_over() -> None:
    """E6: the seat goes with the mastership; then the last node alone serves nothing (T1)."""
    name = str(uuid.uuid4())
    with FakeTriad(features={"X": 5}, ttl_s=30.0) as triad:  # nobody renews here, and the machine may be slow
        triad.wait_until_serving(LIMIT_S)
        granted = take_seat(triad.primary, name)[1]
        triad.primary.stop()
        assert triad.primary.state == "down"
        assert take_seat(triad.secondary, name, after_term=granted["term"])[0] == 200
        triad.tertiary.kill()
        wait_until(lambda: triad.secondary.state == "no_quorum", "the secondary notices that it is alone (T1)")
        with pytest.raises(NotServing, match=r"primary \(.*\) is down, secondary \(.*\) is no_quorum"):
            triad.usage()
        with pytest.raises(NotServing, match=r"No node serves after 0 s"):
            triad.wait_for_master(0)


@pytest.mark.parametrize("in_process", [False, True], ids=["processes", "in_process"])
def test_a_node_that_is_about_to_end_is_seen_as_down(in_process: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """Whoever watches a triad while a node stops is told of a state at every instant."""
    with FakeTriad(in_process=in_process) as triad, ThreadPoolExecutor(1) as pool:
        triad.wait_until_serving(LIMIT_S)
        stopping, seen = pool.submit(triad.tertiary.stop), set[str]()
        while not stopping.done():
            seen |= {triad.tertiary.state, triad.status()["tertiary"]["state"]}
            assert triad.tertiary.term in {1, None}
            triad.wait_until_serving(LIMIT_S)
        stopping.result()
        assert seen <= {"standby", "down"}
        assert triad.tertiary.state == "down"


# --- state on disk ------------------------------------------------------------------------------------------------------------------


def test_a_triad_finds_its_state_again(tmp_path: Path) -> None:
    """E7: terms do not fall, and a seat that was held is held."""
    name = str(uuid.uuid4())
    with FakeTriad(features={"X": 5}, ttl_s=30.0, state_dir=tmp_path) as triad:
        first = take_seat(triad.wait_for_master(LIMIT_S), name)[1]
    with FakeTriad(features={"X": 5}, ttl_s=30.0, state_dir=tmp_path) as triad:
        status, again = take_seat(triad.wait_for_master(LIMIT_S), name)
        assert (status, again["seq"], again["cluster"]) == (200, first["seq"], first["cluster"])
        assert again["term"] > first["term"]


def test_the_state_of_another_cluster_is_refused_in_a_plain_sentence(tmp_path: Path) -> None:
    """Issue "the main job", bad input: the sentence comes with the error, and no node is left running."""
    for role, cluster in (("primary", "ours"), ("tertiary", "theirs")):
        Disk(tmp_path / role, cluster=cluster, boot="b", fsync=False).save_ballot(SaveBallot(cluster=cluster, term=1, voted_for=None, incarnation=1))
    triad = FakeTriad(features={"X": 5}, state_dir=tmp_path)
    with pytest.raises(FakeTriadError, match=r"^The state in \S+ belongs to cluster 'theirs'; this node is one of cluster 'ours'\.$"), triad:
        pass
    assert [node.state for node in triad.nodes] == ["down"] * 3


def test_folders_that_were_swapped_are_refused_in_a_plain_sentence(tmp_path: Path) -> None:
    """Issue "the triad in full", bad input: the state of another node of the same cluster."""
    with FakeTriad(features={"X": 5}, state_dir=tmp_path) as triad:
        triad.wait_until_serving(LIMIT_S)
    (tmp_path / "primary").rename(tmp_path / "kept")
    (tmp_path / "secondary").rename(tmp_path / "primary")
    (tmp_path / "kept").rename(tmp_path / "secondary")
    swapped = FakeTriad(features={"X": 5}, state_dir=tmp_path)
    with pytest.raises(FakeTriadError, match=r"^The state in \S+ is that of the secondary of this cluster; this node is the primary\.$"), swapped:
        pass


def test_a_port_that_is_taken_is_named() -> None:
    """Issue "the triad in full", bad input."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(FakeTriadError, match=rf"Port {port} of 127\.0\.0\.1 cannot be had"), FakeTriad(ports=(0, port, 0)):
            pass


def test_a_node_started_twice_says_so_and_stops(whole: FakeTriad, tmp_path: Path) -> None:
    """Issue "the main job", bad input: exit code 2, one sentence, no traceback."""
    command = [sys.executable, "-m", "fakeserver", "--node", "primary", "--triad", whole.servername, "--state-dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert f"Port {whole.primary.port} of 127.0.0.1 cannot be had" in done.stderr


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"ttl_s": 0.5}, "ttl_s=0.5 is too short"),
        ({"heartbeat_s": 0.0}, "heartbeat_s"),
        ({"features": {"X": 0}}, "seats"),
        ({"features": {"X": 9_999, "Y": 2}}, "10001 seats"),
        ({"hosts": ("127.0.0.1", "127.0.0.1", "192.0.2.1")}, "192.0.2.1 is none"),
        ({"ports": (1, 2)}, "three hosts and three ports"),
        ({"start": ("primary", "primary")}, "each once"),
        ({"start": ("first",)}, "start must name roles"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_triad_that_cannot_be_is_refused_before_anything_starts(wrong: dict[str, Any], said: str) -> None:
    """Architecture, the numbers that must fit; listeners on loopback alone."""
    with pytest.raises(ValueError, match=said):
        FakeTriad(**wrong)


def test_missing_packages_are_named_with_what_brings_them() -> None:
    """Architecture, budgets: starlette and uvicorn are an extra; the SDK alone does not bring them."""
    program = f"import sys; sys.path[:] = [p for p in sys.path if 'site-packages' not in p] + [{str(ROOT)!r}]; from fakeserver import *; FakeTriad().__enter__()"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert "The fake triad needs starlette and uvicorn" in done.stderr
    assert done.stderr.endswith("pip install 'palclient[fakeserver]'\n")


# --- no process is left behind ------------------------------------------------------------------------------------------------------

PARENT = """
import sys
from fakeserver import FakeTriad
with FakeTriad(features={"X": 5}) as triad:
    triad.tertiary.pause()
    print(*[node.pid for node in triad.nodes], flush=True)
    sys.stdin.read()
"""


def test_no_node_outlives_its_parent_and_be_it_frozen() -> None:
    """Issue "the main job": no process is left behind, whatever ends the parent."""
    with subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 3
        assert all(is_alive(pid) for pid in pids)
        parent.kill()
        wait_until(lambda: not any(map(is_alive, pids)), "the nodes end")


def test_nodes_outlive_the_thread_that_started_them_but_not_the_triad() -> None:
    """Linux counts a thread as a parent: a triad made on a worker thread must not die with it.  At its own end it reaps even a frozen node."""
    triad = FakeTriad(features={"X": 5})
    with ThreadPoolExecutor(1) as pool:
        pool.submit(triad.__enter__).result(LIMIT_S)
    try:
        assert triad.wait_for_master(LIMIT_S) is triad.primary
        pids = [node.pid for node in triad.nodes]
        triad.secondary.pause()
    finally:
        triad.close()
    assert [node.state for node in triad.nodes] == ["down"] * 3
    assert not any(is_alive(pid) for pid in pids if pid is not None)


def test_a_triad_by_hand_tells_its_servername_and_ends_on_a_signal() -> None:
    """Architecture, fakeserver: ``python -m fakeserver``."""
    command = [sys.executable, "-m", "fakeserver", "--feature", "X=5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as by_hand:
        assert by_hand.stdout is not None
        section, value = by_hand.stdout.readline(), by_hand.stdout.readline()
        port = int(value.removeprefix("SERVERNAME=").partition("@")[0])
        assert section == "[Network]\n"
        socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S).close()
        by_hand.terminate()
        assert by_hand.wait(LIMIT_S) == 0
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S)


def test_a_triad_of_flexnets_kind_forgets_what_its_master_granted() -> None:
    """G5, E9: with real processes, the pool is empty at the next master, and the same seat is given to another."""
    with FakeTriad(features={"X": 1}, grants="flexnet") as triad:
        triad.wait_until_serving(LIMIT_S)
        assert take_seat(triad.primary, str(uuid.uuid4()))[0] == 201
        triad.primary.kill()
        master = triad.wait_for_master(LIMIT_S)
        assert in_use(triad) == 0
        assert take_seat(master, str(uuid.uuid4()))[0] == 201
    with pytest.raises(ValueError, match="grants must be one of replicated, flexnet"):
        FakeTriad(grants="generous")  # type: ignore[arg-type]
