"""Is a history of one pool linearizable?  Wing and Gong's search, with Lowe's cache of what was tried.

A history is what callers saw: who asked when, and which answer came when.  It is linearizable when each call can be given one instant between its two ends, so
that a plain counter of seats, asked at these instants one after another, would have given the same answers.

J. M. Wing, C. Gong: Testing and verifying concurrent objects (1993).  G. Lowe: Testing for linearizability (2017).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

NEVER = float("inf")
STEPS_LIMIT = 200_000  # ours: some seconds; a short history needs a few hundred

Holders = frozenset[str]


class Act(Enum):
    """What a caller saw happen."""

    TAKEN = "taken"
    REFUSED = "refused"
    GIVEN_BACK = "given back"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """One call about one lease, between ``asked`` and ``answered``; NEVER when nobody saw its end: it may have happened at any instant since, or not at all."""

    act: Act
    lease: str
    asked: float
    answered: float = NEVER


class TooLong(Exception):
    """The search was given up; nothing is known."""


def is_linearizable(history: Sequence[Deed], pool: int) -> bool:
    """Whether the history could be that of a counter of ``pool`` seats, none of them taken at first.  Raises TooLong."""
    deeds = sorted(history, key=lambda deed: deed.asked)
    seen_to_end = sum(1 << number for number, deed in enumerate(deeds) if deed.answered < NEVER)
    tried: set[tuple[int, Holders]] = set()
    open_: list[tuple[int, Holders]] = [(0, frozenset())]
    while open_:
        done, holders = open_.pop()
        if done & seen_to_end == seen_to_end:
            return True
        for number in _next(deeds, done):
            after = _after(deeds[number], holders, pool)
            state = None if after is None else (done | 1 << number, after)
            if state is not None and state not in tried:
                tried.add(state)
                open_.append(state)
        if len(tried) > STEPS_LIMIT:
            raise TooLong(f"{len(history)} deeds, {STEPS_LIMIT} orders tried")
    return False


def _next(deeds: Sequence[Deed], done: int) -> Iterator[int]:
    """The deeds that may come next: those asked before any other that is left was answered."""
    left = [number for number in range(len(deeds)) if not done >> number & 1]
    first_answer = min(deeds[number].answered for number in left)
    return (number for number in left if deeds[number].asked <= first_answer)


def _after(deed: Deed, holders: Holders, pool: int) -> Holders | None:
    """Who holds a seat after a deed; None when a counter would have answered otherwise."""
    match deed.act:
        case Act.TAKEN:
            return holders | {deed.lease} if len(holders) < pool and deed.lease not in holders else None
        case Act.REFUSED:
            return holders if len(holders) >= pool else None
        case Act.GIVEN_BACK:
            return holders - {deed.lease} if deed.lease in holders else None
