"""The answer to one request, as it comes in, bounded.

An answer in the plain shape in which our servers write it is read here; any other by h11, which is loaded for it.  See decision 6.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from palclient.core.flow import Outcome
from palclient.transport.system import REPLY_LIMIT_BYTES, Trouble

if TYPE_CHECKING:
    from palclient.transport.odd_reply import OddReply

# A whole head, narrower than RFC 9112, 4 and 5, have it, so that h11 would take it for the same.
_HEAD = re.compile(rb"HTTP/1\.1 ([2-5][0-9]{2})(?: [\t -~]*)?\r\n((?:[-!#$%&'*+.^_`|~0-9A-Za-z]+:[\t -~]*\r\n)+)\r\n")
_LENGTH = re.compile(rb"[0-9]{1,9}")
_FRAMING = frozenset({b"transfer-encoding", b"connection", b"upgrade"})  # what else may bear on where the answer ends, and on what follows
_BODILESS = frozenset({204, 304})
HEAD_LIMIT_BYTES = 16 * 1024  # h11's


class Reply:
    """What has come of the answer so far."""

    __slots__ = ("_method", "_reader", "received_bytes")

    def __init__(self, method: str) -> None:
        self._method = method
        self._reader: PlainReply | OddReply | None = None
        self.received_bytes = 0

    def feed(self, data: bytes) -> bool:
        """Take the next bytes (none: the peer closed).  Returns whether the reply is whole.  Raises Trouble when it never will be."""
        self.received_bytes += len(data)
        reader = self._reader
        if reader is None:
            reader = self._reader = plain(data) or _odd(self._method)
        return reader.feed(data)

    @property
    def status(self) -> int:
        """The status code; 0 while there is none."""
        return 0 if self._reader is None else self._reader.status

    @property
    def content_type(self) -> str:
        """As the peer spells it."""
        return "" if self._reader is None else self._reader.content_type

    @property
    def body(self) -> bytes:
        """What has come of the body."""
        return b"" if self._reader is None else self._reader.body

    @property
    def leaves_open(self) -> bool:
        """Whether another request may follow on the connection: the peer keeps it, and nothing came beyond the reply."""
        return self._reader is not None and self._reader.leaves_open


class PlainReply:
    """An answer whose head came in one piece and says how long the body is.  ``feed`` is given that piece first."""

    __slots__ = ("_begin", "_data", "_end", "content_type", "status")

    def __init__(self, *, status: int, content_type: str, begin: int, end: int) -> None:
        self.status = status
        self.content_type = content_type
        self._begin = begin
        self._end = end
        self._data = bytearray()

    def feed(self, data: bytes) -> bool:
        """As of ``Reply``."""
        self._data += data
        is_whole = len(self._data) >= self._end
        if not data and not is_whole:
            came, length = len(self._data) - self._begin, self._end - self._begin
            raise Trouble(Outcome.CUT_SHORT, f"closed the connection in the middle of its answer: {came} of {length} bytes of the body came")
        return is_whole

    @property
    def body(self) -> bytes:
        """As of ``Reply``."""
        return bytes(self._data[self._begin : self._end])

    @property
    def leaves_open(self) -> bool:
        """As of ``Reply``."""
        return len(self._data) == self._end


def plain(data: bytes) -> PlainReply | None:
    """What reads an answer that begins so, if it is plain.  Raises Trouble for one that is too long."""
    head = _HEAD.match(data, 0, HEAD_LIMIT_BYTES)
    if head is None:
        return None
    lengths, content_type = [], b""
    for line in head[2].splitlines():
        name, _, value = line.partition(b":")
        name = name.lower()
        if name in _FRAMING:
            return None
        if name == b"content-length":
            lengths.append(value.strip(b" \t"))
        elif name == b"content-type":
            content_type = value.strip(b" \t")
    status = int(head[1])
    if len(lengths) != 1 or not _LENGTH.fullmatch(lengths[0]) or status in _BODILESS:
        return None
    length = int(lengths[0])
    check_length(length)
    return PlainReply(status=status, content_type=content_type.decode("ascii"), begin=head.end(), end=head.end() + length)


def check_length(length: int) -> None:
    """Raise Trouble for a body that announces itself as longer than the protocol allows."""
    if length > REPLY_LIMIT_BYTES:
        raise Trouble(Outcome.NOT_OURS, f"announces an answer of {length} bytes; the protocol allows {REPLY_LIMIT_BYTES}")


def _odd(method: str) -> OddReply:
    from palclient.transport.odd_reply import OddReply

    return OddReply(method)
