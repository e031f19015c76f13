"""Whatever bytes come in whatever pieces: an answer that is read without h11 is read as h11 reads it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st

from palclient.core.flow import Outcome
from palclient.transport.odd_reply import OddReply
from palclient.transport.reply import PlainReply, Reply, plain
from palclient.transport.system import Trouble

TOKENS = st.sampled_from(b"Content-Length|content-length|Content-Type|Server|Transfer-Encoding|Connection|Upgrade|X y||Date| Fold".split(b"|"))
VALUES = st.sampled_from(
    " 3|3| 3 |\t3| 03| +3| 3, 3| -1| 0| 10| 4194305| 9999999999| chunked| close| keep-alive| h2c| application/json| a\0b| \xe9| a\rb| a\vb||; charset=utf-8 ".encode(
        "latin-1"
    ).split(b"|")
)
FIELDS = st.lists(st.tuples(TOKENS, VALUES).map(b":".join), max_size=4)
STARTS = st.sampled_from(
    "HTTP/1.1 200 OK|HTTP/1.1 201|HTTP/1.1 404 Not Found|HTTP/1.1 204 No Content|HTTP/1.1 304 Not Modified|HTTP/1.0 200 OK|HTTP/1.1 100 Continue|"
    "HTTP/1.1 101 x|HTTP/1.1 600 x|HTTP/1.1  200 OK|HTTP/1.1 200 O\xe9|HTTP/1.1 200 O\0K|http/1.1 200 OK".encode("latin-1").split(b"|")
)
ENDS = st.sampled_from([b"\r\n", b"\n"])
BODIES = st.sampled_from([b"", b"abc", b"ab", b"abcd", b"0123456789", b"3\r\nabc\r\n0\r\n\r\n", b"abcHTTP/1.1 200 OK\r\n"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What became of some bytes: whether they were a whole answer, and which; or which trouble they were."""

    is_whole: bool = False
    status: int = 0
    content_type: str = ""
    body: bytes = b""
    leaves_open: bool = False
    trouble: Outcome | None = None


def read(reader: Reply | OddReply, pieces: list[bytes]) -> Reading:
    """Feed until it is whole, or never will be."""
    try:
        for piece in pieces:
            if reader.feed(piece):
                return Reading(
                    is_whole=True, status=reader.status, content_type=reader.content_type, body=reader.body, leaves_open=reader.leaves_open
                )
    except Trouble as trouble:
        return Reading(trouble=trouble.outcome)
    return Reading()


ANY = st.builds(lambda start, fields, end, body: end.join([start, *fields, b"", b""]) + body, STARTS, FIELDS, ENDS, BODIES)
USUAL = st.builds(
    lambda fields, value, body: b"\r\n".join([b"HTTP/1.1 200 OK", b"Content-Length:" + value, *fields, b"", b""]) + body,
    st.lists(st.tuples(TOKENS, VALUES).map(b":".join), max_size=2),
    VALUES,
    BODIES,
)


@given(data=ANY | USUAL, cuts=st.lists(st.integers(1, 120), max_size=3), ends=st.booleans())
@example(data=b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", cuts=[], ends=False)
@example(data=b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", cuts=[38, 39], ends=True)
@example(data=b"HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\nabc", cuts=[], ends=False)
@example(data=b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nServer: a\0b\r\n\r\nabc", cuts=[], ends=False)
@settings(max_examples=600, deadline=None)
def test_both_readers_see_the_same_answer(data: bytes, cuts: list[int], ends: bool) -> None:  # noqa: FBT001 - drawn
    """Decision 6: what is read here is a subset of what h11 reads, and is read alike."""
    places = [0, *sorted(cut for cut in set(cuts) if cut < len(data)), len(data)]
    pieces = [data[a:b] for a, b in pairwise(places)] + [b""] * ends
    assert read(Reply("PUT"), pieces) == read(OddReply("PUT"), pieces)


def test_the_answers_of_our_servers_are_plain() -> None:
    """Else h11 would be loaded after all, and a warm call cost half as much again."""
    uvicorn = b"HTTP/1.1 201 Created\r\ndate: Tue, 24 Nov 2026 03:00:00 GMT\r\nserver: uvicorn\r\ncontent-length: 2\r\ncontent-type: application/json\r\n\r\n"
    assert isinstance(plain(uvicorn), PlainReply)
    assert isinstance(plain(uvicorn + b"{}"), PlainReply)
    assert plain(uvicorn.replace(b"server: uvicorn", b"connection: close")) is None
