"""A failing history with as few faults and busy clients as still make it fail, so that a person can read the story."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace

from tests.simulation.checks import CHECKERS
from tests.simulation.history import Kept, Outcome, play
from tests.simulation.profiles import Profile

TRIES = 60  # histories that shrinking may cost, of faults and of clients each
ID = re.compile(r"00000000-0000-4000-8000-([0-9a-f]{6})([0-9a-f]{6})")
TOLD_TWICE = ("log: OUT", "log: DENIED", "log: QUEUED", "log: CONNECTED")
"""What the answers and the journal tell as well."""


def shrunk(seed: int, profile: Profile) -> Outcome:
    """Leave out fault after fault, then client after client, while the same checker still complains; gives the last failing history, with its story."""
    wanted = {violation.checker for violation in play(seed, profile).violations}
    faults, clients = frozenset(range(profile.faults)), frozenset(range(profile.clients))

    def fails(kept: Kept) -> bool:
        return bool(wanted & {violation.checker for violation in play(seed, profile, kept=kept).violations})

    for number in range(min(profile.faults, TRIES)):
        if fails(Kept(faults=faults - {number}, clients=clients)):
            faults -= {number}
    for number in range(min(profile.clients, TRIES)):
        if fails(Kept(faults=faults, clients=clients - {number})):
            clients -= {number}
    outcome = play(seed, profile, keeps_story=True, kept=Kept(faults=faults, clients=clients))
    return replace(outcome, story=told(outcome, wanted))


def told(outcome: Outcome, wanted: Collection[str]) -> tuple[str, ...]:
    """The story of a failing history up to its last violation of a ``wanted`` kind, with what a reader must know at its head."""
    last = max((number for number, line in enumerate(outcome.story) if "VIOLATION" in line), default=len(outcome.story) - 1)
    head = [f"seed {outcome.seed}, profile {outcome.profile!r}, shrunk"]
    head += [f"  broken: {name}: {CHECKERS[name]}" for name in sorted(wanted)]
    head.append("  Times are true seconds; c1-2 is the second checkout of client1; messages between nodes are left out.")
    told_once = [line for line in outcome.story[: last + 1] if not any(word in line for word in TOLD_TWICE)]
    return (*head, *(ID.sub(_short, line) for line in told_once))


def _short(found: re.Match[str]) -> str:
    return f"c{int(found[1], 16)}-{int(found[2], 16)}"
