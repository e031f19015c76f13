"""Plain requests pass by h11 and uvicorn, and nobody can tell: the same bytes get the same answers on both ways (decision 9)."""

from __future__ import annotations

import asyncio
import logging.handlers
import random
import re
from collections.abc import Callable
from typing import Any

import uvicorn
from hypothesis import example, given, settings
from hypothesis import strategies as st
from starlette.routing import Router
from uvicorn.server import ServerState

from fakeserver import peer, wire
from fakeserver.connection import NodeProtocol
from fakeserver.door import Door
from fakeserver.events import Answer

AS_THEY_ARE = 1
"""A seed with which nothing is joined or split."""

TURNS = 30
ASKED_AT_ONCE = 4  # requests that a chunk may hold
"""Of the loop; ten are enough for one answer."""

ID = b"00000000-0000-4000-8000-000000000000"


class Wire:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.written = b""
        self.is_closed = self.is_paused = False
        self.protocol: Any = None

    def write(self, data: bytes) -> None:
        """Send."""
        if not self.is_closed:
            self.written += data

    def close(self) -> None:
        """Hang up; that is told later, as by a real one."""
        if not self.is_closed:
            self.is_closed = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def is_closing(self) -> bool:
        """Whether nothing more is sent."""
        return self.is_closed

    def pause_reading(self) -> None:
        """Read no more."""
        self.is_paused = True

    def resume_reading(self) -> None:
        """Read on."""
        self.is_paused = False

    def get_extra_info(self, _name: str) -> None:
        """Nothing is known of the other side."""
        return


class Echo:
    """Answers so many turns of the loop late with what it was asked, and remembers that."""

    def __init__(self, late: int) -> None:
        self.heard: list[str] = []
        self._late = late

    def identity(self) -> dict[str, object]:
        """As a shell's."""
        return {"node": "1@x", "role": "primary", "cluster": "c", "term": 1}

    async def call(self, call: wire.Call, _closed: Callable[[], asyncio.Task[None]]) -> Answer:
        """As a shell's."""
        answer = self._answer(call)
        for _ in range(self._late):
            await asyncio.sleep(0)
        return answer

    def begin(self, call: wire.Call, tell: Callable[[Answer | wire.Refused], object]) -> Callable[[], None]:
        """As a shell's."""
        answer, loop, gone = self._answer(call), asyncio.get_running_loop(), asyncio.Event()

        def wait(turns: int) -> None:
            if turns and not gone.is_set():
                loop.call_soon(wait, turns - 1)
            elif not gone.is_set():
                tell(answer)

        wait(self._late)
        return gone.set

    def call_peer(self, message: peer.Message) -> peer.Message:
        """A message that is lost on its way."""
        self.heard.append(repr(message))
        raise wire.Refused("Nobody hears.")

    def _answer(self, call: wire.Call) -> Answer:
        self.heard.append(repr(call))
        return Answer(token=0, status=200, body={"asked": repr(call)})


async def talk(chunks: list[bytes], *, by_h11: bool, late: int, waits: int) -> tuple[bytes, bool, list[str]]:
    """What is answered on one connection to these bytes, whether it is closed then, and what was asked of the node.

    The words behind a status are left out: they change with Python.
    """
    echo, transport = Echo(late), Wire()
    door = Door(echo, echo.begin)
    config = uvicorn.Config(Router(default=door), ws="none", lifespan="off", log_config=None, access_log=False)
    config.load()
    transport.protocol = protocol = NodeProtocol(
        config=config, server_state=ServerState(), app_state={}, identity=echo.identity, door=None if by_h11 else door
    )
    protocol.connection_made(transport)
    for chunk in chunks:
        for _ in range(waits):
            await asyncio.sleep(0)
        for _ in range(TURNS * transport.is_paused):
            await asyncio.sleep(0)
        if not transport.is_closed:
            assert not transport.is_paused, "nobody reads any more"
            protocol.data_received(chunk)
    for _ in range(TURNS * (len(chunks) + ASKED_AT_ONCE)):
        await asyncio.sleep(0)
    was_closed = transport.is_closed
    if not was_closed:
        protocol.connection_lost(None)
        for _ in range(TURNS):  # the end of the loop would cancel what is still at work, and that is logged
            await asyncio.sleep(0)
    return re.sub(rb"(HTTP/1.1 \d+) [^\r]*", rb"\1", transport.written), was_closed, echo.heard


def split(data: bytes, luck: random.Random) -> list[bytes]:
    """``data`` in up to four pieces."""
    ends = sorted({*(luck.randrange(1, len(data)) for _ in range(luck.randrange(4))), len(data)})
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


LINES = [
    *[b"HOST: x", b"Host:", b"Content-Length: 0", b"Content-Length: 1", b"CONTENT-LENGTH:\t02 ", b"Content-Length: 2, 2", b"Content-Length: +2"],
    *[b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip", b"Expect: 100-continue", b"Connection: close", b"Connection: Keep-Alive"],
    *[
        b"Connection: upgrade",
        b"Upgrade: websocket",
        b"TE: trailers",
        b"Prefer: wait=3",
        b"PREFER: WAIT=3, wait=4",
        b"After-Term: 05",
        b"After-Term: -1",
    ],
    *[b"X:", b": y", b"X : y", b" X: y", b"X: a\r\n b", b"X: a\x00b", b"X: a\x7fb", b"X: \xe9", b"X: a\nb", b"X: a\rb", b"X"],
]
BODIES = [b"", b"{}", b'{"ids":[]}', b"0\r\n\r\n", b"2\r\n{}\r\n0\r\n\r\n", b"x" * 70_000, b"\r\n"]
PATHS = [
    b"/v1/status",
    b"/v1/usage",
    b"/v1/returns",
    b"/v1/checkouts/" + ID,
    b"/v1/peer/vote",
    b"*",
    b"/v1/%73tatus",
    b"/v1/status?x",
    b"http://h/v1/status",
]


PLAIN = st.sampled_from(
    [
        b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n",
        b'POST /v1/returns HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{"ids":[]}',
        b"DELETE /v1/checkouts/%b HTTP/1.1\r\nhost: x\r\nconnection: keep-alive\r\n\r\n" % ID,
        b"PUT /v1/usage HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    ]
)


@st.composite
def nearly_plain(draw: st.DrawFn) -> bytes:
    """A plain request, but for a line or two."""
    head, _, body = draw(PLAIN).partition(b"\r\n\r\n")
    return b"\r\n".join([head, *draw(st.lists(st.sampled_from(LINES), min_size=1, max_size=2)), b"", body])


@st.composite
def odd(draw: st.DrawFn) -> bytes:
    """A request, in good order or not."""
    method = draw(st.sampled_from([b"GET", b"PUT", b"POST", b"DELETE", b"HEAD", b"get"]))
    version = draw(st.sampled_from([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/0.9", b""]))
    body = draw(st.sampled_from(BODIES))
    end = draw(st.sampled_from([b"\r\n", b"\r\n", b"\n"]))
    length = [b"Content-Length: %d" % len(body)] if body and draw(st.booleans()) else []
    lines = [b"Host: x", *length, *draw(st.lists(st.sampled_from(LINES), max_size=2))]
    return end.join([method + b" " + draw(st.sampled_from(PATHS)) + b" " + version, *lines, b"", b""]) + body


@settings(deadline=None, max_examples=150)
@example([b"GET /v1/usage HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"\r\n"], 0, 20, AS_THEY_ARE)
@example([b"GET /v1/usage HTTP/1.0\r\n\r\n", b"\r\n"], 12, 3, AS_THEY_ARE)
@example([b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n"] * 3, 12, 0, 84)
@example([b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 70000\r\n\r\nzz\r\n"], 0, 0, AS_THEY_ARE)
@given(
    st.lists(PLAIN | nearly_plain() | odd(), min_size=1, max_size=4), st.sampled_from([0, 1, 12]), st.sampled_from([0, 1, 20]), st.integers(0, 2**32)
)
def test_the_same_bytes_get_the_same_answers_without_h11(asked: list[bytes], late: int, waits: int, seed: int) -> None:
    """Requests of all kinds, one after the other or at once, split anywhere; and no client can make a node log anything."""
    luck = random.Random(seed)
    chunks = asked if luck.random() < 0.7 else split(b"".join(asked), luck)
    log = logging.getLogger("fakeserver.connection")
    keep = logging.handlers.BufferingHandler(1000)
    log.addHandler(keep)
    try:
        plainly, by_h11 = (asyncio.run(talk(chunks, by_h11=by_h11, late=late, waits=waits)) for by_h11 in (False, True))
    finally:
        log.removeHandler(keep)
    assert plainly == by_h11
    assert not keep.buffer
