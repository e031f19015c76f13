"""What a process uses, as the kernel counts it (Linux; elsewhere nothing is known)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

DESCRIPTORS_MORE, THREADS_MORE, MEMORY_MORE_KIB = 24, 4, 24 * 1024
"""Ours: what a process may have more of at the end than after its first episode.  A leak of one a request is hundreds."""


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
    """The first and the last reading of each process, by name and pid."""

    first: dict[tuple[str, int], Reading] = field(default_factory=dict)
    last: dict[tuple[str, int], Reading] = field(default_factory=dict)

    def take(self, pids: Mapping[str, int | None]) -> None:
        """Read them all, at rest."""
        for name, pid in pids.items():
            now = None if pid is None else reading(pid)
            if pid is not None and now is not None:
                self.first.setdefault((name, pid), now)
                self.last[name, pid] = now

    def grown(self) -> Iterator[str]:
        """What uses more than it should."""
        for (name, pid), before in self.first.items():
            after = self.last[name, pid]
            more = (after.descriptors - before.descriptors, after.threads - before.threads, after.memory_kib - before.memory_kib)
            if more[0] > DESCRIPTORS_MORE or more[1] > THREADS_MORE or more[2] > MEMORY_MORE_KIB:
                yield f"{name} (process {pid}): {before}, then {after}"

    def most(self) -> Reading:
        """The largest growth of each."""
        pairs = [(self.first[key], self.last[key]) for key in self.first]
        return Reading(
            max((b.descriptors - a.descriptors for a, b in pairs), default=0),
            max((b.threads - a.threads for a, b in pairs), default=0),
            max((b.memory_kib - a.memory_kib for a, b in pairs), default=0),
        )
