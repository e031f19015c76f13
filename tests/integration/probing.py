"""How these tests look at nodes from outside: plain HTTP, and waits with a deadline."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from typing import Any, TypeVar

from fakeserver import FakeNode

T = TypeVar("T")

LIMIT_S = 15.0
ASKED = {"feature": "X", "version": "0", "count": 1, "holder": {"user": "ann", "host": "pc7"}, "nonce": "n"}


def ask(host: str, port: int, method: str, path: str, body: object = None, *, timeout: float = LIMIT_S, **headers: str) -> tuple[int, dict[str, Any]]:
    """One request on a connection of its own: status and body of the answer.  ``body`` is sent as JSON, or as the bytes that it is."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        content = body if isinstance(body, bytes) else None if body is None else json.dumps(body)
        connection.request(method, path, body=content, headers=headers)
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read())
    finally:
        connection.close()


def ask_node(node: FakeNode, method: str, path: str, body: object = None, *, timeout: float = LIMIT_S, **headers: str) -> tuple[int, dict[str, Any]]:
    """As ``ask``, of a node."""
    return ask(node.host, node.port, method, path, body, timeout=timeout, **headers)


def wait_for(look: Callable[[], T], what: str) -> T:
    """What ``look`` gives, once it gives something."""
    deadline = time.monotonic() + LIMIT_S
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {LIMIT_S:g} s: {what}"
        time.sleep(0.005)
    return found
