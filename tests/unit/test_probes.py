"""All that became of a call's requests is told, however long the call was."""

from __future__ import annotations

from dataclasses import replace

from palclient.core.probes import MAX_OLDER, NEWEST, Probes
from tests.unit.script import ScriptedTriad, down
from tests.unit.test_explain import probe
from tests.unit.test_locate import failed, triad


def told(count: int, one: Probes | None = None) -> Probes:
    """So many refusals, one a second."""
    probes = one or Probes()
    for second in range(count):
        probes.add(replace(probe("lic1", "refused", f"{second}"), began_s=float(second)))
    return probes


def test_few_are_told_one_by_one() -> None:
    """api, Errors: ``.probes`` tells what was asked, how long it took, what came back."""
    assert [(each.detail, each.times) for each in told(NEWEST).told()] == [(f"{second}", 1) for second in range(NEWEST)]


def test_of_many_the_older_that_ended_alike_share_an_entry() -> None:
    """Issue "the client in full": ``.probes`` telling all of it; the first says when it began, the last what came, and how often."""
    probes = Probes()
    probes.add(probe("lic2", "timed out"))
    oldest, alike, *newest = told(NEWEST + 40, probes).told()
    assert oldest == probe("lic2", "timed out")
    assert alike == replace(probe("lic1", "refused", "39"), times=40)
    assert [each.detail for each in newest] == [f"{second}" for second in range(40, NEWEST + 40)]


def test_no_node_whose_every_answer_differs_fills_the_memory() -> None:
    """Style 5: every number from outside is bounded."""
    probes = Probes()
    for number in range(2 * MAX_OLDER):
        probes.add(probe("lic1", f"problem-{number}"))
    assert [each.outcome for each in probes.told()] == [f"problem-{number}" for number in range(MAX_OLDER - NEWEST, 2 * MAX_OLDER)]


def test_a_call_of_a_quarter_of_an_hour_tells_of_every_request() -> None:
    """Issue "the client in full": inside the deadline, with ``.probes`` telling all of it."""
    one: ScriptedTriad = triad(down(), down(), down())
    error = failed(one, timeout_s=900.0)
    asked = sum(len(one.times_of(role)) for role in ("primary", "secondary", "tertiary"))
    assert asked > 1000
    assert sum(each.times for each in error.probes) == asked
    assert len(error.probes) == NEWEST + 3
    assert error.probes[0].began_s == 0.0
    assert all(f"asked {len(one.times_of(role))} times" in str(error) for role in ("primary", "secondary", "tertiary"))
