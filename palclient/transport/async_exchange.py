"""One call on an event loop, from the name of its node to the last byte of the answer: the twin of ``exchange.py``."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from palclient.core.flow import Answered, Call, Failed, Outcome
from palclient.transport.async_connections import AsyncConnection, LoopConnections
from palclient.transport.async_dial import dial
from palclient.transport.exchange import encoded, late, taken_in, was_merely_idle
from palclient.transport.reply import Reply
from palclient.transport.system import Trouble, monotonic, trouble_of

if TYPE_CHECKING:
    from palclient.transport.names import Names

OnEnd = Callable[[Answered | Failed], None]

CLOSED = Trouble(Outcome.RESET, "the connection was closed while the answer was awaited")
SHUT_DOWN = Trouble(Outcome.UNREACHABLE, "the event loop is being shut down")


class AsyncExchange:
    """One call's life.  ``on_end`` is called once with how it ended, by ``begin``, by ``expire`` or by the loop; never after ``cancel``.

    On a connection that is open this is one write and one callback; only connecting takes a task.
    """

    def __init__(self, call: Call, connections: LoopConnections, names: Names, on_end: OnEnd) -> None:
        self.call = call
        self._connections = connections
        self._names = names
        self._on_end: OnEnd | None = on_end
        self._key = (call.endpoint.host.lower(), call.endpoint.port or 0)
        self._began = 0.0
        self._dialling: asyncio.Task[None] | None = None
        self._connection: AsyncConnection | None = None
        self._reply: Reply | None = None
        self._sent_at = 0.0

    def begin(self, now: float) -> None:
        """Send the request on an idle connection, else on a new one."""
        self._began = now
        connection = self._connections.take(self._key, now)
        if connection is None:
            self._dial(self.call.connect_by)
        else:
            connection.asking = self
            self.connected(connection)

    def expire(self, now: float) -> None:
        """Its deadline has come."""
        if self._connection is None or self._reply is None:
            self._end_with(Trouble(Outcome.TIMED_OUT, f"not connected within {now - self._began:.3g} s"))
            return
        transport = self._connection.transport
        is_written = transport is None or not transport.get_write_buffer_size()
        self._end_with(late(now - self._sent_at, self._reply, is_written=is_written))

    def cancel(self) -> None:
        """Give up, at any stage.  A connection that carried a request without its whole answer is closed, never used again."""
        self._on_end = None
        self._release()

    def connected(self, connection: AsyncConnection) -> None:
        """Write the request."""
        self._connection = connection
        self._reply = Reply(self.call.request.method)
        self._sent_at = monotonic()
        if connection.transport is not None:
            connection.transport.write(encoded(self.call))

    def received(self, data: bytes) -> None:
        """Take the next bytes of the answer."""
        reply, connection = self._reply, self._connection
        if reply is None or connection is None:
            return
        try:
            is_whole = taken_in(reply, data)
        except Trouble as trouble:
            self._troubled(trouble)
        else:
            if is_whole:
                self._answered(reply, connection)

    def lost(self, error: Exception | None) -> None:
        """The connection is gone before the answer was whole."""
        self._troubled(trouble_of(error) if isinstance(error, OSError) else CLOSED)

    def _answered(self, reply: Reply, connection: AsyncConnection) -> None:
        now = monotonic()
        self._connection = None
        if reply.leaves_open:
            self._connections.keep(connection, now)
        else:
            connection.close()
        self._tell(
            Answered(call_id=self.call.id, now=now, sent_at=self._sent_at, status=reply.status, content_type=reply.content_type, body=reply.body)
        )

    def _troubled(self, trouble: Trouble) -> None:
        """End the call, unless the peer had only closed an idle connection meanwhile: then ask again on a new one."""
        was_reused = self._connection is not None and self._connection.reused
        if was_reused and was_merely_idle(self._reply, trouble):
            self._release()
            self._reply = None
            self._dial(monotonic() + self.call.connect_by - self._began)
        else:
            self._end_with(trouble)

    def _end_with(self, trouble: Trouble) -> None:
        self._release()
        self._tell(Failed(call_id=self.call.id, now=monotonic(), outcome=trouble.outcome, sent=self._sent_at > 0, detail=trouble.detail))

    def _tell(self, end: Answered | Failed) -> None:
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end(end)

    def _release(self) -> None:
        dialling, self._dialling = self._dialling, None
        if dialling is not None:
            dialling.cancel()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    # --- connecting ---

    def _dial(self, by: float) -> None:
        connecting = dial(self._key, self._names, self._made, by=min(by, self.call.answer_by))
        self._dialling = asyncio.get_running_loop().create_task(connecting, name=f"palclient-connect-{self._key[0]}:{self._key[1]}")
        self._dialling.add_done_callback(self._dialled)

    def _made(self, sock: socket.socket) -> AsyncConnection:
        self._connection = AsyncConnection(self._key, sock, self._connections, self)
        return self._connection

    def _dialled(self, task: asyncio.Task[None]) -> None:
        """The task that connects has ended; with a connection, that has told itself."""
        if task.cancelled():
            if task is self._dialling:  # not by us
                self._end_with(SHUT_DOWN)
            return
        error = task.exception()
        if task is self._dialling:
            self._dialling = None
        if isinstance(error, Trouble):
            self._end_with(error)
        elif error is not None:
            raise error
