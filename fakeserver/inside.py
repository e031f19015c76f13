"""One node inside this process (``FakeTriad(in_process=True)``): the same node, on an event loop of its own, all three on one thread.

It has the face of ``NodeProcess``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

from fakeserver.conductor import Conductor, News, Player
from fakeserver.faults import Fault
from fakeserver.process import ORDER_LIMIT_S, SIGNAL_LIMIT_S, START_LIMIT_S, STOP_LIMIT_S, FakeTriadError, Port, bound
from fakeserver.settings import Settings, named

if TYPE_CHECKING:
    import socket

    from fakeserver.orders import Orders
    from fakeserver.server import End

LAST_TURNS = 10  # of the loop after the end, in which whoever served a connection sees that it is gone

log = logging.getLogger("fakeserver")


class NodeInside:
    """One node as a part of this process; between ``kill`` and ``launch`` there is none.  ``pid`` is always None."""

    pid = None
    is_near = True

    def __init__(self, settings: Settings, port: Port, *, conductor: Conductor) -> None:
        self.settings = settings
        self._port = port
        self._conductor = conductor
        self._life: Life | None = None
        self._numbers = count(1)
        self._answers: dict[int, News] = {}

    @property
    def is_running(self) -> bool:
        """Whether the node lives, be it frozen."""
        return self._life is not None and self._life.is_alive

    @property
    def is_paused(self) -> bool:
        """Whether it is frozen by ``pause``."""
        return self._life is not None and self.is_running and self._life.is_frozen

    @property
    def last_words(self) -> str:
        """Why the node ended by itself, if it did; else empty."""
        return "" if self._life is None else self._life.last_words

    def launch(self, faults: Sequence[Fault] = ()) -> None:
        """Start the node, without waiting for it: ``wait_ready`` does."""
        if self._conductor.is_closed:
            raise FakeTriadError("This triad is closed; its nodes cannot be started any more.")
        self._answers.clear()
        self._wait_end(SIGNAL_LIMIT_S)
        listener = self._port.hand_over() or bound(*self._port.address)
        self._life = Life(self.settings, listener, faults, conductor=self._conductor)

    def wait_ready(self) -> None:
        """Wait until the node answers.  Raises FakeTriadError with its own words when it refuses to start."""
        life = self._living()
        self._conductor.wake()
        if not self._conductor.wait(life.ready, START_LIMIT_S):
            raise FakeTriadError(f"The {self.settings.role} did not start within {START_LIMIT_S:g} s.")
        if life.orders is None:
            raise FakeTriadError(life.last_words or f"The {self.settings.role} at {named(self.settings.address)} did not start.")

    def order(self, name: str, /, **words: object) -> dict[str, Any]:
        """As ``NodeProcess.order``."""
        return self.hear(self.tell(name, **words))

    def tell(self, name: str, /, **words: object) -> int:
        """As ``NodeProcess.tell``."""
        life, number = self._living(), next(self._numbers)
        if life.orders is None:
            raise FakeTriadError(f"The {self.settings.role} is down.")
        self._answers[number] = life.begin(life.orders, {"order": name, **words})
        return number

    def hear(self, number: int, *, limit_s: float = ORDER_LIMIT_S) -> dict[str, Any]:
        """As ``NodeProcess.hear``."""
        self._conductor.wake()
        answer = self._answers.pop(number)
        if not self._conductor.wait(answer, limit_s):
            raise FakeTriadError(f"The {self.settings.role} did not do in time what it was ordered to.")
        if answer.value is None:
            raise FakeTriadError(f"The {self.settings.role} has ended. {self.last_words}".rstrip())
        if isinstance(answer.value, BaseException):
            raise answer.value
        done: dict[str, Any] = answer.value
        return done

    def strike(self) -> None:
        """End it without a goodbye, also when it is frozen, without waiting."""
        if self._life is not None:
            self._life.strike()

    def kill(self) -> None:
        """End it without a goodbye; when this returns its port refuses."""
        self.strike()
        self._wait_end(SIGNAL_LIMIT_S)
        self._life = None

    def stop(self) -> None:
        """Ask for an orderly end, and wait for it; one that does not end in time is killed, and FakeTriadError says so."""
        if self._life is not None and self._life.is_alive:
            limit_s = STOP_LIMIT_S + self.settings.failover_s
            self._life.stop()
            if not self._wait_end(limit_s):
                self.kill()
                raise FakeTriadError(f"The {self.settings.role} did not stop within {limit_s:g} s, and was killed.")
        self._life = None

    def pause(self) -> None:
        """Let its loop take no turn any more; when this returns, nothing runs there."""
        if not self.is_running:
            raise FakeTriadError(f"The {self.settings.role} is down; only a running node can be frozen.")
        self._living().freeze()

    def resume(self) -> None:
        """Let it go on, after ``pause``."""
        if self._life is not None:
            self._life.thaw()

    def _living(self) -> Life:
        if self._life is None:
            raise FakeTriadError(f"The {self.settings.role} is down.")
        return self._life

    def _wait_end(self, limit_s: float) -> bool:
        return self._life is None or self._life.wait_end(limit_s)


class Life:
    """One life of a node: from ``launch`` to its end.  ``ready`` is set when it answers, or has ended without; ``orders`` is None until it answers."""

    def __init__(self, settings: Settings, listener: socket.socket, faults: Sequence[Fault], *, conductor: Conductor) -> None:
        self.settings = settings
        self.ready = News()
        self.orders: Orders | None = None
        self.last_words = ""
        self._listener = listener
        self._faults = faults
        self._ended = News()
        self._is_struck = False
        self._under_way: set[asyncio.Task[dict[str, object]]] = set()
        self._conductor = conductor
        self._player = Player(self._live, self._end)
        self._killed: asyncio.Future[None] = self._player.loop.create_future()
        conductor.add(self._player)

    @property
    def is_alive(self) -> bool:
        """Whether it goes on; a node that was struck and has not ended yet does not."""
        return not self._ended.is_told and not self._is_struck

    @property
    def is_frozen(self) -> bool:
        """Whether its loop takes no turns."""
        return self._player.is_held

    # --- from other threads ---------------------------------------------------------------------------------------------------------

    def begin(self, orders: Orders, words: dict[str, object]) -> News:
        """Give an order, which is obeyed when the conductor is woken; a frozen node obeys when it goes on.  Raises FakeTriadError when it has ended.

        What is told is the answer, the error instead, or None if the node ends before.
        """
        if self._ended.is_told:
            raise FakeTriadError(f"The {self.settings.role} has ended. {self.last_words}".rstrip())
        answer = News()
        self._conductor.put(partial(self._obey, orders, words, answer))
        return answer

    def strike(self) -> None:
        """Let it end at once, frozen or not."""
        self._is_struck = True
        self._conductor.call(self._drop_dead)

    def stop(self) -> None:
        """Let it end in good order."""
        if self.orders is not None:
            with suppress(RuntimeError):  # the loop is closed: it has ended
                self._player.loop.call_soon_threadsafe(self.orders.stop)

    def freeze(self) -> None:
        """Let it take no turn any more; when this returns, none is under way."""
        if not self._conductor.wait(self._conductor.hold(self._player), SIGNAL_LIMIT_S):
            raise FakeTriadError(f"The {self.settings.role} could not be frozen within {SIGNAL_LIMIT_S:g} s.")

    def thaw(self) -> None:
        """Let it go on."""
        self._conductor.release(self._player)

    def wait_end(self, limit_s: float) -> bool:
        """Whether it ends within ``limit_s`` seconds."""
        return self._conductor.wait(self._ended, limit_s)

    # --- on the conductor's thread --------------------------------------------------------------------------------------------------

    async def _live(self) -> None:
        """Live, until the node halts or is killed."""
        from fakeserver.run import run

        living = asyncio.create_task(
            run(
                self.settings,
                self._listener,
                line=None,
                faults=self._faults,
                when_ready=self.ready.tell,
                when_staged=self._staged,
                die=self._drop_dead,
            ),
            name="node",
        )
        await asyncio.wait((living, self._killed), return_when=asyncio.FIRST_COMPLETED)
        for _ in range(LAST_TURNS):
            self._cut_off()  # also what was being accepted, and comes late
            await asyncio.sleep(0)
        if self.orders is not None:
            self.orders.close_port()
        if self._killed.done():
            living.cancel()
            await asyncio.gather(living, return_exceptions=True)
            self._listener.close()
        else:
            end: End = living.result()
            self.last_words = end.reason

    def _end(self, error: Exception | None) -> None:
        """Tell whoever waits that this life is over; an error is a defect of this package."""
        if error is not None:
            log.error("the node ended", exc_info=error)
            self.last_words = f"The node failed ({error}); this is a defect of the fake server."
        self._ended.tell()
        self.ready.tell()

    def _obey(self, orders: Orders, words: dict[str, object], answer: News) -> None:
        """Let the loop carry an order out as the next thing that it does."""
        if self._ended.is_told:
            answer.tell()
            return
        task = self._player.loop.create_task(orders.obey(words), name=f"order {words['order']}")
        self._under_way.add(task)
        task.add_done_callback(partial(self._obeyed, answer))
        self._player.due_s = 0.0

    def _obeyed(self, answer: News, task: asyncio.Task[dict[str, object]]) -> None:
        self._under_way.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, OSError):
            error = ValueError(str(error))
        answer.tell(None if task.cancelled() else error or task.result())

    def _staged(self, orders: Orders) -> None:
        self.orders = orders

    def _drop_dead(self) -> None:
        self._player.release()
        if not self._killed.done():
            self._killed.set_result(None)
            self._cut_off()

    def _cut_off(self) -> None:
        if self.orders is not None:
            self.orders.cut_off()
