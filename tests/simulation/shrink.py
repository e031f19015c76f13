"""A failing history with as few faults as still make it fail, so that a person can read the story."""

from __future__ import annotations

from tests.simulation.history import Outcome, Profile, play

TRIES = 60  # histories that shrinking may cost


def shrunk(seed: int, profile: Profile) -> Outcome:
    """Leave out fault after fault while the same checker still complains; gives the last failing history, with its story."""
    kept = list(range(profile.faults))
    wanted = {violation.checker for violation in play(seed, profile).violations}
    for number in range(min(profile.faults, TRIES)):
        without = [other for other in kept if other != number]
        found = {violation.checker for violation in play(seed, profile, faults=without).violations}
        if found & wanted:
            kept = without
    return play(seed, profile, keeps_story=True, faults=kept)
