"""Nodes that say what a test has written for them, in the protocol's own form, for ``hostile.Server``."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from tests import hostile

TTL_S = 60.0
CODES = {"not-master": (421, -23), "no-quorum": (503, -97), "electing": (503, -23), "overloaded": (503, -106), "unsupported-version": (400, -83)}

Dress = Callable[[bytes], bytes]


@dataclass(slots=True, kw_only=True)
class Node:
    """A behaviour: one node of a triad.  It serves; or, with ``problem``, answers everything but its status with that, naming ``master``.

    A test may change its mind at any time.  ``dress`` is what happens to each answer on its way out; ``keeps`` says whether the connection stays
    open after it.  Nothing is parked: the node answers at once, whatever ``Prefer`` says, which is the worst that a node may do to a client's patience.
    """

    role: str
    term: int = 1
    cluster: str = "c1"
    problem: str = ""
    master: str | None = None
    retry_after_s: float | None = None
    ttl_s: float = TTL_S
    dress: Dress | None = None
    keeps: bool = True

    def __call__(self, visit: hostile.Visit) -> None:
        """One connection."""
        while request := visit.read_request():
            answer = self.answer(request)
            visit.send(self.dress(answer) if self.dress else answer)
            if not self.keeps:
                return

    def answer(self, request: bytes) -> bytes:
        """The whole answer to one request."""
        head, _, content = request.partition(b"\r\n\r\n")
        method, target, _ = head.decode("ascii").split(" ", 2)
        about: dict[str, object] = {"node": self.role, "role": self.role, "cluster": self.cluster, "term": self.term}
        if method == "GET":
            state = "standby" if self.problem else "master"
            return whole(200, about | {"state": state, "quorum": not self.problem, "master": self.master or self.role})
        if self.problem:
            status, code = CODES[self.problem]
            problem = {"type": f"urn:palclient:problem:{self.problem}", "status": status, "code": code, "title": self.problem.replace("-", " ")}
            return whole(status, about | problem | {"master": self.master, "retry_after_s": self.retry_after_s}, retry_after_s=self.retry_after_s)
        asked = json.loads(content or b"{}")
        if method == "PUT":
            wanted = {name: asked[name] for name in ("feature", "version", "count", "nonce")}
            return whole(201, about | wanted | {"id": target.rpartition("/")[2], "seq": 1, "ttl_s": self.ttl_s, "waited_s": 0.0})
        if method == "DELETE":
            return whole(200, about | {"returned": True})
        word: object = True if target == "/v1/returns" else {"ttl_s": self.ttl_s}
        return whole(200, about | {"results": dict.fromkeys(asked["ids"], word)})


def whole(status: int, body: object, *, retry_after_s: float | None = None) -> bytes:
    """A whole HTTP answer in JSON."""
    content = json.dumps(body).encode()
    more = "" if retry_after_s is None else f"Retry-After: {retry_after_s:.0f}\r\n"
    head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: application/json\r\n{more}Content-Length: {len(content)}\r\n\r\n"
    return head.encode("ascii") + content


# ------------------------------------------------------------------------------------------------------------------- dresses


def in_http_1_0(answer: bytes) -> bytes:
    """As a server of another age says it."""
    return answer.replace(b"HTTP/1.1", b"HTTP/1.0", 1)


def without_length(answer: bytes) -> bytes:
    """HTTP/1.0's way: the body ends with the connection."""
    head, _, content = in_http_1_0(answer).partition(b"\r\n\r\n")
    return head.partition(b"\r\nContent-Length")[0] + b"\r\n\r\n" + content


def after_continue(answer: bytes) -> bytes:
    """An interim answer comes first, though nobody asked for it."""
    return b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\n" + answer


def in_chunks(answer: bytes) -> bytes:
    """The body in two chunks."""
    head, _, content = answer.partition(b"\r\n\r\n")
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (content[:7], content[7:], b""))
    return head.partition(b"\r\nContent-Length")[0] + b"\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks


def with_length_changed(by: int) -> Dress:
    """A Content-Length that is wrong."""

    def dressed(answer: bytes) -> bytes:
        head, _, content = answer.partition(b"\r\n\r\n")
        return head.replace(b"Content-Length: %d" % len(content), b"Content-Length: %d" % (len(content) + by)) + b"\r\n\r\n" + content

    return dressed


def in_gzip(answer: bytes) -> bytes:
    """Compressed, though nobody asked for it."""
    head, _, content = answer.partition(b"\r\n\r\n")
    packed = gzip.compress(content)
    return head.replace(b"Content-Length: %d" % len(content), b"Content-Encoding: gzip\r\nContent-Length: %d" % len(packed)) + b"\r\n\r\n" + packed


def with_big_head(answer: bytes) -> bytes:
    """As a chain of proxies may leave it: eight thousand bytes of headers."""
    return answer.replace(b"\r\n", b"\r\n" + b"X-Via: a proxy and its proxies and theirs\r\n" * 190, 1)
