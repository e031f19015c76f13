"""Requests and replies to and from bytes; and that no bytes whatever get more than a refusal out of it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from palclient.core.flow import HttpRequest
from palclient.core.members import MAX_SHOWN, NotOursError
from palclient.core.wire import (
    LEAST_TTL_S,
    CheckoutRequest,
    Granted,
    Parking,
    Problem,
    Queued,
    Renewed,
    RenewRequest,
    Request,
    ReturnRequest,
    ReturnsTaken,
    StatusReply,
    StatusRequest,
    UsageReply,
    UsageRequest,
    decode,
    describe,
    encode,
)
from palclient.models import FeatureUsage, Grant, Holder, Role, SeatHolder
from tests.unit.script import answered, grant, problem, request, speech

CHECKOUT = request()
REQUESTS: list[Request] = [
    CHECKOUT,
    RenewRequest(ids=("a", "b")),
    ReturnRequest(ids=("a", "b")),
    ReturnRequest(ids=("a",)),
    StatusRequest(),
    UsageRequest(),
]
STATUS = {
    "state": "master",
    "quorum": True,
    "master": "primary",
    "incarnation": 3,
    "seq": 812,
    "triad": ["27000@lic1", "27000@lic2", "27000@lic3"],
    "primary_is_master": True,
    "heartbeat_interval_s": 20,
    "failover_s": 79,
    "software": "fakeserver/0.1.0",
}


def read(asked: Request, body: dict[str, Any], status: int = 200) -> Any:
    """The decoded answer, signed as every reply is."""
    return decode(asked, answered({**speech(), **body}, status=status))


def refusal(asked: Request, body: dict[str, Any] | bytes, status: int = 200) -> str:
    """Why the answer is not ours."""
    with pytest.raises(NotOursError) as caught:
        decode(asked, answered(body, status=status))
    return str(caught.value)


# --- requests -----------------------------------------------------------------------------------------------------------------------


def test_a_checkout_says_what_the_protocol_page_shows() -> None:
    """Protocol, Taking seats."""
    http = encode(replace(CHECKOUT, holder=Holder(user="ann", host="pc7", display=":0", pid=4711, app="risk"), queue=True))
    assert (http.method, http.target, http.headers) == ("PUT", "/v1/checkouts/id-1", ())
    assert json.loads(http.body) == {
        "feature": "CAD",
        "version": "0",
        "count": 1,
        "holder": {"user": "ann", "host": "pc7", "display": ":0", "pid": 4711, "app": "risk"},
        "queue": True,
        "nonce": "n",
    }


def test_a_claim_names_the_earlier_grant() -> None:
    """Protocol: ``reclaim`` holds seq, term, cluster and granted_at."""
    earlier = read(CHECKOUT, grant("id-1", seq=41)).grant
    assert json.loads(encode(replace(CHECKOUT, reclaim=earlier)).body)["reclaim"] == {
        "seq": 41,
        "term": 7,
        "cluster": "9f1c",
        "granted_at": "2026-11-24T03:00:00.000Z",
    }


def test_the_other_calls_are_those_of_the_table() -> None:
    """Protocol, The calls."""
    assert encode(RenewRequest(ids=("a", "b"))) == HttpRequest(method="POST", target="/v1/renewals", body=b'{"ids":["a","b"]}')
    assert encode(ReturnRequest(ids=("a", "b"))) == HttpRequest(method="POST", target="/v1/returns", body=b'{"ids":["a","b"]}')
    assert encode(ReturnRequest(ids=("a",))) == HttpRequest(method="DELETE", target="/v1/checkouts/a")
    assert encode(StatusRequest()) == HttpRequest(method="GET", target="/v1/status")
    assert encode(UsageRequest()) == HttpRequest(method="GET", target="/v1/usage")
    assert [describe(one) for one in REQUESTS] == ["checkout", "renewal", "return", "return", "status", "usage"]


def test_parking_is_two_headers() -> None:
    """Protocol, Parking."""
    assert encode(RenewRequest(ids=("a",)), Parking(wait_s=9, after_term=7)).headers == (("Prefer", "wait=9"), ("After-Term", "7"))


def test_a_batch_of_a_thousand_ids_fits_into_a_request() -> None:
    """Protocol: a request has at most 64 KiB and 1,000 ids."""
    ids = tuple(f"0f4e8a5e-0c53-4b2d-9a9e-{number:012x}" for number in range(1000))
    assert len(encode(RenewRequest(ids=ids)).body) <= 64 * 1024


# --- replies ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201])
def test_a_grant_is_read_with_all_it_says(status: int) -> None:
    """Protocol, Taking seats."""
    reply = decode(CHECKOUT, answered({**speech(), **grant("id-1", waited_s=0.25)}, status=status, now=2.0, sent_at=1.0))
    assert isinstance(reply, Granted)
    assert reply.grant == Grant(
        id="id-1",
        feature="CAD",
        version="1.0",
        count=1,
        seq=42,
        ttl_s=180.0,
        renew_s=60.0,
        granted_at="2026-11-24T03:00:00.000Z",
        nonce="n",
        node="27000@primary",
        role=Role.PRIMARY,
        cluster="9f1c",
        term=7,
        waited_s=0.25,
    )


def test_a_request_cannot_have_waited_for_longer_than_its_exchange_took() -> None:
    """A lease counts from sent + waited_s: a number that is too large would let it outlive its seat."""
    body = {**speech(), **grant("id-1", waited_s=1000.0)}
    reply = decode(CHECKOUT, answered(body, now=12.0, sent_at=10.0))
    assert isinstance(reply, Granted)
    assert reply.grant.waited_s == 2.0
    renewed = decode(RenewRequest(ids=("a",)), answered({**speech(), "results": {}, "waited_s": 1e9}, now=12.0, sent_at=10.0))
    assert isinstance(renewed, Renewed)
    assert renewed.waited_s == 2.0


@pytest.mark.parametrize("changes", [{"id": "id-2"}, {"feature": "FEM"}, {"count": 2}])
def test_a_grant_of_something_else_is_not_ours(changes: dict[str, Any]) -> None:
    """A seat that was not asked for must not be believed to be held."""
    assert "not asked for" in refusal(CHECKOUT, {**speech(), **grant("id-1"), **changes})


@pytest.mark.parametrize("ttl_s", [0, -1, LEAST_TTL_S / 2, 1e10, "180", None, True])
def test_a_lease_that_cannot_be_kept_is_not_taken(ttl_s: object) -> None:
    """Style 5: every number from outside is bounded; renewals of a lease of no time would be a storm."""
    assert "ttl_s" in refusal(CHECKOUT, {**speech(), **grant("id-1"), "ttl_s": ttl_s})


def test_a_place_in_line_is_read() -> None:
    """Protocol: 202."""
    reply = read(CHECKOUT, {"id": "id-1", "position": 2, "of": 5, "poll_s": 5}, 202)
    assert isinstance(reply, Queued)
    assert (reply.position, reply.of, reply.poll_s) == (2, 5, 5.0)
    assert "position" in refusal(CHECKOUT, {**speech(), "position": 0, "of": 5, "poll_s": 5}, 202)


def test_each_id_of_a_renewal_has_a_ttl_or_the_name_of_a_problem() -> None:
    """Protocol, Keeping and returning them."""
    reply = read(RenewRequest(ids=("a", "b")), {"results": {"a": {"ttl_s": 180}, "b": problem("lease-unknown")}, "waited_s": 0.0})
    assert isinstance(reply, Renewed)
    assert reply.results == {"a": 180.0, "b": "lease-unknown"}


def test_returns_are_read_in_both_forms() -> None:
    """Protocol: DELETE answers ``returned``, POST one word per id; False is no error."""
    assert read(ReturnRequest(ids=("a",)), {"returned": False}).results == {"a": False}
    reply = read(ReturnRequest(ids=("a", "b")), {"results": {"a": True, "b": False}})
    assert isinstance(reply, ReturnsTaken)
    assert reply.results == {"a": True, "b": False}


def test_a_status_is_read_with_all_it_says() -> None:
    """Protocol, Status."""
    reply = read(StatusRequest(), STATUS)
    assert isinstance(reply, StatusReply)
    assert (reply.state, reply.quorum, reply.master, reply.failover_s) == ("master", True, Role.PRIMARY, 79.0)
    assert reply.triad == ("27000@lic1", "27000@lic2", "27000@lic3")


def test_usage_is_read_with_all_it_says() -> None:
    """Protocol, Usage."""
    holder = {"user": "ann", "host": "pc7", "display": ":0", "pid": 4711, "app": "risk"}
    pool = {"feature": "CAD", "total": 5, "in_use": 1, "reserved": 0, "queued": 0}
    body = {"features": [{**pool, "holders": [{"id": "a", "holder": holder, "count": 1, "since": "2026-11-24T03:00:00.000Z"}]}]}
    reply = read(UsageRequest(), body)
    assert isinstance(reply, UsageReply)
    who = Holder(user="ann", host="pc7", display=":0", pid=4711, app="risk")
    seat = SeatHolder(id="a", holder=who, count=1, since="2026-11-24T03:00:00.000Z")
    assert reply.features == (FeatureUsage(feature="CAD", total=5, in_use=1, reserved=0, queued=0, holders=(seat,)),)


def test_a_problem_is_read_with_what_helps() -> None:
    """RFC 9457 and the protocol page, Problems."""
    reply = read(CHECKOUT, problem("seats-taken", detail="All 5 seats are taken.", in_use=5, total=5, retry_after_s=2, master="secondary"), 409)
    assert isinstance(reply, Problem)
    assert (reply.name, reply.status, reply.code, reply.in_use, reply.total) == ("seats-taken", 409, -1, 5, 5)
    assert (reply.retry_after_s, reply.master, reply.words) == (2.0, Role.SECONDARY, "All 5 seats are taken.")


def test_members_that_are_not_known_are_skipped_and_so_are_roles() -> None:
    """Protocol: members that the reader does not know are skipped."""
    reply = read(CHECKOUT, {**problem("not-master", master="quaternary"), "colour": "blue", "role": 4}, 421)
    assert (reply.master, reply.speaker.role) == (None, None)


def test_what_a_server_says_cannot_command_a_terminal_or_flood_a_log() -> None:
    """Style 5; messages are printed where an administrator looks."""
    reply = read(CHECKOUT, problem("expired", detail="\x1b[2J\r\nok \ud800" + "x" * 10_000), 403)
    assert reply.words.startswith("?[2J??ok ?xxx")
    assert len(reply.words) == MAX_SHOWN
    reply.words.encode()


@pytest.mark.parametrize(
    "body, says",
    [
        (b"", "it is empty"),
        (b"<html>", "not JSON"),
        (b"\xff\xfe\x00\x00", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"1" * 10_000, "not JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "'node'"),
        (b'{"node": "n", "cluster": 1, "term": 1}', "'cluster'"),
        (b'{"node": "n", "cluster": "c", "term": true}', "'term'"),
        (b'{"node": "n", "cluster": "c", "term": -1}', "'term'"),
        (b'{"node": "n", "cluster": "c", "term": 1e300}', "'term'"),
        (b'{"node": "n", "cluster": "c", "term": 9007199254740992}', "'term'"),
    ],
)
def test_a_refusal_says_what_is_odd(body: bytes, says: str) -> None:
    """Protocol: a reply without node, cluster and term counts as no answer."""
    assert says in refusal(CHECKOUT, body)


@pytest.mark.parametrize("status", [100, 204, 301, 302, 304, 399])
@pytest.mark.parametrize("asked", REQUESTS, ids=describe)
def test_a_status_that_the_protocol_does_not_have_is_not_ours(asked: Request, status: int) -> None:
    """Protocol, The calls."""
    assert f"status {status}" in refusal(asked, {**speech(), **grant("id-1")}, status)


def test_a_problem_of_a_foreign_type_is_not_ours() -> None:
    """A gateway between may speak RFC 9457, too."""
    assert "about:blank" in refusal(CHECKOUT, {**speech(), "type": "about:blank"}, 502)


# --- arbitrary bytes ----------------------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = (
    "node role cluster term id feature version count seq ttl_s renew_s granted_at nonce waited_s position of poll_s results returned type code title detail "
    "master retry_after_s in_use total state quorum triad primary_is_master heartbeat_interval_s failover_s software features"
).split()
ANSWERS: list[dict[str, Any]] = [
    grant("id-1"),
    {"position": 1, "of": 2, "poll_s": 1},
    {"results": {"a": {"ttl_s": 1}, "b": problem("lease-unknown")}, "waited_s": 0},
    {"returned": True},
    STATUS,
    {"features": [{"feature": "CAD", "total": 1, "in_use": 0, "holders": [{"id": "a", "holder": {}, "count": 1}]}]},
    problem("overloaded", retry_after_s=1),
]


def reads_or_refuses(asked: Request, body: bytes, status: int) -> None:
    """The only two ways that an answer may go."""
    try:
        decode(asked, answered(body, status=status))
    except NotOursError as error:
        str(error).encode()


@given(st.sampled_from(REQUESTS), st.binary(max_size=200), st.integers(100, 599))
def test_arbitrary_bytes_are_read_or_refused(asked: Request, body: bytes, status: int) -> None:
    """Style 5: nothing from outside gets an exception of another kind."""
    reads_or_refuses(asked, body, status)


@settings(suppress_health_check=[HealthCheck.too_slow])  # making the JSON is what takes its time on a busy machine
@given(
    st.sampled_from(REQUESTS),
    st.sampled_from(ANSWERS),
    st.dictionaries(st.sampled_from(MEMBERS), JSON, max_size=3),
    st.sampled_from([200, 201, 202, 404, 409, 421, 503]),
)
def test_answers_with_members_of_any_shape_are_read_or_refused(asked: Request, body: dict[str, Any], odd: dict[str, Any], status: int) -> None:
    """Each member may be anything that JSON has, NaN and lone surrogates included."""
    reads_or_refuses(asked, json.dumps({**speech(), **body, **odd}).encode(), status)


def test_a_list_that_is_nested_deeply_is_refused() -> None:
    """JSON allows depths that repr() does not survive."""
    for depth in (100, 900, 950, 980, 5000):
        body = json.dumps({**speech(), **STATUS, "triad": ["X"]}).replace('"X"', "[" * depth + "]" * depth)
        refusal(StatusRequest(), body.encode())


def test_a_checkout_request_is_the_same_every_time_it_is_sent() -> None:
    """Protocol: asking twice under one id takes one seat, if the request is the same."""
    assert encode(CHECKOUT) == encode(
        CheckoutRequest(id="id-1", feature="CAD", version="0", count=1, holder=Holder(user="ann", host="pc7"), nonce="n")
    )
