"""The shell around a node, over real sockets: with a node that a test scripts in the place of the real one."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from fakeserver import hosting, wire
from fakeserver.clock import now_s, wall_epoch_s
from fakeserver.disk import Disk
from fakeserver.door import Door
from fakeserver.events import (
    Answer,
    AppendRecords,
    ClientCall,
    ClientGone,
    Effect,
    Event,
    Halt,
    Happened,
    PeerAnswer,
    PeerCall,
    PeerReply,
    PeerSend,
    Renew,
    RewriteTable,
    Status,
    Stop,
    Tick,
    Usage,
)
from fakeserver.hosting import serve
from fakeserver.journal import Recorder
from fakeserver.peer import Heartbeat, HeartbeatReply, Message
from fakeserver.plain import Plain
from fakeserver.process import bound
from fakeserver.roles import Role
from fakeserver.seats import SeatRecord, Version
from fakeserver.server import End, Shell
from tests.hostile import LINGER

LIMIT_S = 10.0
ID = "5f0c3a52-5b1e-4f8e-9a35-1f2f7f6e0001"
IDENTITY = {"node": "1@127.0.0.1", "role": "primary", "cluster": "c", "term": 1}
RECORD = SeatRecord(feature="X", index=0, version=Version(1, 1), seq=1, grant=None)
HEARTBEAT = Heartbeat(sender=Role.SECONDARY, cluster="c", term=1, sent_at=1.0, leading=False, master=None, master_term=0, hears=())
BEAT_REPLY = HeartbeatReply(sender=Role.PRIMARY, cluster="c", term=1, sent_at=1.0, accepted=False, op=0)

Script = Callable[[Event], Iterable[Effect] | None]


class ScriptedNode:
    """In the place of a node: does what the test says, answers status, and remembers what it was told.  It halts when it is stopped."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.wake_at = now_s() + 3600
        self.told: list[Event] = []

    def handle(self, event: Event, now: float) -> tuple[Effect, ...]:
        """Play the script."""
        assert now <= now_s()
        self.told.append(event)
        effects = self._script(event)
        if effects is not None:
            return tuple(effects)
        if isinstance(event, ClientCall) and isinstance(event.request, Status):
            return (Answer(token=event.token, status=200, body=IDENTITY),)
        if isinstance(event, PeerCall):
            return (PeerAnswer(token=event.token, message=BEAT_REPLY),)
        return (Halt(),) if isinstance(event, Stop) else ()

    async def wait_told(self, kind: type[Event]) -> Event:
        """Wait until an event of this kind has come."""
        async with asyncio.timeout(LIMIT_S):
            while not (found := [event for event in self.told if isinstance(event, kind)]):  # noqa: ASYNC110 - the node is no part of asyncio
                await asyncio.sleep(0)  # the shell runs on this very loop
            return found[0]


class Client:
    """One connection, as bare as can be."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def ask(self, method: str, path: str, *, headers: str = "", body: bytes = b"") -> tuple[int, dict[str, str], dict[str, object]]:
        """Status, headers and body of the reply."""
        self.send(method, path, headers=headers, body=body)
        return await self.reply()

    def send(self, method: str, path: str, *, headers: str = "", body: bytes = b"") -> None:
        """Send a request."""
        length = "" if "chunked" in headers else f"content-length: {len(body)}\r\n"
        self.writer.write(f"{method} {path} HTTP/1.1\r\nhost: x\r\n{length}{headers}\r\n".encode() + body)

    async def reply(self) -> tuple[int, dict[str, str], dict[str, object]]:
        """The next reply."""
        status, headers = await self.head()
        async with asyncio.timeout(LIMIT_S):
            body = await self._reader.readexactly(int(headers["content-length"]))
        return status, headers, json.loads(body)

    async def end(self) -> None:
        """Wait until the node closes the connection."""
        async with asyncio.timeout(LIMIT_S):
            assert await self._reader.read() == b""

    async def head(self) -> tuple[int, dict[str, str]]:
        """What the next reply says before its body."""
        async with asyncio.timeout(LIMIT_S):
            first, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        return int(first.split()[1]), dict(line.split(": ", 1) for line in lines)


@asynccontextmanager
async def served(folder: Path, script: Script = lambda _: None) -> AsyncIterator[tuple[ScriptedNode, Shell, tuple[str, int]]]:
    """A scripted node that is served until the end of the block, whose peers are at its own address; then nothing of it is left."""
    node = ScriptedNode(script)
    listener = bound("127.0.0.1", 0)
    address: tuple[str, int] = listener.getsockname()
    shell = Shell(
        node,
        disk=Disk(folder, cluster="c", boot="b", fsync=False),
        recorder=Recorder(folder, wall_epoch_s=wall_epoch_s()),
        peers={Role.SECONDARY: address, Role.TERTIARY: address},
        peer_timeout_s=LIMIT_S,
    )
    ready = asyncio.Event()
    serving = asyncio.create_task(serve(shell, listener, when_ready=ready.set), name="test serve")
    async with asyncio.timeout(LIMIT_S):
        await ready.wait()
        try:
            yield node, shell, address
        finally:
            shell.stop()
            await serving
    assert {task for task in asyncio.all_tasks() if task is not asyncio.current_task()} == set()


@asynccontextmanager
async def connected(address: tuple[str, int]) -> AsyncIterator[Client]:
    """A connection for the time of the block."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


def test_the_node_is_told_and_its_answer_goes_out(tmp_path: Path) -> None:
    """Events: a ClientCall is answered by the Answer of its token; several requests pass over one connection."""

    def script(event: Event) -> Iterable[Effect] | None:
        if isinstance(event, ClientCall) and isinstance(event.request, Usage):
            return [Answer(token=event.token, status=503, body={"retry_after_s": 1.2})]
        return None

    async def main() -> None:
        async with served(tmp_path, script) as (_, _, address), connected(address) as client:
            assert (await client.ask("GET", "/v1/status"))[::2] == (200, IDENTITY)
            status, headers, body = await client.ask("GET", "/v1/usage")
            assert (status, headers["retry-after"], body) == (503, "2", {"retry_after_s": 1.2})

    asyncio.run(main())


def test_a_record_is_on_disk_before_the_answer_that_rests_on_it(tmp_path: Path) -> None:
    """E7, and the order of effects."""

    def script(event: Event) -> Iterable[Effect] | None:
        if isinstance(event, Tick):
            return [RewriteTable(records=())]
        if isinstance(event, ClientCall) and isinstance(event.request, Usage):
            return [AppendRecords(records=(RECORD,)), Answer(token=event.token, status=200, body={"log": (tmp_path / "table.log").read_text()})]
        return None

    async def main() -> None:
        async with served(tmp_path, script) as (_, _, address), connected(address) as client:
            before = (await client.ask("GET", "/v1/usage"))[2]["log"]
            after = (await client.ask("GET", "/v1/usage"))[2]["log"]
            assert str(after).startswith(str(before))
            assert str(after).count('"feature":"X"') == 1

    asyncio.run(main())


def test_nothing_leaves_that_rests_on_a_write_that_failed(tmp_path: Path) -> None:
    """G2, E7: the node stops, says why, and refuses whoever waits."""
    folder = tmp_path / "node"

    def script(event: Event) -> Iterable[Effect] | None:
        if isinstance(event, ClientCall) and isinstance(event.request, Usage):
            return [RewriteTable(records=()), Answer(token=event.token, status=200, body={})]
        return None

    async def main() -> None:
        async with served(folder, script) as (_, shell, address), connected(address) as client:
            await client.ask("GET", "/v1/status")
            for file in folder.iterdir():
                file.unlink()
            folder.rmdir()
            assert (await client.ask("GET", "/v1/usage"))[0] == 503
            end = await shell.wait_halted()
            assert (end.exit_code, end.reason.partition(":")[0]) == (1, "The state cannot be written")

    asyncio.run(main())


def _fail() -> Effect:
    raise LookupError("a defect")


def test_a_node_that_fails_stops_instead_of_going_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """G1: a node that is not sure of itself grants nothing."""

    def script(event: Event) -> Iterable[Effect] | None:
        return [_fail()] if isinstance(event, ClientCall) and isinstance(event.request, Usage) else None

    async def main() -> None:
        async with served(tmp_path, script) as (_, shell, address), connected(address) as client:
            assert (await client.ask("GET", "/v1/usage"))[0] == 503
            end = await shell.wait_halted()
            assert end.exit_code == 1
            assert "defect" in end.reason

    asyncio.run(main())
    assert "a defect" in caplog.text


def test_a_node_that_will_not_go_on_says_why(tmp_path: Path) -> None:
    """Issue "the main job", bad input: a plain sentence and exit code 2; an orderly stop has neither."""

    def script(event: Event) -> Iterable[Effect] | None:
        return [Halt(reason="Not my cluster.")] if isinstance(event, ClientCall) and isinstance(event.request, Usage) else None

    async def main() -> None:
        async with served(tmp_path, script) as (_, shell, address), connected(address) as client:
            assert (await client.ask("GET", "/v1/usage"))[0] == 503
            assert await shell.wait_halted() == End(reason="Not my cluster.", exit_code=2)
        async with served(tmp_path) as (_, shell, _):
            shell.stop()
            assert await shell.wait_halted() == End(reason="", exit_code=0)

    asyncio.run(main())


def test_a_connection_that_says_nothing_more_is_closed_after_a_plain_request_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds: a client that vanished without a word leaves no connection for ever."""
    monkeypatch.setattr(hosting, "KEEP_ALIVE_S", 0)

    async def play() -> None:
        async with served(tmp_path) as (_, _, address), connected(address) as client:
            client.send("GET", "/v1/status")
            assert (await client.reply())[0] == 200
            await client.end()

    asyncio.run(play())


def test_of_a_connection_that_was_reset_nothing_is_left(tmp_path: Path) -> None:
    """Bounds: whoever cancels a request resets its connection; uvicorn's timer would hold each for as long as quiet ones are kept."""

    def timers() -> list[asyncio.TimerHandle]:
        scheduled: list[Any] = getattr(asyncio.get_running_loop(), "_scheduled")  # noqa: B009  # asyncio's own
        return [each for each in scheduled if not each.cancelled() and each._callback.__name__ == "timeout_keep_alive_handler"]

    async def main() -> None:
        async with served(tmp_path) as (_, _, address), connected(address) as client:
            client.send("GET", "/v1/status")
            assert (await client.reply())[0] == 200
            assert len(timers()) == 1
            client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack(LINGER, 1, 0))
            client.writer.close()
            async with asyncio.timeout(LIMIT_S):
                while timers():  # noqa: ASYNC110 - the kernel brings it about
                    await asyncio.sleep(0)

    asyncio.run(main())


def test_a_parked_request_waits_and_is_dropped_with_its_connection(tmp_path: Path) -> None:
    """Protocol, parking: a parked request whose connection closes is never served."""

    async def main() -> None:
        async with served(tmp_path, _hold_usage) as (node, _, address):
            async with connected(address) as client:
                client.send("GET", "/v1/usage", headers="prefer: wait=30\r\nafter-term: 4\r\n")
                call = await node.wait_told(ClientCall)
                assert isinstance(call, ClientCall)
                assert (call.park_s, call.after_term) == (30.0, 4)
            assert await node.wait_told(ClientGone) == ClientGone(token=call.token)

    asyncio.run(main())


def test_a_stopping_node_answers_whoever_is_still_parked(tmp_path: Path) -> None:
    """Protocol, parking: 503 when the node stops, with all that every reply says."""

    async def main() -> None:
        async with served(tmp_path, _hold_usage) as (node, shell, address), connected(address) as client:
            client.send("GET", "/v1/usage", headers="prefer: wait=30\r\n")
            await node.wait_told(ClientCall)
            shell.stop()
            status, _, body = await client.reply()
            assert (status, body["type"]) == (503, "urn:palclient:problem:no-quorum")
            assert body.items() >= IDENTITY.items()

    asyncio.run(main())


def _hold_usage(event: Event) -> Iterable[Effect] | None:
    return [] if isinstance(event, ClientCall) and isinstance(event.request, Usage) else None


ODD = "te: trailers\r\n"  # what h11 is to read


@pytest.mark.parametrize("headers", ["", ODD])
def test_what_comes_while_an_answer_is_to_come_waits_its_turn_and_takes_no_room(tmp_path: Path, headers: str) -> None:
    """Issue "the triad in full", bad input: answers come in the order of the requests, and nobody can make a node remember more than a few of them."""
    held: list[int] = []

    def script(event: Event) -> Iterable[Effect] | None:
        if isinstance(event, ClientCall) and isinstance(event.request, Usage):
            held.append(event.token)
            return []
        if isinstance(event, ClientCall) and isinstance(event.request, Renew):
            return [Answer(token=token, status=200, body={"usage": True}) for token in held]
        return None

    async def main() -> None:
        async with served(tmp_path, script) as (node, _, address), connected(address) as client, connected(address) as other:
            client.send("GET", "/v1/usage", headers=headers)
            await node.wait_told(ClientCall)
            client.send("GET", "/v1/status", headers=headers)
            for _ in range(20_000):
                client.send("GET", "/v1/status", headers=f"x: {'y' * 1000}\r\n")
            for _ in range(1_000):
                await asyncio.sleep(0)
            assert client.writer.transport.get_write_buffer_size() > 0
            other.send("POST", "/v1/renewals", body=b'{"ids":[]}')
            assert (await client.reply())[2] == {"usage": True}
            assert (await client.reply())[2] == IDENTITY
            assert (await client.reply())[2] == IDENTITY
            client.writer.transport.abort()

    asyncio.run(main())


def test_one_event_is_handled_to_its_end_before_the_next(tmp_path: Path) -> None:
    """Events: effects are carried out in their order, also when an answer lets the next request of its connection in."""
    held: list[int] = []

    def script(event: Event) -> Iterable[Effect] | None:
        if isinstance(event, ClientCall) and isinstance(event.request, Usage):
            held.append(event.token)
            return []
        if isinstance(event, ClientCall) and isinstance(event.request, Renew):
            return [*(Answer(token=token, status=200, body={}) for token in held), Happened(name="released")]
        if isinstance(event, ClientCall):
            return [Answer(token=event.token, status=200, body=IDENTITY | {"journal": (tmp_path / "journal.jsonl").read_text()})]
        return None

    async def main() -> None:
        async with served(tmp_path, script) as (node, _, address), connected(address) as client, connected(address) as other:
            client.send("GET", "/v1/usage")
            await node.wait_told(ClientCall)
            client.send("GET", "/v1/status")
            for _ in range(200):
                await asyncio.sleep(0)
            other.send("POST", "/v1/renewals", body=b'{"ids":[]}')
            assert (await client.reply())[2] == {}
            assert "released" in str((await client.reply())[2])

    asyncio.run(main())


def test_whoever_reads_no_answers_gets_no_more(tmp_path: Path) -> None:
    """Issue "the triad in full", bad input: no memory that grows without bound."""

    def script(event: Event) -> Iterable[Effect] | None:
        if isinstance(event, ClientCall) and isinstance(event.request, Usage):
            return [Answer(token=event.token, status=200, body={"much": "x" * 8_000_000})]
        return None

    async def main() -> None:
        async with served(tmp_path, script) as (node, _, address), connected(address) as client:
            for _ in range(20):
                client.send("GET", "/v1/usage")
                for _ in range(200):
                    await asyncio.sleep(0)
            assert sum(isinstance(event, ClientCall) for event in node.told) <= 2
            client.writer.transport.abort()

    asyncio.run(main())


def test_a_body_that_looks_like_a_request_is_none(tmp_path: Path) -> None:
    """It came apart from its head, which h11 has read: two readers of one connection must not lose their place."""

    async def main() -> None:
        async with served(tmp_path) as (node, _, address), connected(address) as client:
            body = b"GET /v1/usage HTTP/1.1\r\nhost: x\r\n\r\n"
            client.writer.write(b"POST /v1/renewals HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body))
            for _ in range(200):
                await asyncio.sleep(0)
            client.writer.write(body)
            assert (await client.reply())[0] == 400
            assert not [event for event in node.told if isinstance(event, ClientCall) and isinstance(event.request, Usage)]
            whole = body.replace(b"usage", b"status")
            client.writer.write(whole[:10])
            for _ in range(200):
                await asyncio.sleep(0)
            client.writer.write(whole[10:])
            assert (await client.reply())[0] == 200
            client.writer.write(b"GET /v1/status HTTP/1.1\r\nx: ")
            for _ in range(200):
                await asyncio.sleep(0)
            client.writer.write(body)
            assert (await client.reply())[0] == 200

    asyncio.run(main())


def test_a_plain_request_over_the_limit_is_refused() -> None:
    """Protocol: as any other; between nodes whole tables travel."""
    told: list[wire.Reply] = []

    class Nobody:
        async def call(self, call: wire.Call, closed: Callable[[], asyncio.Task[None]]) -> Answer | None:
            raise AssertionError(call, closed)

        def call_peer(self, message: Message) -> Message:
            raise AssertionError(message)

        def identity(self) -> dict[str, object]:
            return IDENTITY

    def begin(call: wire.Call, _tell: object) -> Callable[[], None]:
        raise AssertionError(call)

    door = Door(Nobody(), begin)
    for path, limit in (("/v1/renewals", wire.REQUEST_LIMIT_BYTES), ("/v1/peer/append", wire.PEER_LIMIT_BYTES)):
        for size in (limit, limit + 1):
            assert door.begin(Plain(method="POST", path=path, headers=(), body=b" " * size), told.append) is None
    assert [reply.status for reply in told] == [400, 413, 400, 413]


def test_a_body_over_the_limit_is_refused_and_the_connection_lives_on(tmp_path: Path) -> None:
    """Protocol: requests at most 64 KiB, announced or in chunks; every reply says whose it is."""
    body = b"x" * (64 * 1024 + 1)
    in_chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)

    async def main() -> None:
        async with served(tmp_path) as (_, _, address), connected(address) as client:
            client.send("PUT", f"/v1/checkouts/{ID}", body=body)
            client.send("PUT", f"/v1/checkouts/{ID}", headers="transfer-encoding: chunked\r\n", body=in_chunks)
            for _ in range(2):
                status, _, problem = await client.reply()
                assert (status, problem["type"]) == (413, "urn:palclient:problem:too-large")
                assert problem.items() >= IDENTITY.items()
            assert (await client.ask("GET", "/v1/status"))[0] == 200

    asyncio.run(main())


def test_head_is_answered_as_get_without_a_body(tmp_path: Path) -> None:
    """RFC 9110, 9.3.2: whoever understands GET understands HEAD; what comes next on the connection is the next answer."""

    async def main() -> None:
        async with served(tmp_path) as (_, _, address), connected(address) as client:
            client.send("HEAD", "/v1/status")
            client.send("GET", "/v1/status")
            told = await client.head()
            status, headers, body = await client.reply()
            assert (told[0], told[1].keys(), told[1]["content-type"]) == (200, headers.keys(), "application/json")
            assert (status, headers["content-type"]) == (200, "application/json")
            assert body.items() >= IDENTITY.items()

    asyncio.run(main())


def test_what_no_node_understands_is_refused_with_a_problem(tmp_path: Path) -> None:
    """Protocol, problems: bad-request."""
    wrong = [
        (405, "GET", "/v1/peer/heartbeat", b""),
        (400, "POST", "/v1/peer/heartbeat", b"{}"),
        (400, "POST", "/v1/peer/gossip", b"{}"),
        (405, "DELETE", "/v1/status", b""),
        (404, "GET", "/v1/elsewhere", b""),
        (404, "GET", "/v1/else%0Awhere", b""),
        (400, "DELETE", "/v1/checkouts/a%0Ab", b""),
    ]

    async def main() -> None:
        async with served(tmp_path) as (_, _, address), connected(address) as client:
            for expected, method, path, body in wrong:
                status, headers, problem = await client.ask(method, path, body=body)
                assert (status, headers["content-type"], problem["type"]) == (
                    expected,
                    "application/problem+json",
                    "urn:palclient:problem:bad-request",
                )
                assert problem.items() >= IDENTITY.items()

    asyncio.run(main())


def test_nodes_talk_to_each_other_and_replies_come_back_as_events(tmp_path: Path) -> None:
    """Events: PeerSend, PeerCall, PeerAnswer, PeerReply, all over HTTP."""

    def script(event: Event) -> Iterable[Effect] | None:
        return [PeerSend(to=Role.SECONDARY, message=HEARTBEAT)] if isinstance(event, Tick) else None

    async def main() -> None:
        async with served(tmp_path, script) as (node, _, _):
            assert isinstance(call := await node.wait_told(PeerCall), PeerCall)
            assert call.message == HEARTBEAT
            assert await node.wait_told(PeerReply) == PeerReply(message=BEAT_REPLY)

    asyncio.run(main())


def test_a_node_is_woken_when_it_wants_to_be(tmp_path: Path) -> None:
    """Events: `wake_at` says when the next Tick is wanted; each one was asked for."""

    async def main() -> None:
        async with served(tmp_path) as (node, shell, _):
            node.told.clear()
            node.wake_at = now_s() + 0.02
            shell.identity()  # any event makes the shell look at `wake_at` again
            await node.wait_told(Tick)
            assert now_s() >= node.wake_at

    asyncio.run(main())


def test_signals_end_a_node_in_good_order(tmp_path: Path) -> None:
    """E6: SIGTERM is an orderly stop."""
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)

    async def main() -> None:
        async with served(tmp_path) as (node, _, _):
            os.kill(os.getpid(), signal.SIGTERM)
            await node.wait_told(Stop)

    try:
        asyncio.run(main())
    finally:
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
