"""The connections from one node to another: a persistent one for each peer and purpose, so that a slow append delays no heartbeat.

HTTP/1.1 as far as it is needed between two nodes of this package, on asyncio's streams: a general client costs more time than the whole rest of
a heartbeat.  What is not answered within the timeout is given up, its connection with it; the node is not told, it learns from silence.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable

from fakeserver.settings import DEFAULT_PORTS

REPLY_LIMIT_BYTES = 16 * 1024 * 1024  # as wire.PEER_LIMIT_BYTES: a vote carries a whole table
HEAD_LIMIT_BYTES = 64 * 1024

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]{1,9})\r\n", re.IGNORECASE)


class Link:
    """Sends messages of one kind to one peer, one after the other, and hands the kind and the body of each reply to ``deliver``.

    At most ``limit`` messages wait; the oldest is dropped for a new one, so that of heartbeats the newest wins.  ``timeout_s`` bounds each
    exchange.  A ``peer`` whose port is 0 is looked for on 27000 to 27009.  Lives on one event loop, and has a task only while it connects: that a
    message leaves at once is what an election takes.
    """

    def __init__(self, peer: tuple[str, int], kind: str, *, limit: int, timeout_s: float, deliver: Callable[[str, bytes], None]) -> None:
        self._host, port = peer
        self._ports = deque([port] if port else DEFAULT_PORTS)  # the first is tried; a port of 0 is not known yet (T13)
        self._kind = kind
        self._waiting: deque[bytes] = deque(maxlen=limit)
        self._timeout_s = timeout_s
        self._deliver = deliver
        self._connection: Connection | None = None
        self._dialing: asyncio.Task[None] | None = None
        self._asked: bytes | None = None
        self._asked_era = self._era = 0
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    @property
    def waiting(self) -> int:
        """How many messages stand in line."""
        return len(self._waiting)

    @property
    def is_idle(self) -> bool:
        """Whether no message stands in line and none is on its way."""
        return not self._waiting and self._asked is None

    def send(self, content: bytes) -> None:
        """Send a message, or put it in line while one is on its way."""
        if self._is_closed:
            return
        head = (
            f"POST /v1/peer/{self._kind} HTTP/1.1\r\nhost: {self._host}\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
        )
        self._waiting.append(head.encode("ascii") + content)
        self._go_on()

    def forget(self) -> None:
        """Drop what stands in line, and the reply to what is on its way: whoever asked is no more."""
        self._waiting.clear()
        self._era += 1

    def close(self) -> None:
        """Send nothing any more, and close the connection at once."""
        self._is_closed = True
        self._waiting.clear()
        self._end_exchange()
        self._hang_up()

    def _go_on(self) -> None:
        if self._asked is not None or not self._waiting:
            return
        self._asked, self._asked_era = self._waiting.popleft(), self._era
        self._timer = asyncio.get_running_loop().call_later(self._timeout_s, self._give_up)
        if self._connection is None:
            self._dial()
        else:
            self._connection.ask(self._asked)

    def _dial(self) -> None:
        self._dialing = asyncio.get_running_loop().create_task(self._connect(), name=f"link for {self._kind}")

    async def _connect(self) -> None:
        connection = Connection(self._replied, self._lost)
        try:
            await asyncio.get_running_loop().create_connection(lambda: connection, self._host, self._ports[0])
        except OSError:
            self._fail()
            return
        self._connection = connection
        if self._asked is not None:
            connection.ask(self._asked)

    def _replied(self, body: bytes | None) -> None:
        era = self._asked_era
        self._end_exchange()
        if body is None:
            self._look_elsewhere()
        elif era == self._era:
            self._deliver(self._kind, body)
        self._go_on()

    def _lost(self, connection: Connection) -> None:
        """A connection has ended.  A kept one that fails may be of a peer that was restarted since."""
        if connection is not self._connection:
            return
        self._connection = None
        if self._asked is None:
            return
        if connection.was_good:
            self._dial()
        else:
            self._fail()

    def _give_up(self) -> None:
        self._hang_up()
        self._fail()

    def _fail(self) -> None:
        """There is no answer to what was asked."""
        self._end_exchange()
        self._look_elsewhere()
        self._go_on()

    def _end_exchange(self) -> None:
        self._asked = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_elsewhere(self) -> None:
        if len(self._ports) > 1:
            self._hang_up()
            self._ports.rotate(-1)

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.hang_up()
        if self._dialing is not None:
            self._dialing.cancel()
            self._dialing = None


class Connection(asyncio.Protocol):
    """One connection to a peer.  ``replied`` gets the body of each reply, None when the peer refused; ``lost`` is told of the connection's end."""

    def __init__(self, replied: Callable[[bytes | None], None], lost: Callable[[Connection], None]) -> None:
        self._replied = replied
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._heard = b""
        self._is_asked = False
        self.was_good = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As every protocol's."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, _exc: Exception | None) -> None:
        """As every protocol's."""
        self._lost(self)

    def ask(self, request: bytes) -> None:
        """Send a request; there is one at a time."""
        assert self._transport is not None
        self._is_asked = True
        self._transport.write(request)

    def hang_up(self) -> None:
        """Close it at once."""
        self._is_asked = False
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """As every protocol's: what comes unasked, or is no reply of this package's nodes, ends the connection."""
        self._heard += data
        head, end, rest = self._heard.partition(b"\r\n\r\n")
        if not end and len(head) < HEAD_LIMIT_BYTES and self._is_asked:
            return
        length = _LENGTH.search(head + b"\r\n")
        if not self._is_asked or length is None or not len(rest) <= int(length[1]) <= REPLY_LIMIT_BYTES:
            self.hang_up()
        elif len(rest) == int(length[1]):
            self._heard = b""
            self._is_asked, self.was_good = False, True
            self._replied(rest if head.startswith(b"HTTP/1.1 200 ") else None)
