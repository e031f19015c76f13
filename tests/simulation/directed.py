"""Scenarios for the rules that random faults do not reach.  Each gives the names of what it found broken; none when the product is whole."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from fakeserver.election import failover_s
from fakeserver.events import Effect, Event, Happened, PeerCall
from fakeserver.peer import Append
from palclient.errors import PalError
from tests.simulation.clients import VirtualClient
from tests.simulation.directed_desk import DESK
from tests.simulation.history import FEATURE, HEARTBEAT_S
from tests.simulation.nodes import Disk, VirtualNode, book, may_serve
from tests.simulation.stage import Stage, apart_for, ask_often, found_on, whatever

AfterTurn = Callable[[VirtualNode, tuple[Effect, ...]], None]


def lost_reply() -> tuple[str, ...]:
    """The answer to a checkout is lost; the client asks again, and must hold one seat (G3)."""
    stage = Stage()
    client, primary = stage.clients[0], stage.nodes[0]
    stage.world.weather.cut.add((primary.name, client.name))
    stage.world.after(0.5, stage.world.weather.cut.clear)
    stage.checkout(client)
    held = sum(book(primary).values())
    return () if held == 1 else (f"exactly once: {held} seats for one checkout",)


def full_pool() -> tuple[str, ...]:
    """All seats are taken; whoever is denied must not try the other nodes (G6)."""
    stage = Stage()
    first, second = stage.clients[0], stage.clients[1]
    stage.checkout(first, count=stage.profile.seats)
    asked: list[tuple[str, str]] = []
    for node in stage.nodes:
        original = node.ask
        node.ask = _counted(asked, node.name, original)  # type: ignore[method-assign]
    stage.world.run_until(stage.world.now + 0.1)
    stage.checkout(second, timeout_s=1.0)
    others = [name for name, client in asked if name != "primary" and client == second.name]
    return (f"denial: {len(others)} requests to nodes that are not master",) if others else ()


def _counted(asked: list[tuple[str, str]], name: str, original: Callable[..., None]) -> Callable[..., None]:
    def ask(key: tuple[str, int], request: object, reply: object) -> None:
        asked.append((name, key[0]))
        original(key, request, reply)

    return ask


def stale_master() -> tuple[str, ...]:
    """A node that claims to serve in a term that is over must not be believed."""
    stage = Stage()
    client, primary = stage.clients[0], stage.nodes[0]
    stage.checkout(client)
    lease_id = next(iter(client.records))
    client.checkin(lease_id)
    primary.pause()
    stage.world.run_until(stage.world.now + 3 * failover_s(HEARTBEAT_S))
    _, ended = stage.checkout(client)
    if ended != [None] or client.knowledge.topology.term < 2:
        return ("liveness: no second master",)
    _speak_for(primary, term=1)
    primary.is_paused = False
    stage.nodes[1].pause()
    _, ended = stage.checkout(client, timeout_s=1.0)
    return ("stale master believed",) if ended == [None] else ()


def _speak_for(node: object, *, term: int) -> None:
    """Have a node grant everything, in an old term, as the fault ``stale_master`` does."""
    import json

    def ask(_key: object, request: object, reply: Callable[[int, bytes], object]) -> None:
        body = json.loads(request.body or b"{}")  # type: ignore[attr-defined]
        speaker = {"node": "27000@primary", "role": "primary", "cluster": "5eed0000-0000-4000-8000-000000000000", "term": term}
        grant = {"id": request.target.rsplit("/", 1)[-1], "feature": body.get("feature"), "version": "0", "count": 1, "seq": 1, "ttl_s": 8.0}  # type: ignore[attr-defined]
        reply(201, json.dumps(speaker | grant | {"renew_s": 3.0, "granted_at": "", "nonce": "", "waited_s": 0.0}).encode())

    node.ask = ask  # type: ignore[attr-defined]


def apart() -> tuple[str, ...]:
    """Primary and secondary do not hear each other, a seat is granted through the tertiary; then the primary dies (G2, E3)."""
    stage = Stage()
    primary, secondary = stage.nodes[0], stage.nodes[1]
    stage.world.weather.cut |= {("primary", "secondary"), ("secondary", "primary")}
    stage.world.run_until(stage.world.now + 2)
    client = stage.clients[0]
    _, ended = stage.checkout(client, timeout_s=0.5)
    primary.crash()
    stage.world.run_until(stage.world.now + 2 * failover_s(HEARTBEAT_S))
    if ended != [None] or not may_serve(secondary):
        return ("liveness: the secondary does not serve",)
    return tuple(violation.checker for violation in stage.checks.violations)


def asleep() -> tuple[str, ...]:
    """A client that holds the pool sleeps for longer than its leases last; whoever reads `valid` then must not be told that it holds them."""
    stage = Stage()
    first, second = stage.clients[0], stage.clients[1]
    _, ended = stage.checkout(first, count=stage.profile.seats, timeout_s=0.5)
    first.sleep()
    granted: list[PalError | None] = []
    second.checkout(FEATURE, 1, 8.0, 2 * stage.ttl_s, lambda _id, error: granted.append(error))
    stage.world.run_until(stage.world.now + 2 * stage.ttl_s)
    return found_on(stage) if [*ended, *granted] == [None, None] else ("liveness: the seats of a sleeper are never freed",)


def duel() -> tuple[str, ...]:
    """Primary and secondary do not hear each other and ask the tertiary for the same term, one before the other has made use of its vote (E1)."""
    found: set[str] = set()
    for tenths in range(0, 8, 2):
        stage = Stage()
        primary, client = stage.nodes[0], stage.clients[0]
        stage.world.weather.cut |= {("primary", "secondary"), ("secondary", "primary")}
        stage.world.run_until(stage.world.now + failover_s(HEARTBEAT_S))
        stage.world.weather.delay_s = (0.5, 0.5)  # no calm any more
        stage.checks.last_trouble = float("inf")
        stage.world.run_until(stage.world.now + 2)
        primary.crash()
        stage.world.after(tenths / 10, primary.start)
        for number in range(8):
            stage.world.after(number, partial(client.checkout, FEATURE, 1, 3.0, 0.0, whatever))
        stage.world.run_until(stage.world.now + 4 * failover_s(HEARTBEAT_S))
        found |= {violation.checker for violation in stage.checks.violations}
    return tuple(sorted(found))


def restarted() -> tuple[str, ...]:
    """The tertiary confirms the primary's lease and starts anew; the secondary, which does not hear the primary, asks for its vote (E2)."""
    stage = Stage()
    apart_for(stage, failover_s(HEARTBEAT_S) + 1)  # the secondary stands again and again, and the tertiary refuses
    tertiary = stage.nodes[2]
    tertiary.crash()
    stage.world.weather.cut |= {("primary", "tertiary"), ("tertiary", "primary")}
    tertiary.start()
    ask_often(stage, failover_s(HEARTBEAT_S))
    return found_on(stage)


def lost_records() -> tuple[str, ...]:
    """A seat is granted through the tertiary; the primary dies, and the tertiary's machine forgets what was not flushed (E2)."""
    return _without_records(_loses_power)


def lost_twice() -> tuple[str, ...]:
    """The same, and the tertiary starts once more before it has heard a master: it lacks what it lacked (E2, E7)."""

    def twice(tertiary: VirtualNode) -> None:
        _loses_power(tertiary)
        tertiary.world.run_until(tertiary.world.now + 0.1)
        tertiary.crash()
        tertiary.start()

    return _without_records(twice)


def wiped() -> tuple[str, ...]:
    """The same, and the tertiary's disk is replaced: a node with no past respects that of the others (E2)."""
    return _without_records(_is_replaced)


def half_written() -> tuple[str, ...]:
    """The same, and a master brings the tertiary up to date, but it is killed in the midst of writing that down: it lacks what it lacked (E2, E7)."""
    return tuple(sorted({each for loses in (_loses_power, _is_replaced) for kept in range(6) for each in _half_written(loses, kept)}))


def _half_written(lose: Callable[[VirtualNode], None], kept: int) -> tuple[str, ...]:
    stage = Stage()
    primary, _, tertiary = stage.nodes
    apart_for(stage, 2.0)
    _, ended = stage.checkout(stage.clients[0], timeout_s=0.5)
    lose(tertiary)
    handle = tertiary.handle

    def fatal(event: Event, *, not_before: float = 0.0) -> None:
        if isinstance(event, PeerCall) and isinstance(event.message, Append) and event.message.whole:
            tertiary.crash_after = kept
        handle(event, not_before=not_before)

    tertiary.handle = fatal  # type: ignore[method-assign]
    stage.world.run_until(stage.world.now + 1)
    tertiary.handle = handle  # type: ignore[method-assign]
    primary.crash()
    tertiary.start()
    stage.world.run_until(stage.world.now + 1.5 * stage.ttl_s)
    return found_on(stage) if ended == [None] and tertiary.life == 3 else ("liveness: no table came",)


def _is_replaced(tertiary: VirtualNode) -> None:
    tertiary.crash()
    tertiary.disk = Disk(fsync=False)
    tertiary.start()


def _loses_power(tertiary: VirtualNode) -> None:
    tertiary.disk.fsync = False
    tertiary.crash(power_cut=True)
    tertiary.start()


def _without_records(lose: Callable[[VirtualNode], None]) -> tuple[str, ...]:
    stage = Stage()
    primary, _, tertiary = stage.nodes
    apart_for(stage, 2.0)
    _, ended = stage.checkout(stage.clients[0], timeout_s=0.5)
    primary.crash()
    lose(tertiary)
    stage.world.run_until(stage.world.now + 1.5 * stage.ttl_s)
    return found_on(stage) if ended == [None] else ("liveness: no seat to lose",)


def two_votes() -> tuple[str, ...]:
    """The tertiary votes for the primary and starts anew before it hears it lead; the secondary asks for the same term (E1, E2)."""
    found: set[str] = set()
    for tenths in range(0, 10, 2):
        stage = Stage()
        primary, secondary, tertiary = stage.nodes
        apart_for(stage, 0.1)
        primary.crash()
        secondary.crash()
        stage.world.run_until(stage.world.now + failover_s(HEARTBEAT_S))
        stage.world.weather.delay_s = (0.3, 0.3)
        primary.start()
        stage.world.after(tenths / 10, secondary.start)
        tertiary.after_turn = _starts_anew_after_vote(stage.checks.after_node)
        ask_often(stage, 3 * failover_s(HEARTBEAT_S))
        found |= set(found_on(stage))
    return tuple(sorted(found))


def half_told() -> tuple[str, ...]:
    """One operation is acknowledged while the next is decided, and then nothing leaves the master: the second must not be answered (E4)."""
    stage = Stage()
    primary, first, second = stage.nodes[0], *stage.clients[:2]
    stage.world.weather.delay_s = (0.01, 0.01)
    stage.world.run_until(stage.world.now + 0.3)
    told: list[str] = []
    for client, after_s in ((first, 0.0), (second, 0.005)):
        stage.world.after(after_s, partial(_ask, client, told))
    stage.world.run_until(stage.world.now + 0.018)  # the first is on its way to the others, the second has come
    stage.world.weather.cut |= {(primary.name, other.config.role.value) for other in stage.nodes[1:]}
    stage.checks.last_trouble = float("inf")
    stage.world.run_until(stage.world.now + 0.5)
    return (*(() if told == [first.name] else (f"E4: {told} were told of a grant",)), *found_on(stage))


def _ask(client: VirtualClient, told: list[str]) -> None:
    client.checkout(FEATURE, 1, 1.0, 0.0, lambda _id, error: told.append(client.name) if error is None else None)


def slow_answers() -> tuple[str, ...]:
    """All messages are slow; then the master is cut off and the others are quick again.  What it hears late tells of long ago (E5)."""
    stage = Stage()
    apart_s = failover_s(HEARTBEAT_S)
    stage.checks.last_trouble = float("inf")
    stage.world.weather.delay_s = (0.7, 0.7)
    stage.world.run_until(stage.world.now + 2 * apart_s)
    stage.world.weather.cut |= {("primary", "secondary"), ("primary", "tertiary")}
    stage.world.run_until(stage.world.now + 1.5)  # its last answers come
    stage.world.weather.cut |= {("secondary", "primary"), ("tertiary", "primary")}
    stage.world.weather.delay_s = (0.001, 0.01)
    stage.world.run_until(stage.world.now + 0.7 * apart_s)
    ask_often(stage, 0.5 * apart_s)  # now the others have a master of their own
    return found_on(stage)


def late_transfer() -> tuple[str, ...]:
    """A successor freezes as the mastership is handed to it, and takes it up when another has it: the two must not be in one term (E6)."""
    stage = Stage()
    primary, secondary, _ = stage.nodes
    primary.crash()
    stage.world.run_until(stage.world.now + 1.5 * failover_s(HEARTBEAT_S))
    after_turn = secondary.after_turn

    def watch(node: VirtualNode, effects: tuple[Effect, ...]) -> None:
        after_turn(node, effects)
        if any(isinstance(each, Happened) and each.name == "handed_over" for each in effects):
            primary.pause()

    secondary.after_turn = watch
    primary.start()
    stage.checks.last_trouble = float("inf")
    stage.world.run_until(stage.world.now + 2 * failover_s(HEARTBEAT_S))
    secondary.after_turn = after_turn
    if not (primary.is_paused and may_serve(secondary)):
        return ("liveness: a successor that is frozen is waited for",)
    stage.world.weather.cut |= {("secondary", "primary"), ("primary", "secondary")}
    primary.thaw()
    ask_often(stage, failover_s(HEARTBEAT_S))
    return found_on(stage)


def _starts_anew_after_vote(after_turn: AfterTurn) -> AfterTurn:
    """Have a node start anew when it has just voted for the primary, once."""
    voted: list[Effect] = []

    def watch(node: VirtualNode, effects: tuple[Effect, ...]) -> None:
        after_turn(node, effects)
        votes = [each for each in effects if isinstance(each, Happened) and each.name == "voted" and each.facts["for"] == "primary"]
        if votes and not voted:
            voted.extend(votes)
            node.world.after(0.0, node.crash)
            node.world.after(0.0, node.start)

    return watch


DIRECTED: dict[str, Callable[[], tuple[str, ...]]] = {
    "lost reply": lost_reply,
    "full pool": full_pool,
    "stale master": stale_master,
    "apart": apart,
    "asleep": asleep,
    "duel": duel,
    "restarted": restarted,
    "lost records": lost_records,
    "lost twice": lost_twice,
    "wiped": wiped,
    "half written": half_written,
    "two votes": two_votes,
    "half told": half_told,
    "slow answers": slow_answers,
    "late transfer": late_transfer,
    **DESK,
}


def found_by(scenario: str) -> tuple[str, ...]:
    """What a scenario found broken; a failure of the product in the midst of it is a finding like any other."""
    try:
        return DIRECTED[scenario]()
    except Exception as error:  # noqa: BLE001  # whatever it is
        return (f"stopped: {error!r}",)
