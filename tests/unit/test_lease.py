"""One lease: its table, and how long it may be believed."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palclient.core.lease import TRANSITIONS, Happening, LeaseRecord, Phase, valid_until
from palclient.models import Grant, LeaseState
from tests.unit.script import CLUSTER, grant

HELD = (Phase.HELD, Phase.SUSPECT)


def record(*, ttl_s: float = 180.0, waited_s: float = 0.0, sent_at: float = 100.0) -> LeaseRecord:
    """A lease that was just granted."""
    own = Grant(**grant("a", ttl_s=ttl_s, waited_s=waited_s), node="27000@lic1", role=None, cluster=CLUSTER, term=7)
    return LeaseRecord(own, sent_at=sent_at)


def test_only_the_masters_word_or_the_deadline_or_the_holder_ends_a_lease() -> None:
    """Design, The lease's life: a network error proves nothing, so there is no event for one."""
    ends = {happening for (phase, happening), after in TRANSITIONS.items() if phase in HELD and after not in HELD}
    assert ends == {Happening.UNKNOWN, Happening.EXPIRED, Happening.CLUSTER_REPLACED, Happening.RETURNED}


def test_what_was_returned_stays_returned() -> None:
    """Exactly once: no answer that comes late brings it back."""
    assert {after for (phase, _), after in TRANSITIONS.items() if phase is Phase.RETURNED} == {Phase.RETURNED}


def test_a_lost_lease_comes_back_by_a_new_grant_only() -> None:
    """Style 15: never report held without a confirmation."""
    back = {happening for (phase, happening), after in TRANSITIONS.items() if phase in (Phase.LOST, Phase.CLAIMING) and after in HELD}
    assert back == {Happening.GRANTED}


def test_every_phase_can_be_returned() -> None:
    """api: ``checkin`` in any state."""
    assert all(TRANSITIONS[phase, Happening.RETURNED] is Phase.RETURNED for phase in Phase)


@pytest.mark.parametrize("phase, happening", sorted(set(product(Phase, Happening)) - TRANSITIONS.keys(), key=str))
def test_what_is_not_in_the_table_is_an_error_and_changes_nothing(phase: Phase, happening: Happening) -> None:
    """Style 4."""
    lease = record()
    lease.phase = phase
    with pytest.raises(KeyError):
        lease.step(happening)
    assert lease.phase is phase


@pytest.mark.parametrize("phase, happening", TRANSITIONS)
def test_what_is_in_the_table_happens(phase: Phase, happening: Happening) -> None:
    """Style 4."""
    lease = record()
    lease.phase = phase
    lease.step(happening)
    assert lease.phase is TRANSITIONS[phase, happening]


@pytest.mark.parametrize(
    "ttl_s, waited_s, after_s",
    [(180.0, 0.0, 176.15), (180.0, 10.0, 185.95), (6.0, 0.0, 5.63), (1.0, 0.0, 0.93)],
)
def test_a_lease_is_believed_until_its_time_less_the_margins(ttl_s: float, waited_s: float, after_s: float) -> None:
    """Design, Flows: t_sent + 0.98 * (waited_s + ttl_s) - guard, guard = min(0.25 s, ttl/20)."""
    assert valid_until(100.0, ttl_s, waited_s) == pytest.approx(100.0 + after_s)
    assert record(ttl_s=ttl_s, waited_s=waited_s).valid_until == pytest.approx(100.0 + after_s)


@given(st.floats(0, 1e6), st.floats(0.05, 86400), st.floats(0, 30), st.floats(0.98, 1.02))
def test_no_clock_that_is_right_within_two_percent_believes_too_long(sent_at: float, ttl_s: float, waited_s: float, rate: float) -> None:
    """G1: the server frees a seat 2 % late; a client whose clock is 2 % slow, or a server whose clock is 2 % fast, never overlaps."""
    believed_s = valid_until(sent_at, ttl_s, waited_s) - sent_at
    assert believed_s / 0.98 <= (waited_s + ttl_s) * 1.0000001
    assert believed_s / rate <= (waited_s + ttl_s) * 1.0000001


def test_valid_and_state_are_computed_when_they_are_read() -> None:
    """Design, Flows: no flag that another thread must have flipped."""
    lease = record()
    assert (lease.is_valid(276.14), lease.state(276.14)) == (True, LeaseState.HELD)
    assert (lease.is_valid(276.16), lease.state(276.16)) == (False, LeaseState.LOST)
    lease.step(Happening.OVERDUE)
    assert (lease.is_valid(276.14), lease.state(276.14)) == (True, LeaseState.SUSPECT)
    lease.step(Happening.UNKNOWN)
    assert (lease.is_valid(100.0), lease.state(100.0)) == (False, LeaseState.LOST)
    lease.step(Happening.RETURNED)
    assert (lease.is_valid(100.0), lease.state(999.0)) == (False, LeaseState.RETURNED)
