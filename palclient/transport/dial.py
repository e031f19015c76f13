"""From an endpoint to a connected socket.

The addresses of a name are tried one after another, the one that worked last first, each with an equal share of the time that is left: an address
that swallows connection requests cannot use up the time of the next.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from palclient.core.flow import Outcome
from palclient.transport.names import NAME_FRESH_S, NAME_LATE_S
from palclient.transport.system import IN_PROGRESS, Trouble, explained

if TYPE_CHECKING:
    from palclient.transport.connections import Connection, Connections, NodeKey
    from palclient.transport.names import Address, Lookup, Names
    from palclient.transport.system import Nudged, Wakeup


class Dial:
    """One attempt to connect.  Wait as for an ``Exchange``: until ``fd`` can be written, or the wakeup is nudged, or ``due``."""

    def __init__(self, key: NodeKey, connections: Connections, names: Names, wakeup: Wakeup, *, now: float, by: float) -> None:
        self.fd = -1
        self.due = by
        self._key = key
        self._connections = connections
        self._names = names
        self._began = now
        self._by = by
        self._search: Search | None = Search(key[0], names, wakeup, now=now, by=by)
        self._todo: list[Address] = []
        self._trying: Address | None = None
        self._connection: Connection | None = None
        self._troubles: list[Trouble] = []

    def advance(self, now: float) -> Connection | None:
        """Do what can be done without waiting.  Returns the connection, or None: wait, and call again.  Raises Trouble when no address is left."""
        if self._search is not None:
            found = self._search.advance(now)
            self.due = self._search.due
            if found is None:
                return None
            self._search, self._todo = None, list(found)
        elif self._connection is not None:
            self._look_at(self._connection, now)
        while self._connection is None and self._todo:
            self._try(self._todo.pop(0), now)
        if self._connection is None:
            raise defeat(self._key[0], self._names, self._troubles)
        if self._trying is not None:
            return None
        connection, self._connection = self._connection, None
        return connection

    def cancel(self) -> None:
        """Close what is open."""
        if self._search is not None:
            self._search.cancel()
        if self._connection is not None:
            self._connections.close(self._connection)
            self._connection = None

    def _try(self, address: Address, now: float) -> None:
        """Begin to connect to one address.  Failures are noted."""
        family, (ip, _, *rest) = address
        self.due = now + max(0.0, self._by - now) / (1 + len(self._todo))
        self._trying = address
        try:
            self._connection = self._connections.open(self._key, family)
            code = self._connection.sock.connect_ex((ip, self._key[1], *rest))
        except OSError as error:  # no descriptors left, or a family that this machine does not speak
            self._give_up(*explained(error.errno or 0))
            return
        self.fd = self._connection.fd
        if code == 0:
            self._look_at(self._connection, now)
        elif code not in IN_PROGRESS:
            self._give_up(*explained(code))

    def _look_at(self, connection: Connection, now: float) -> None:
        """See how far the connecting has come."""
        code = connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._give_up(*explained(code))
        elif not is_connected(connection.sock):
            if now >= self.due:
                self._give_up(Outcome.TIMED_OUT, unheard(now - self._began))
        elif is_own_echo(connection.sock):
            self._give_up(Outcome.REFUSED, NOBODY)
        elif self._trying is not None:
            self._names.worked(self._key[0], self._trying)
            self._trying = None

    def _give_up(self, outcome: Outcome, detail: str) -> None:
        """This address failed."""
        self._troubles.append(Trouble(outcome, detail if self._trying is None else at_address(self._trying, detail)))
        if self._connection is not None:
            self._connections.close(self._connection)
            self._connection = None


NOBODY = "nobody listens there"


def unheard(after_s: float) -> str:
    """What to say of an address that did not answer."""
    return f"no answer to the connection request within {after_s:.3g} s"


def at_address(address: Address, detail: str) -> str:
    """What happened, and where."""
    return f"{address[1][0]}: {detail}"


def defeat(host: str, names: Names, troubles: list[Trouble]) -> Trouble:
    """What to say when every address failed: a refusal says most, since something answered."""
    names.doubt(host)
    telling = next((trouble for trouble in troubles if trouble.outcome is Outcome.REFUSED), troubles[-1])
    return Trouble(telling.outcome, "; ".join(trouble.detail for trouble in troubles))


class Search:
    """The addresses of one host, from the resolver or from memory.  Wait until ``wakeup`` is nudged, at the latest until ``due``."""

    def __init__(self, host: str, names: Names, wakeup: Nudged, *, now: float, by: float) -> None:
        self.due = now
        self._host = host
        self._names = names
        self._wakeup = wakeup
        self._began = now
        self._by = by
        self._late_at = min(by, now + NAME_LATE_S)
        self._lookup: Lookup | None = None

    def advance(self, now: float) -> tuple[Address, ...] | None:
        """The addresses, or None: wait, and call again.  Raises Trouble when there are none."""
        if self._lookup is None:
            fresh = self._names.known(self._host, since=now - NAME_FRESH_S)
            if fresh:
                return fresh
            self._lookup = self._names.look_up(self._host, self._wakeup)
        if self._lookup.is_done or now >= self._late_at:
            found = self._lookup.addresses or self._names.known(self._host)
            if found:
                self.cancel()
                return found
        if self._lookup.is_done:
            raise Trouble(Outcome.NAME_UNKNOWN, f"{self._host}: {self._lookup.error}")
        if now >= self._by:
            self.cancel()
            raise Trouble(Outcome.TIMED_OUT, f"the name {self._host} was not resolved within {now - self._began:.3g} s")
        self.due = self._late_at if now < self._late_at else self._by
        return None

    def cancel(self) -> None:
        """Wait no longer."""
        if self._lookup is not None:
            self._names.leave(self._lookup, self._wakeup)


def is_connected(sock: socket.socket) -> bool:
    """Whether the peer has accepted."""
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


def is_own_echo(sock: socket.socket) -> bool:
    """Whether a connected socket is its own peer.

    On loopback a request to a free port of the ephemeral range can come from that very port.  It connects, and would keep the port from its node.
    """
    return bool(sock.getpeername() == sock.getsockname())
