"""Plays episodes from one seed: everybody works, something breaks, all is mended, everybody rests, and what they wrote down is judged."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from fakeserver import FakeTriad
from fakeserver.process import FakeTriadError
from fakeserver.settings import failover_s
from palclient.transport import monotonic
from tests.chaos.crew import Member, Stuck, hired
from tests.chaos.episodes import DOUBLED, KINDS, WAIT_S, Stage
from tests.chaos.gauges import Gauges
from tests.chaos.habits import FEATURES, HEARTBEAT_S, WIDE
from tests.chaos.history import Turn, turns
from tests.chaos.linear import NEVER
from tests.chaos.verdict import Violation, verdicts

CREW = ("threads", "tasks", "threads", "tasks")
CALM_S = (0.4, 0.8)  # of work before anything breaks
REST_S = 25.0  # a checkout, a wait in line, a return, and a busy machine
SLACK_S = 0.5


@dataclass(slots=True, kw_only=True)
class Outcome:
    """One episode."""

    number: int
    kind: str
    note: str = ""
    election_s: float | None = None
    shares_s: list[float] = field(
        default_factory=list
    )  # of each client's first seat since: from the election's end, or from its asking where that is later
    requests: list[int] = field(default_factory=list)  # that the client sent for it since the fault, by its log
    checkouts: int = 0
    errors: int = 0
    lost: int = 0
    orphaned: int = 0
    violations: list[Violation] = field(default_factory=list)


def deck(seed: int, kinds: Sequence[str]) -> Iterator[str]:
    """All kinds in a shuffled order, again and again."""
    dice = random.Random(f"deck {seed}")
    while True:
        yield from dice.sample(list(kinds), len(kinds))


class Run:
    """A triad and its clients, for the time of a ``with`` block."""

    def __init__(
        self,
        seed: int,
        folder: Path,
        *,
        crew: Sequence[str] = CREW,
        clients_each: int = 1,
        heartbeat_s: float = HEARTBEAT_S,
        calm_s: tuple[float, float] = CALM_S,
        grants: Literal["replicated", "flexnet"] = "replicated",
    ) -> None:
        self._seed = seed
        self._folder = folder
        self._kinds = crew
        self._clients_each = clients_each
        self._calm_s = calm_s
        self._election_s = failover_s(heartbeat_s)
        self._triad = FakeTriad(features=FEATURES, heartbeat_s=heartbeat_s, state_dir=folder / "triad", grants=grants)
        self._crew: list[Member] = []
        self._hired = 0
        self._mended_at = 0.0
        self.gauges = Gauges()

    def __enter__(self) -> Self:
        self._triad.__enter__()
        self._triad.wait_until_serving(WAIT_S)
        self._crew = [self._hire(kind) for kind in self._kinds]
        for member in self._crew:
            member.wait_resting(time.monotonic() + REST_S)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for member in self._crew:
            member.close()
        self._triad.close()

    def _hire(self, kind: str) -> Member:
        self._hired += 1
        worker = ("tests.chaos.worker", kind, self._triad.servername)
        return hired(f"client-{self._hired}-{kind}", kind, self._folder, worker, str(self._seed * 1000 + self._hired), str(self._clients_each))

    def play(self, number: int, kind: str) -> Outcome:
        """One episode.  What does not come about in time is a violation, and the end of the run."""
        outcome = Outcome(number=number, kind=kind)
        stage = Stage(self._triad, self._crew, random.Random(f"{self._seed} {number}"), self._election_s)
        try:
            self._act(stage, kind)
            outcome.orphaned = self._settle()
        except (Stuck, FakeTriadError) as error:
            outcome.violations.append(Violation("stuck", f"{error}"))
        outcome.note = stage.note
        self._judge(outcome, stage)
        self._gauge()
        return outcome

    def _act(self, stage: Stage, kind: str) -> None:
        """Work, break, mend, and work again: a slow machine is waited for, so that every episode has a history on both sides of its fault."""
        for member in self._crew:
            member.tell("go")
        self._wait_all_work(stage)
        stage.let(*self._calm_s)
        KINDS[kind](stage)
        self._mended_at = monotonic()
        self._triad.heal()
        for node in self._triad.nodes:
            if not node.is_running:
                node.restart()
        stage.wait_served_by(self._triad.primary)
        self._wait_all_work(stage)
        stage.let(0.2, 0.4)

    def _wait_all_work(self, stage: Stage) -> None:
        """Block until every client that lives has given a seat back since now."""
        before = {member.name: member.turns_ended() for member in self._crew if member.ended_at is None}
        stage.wait(lambda: all(m.turns_ended() > before[m.name] for m in self._crew if m.ended_at is None), "every client works")

    def _settle(self) -> int:
        """Let everybody rest, and wait until all seats are back; those that are not are orphaned."""
        living = [member for member in self._crew if member.ended_at is None]
        for member in living:
            member.tell("rest")
        for member in living:
            member.wait_resting(time.monotonic() + REST_S)
        deadline = time.monotonic() + self._triad.ttl_s + self._election_s + SLACK_S
        while (left := self._holders()) and time.monotonic() < deadline:
            time.sleep(0.02)
        return len(left)

    def _holders(self) -> list[dict[str, Any]]:
        return [holder for feature in self._triad.usage()["features"] for holder in feature["holders"]]

    # --- the verdict ----------------------------------------------------------------------------------------------------------------

    def _judge(self, outcome: Outcome, stage: Stage) -> None:
        """Read what was written down, count, and say what is wrong."""
        read: list[Turn] = []
        served_at = self._served_at(stage.fault_at)
        for member in self._crew:
            lines = list(member.news())
            outcome.violations += [
                Violation("child", f"of {member.name}: {line}") for line in lines if line["what"] == "child ended" and line["status"]
            ]
            own = turns(member.name, lines, member.frozen, member.ended_at)
            read += own
            if served_at is not None:
                _measure(outcome, own, lines, (stage.fault_at, served_at))
        outcome.orphaned += len(stage.left_behind)
        found = list(verdicts(read))
        outcome.election_s = None if served_at is None else served_at - stage.fault_at
        outcome.checkouts = len(read)
        outcome.errors = sum(violation.checker == "error" for violation in found)
        outcome.lost = sum(violation.checker == "lost" for violation in found)
        excused = {"error", "lost"} if outcome.kind in DOUBLED else set()
        outcome.violations += [violation for violation in found if violation.checker not in excused]
        if outcome.orphaned:
            outcome.violations.append(Violation("orphaned", f"{outcome.orphaned} seats are held by nobody"))

    def _served_at(self, fault_at: float) -> float | None:
        """When the next node began to serve, if one did before all was mended."""
        times = [entry.at_s for entry in self._triad.journal.named("serving") if fault_at < entry.at_s < self._mended_at]
        return times[0] if times and fault_at else None

    def _gauge(self) -> None:
        """Look at all processes at rest; put new clients in the place of those that ended."""
        self.gauges.take({node.role: node.pid for node in self._triad.nodes})
        self.gauges.take({member.name: member.process.pid for member in self._crew if member.ended_at is None})
        for position, member in enumerate(self._crew):
            member.frozen.clear()
            if member.ended_at is not None:
                member.close()
                self._crew[position] = self._hire(member.kind)
                self._crew[position].wait_resting(time.monotonic() + REST_S)


def _measure(outcome: Outcome, own: Sequence[Turn], lines: Sequence[dict[str, Any]], window: tuple[float, float]) -> None:
    """What the client added to an election: of its first seat of the wide pool since, from the election's end, or from its asking where that is later."""
    fault_at, served_at = window
    requests = [line["at"] for line in lines if line["what"] == "request"]
    wide = (turn for turn in own if turn.feature == WIDE.feature and served_at < turn.granted_at < NEVER)
    first = min(wide, key=lambda turn: turn.granted_at, default=None)
    if first is not None and not first.was_disturbed:
        outcome.shares_s.append(first.granted_at - max(served_at, first.asked_at))
        outcome.requests.append(sum(max(fault_at, first.asked_at) < at <= first.granted_at for at in requests))
