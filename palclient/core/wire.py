"""Requests and replies of the protocol, version 1, to and from bytes.

``docs/reference/protocol.md`` and ``openapi.yaml`` are the contract; the fake server reads the same pages with code of its own.  A reply that is not
in the protocol raises ``NotOursError``: to the caller such a server is one that did not answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from palclient.core.flow import Answered, HttpRequest
from palclient.core.members import NotOursError, listed, mapping, optional, role, seconds, shown, text, whole
from palclient.models import FeatureUsage, Grant, Holder, Role, SeatHolder

PROBLEM_PREFIX = "urn:palclient:problem:"
MAX_IDS = 1000  # a batch of the protocol
MAX_PARK_S = 30  # the longest ``Prefer: wait`` that a node takes
LEAST_TTL_S = 0.05  # a lease that is shorter cannot be kept: its renewals would be a storm


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Parking:
    """Let the node hold the request for ``wait_s`` whole seconds while it knows no serving master of a term above ``after_term``."""

    wait_s: int
    after_term: int


def encode(request: Request, parking: Parking | None = None) -> HttpRequest:
    """The request as HTTP."""
    headers = (("Prefer", f"wait={parking.wait_s}"), ("After-Term", str(parking.after_term))) if parking else ()
    match request:
        case CheckoutRequest():
            return HttpRequest(method="PUT", target=f"/v1/checkouts/{request.id}", body=_dump(_checkout_body(request)), headers=headers)
        case RenewRequest():
            return HttpRequest(method="POST", target="/v1/renewals", body=_dump({"ids": request.ids}), headers=headers)
        case ReturnRequest(ids=(only,)):
            return HttpRequest(method="DELETE", target=f"/v1/checkouts/{only}", body=b"", headers=headers)
        case ReturnRequest():
            return HttpRequest(method="POST", target="/v1/returns", body=_dump({"ids": request.ids}), headers=headers)
        case StatusRequest():
            return HttpRequest(method="GET", target="/v1/status", body=b"", headers=headers)
        case UsageRequest():
            return HttpRequest(method="GET", target="/v1/usage", body=b"", headers=headers)


_TO_JSON = json.JSONEncoder(separators=(",", ":")).encode
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
    return _TO_JSON(body).encode()


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
    may_have_acted: bool = False  # the master took it on and was deposed before a second node had it: seats may be taken all the same

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
            return Queued(speaker=speaker, position=whole(body, "position", least=1), of=whole(body, "of", least=1), poll_s=seconds(body, "poll_s"))
        case CheckoutRequest() if answer.status in (200, 201):
            return Granted(speaker=speaker, grant=_grant(request, speaker, body, answer))
        case RenewRequest() if answer.status == 200:
            return Renewed(speaker=speaker, results=_renewals(body), waited_s=_waited_s(body, answer))
        case ReturnRequest() if answer.status == 200:
            return ReturnsTaken(speaker=speaker, results=_returns(request, body))
        case StatusRequest() if answer.status == 200:
            return _status(speaker, body)
        case UsageRequest() if answer.status == 200:
            return UsageReply(speaker=speaker, features=listed(body, "features", _feature))
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
    return Speaker(node=shown(body, "node"), role=role(body, "role"), cluster=text(body, "cluster"), term=whole(body, "term", least=0))


def _problem(speaker: Speaker, body: Mapping[str, Any], status: int) -> Problem:
    kind = shown(body, "type")
    if not kind.startswith(PROBLEM_PREFIX):
        raise NotOursError(f"a problem of an unknown type: {kind!r}")
    return Problem(
        speaker=speaker,
        name=kind.removeprefix(PROBLEM_PREFIX),
        status=status,
        code=optional(body, "code", whole),
        title=shown(body, "title", ""),
        detail=shown(body, "detail", ""),
        master=role(body, "master"),
        retry_after_s=optional(body, "retry_after_s", seconds),
        in_use=optional(body, "in_use", whole),
        total=optional(body, "total", whole),
        may_have_acted=body.get("may_have_acted") is True,
    )


def _grant(request: CheckoutRequest, speaker: Speaker, body: Mapping[str, Any], answer: Answered) -> Grant:
    if body.get("id") != request.id or body.get("feature") != request.feature or body.get("count") != request.count:
        raise NotOursError("a grant of something that was not asked for")
    ttl_s = seconds(body, "ttl_s", least=LEAST_TTL_S)
    return Grant(
        id=request.id,
        feature=request.feature,
        version=shown(body, "version"),
        count=request.count,
        seq=whole(body, "seq"),
        ttl_s=ttl_s,
        renew_s=seconds(body, "renew_s", ttl_s / 3),
        granted_at=shown(body, "granted_at", ""),
        nonce=request.nonce if body.get("nonce") == request.nonce else text(body, "nonce", ""),  # ten thousand leases share what they can
        node=speaker.node,
        role=speaker.role,
        cluster=speaker.cluster,
        term=speaker.term,
        waited_s=_waited_s(body, answer),
    )


def _waited_s(body: Mapping[str, Any], answer: Answered) -> float:
    """How long the request lay at the node; a lease counts from then, so no more is believed than the whole exchange took."""
    return min(seconds(body, "waited_s", 0.0), max(0.0, answer.now - answer.sent_at))


def _renewals(body: Mapping[str, Any]) -> Mapping[str, float | str]:
    return {key: _renewal(value) for key, value in mapping(body, "results").items()}


def _renewal(value: Any) -> float | str:
    if not isinstance(value, dict):
        raise NotOursError("a renewal result that is not an object")
    if "ttl_s" in value:
        return seconds(value, "ttl_s")
    return text(value, "type").removeprefix(PROBLEM_PREFIX)


def _returns(request: ReturnRequest, body: Mapping[str, Any]) -> Mapping[str, bool]:
    if "returned" in body:
        return {request.ids[0]: body["returned"] is True}
    return {key: value is True for key, value in mapping(body, "results").items()}


def _status(speaker: Speaker, body: Mapping[str, Any]) -> StatusReply:
    return StatusReply(
        speaker=speaker,
        state=shown(body, "state"),
        quorum=body.get("quorum") is True,
        master=role(body, "master"),
        triad=listed(body, "triad", _entry) if "triad" in body else (),
        primary_is_master=body.get("primary_is_master") is True,
        heartbeat_interval_s=seconds(body, "heartbeat_interval_s", 0.0),
        failover_s=seconds(body, "failover_s", 0.0),
        software=shown(body, "software", ""),
    )


def _entry(value: Any) -> str:
    return shown({"triad": value}, "triad")


def _feature(value: Any) -> FeatureUsage:
    if not isinstance(value, dict):
        raise NotOursError("a pool that is not an object")
    return FeatureUsage(
        feature=shown(value, "feature"),
        total=whole(value, "total"),
        in_use=whole(value, "in_use"),
        reserved=whole(value, "reserved", 0),
        queued=whole(value, "queued", 0),
        holders=listed(value, "holders", _seat_holder),
    )


def _seat_holder(value: Any) -> SeatHolder:
    if not isinstance(value, dict):
        raise NotOursError("a checkout that is not an object")
    who = mapping(value, "holder")
    user, host, display, app = (shown(who, name, "") for name in ("user", "host", "display", "app"))
    holder = Holder(user=user, host=host, display=display, pid=whole(who, "pid", 0), app=app)
    return SeatHolder(id=text(value, "id"), holder=holder, count=whole(value, "count"), since=shown(value, "since", ""))
