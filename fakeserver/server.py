"""One node as a server: HTTP on Starlette and uvicorn, its disk, its links to the peers, its clock.  It decides nothing.

``Shell`` hands every event to the node with a fresh reading of the clock and carries the effects out in their order.  After a freeze the event
loop delivers what is stale first; the fresh reading is what lets the node see how late it is.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route

from fakeserver import peer, wire
from fakeserver.clock import boot_name, now_s, wall_epoch_s
from fakeserver.disk import Disk, StateRefused
from fakeserver.door import Door
from fakeserver.events import (
    Answer,
    AppendRecords,
    ClientCall,
    ClientGone,
    DebugLine,
    Effect,
    Event,
    Halt,
    Happened,
    NodeConfig,
    PeerAnswer,
    PeerCall,
    PeerReply,
    PeerSend,
    RewriteTable,
    SaveBallot,
    Status,
    Stop,
    Tick,
)
from fakeserver.journal import Recorder
from fakeserver.lifeline import watch_commands
from fakeserver.links import Link
from fakeserver.node import Node
from fakeserver.roles import Role
from fakeserver.settings import Settings, failover_s, named

KEEP_ALIVE_S = 3600  # far above any renewal interval; uvicorn's 5 s would close the connections of every quiet client
LONGEST_SLEEP_S = 1.0  # the loop's timers do not count the time the machine sleeps
EXIT_FAILED = 1
EXIT_REFUSED = 2

EXIT_S = 1  # how long uvicorn may wait for replies that are on their way when the node stops

LINE_LIMITS = {"heartbeat": 1, "vote": 1, "append": 1_000, "transfer": 1}
"""How many messages of a kind may wait for one peer: of heartbeats, votes and transfers only the newest counts."""

log = logging.getLogger("fakeserver")


class Decider(Protocol):
    """What decides for a ``Shell``: a ``Node``, or what a test puts in its place."""

    wake_at: float

    def handle(self, event: Event, now: float) -> tuple[Effect, ...]:
        """As ``Node.handle``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """Why a node has ended, in a sentence (empty: in good order), and the exit code that says so to scripts."""

    reason: str
    exit_code: int


class Shell:
    """Carries out what the node wants, in order, and tells it what comes in.  Lives on one event loop."""

    def __init__(self, node: Decider, *, disk: Disk, recorder: Recorder, peers: Mapping[Role, tuple[str, int]], peer_timeout_s: float) -> None:
        self._node = node
        self._disk = disk
        self._recorder = recorder
        self._peers = peers
        self._peer_timeout_s = peer_timeout_s
        self._links: dict[tuple[Role, str], tuple[Link, asyncio.Task[None]]] = {}
        self._tokens = count(1)
        self._asked: dict[int, asyncio.Future[Answer]] = {}
        self._peer_answers: dict[int, peer.Message] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._now_s = 0.0
        self._last_words: dict[str, object] = {}
        self._halted: asyncio.Future[End] = asyncio.get_running_loop().create_future()
        self._actions: dict[type[Effect], Callable[[Any], None]] = {
            Answer: self._answer,
            PeerSend: self._send,
            PeerAnswer: self._answer_peer,
            SaveBallot: disk.save_ballot,
            AppendRecords: lambda effect: disk.append(effect.records),
            RewriteTable: lambda effect: disk.rewrite(effect.records),
            DebugLine: lambda effect: recorder.debug(effect.text, self._now_s),
            Happened: lambda effect: recorder.happened(effect.name, effect.facts, self._now_s),
            Halt: lambda effect: self._end(effect.reason, EXIT_REFUSED if effect.reason else 0),
        }

    async def wait_halted(self) -> End:
        """Wait, for as long as the node lives, until it has nothing more to do."""
        return await asyncio.shield(self._halted)

    def handle(self, event: Event) -> None:
        """Tell the node, and carry out what it wants."""
        if self._halted.done():
            return
        self._now_s = now_s()
        try:
            for effect in self._node.handle(event, self._now_s):
                self._actions[type(effect)](effect)
        except OSError as error:  # a full or broken disk: what rests on the write must not leave, and nothing after it
            self._end(f"The state cannot be written: {error}.", EXIT_FAILED)
        except Exception:  # a defect of this package: a node that is not sure of itself must not go on granting
            log.exception("the node failed at %r", event)
            self._end("The node failed; this is a defect of the fake server.", EXIT_FAILED)
        if self._halted.done():
            self._turn_away()
        else:
            self._set_timer()

    def stop(self) -> None:
        """Ask for an orderly stop."""
        self._last_words = self.identity()
        self.handle(Stop())

    async def call(self, call: wire.Call, closed: Callable[[], asyncio.Task[None]]) -> Answer | None:
        """A client's request and its answer; None when its connection closed first.  ``closed`` makes a task that ends when it closes.

        Raises Refused when the node has halted.
        """
        self._refuse_when_halted()
        token = next(self._tokens)
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._asked[token] = answer
        self.handle(ClientCall(token=token, request=call.request, park_s=call.park_s, after_term=call.after_term))
        if answer.done():
            return answer.result()
        watch = closed()
        try:
            await asyncio.wait((answer, watch), return_when=asyncio.FIRST_COMPLETED)
        finally:
            watch.cancel()
            self._asked.pop(token, None)
        if answer.done():
            return answer.result()
        self.handle(ClientGone(token=token))
        return None

    def call_peer(self, message: peer.Message) -> peer.Message:
        """A peer's message and the node's answer.  Raises Refused when the node has halted."""
        self._refuse_when_halted()
        token = next(self._tokens)
        self.handle(PeerCall(token=token, message=message))
        return self._peer_answers.pop(token)

    def identity(self) -> dict[str, object]:
        """What every reply says of its node."""
        if self._halted.done():
            return self._last_words
        token = next(self._tokens)
        answer = self._asked[token] = asyncio.get_running_loop().create_future()
        self.handle(ClientCall(token=token, request=Status()))
        body = answer.result().body
        return {name: body[name] for name in ("node", "role", "cluster", "term")}

    async def close(self) -> None:
        """End all that runs for this node."""
        if self._timer is not None:
            self._timer.cancel()
        tasks = [task for _, task in self._links.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._disk.close()
        self._recorder.close()

    def _turn_away(self) -> None:
        """Refuse whoever still waits for an answer of a node that has halted."""
        while self._asked:
            self._asked.popitem()[1].set_exception(_stopping())

    def _refuse_when_halted(self) -> None:
        if self._halted.done():
            raise _stopping()

    # --- effects --------------------------------------------------------------------------------------------------------------------

    def _answer(self, effect: Answer) -> None:
        asked = self._asked.pop(effect.token, None)
        if asked is not None:
            asked.set_result(effect)

    def _answer_peer(self, effect: PeerAnswer) -> None:
        self._peer_answers[effect.token] = effect.message

    def _send(self, effect: PeerSend) -> None:
        kind = effect.message.kind
        found = self._links.get((effect.to, kind))
        link = found[0] if found else self._link(effect.to, kind)
        link.send(wire.to_json(peer.encode(effect.message)))

    def _link(self, to: Role, kind: str) -> Link:
        link = Link(self._peers[to], kind, limit=LINE_LIMITS[kind], timeout_s=self._peer_timeout_s, deliver=self._deliver)
        task = asyncio.get_running_loop().create_task(link.run(), name=f"link to {to.value} for {kind}")
        self._links[to, kind] = link, task
        return link

    def _deliver(self, kind: str, body: bytes) -> None:
        try:
            message = peer.decode(kind, wire.read_object(body))
        except (ValueError, wire.Refused) as error:
            log.warning("a reply to a %s message cannot be read, and counts as none: %s", kind, error)
        else:
            self.handle(PeerReply(message=message))

    def _end(self, reason: str, exit_code: int) -> None:
        if not self._halted.done():
            self._halted.set_result(End(reason=reason, exit_code=exit_code))

    # --- time -----------------------------------------------------------------------------------------------------------------------

    def _set_timer(self) -> None:
        delay_s = min(max(self._node.wake_at - now_s(), 0.0), LONGEST_SLEEP_S)
        loop = asyncio.get_running_loop()
        due = loop.time() + delay_s
        if self._timer is not None:
            if self._timer.when() <= due and not self._timer.cancelled():
                return  # it rings in time, and looks again then: most requests cost no new timer
            self._timer.cancel()
        self._timer = loop.call_at(due, self._ring)

    def _ring(self) -> None:
        self._timer = None
        if now_s() >= self._node.wake_at:
            self.handle(Tick())
        else:
            self._set_timer()


async def run(settings: Settings, listener: socket.socket, *, commands: int | None, when_ready: Callable[[], None]) -> End:
    """Run a node until it halts.  State that cannot be this node's is such an end, too.

    ``commands`` is the reading end of a parent's pipe: ``stop`` on it stops the node in good order, its end ends the process at once.
    """
    folder, role = Path(settings.folder), Role(settings.role)
    disk = Disk(folder, cluster=settings.cluster, boot=boot_name(), fsync=settings.fsync)
    try:
        image = disk.load()
    except StateRefused as refused:
        disk.close()
        return End(reason=str(refused), exit_code=EXIT_REFUSED)
    node = Node(_config(settings), image, now_s())
    recorder = Recorder(folder, wall_epoch_s=wall_epoch_s())
    peers = dict(zip(Role, settings.triad, strict=True))
    del peers[role]
    shell = Shell(node, disk=disk, recorder=recorder, peers=peers, peer_timeout_s=failover_s(settings.heartbeat_s))
    if commands is not None:
        loop = asyncio.get_running_loop()
        watch_commands(commands, on_line=lambda _line: loop.call_soon_threadsafe(shell.stop), on_end=lambda: os._exit(0))
    recorder.happened("started", {"pid": os.getpid()}, now_s())
    return await serve(shell, listener, when_ready=when_ready)


def _config(settings: Settings) -> NodeConfig:
    primary, secondary, tertiary = map(named, settings.triad)
    return NodeConfig(
        role=Role(settings.role),
        triad=(primary, secondary, tertiary),
        cluster=settings.cluster,
        features=settings.features,
        heartbeat_s=settings.heartbeat_s,
        ttl_s=settings.ttl_s,
        primary_is_master=settings.primary_is_master,
        wall_epoch_s=wall_epoch_s(),
        software=settings.software,
    )


async def serve(shell: Shell, listener: socket.socket, *, when_ready: Callable[[], None]) -> End:
    """Serve ``shell`` on ``listener`` until it halts."""
    app = Starlette(routes=[Route("/{path:path}", Door(shell))])
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=EXIT_S,
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="uvicorn")
    while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn has no other way to tell; it takes a few turns of the loop
        await asyncio.sleep(0)
    stop_on_signals(shell)
    shell.handle(Tick())
    when_ready()
    end = await shell.wait_halted()
    server.should_exit = True
    await serving
    await shell.close()
    return end


def stop_on_signals(shell: Shell) -> None:
    """Let SIGTERM and SIGINT end the node in good order, in the place of uvicorn's own way, which knows of no handover (E6)."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(shell.stop))


def _stopping() -> wire.Refused:
    return wire.Refused("This node is stopping.", name="no-quorum", status=503, code=-97)
