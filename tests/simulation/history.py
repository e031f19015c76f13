"""One history: a triad, clients, faults, all from one seed and a profile; then everything is healed, and whoever asks must be served."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial

from fakeserver.election import failover_s
from fakeserver.events import NodeConfig
from fakeserver.policy import smallest_ttl_s
from fakeserver.roles import Role
from palclient.errors import PalError
from palclient.models import Endpoint, ServerName
from tests.simulation.checks import Checks, Violation
from tests.simulation.clients import VirtualClient
from tests.simulation.nodes import VirtualNode
from tests.simulation.profiles import Profile
from tests.simulation.shortcuts import values_for_bytes
from tests.simulation.world import Clock, World

FEATURE = "RISK_IND80"
HEARTBEAT_S = 0.8
FAULTS_S = 25.0  # the virtual seconds in which things break
SERVED_S = 12.5  # so long after everything is healed somebody serves: a node that lost power waits a whole lease time before it votes (E2)
END_S = 41.0
RETURNED_S = 0.05  # so long after a return, in still weather, its seats are free
NEWCOMER = 99
CLUSTER = "5eed0000-0000-4000-8000-000000000000"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a history came to."""

    seed: int
    profile: str
    violations: tuple[Violation, ...]
    grants: int
    masters: int
    events: int
    trace_hash: str
    story: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What is left of a history that is shrunk: the faults and the busy clients of these numbers; None: all."""

    faults: frozenset[int] | None = None
    clients: frozenset[int] | None = None


WHOLE = Kept()


def play(seed: int, profile: Profile, *, keeps_story: bool = False, kept: Kept = WHOLE, uses_wire: bool | None = None) -> Outcome:
    """Play one history.

    ``kept`` leaves faults and clients out, to shrink a story.  ``uses_wire`` has all that is said pass through the wire's codecs, or not; by
    default the dice tell, and one history in ten does.
    """
    history = History(seed, profile, keeps_story=keeps_story, kept=kept, uses_wire=uses_wire)
    with nullcontext() if history.uses_wire else values_for_bytes():
        history.run()
    world, checks = history.world, history.checks
    return Outcome(
        seed=seed,
        profile=profile.name,
        violations=tuple(checks.violations),
        grants=checks.grants,
        masters=checks.masters,
        events=world.events,
        trace_hash=world.trace_hash,
        story=tuple(world.story or ()),
    )


class History:
    """The cast and the plot."""

    def __init__(self, seed: int, profile: Profile, *, keeps_story: bool = False, kept: Kept = WHOLE, uses_wire: bool | None = None) -> None:
        self.profile = profile
        self.kept = kept
        self.is_healed = False
        self.world = world = World(seed, keeps_story=keeps_story)
        self.dice = dice = world.dice
        self.ttl_s = smallest_ttl_s(failover_s(HEARTBEAT_S))
        self.primary_is_master = dice.random() < 0.7
        by_dice = dice.random() < 0.1
        self.uses_wire = by_dice if uses_wire is None else uses_wire
        fsync = dice.random() < 0.3
        self.nodes = tuple(VirtualNode(self._config(role), world, self._clock(), fsync=fsync, uses_wire=self.uses_wire) for role in Role)
        for node in self.nodes:
            node.peers = {other.config.role: other for other in self.nodes}
        endpoints = tuple(Endpoint(host=node.name, port=27000) for node in self.nodes)
        servername = ServerName(endpoints=endpoints)
        self.clients = [VirtualClient(number, world, self.nodes, servername, self._clock()) for number in range(profile.clients)]
        calm_s = -1.0 if profile.spares_leases else 2 * failover_s(HEARTBEAT_S) + self.ttl_s
        self.checks = Checks(world, profile.seats, self.nodes, self.clients, self.ttl_s, calm_s)
        for node in self.nodes:
            node.after_turn = self.checks.after_node
        for client in self.clients:
            self._watch(client)
        self.servername = servername
        self._set_weather(stormy=False)
        self._introduce()

    def _introduce(self) -> None:
        whose = "the primary serves where it can" if self.primary_is_master else "whoever serves goes on"
        world, failover = self.world, failover_s(HEARTBEAT_S)
        world.tell("triad", f"{self.profile.seats} seats; a lease lasts {self.ttl_s:.2f} s; a silent node is lost after {failover:.2f} s; {whose}")
        everybody: tuple[VirtualNode | VirtualClient, ...] = (*self.nodes, *self.clients)
        paces = ", ".join(f"{each.name} {each.clock.rate - 1:+.2%}" for each in everybody)
        world.tell("clocks", f"off by {paces}")

    def run(self) -> None:
        """Play it to its end, or to a failure of the product, which is a violation like any other."""
        try:
            self._play()
        except Exception as error:  # noqa: BLE001  # whatever it is
            self.checks.stopped(error)

    def _play(self) -> None:
        self._start_nodes()
        for client in self.clients * self.profile.strands:
            first_at = self.dice.random() * 2
            if self.kept.clients is None or client.number in self.kept.clients:
                self.world.after(first_at, partial(self._next_checkout, client))
        for number in range(self.profile.faults):
            self._plan_fault(number)
        self.world.at(FAULTS_S, self._heal)
        self.world.at(FAULTS_S + SERVED_S, self._ask_everyone)
        self.world.run_until(END_S)
        self.checks.at_the_end()

    # --- the cast ---

    def _config(self, role: Role) -> NodeConfig:
        return NodeConfig(
            role=role,
            triad=("27000@primary", "27000@secondary", "27000@tertiary"),
            cluster=CLUSTER,
            features={FEATURE: self.profile.seats},
            heartbeat_s=HEARTBEAT_S,
            ttl_s=self.ttl_s,
            primary_is_master=self.primary_is_master,
            wall_epoch_s=1.7e9,
            grants=self.profile.grants,
        )

    def _clock(self) -> Clock:
        drift = self.profile.drift
        return Clock(offset_s=self.dice.uniform(10, 1000), rate=1 + self.dice.uniform(-drift, drift))

    def _watch(self, client: VirtualClient) -> None:
        client.after_turn = self.checks.after_client
        client.on_answer = self.checks.on_answer
        client.on_event = self.checks.on_event

    def _start_nodes(self) -> None:
        for node in self.nodes:
            self.world.after(self.dice.choice((0.0, 0.0, self.dice.random() * 3)), node.start)

    # --- what clients do ---

    def _next_checkout(self, client: VirtualClient) -> None:
        if client.is_dead:
            return
        dice, profile = self.dice, self.profile
        count = 2 if profile.seats > 1 and dice.random() < profile.two_seats else 1
        timeout_s, wait_s = dice.choice((0.0, 0.5, 6.0, 12.0)), dice.choice((0.0, 0.0, 3.0))
        hold_s, think_s = dice.expovariate(1 / profile.hold_s), dice.expovariate(1 / profile.think_s)

        def done(lease_id: str, error: PalError | None) -> None:
            if error is not None:
                self.world.after(think_s, lambda: self._next_checkout(client))
            else:
                self.world.after(hold_s, lambda: leave(lease_id))

        def leave(lease_id: str) -> None:
            if client.is_asleep:
                self.world.after(0.5, lambda: leave(lease_id))
            elif not client.is_dead:
                client.checkin(lease_id)
                self.world.after(think_s, lambda: self._next_checkout(client))

        if client.is_asleep:
            self.world.after(0.5, lambda: self._next_checkout(client))
        elif self.world.now < FAULTS_S:
            client.checkout(FEATURE, count, timeout_s, wait_s, done)

    # --- what breaks ---

    def _plan_fault(self, number: int) -> None:
        """Every fault draws the same number of dice, whether it is kept or not, so that a story can be shrunk."""
        dice, profile = self.dice, self.profile
        kinds = list(FAULTS)
        kind = dice.choices(kinds, [getattr(profile, name) for name in kinds])[0]
        at_s, length_s = dice.uniform(0, FAULTS_S), dice.uniform(*profile.fault_s)
        rolls = tuple(dice.random() for _ in range(4))
        if self.kept.faults is None or number in self.kept.faults:
            self.world.at(at_s, lambda: self._break(number, kind, length_s, rolls))

    def _break(self, number: int, kind: str, length_s: float, rolls: tuple[float, ...]) -> None:
        if self.world.now >= FAULTS_S:
            return
        self.world.tell("FAULT", f"{number} {kind} for {length_s:.2f} s")
        self.checks.trouble()
        mend = FAULTS[kind](self, rolls)

        def mended() -> None:
            self.checks.trouble()
            mend()

        self.world.at(min(FAULTS_S, self.world.now + length_s), mended)

    def _node(self, roll: float) -> VirtualNode:
        return self.nodes[int(roll * 3)]

    def _client(self, roll: float) -> VirtualClient:
        return self.clients[int(roll * len(self.clients))]

    def _kill(self, rolls: tuple[float, ...]) -> Callable[[], None]:
        node = self._node(rolls[0])
        node.crash()
        return node.start

    def _power_cut(self, rolls: tuple[float, ...]) -> Callable[[], None]:
        node = self._node(rolls[0])
        node.crash(power_cut=True, keep=int(rolls[1] * 4))
        return node.start

    def _crash_in_midst(self, rolls: tuple[float, ...]) -> Callable[[], None]:
        node = self._node(rolls[0])
        node.crash_after = int(rolls[1] * 4)
        return node.start

    def _blackout(self, _rolls: tuple[float, ...]) -> Callable[[], None]:
        """All nodes are killed at once; their disks keep what was written."""
        for node in self.nodes:
            node.crash()
        return self._start_again

    def _start_again(self) -> None:
        for node in self.nodes:
            node.start()

    def _freeze(self, rolls: tuple[float, ...]) -> Callable[[], None]:
        node = self._node(rolls[0])
        node.pause()
        return node.thaw

    def _stop(self, rolls: tuple[float, ...]) -> Callable[[], None]:
        node = self._node(rolls[0])
        if node.is_up:
            node.stop()
        return node.start

    def _cut(self, rolls: tuple[float, ...]) -> Callable[[], None]:
        pairs = (("primary", "secondary"), ("primary", "tertiary"), ("secondary", "tertiary"))
        one, other = pairs[int(rolls[0] * 3)]
        return self._cut_links({(one, other), (other, one)})

    def _one_way(self, rolls: tuple[float, ...]) -> Callable[[], None]:
        one, other = self._node(rolls[0]).name, self._node(rolls[1]).name
        return self._cut_links({(one, other)} if one != other else {("primary", "secondary")})

    def _isolate(self, rolls: tuple[float, ...]) -> Callable[[], None]:
        name = self._node(rolls[0]).name
        others = [node.name for node in self.nodes if node.name != name]
        return self._cut_links({(name, other) for other in others} | {(other, name) for other in others})

    def _cut_client(self, rolls: tuple[float, ...]) -> Callable[[], None]:
        client, node = self._client(rolls[0]).name, self._node(rolls[1]).name
        both = {(client, node), (node, client)}
        return self._cut_links(both if rolls[2] < 0.5 else {(node, client)} if rolls[2] < 0.75 else {(client, node)})

    def _cut_links(self, links: set[tuple[str, str]]) -> Callable[[], None]:
        ways = ", ".join(f"{one} to {other}" for one, other in sorted(links))
        self.world.tell("FAULT", f"nothing passes from {ways}")
        self.world.weather.cut |= links

        def mend() -> None:
            self.world.tell("mended", ways)
            self.world.weather.cut -= links

        return mend

    def _storm(self, _rolls: tuple[float, ...]) -> Callable[[], None]:
        self._set_weather(stormy=True)
        return lambda: self._set_weather(stormy=False)

    def _client_sleep(self, rolls: tuple[float, ...]) -> Callable[[], None]:
        client = self._client(rolls[0])
        client.sleep()
        return client.wake_up

    def _client_kill(self, rolls: tuple[float, ...]) -> Callable[[], None]:
        client = self._client(rolls[0])
        if not client.is_dead:
            client.die()
        return lambda: None

    def _set_weather(self, *, stormy: bool) -> None:
        profile, weather = self.profile, self.world.weather
        if self.is_healed:
            return
        weather.loss = 0.3 if stormy else profile.loss
        weather.double = 0.2 if stormy else profile.double
        weather.slow_share, weather.slow_s = (0.5, 3.0) if stormy else (profile.slow_share, profile.slow_s)

    # --- the end ---

    def _heal(self) -> None:
        self.world.tell("FAULT", "all is healed")
        self.checks.trouble()
        self.is_healed = True
        self.world.weather = replace(self.world.weather, cut=set(), loss=0.0, double=0.0, slow_share=0.0)
        self._start_again()
        for node in self.nodes:
            node.crash_after = None
            node.thaw()
        for client in self.clients:
            client.wake_up()

    def _ask_everyone(self) -> None:
        """Whoever lives returns what is held; then each asks in turn for a seat, and a newcomer for all that are free: they must get them."""
        for client in self.clients:
            for lease_id in list(client.leases.kept):
                client.checkin(lease_id)
        newcomer = VirtualClient(NEWCOMER, self.world, self.nodes, self.servername, self._clock())
        self.clients.append(newcomer)
        self._watch(newcomer)
        askers = [client for client in self.clients if not client.is_dead]
        self.checks.expects_service(client.name for client in askers)
        self.world.after(RETURNED_S, lambda: self._ask_next(askers))

    def _ask_next(self, askers: list[VirtualClient]) -> None:
        free = self.checks.free_seats()
        if not free:
            self.checks.expects_service(())
        elif askers:
            client = askers.pop(0)
            client.checkout(FEATURE, free if client.number == NEWCOMER else 1, 2.0, 1.0, partial(self._asked, client, askers))

    def _asked(self, client: VirtualClient, askers: list[VirtualClient], lease_id: str, error: PalError | None) -> None:
        self.checks.was_served(client.name, error)
        if error is None:
            client.checkin(lease_id)
            self.world.after(RETURNED_S, lambda: self._ask_next(askers))


FAULTS: dict[str, Callable[[History, tuple[float, ...]], Callable[[], None]]] = {
    "kill": History._kill,
    "power_cut": History._power_cut,
    "crash_in_midst": History._crash_in_midst,
    "freeze": History._freeze,
    "stop": History._stop,
    "cut": History._cut,
    "one_way": History._one_way,
    "isolate": History._isolate,
    "cut_client": History._cut_client,
    "storm": History._storm,
    "client_sleep": History._client_sleep,
    "client_kill": History._client_kill,
    "blackout": History._blackout,
}
