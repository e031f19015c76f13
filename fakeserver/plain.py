"""HTTP in the one plain shape that nearly every request has: read and written without h11 and uvicorn, which cost ten times as much.  Pure.

Narrower than the RFC on purpose: whatever is odd, cut short or more than one request is not plain, and h11 reads it from its first byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from fakeserver import wire

_HEAD = re.compile(rb"(GET|PUT|POST|DELETE) (/[!\"$&->@-~]*) HTTP/1\.1\r\n((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~]*\r\n)+)\r\n")
"""No escape, query or fragment in the path; names and values of printable ASCII."""

_ON_FRAMING = frozenset({b"transfer-encoding", b"expect", b"upgrade", b"te", b"trailer", b"keep-alive", b"proxy-connection"})
"""Fields that bear on where a request ends, or on what becomes of its connection; ``connection`` itself may only say what holds in any case."""

_LENGTH = re.compile(rb"[0-9]{1,9}")

_REASONS = {
    200: b"OK",
    201: b"Created",
    202: b"Accepted",
    400: b"Bad Request",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    409: b"Conflict",
    410: b"Gone",
    413: b"Content Too Large",
    421: b"Misdirected Request",
    422: b"Unprocessable Content",
    429: b"Too Many Requests",
    503: b"Service Unavailable",
}
"""Of the statuses that the protocol knows; of another it may be empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    """One request, whole.  ``headers`` have their names in lower case."""

    method: str
    path: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


def read_plain(data: bytes) -> Plain | None:
    """The one request that ``data`` is; None when it is anything else, or not plain."""
    head = _HEAD.match(data)
    if head is None:
        return None
    headers = tuple([(name.lower(), value.strip(b" \t")) for name, _, value in (line.partition(b":") for line in head[3].split(b"\r\n")[:-1])])
    names = [name for name, _ in headers]
    fields = dict(headers)
    length = fields.get(b"content-length", b"0")
    if names.count(b"host") != 1 or names.count(b"content-length") > 1 or not _LENGTH.fullmatch(length) or int(length) != len(data) - head.end():
        return None
    if not _ON_FRAMING.isdisjoint(names) or names.count(b"connection") > 1 or fields.get(b"connection", b"keep-alive").lower() != b"keep-alive":
        return None
    return Plain(method=head[1].decode("ascii"), path=head[2].decode("ascii"), headers=headers, body=data[head.end() :])


def written(reply: wire.Reply, more_headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A whole reply, for one write."""
    lines = [b"HTTP/1.1 %d %b" % (reply.status, _REASONS.get(reply.status, b""))]
    lines += [b"%b: %b" % field for field in (*more_headers, *reply.headers)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + reply.body
