"""A connection to a node: uvicorn's own, but for what it says to those who do not speak HTTP."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from fakeserver import wire

_LOG = logging.getLogger("fakeserver.connection")
_LOG.addFilter(lambda record: record.levelno >= logging.ERROR)  # uvicorn warns of every request that is none; a log must not grow by them


class NodeProtocol(H11Protocol):
    """``identity`` gives what every reply says of its node; ``face`` puts something between uvicorn and the socket while there are faults (F)."""

    def __init__(
        self, *arguments: Any, identity: Callable[[], Mapping[str, object]], face: Callable[[Any, NodeProtocol], Any] | None = None, **keywords: Any
    ) -> None:
        super().__init__(*arguments, **keywords)
        self._face = face
        self.logger = _LOG
        self._identity = identity

    def connection_made(self, transport: Any) -> None:
        """As uvicorn's own."""
        super().connection_made(transport if self._face is None else self._face(transport, self))

    def send_400_response(self, msg: str) -> None:
        """Answer what cannot be read with a problem, as everything that is refused, and hang up."""
        refused = wire.Refused(f"This is not HTTP/1.1 as a node can read it. {msg}")
        try:
            reply = wire.write_reply(refused.status, dict(self._identity()) | refused.body())
            headers = [*reply.headers, (b"connection", b"close")]
            for event in (h11.Response(status_code=reply.status, headers=headers), h11.Data(data=reply.body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        except (h11.LocalProtocolError, wire.Refused):
            pass  # an answer has begun already, or the node is about to end: nothing more can be said here
        self.transport.close()
