"""The connections of one event loop: asyncio's transports, each with what is asked on it, and a stack of idle ones per node.

All of it belongs to the loop's thread, but for ``drop_idle_soon``, ``end_soon`` and ``forget``.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Protocol, cast

from palclient.transport.connections import IDLE_LIMIT_S, NodeKey, aged


class Asking(Protocol):
    """A call that waits for its answer on a connection."""

    def connected(self, connection: AsyncConnection) -> None:
        """The request may be written."""

    def received(self, data: bytes) -> None:
        """The next bytes (none: the peer will send no more)."""

    def lost(self, error: Exception | None) -> None:
        """The connection is gone."""


class AsyncConnection(asyncio.Protocol):
    """A connection to a node.  ``asking`` is the call that it carries, None while it is idle."""

    def __init__(self, key: NodeKey, sock: socket.socket, connections: LoopConnections, asking: Asking) -> None:
        self.key = key
        self.asking: Asking | None = asking
        self.reused = False
        self.idle_since = 0.0
        self.generation = connections.generation
        self.transport: asyncio.Transport | None = None
        self._sock = sock
        self._connections = connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected: the request goes out in this very turn of the loop."""
        self.transport = cast("asyncio.Transport", transport)
        self._connections.all.add(self)
        if self.asking is not None:  # else it was cancelled meanwhile, and asyncio is closing it
            self.asking.connected(self)

    def data_received(self, data: bytes) -> None:
        """Bytes that nobody asked for would be taken for the answer to the next request: such a connection is closed."""
        if self.asking is None:
            self.close()
        else:
            self.asking.received(data)

    def eof_received(self) -> None:
        """The peer will send no more."""
        self.data_received(b"")

    def connection_lost(self, exc: Exception | None) -> None:
        """Closed, by either side."""
        self._connections.all.discard(self)
        asking, self.asking = self.asking, None
        if asking is not None:
            asking.lost(exc)

    def close(self) -> None:
        """End it.  The peer hears of it at once, even while a forked child holds a copy of the socket."""
        self.asking = None
        if self.transport is not None:
            with suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)
            self.transport.abort()

    def drop(self) -> None:
        """Free the descriptor and nothing else: in a forked child, or when the loop was closed without a word."""
        self._sock.close()

    @property
    def is_usable(self) -> bool:
        """Whether another request may be written."""
        return self.transport is not None and not self.transport.is_closing()


class LoopConnections:
    """The connections of one event loop, of which ``room`` may be idle per node.  ``on_end`` is called when they are closed because the loop ends."""

    def __init__(self, room: int, on_end: Callable[[], None]) -> None:
        self.loop = asyncio.get_running_loop()
        self.generation = 0
        self._room = room
        self.all: set[AsyncConnection] = set()
        self._idle: dict[NodeKey, list[AsyncConnection]] = {}
        self._on_end = on_end
        self._watch = self._until_the_loop_ends()
        with suppress(StopIteration):  # its first step, which needs no waiting
            self._watch.asend(None).send(None)

    def take(self, key: NodeKey, now: float) -> AsyncConnection | None:
        """The idle connection that was used last, if one is still good.  The loop has told of those that the peer closed."""
        stack = self._idle.get(key)
        while stack:
            connection = stack.pop()
            if now - connection.idle_since < IDLE_LIMIT_S and connection.is_usable:
                connection.reused = True
                return connection
            connection.close()
        return None

    def keep(self, connection: AsyncConnection, now: float) -> None:
        """Put a connection back whose answer was whole."""
        connection.asking = None
        connection.idle_since = now
        for old in [old for stack in self._idle.values() for old in aged(stack, now)]:
            old.close()
        stack = self._idle.setdefault(connection.key, [])
        if connection.generation == self.generation and len(stack) < self._room:
            stack.append(connection)
        else:
            connection.close()

    def drop_idle(self) -> None:
        """Close all that is idle, and keep none of those that are in use now."""
        self.generation += 1
        idle = [connection for stack in self._idle.values() for connection in stack]
        self._idle.clear()
        for connection in idle:
            connection.close()

    def drop_idle_soon(self) -> None:
        """``drop_idle``, from any thread."""
        with suppress(RuntimeError):  # the loop was closed, and its connections with it
            self.loop.call_soon_threadsafe(self.drop_idle)

    def end_soon(self) -> None:
        """Close everything, for good, from any thread."""
        try:
            self.loop.call_soon_threadsafe(self.end)
        except RuntimeError:  # the loop was closed
            self.forget()

    def end(self) -> None:
        """Close everything, for good; what is being connected now is closed when it has its answer."""
        with suppress(StopIteration):  # its last step, which needs no waiting either
            self._watch.aclose().send(None)

    def forget(self) -> None:
        """In a forked child, or once the loop is closed, where nothing can be done in order: free the descriptors."""
        inherited, self.all, self._idle = list(self.all), set(), {}
        for connection in inherited:
            connection.drop()

    async def _until_the_loop_ends(self) -> AsyncGenerator[None, None]:
        """``asyncio.run`` and its kin close every asynchronous generator that was begun on a loop before they close the loop."""
        try:
            yield
        finally:
            self._room = 0
            self._on_end()
            for connection in list(self.all):
                connection.close()
