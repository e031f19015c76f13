"""The ASGI side of a node: one endpoint behind every path.  It reads a request, has it answered, and writes the reply."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from starlette.types import Receive, Scope, Send

from fakeserver import peer, wire
from fakeserver.events import Answer
from fakeserver.plain import Plain

PEER_PATH = "/v1/peer/"


class Answering(Protocol):
    """Whoever answers behind the door: a ``Shell``.  Each call raises Refused when nothing can be had there any more."""

    async def call(self, call: wire.Call, closed: Callable[[], asyncio.Task[None]]) -> Answer | None:
        """The answer to a client; None when its connection closed first.  ``closed`` makes a task that ends when it closes."""

    def call_peer(self, message: peer.Message) -> peer.Message:
        """The answer to another node."""

    def identity(self) -> dict[str, object]:
        """What every reply says of its node."""


Begin = Callable[[wire.Call, Callable[[Answer | wire.Refused], object]], Callable[[], None]]
"""As ``Answering.call``, without a task: its second argument is called with what came of it, its result when the connection closes first."""


class Door:
    """The ASGI endpoint behind every path: reads, asks, replies.  ``behind`` may change from one request to the next.

    A plain request need not go by ASGI: ``begin`` does the same, at a tenth of the cost, while the node itself is behind the door.
    """

    def __init__(self, behind: Answering, begin: Begin) -> None:
        self.behind = self._node = behind
        self._begin = begin

    @property
    def is_open(self) -> bool:
        """Whether nothing stands between the door and the node."""
        return self.behind is self._node

    def begin(self, request: Plain, tell: Callable[[wire.Reply], object]) -> Callable[[], None] | None:
        """Have a request answered: ``tell`` is called with the reply, perhaps at once.  The result is to be called when its connection closes first."""
        try:
            if request.path.startswith(PEER_PATH):
                _check_size(request.body, wire.PEER_LIMIT_BYTES)
                tell(self._reply_to_peer(request.path.removeprefix(PEER_PATH), request.method, request.body))
                return None
            _check_size(request.body, wire.REQUEST_LIMIT_BYTES)
            call = wire.read_call(method=request.method, path=request.path, headers=request.headers, body=request.body)
            return self._begin(call, lambda answer: tell(self._written(answer)))
        except wire.Refused as refused:
            tell(self._written(refused))
            return None

    def _written(self, answer: Answer | wire.Refused) -> wire.Reply:
        if isinstance(answer, Answer):
            return wire.write_reply(answer.status, answer.body)
        return wire.write_reply(answer.status, self.behind.identity() | answer.body(), allow=answer.allow)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            reply = await self._reply(scope, receive)
        except wire.Refused as refused:
            reply = self._written(refused)
        if reply is not None:
            await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
            await send({"type": "http.response.body", "body": reply.body})

    async def _reply(self, scope: Scope, receive: Receive) -> wire.Reply | None:
        """The reply, or None when the connection closed."""
        path: str = scope["path"]
        is_peer = path.startswith(PEER_PATH)
        body = await _read_body(scope, receive, limit_bytes=wire.PEER_LIMIT_BYTES if is_peer else wire.REQUEST_LIMIT_BYTES)
        if body is None:
            return None
        if is_peer:
            return self._reply_to_peer(path.removeprefix(PEER_PATH), scope["method"], body)
        call = wire.read_call(method=scope["method"], path=path, headers=scope["headers"], body=body)
        answer = await self.behind.call(call, lambda: asyncio.create_task(_wait_closed(receive), name="connection watch"))
        return None if answer is None else self._written(answer)

    def _reply_to_peer(self, kind: str, method: str, body: bytes) -> wire.Reply:
        if method != "POST":
            raise wire.Refused(f"{method} is not played between nodes; POST is.", status=405, allow="POST")
        try:
            message = peer.decode(kind, wire.read_object(body))
        except ValueError as error:
            raise wire.Refused(f"Not a message between nodes: {error}.") from error
        if isinstance(message, peer.Reply):
            raise wire.Refused("Not a message between nodes: an answer to what this node never asked here.")
        return wire.write_reply(200, peer.encode(self.behind.call_peer(message)))


def _check_size(body: bytes, limit_bytes: int) -> None:
    if len(body) > limit_bytes:
        raise wire.too_large(limit_bytes)


async def _read_body(scope: Scope, receive: Receive, *, limit_bytes: int) -> bytes | None:
    """The body; None when the connection closed in its middle.  Raises Refused as soon as it is, or says it will be, over the limit."""
    announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    if int(announced) > limit_bytes:
        raise wire.too_large(limit_bytes)
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > limit_bytes:
            raise wire.too_large(limit_bytes)
        if not message.get("more_body"):
            return b"".join(chunks)


async def _wait_closed(receive: Receive) -> None:
    """Wait until the connection of a request that was read whole is closed (ASGI says so by http.disconnect, uvicorn only when asked)."""
    while (await receive())["type"] != "http.disconnect":
        pass
