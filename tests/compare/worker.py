"""A client of any of the systems as a process of its own: races for few seats, asks again and again for one of many, and writes down what it saw.

python -m tests.compare.worker NAME ACCESS HISTORY SEED

It says ``resting`` on standard output when it holds nothing, and obeys words on standard input: ``go``, ``rest``, ``warm N``.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import traceback
from itertools import count
from pathlib import Path
from typing import Any

from palclient.transport import monotonic
from tests.chaos.worker import Orders, say_resting
from tests.compare.peer import PATIENCE_S, RACE, READ_S, WIDE, Desk, Failed, NoSeat, Seat
from tests.compare.systems import SYSTEMS

HOLD_S = (0.5, 4.0)  # of a seat of the race: a ttl and more
RACE_PAUSE_S = 0.05
WIDE_EVERY_S = 0.1  # from one asking to the next, or at once when it took longer


class Diary:
    """What this process saw, a line of JSON each, in the words that ``tests.chaos.history`` reads.  One write a line, so that SIGKILL tears none."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115  # open for the life of the process
        self._numbers = count(1)

    def note(self, what: str, **facts: object) -> None:
        """A line, at this instant of the clock that all processes share."""
        self._file.write(json.dumps({"at": monotonic(), "what": what, **facts}).encode() + b"\n")

    def asked(self, pool: str) -> int:
        """An acquire begins; its number."""
        number = next(self._numbers)
        self.note("asked", op=number, feature=pool, timeout_s=PATIENCE_S, wait_s=PATIENCE_S)
        return number

    def reads(self, number: int, seat: Seat) -> bool:
        """A look at the seat; whether it is held, or may be again."""
        until = seat.believed_until()
        if until is None:
            self.note("lost", op=number)
        else:
            self.note("reading", op=number, until=until)
        return until is not None


def turn(desk: Desk, pool: str, orders: Orders, diary: Diary, hold_s: float) -> None:
    """One acquire, and what comes of it."""
    number = diary.asked(pool)
    try:
        seat = desk.acquire(pool)
    except NoSeat:
        diary.note("error", op=number, kind="NoSeat", text="", is_denial=True)
        return
    except Failed as error:
        diary.note("error", op=number, kind="Failed", text=str(error), is_denial=False)
        return
    diary.note("granted", op=number, id=f"{os.getpid()}-{number}", seq=0, term=0, count=1, until=seat.believed_until())
    until = monotonic() + hold_s
    while orders.may_go and monotonic() < until and diary.reads(number, seat):
        seat.wait_change(READ_S)
    diary.note("returning", op=number)
    try:
        seat.give_back()
    except Failed as error:
        diary.note("return failed", op=number, text=str(error))
    diary.note("returned", op=number)


def race(desk: Desk, orders: Orders, diary: Diary, dice: random.Random) -> None:
    """A thread's life: more of its kind than seats."""
    while True:
        if not orders.may_go:
            orders.rest_until_go()
        turn(desk, RACE, orders, diary, dice.uniform(*HOLD_S))
        threading.Event().wait(RACE_PAUSE_S)


def look_in(desk: Desk, orders: Orders, diary: Diary) -> None:
    """A thread's life: it finds out whether there is service."""
    while True:
        if not orders.may_go:
            orders.rest_until_go()
        began = monotonic()
        turn(desk, WIDE, orders, diary, 0.0)
        threading.Event().wait(max(0.0, began + WIDE_EVERY_S - monotonic()))


def warm(desk: Desk, diary: Diary, pairs: int) -> None:
    """Acquire and return, one after another, with nobody else at work."""
    taken_s = []
    for _ in range(pairs):
        began = monotonic()
        desk.acquire(WIDE).give_back()
        taken_s.append(monotonic() - began)
    diary.note("warm", taken_s=taken_s)


def obey(desk: Desk, orders: Orders, diary: Diary) -> None:
    """Read orders until there are no more."""
    say_resting(orders)
    for line in sys.stdin:
        match line.split():
            case ["warm", pairs]:
                warm(desk, diary, int(pairs))
                say_resting(orders)
            case [word]:
                orders.set(may_go=word == "go")
                if word == "rest":
                    say_resting(orders)


def end(told: Any) -> None:
    """A loop that died ends the process: the run sees that, and why."""
    traceback.print_exception(told.exc_type, told.exc_value, told.exc_traceback)
    sys.stderr.flush()
    os._exit(1)


def main(name: str, access: str, history: str, seed: str) -> None:
    """Live until told to end."""
    threading.excepthook = end
    diary, orders, dice = Diary(Path(history)), Orders(loops=2), random.Random(int(seed))
    desk = SYSTEMS[name].desk(json.loads(access), f"client-{seed}")
    for life, facts in ((race, (desk, orders, diary, dice)), (look_in, (desk, orders, diary))):
        threading.Thread(target=life, args=facts, daemon=True).start()
    obey(desk, orders, diary)
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
