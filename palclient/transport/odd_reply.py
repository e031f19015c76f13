"""An answer in any shape that HTTP/1.1 allows, read by h11 and bounded."""

from __future__ import annotations

import h11

from palclient.core.flow import Outcome
from palclient.transport.reply import check_length
from palclient.transport.system import REPLY_LIMIT_BYTES, Trouble

START_BYTES = 32  # enough to tell an administrator what it was

_PREFIX = b"HTTP/1."
_END_OF_REQUEST = h11.EndOfMessage()
# h11 wants to have seen the request, of which only the method bears on how the reply is framed.  Checking one costs more than a whole
# exchange of ours, so these are made once.
_REQUESTS = {method: h11.Request(method=method, target="/", headers=[("Host", "x")]) for method in ("GET", "PUT", "POST", "DELETE")}


class OddReply:
    """What has come of the answer so far."""

    __slots__ = ("_body", "_reader", "_start", "content_type", "status")

    def __init__(self, method: str) -> None:
        self._reader = h11.Connection(h11.CLIENT)
        self._reader.send(_REQUESTS[method])
        self._reader.send(_END_OF_REQUEST)
        self.status = 0
        self.content_type = ""
        self._body = bytearray()
        self._start = b""

    def feed(self, data: bytes) -> bool:
        """Take the next bytes (none: the peer closed).  Returns whether the reply is whole.  Raises Trouble when it never will be."""
        self._reader.receive_data(data)
        if len(self._start) < START_BYTES:
            self._start += data[:START_BYTES]
        try:
            while True:  # every event uses up some of the bytes
                event = self._reader.next_event()
                if isinstance(event, h11.Data):
                    self._take(event.data)
                elif isinstance(event, h11.Response):
                    self._take_head(event)
                elif isinstance(event, h11.EndOfMessage):
                    return True
                elif event is h11.NEED_DATA:
                    self._check_start()
                    return False
        except h11.RemoteProtocolError as error:
            if not data:
                raise Trouble(Outcome.CUT_SHORT, f"closed the connection in the middle of its answer: {error}") from error
            self._check_start()  # its words say more than h11's
            raise Trouble(Outcome.NOT_HTTP, str(error)) from error

    @property
    def body(self) -> bytes:
        """What has come of the body."""
        return bytes(self._body)

    @property
    def leaves_open(self) -> bool:
        """Whether another request may follow on the connection: the peer keeps it, and nothing came beyond the reply."""
        return self._reader.their_state is h11.DONE and not self._reader.trailing_data[0]

    def _take_head(self, head: h11.Response) -> None:
        self.status = head.status_code
        for name, value in head.headers:
            if name == b"content-type":
                self.content_type = value.decode("latin-1")
            elif name == b"content-length":
                check_length(int(value))

    def _take(self, data: bytes | bytearray) -> None:
        self._body += data
        if len(self._body) > REPLY_LIMIT_BYTES:
            raise Trouble(Outcome.NOT_OURS, f"an answer of more than {REPLY_LIMIT_BYTES} bytes, which is what the protocol allows")

    def _check_start(self) -> None:
        """h11 looks at the first line when all headers are there; a peer that speaks something else need not be waited for."""
        if not self._start.startswith(_PREFIX[: len(self._start)]):
            raise Trouble(Outcome.NOT_HTTP, f"answers with {self._start!r}")
