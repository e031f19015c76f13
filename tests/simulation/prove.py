"""``make prove``: thousands of histories, then every safety rule switched off in turn; one table, and an exit status by it.

make prove SECONDS=300        # or HISTORIES=40000, and SEED=1 to begin elsewhere
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from itertools import islice

from tests.simulation.checks import CHECKERS
from tests.simulation.history import Outcome, play
from tests.simulation.mutations import MUTATIONS, Caught, try_mutation
from tests.simulation.profiles import FLEXNET, PROFILES
from tests.simulation.shortcuts import no_guards
from tests.simulation.shrink import shrunk

BATCH = 25  # histories a task, so that progress is seen
MUTATION_HISTORIES = 250  # at most, for each rule that is switched off
FLEXNET_HISTORIES = 50  # with grants="flexnet", and as many replicated, with the same dice
DEFAULT_SECONDS = 300.0
MODES = ("flexnet", "replicated")
STORIES = 3  # of failing seeds, printed


@dataclass(slots=True)
class Tally:
    """What was run and what was found."""

    histories: Counter[str] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)
    failed: list[tuple[str, int]] = field(default_factory=list)
    grants: int = 0
    masters: int = 0
    busy_s: float = 0.0

    def take(self, outcomes: list[Outcome], busy_s: float) -> None:
        """Add a batch."""
        self.busy_s += busy_s
        for outcome in outcomes:
            self.histories[outcome.profile] += 1
            self.grants += outcome.grants
            self.masters += outcome.masters
            self.broken.update({violation.checker for violation in outcome.violations})
            if outcome.violations:
                self.failed.append((outcome.profile, outcome.seed))


def play_batch(profile: str, first_seed: int, count: int) -> tuple[list[Outcome], float]:
    """Some histories in a row, and the CPU seconds that they took."""
    began = time.process_time()
    gc.freeze()  # what was imported need not be swept
    gc.disable()  # a history leaves its circles behind; they are swept once a batch
    with no_guards():
        outcomes = [play(seed, PROFILES[profile]) for seed in range(first_seed, first_seed + count)]
    gc.enable()
    gc.collect()
    return outcomes, time.process_time() - began


def batches(seed: int, histories: int | None) -> Iterator[tuple[str, int, int]]:
    """The work, profile by profile in turn, without end or until there are so many histories."""
    planned = 0
    while histories is None or planned < histories:
        for profile in PROFILES:
            count = BATCH if histories is None else min(BATCH, histories - planned)
            if count <= 0:
                return
            yield profile, seed, count
            planned += count
        seed += BATCH


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 when nothing was violated and every mutation that is to be caught was."""
    parser = argparse.ArgumentParser(prog="make prove", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=None, help=f"for how long histories are played (default {DEFAULT_SECONDS:g})")
    parser.add_argument("--histories", type=at_least(1), default=None, help="how many, instead of a time")
    parser.add_argument("--seed", type=int, default=1, help="where to begin (default 1)")
    parser.add_argument("--jobs", type=at_least(1), default=os.cpu_count() or 1, help="processes (default: one a core)")
    parser.add_argument("--no-mutations", action="store_true", help="histories only")
    options = parser.parse_args(argv)
    began = time.monotonic()
    with ProcessPoolExecutor(options.jobs) as pool:
        tally = run_histories(pool, options)
        played_s = time.monotonic() - began
        caught = [] if options.no_mutations else run_mutations(pool, options.seed)
        over_issued = {} if options.no_mutations else run_flexnet(pool, options.seed)
    show(tally, caught, over_issued, played_s)
    for profile, seed in tally.failed[:STORIES]:
        print(f"\n--- profile {profile}, seed {seed}, as few faults as still break it ---")
        print("\n".join(shrunk(seed, PROFILES[profile]).story))
    return 1 if tally.failed or any(not one.is_as_expected for one in caught) else 0


def at_least(least: int) -> Callable[[str], int]:
    """A type for arguments: whole numbers that are not less; of none nothing could be shown."""

    def number(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"{text} is less than {least}")
        return int(text)

    return number


def run_histories(pool: ProcessPoolExecutor, options: argparse.Namespace) -> Tally:
    """Keep all cores busy until the time, or the number, is up."""
    tally = Tally()
    seconds = options.seconds or (DEFAULT_SECONDS if options.histories is None else None)
    began = time.monotonic()
    work = batches(options.seed, options.histories)
    running = {pool.submit(play_batch, *task) for task in islice(work, options.jobs * 2)}
    while running:
        done = next(as_completed(running))
        running.discard(done)
        tally.take(*done.result())
        is_time_up = seconds is not None and time.monotonic() - began > seconds
        task = None if is_time_up else next(work, None)
        if task is not None:
            running.add(pool.submit(play_batch, *task))
        share = (time.monotonic() - began) / seconds if seconds is not None else sum(tally.histories.values()) / options.histories
        progress(share, f"{sum(tally.histories.values())} histories, {len(tally.failed)} failed")
    progress(None, "")
    return tally


def run_mutations(pool: ProcessPoolExecutor, seed: int) -> list[Caught]:
    """Each rule switched off, until some history shows it."""
    futures = {pool.submit(try_mutation, name, seed, MUTATION_HISTORIES): name for name in MUTATIONS}
    caught = {}
    for number, future in enumerate(as_completed(futures), 1):
        caught[futures[future]] = future.result()
        progress(number / len(futures), f"{number} of {len(futures)} mutations")
    progress(None, "")
    return [caught[name] for name in MUTATIONS]


def over_issues(grants: str, seed: int) -> int:
    """In how many histories, with dice loaded against a pool of one seat, more seats are believed held than there are."""
    outcomes = (play(number, replace(FLEXNET, grants=grants)) for number in range(seed, seed + FLEXNET_HISTORIES))
    return sum(any(violation.checker == "over-issue" for violation in outcome.violations) for outcome in outcomes)


def run_flexnet(pool: ProcessPoolExecutor, seed: int) -> dict[str, int]:
    """What a triad does that forgets its table (E9), beside one that does not."""
    return dict(zip(MODES, pool.map(over_issues, MODES, [seed] * len(MODES)), strict=True))


def progress(share: float | None, text: str) -> None:
    """A bar on a terminal, nothing in a pipe; None clears it."""
    if not sys.stderr.isatty():
        return
    if share is None:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    else:
        done = int(30 * min(1.0, share))
        print(f"\r[{'#' * done}{'.' * (30 - done)}] {text}\x1b[K", end="", file=sys.stderr, flush=True)


def show(tally: Tally, caught: list[Caught], over_issued: dict[str, int], took_s: float) -> None:
    """The table."""
    total = sum(tally.histories.values())
    print(f"{total} histories in {took_s:.0f} s, {total / max(tally.busy_s, 1e-9):.0f} a second and core: ", end="")
    print(", ".join(f"{profile} {count}" for profile, count in tally.histories.items()))
    print(f"{tally.grants} grants, {tally.masters} changes of the serving node\n")
    print(f"{'checker':<16} {'violated in':>12}   zero of N bounds the rate at 95 %")
    for checker in CHECKERS:
        broken = tally.broken[checker]
        bound = f"below 1 in {total / 3:.0f}" if not broken and total else ""
        print(f"{checker:<16} {broken:>12}   {bound}")
    if caught:
        print(f"\n{'rule switched off':<64} {'caught in':>12}   by")
        for one in caught:
            print(one.line())
    if over_issued:
        found = ", ".join(f'grants="{mode}" in {count} of {FLEXNET_HISTORIES}' for mode, count in over_issued.items())
        print(f"\nover-issue with the same dice: {found}")


if __name__ == "__main__":
    sys.exit(main())
