"""``make compare``: the same story, kill and freeze, for palclient and for what else is on the machine; one run, in turn, and nothing is installed.

python -m tests.compare --rounds 5 --kills 10 --freezes 10
python -m tests.compare --only palclient,redis --json
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from fakeserver.process import FakeTriadError
from tests.chaos.crew import Stuck
from tests.compare.episodes import FREEZE, KILL, Round
from tests.compare.judge import Outcome
from tests.compare.peer import Absent, Peer
from tests.compare.systems import SYSTEMS
from tests.compare.tables import FOOT, HEAD, WARM_HEAD, Warm, figures, warm_row
from tests.simulation.prove import at_least, progress

DEFAULT_ROUNDS, DEFAULT_EPISODES, DEFAULT_PAIRS = 5, 10, 100


@dataclass(slots=True, kw_only=True)
class Results:
    """What a run gathers."""

    outcomes: list[Outcome] = field(default_factory=list)
    warm_s: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    left: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    loads: list[float] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def warm_rows(self) -> list[Warm]:
        """One a system."""
        return [warm_row(system, taken_s, self.left[system]) for system, taken_s in self.warm_s.items()]


def main(argv: list[str] | None = None) -> int:
    """No figure makes it fail."""
    options = parsed(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that no server is left behind
    peers, skipped = present(options.only)
    began, folder = time.monotonic(), Path(tempfile.mkdtemp(prefix="palclient-compare-"))
    try:
        results = played(peers, folder, options)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    show = show_json if options.json else show_tables
    show(peers, skipped, results, time.monotonic() - began)
    return 0


def parsed(argv: list[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m tests.compare", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--rounds", type=at_least(1), default=DEFAULT_ROUNDS, help=f"each with all systems in turn, begun anew (default {DEFAULT_ROUNDS})"
    )
    parser.add_argument(
        "--kills", type=at_least(0), default=DEFAULT_EPISODES, help=f"of leaders, a system, in all rounds (default {DEFAULT_EPISODES})"
    )
    parser.add_argument("--freezes", type=at_least(0), default=DEFAULT_EPISODES, help=f"likewise (default {DEFAULT_EPISODES})")
    parser.add_argument("--pairs", type=at_least(1), default=DEFAULT_PAIRS, help=f"of a warm acquire and return, a round (default {DEFAULT_PAIRS})")
    parser.add_argument("--seed", type=int, default=1, help="of all dice (default 1)")
    parser.add_argument("--only", default=",".join(SYSTEMS), help=f"which, of {', '.join(SYSTEMS)}")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    options = parser.parse_args(argv)
    options.only = [name for name in options.only.split(",") if name]
    if strangers := [name for name in options.only if name not in SYSTEMS]:
        parser.error(f"there is no {strangers[0]!r}; there are {', '.join(SYSTEMS)}")
    return options


def present(names: Sequence[str]) -> tuple[list[Peer], dict[str, str]]:
    """Those that can be played here, and of the others what is missing."""
    peers: list[Peer] = []
    skipped: dict[str, str] = {}
    for name in names:
        try:
            peers.append(SYSTEMS[name].peer())
        except Absent as missing:
            skipped[name] = str(missing)
    return peers, skipped


def played(peers: Sequence[Peer], folder: Path, options: argparse.Namespace) -> Results:
    """Round after round, and in each all systems; who was first is last in the next."""
    results = Results()
    for number in range(options.rounds):
        turned = number % max(1, len(peers))
        for place, peer in enumerate([*peers[turned:], *peers[:turned]]):
            results.loads.append(os.getloadavg()[0])
            kinds = [KILL] * portion(options.kills, number, options.rounds) + [FREEZE] * portion(options.freezes, number, options.rounds)
            progress((number + place / len(peers)) / options.rounds, f"round {number + 1} of {options.rounds}: {peer.name}, {', '.join(kinds)}")
            try:
                with Round(peer, folder / f"{number}-{peer.name}", options.seed + number) as running:
                    one_round(running, peer.name, kinds, options.pairs, results)
            except (Stuck, FakeTriadError, OSError) as error:
                results.complaints.append(f"{peer.name}, round {number}: {error}")
    progress(None, "")
    return results


def one_round(running: Round, name: str, kinds: Sequence[str], pairs: int, results: Results) -> None:
    """One system from a clean state; ends early when it gets stuck."""
    results.warm_s[name] += running.warm(pairs)
    for kind in kinds:
        outcome = running.play(kind)
        results.outcomes.append(outcome)
        if outcome.stuck:
            return
    results.left[name] += running.abandon()


def portion(total: int, number: int, rounds: int) -> int:
    """How many of all are this round's."""
    return total * (number + 1) // rounds - total * number // rounds


def told(results: Results) -> Iterator[str]:
    """What went wrong, episode by episode: the first errors, and who got stuck."""
    yield from results.complaints
    for number, outcome in enumerate(results.outcomes):
        if outcome.stuck:
            yield f"episode {number}, {outcome.system} {outcome.kind}: stuck: {outcome.stuck}"
        if outcome.first_errors:
            yield f"episode {number}, {outcome.system} {outcome.kind}: {outcome.errors} errors, first {outcome.first_errors[0]}"


def show_tables(peers: Sequence[Peer], skipped: dict[str, str], results: Results, took_s: float) -> None:
    """For people."""
    load = f", load {min(results.loads):.1f} to {max(results.loads):.1f}" if results.loads else ""
    say(f"{len(results.outcomes)} episodes in {took_s:.0f} s{load}, {os.cpu_count()} cores")
    for peer in peers:
        say(f"{peer.name}: {peer.version}; {peer.settings}")
    for name, missing in skipped.items():
        say(f"{name}: skipped, {missing}")
    say(f"\n{WARM_HEAD}")
    for row in results.warm_rows():
        say(row.line())
    say(f"\n{HEAD}")
    for line in figures(results.outcomes):
        say(line.line())
    say(FOOT)
    say("\n".join(["", *told(results)]))


def show_json(peers: Sequence[Peer], skipped: dict[str, str], results: Results, took_s: float) -> None:
    """For programs."""
    shown = {
        "took_s": took_s,
        "cores": os.cpu_count(),
        "loads": results.loads,
        "systems": {peer.name: {"version": peer.version, "settings": peer.settings} for peer in peers},
        "skipped": skipped,
        "warm": [asdict(row) for row in results.warm_rows()],
        "failovers": [asdict(row) for row in figures(results.outcomes)],
        "episodes": [asdict(outcome) for outcome in results.outcomes],
        "complaints": list(told(results)),
    }
    say(json.dumps(shown, indent=1))


def say(line: str) -> None:
    """A line of the output."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
