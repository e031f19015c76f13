"""One node inside this process (``FakeTriad(in_process=True)``): the same node, on an event loop and a thread of its own.

It has the face of ``NodeProcess``.  A loop for each node is what makes freezing true: while the thread is blocked the kernel accepts connections and
nothing is answered, as with SIGSTOP.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError as OrderCancelled
from concurrent.futures import Future
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

from fakeserver.faults import Fault
from fakeserver.process import ORDER_LIMIT_S, SIGNAL_LIMIT_S, START_LIMIT_S, STOP_LIMIT_S, FakeTriadError, Port, bound
from fakeserver.settings import Settings, named

if TYPE_CHECKING:
    from fakeserver.orders import Orders
    from fakeserver.server import End

LAST_TURNS = 10  # of the loop after the end, in which whoever served a connection sees that it is gone

log = logging.getLogger("fakeserver")


class NodeInside:
    """The thread of one node; between ``kill`` and ``launch`` there is none.  ``pid`` is always None."""

    pid = None
    is_near = True

    def __init__(self, settings: Settings, port: Port) -> None:
        self.settings = settings
        self._port = port
        self._life: Life | None = None
        self._numbers = count(1)
        self._answers: dict[int, Future[dict[str, Any]]] = {}

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
        self._answers.clear()
        self._wait_end(SIGNAL_LIMIT_S)
        listener = self._port.hand_over() or bound(*self._port.address)
        self._life = Life(self.settings, lambda life: life.run(listener, faults))

    def wait_ready(self) -> None:
        """Wait until the node answers.  Raises FakeTriadError with its own words when it refuses to start."""
        life = self._living()
        if not life.ready.wait(START_LIMIT_S):
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
        try:
            return self._answers.pop(number).result(limit_s)
        except OrderCancelled as error:
            raise FakeTriadError(f"The {self.settings.role} has ended. {self.last_words}".rstrip()) from error
        except TimeoutError as error:
            raise FakeTriadError(f"The {self.settings.role} did not do in time what it was ordered to.") from error
        except OSError as error:
            raise ValueError(str(error)) from error

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
        """Block the node's thread; when this returns, nothing runs there any more."""
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

    def __init__(self, settings: Settings, live: Callable[[Life], Any]) -> None:
        self.settings = settings
        self.ready = threading.Event()
        self.orders: Orders | None = None
        self.last_words = ""
        self.is_frozen = False
        self._thawed = threading.Event()
        self._is_struck = False
        self._loop = asyncio.new_event_loop()
        self._given: deque[tuple[Orders, dict[str, object], Future[dict[str, object]]]] = deque()
        self._under_way: set[asyncio.Task[dict[str, object]]] = set()
        self._killed: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._live, args=(live,), name=f"fakeserver {settings.role}", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether it goes on; a node that was struck and has not ended yet does not."""
        return self._thread.is_alive() and not self._is_struck

    # --- from other threads ---------------------------------------------------------------------------------------------------------

    def begin(self, orders: Orders, words: dict[str, object]) -> Future[dict[str, object]]:
        """Give an order; a frozen node does it when it goes on.  Raises FakeTriadError when the node has ended."""
        answer: Future[dict[str, object]] = Future()
        self._given.append((orders, words, answer))
        try:
            self._loop.call_soon_threadsafe(self._obey)
        except RuntimeError as error:  # the loop is closed
            raise FakeTriadError(f"The {self.settings.role} has ended. {self.last_words}".rstrip()) from error
        return answer

    def strike(self) -> None:
        """Let it end at once, frozen or not."""
        self._is_struck = True
        self._call(self._drop_dead)
        self._thawed.set()

    def stop(self) -> None:
        """Let it end in good order."""
        if self.orders is not None:
            self._call(self.orders.stop)

    def freeze(self) -> None:
        """Block the thread between two events; returns when it is blocked."""
        if self.is_frozen:
            return
        self._thawed.clear()
        blocked = threading.Event()
        self._call(lambda: self._block(blocked))
        if not blocked.wait(SIGNAL_LIMIT_S):
            raise FakeTriadError(f"The {self.settings.role} could not be frozen within {SIGNAL_LIMIT_S:g} s.")
        self.is_frozen = True

    def thaw(self) -> None:
        """Let the thread go on."""
        self.is_frozen = False
        self._thawed.set()

    def wait_end(self, limit_s: float) -> bool:
        """Whether it ends within ``limit_s`` seconds."""
        self._thread.join(limit_s)
        return not self._thread.is_alive()

    def _call(self, what: Callable[[], object]) -> None:
        try:
            self._loop.call_soon_threadsafe(what)
        except RuntimeError:  # the loop is closed: the node has ended
            self._thawed.set()

    # --- on its own thread ----------------------------------------------------------------------------------------------------------

    async def run(self, listener: Any, faults: Sequence[Fault]) -> None:
        """Live, until the node halts or is killed."""
        from fakeserver.run import run

        living = asyncio.create_task(
            run(self.settings, listener, line=None, faults=faults, when_ready=self.ready.set, when_staged=self._staged, die=self._drop_dead),
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
            listener.close()
        else:
            end: End = living.result()
            self.last_words = end.reason

    def _live(self, live: Callable[[Life], Any]) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(live(self))
        except Exception as error:  # a defect of this package; whoever waits for the node is told
            log.exception("the node ended")
            self.last_words = f"The node failed ({error}); this is a defect of the fake server."
        finally:
            self._is_struck = True
            while self._given:  # orders that came when the loop had ended
                self._given.popleft()[2].cancel()
            self.ready.set()

    def _obey(self) -> None:
        """Carry the next order out."""
        orders, words, answer = self._given.popleft()
        task = self._loop.create_task(orders.obey(words), name=f"order {words['order']}")
        self._under_way.add(task)
        task.add_done_callback(partial(self._obeyed, answer))

    def _obeyed(self, answer: Future[dict[str, object]], task: asyncio.Task[dict[str, object]]) -> None:
        self._under_way.discard(task)
        if task.cancelled():
            answer.cancel()
        elif error := task.exception():
            answer.set_exception(error)
        else:
            answer.set_result(task.result())

    def _staged(self, orders: Orders) -> None:
        self.orders = orders

    def _block(self, blocked: threading.Event) -> None:
        blocked.set()
        self._thawed.wait()
        if self._is_struck:
            self._drop_dead()

    def _drop_dead(self) -> None:
        if not self._killed.done():
            self._killed.set_result(None)
            self._cut_off()

    def _cut_off(self) -> None:
        if self.orders is not None:
            self.orders.cut_off()
