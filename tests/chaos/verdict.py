"""What must hold in every episode, read from what the clients wrote down."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tests.chaos.habits import FEATURES, PAIR
from tests.chaos.history import Turn, deeds
from tests.chaos.linear import NEVER, TooLong, is_linearizable

LATE_S = 1.0  # ours: a process that waits for a core is no fault of the call

CHECKERS = {
    "over-issued": "more seats believed held at one instant than the pool has (G1)",
    "twice": "one seq for two leases, or a later grant with a lower one (G3)",
    "no counter": "what callers of a pool saw is not what one counter would have told them",
    "error": "an error to a caller whose timeout allows for the election",
    "lost": "a seat was lost under a client that ran",
    "overtime": "a checkout took longer than timeout and wait",
    "orphaned": "a seat is still taken a lease time after everybody gave back or ended",
    "stuck": "the triad, or a client, did not come back",
    "child": "a forked child took its parent's seats for its own, or failed",
    "grows": "descriptors, threads or memory of a process grow",
}


@dataclass(frozen=True, slots=True)
class Violation:
    """What was broken, and how it showed."""

    checker: str
    detail: str


def verdicts(turns: Sequence[Turn]) -> Iterator[Violation]:
    """Everything that is wrong with one episode's history."""
    for feature, pool in FEATURES.items():
        held = most_held(turn for turn in turns if turn.feature == feature)
        if held > pool:
            yield Violation("over-issued", f"{held} of {pool} seats of {feature} were believed held at once")
    yield from _fencing(turns)
    yield from _single(turns)
    yield from _counting(turns)


def _counting(turns: Sequence[Turn]) -> Iterator[Violation]:
    """The pool for which nobody waits in line is one counter to all who ask."""
    history = [deed for number, turn in enumerate(turns) if turn.feature == PAIR.feature for deed in deeds(turn, f"turn {number}")]
    try:
        verdict = "" if is_linearizable(history, FEATURES[PAIR.feature]) else f"no order explains the {len(history)} deeds at {PAIR.feature}"
    except TooLong as error:
        verdict = f"undecided: {error}"
    if verdict:
        yield Violation("no counter", verdict)


def most_held(turns: Iterable[Turn]) -> int:
    """The most seats that were believed held at one instant."""
    steps = [
        (at, change) for turn in turns for start, stop in turn.beliefs() if start < stop for at, change in ((start, turn.count), (stop, -turn.count))
    ]
    most = held = 0
    for _, change in sorted(steps):  # of one instant, what ends comes first
        held += change
        most = max(most, held)
    return most


def _fencing(turns: Sequence[Turn]) -> Iterator[Violation]:
    """Each seq is one lease's, and a checkout that began after another was granted has the higher one."""
    granted = sorted((turn for turn in turns if turn.granted_at < NEVER), key=lambda turn: turn.granted_at)
    owners: dict[int, Turn] = {}
    for turn in granted:
        other = owners.setdefault(turn.seq, turn)
        if other is not turn:
            yield Violation("twice", f"seq {turn.seq} was given to {other.who} for {other.lease} and to {turn.who} for {turn.lease}")
    highest, position = 0, 0
    for turn in sorted(granted, key=lambda turn: turn.asked_at):
        while granted[position].granted_at < turn.asked_at:
            highest, position = max(highest, granted[position].seq), position + 1
        if turn.seq <= highest:
            yield Violation("twice", f"{turn.who} was given seq {turn.seq} after {highest} had been given")


def _single(turns: Sequence[Turn]) -> Iterator[Violation]:
    """What is wrong with one checkout alone."""
    for turn in turns:
        if turn.was_disturbed:
            continue
        if turn.failed_at < NEVER and not turn.is_denied:
            yield Violation("error", f"{turn.who} after {turn.failed_at - turn.asked_at:.3f} s: {turn.failure}")
        if turn.lost_at < NEVER:
            yield Violation("lost", f"{turn.who} lost {turn.lease} at {turn.lost_at:.3f}")
        if turn.patience_s + LATE_S < turn.answered_at - turn.asked_at < NEVER:  # who never rests is stuck
            yield Violation("overtime", f"{turn.who} was answered after {turn.answered_at - turn.asked_at:.3f} s of {turn.patience_s:.3f}")
