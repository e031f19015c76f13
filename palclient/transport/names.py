"""Host names to addresses.

Look-ups run on daemon threads, because the system's resolver can be neither interrupted nor given a deadline: whoever waits for one leaves at
its own deadline.  The last good addresses serve while the resolver is late or down.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from palclient.transport.system import Nudged, monotonic

NAME_FRESH_S = 10.0  # a burst of new connections asks the resolver once
NAME_LATE_S = 0.05  # how long known addresses are held back for an answer of the resolver
ADDRESSES_PER_NAME = 8

Address = tuple[int, tuple[Any, ...]]  # family, then what connect() takes; the port is filled in later


class Lookup:
    """One question to the resolver, on its own thread."""

    __slots__ = ("addresses", "error", "is_done", "waiting")

    def __init__(self) -> None:
        self.is_done = False
        self.addresses: tuple[Address, ...] = ()
        self.error = ""
        self.waiting: list[Nudged] = []


Resolve = Callable[[str, int], tuple[Address, ...]]


def system_addresses(host: str, flags: int = 0) -> tuple[Address, ...]:
    """What the system's resolver says; blocks as long as it likes, raises OSError.  ``AI_NUMERICHOST`` in ``flags`` keeps it from asking anybody."""
    name: str | bytes = host.encode() if host.isascii() else host  # str would load the IDNA codec
    found = socket.getaddrinfo(name, 0, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=flags)
    return tuple((family, tuple(address)) for family, _, _, _, address in found[:ADDRESSES_PER_NAME])


class Names:
    """From host to addresses: one look-up per name at a time, and what the last good one said."""

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve
        self.forget()

    def forget(self) -> None:
        """Know nothing.  In a forked child the threads of the look-ups are gone too."""
        self._lock = threading.Lock()
        self._running: dict[str, Lookup] = {}
        self._known: dict[str, tuple[float, tuple[Address, ...]]] = {}

    def known(self, host: str, since: float = float("-inf")) -> tuple[Address, ...]:
        """The addresses of the last good look-up, if it ended after ``since``.  An address needs none."""
        learnt_at, addresses = self._known.get(host, (0.0, ()))
        if addresses:
            return addresses if learnt_at >= since else ()
        with suppress(OSError, ValueError):
            return system_addresses(host, socket.AI_NUMERICHOST)
        return ()

    def look_up(self, host: str, wakeup: Nudged) -> Lookup:
        """Ask the resolver, or join the question that is under way; ``wakeup`` is nudged when it is done."""
        wakeup.open()
        with self._lock:
            lookup = self._running.get(host)
            if lookup is None:
                lookup = Lookup()
                if self._start(host, lookup):
                    self._running[host] = lookup  # it cannot have ended yet: that needs the lock
            lookup.waiting.append(wakeup)
        return lookup

    def _start(self, host: str, lookup: Lookup) -> bool:
        """Whether there is a thread for it."""
        thread = threading.Thread(target=self._ask, args=(host, lookup), name="palclient-name-lookup", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # no more threads, or the interpreter is on its way out: known addresses serve
            lookup.error, lookup.is_done = str(error), True
            return False
        return True

    def leave(self, lookup: Lookup, wakeup: Nudged) -> None:
        """Wait no longer."""
        with self._lock, suppress(ValueError):
            lookup.waiting.remove(wakeup)

    def _ask(self, host: str, lookup: Lookup) -> None:
        """The thread of a look-up."""
        try:
            lookup.addresses = self._resolve(host, 0)
        except OSError as error:
            lookup.error = error.strerror or str(error)
        except ValueError as error:  # a label that is empty or too long never reaches the resolver
            lookup.error = str(error)
        finally:
            self._end(host, lookup)

    def _end(self, host: str, lookup: Lookup) -> None:
        with self._lock:
            if lookup.addresses:
                self._known[host] = (monotonic(), lookup.addresses)
            lookup.is_done = True
            self._running.pop(host, None)
            waiting, lookup.waiting = lookup.waiting, []
        for wakeup in waiting:
            wakeup.nudge()

    def worked(self, host: str, address: Address) -> None:
        """This address of the name connected: next time it is tried first."""
        learnt_at, addresses = self._known.get(host, (0.0, ()))
        if addresses and addresses[0] != address:
            self._known[host] = (learnt_at, (address, *(other for other in addresses if other != address)))

    def doubt(self, host: str) -> None:
        """None of the addresses connected: ask the resolver again before the next attempt."""
        _, addresses = self._known.get(host, (0.0, ()))
        if addresses:
            self._known[host] = (float("-inf"), addresses)
