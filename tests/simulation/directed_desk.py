"""Scenarios about the line, about what is given up, and about what is on two nodes or on the disk.  As in ``directed``, each names what it found broken."""

from __future__ import annotations

from collections.abc import Callable

from fakeserver.election import failover_s
from palclient.core.wire import encode
from palclient.errors import PalError
from palclient.models import Waiting
from tests.simulation.clients import VirtualClient
from tests.simulation.history import FEATURE, HEARTBEAT_S
from tests.simulation.nodes import VirtualNode, book, may_serve
from tests.simulation.stage import Stage, found_on, whatever

FAILED_OVER_S = 1.5 * failover_s(HEARTBEAT_S)


def line() -> tuple[str, ...]:
    """Three stand in line, one of them at a place that another gave up; the master dies.  They are served in the order of their coming."""
    return tuple(sorted({complaint for tenths in range(0, 8, 2) for complaint in _line(tenths / 10)}))


def _line(later_s: float) -> tuple[str, ...]:
    stage = Stage()
    holder, first, leaver, second, third = stage.clients
    lease_id, _ = stage.checkout(holder, count=stage.profile.seats, timeout_s=0.5)
    served: list[str] = []
    waiting: set[str] = set()
    for client, wait_s in ((first, 60.0), (leaver, 0.9), (second, 60.0)):
        _stand_in_line(stage, client, wait_s, served, waiting)
    stage.world.run_until(stage.world.now + 2)
    _stand_in_line(stage, third, 60.0, served, waiting)
    stage.world.run_until(stage.world.now + 4 + later_s)  # longer than a place outlives silence
    complaints = [] if len(waiting) == 4 else [f"line: only {waiting} were told their place"]
    stage.nodes[0].crash()
    stage.world.run_until(stage.world.now + FAILED_OVER_S)
    holder.checkin(lease_id)
    stage.world.run_until(stage.world.now + 0.03)
    passed: list[PalError | None] = []
    leaver.checkout(FEATURE, 1, 1.0, 0.0, lambda _id, error: passed.append(error))
    stage.world.run_until(stage.world.now + 2)
    complaints += [] if passed != [None] else ["line: a newcomer passed it"]
    complaints += [] if sorted(served) == [first.name, second.name] else [f"line: {sorted(served)} were served first"]
    for client in (first, second):
        for each in list(client.records):
            client.checkin(each)
    stage.world.run_until(stage.world.now + 1)
    complaints += [] if served[2:] == [third.name] else [f"line: {served[2:]} were served last"]
    return (*complaints, *found_on(stage))


def _stand_in_line(stage: Stage, client: VirtualClient, wait_s: float, served: list[str], waiting: set[str]) -> None:
    client.on_event = lambda _client, event: waiting.add(client.name) if isinstance(event, Waiting) else None
    client.checkout(FEATURE, 1, 12.0, wait_s, lambda _id, error: served.append(client.name) if error is None else None)
    stage.world.run_until(stage.world.now + 0.2)


def lonely() -> tuple[str, ...]:
    """A master that no other node hears confirms nothing: no grant, no return, no place (E4).  Whoever it refuses at last gives up what it had begun."""
    stage = Stage()
    holder, asker, waiter, hasty = stage.clients[:4]
    lease_id, _ = stage.checkout(holder, timeout_s=0.5)
    told: list[str] = []
    waiter.on_event = lambda _client, event: told.append("a place") if isinstance(event, Waiting) else None
    _cut_off(stage, "primary", {"secondary", "tertiary"})
    asker.checkout(FEATURE, 1, 2.6, 0.0, lambda _id, error: told.append("a grant") if error is None else None)
    holder.checkin(lease_id)
    stage.world.run_until(stage.world.now + 0.1)
    waiter.checkout(FEATURE, 2, 1.0, 2.0, whatever)
    stage.world.run_until(stage.world.now + 2.4)
    hasty.checkout(FEATURE, 1, 0.0, 0.0, whatever)
    stage.world.run_until(stage.world.now + 0.1)
    if lease_id in stage.checks._returned:
        told.append("a return")
    stage.world.weather.cut.clear()  # too late for this reign, whose last heartbeat was lost, and early enough for the next
    stage.world.run_until(stage.world.now + FAILED_OVER_S)
    left = [f"given up: {each} is still taken" for each in book(_master(stage))]
    return (*[f"E4: {what} was confirmed by one node alone" for what in told], *left, *found_on(stage))


def given_up() -> tuple[str, ...]:
    """A reply is lost to a client that asks once, and the returns of two others: long before any lease runs out all seats are free."""
    stage = Stage()
    asker, second, third = stage.clients[:3]
    everybody = {node.name for node in stage.nodes}
    ids = [stage.checkout(second, timeout_s=0.5)[0]]
    stage.world.weather.cut |= {(node, asker.name) for node in everybody}
    stage.world.after(1.5, stage.world.weather.cut.clear)
    stage.checkout(asker, timeout_s=0.0)
    stage.world.run_until(stage.world.now + 3)
    complaints = ["given up: a seat whose reply was lost stays taken"] if set(book(_master(stage))) - set(ids) else []
    ids.append(stage.checkout(second, timeout_s=0.5)[0])
    _cut_off(stage, second.name, everybody)
    for each in ids:
        second.checkin(each)
    stage.world.after(4.2, stage.world.weather.cut.clear)
    stage.world.run_until(stage.world.now + 6)
    stage.checkout(third, count=stage.profile.seats, timeout_s=0.5)
    granted = bool(third.records)
    return (*complaints, *([] if granted else ["given up: a return that was lost is not made again"]), *found_on(stage))


def left_line() -> tuple[str, ...]:
    """Whoever stands in line and hears no more gives its place up as soon as it can, and not only by its silence."""
    stage = Stage()
    holder, waiter = stage.clients[:2]
    stage.checkout(holder, count=stage.profile.seats, timeout_s=0.5)
    waiter.checkout(FEATURE, 1, 0.5, 20.0, whatever)
    stage.world.run_until(stage.world.now + 0.3)
    _cut_off(stage, waiter.name, {node.name for node in stage.nodes})
    stage.world.after(2.0, stage.world.weather.cut.clear)
    stage.world.run_until(stage.world.now + 3.5)
    master = _master(stage).node
    assert master is not None
    in_line = master._desk._line.length(FEATURE) if master._desk else 0
    return (*(["left line: its place is kept"] if in_line else []), *found_on(stage))


def cut_off() -> tuple[str, ...]:
    """A client that holds the pool is cut off; nobody may get its seats while it may still believe in them, and somebody must soon after (G1)."""
    stage = Stage()
    holder = stage.clients[0]
    stage.checkout(holder, count=stage.profile.seats, timeout_s=0.5)
    return _cut_off_while_all_ask(stage)


def asked_again() -> tuple[str, ...]:
    """The same for a client whose first answer was lost, and that was told by a second one, later, what it holds (G1, G3)."""
    stage = Stage()
    holder = stage.clients[0]
    _cut_off(stage, holder.name, set())
    stage.world.weather.cut |= {(node.name, holder.name) for node in stage.nodes}
    holder.checkout(FEATURE, stage.profile.seats, 8.0, 0.0, whatever)
    stage.world.after(0.99, stage.world.weather.cut.clear)  # the first attempt lasts a second
    for _ in range(200):
        stage.world.run_until(stage.world.now + 0.01)
        if holder.records:
            break
    return _cut_off_while_all_ask(stage)


def handed_over() -> tuple[str, ...]:
    """The same for a client that renewed with the old master just before the new one had the table: the new one cannot know (E3)."""
    stage = Stage()
    primary, secondary, _ = stage.nodes
    primary.crash()
    stage.world.run_until(stage.world.now + FAILED_OVER_S)
    stage.checkout(stage.clients[0], count=stage.profile.seats, timeout_s=0.5)
    primary.start()
    for _ in range(200):
        stage.clients[0].leases.all_due(stage.clients[0].local_now)
        stage.world.run_until(stage.world.now + 0.05)
        if not may_serve(secondary):
            break
    return _cut_off_while_all_ask(stage)


def _cut_off_while_all_ask(stage: Stage) -> tuple[str, ...]:
    """The first client is cut off; the others ask twenty times a second until one is granted a seat."""
    holder, *others = stage.clients
    _cut_off(stage, holder.name, {node.name for node in stage.nodes})
    granted: list[float] = []
    began = stage.world.now
    while not granted and stage.world.now < began + 1.5 * stage.ttl_s:
        others[0].checkout(FEATURE, 1, 0.0, 0.0, lambda _id, error: granted.append(stage.world.now) if error is None else None)
        stage.world.run_until(stage.world.now + 0.05)
        others.append(others.pop(0))
    return found_on(stage) if granted else ("liveness: the seats of a silent client are never freed",)


def killed() -> tuple[str, ...]:
    """A client that renewed two leases in one request is killed: both seats are free when their time is up."""
    stage = Stage()
    client, newcomer = stage.clients[:2]
    for _ in range(stage.profile.seats):
        client.checkout(FEATURE, 1, 0.5, 0.0, whatever)
    stage.world.run_until(stage.world.now + stage.ttl_s)
    client.die()
    stage.world.run_until(stage.world.now + 1.1 * stage.ttl_s)
    stage.checkout(newcomer, count=stage.profile.seats, timeout_s=0.5)
    return found_on(stage) if newcomer.records else ("overstay: a seat of the dead is never freed",)


def late_try() -> tuple[str, ...]:
    """The first try of a checkout that was given up arrives late, at the next master, and at the one after it: the id is dead (G3)."""
    stage = Stage()
    client = stage.clients[0]
    lease_id, _ = stage.checkout(client, timeout_s=0.5)
    request = client.leases.kept[lease_id].request
    client.checkin(lease_id)
    stage.world.run_until(stage.world.now + 0.1)
    stage.nodes[0].crash()
    answers: list[int] = []
    for _ in range(2):
        stage.world.run_until(stage.world.now + FAILED_OVER_S + stage.ttl_s)
        _master(stage).ask((client.name, -1), encode(request), lambda status, _body: answers.append(status))
        stage.nodes[0].start()
    stage.world.run_until(stage.world.now + 1)
    return (*(() if answers == [410, 410] else (f"exactly once: a dead id was answered {answers}",)), *found_on(stage))


def claimed() -> tuple[str, ...]:
    """A client is cut off for so long that its lease runs out; when it is back it gets its seats again, under the same id."""
    stage = Stage()
    client = stage.clients[0]
    lease_id, _ = stage.checkout(client, timeout_s=0.5)
    _cut_off(stage, client.name, {node.name for node in stage.nodes})
    stage.world.run_until(stage.world.now + 1.2 * stage.ttl_s)
    stage.world.weather.cut.clear()
    stage.world.run_until(stage.world.now + 0.5 * stage.ttl_s)
    is_back = client.records[lease_id].is_valid(client.local_now) and book(_master(stage)) == {lease_id: 1}
    return (*(() if is_back else ("claimed: a lease that ran out does not come back",)), *found_on(stage))


def gone() -> tuple[str, ...]:
    """A full pool, and a master that freezes for a moment: it denies what the others hold parked, and dies.  The next one must not serve that."""
    stage = Stage()
    primary, holder, asker = stage.nodes[0], *stage.clients[:2]
    lease_id, _ = stage.checkout(holder, count=stage.profile.seats, timeout_s=0.5)
    primary.pause()
    asker.checkout(FEATURE, 1, 8.0, 0.0, whatever)
    stage.world.run_until(stage.world.now + 0.3)
    primary.thaw()
    stage.world.run_until(stage.world.now + 0.3)
    holder.checkin(lease_id)
    stage.world.run_until(stage.world.now + 0.3)
    primary.crash()
    stage.world.run_until(stage.world.now + FAILED_OVER_S)
    return (*[f"gone: {each} is taken for nobody" for each in book(_master(stage))], *found_on(stage))


def blackout() -> tuple[str, ...]:
    """All three are killed at once, and again when they serve: what was written is there, whoever wrote it (E7)."""
    stage = Stage()
    client = stage.clients[0]
    lease_id, ended = stage.checkout(client, count=stage.profile.seats, timeout_s=0.5)
    for _ in range(2):
        for node in stage.nodes:
            node.crash()
        for node in stage.nodes:
            node.start()
        stage.world.run_until(stage.world.now + FAILED_OVER_S)
    kept = lease_id in client.records and client.records[lease_id].is_valid(client.local_now)
    in_book = book(_master(stage)) == {lease_id: stage.profile.seats}
    complaints = [] if ended == [None] and kept and in_book else ["blackout: a lease was lost with nothing but processes"]
    return (*complaints, *found_on(stage))


def numbers() -> tuple[str, ...]:
    """One node dies with the newest grants, the other loses them with its power: no number is given a second time (E2)."""
    stage = Stage()
    primary, secondary, tertiary = stage.nodes
    for node in stage.nodes:
        node.disk.fsync = False
    tertiary.crash()
    for client in stage.clients[:2]:
        lease_id, _ = stage.checkout(client, timeout_s=0.5)
        client.checkin(lease_id)
    primary.crash()
    secondary.crash(power_cut=True)
    for node in (secondary, tertiary):
        node.start()
    stage.world.run_until(stage.world.now + FAILED_OVER_S + 1.5 * stage.ttl_s)
    _, ended = stage.checkout(stage.clients[2], timeout_s=0.5)
    return found_on(stage) if ended == [None] else ("liveness: nobody serves",)


def _cut_off(stage: Stage, name: str, others: set[str]) -> None:
    """Nothing passes between one and the others; no weather is calm from here on."""
    stage.checks.last_trouble = float("inf")
    stage.world.weather.cut |= {(name, other) for other in others} | {(other, name) for other in others}


def _master(stage: Stage) -> VirtualNode:
    return next(node for node in stage.nodes if may_serve(node))


DESK: dict[str, Callable[[], tuple[str, ...]]] = {
    "line": line,
    "cut off": cut_off,
    "asked again": asked_again,
    "handed over": handed_over,
    "killed": killed,
    "gone": gone,
    "claimed": claimed,
    "late try": late_try,
    "lonely": lonely,
    "given up": given_up,
    "left line": left_line,
    "blackout": blackout,
    "numbers": numbers,
}
