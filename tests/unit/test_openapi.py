"""The contract: ``docs/reference/protocol.md`` and ``openapi.yaml``, and both sides' reading of them.

The client's requests, and the fake server's replies, must be valid by the document; what the document allows the client must understand, and what
it refuses the fake server must refuse.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from fakeserver import events as server_events
from fakeserver import replies
from fakeserver import wire as server_wire
from fakeserver.node import Node
from fakeserver.peer import Message
from fakeserver.roles import Role as ServerRole
from palclient.core import wire
from palclient.core.explain import ADVICE, OUR_FAULT
from palclient.core.flow import Answered, HttpRequest, Outcome
from palclient.core.topology import NOT_SERVING, SAID_BY_ANY
from palclient.models import Grant, Holder, Role

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"
ID = "0f4e8a5e-0c53-4b2d-9a9e-3d5f7c1f2b60"
OTHER_ID = "77aa1c02-6a0e-4f6f-8b07-0a3f5b9f6c11"
HOLDER = Holder(user="ann", host="pc7", display=":0", pid=4711, app="risk")
SIGNED: dict[str, Any] = {"node": "27000@lic1", "role": "primary", "cluster": "9f1c62d0", "term": 7}

# --------------------------------------------------------------------------------------------------------- the document


@cache
def document() -> dict[str, Any]:
    """The OpenAPI document."""
    loaded: dict[str, Any] = yaml.safe_load((REFERENCE / "openapi.yaml").read_text(encoding="utf-8"))
    return loaded


@cache
def page() -> str:
    """The protocol page."""
    return (REFERENCE / "protocol.md").read_text(encoding="utf-8")


@cache
def registry() -> Registry[Any]:
    """Where the document's references lead."""
    empty: Registry[Any] = Registry()
    filled: Registry[Any] = empty.with_resource("urn:contract", DRAFT202012.create_resource(document()))
    return filled


def misfits(pointer: str, instance: object) -> list[str]:
    """What is wrong with ``instance`` by the schema at ``pointer`` of the document."""
    validator = Draft202012Validator({"$ref": f"urn:contract#{pointer}"}, registry=registry())
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(instance)]


def operation_of(method: str, target: str) -> tuple[str, Mapping[str, Any]]:
    """The operation that a request is for, and the pointer to it."""
    path = _path(target)
    operation: Mapping[str, Any] = document()["paths"][path][method.lower()]
    return f"/paths/{path.replace('~', '~0').replace('/', '~1')}/{method.lower()}", operation


def _path(target: str) -> str:
    return re.sub(r"^/v1/checkouts/[^/]+$", "/v1/checkouts/{id}", target)


def request_misfits(request: HttpRequest) -> list[str]:
    """What is wrong with a request by the document."""
    pointer, operation = operation_of(request.method, request.target)
    declared = {reference["$ref"].rpartition("/")[2] for reference in document()["paths"][_path(request.target)].get("parameters", ())}
    wrong = [f"{name}: not in the document" for name, _ in request.headers if name.replace("-", "") not in declared]
    for name, value in request.headers:
        number = int(value) if name == "After-Term" else value
        wrong += misfits(f"/components/parameters/{name.replace('-', '')}/schema", number)
    if request.target.startswith("/v1/checkouts/"):
        wrong += misfits("/components/schemas/CheckoutId", request.target.removeprefix("/v1/checkouts/"))
    if "requestBody" not in operation:
        return wrong + ["a body where there is none"] * bool(request.body)
    return wrong + misfits(f"{pointer}/requestBody/content/application~1json/schema", json.loads(request.body))


def reply_misfits(method: str, target: str, status: int, content_type: str, body: object) -> list[str]:
    """What is wrong with a reply by the document."""
    pointer, operation = operation_of(method, target)
    described = operation["responses"].get(str(status))
    if described is None:
        return [f"{method} {target}: no status {status}"]
    where = described["$ref"].removeprefix("#") if "$ref" in described else f"{pointer}/responses/{status}"
    content = (document()["components"]["responses"][where.rpartition("/")[2]] if "$ref" in described else described)["content"]
    if content_type not in content:
        return [f"{method} {target} {status}: no content of type {content_type!r}"]
    return misfits(f"{where}/content/{content_type.replace('/', '~1')}/schema", body)


def problem_table() -> dict[str, tuple[frozenset[int], int]]:
    """The page's table of problems: by name the statuses and the number."""
    rows = re.findall(r"^\| `([a-z-]+)` \| ([0-9, ]+) \| (-[0-9]+) \|", page(), flags=re.MULTILINE)
    return {name: (frozenset(int(status) for status in statuses.split(",")), int(code)) for name, statuses, code in rows}


def problems_of(node: object) -> Iterator[tuple[int, str]]:
    """All pairs of status and problem that a part of the document names."""
    if isinstance(node, Mapping):
        properties = node.get("properties")
        if isinstance(properties, Mapping) and {"status", "type"} <= properties.keys() and "const" in properties["status"]:
            kinds = properties["type"].get("enum", [properties["type"].get("const")])
            yield from ((properties["status"]["const"], kind.removeprefix(wire.PROBLEM_PREFIX)) for kind in kinds)
        for child in node.values():
            yield from problems_of(child)
    elif isinstance(node, list):
        for child in node:
            yield from problems_of(child)


def test_the_document_is_valid() -> None:
    """OpenAPI 3.1: references lead somewhere, schemas are schemas, parameters are declared."""
    validate(document())
    assert document()["openapi"].startswith("3.1")


def test_the_document_and_the_page_name_the_same_calls() -> None:
    """protocol.md, The calls."""
    described = {
        f"{method.upper()} {path}" for path, item in document()["paths"].items() for method in item if method in {"get", "put", "post", "delete"}
    }
    written = set(re.findall(r"`((?:GET|PUT|POST|DELETE) /v1/[a-z/{}]+)`", page()))
    assert described == written


def test_the_document_and_the_page_name_the_same_problems() -> None:
    """protocol.md, Problems: 404 and 405 for what is no call of the protocol cannot stand among its calls."""
    table = {(status, name) for name, (statuses, _) in problem_table().items() for status in statuses}
    assert set(problems_of(document())) == table - {(404, "bad-request"), (405, "bad-request")}


def test_the_examples_of_the_page_are_valid() -> None:
    """protocol.md: each reply and each body that is shown, with what its dots stand for."""
    whole = {"0f4e8a5e-...": ID, "77aa1c02-...": OTHER_ID}
    text = re.sub(r'"node": \.\.\., "role": \.\.\., "cluster": \.\.\., "term": 7|(?<=\{)\.\.\.', json.dumps(SIGNED)[1:-1], page())
    for short, full in whole.items():
        text = text.replace(short, full)
    seen = []
    for block in re.findall(r"^```\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL):
        call = "GET /v1/status"
        for words, body, headers in _examples(block):
            call = words if words.startswith(("GET", "PUT", "POST", "DELETE")) else call
            method, target = call.split(" ")
            if words == call:
                shown = body or (GOOD_BODY if method == "PUT" else None)
                wrong = request_misfits(HttpRequest(method=method, target=target, body=json.dumps(shown).encode() if shown else b"", headers=headers))
            else:
                method, target = ("PUT", f"/v1/checkouts/{ID}") if words in {"202", "409"} else (method, target)
                kind = "application/problem+json" if int(words) >= 400 else "application/json"
                wrong = reply_misfits(method, target, int(words), kind, body)
            assert not wrong, (words, wrong)
            seen.append(words)
    assert {"200", "201", "202", "409", "GET /v1/status", "POST /v1/renewals", "POST /v1/returns"} <= set(seen)


def _examples(block: str) -> Iterator[tuple[str, Any, tuple[tuple[str, str], ...]]]:
    """Request lines and statuses, each with the JSON and the headers that follow it."""
    heads = list(re.finditer(r"(?:^|(?<=  ))((?:GET|PUT|POST|DELETE) /v1/\S+|\d{3}(?= ))", block, flags=re.MULTILINE))
    for head, following in zip(heads, [*heads[1:], None], strict=True):
        rest = block[head.end() : following.start() if following else len(block)]
        start = rest.find("{")
        body = json.JSONDecoder().raw_decode(rest[start:])[0] if start >= 0 else None
        yield head[1], body, tuple(re.findall(r"^(Prefer|After-Term): (.*)$", rest, flags=re.MULTILINE))


# ----------------------------------------------------------------------------------------------------------- the client

GRANT = Grant(
    id=ID,
    feature="RISK_IND80",
    version="0",
    count=1,
    seq=42,
    ttl_s=180.0,
    renew_s=60.0,
    granted_at="2026-11-24T03:00:00.000Z",
    nonce="5b1e",
    node="27000@lic1",
    role=Role.PRIMARY,
    cluster="9f1c62d0",
    term=7,
)
CHECKOUT = wire.CheckoutRequest(id=ID, feature="RISK_IND80", version="0", count=1, holder=HOLDER, nonce="5b1e")
CLAIM = wire.CheckoutRequest(id=ID, feature="RISK_IND80", version="0", count=1, holder=Holder(user="ann", host="pc7"), queue=True, reclaim=GRANT)
MANY = tuple(f"{number:08x}-0c53-4b2d-9a9e-3d5f7c1f2b60" for number in range(wire.MAX_IDS))

REQUESTS: dict[str, wire.Request] = {
    "checkout": CHECKOUT,
    "claim": CLAIM,
    "renewal": wire.RenewRequest(ids=(ID, OTHER_ID)),
    "largest renewal": wire.RenewRequest(ids=MANY),
    "return": wire.ReturnRequest(ids=(ID,)),
    "returns": wire.ReturnRequest(ids=(ID, OTHER_ID)),
    "status": wire.StatusRequest(),
    "usage": wire.UsageRequest(),
}
PARKINGS = {"at once": None, "parked": wire.Parking(wait_s=9, after_term=7), "parked longest": wire.Parking(wait_s=wire.MAX_PARK_S, after_term=0)}


@pytest.mark.parametrize(
    "request_, parking",
    [
        pytest.param(request, parking, id=f"{name}, {how}")
        for name, request in REQUESTS.items()
        for how, parking in PARKINGS.items()
        if parking is None or name != "status"  # which is never held
    ],
)
def test_what_the_client_asks_is_in_the_document(request_: wire.Request, parking: wire.Parking | None) -> None:
    """protocol.md, The calls: the client's encoder, held to the document, and read by the other side."""
    encoded = wire.encode(request_, parking)
    assert not request_misfits(encoded)
    assert len(encoded.body) <= server_wire.REQUEST_LIMIT_BYTES
    headers = [(name.lower().encode(), value.encode()) for name, value in encoded.headers]
    call = server_wire.read_call(method=encoded.method, path=encoded.target, headers=headers, body=encoded.body)
    assert (call.park_s, call.after_term) == ((parking.wait_s, parking.after_term) if parking else (0, 0))


REPLIES: dict[str, tuple[wire.Request, int, dict[str, Any], object]] = {
    "granted": (
        CHECKOUT,
        201,
        {
            "id": ID,
            "feature": "RISK_IND80",
            "version": "0",
            "count": 1,
            "seq": 42,
            "ttl_s": 180,
            "renew_s": 60,
            "granted_at": "2026-11-24T03:00:00.000Z",
            "nonce": "5b1e",
            "waited_s": 0.0,
        },
        ("grant", GRANT),
    ),
    "in line": (CHECKOUT, 202, {"id": ID, "position": 2, "of": 5, "poll_s": 5}, ("position", 2)),
    "renewed": (
        wire.RenewRequest(ids=(ID, OTHER_ID)),
        200,
        {
            "results": {ID: {"ttl_s": 180}, OTHER_ID: {"type": "urn:palclient:problem:lease-unknown", "status": 404, "code": -41}},
            "waited_s": 1.5,
        },
        ("results", {ID: 180.0, OTHER_ID: "lease-unknown"}),
    ),
    "returned": (wire.ReturnRequest(ids=(ID,)), 200, {"returned": False}, ("results", {ID: False})),
    "returned many": (
        wire.ReturnRequest(ids=(ID, OTHER_ID)),
        200,
        {"results": {ID: True, OTHER_ID: False}},
        ("results", {ID: True, OTHER_ID: False}),
    ),
    "status": (
        wire.StatusRequest(),
        200,
        {
            "state": "electing",
            "quorum": True,
            "master": None,
            "incarnation": 3,
            "seq": 812,
            "triad": ["27000@lic1", "27000@lic2", "27000@lic3"],
            "primary_is_master": True,
            "heartbeat_interval_s": 20,
            "failover_s": 79,
            "server_time": "2026-11-24T03:00:00Z",
            "protocol": "1",
            "software": "fakeserver/0.1.0",
        },
        ("state", "electing"),
    ),
    "usage": (
        wire.UsageRequest(),
        200,
        {
            "features": [
                {
                    "feature": "RISK_IND80",
                    "total": 5,
                    "in_use": 1,
                    "reserved": 0,
                    "queued": 0,
                    "holders": [{"id": ID, "holder": {"user": "ann", "host": "pc7"}, "count": 1, "since": "2026-11-24T03:00:00Z"}],
                }
            ]
        },
        None,
    ),
}


def _answered(status: int, body: Mapping[str, Any], kind: str = "application/json") -> Answered:
    return Answered(call_id=1, now=1.0, sent_at=0.5, status=status, content_type=kind, body=json.dumps(body).encode())


@pytest.mark.parametrize("asked, status, members, expected", REPLIES.values(), ids=REPLIES)
def test_what_the_document_allows_the_client_understands(
    asked: wire.Request, status: int, members: dict[str, Any], expected: tuple[str, object] | None
) -> None:
    """protocol.md, What every reply says: replies that are valid by the document, with members that nobody knows yet."""
    body = {**SIGNED, **members, "unheard_of": {"deep": [1]}}
    encoded = wire.encode(asked)
    assert not reply_misfits(encoded.method, encoded.target, status, "application/json", body)
    reply = wire.decode(asked, _answered(status, body))
    assert reply.speaker == wire.Speaker(node="27000@lic1", role=Role.PRIMARY, cluster="9f1c62d0", term=7)
    if expected is not None:
        name, value = expected
        assert getattr(reply, name) == value


@pytest.mark.parametrize("asked, status, members, _expected", REPLIES.values(), ids=REPLIES)
def test_the_document_misses_every_member_that_must_be_there(asked: wire.Request, status: int, members: dict[str, Any], _expected: object) -> None:
    """protocol.md: a document that lets everything pass would prove nothing above."""
    encoded = wire.encode(asked)
    for name in {**SIGNED, **members}:
        body = {key: value for key, value in {**SIGNED, **members}.items() if key != name}
        assert reply_misfits(encoded.method, encoded.target, status, "application/json", body), f"{name} may be left out"


@pytest.mark.parametrize("name", [name for name in problem_table() if name != "lease-unknown"])
def test_the_client_reads_every_problem_of_the_table(name: str) -> None:
    """protocol.md, Problems: by its type alone, and knows what follows from it: ask elsewhere, denied with advice, or our own fault."""
    statuses, code = problem_table()[name]
    body = {**SIGNED, "type": f"urn:palclient:problem:{name}", "title": "Words", "status": min(statuses), "code": code, "retry_after_s": 2.5}
    reply = wire.decode(CHECKOUT, _answered(min(statuses), body, "application/problem+json"))
    assert isinstance(reply, wire.Problem)
    assert (reply.name, reply.code, reply.retry_after_s, reply.words) == (name, code, 2.5, "Words")
    assert name in NOT_SERVING | SAID_BY_ANY | OUR_FAULT | ADVICE.keys()


def test_every_way_of_not_answering_stands_on_the_page() -> None:
    """protocol.md, Problems, second table."""
    assert set(re.findall(r"^\| `([A-Za-z ]+)` \| -[0-9]+ \| \w", page(), flags=re.MULTILINE)) == {outcome.value for outcome in Outcome}


# ------------------------------------------------------------------------------------------------------ the fake server

GOOD_BODY: dict[str, Any] = {"feature": "RISK_IND80", "version": "0", "count": 1, "holder": {"user": "ann", "host": "pc7"}}
PASSED: dict[str, dict[str, Any]] = {
    "the least": {},
    "the longest feature": {"feature": "x" * 100},
    "another alphabet": {"feature": "ΡΙΣΚ", "holder": {"user": "Ann Ó", "host": "pc7"}},
    "all of it": {"queue": True, "ttl_s": 60.5, "nonce": "5b1e", "reclaim": {"seq": 4}, "holder": {"user": "a", "host": "b", "pid": 0, "app": ""}},
    "nulls": {"ttl_s": None, "nonce": None, "reclaim": None},
    "a whole number written as a fraction": {"count": 2.0},
    "unknown members": {"color": "red"},
}
REFUSED: dict[str, dict[str, Any]] = {
    "no feature": {"feature": None},
    "an empty feature": {"feature": ""},
    "a feature that is too long": {"feature": "x" * 101},
    "a feature with a line break": {"feature": "a\nb"},
    "a version that is a number": {"version": 1},
    "no seats": {"count": 0},
    "half a seat": {"count": 1.5},
    "a count that is a flag": {"count": True},
    "a count beyond numbers": {"count": 2**53 + 1},
    "a holder that is a name": {"holder": "ann"},
    "a holder without a host": {"holder": {"user": "ann"}},
    "a holder without a name": {"holder": {"user": "", "host": "pc7"}},
    "a holder that tells a story": {"holder": {"user": "ann", "host": "pc7", "app": "x" * 257}},
    "a process below zero": {"holder": {"user": "ann", "host": "pc7", "pid": -1}},
    "a queue that is a word": {"queue": "yes"},
    "a lease of no time": {"ttl_s": 0},
    "a lease of a week": {"ttl_s": 604800},
    "a nonce that is a number": {"nonce": 5},
    "a claim that is a word": {"reclaim": "mine"},
}


def _read(body: object, target: str = f"/v1/checkouts/{ID}", method: str = "PUT", headers: tuple[tuple[bytes, bytes], ...] = ()) -> server_wire.Call:
    return server_wire.read_call(method=method, path=target, headers=headers, body=json.dumps(body).encode() if body is not None else b"")


@pytest.mark.parametrize("change", PASSED.values(), ids=PASSED)
def test_what_the_document_allows_the_fake_server_reads(change: dict[str, Any]) -> None:
    """protocol.md, Taking seats."""
    body = GOOD_BODY | change
    assert not misfits("/components/schemas/Checkout", body)
    request = _read(body).request
    assert isinstance(request, server_events.Checkout)
    assert (request.id, request.feature, request.count) == (ID, body["feature"], body["count"])


@pytest.mark.parametrize("change", REFUSED.values(), ids=REFUSED)
def test_what_the_document_refuses_the_fake_server_refuses(change: dict[str, Any]) -> None:
    """protocol.md, Taking seats: the refusal is a reply of the document, too."""
    body = GOOD_BODY | change
    assert misfits("/components/schemas/Checkout", body)
    with pytest.raises(server_wire.Refused) as caught:
        _read(body)
    refused = caught.value
    assert not reply_misfits("PUT", f"/v1/checkouts/{ID}", refused.status, "application/problem+json", SIGNED | refused.body())


@pytest.mark.parametrize("missing", ["feature", "version", "count", "holder"])
def test_what_must_be_there_must_be_there_for_both(missing: str) -> None:
    """protocol.md, Taking seats."""
    body = {name: value for name, value in GOOD_BODY.items() if name != missing}
    assert misfits("/components/schemas/Checkout", body)
    with pytest.raises(server_wire.Refused):
        _read(body)


IDS: dict[str, tuple[object, bool]] = {
    "one": ([ID], True),
    "none": ([], True),
    "as many as may be": (list(MANY), True),
    "one too many": ([*MANY, OTHER_ID], False),
    "in upper case": ([ID.upper()], False),
    "without hyphens": ([ID.replace("-", "")], False),
    "a number": ([7], False),
    "not a list": (ID, False),
}


@pytest.mark.parametrize("target", ["/v1/renewals", "/v1/returns"])
@pytest.mark.parametrize("ids, is_allowed", IDS.values(), ids=IDS)
def test_both_read_lists_of_ids_alike(ids: object, is_allowed: bool, target: str) -> None:  # noqa: FBT001  # a column of the table
    """protocol.md, The calls: at most 1,000 ids, each a UUID in lower case."""
    assert (not misfits("/components/schemas/Ids", {"ids": ids})) == is_allowed
    if is_allowed:
        request = _read({"ids": ids}, target, "POST").request
        assert isinstance(request, server_events.Renew | server_events.Return)
        assert list(request.ids) == ids
    else:
        with pytest.raises(server_wire.Refused):
            _read({"ids": ids}, target, "POST")


PREFERENCES = {
    "": True,
    "respond-async": True,
    "wait=0": True,
    "wait=1": True,
    "wait=30": True,
    "wait=31": False,
    "wait=-1": False,
    "wait=1.5": False,
    "wait=": False,
}


@pytest.mark.parametrize("preference, is_allowed", PREFERENCES.items())
def test_both_read_preferences_alike(preference: str, is_allowed: bool) -> None:  # noqa: FBT001  # a column of the table
    """protocol.md, Parking: whole seconds, at most 30."""
    assert (not misfits("/components/parameters/Prefer/schema", preference)) == is_allowed
    headers = ((b"prefer", preference.encode()),)
    if is_allowed:
        assert _read(None, "/v1/usage", "GET", headers).park_s == int(preference.removeprefix("wait=") if "=" in preference else 0)
    else:
        with pytest.raises(server_wire.Refused):
            _read(None, "/v1/usage", "GET", headers)


@pytest.mark.parametrize("name", replies.PROBLEMS)
def test_the_fake_server_says_problems_as_the_table_has_them(name: str) -> None:
    """protocol.md, Problems."""
    statuses, code = problem_table()[name]
    reply = replies.problem(name)
    assert reply.status in statuses
    assert reply.body["code"] == code
    assert not misfits("/components/schemas/Problem", {**SIGNED, **reply.body})


def test_what_is_no_call_is_a_bad_request() -> None:
    """protocol.md, Problems: no such path, not this method, another version."""
    for method, target, status, name in [
        ("GET", "/", 404, "bad-request"),
        ("GET", "/v1/borrows", 404, "bad-request"),
        ("POST", "/v1/status", 405, "bad-request"),
        ("GET", "/v2/status", 400, "unsupported-version"),
    ]:
        with pytest.raises(server_wire.Refused) as caught:
            _read(None, target, method)
        body = SIGNED | caught.value.body()
        assert (caught.value.status, body["type"]) == (status, f"urn:palclient:problem:{name}")
        statuses, code = problem_table()[name]
        assert status in statuses
        assert body["code"] == code
        assert not misfits("/components/schemas/Problem", body)


def test_a_body_that_is_too_large_is_refused_as_the_table_says() -> None:
    """protocol.md, Problems, and The calls: 64 KiB."""
    refused = server_wire.too_large(server_wire.REQUEST_LIMIT_BYTES)
    statuses, code = problem_table()["too-large"]
    assert refused.status in statuses
    assert refused.code == code
    assert not reply_misfits("PUT", f"/v1/checkouts/{ID}", refused.status, "application/problem+json", SIGNED | refused.body())


def test_retry_after_is_the_body_rounded_up() -> None:
    """protocol.md, Problems: the header is there whenever the member is."""
    reply = replies.problem("seats-taken", retry_after_s=1.2)
    written = server_wire.write_reply(reply.status, {**SIGNED, **reply.body})
    assert dict(written.headers)[b"retry-after"] == b"2"
    assert b"retry-after" not in dict(server_wire.write_reply(409, {**SIGNED, **replies.problem("seats-taken").body}).headers)


# ------------------------------------------------------------------------------- the fake server's nodes, put together


class Triad:
    """Three nodes on one clock that this test turns; whatever one sends another arrives at once, but for what is cut off."""

    def __init__(self, *, features: Mapping[str, int]) -> None:
        self.now = 1000.0
        self.up = set(ServerRole)
        self.answers: dict[int, server_events.Answer] = {}
        self._tokens = 0
        self.nodes = {role: Node(self._config(role, features), server_events.DiskImage(), self.now) for role in ServerRole}

    def _config(self, role: ServerRole, features: Mapping[str, int]) -> server_events.NodeConfig:
        return server_events.NodeConfig(
            role=role,
            triad=("27000@lic1", "27000@lic2", "27000@lic3"),
            cluster="9f1c62d0",
            features=features,
            heartbeat_s=0.1,
            ttl_s=2.0,
            software="fakeserver/0.1.0",
        )

    def pass_time(self, seconds: float) -> None:
        """Let the clock run, and every node do what is due."""
        until = self.now + seconds
        while (due := min(self.nodes[role].wake_at for role in self.up)) <= until:
            self.now = max(self.now, due)
            for role in self.up:
                if self.nodes[role].wake_at <= self.now:
                    self._tell(role, server_events.Tick())
        self.now = until

    def call(self, role: ServerRole, request: HttpRequest) -> int:
        """A client's request; gives the token under which its answer will be found."""
        headers = [(name.lower().encode(), value.encode()) for name, value in request.headers]
        call = server_wire.read_call(method=request.method, path=request.target, headers=headers, body=request.body)
        self._tokens += 1
        event = server_events.ClientCall(token=self._tokens, request=call.request, park_s=call.park_s, after_term=call.after_term)
        self._tell(role, event)
        return event.token

    def _tell(self, role: ServerRole, event: server_events.Event) -> None:
        for effect in self.nodes[role].handle(event, self.now):
            if isinstance(effect, server_events.Answer):
                self.answers[effect.token] = effect
            elif isinstance(effect, server_events.PeerSend) and effect.to in self.up:
                answer = self._ask_peer(effect)
                self._tell(role, server_events.PeerReply(message=answer))

    def _ask_peer(self, send: server_events.PeerSend) -> Message:
        effects = self.nodes[send.to].handle(server_events.PeerCall(token=0, message=send.message), self.now)
        answers = [effect.message for effect in effects if isinstance(effect, server_events.PeerAnswer)]
        for effect in effects:
            if isinstance(effect, server_events.Answer):
                self.answers[effect.token] = effect
        return answers[0]


class Conversation:
    """Requests by the client's encoder, replies by the nodes; each pair is held to the document, and read by the client's decoder."""

    def __init__(self, triad: Triad) -> None:
        self.triad = triad
        self.seen: set[tuple[str, int]] = set()

    def ask(self, role: ServerRole, request: wire.Request, parking: wire.Parking | None = None, *, wait_s: float = 0.0) -> wire.Reply:
        """One request and its reply, which comes after ``wait_s`` at the latest."""
        encoded = wire.encode(request, parking)
        token = self.triad.call(role, encoded)
        self.triad.pass_time(wait_s)
        answer = self.triad.answers[token]
        written = server_wire.write_reply(answer.status, answer.body)
        kind = dict(written.headers)[b"content-type"].decode()
        assert reply_misfits(encoded.method, encoded.target, written.status, kind, json.loads(written.body)) == []
        _, operation = operation_of(encoded.method, encoded.target)
        self.seen.add((operation["operationId"], written.status))
        return wire.decode(request, Answered(call_id=1, now=1.0, sent_at=0.5, status=written.status, content_type=kind, body=written.body))


def _checkout(number: int, **changes: Any) -> wire.CheckoutRequest:
    asked: dict[str, Any] = {"feature": "RISK_IND80", "version": "0", "count": 1, "holder": HOLDER, "nonce": "5b1e"}
    return wire.CheckoutRequest(id=MANY[number], **{**asked, **changes})


def test_whatever_a_node_replies_is_in_the_document() -> None:
    """protocol.md, whole: a fresh triad, a full pool, a line, a failover with requests parked on both sides of it."""
    primary, secondary, tertiary = ServerRole
    triad = Triad(features={"RISK_IND80": 2})
    talk = Conversation(triad)

    triad.up = {primary}
    early = talk.ask(primary, wire.StatusRequest())
    assert isinstance(early, wire.StatusReply)
    assert (early.state, early.quorum) == ("starting", False)
    assert _problem(talk.ask(primary, CHECKOUT)) == "no-quorum"

    triad.up = set(ServerRole)
    triad.pass_time(1.0)
    states = {role: talk.ask(role, wire.StatusRequest()) for role in ServerRole}
    assert [getattr(state, "state", None) for state in states.values()] == ["master", "standby", "standby"]

    assert isinstance(talk.ask(primary, _checkout(1)), wire.Granted)
    assert isinstance(talk.ask(primary, _checkout(1)), wire.Granted)  # 200: held already
    assert _problem(talk.ask(primary, _checkout(1, count=2))) == "other-request"
    assert _problem(talk.ask(primary, _checkout(2, count=2))) == "seats-taken"
    assert _problem(talk.ask(primary, _checkout(2, count=3))) == "too-many-asked"
    assert _problem(talk.ask(primary, _checkout(2, feature="NO_SUCH"))) == "feature-unknown"
    assert isinstance(talk.ask(primary, _checkout(2)), wire.Granted)
    assert isinstance(talk.ask(primary, _checkout(3, queue=True)), wire.Queued)
    assert isinstance(talk.ask(primary, wire.UsageRequest()), wire.UsageReply)
    assert isinstance(talk.ask(primary, wire.RenewRequest(ids=(MANY[1], MANY[9]))), wire.Renewed)
    assert isinstance(talk.ask(primary, wire.ReturnRequest(ids=(MANY[3],))), wire.ReturnsTaken)
    assert isinstance(talk.ask(primary, wire.ReturnRequest(ids=(MANY[2], MANY[8]))), wire.ReturnsTaken)
    assert _problem(talk.ask(primary, _checkout(2))) == "id-returned"

    for request in (CHECKOUT, wire.UsageRequest(), wire.RenewRequest(ids=(MANY[1],)), wire.ReturnRequest(ids=(MANY[1],))):
        assert _problem(talk.ask(tertiary, request, wire.Parking(wait_s=9, after_term=0))) == "not-master"
    many = wire.ReturnRequest(ids=(MANY[1], MANY[2]))
    assert _problem(talk.ask(secondary, many)) == "not-master"

    triad.up.discard(primary)
    triad.pass_time(0.3)
    assert (
        _problem(talk.ask(tertiary, _checkout(4), wire.Parking(wait_s=9, after_term=1), wait_s=2.0)) == "not-master"
    )  # the secondary was elected meanwhile
    assert isinstance(
        talk.ask(secondary, _checkout(4), wire.Parking(wait_s=9, after_term=9)), wire.Granted
    )  # a master serves, whatever After-Term says

    triad.up.discard(secondary)
    assert _problem(talk.ask(tertiary, _checkout(5), wire.Parking(wait_s=1, after_term=9), wait_s=1.0)) in {"electing", "no-quorum"}
    for request in (wire.UsageRequest(), wire.RenewRequest(ids=(MANY[1],)), wire.ReturnRequest(ids=(MANY[1],)), many):
        assert _problem(talk.ask(tertiary, request)) == "no-quorum"

    assert talk.seen >= {
        *(("takeSeats", status) for status in (200, 201, 202, 404, 409, 410, 421, 422, 503)),
        *((name, status) for name in ("renewLeases", "returnSeats", "returnMany", "getUsage") for status in (200, 421, 503)),
        ("getStatus", 200),
    }


def _problem(reply: wire.Reply) -> str:
    assert isinstance(reply, wire.Problem), reply
    return reply.name
