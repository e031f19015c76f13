"""The same story for each system: everybody works, the leader is killed or frozen, comes back, everybody rests, and what they wrote down is judged."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from palclient.transport import monotonic
from tests.chaos.crew import Member, Stuck, hired
from tests.chaos.history import Turn, turns
from tests.compare.judge import Outcome, count, measure, most_too_many
from tests.compare.peer import PATIENCE_S, SILENCE_S, TTL_S, Peer
from tests.compare.servers import LOOK_S

CLIENTS = 4
CALM_S = (0.5, 1.5)  # of work before the loss
FREEZE_S = 1.5 * TTL_S
AFTER_S = 4.0  # of work when the old leader is back
WAIT_S = 20.0
WHOLE_S = 90.0  # until the next loss can be survived
SLACK_S = 0.5
REST_S = 2 * PATIENCE_S + WAIT_S
KILL, FREEZE = "kill", "freeze"


@dataclass(slots=True)
class Loss:
    """When the leader was lost, and when another was seen."""

    fault_at: float
    served_at: float | None = None


class Round:
    """A system with its clients, from a clean state, for the time of a ``with`` block."""

    def __init__(self, peer: Peer, folder: Path, seed: int) -> None:
        self._peer = peer
        self._folder = folder
        self._seed = seed
        self._dice = random.Random(seed)
        self._crew: list[Member] = []

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True)
        try:
            self._peer.start(self._folder / "nodes")
            worker = ("tests.compare.worker", self._peer.name, json.dumps(self._peer.access()))
            self._crew = [hired(f"client-{n}", self._peer.name, self._folder, worker, str(self._seed * 100 + n)) for n in range(CLIENTS)]
            self._wait_rest()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End all processes."""
        for member in self._crew:
            member.close()
        self._peer.stop()

    def warm(self, pairs: int) -> list[float]:
        """One client alone acquires and returns; how long each pair took."""
        first = self._crew[0]
        for asked in (max(1, pairs // 10), pairs):
            first.tell(f"warm {asked}")
            first.wait_resting(time.monotonic() + WAIT_S + asked * PATIENCE_S / 10)
        return [float(taken_s) for line in first.news() if line["what"] == "warm" for taken_s in line["taken_s"]][-pairs:]

    def play(self, kind: str) -> Outcome:
        """One episode.  What does not come about in time is told, and the end of the round."""
        outcome, loss = Outcome(system=self._peer.name, kind=kind), None
        try:
            self._peer.wait_whole(WHOLE_S)
            self._tell("go")
            self._wait_all_work()
            self._let(*CALM_S)
            loss = self._lose(kind)
            self._wait_all_work()
            self._tell("rest")
            self._wait_rest()
            outcome.orphaned = self._settle()
        except Stuck as error:
            outcome.stuck = str(error)
        self._judge(outcome, loss)
        return outcome

    def abandon(self) -> int:
        """Kill all clients with what they hold; how many seats are still taken when a lease has passed."""
        self._tell("go")
        self._wait_all_work()
        self._let(0.5, 1.0)
        for member in self._crew:
            member.kill()
        return self._settle()

    # --- the story ------------------------------------------------------------------------------------------------------------------

    def _lose(self, kind: str) -> Loss:
        """Lose the leader, see the next one, and let the old one come back."""
        old = self._peer.leader()
        if old is None:
            raise Stuck("nobody leads")
        loss = Loss(monotonic())
        if kind == KILL:
            self._peer.kill(old)
            self._watch(loss, old, WAIT_S)
            self._wait_all_work()
            self._let(0.5, 1.0)
            self._peer.restart(old)
        else:
            self._peer.freeze(old)
            self._watch(loss, old, FREEZE_S)
            self._let(*[max(0.0, loss.fault_at + FREEZE_S - monotonic())] * 2)
            self._peer.thaw(old)
        self._let(AFTER_S, AFTER_S)
        return loss

    def _watch(self, loss: Loss, old: int, limit_s: float) -> None:
        """Look until another leads."""
        while (served_at := self._peer.elected_at(loss.fault_at, old)) is None and monotonic() < loss.fault_at + limit_s:
            threading.Event().wait(LOOK_S)
        loss.served_at = served_at

    def _let(self, least_s: float, most_s: float) -> None:
        threading.Event().wait(self._dice.uniform(least_s, most_s))

    def _tell(self, word: str) -> None:
        for member in self._crew:
            member.tell(word)

    def _wait_rest(self) -> None:
        deadline = time.monotonic() + REST_S
        for member in self._crew:
            member.wait_resting(deadline)

    def _wait_all_work(self) -> None:
        """Block until every client has given a seat back since now."""
        before = [member.turns_ended() for member in self._crew]

        def all_have() -> bool:
            return all(member.turns_ended() > count for member, count in zip(self._crew, before, strict=True))

        _wait(all_have, WAIT_S, "every client works")

    def _settle(self) -> int:
        """Wait until no seat is taken; those that are when a lease and an election have passed are orphaned."""
        with suppress(Stuck):
            _wait(lambda: self._peer.taken() == 0, TTL_S + SILENCE_S + SLACK_S, "all seats are back")
        taken = self._peer.taken()
        if taken < 0:
            raise Stuck("no server tells how many seats are taken")
        return taken

    def _judge(self, outcome: Outcome, loss: Loss | None) -> None:
        read: list[Turn] = []
        for member in self._crew:
            lines = list(member.news())
            own = turns(member.name, lines, [], None)
            read += own
            count(outcome, own, lines)
            if loss is not None and loss.served_at is not None:
                measure(outcome, own, loss.fault_at, loss.served_at)
        outcome.over_issued = most_too_many(read)
        if loss is not None and loss.served_at is not None:
            outcome.election_s = loss.served_at - loss.fault_at


def _wait(is_so: Callable[[], bool], limit_s: float, what: str) -> None:
    """As ``servers.wait_until``, and more often."""
    deadline = time.monotonic() + limit_s
    while not is_so():
        if time.monotonic() > deadline:
            raise Stuck(f"not within {limit_s:g} s: {what}")
        threading.Event().wait(0.02)
