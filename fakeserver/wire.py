"""The protocol as this side reads it: an HTTP request becomes a value or is refused; an answer becomes a status, headers and bytes.

Nothing is let through that the protocol does not allow: whoever gets a request from here need not look at a type or a range again.  Unknown
members are dropped.  The client's own reading of the same page is not used here, so that a mistake cannot hide in both.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NoReturn, TypeVar

from fakeserver.events import Checkout, Renew, Request, Return, Status, Usage

T = TypeVar("T")

Headers = Iterable[tuple[bytes, bytes]]
"""Names in lower case, as ASGI hands them over."""

REQUEST_LIMIT_BYTES = 64 * 1024  # the protocol's limit of a client's request
PEER_LIMIT_BYTES = 16 * 1024 * 1024  # between nodes whole tables travel: 10,000 seats of some 300 bytes each, and room to spare
IDS_LIMIT = 1_000  # the protocol's limit of one renewal or return
PARK_LIMIT_S = 30  # the protocol's limit of ``Prefer: wait``
TTL_LIMIT_S = 24 * 3600.0  # ours: the fake server grants for less in any case
NUMBER_LIMIT = 2**53  # ours: beyond it JSON numbers differ from one language to the next
NAME_LIMIT = 100  # ours, in characters: features and versions
TEXT_LIMIT = 256  # ours, in characters: what a holder says of itself, and nonces

PROBLEM_TYPE = "urn:palclient:problem:"

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_WHOLE = re.compile(r"[0-9]{1,16}")
_VERSION = re.compile(r"v[0-9]+")


class Refused(Exception):
    """A request that the protocol does not allow.  ``allow`` names the methods of a path, when it was the method."""

    def __init__(self, detail: str, *, name: str = "bad-request", status: int = 400, code: int = -42, allow: str = "") -> None:
        super().__init__(detail)
        self.detail = detail
        self.name = name
        self.status = status
        self.code = code
        self.allow = allow

    def body(self) -> dict[str, object]:
        """The problem details (RFC 9457), still without what every reply says of its node."""
        title = self.name.replace("-", " ").capitalize()
        return {"type": PROBLEM_TYPE + self.name, "title": title, "status": self.status, "detail": self.detail, "code": self.code}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A client's request, and how long it may be held (``Prefer: wait``) for a master of a term above ``after_term``."""

    request: Request
    park_s: float = 0.0
    after_term: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What leaves as HTTP."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


def too_large(limit_bytes: int) -> Refused:
    """The refusal of a body over ``limit_bytes``."""
    return Refused(f"The body is larger than {limit_bytes} bytes.", name="too-large", status=413)


def read_call(*, method: str, path: str, headers: Headers, body: bytes) -> Call:
    """Read a client's request.  Raises Refused, with all that the answer needs to say."""
    resource, identity = _resource(path)
    methods = _RESOURCES.get((resource, bool(identity)))
    if methods is None:
        raise Refused(f"There is nothing at {path!r}.", status=404)
    read = methods.get("GET" if method == "HEAD" else method)  # whoever writes the reply leaves its body out
    if read is None:
        allow = ", ".join(methods).replace("GET", "GET, HEAD")
        raise Refused(f"{method} is not played at {path!r}; {allow} is.", status=405, allow=allow)
    request = read(identity, body)
    park_s, after_term = (0.0, 0) if resource == "status" else _patience(headers)  # a status is never held, nor refused
    return Call(request=request, park_s=park_s, after_term=after_term)


def read_object(body: bytes) -> dict[str, object]:
    """Read a body that must be one JSON object in UTF-8, its numbers finite.  Raises Refused."""
    try:
        value = _JSON.decode(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise Refused(f"The body is not UTF-8: {error.reason} at byte {error.start}.") from error
    except (ValueError, RecursionError) as error:
        raise Refused(f"The body is not JSON: {error}.") from error
    if not isinstance(value, dict):
        raise Refused("The body is not a JSON object.")
    return value


def to_json(value: object) -> bytes:
    """The shortest JSON, all ASCII.  Raises ValueError for a number that JSON does not know."""
    return _TO_JSON(value).encode("ascii")


def write_reply(status: int, body: Mapping[str, object], *, allow: str = "") -> Reply:
    """Write an answer.  From 400 on it is a problem; ``retry_after_s`` in it becomes Retry-After, in whole seconds, rounded up."""
    content = to_json(body)
    kind = b"application/problem+json" if status >= 400 else b"application/json"
    headers = [(b"content-type", kind), (b"content-length", str(len(content)).encode("ascii"))]
    retry_after_s = body.get("retry_after_s") if status >= 400 else None
    if isinstance(retry_after_s, int | float):
        headers.append((b"retry-after", str(math.ceil(retry_after_s)).encode("ascii")))
    if allow:
        headers.append((b"allow", allow.encode("ascii")))
    return Reply(status=status, headers=tuple(headers), body=content)


def _resource(path: str) -> tuple[str, str]:
    """The resource that ``path`` names, and the id behind it (empty: none)."""
    version, _, rest = path.removeprefix("/").partition("/")
    if version != "v1":
        if _VERSION.fullmatch(version):
            raise Refused(f"Version {version!r} of the protocol is not spoken here; 'v1' is.", name="unsupported-version", code=-83)
        raise Refused(f"There is nothing at {path!r}.", status=404)
    resource, _, identity = rest.partition("/")
    return resource, identity


def _patience(headers: Headers) -> tuple[float, int]:
    """``Prefer: wait=S`` (RFC 7240; other preferences are none of ours) and ``After-Term: N``."""
    park_s, after_term = 0, 0
    for name, value in headers:
        if name == b"prefer":
            for preference in value.decode("latin-1").split(","):
                token, _, setting = preference.partition(";")[0].partition("=")
                if token.strip().lower() == "wait":
                    park_s = _whole("Prefer: wait", setting.strip().strip('"'), PARK_LIMIT_S)
        elif name == b"after-term":
            after_term = _whole("After-Term", value.decode("latin-1").strip(), NUMBER_LIMIT)
    return float(park_s), after_term


def _whole(name: str, text: str, limit: int) -> int:
    if not _WHOLE.fullmatch(text) or int(text) > limit:
        raise Refused(f"{name} must be a whole number from 0 to {limit}, not {text[:TEXT_LIMIT]!r}.")
    return int(text)


# --- the requests, one by one -------------------------------------------------------------------------------------------------------


def _read_status(_identity: str, _body: bytes) -> Status:
    return Status()


def _read_usage(_identity: str, _body: bytes) -> Usage:
    return Usage()


def _read_checkout(identity: str, body: bytes) -> Checkout:
    fields = read_object(body)
    return Checkout(
        id=_checkout_id(identity),
        feature=_text(_needed(fields, "feature"), "feature", limit=NAME_LIMIT),
        version=_text(_needed(fields, "version"), "version", limit=NAME_LIMIT),
        count=_integer(_needed(fields, "count"), "count", least=1),
        holder=_holder(_needed(fields, "holder")),
        queue=_flag(fields.get("queue", False), "queue"),
        ttl_s=_given(fields, "ttl_s", _seconds),
        nonce=_given(fields, "nonce", _word) or "",
        reclaim=_given(fields, "reclaim", _grant),
    )


def _read_renewal(_identity: str, body: bytes) -> Renew:
    return Renew(ids=_ids(body))


def _read_return(_identity: str, body: bytes) -> Return:
    return Return(ids=_ids(body))


def _read_delete(identity: str, _body: bytes) -> Return:
    return Return(ids=(_checkout_id(identity),), single=True)


_RESOURCES: dict[tuple[str, bool], dict[str, Callable[[str, bytes], Request]]] = {
    ("status", False): {"GET": _read_status},
    ("usage", False): {"GET": _read_usage},
    ("checkouts", True): {"PUT": _read_checkout, "DELETE": _read_delete},
    ("renewals", False): {"POST": _read_renewal},
    ("returns", False): {"POST": _read_return},
}
"""Resource, and whether an id follows it; then the method."""


def _ids(body: bytes) -> tuple[str, ...]:
    ids = _needed(read_object(body), "ids")
    if not isinstance(ids, list):
        raise Refused("'ids' must be a list of checkout ids.")
    if len(ids) > IDS_LIMIT:
        raise Refused(f"'ids' holds {len(ids)} ids; one request may name {IDS_LIMIT} at most.")
    return tuple(_checkout_id(identity) for identity in ids)


# --- the members --------------------------------------------------------------------------------------------------------------------


def _checkout_id(value: object) -> str:
    """A UUID in its one canonical spelling: two spellings of one id would take two seats (G3)."""
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        raise Refused(f"A checkout id must be a UUID in lower case, as in RFC 9562, not {_shown(value)}.")
    return value


def _holder(value: object) -> dict[str, object]:
    """Who asks: the members that were sent, of those that the protocol knows."""
    fields = _object(value, "holder")
    for name in ("user", "host"):
        _text(_needed(fields, name, inside="the holder"), f"holder.{name}", limit=TEXT_LIMIT)
    known: dict[str, object] = {name: _word(fields[name], f"holder.{name}") for name in ("user", "host", "display", "app") if name in fields}
    if "pid" in fields:
        known["pid"] = _integer(fields["pid"], "holder.pid", least=0)
    return known


def _grant(value: object, name: str) -> dict[str, object]:
    """An earlier grant, as far as the protocol looks at it."""
    fields = _object(value, name)
    known: dict[str, object] = {member: _integer(fields[member], f"{name}.{member}", least=0) for member in ("seq", "term") if member in fields}
    return known | {member: _word(fields[member], f"{name}.{member}") for member in ("cluster", "granted_at") if member in fields}


def _needed(fields: Mapping[str, object], name: str, *, inside: str = "the body") -> object:
    if name not in fields:
        raise Refused(f"{name!r} is missing from {inside}.")
    return fields[name]


def _given(fields: Mapping[str, object], name: str, read: Callable[[object, str], T]) -> T | None:
    """A member that may be left out, or be null."""
    value = fields.get(name)
    return None if value is None else read(value, name)


def _text(value: object, name: str, *, limit: int) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= limit or _UNPRINTABLE.search(value):
        raise Refused(f"{name!r} must be a text of 1 to {limit} printable characters, not {_shown(value)}.")
    return value


def _word(value: object, name: str) -> str:
    """As ``_text``, but it may be empty."""
    return "" if value == "" else _text(value, name, limit=TEXT_LIMIT)


def _integer(value: object, name: str, *, least: int) -> int:
    number = int(value) if isinstance(value, float) and value.is_integer() else value  # to JSON, 1.0 is 1
    if not isinstance(number, int) or isinstance(number, bool) or not least <= number <= NUMBER_LIMIT:
        raise Refused(f"{name!r} must be a whole number from {least} to {NUMBER_LIMIT}, not {_shown(value)}.")
    return number


def _seconds(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= TTL_LIMIT_S:
        raise Refused(f"{name!r} must be a number of seconds above 0, at most {TTL_LIMIT_S:g}, not {_shown(value)}.")
    return float(value)


def _flag(value: object, name: str) -> bool:
    if not isinstance(value, bool):
        raise Refused(f"{name!r} must be true or false, not {_shown(value)}.")
    return value


def _object(value: object, name: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise Refused(f"{name!r} must be an object, not {_shown(value)}.")
    return value


def _shown(value: object) -> str:
    """What was sent, as JSON, cut to a length that a reader can take in.  Of what may nest deeply only the kind is told."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _not_a_number(text)


def _not_a_number(text: str) -> NoReturn:
    raise ValueError(f"{text[:TEXT_LIMIT]} is not a number that JSON knows")


_TO_JSON = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_JSON = json.JSONDecoder(parse_float=_finite, parse_constant=_not_a_number)
