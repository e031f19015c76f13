"""Which master a node points at, and for how long (T9); and two lists of its clients that must lose nobody and serve nobody twice."""

from __future__ import annotations

from dataclasses import replace

from fakeserver.events import Checkout, ClientCall
from fakeserver.membership import LATELY_INTERVALS, Membership, membership_at_start
from fakeserver.parking import Outlook, Parking
from fakeserver.peer import Heartbeat
from fakeserver.roles import Role
from fakeserver.waiting import Line
from tests.simulation.virtual_triad import FAILOVER_S, HEARTBEAT_S, HOLDER, PRIMARY, SECONDARY, TERTIARY


def knows(master: Role, term: int, *, by: Role, at: float) -> Membership:
    """What the tertiary knows that was told of one master."""
    return membership_at_start(TERTIARY, HEARTBEAT_S, FAILOVER_S).saw_master(beat(by, master, term), at)


def beat(sender: Role, master: Role | None, term: int) -> Heartbeat:
    """A heartbeat that tells of this master."""
    leads = master is sender
    return Heartbeat(sender=sender, cluster="c1", term=term, sent_at=0.0, leading=leads, master=master, master_term=term, hears=())


def test_an_older_masters_word_does_not_hide_a_newer_one() -> None:
    """T9: who was cut off, or heard old news, still tells of a term that is over."""
    known = knows(SECONDARY, 3, by=SECONDARY, at=10.0).saw_master(beat(PRIMARY, PRIMARY, 2), 10.1).known_master(10.1)
    assert known is not None
    assert (known.master, known.term) == (SECONDARY, 3)


def test_a_master_of_which_nothing_was_heard_for_e_is_known_no_more() -> None:
    """T1, T9."""
    membership = knows(PRIMARY, 1, by=PRIMARY, at=10.0)
    assert membership.known_master(10.0 + FAILOVER_S - 0.001) is not None
    assert membership.known_master(10.0 + FAILOVER_S) is None


def test_only_what_a_node_heard_itself_and_lately_is_told_on() -> None:
    """Old news would go round in circles, each node renewing the other's."""
    direct, hearsay = knows(PRIMARY, 1, by=PRIMARY, at=10.0), knows(PRIMARY, 1, by=SECONDARY, at=10.0)
    assert direct.gossip(10.1) is not None
    assert direct.gossip(10.0 + LATELY_INTERVALS * HEARTBEAT_S) is None
    assert hearsay.gossip(10.1) is None


def test_a_newer_term_ends_the_pointing_at_an_older_master_and_at_no_other() -> None:
    """T9: a hint to a master that was voted out leads nowhere."""
    membership = knows(PRIMARY, 2, by=PRIMARY, at=10.0)
    assert membership.without_master_before(3).known_master(10.0) is None
    assert membership.without_master_before(2).known_master(10.0) is not None


def test_those_who_were_parked_are_taken_once() -> None:
    """Protocol, Parking: served when the desk opened, and not again at the next one."""
    parking = Parking()
    call = ClientCall(token=1, request=checkout("a"), park_s=5.0)
    assert parking.admit(call, Outlook(master=None, master_term=0, quorum=True, retry_s=0.1), 0.0) is None
    assert [entry.call for entry in parking.take_all()] == [call]
    assert parking.take_all() == ()


def test_a_place_takes_no_number_that_is_in_use() -> None:
    """The record of a place is found by its number: two with one would be one, and somebody would have lost a place."""
    line = Line(())
    places = [line.join(checkout(name)) for name in "abc"]
    line.leave("b")
    places.append(line.join(checkout("d")))
    assert [place and place.index for place in places] == [0, 1, 2, 1]


def checkout(name: str) -> Checkout:
    """One of those that wait."""
    return replace(Checkout(id="", feature="RISK", version="0", count=1, holder=HOLDER, queue=True), id=name)
