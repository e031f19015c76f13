"""The connections of a client, and which of them are idle."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol, TypeVar
from weakref import WeakSet

IDLE_PER_NODE = 32  # as many threads as are measured on one client
IDLE_LIMIT_S = 200.0  # some clouds drop idle connections without a word after 240 s

NodeKey = tuple[str, int]


class Connection:
    """A socket to a node, and which stack it came from."""

    __slots__ = ("__weakref__", "fd", "generation", "idle_since", "key", "reused", "sock")

    def __init__(self, key: NodeKey, family: int, generation: int) -> None:
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        self.fd = self.sock.fileno()
        self.key = key
        self.generation = generation
        self.reused = False
        self.idle_since = 0.0
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def is_quiet(self) -> bool:
        """Whether nothing came while it was idle: neither the end nor bytes that would be taken for the answer to the next request."""
        try:
            self.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False


class Idle(Protocol):
    """A connection that nobody uses, since ``idle_since``."""

    idle_since: float


Kind = TypeVar("Kind", bound=Idle)


def aged(stack: list[Kind], now: float) -> Sequence[Kind]:
    """Take from the bottom of a stack what nobody needed for too long."""
    if not stack or now - stack[0].idle_since < IDLE_LIMIT_S:
        return ()
    old = [each for each in stack if now - each.idle_since >= IDLE_LIMIT_S]
    del stack[: len(old)]  # the longest idle are the lowest
    return old


class Connections:
    """All connections of a client: a stack of idle ones per node, so that the warmest is used and the surplus grows old.

    What has grown too old is closed whenever a connection comes back, of whichever node: else a node that is not asked any more would keep it for ever.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._generation = 0
        self._room = IDLE_PER_NODE
        self._idle: dict[NodeKey, list[Connection]] = {}
        self._all: WeakSet[Connection] = WeakSet()  # weak: one that Ctrl-C loses between two lines closes by itself

    def open(self, key: NodeKey, family: int) -> Connection:
        """A new socket, not connected yet."""
        connection = Connection(key, family, self._generation)
        self._all.add(connection)
        return connection

    def take(self, key: NodeKey, now: float) -> Connection | None:
        """The idle connection that was used last, if one is still good."""
        while True:
            with self._lock:
                stack = self._idle.get(key)
                if not stack:
                    return None
                connection = stack.pop()
            if now - connection.idle_since < IDLE_LIMIT_S and connection.is_quiet():
                connection.reused = True
                return connection
            self.close(connection)

    def keep(self, connection: Connection, now: float) -> None:
        """Put a connection back whose answer was whole."""
        connection.idle_since = now
        with self._lock:
            surplus = [old for stack in self._idle.values() for old in aged(stack, now)]
            stack = self._idle.setdefault(connection.key, [])
            if connection.generation == self._generation and len(stack) < self._room:
                stack.append(connection)
            else:
                surplus.append(connection)
        for each in surplus:
            self.close(each)

    def close(self, connection: Connection) -> None:
        """End a connection.  The peer hears of it at once, even while a forked child holds a copy of the socket."""
        self._all.discard(connection)
        with suppress(OSError):
            connection.sock.shutdown(socket.SHUT_RDWR)
        connection.sock.close()

    def drop_idle(self) -> None:
        """Close all that is idle, and keep none of those that are in use now."""
        with self._lock:
            self._generation += 1
            idle = [connection for stack in self._idle.values() for connection in stack]
            self._idle.clear()
        for connection in idle:
            self.close(connection)

    def end(self) -> None:
        """Close all that is idle, and keep none from now on: what the client still says is its last word."""
        self._room = 0
        self.drop_idle()

    def __del__(self) -> None:
        """The client was forgotten: what is idle is closed with it."""
        for stack in getattr(self, "_idle", {}).values():  # Ctrl-C may have come before there was one
            for connection in stack:
                connection.sock.close()

    def forget(self) -> None:
        """In a forked child: free the descriptors, and leave the parent's connections as they are."""
        self._lock = threading.Lock()  # the parent's thread that may hold the old one does not exist here
        inherited, self._all, self._idle = list(self._all), WeakSet(), {}
        self._generation += 1
        for connection in inherited:
            connection.sock.close()
