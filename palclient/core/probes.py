"""What became of every request of one pursuit, in bounded space: it is told if no master answers."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from palclient.models import Endpoint, Probe

NEWEST = 60  # are told one by one
MAX_OLDER = 240  # entries for what came before: eight ways to end at each address of three nodes that are searched; of more the oldest go


class Probes:
    """All probes so far.  The newest stand for themselves, older ones with those that ended alike at the same address."""

    __slots__ = ("_newest", "_older")

    def __init__(self) -> None:
        self._newest: deque[Probe] = deque()
        self._older: dict[tuple[Endpoint, str], Probe] = {}

    def add(self, probe: Probe) -> None:
        """One more."""
        if len(self._newest) == NEWEST:
            self._fold(self._newest.popleft())
        self._newest.append(probe)

    def told(self) -> tuple[Probe, ...]:
        """The older ones in the order of their beginnings, then the newest in the order of their ends."""
        return (*self._older.values(), *self._newest)

    def _fold(self, probe: Probe) -> None:
        kind = (probe.endpoint, probe.outcome)
        before = self._older.get(kind)
        if before is None and len(self._older) == MAX_OLDER:
            del self._older[next(iter(self._older))]
        self._older[kind] = probe if before is None else replace(probe, began_s=before.began_s, times=before.times + 1)
