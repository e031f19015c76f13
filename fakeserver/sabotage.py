"""How faults are played on a node's connections and in what it says to clients (F).  While there is none, nothing of this stands in the way.

``Stage`` puts it in the way and takes it away: ``Spoiled`` stands between the door and the shell, a ``Face`` between uvicorn and a socket.  Peers
are spared here, except that their answers may be late: what becomes of their messages is the shell's filter.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import uvicorn

from fakeserver import wire
from fakeserver.connection import NodeProtocol
from fakeserver.door import PEER_PATH, Answering, Door
from fakeserver.events import Answer, Checkout, Status, Usage
from fakeserver.faults import (
    Blackhole,
    Cut,
    DoubleCount,
    Drip,
    DropSyn,
    Fault,
    Garbage,
    LoseReply,
    Overloaded,
    Refuse,
    Slow,
    StaleMaster,
    WrongVersion,
)
from fakeserver.impostors import stale_answer
from fakeserver.listening import Listening, Port
from fakeserver.replies import problem

if TYPE_CHECKING:
    from fakeserver.ghosts import Ghosts
    from fakeserver.peer import Message
    from fakeserver.server import Shell

F = TypeVar("F", bound=Fault)

_HTML = b"<!DOCTYPE html><title>Welcome</title><h1>It works!</h1>"
_OTHER = b'{"answer":42,"licenses":["all","of","them"]}'
RUBBISH = {
    "not_http": b"\x15\x03\x01\x00\x02\x02\x28 220 mail ready\r\n",
    "not_json": b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: %d\r\n\r\n%b" % (len(_HTML), _HTML),
    "other_shape": b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(_OTHER), _OTHER),
}

ON_CONNECTIONS = (Blackhole, Slow, Drip, Cut, Garbage, DropSyn)
IN_ANSWERS = (Blackhole, DropSyn, LoseReply, WrongVersion, Overloaded, StaleMaster, DoubleCount)


class Weather:
    """The faults of one node as its connections meet them, at any moment."""

    def __init__(self) -> None:
        self._faults: dict[type[object], Fault] = {}
        self._to_lose = {"client": 0, "peer": 0}

    def set(self, faults: Iterable[Fault]) -> None:
        """From now on these."""
        self._faults = {type(fault): fault for fault in faults}
        if LoseReply not in self._faults:
            self._to_lose = dict.fromkeys(self._to_lose, 0)

    def lose(self, fault: LoseReply) -> None:
        """So many replies are to be lost from now on."""
        self._to_lose = {"client": fault.n, "peer": 0 if fault.clients_only else fault.n}

    def loses(self, whose: str) -> bool:
        """Whether this reply is lost; it counts."""
        left = self._to_lose[whose]
        self._to_lose[whose] = max(left - 1, 0)
        return left > 0

    def find(self, kind: type[F]) -> F | None:
        """The fault of this kind, if there is one."""
        found = self._faults.get(kind)
        return found if isinstance(found, kind) else None

    @property
    def is_silent(self) -> bool:
        """Whether clients get no answers at all."""
        return Blackhole in self._faults or DropSyn in self._faults

    def has_any(self, kinds: tuple[type[Fault], ...]) -> bool:
        """Whether there is a fault of these kinds."""
        return any(kind in self._faults for kind in kinds)


class Spoiled:
    """Between the door and the node: what a client is told is not what the node says."""

    def __init__(self, shell: Shell, weather: Weather, ghosts: Ghosts) -> None:
        self._shell = shell
        self._weather = weather
        self._ghosts = ghosts

    async def call(self, call: wire.Call, closed: Callable[[], asyncio.Task[None]]) -> Answer | None:
        """As ``Answering.call``."""
        if self._weather.is_silent:
            await closed()
            return None
        instead = self._instead(call)
        answer = instead or await self._shell.call(call, closed)
        acts = not isinstance(call.request, Status | Usage)
        if answer is not None and answer.status == 200 and isinstance(call.request, Checkout) and not instead and self._weather.find(DoubleCount):
            await self._ghosts.double(call.request)
        if acts and self._weather.loses("client"):
            await closed()
            return None
        return answer

    def call_peer(self, message: Message) -> Message:
        """As ``Answering.call_peer``: what is lost, is lost after the node has acted."""
        reply = self._shell.call_peer(message)
        if self._weather.loses("peer"):
            raise wire.Refused("Lost on its way.", name="no-quorum", status=503, code=-97)
        return reply

    def identity(self) -> dict[str, object]:
        """As ``Answering.identity``."""
        return self._shell.identity()

    def _instead(self, call: wire.Call) -> Answer | None:
        if self._weather.find(WrongVersion):
            refused = wire.Refused("Version 'v1' of the protocol is not spoken here; 'v2' is.", name="unsupported-version", code=-83)
            return Answer(token=0, status=refused.status, body=self.identity() | refused.body())
        overloaded = self._weather.find(Overloaded)
        if overloaded and not isinstance(call.request, Status):
            refusal = problem("overloaded", "This node has too much to do.", retry_after_s=overloaded.retry_after_s)
            return Answer(token=0, status=overloaded.status, body=self.identity() | dict(refusal.body) | {"status": overloaded.status})
        if self._weather.find(StaleMaster):
            return stale_answer(call.request, self._shell.status())
        return None


class Face:
    """A connection's transport, as uvicorn sees it: what is written to it leaves altered, late, in part or not at all."""

    def __init__(self, transport: asyncio.Transport, protocol: NodeProtocol, *, weather: Weather) -> None:
        self._transport = transport
        self._protocol = protocol
        self._weather = weather
        self._loop = asyncio.get_running_loop()
        self._queue: deque[tuple[float, bytes | None, float]] = deque()  # when, what (None: the end), and how long from one byte to the next
        self._timer: asyncio.TimerHandle | None = None
        self._sent = 0
        self._swallows = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """What uvicorn has to say."""
        data = bytes(data)
        if not data or self._transport.is_closing():
            return
        scope: Any = self._protocol.scope  # None as long as nothing came that could be read
        if scope and scope["path"].startswith(PEER_PATH):
            self._put(data, drip_s=0.0, to_peer=True)
            return
        if self._weather.is_silent:
            return
        if starts := data.startswith(b"HTTP/1."):
            self._sent, self._swallows = 0, False
        garbage, cut, drip = (self._weather.find(kind) for kind in (Garbage, Cut, Drip))
        if isinstance(garbage, Garbage) and starts:
            self._swallows = True
            self._put(RUBBISH[garbage.kind], drip_s=0.0)
        elif self._swallows:
            return
        elif isinstance(cut, Cut):
            self._put_cut(data, cut, starts=starts)
        else:
            self._put(data, drip_s=drip.interval_s if isinstance(drip, Drip) else 0.0)

    def _put_cut(self, data: bytes, cut: Cut, *, starts: bool) -> None:
        half = len(data) if starts else len(data) // 2
        room = cut.after_bytes - self._sent if cut.after_bytes is not None else half
        is_end = room < len(data) or (cut.after_bytes is not None and room == len(data))
        self._sent += len(data)
        if room > 0:
            self._put(data[:room], drip_s=0.0)
        if is_end:
            self._swallows = True
            self._reset()

    def close(self) -> None:
        """Close when all has left."""
        if self._queue:
            self._queue.append((self._queue[-1][0], None, 0.0))
        else:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._queue.clear()
        self._transport.abort()

    def look_again(self) -> None:
        """The weather has changed: what is late for no reason any more leaves now."""
        if not self._weather.has_any((Slow, Drip)):
            while self._queue:
                self._out(self._queue.popleft()[1])

    def _put(self, data: bytes, *, drip_s: float, to_peer: bool = False) -> None:
        slow = self._weather.find(Slow)
        late_s = latency_s(slow) if slow and not (to_peer and slow.clients_only) else 0.0
        if not self._queue and not late_s and not drip_s:
            self._out(data)
            return
        due = self._loop.time() + late_s
        self._queue.append((max(due, self._queue[-1][0]) if self._queue else due, data, drip_s))
        if len(self._queue) == 1:
            self._wake(due)

    def _wake(self, due: float) -> None:
        self._timer = self._loop.call_at(due, self._run)

    def _run(self) -> None:
        if not self._queue or self._transport.is_closing():
            self._queue.clear()
            return
        due, data, drip_s = self._queue.popleft()
        if data is not None and drip_s and len(data) > 1:
            self._out(data[:1])
            self._queue.appendleft((due + drip_s, data[1:], drip_s))
        else:
            self._out(data)
        if self._queue:
            self._wake(self._queue[0][0])

    def _out(self, data: bytes | None) -> None:
        if data is None:
            self._transport.close()
        elif not self._transport.is_closing():
            self._transport.write(data)
            if data == RUBBISH["not_http"]:
                self._transport.close()

    def _reset(self) -> None:
        """RST, and no orderly end."""
        reset_connection(self._transport)


def latency_s(slow: Slow) -> float:
    """How late this one is, in seconds."""
    return slow.latency_s + random.uniform(0, slow.jitter_s)


def reset_connection(transport: asyncio.Transport) -> None:
    """Close a connection with RST: its peer sees that it was cut off."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


class Stage:
    """A node's server, for those who play faults on it."""

    def __init__(self, *, server: uvicorn.Server, door: Door, shell: Shell, address: tuple[str, int]) -> None:
        self.shell = shell
        self.weather = Weather()
        self._server = server
        self._door = door
        self._listening = Listening(server, address)
        self._plain = server.config.http_protocol_class

    async def play(self, faults: tuple[Fault, ...], ghosts: Ghosts) -> None:
        """Let connections, answers and the port be as these faults want them; no faults, and nothing stands in the way."""
        self.weather.set(faults)
        shell: Answering = self.shell
        self._door.behind = Spoiled(self.shell, self.weather, ghosts) if self.weather.has_any(IN_ANSWERS) else shell
        if self.weather.has_any(ON_CONNECTIONS):
            self._server.config.http_protocol_class = partial(
                NodeProtocol, identity=self.shell.identity, door=self._door, face=partial(Face, weather=self.weather)
            )  # type: ignore[assignment]
            self._put_faces_on()
        else:
            self._server.config.http_protocol_class = self._plain
        for connection in self._connections():
            if isinstance(connection.transport, Face):
                connection.transport.look_again()
                if not self.weather.has_any(ON_CONNECTIONS):
                    connection.unmask()
        await self._set_port()

    def _put_faces_on(self) -> None:
        for connection in self._connections():
            if not isinstance(connection.transport, Face):
                face: Any = Face(connection.transport, connection, weather=self.weather)
                connection.transport = face
                if connection.cycle is not None:
                    connection.cycle.transport = face

    async def _set_port(self) -> None:
        if self.weather.find(Refuse):
            for connection in self._connections():
                reset_connection(connection.transport)
            await self._listening.be(Port.REFUSING)
        else:
            await self._listening.be(Port.DEAF if self.weather.find(DropSyn) else Port.OPEN)

    def cut_off(self) -> None:
        """Close all connections at once, as the end of a process does, and take none on any more; ``close_port`` is to follow."""
        self._listening.stop_accepting()
        for connection in self._connections():
            connection.transport.abort()

    def close_port(self) -> None:
        """Let the port refuse."""
        self._listening.close()

    def _connections(self) -> list[Any]:
        return list(self._server.server_state.connections)
