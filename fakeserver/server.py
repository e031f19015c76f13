"""One node as it acts: its links to the peers, its disk, its clock, the answers to whoever asks.  It decides nothing.

``Shell`` hands every event to the node with a fresh reading of the clock and carries the effects out in their order.  After a freeze the event
loop delivers what is stale first; the fresh reading is what lets the node see how late it is.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, Protocol

from fakeserver import peer, wire
from fakeserver.clock import Clock, now_s
from fakeserver.disk import Disk
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
    PeerAnswer,
    PeerCall,
    PeerReply,
    PeerSend,
    ReportLine,
    RewriteTable,
    SaveBallot,
    Status,
    Stop,
    Tick,
)
from fakeserver.failpoints import Finder
from fakeserver.journal import Recorder
from fakeserver.links import Link
from fakeserver.roles import Role

LONGEST_SLEEP_S = 1.0  # the loop's timers do not count the time the machine sleeps
EXIT_FAILED = 1
EXIT_REFUSED = 2

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What becomes of messages between nodes: those to ``lost_to`` and from ``lost_from`` are lost, the others leave ``late_s()`` seconds later."""

    lost_to: frozenset[Role] = frozenset()
    lost_from: frozenset[Role] = frozenset()
    late_s: Callable[[], float] | None = None


class Told:
    """Whoever waits for an answer without a task."""

    def __init__(self, tell: Callable[[Answer | wire.Refused], object]) -> None:
        self.set_result = self.set_exception = tell


class Shell:
    """Carries out what the node wants, in order, and tells it what comes in.  Lives on one event loop.

    Its public attributes are how faults are played (F): ``filter`` for what nodes say to each other, ``clock`` for the node's time, ``failpoint``
    and ``die`` for an end in the midst of things, ``when_full`` for what is to be done about a full disk (None: the node ends), ``when_handled`` is
    called after each event, when the node may be another than before.
    """

    def __init__(self, node: Decider, *, disk: Disk, recorder: Recorder, peers: Mapping[Role, tuple[str, int]], peer_timeout_s: float) -> None:
        self.filter = Filter()
        self.clock = Clock()
        self.failpoint: tuple[str, Finder] | None = None
        self.die: Callable[[], object] = _no_way_to_die
        self.when_full: Callable[[OSError], object] | None = None
        self.when_handled: Callable[[], object] | None = None
        self._node = node
        self._disk = disk
        self._recorder = recorder
        self._peers = peers
        self._peer_timeout_s = peer_timeout_s
        self._links: dict[tuple[Role, str], Link] = {}
        self._tokens = count(1)
        self._asked: dict[int, asyncio.Future[Answer] | Told] = {}
        self._peer_answers: dict[int, peer.Message] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._last_words: dict[str, object] = {}
        self._halted: asyncio.Future[End] = asyncio.get_running_loop().create_future()
        self._actions: dict[type[Effect], Callable[[Any], None]] = {
            Answer: self._answer,
            PeerSend: self._send,
            PeerAnswer: self._answer_peer,
            SaveBallot: disk.save_ballot,
            AppendRecords: lambda effect: disk.append(effect.records),
            RewriteTable: lambda effect: disk.rewrite(effect.records),
            DebugLine: lambda effect: recorder.debug(effect.text, now_s()),
            ReportLine: lambda effect: recorder.report(effect.members, now_s()),
            Happened: lambda effect: self.note(effect.name, effect.facts),
            Halt: lambda effect: self.end(effect.reason, EXIT_REFUSED if effect.reason else 0),
        }

    async def wait_halted(self) -> End:
        """Wait, for as long as the node lives, until it has nothing more to do."""
        return await asyncio.shield(self._halted)

    @property
    def has_halted(self) -> bool:
        """Whether the node has nothing more to do."""
        return self._halted.done()

    def handle(self, event: Event) -> None:
        """Tell the node, and carry out what it wants."""
        if self._halted.done():
            return
        try:
            effects = self._node.handle(event, self.clock.now_s())
            if self.failpoint is not None:
                effects = self._cut_short(event, effects)
            for effect in effects:
                self._actions[type(effect)](effect)
        except OSError as error:  # a full or broken disk: what rests on the write must not leave, and nothing after it
            if error.errno in FULL and self.when_full is not None:
                self.when_full(error)
            else:
                self.end(f"The state cannot be written: {error}.", EXIT_FAILED)
        except Exception:  # a defect of this package: a node that is not sure of itself must not go on granting
            log.exception("the node failed at %r", event)
            self.end("The node failed; this is a defect of the fake server.", EXIT_FAILED)
        if self._halted.done():
            self._turn_away(_stopping())
        else:
            self._set_timer()
        if self.when_handled is not None:
            self.when_handled()

    def replace(self, node: Decider, why: wire.Refused) -> None:
        """Go on with another node: whoever waits for an answer of the old one is refused, and nothing that it was sent or asked concerns the new one."""
        self._node = node
        for link in self._links.values():
            link.forget()
        self._turn_away(why)
        self.look_at_clock()

    def note(self, name: str, facts: Mapping[str, object]) -> None:
        """Enter something in the journal."""
        self._recorder.happened(name, facts, now_s())

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

    def begin(self, call: wire.Call, tell: Callable[[Answer | wire.Refused], object]) -> Callable[[], None]:
        """As ``call``, without a task: ``tell`` is called with the answer, perhaps at once.  The result is for when its connection closes before.

        Raises Refused when the node has halted.
        """
        self._refuse_when_halted()
        token = next(self._tokens)
        self._asked[token] = Told(tell)
        self.handle(ClientCall(token=token, request=call.request, park_s=call.park_s, after_term=call.after_term))
        return partial(self._give_up, token)

    def _give_up(self, token: int) -> None:
        if self._asked.pop(token, None) is not None:
            self.handle(ClientGone(token=token))

    def call_peer(self, message: peer.Message) -> peer.Message:
        """A peer's message and the node's answer.  Raises Refused when there is none, or it gets lost."""
        self._refuse_when_halted()
        if message.sender in self.filter.lost_from:
            raise unheard()
        token = next(self._tokens)
        self.handle(PeerCall(token=token, message=message))
        reply = self._peer_answers.pop(token, None)
        if reply is None or message.sender in self.filter.lost_to:
            raise unheard()
        return reply

    def identity(self) -> dict[str, object]:
        """What every reply says of its node."""
        if self._halted.done():
            return self._last_words
        body = self.status()
        return {name: body[name] for name in ("node", "role", "cluster", "term")}

    def status(self) -> Mapping[str, object]:
        """What the node says of itself.  Raises Refused when it has halted, or halts over it."""
        self._refuse_when_halted()
        token = next(self._tokens)
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._asked[token] = answer
        self.handle(ClientCall(token=token, request=Status()))
        body: Mapping[str, object] = answer.result().body
        return body

    def cut_off(self) -> None:
        """Do, write and say nothing any more, as if the process had been killed in this moment."""
        for token in [token for token, asked in self._asked.items() if isinstance(asked, Told)]:
            del self._asked[token]  # it would be told at once, and its connection is not closed yet
        self.end("killed", EXIT_FAILED)
        self._turn_away(_stopping())
        self._let_go()

    async def close(self) -> None:
        """End all that runs for this node."""
        self._let_go()
        await asyncio.sleep(0)  # in which the connections end

    def _let_go(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for link in self._links.values():
            link.close()
        self._disk.close()
        self._recorder.close()

    def _turn_away(self, why: wire.Refused) -> None:
        """Refuse whoever still waits for an answer of a node that will give none."""
        while self._asked:
            self._asked.popitem()[1].set_exception(why)

    def _cut_short(self, event: Event, effects: tuple[Effect, ...]) -> tuple[Effect, ...]:
        """Die at the place that was asked for, if this is it, with all carried out that comes before."""
        assert self.failpoint is not None
        name, find = self.failpoint
        index = find(event, effects)
        if index is None:
            return effects
        for effect in effects[:index]:
            self._actions[type(effect)](effect)
        self.failpoint = None
        self.note("failpoint", {"place": name})
        self.die()
        return ()

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
        if effect.to in self.filter.lost_to:
            return
        kind = effect.message.kind
        link = self._links.get((effect.to, kind)) or self._link(effect.to, kind)
        content = wire.to_json(peer.encode(effect.message))
        if self.filter.late_s is None:
            link.send(content)
        else:
            asyncio.get_running_loop().call_later(self.filter.late_s(), link.send, content)

    def _link(self, to: Role, kind: str) -> Link:
        link = Link(self._peers[to], kind, limit=LINE_LIMITS[kind], timeout_s=self._peer_timeout_s, deliver=self._deliver)
        self._links[to, kind] = link
        return link

    def _deliver(self, kind: str, body: bytes) -> None:
        try:
            message = peer.decode(kind, wire.read_object(body))
        except (ValueError, wire.Refused) as error:
            log.warning("a reply to a %s message cannot be read, and counts as none: %s", kind, error)
        else:
            if message.sender not in self.filter.lost_from:
                self.handle(PeerReply(message=message))

    def end(self, reason: str, exit_code: int) -> None:
        """Halt, for this reason."""
        if not self._halted.done():
            self._halted.set_result(End(reason=reason, exit_code=exit_code))

    # --- time -----------------------------------------------------------------------------------------------------------------------

    def look_at_clock(self) -> None:
        """Find out anew when the node is to be woken: it is another, or its clock runs otherwise."""
        if self._timer is not None:
            self._timer.cancel()
        self._set_timer()

    def _set_timer(self) -> None:
        delay_s = min(max(self.clock.seconds_to(self._node.wake_at), 0.0), LONGEST_SLEEP_S)
        loop = asyncio.get_running_loop()
        due = loop.time() + delay_s
        if self._timer is not None:
            if self._timer.when() <= due and not self._timer.cancelled():
                return  # it rings in time, and looks again then: most requests cost no new timer
            self._timer.cancel()
        self._timer = loop.call_at(due, self._ring)

    def _ring(self) -> None:
        self._timer = None
        if self.clock.now_s() >= self._node.wake_at:
            self.handle(Tick())
        else:
            self._set_timer()


def _no_way_to_die() -> None:
    raise RuntimeError("whoever sets a failpoint says how the node is to die")


def unheard() -> wire.Refused:
    """The answer to a peer whose message, or whose reply, is lost: to a link anything but 200 is none."""
    return wire.Refused("Lost on its way.", name="no-quorum", status=503, code=-97)


def _stopping() -> wire.Refused:
    return wire.Refused("This node is stopping.", name="no-quorum", status=503, code=-97)
