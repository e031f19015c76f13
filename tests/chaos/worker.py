"""A client as a process of its own: takes seats, keeps them for a while and gives them back, and writes down what it saw.

python -m tests.chaos.worker threads|tasks SERVERNAME HISTORY SEED CLIENTS

One client has three habits, several have one each.

It says ``resting`` on standard output when it is ready, and obeys words on standard input: ``go``, ``rest`` (then ``resting`` again, when nothing is held any
more), ``fork`` (a child takes seats of its own), ``exit`` (with all that it holds).
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TypeVar

from palclient import AsyncClient, AsyncLease, CheckoutDenied, Client, Lease, PalError
from palclient.models import Event, LeaseState, Returned
from palclient.transport import monotonic
from tests.chaos.habits import CROWD, HABITS, READ_S, WIDE, Habit

C = TypeVar("C")
CHILD_NUMBERS = 1_000_000  # more than a parent has turns
CHILD_TURNS = 4
CHILD_LIMIT_S = 30
CLAIMED = 3  # exit status of a child that takes its parent's seats for its own


class Diary:
    """What this process saw, a line of JSON each.  One write a line, so that SIGKILL tears none."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115  # open for the life of the process
        self._numbers = count(1)
        self.held: dict[int, Lease | AsyncLease] = {}

    def is_childs_now(self, number: int) -> None:
        """What follows is of a forked child: it has numbers of its own, and nothing of its parent's."""
        self._numbers = count(number * CHILD_NUMBERS)
        self.held.clear()

    def note(self, what: str, **facts: object) -> None:
        """A line, at this instant of the clock that all processes share."""
        self._file.write(json.dumps({"at": monotonic(), "what": what, **facts}).encode() + b"\n")

    def asked(self, habit: Habit) -> int:
        """A checkout begins; its number."""
        number = next(self._numbers)
        self.note("asked", op=number, feature=habit.feature, timeout_s=habit.timeout_s, wait_s=habit.wait_s)
        return number

    def granted(self, number: int, lease: Lease | AsyncLease) -> None:
        """The checkout brought a seat."""
        self.held[number] = lease
        self.note("granted", op=number, id=lease.id, seq=lease.grant.seq, term=lease.grant.term, count=lease.count, until=_until(lease))

    def failed(self, number: int, error: PalError) -> None:
        """The checkout ended without one."""
        self.note("error", op=number, kind=type(error).__name__, is_denial=isinstance(error, CheckoutDenied), text=str(error))

    def reads(self, number: int, lease: Lease | AsyncLease) -> bool:
        """A look at the seat; whether it is held."""
        until = _until(lease)
        if until is None:
            self.note("lost", op=number, state=lease.state.value)
        else:
            self.note("reading", op=number, until=until)
        return until is not None

    def gives_back(self, number: int) -> None:
        """A return begins."""
        self.held.pop(number, None)
        self.note("returning", op=number)

    def told(self, event: Event) -> None:
        """An event of the client."""
        confirmed = {"confirmed": event.confirmed} if isinstance(event, Returned) else {}
        self.note("told", event=type(event).__name__, id=getattr(event, "lease_id", None), **confirmed)


def _until(lease: Lease | AsyncLease) -> float | None:
    """Until when the client believes in its seat, by its own account and never later; None when it does not."""
    now = monotonic()
    left_s = lease.expires_in()
    return now + left_s if left_s > 0 else None


class Requests(logging.Handler):
    """Notes the end of every request that the client's log tells of."""

    def __init__(self, diary: Diary) -> None:
        super().__init__(logging.DEBUG)
        self._diary = diary

    def emit(self, record: logging.LogRecord) -> None:
        """A line of the log, with the call's four facts."""
        if record.levelno == logging.DEBUG:
            self._diary.note("request", text=record.getMessage())


@dataclass(slots=True)
class Orders:
    """What the process was told to do, and how many of its loops rest."""

    loops: int
    changed: threading.Condition = field(default_factory=threading.Condition)
    may_go: bool = False
    resting: int = 0

    def set(self, *, may_go: bool) -> None:
        """Let all loops go on, or come to rest."""
        with self.changed:
            self.may_go = may_go
            self.changed.notify_all()

    def wait_all_rest(self) -> None:
        """Block until no loop holds anything; the controller has the deadline."""
        with self.changed:
            self.changed.wait_for(lambda: self.resting == self.loops)

    def rest_until_go(self) -> None:
        """One loop more rests; block until it may go on."""
        with self.changed:
            self.resting += 1
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.may_go)
            self.resting -= 1


def obey(orders: Orders, diary: Diary, childs_life: Callable[[], None]) -> None:
    """Read orders until the last one, which is ``exit`` or the end of the controller."""
    family = Family(diary, childs_life)
    say_resting(orders)
    for line in sys.stdin:
        match line.strip():
            case "exit":
                break
            case "fork":
                family.grow()
            case word:
                orders.set(may_go=word == "go")
                if word == "rest":
                    family.wait_gone()
                    say_resting(orders)
    diary.note("exiting")


def lives(clients: Sequence[C]) -> list[tuple[C, Habit]]:
    """Which loops there are."""
    return [(client, habit) for client in clients for habit in (HABITS if len(clients) == 1 else (CROWD,))]


def say_resting(orders: Orders) -> None:
    """Tell it the controller, as soon as it is so."""
    orders.wait_all_rest()
    sys.stdout.write("resting\n")
    sys.stdout.flush()


class Family:
    """Forked children.  Each finds out whether its parent's seats are foreign to it, takes some of its own, and ends."""

    def __init__(self, diary: Diary, life: Callable[[], None]) -> None:
        self._diary = diary
        self._life = life
        self._living: list[int] = []
        self._born = 0

    def grow(self) -> None:
        """Fork."""
        self._born += 1
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                status = self._live()
            finally:
                os._exit(status)
        self._living.append(pid)

    def _live(self) -> int:
        """The child's life; its exit status."""
        signal.alarm(CHILD_LIMIT_S)
        claimed = sum(lease.valid or lease.state is not LeaseState.FOREIGN for lease in self._diary.held.values())
        self._diary.is_childs_now(self._born)
        self._life()
        return CLAIMED if claimed else 0

    def wait_gone(self) -> None:
        """Block until all have ended; how is written down."""
        while self._living:
            _, status = os.waitpid(self._living.pop(), 0)
            self._diary.note("child ended", status=os.waitstatus_to_exitcode(status))


# --- threads ------------------------------------------------------------------------------------------------------------------------


def live_on_threads(client: Client, habit: Habit, orders: Orders, diary: Diary, dice: random.Random) -> None:
    """A thread's life."""
    while True:
        if not orders.may_go:
            orders.rest_until_go()
        take_turn(client, habit, orders, diary, dice.uniform(*habit.hold_s))
        threading.Event().wait(habit.pause_s)


def take_turn(client: Client, habit: Habit, orders: Orders, diary: Diary, hold_s: float) -> None:
    """One checkout, and what comes of it."""
    number = diary.asked(habit)
    try:
        lease = client.checkout(habit.feature, timeout=habit.timeout_s, wait=habit.wait_s)
    except PalError as error:
        diary.failed(number, error)
        return
    diary.granted(number, lease)
    until = monotonic() + hold_s
    while orders.may_go and monotonic() < until and diary.reads(number, lease):
        lease.wait_lost(READ_S)
    diary.gives_back(number)
    lease.checkin()
    diary.note("returned", op=number)


def run_threads(servername: str, crowd: int, orders: Orders, diary: Diary, dice: random.Random) -> None:
    """Threads on their clients; ends with what they hold."""
    clients = [Client(servername, on_event=diary.told) for _ in range(crowd)]
    for client, habit in lives(clients):
        luck = random.Random(dice.random())
        threading.Thread(target=live_on_threads, args=(client, habit, orders, diary, luck), name=f"chaos {habit.feature}", daemon=True).start()

    def live_as_child() -> None:
        for _ in range(CHILD_TURNS):
            take_turn(clients[0], WIDE, orders, diary, 0.0)

    obey(orders, diary, live_as_child)


# --- tasks --------------------------------------------------------------------------------------------------------------------------


async def live_on_tasks(client: AsyncClient, habit: Habit, orders: Orders, diary: Diary, dice: random.Random) -> None:
    """A task's life."""
    while True:
        if not orders.may_go:
            await _in_thread(orders.rest_until_go)
        await take_async_turn(client, habit, orders, diary, dice.uniform(*habit.hold_s))
        await asyncio.sleep(habit.pause_s)


async def take_async_turn(client: AsyncClient, habit: Habit, orders: Orders, diary: Diary, hold_s: float) -> None:
    """One checkout, and what comes of it."""
    number = diary.asked(habit)
    try:
        lease = await client.checkout(habit.feature, timeout=habit.timeout_s, wait=habit.wait_s)
    except PalError as error:
        diary.failed(number, error)
        return
    diary.granted(number, lease)
    until = monotonic() + hold_s
    while orders.may_go and monotonic() < until and diary.reads(number, lease):
        await lease.wait_lost(READ_S)
    diary.gives_back(number)
    await lease.checkin()
    diary.note("returned", op=number)


async def run_tasks(servername: str, crowd: int, orders: Orders, diary: Diary, dice: random.Random) -> None:
    """Tasks on their clients; ends with what they hold."""
    clients = [AsyncClient(servername, on_event=diary.told) for _ in range(crowd)]
    tasks = [asyncio.create_task(live_on_tasks(client, habit, orders, diary, random.Random(dice.random()))) for client, habit in lives(clients)]
    await _in_thread(lambda: obey(orders, diary, lambda: asyncio.run(live_as_child(clients[0], orders, diary))))
    for task in tasks:
        task.cancel()


async def live_as_child(client: AsyncClient, orders: Orders, diary: Diary) -> None:
    """Some turns on the parent's client, on a loop of the child's own."""
    for _ in range(CHILD_TURNS):
        await take_async_turn(client, WIDE, orders, diary, 0.0)


def _in_thread(work: Callable[[], None]) -> Awaitable[None]:
    """Run what blocks beside the loop, on a thread that does not keep the process alive."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def end() -> None:
        if not done.done():
            done.set_result(None)

    def run() -> None:
        work()
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(end)

    threading.Thread(target=run, name="chaos orders", daemon=True).start()
    return done


def main(kind: str, servername: str, history: str, seed: str, clients: str) -> None:
    """Live until told to end."""
    crowd = int(clients)
    diary, orders, dice = Diary(Path(history)), Orders(loops=len(lives([None] * crowd))), random.Random(int(seed))
    logging.getLogger("palclient").addHandler(Requests(diary))
    logging.getLogger("palclient").setLevel(logging.DEBUG)
    diary.note("began", kind=kind)
    if kind == "threads":
        run_threads(servername, crowd, orders, diary, dice)
    else:
        asyncio.run(run_tasks(servername, crowd, orders, diary, dice))


if __name__ == "__main__":
    main(*sys.argv[1:])
