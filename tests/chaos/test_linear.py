"""The search for an order, on histories whose verdict is known."""

from __future__ import annotations

import random

import pytest

from tests.chaos import linear
from tests.chaos.linear import NEVER, Act, Deed, TooLong, is_linearizable


def taken(lease: str, asked: float, answered: float = NEVER) -> Deed:
    """A checkout that got its seat."""
    return Deed(act=Act.TAKEN, lease=lease, asked=asked, answered=answered)


def refused(asked: float, answered: float) -> Deed:
    """A checkout that was told that all seats are taken."""
    return Deed(act=Act.REFUSED, lease="?", asked=asked, answered=answered)


def back(lease: str, asked: float, answered: float = NEVER) -> Deed:
    """A return."""
    return Deed(act=Act.GIVEN_BACK, lease=lease, asked=asked, answered=answered)


RIGHT = {
    "nothing happened": [],
    "one after another": [taken("a", 0, 1), back("a", 2, 3), taken("b", 4, 5)],
    "the second was refused": [taken("a", 0, 1), refused(2, 3)],
    "refused while the seat was being taken": [refused(0, 9), taken("a", 1, 8)],
    "granted while it was being returned": [taken("a", 0, 1), back("a", 2, 9), taken("b", 3, 8)],
    "refused while it was being returned": [taken("a", 0, 1), back("a", 2, 9), refused(3, 8)],
    "granted and refused in one return": [taken("a", 0, 1), back("a", 2, 9), taken("b", 3, 8), refused(3, 8)],
    "a return without an answer took effect": [taken("a", 0, 1), back("a", 2), taken("b", 8, 9)],
    "a return without an answer took no effect": [taken("a", 0, 1), back("a", 2), refused(8, 9)],
    "a checkout without an answer took effect": [taken("a", 0), refused(8, 9)],
    "a checkout without an answer took effect late": [taken("a", 0), taken("b", 1, 2), back("b", 3, 4), refused(8, 9)],
}
WRONG = {
    "two on one seat": [taken("a", 0, 1), taken("b", 2, 3)],
    "two on one seat at once": [taken("a", 0, 9), taken("b", 0, 9)],
    "refused by an empty pool": [refused(0, 1)],
    "refused after the return": [taken("a", 0, 1), back("a", 2, 3), refused(4, 5)],
    "returned by one who holds nothing": [back("a", 0, 1)],
    "one lease granted twice": [taken("a", 0, 1), back("a", 2, 3), refused(2.5, 3.5), refused(4, 5)],
    "a silent checkout cannot be refused and granted": [taken("a", 0), refused(1, 2), taken("b", 3, 4)],
    "a return in the future does not help": [taken("a", 0, 1), taken("b", 2, 3), back("a", 4, 5)],
}


@pytest.mark.parametrize("story", RIGHT)
def test_a_history_that_a_counter_could_have_given_is_linearizable(story: str) -> None:
    """G1, G3: the pool of one seat behaves as one counter."""
    assert is_linearizable(RIGHT[story], 1)


@pytest.mark.parametrize("story", WRONG)
def test_a_history_that_no_counter_could_have_given_is_not(story: str) -> None:
    """G1, G3: an answer too many, or too early, is seen."""
    assert not is_linearizable(WRONG[story], 1)


@pytest.mark.parametrize("seed", range(20))
def test_what_a_counter_did_is_linearizable_however_wide_the_calls_are(seed: int) -> None:
    """A true order exists by construction: each call is drawn around the instant at which a counter of three seats served it."""
    assert is_linearizable(_served(random.Random(seed), calls=60), 3)


@pytest.mark.parametrize("seed", range(20))
def test_one_grant_too_many_in_a_long_history_is_found(seed: int) -> None:
    """G1: a fourth seat of three is seen wherever it is taken, and however long the history after it."""
    history = [taken(f"x{number}", -5, -4) for number in range(3)] + [taken("x3", -3, -2)] + [back(f"x{number}", -1.9, -1) for number in range(4)]
    assert not is_linearizable(history + _served(random.Random(seed), calls=60), 3)


def test_a_search_that_finds_no_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every loop has a bound, and a history that was not decided is not called right."""
    monkeypatch.setattr(linear, "STEPS_LIMIT", 10)
    with pytest.raises(TooLong):
        is_linearizable([*(taken(f"a{number}", 0, 9) for number in range(8)), refused(0, 9)], 8)


def _served(dice: random.Random, *, calls: int) -> list[Deed]:
    """What a counter of three seats did, one call at each whole second, seen by callers who waited up to two seconds before and after."""
    history: list[Deed] = []
    holders: list[str] = []
    for number in range(calls):
        asked, answered = number - 2 * dice.random(), number + 2 * dice.random()
        if holders and dice.random() < 0.4:
            history.append(back(holders.pop(dice.randrange(len(holders))), asked, answered))
        elif len(holders) < 3:
            holders.append(f"n{number}")
            history.append(taken(f"n{number}", asked, answered))
        else:
            history.append(refused(asked, answered))
    return history
