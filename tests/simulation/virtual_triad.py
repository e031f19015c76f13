"""Three nodes in virtual time: their messages, disks, clocks and processes, and nothing that waits.

A second of the triad takes a few milliseconds here.  Small on purpose; the histories of chance are another module's.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import count

from fakeserver.events import (
    Answer,
    AppendRecords,
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
    ReportLine,
    Request,
    RewriteTable,
    SaveBallot,
    Status,
    Stop,
    Tick,
)
from fakeserver.node import Node
from fakeserver.peer import Message
from fakeserver.roles import Role
from fakeserver.stance import Stance

PRIMARY, SECONDARY, TERTIARY = Role
HEARTBEAT_S = 0.1
FAILOVER_S = 0.395
TTL_S = 1.0
TRIAD = ("27000@lic1", "27001@lic2", "27002@lic3")
HOLDER = {"user": "ann", "host": "pc7"}


class TwoMasters(AssertionError):
    """Two nodes would have served at one instant (T7)."""


@dataclass(slots=True, kw_only=True)
class Host:
    """The machine of one node: the disk outlives the process."""

    config: NodeConfig
    disk: DiskImage = field(default_factory=DiskImage)
    node: Node | None = None
    life: int = 0
    paused: bool = False
    rate: float = 1.0
    backlog: list[Callable[[], None]] = field(default_factory=list)


class VirtualTriad:
    """The three hosts and the network between them.  ``now`` is true time in seconds; a host's own clock runs at its ``rate``."""

    def __init__(self, *, primary_is_master: bool = True, features: dict[str, int] | None = None, ttl_s: float = TTL_S) -> None:
        self.now = 0.0
        self.hosts = {
            role: Host(
                config=NodeConfig(
                    role=role,
                    triad=TRIAD,
                    cluster="c1",
                    features={"RISK": 2} if features is None else features,
                    heartbeat_s=HEARTBEAT_S,
                    ttl_s=ttl_s,
                    primary_is_master=primary_is_master,
                )
            )
            for role in Role
        }
        self.cuts: set[tuple[Role, Role]] = set()
        self.delays: Callable[[], Iterable[float]] = lambda: (0.001,)  # one entry a copy: none is a loss, two a doubling
        self.answers: dict[int, Answer] = {}
        self.happened: list[tuple[float, Role, Happened]] = []
        self.lines: list[tuple[float, Role, str]] = []
        self.report: list[tuple[float, Role, Mapping[str, object]]] = []
        self.halts: dict[Role, str] = {}
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._ticks: dict[Role, float] = {}
        self._order = count()
        self._tokens = count(1)
        self._asked: dict[int, tuple[Role, int, Role]] = {}

    # --- what a test does -----------------------------------------------------------------------------------------------------------

    def start(self, *roles: Role) -> None:
        """Start nodes from what is on their disks."""
        for role in roles:
            host = self.hosts[role]
            host.node = Node(host.config, host.disk, self.clock(role))
            host.life += 1
            host.paused = False
            host.backlog.clear()
            self._ticks[role] = self.now

    def crash(self, role: Role) -> None:
        """SIGKILL: the process is gone, what it wrote is there."""
        self.hosts[role].node = None

    def wipe(self, role: Role) -> None:
        """The disk is lost as well."""
        self.crash(role)
        self.hosts[role].disk = DiskImage()

    def pause(self, role: Role) -> None:
        """SIGSTOP: the clock goes on, what comes in waits."""
        self.hosts[role].paused = True

    def thaw(self, role: Role) -> None:
        """SIGCONT: what waited is delivered first, as a process finds it in its sockets."""
        host = self.hosts[role]
        host.paused = False
        backlog, host.backlog = host.backlog, []
        for deliver in backlog:
            deliver()
        self._ticks[role] = self.now

    def stop(self, role: Role) -> None:
        """An orderly stop."""
        self._handle(role, Stop())

    def cut(self, one: Role, other: Role, *, both: bool = True) -> None:
        """Lose all that ``one`` sends to ``other``; and the other way round."""
        self.cuts |= {(one, other), (other, one)} if both else {(one, other)}

    def isolate(self, role: Role) -> None:
        """Cut both links of a node."""
        for other in role.others:
            self.cut(role, other)

    def heal(self) -> None:
        """Mend all links."""
        self.cuts.clear()

    def ask(self, role: Role, request: Request, *, park_s: float = 0.0, after_term: int = 0) -> int:
        """A client's request; its answer, when there is one, stands in ``answers`` under the token."""
        token = next(self._tokens)
        self._handle(role, ClientCall(token=token, request=request, park_s=park_s, after_term=after_term))
        return token

    def hang_up(self, role: Role, token: int) -> None:
        """The client closes the connection of a request."""
        self._handle(role, ClientGone(token=token))

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while True:
            tick_at, ticking = self._next_tick()
            at = self._agenda[0][0] if self._agenda else end
            if min(at, tick_at) >= end:
                break
            self.now = max(self.now, min(at, tick_at))
            if ticking is None or at <= tick_at:
                heapq.heappop(self._agenda)[2]()
            else:
                self._handle(ticking, Tick())
        self.now = end
        self._check()

    def _next_tick(self) -> tuple[float, Role | None]:
        """When which running node wants to be woken next."""
        tick_at, ticking = float("inf"), None
        for role, at in self._ticks.items():
            if at < tick_at and self._runs(role):
                tick_at, ticking = at, role
        return tick_at, ticking

    def run_until_serving(self, limit_s: float) -> Role:
        """Let time pass until a node serves; raises AssertionError when none does within ``limit_s``."""
        end = self.now + limit_s
        while self.now < end:
            master = self.master()
            if master is not None:
                return master
            self.run(0.001)
        raise AssertionError(f"nobody serves after {limit_s} s")

    # --- what a test looks at -------------------------------------------------------------------------------------------------------

    def clock(self, role: Role) -> float:
        """The reading of a host's monotonic clock."""
        return 1000.0 + self.now * self.hosts[role].rate

    def serving(self) -> list[Role]:
        """The nodes that would answer as master at this instant, were they asked."""
        return [role for role, host in self.hosts.items() if host.node is not None and self._would_serve(role, host.node)]

    def master(self) -> Role | None:
        """The one node that serves."""
        return next(iter(self.serving()), None)

    def status(self, role: Role) -> dict[str, object]:
        """What a node says of itself."""
        return dict(self.answers[self.ask(role, Status())].body)

    def node(self, role: Role) -> Node:
        """The running node."""
        node = self.hosts[role].node
        assert node is not None, f"the {role.value} is down"
        return node

    def events(self, name: str) -> list[tuple[float, Role, Happened]]:
        """The journal's entries of this name: when, where, and the facts."""
        return [entry for entry in self.happened if entry[2].name == name]

    # --- how it works ---------------------------------------------------------------------------------------------------------------

    def at(self, delay_s: float, do: Callable[[], None]) -> None:
        """Do something later."""
        heapq.heappush(self._agenda, (self.now + delay_s, next(self._order), do))

    def _would_serve(self, role: Role, node: Node) -> bool:
        member = node._member
        return member.stance in {Stance.SERVING, Stance.DRAINING} and self.clock(role) < member.lease_until

    def _runs(self, role: Role) -> bool:
        return self.hosts[role].node is not None and not self.hosts[role].paused

    def _check(self) -> None:
        serving = self.serving()
        if len(serving) > 1:
            raise TwoMasters(f"{self.now:.4f}: {', '.join(role.value for role in serving)}")

    def _handle(self, role: Role, event: Event) -> None:
        host = self.hosts[role]
        if host.node is None:
            return
        if host.paused:
            life = host.life
            host.backlog.append(lambda: self._handle(role, event) if host.life == life else None)
            return
        for effect in host.node.handle(event, self.clock(role)):
            self._carry_out(role, host, effect)
        if host.node is not None:
            self._ticks[role] = self.now + max(0.0, (host.node.wake_at - self.clock(role)) / host.rate) + 1e-9
        self._check()

    def _carry_out(self, role: Role, host: Host, effect: Effect) -> None:
        match effect:
            case PeerSend():
                self._send(role, effect.to, effect.message)
            case PeerAnswer():
                self._reply(effect)
            case SaveBallot():
                host.disk = replace(host.disk, ballot=effect)
            case AppendRecords():
                host.disk = replace(host.disk, records=host.disk.records + effect.records)
            case RewriteTable():
                host.disk = replace(host.disk, records=effect.records)
            case Answer():
                self.answers[effect.token] = effect
            case Happened():
                self.happened.append((self.now, role, effect))
            case DebugLine() | ReportLine():
                self._log(role, effect)
            case Halt():
                self.halts[role] = effect.reason
                host.node = None

    def _log(self, role: Role, line: DebugLine | ReportLine) -> None:
        if isinstance(line, DebugLine):
            self.lines.append((self.now, role, line.text))
        else:
            self.report.append((self.now, role, line.members))

    def _send(self, sender: Role, to: Role, message: Message) -> None:
        life = self.hosts[sender].life
        for delay_s in self.delays():
            self.at(delay_s, lambda: self._arrive(sender, life, to, message))

    def _arrive(self, sender: Role, life: int, to: Role, message: Message) -> None:
        if (sender, to) in self.cuts or self.hosts[to].node is None:
            return
        token = next(self._tokens)
        self._asked[token] = sender, life, to
        self._handle(to, PeerCall(token=token, message=message))

    def _reply(self, effect: PeerAnswer) -> None:
        asker, life, answerer = self._asked.pop(effect.token)
        for delay_s in self.delays():
            self.at(delay_s, lambda: self._return(asker, life, answerer, effect.message))

    def _return(self, asker: Role, life: int, answerer: Role, message: Message) -> None:
        if (answerer, asker) not in self.cuts and self.hosts[asker].life == life:
            self._handle(asker, PeerReply(message=message))
