"""The episodes of a kind, as a row: of the table, and of JSON."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.chaos.controller import Outcome
from tests.chaos.episodes import DOUBLED, KINDS

FAILOVERS = ("kill", "freeze", "isolate", "stop", "handover")
"""The ways in which a master's office ends.  Of the partitions it is the one that always deposes the master."""

HEAD = (
    f"{'episode':<24} {'n':>3} {'election':>9} {'client beyond it: n':>20} {'median':>8} {'99 %':>8} {'worst':>8} {'requests':>9} {'checkouts':>10} "
    f"{'errors':>7} {'lost':>5} {'over-issued':>12} {'orphaned':>9}"
)
FOOT = "times in ms, elections are medians; beyond it: from its end to each client's first seat (from its asking, where that is later); requests: all that the client sent meanwhile, the median; * two nodes are lost, and errors and losses are no violation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What the episodes of one kind came to.  Times in seconds; None where nothing was measured."""

    kind: str
    episodes: int
    election_s: float | None
    waiting: int  # clients that took a seat after it
    beyond_median_s: float | None
    beyond_99_s: float | None
    beyond_worst_s: float | None
    requests_median: float | None
    requests_most: int | None
    checkouts: int
    errors: int
    lost: int
    over_issued: int
    orphaned: int

    def line(self) -> str:
        """As a row of the table."""
        name = f"{self.kind}{' *' if self.kind in DOUBLED else ''}"
        requests = "-" if self.requests_median is None else f"{self.requests_median:g}"
        return (
            f"{name:<24} {self.episodes:>3} {_ms(self.election_s):>9} {self.waiting:>20} {_ms(self.beyond_median_s):>8} {_ms(self.beyond_99_s):>8} "
            f"{_ms(self.beyond_worst_s):>8} {requests:>9} {self.checkouts:>10} {self.errors:>7} {self.lost:>5} {self.over_issued:>12} {self.orphaned:>9}"
        )


def figures(outcomes: Sequence[Outcome]) -> Iterator[Figures]:
    """One for each kind that was played."""
    for kind in KINDS:
        rows = [outcome for outcome in outcomes if outcome.kind == kind]
        if rows:
            yield _of_kind(kind, rows)


def _of_kind(kind: str, rows: Sequence[Outcome]) -> Figures:
    elections = [outcome.election_s for outcome in rows if outcome.election_s is not None]
    shares = sorted(share for outcome in rows for share in outcome.shares_s)
    requests = [each for outcome in rows for each in outcome.requests]
    return Figures(
        kind=kind,
        episodes=len(rows),
        election_s=statistics.median(elections) if elections else None,
        waiting=len(shares),
        beyond_median_s=statistics.median(shares) if shares else None,
        beyond_99_s=shares[-(len(shares) // 100) - 1] if shares else None,
        beyond_worst_s=shares[-1] if shares else None,
        requests_median=statistics.median(requests) if requests else None,
        requests_most=max(requests, default=None),
        checkouts=sum(outcome.checkouts for outcome in rows),
        errors=sum(outcome.errors for outcome in rows),
        lost=sum(outcome.lost for outcome in rows),
        over_issued=sum(violation.checker == "over-issued" for outcome in rows for violation in outcome.violations),
        orphaned=sum(outcome.orphaned for outcome in rows),
    )


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.1f}"
