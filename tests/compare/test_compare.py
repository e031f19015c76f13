"""Our own part of the comparison: real servers, real clients, one leader killed and one frozen; the others are played where they are, by ``make compare``."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.compare import episodes, ours
from tests.compare.episodes import CLIENTS, FREEZE, KILL, Round

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(sys.platform == "win32", reason="freezing a process is not played there yet, and its pipes cannot be waited for"),
]


TTL_S = 2.5


@pytest.mark.timeout(180)
@pytest.mark.parametrize("kind", [KILL, pytest.param(FREEZE, marks=pytest.mark.slow)])
def test_ours_has_the_same_story_as_the_others_and_nothing_to_hide(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """G1, G2: every client has its share of the failover measured, and nothing is lost, over-issued, left behind, or an error."""
    monkeypatch.setattr(episodes, "AFTER_S", 0.5)
    monkeypatch.setattr(episodes, "FREEZE_S", 2.6)
    monkeypatch.setattr(episodes, "TTL_S", TTL_S)
    monkeypatch.setattr(ours, "TTL_S", TTL_S)
    with Round(ours.Ours(), tmp_path / "round", 1) as running:
        assert len(running.warm(5)) == 5
        outcome = running.play(kind)
        left = running.abandon() if kind == FREEZE else 0
    assert not outcome.stuck
    assert outcome.election_s
    assert 0 < outcome.election_s < min(outcome.outage_s)
    assert len(outcome.beyond_s) == CLIENTS
    assert outcome.acquires >= 2 * CLIENTS
    assert (outcome.errors, outcome.lost, outcome.over_issued, outcome.orphaned, left) == (0, 0, 0, 0, 0), outcome.first_errors
