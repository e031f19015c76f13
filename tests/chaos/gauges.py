"""What a process uses, as the kernel counts it (Linux; elsewhere nothing is known)."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path

DESCRIPTORS_MORE, THREADS_MORE, MEMORY_MORE_KIB = 24, 4, 24 * 1024
"""Ours: what a process may usually have more of in the second half of a run than it ever had in the first.  A leak of one a request is hundreds."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Open descriptors, threads, and memory that is in core."""

    descriptors: int
    threads: int
    memory_kib: int


def reading(pid: int) -> Reading | None:
    """What the process uses now; None when there is none, or the system does not tell."""
    home = Path("/proc") / str(pid)
    try:
        status = dict(line.split(":", 1) for line in (home / "status").read_text(encoding="utf-8").splitlines())
        descriptors = sum(1 for _ in (home / "fd").iterdir())
        return Reading(descriptors, int(status["Threads"]), int(status["VmRSS"].split()[0]))
    except (OSError, KeyError):
        return None


@dataclass(slots=True)
class Gauges:
    """The readings of each process in order, by name and pid."""

    readings: dict[tuple[str, int], list[Reading]] = field(default_factory=dict)

    def take(self, pids: Mapping[str, int | None]) -> None:
        """Read them all, at rest."""
        for name, pid in pids.items():
            now = None if pid is None else reading(pid)
            if pid is not None and now is not None:
                self.readings.setdefault((name, pid), []).append(now)

    def grown(self) -> Iterator[str]:
        """What uses more than it should."""
        for (name, pid), taken in self.readings.items():
            before, after = _halves(taken)
            more = _more(before, after)
            if more.descriptors > DESCRIPTORS_MORE or more.threads > THREADS_MORE or more.memory_kib > MEMORY_MORE_KIB:
                yield f"{name} (process {pid}): at most {before}, then usually {after}"

    def most(self) -> Reading:
        """The largest growth of each."""
        grown = [_more(*_halves(taken)) for taken in self.readings.values()]
        return _each(max, [Reading(0, 0, 0), *grown])


def _halves(taken: Sequence[Reading]) -> tuple[Reading, Reading]:
    """The most that there was in the first half of the readings, and what was usual in the second.

    How many connections rest with a process varies with the fault before; what leaks passes every mark sooner or later, and stays above it.
    """
    return _each(max, taken[: (len(taken) + 1) // 2]), _each(statistics.median, taken[len(taken) // 2 :])


def _more(before: Reading, after: Reading) -> Reading:
    return Reading(after.descriptors - before.descriptors, after.threads - before.threads, after.memory_kib - before.memory_kib)


def _each(of: Callable[[Sequence[int]], float], taken: Sequence[Reading]) -> Reading:
    return Reading(*(int(of(values)) for values in zip(*map(astuple, taken), strict=True)))
