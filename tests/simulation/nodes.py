"""The triad in the world: the product's own nodes, each with a disk, a clock and a process that can crash or be stopped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from fakeserver import peer, wire
from fakeserver.events import (
    Answer,
    AppendRecords,
    Checkout,
    ClientCall,
    ClientGone,
    DebugLine,
    DiskImage,
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
    Stop,
    Tick,
)
from fakeserver.node import Node
from fakeserver.seats import Record
from fakeserver.stance import Stance
from fakeserver.waiting import waits
from tests.simulation.shortcuts import Carried
from tests.simulation.story import answered, happened

if TYPE_CHECKING:
    from palclient.core.flow import HttpRequest
    from tests.simulation.world import Clock, World

SERVING = (Stance.SERVING, Stance.DRAINING)
RESET = 0  # in a status's place: the process died, and the system closed its connections
Body = bytes | Mapping[str, object]  # as a mapping where the wire's codecs are left out
Reply = Callable[[int, Body], object]
Key = tuple[str, int]  # a client's name, and the number of its request


class Disk:
    """What outlives a process.  ``flushed`` counts the records that a power cut leaves; the ballot is always flushed (E7)."""

    def __init__(self, *, fsync: bool) -> None:
        self.fsync = fsync
        self.ballot: SaveBallot | None = None
        self.records: list[Record] = []
        self.flushed = 0
        self.may_lack_records = False
        self.has_lost_records = False  # ever

    def append(self, records: tuple[Record, ...]) -> None:
        """Add to the log."""
        self.records.extend(records)
        self._settle()

    def rewrite(self, records: tuple[Record, ...]) -> None:
        """Replace the log by one that tells of this boot of the machine.  Without ``fsync`` nothing of it is sure to outlive a power cut."""
        self.may_lack_records = False
        self.records = list(records)
        self.flushed = 0
        self._settle()

    def lose_power(self, keep: int) -> None:
        """The machine reboots: of what was not flushed, the first ``keep`` records are left."""
        if not self.fsync:
            left = self.records[: self.flushed + keep]
            self.has_lost_records |= len(left) < len(self.records)
            self.records = left
            self.may_lack_records = True
            self.flushed = len(self.records)

    def image(self) -> DiskImage:
        """What a process finds at its start."""
        return DiskImage(ballot=self.ballot, records=tuple(self.records), may_lack_records=self.may_lack_records)

    def _settle(self) -> None:
        if self.fsync:
            self.flushed = len(self.records)


class VirtualNode:
    """One node.  ``after_turn`` is called whenever it has decided something; ``uses_wire`` has answers and peer messages pass through their codecs."""

    def __init__(self, config: NodeConfig, world: World, clock: Clock, *, fsync: bool, uses_wire: bool) -> None:
        self.config = config
        self.name = config.role.value
        self.world = world
        self.clock = clock
        self.disk = Disk(fsync=fsync)
        self.uses_wire = uses_wire
        self.peers: dict[object, VirtualNode] = {}
        self.node: Node | None = None
        self.is_paused = False
        self.life = 0
        self.crash_after: int | None = None  # effects of the next turn that are still carried out, when it is to crash in the midst
        self.after_turn: Callable[[VirtualNode, tuple[Effect, ...]], None] = lambda _node, _effects: None
        self._inbox: list[Event] = []
        self._tokens = 0
        self._clients: dict[int, tuple[Key, Reply]] = {}
        self._gone: set[Key] = set()
        self._asked: dict[Key, str] = {}
        self.overtaken: set[str] = set()  # ids of checkouts that were served, or came, when their client had given up waiting for the answer
        self._callers: dict[int, Callable[[peer.Message], None]] = {}
        self._actions: dict[type[Effect], Callable[[Any], None]] = {  # of what is missing here nothing is seen
            PeerAnswer: self._answer_peer,
            PeerSend: self._send,
            Answer: self._answer,
            SaveBallot: self._save_ballot,
            AppendRecords: lambda effect: self.disk.append(effect.records),
            RewriteTable: lambda effect: self.disk.rewrite(effect.records),
            Halt: self._halt,
            DebugLine: lambda effect: self.world.tell(self.name, f"log: {effect.text}"),
            Happened: lambda effect: self.world.tell(self.name, happened(effect)),
        }
        self._timer_at = float("inf")

    @property
    def local_now(self) -> float:
        """What this node's clock shows."""
        return self.clock.local(self.world.now)

    @property
    def term(self) -> int:
        """The term that it is in."""
        return self.node._member.ballot.term if self.node is not None else 0

    @property
    def accepts(self) -> bool:
        """Whether its port accepts connections: a stopped process's does, a dead one's does not."""
        return self.node is not None

    @property
    def is_up(self) -> bool:
        """Whether it runs."""
        return self.node is not None and not self.is_paused

    # --- its process ---

    def start(self) -> None:
        """Start the process on what the disk holds."""
        if self.node is not None:
            return
        self.life += 1
        self._timer_at = float("inf")
        self.world.tell(self.name, "starts")
        self.node = Node(self.config, self.disk.image(), self.local_now)
        self._set_timer()

    def crash(self, *, power_cut: bool = False, keep: int = 0) -> None:
        """SIGKILL, or a power cut that leaves ``keep`` of the records that were not flushed."""
        if self.node is None:
            return
        self.world.tell(self.name, "loses power" if power_cut else "is killed")
        self.node = None
        self.is_paused = False
        self._inbox.clear()
        if not power_cut:
            for _, reply in self._clients.values():
                reply(RESET, b"")
        self._clients.clear()
        self._callers.clear()
        if power_cut:
            self.disk.lose_power(keep)

    def pause(self) -> None:
        """SIGSTOP."""
        if self.is_up:
            self.world.tell(self.name, "is frozen")
            self.is_paused = True

    def thaw(self) -> None:
        """SIGCONT: what came meanwhile is read now, all of it, with the clock as it is now."""
        if self.node is None or not self.is_paused:
            return
        self.world.tell(self.name, "is thawed")
        self.is_paused = False
        inbox, self._inbox = self._inbox, []
        for event in inbox:
            self.handle(event)
        self._ring(self.life)

    def stop(self) -> None:
        """An orderly stop (E6)."""
        self.world.tell(self.name, "is told to stop")
        self.handle(Stop())

    # --- what comes in ---

    def ask(self, key: Key, request: HttpRequest | Carried, reply: Reply) -> None:
        """A client's request."""
        call = request.call if isinstance(request, Carried) else self._read(request)
        self._tokens += 1
        self._clients[self._tokens] = key, reply
        token = self._tokens
        self.handle(ClientCall(token=token, request=call.request, park_s=call.park_s, after_term=call.after_term))
        if isinstance(call.request, Checkout):
            self._asked[key] = call.request.id
        if key in self._gone:  # its connection closes behind it
            self._close(key)

    def _read(self, request: HttpRequest) -> wire.Call:
        headers = [(name.lower().encode(), value.encode()) for name, value in request.headers]
        try:
            return wire.read_call(method=request.method, path=request.target, headers=headers, body=request.body)
        except wire.Refused as refused:
            raise AssertionError(f"the client sent what the node refuses: {request} {refused}") from refused

    def client_gone(self, key: Key) -> None:
        """A client closed the connection of this request, which may still be on its way."""
        self._gone.add(key)
        self._close(key)

    def _close(self, key: Key) -> None:
        tokens = [token for token, (of, _) in self._clients.items() if of == key]
        if key in self._asked and self.node is not None and not any(token in self.node._parking._parked for token in tokens):
            self.overtaken.add(self._asked[key])
        for token in tokens:
            if self._clients.pop(token, None) is not None:  # a crash in the midst takes them all
                self.handle(ClientGone(token=token))

    def call_peer(self, message: peer.Message, reply: Callable[[peer.Message], None]) -> None:
        """A peer's message."""
        if self.node is None:
            return
        self._tokens += 1
        self._callers[self._tokens] = reply
        self.handle(PeerCall(token=self._tokens, message=self._over_wire(message)))

    def handle(self, event: Event, *, not_before: float = 0.0) -> None:
        """Have the node decide, and do what it wants, in order.  A timer rings not before the local instant it was set for, to the last bit."""
        if self.node is None:
            return
        if self.is_paused:
            self._inbox.append(event)
            return
        effects = self.node.handle(event, max(self.clock.local(self.world.now), not_before))
        limit, self.crash_after = self.crash_after, None
        for effect in effects if limit is None else effects[:limit]:
            carry_out = self._actions.get(type(effect))
            if carry_out is not None:
                carry_out(effect)
        self.after_turn(self, effects)
        if limit is not None:
            self.crash()
        elif self.node is not None:
            self._set_timer()

    # --- what it wants done ---

    def _answer_peer(self, effect: PeerAnswer) -> None:
        self._callers.pop(effect.token)(effect.message)

    def _save_ballot(self, effect: SaveBallot) -> None:
        self.disk.ballot = effect

    def _halt(self, effect: Halt) -> None:
        self.world.tell(self.name, f"halts {effect.reason}")
        self.node = None

    def _answer(self, effect: Answer) -> None:
        waiting = self._clients.pop(effect.token, None)
        if waiting is not None:
            content = wire.write_reply(effect.status, effect.body).body if self.uses_wire else effect.body
            self.world.tell(self.name, answered(waiting[0][0], effect.status, effect.body))
            waiting[1](effect.status, content)

    def _send(self, effect: PeerSend) -> None:
        target = self.peers[effect.to]

        def reply(message: peer.Message) -> None:
            self.world.send(target.name, self.name, lambda: self.handle(PeerReply(message=self._over_wire(message))))

        self.world.send(self.name, target.name, lambda: target.call_peer(effect.message, reply))

    def _over_wire(self, message: peer.Message) -> peer.Message:
        return peer.decode(message.kind, peer.encode(message)) if self.uses_wire else message

    def _set_timer(self) -> None:
        assert self.node is not None
        wake_at = self.node.wake_at
        if wake_at < self._timer_at:
            self._timer_at = wake_at
            self.world.at(self.clock.true(wake_at), partial(self._ring, self.life))

    def _ring(self, life: int) -> None:
        if self.node is None or life != self.life or self.is_paused:
            return
        self._timer_at = float("inf")
        if self.local_now >= self.node.wake_at - 1e-9:
            self.handle(Tick(), not_before=self.node.wake_at)
        else:
            self._set_timer()


# --- what a checker may know of a node: read, never changed -------------------------------------------------------------------------


def may_serve(node: VirtualNode) -> bool:
    """Whether the node would answer as master at this instant; a frozen one, once it is thawed."""
    if node.node is None:
        return False
    member = node.node._member
    return member.stance in SERVING and node.local_now < member.lease_until


def book(node: VirtualNode) -> dict[str, int]:
    """How many seats the node counts for each checkout id; a place in line is a record of the same table, and no seat."""
    assert node.node is not None
    table = node.node._member.ledger.table
    return {seat.grant.id: len(table._held[seat.grant.id]) for seat in table.held() if seat.grant is not None and not waits(seat)}
