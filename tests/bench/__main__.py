"""``make bench``: what palclient costs, each figure beside the plain way of doing the same, measured in turn in one run.

Ratios are medians of pairs, so that a machine whose speed drifts does not change them.  Nothing here is a test: no figure makes it fail.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence

from tests.bench import async_, cold, failover, many, redirect, triad, warm
from tests.bench.pairs import Figure, Row
from tests.simulation.prove import at_least

PARTS: dict[str, Callable[[int], Sequence[Row | Figure]]] = {
    "import": cold.imports,
    "warm": warm.checkouts,
    "cold": cold.processes,
    "async": async_.checkouts,
    "threads": async_.threads,
    "failover": failover.losses,
    "blackhole": failover.black_holes,
    "leases": many.leases,
    "crowd": many.crowds,
    "readers": redirect.readers,
    "redirect": redirect.redirects,
    "start": triad.starts,
    "reset": triad.resets,
    "load": triad.loads,
    "barrier": triad.barriers,
}


def main(argv: list[str] | None = None) -> int:
    """Measure, and print one table."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="what to measure (default: all)")
    parser.add_argument("--rounds", type=at_least(1), default=20, help="pairs, or episodes, a figure (default 20)")
    options = parser.parse_args(argv)
    print(f"{'what':<58} {'ours':>11} {'other':>11} {'ratio':>7}  {'goal':>10}")
    for name in options.parts or PARTS:
        if sys.stderr.isatty():
            print(f"measuring {name} ...", end="\r", file=sys.stderr, flush=True)
        for row in PARTS[name](options.rounds):
            print(row.line(), flush=True)
    return 0


__all__ = ["main", "statistics"]

if __name__ == "__main__":
    sys.exit(main())
