"""The fake server's reading of the protocol: what it takes, what it refuses and with which words, how it answers."""

from __future__ import annotations

import json
import uuid

import pytest

from fakeserver import wire
from fakeserver.events import Checkout, Renew, Return, Status, Usage

ID = "5f0c3a52-5b1e-4f8e-9a35-1f2f7f6e0001"
HOLDER = {"user": "ann", "host": "pc7", "display": ":0", "pid": 4711, "app": "risk"}
ASKED = {"feature": "RISK_IND80", "version": "0", "count": 1, "holder": HOLDER}


def read(method: str, path: str, body: object = b"", headers: tuple[tuple[bytes, bytes], ...] = ()) -> wire.Call:
    """Read a request whose body is bytes, or a value to be written as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return wire.read_call(method=method, path=path, headers=headers, body=content)


def refusal(method: str, path: str, body: object = b"", headers: tuple[tuple[bytes, bytes], ...] = ()) -> wire.Refused:
    """The refusal of a request that must be refused."""
    with pytest.raises(wire.Refused) as caught:
        read(method, path, body, headers)
    return caught.value


def checkout(**changes: object) -> dict[str, object]:
    """A good checkout but for ``changes``; a change to ``...`` leaves the member out."""
    return {name: value for name, value in {**ASKED, **changes}.items() if value is not ...}


def test_a_checkout_is_read_with_all_that_it_says() -> None:
    """Protocol, PUT /v1/checkouts/{id}."""
    body = checkout(queue=True, ttl_s=180, nonce="n1", reclaim={"seq": 42, "cluster": "c1", "node": "x"}, unheard_of=1)
    request = read("PUT", f"/v1/checkouts/{ID}", body).request
    assert request == Checkout(
        id=ID, feature="RISK_IND80", version="0", count=1, holder=HOLDER, queue=True, ttl_s=180.0, nonce="n1", reclaim={"seq": 42, "cluster": "c1"}
    )


def test_what_may_be_left_out_has_its_default() -> None:
    """Protocol, PUT /v1/checkouts/{id}: queue, ttl_s, nonce and reclaim; null says the same."""
    plain = read("PUT", f"/v1/checkouts/{ID}", ASKED).request
    assert plain == Checkout(id=ID, feature="RISK_IND80", version="0", count=1, holder=HOLDER)
    assert read("PUT", f"/v1/checkouts/{ID}", checkout(ttl_s=None, nonce=None, reclaim=None)).request == plain


def test_a_holder_keeps_the_members_that_the_protocol_knows() -> None:
    """Protocol: unknown members are ignored, and a member that was not sent is not made up."""
    sent = {"user": "ann", "host": "pc7", "display": "", "shoe_size": 43}
    request = read("PUT", f"/v1/checkouts/{ID}", checkout(holder=sent)).request
    assert isinstance(request, Checkout)
    assert request.holder == {"user": "ann", "host": "pc7", "display": ""}


@pytest.mark.parametrize(
    "changes",
    [
        {"feature": ...},
        {"feature": ""},
        {"feature": 7},
        {"feature": "X" * 101},
        {"feature": "two\nlines"},
        {"feature": "half \ud800"},
        {"version": ...},
        {"version": None},
        {"count": ...},
        {"count": 0},
        {"count": -1},
        {"count": 1.5},
        {"count": True},
        {"count": "1"},
        {"count": 2**53 + 1},
        {"holder": ...},
        {"holder": None},
        {"holder": []},
        {"holder": {"user": "ann"}},
        {"holder": {"user": "", "host": "pc7"}},
        {"holder": {**HOLDER, "pid": -1}},
        {"holder": {**HOLDER, "app": "x" * 257}},
        {"queue": None},
        {"queue": "yes"},
        {"ttl_s": 0},
        {"ttl_s": -5},
        {"ttl_s": True},
        {"ttl_s": 86_401},
        {"nonce": 5},
        {"reclaim": "grant"},
        {"reclaim": {"seq": "42"}},
        {"reclaim": {"cluster": 7}},
    ],
    ids=str,
)
def test_a_checkout_with_a_member_out_of_range_is_a_bad_request(changes: dict[str, object]) -> None:
    """Protocol, problems: bad-request, 400, -42; the detail names the member."""
    refused = refusal("PUT", f"/v1/checkouts/{ID}", checkout(**changes))
    assert (refused.name, refused.status, refused.code) == ("bad-request", 400, -42)
    assert next(iter(changes)) in refused.detail


def test_a_whole_number_may_be_written_with_a_point() -> None:
    """RFC 8259 knows one kind of number; JSON Schema takes 2.0 for an integer."""
    request = read("PUT", f"/v1/checkouts/{ID}", checkout(count=2.0)).request
    assert isinstance(request, Checkout)
    assert request.count == 2


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"null",
        b"\xff\xfe{}",
        b'{"ids": NaN}',
        b'{"ids": -Infinity}',
        b'{"ids": 1e999}',
        b"[" * 30_000,
        b'{"ids":' * 5_000,
        b'{"ids": ' + b"9" * 5_000 + b"}",
    ],
    ids=lambda body: repr(body[:20]),
)
def test_a_body_that_is_no_json_object_is_a_bad_request(body: bytes) -> None:
    """Protocol: bodies are JSON objects in UTF-8; NaN and infinity are none of JSON's numbers."""
    assert refusal("POST", "/v1/renewals", body).name == "bad-request"


@pytest.mark.parametrize("name", ["", "7", ID.upper(), f"{{{ID}}}", ID + "0", ID.replace("-", ""), f"{ID}/x"], ids=repr)
def test_a_checkout_is_named_by_a_uuid_in_one_spelling(name: str) -> None:
    """G3: two spellings of one id would be two checkouts."""
    assert refusal("DELETE", f"/v1/checkouts/{name}").status in {400, 404}
    assert refusal("POST", "/v1/returns", {"ids": [name]}).status == 400


def test_renewals_and_returns_name_up_to_a_thousand_ids() -> None:
    """Protocol: at most 1,000 ids in one request."""
    ids = tuple(str(uuid.UUID(int=number)) for number in range(1_000))
    assert read("POST", "/v1/renewals", {"ids": ids}).request == Renew(ids=ids)
    assert read("POST", "/v1/returns", {"ids": ids}).request == Return(ids=ids)
    assert "1001 ids" in refusal("POST", "/v1/renewals", {"ids": [*ids, ID]}).detail


def test_a_delete_is_a_return_of_one() -> None:
    """Protocol, DELETE /v1/checkouts/{id}."""
    assert read("DELETE", f"/v1/checkouts/{ID}").request == Return(ids=(ID,), single=True)


def test_status_and_usage_need_no_body() -> None:
    """Protocol, GET /v1/status and GET /v1/usage."""
    assert read("GET", "/v1/status").request == Status()
    assert read("GET", "/v1/usage", b"whatever").request == Usage()


def test_patience_is_read_from_the_headers() -> None:
    """Protocol, parking: `Prefer: wait=S` (RFC 7240) among other preferences, and `After-Term: N`."""
    call = read("GET", "/v1/usage", headers=((b"prefer", b'respond-async, Wait="30"; x=1'), (b"after-term", b" 7 ")))
    assert (call.park_s, call.after_term) == (30.0, 7)
    plain = read("GET", "/v1/usage", headers=((b"prefer", b"return=minimal"),))
    assert (plain.park_s, plain.after_term) == (0.0, 0)


@pytest.mark.parametrize(
    "header", [(b"prefer", b"wait=31"), (b"prefer", b"wait=1.5"), (b"prefer", b"wait=-1"), (b"prefer", b"wait"), (b"after-term", b"x")], ids=repr
)
def test_patience_out_of_range_is_a_bad_request(header: tuple[bytes, bytes]) -> None:
    """Protocol, parking: whole seconds, at most 30; a term is a whole number."""
    assert refusal("GET", "/v1/usage", headers=(header,)).name == "bad-request"


def test_a_status_is_answered_whatever_patience_is_asked_for() -> None:
    """Protocol, GET /v1/status: answered always, and never held."""
    assert read("GET", "/v1/status", headers=((b"prefer", b"wait=99"),)) == wire.Call(request=Status())


@pytest.mark.parametrize(
    "method, path, status, name, code",
    [
        ("GET", "/v2/status", 400, "unsupported-version", -83),
        ("GET", "/", 404, "bad-request", -42),
        ("GET", "/status", 404, "bad-request", -42),
        ("GET", "/v1/nothing", 404, "bad-request", -42),
        ("PUT", "/v1/checkouts", 404, "bad-request", -42),
        ("POST", "/v1/status", 405, "bad-request", -42),
        ("GET", f"/v1/checkouts/{ID}", 405, "bad-request", -42),
    ],
)
def test_what_is_not_in_the_protocol_is_refused_by_name(method: str, path: str, status: int, name: str, code: int) -> None:
    """Protocol, problems; RFC 9110 for paths and methods that are not there."""
    refused = refusal(method, path)
    assert (refused.status, refused.name, refused.code) == (status, name, code)


def test_a_wrong_method_is_told_the_right_ones() -> None:
    """RFC 9110, 15.5.6: a 405 says what is allowed."""
    assert refusal("PATCH", f"/v1/checkouts/{ID}").allow == "PUT, DELETE"
    assert refusal("POST", "/v1/status").allow == "GET, HEAD"
    assert refusal("HEAD", f"/v1/checkouts/{ID}").allow == "PUT, DELETE"
    assert (b"allow", b"PUT") in wire.write_reply(405, {}, allow="PUT").headers


def test_a_refusal_is_a_problem_with_all_its_members() -> None:
    """RFC 9457, and the protocol's `code`."""
    body = wire.too_large(65_536).body()
    assert body == {
        "type": "urn:palclient:problem:too-large",
        "title": "Too large",
        "status": 413,
        "detail": "The body is larger than 65536 bytes.",
        "code": -42,
    }


def test_an_answer_is_json_and_a_problem_says_that_it_is_one() -> None:
    """RFC 9457: application/problem+json from 400 on."""
    good, bad = wire.write_reply(201, {"id": ID}), wire.write_reply(409, {"status": 409})
    assert (json.loads(good.body), dict(good.headers)[b"content-type"]) == ({"id": ID}, b"application/json")
    assert dict(bad.headers)[b"content-type"] == b"application/problem+json"
    assert dict(good.headers)[b"content-length"] == str(len(good.body)).encode()


@pytest.mark.parametrize("retry_after_s, header", [(0.2, b"1"), (1, b"1"), (1.001, b"2"), (0, b"0")])
def test_retry_after_is_the_members_seconds_rounded_up(retry_after_s: float, header: bytes) -> None:
    """Protocol, problems: `retry_after_s`; RFC 9110: Retry-After knows whole seconds only."""
    reply = wire.write_reply(503, {"retry_after_s": retry_after_s})
    assert dict(reply.headers)[b"retry-after"] == header
    assert b"retry-after" not in dict(wire.write_reply(200, {"retry_after_s": 1}).headers)
