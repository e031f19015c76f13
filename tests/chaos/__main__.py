"""``python -m tests.chaos``: real processes killed, frozen and cut off, episode after episode; one table, and an exit status by it.

python -m tests.chaos --episodes 300 --seed 7          # or --kinds kill,freeze
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from tests.chaos.controller import Outcome, Run, deck
from tests.chaos.episodes import DOUBLED, KINDS
from tests.chaos.verdict import CHECKERS, Violation
from tests.simulation.prove import progress

DEFAULT_EPISODES = 36
HEAD = f"{'episode':<20} {'n':>3} {'election':>9} {'client beyond it: median':>25} {'99 %':>8} {'worst':>8} {'requests':>9} {'checkouts':>10} {'errors':>7} {'lost':>5} {'over-issued':>12} {'orphaned':>9}"


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 when nothing was violated."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--episodes", type=int, default=DEFAULT_EPISODES, help=f"how many (default {DEFAULT_EPISODES})")
    parser.add_argument("--seed", type=int, default=1, help="of all dice (default 1)")
    parser.add_argument("--kinds", default=",".join(KINDS), help=f"which, of {', '.join(KINDS)}")
    options = parser.parse_args(argv)
    kinds = [kind for kind in options.kinds.split(",") if kind]
    if strangers := [kind for kind in kinds if kind not in KINDS]:
        parser.error(f"there is no {strangers[0]!r}; there are {', '.join(KINDS)}")
    folder, began = Path(tempfile.mkdtemp(prefix="palclient-chaos-")), time.monotonic()
    with Run(options.seed, folder) as run:
        outcomes = list(played(run, list(islice(deck(options.seed, kinds), options.episodes))))
        grown = [Violation("grows", text) for text in run.gauges.grown()]
        most = run.gauges.most()
    print(f"{len(outcomes)} episodes in {time.monotonic() - began:.0f} s, seed {options.seed}\n")
    print("\n".join(table(outcomes)))
    print(f"\nmost that a process grew by: {most.descriptors} descriptors, {most.threads} threads, {most.memory_kib / 1024:.1f} MiB")
    failed = sum(bool(outcome.violations) for outcome in outcomes) + bool(grown)
    print("\n".join(told(outcomes, grown)) or "no violation")
    if failed:
        print(f"what the clients wrote down is kept in {folder}")
    else:
        shutil.rmtree(folder)
    return 1 if failed else 0


def played(run: Run, kinds: Sequence[str]) -> Iterator[Outcome]:
    """Play them in order, until one gets stuck."""
    failed = 0
    for number, kind in enumerate(kinds):
        progress(number / len(kinds), f"{number} of {len(kinds)} episodes, {failed} failed: {kind}")
        outcome = run.play(number, kind)
        failed += bool(outcome.violations)
        yield outcome
        if any(violation.checker == "stuck" for violation in outcome.violations):
            break
    progress(None, "")


def table(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """A row for each kind that was played."""
    yield HEAD
    for kind in KINDS:
        rows = [outcome for outcome in outcomes if outcome.kind == kind]
        if rows:
            yield _row(f"{kind}{' *' if kind in DOUBLED else ''}", rows)
    yield "times in ms, medians; requests: all of a client's (renewals too) while it waits for that seat; * two nodes are lost, and errors and losses are no violation"


def _row(kind: str, rows: Sequence[Outcome]) -> str:
    elections = [outcome.election_s for outcome in rows if outcome.election_s is not None]
    shares = sorted(share for outcome in rows for share in outcome.shares_s)
    requests = [each for outcome in rows for each in outcome.requests]
    over = sum(violation.checker == "over-issued" for outcome in rows for violation in outcome.violations)
    return (
        f"{kind:<20} {len(rows):>3} {_ms(elections):>9} {_ms(shares):>25} {_ms(shares[-max(1, len(shares) // 100) :][:1]):>8} {_ms(shares[-1:]):>8} "
        f"{statistics.median(requests) if requests else '-':>9} {sum(outcome.checkouts for outcome in rows):>10} {sum(outcome.errors for outcome in rows):>7} "
        f"{sum(outcome.lost for outcome in rows):>5} {over:>12} {sum(outcome.orphaned for outcome in rows):>9}"
    )


def _ms(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds) * 1000:.1f}" if seconds else "-"


def told(outcomes: Sequence[Outcome], grown: Sequence[Violation]) -> Iterator[str]:
    """Each violation, with what it means and how its episode is played again."""
    for outcome in outcomes:
        for checker in dict.fromkeys(violation.checker for violation in outcome.violations):
            details = [violation.detail.splitlines()[0] for violation in outcome.violations if violation.checker == checker]
            yield f"episode {outcome.number}, {outcome.kind} ({outcome.note}): {checker}, {CHECKERS[checker]}: {len(details)}, first {details[0]}"
    for violation in grown:
        yield f"{violation.checker}: {violation.detail}"


if __name__ == "__main__":
    sys.exit(main())
