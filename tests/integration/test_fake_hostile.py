"""What anybody can send to a node: it is refused with a problem, and the node goes on as if nothing had been (issue "the triad in full", bad input)."""

from __future__ import annotations

import json
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fakeserver import FakeTriad
from fakeserver.peer import Kind

pytestmark = pytest.mark.real

LIMIT_S = 10.0
CHECKOUT = b'{"feature":"X","version":"0","count":1,"holder":{"user":"ann","host":"pc7"},"nonce":"n"}'
KINDS = ("heartbeat", "vote", "append", "transfer")


@pytest.fixture(scope="module")
def triad() -> Iterator[FakeTriad]:
    """A triad that nothing here may hurt."""
    with FakeTriad(features={"X": 5}, ttl_s=30.0) as triad:
        triad.wait_until_serving(LIMIT_S)
        yield triad
        assert triad.wait_for_master(LIMIT_S) is triad.primary
        assert [node.last_words for node in triad.nodes] == [""] * 3


def replies(triad: FakeTriad, content: bytes) -> list[tuple[int, dict[str, Any]]]:
    """What the primary answers to these bytes, until it hangs up or has nothing more to say: status and body of each reply."""
    with socket.create_connection((triad.primary.host, triad.primary.port), timeout=LIMIT_S) as client:
        client.sendall(content)
        if b"connection: close\r\n" not in content:  # who waits for a second node's word must not have hung up
            client.shutdown(socket.SHUT_WR)
        got = b""
        try:
            while piece := client.recv(65536):
                got += piece
        except ConnectionResetError:
            pass
    found = re.findall(rb"HTTP/1\.1 (\d+) [^\r]*\r\n(?:[^\r\n]+\r\n)*\r\n(\{.*?\})(?=HTTP/1\.1 |\Z)", got, flags=re.DOTALL)
    return [(int(status), json.loads(body)) for status, body in found]


def post(path: str, content: bytes) -> bytes:
    """A POST, as bytes."""
    return b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (path.encode(), len(content), content)


@pytest.mark.parametrize(
    "content",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 40 + b"\r\n\r\n",
        b"hello\r\n\r\n",
        b"GET /v1/status HTTP/1.1\r\nhost x\r\n\r\n",
        b"GET /v1/status HTTP/1.1\r\n\r\n",
        b"GET /v1/status HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"GET /v1/status HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"POST /v1/returns HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"POST /v1/returns HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ncontent-length: 70000\r\n\r\nzz\r\n",
    ],
)
def test_what_is_no_http_gets_a_problem(triad: FakeTriad, content: bytes) -> None:
    """Protocol, problems: every reply says whose it is, also the last one on a connection; nothing is logged for it."""
    ((status, problem),) = replies(triad, content)
    assert (status, problem["type"], problem["role"]) == (400, "urn:palclient:problem:bad-request", "primary")
    assert triad.primary.last_words == ""


def test_what_follows_the_last_request_of_a_connection_is_not_read() -> None:
    """RFC 9112, 9.6; some clients of HTTP/1.0 end a body with an empty line (2.2).  The request itself is answered, and nothing is logged."""
    asked = b"PUT /v1/checkouts/00000000-0000-4000-8000-%012d %bprefer: wait=10\r\ncontent-length: %d\r\n\r\n%b"
    kinds = [b"HTTP/1.0\r\n", b"HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"]
    with FakeTriad(features={"X": 5}, start=("primary",)) as triad, ExitStack() as stack:
        node = triad.primary
        clients = [stack.enter_context(socket.create_connection((node.host, node.port), timeout=LIMIT_S)) for _ in kinds]
        for number, (client, kind) in enumerate(zip(clients, kinds, strict=True)):
            client.sendall(asked % (number, kind, len(CHECKOUT), CHECKOUT))
        assert node.status() is not None  # by now both are parked
        for client in clients:
            client.sendall(b"\r\n")
        assert node.status() is not None
        triad.secondary.restart()
        for client in clients:
            assert client.recv(65536).startswith(b"HTTP/1.1 201 ")
        assert node.last_words == ""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "members",
    [
        {},
        {"reply": True},
        {"term": 10**400},
        {"sent_at": 10**400},
        {"term": -1},
        {"records": [{"feature": "X", "index": 0, "term": 10**30, "op": 1, "seq": 1, "grant": None}]},
        {
            "records": [
                {
                    "feature": "X",
                    "index": 0,
                    "term": 0,
                    "op": 0,
                    "seq": 1,
                    "grant": {"id": "a", "version": "0", "count": 1, "holder": {}, "ttl_s": 10**400, "granted_at": 1, "nonce": ""},
                }
            ]
        },
    ],
)
def test_what_no_node_would_say_is_refused(triad: FakeTriad, kind: Kind, members: dict[str, object]) -> None:
    """Peer protocol: a bad-request, and never the end of the node; numbers of 400 digits, and answers to what was not asked, were."""
    whole = {
        "reply": False,
        "sender": "tertiary",
        "cluster": "c",
        "term": 0,
        "sent_at": 0,
        "leading": False,
        "master": None,
        "master_term": 0,
        "hears": [],
    }
    whole |= {"asked_term": 0, "has_history": False, "whole": False, "base_op": 0, "op": 0, "records": [], "accepted": True, "granted": False}
    whole |= {"early": False, "retry_s": 0, "since": [0, 0], "has": [0, 0]}
    ((status, answer),) = replies(triad, post(f"/v1/peer/{kind}", json.dumps(whole | members).encode()))
    is_harmless = not members or not set(members) & MEMBERS[kind]
    assert status == (200 if is_harmless else 400), answer
    assert triad.primary.is_running


MEMBERS = {
    "heartbeat": {"reply", "term", "sent_at"},
    "vote": {"reply", "term"},
    "append": {"reply", "term", "sent_at", "records"},
    "transfer": {"reply", "term", "records"},
}

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)
PATHS = ["/v1/status", "/v1/renewals", "/v1/returns", "/v1/checkouts/0f4e8a5e-0c53-4b2d-9a9e-3d5f7c1f2b60", *(f"/v1/peer/{kind}" for kind in KINDS)]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(method=st.sampled_from(["GET", "PUT", "POST", "DELETE", "BREW"]), path=st.sampled_from(PATHS), body=anything | st.binary(max_size=200))
def test_whatever_is_asked_there_is_an_answer_of_the_protocol(triad: FakeTriad, method: str, path: str, body: object) -> None:
    """Bad input: no 500, and each refusal is a problem with the node's name."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = post(path, content).replace(b"POST", method.encode(), 1).replace(b"\r\n", b"\r\nconnection: close\r\n", 1)
    ((status, answer),) = replies(triad, request)
    assert status in {200, 400, 404, 405}
    assert answer["role"] == "primary"
    assert status == 200 or answer["type"].startswith("urn:palclient:problem:")


@pytest.mark.skipif(sys.platform != "linux", reason="the size of a process is read from /proc")
def test_a_flood_of_nonsense_leaves_no_trace_in_memory(triad: FakeTriad) -> None:
    """Bad input: no memory that grows without bound, from the second thousand requests on."""

    def kilobytes() -> int:
        text = Path(f"/proc/{triad.primary.pid}/status").read_text(encoding="ascii")
        return int(text.partition("VmRSS:")[2].split()[0])

    bad = post("/v1/returns", b"[" * 500) + post("/v1/peer/append", b'{"reply":true}') + b"GET /v1/%s HTTP/1.1\r\nhost: x\r\n\r\n" % (b"z" * 500)
    flood = bad * 30 + b"rubbish\r\n\r\n"
    for _ in range(11):
        replies(triad, flood)
    before = kilobytes()
    for _ in range(11):
        assert len(replies(triad, flood)) == 91
    assert kilobytes() - before < 1024
