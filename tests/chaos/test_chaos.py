"""Some episodes of the chaos suite: real servers and real clients, and what the clients wrote down judged afterwards."""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path

import pytest

from tests.chaos.controller import Run, deck
from tests.chaos.episodes import KINDS

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(sys.platform == "win32", reason="freezing a process is not played there yet, and its pipes cannot be waited for"),
]


def play(folder: Path, seed: int, kinds: list[str]) -> list[str]:
    """What was wrong, of these episodes in a row."""
    with Run(seed, folder, crew=("threads", "tasks")) as run:
        outcomes = [run.play(number, kind) for number, kind in enumerate(kinds)]
        grown = list(run.gauges.grown())
    assert all(outcome.checkouts >= 2 for outcome in outcomes), "the clients did not work"  # each before and after the fault, or else it is "stuck"
    return [f"{outcome.kind} ({outcome.note}): {violation}" for outcome in outcomes for violation in outcome.violations] + grown


@pytest.mark.timeout(300)
def test_twenty_episodes_of_all_kinds_break_no_promise(tmp_path: Path) -> None:
    """G1 to G4, T1, T4, T5, T7: whatever fails, what the clients saw is what was promised."""
    assert not play(tmp_path, 2, list(islice(deck(2, list(KINDS)), 20)))


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_triad_that_forgets_its_table_is_found_out(tmp_path: Path) -> None:
    """G5, E9: under ``grants="flexnet"`` the new master grants what is held, and the checkers see it in what real clients wrote."""
    with Run(3, tmp_path, crew=("threads", "tasks", "threads", "tasks"), grants="flexnet") as run:
        found = {violation.checker for number in range(3) for violation in run.play(number, "kill").violations}
    assert found & {"over-issued", "no counter"}
