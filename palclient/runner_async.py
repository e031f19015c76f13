"""Drives flows on the event loop of whoever awaits them: the twin of ``runner_sync.py``.

No flow has a task of its own: it goes on in the caller's, which therefore may be cancelled at any await, and closes everything on its way out.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, TypeVar

from palclient.core.flow import Answered, Event, Failed, Flow, Result, Step, Woke
from palclient.transport import monotonic
from palclient.transport.async_dial import Bell
from palclient.transport.ended import note_end

if TYPE_CHECKING:
    from palclient.transport.async_transport import AnyAsyncExchange, AnyAsyncTransport

SLICE_S = 5.0  # a loop's timers do not count the time that the machine sleeps
LEAST_WAIT_S = 0.001  # a timer of the loop may be early by its clock's resolution
NEVER = float("inf")
MAX_WAITING = 1000  # values of a relay that are not delivered yet

Value = TypeVar("Value")

__all__ = ["Bell", "Drive", "Relay", "run", "this_loop", "turn"]


class Drive(Generic[Result]):
    """One flow on its way: the calls it has open, and when it wants to be woken."""

    __slots__ = ("_ended", "_error", "_exchanges", "_flow", "_loop", "_transport", "_waiter", "_wake_at")

    def __init__(self, flow: Flow[Result], transport: AnyAsyncTransport) -> None:
        self._loop = asyncio.get_running_loop()
        self._flow = flow
        self._transport = transport
        self._exchanges: dict[int, AnyAsyncExchange] = {}
        self._ended: deque[Answered | Failed] = deque()
        self._wake_at: float | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._error: Exception | None = None

    async def run(self) -> Result:
        """Drive the flow to its end.  Returns its result or raises its error; whatever ends it, no call is left open."""
        try:
            step = next(self._flow)
            while True:
                self._carry_out(step)
                step = self._flow.send(await self._next_event())
        except StopIteration as end:
            result: Result = end.value
            return result
        finally:
            self._close()

    def stop(self, error: Exception) -> None:
        """Have ``run`` raise this soon.  From any thread."""
        self._error = error
        with suppress(RuntimeError):  # the loop was closed, and with it all that ran there
            self._loop.call_soon_threadsafe(self._wake)

    def _carry_out(self, step: Step) -> None:
        """Cancel and start what the flow asks for."""
        for call_id in step.cancel:
            exchange = self._exchanges.pop(call_id, None)
            if exchange is not None:
                exchange.cancel()
        if step.cancel and self._ended:  # nothing more is heard of what was cancelled
            self._ended = deque(end for end in self._ended if end.call_id not in step.cancel)
        now = monotonic()
        for call in step.start:
            exchange = self._exchanges[call.id] = self._transport.exchange_here(call, self._note)
            exchange.begin(now)
        self._wake_at = step.wake_at

    def _note(self, end: Answered | Failed) -> None:
        """A call has ended."""
        exchange = self._exchanges.pop(end.call_id, None)
        if exchange is not None:
            note_end(exchange.call, end)
        self._ended.append(end)
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def _next_event(self) -> Event:
        """The first call that has ended, or ``Woke``."""
        while True:
            if self._error is not None:
                raise self._error
            if self._ended:
                return self._ended.popleft()
            now = monotonic()
            if self._wake_at is not None and now >= self._wake_at:
                return Woke(now=now)
            due = NEVER if self._wake_at is None else self._wake_at
            for exchange in list(self._exchanges.values()):
                if now >= exchange.call.answer_by:
                    exchange.expire(now)
                due = min(due, exchange.call.answer_by)
            if not self._ended:
                await self._wait(min(due - now, SLICE_S))

    async def _wait(self, timeout_s: float) -> None:
        """Wait until a call ends, for so long at most."""
        self._waiter = self._loop.create_future()
        timer = self._loop.call_later(max(LEAST_WAIT_S, timeout_s), self._wake)
        try:
            await self._waiter
        finally:
            timer.cancel()

    def _close(self) -> None:
        for exchange in self._exchanges.values():
            exchange.cancel()
        self._exchanges.clear()
        self._flow.close()


async def run(flow: Flow[Result], transport: AnyAsyncTransport) -> Result:
    """Drive one flow on the running loop, in the task that calls.

    Returns the flow's result or raises its error; ends at the latest at the deadlines that the flow sets itself.  When the task is cancelled, every
    connection of the flow is closed, and the cancellation passes.
    """
    return await Drive(flow, transport).run()


def this_loop() -> object:
    """The loop that runs here: to tell one from another."""
    return asyncio.get_running_loop()


async def turn() -> None:
    """Let everything have its turn that can go on now."""
    await asyncio.sleep(0)


class Relay(Generic[Value]):
    """Hands values that come from any thread to one function, in order, on a loop: that of its maker, or of whoever called ``follow`` last.

    What comes while that loop has ended, or before there is one, is delivered on the next.  The oldest go first when there are too many: ``on_drop`` is told of each.
    """

    def __init__(self, take: Callable[[Value], None], on_drop: Callable[[], None]) -> None:
        self._take = take
        self._on_drop = on_drop
        self._queue: deque[Value] = deque(maxlen=MAX_WAITING)
        self._is_scheduled = False
        self._loop: asyncio.AbstractEventLoop | None = None

    def follow(self) -> None:
        """Deliver on the running loop from now on."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._is_scheduled = loop, False
            self._schedule()

    def __call__(self, value: Value) -> None:
        """Queue a value; never blocks."""
        if len(self._queue) == MAX_WAITING:
            self._on_drop()
        self._queue.append(value)
        self._schedule()

    def _schedule(self) -> None:
        if self._loop is not None and self._queue and not self._is_scheduled:
            self._is_scheduled = True
            try:
                self._loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:  # the loop was closed
                self._is_scheduled = False

    def _deliver(self) -> None:
        self._is_scheduled = False
        while self._queue:
            self._take(self._queue.popleft())
