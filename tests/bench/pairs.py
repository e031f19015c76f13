"""Measuring two things in turn."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A line of the table: two times (seconds, medians), their ratio pair by pair (median), and what it is to be.  A single time has no other."""

    what: str
    ours_s: float
    other_s: float | None = None
    ratio: float | None = None
    goal: str = ""

    def line(self) -> str:
        """As text."""
        other = "" if self.other_s is None else f"{self.other_s * 1000:8.3f} ms"
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        return f"{self.what:<58} {self.ours_s * 1000:8.3f} ms {other:>11} {ratio:>7}  {self.goal:>10}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A line of the table that is no time: a count, a size, a share; measured like all others."""

    what: str
    ours: float
    unit: str = ""
    goal: str = ""

    def line(self) -> str:
        """As text, under the same heads."""
        return f"{self.what:<58} {self.ours:>8.7g} {self.unit:<2} {'':>11} {'':>7}  {self.goal:>10}"


def in_turn(rounds: int, ours: Callable[[], float], other: Callable[[], float], *, what: str, goal: str) -> Row:
    """Measure A B B A A B ...: each is as often first as second."""
    pairs = []
    for number in range(rounds):
        if number % 2:
            b = other()
            a = ours()
        else:
            a = ours()
            b = other()
        pairs.append((a, b))
    return row_of(pairs, what=what, goal=goal)


def row_of(pairs: list[tuple[float, float]], *, what: str, goal: str) -> Row:
    """The row of pairs that were measured in turn."""
    return Row(
        what=what,
        ours_s=statistics.median(a for a, _ in pairs),
        other_s=statistics.median(b for _, b in pairs),
        ratio=statistics.median(a / b for a, b in pairs),
        goal=goal,
    )


def process_s(*arguments: str) -> float:
    """How long a Python process takes from start to end."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


@contextmanager
def null_node() -> Iterator[int]:
    """A canned server that answers at once, in a process of its own; gives its port."""
    process = subprocess.Popen([sys.executable, "-m", "tests.bench.null_node"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline().split()[-1])
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(10)
