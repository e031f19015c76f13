"""One call, from the name of its node to the last byte of the answer."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from palclient.core.flow import Answered, Call, Failed, Outcome
from palclient.transport.dial import Dial
from palclient.transport.reply import Reply
from palclient.transport.system import Trouble, trouble_of

if TYPE_CHECKING:
    from palclient.transport.connections import Connection, Connections
    from palclient.transport.names import Names
    from palclient.transport.system import Wakeup

USER_AGENT = "palclient/0.1.0"
READ_BYTES = 65536  # at most so much before other calls have their turn


def authority(call: Call) -> str:
    """Host and port as URLs and the Host header spell them."""
    host = call.endpoint.host
    if ":" in host:
        host = f"[{host.partition('%')[0]}]"  # the zone of a link-local address is of no use to the peer (RFC 6874)
    elif not host.isascii():
        host = host.encode("idna").decode()
    return f"{host}:{call.endpoint.port}"


def fields(call: Call) -> list[tuple[str, str]]:
    """The headers of the request."""
    request = call.request
    found = [("Host", authority(call)), ("User-Agent", USER_AGENT), ("Accept", "application/json, application/problem+json"), *request.headers]
    if request.body or request.method in {"PUT", "POST"}:
        found += [("Content-Type", "application/json"), ("Content-Length", str(len(request.body)))]
    return found


def encoded(call: Call) -> bytes:
    """The request as it goes over the wire.  Raises ValueError when a line break in target, host or headers would make two requests of it."""
    lines = [f"{call.request.method} {call.request.target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields(call))]
    head = "\r\n".join(lines)
    if not head.count("\r") == head.count("\n") == len(lines) - 1:
        raise ValueError(f"line break inside a line: {lines}")
    return head.encode("ascii") + b"\r\n\r\n" + call.request.body


class Exchange:
    """One call's life.  Belongs to the thread that drives it.

    A runner waits until ``fd`` can be read (written, while ``is_writing``; -1 means that only the wakeup tells), at the latest until ``due``, and then
    calls ``advance`` with a reading of the clock, until that returns how the call ended.  ``advance`` too early does no harm.
    """

    def __init__(self, call: Call, wakeup: Wakeup, connections: Connections, names: Names) -> None:
        self.call = call
        self.fd = -1
        self.is_writing = False
        self.due = 0.0  # at once
        self._wakeup = wakeup
        self._connections = connections
        self._names = names
        self._key = (call.endpoint.host.lower(), call.endpoint.port or 0)
        self._began = 0.0
        self._dial: Dial | None = None
        self._connection: Connection | None = None
        self._pending = b""
        self._reply: Reply | None = None
        self._sent = False
        self._sent_at = 0.0

    def advance(self, now: float) -> Answered | Failed | None:
        """Do what can be done without waiting.  Returns how the call ended, or None: wait, and call again."""
        try:
            connection, reply = self._connection or self._connect(now), self._reply
            if connection is None:
                return None
            if reply is None:
                self._send(connection)
            elif _receive(connection, reply):
                return self._answered(now, connection, reply)
            if now >= self.call.answer_by:
                return self._troubled(now, late(now - self._sent_at, self._reply, is_written=not self._pending))
        except Trouble as trouble:
            return self._troubled(now, trouble)
        except OSError as error:
            return self._troubled(now, trouble_of(error))
        return None

    def cancel(self) -> None:
        """Give up, at any stage.  A connection that carried a request without its whole answer is closed, never used again."""
        if self._dial is not None:
            self._dial.cancel()
            self._dial = None
        if self._connection is not None:
            self._connections.close(self._connection)
            self._connection = None
        self.fd = -1

    def _connect(self, now: float) -> Connection | None:
        """Take an idle connection, else go on with a new one."""
        if self._dial is None:
            self._began = now
            self._connection = self._connections.take(self._key, now)
            if self._connection is None:
                self._dial = self._new_dial(now, self.call.connect_by)
        if self._dial is not None:
            self._connection = self._dial.advance(now)
            self.due, self.fd, self.is_writing = self._dial.due, self._dial.fd, True
        if self._connection is not None:
            self._dial = None
            self._pending = encoded(self.call)
            self._sent_at = now
            self.due, self.fd = self.call.answer_by, self._connection.fd
        return self._connection

    def _new_dial(self, now: float, by: float) -> Dial:
        return Dial(self._key, self._connections, self._names, self._wakeup, now=now, by=min(by, self.call.answer_by))

    def _send(self, connection: Connection) -> None:
        with suppress(BlockingIOError):
            count = connection.sock.send(self._pending)
            self._sent = True
            self._pending = self._pending[count:]
        self.is_writing = bool(self._pending)
        if not self._pending:
            self._reply = Reply(self.call.request.method)

    def _answered(self, now: float, connection: Connection, reply: Reply) -> Answered:
        if reply.leaves_open:
            self._connections.keep(connection, now)
        else:
            self._connections.close(connection)
        self._connection, self.fd = None, -1
        return Answered(call_id=self.call.id, now=now, sent_at=self._sent_at, status=reply.status, content_type=reply.content_type, body=reply.body)

    def _troubled(self, now: float, trouble: Trouble) -> Failed | None:
        """End the call, unless the trouble only says that the peer had closed an idle connection meanwhile: then ask again on a new one."""
        was_reused = self._connection is not None and self._connection.reused
        self.cancel()
        if was_reused and was_merely_idle(self._reply, trouble):
            self._pending, self._reply = b"", None
            self._dial = self._new_dial(now, now + self.call.connect_by - self._began)
            self.due = now
            return None
        return Failed(call_id=self.call.id, now=now, outcome=trouble.outcome, sent=self._sent, detail=trouble.detail)


def was_merely_idle(reply: Reply | None, trouble: Trouble) -> bool:
    """Whether trouble on a connection that was used before only says that the peer had closed it meanwhile."""
    return (reply is None or not reply.received_bytes) and trouble.outcome is not Outcome.TIMED_OUT


def late(waited_s: float, reply: Reply | None, *, is_written: bool) -> Trouble:
    """What to say at the deadline, so long after the request was sent."""
    waited = f"within {waited_s:.3g} s"
    if not is_written:
        return Trouble(Outcome.TIMED_OUT, f"did not take the whole request {waited}")
    if reply is None or not reply.received_bytes:
        return Trouble(Outcome.TIMED_OUT, f"no answer {waited}")
    return Trouble(Outcome.TIMED_OUT, f"no whole answer {waited}: {reply.received_bytes} bytes came")


def _receive(connection: Connection, reply: Reply) -> bool:
    """Read once.  Returns whether the answer is whole."""
    try:
        data = connection.sock.recv(READ_BYTES)
    except BlockingIOError:
        return False
    return taken_in(reply, data)


def taken_in(reply: Reply, data: bytes) -> bool:
    """Take the next bytes (none: the peer closed).  Returns whether the answer is whole; raises Trouble when it never will be."""
    if not data and not reply.received_bytes:
        raise Trouble(Outcome.CUT_SHORT, "closed the connection without an answer")
    return reply.feed(data)
