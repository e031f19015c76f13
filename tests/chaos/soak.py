"""``make soak``: two hundred clients at work for half an hour while nodes and links fail in turn; what each process used before and after.

python -m tests.chaos.soak --seconds 1800 --clients 200 --seed 1
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from tests.chaos.__main__ import told
from tests.chaos.controller import CREW, Outcome, Run, deck
from tests.chaos.gauges import Gauges
from tests.chaos.verdict import Violation
from tests.simulation.prove import at_least, progress

DEFAULT_SECONDS, DEFAULT_CLIENTS = 1800.0, 200
CALM_S = (4.0, 8.0)
HEARTBEAT_S = 1.0  # at a fifth of that two hundred renewals at once, on two cores, take longer than a client waits for one
LASTING = "freeze partition isolate shattered unreachable lose_reply slow drip disk_full client_link".split()
"""Those that end no process: they fill the second half of the time, in which everything is measured that lives."""
ENDING = "kill stop handover deaf_voter".split()
"""Those that end a master's process: in the first half, with the others.  After them most clients have met every node, and keep a connection to each."""


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 when nothing was violated and nothing grew."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=DEFAULT_SECONDS, help=f"for how long (default {DEFAULT_SECONDS:g})")
    parser.add_argument("--clients", type=at_least(len(CREW)), default=DEFAULT_CLIENTS, help=f"in {len(CREW)} processes (default {DEFAULT_CLIENTS})")
    parser.add_argument("--seed", type=int, default=1, help="of all dice (default 1)")
    options = parser.parse_args(argv)
    folder, began = Path(tempfile.mkdtemp(prefix="palclient-soak-")), time.monotonic()
    with Run(options.seed, folder, clients_each=max(2, options.clients // len(CREW)), heartbeat_s=HEARTBEAT_S, calm_s=CALM_S) as run:
        outcomes = list(soaked(run, options.seed, options.seconds))
        grown = [Violation("grows", text) for text in run.gauges.grown()]
    report(outcomes, run.gauges, time.monotonic() - began, options.clients)
    complaints = list(told(outcomes, grown))
    say("\n".join(complaints) or "no violation, and nothing grows")
    if complaints:
        say(f"what the clients wrote down is kept in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


def say(line: str) -> None:
    """A line for people."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def soaked(run: Run, seed: int, seconds: float) -> Iterator[Outcome]:
    """Episode after episode until the time is up, or one gets stuck; what was measured in the first half is dropped."""
    began, failed = time.monotonic(), 0
    every, lasting, is_warm = deck(seed, LASTING + ENDING), deck(seed, LASTING), False
    for number in count():
        passed_s = time.monotonic() - began
        if passed_s > seconds:
            break
        if not is_warm and passed_s > seconds / 2:
            run.gauges.readings.clear()
            is_warm = True
        kind = next(lasting if is_warm else every)
        progress(passed_s / seconds, f"{passed_s:.0f} of {seconds:.0f} s, {number} episodes, {failed} failed: {kind}")
        outcome = run.play(number, kind)
        failed += bool(outcome.violations)
        yield outcome
        if any(violation.checker == "stuck" for violation in outcome.violations):
            break
    progress(None, "")


def report(outcomes: list[Outcome], gauges: Gauges, took_s: float, clients: int) -> None:
    """What was done, and what every process used at rest in the second half of the time: at its beginning, in the middle, at its end."""
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(Counter(outcome.kind for outcome in outcomes).items()))
    say(f"{clients} clients, {took_s:.0f} s, {len(outcomes)} episodes ({kinds})")
    say(f"{sum(o.checkouts for o in outcomes)} checkouts, {sum(o.errors for o in outcomes)} errors, {sum(o.lost for o in outcomes)} seats lost\n")
    say(f"{'process':<20} {'readings':>9} {'descriptors':>18} {'threads':>18} {'memory, MiB':>24}")
    for (name, _), taken in gauges.readings.items():
        three = taken[0], taken[len(taken) // 2], taken[-1]
        descriptors = " ".join(f"{each.descriptors:>5}" for each in three)
        threads = " ".join(f"{each.threads:>5}" for each in three)
        memory = " ".join(f"{each.memory_kib / 1024:>7.1f}" for each in three)
        say(f"{name:<20} {len(taken):>9} {descriptors:>18} {threads:>18} {memory:>24}")


if __name__ == "__main__":
    sys.exit(main())
