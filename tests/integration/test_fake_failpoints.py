"""A node that dies in the midst of things, at places with names (F): what the client was told is true, and no seat is counted twice.

Whoever asks goes on to ask until it is answered, under one id, as every client does.
"""

from __future__ import annotations

import http.client
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from fakeserver import FakeNode, FakeTriad, FakeTriadError
from fakeserver.clock import now_s
from fakeserver.failpoints import PLACES
from tests.integration.probing import ASKED, LIMIT_S, ask_node, wait_for

pytestmark = pytest.mark.real


def slow(*values: str) -> Any:
    """A row of a table that ``make test-all`` alone plays: each costs a failover or two."""
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.fixture(scope="module")
def shared() -> Iterator[FakeTriad]:
    """One triad for all tests of this module."""
    with FakeTriad(features={"X": 5}, ttl_s=30.0) as triad:  # nobody renews here
        yield triad


@pytest.fixture
def triad(shared: FakeTriad) -> FakeTriad:
    """As new, all in step."""
    shared.reset()
    shared.wait_until_serving(LIMIT_S)
    return shared


def put(node: FakeNode, name: str) -> int | None:
    """The status of a checkout at a node; None when there is no answer."""
    try:
        return ask_node(node, "PUT", f"/v1/checkouts/{name}", ASKED)[0]
    except (OSError, http.client.HTTPException):
        return None


def take_somewhere(triad: FakeTriad, name: str) -> int:
    """Ask one node after the other until one grants; its status."""

    def asked() -> int | None:
        return next((status for node in triad.nodes if (status := put(node, name)) in {200, 201}), None)

    return wait_for(asked, "the seat is granted") or 0


def in_use(triad: FakeTriad) -> int:
    """The seats that are taken, as the master counts; a failover may be under way."""
    usage = wait_for(lambda: triad.wait_for_master(LIMIT_S).inside("/v1/usage"), "usage")
    assert usage is not None
    return int(usage["features"][0]["in_use"])


def died_at(triad: FakeTriad, node: FakeNode, place: str) -> bool:
    """Whether the node's last word is that it died there."""
    return [entry.facts["place"] for entry in triad.journal.named("failpoint") if entry.node == node.role] == [place]


@pytest.mark.parametrize("place", [slow("before_persist"), slow("after_persist_before_replicate"), "after_replicate_before_reply"])
def test_a_master_dies_over_a_grant_and_the_client_gets_its_one_seat(triad: FakeTriad, place: str) -> None:
    """F, G2, G3, E4, E7: nobody was told of the seat; asked for again under its id it is granted, or found, and counted once."""
    name = str(uuid.uuid4())
    triad.primary.fail_at(place)
    assert triad.primary.is_master  # nothing has happened yet
    assert put(triad.primary, name) is None
    triad.primary.wait_down(LIMIT_S)
    assert died_at(triad, triad.primary, place)
    status = take_somewhere(triad, name)
    assert status == (200 if place == "after_replicate_before_reply" else 201)
    assert in_use(triad) == 1
    triad.primary.restart()
    wait_for(lambda: triad.primary.is_master, "the primary is back (T5)")
    assert put(triad.primary, name) == 200
    assert in_use(triad) == 1


def test_a_follower_dies_between_writing_and_acknowledging(triad: FakeTriad) -> None:
    """F, E4: the other one's acknowledgement is enough."""
    triad.tertiary.fail_at("after_persist_before_acknowledge")
    assert put(triad.primary, str(uuid.uuid4())) == 201
    triad.tertiary.wait_down(LIMIT_S)
    assert died_at(triad, triad.tertiary, "after_persist_before_acknowledge")
    assert in_use(triad) == 1


@pytest.mark.parametrize("place", [slow("before_barrier"), "mid_barrier", slow("before_serving")])
def test_a_new_master_dies_in_its_recovery_barrier(triad: FakeTriad, place: str) -> None:
    """F, E1, E3, G2: the seat outlives a master that was elected and never served; the triad serves again when two are there."""
    name = str(uuid.uuid4())
    assert put(triad.primary, name) == 201
    triad.secondary.fail_at(place)
    triad.primary.kill()
    triad.secondary.wait_down(LIMIT_S)
    assert died_at(triad, triad.secondary, place)
    triad.primary.restart()
    assert take_somewhere(triad, name) == 200
    assert in_use(triad) == 1


@pytest.mark.slow
def test_a_voter_dies_with_its_vote_given_and_not_sent(triad: FakeTriad) -> None:
    """F, E1, E7: the vote is spent; after its restart the triad finds a master all the same."""
    name = str(uuid.uuid4())
    assert put(triad.primary, name) == 201
    triad.tertiary.fail_at("after_vote_before_answer")
    triad.primary.kill()
    triad.tertiary.wait_down(LIMIT_S)
    assert not triad.secondary.is_master  # it has one vote, its own
    triad.tertiary.restart()
    assert take_somewhere(triad, name) == 200
    assert in_use(triad) == 1


@pytest.mark.parametrize("place, who", [("before_transfer", "primary"), slow("after_transfer_before_answer", "secondary")])
def test_a_node_dies_while_mastership_is_handed_over(triad: FakeTriad, place: str, who: str) -> None:
    """F, E6, G2: stopped, the master hands over; one of the two dies over it; whoever remains goes on with the seat when there is a quorum."""
    name = str(uuid.uuid4())
    assert put(triad.primary, name) == 201
    (serving,) = triad.journal.named("serving")
    wait_for(lambda: now_s() > serving.at_s + 3 * 0.1, "three heartbeats, after which both directions of each link are known to be whole")
    triad.node(who).fail_at(place)
    triad.primary.stop()
    triad.node(who).wait_down(LIMIT_S)
    assert died_at(triad, triad.node(who), place)
    triad.node(who).restart()
    assert take_somewhere(triad, name) == 200
    assert in_use(triad) == 1


def test_heal_disarms_a_failpoint_and_a_restart_has_none(triad: FakeTriad) -> None:
    """F: a failpoint kills once."""
    triad.primary.fail_at("after_persist_before_replicate")
    triad.heal()
    assert put(triad.primary, str(uuid.uuid4())) == 201
    triad.tertiary.fail_at("before_persist")
    triad.tertiary.restart()
    assert triad.tertiary.faults == ()
    with pytest.raises(FakeTriadError, match="The tertiary still runs after 0 s"):
        triad.tertiary.wait_down(0)


def test_every_place_is_tried_here() -> None:
    """Style 20: a failpoint that nobody dies at proves nothing."""
    here = __file__
    with open(here, encoding="utf-8") as file:
        text = file.read()
    assert [place for place in PLACES if f'"{place}"' not in text] == []
