"""Calls over sockets: HTTP/1.1 on non-blocking connections that whoever waits moves on by hand.

An ``Exchange`` is one call's life and owns at most one connection.  It never blocks: its runner waits for ``fd`` or until ``due``, then calls
``advance``.  So one thread carries any number of calls, a total deadline holds however slowly bytes drip in, and cancelling is closing a socket of
one's own.
"""

from __future__ import annotations

from typing import Protocol

from palclient.core.flow import Call
from palclient.transport.connections import Connections
from palclient.transport.exchange import Exchange
from palclient.transport.injected import InjectedExchange, InjectedTransport
from palclient.transport.names import Names, Resolve, system_addresses
from palclient.transport.system import Wakeup, monotonic

__all__ = ["AnyExchange", "AnyTransport", "Exchange", "InjectedTransport", "Transport", "Wakeup", "monotonic", "system_addresses"]


class Transport:
    """What a client has of the network.  Thread-safe; each exchange belongs to the thread that drives it.

    ``resolve`` is ``system_addresses`` or a stand-in: it is called on a thread of its own, may block, and may raise OSError.
    """

    def __init__(self, resolve: Resolve = system_addresses) -> None:
        self._connections = Connections()
        self._names = Names(resolve)

    def exchange(self, call: Call, wakeup: Wakeup) -> Exchange:
        """Begin a call.  Does no I/O yet: the first ``advance`` does."""
        return Exchange(call, wakeup, self._connections, self._names)

    def drop_connections(self) -> None:
        """After a sleep: what the other side thinks of the old connections is anybody's guess."""
        self._connections.drop_idle()

    def forget(self) -> None:
        """In a forked child: own nothing of the parent's, and disturb nothing of it."""
        self._connections.forget()
        self._names.forget()

    def close(self) -> None:
        """Close what is idle; calls under way end by themselves, and their connections with them."""
        self._connections.end()


AnyExchange = Exchange | InjectedExchange


class AnyTransport(Protocol):
    """What a session and the runner of threads need of the network: ``Transport`` and its stand-ins."""

    def exchange(self, call: Call, wakeup: Wakeup) -> AnyExchange:
        """Begin a call."""

    def drop_connections(self) -> None:
        """Use no connection again that is open now."""

    def forget(self) -> None:
        """In a forked child: own nothing of the parent's."""

    def close(self) -> None:
        """Close what is idle."""
