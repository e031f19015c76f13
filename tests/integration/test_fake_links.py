"""What nodes say to each other, over real sockets, to a peer that a test scripts (T9)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from fakeserver.links import HEAD_LIMIT_BYTES, REPLY_LIMIT_BYTES, Link
from fakeserver.process import bound

LIMIT_S = 10.0
SHORT_S = 0.05

Answering = Callable[[asyncio.StreamReader, asyncio.StreamWriter, bytes], Awaitable[None]]


def reply(body: bytes, status: bytes = b"200 OK") -> bytes:
    """A reply as a node writes it."""
    return b"HTTP/1.1 %b\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body)


class Peer:
    """Answers each request by the next of the ``acts``, and by its own body when there is none left; remembers what it was asked, and on which connection."""

    def __init__(self, *acts: Answering) -> None:
        self.acts = deque(acts)
        self.asked: list[tuple[int, bytes]] = []
        self.connections = 0
        self.address: tuple[str, int] = ("127.0.0.1", 0)
        self._writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, to its end."""
        self.connections += 1
        number = self.connections
        self._writers.append(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                body = await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
                self.asked.append((number, body))
                await (self.acts.popleft() if self.acts else echo)(reader, writer, body)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def hang_up(self) -> None:
        """End all connections, and not by a request."""
        for writer in self._writers:
            writer.close()

    def say(self, data: bytes) -> None:
        """Say something that nobody asked for."""
        self._writers[-1].write(data)

    @property
    def bodies(self) -> list[bytes]:
        """What it was asked."""
        return [body for _, body in self.asked]


async def echo(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> None:
    """Answer with what was asked."""
    writer.write(reply(body))


async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _body: bytes) -> None:
    """End the connection in the place of an answer."""
    writer.close()


async def be_silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter, _body: bytes) -> None:
    """Say nothing, until the other side gives up."""
    await reader.read()


def saying(data: bytes) -> Answering:
    """Say just this."""

    async def act(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _body: bytes) -> None:
        writer.write(data)

    return act


class Linked:
    """A link and the replies it brought."""

    def __init__(self, address: tuple[str, int], *, limit: int = 5, timeout_s: float = LIMIT_S) -> None:
        self.replies: asyncio.Queue[bytes] = asyncio.Queue()
        self.link = Link(address, "heartbeat", limit=limit, timeout_s=timeout_s, deliver=self._deliver)
        self.send = self.link.send

    def _deliver(self, kind: str, body: bytes) -> None:
        assert kind == "heartbeat"
        self.replies.put_nowait(body)

    async def next(self) -> bytes:
        """The next reply."""
        async with asyncio.timeout(LIMIT_S):
            return await self.replies.get()

    async def idle(self) -> None:
        """Until nothing is on its way."""
        async with asyncio.timeout(LIMIT_S):
            while not self.link.is_idle:  # noqa: ASYNC110 - a link tells nobody
                await asyncio.sleep(0)


@asynccontextmanager
async def linked(peer: Peer, *, limit: int = 5, timeout_s: float = LIMIT_S) -> AsyncIterator[Linked]:
    """A link to a peer that listens."""
    server = await asyncio.start_server(peer.serve, *peer.address)
    peer.address = server.sockets[0].getsockname()
    async with server:
        link = Linked(peer.address, limit=limit, timeout_s=timeout_s)
        try:
            yield link
        finally:
            link.link.close()
            peer.hang_up()
            await asyncio.sleep(0)


def test_messages_go_one_after_the_other_on_one_connection() -> None:
    """T9: in order, each after the reply to the one before."""
    peer = Peer()

    async def main() -> None:
        async with linked(peer) as link:
            for number in range(4):
                link.send(b"%d" % number)
            assert [await link.next() for _ in range(4)] == [b"0", b"1", b"2", b"3"]
            assert link.link.is_idle

    asyncio.run(main())
    assert peer.asked == [(1, b"0"), (1, b"1"), (1, b"2"), (1, b"3")]


def test_a_message_leaves_at_once() -> None:
    """Issue 5: no turn of the loop lies between the node's wish and the wire, on a connection that there is."""
    peer = Peer()

    async def main() -> None:
        async with linked(peer) as link:
            link.send(b"first")
            await link.next()
            sent: list[int] = []
            connection = link.link._connection
            assert connection is not None
            connection.ask = lambda request: sent.append(len(request))  # type: ignore[method-assign]
            link.send(b"second")
            assert len(sent) == 1

    asyncio.run(main())


@pytest.mark.parametrize("pieces", [[slice(0, 20), slice(20, None)], [slice(0, -1), slice(-1, None)]])
def test_a_reply_may_come_in_pieces(pieces: list[slice]) -> None:
    """As TCP has it, cut in its head or in its body."""

    async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> None:
        for piece in pieces:
            writer.write(reply(body)[piece])
            await asyncio.sleep(0.002)

    async def main() -> None:
        async with linked(Peer(drip)) as link:
            link.send(b"x" * 1000)
            assert await link.next() == b"x" * 1000

    asyncio.run(main())


def test_a_link_survives_the_restart_of_its_peer() -> None:
    """T9: a connection that was kept and is dead costs nothing but a new one, whether it died before or over the message."""
    peer = Peer(echo, hang_up)

    async def main() -> None:
        async with linked(peer) as link:
            link.send(b"1")
            await link.next()
            link.send(b"2")
            assert await link.next() == b"2"
            peer.hang_up()
            link.send(b"3")
            assert await link.next() == b"3"

    asyncio.run(main())
    assert peer.asked == [(1, b"1"), (1, b"2"), (2, b"2"), (3, b"3")]


def test_a_message_is_not_tried_for_ever() -> None:
    """T9: a peer that hangs up on a fresh connection does not answer; the next message is tried all the same."""
    peer = Peer(echo, hang_up, hang_up)

    async def main() -> None:
        async with linked(peer) as link:
            link.send(b"1")
            await link.next()
            link.send(b"2")
            link.send(b"3")
            assert await link.next() == b"3"

    asyncio.run(main())
    assert peer.bodies == [b"1", b"2", b"2", b"3"]


def test_a_silent_peer_is_given_up_and_the_newest_heartbeat_wins() -> None:
    """A frozen peer accepts connections and answers nothing; what waits meanwhile is bounded, and the oldest goes first."""
    peer = Peer(be_silent)

    async def main() -> None:
        async with linked(peer, limit=1, timeout_s=SHORT_S) as link:
            for number in (b"1", b"2", b"3"):
                link.send(number)
            assert link.link.waiting == 1
            assert await link.next() == b"3"

    asyncio.run(main())
    assert peer.asked == [(1, b"1"), (2, b"3")]


def test_a_peer_that_is_silent_on_a_kept_connection_is_not_asked_twice() -> None:
    """What is not answered in time is given up, its connection with it: one timeout bounds an exchange, whatever becomes of connections."""
    peer = Peer(echo, be_silent)

    async def main() -> None:
        async with linked(peer, timeout_s=SHORT_S) as link:
            link.send(b"1")
            await link.next()
            link.send(b"2")
            await link.idle()
            link.send(b"3")
            assert await link.next() == b"3"

    asyncio.run(main())
    assert peer.asked == [(1, b"1"), (1, b"2"), (2, b"3")]


def test_a_peer_that_is_down_costs_a_link_nothing() -> None:
    """T9: refused is no error; the next message tries again."""
    with bound("127.0.0.1", 0) as spare:
        address = spare.getsockname()

    async def main() -> None:
        link = Linked(address)
        link.send(b"lost")
        await link.idle()
        peer = Peer()
        peer.address = address
        server = await asyncio.start_server(peer.serve, *address)
        async with server:
            link.send(b"found")
            assert await link.next() == b"found"
            link.link.close()
            peer.hang_up()

    asyncio.run(main())


def test_a_refusal_is_no_reply_and_keeps_the_connection() -> None:
    """T9: to a link anything but 200 is none."""
    peer = Peer(saying(reply(b"{}", b"503 Service Unavailable")))

    async def main() -> None:
        async with linked(peer) as link:
            link.send(b"1")
            link.send(b"2")
            assert await link.next() == b"2"

    asyncio.run(main())
    assert peer.asked == [(1, b"1"), (1, b"2")]


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n", id="no length"),
        pytest.param(b"220 mail ready\r\n\r\n", id="not HTTP"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (REPLY_LIMIT_BYTES + 1), id="too large"),
        pytest.param(b"HTTP/1.1 200 OK\r\n" + b"x" * HEAD_LIMIT_BYTES, id="a head without end"),
        pytest.param(reply(b"old") + b"x", id="more than a reply"),
    ],
)
def test_what_is_no_reply_ends_the_connection(said: bytes) -> None:
    """It would be read as the answer to the next message."""
    peer = Peer(saying(said))

    async def main() -> None:
        async with linked(peer) as link:
            link.send(b"1")
            link.send(b"2")
            assert await link.next() == b"2"

    asyncio.run(main())
    assert peer.asked == [(1, b"1"), (2, b"2")]


def test_what_comes_unasked_is_no_answer() -> None:
    """As above, between two messages."""
    peer = Peer()

    async def main() -> None:
        async with linked(peer) as link:
            link.send(b"1")
            await link.next()
            peer.say(reply(b"unasked"))
            async with asyncio.timeout(LIMIT_S):
                while link.link._connection is not None:  # noqa: ASYNC110 - a link tells nobody
                    await asyncio.sleep(0)
            link.send(b"2")
            assert await link.next() == b"2"

    asyncio.run(main())
    assert peer.asked == [(1, b"1"), (2, b"2")]


def test_what_was_asked_before_the_node_began_anew_brings_no_reply() -> None:
    """``forget``: neither what is on its way nor what stands in line concerns the new node; the connection stays."""
    peer = Peer()

    async def main() -> None:
        async with linked(peer) as link:
            link.send(b"old")
            link.send(b"in line")
            link.link.forget()
            link.send(b"new")
            assert await link.next() == b"new"
            assert link.replies.empty()

    asyncio.run(main())
    assert peer.asked == [(1, b"old"), (1, b"new")]


@pytest.mark.parametrize("when", ["connecting", "asking", "idle"])
def test_a_closed_link_says_nothing_more(when: str) -> None:
    """Style 16: its connection is closed, and a message that comes late (F, ``slow``) opens none."""
    peer = Peer(echo, be_silent)

    async def main() -> None:
        async with linked(peer) as link:
            link.send(b"1")
            if when != "connecting":
                await link.next()
            if when == "asking":
                link.send(b"2")
                async with asyncio.timeout(LIMIT_S):
                    while len(peer.asked) < 2:  # noqa: ASYNC110 - a peer tells nobody
                        await asyncio.sleep(0)
            link.link.close()
            link.send(b"late")
            assert link.link.is_idle
            await asyncio.sleep(0.01)
            assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("link")]
            assert asyncio.all_tasks() == {asyncio.current_task()}  # whoever served the connection has seen its end
        assert link.replies.empty()

    asyncio.run(main())
    assert b"late" not in peer.bodies
