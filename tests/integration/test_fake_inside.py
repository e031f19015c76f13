"""The fake triad inside this process: the same faults with the same effect, without a process to start (issue "the triad in full")."""

from __future__ import annotations

import asyncio
import http.client
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fakeserver import FakeTriad, FakeTriadError, house
from fakeserver.clock import now_s
from fakeserver.process import bound
from palclient import Client
from tests.integration.test_fake_triad import LIMIT_S, ask, in_use, refuses_connections, take_seat, wait_until

pytestmark = pytest.mark.real


@pytest.fixture
def triad() -> Iterator[FakeTriad]:
    """A triad inside this process, which serves."""
    with FakeTriad(features={"X": 2}, in_process=True) as triad:
        triad.wait_until_serving(LIMIT_S)
        yield triad


def threads() -> list[str]:
    """The threads of nodes that live."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("fakeserver ")]


def test_a_seat_survives_the_kill_of_its_master_and_its_return(triad: FakeTriad) -> None:
    """G2, T4, T5: as with processes; the killed node says nothing more, and its port refuses."""
    name = str(uuid.uuid4())
    assert take_seat(triad.primary, name)[0] == 201
    triad.primary.kill()
    assert (triad.primary.state, triad.primary.pid) == ("down", None)
    assert refuses_connections(triad.primary)
    master = triad.wait_for_master(LIMIT_S)
    assert master is triad.secondary
    assert take_seat(master, name)[0] == 200
    triad.primary.restart()
    wait_until(lambda: triad.primary.is_master, "the primary takes mastership back")
    assert in_use(triad) == 1


def test_a_frozen_node_accepts_connections_and_answers_nobody(triad: FakeTriad) -> None:
    """F: as SIGSTOP; what it was asked meanwhile it answers when it goes on, and it serves no more."""
    triad.primary.pause()
    assert triad.primary.state == "frozen"
    with socket.create_connection((triad.primary.host, triad.primary.port), timeout=LIMIT_S) as waiting:
        waiting.sendall(b"GET /v1/usage HTTP/1.1\r\nhost: x\r\n\r\n")
        assert triad.wait_for_master(LIMIT_S) is triad.secondary
        assert triad.primary.status(timeout=0.05) is None
        triad.primary.resume()
        waiting.settimeout(LIMIT_S)
        assert waiting.recv(100)[:13] in {b"HTTP/1.1 421 ", b"HTTP/1.1 503 "}


def test_a_frozen_node_can_be_killed_and_started_again(triad: FakeTriad) -> None:
    """F."""
    triad.tertiary.pause()
    triad.tertiary.kill()
    assert refuses_connections(triad.tertiary)
    triad.tertiary.restart()
    wait_until(lambda: triad.tertiary.state == "standby", "the tertiary follows")


def test_a_master_that_is_stopped_hands_over(triad: FakeTriad) -> None:
    """E6: to a successor that has been heard in both directions, which takes a heartbeat or two."""
    (serving,) = triad.journal.named("serving")
    wait_until(lambda: now_s() - serving.at_s > 0.3, "three heartbeats have passed")
    triad.primary.stop()
    assert triad.wait_for_master(LIMIT_S) is triad.secondary
    assert triad.journal.named("handed_over")


def test_faults_failpoints_and_a_reset(triad: FakeTriad) -> None:
    """F: links, connections, a death in the midst of things; then everything as new, at the same ports."""
    triad.partition("primary", "secondary")
    triad.tertiary.refuse()
    assert refuses_connections(triad.tertiary)
    triad.heal()
    triad.wait_until_serving(LIMIT_S)
    assert take_seat(triad.primary, str(uuid.uuid4()))[0] == 201
    triad.primary.fail_at("after_persist_before_replicate")
    with pytest.raises((OSError, ValueError)):
        take_seat(triad.primary, str(uuid.uuid4()))
    triad.primary.wait_down(LIMIT_S)
    triad.reset()
    assert triad.primary.is_master
    assert in_use(triad) == 0


def test_a_client_is_served_through_a_failover(triad: FakeTriad, tmp_path: Path) -> None:
    """The product's own promise, in one process."""
    with Client(ini=triad.write_ini(tmp_path / "palclient.ini")) as client, client.checkout("X") as lease:
        triad.primary.kill()
        triad.wait_for_master(LIMIT_S)
        wait_until(lambda: lease.term == triad.secondary.term, "the lease is renewed at the new master")
        lease.ensure_held()
        assert in_use(triad) == 1


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    """Style 16: threads, ports, frozen nodes; and a second triad on the same state finds what the first one left."""
    name = str(uuid.uuid4())
    with FakeTriad(features={"X": 2}, in_process=True, state_dir=tmp_path) as triad:
        triad.wait_until_serving(LIMIT_S)
        assert len(threads()) == 1
        take_seat(triad.primary, name)
        triad.secondary.pause()
    assert threads() == []
    assert all(refuses_connections(node) for node in triad.nodes)
    with FakeTriad(features={"X": 2}, in_process=True, state_dir=tmp_path) as triad:
        master = triad.wait_for_master(LIMIT_S)
        assert ask(master, "GET", "/v1/usage")[1]["features"][0]["holders"][0]["id"] == name
        with (
            pytest.raises(FakeTriadError, match="is in use"),
            FakeTriad(features={"X": 2}, in_process=True, state_dir=tmp_path),
        ):
            pass
    assert threads() == []


def test_whether_all_that_run_serve_or_follow_is_told_within_a_limit() -> None:
    """Api, ``wait_until_serving``: a node tells when it has settled, and that it has not when the time is up."""
    with FakeTriad(features={"X": 2}, in_process=True, start=("tertiary",)) as triad:
        house = triad._house
        assert house is not None
        assert not house.wait_settled(0.001)
        triad.primary.restart()
        triad.wait_until_serving(LIMIT_S)
        assert house.wait_settled(0.0)
        triad.primary.kill()
        (tertiary,) = [process for process in house.processes if process.settings.role == "tertiary"]
        wait_until(lambda: triad.tertiary.state == "no_quorum", "it knows that it is alone")
        number = tertiary.tell("settle", limit_s=LIMIT_S)
        triad.secondary.restart()
        assert tertiary.hear(number) == {"settled": True}


def test_no_answer_waits_for_an_acknowledgement_of_its_first_half() -> None:
    """Issue "the triad in full", figures: Nagle's algorithm cost every second message between nodes 40 ms."""

    async def delays() -> bool:
        taken: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        async def take(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            taken.set_result(not writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        listener = bound("127.0.0.1", 0)
        listener.listen()
        async with await asyncio.start_server(take, sock=listener):
            _, writer = await asyncio.open_connection(*listener.getsockname())
            writer.close()
            return await taken

    assert not asyncio.run(delays())


@pytest.mark.parametrize("comes", ["before", "late"])
def test_an_order_that_comes_as_the_node_ends_is_answered_by_its_end(monkeypatch: pytest.MonkeyPatch, comes: str) -> None:
    """It may be under way then, or the loop be closed when it arrives: nobody waits for it in vain, and nothing of it is left."""
    on_the_way: list[Callable[[], object]] = []
    with FakeTriad(features={"X": 2}, in_process=True, start=("tertiary",)) as triad:
        process: Any = triad.tertiary._process
        with monkeypatch.context() as patch:
            if comes == "late":
                patch.setattr(process._conductor, "put", on_the_way.append)
            number = process.tell("settle", limit_s=LIMIT_S)  # a node alone never does
        triad.tertiary.kill()
        for each in on_the_way:
            process._conductor.call(each)
        with pytest.raises(FakeTriadError, match="has ended"):
            process.hear(number)


def test_an_order_waits_for_nothing(triad: FakeTriad, monkeypatch: pytest.MonkeyPatch) -> None:
    """Issue 5: it wakes the nodes, and is the node's next turn; else it would wait for a timer of theirs."""
    process: Any = triad.tertiary._process
    due_s: list[float] = []
    woken: list[int] = []
    wake = process._conductor.wake

    def note_and_wake() -> None:
        woken.append(len(due_s))
        wake()

    monkeypatch.setattr(process._conductor, "wake", note_and_wake)
    number = process.tell("look", path="/v1/status")
    process._conductor.put(lambda: due_s.append(process._life._player.due_s))
    assert process.hear(number)["body"]["role"] == "tertiary"
    assert (woken[0], due_s) == (0, [0.0])


def test_a_reset_after_which_nobody_serves_says_so(triad: FakeTriad, monkeypatch: pytest.MonkeyPatch) -> None:
    """Api, ``reset``: a node serves when it returns; where none does in time, that is told, and the next reset may succeed."""
    with monkeypatch.context() as patch:
        patch.setattr(house, "SETTLE_LIMIT_S", 0.0)
        with pytest.raises(FakeTriadError, match="did not come to an agreement within 0 s after a reset"):
            triad.reset()
    triad.reset()
    assert triad.primary.is_master


def test_a_closed_triad_starts_no_node_and_keeps_no_port() -> None:
    """As long as it is closed, everything about it returns at once."""
    with FakeTriad(features={"X": 2}, in_process=True) as triad:
        triad.wait_until_serving(LIMIT_S)
    for node in triad.nodes:
        with pytest.raises(FakeTriadError, match="is closed"):
            node.restart()
        node.kill()
        bound(node.host, node.port).close()


@pytest.mark.parametrize("in_process", [True, False])
def test_what_a_node_refuses_is_what_is_seen_inside(*, in_process: bool) -> None:
    """Api, ``inside``: as a client would be answered, also past a fault, and nobody waits for an answer that does not come."""
    with FakeTriad(features={"X": 2}, in_process=in_process) as triad:
        triad.wait_until_serving(LIMIT_S)
        triad.primary.slow(0.001)  # or a process would be asked like a client
        seen = triad.primary.inside("/nonsense")
        assert seen is not None
        assert (seen["role"], seen["status"], seen["detail"]) == ("primary", 404, "There is nothing at '/nonsense'.")


@pytest.mark.parametrize("in_process", [True, False])
def test_a_folder_that_cannot_be_is_told_before_anything_starts(tmp_path: Path, *, in_process: bool) -> None:
    """Issue 5, bad input: named, with the reason, and no defect of ours."""
    (tmp_path / "file").write_text("", encoding="ascii")
    with (
        pytest.raises(FakeTriadError, match=r"^The state cannot be kept in .*file.state: "),
        FakeTriad(features={"X": 2}, in_process=in_process, state_dir=tmp_path / "file" / "state"),
    ):
        pass


@pytest.mark.parametrize("seats", ["5", None, 0, 1.5])
def test_seats_are_a_number(seats: Any) -> None:
    """Api: ValueError for what cannot be played."""
    with pytest.raises(ValueError, match=r"features\['X'\] must be a number of seats, not "):
        FakeTriad({"X": seats}, in_process=True)


def asked_for_status(connection: http.client.HTTPConnection) -> None:
    """One request, and the connection stays."""
    connection.request("GET", "/v1/status")
    assert connection.getresponse().read()


def test_a_fault_that_is_over_costs_a_connection_nothing_more(triad: FakeTriad) -> None:
    """F: at no cost when off, also for who was connected before or meanwhile."""
    before, meanwhile = (http.client.HTTPConnection(triad.primary.host, triad.primary.port, timeout=LIMIT_S) for _ in range(2))
    with closing(before), closing(meanwhile):
        asked_for_status(before)
        triad.primary.slow(0.001)
        asked_for_status(meanwhile)
        triad.heal()
        process: Any = triad.primary._process
        held = [connection for connection in process._life.orders._stage._connections() if connection.transport is not None]
    assert len(held) >= 2
    assert all(connection.transport is connection._socket and connection._door for connection in held)
