"""The faults of a fake triad (F), each seen from outside, over HTTP and bare sockets, and gone after ``heal``.  Nothing here sleeps."""

from __future__ import annotations

import http.client
import json
import socket
import sys
import time
import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from fakeserver import FakeNode, FakeTriad
from fakeserver.faults import FAULTS
from tests.integration.probing import ASKED, LIMIT_S, ask_node, wait_for

pytestmark = pytest.mark.real

SILENCE_S = 0.15  # a node that answers at all does so in a few milliseconds
STATUS = b"GET /v1/status HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.fixture(scope="module")
def shared() -> Iterator[FakeTriad]:
    """One triad for all tests of this module."""
    with FakeTriad(features={"X": 5, "Y": 2}, ttl_s=30.0) as triad:  # nobody renews here
        yield triad


@pytest.fixture
def triad(shared: FakeTriad) -> FakeTriad:
    """As new: the primary serves, all are in step, nothing is held."""
    shared.reset()
    wait_for(lambda: shared.primary.is_master and [node.state for node in shared.nodes] == ["master", "standby", "standby"], "all in step")
    return shared


def take(node: FakeNode, name: str | None = None, *, after: object = 0, timeout: float = LIMIT_S, **changes: object) -> tuple[int, dict[str, Any]]:
    """Ask for a seat of X; parked until there is a master of a term above ``after``."""
    patience = {"Prefer": "wait=10", "After-Term": str(after)}
    return ask_node(node, "PUT", f"/v1/checkouts/{name or uuid.uuid4()}", ASKED | changes, timeout=timeout, **patience)


def in_use(triad: FakeTriad, feature: str = "X") -> int:
    """The seats of a pool that are taken."""
    return next(int(pool["in_use"]) for pool in triad.usage()["features"] if pool["feature"] == feature)


def connected(node: FakeNode, timeout: float = LIMIT_S) -> socket.socket:
    """A bare connection."""
    return socket.create_connection((node.host, node.port), timeout=timeout)


def read_on(client: socket.socket, got: list[bytes]) -> None:
    """Read until the end."""
    while piece := client.recv(65536):
        got.append(piece)


def answers(node: FakeNode) -> bool:
    """Whether a status comes back as it should."""
    return (node.status(timeout=LIMIT_S) or {}).get("role") == node.role


# --- on the wire --------------------------------------------------------------------------------------------------------------------


def test_a_black_hole_connects_and_neither_answers_nor_acts(triad: FakeTriad) -> None:
    """F, blackhole: also on a connection that is there already; with clients_only the node goes on to serve its triad."""
    name = str(uuid.uuid4())
    with connected(triad.primary) as kept:
        triad.primary.blackhole(clients_only=True)
        kept.settimeout(SILENCE_S)
        kept.sendall(STATUS)
        with pytest.raises(TimeoutError):
            kept.recv(1)
        with pytest.raises(TimeoutError):
            take(triad.primary, name, timeout=SILENCE_S)
    assert triad.primary.is_master
    assert in_use(triad) == 0
    triad.heal()
    assert take(triad.primary, name)[0] == 201


@pytest.mark.slow
def test_a_black_hole_swallows_what_its_peers_say_too(triad: FakeTriad) -> None:
    """F, T4: without clients_only the node is lost to its triad, and the secondary serves; healed, the primary takes over again (T5)."""
    term = triad.primary.term
    triad.primary.blackhole()
    assert take(triad.secondary, after=term)[0] == 201
    assert triad.wait_for_master(LIMIT_S) is triad.secondary
    triad.heal()
    wait_for(lambda: triad.primary.is_master, "the primary is back")


def test_a_port_that_refuses_and_is_open_again(triad: FakeTriad) -> None:
    """F, refuse: new connections are refused, those that there are reset; the process lives on."""
    pid = triad.primary.pid
    with connected(triad.primary) as kept:
        kept.sendall(STATUS)
        assert kept.recv(12) == b"HTTP/1.1 200"
        triad.primary.refuse()
        with pytest.raises(ConnectionRefusedError):
            connected(triad.primary)
        with pytest.raises(ConnectionResetError):
            read_on(kept, [])
    wait_for(lambda: triad.secondary.is_master, "the secondary takes over")
    triad.heal()
    assert answers(triad.primary)
    assert triad.primary.pid == pid


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels have no way to leave a connection unanswered")
def test_a_port_that_drops_whoever_knocks(triad: FakeTriad) -> None:
    """F, drop_syn: connecting comes to no end; a connection that there is falls silent."""
    with connected(triad.primary) as kept:
        triad.primary.drop_syn()
        for _ in range(2):
            with pytest.raises(TimeoutError):
                connected(triad.primary, timeout=SILENCE_S)
        kept.settimeout(SILENCE_S)
        kept.sendall(STATUS)
        with pytest.raises(TimeoutError):
            kept.recv(1)
    triad.heal()
    assert answers(triad.primary)


def test_a_slow_node_answers_late_on_every_connection(triad: FakeTriad) -> None:
    """F, slow: seconds, and what is on its way when it is healed leaves at once."""
    with connected(triad.tertiary) as kept:
        triad.tertiary.slow(0.1, 0.02)
        began = time.monotonic()
        kept.sendall(STATUS)
        assert kept.recv(12) == b"HTTP/1.1 200"
        assert 0.1 <= time.monotonic() - began < LIMIT_S
        began = time.monotonic()
        assert answers(triad.tertiary)
        assert time.monotonic() - began >= 0.1
    triad.tertiary.slow(1000, clients_only=True)
    with connected(triad.tertiary) as late:
        late.sendall(STATUS)
        triad.heal()
        assert late.recv(12) == b"HTTP/1.1 200"


def test_a_dripping_node_sends_a_byte_at_a_time(triad: FakeTriad) -> None:
    """F, drip: what defeats a timeout that is counted anew with each byte."""
    triad.primary.drip(0.01, clients_only=True)
    with connected(triad.primary) as client:
        client.sendall(STATUS)
        assert [len(client.recv(100)) for _ in range(3)] == [1, 1, 1]
        triad.heal()
        text = b""
        while b'"software"' not in text:
            text += client.recv(65536)
    assert text.startswith(b"P/1.1 200")


@pytest.mark.parametrize("after_bytes", [None, 9])
def test_an_answer_that_is_cut_off(triad: FakeTriad, after_bytes: int | None) -> None:
    """F, cut: some of the answer comes, then a reset."""
    triad.primary.cut(after_bytes, clients_only=True)
    pieces: list[bytes] = []
    with connected(triad.primary) as client:
        client.sendall(STATUS)
        with pytest.raises(ConnectionResetError):
            read_on(client, pieces)
    got = b"".join(pieces)
    assert got.startswith(b"HTTP/1.1 ")
    assert after_bytes is None or len(got) <= after_bytes
    assert b'"software"' not in got
    triad.heal()
    assert answers(triad.primary)


@pytest.mark.parametrize("kind, error", [("not_http", http.client.BadStatusLine), ("not_json", json.JSONDecodeError), ("other_shape", KeyError)])
def test_an_answer_that_is_rubbish(triad: FakeTriad, kind: Any, error: type[Exception]) -> None:
    """F, garbage: no HTTP, a page of HTML, JSON of another shape; the request was carried out."""
    triad.primary.garbage(kind, clients_only=True)
    with pytest.raises(error):
        take(triad.primary)[1]["seq"]
    assert in_use(triad) == 1
    triad.heal()
    assert answers(triad.primary)


def test_a_lost_reply_leaves_a_seat_that_is_found_again(triad: FakeTriad) -> None:
    """F, lose_reply; G3: the seat is taken, nobody was told, and whoever asks again gets that very seat."""
    name = str(uuid.uuid4())
    triad.primary.lose_reply(2)
    assert answers(triad.primary)  # changes nothing, and is not counted
    for _ in range(2):
        with pytest.raises(TimeoutError):
            take(triad.primary, name, timeout=SILENCE_S)
    assert in_use(triad) == 1
    assert take(triad.primary, name)[0] == 200
    triad.primary.lose_reply(5)
    triad.heal()
    assert take(triad.primary)[0] == 201


# --- in what is said ----------------------------------------------------------------------------------------------------------------


def test_a_node_of_another_version(triad: FakeTriad) -> None:
    """F, wrong_version; protocol: unsupported-version, -83."""
    triad.primary.wrong_version(clients_only=True)
    for status, problem in (ask_node(triad.primary, "GET", "/v1/status"), take(triad.primary)):
        assert (status, problem["type"], problem["code"]) == (400, "urn:palclient:problem:unsupported-version", -83)
    triad.heal()
    assert answers(triad.primary)


@pytest.mark.parametrize("code", [503, 429])
def test_an_overloaded_node_says_when_to_come_again(triad: FakeTriad, code: int) -> None:
    """F, overloaded; protocol: -106 with Retry-After, rounded up; its status is answered, and the triad goes on."""
    triad.primary.overloaded(1.5, status=code)
    connection = http.client.HTTPConnection(triad.primary.host, triad.primary.port, timeout=LIMIT_S)
    connection.request("PUT", f"/v1/checkouts/{uuid.uuid4()}", body=json.dumps(ASKED))
    reply = connection.getresponse()
    problem = json.loads(reply.read())
    connection.close()
    assert (reply.status, reply.headers["Retry-After"]) == (code, "2")
    assert (problem["type"], problem["status"], problem["code"]) == ("urn:palclient:problem:overloaded", code, -106)
    assert answers(triad.primary)
    assert triad.wait_for_master(LIMIT_S) is triad.primary
    triad.heal()
    assert take(triad.primary)[0] == 201


def test_a_master_that_does_not_know_that_it_was_deposed(triad: FakeTriad) -> None:
    """F, stale_master; protocol: it claims to serve in a lower term, and its grants are in nobody's table."""
    triad.secondary.stale_master()
    told = ask_node(triad.secondary, "GET", "/v1/status")[1]
    assert (told["state"], told["quorum"], told["master"]) == ("master", True, "secondary")
    assert told["term"] < (triad.primary.term or 0)
    name = str(uuid.uuid4())
    status, grant = take(triad.secondary, name)
    assert (status, grant["id"], grant["term"]) == (201, name, told["term"])
    assert ask_node(triad.secondary, "POST", "/v1/renewals", {"ids": [name]})[1]["results"][name]["ttl_s"] > 0
    assert ask_node(triad.secondary, "DELETE", f"/v1/checkouts/{name}")[1]["returned"] is True
    assert triad.wait_for_master(LIMIT_S) is triad.primary
    assert in_use(triad) == 0
    triad.heal()
    assert take(triad.secondary)[0] == 421


# --- in the pool, the clock, the disk -----------------------------------------------------------------------------------------------


def test_a_client_that_asks_again_is_counted_twice(triad: FakeTriad) -> None:
    """F, double_count; G3: FLEXnet's defect, to see whether a client notices; without the fault it is one seat."""
    name = str(uuid.uuid4())
    assert take(triad.primary, name)[0] == 201
    triad.primary.double_count()
    assert in_use(triad) == 1
    assert take(triad.primary, name)[0] == 200
    assert in_use(triad) == 2
    triad.heal()
    assert in_use(triad) == 1


def test_a_clock_that_runs_too_fast(triad: FakeTriad) -> None:
    """F, clock_rate: the node's dates show it; healed, it runs as fast as others, from where it is."""

    def server_s() -> float:
        told = ask_node(triad.tertiary, "GET", "/v1/status")[1]["server_time"]
        return datetime.fromisoformat(told).timestamp()

    triad.tertiary.clock_rate(100)
    began, first = time.monotonic(), server_s()
    wait_for(lambda: server_s() - first > 3.0, "the clock is seconds ahead")
    assert time.monotonic() - began < 2.0
    triad.heal()
    healed, again = time.monotonic(), server_s()
    assert again > first
    assert server_s() - again <= time.monotonic() - healed + 0.01


def test_a_pool_that_is_full_stays_full_over_a_failover(triad: FakeTriad) -> None:
    """F, fill; G2: seats-taken with the numbers; healed, all are free."""
    assert take(triad.primary)[0] == 201
    triad.fill("X")
    status, problem = take(triad.primary)
    assert (status, problem["code"], problem["in_use"], problem["total"]) == (409, -4, 5, 5)
    assert take(triad.primary, feature="Y")[0] == 201
    term = triad.primary.term
    triad.primary.kill()
    assert take(triad.secondary, after=term)[0] == 409
    triad.heal()
    assert in_use(triad) == 1
    assert not triad.primary.is_running


def test_a_license_that_has_run_out_keeps_what_is_held(triad: FakeTriad) -> None:
    """F, expire; protocol: expired, -10; held leases stay, at the next master too."""
    name = str(uuid.uuid4())
    assert take(triad.primary, name)[0] == 201
    triad.expire("X")
    status, problem = take(triad.primary)
    assert (status, problem["type"], problem["code"]) == (403, "urn:palclient:problem:expired", -10)
    assert take(triad.primary, name)[0] == 200
    assert ask_node(triad.primary, "POST", "/v1/renewals", {"ids": [name]})[1]["results"][name]["ttl_s"] == 30.0
    term = triad.primary.term
    triad.primary.kill()
    assert take(triad.secondary, after=term)[0] == 403
    assert take(triad.secondary, name)[0] == 200
    triad.heal()
    assert take(triad.secondary)[0] == 201


def test_a_full_disk_keeps_a_node_from_granting_until_there_is_room(triad: FakeTriad) -> None:
    """F, disk_full; E7, T9: the node says so, the secondary serves; with room again it comes back as after a restart, in the same process."""
    name, pid = str(uuid.uuid4()), triad.primary.pid
    term = take(triad.primary, name)[1]["term"]
    triad.primary.disk_full()
    told = ask_node(triad.primary, "GET", "/v1/status")[1]
    assert (told["state"], told["quorum"], told["master"]) == ("no_quorum", False, None)
    status, problem = take(triad.primary)
    assert (status, problem["code"]) == (503, -97)
    assert "The disk of this node is full" in problem["detail"]
    assert take(triad.secondary, name, after=term)[0] == 200
    triad.heal()
    wait_for(lambda: triad.primary.is_master, "the primary is back (T5)")
    assert take(triad.primary, name)[0] == 200
    assert triad.primary.pid == pid
    assert [entry.name for entry in triad.journal if entry.name in {"disk_full", "disk_has_room"}][-1] == "disk_has_room"


# --- between nodes ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["garbage", "cut", "drip"])
def test_what_clients_alone_are_to_see_spares_the_peers_on_the_connections_that_there_are(triad: FakeTriad, name: str) -> None:
    """F: and meets clients on theirs."""
    asked = b"POST /v1/peer/heartbeat HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"
    with connected(triad.tertiary) as peer, connected(triad.tertiary) as client:

        def told(who: socket.socket, what: bytes) -> bytes:
            who.sendall(what)
            return who.recv(1) + who.recv(65536)

        before = told(peer, asked), told(client, STATUS)
        triad.tertiary.play(name, clients_only=True)
        assert told(peer, asked)[:12] == before[0][:12] == b"HTTP/1.1 400"
        assert len(told(client, STATUS)) < len(before[1])


def test_a_node_that_is_cut_off_refuses_and_the_others_serve(triad: FakeTriad) -> None:
    """F, isolate; T1, T4, T7, T9: clients still reach it, and get no seat there."""
    term = triad.primary.term
    triad.isolate("primary")
    assert take(triad.secondary, after=term)[0] == 201
    wait_for(lambda: triad.primary.state == "no_quorum", "the primary sees that it is alone")
    status, problem = ask_node(triad.primary, "PUT", f"/v1/checkouts/{uuid.uuid4()}", ASKED)
    assert (status, problem["type"]) == (503, "urn:palclient:problem:no-quorum")
    triad.heal()
    wait_for(lambda: triad.primary.is_master and in_use(triad) == 1, "the primary is back with the table")


def test_a_cut_between_the_two_candidates_leaves_the_sitting_master(triad: FakeTriad) -> None:
    """F, partition; T8: the pair of the master serves on, and the other hears of it through the tertiary."""
    triad.partition("primary", "secondary")
    lost = {"Lost connection to 127.0.0.1"}
    before = len(triad.primary.log_lines())
    wait_for(lambda: any(line.split(" ", 2)[2] in lost for line in triad.primary.log_lines()[before:]), "the primary misses the secondary")
    assert [node.is_master for node in triad.nodes] == [True, False, False]
    assert take(triad.primary)[0] == 201
    assert take(triad.secondary)[0] == 421
    triad.mend("primary", "secondary")
    assert triad.primary.faults == triad.secondary.faults == ()


def test_a_master_that_nobody_hears_is_replaced(triad: FakeTriad) -> None:
    """F, partition one way; T7, E5: what the primary says is lost, what it hears does not help it."""
    triad.partition("primary", "secondary", one_way=True)
    triad.partition("primary", "tertiary", one_way=True)
    wait_for(lambda: triad.secondary.is_master, "the secondary takes over")
    assert not triad.primary.is_master
    triad.heal()
    wait_for(lambda: triad.primary.is_master, "the primary is back")


# --- when, and how long -------------------------------------------------------------------------------------------------------------


def test_a_fault_waits_for_a_node_that_is_down_or_frozen(triad: FakeTriad) -> None:
    """F: it is played from the moment on in which the node runs; heal starts nothing that was killed, and lets go on what was frozen."""
    triad.secondary.pause()
    triad.secondary.wrong_version(clients_only=True)
    triad.tertiary.kill()
    triad.tertiary.overloaded()
    triad.tertiary.lose_reply()
    triad.secondary.resume()
    assert ask_node(triad.secondary, "GET", "/v1/status")[0] == 400
    triad.tertiary.restart()
    assert [fault.name for fault in triad.tertiary.faults] == ["overloaded"]
    assert ask_node(triad.tertiary, "GET", "/v1/usage")[1]["code"] == -106
    triad.tertiary.kill()
    triad.secondary.pause()
    triad.heal()
    assert answers(triad.secondary)
    assert (triad.tertiary.state, triad.tertiary.faults) == ("down", ())


def test_faults_go_together_and_are_undone_one_by_one(triad: FakeTriad) -> None:
    """F: a later one of the same kind takes the place of the earlier."""
    triad.primary.overloaded(1.0, clients_only=True)
    triad.primary.slow(1000, clients_only=True)
    triad.primary.slow(0.05, clients_only=True)
    began = time.monotonic()
    assert take(triad.primary)[1]["code"] == -106
    assert time.monotonic() - began >= 0.05
    triad.primary.heal("overloaded")
    assert take(triad.primary)[0] == 201
    assert [fault.name for fault in triad.primary.faults] == ["slow"]


@pytest.mark.parametrize(
    "name, settings, said",
    [
        ("sloth", {}, "There is no fault 'sloth'"),
        ("slow", {}, "slow needs latency_s"),
        ("slow", {"latency_s": -1}, "latency_s must be a number from 0"),
        ("slow", {"latency_s": float("nan")}, "latency_s must be a number"),
        ("slow", {"latency_s": 1, "color": "red"}, "slow does not take 'color'"),
        ("refuse", {"clients_only": True}, "refuse does not take 'clients_only'; it takes nothing"),
        ("clock_rate", {"rate": 0}, "rate must be above 0"),
        ("lose_reply", {"n": 1.5}, "n must be a whole number"),
        ("garbage", {"kind": "rude"}, "kind must be one of not_http, not_json, other_shape"),
        ("overloaded", {"status": 500}, "status must be one of 503, 429"),
        ("blackhole", {"clients_only": 1}, "clients_only must be true or false"),
        ("fail_at", {"place": "home"}, "place must be one of"),
        ("fill", {"feature": ""}, "feature must be a text"),
    ],
)
def test_what_cannot_be_played_is_refused_in_a_sentence(triad: FakeTriad, name: str, settings: dict[str, Any], said: str) -> None:
    """F; style: a number from outside has its bounds.  Nothing is changed."""
    with pytest.raises(ValueError, match=said):
        triad.primary.play(name, **settings)
    assert triad.primary.faults == ()
    assert answers(triad.primary)


def test_every_fault_has_a_method_of_its_name(triad: FakeTriad) -> None:
    """Api, the fake triad: the faults of F by name."""
    links = {"partition"}
    assert {name for name in FAULTS if not callable(getattr(triad.primary, name, None))} == links
    with pytest.raises(ValueError, match="There is no 'third' in a triad"):
        triad.partition("primary", "third")
    with pytest.raises(ValueError, match="two ends"):
        triad.partition("primary", "primary")


# --- reset --------------------------------------------------------------------------------------------------------------------------


def test_a_reset_leaves_nothing_but_the_cluster_and_the_processes(triad: FakeTriad) -> None:
    """F, reset; protocol: the same cluster, a higher term, no seat held, no id dead, no fault, an empty journal."""
    name = str(uuid.uuid4())
    first = take(triad.primary, name)[1]
    pids = [node.pid for node in triad.nodes]
    assert ask_node(triad.primary, "DELETE", f"/v1/checkouts/{name}")[0] == 200
    assert take(triad.primary)[0] == 201
    triad.isolate("primary")
    triad.primary.slow(0.05)
    triad.secondary.pause()
    triad.reset()
    assert [node.pid for node in triad.nodes] == pids
    assert [node.faults for node in triad.nodes] == [()] * 3
    assert {entry.name for entry in triad.journal} <= {"stood", "voted", "elected", "serving"}
    status, grant = take(triad.wait_for_master(0), name)
    assert (status, grant["cluster"]) == (201, first["cluster"])
    assert grant["term"] > first["term"]
    assert in_use(triad) == 1


def test_a_node_that_was_down_at_a_reset_brings_nothing_back() -> None:
    """F, reset: what it knew is gone from its disk, too; else the next quorum would take it for the newest there is."""
    with FakeTriad(features={"X": 1}, start=("primary",), ttl_s=30.0) as triad:
        triad.secondary.restart()
        term = take(triad.wait_until_serving(LIMIT_S))[1]["term"]
        triad.secondary.kill()
        triad.reset()
        triad.secondary.restart()
        status, grant = take(triad.wait_until_serving(LIMIT_S))
        assert (status, in_use(triad)) == (201, 1)
        assert grant["term"] > term


@pytest.mark.slow
def test_a_reset_starts_what_was_killed(triad: FakeTriad) -> None:
    """F, reset: a whole triad for the next test, with the state of none."""
    name = str(uuid.uuid4())
    term = take(triad.primary, name)[1]["term"]
    triad.primary.kill()
    triad.tertiary.kill()
    triad.reset()
    assert all(node.is_running for node in triad.nodes)
    assert take(triad.wait_for_master(0), name)[0] == 201
    assert (triad.wait_for_master(0).term or 0) > term
