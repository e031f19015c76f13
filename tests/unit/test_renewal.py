"""The life of many leases under the four endless flows of ``core/renewal.py``, against scripted nodes and a clock that jumps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from random import Random
from typing import Any

import pytest

from palclient.core.flow import Call
from palclient.core.lease import Phase
from palclient.core.wire import MAX_IDS
from palclient.models import LeaseState, Lost, Reacquired, Recovered, Suspect
from tests.unit.keeping import MADE, Keeping
from tests.unit.script import (
    CLUSTER,
    Part,
    down,
    electing,
    frozen,
    grant,
    ids_of,
    kind_of,
    master,
    overloaded,
    problem,
    standby,
)
from tests.unit.virtual_runner import Reply

STORM = 30  # at one address in one second: four flows share it, and the shortest lease here lives 6 s (probes of 0.25 s)


@pytest.fixture(autouse=True)
def _no_storm() -> Iterator[None]:
    MADE.clear()
    yield
    for one in MADE:
        assert one.triad.most_in_a_second() <= STORM, "\n".join(one.triad.log[-60:])


def answers(**by_kind: Any) -> Part:
    """A master of term 7 that serves all, but these kinds as given: a body, or a function of the call."""
    usual = master(7)
    assert usual.serve is not None
    serve = usual.serve

    def special(part: Part, call: Call, now: float) -> Reply:
        body = by_kind.get(kind_of(call))
        if body is None:
            return serve(part, call, now)
        body = body(call) if callable(body) else body
        return Reply(status=body.get("status", 200), body=body)

    return replace(usual, serve=special)


def unknown(call: Call) -> dict[str, Any]:
    """The master knows none of these leases."""
    return {"results": {lease_id: problem("lease-unknown") for lease_id in ids_of(call)}, "waited_s": 0.0}


# --- renewing -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("luck, expected", [(0.0, 54.0), (0.5, 57.0), (1.0, 60.0)])
def test_a_renewal_goes_out_at_nine_tenths_to_ten_tenths_of_a_third_of_the_ttl(luck: float, expected: float) -> None:
    """Design, Flows: measured from when the last confirmed request was sent, so that the answer's way costs nothing."""
    keeping = Keeping(luck=luck)
    keeping.hold("a")
    keeping.until(400)
    times = [at for at, _ in keeping.asked("renewals")]
    assert times[0] == expected
    assert {round(later - earlier, 4) for earlier, later in pairwise(times)} == {expected}
    assert keeping.events == []


def test_leases_that_may_be_renewed_go_with_the_first_that_must() -> None:
    """One request for many leases; but none before nine tenths of its own third."""
    keeping = Keeping(luck=1.0)
    keeping.hold("a")
    keeping.until(5.0)
    keeping.hold("b")
    keeping.until(10.0)
    keeping.hold("c")
    keeping.until(69.0)
    assert [(at, ids_of(call)) for at, call in keeping.asked("renewals")] == [(60.0, ("a", "b"))]
    keeping.until(70.0)
    assert keeping.asked("renewals")[1][1].request.body == b'{"ids":["c"]}'


def test_leases_that_were_taken_one_after_the_other_come_together_in_few_requests() -> None:
    """Issue 4: renewals of many leases cost little; a luck of each lease's own would break every batch into a hundred."""
    keeping, luck = Keeping(), Random(4)
    keeping.leases.luck = luck.random
    for number in range(1000):
        keeping.hold(f"lease-{number}")
        keeping.until(number / 100)
    keeping.until(500.0)
    times = [at for at, _ in keeping.asked("renewals")]
    assert sum(at < 70 for at in times) <= 30  # ten seconds of leases, and up to six that one request may wait for more
    assert sum(at >= 70 for at in times) <= 8 * 10
    assert keeping.events == []


def test_ten_thousand_leases_take_ten_requests() -> None:
    """Protocol: at most 1,000 ids in one request."""
    keeping = Keeping()
    keeping.hold(*(f"lease-{number}" for number in range(2500)))
    keeping.until(56.0)
    assert [len(ids_of(call)) for _, call in keeping.asked("renewals")] == [MAX_IDS, MAX_IDS, 500]
    keeping.until(107.0)
    assert len(keeping.asked("renewals")) == 3


def test_a_lease_that_needs_it_earlier_is_not_made_to_wait() -> None:
    """A short lease is added while the flow waits for the long ones."""
    keeping = Keeping()
    keeping.hold("long")
    keeping.until(1.0)
    keeping.hold("short", ttl_s=6.0)
    keeping.until(3.0)
    assert [at for at, _ in keeping.asked("renewals")] == [2.8]


def test_a_confirmation_counts_from_when_its_own_request_was_sent() -> None:
    """Design, Flows: t_sent + 0.98 * (waited_s + ttl_s) - guard; here the second request was confirmed, parked for 1.499 s."""
    keeping = Keeping()
    record = keeping.hold("a")
    keeping.until(50.0)
    keeping.triad.says("primary", frozen())
    keeping.net.at(keeping.start + 56.0, lambda: keeping.triad.says("secondary", master(8)))
    keeping.until(60.0)
    sent_at = keeping.start + 54.5
    assert record.confirmed_at == pytest.approx(sent_at)
    assert record.valid_until == pytest.approx(sent_at + 0.98 * (1.5 + 180) - 0.25)


def test_a_master_that_is_slow_for_a_moment_keeps_the_renewal_to_itself() -> None:
    """Issue: 200 clients after one failover.  Nobody waits for a renewal, so others are asked only when a probe's time is over; ttl 12: 0.5 s."""
    keeping = Keeping(ttl_s=12.0)
    keeping.hold("a")
    keeping.triad.says("primary", frozen())
    keeping.until(4.5)
    assert [(at, call.node) for at, call in keeping.asked("renewals")] == [(3.6, 0), (4.1, 1)]


def test_a_ttl_that_has_become_shorter_counts() -> None:
    """The lease must not be believed for longer than the newest word of the master says."""
    keeping = Keeping()
    record = keeping.hold("a")
    keeping.triad.says("primary", replace(master(7), ttl_s=6.0))
    keeping.until(55.0)
    assert record.valid_until == pytest.approx(keeping.start + 54.0 + 0.98 * 6 - 0.25)
    assert keeping.leases.ttl_s == 6.0
    keeping.until(56.0)
    assert [at for at, _ in keeping.asked("renewals")] == [54.0, 55.8]


def test_a_failover_costs_one_request_for_each_node_and_no_lease() -> None:
    """Design: the same renewal is parked at both survivors."""
    keeping = Keeping()
    keeping.hold("a", "b", "c")
    keeping.triad.says("primary", down())
    keeping.triad.at(80.0, "secondary", master(8))
    keeping.triad.at(80.0, "tertiary", standby("secondary", 8))
    keeping.until(100.0)
    assert keeping.told(Lost) == []
    assert keeping.told(Suspect) == [59.0, 59.0, 59.0]
    assert keeping.told(Recovered) == [80.001, 80.001, 80.001]
    assert keeping.triad.counts()["secondary"] == 1


# --- suspect, recovered, expired ----------------------------------------------------------------------------------------------------


def test_a_renewal_unconfirmed_for_t_makes_a_lease_suspect_and_an_answer_recovers_it() -> None:
    """Style 15: unsure is a state; T = min(5 s, ttl/12)."""
    keeping = Keeping()
    record = keeping.hold("a")
    for name in ("primary", "secondary", "tertiary"):
        keeping.triad.says(name, down())
    keeping.until(58.9)
    assert keeping.events == []
    keeping.until(59.5)
    (event,) = [event for _, event in keeping.events]
    assert isinstance(event, Suspect)
    assert event.expires_in_s == pytest.approx(0.98 * 180 - 0.25 - 59)
    assert (record.state(keeping.net.now), record.is_valid(keeping.net.now)) == (LeaseState.SUSPECT, True)
    keeping.triad.says("primary", master(7))
    keeping.until(62.0)
    assert keeping.told(Recovered) == [pytest.approx(60.0, abs=1.0)]
    assert record.state(keeping.net.now) is LeaseState.HELD


@pytest.mark.parametrize("ttl_s", [1.0, 6.0, 180.0, 3600.0])
def test_an_unconfirmed_lease_runs_out_at_its_time_and_never_later(ttl_s: float) -> None:
    """Design, Flows: t_sent + 0.98 * (waited_s + ttl_s) - guard, guard = min(0.25 s, ttl/20)."""
    keeping = Keeping(ttl_s=ttl_s)
    record = keeping.hold("a", reacquire=False)
    for name in ("primary", "secondary", "tertiary"):
        keeping.triad.says(name, frozen())
    end_s = 0.98 * ttl_s - min(0.25, ttl_s / 20)
    keeping.until(end_s - 0.001)
    assert record.is_valid(keeping.net.now)
    assert keeping.told(Lost) == []
    assert not record.is_valid(keeping.start + end_s + 1e-6)
    keeping.until(end_s + 0.001)
    assert keeping.told(Lost) == [pytest.approx(end_s, abs=1e-3)]
    assert record.state(keeping.net.now) is LeaseState.LOST
    assert record.lost_reason


def test_an_answer_that_comes_after_the_lease_ran_out_does_not_bring_it_back_in_silence() -> None:
    """A holder was told that it is lost; only an event may say otherwise."""
    keeping = Keeping(ttl_s=6.0)
    record = keeping.hold("a", reacquire=False)
    usual = master(7).serve
    assert usual is not None
    late = replace(master(7), serve=lambda part, call, now: replace(usual(part, call, now), after_s=0.4))
    for name in ("secondary", "tertiary"):
        keeping.triad.says(name, down())
    keeping.triad.says("primary", down())
    keeping.until(5.3)
    keeping.triad.says("primary", late)
    keeping.net.close(keeping.tasks[1])  # the watch has not had its turn yet: the thread was held up
    keeping.until(8.0)
    assert len(keeping.told(Lost)) == 1
    assert not record.is_valid(keeping.net.now)


def test_after_a_sleep_everything_is_confirmed_at_once() -> None:
    """Design, Flows: waking late means re-check first."""
    keeping = Keeping()
    keeping.hold("a", "b")
    keeping.until(10.0)
    keeping.leases.all_due(keeping.net.now)
    keeping.until(10.1)
    assert [(at, ids_of(call)) for at, call in keeping.asked("renewals")] == [(10.0, ("a", "b"))]


# --- the master does not know it ----------------------------------------------------------------------------------------------------


def test_what_the_master_does_not_know_is_claimed_at_once_under_the_same_id() -> None:
    """Design, The lease's life: not valid meanwhile; granted, one event; the same seq says that nobody held the seat in between."""
    keeping = Keeping()
    record = keeping.hold("a")
    keeping.triad.says("primary", answers(renewals=unknown))
    keeping.until(54.0)
    assert record.is_valid(keeping.net.now)
    keeping.until(54.0015)
    assert (record.phase, record.is_valid(keeping.net.now)) == (Phase.CLAIMING, False)
    keeping.until(55.0)
    (at, claim), *more = keeping.asked("claim")
    assert (at, more, claim.request.target) == (54.001, [], "/v1/checkouts/a")
    assert json.loads(claim.request.body)["reclaim"]["seq"] == 42
    assert [event for _, event in keeping.events] == [Reacquired(lease_id="a", grant=record.grant, same_seat=True)]
    assert record.is_valid(keeping.net.now)


@pytest.mark.parametrize("changes", [{"seq": 43}, {"cluster": "new"}])
def test_another_seq_or_cluster_is_another_seat(changes: dict[str, Any]) -> None:
    """Protocol, Identity: seq is the fencing token, of one cluster."""
    keeping = Keeping()
    keeping.hold("a", seq=42, cluster=changes.get("cluster", CLUSTER))
    keeping.triad.says("primary", answers(renewals=unknown, claim=lambda _call: grant("a", seq=changes.get("seq", 42))))
    keeping.until(55.0)
    assert [event.same_seat for _, event in keeping.events if isinstance(event, Reacquired)] == [False]


@pytest.mark.parametrize("reacquire", [True, False])
def test_a_claim_that_is_refused_is_a_loss_and_what_then_is_the_callers_choice(*, reacquire: bool) -> None:
    """Design: refused, Lost; and then ``reacquire`` decides.  One event, however often it is asked again."""
    keeping = Keeping()
    record = keeping.hold("a", reacquire=reacquire)
    keeping.triad.says("primary", answers(renewals=unknown, claim=problem("seats-taken", detail="All taken.")))
    keeping.until(80.0)
    assert [event for _, event in keeping.events] == [Lost(lease_id="a", reason="All taken.")]
    assert record.lost_reason == "All taken."
    claims = [at for at, _ in keeping.asked("claim")]
    assert len(claims) == (6 if reacquire else 1)
    assert all(later - earlier >= 5.0 for earlier, later in pairwise(claims))
    keeping.triad.says("primary", answers(renewals=unknown))
    keeping.until(90.0)
    assert len(keeping.told(Reacquired)) == (1 if reacquire else 0)


def test_a_claim_that_nobody_answers_for_t_is_a_loss() -> None:
    """Design: unanswered for T, Lost."""
    keeping = Keeping()
    keeping.hold("a")

    def unknown_then_silent(call: Call) -> dict[str, Any]:
        for name in ("primary", "secondary", "tertiary"):
            keeping.net.after(0.0, lambda name=name: keeping.triad.says(name, frozen()))  # type: ignore[misc]  # mypy sees no default argument
        return unknown(call)

    keeping.triad.says("primary", answers(renewals=unknown_then_silent))
    keeping.until(70.0)
    assert keeping.told(Lost) == [pytest.approx(59.001)]


def test_a_claim_that_may_have_been_granted_unheard_is_given_up_when_nobody_will_ask_again() -> None:
    """A checkout given up leaves no seat taken; with ``reacquire="never"`` nothing else would end it but the ttl."""
    keeping = Keeping()
    keeping.hold("a", reacquire=False)
    silent_claims = answers(renewals=unknown)
    serve = silent_claims.serve
    assert serve is not None
    late = replace(
        silent_claims,
        serve=lambda part, call, now: replace(serve(part, call, now), after_s=100.0) if kind_of(call) == "claim" else serve(part, call, now),
    )
    keeping.triad.says("primary", late)
    keeping.until(70.0)
    assert keeping.told(Lost) != []
    assert {ids_of(call) for _, call in keeping.asked("return")} == {("a",)}


def test_an_id_that_was_returned_is_never_claimed_again() -> None:
    """Protocol, Problems: id-returned."""
    keeping = Keeping()
    keeping.hold("a")
    keeping.triad.says("primary", answers(renewals=unknown, claim=problem("id-returned")))
    keeping.until(300.0)
    assert len(keeping.asked("claim")) == 1
    assert len(keeping.told(Lost)) == 1


@pytest.mark.parametrize("name", ["overloaded", "electing", "no-quorum", "bad-request", "a-problem-of-2031"])
def test_no_other_problem_of_one_id_ends_its_lease(name: str) -> None:
    """Design: only the local deadline, or the master's own word (-41), ends a lease."""
    keeping = Keeping()
    record = keeping.hold("a")
    keeping.triad.says("primary", answers(renewals=lambda call: {"results": dict.fromkeys(ids_of(call), problem(name))}))
    keeping.until(100.0)
    assert record.phase is Phase.SUSPECT
    assert keeping.asked("claim") == []


def test_a_lost_lease_is_claimed_again_when_the_triad_is_back() -> None:
    """``reacquire="auto"``, after the local deadline."""
    keeping = Keeping(ttl_s=6.0)
    record = keeping.hold("a")
    for name in ("primary", "secondary", "tertiary"):
        keeping.triad.says(name, down())
    keeping.until(60.0)
    assert len(keeping.told(Lost)) == 1
    keeping.triad.says("primary", replace(master(9), ttl_s=6.0))
    keeping.until(63.0)
    assert len(keeping.told(Reacquired)) == 1
    assert record.is_valid(keeping.net.now)


def test_a_lost_lease_is_claimed_again_over_a_network_that_is_slower_than_a_first_attempt() -> None:
    """Design, "What became of the plan": behind a network slower than a twelfth of the ttl no claim would ever be answered in time."""
    keeping = Keeping(ttl_s=6.0)
    keeping.hold("a")
    for name in ("primary", "secondary", "tertiary"):
        keeping.triad.says(name, down())
    keeping.until(60.0)
    slow = replace(master(9), ttl_s=6.0)
    serve = slow.serve
    assert serve is not None
    keeping.triad.says("primary", replace(slow, serve=lambda part, call, now: replace(serve(part, call, now), after_s=0.8)))
    keeping.until(66.0)
    assert len(keeping.told(Reacquired)) == 1


def test_a_word_that_is_older_than_a_claim_does_not_count_against_it() -> None:
    """An answer to a renewal that was sent before the seat was granted anew says nothing about the new grant."""
    keeping = Keeping()
    record = keeping.hold("a")
    from palclient.core.wire import Renewed
    from tests.unit.script import speaker

    old = Renewed(speaker=speaker(), results={"a": "lease-unknown"}, waited_s=0.0)
    keeping.leases.confirm(("a",), keeping.start - 1.0, old)
    assert record.is_valid(keeping.net.now)
    keeping.leases.confirm(("a",), keeping.start - 1.0, replace(old, results={"a": 1.0}))
    assert record.ttl_s == 180.0
    keeping.leases.confirm(("a",), keeping.start, old)
    assert record.is_valid(keeping.net.now), "sent in the same tick of the clock as the claim: nobody knows which was served first"
    keeping.leases.confirm(("a",), keeping.start + 1.0, old)
    assert record.phase is Phase.CLAIMING


# --- answers that lack something ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("results", [{}, {"somebody-else": {"ttl_s": 180}}])
def test_a_reply_that_lacks_an_id_does_not_make_the_client_ask_without_end(results: dict[str, Any]) -> None:
    """Style 5: at the pace of probes, until the lease runs out."""
    keeping = Keeping()
    keeping.hold("a", reacquire=False)
    keeping.triad.says("primary", answers(renewals={"results": results, "waited_s": 0.0}))
    keeping.until(400.0)
    times = [at for at, _ in keeping.asked("renewals")]
    assert all(later - earlier >= 0.5 for earlier, later in pairwise(times))
    assert keeping.told(Lost) == [pytest.approx(0.98 * 180 - 0.25)]


def test_a_lease_that_its_master_forgets_to_name_does_not_hold_up_the_others() -> None:
    """The others are renewed in their time, in requests of their own."""
    keeping = Keeping()
    keeping.hold("a", reacquire=False)
    other = keeping.hold("b")
    keeping.triad.says("primary", answers(renewals=lambda call: {"results": {one: {"ttl_s": 180} for one in ids_of(call) if one == "b"}}))
    keeping.until(400.0)
    assert [event.lease_id for _, event in keeping.events if isinstance(event, Lost)] == ["a"]
    assert other.is_valid(keeping.net.now)


@pytest.mark.parametrize("ttl_s", [1e-9, 0.0, 0.001])
def test_a_renewal_for_no_time_ends_the_lease_and_brings_no_storm(ttl_s: float) -> None:
    """Style 5: the number is the server's.  It is claimed again, at the pace of claims; the other leases are kept as ever."""
    keeping = Keeping()
    keeping.hold("a")
    other = keeping.hold("b")
    keeping.triad.says(
        "primary", answers(renewals=lambda call: {"results": {one: {"ttl_s": ttl_s if one == "a" else 180.0} for one in ids_of(call)}})
    )
    keeping.until(120.0)
    assert len(keeping.asked("renewals")) == 3
    assert len(keeping.asked("claim")) == 2
    assert other.is_valid(keeping.net.now)


def test_an_overloaded_master_is_left_alone_for_its_time() -> None:
    """Protocol, Problems."""
    keeping = Keeping()
    keeping.hold("a")
    keeping.triad.says("primary", overloaded(7, 10.0))
    keeping.until(76.0)
    assert [at for at, _ in keeping.asked("renewals")] == [54.0, 64.001, 74.002]


# --- returning ----------------------------------------------------------------------------------------------------------------------


def test_a_lease_that_is_returned_while_its_renewal_is_on_the_way_stays_returned() -> None:
    """The answer is for a lease that is no more."""
    for reply in (None, unknown):
        keeping = Keeping()
        record = keeping.hold("a")
        keeping.triad.says("primary", answers(renewals=reply))
        keeping.until(54.0)
        assert len(keeping.asked("renewals")) == 1
        keeping.leases.remove("a")
        keeping.until(60.0)
        assert record.phase is Phase.RETURNED
        assert keeping.events == []
        assert keeping.asked("claim") == []


def test_a_lease_that_is_returned_while_its_claim_is_on_the_way_is_given_back_again() -> None:
    """Exactly once: the claim may have been served after the return."""
    keeping = Keeping()
    record = keeping.hold("a")
    keeping.triad.says("primary", answers(renewals=unknown))
    keeping.until(54.0015)
    assert len(keeping.asked("claim")) == 1
    keeping.leases.remove("a")
    keeping.until(60.0)
    assert record.phase is Phase.RETURNED
    assert keeping.told(Reacquired) == []
    assert [ids_of(call) for _, call in keeping.asked("return")] == [("a",)]
    assert keeping.leases.ids() == ()


@pytest.mark.parametrize("answer", [problem("seats-taken"), problem("id-returned")])
def test_a_claim_refused_after_the_return_changes_nothing(answer: dict[str, Any]) -> None:
    """It is no loss: the holder gave it back."""
    keeping = Keeping()
    record = keeping.hold("a")
    keeping.triad.says("primary", answers(renewals=unknown, claim=answer))
    keeping.until(54.0015)
    keeping.leases.remove("a")
    keeping.until(60.0)
    assert (record.phase, keeping.events) == (Phase.RETURNED, [])


def test_returning_twice_is_harmless() -> None:
    """api: ``checkin``."""
    keeping = Keeping()
    keeping.hold("a")
    assert keeping.leases.remove("a") is not None
    assert keeping.leases.remove("a") is None


def test_a_lease_that_was_dropped_is_returned() -> None:
    """api: a lease that is dropped without checkin is returned."""
    keeping = Keeping()
    record = keeping.hold("a")
    keeping.leases.drop("a")
    assert keeping.leases.ids() == ("a",)
    keeping.until(1.0)
    assert record.phase is Phase.RETURNED
    assert [(at, ids_of(call)) for at, call in keeping.asked("return")] == [(0.0, ("a",))]
    keeping.leases.drop("never-seen")
    keeping.until(2.0)
    assert len(keeping.asked("return")) == 1


def test_a_return_goes_on_until_a_master_confirms_it() -> None:
    """Design: what is not confirmed in time the keeper goes on with."""
    keeping = Keeping()
    for name in ("primary", "secondary", "tertiary"):
        keeping.triad.says(name, down())
    keeping.leases.give_up("a", now=keeping.net.now)
    keeping.until(30.0)
    assert keeping.leases.returns
    keeping.triad.says("secondary", master(8))
    keeping.until(34.0)
    assert not keeping.leases.returns
    asked = len(keeping.net.asked)
    keeping.until(100.0)
    assert len(keeping.net.asked) == asked


def test_a_return_ends_when_the_ttl_has_settled_it() -> None:
    """Protocol: no server can hold the seat any longer, and the id is dead for a minute at least."""
    for ttl_s, settled_s in ((6.0, 60.0), (180.0, 180.0)):
        keeping = Keeping(ttl_s=ttl_s)
        keeping.hold("b")
        keeping.leases.remove("b")
        for name in ("primary", "secondary", "tertiary"):
            keeping.triad.says(name, down())
        keeping.leases.give_up("a", now=keeping.net.now)
        keeping.until(settled_s - 3.0)
        assert keeping.leases.returns
        keeping.until(settled_s + 3.0)
        assert not keeping.leases.returns


def test_many_returns_go_in_batches() -> None:
    """Protocol: at most 1,000 ids in one request."""
    keeping = Keeping()
    for number in range(1500):
        keeping.leases.give_up(f"lease-{number}", now=keeping.net.now)
    keeping.until(1.0)
    assert sum(len(ids_of(call)) for _, call in keeping.asked("returns")) >= 1500
    assert max(len(ids_of(call)) for _, call in keeping.asked("returns")) == MAX_IDS
    assert not keeping.leases.returns


@pytest.mark.parametrize("results", [{}, {"somebody-else": True}])
def test_a_return_that_its_answer_does_not_name_is_asked_again_at_a_pace(results: dict[str, bool]) -> None:
    """Style 5; and an id that was not asked for is not taken for settled."""
    keeping = Keeping()
    keeping.triad.says("primary", answers(returns={"results": results}))
    keeping.triad.says("primary", replace(answers(returns={"results": results}, **{"return": {"results": results}})))
    keeping.leases.give_up("a", now=keeping.net.now)
    keeping.leases.give_up("b", now=keeping.net.now)
    keeping.until(10.0)
    assert len(keeping.net.asked) <= 7
    assert set(keeping.leases.returns) == {"a", "b"}


def test_a_return_that_is_confirmed_by_bits_goes_on_at_a_pace() -> None:
    """Style 5: one request for each id, one after the other, would be a storm."""
    keeping = Keeping()
    keeping.triad.says("primary", answers(returns=lambda call: {"results": {ids_of(call)[0]: True}}))
    for number in range(20):
        keeping.leases.give_up(f"lease-{number}", now=keeping.net.now)
    keeping.until(9.0)
    assert len(keeping.asked("returns")) == 5


def test_the_losers_of_a_race_are_cancelled_though_the_flow_goes_on() -> None:
    """Design, Flows: the loser is cancelled; a keeper's flow never ends, so its end cannot be waited for."""
    keeping = Keeping()
    keeping.hold("a")
    keeping.triad.says("primary", frozen())
    keeping.triad.says("tertiary", electing(7))
    keeping.triad.at(55.3, "secondary", master(8))
    keeping.until(55.4)
    assert [task.open for task in keeping.tasks] == [{}] * 4
    assert sorted(asked.call.node for asked in keeping.net.cancelled) == [0, 2]


# --- another cluster ----------------------------------------------------------------------------------------------------------------


def test_a_replaced_cluster_ends_the_leases_of_the_old_one_and_of_no_other() -> None:
    """Protocol, Identity; a lease that the new cluster granted a moment ago is held."""
    keeping = Keeping()
    old = keeping.hold("old", reacquire=False)
    new = keeping.hold("new", cluster="new")
    keeping.triad.knows_master("secondary", 1, cluster="new")
    keeping.triad.knows_master("primary", 1, cluster="new")
    keeping._wake()
    keeping.until(1.0)
    assert [event for _, event in keeping.events] == [Lost(lease_id="old", reason="the cluster was replaced by another")]
    assert (old.is_valid(keeping.net.now), new.is_valid(keeping.net.now)) == (False, True)


def test_a_lease_of_the_old_cluster_is_claimed_in_the_new_one() -> None:
    """``reacquire="auto"``; it is another seat."""
    keeping = Keeping()
    for name, part in (("primary", master(1, cluster="new")), ("secondary", standby("primary", 1, cluster="new"))):
        keeping.triad.says(name, part)
    keeping.hold("a")
    keeping.triad.knows_master("secondary", 1, cluster="new")
    keeping.triad.knows_master("primary", 1, cluster="new")
    keeping._wake()
    keeping.until(10.0)
    assert [type(event) for _, event in keeping.events] == [Lost, Reacquired]
    assert [event.same_seat for _, event in keeping.events if isinstance(event, Reacquired)] == [False]


def test_electing_nodes_hold_a_renewal_and_are_not_asked_meanwhile() -> None:
    """Protocol, Parking: a tenth of the requests."""
    keeping = Keeping()
    keeping.hold("a")
    keeping.triad.says("primary", down())
    keeping.triad.says("secondary", electing(7))
    keeping.triad.says("tertiary", electing(7))
    keeping.until(83.0)
    assert keeping.triad.counts()["secondary"] == keeping.triad.counts()["tertiary"] == 1
