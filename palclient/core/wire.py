"""Requests and replies of the protocol, version 1, to and from bytes.

``docs/reference/protocol.md`` and ``openapi.yaml`` are the contract; the fake server reads the same pages with code of its own.  A reply that is not
in the protocol raises ``NotOursError``: to the caller such a server is one that did not answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from palclient.core.flow import Answered, HttpRequest
from palclient.models import FeatureUsage, Grant, Holder, Role, SeatHolder

PROBLEM_PREFIX = "urn:palclient:problem:"
MAX_IDS = 1000  # a batch of the protocol
MAX_PARK_S = 30  # the longest ``Prefer: wait`` that a node takes

Value = TypeVar("Value")


class NotOursError(Exception):
    """An HTTP answer that no node of ours gives; the text says what is odd about it."""


# --- requests -----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckoutRequest:
    """Take ``count`` seats of ``feature`` under ``id``.  Asking again under the same id takes no second seat (G3)."""

    id: str
    feature: str
    version: str
    count: int
    holder: Holder
    queue: bool = False
    nonce: str = ""
    reclaim: Grant | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewRequest:
    """Keep these leases alive; at most ``MAX_IDS``."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnRequest:
    """Give these seats back, or give the ids up; at most ``MAX_IDS``."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusRequest:
    """Who are you?"""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRequest:
    """Who holds what?"""


Request = CheckoutRequest | RenewRequest | ReturnRequest | StatusRequest | UsageRequest


@dataclass(frozen=True, slots=True)
class Parking:
    """Let the node hold the request for ``wait_s`` whole seconds while it knows no serving master of a term above ``after_term``."""

    wait_s: int
    after_term: int


def encode(request: Request, parking: Parking | None = None) -> HttpRequest:
    """The request as HTTP."""
    headers = (("Prefer", f"wait={parking.wait_s}"), ("After-Term", str(parking.after_term))) if parking else ()
    match request:
        case CheckoutRequest():
            return HttpRequest("PUT", f"/v1/checkouts/{request.id}", _dump(_checkout_body(request)), headers)
        case RenewRequest():
            return HttpRequest("POST", "/v1/renewals", _dump({"ids": request.ids}), headers)
        case ReturnRequest(ids=(only,)):
            return HttpRequest("DELETE", f"/v1/checkouts/{only}", b"", headers)
        case ReturnRequest():
            return HttpRequest("POST", "/v1/returns", _dump({"ids": request.ids}), headers)
        case StatusRequest():
            return HttpRequest("GET", "/v1/status", b"", headers)
        case UsageRequest():
            return HttpRequest("GET", "/v1/usage", b"", headers)


_NAMES = {CheckoutRequest: "checkout", RenewRequest: "renewal", ReturnRequest: "return", StatusRequest: "status", UsageRequest: "usage"}


def describe(request: Request) -> str:
    """What a request is called in messages to people."""
    return _NAMES[type(request)]


def _checkout_body(request: CheckoutRequest) -> dict[str, object]:
    holder = request.holder
    body: dict[str, object] = {
        "feature": request.feature,
        "version": request.version,
        "count": request.count,
        "holder": {"user": holder.user, "host": holder.host, "display": holder.display, "pid": holder.pid, "app": holder.app},
        "queue": request.queue,
        "nonce": request.nonce,
    }
    if request.reclaim is not None:
        earlier = request.reclaim
        body["reclaim"] = {"seq": earlier.seq, "term": earlier.term, "cluster": earlier.cluster, "granted_at": earlier.granted_at}
    return body


def _dump(body: Mapping[str, object]) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()


# --- replies ------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Speaker:
    """Who answered: the members that every reply carries."""

    node: str
    role: Role | None
    cluster: str
    term: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """Seats taken, or held already and renewed."""

    speaker: Speaker
    grant: Grant


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """In line at ``position`` (from 1) of ``of``; ask again in ``poll_s`` seconds."""

    speaker: Speaker
    position: int
    of: int
    poll_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A problem reply (RFC 9457).  ``name`` is what decides; the rest is for people."""

    speaker: Speaker
    name: str
    status: int
    code: int | None = None
    title: str = ""
    detail: str = ""
    master: Role | None = None
    retry_after_s: float | None = None
    in_use: int | None = None
    total: int | None = None

    @property
    def words(self) -> str:
        """The server's own words, the fullest that there are."""
        return self.detail or self.title or self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewed:
    """For each id the seconds it lives from the service on, or the problem's name; the request was parked for ``waited_s``."""

    speaker: Speaker
    results: Mapping[str, float | str]
    waited_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnsTaken:
    """For each id whether it was held."""

    speaker: Speaker
    results: Mapping[str, bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusReply:
    """A node's word about itself; an unknown ``state`` counts as not serving."""

    speaker: Speaker
    state: str
    quorum: bool
    master: Role | None
    triad: tuple[str, ...]
    primary_is_master: bool
    heartbeat_interval_s: float
    failover_s: float
    software: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageReply:
    """Every pool at the master."""

    speaker: Speaker
    features: tuple[FeatureUsage, ...]


Reply = Granted | Queued | Problem | Renewed | ReturnsTaken | StatusReply | UsageReply


def decode(request: Request, answer: Answered) -> Reply:
    """The answer to ``request``; raises ``NotOursError`` for whatever the protocol does not have."""
    body = _object(answer.body)
    speaker = _speaker(body)
    if answer.status >= 400:
        return _problem(speaker, body, answer.status)
    match request:
        case CheckoutRequest() if answer.status == 202:
            return Queued(speaker=speaker, position=_int(body, "position"), of=_int(body, "of"), poll_s=_seconds(body, "poll_s"))
        case CheckoutRequest() if answer.status in (200, 201):
            return Granted(speaker=speaker, grant=_grant(request, speaker, body))
        case RenewRequest() if answer.status == 200:
            return Renewed(speaker=speaker, results=_renewals(body), waited_s=_seconds(body, "waited_s", 0.0))
        case ReturnRequest() if answer.status == 200:
            return ReturnsTaken(speaker=speaker, results=_returns(request, body))
        case StatusRequest() if answer.status == 200:
            return _status(speaker, body)
        case UsageRequest() if answer.status == 200:
            return UsageReply(speaker=speaker, features=_list(body, "features", _feature))
    raise NotOursError(f"status {answer.status} to a {describe(request)}")


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise NotOursError(f"the answer is not JSON: {_excerpt(body)}") from error
    if not isinstance(value, dict):
        raise NotOursError(f"the answer is not a JSON object: {_excerpt(body)}")
    return value


def _excerpt(body: bytes) -> str:
    return repr(body[:60].decode("utf-8", "replace")) if body else "it is empty"


def _speaker(body: Mapping[str, Any]) -> Speaker:
    return Speaker(node=_str(body, "node"), role=_role(body, "role"), cluster=_str(body, "cluster"), term=_int(body, "term"))


def _problem(speaker: Speaker, body: Mapping[str, Any], status: int) -> Problem:
    kind = _str(body, "type")
    if not kind.startswith(PROBLEM_PREFIX):
        raise NotOursError(f"a problem of an unknown type: {kind[:80]!r}")
    return Problem(
        speaker=speaker,
        name=kind.removeprefix(PROBLEM_PREFIX),
        status=status,
        code=_optional(body, "code", _int),
        title=_str(body, "title", ""),
        detail=_str(body, "detail", ""),
        master=_role(body, "master"),
        retry_after_s=_optional(body, "retry_after_s", _seconds),
        in_use=_optional(body, "in_use", _int),
        total=_optional(body, "total", _int),
    )


def _grant(request: CheckoutRequest, speaker: Speaker, body: Mapping[str, Any]) -> Grant:
    if body.get("id") != request.id or body.get("feature") != request.feature or body.get("count") != request.count:
        raise NotOursError("a grant of something that was not asked for")
    ttl_s = _seconds(body, "ttl_s")
    return Grant(
        id=request.id,
        feature=request.feature,
        version=_str(body, "version"),
        count=request.count,
        seq=_int(body, "seq"),
        ttl_s=ttl_s,
        renew_s=_seconds(body, "renew_s", ttl_s / 3),
        granted_at=_str(body, "granted_at", ""),
        nonce=_str(body, "nonce", ""),
        node=speaker.node,
        role=speaker.role,
        cluster=speaker.cluster,
        term=speaker.term,
        waited_s=_seconds(body, "waited_s", 0.0),
    )


def _renewals(body: Mapping[str, Any]) -> Mapping[str, float | str]:
    return {key: _renewal(value) for key, value in _mapping(body, "results").items()}


def _renewal(value: Any) -> float | str:
    if not isinstance(value, dict):
        raise NotOursError("a renewal result that is not an object")
    if "ttl_s" in value:
        return _seconds(value, "ttl_s")
    return _str(value, "type").removeprefix(PROBLEM_PREFIX)


def _returns(request: ReturnRequest, body: Mapping[str, Any]) -> Mapping[str, bool]:
    if "returned" in body:
        return {request.ids[0]: body["returned"] is True}
    return {key: value is True for key, value in _mapping(body, "results").items()}


def _status(speaker: Speaker, body: Mapping[str, Any]) -> StatusReply:
    return StatusReply(
        speaker=speaker,
        state=_str(body, "state"),
        quorum=body.get("quorum") is True,
        master=_role(body, "master"),
        triad=_list(body, "triad", str) if "triad" in body else (),
        primary_is_master=body.get("primary_is_master") is True,
        heartbeat_interval_s=_seconds(body, "heartbeat_interval_s", 0.0),
        failover_s=_seconds(body, "failover_s", 0.0),
        software=_str(body, "software", ""),
    )


def _feature(value: Any) -> FeatureUsage:
    if not isinstance(value, dict):
        raise NotOursError("a pool that is not an object")
    return FeatureUsage(
        feature=_str(value, "feature"),
        total=_int(value, "total"),
        in_use=_int(value, "in_use"),
        reserved=_int(value, "reserved", 0),
        queued=_int(value, "queued", 0),
        holders=_list(value, "holders", _seat_holder),
    )


def _seat_holder(value: Any) -> SeatHolder:
    if not isinstance(value, dict):
        raise NotOursError("a checkout that is not an object")
    who = _mapping(value, "holder")
    holder = Holder(
        user=_str(who, "user", ""), host=_str(who, "host", ""), display=_str(who, "display", ""), pid=_int(who, "pid", 0), app=_str(who, "app", "")
    )
    return SeatHolder(id=_str(value, "id"), holder=holder, count=_int(value, "count"), since=_str(value, "since", ""))


# --- members of a body, checked -----------------------------------------------------------------------------------------------------


def _str(body: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = body.get(name, default)
    if not isinstance(value, str):
        raise NotOursError(f"no text in {name!r}")
    return value


def _int(body: Mapping[str, Any], name: str, default: int | None = None) -> int:
    value = body.get(name, default)
    if type(value) is not int or not 0 <= abs(value) < 2**63:  # bool is an int to Python, and not to the protocol
        raise NotOursError(f"no whole number in {name!r}")
    return value


def _seconds(body: Mapping[str, Any], name: str, default: float | None = None) -> float:
    value = body.get(name, default)
    if type(value) not in (int, float) or not 0 <= value <= 1e9:  # NaN fails the comparison, too
        raise NotOursError(f"no duration in {name!r}")
    return float(value)


def _optional(body: Mapping[str, Any], name: str, read: Callable[[Mapping[str, Any], str], Value]) -> Value | None:
    return None if body.get(name) is None else read(body, name)


def _role(body: Mapping[str, Any], name: str) -> Role | None:
    value = body.get(name)
    return next((role for role in Role if role.value == value), None)


def _mapping(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = body.get(name)
    if not isinstance(value, dict):
        raise NotOursError(f"no object in {name!r}")
    return value


def _list(body: Mapping[str, Any], name: str, read: Callable[[Any], Value]) -> tuple[Value, ...]:
    value = body.get(name)
    if not isinstance(value, list):
        raise NotOursError(f"no list in {name!r}")
    return tuple(read(item) for item in value)
