"""A keeper without its thread: the four flows of ``core/renewal.py``, the table of leases, and what was told, under the virtual clock."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from palclient.core.flow import Call
from palclient.core.lease import LeaseRecord, Phase
from palclient.core.renewal import RENEWABLE, Kept, Leases, keep_claiming, keep_renewing, keep_returning, keep_watch
from palclient.models import Event, Grant
from tests.unit.script import CLUSTER, NAMES, ScriptedTriad, grant, kind_of, request

MADE: list[Keeping] = []  # for those who look at all that a test made


class Keeping:
    """A keeper without its thread: four flows, the table of leases, and what was told."""

    def __init__(self, *, ttl_s: float = 180.0, luck: float = 0.0) -> None:
        self.triad = ScriptedTriad(luck=luck)
        self.net = self.triad.net
        self.start = self.net.now
        self.ttl_s = ttl_s
        for name, part in zip(NAMES, self.triad.parts, strict=True):
            self.triad.says(name, replace(part, ttl_s=ttl_s))
        self.triad.knows_master()
        self.triad.on_replaced = self._wake
        self.events: list[tuple[float, Event]] = []
        self._is_woken = False
        self.leases = Leases(nullcontext(), lambda: self.triad.luck, self._emit, self._wake)
        now, means = self.net.now, self.triad.means
        self.tasks: list[Any] = []
        self.tasks += [self.triad.spawn(keep_renewing(self.leases, means, now=now)), self.triad.spawn(keep_watch(self.leases, means))]
        self.tasks += [self.triad.spawn(keep_claiming(self.leases, means, now=now)), self.triad.spawn(keep_returning(self.leases, means, now=now))]
        MADE.append(self)

    def hold(self, first: str, *more: str, ttl_s: float | None = None, reacquire: bool = True, seq: int = 42, cluster: str = CLUSTER) -> LeaseRecord:
        """Leases that were granted at this instant; gives the first one's record."""
        for lease_id in (first, *more):
            own = Grant(**grant(lease_id, ttl_s=ttl_s or self.ttl_s, seq=seq), node="27000@lic1", role=None, cluster=cluster, term=7)
            record = LeaseRecord(own, sent_at=self.net.now)
            self.leases.add(Kept(record=record, request=request(lease_id=lease_id), reacquire=reacquire))
        return self.leases.kept[first].record

    def until(self, after_s: float) -> None:
        """Let time pass."""
        self.net.run_until(self.start + after_s)
        assert [task.error for task in self.tasks] == [None] * 4
        assert all(task.wake_at is not None or task.open or self._is_idle(index) for index, task in enumerate(self.tasks))

    def _is_idle(self, index: int) -> bool:
        """Whether the flow has nothing to wait for but a wake-up: none to renew, none to watch, none to claim, none to return."""
        phases = {kept.record.phase for kept in self.leases.kept.values()}
        has_work = (not phases.isdisjoint(RENEWABLE), not phases.isdisjoint(RENEWABLE), Phase.CLAIMING in phases, bool(self.leases.returns))
        return not has_work[index]

    def asked(self, kind: str) -> list[tuple[float, Call]]:
        """The calls of one kind, and when."""
        return [(round(one.at - self.start, 4), one.call) for one in self.net.asked if kind_of(one.call) == kind]

    def told(self, kind: type[Event]) -> list[float]:
        """When events of one kind came."""
        return [at for at, event in self.events if type(event) is kind]

    def _emit(self, event: Event) -> None:
        self.events.append((round(self.net.now - self.start, 4), event))

    def _wake(self) -> None:
        """Wake all flows soon; once, however often it is called before they look, as the keeper does."""
        if not self._is_woken:
            self._is_woken = True
            self.net.after(0.0, self._wake_all)

    def _wake_all(self) -> None:
        self._is_woken = False
        for task in self.tasks:
            self.net.wake(task)
