"""What the clients of one episode wrote down, counted: what the failover cost them, errors, seats lost, seats too many, seats left behind."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tests.chaos.history import Line, Turn
from tests.chaos.linear import NEVER
from tests.chaos.verdict import most_held
from tests.compare.peer import POOLS, WIDE


@dataclass(slots=True, kw_only=True)
class Outcome:
    """One episode of one system.  Times in seconds."""

    system: str
    kind: str
    election_s: float | None = None  # from the loss until a server named another leader
    beyond_s: list[float] = field(default_factory=list)  # of each client: from then to its next seat, or from its asking where that is later
    outage_s: list[float] = field(default_factory=list)  # of each client: from the loss to that seat
    acquires: int = 0
    errors: int = 0
    lost: int = 0
    over_issued: int = 0  # the most seats too many that were believed held at one instant
    orphaned: int = 0
    first_errors: list[str] = field(default_factory=list)
    stuck: str = ""


def count(outcome: Outcome, turns: Sequence[Turn], lines: Iterable[Line]) -> None:
    """Everything that needs no instant of the servers.  Of the wide pool there is always a seat: to get none is an error, too."""
    failures = [turn.failure or "no seat" for turn in turns if turn.failed_at < NEVER and (not turn.is_denied or turn.feature == WIDE)]
    failures += [f"return: {line['text']}" for line in lines if line["what"] == "return failed"]
    outcome.acquires += sum(turn.granted_at < NEVER for turn in turns)
    outcome.errors += len(failures)
    outcome.first_errors = [*outcome.first_errors, *(text[:200] for text in failures)][:3]
    outcome.lost += sum(turn.lost_at < NEVER for turn in turns)


def most_too_many(turns: Sequence[Turn]) -> int:
    """Seats believed held at one instant beyond those that there are, of all clients together."""
    return max(max(0, most_held(turn for turn in turns if turn.feature == pool) - seats) for pool, seats in POOLS.items())


def first_seat(turns: Sequence[Turn], served_at: float) -> tuple[float, float] | None:
    """One client's next seat after the election's end: how long it took beyond it, and the instant.

    The client's share counts from the election's end, or from the first call that was under way or made since: a call that fails and is made again is
    no new beginning, and a return that does not end keeps a client from asking.
    """
    own = sorted((turn for turn in turns if turn.feature == WIDE), key=lambda turn: turn.asked_at)
    began: float | None = None
    for turn in own:
        if turn.granted_at < NEVER and turn.granted_at <= served_at:
            began = turn.returning_at if turn.returned_at > served_at else None
            continue
        began = turn.asked_at if began is None else began
        if turn.granted_at < NEVER:
            return turn.granted_at - max(served_at, began), turn.granted_at
    return None


def measure(outcome: Outcome, turns: Sequence[Turn], fault_at: float, served_at: float) -> None:
    """One client's share of the failover."""
    if (seat := first_seat(turns, served_at)) is not None:
        outcome.beyond_s.append(seat[0])
        outcome.outage_s.append(seat[1] - fault_at)
