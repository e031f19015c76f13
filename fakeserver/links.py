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

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]{1,9})\r\n", re.IGNORECASE)


class Link:
    """Sends messages of one kind to one peer, one after the other, and hands the kind and the body of each reply to ``deliver``.

    At most ``limit`` messages wait; the oldest is dropped for a new one, so that of heartbeats the newest wins.  ``timeout_s`` bounds each
    exchange.  ``run`` is a task of the owner's.  A ``peer`` whose port is 0 is looked for on 27000 to 27009.
    """

    def __init__(self, peer: tuple[str, int], kind: str, *, limit: int, timeout_s: float, deliver: Callable[[str, bytes], None]) -> None:
        self._host, port = peer
        self._ports = deque([port] if port else DEFAULT_PORTS)  # the first is tried; a port of 0 is not known yet (T13)
        self._kind = kind
        self._waiting: deque[bytes] = deque(maxlen=limit)
        self._wanted = asyncio.Event()
        self._timeout_s = timeout_s
        self._deliver = deliver
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._era = 0

    @property
    def waiting(self) -> int:
        """How many messages stand in line."""
        return len(self._waiting)

    @property
    def is_idle(self) -> bool:
        """Whether no message stands in line and none is on its way."""
        return not self._wanted.is_set()

    def send(self, content: bytes) -> None:
        """Put a message in line."""
        head = (
            f"POST /v1/peer/{self._kind} HTTP/1.1\r\nhost: {self._host}\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
        )
        self._waiting.append(head.encode("ascii") + content)
        self._wanted.set()

    def forget(self) -> None:
        """Drop what stands in line, and the reply to what is on its way: whoever asked is no more."""
        self._waiting.clear()
        self._era += 1

    async def run(self) -> None:
        """Send what is put in line, until cancelled."""
        try:
            while True:
                await self._wanted.wait()
                while self._waiting:
                    await self._try(self._waiting.popleft())
                self._wanted.clear()
        finally:
            self.hang_up()

    async def _try(self, request: bytes) -> None:
        era = self._era
        try:
            async with asyncio.timeout(self._timeout_s):
                body = await self._exchange(request)
        except (OSError, EOFError, asyncio.LimitOverrunError):  # TimeoutError is an OSError
            body = None
            self.hang_up()
        if body is None:
            self._look_elsewhere()
        elif era == self._era:
            self._deliver(self._kind, body)

    def _look_elsewhere(self) -> None:
        if len(self._ports) > 1:
            self.hang_up()
            self._ports.rotate(-1)

    async def _exchange(self, request: bytes) -> bytes | None:
        """One request and its reply's body, None when the peer refused.  A kept connection that fails may be of a peer that was restarted since."""
        if self._streams is not None:
            try:
                return await self._ask(*self._streams, request)
            except (OSError, EOFError):
                self.hang_up()
        self._streams = await asyncio.open_connection(self._host, self._ports[0])
        return await self._ask(*self._streams, request)

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> bytes | None:
        writer.write(request)
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if length is None or int(length[1]) > REPLY_LIMIT_BYTES:
            raise ConnectionError("not a reply of this package's nodes")
        body = await reader.readexactly(int(length[1]))
        return body if head.startswith(b"HTTP/1.1 200 ") else None

    def hang_up(self) -> None:
        """Close the connection at once."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None
