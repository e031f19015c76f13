"""A share of the proof that fits the fast suite; ``make prove`` plays thousands (docs/explanation/proof.md)."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, replace
from typing import Any
from unittest.mock import patch

import pytest

from fakeserver.events import Halt, Tick
from fakeserver.node import Node
from tests.simulation.checks import CHECKERS
from tests.simulation.directed import DIRECTED, found_by
from tests.simulation.history import play
from tests.simulation.mutations import MUTATIONS, try_mutation
from tests.simulation.profiles import FLEXNET, PROFILES
from tests.simulation.shortcuts import no_guards
from tests.simulation.shrink import shrunk

HISTORIES = 5  # of each profile
BUSY = {"think_s": 1.0, "blackout": 0.0}  # how clients and faults were when the first were found
CALMER: dict[str, float] = {"think_s": 2.0}
REGRESSIONS: tuple[tuple[str, int, dict[str, float]], ...] = (
    ("mixed", 1, BUSY),  # a dropped parked request left its end behind, and the node's timer rang without end
    ("slow", 1003, BUSY),  # a seat that two power cuts bring back is given a full ttl by the next master, and freed then
    ("reboots", 1016, BUSY),  # a node that lost power waits a whole lease time, and then somebody serves
    ("reboots", 600164, BUSY),  # a place in line, which is a record of the seat table, was counted as a seat by the checks themselves
    ("slow", 610365, BUSY),  # a renewal sent with a claim in one tick of the clock, and served before it, ended the lease that the claim had brought
    ("reboots", 621294, BUSY),  # killed before it wrote a word: the simulator's disk forgot that records may be lacking, the product's does not
    ("frozen", 3036, CALMER),  # a deposed master refused what it had written down, and its client did not give the id up
    ("frozen", 3042, CALMER),  # with the newest grants their numbers were lost, and given again
    ("drift", 3075, CALMER),  # the same
    ("reboots", 1001657, CALMER),  # nobody asked the last master, and the check counted a seat that had come back from the reign before
)
QUICK_MUTATIONS = (
    "E1 and E2: votes forgotten, and no wait either",
    "E1 one vote a term",
    "E1 a live master is respected",
    "E2 a restarted node waits E before it votes",
    "E2 a node that lost records waits a full ttl",
    "E3 every held seat gets a full ttl",
    "E5 a master serves no longer than its lease",
    "G3 asking twice takes one seat",
    "the client counts 2 % short, and a guard",
    "the deadline counts from when the request was sent",
    "valid is computed when it is read",
    "one id for the whole life of a checkout",
    "a denial is never taken to another node",
    "the word of a stale master is refused",
    "E4 each operation waits for its own acknowledgement",
    "E5 the lease counts from when a heartbeat was sent",
    "E6 the vote for a successor is spent",
    "E2 a second start does not forget that records lack",
    "E2 a node without a past respects that of others",
    "G3 dead ids are known to the next master",
    "G3 asking again renews",
    "no number is given a second time",
    "a refusal says when it may leave a trace",
    "first come, first served",
    "a place in line survives a failover",
    "a parked request is dropped with its client",
    "a place is given up",
    "E7 what was written is read at the next start",
    "a return is made again until a master has it",
)
"""Those that a few histories show."""


@pytest.fixture(autouse=True)
def _no_sweeping() -> Iterator[None]:
    """Histories leave circles behind; sweeping them in the midst costs a third of the time."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("profile", PROFILES)
def test_no_history_breaks_a_promise(profile: str) -> None:
    """G1 to G4, T1, T7: whatever breaks, nothing is over-issued, lost, or served twice; and all is served again once it is healed."""
    for seed in range(HISTORIES):
        outcome = play(seed, PROFILES[profile])
        assert not outcome.violations, f"seed {seed}:\n" + "\n".join(shrunk(seed, PROFILES[profile]).story)


@pytest.mark.parametrize("profile, seed, was", REGRESSIONS)
def test_what_was_once_found_stays_mended(profile: str, seed: int, was: dict[str, Any]) -> None:
    """Every seed that found something is played for ever, with clients as busy as they were then."""
    as_found = replace(PROFILES[profile], **was)
    outcome = play(seed, as_found)
    assert not outcome.violations, "\n".join(shrunk(seed, as_found).story)


def test_what_flexnet_forgets_is_given_away_twice() -> None:
    """G5, E9: with one and the same faults, more seats are believed held than there are, and not so when grants are replicated."""
    both = {grants: [play(seed, replace(FLEXNET, grants=grants)) for seed in range(HISTORIES)] for grants in ("flexnet", "replicated")}
    over = {grants: sum(any(each.checker == "over-issue" for each in outcome.violations) for outcome in both[grants]) for grants in both}
    assert over["replicated"] == 0
    assert over["flexnet"] > 0


def test_one_seed_gives_one_history() -> None:
    """Design, the idea in five sentences: luck, clock and network come from one seed, so two runs are the same to the last event."""
    once, again = play(7, PROFILES["mixed"]), play(7, PROFILES["mixed"])
    other = play(8, PROFILES["mixed"])
    assert once.trace_hash == again.trace_hash
    assert once.events == again.events
    assert once.trace_hash != other.trace_hash


@pytest.mark.parametrize("profile", PROFILES)
def test_a_history_is_the_same_without_shortcuts(profile: str) -> None:
    """Design, the idea in five sentences: what nine histories of ten leave out, bytes and guards, decides nothing."""
    whole = play(7, PROFILES[profile], uses_wire=True)
    with no_guards():
        short = play(7, PROFILES[profile], uses_wire=False)
    assert whole.trace_hash == short.trace_hash


def test_guards_are_back_when_the_shortcut_is_over() -> None:
    """A frozen value stays frozen for everybody else."""
    with no_guards():
        Tick()
    with pytest.raises(FrozenInstanceError):
        Halt().reason = "changed"  # type: ignore[misc]


def test_histories_are_worth_playing() -> None:
    """A proof over histories in which nothing happens proves nothing: seats are granted, and the master changes."""
    outcomes = [play(seed, PROFILES["mixed"]) for seed in range(HISTORIES)]
    assert sum(outcome.grants for outcome in outcomes) > 5 * HISTORIES
    assert sum(outcome.masters for outcome in outcomes) > HISTORIES


@pytest.mark.parametrize("scenario", DIRECTED)
def test_a_directed_scenario_finds_nothing(scenario: str) -> None:
    """G3, G6, E1, E2, and the refusal of a stale master: what random faults do not reach."""
    assert found_by(scenario) == ()


@pytest.mark.parametrize("rule", QUICK_MUTATIONS)
def test_a_rule_that_is_switched_off_is_missed(rule: str) -> None:
    """The checkers are no good if they cannot complain: each of these breaks within a few histories."""
    caught = try_mutation(rule, seed=1, limit=200, wanted=1)
    assert caught.broken, f"{caught.histories} histories did not miss {rule!r}"


def test_a_history_that_fails_in_the_midst_has_a_story_too() -> None:
    """A defect that stops the product must not stop the proof, whose table is to name it."""
    with patch.object(Node, "_serve", side_effect=ZeroDivisionError("planted")):
        (violation,) = play(1, PROFILES["mixed"]).violations
        story = shrunk(1, PROFILES["mixed"]).story
    assert violation.checker == "stopped"
    assert "ZeroDivisionError: planted, in " in violation.detail
    assert "VIOLATION" in story[-1]


def test_a_story_of_a_failure_names_its_faults_and_its_violation() -> None:
    """What a person reads of a failing seed: as few faults as still break it, and what broke."""
    with MUTATIONS["E5 a master serves no longer than its lease"].off():
        seed = next(seed for seed in range(50) if play(seed, PROFILES["mixed"]).violations)
        outcome = shrunk(seed, PROFILES["mixed"])
    told = "\n".join(outcome.story)
    assert "VIOLATION" in told
    assert sum(" for " in line for line in outcome.story if "FAULT" in line) <= PROFILES["mixed"].faults
    assert {violation.checker for violation in outcome.violations} <= set(CHECKERS)
