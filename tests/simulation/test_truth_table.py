"""Who serves, over every set of nodes up and every set of links cut, in virtual time (T1 to T5, T7, T8).

The driver checks after every event that no two nodes would serve at that instant (T7); here it is checked who does in the end.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from typing import TypeVar

import pytest

from fakeserver.events import Checkout
from fakeserver.roles import Role
from tests.simulation.virtual_triad import FAILOVER_S, HOLDER, PRIMARY, SECONDARY, TERTIARY, VirtualTriad

T = TypeVar("T")
Link = frozenset[Role]
LINKS = tuple(frozenset(pair) for pair in combinations(Role, 2))
SETTLED_S = FAILOVER_S + 1.0
"""Within E + 1 s of a change somebody serves, or nobody (T1)."""

APART_S = FAILOVER_S + 0.3
"""Between two starts: two nodes that may vote have made a master by then."""

PRIMARY_FIRST = (PRIMARY, SECONDARY, TERTIARY)
PRIMARY_LAST = (SECONDARY, TERTIARY, PRIMARY)


def subsets(things: Iterable[T]) -> list[frozenset[T]]:
    """Every set of these."""
    things = tuple(things)
    return [frozenset(chosen) for size in range(len(things) + 1) for chosen in combinations(things, size)]


STATES = [(up, cut) for up in subsets(Role) for cut in subsets(link for link in LINKS if link <= up)]
"""Every set of nodes up, with every set of links cut between them; a link to a dead node is neither whole nor cut."""


def name(case: object) -> str:
    """A readable id for a case."""
    if isinstance(case, frozenset):
        names = sorted(name(entry) for entry in case)
        return "-".join(names) if names and all(isinstance(entry, Role) for entry in case) else "+".join(names) or "none"
    return case.value[0] if isinstance(case, Role) else str(case)


def expected(up: frozenset[Role], cut: frozenset[Link], *, sitting: Role | None, primary_is_master: bool) -> Role | None:
    """What the rules say, written down without regard to how the nodes reach it."""
    whole = [link for link in LINKS if link <= up and link not in cut]
    if not whole:
        return None  # T1: no two that can talk to each other
    able = [role for role in (PRIMARY, SECONDARY) if any(role in link for link in whole)]
    if frozenset({PRIMARY, SECONDARY}) in whole:
        return PRIMARY if primary_is_master or sitting is not SECONDARY else SECONDARY  # T5
    return sitting if sitting in able else able[0]  # T4, T8


def started(order: tuple[Role, ...], up: frozenset[Role], cut: frozenset[Link], *, primary_is_master: bool) -> tuple[VirtualTriad, Role | None]:
    """A fresh triad whose nodes came up one after the other, time enough apart; and who sat as master before the last one came."""
    triad = VirtualTriad(primary_is_master=primary_is_master)
    for link in cut:
        triad.cut(*link)
    sitting = None
    for role in order:
        if role in up:
            sitting = triad.master()
            triad.start(role)
            triad.run(APART_S)
    return triad, sitting


@pytest.mark.parametrize("primary_is_master", [True, False], ids=["primary_is_master", "plain"])
@pytest.mark.parametrize("order", [PRIMARY_FIRST, PRIMARY_LAST], ids=["primary_first", "primary_last"])
@pytest.mark.parametrize("up, cut", STATES, ids=name)
def test_exactly_the_right_node_serves_after_a_start(
    up: frozenset[Role], cut: frozenset[Link], order: tuple[Role, ...], *, primary_is_master: bool
) -> None:
    """T1, T2, T4, T5, T7, T8, for nodes that start one by one."""
    triad, sitting = started(order, up, cut, primary_is_master=primary_is_master)
    triad.run(SETTLED_S - APART_S)

    want = expected(up, cut, sitting=sitting, primary_is_master=primary_is_master)
    assert triad.serving() == [want] * (want is not None)


@pytest.mark.parametrize("primary_is_master", [True, False], ids=["primary_is_master", "plain"])
@pytest.mark.parametrize("up, cut", STATES, ids=name)
def test_exactly_the_right_node_serves_when_all_start_at_once(up: frozenset[Role], cut: frozenset[Link], *, primary_is_master: bool) -> None:
    """T3, and T8 where nobody sat before: the primary's pair."""
    triad = VirtualTriad(primary_is_master=primary_is_master)
    for link in cut:
        triad.cut(*link)
    triad.start(*(role for role in Role if role in up))
    triad.run(SETTLED_S)

    want = expected(up, cut, sitting=None, primary_is_master=primary_is_master)
    assert triad.serving() == [want] * (want is not None)


@pytest.mark.parametrize(
    "primary_is_master, order",
    [(True, PRIMARY_LAST), (False, PRIMARY_FIRST), (False, PRIMARY_LAST)],
    ids=["primary_is_master", "plain, primary sits", "plain, secondary sits"],
)
@pytest.mark.parametrize("up, cut", STATES, ids=name)
def test_exactly_the_right_node_serves_after_nodes_die_and_links_break(
    up: frozenset[Role], cut: frozenset[Link], order: tuple[Role, ...], *, primary_is_master: bool
) -> None:
    """T1, T4, T5, T7, T8: from a whole triad to any state at one stroke, and back again by healing and restarting."""
    triad, _ = started(order, frozenset(Role), frozenset(), primary_is_master=primary_is_master)
    before = triad.master()
    for role in frozenset(Role) - up:
        triad.crash(role)
    for link in cut:
        triad.cut(*link)
    triad.run(SETTLED_S)
    want = expected(up, cut, sitting=before, primary_is_master=primary_is_master)
    assert triad.serving() == [want] * (want is not None)

    triad.heal()
    triad.start(*(role for role in Role if role not in up))
    triad.run(SETTLED_S)

    if want is None and not primary_is_master:
        assert len(triad.serving()) == 1  # nobody sat, and this is no fresh start: either may be first
    else:
        assert triad.serving() == [expected(frozenset(Role), frozenset(), sitting=want, primary_is_master=primary_is_master)]


@pytest.mark.parametrize("cut", subsets(LINKS), ids=name)
def test_a_node_outside_the_quorum_answers_status_and_refuses_checkouts(cut: frozenset[Link]) -> None:
    """T9: reachable does not mean serving."""
    triad, _ = started(PRIMARY_FIRST, frozenset(Role), frozenset(), primary_is_master=True)
    for link in cut:
        triad.cut(*link)
    triad.run(SETTLED_S)

    for role in Role:
        status = triad.status(role)
        assert (status["state"] == "master") == (triad.master() is role)
        if triad.master() is not role:
            token = triad.ask(role, Checkout(id=role.value, feature="RISK", version="0", count=1, holder=HOLDER))
            assert triad.answers[token].status in {421, 503}
