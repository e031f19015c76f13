"""A connection to a node: uvicorn's own, but for plain requests, and for what it says to those who do not speak HTTP."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from fakeserver import wire
from fakeserver.plain import read_plain, written

if TYPE_CHECKING:
    from fakeserver.door import Door

_LOG = logging.getLogger("fakeserver.connection")
_LOG.addFilter(lambda record: record.levelno >= logging.ERROR)  # uvicorn warns of every request that is none; a log must not grow by them


class NodeProtocol(H11Protocol):
    """``identity`` gives what every reply says of its node; ``face`` puts something between uvicorn and the socket while there are faults (F).

    A plain request goes straight to ``door``, if there is one; all others go by uvicorn and h11, which then see them alone.
    """

    def __init__(
        self,
        *arguments: Any,
        identity: Callable[[], Mapping[str, object]],
        door: Door | None = None,
        face: Callable[[Any, NodeProtocol], Any] | None = None,
        **keywords: Any,
    ) -> None:
        super().__init__(*arguments, **keywords)
        self._face = face
        self.logger = _LOG
        self._identity = identity
        self._door = door
        self._socket: Any = None
        self._is_answering = False
        self._give_up: Callable[[], None] | None = None
        self._later = b""
        self._has_heard_all = False

    def connection_made(self, transport: Any) -> None:
        """As uvicorn's own."""
        self._socket = transport
        super().connection_made(transport if self._face is None else self._face(transport, self))

    def data_received(self, data: bytes) -> None:
        """As uvicorn's own, but for plain requests."""
        if self._has_heard_all:
            return
        if self._is_answering:  # one after the other; what comes meanwhile is not much, since no more is read
            self._later += data
            self.flow.pause_reading()
        elif not self._begin(data):
            super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """As uvicorn's own; nobody waits for the answer any more."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()  # which uvicorn does only where the peer closed in good order; its timer would hold all of this for an hour
        if self._give_up is not None:
            self._give_up()

    def unmask(self) -> None:
        """Have the socket itself again.  In the midst of an answer the face stays, and the cost of it, until the connection ends."""
        if not self._is_under_way:
            self.transport = self._socket

    @property
    def _is_under_way(self) -> bool:
        """Whether a request that went by uvicorn is being answered."""
        cycle: Any = self.cycle  # None before the first
        return cycle is not None and not cycle.response_complete

    def _begin(self, data: bytes) -> bool:
        """Have a plain request answered, if this is one, and nothing stands in its way."""
        if self._door is None or not self._door.is_open or self.transport is not self._socket or self.flow.write_paused:
            return False
        is_between = self.conn.our_state is h11.IDLE and not self.conn.trailing_data[0]
        request = read_plain(data) if is_between else None
        if request is None:
            return False
        self._unset_keepalive_if_required()
        self._is_answering = True
        give_up = self._door.begin(request, self._tell)
        self._give_up = give_up if self._is_answering else None
        return True

    def _tell(self, reply: wire.Reply) -> None:
        self._is_answering, self._give_up = False, None
        self.transport.write(written(reply, self.server_state.default_headers))
        if not self.transport.is_closing():
            self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)
        if self._later:
            self.loop.call_soon(self._go_on)  # not now: the node may be in the midst of things

    def _go_on(self) -> None:
        later, self._later = self._later, b""
        self.flow.resume_reading()
        if not self.transport.is_closing():
            self.data_received(later)

    def send_400_response(self, msg: str) -> None:
        """Answer what cannot be read with a problem, as everything that is refused, and hang up.

        What follows the last request of a connection (RFC 9112, 9.6) is not for reading: that request is answered, and the rest dropped.
        """
        is_under_way = self._is_under_way
        if is_under_way and not self.cycle.more_body:
            self._has_heard_all = True
            return
        refused = wire.Refused(f"This is not HTTP/1.1 as a node can read it. {msg}")
        try:
            reply = wire.write_reply(refused.status, dict(self._identity()) | refused.body())
            headers = [*reply.headers, (b"connection", b"close")]
            for event in (h11.Response(status_code=reply.status, headers=headers), h11.Data(data=reply.body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        except (h11.LocalProtocolError, wire.Refused):
            pass  # an answer has begun already, or the node is about to end: nothing more can be said here
        self.transport.close()
        if is_under_way:
            self.cycle.disconnected = True  # whoever answers it may come before the loop tells that the connection is closed
