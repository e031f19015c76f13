"""When the keeper's thread may end (``until_idle``), in virtual time."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from palclient.core.flow import Woke
from palclient.core.renewal import IDLE_S, Leases, until_idle


def table() -> Leases:
    """A table with nothing in it."""
    return Leases(nullcontext(), lambda: 0.5, lambda _event: None, lambda: None)


def test_a_keeper_with_nothing_to_do_ends_after_a_while() -> None:
    """Design, one keeper thread: a client that is dropped without close() must not leave its thread behind for ever."""
    flow = until_idle(table(), now=100.0)
    assert next(flow).wake_at == 100.0 + IDLE_S
    step = flow.send(Woke(now=100.0 + IDLE_S))
    assert step.wake_at == 100.0 + 2 * IDLE_S
    with pytest.raises(StopIteration):
        flow.send(Woke(now=100.0 + 2 * IDLE_S))


def test_a_keeper_that_was_woken_early_waits_on() -> None:
    """Design, one keeper thread: the pause between two checkouts in a row is not idleness."""
    flow = until_idle(table(), now=100.0)
    next(flow)
    for now in (101.0, 102.0, 103.0):
        assert flow.send(Woke(now=now)).wake_at == 101.0 + IDLE_S


def test_a_keeper_with_a_return_to_bring_back_stays() -> None:
    """Protocol, Identity: a return that is lost is asked again, however long that takes."""
    leases = table()
    leases.give_up("an id", now=100.0)
    flow = until_idle(leases, now=100.0)
    next(flow)
    for number in range(1, 20):
        flow.send(Woke(now=100.0 + number * IDLE_S))
    leases.taken_back(frozenset({"an id"}))
    now = 100.0 + 20 * IDLE_S
    assert flow.send(Woke(now=now)).wake_at == now + IDLE_S
    with pytest.raises(StopIteration):
        flow.send(Woke(now=now + IDLE_S))
