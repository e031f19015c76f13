"""What an ``AsyncClient`` has of the network: connections of its own for each event loop, and blocking ones for its keeper's thread."""

from __future__ import annotations

import asyncio
import threading
from typing import Protocol

from palclient.core.flow import Call
from palclient.transport import AnyExchange, Transport, Wakeup
from palclient.transport.async_connections import LoopConnections
from palclient.transport.async_exchange import AsyncExchange, OnEnd
from palclient.transport.connections import IDLE_PER_NODE
from palclient.transport.names import Names, Resolve, system_addresses


class AnyAsyncExchange(Protocol):
    """A call under way on a loop."""

    call: Call

    def begin(self, now: float) -> None:
        """Send it."""

    def expire(self, now: float) -> None:
        """Its deadline has come."""

    def cancel(self) -> None:
        """Give up."""


class AnyAsyncTransport(Protocol):
    """What the runner of event loops needs of the network."""

    def exchange_here(self, call: Call, on_end: OnEnd) -> AnyAsyncExchange:
        """A call on the running loop, which ``begin`` sends."""


class AsyncTransport:
    """The connections of an ``AsyncClient``.

    ``exchange`` is for the keeper, which renews on its own thread whatever the loops do; ``exchange_here`` is for the running loop.  What belongs to
    a loop is closed with it.
    """

    def __init__(self, resolve: Resolve = system_addresses) -> None:
        self._blocking = Transport(resolve)
        self._names = Names(resolve)
        self._lock = threading.Lock()
        self._room = IDLE_PER_NODE
        self._by_loop: dict[asyncio.AbstractEventLoop, LoopConnections] = {}

    def exchange_here(self, call: Call, on_end: OnEnd) -> AsyncExchange:
        """A call on the running loop, which ``begin`` sends."""
        loop = asyncio.get_running_loop()
        return AsyncExchange(call, self._by_loop.get(loop) or self._opened(loop), self._names, on_end)

    def exchange(self, call: Call, wakeup: Wakeup) -> AnyExchange:
        """A call on the thread that drives it."""
        return self._blocking.exchange(call, wakeup)

    def drop_connections(self) -> None:
        """After a sleep: what the other side thinks of the old connections is anybody's guess."""
        self._blocking.drop_connections()
        for connections in list(self._by_loop.values()):
            connections.drop_idle_soon()

    def forget(self) -> None:
        """In a forked child: own nothing of the parent's, and disturb nothing of it."""
        self._blocking.forget()
        self._names.forget()
        self._lock = threading.Lock()
        inherited, self._by_loop = self._by_loop, {}
        for connections in inherited.values():
            connections.forget()

    def close(self) -> None:
        """Close everything; calls that are under way on a loop fail."""
        self._blocking.close()
        with self._lock:
            self._room = 0  # what is still said is the last word
            ending, self._by_loop = self._by_loop, {}
        for connections in ending.values():
            connections.end_soon()

    def _opened(self, loop: asyncio.AbstractEventLoop) -> LoopConnections:
        """The connections of a loop that is new here; those of loops that were closed without shutting down are let go."""
        with self._lock:
            for other in [other for other in self._by_loop if other.is_closed()]:
                self._by_loop.pop(other).forget()
            self._by_loop[loop] = LoopConnections(self._room, lambda: self._ended(loop))
            return self._by_loop[loop]

    def _ended(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            self._by_loop.pop(loop, None)
