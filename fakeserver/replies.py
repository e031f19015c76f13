"""What a client is told: the problems of the protocol by name, and how their bodies and dates are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A status and a body, before the node has signed it with its own name, role, cluster and term."""

    status: int
    body: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A row of the table of problems: HTTP status, FLEXnet number, and a title for people."""

    status: int
    code: int
    title: str


PROBLEMS: Mapping[str, Problem] = {
    "not-master": Problem(status=421, code=-23, title="Another node is the master"),
    "no-quorum": Problem(status=503, code=-97, title="This node has no quorum"),
    "electing": Problem(status=503, code=-23, title="The triad has no master at this moment"),
    "overloaded": Problem(status=503, code=-106, title="Too many requests are waiting here"),
    "seats-taken": Problem(status=409, code=-4, title="All seats are taken"),
    "too-many-asked": Problem(status=409, code=-26, title="The pool has fewer seats than were asked for"),
    "feature-unknown": Problem(status=404, code=-5, title="There is no such feature"),
    "over-max": Problem(status=409, code=-87, title="As many seats are held as the options file allows"),
    "reserved": Problem(status=409, code=-101, title="The seats that are free are reserved for others"),
    "version-not-covered": Problem(status=403, code=-21, title="The license is for older versions"),
    "not-started": Problem(status=403, code=-31, title="The license has not started yet"),
    "excluded": Problem(status=403, code=-38, title="The options file excludes this user"),
    "not-included": Problem(status=403, code=-39, title="The options file includes others alone"),
    "expired": Problem(status=403, code=-10, title="The license has expired"),
    "lease-unknown": Problem(status=404, code=-41, title="No lease is held under this id"),
    "id-returned": Problem(status=410, code=-41, title="The checkout of this id was returned"),
    "other-request": Problem(status=422, code=-42, title="This id was used for another request"),
    "bad-request": Problem(status=400, code=-42, title="The request cannot be read"),
}


def problem(name: str, detail: str = "", **members: object) -> Reply:
    """The reply for a problem of the table; ``members`` are what helps: ``master``, ``retry_after_s``, ``in_use`` and so on."""
    row = PROBLEMS[name]
    body: dict[str, object] = {"type": problem_type(name), "title": row.title, "status": row.status, "code": row.code}
    if detail:
        body["detail"] = detail
    return Reply(status=row.status, body=body | members)


def problem_type(name: str) -> str:
    """The URN by which a client tells problems apart."""
    return f"urn:palclient:problem:{name}"


def utc_text(wall_s: float) -> str:
    """Seconds since 1970 as RFC 3339 in UTC, to the millisecond."""
    return datetime.fromtimestamp(wall_s, tz=UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
