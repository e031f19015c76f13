"""Requests over raw sockets, as many as a node can answer: what the clients cost is to be little beside it.

``python -m tests.bench.load PORT CONNECTIONS SECONDS [returns]`` is a process of its own; it prints how many checkouts were granted in a second.  With
``renewing`` each connection keeps ten leases, and ``ready`` is printed when it has them.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time
from collections.abc import Iterator
from itertools import count, islice

BODY = json.dumps(
    {"feature": "X", "version": "0", "count": 1, "holder": {"user": "ann", "host": "pc7", "display": ":0", "pid": 4711, "app": "risk"}, "nonce": "n"}
).encode("ascii")
WARM_S = 0.5
LEASES = 10
RENEWAL_S = 10.0


def granted_a_second(port: int, connections: int, seconds: float, *, returns: bool) -> float:
    """Keep ``connections`` requests on their way; each checkout is given back at once if ``returns``."""
    poll = selectors.DefaultSelector()
    requests = {}
    for number in range(connections):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        requests[sock] = _requests(number, returns=returns)
        poll.register(sock, selectors.EVENT_READ, sock)
        sock.sendall(next(requests[sock]))
    granted, began = 0, time.perf_counter()
    warm = True
    while (now := time.perf_counter()) < began + seconds or warm:
        if warm and now > began + WARM_S:
            warm, granted, began = False, 0, now
        for key, _ in poll.select(1.0):
            sock = key.data
            reply = _reply(sock)
            if reply.startswith(b"HTTP/1.1 201 "):
                granted += 1
            elif not reply.startswith(b"HTTP/1.1 200 "):
                raise RuntimeError(f"not granted: {reply[:300]!r}")
            sock.sendall(next(requests[sock]))
    return granted / (now - began)


def _reply(sock: socket.socket) -> bytes:
    """A whole reply; a server may send head and body apart."""
    reply = sock.recv(65536)
    while (end := reply.find(b"\r\n\r\n")) < 0 or len(reply) < end + 4 + int(reply[:end].rpartition(b"content-length: ")[2].partition(b"\r")[0]):
        more = sock.recv(65536)
        if not more:
            raise RuntimeError(f"cut short: {reply[:300]!r}")
        reply += more
    return reply


def _requests(number: int, *, returns: bool) -> Iterator[bytes]:
    for serial in count():
        path = f"/v1/checkouts/{number:08x}-0000-4000-8000-{serial:012x}"
        yield b"PUT %b HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (path.encode(), len(BODY), BODY)
        if returns:
            yield b"DELETE %b HTTP/1.1\r\nhost: x\r\n\r\n" % path.encode()


def renew(port: int, connections: int, seconds: float) -> int:
    """Keep ``LEASES`` leases on each connection, renewed together every ``RENEWAL_S`` seconds, for ``seconds``; how many requests that took."""
    socks, bodies = [], []
    for number in range(connections):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ids = [f"{number:08x}-0000-4000-8000-{serial:012x}" for serial in range(LEASES)]
        for request in islice(_requests(number, returns=False), LEASES):
            sock.sendall(request)
            _need(_reply(sock), 201)
        socks.append(sock)
        bodies.append(json.dumps({"ids": ids}).encode("ascii"))
    print("ready", flush=True)
    began = time.perf_counter()
    for turn in count():
        due = began + turn * RENEWAL_S / connections
        if due > began + seconds:
            return turn
        time.sleep(max(0.0, due - time.perf_counter()))
        sock, body = socks[turn % connections], bodies[turn % connections]
        sock.sendall(b"POST /v1/renewals HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        _need(_reply(sock), 200)
    raise AssertionError("time has an end")


def _need(reply: bytes, status: int) -> None:
    if not reply.startswith(b"HTTP/1.1 %d " % status):
        raise RuntimeError(f"not {status}: {reply[:300]!r}")


if __name__ == "__main__":
    port, connections, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    print(
        renew(port, connections, seconds) if "renewing" in sys.argv else granted_a_second(port, connections, seconds, returns="returns" in sys.argv)
    )
