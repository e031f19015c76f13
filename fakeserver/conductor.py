"""Several event loops on one thread: each takes its turn when it has something to do, and one that is held back takes none.

Three nodes inside a process would hand the interpreter's lock around if each had a thread; on one and the same loop none could be frozen or killed
for itself.  A loop that takes no turn is frozen as a process is by SIGSTOP: the kernel accepts connections, and nothing is answered.
"""

from __future__ import annotations

import asyncio
import logging
import math
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from typing import Any

Waiting: type[selectors.BaseSelector] = getattr(selectors, "PollSelector", selectors.SelectSelector)
"""Windows has no poll(); elsewhere select() knows no descriptor above 1023."""

NESTS = hasattr(selectors.DefaultSelector, "fileno")  # epoll and kqueue have a descriptor that can be waited for itself
CLOSE_LIMIT_S = 5.0  # it takes a millisecond
RESOLUTION_S = time.get_clock_info("monotonic").resolution

log = logging.getLogger("fakeserver")


class News:
    """What one thread tells others, once.  Whoever is interrupted while waiting for it leaves nothing locked, as could happen with an Event or a Future."""

    def __init__(self) -> None:
        self._is_coming = threading.Lock()
        self._is_coming.acquire()
        self.is_told = False
        self.value: Any = None

    def tell(self, value: object = None) -> None:
        """Let all go on who wait; what is told a second time is not heard."""
        if not self.is_told:
            self.value, self.is_told = value, True
            self._is_coming.release()

    def wait(self, limit_s: float) -> bool:
        """Whether it is told within ``limit_s`` seconds."""
        if not self.is_told and self._is_coming.acquire(timeout=limit_s):
            self._is_coming.release()  # for the next one
        return self.is_told


class Gate(selectors.DefaultSelector):
    """What a loop waits with: in a turn it does not wait, but notes for how long it would have (``idle_s``; None: until something comes)."""

    def __init__(self) -> None:
        super().__init__()
        self.idle_s: float | None = 0.0
        self.end_turn: Callable[[], None] | None = None

    def watched(self) -> list[tuple[int, int]]:
        """The descriptors, each with what for, that somebody else is to wait for in its place."""
        if NESTS:
            return [(self.fileno(), selectors.EVENT_READ)]
        return [(key.fd, key.events) for key in self.get_map().values()]

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """As every selector's, outside of turns."""
        if self.end_turn is None:
            return super().select(timeout)
        self.end_turn()
        found = super().select(0)
        is_busy = found or (timeout is not None and timeout <= RESOLUTION_S)  # asyncio does in this turn what is due within the clock's resolution
        self.idle_s = 0.0 if is_busy else timeout
        return found


class TurnLoop(asyncio.SelectorEventLoop):
    """An event loop of asyncio's that may be run turn by turn.  In a turn its clock stands still, so that what is due is known when the turn begins."""

    def __init__(self) -> None:
        self.gate = Gate()
        self._turn_s: float | None = None
        super().__init__(self.gate)

    def time(self) -> float:
        """As every loop's; in a turn, when that began."""
        return super().time() if self._turn_s is None else self._turn_s

    def take_turn(self) -> float | None:
        """Do what there is to do now.  Gives for how many seconds there is no more unless something comes; None for as long as nothing does."""
        self._turn_s = super().time()
        self.gate.end_turn = self.stop
        try:
            self.run_forever()
        finally:
            self._turn_s = self.gate.end_turn = None
        return self.gate.idle_s


class Player:
    """A loop as its conductor knows it: ``main`` runs there to its end, then the loop is closed, with what still runs on it.

    ``when_ended`` is told then, with the error that ``main`` ended by, if it did.
    """

    def __init__(self, main: Callable[[], Coroutine[Any, Any, None]], when_ended: Callable[[Exception | None], object]) -> None:
        self.loop = TurnLoop()
        self.is_held = False
        self.due_s = 0.0  # when its next turn is, by time.monotonic(), unless something comes before
        self._runner = asyncio.Runner(loop_factory=lambda: self.loop)
        self._runner.get_loop()  # or it would not close it
        self._main = main
        self._when_ended = when_ended
        self._task: asyncio.Task[None] | None = None

    def take_turn(self) -> bool:
        """Let the loop do what there is to do now; whether it goes on."""
        if self._task is None:
            self._task = self.loop.create_task(self._main(), name="life")
        idle_s = self.loop.take_turn()
        self.due_s = float("inf") if idle_s is None else time.monotonic() + idle_s
        return not self._task.done()

    def hold(self, held: News) -> None:
        """As ``Conductor.hold``."""
        self.is_held = True
        held.tell()

    def release(self) -> None:
        """As ``Conductor.release``; the next turn comes whether or not there is something to do."""
        self.is_held, self.due_s = False, 0.0

    def end(self) -> None:
        """Close the loop."""
        task = self._task
        error = task.exception() if task is not None and task.done() and not task.cancelled() else None
        self._runner.close()
        self._when_ended(error if isinstance(error, Exception) else None)


class Conductor:
    """One thread, from ``start`` to ``close``, and the loops that take turns on it.  Every other call is for any thread, and waits for nothing."""

    def __init__(self) -> None:
        self._given: deque[Callable[[], object]] = deque()
        self._players: list[Player] = []
        self._is_closing = self.is_closed = False
        self._ear, self._mouth = socket.socketpair()
        self._ear.setblocking(False)
        self._mouth.setblocking(False)
        self._waiting = Waiting()
        self._waiting.register(self._ear, selectors.EVENT_READ)
        self._watched: list[tuple[int, int, Player]] = []
        self._thread = threading.Thread(target=self._conduct, name="fakeserver nodes", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def add(self, player: Player) -> None:
        """Let a loop take part, with ``wake`` to follow."""
        self.put(lambda: self._players.append(player))

    def hold(self, player: Player) -> News:
        """Give this loop no turn any more.  The result is told when none is under way."""
        held = News()
        self.call(lambda: player.hold(held))
        return held

    def release(self, player: Player) -> None:
        """Let a loop that is held go on."""
        self.call(player.release)

    def call(self, what: Callable[[], object]) -> None:
        """Have this done before the next turn of any loop."""
        self.put(what)
        self.wake()

    def put(self, what: Callable[[], object]) -> None:
        """As ``call``, with ``wake`` to follow: each waking costs as much as an order, so several are put before one."""
        self._given.append(what)

    def wake(self) -> None:
        """Have done what was put, if there is any left."""
        if self.is_closed:
            self._do_given()
        elif self._given:
            with suppress(OSError):  # it has been woken often enough
                self._mouth.send(b"!")

    def wait(self, news: News, limit_s: float) -> bool:
        """Whether this is told within ``limit_s`` seconds; on the conductor's own thread, where it could not be told meanwhile, whether it is."""
        return news.is_told if threading.current_thread() is self._thread else news.wait(limit_s)

    def close(self) -> None:
        """End the thread, and all loops with it."""
        self.call(self._last_call)
        if self._thread.ident is not None and threading.current_thread() is not self._thread:
            self._thread.join(CLOSE_LIMIT_S)

    # --- on its thread --------------------------------------------------------------------------------------------------------------

    def _last_call(self) -> None:
        self._is_closing = True

    def _conduct(self) -> None:
        try:
            while not self._is_closing:
                self._conduct_once()
        finally:
            for player in self._players:
                player.end()
            self.is_closed = True
            self._do_given()
            self._waiting.close()
            self._ear.close()
            self._mouth.close()

    def _conduct_once(self) -> None:
        up = [player for player in self._players if not player.is_held]
        due_s = min((player.due_s for player in up), default=math.inf)
        ready = self._wait(up, None if due_s == math.inf else max(due_s - time.monotonic(), 0.0))
        self._do_given()
        for player in up:
            if not player.is_held and (player in ready or player.due_s <= time.monotonic()) and not player.take_turn():
                self._players.remove(player)
                player.end()

    def _do_given(self) -> None:
        while self._given:
            try:
                self._given.popleft()()
            except Exception:  # a defect of this package, which must not end the other nodes
                log.exception("what a node was told failed")

    def _wait(self, players: Iterable[Player], limit_s: float | None) -> set[Player]:
        """Wait until something comes for one of these, or is given; those for whom it came."""
        watched = [(descriptor, events, player) for player in players for descriptor, events in player.loop.gate.watched()]
        if watched != self._watched:
            self._watch(watched)
        ready = {key.data for key, _ in self._waiting.select(limit_s)}
        if None in ready:
            ready.remove(None)
            with suppress(OSError):
                self._ear.recv(4096)
        return ready

    def _watch(self, watched: list[tuple[int, int, Player]]) -> None:
        self._watched = watched
        self._waiting.close()
        self._waiting = Waiting()
        self._waiting.register(self._ear, selectors.EVENT_READ)
        for descriptor, events, player in watched:
            self._waiting.register(descriptor, events, player)
