"""What came out, as rows: of the tables, and of JSON."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.compare.episodes import FREEZE, KILL
from tests.compare.judge import Outcome

WARM_HEAD = f"{'acquire and return':<20} {'n':>6} {'median':>9} {'99 %':>9} {'taken a lease after all clients were killed':>45}"
HEAD = (
    f"{'leader':<20} {'n':>3} {'election':>9} {'beyond it: median':>18} {'worst':>8} {'outage':>8} {'acquires':>9} "
    f"{'errors':>7} {'lost':>5} {'over-issued':>12} {'orphaned':>9}"
)
FOOT = (
    "times in ms; election and outage are medians: from the loss until a server named another leader, and until a client had its next seat; beyond it: from "
    "the election's end to each client's next seat (from its asking, where that is later); over-issued: episodes in which more seats were believed held "
    "than there are, and the most too many"
)
WORDS = {KILL: "killed", FREEZE: "frozen"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Warm:
    """What a seat costs when nothing fails.  Times in seconds."""

    system: str
    pairs: int
    median_s: float | None
    most_99_s: float | None
    left_by_killed: int

    def line(self) -> str:
        """As a row of the table."""
        return f"{self.system:<20} {self.pairs:>6} {_ms(self.median_s):>9} {_ms(self.most_99_s):>9} {self.left_by_killed:>45}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The episodes of one kind of one system.  Times in seconds; None where nothing was measured."""

    system: str
    kind: str
    episodes: int
    election_s: float | None
    beyond_median_s: float | None
    beyond_worst_s: float | None
    outage_s: float | None
    acquires: int
    errors: int
    lost: int
    over_issued_in: int
    over_issued_most: int
    orphaned: int
    stuck: int

    def line(self) -> str:
        """As a row of the table."""
        over = f"{self.over_issued_in} (by {self.over_issued_most})" if self.over_issued_in else "0"
        return (
            f"{f'{self.system} {WORDS[self.kind]}':<20} {self.episodes:>3} {_ms(self.election_s):>9} {_ms(self.beyond_median_s):>18} "
            f"{_ms(self.beyond_worst_s):>8} {_ms(self.outage_s):>8} {self.acquires:>9} {self.errors:>7} {self.lost:>5} "
            f"{over:>12} {self.orphaned:>9}"
        )


def warm_row(system: str, taken_s: Sequence[float], left_by_killed: int) -> Warm:
    """Of all rounds together."""
    return Warm(system=system, pairs=len(taken_s), median_s=_median(taken_s), most_99_s=_high(taken_s), left_by_killed=left_by_killed)


def figures(outcomes: Sequence[Outcome]) -> Iterator[Figures]:
    """One row for each system and kind that was played, in the order of playing; kills first."""
    for kind in WORDS:
        for system in dict.fromkeys(outcome.system for outcome in outcomes):
            rows = [outcome for outcome in outcomes if (outcome.system, outcome.kind) == (system, kind)]
            if rows:
                yield _row(system, kind, rows)


def _row(system: str, kind: str, rows: Sequence[Outcome]) -> Figures:
    beyond = [each for row in rows for each in row.beyond_s]
    return Figures(
        system=system,
        kind=kind,
        episodes=len(rows),
        election_s=_median([row.election_s for row in rows if row.election_s is not None]),
        beyond_median_s=_median(beyond),
        beyond_worst_s=max(beyond, default=None),
        outage_s=_median([each for row in rows for each in row.outage_s]),
        acquires=sum(row.acquires for row in rows),
        errors=sum(row.errors for row in rows),
        lost=sum(row.lost for row in rows),
        over_issued_in=sum(row.over_issued > 0 for row in rows),
        over_issued_most=max(row.over_issued for row in rows),
        orphaned=sum(row.orphaned for row in rows),
        stuck=sum(bool(row.stuck) for row in rows),
    )


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def _high(values: Sequence[float]) -> float | None:
    ordered = sorted(values)
    return ordered[-(len(ordered) // 100) - 1] if ordered else None


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.1f}"
