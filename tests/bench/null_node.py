"""A node that answers at once: what a client costs is measured against it.

``python -m tests.bench.null_node`` prints its port and serves until its standard input ends.  It understands just enough of HTTP/1.1 (one
request after another, a Content-Length) and of the protocol (docs/reference/protocol.md) that a client takes its answers for a master's.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
from typing import Any

CLUSTER = "00000000-0000-4000-8000-000000000000"
TTL_S = 180
READ_BYTES = 65536
REQUEST_LIMIT_BYTES = 65536 + 16384  # the protocol's limit of a body, and as much for the head as h11 allows


class NullNode:
    """One listening socket and all its connections, on one thread."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server((host, 0), backlog=512)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self.port: int = self._listener.getsockname()[1]
        about = f'"node":"{self.port}@{host}","role":"primary","cluster":"{CLUSTER}","term":1'
        self._about = about
        self._seq = 0
        self._status = (
            f'{{{about},"state":"master","quorum":true,"master":"primary","incarnation":1,"seq":1,"triad":["{self.port}@{host}"],'
            '"primary_is_master":true,"heartbeat_interval_s":20,"failover_s":79,"server_time":"2026-01-01T00:00:00Z","protocol":"1",'
            '"software":"null-node"}'
        )

    def serve(self, until_readable: Any) -> None:
        """Answer until ``until_readable`` has something to read, or has ended."""
        self._selector.register(until_readable, selectors.EVENT_READ)
        buffers: dict[socket.socket, bytes] = {}
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is until_readable:
                    return
                if key.fileobj is self._listener:
                    self._accept(buffers)
                elif isinstance(key.fileobj, socket.socket):
                    self._serve(key.fileobj, buffers)

    def _accept(self, buffers: dict[socket.socket, bytes]) -> None:
        connection, _ = self._listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        buffers[connection] = b""
        self._selector.register(connection, selectors.EVENT_READ)

    def _serve(self, connection: socket.socket, buffers: dict[socket.socket, bytes]) -> None:
        try:
            data = connection.recv(READ_BYTES)
            buffer = buffers[connection] + data
            while data and (size := whole_request(buffer)):
                connection.sendall(self.answer(buffer[:size]))
                buffer = buffer[size:]
        except OSError:
            data = buffer = b""
        if data and len(buffer) < REQUEST_LIMIT_BYTES:
            buffers[connection] = buffer
            return
        self._selector.unregister(connection)
        connection.close()
        del buffers[connection]

    def answer(self, request: bytes) -> bytes:
        """The bytes that answer one whole request."""
        head, _, body = request.partition(b"\r\n\r\n")
        method, target, _ = head[: head.index(b"\r\n")].split(b" ", 2)
        if method == b"PUT" and target.startswith(b"/v1/checkouts/"):
            return reply(b"201 Created", self._grant(target[14:].decode(), json.loads(body)))
        if method == b"DELETE":
            return reply(b"200 OK", f'{{{self._about},"returned":true}}')
        if target == b"/v1/returns":
            return reply(b"200 OK", self._each(body, "true"))
        if target == b"/v1/renewals":
            return reply(b"200 OK", self._each(body, f'{{"ttl_s":{TTL_S}}}'))
        if target == b"/v1/status":
            return reply(b"200 OK", self._status)
        return reply(b"404 Not Found", f'{{{self._about},"type":"urn:palclient:problem:bad-request","status":404,"code":-42}}')

    def _grant(self, checkout_id: str, asked: dict[str, Any]) -> str:
        self._seq += 1
        said = json.dumps({name: asked.get(name) for name in ("feature", "version", "count", "nonce")})[1:-1]
        return (
            f'{{{self._about},"id":"{checkout_id}",{said},"seq":{self._seq},"ttl_s":{TTL_S},"renew_s":{TTL_S // 3},'
            '"granted_at":"2026-01-01T00:00:00Z","waited_s":0.0}'
        )

    def _each(self, body: bytes, result: str) -> str:
        results = ",".join(f'"{checkout_id}":{result}' for checkout_id in json.loads(body)["ids"])
        return f'{{{self._about},"results":{{{results}}},"waited_s":0.0}}'


def whole_request(buffer: bytes) -> int:
    """How many bytes the first request in the buffer has, 0 while it is not whole."""
    end_of_head = buffer.find(b"\r\n\r\n")
    if end_of_head < 0:
        return 0
    size = end_of_head + 4
    head = buffer[:end_of_head].lower()
    at = head.find(b"\r\ncontent-length:")
    if at >= 0:
        size += int(head[at + 17 :].split(b"\r\n", 1)[0])
    return size if len(buffer) >= size else 0


def reply(status: bytes, body: str) -> bytes:
    """A whole HTTP reply."""
    data = body.encode()
    return b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (status, len(data), data)


if __name__ == "__main__":
    node = NullNode()
    print(node.port, flush=True)
    node.serve(sys.stdin)
