"""What becomes of this process's seats when it forks or ends.

Whatever must know of a fork is registered here for as long as it lives: in the child its ``forget`` is called, and there it owns nothing of the parent's.
At the interpreter's exit all seats are returned, silently and within 2 s, whatever the weather.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import weakref
from contextlib import suppress
from typing import Protocol

from palclient.transport import monotonic

EXIT_S = 1.0  # the last returns at the end of a process, for each session
EXITS_S = 2.0  # for all of them


class Owner(Protocol):
    """Something that a forked child has a copy of, and must not use as it is."""

    def forget(self) -> None:
        """In a forked child: own nothing of the parent's."""


class SeatOwner(Protocol):
    """Something that holds seats."""

    def forget(self) -> None:
        """In a forked child: own nothing of the parent's."""

    def close(self, timeout_s: float) -> None:
        """Return all seats, within this time; for good."""


class Mutex:
    """A lock that a forked child finds free, whichever thread of the parent held it: ``with mutex.lock``.

    It is no context manager itself: Ctrl-C at the beginning or the end of a method written in Python would leave the lock taken for ever.
    """

    __slots__ = ("__weakref__", "lock")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        _owners.add(self)

    def forget(self) -> None:
        """In a forked child."""
        self.lock = threading.Lock()


_owners: weakref.WeakSet[Owner] = weakref.WeakSet()  # for the interpreter's own hooks, which can be told of nothing
_seat_owners: weakref.WeakSet[SeatOwner] = weakref.WeakSet()


def register(owner: SeatOwner) -> None:
    """Have the seats of ``owner`` returned at the end of this process, and ``owner`` told of forks."""
    _owners.add(owner)
    _seat_owners.add(owner)
    atexit.unregister(close_all)
    atexit.register(close_all)  # anew each time: multiprocessing clears the list in its children
    finalizers = sys.modules.get("multiprocessing.util")
    if finalizers is not None:  # its children end without the interpreter's exit
        finalizers.Finalize(None, close_all, exitpriority=0)


def close_all() -> None:
    """Return all seats of this process, silently and within 2 s.  Ctrl-C meanwhile ends it at once."""
    with suppress(KeyboardInterrupt):
        close_each(list(_seat_owners))


def close_each(owners: list[SeatOwner]) -> None:
    """Return the seats of each, within 2 s for all: none whose servers are silent uses up the time of those that come after it."""
    until = monotonic() + EXITS_S
    for count, owner in zip(range(len(owners), 0, -1), owners, strict=True):
        share_s = min(EXIT_S, (until - monotonic()) / count)
        if share_s > 0:
            with suppress(OSError):
                owner.close(share_s)


def _after_fork_in_child() -> None:
    for owner in list(_owners):
        owner.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
