"""The truth table with real processes: over every set of nodes up and every set of links cut, who serves is asked over HTTP from outside (T1 to T8).

What is expected stands in the simulation's table.  The triads stand side by side, since nearly all of the time is spent waiting for nothing to happen.
"""

from __future__ import annotations

import http.client
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import pytest

from fakeserver import FakeNode, FakeTriad
from fakeserver.roles import Role
from tests.integration.probing import ASKED, LIMIT_S, ask_node
from tests.simulation.test_truth_table import PRIMARY_FIRST, PRIMARY_LAST, STATES, Link, expected, name

pytestmark = [pytest.mark.real, pytest.mark.slow]

HEARTBEAT_S = 0.1
HOLDS_S = 4 * HEARTBEAT_S + 1.0
"""Within E + 1 s of a change all is as it is to be (T1); what is right for so long, with no change in it, stays."""

POLL_S = 0.01
ANSWER_LIMIT_S = 1.0  # a node answers within a millisecond; one that is being killed not at all
WHOLE = frozenset[Link]()

State = tuple[frozenset[Role], frozenset[Link]]
Way = Callable[..., None]
"""How a state is come to."""


TRIES = 3
"""A busy machine may hold a master up for longer than E; then the other is one, rightly, and without PRIMARY_IS_MASTER stays it."""


class OtherServes(AssertionError):
    """Not the node that the table names; in its place, not beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reign:
    """A node that was seen serving in a term: surely from ``since_s`` to ``until_s``, as long as that is not less."""

    role: Role
    term: int
    since_s: float
    until_s: float


class Onlooker:
    """Asks all nodes of a triad who serves, again and again, and finds it out when two do."""

    def __init__(self, triad: FakeTriad) -> None:
        self.triad = triad
        self._reigns: dict[tuple[Role, int], Reign] = {}

    def look(self) -> list[Role]:
        """Who says that it serves.  A node whose answers before and after another's say so served at that instant, too: then there were two (T7)."""
        return [role for role in Role if self._is_seen_serving(role)]

    def _is_seen_serving(self, role: Role) -> bool:
        asked_s = time.monotonic()
        try:
            status = ask_node(self.triad.node(role.value), "GET", "/v1/status", timeout=ANSWER_LIMIT_S)[1]
        except (OSError, ValueError, http.client.HTTPException):
            return False
        if status["state"] != "master":  # one without a quorum must not say so either
            return False
        found = self._reigns.setdefault((role, status["term"]), Reign(role=role, term=status["term"], since_s=time.monotonic(), until_s=asked_s))
        self._reigns[role, found.term] = mine = replace(found, until_s=asked_s)
        others = [each for each in self._reigns.values() if each.role is not role]
        both = [each for each in others if mine.since_s <= each.until_s and each.since_s <= mine.until_s]
        assert not both, f"two serve at once: {mine} and {both}"
        return True

    def wait_for(self, want: Role | None, *, for_s: float, case: str) -> None:
        """Wait until ``want`` alone serves (None: nobody), and has for so many seconds."""
        deadline_s = time.monotonic() + LIMIT_S
        right_since_s: float | None = None
        while right_since_s is None or time.monotonic() < right_since_s + for_s:
            seen = self.look()
            if seen != [want] * (want is not None):
                right_since_s = None
                if time.monotonic() > deadline_s:
                    raise OtherServes(f"{case}: {want} was to serve, and {seen} did.\n{self.triad.journal}")
            elif right_since_s is None:
                right_since_s = time.monotonic()
            time.sleep(POLL_S)

    def check_grants(self, want: Role | None, *, case: str) -> None:
        """That this node grants a seat, and no other does."""
        granting = [role for role in Role if self.triad.node(role.value).is_running and _grants(self.triad.node(role.value))]
        if granting != [want] * (want is not None):
            raise OtherServes(f"{case}: {want} was to grant, and {granting} did")


def _grants(node: FakeNode) -> bool:
    return ask_node(node, "PUT", f"/v1/checkouts/{uuid.uuid4()}", ASKED)[0] == 201


def come_up(onlooker: Onlooker, order: Sequence[Role], cut: frozenset[Link], *, primary_is_master: bool, case: str) -> Role | None:
    """All nodes down, these links cut; then the nodes come one after the other, each when the triad is as it is to be.  Gives who serves in the end."""
    triad = onlooker.triad
    for node in triad.nodes:
        node.kill()
    triad.heal()
    for link in cut:
        triad.partition(*(role.value for role in link))
    want: Role | None = None
    for count, role in enumerate(order, start=1):
        triad.node(role.value).restart()
        want = expected(frozenset(order[:count]), frozenset(cut), sitting=want, primary_is_master=primary_is_master)
        onlooker.wait_for(want, for_s=0.0, case=case)
    return want


def start(onlooker: Onlooker, state: State, order: tuple[Role, ...], *, primary_is_master: bool) -> None:
    """Come to a state by starting the nodes one after the other with the links cut from the beginning."""
    up, cut = state
    case = f"{order[0].value} first, up {name(up)}, cut {name(cut)}, PRIMARY_IS_MASTER {primary_is_master}"
    want = come_up(onlooker, [role for role in order if role in up], cut, primary_is_master=primary_is_master, case=case)
    onlooker.wait_for(want, for_s=HOLDS_S, case=case)
    onlooker.check_grants(want, case=case)


def strike(onlooker: Onlooker, state: State, order: tuple[Role, ...], *, primary_is_master: bool) -> None:
    """Come to a state from a whole triad at one stroke: nodes are killed and links cut."""
    up, cut = state
    triad = onlooker.triad
    case = f"whole, {order[0].value} first, then up {name(up)}, cut {name(cut)}, PRIMARY_IS_MASTER {primary_is_master}"
    sitting = come_up(onlooker, order, WHOLE, primary_is_master=primary_is_master, case=case)
    triad.wait_until_serving(LIMIT_S)
    for role in frozenset(Role) - up:
        triad.node(role.value).kill()
    for link in cut:
        triad.partition(*(role.value for role in link))
    want = expected(up, cut, sitting=sitting, primary_is_master=primary_is_master)
    onlooker.wait_for(want, for_s=HOLDS_S, case=case)
    onlooker.check_grants(want, case=case)


def go_through_all(way: Way, order: tuple[Role, ...], give_up: threading.Event, *, primary_is_master: bool) -> None:
    """All states of the table with one triad."""
    with FakeTriad(features={"X": 500}, primary_is_master=primary_is_master, heartbeat_s=HEARTBEAT_S) as triad:
        onlooker = Onlooker(triad)
        for state in STATES:
            for left in reversed(range(TRIES)):
                if give_up.is_set():
                    return
                try:
                    way(onlooker, state, order, primary_is_master=primary_is_master)
                    break
                except OtherServes:
                    if not left:
                        raise


@pytest.mark.timeout(900)
@pytest.mark.parametrize("way", [start, strike])
def test_exactly_the_right_node_serves_in_every_state(way: Way) -> None:
    """T1, T2, T4, T5, T7, T8, in both start orders, with and without PRIMARY_IS_MASTER; and at no instant do two nodes serve."""
    assert len(STATES) == 18
    give_up = threading.Event()

    def attend(order: tuple[Role, ...], primary_is_master: bool) -> None:  # noqa: FBT001 - the pool passes it on
        try:
            go_through_all(way, order, give_up, primary_is_master=primary_is_master)
        except BaseException:
            give_up.set()
            raise

    with ThreadPoolExecutor(4) as pool:
        done = [pool.submit(attend, order, primary_is_master) for order in (PRIMARY_FIRST, PRIMARY_LAST) for primary_is_master in (True, False)]
    for each in done:
        each.result()
