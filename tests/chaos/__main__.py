"""``python -m tests.chaos``: real processes killed, frozen and cut off, episode after episode; one table, and an exit status by it.

python -m tests.chaos --episodes 300 --seed 7          # or --kinds kill,freeze
python -m tests.chaos --episodes 0 --failovers 50      # the failover table alone
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path

from tests.chaos.controller import CREW, Outcome, Run, deck
from tests.chaos.episodes import KINDS
from tests.chaos.gauges import Reading
from tests.chaos.tables import FAILOVERS, FOOT, HEAD, figures
from tests.chaos.verdict import CHECKERS, Violation
from tests.simulation.prove import at_least, progress

DEFAULT_EPISODES = 36
NOTHING = Reading(0, 0, 0)


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 when nothing was violated."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--episodes", type=at_least(0), default=DEFAULT_EPISODES, help=f"how many of all kinds in turn (default {DEFAULT_EPISODES})")
    parser.add_argument(
        "--failovers", type=at_least(0), default=0, help=f"then so many each of {', '.join(FAILOVERS)}, in a table of their own (default 0)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of all dice (default 1)")
    parser.add_argument("--kinds", default=",".join(KINDS), help=f"which, of {', '.join(KINDS)}")
    parser.add_argument(
        "--clients",
        type=at_least(1),
        default=None,
        help=f"processes, on threads and on asyncio in turn (default {len(CREW)}, and one in the table, which is about the client's share and not the machine's)",
    )
    parser.add_argument("--json", action="store_true", help="print figures and violations as one JSON object instead of tables")
    options = parser.parse_args(argv)
    kinds = [kind for kind in options.kinds.split(",") if kind]
    if strangers := [kind for kind in kinds if kind not in KINDS]:
        parser.error(f"there is no {strangers[0]!r}; there are {', '.join(KINDS)}")
    folder, began = Path(tempfile.mkdtemp(prefix="palclient-chaos-")), time.monotonic()
    mixed = list(islice(deck(options.seed, kinds), options.episodes))
    losses = list(islice(deck(options.seed, FAILOVERS), options.failovers * len(FAILOVERS)))
    parts = {
        "episodes": part(options.seed, folder / "episodes", options.clients or len(CREW), mixed),
        "failovers": part(options.seed, folder / "failovers", options.clients or 1, losses),
    }
    complaints = [line for each in parts.values() for line in told(each.outcomes, each.grown)]
    show = show_json if options.json else show_tables
    show(options.seed, time.monotonic() - began, parts, complaints)
    if complaints:
        print(f"what the clients wrote down is kept in {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Episodes with one crew: what came of them, the most that a process of theirs grew by, and what of that is a violation."""

    outcomes: Sequence[Outcome] = ()
    most: Reading = NOTHING
    grown: Sequence[Violation] = ()


def part(seed: int, folder: Path, clients: int, kinds: Sequence[str]) -> Part:
    """Play these, with so many client processes."""
    if not kinds:
        return Part()
    folder.mkdir()
    with Run(seed, folder, crew=list(islice(cycle(CREW), clients))) as run:
        outcomes = tuple(played(run, kinds))
        return Part(outcomes=outcomes, most=run.gauges.most(), grown=tuple(Violation("grows", text) for text in run.gauges.grown()))


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


def show_tables(seed: int, took_s: float, parts: Mapping[str, Part], complaints: Sequence[str]) -> None:
    """For people."""
    print(f"{sum(len(each.outcomes) for each in parts.values())} episodes in {took_s:.0f} s, seed {seed}")
    for name, each in parts.items():
        if each.outcomes:
            print(f"\n{name}\n{HEAD}")
            print("\n".join(row.line() for row in figures(each.outcomes)))
            print(FOOT)
            print(
                f"most that a process grew by: {each.most.descriptors} descriptors, {each.most.threads} threads, {each.most.memory_kib / 1024:.1f} MiB"
            )
    print(f"\n{chr(10).join(complaints) or 'no violation'}")


def show_json(seed: int, took_s: float, parts: Mapping[str, Part], complaints: Sequence[str]) -> None:
    """For programs."""
    rows = {name: [asdict(row) for row in figures(each.outcomes)] for name, each in parts.items()}
    most = {name: asdict(each.most) for name, each in parts.items()}
    print(json.dumps({"seed": seed, "took_s": took_s, **rows, "grew_most": most, "violations": list(complaints)}, indent=1))


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
