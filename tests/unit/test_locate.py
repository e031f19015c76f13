"""Where a request is asked next: the rules of ``core/locate.py`` against three scripted nodes.

Every test ends by looking at the number of requests: no answer whatever may make a client ask without end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import pytest

from palclient.core.flow import Call, Failed, Outcome
from palclient.core.locate import Served, Unanswered, ask_master
from palclient.core.retry import RetryPolicy
from palclient.core.topology import FellSilent
from palclient.core.wire import Renewed, RenewRequest
from palclient.errors import CheckoutTimeout, NoQuorum, NoServerReachable, ProtocolError, SeatsTaken, TriadUnavailable
from tests.unit.script import (
    CLUSTER,
    NAMES,
    Part,
    ScriptedTriad,
    denying,
    down,
    electing,
    fails,
    frozen,
    garbage,
    grant,
    header,
    master,
    no_quorum,
    overloaded,
    problem,
    request,
    serves_all,
    speech,
    standby,
)
from tests.unit.virtual_runner import SILENCE, Reply

STORM = 8  # at one address in one second: the first request, two probes, and one extra each for a hint and for parking again per probe period
TRIADS: list[ScriptedTriad] = []


@pytest.fixture(autouse=True)
def _no_storm() -> Iterator[None]:
    TRIADS.clear()
    yield
    for one in TRIADS:
        assert one.most_in_a_second() <= STORM, "\n".join(one.log)


def triad(*parts: Part, servers: str = "27000@lic1,27001@lic2,27002@lic3", luck: float = 0.0, policy: RetryPolicy | None = None) -> ScriptedTriad:
    """A triad whose first nodes play these parts."""
    made = ScriptedTriad(servers=servers, luck=luck, policy=policy)
    TRIADS.append(made)
    for name, part in zip(NAMES, parts, strict=False):
        made.says(name, part)
    return made


def after_terms(one: ScriptedTriad, name: str) -> list[str | None]:
    """The After-Term of each request to a node; None: not parked."""
    return [header(call, "After-Term") for call in one.asked_of(name)]


def failed(one: ScriptedTriad, *, timeout_s: float = 10.0, wait_s: float = 0.0) -> TriadUnavailable:
    """How a checkout ends that finds no master."""
    with pytest.raises(TriadUnavailable) as caught:
        one.checkout(timeout_s=timeout_s, wait_s=wait_s)
    return caught.value


# --- the common case ----------------------------------------------------------------------------------------------------------------


def test_a_known_master_is_asked_alone_and_once() -> None:
    """Design, Flows: the common case pays for nothing."""
    one = triad(standby("secondary", 8), master(8), standby("secondary", 8))
    one.knows_master("secondary", 8)
    assert one.checkout().grant.term == 8
    assert one.asked == [(0.0, "secondary")]
    assert header(one.asked_of("secondary")[0], "Prefer") is None
    assert not one.trace.may_be_taken or one.took_s == 0.001


def test_a_cold_client_asks_the_first_of_servername_alone() -> None:
    """Rule 1: with no master known, the first entry."""
    one = triad()
    one.checkout()
    assert one.asked == [(0.0, "primary")]


def test_the_others_are_asked_when_the_first_is_late_by_the_stagger() -> None:
    """Rule 2: 50 ms, and parked."""
    one = triad(frozen(), master(8), standby("secondary", 8))
    assert one.checkout().grant.term == 8
    assert one.asked == [(0.0, "primary"), (0.05, "secondary")]
    assert after_terms(one, "primary") == [None]
    assert after_terms(one, "secondary") == ["0"]
    assert one.took_s == 0.051


def test_a_policy_rules_the_stagger() -> None:
    """``RetryPolicy.stagger_s``."""
    one = triad(frozen(), master(8), policy=RetryPolicy(stagger_s=0.2))
    one.checkout()
    assert one.times_of("secondary") == [0.2]


def test_the_losers_of_a_race_are_cancelled() -> None:
    """Rule 5: the first answer of a current master ends it; all else is cancelled."""
    one = triad(frozen(), electing(8), master(8))
    one.checkout()
    assert sorted(NAMES[asked.call.node] for asked in one.net.cancelled) == ["primary", "secondary"]


# --- the master is gone -------------------------------------------------------------------------------------------------------------


def test_when_the_master_refuses_both_survivors_hold_the_request() -> None:
    """Protocol, Parking: After-Term is the term that was seen to fail.  The first is to hold it at once, the other when that one does."""
    one = triad(down(), standby("primary", 7), standby("primary", 7))
    one.knows_master()
    one.at(0.4, "secondary", master(8))
    one.at(0.4, "tertiary", standby("secondary", 8))
    taken = one.checkout()
    assert (taken.grant.term, one.took_s) == (8, 0.401)
    assert one.asked == [(0.0, "primary"), (0.0, "secondary"), (0.05, "tertiary")]
    assert after_terms(one, "secondary") == after_terms(one, "tertiary") == ["7"]
    assert one.trace.may_be_taken


def test_beside_a_frozen_master_the_request_is_parked_at_the_others() -> None:
    """Rule 2; a master that is late counts as failed for what is parked beside it, so the others do not send the client back to it."""
    one = triad(frozen())
    one.knows_master()
    one.at(0.4, "secondary", master(8))
    assert one.checkout().grant.term == 8
    assert one.asked == [(0.0, "primary"), (0.05, "secondary"), (0.1, "tertiary")]
    assert after_terms(one, "secondary") == ["7"]
    assert one.took_s == 0.401


@pytest.mark.parametrize("part, asked", [(master(8), ["primary", "secondary"]), (standby("tertiary", 8), list(NAMES))], ids=["successor", "follower"])
def test_a_request_that_comes_after_the_election_costs_no_more_than_the_way_to_the_new_master(part: Part, asked: list[str]) -> None:
    """Issue: 200 clients after one failover; the one that serves is not asked together with another, nor the one that names it."""
    one = triad(down(), part, master(8) if len(asked) > 2 else standby("secondary", 8))
    one.knows_master()
    one.checkout()
    assert [name for _, name in one.asked] == asked


def test_a_node_that_fails_makes_way_for_the_next_at_once() -> None:
    """Rule 2: two that refuse cost no time."""
    one = triad(down(), down(), master(8))
    one.checkout()
    assert one.asked == [(0.0, "primary"), (0.0, "secondary"), (0.0, "tertiary")]


def test_every_node_is_asked_however_little_time_there_is() -> None:
    """A claim's whole time is two staggers: the last node is asked within it."""
    one = triad(frozen(), frozen(), frozen())
    failed(one, timeout_s=0.1)
    assert one.asked == [(0.0, "primary"), (0.05, "secondary"), (0.0625, "tertiary")]


@pytest.mark.parametrize("part", [no_quorum(7, holds=False), electing(7, holds=False)])
def test_when_the_master_says_itself_that_it_serves_no_more_the_others_hold_the_request(part: Part) -> None:
    """Protocol, Parking: that term was seen to fail, though its followers do not know it yet."""
    one = triad(part, standby("primary", 7), standby("primary", 7))
    one.knows_master()
    one.at(0.4, "secondary", master(8))
    taken = one.checkout()
    assert (taken.grant.term, one.took_s) == (8, 0.401)
    assert after_terms(one, "secondary") == after_terms(one, "tertiary") == ["7"]


def test_a_master_that_lost_its_quorum_for_a_moment_serves_what_it_holds_in_the_same_term() -> None:
    """E5: it may take up again what it laid down; the others wait for the next term, and it does not."""
    one = triad(no_quorum(7), standby("primary", 7), standby("primary", 7))
    one.knows_master()
    one.at(0.4, "primary", master(7))
    taken = one.checkout()
    assert (taken.grant.term, one.took_s) == (7, 0.401)
    assert after_terms(one, "primary") == [None, "6"]


def test_an_attempt_at_a_frozen_master_ends_after_t_and_is_repeated_no_oftener_than_every_half_second() -> None:
    """Design, Flows, Attempts: T is 1 s at first while no ttl is known; probes at most every 0.5 s per node."""
    one = triad(frozen(), electing(7), electing(7))
    one.knows_master()
    failed(one, timeout_s=9.0)
    times = one.times_of("primary")
    assert times[:2] == [0.0, 1.5]
    assert all(later - earlier >= 0.5 for earlier, later in pairwise(times))
    first, second, third = one.asked_of("primary")[:3]
    assert first.answer_by == first.connect_by == one.start + 1
    assert (second.answer_by, third.answer_by) == (one.start + 4.5, one.start + 9.0)  # 3 s, and what is left of 5 s


def test_the_time_of_an_attempt_follows_the_ttl() -> None:
    """T = min(5 s, ttl/12)."""
    one = ScriptedTriad(ttl_s=36.0)
    one.checkout()
    call = one.asked_of("primary")[0]
    assert (call.connect_by, call.answer_by) == (one.start + 1, one.start + 3)


def test_a_slow_master_is_heard_at_the_second_attempt() -> None:
    """Architecture, Attempts: a guess that was too short is followed by a longer one."""
    one = triad(master(7, lambda part, call, now: replace(serves_all(part, call, now), after_s=2.0)), standby("primary", 7), standby("primary", 7))
    assert one.checkout(timeout_s=10.0).grant.term == 7
    assert one.times_of("primary") == [0.0, 1.5]
    assert one.took_s == pytest.approx(3.5, abs=0.01)


def test_a_node_that_held_the_request_to_the_deadline_is_told_apart_from_one_that_is_silent() -> None:
    """api, Errors: ``.probes`` tells what came back; a node that parks a request is silent by the protocol."""
    one = triad(frozen(), electing(7), electing(7))
    last = {probe.endpoint.port: probe.detail for probe in failed(one, timeout_s=4.0).probes}
    assert last == {27000: "no answer", 27001: "held the request: no answer", 27002: "held the request: no answer"}


def test_probes_of_a_dead_node_grow_rarer_up_to_two_seconds() -> None:
    """``RetryPolicy``: exponential from 0.5 s to 2 s, with jitter on top."""
    one = triad(down(), down(), down())
    failed(one, timeout_s=10.0)
    assert one.times_of("primary") == [0.0, 0.5, 1.5, 3.5, 5.5, 7.5, 9.5]
    jittered = triad(down(), down(), down(), luck=1.0)
    failed(jittered, timeout_s=10.0)
    assert jittered.times_of("primary")[1] == 0.625


def test_a_node_that_has_come_back_holds_the_request_like_any_other() -> None:
    """Rule 4: one that answered."""
    one = triad(down(), down(), electing(7))
    one.at(1.0, "secondary", electing(7))
    failed(one, timeout_s=4.0)
    assert one.times_of("secondary") == [0.0, 0.5, 1.5, 1.501]
    assert after_terms(one, "secondary") == ["0", None, None, "0"]


def test_a_silent_node_is_asked_again_without_parking() -> None:
    """Rule 4: whether it holds the request, or is dead, could not be told apart."""
    one = triad(down(), down(), electing(7))
    failed(one, timeout_s=4.0)
    assert after_terms(one, "secondary")[0] == "0"
    assert set(after_terms(one, "secondary")[1:]) == {None}


def test_after_a_failure_the_next_request_begins_where_it_can_be_parked() -> None:
    """The client knows that the master of term 7 failed: it is asked last, and not alone."""
    one = triad(electing(7), electing(7), electing(7))
    one.knows_master()
    one.knowledge.learn(FellSilent(node=0, term=7))
    one.at(0.3, "secondary", master(8))
    one.checkout()
    assert one.asked == [(0.0, "secondary"), (0.05, "tertiary"), (0.1, "primary"), (0.101, "primary")]
    assert after_terms(one, "secondary") == ["7"]
    assert after_terms(one, "primary") == [None, "7"], "it has answered before it may hold the request"


def test_a_master_that_could_not_be_reached_for_a_moment_is_found_again_by_who_came_meanwhile() -> None:
    """A firewall swallowed the request at a master that serves on: held there and by the others it would be answered by nobody until its time is up."""
    one = triad(frozen(), standby("primary", 7), standby("primary", 7))
    one.knows_master()
    one.knowledge.learn(FellSilent(node=0, term=7))
    one.at(0.5, "primary", master(7))
    assert one.checkout(timeout_s=2.8).grant.term == 7
    assert one.took_s < 2
    assert set(after_terms(one, "primary")) == {None}


def test_a_failure_of_the_master_is_learnt_for_all_requests() -> None:
    """Design: what is known of the triad is a value, and observations change it."""
    one = triad(down(), electing(7), electing(7))
    one.knows_master()
    failed(one, timeout_s=2.0)
    assert one.knowledge.topology.master is None
    assert one.knowledge.topology.failed_term == 7


# --- hints --------------------------------------------------------------------------------------------------------------------------


def test_a_hint_of_a_new_term_is_followed_at_once() -> None:
    """Rule 3."""
    one = triad(standby("secondary", 8), master(8), standby("secondary", 8))
    assert one.checkout().grant.term == 8
    assert one.asked == [(0.0, "primary"), (0.001, "secondary")]
    assert after_terms(one, "secondary") == [None]


def test_hints_in_a_circle_are_followed_once_per_round() -> None:
    """Protocol: at most once per node and round."""
    one = triad(standby("secondary", 8, holds=False), standby("primary", 8, holds=False), standby("primary", 8, holds=False))
    failed(one, timeout_s=3.0)
    assert one.asked[:3] == [(0.0, "primary"), (0.001, "secondary"), (0.002, "primary")]
    assert one.most_in_a_second() <= 6


def test_no_hint_is_followed_to_a_node_that_holds_the_request() -> None:
    """Rule 3: it will answer there."""
    one = triad(down(), electing(7), electing(7))
    one.knows_master()
    one.at(0.4, "tertiary", standby("secondary", 8))
    one.at(0.5, "secondary", master(8))
    assert one.checkout().grant.term == 8
    assert one.times_of("secondary") == [0.0]


def test_a_hint_to_a_node_that_holds_the_request_leaves_no_trace_there() -> None:
    """It is not taken for a master afterwards: when it has held the request to the end, it holds it again."""
    one = triad(down(), electing(7), electing(7))
    one.knows_master()
    one.at(0.4, "tertiary", standby("secondary", 8))
    failed(one)
    assert after_terms(one, "secondary") == ["7", "7"]


def test_a_hint_to_a_master_that_failed_parks_the_request_again_with_a_higher_after_term() -> None:
    """A cold client learns the failed master's term from its first follower, and has both wait for the next one: one request more, no storm."""
    one = triad(frozen())
    one.at(0.4, "secondary", master(8))
    one.at(0.4, "tertiary", standby("secondary", 8))
    assert one.checkout().grant.term == 8
    assert after_terms(one, "secondary") == ["0", "7"]
    assert after_terms(one, "tertiary") == ["7"]
    assert one.times_of("primary") == [0.0]
    assert one.took_s == 0.401


def test_a_hint_to_a_master_that_refused_is_not_followed() -> None:
    """The same for one that is down."""
    one = triad(down())
    one.at(0.3, "secondary", master(8))
    one.checkout()
    assert after_terms(one, "secondary") == ["0", "7"]
    assert one.times_of("primary") == [0.0]


def test_a_hint_whose_term_grows_with_every_answer_brings_no_storm() -> None:
    """Protocol: a client goes by its own pace, whatever it is told."""
    one = triad(down())
    terms = iter(range(8, 100_000))

    def boasts(_part: Part, _call: Call, _now: float) -> Reply:
        body = {**speech(term=next(terms), role="secondary"), **problem("not-master", master="primary")}
        return Reply(status=421, body=body)

    one.says("secondary", master(8, boasts))
    one.says("tertiary", master(8, boasts))
    failed(one, timeout_s=5.0)
    assert one.most_in_a_second() <= STORM


def test_a_hint_to_a_role_that_no_node_has_sends_to_all_the_others() -> None:
    """Protocol, Identity: the n-th entry is taken for the n-th role until a node says otherwise."""
    one = triad(standby("nobody", 8), master(8), electing(8))
    assert one.checkout().grant.term == 8
    assert one.asked == [(0.0, "primary"), (0.001, "primary"), (0.001, "secondary"), (0.002, "tertiary")]
    assert after_terms(one, "primary") == [None, "0"]


# --- refusals -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", [no_quorum(7, holds=False), electing(7, holds=False), standby(None, 7, holds=False)])
def test_nodes_that_do_not_hold_requests_are_asked_at_a_pace(part: Part) -> None:
    """An answer before the time that was offered brings no request at once."""
    one = triad(part, part, part)
    failed(one, timeout_s=5.0)
    assert one.most_in_a_second() <= 5
    assert all(later - earlier >= 0.499 for earlier, later in pairwise(one.times_of("tertiary")[1:]))


def test_a_node_that_held_the_request_to_the_end_holds_it_again_at_once() -> None:
    """Rule 4: it loses nothing, and is no storm."""
    one = triad(down(), electing(7), electing(7))
    failed(one, timeout_s=35.0)
    assert one.times_of("secondary") == [0.0, 30.001]


def test_a_known_master_that_has_forgotten_its_term_brings_no_storm() -> None:
    """It came back without its state: its term is lower than the one in which it served, and it serves no more."""
    one = triad(no_quorum(0, holds=False), electing(7), electing(7))
    one.knows_master()
    failed(one, timeout_s=5.0)
    assert one.most_in_a_second() <= STORM
    assert one.knowledge.topology.master is None


def test_an_overloaded_master_is_asked_again_after_its_time_and_nobody_else_is() -> None:
    """Protocol, Problems: it keeps the node, and never fails over for it."""
    one = triad(overloaded(7, 2.0))
    one.knows_master()
    one.at(1.0, "primary", master(7))
    one.checkout()
    assert one.asked == [(0.0, "primary"), (2.001, "primary")]
    jittered = triad(overloaded(7, 2.0), luck=1.0)
    jittered.knows_master()
    jittered.at(1.0, "primary", master(7))
    jittered.checkout()
    assert jittered.times_of("primary") == [0.0, 2.501]


def test_an_overloaded_node_that_gives_no_time_is_asked_at_the_common_pace() -> None:
    """``retry_after_s`` of 0 is no invitation."""
    one = triad(overloaded(7, 0.0))
    one.knows_master()
    failed(one, timeout_s=3.0)
    assert one.times_of("primary")[:3] == [0.0, 0.501, 1.002]
    assert one.counts() == {"primary": 6}


def test_an_overloaded_follower_does_not_keep_a_client_from_the_master() -> None:
    """Overload is said before mastership is looked at: a node that is not known to be master is left alone, the others are asked."""
    one = triad(overloaded(8, 3.0), master(8), standby("secondary", 8))
    assert one.checkout().grant.term == 8
    assert one.took_s < 0.1


def test_a_hint_does_not_shorten_the_time_that_an_overloaded_node_asked_for() -> None:
    """The others send a cold client to the master, which has said when to come back."""
    one = triad(overloaded(7, 2.0))
    one.at(1.0, "primary", master(7))
    one.checkout()
    assert one.times_of("primary") == [0.0, 2.001]
    assert one.counts()["secondary"] + one.counts()["tertiary"] <= 2 + 8


def test_a_master_that_stays_overloaded_is_a_timeout_and_no_lack_of_quorum() -> None:
    """api: NoQuorum is for nodes none of which may serve."""
    one = triad(overloaded(7, 1.0))
    one.knows_master()
    error = failed(one, timeout_s=3.0)
    assert isinstance(error, CheckoutTimeout)
    assert "overloaded" in str(error)


def test_a_denial_is_never_taken_to_another_node() -> None:
    """G6: the pool is one."""
    one = triad(denying(7, "seats-taken"), master(8))
    with pytest.raises(SeatsTaken):
        one.checkout()
    assert one.asked == [(0.0, "primary")]


def test_a_problem_that_the_protocol_does_not_have_is_no_masters_word_when_the_node_is_in_trouble() -> None:
    """A 500 of an unknown name comes from a node that failed, not from a pool that is empty."""
    one = triad(denying(7, "boiler-exploded"), master(8))
    assert one.checkout().grant.term == 8


def test_our_own_fault_is_told_by_the_first_node_that_finds_it() -> None:
    """Protocol, Problems: no other node would say otherwise."""
    one = triad(denying(7, "bad-request"), master(8))
    with pytest.raises(ProtocolError, match="bad-request"):
        one.checkout()
    assert one.asked == [(0.0, "primary")]


# --- who may be believed ------------------------------------------------------------------------------------------------------------


def test_a_master_of_a_lower_term_is_not_believed() -> None:
    """Protocol, Identity: its grant is not used, and the seat may have been taken."""
    one = triad(master(6), standby("tertiary", 7), electing(7))
    one.knows_master("secondary", 7)
    error = failed(one, timeout_s=3.0)
    assert any(probe.outcome == "stale master" for probe in error.probes)
    assert one.trace.may_be_taken
    assert one.most_in_a_second() <= STORM


def test_of_two_masters_in_one_term_neither_is_used() -> None:
    """Protocol, Identity."""
    one = triad(frozen(), master(7), standby("secondary", 7))
    one.knows_master("primary", 7)
    error = failed(one, timeout_s=3.0)
    assert one.knowledge.topology.disputed_term == 7
    assert "stale master" in str(error)
    assert one.most_in_a_second() <= STORM


def test_a_dispute_is_settled_by_a_higher_term() -> None:
    """Protocol, Identity."""
    one = triad(frozen(), master(7), standby("secondary", 7))
    one.knows_master("primary", 7)
    one.at(1.0, "secondary", master(8))
    assert one.checkout().grant.term == 8


def test_a_node_of_another_cluster_is_ignored() -> None:
    """Protocol, Identity: one node alone proves nothing."""
    one = triad(master(99, cluster="other"), master(8), standby("secondary", 8))
    one.knows_master("secondary", 7)
    one.says("secondary", down())
    one.at(1.0, "secondary", master(8))
    assert one.checkout().grant.cluster == CLUSTER
    assert one.knowledge.topology.term == 8


def test_the_word_of_a_stranger_about_our_request_is_ignored_too() -> None:
    """A node of another cluster is no node of ours, whatever it says."""
    one = triad(denying(99, "bad-request", cluster="other"), master(8), standby("secondary", 8))
    one.knows_master("secondary", 7)
    one.says("secondary", down())
    one.at(0.6, "secondary", master(8))
    assert one.checkout().grant.term == 8


def test_two_nodes_of_another_cluster_replace_the_triad() -> None:
    """Protocol, Identity: all knowledge is forgotten, the height of the terms too."""
    one = triad(master(3, cluster="new"), standby("primary", 3, cluster="new"), standby("primary", 3, cluster="new"))
    one.knows_master("primary", 100)
    taken = one.checkout()
    assert (taken.grant.cluster, taken.grant.term) == ("new", 3)
    assert one.knowledge.topology.generation == 1
    assert one.took_s < 1.0


def test_after_the_triad_was_replaced_nobody_is_asked_to_wait_for_a_term_of_the_old_one() -> None:
    """Terms compare within one cluster; what the old one's nodes held is cancelled."""
    one = triad(down(), standby(None, 3, holds=False, cluster="new"), standby(None, 3, holds=False, cluster="new"))
    one.knows_master("primary", 100)
    one.at(0.2, "secondary", replace(electing(3), cluster="new"))
    one.at(0.2, "tertiary", replace(electing(3), cluster="new"))
    one.at(1.5, "secondary", master(4, cluster="new"))
    assert one.checkout().grant.term == 4
    assert one.took_s == 1.501
    assert after_terms(one, "secondary") == ["100", "0", "0"]


def test_of_a_single_server_one_answer_replaces_the_cluster() -> None:
    """There is no second node to ask."""
    one = triad(master(1, cluster="new"), servers="27000@lic1")
    one.knows_master("primary", 100)
    assert one.checkout().grant.cluster == "new"


@pytest.mark.parametrize("body", [b"", b"<html></html>", b"[]", b'{"node": 1}', b"\xff\xfe\x00", b'{"results": {}}'])
def test_what_is_not_ours_counts_as_no_answer(body: bytes) -> None:
    """Protocol: a reply without node, cluster and term counts as no answer."""
    one = triad(garbage(body), master(8))
    assert one.checkout().grant.term == 8
    assert one.trace.may_be_taken


@pytest.mark.parametrize("outcome", [o for o in Outcome if o is not Outcome.NOT_OURS])
def test_every_way_of_not_answering_leads_to_the_next_node(outcome: Outcome) -> None:
    """Protocol, Problems, last row."""
    one = triad(fails(outcome, sent=outcome.value in ("reset", "cut short", "not HTTP", "timed out")), master(8))
    assert one.checkout().grant.term == 8
    assert one.took_s < 0.01


# --- ends ---------------------------------------------------------------------------------------------------------------------------


def test_when_nobody_answers_the_error_lists_every_server_and_what_became_of_it() -> None:
    """api: NoServerReachable; style 14."""
    one = triad(down(), fails(Outcome.NAME_UNKNOWN, sent=False), frozen())
    error = failed(one)
    assert isinstance(error, NoServerReachable)
    for text in ("27000@lic1: refused", "27001@lic2: name unknown", "27002@lic3: timed out", "asked 7 times"):
        assert text in str(error)
    assert (one.took_s, error.code) == (10.0, -15)
    assert {probe.endpoint.host for probe in error.probes} == {"lic1", "lic2", "lic3"}
    assert not any(probe.answered for probe in error.probes)


def test_nobody_reached_and_nothing_sent_leaves_no_seat_behind() -> None:
    """Protocol: what surely never left cannot have taken a seat."""
    one = triad(down(), fails(Outcome.UNREACHABLE, sent=False), down())
    failed(one)
    assert not one.trace.may_be_taken


@pytest.mark.parametrize("outcome", [Outcome.RESET, Outcome.CUT_SHORT, Outcome.TIMED_OUT])
def test_a_request_that_left_without_an_answer_may_have_taken_a_seat(outcome: Outcome) -> None:
    """Protocol: bytes were sent, and no whole answer came."""
    one = triad(down(), fails(outcome, sent=True), down())
    failed(one)
    assert one.trace.may_be_taken


def test_a_refusal_may_say_that_it_leaves_a_trace() -> None:
    """Protocol: a master that is deposed before a second node has what it wrote down refuses, and the next one may have it all the same."""
    deposed = Part(term=7, refusal=problem("electing", master=None, may_have_acted=True), holds=False)
    one = triad(deposed, electing(7), electing(7))
    with pytest.raises(TriadUnavailable):
        one.checkout(timeout_s=0.0)
    assert one.trace.may_be_taken


def test_when_none_may_serve_the_error_is_no_quorum_and_tells_what_each_said() -> None:
    """api: some answered, none serves."""
    one = triad(down(), no_quorum(7), down())
    error = failed(one)
    assert isinstance(error, NoQuorum)
    assert "27001@lic2: no-quorum" in str(error)
    assert "27000@lic1: refused" in str(error)
    assert error.code == -97


def test_a_node_that_holds_the_request_says_a_word_before_the_deadline() -> None:
    """Else the error could not tell a node without quorum from a dead one; also when the master was known."""
    for known in (False, True):
        one = triad(down(), no_quorum(7), down())
        if known:
            one.knows_master()
        assert isinstance(failed(one, timeout_s=5.0), NoQuorum)


@pytest.mark.parametrize("known", [False, True])
def test_a_master_that_is_silent_to_this_client_alone_is_a_timeout(known: bool) -> None:  # noqa: FBT001  # a parameter of the test
    """api: a serving master fell silent; the followers still name it, or hold the request for its successor."""
    one = triad(frozen())
    if known:
        one.knows_master()
    error = failed(one)
    assert isinstance(error, CheckoutTimeout)
    assert (error.code, one.took_s) == (-7, 10.0)


def test_a_frozen_master_and_one_node_alone_is_no_quorum() -> None:
    """T1: the survivor's own word that it has no quorum outweighs the silence of the master."""
    one = triad(frozen(), no_quorum(7), down())
    one.knows_master()
    assert isinstance(failed(one), NoQuorum)


def test_the_deadline_is_kept_to_the_millisecond_whatever_is_open() -> None:
    """Every wait has a deadline."""
    for timeout_s in (0.02, 0.3, 1.0, 2.5, 10.0, 65.0):
        one = triad(frozen(), electing(7), frozen())
        failed(one, timeout_s=timeout_s)
        assert one.took_s == timeout_s


def test_without_a_deadline_a_call_waits_for_the_master_that_comes() -> None:
    """``timeout=float("inf")`` is a time like any other."""
    one = triad(down(), electing(7), electing(7))
    one.at(100.0, "secondary", master(8))
    assert one.checkout(timeout_s=float("inf")).grant.term == 8


# --- every node once ----------------------------------------------------------------------------------------------------------------


def test_a_timeout_of_zero_asks_every_node_once() -> None:
    """api: ``timeout=0``; nothing is parked."""
    one = triad(down(), electing(7), no_quorum(7))
    assert isinstance(failed(one, timeout_s=0.0), NoQuorum)
    assert one.counts() == {"primary": 1, "secondary": 1, "tertiary": 1}
    assert [header(call, "Prefer") for call in one.asked_of("secondary")] == [None]


def test_a_timeout_of_zero_follows_a_hint_but_to_nobody_who_was_asked() -> None:
    """api: every node once; a circle of hints is no reason to ask twice."""
    one = triad(standby("secondary", 8), master(8))
    assert one.checkout(timeout_s=0.0).grant.term == 8
    circle = triad(standby("secondary", 8), standby("primary", 8), standby("primary", 8))
    failed(circle, timeout_s=0.0)
    assert circle.counts() == {"primary": 1, "secondary": 1, "tertiary": 1}


def test_a_timeout_of_zero_does_not_wait_for_an_overloaded_node() -> None:
    """api: every node once, and that is all."""
    one = triad(overloaded(7, 30.0), electing(7), electing(7))
    one.knows_master()
    failed(one, timeout_s=0.0)
    assert one.took_s < 0.1
    assert one.counts() == {"primary": 1, "secondary": 1, "tertiary": 1}


def test_a_timeout_of_zero_ends_though_all_are_frozen() -> None:
    """An attempt ends after T."""
    one = triad(frozen(), frozen(), frozen())
    assert isinstance(failed(one, timeout_s=0.0), NoServerReachable)
    assert one.took_s == 1.05


# --- servers without a port ---------------------------------------------------------------------------------------------------------


def test_a_server_without_a_port_is_looked_for_on_all_ten() -> None:
    """N2: 27000 to 27009, side by side; once found, there alone."""
    one = triad(master(7), servers="@lic1,@lic2,@lic3")
    one.listens[0] = 27004
    one.checkout()
    assert sorted(call.endpoint.port or 0 for call in one.asked_of("primary")) == list(range(27000, 27010))
    assert one.knowledge.topology.nodes[0].port == 27004
    assert one.counts() == {"primary": 10}
    one.checkout()
    assert len(one.asked_of("primary")) == 11


def test_a_failure_on_one_port_counts_for_nothing_while_another_may_answer() -> None:
    """N2: nine of ten ports refuse, that is how it is."""
    one = triad(electing(7), electing(7), electing(7), servers="@lic1,@lic2,@lic3")
    one.listens[0] = 27009
    one.at(0.2, "primary", master(8))
    assert one.checkout().grant.term == 8
    assert one.took_s < 0.3


def test_silence_on_other_ports_does_not_keep_a_found_server_from_being_asked_again() -> None:
    """N2: a firewall may swallow what goes to the nine others; once one has answered, they are given up."""
    one = triad(electing(7, holds=False), down(), down(), servers="@lic1,@lic2,@lic3")
    one.listens[0] = 27004
    one.elsewhere = SILENCE
    one.at(0.3, "primary", master(8))
    assert one.checkout().grant.term == 8
    assert one.took_s < 0.6


def test_a_server_that_moved_to_another_port_is_looked_for_again() -> None:
    """T13: a node takes the first port that is free when it starts."""
    one = triad(master(7), servers="@lic1")
    one.listens[0] = 27000
    one.checkout()
    one.listens[0] = 27001
    one.checkout()
    assert one.knowledge.topology.nodes[0].port == 27001


def test_a_stranger_on_one_port_does_not_hide_our_server_on_another() -> None:
    """Protocol, Identity: another product's triad may live on the same machine."""
    one = triad(down(), electing(7), electing(7), servers="@lic1,27001@lic2,27002@lic3")
    one.knows_master("secondary", 7)

    def two_servers(part: Part, call: Call, _now: float) -> Reply:
        if call.endpoint.port == 27000:
            return Reply(status=201, body={**speech(cluster="other"), **grant("id-1")})
        return Reply(status=201, body={**speech(term=part.term), **grant("id-1")}, after_s=0.01)

    one.says("primary", master(8, two_servers))
    one.says("secondary", down())
    assert one.checkout().grant.cluster == CLUSTER
    assert one.took_s < 0.1


# --- what an event may be -----------------------------------------------------------------------------------------------------------


def test_waking_a_flow_for_nothing_changes_nothing() -> None:
    """Contract of a runner: ``Woke`` may come at any time."""
    one = triad(down(), electing(7), electing(7))
    one.knows_master()
    task = one.spawn(one.checkout_flow())
    for tenth in range(1, 30):
        one.net.at(one.start + tenth / 10, lambda: one.net.wake(task))
    one.at(3.0, "secondary", master(8))
    one.net.run_until(one.start + 4.0)
    assert task.is_done
    assert task.error is None
    assert one.times_of("secondary") == [0.0]


def test_an_event_of_a_call_that_is_no_more_is_passed_over() -> None:
    """Design, Flows: an event carries the identity of the call; it may cross its cancelling."""
    one = triad()
    flow = ask_master(request(), one.means, now=one.start, deadline=one.start + 5)
    assert len(next(flow).start) == 1
    step = flow.send(Failed(call_id=99, now=one.start + 0.01, outcome=Outcome.RESET, sent=True, detail=""))
    assert (step.start, step.cancel, step.wake_at) == ((), (), one.start + 0.05)


def test_an_answer_tells_when_its_own_request_was_sent() -> None:
    """Design: a lease counts from when the *answered* request was sent, not the first one."""
    one = triad(frozen(), electing(7), electing(7))
    one.at(0.4, "secondary", master(8))
    ended = one.run(ask_master(RenewRequest(ids=("a",)), one.means, now=one.net.now, deadline=one.net.now + 5))
    assert isinstance(ended, Served)
    assert isinstance(ended.reply, Renewed)
    assert (ended.node, round(ended.sent_at - one.start, 3), round(ended.now - one.start, 3)) == (1, 0.05, 0.401)


def test_the_end_without_an_answer_says_whether_a_node_may_have_acted() -> None:
    """Protocol: nothing was sent to nodes that refuse."""
    one = triad(down(), down(), down())
    ended = one.run(ask_master(request(), one.means, now=one.net.now, deadline=one.net.now + 2))
    assert isinstance(ended, Unanswered)
    assert (ended.heard, ended.master_named, ended.may_have_acted, ended.took_s) == (0, False, False, 2.0)
