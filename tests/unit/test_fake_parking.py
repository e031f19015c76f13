"""Requests that wait at a node for a master (protocol, Parking; T9)."""

from __future__ import annotations

import pytest

from fakeserver.events import Checkout, ClientCall, Renew, Usage
from fakeserver.parking import CALLS_LIMIT, PARK_LIMIT_S, Outlook, Parking
from tests.simulation.virtual_triad import FAILOVER_S, HOLDER, PRIMARY, SECONDARY, TERTIARY, VirtualTriad

CHECKOUT = Checkout(id="a", feature="RISK", version="0", count=1, holder=HOLDER)
NOBODY = Outlook(master=None, master_term=0, quorum=True, retry_s=0.1)


def triad_without_master() -> VirtualTriad:
    """The primary was master of term 1 and was just killed."""
    triad = VirtualTriad()
    triad.start(*PRIMARY.others, PRIMARY)
    assert triad.run_until_serving(0.1) is PRIMARY
    triad.run(0.5)
    triad.crash(PRIMARY)
    return triad


def problem_of(triad: VirtualTriad, token: int) -> str:
    """The name of the problem that a request was answered with."""
    return str(triad.answers[token].body["type"]).rpartition(":")[2]


def test_a_parked_request_is_served_the_moment_its_node_becomes_master() -> None:
    """Parking: and it is told how long it waited, since its lease counts from the service."""
    triad = triad_without_master()
    asked_at = triad.now
    token = triad.ask(SECONDARY, CHECKOUT, park_s=5, after_term=1)
    assert triad.run_until_serving(1.0) is SECONDARY
    waited_s = triad.now - asked_at
    assert token not in triad.answers
    triad.run(0.01)  # the way to a second node and back (E4)
    assert triad.answers[token].status == 201
    assert triad.answers[token].body["waited_s"] == pytest.approx(waited_s, abs=0.005)


def test_a_parked_request_is_sent_to_another_node_that_became_master() -> None:
    """Parking."""
    triad = triad_without_master()
    token = triad.ask(TERTIARY, CHECKOUT, park_s=5, after_term=1)
    triad.run_until_serving(1.0)
    triad.run(0.01)
    assert triad.answers[token].status == 421
    assert triad.answers[token].body["master"] == "secondary"


def test_a_node_that_knows_a_master_of_a_newer_term_answers_at_once() -> None:
    """Parking: only a master that the client has seen fail is waited out."""
    triad = triad_without_master()
    known = triad.ask(SECONDARY, CHECKOUT, park_s=5, after_term=0)
    assert triad.answers[known].status == 421
    seen_to_fail = triad.ask(SECONDARY, CHECKOUT, park_s=5, after_term=1)
    assert seen_to_fail not in triad.answers


def test_a_serving_master_serves_whatever_the_client_has_seen_fail() -> None:
    """Parking: After-Term is about other nodes; a client may be wrong about this one."""
    triad = triad_without_master()
    triad.run_until_serving(1.0)
    token = triad.ask(SECONDARY, CHECKOUT, park_s=5, after_term=99)
    triad.run(0.01)
    assert triad.answers[token].status == 201


def test_without_prefer_every_node_answers_at_once() -> None:
    """Parking."""
    triad = triad_without_master()
    token = triad.ask(SECONDARY, CHECKOUT, after_term=1)
    assert problem_of(triad, token) == "not-master"


def test_the_time_is_up_with_a_problem_that_tells_whether_there_is_a_quorum() -> None:
    """Parking: 503."""
    triad = triad_without_master()
    triad.cut(SECONDARY, TERTIARY)
    token = triad.ask(SECONDARY, CHECKOUT, park_s=1, after_term=1)
    triad.run(0.99)
    assert token not in triad.answers
    triad.run(0.02)
    assert (triad.answers[token].status, problem_of(triad, token)) == (503, "no-quorum")

    assert NOBODY.no_master().body["type"] == "urn:palclient:problem:electing"


def test_a_parked_request_whose_client_has_gone_is_never_served() -> None:
    """Parking."""
    triad = triad_without_master()
    token = triad.ask(SECONDARY, CHECKOUT, park_s=5, after_term=1)
    triad.hang_up(SECONDARY, token)
    triad.run_until_serving(1.0)
    triad.run(0.1)
    assert token not in triad.answers
    usage = triad.ask(SECONDARY, Usage())
    features = triad.answers[usage].body["features"]
    assert isinstance(features, list)
    assert features[0]["in_use"] == 0


def test_a_node_that_stops_answers_those_who_are_parked() -> None:
    """Parking: 503 when the node stops."""
    triad = triad_without_master()
    token = triad.ask(TERTIARY, CHECKOUT, park_s=5, after_term=1)
    triad.stop(TERTIARY)
    assert triad.answers[token].status == 503
    assert TERTIARY in triad.halts


def test_parked_requests_are_served_in_the_order_of_their_coming() -> None:
    """Parking: first come, first served, also when the pool is too small for all."""
    triad = triad_without_master()
    ids = ("one", "two", "three")
    tokens = [triad.ask(SECONDARY, Checkout(id=each, feature="RISK", version="0", count=1, holder=HOLDER), park_s=5, after_term=1) for each in ids]
    triad.run(FAILOVER_S + 0.1)
    assert [triad.answers[token].status for token in tokens] == [201, 201, 409]


def test_a_parked_renewal_is_served_too() -> None:
    """Parking is for every request but status."""
    triad = triad_without_master()
    token = triad.ask(SECONDARY, Renew(ids=("unknown",)), park_s=5, after_term=1)
    triad.run(FAILOVER_S + 0.1)
    assert triad.answers[token].status == 200


def test_a_master_that_was_known_before_and_is_found_again_ends_the_wait() -> None:
    """Parking: what was seen while nobody waited counts for nothing."""
    parking = Parking()
    known = Outlook(master=SECONDARY, master_term=3, quorum=True, retry_s=0.1)
    parking.ended(known, 0.0)
    assert parking.admit(ClientCall(token=1, request=CHECKOUT, park_s=5), NOBODY, 1.0) is None
    assert [token for token, _ in parking.ended(known, 2.0)] == [1]


def test_no_wait_is_longer_than_the_protocol_allows_and_no_more_than_so_many_wait() -> None:
    """Style 5: bounds."""
    parking = Parking()
    for token in range(CALLS_LIMIT):
        assert parking.admit(ClientCall(token=token, request=CHECKOUT, park_s=1e9), NOBODY, 0.0) is None
    assert parking.next_end == PARK_LIMIT_S
    refused = parking.admit(ClientCall(token=CALLS_LIMIT, request=CHECKOUT, park_s=1), NOBODY, 0.0)
    assert refused is not None
    assert refused.body["type"] == "urn:palclient:problem:overloaded"
    assert len(parking.ended(NOBODY, PARK_LIMIT_S)) == CALLS_LIMIT
