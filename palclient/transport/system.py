"""The seam to the operating system: its clock, its error numbers, and how one thread ends another's wait."""

from __future__ import annotations

import errno
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Protocol

from palclient.core.flow import Outcome

REPLY_LIMIT_BYTES = 4 * 1024 * 1024  # the protocol's; h11 bounds the headers at 16 KiB

# Seconds on the clock that all instants of flows are readings of.  It must count the time that the machine sleeps, since the server's clock does:
# Linux has a clock for that; macOS counts it in CLOCK_MONOTONIC, though not in time.monotonic(); Windows does in time.monotonic().
if sys.platform == "linux":
    monotonic: Callable[[], float] = partial(time.clock_gettime, time.CLOCK_BOOTTIME)
elif sys.platform == "win32":
    monotonic = time.monotonic
else:
    monotonic = partial(time.clock_gettime, time.CLOCK_MONOTONIC)


def _codes(*names: str) -> frozenset[int]:
    """The system's numbers of these errors, by both spellings that Windows has."""
    spellings = (spelling for name in names for spelling in (name, f"WSA{name}"))
    return frozenset(getattr(errno, spelling) for spelling in spellings if hasattr(errno, spelling))


IN_PROGRESS = _codes("EINPROGRESS", "EWOULDBLOCK", "EALREADY")
_OUTCOMES = (
    (_codes("ECONNREFUSED"), Outcome.REFUSED),
    (_codes("ECONNRESET", "ECONNABORTED", "EPIPE", "ESHUTDOWN"), Outcome.RESET),
    (_codes("ETIMEDOUT"), Outcome.TIMED_OUT),
)


def outcome_of(code: int) -> Outcome:
    """What an error number of the system means for a call."""
    return next((outcome for codes, outcome in _OUTCOMES if code in codes), Outcome.UNREACHABLE)


def explained(code: int) -> tuple[Outcome, str]:
    """An error number as an outcome, and in the system's words."""
    words = getattr(socket, "errorTab", {}).get(code) or os.strerror(code)  # os.strerror does not know Windows' socket errors
    return outcome_of(code), f"{words} (errno {code})"


class Trouble(Exception):
    """Why a call cannot go on: how that counts, and in which words.  It never leaves this package."""

    def __init__(self, outcome: Outcome, detail: str) -> None:
        super().__init__(detail)
        self.outcome = outcome
        self.detail = detail


def trouble_of(error: OSError) -> Trouble:
    """An error of the system.  Some that Windows reports have a class that fits, and a number that does not."""
    outcome, detail = explained(error.errno or 0)
    if outcome is Outcome.UNREACHABLE:
        outcome = next((other for kind, other in _BY_CLASS if isinstance(error, kind)), outcome)
    return Trouble(outcome, detail if error.errno else str(error) or type(error).__name__)


_BY_CLASS = (
    (ConnectionRefusedError, Outcome.REFUSED),
    (TimeoutError, Outcome.TIMED_OUT),
    (ConnectionError, Outcome.RESET),
)


class Nudged(Protocol):
    """Whoever waits for another thread's work: it opens its wakeup, looks once more whether the work is done, and waits for the nudge."""

    def open(self) -> None:
        """Be ready for nudges."""

    def nudge(self) -> None:
        """From any thread, without blocking."""


class Wakeup:
    """Ends a wait from another thread.  It costs nothing until ``open``; a ``nudge`` before that or after ``close`` does nothing."""

    __slots__ = ("_lock", "_reader", "_writer", "fd")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reader: socket.socket | None = None
        self._writer: socket.socket | None = None
        self.fd = -1

    def open(self) -> None:
        """Make the descriptor to wait on; afterwards look once more at what a nudge would have told."""
        with self._lock:
            if self._reader is None:
                self._reader, self._writer = socket.socketpair()
                self._reader.setblocking(False)
                self._writer.setblocking(False)
                self.fd = self._reader.fileno()

    def nudge(self) -> None:
        """End the wait; from any thread.  Takes no lock: a finalizer may call it while this very thread holds one."""
        writer = self._writer
        if writer is not None:
            with suppress(OSError):  # full: the wait is ending already; closed just now: there is none
                writer.send(b"\0")

    def drain(self) -> None:
        """Forget the nudges so far."""
        with suppress(BlockingIOError):
            if self._reader is not None:
                self._reader.recv(4096)

    def close(self) -> None:
        """Give the descriptors back."""
        with self._lock:
            for end in (self._reader, self._writer):
                if end is not None:
                    end.close()
            self._reader = self._writer = None
            self.fd = -1

    def forget(self) -> None:
        """``close`` in a forked child, where the thread that may hold the lock does not exist."""
        self._lock = threading.Lock()
        self.close()
