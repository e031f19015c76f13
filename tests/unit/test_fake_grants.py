"""What a serving master does for clients: checkouts, renewals, returns, the line, usage (G2 to G4, G6, E3, E4, protocol)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fakeserver.events import Answer, Checkout, ClientCall, Renew, Request, Return, Status, Tick, Usage
from fakeserver.policy import CLOCK_MARGIN, DEAD_S, lease_ttl_s, poll_s, smallest_ttl_s
from fakeserver.roles import Role
from fakeserver.seats import first_number
from tests.simulation.virtual_triad import FAILOVER_S, HEARTBEAT_S, HOLDER, PRIMARY, SECONDARY, TERTIARY, TTL_S, VirtualTriad

A = Checkout(id="a", feature="RISK", version="0", count=1, holder=HOLDER, nonce="n1")
HELD_S = TTL_S * (1 + CLOCK_MARGIN)


@pytest.fixture
def triad() -> VirtualTriad:
    """A triad with a pool of two, the primary serving."""
    made = VirtualTriad()
    made.start(*Role)
    made.run_until_serving(0.1)
    made.run(0.5)
    return made


def do(triad: VirtualTriad, request: Request) -> Answer:
    """Ask the master, and wait for the way to a second node and back."""
    master = triad.master()
    assert master is not None
    token = triad.ask(master, request)
    triad.run(0.005)
    return triad.answers[token]


def name(answer: Answer) -> str:
    """The name of a problem, or the status of a success."""
    return str(answer.body.get("type", answer.status)).rpartition(":")[2]


def usage(triad: VirtualTriad) -> dict[str, object]:
    """What the master tells of the one pool."""
    features = do(triad, Usage()).body["features"]
    assert isinstance(features, list)
    entry: dict[str, object] = features[0]
    return entry


def keep(triad: VirtualTriad, identity: str, seconds: float) -> None:
    """Let time pass while a client renews."""
    end = triad.now + seconds
    while triad.now < end:
        do(triad, Renew(ids=(identity,)))
        triad.run(TTL_S / 4)


# --- the logs ------------------------------------------------------------------------------------------------------------------------


def report(triad: VirtualTriad) -> list[tuple[object, ...]]:
    """Node, term, event and id of every line of all report logs, in order."""
    return [(line["node"], line["term"], line["event"], line.get("id")) for _, _, line in triad.report]


def test_the_report_log_says_what_the_debug_log_says(triad: VirtualTriad) -> None:
    """T6, T14: the same events in the same order, with all that is known of each."""
    do(triad, A)
    do(triad, replace(A, id="b"))
    do(triad, replace(A, id="c"))
    do(triad, replace(A, id="d", queue=True))
    do(triad, Return(ids=("a",)))
    do(triad, replace(A, id="d", queue=True))
    triad.run(2 * HELD_S)
    words = ["OUT", "OUT", "DENIED", "QUEUED", "IN", "DEQUEUED", "OUT", "IN", "IN"]
    events = [line for _, _, line in triad.report if line["event"] != "CONNECTED"]
    texts = [text for _, _, text in triad.lines]
    assert [line["event"] for line in events] == words
    assert [text.partition(":")[0] for text in texts if ": RISK ann@pc7" in text] == words
    out, denied, expired = events[0], events[2], events[-1]
    assert out == {"node": "27000@lic1", "role": "primary", "term": 1, "event": "OUT", "id": "a", "feature": "RISK", "version": "0", "count": 1} | {
        "holder": HOLDER,
        "seq": 1,
    }
    assert (denied["type"], denied["code"], denied["reason"]) == ("urn:palclient:problem:seats-taken", -4, "All seats are taken")
    assert expired["reason"] == "EXPIRED"
    assert "IN: RISK ann@pc7 (EXPIRED)" in texts


def test_the_new_masters_report_goes_on_after_a_failover(triad: VirtualTriad) -> None:
    """T6: a log is the master's affair; the next one's begins with its term."""
    do(triad, A)
    triad.crash(PRIMARY)
    triad.run_until_serving(2.0)
    do(triad, Return(ids=("a",)))
    second = ("27001@lic2", 2)
    assert report(triad) == [("27000@lic1", 1, "CONNECTED", None), ("27000@lic1", 1, "OUT", "a"), (*second, "CONNECTED", None), (*second, "IN", "a")]


def test_what_was_granted_to_a_client_that_hung_up_is_in_the_logs(triad: VirtualTriad) -> None:
    """T14: the seat is taken until it runs out, whoever waits for the answer."""
    token = triad.ask(PRIMARY, A)
    triad.hang_up(PRIMARY, token)
    triad.run(0.005)
    assert token not in triad.answers
    assert report(triad)[1:] == [("27000@lic1", 1, "OUT", "a")]


# --- checkouts ----------------------------------------------------------------------------------------------------------------------


def test_a_grant_tells_all_that_the_protocol_promises(triad: VirtualTriad) -> None:
    """Protocol: 201."""
    answer = do(triad, A)
    assert answer.status == 201
    assert answer.body == {
        "node": "27000@lic1",
        "role": "primary",
        "cluster": "c1",
        "term": 1,
        "id": "a",
        "feature": "RISK",
        "version": "0",
        "count": 1,
        "seq": 1,
        "ttl_s": TTL_S,
        "renew_s": pytest.approx(TTL_S / 3),
        "granted_at": answer.body["granted_at"],
        "nonce": "n1",
        "waited_s": 0.0,
    }


def test_asking_twice_takes_one_seat_and_renews_it(triad: VirtualTriad) -> None:
    """G3: 200, the same seq, also after a failover."""
    do(triad, A)
    again = do(triad, A)
    assert (again.status, again.body["seq"], again.body["ttl_s"]) == (200, 1, TTL_S)
    triad.crash(PRIMARY)
    triad.run_until_serving(1.0)
    after = do(triad, A)
    assert (after.status, after.body["seq"], after.body["role"]) == (200, 1, "secondary")
    assert usage(triad)["in_use"] == 1


@pytest.mark.parametrize(
    "other",
    [replace(A, count=2), replace(A, version="1"), replace(A, holder={"user": "bob", "host": "pc7"}), replace(A, feature="OTHER")],
)
def test_another_request_under_a_living_id_is_refused(triad: VirtualTriad, other: Checkout) -> None:
    """Protocol, Identity: 422."""
    do(triad, A)
    assert name(do(triad, other)) == "other-request"


def test_a_full_pool_says_how_full_and_is_asked_in_vain(triad: VirtualTriad) -> None:
    """G6, E8: a pool of two cannot hold three."""
    do(triad, replace(A, count=2))
    answer = do(triad, replace(A, id="b"))
    assert (answer.status, answer.body["code"]) == (409, -4)
    assert (answer.body["in_use"], answer.body["total"]) == (2, 2)


@pytest.mark.parametrize(
    "request_, problem",
    [
        (replace(A, feature="NONE"), "feature-unknown"),
        (replace(A, count=3), "too-many-asked"),
        (replace(A, count=0), "bad-request"),
        (Renew(ids=tuple(str(number) for number in range(1001))), "bad-request"),
        (Return(ids=tuple(str(number) for number in range(1001))), "bad-request"),
    ],
)
def test_what_can_never_be_granted_is_told_apart(triad: VirtualTriad, request_: Request, problem: str) -> None:
    """Protocol, Problems."""
    assert name(do(triad, request_)) == problem


def test_seq_numbers_grants_and_never_falls_over_a_failover(triad: VirtualTriad) -> None:
    """Protocol, Identity: the fencing token of a seat changes only when it is granted anew."""
    do(triad, A)
    do(triad, Return(ids=("a",)))
    triad.crash(PRIMARY)
    triad.run_until_serving(1.0)
    assert do(triad, replace(A, id="b")).body["seq"] == first_number(2) + 1


def test_a_number_that_was_lost_with_its_grant_is_not_given_again(triad: VirtualTriad) -> None:
    """E2, protocol: one node dies with the newest grant, another loses it with its power; the third never had it."""
    triad.crash(TERTIARY)
    first = do(triad, A).body["seq"]
    triad.crash(PRIMARY)
    triad.crash(SECONDARY)
    disk = triad.hosts[SECONDARY].disk
    triad.hosts[SECONDARY].disk = replace(disk, records=(), may_lack_records=True)
    triad.start(SECONDARY, TERTIARY)
    triad.run_until_serving(2 * HELD_S + FAILOVER_S)
    second = do(triad, replace(A, id="b")).body["seq"]
    assert isinstance(first, int)
    assert isinstance(second, int)
    assert second > first


# --- replicate before reply ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_", [A, Return(ids=("unknown",))], ids=["grant", "return"])
def test_without_a_second_nodes_word_nothing_is_granted_or_returned(triad: VirtualTriad, request_: Request) -> None:
    """E4, G4: a master that was cut off a moment ago still has its lease, but cannot grant."""
    triad.isolate(PRIMARY)
    token = triad.ask(PRIMARY, request_)
    assert triad.serving() == [PRIMARY]
    triad.run(FAILOVER_S + 0.01)
    assert triad.answers[token].status == 503
    assert triad.answers[token].body["may_have_acted"] is True  # the next master may have it from here


def test_a_grant_survives_the_loss_of_its_master_at_the_moment_of_the_answer(triad: VirtualTriad) -> None:
    """G2: it is on two nodes before the answer leaves."""
    token = triad.ask(PRIMARY, A)
    while token not in triad.answers:
        triad.run(0.0001)
    triad.crash(PRIMARY)
    triad.run_until_serving(1.0)
    assert usage(triad)["in_use"] == 1


@pytest.mark.parametrize("gone", [SECONDARY, TERTIARY])
def test_a_grant_that_one_of_the_two_followers_missed_survives_as_well(triad: VirtualTriad, gone: Role) -> None:
    """G2, E2: whoever missed it learns it from the other, or from the master when it is back."""
    triad.crash(gone)
    do(triad, A)
    triad.start(gone)
    triad.run(0.5)
    triad.crash(PRIMARY)
    triad.run_until_serving(1.5)
    assert usage(triad)["in_use"] == 1


def test_a_repeated_checkout_waits_for_the_same_acknowledgement(triad: VirtualTriad) -> None:
    """E4: "held already" is no less a promise than "granted"."""
    triad.isolate(PRIMARY)
    tokens = [triad.ask(PRIMARY, request) for request in (A, A, Renew(ids=("a",)), Return(ids=("a",)), Return(ids=("a",)))]
    assert not triad.answers.keys() & set(tokens)
    triad.run(FAILOVER_S + 0.01)
    assert {triad.answers[token].status for token in tokens} == {503}


def test_an_acknowledgement_of_an_old_term_confirms_nothing(triad: VirtualTriad) -> None:
    """G4: the deposed master's grant is answered with a refusal, and its seat is free at the new one."""
    triad.isolate(PRIMARY)
    token = triad.ask(PRIMARY, replace(A, count=2))
    triad.run(FAILOVER_S + 0.1)
    assert triad.answers[token].status == 503
    assert do(triad, replace(A, id="b", count=2)).status == 201
    triad.heal()
    triad.run(1.0)
    assert triad.serving() == [PRIMARY]
    assert do(triad, replace(A, id="b", count=2)).status == 200
    assert usage(triad)["in_use"] == 2


def test_a_late_append_of_an_older_master_is_refused(triad: VirtualTriad) -> None:
    """E1: a vote refuses lower terms from then on."""
    do(triad, A)
    triad.cut(PRIMARY, SECONDARY, both=False)
    triad.delays = lambda: (0.6,)  # what the primary sends now comes after its term is over
    late = triad.ask(PRIMARY, replace(A, id="late"))
    triad.delays = lambda: (0.001,)
    triad.crash(PRIMARY)
    triad.run_until_serving(1.0)
    triad.run(0.5)
    assert late not in triad.answers
    assert usage(triad)["in_use"] == 1


# --- leases -------------------------------------------------------------------------------------------------------------------------


def test_a_seat_is_freed_a_ttl_and_the_clock_margin_after_its_last_renewal(triad: VirtualTriad) -> None:
    """G1: not before, since the client's clock may be slow; and not much later."""
    do(triad, A)
    keep(triad, "a", 3.0)
    do(triad, Renew(ids=("a",)))
    renewed_at = triad.now - 0.005
    triad.run(HELD_S - 0.02)
    assert usage(triad)["in_use"] == 1
    triad.run(renewed_at + HELD_S + 0.01 - triad.now)
    assert usage(triad)["in_use"] == 0
    results = do(triad, Renew(ids=("a",))).body["results"]
    assert results == {"a": {"type": "urn:palclient:problem:lease-unknown", "status": 404, "code": -41}}


def test_a_new_master_gives_every_held_seat_a_full_ttl(triad: VirtualTriad) -> None:
    """E3: renewals are not replicated, so the old master may have promised this much at its last moment."""
    do(triad, A)
    keep(triad, "a", 3.0)
    do(triad, Renew(ids=("a",)))
    triad.crash(PRIMARY)
    triad.run_until_serving(1.0)
    triad.run(HELD_S - 0.02)
    assert usage(triad)["in_use"] == 1
    triad.run(0.05)
    assert usage(triad)["in_use"] == 0


def test_a_lease_that_ran_out_can_be_taken_again_under_its_id_with_a_new_seq(triad: VirtualTriad) -> None:
    """Protocol, Identity: one id for the whole life of an acquisition; it is not dead, only lost."""
    do(triad, A)
    triad.run(HELD_S + 0.1)
    again = do(triad, A)
    assert (again.status, again.body["seq"]) == (201, 2)


@pytest.mark.parametrize("asked_s, given_s", [(None, 180.0), (150.0, 150.0), (1.0, 133.13), (999.0, 180.0)])
def test_the_ttl_is_what_was_asked_for_as_far_as_it_outlives_a_failover(asked_s: float | None, given_s: float) -> None:
    """Design, Numbers that must fit; the server's own ttl is the longest (E2)."""
    assert lease_ttl_s(asked_s, ttl_s=180.0, failover_s=79.0) == pytest.approx(given_s, abs=0.01)


@pytest.mark.parametrize("failover_s", [0.1, 0.395, 4.0, 10.0, 31.0, 79.0, 400.0])
def test_the_smallest_ttl_just_fits_and_a_smaller_one_does_not(failover_s: float) -> None:
    """Design, Numbers that must fit."""

    def spare_s(ttl_s: float) -> float:
        attempt_s, probe_s, spread_s = min(5, ttl_s / 12), min(0.5, ttl_s / 24), min(1, ttl_s / 12)
        return 0.646 * ttl_s - (failover_s + attempt_s + 2 * probe_s + spread_s)

    smallest = smallest_ttl_s(failover_s)
    assert spare_s(smallest) == pytest.approx(0, abs=1e-9)
    assert spare_s(smallest * 0.99) < 0 < spare_s(smallest * 1.01)


# --- returns ------------------------------------------------------------------------------------------------------------------------


def test_a_returned_seat_is_free_and_its_id_is_dead(triad: VirtualTriad) -> None:
    """Protocol, Identity: 410, also at the next master."""
    do(triad, A)
    assert do(triad, Return(ids=("a",))).body["results"] == {"a": True}
    assert usage(triad)["in_use"] == 0
    assert name(do(triad, A)) == "id-returned"
    triad.crash(PRIMARY)
    triad.run_until_serving(1.0)
    assert name(do(triad, A)) == "id-returned"


def test_an_id_that_was_never_seen_is_dead_after_its_return(triad: VirtualTriad) -> None:
    """Protocol, Identity: the first attempt may be late on its way."""
    assert do(triad, Return(ids=("a",), single=True)).body["returned"] is False
    assert name(do(triad, A)) == "id-returned"


def test_returning_twice_does_no_harm(triad: VirtualTriad) -> None:
    """Protocol: already returned ids are fine, for each is told whether it was held."""
    do(triad, A)
    assert do(triad, Return(ids=("a", "a", "b"))).body["results"] == {"a": True, "b": False}
    assert do(triad, Return(ids=("a",))).body["results"] == {"a": False}


def test_a_dead_id_is_forgotten_after_a_minute(triad: VirtualTriad) -> None:
    """Protocol, Identity: dead for max(ttl, 60 s)."""
    do(triad, Return(ids=("a",)))
    triad.run(DEAD_S)
    assert name(do(triad, A)) == "id-returned"
    triad.run(2.0)
    assert do(triad, A).status == 201


def test_a_busy_node_forgets_dead_ids_too(triad: VirtualTriad, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where requests never end, one of them does what a timer would have done: there is no tick for minutes."""
    handle = triad._handle
    request = ClientCall(token=-1, request=Status())
    monkeypatch.setattr(triad, "_handle", lambda role, event: handle(role, request if isinstance(event, Tick) else event))
    do(triad, Return(ids=("a",)))
    triad.run(DEAD_S + 2.0)
    assert do(triad, A).status == 201


# --- the line -----------------------------------------------------------------------------------------------------------------------


def full_with_a_line(triad: VirtualTriad) -> tuple[Checkout, Checkout]:
    """A pool that is taken whole, and two who wait; the second waits for two seats."""
    do(triad, replace(A, count=2))
    first, second = replace(A, id="b", queue=True), replace(A, id="c", count=2, queue=True)
    assert [do(triad, each).body["position"] for each in (first, second)] == [1, 2]
    return first, second


def fail_over(triad: VirtualTriad) -> None:
    """The primary dies; the secondary serves."""
    triad.crash(PRIMARY)
    assert triad.run_until_serving(2.0) is SECONDARY


def test_a_place_in_line_survives_a_failover(triad: VirtualTriad) -> None:
    """Issue "the triad in full", queue; E4: whoever asks first at the new master still stands where he stood."""
    first, second = full_with_a_line(triad)
    fail_over(triad)
    answer = do(triad, second)
    assert (answer.status, answer.body["position"], answer.body["of"]) == (202, 2, 2)
    assert name(do(triad, replace(second, count=1))) == "other-request"
    do(triad, Return(ids=("a",)))
    assert do(triad, second).status == 202
    assert name(do(triad, replace(A, id="d"))) == "seats-taken"
    assert do(triad, first).status == 201
    do(triad, Return(ids=("b",)))
    assert do(triad, second).status == 201
    assert usage(triad)["queued"] == 0


def test_a_place_is_on_two_nodes_before_its_owner_is_told(triad: VirtualTriad) -> None:
    """E4, for the line: no second node, no place."""
    do(triad, replace(A, count=2))
    triad.isolate(PRIMARY)
    token = triad.ask(PRIMARY, replace(A, id="b", queue=True))
    triad.run(0.1)
    assert token not in triad.answers


@pytest.mark.parametrize("given_up", ["returned", "silent"])
def test_a_place_that_was_given_up_stays_so_after_a_failover(triad: VirtualTriad, given_up: str) -> None:
    """Issue "the triad in full", queue: given up by a return, or when the client stops asking."""
    first, second = full_with_a_line(triad)
    if given_up == "returned":
        do(triad, Return(ids=("b",)))
    else:
        patience_s = 3 * poll_s(TTL_S) + FAILOVER_S
        for _ in range(20):
            do(triad, second)
            do(triad, Renew(ids=("a",)))
            triad.run(1.1 * patience_s / 20)
    fail_over(triad)
    assert usage(triad)["queued"] == 1
    assert do(triad, second).body["position"] == 1
    texts = [text for _, _, text in triad.lines]
    assert f"DEQUEUED: RISK ann@pc7 ({'GIVEN UP' if given_up == 'returned' else 'SILENT'})" in texts
    assert (do(triad, first).body.get("position"), name(do(triad, first))) == ((None, "id-returned") if given_up == "returned" else (2, "202"))


def test_whoever_fell_silent_with_the_old_master_leaves_the_line_of_the_new_one(triad: VirtualTriad) -> None:
    """Queue: a place is not kept for ever, whoever is master; it gets a whole patience at the new one, as a seat does (E3)."""
    full_with_a_line(triad)
    fail_over(triad)
    assert usage(triad)["queued"] == 2
    triad.run(3 * poll_s(TTL_S) + FAILOVER_S + 0.01)
    assert usage(triad)["queued"] == 0


def test_those_in_line_hold_nothing(triad: VirtualTriad) -> None:
    """Protocol, usage: holders are those who hold; a place takes no seat, in the pool nor in the table's view of it."""
    full_with_a_line(triad)
    told = usage(triad)
    assert (told["in_use"], told["queued"], [each["id"] for each in told["holders"]]) == (2, 2, ["a"])  # type: ignore[attr-defined]
    assert do(triad, Renew(ids=("b",))).body["results"]["b"]["code"] == -41  # type: ignore[index]


def test_whoever_stands_in_line_gets_the_seat_before_whoever_comes_later(triad: VirtualTriad) -> None:
    """Protocol: 202; first come, first served."""
    do(triad, replace(A, count=2))
    queued = do(triad, replace(A, id="b", queue=True))
    assert (queued.status, queued.body["position"], queued.body["of"], queued.body["poll_s"]) == (202, 1, 1, poll_s(TTL_S))
    assert do(triad, replace(A, id="c", count=2, queue=True)).body["position"] == 2
    do(triad, Return(ids=("a",)))
    assert name(do(triad, replace(A, id="d", count=1))) == "seats-taken"
    assert do(triad, replace(A, id="c", count=2, queue=True)).status == 202
    assert do(triad, replace(A, id="b", queue=True)).status == 201
    assert usage(triad)["queued"] == 1


def test_a_place_in_line_is_lost_by_silence_and_by_a_return(triad: VirtualTriad) -> None:
    """Protocol: it is given up when the client stops asking."""
    do(triad, replace(A, count=2))
    for identity in ("b", "c"):
        do(triad, replace(A, id=identity, queue=True))
    do(triad, Return(ids=("b",)))
    assert usage(triad)["queued"] == 1
    triad.run(3 * poll_s(TTL_S) + FAILOVER_S + HEARTBEAT_S)
    assert usage(triad)["queued"] == 0


def test_another_request_under_an_id_in_line_is_refused(triad: VirtualTriad) -> None:
    """Protocol, Identity: 422."""
    do(triad, replace(A, count=2))
    do(triad, replace(A, id="b", queue=True))
    assert name(do(triad, replace(A, id="b", count=2, queue=True))) == "other-request"


# --- FLEXnet's own way --------------------------------------------------------------------------------------------------------------


def test_flexnets_next_master_starts_empty_and_grants_at_once() -> None:
    """G5, E9: the same seat is given away a second time while its first holder may believe in it; numbers of grants never fall."""
    triad = VirtualTriad(features={"RISK": 1})
    for host in triad.hosts.values():
        host.config = replace(host.config, grants="flexnet")
    triad.start(*Role)
    triad.run_until_serving(0.1)
    triad.run(0.5)
    first = do(triad, A)
    assert first.status == 201
    do(triad, Return(ids=("gone",)))
    triad.crash(PRIMARY)
    triad.run_until_serving(TTL_S)
    assert triad.now < 0.5 + TTL_S  # the first holder's lease has not run out
    renewed = do(triad, Renew(ids=("a",)))
    assert renewed.body["results"] == {"a": {"type": "urn:palclient:problem:lease-unknown", "status": 404, "code": -41}}
    second = do(triad, replace(A, id="b"))
    assert (second.status, second.body["seq"]) == (201, first_number(2) + 1)
    assert name(do(triad, replace(A, reclaim={"seq": 1}))) == "seats-taken"
    do(triad, Return(ids=("b",)))
    assert do(triad, replace(A, id="gone")).status == 201  # that it was returned is forgotten, too
    triad.start(PRIMARY)
    triad.run(1.0)
    assert triad.master() is PRIMARY
    assert do(triad, replace(A, id="c")).status == 201  # handed over in good order, and forgotten all the same
