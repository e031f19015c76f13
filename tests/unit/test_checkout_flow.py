"""Checkout, return, status and usage from beginning to end: what a caller gets, and what is left behind."""

from __future__ import annotations

import json

import pytest

from palclient.core.checkout import give_back, status, usage
from palclient.core.flow import Call
from palclient.core.topology import FellSilent
from palclient.core.wire import MAX_PARK_S
from palclient.errors import CheckoutDenied, CheckoutTimeout, NoQuorum, NoServerReachable, PalError, ProtocolError, SeatsTaken
from palclient.models import NodeStatus, Role, TriadStatus, Waiting
from tests.unit.script import (
    STATUS_OF,
    Part,
    ScriptedTriad,
    denying,
    down,
    electing,
    frozen,
    garbage,
    grant,
    ids_of,
    master,
    no_quorum,
    problem,
    speech,
    standby,
)
from tests.unit.virtual_runner import SILENCE, Reply

DENIALS = "too-many-asked feature-unknown version-not-covered expired not-started excluded not-included".split()


def in_turn(*replies: Reply) -> Part:
    """A master of term 7 that answers with these, one after the other, and with the last for ever."""
    left = list(replies)
    return master(7, lambda _part, _call, _now: left.pop(0) if len(left) > 1 else left[0])


def queued(position: int, of: int = 5, poll_s: float = 5.0) -> Reply:
    """A place in line."""
    return Reply(status=202, body={"id": "id-1", "position": position, "of": of, "poll_s": poll_s})


GRANTED = Reply(status=201, body=grant("id-1"))
TAKEN = Reply(status=409, body=problem("seats-taken", detail="All 5 seats of CAD are taken.", in_use=5, total=5, code=-4))


def one_node(part: Part, *, luck: float = 0.0) -> ScriptedTriad:
    """A triad whose master plays this part."""
    made = ScriptedTriad(luck=luck)
    made.knows_master()
    made.says("primary", part)
    return made


# --- the master's no ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DENIALS)
def test_a_denial_is_an_error_with_the_masters_words_and_leaves_nothing_behind(name: str) -> None:
    """Protocol, Problems; G6: no other node is asked."""
    one = one_node(denying(7, name, detail="Because.", code=-99))
    with pytest.raises(CheckoutDenied, match=r"CAD: \(-99\) Because\.") as caught:
        one.checkout(wait_s=60.0)
    error = caught.value
    assert (error.feature, error.reason, error.code, error.retryable) == ("CAD", name, -99, False)
    assert error.advice
    assert one.counts() == {"primary": 1}
    assert not one.trace.may_be_taken


@pytest.mark.parametrize("name", ["seats-taken", "over-max", "reserved"])
def test_a_full_pool_is_a_denial_that_may_pass(name: str) -> None:
    """api: SeatsTaken with ``in_use``, ``total``, ``retry_after_s``."""
    one = one_node(denying(7, name, in_use=5, total=5, retry_after_s=3))
    with pytest.raises(SeatsTaken) as caught:
        one.checkout()
    error = caught.value
    assert (error.reason, error.in_use, error.total, error.retry_after_s, error.retryable) == (name, 5, 5, 3.0, True)
    assert one.counts() == {"primary": 1}
    assert not one.trace.may_be_taken


@pytest.mark.parametrize("name", ["bad-request", "too-large", "unsupported-version", "other-request", "id-returned"])
def test_our_own_fault_is_said_so(name: str) -> None:
    """Protocol, Problems: ProtocolError."""
    one = one_node(denying(7, name))
    with pytest.raises(ProtocolError, match=name) as caught:
        one.checkout()
    assert caught.value.code == -1


ENDS: dict[str, type[PalError]] = {
    **dict.fromkeys(DENIALS, CheckoutDenied),
    **dict.fromkeys(["seats-taken", "over-max", "reserved"], SeatsTaken),
    **dict.fromkeys(["bad-request", "too-large", "unsupported-version", "other-request", "id-returned"], ProtocolError),
    **dict.fromkeys(["no-quorum", "electing"], NoQuorum),
    **dict.fromkeys(["not-master", "overloaded"], CheckoutTimeout),
    "lease-unknown": CheckoutDenied,
}


@pytest.mark.parametrize("name", STATUS_OF)
def test_every_problem_of_the_table_has_its_end(name: str) -> None:
    """Protocol, Problems: no name falls through, said by the one node that answers."""
    one = one_node(denying(7, name, master="secondary" if name == "not-master" else None))
    one.says("secondary", down())
    one.says("tertiary", down())
    with pytest.raises(PalError) as caught:
        one.checkout(timeout_s=2.0)
    assert type(caught.value) is ENDS[name]
    assert one.most_in_a_second() <= 8


def test_a_denial_after_an_unanswered_try_gives_the_id_up() -> None:
    """The first request may still be on its way, and take the seat when somebody returns one."""
    one = ScriptedTriad()
    one.knows_master()
    one.says("primary", fails_once_then(TAKEN))
    one.says("secondary", down())
    one.says("tertiary", down())
    with pytest.raises(SeatsTaken):
        one.checkout()
    assert one.trace.may_be_taken


def test_a_denial_while_the_old_master_still_has_the_request_gives_the_id_up() -> None:
    """It is frozen, not dead; a parked request needs no such care: it is dropped with its connection."""
    one = ScriptedTriad()
    one.knows_master()
    one.says("primary", frozen())
    one.says("secondary", denying(8, "seats-taken"))
    with pytest.raises(SeatsTaken):
        one.checkout()
    assert one.trace.may_be_taken
    parked = ScriptedTriad()
    parked.knows_master()
    parked.says("primary", down())
    parked.says("tertiary", electing(7))
    parked.at(0.3, "secondary", denying(8, "seats-taken"))
    with pytest.raises(SeatsTaken):
        parked.checkout()
    assert not parked.trace.may_be_taken


def fails_once_then(reply: Reply) -> Part:
    """The answer to the first request gets lost (an answer that is cut short is not JSON)."""
    return in_turn(Reply(body=b'{"node": "27000@pri'), reply)


def test_a_lost_answer_is_asked_for_again_under_the_same_id() -> None:
    """Exactly once: G3."""
    one = ScriptedTriad()
    one.knows_master()
    one.says("primary", fails_once_then(GRANTED))
    one.says("secondary", down())
    one.says("tertiary", down())
    taken = one.checkout()
    assert taken.sent_at == pytest.approx(one.start + 0.501)
    assert [ids_of(call) for call in one.asked_of("primary")] == [("id-1",), ("id-1",)]
    assert one.asked_of("primary")[0].request == one.asked_of("primary")[1].request


# --- in line ------------------------------------------------------------------------------------------------------------------------


def test_without_wait_nobody_stands_in_line() -> None:
    """api: ``wait=0``."""
    one = one_node(in_turn(TAKEN))
    with pytest.raises(SeatsTaken):
        one.checkout()
    assert json.loads(one.asked_of("primary")[0].request.body)["queue"] is False


def test_a_place_in_line_is_asked_for_until_it_is_a_seat() -> None:
    """Protocol, 202: every ``poll_s``; each answer tells how far it is."""
    one = one_node(in_turn(queued(3), queued(2), queued(1), GRANTED))
    one.checkout(wait_s=60.0)
    assert one.times_of("primary") == [0.0, 5.001, 10.002, 15.003]
    assert one.waiting == [Waiting(lease_id="id-1", position=position, of=5) for position in (3, 2, 1)]
    assert json.loads(one.asked_of("primary")[0].request.body)["queue"] is True
    assert one.counts() == {"primary": 4}


def test_those_who_wait_do_not_ask_in_step() -> None:
    """Style 16: jitter on all that is periodic; early, never late: a place in line is kept by asking."""
    one = one_node(in_turn(queued(2), GRANTED), luck=1.0)
    one.checkout(wait_s=60.0)
    assert one.times_of("primary") == [0.0, 3.751]


def test_when_the_waiting_time_is_over_the_line_is_left() -> None:
    """api: still in line, SeatsTaken; the place must be given up."""
    one = one_node(in_turn(queued(3)))
    with pytest.raises(SeatsTaken, match="place 3 of 5") as caught:
        one.checkout(wait_s=12.0)
    assert one.times_of("primary") == [0.0, 5.001, 10.002, 12.0]
    assert one.took_s == 12.001
    assert one.trace.may_be_taken
    assert caught.value.code == -4


@pytest.mark.parametrize("poll_s", [0, 1e-9, 0.05])
def test_a_line_that_wants_to_be_asked_without_end_is_not(poll_s: float) -> None:
    """Style 5: the number is the server's."""
    one = one_node(in_turn(queued(3, poll_s=poll_s)))
    with pytest.raises(SeatsTaken):
        one.checkout(wait_s=3.0)
    assert one.most_in_a_second() <= 11


def test_a_server_without_a_line_is_asked_again_while_the_caller_waits() -> None:
    """Protocol: a server may have no line, and answers 409 to ``queue: true``."""
    one = one_node(in_turn(TAKEN, TAKEN, GRANTED))
    one.checkout(wait_s=60.0)
    assert one.times_of("primary") == [0.0, 1.001, 2.002]


@pytest.mark.parametrize("retry_after_s, second", [(0.001, 0.101), (0.5, 0.501), (7.0, 7.001), (3600.0, 20.0)])
def test_a_server_without_a_line_may_say_when_to_ask(retry_after_s: float, second: float) -> None:
    """Protocol, Problems: ``retry_after_s``, within reason, and within the caller's own time."""
    again = Reply(status=409, body=problem("seats-taken", retry_after_s=retry_after_s))
    one = one_node(in_turn(again, GRANTED))
    one.checkout(wait_s=20.0)
    assert one.times_of("primary") == [0.0, second]


def test_a_full_pool_without_a_line_ends_when_the_waiting_time_is_over() -> None:
    """api: the whole call ends within timeout + wait."""
    one = one_node(in_turn(TAKEN))
    with pytest.raises(SeatsTaken, match="All 5 seats of CAD are taken"):
        one.checkout(wait_s=2.5)
    assert one.took_s == 2.501
    assert not one.trace.may_be_taken


def test_who_waits_for_ever_waits_through_a_failover() -> None:
    """api: ``wait=None``; each answer of the line starts the timeout anew."""
    one = one_node(in_turn(queued(1)))
    one.at(100.0, "primary", down())
    one.at(104.0, "secondary", master(8))
    taken = one.checkout(wait_s=float("inf"), timeout_s=10.0)
    assert taken.grant.term == 8
    assert 104.0 < one.took_s < 105.0


def test_a_master_that_falls_silent_on_those_in_line_is_a_timeout() -> None:
    """api: a serving master fell silent; the place may be a seat by now."""
    one = one_node(in_turn(queued(1)))
    for name in ("primary", "secondary", "tertiary"):
        one.at(1.0, name, down())
    with pytest.raises(CheckoutTimeout) as caught:
        one.checkout(wait_s=60.0, timeout_s=10.0)
    assert caught.value.code == -7
    assert one.took_s == 15.001
    assert one.trace.may_be_taken


def test_a_line_that_ends_in_a_denial_is_a_denial() -> None:
    """The license may run out while somebody waits."""
    one = one_node(in_turn(queued(1), Reply(status=403, body=problem("expired"))))
    with pytest.raises(CheckoutDenied) as caught:
        one.checkout(wait_s=60.0)
    assert caught.value.reason == "expired"


@pytest.mark.parametrize("timeout_s, wait_s", [(0.0, 0.0), (0.3, 0.0), (2.0, 3.0), (10.0, 1.0)])
@pytest.mark.parametrize(
    "part", [down(), frozen(), no_quorum(7), electing(7, holds=False), standby("secondary", 7), in_turn(queued(2)), in_turn(TAKEN)]
)
def test_a_checkout_ends_within_timeout_and_wait_whatever_the_triad_does(part: Part, timeout_s: float, wait_s: float) -> None:
    """api: the whole call ends within timeout + wait; with ``timeout=0`` each of three silent nodes has its second."""
    one = ScriptedTriad()
    for name in ("primary", "secondary", "tertiary"):
        one.says(name, part)
    with pytest.raises(PalError):
        one.checkout(timeout_s=timeout_s, wait_s=wait_s)
    assert one.took_s <= (timeout_s or 1.05) + wait_s + 0.002
    assert one.most_in_a_second() <= 8


def test_whatever_interrupts_a_checkout_the_id_is_to_be_given_up() -> None:
    """Ctrl-C at any point: the trace says so from the first step on."""
    one = ScriptedTriad()
    task = one.spawn(one.checkout_flow())
    assert one.trace.may_be_taken
    one.net.close(task)
    assert one.trace.may_be_taken
    assert [asked.call.id for asked in one.net.cancelled] == [1]


# --- give back ----------------------------------------------------------------------------------------------------------------------


def returned(one: ScriptedTriad, *ids: str, timeout_s: float = 2.0) -> frozenset[str]:
    """What a master took back."""
    return one.run(give_back(ids, one.means, now=one.net.now, timeout_s=timeout_s)).ids


def test_a_return_is_one_request_at_a_known_master() -> None:
    """Protocol: DELETE for one id, POST for many."""
    one = one_node(master(7))
    assert returned(one, "a") == {"a"}
    assert returned(one, "a", "b") == {"a", "b"}
    assert [call.request.method for call in one.asked_of("primary")] == ["DELETE", "POST"]


def test_a_return_ends_in_time_and_raises_nothing() -> None:
    """Design: ``checkin()`` returns within 2 s in any weather."""
    for part in (down(), frozen(), no_quorum(7), garbage(), denying(7, "bad-request"), denying(7, "boiler-exploded")):
        one = one_node(part)
        for name in ("secondary", "tertiary"):
            one.says(name, part)
        assert returned(one, "a") == frozenset()
        assert one.took_s <= 2.0


def test_ids_that_were_not_asked_about_are_not_taken_for_returned() -> None:
    """A reply settles what it was asked for, and nothing else."""
    one = one_node(in_turn(Reply(body={"results": {"a": True, "zzz": True}})))
    assert returned(one, "a", "b") == {"a"}


def test_a_seat_that_was_not_held_any_more_is_returned_too() -> None:
    """Protocol: False is no error."""
    assert returned(one_node(in_turn(Reply(body={"returned": False}))), "a") == {"a"}


def test_a_return_survives_a_failover() -> None:
    """It is parked like any request."""
    one = one_node(down())
    one.at(0.4, "secondary", master(8))
    assert returned(one, "a") == {"a"}
    assert one.took_s == 0.401


# --- usage and status ---------------------------------------------------------------------------------------------------------------


def test_usage_is_the_masters_word() -> None:
    """Protocol: 421 elsewhere."""
    one = ScriptedTriad()
    one.says("primary", standby("secondary", 8))
    one.says("secondary", master(8))
    assert one.run(usage(one.means, now=one.net.now, timeout_s=5.0)) == ()
    assert one.counts() == {"primary": 1, "secondary": 1}


def test_usage_ends_as_a_checkout_does() -> None:
    """api: TriadUnavailable and ProtocolError."""
    one = ScriptedTriad()
    for name in ("primary", "secondary", "tertiary"):
        one.says(name, down())
    with pytest.raises(NoServerReachable, match="tried usage"):
        one.run(usage(one.means, now=one.net.now, timeout_s=1.0))
    odd = one_node(denying(7, "feature-unknown"))
    with pytest.raises(ProtocolError):
        odd.run(usage(odd.means, now=odd.net.now, timeout_s=1.0))


def state(name: str, *, term: int = 7, quorum: bool = True) -> Part:
    """A node that answers its status with this state."""

    def answers(_part: Part, _call: Call, _now: float) -> Reply:
        return Reply(body={"state": name, "quorum": quorum, "master": "primary"})

    return master(term, answers)


def seen(*parts: Part, servers: str = "27000@lic1,27001@lic2,27002@lic3") -> tuple[ScriptedTriad, TriadStatus]:
    """The status of a triad whose nodes play these parts."""
    one = ScriptedTriad(servers=servers)
    for name, part in zip(("primary", "secondary", "tertiary"), parts, strict=False):
        one.says(name, part)
    return one, one.run(status(one.means, now=one.net.now, timeout_s=2.0))


def test_a_status_asks_every_node_at_once_and_tells_each_ones_word() -> None:
    """api: ``status``; a silent node is ``unreachable``, and no error."""
    one, found = seen(state("master"), frozen(), down())
    assert [node.state for node in found.nodes] == ["master", "unreachable", "unreachable"]
    assert [node.reachable for node in found.nodes] == [True, False, False]
    assert "timed out" in found.nodes[1].detail
    assert "refused" in found.nodes[2].detail
    assert found.master == found.nodes[0]
    assert (found.nodes[0].role, found.nodes[0].master, found.nodes[0].term) == (Role.PRIMARY, Role.PRIMARY, 7)
    assert (one.took_s, one.counts().total()) == (2.0, 3)


def test_a_status_shows_two_masters_and_believes_the_higher_term_or_none() -> None:
    """T7; protocol, Identity."""
    assert seen(state("master", term=7), state("master", term=8), down())[1].master == seen(down(), state("master", term=8), down())[1].master
    assert seen(state("master"), state("master"), down())[1].master is None
    assert seen(state("master", quorum=False), state("dreaming"), down())[1].master is None


def test_what_is_not_ours_is_unreachable_and_says_why() -> None:
    """Protocol: such a reply counts as no answer."""
    _, found = seen(garbage(), denying(7, "bad-request"), fails_once_then(TAKEN))
    assert [node.state for node in found.nodes] == ["unreachable"] * 3
    assert "not JSON" in found.nodes[0].detail
    assert isinstance(found.nodes[1], NodeStatus)


def test_a_status_teaches_who_is_master() -> None:
    """The next checkout is one request."""
    one, _ = seen(state("standby", term=8), state("master", term=8), state("standby", term=8))
    assert one.knowledge.topology.master == 1


def test_a_status_finds_a_server_without_a_port_among_ten_and_forgets_one_that_is_gone() -> None:
    """N2; T13: it takes another port when it starts again."""
    one = ScriptedTriad(servers="@lic1")
    one.listens[0] = 27003
    one.says("primary", state("master"))
    found = one.run(status(one.means, now=one.net.now, timeout_s=2.0))
    assert (found.nodes[0].endpoint.port, found.nodes[0].state) == (27003, "master")
    assert one.knowledge.topology.nodes[0].port == 27003
    one.listens[0] = 27004
    assert one.run(status(one.means, now=one.net.now, timeout_s=2.0)).nodes[0].state == "unreachable"
    assert one.run(status(one.means, now=one.net.now, timeout_s=2.0)).nodes[0].endpoint.port == 27004


def test_silence_on_other_ports_does_not_outweigh_the_word_on_one() -> None:
    """N2: a firewall may swallow what goes to the nine others."""
    one = ScriptedTriad(servers="@lic1")
    one.listens[0], one.elsewhere = 27003, SILENCE
    one.says("primary", state("master"))
    found = one.run(status(one.means, now=one.net.now, timeout_s=2.0))
    assert (found.nodes[0].state, found.nodes[0].endpoint.port) == ("master", 27003)
    assert one.knowledge.topology.nodes[0].port == 27003


def test_after_a_failed_master_a_status_is_still_asked_of_all() -> None:
    """Knowledge of failures concerns requests to the master only."""
    one = ScriptedTriad()
    one.knows_master()
    one.knowledge.learn(FellSilent(node=0, term=7))
    one.run(status(one.means, now=one.net.now, timeout_s=2.0))
    assert one.counts() == {"primary": 1, "secondary": 1, "tertiary": 1}


def test_the_longest_time_that_a_node_may_hold_a_request_is_the_protocols() -> None:
    """Protocol, Parking: up to 30 s."""
    one = ScriptedTriad()
    for name in ("primary", "secondary", "tertiary"):
        one.says(name, electing(7))
    one.at(200.0, "secondary", master(8))
    one.checkout(timeout_s=300.0)
    waits = {dict(call.request.headers).get("Prefer") for call in one.asked_of("secondary")}
    assert waits == {f"wait={MAX_PARK_S}"}


def test_a_grant_of_another_id_is_not_ours_to_use() -> None:
    """A node that mixes up its clients is one that did not answer."""
    one = one_node(in_turn(Reply(status=201, body={**speech(), **grant("another")}), GRANTED))
    one.says("secondary", down())
    one.says("tertiary", down())
    assert one.checkout().grant.id == "id-1"
