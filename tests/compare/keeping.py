"""What a lease needs that its library does not keep alive by itself: renewed at a third of its ttl, believed until the last renewal's ttl has run out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from palclient.transport import monotonic
from tests.compare.peer import PATIENCE_S, POLL_S, TTL_S, Failed

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Kept:
    """One lease.  It is lost when its server says so, or when nobody has confirmed it for a ttl; then for good."""

    key: str
    until: float
    due: float
    is_dropped: bool = False
    lost: threading.Event = field(default_factory=threading.Event)

    def believed_until(self) -> float | None:
        """Until when it is held if no renewal gets through any more; None when it is lost."""
        if self.until <= monotonic():
            self.lost.set()
        return None if self.lost.is_set() else self.until

    def wait_change(self, timeout_s: float) -> None:
        """Block until it is lost, for so long at most."""
        self.lost.wait(min(timeout_s, max(0.001, self.until - monotonic())))


@dataclass(frozen=True, slots=True)
class KeptSeat:
    """A seat for as long as its lease lasts; ``bring_back`` returns it."""

    kept: Kept
    bring_back: Callable[[], None]

    def believed_until(self) -> float | None:
        """By the last renewal."""
        return self.kept.believed_until()

    def wait_change(self, timeout_s: float) -> None:
        """Until it is lost."""
        self.kept.wait_change(timeout_s)

    def give_back(self) -> None:
        """As the recipe has it."""
        self.bring_back()


class Keeper:
    """A thread that renews.  ``renew`` tells whether the lease is still there, and raises Failed where there was no answer: then it is asked again soon."""

    def __init__(self, renew: Callable[[str], bool]) -> None:
        self._renew = renew
        self._kept: list[Kept] = []
        self._changed = threading.Condition()
        self._ends = False
        threading.Thread(target=self._run, name="keeper", daemon=True).start()

    def keep(self, key: str, asked_at: float) -> Kept:
        """Renew it from now on; it was confirmed by an answer to what was asked then."""
        kept = Kept(key, asked_at + TTL_S, asked_at + TTL_S / 3)
        with self._changed:
            self._kept.append(kept)
            self._changed.notify()
        return kept

    def drop(self, kept: Kept) -> None:
        """Renew it no more."""
        with self._changed:
            kept.is_dropped = True
            if kept in self._kept:
                self._kept.remove(kept)

    def close(self) -> None:
        """Renew nothing any more."""
        with self._changed:
            self._ends = True
            self._changed.notify()

    def _run(self) -> None:
        while (kept := self._next_due()) is not None:
            asked_at = monotonic()
            try:
                is_there = self._renew(kept.key)
            except Failed:
                kept.due = monotonic() + POLL_S
                is_there = None
            if is_there and kept.believed_until() is not None:
                kept.until, kept.due = asked_at + TTL_S, asked_at + TTL_S / 3
            if is_there is False and not kept.is_dropped:
                kept.lost.set()
            if kept.believed_until() is None:
                self.drop(kept)

    def _next_due(self) -> Kept | None:
        """Block until one is due; None at the end."""
        with self._changed:
            while not self._ends:
                first = min(self._kept, key=lambda kept: kept.due, default=None)
                if first is not None and first.due <= monotonic():
                    return first
                self._changed.wait(None if first is None else first.due - monotonic())
        return None


def patiently(ask: Callable[[], T | None], until: float | None = None) -> T | None:
    """Ask again while there is no answer or no seat, until the caller's patience has ended; then the last error is the caller's.  None: no seat."""
    deadline = monotonic() + PATIENCE_S if until is None else until
    while True:
        error = None
        try:
            answer = ask()
        except Failed as failed:
            answer, error = None, failed
        if answer is not None:
            return answer
        if monotonic() + POLL_S > deadline:
            if error is not None:
                raise error
            return None
        threading.Event().wait(POLL_S)
