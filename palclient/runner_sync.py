"""Drives flows on the thread that calls: one flow until it ends (``run``), or many for as long as there are any (``Loop``).

All calls of a flow are multiplexed on that one thread.  A wait ends when a call can go on, when something is due, or when it is woken.
"""

from __future__ import annotations

import select
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic

from palclient import log
from palclient.core.flow import Event, Flow, Result, Step, Woke
from palclient.errors import ClientClosed
from palclient.transport.ended import note_end
from palclient.transport.system import Wakeup, monotonic

if TYPE_CHECKING:
    from palclient.transport import AnyExchange, AnyTransport

SLICE_S = 0.2  # Windows notices Ctrl-C only between waits; and so late at most is a caller's flow woken from outside
LONG_SLICE_S = 5.0  # waits do not count the time that the machine sleeps
LATE_S = 2.0  # waking so much later than asked for means that the machine slept, or the process was stopped
NEVER = float("inf")
NOTHING: frozenset[int] = frozenset()


class Task(Generic[Result]):
    """One flow on its way: the calls it has open, and when it wants to be woken."""

    __slots__ = ("_exchanges", "_flow", "_is_woken", "_transport", "_wake_at", "_wakeup")

    def __init__(self, flow: Flow[Result], transport: AnyTransport, wakeup: Wakeup | None = None) -> None:
        self._flow = flow
        self._transport = transport
        self._wakeup = wakeup or Wakeup()
        self._exchanges: dict[int, AnyExchange] = {}
        self._wake_at: float | None = None
        self._is_woken = False

    def wake(self) -> None:
        """Resume the flow with ``Woke`` soon, whatever it waits for.  From any thread."""
        self._is_woken = True
        self._wakeup.nudge()

    def run(self) -> Result:
        """Drive the flow to its end on this thread.  Returns its result or raises its error; whatever ends it, no call is left open."""
        try:
            step = next(self._flow)
            while True:
                self.carry_out(step)
                step = self._flow.send(self._wait_event())
        except StopIteration as end:
            result: Result = end.value
            return result
        finally:
            self.close()
            self._wakeup.close()

    def begin(self) -> None:
        """Let the flow take its first step.  Raises StopIteration with the result if it has none."""
        self.carry_out(next(self._flow))

    def resume(self, event: Event) -> None:
        """Tell the flow of an event and carry out its next step.  Raises StopIteration with the result at its end."""
        self.carry_out(self._flow.send(event))

    def carry_out(self, step: Step) -> None:
        """Cancel and start what the flow asks for."""
        for call_id in step.cancel:
            exchange = self._exchanges.pop(call_id, None)
            if exchange is not None:  # else it ended before the flow could know
                exchange.cancel()
        for call in step.start:
            self._exchanges[call.id] = self._transport.exchange(call, self._wakeup)
        self._wake_at = step.wake_at

    def next_event(self, now: float, ready: Collection[int]) -> Event | None:
        """Move on the calls whose descriptors are ready or that are due.  Returns the first event, or None."""
        for call_id, exchange in self._exchanges.items():
            if now >= exchange.due or exchange.fd in ready:
                ended = exchange.advance(now)
                if ended is not None:
                    del self._exchanges[call_id]
                    note_end(exchange.call, ended)
                    return ended
        if self._is_woken or (self._wake_at is not None and now >= self._wake_at):
            self._is_woken = False
            return Woke(now=now)
        return None

    @property
    def due(self) -> float:
        """When ``next_event`` is to be called at the latest."""
        due = NEVER if self._wake_at is None else self._wake_at
        for exchange in self._exchanges.values():
            due = min(due, exchange.due)
        return due

    @property
    def exchanges(self) -> Iterable[AnyExchange]:
        """The calls under way."""
        return self._exchanges.values()

    def close(self) -> None:
        """Cancel what is open and end the flow, if it has not ended."""
        for exchange in self._exchanges.values():
            exchange.cancel()
        self._exchanges.clear()
        self._flow.close()

    def _wait_event(self) -> Event:
        ready: Collection[int] = NOTHING
        while True:
            now = monotonic()
            event = self.next_event(now, ready)
            if event is not None:
                return event
            ready = wait(self._exchanges.values(), self._wakeup, min(self.due - now, SLICE_S))


def run(flow: Flow[Result], transport: AnyTransport) -> Result:
    """Drive one flow on the caller's thread: blocks until it ends, at the latest at the deadlines that it sets itself.

    Returns the flow's result or raises its error.  KeyboardInterrupt in the wait closes every connection of the flow and passes.
    """
    return Task(flow, transport).run()


OnDone = Callable[[Any, BaseException | None], None]


class Loop:
    """Drives many flows on one thread of its owner's, which calls ``run``; ``submit``, ``wake`` and ``stop`` may come from any thread.

    ``on_late`` is called on that thread, before anything else, with the seconds by which a wait ended too late, when those are more than 2 s.
    """

    def __init__(self, transport: AnyTransport, *, on_late: Callable[[float], None] | None = None, clock: Callable[[], float] = monotonic) -> None:
        self._transport = transport
        self._clock = clock
        self._on_late = on_late
        self._wakeup = Wakeup()
        self._lock = threading.Lock()
        self._submitted: list[tuple[Task[Any], OnDone]] = []
        self._tasks: dict[Task[Any], OnDone] = {}
        self._is_stopped = False

    def submit(self, flow: Flow[Result], on_done: OnDone) -> Task[Result]:
        """Begin a flow soon.  ``wake()`` of the task that is returned resumes the flow early.

        Its end is told on the loop's thread: ``on_done(result, None)`` or ``on_done(None, error)``; after ``stop`` at once, with ClientClosed.
        """
        task = Task(flow, self._transport, self._wakeup)
        with self._lock:
            is_stopped = self._is_stopped
            if not is_stopped:
                self._submitted.append((task, on_done))
        if is_stopped:
            task.close()
            _tell(on_done, None, ClientClosed("the client was closed before this could begin"))
        self._wakeup.nudge()
        return task

    def stop(self) -> None:
        """Let ``run`` return soon."""
        with self._lock:
            self._is_stopped = True
        self._wakeup.nudge()

    def forget(self) -> None:
        """In a forked child, where the loop's thread does not exist: free its descriptors."""
        self._lock = threading.Lock()
        self._is_stopped = True
        self._wakeup.forget()

    def run(self) -> None:
        """Drive what is submitted, until ``stop``; then every flow that is left is closed and its end told with ClientClosed."""
        ready: Collection[int] = NOTHING
        try:
            while self._admit():
                now = self._clock()
                for task in list(self._tasks):
                    self._turn(task, now, ready)
                ready = self._wait()
        finally:
            self.stop()
            self._abandon()
            self._wakeup.close()

    def _admit(self) -> bool:
        """Begin what was submitted.  Returns whether to go on."""
        if self._wakeup.fd < 0:
            with suppress(OSError):  # descriptors have run out: waits are short until there are some again
                self._wakeup.open()
        with self._lock:
            submitted, self._submitted = self._submitted, []
            if self._is_stopped:
                self._tasks.update(submitted)
                return False
        for task, on_done in submitted:
            self._tasks[task] = on_done
            self._step(task, task.begin)
        return True

    def _turn(self, task: Task[Any], now: float, ready: Collection[int]) -> None:
        """Resume one flow if there is an event for it: one, so that all have their turn."""
        event = task.next_event(now, ready)
        if event is not None:
            self._step(task, lambda: task.resume(event))

    def _step(self, task: Task[Any], step: Callable[[], None]) -> None:
        try:
            step()
        except StopIteration as end:
            self._end(task, end.value, None)
        except Exception as error:  # noqa: BLE001 - one flow's mistake must not end the others; who submitted it is told
            self._end(task, None, error)

    def _end(self, task: Task[Any], result: Any, error: BaseException | None) -> None:
        on_done = self._tasks.pop(task)
        task.close()
        _tell(on_done, result, error)

    def _abandon(self) -> None:
        for task in list(self._tasks):
            self._end(task, None, ClientClosed("the client was closed before this could end"))

    def _wait(self) -> Collection[int]:
        """Wait for the first thing to do."""
        before = self._clock()
        timeout_s = max(0.0, min((task.due for task in self._tasks), default=NEVER) - before)
        timeout_s = min(timeout_s, SLICE_S if self._wakeup.fd < 0 else LONG_SLICE_S)
        ready = wait([exchange for task in self._tasks for exchange in task.exchanges], self._wakeup, timeout_s)
        late_s = self._clock() - before - timeout_s
        if late_s > LATE_S and self._on_late is not None:
            self._on_late(late_s)
        return ready


def _tell(on_done: OnDone, result: Any, error: BaseException | None) -> None:
    try:
        on_done(result, error)
    except Exception as failure:  # noqa: BLE001 - it is the submitter's code; the other flows of the loop have nothing to do with it; it is logged
        log.write("error", "the receiver of a flow's result failed", error=failure)


def _drained(ready: set[int], wakeup: Wakeup) -> set[int]:
    """A nudge lets the calls that wait for a look-up go on: those without a descriptor."""
    if wakeup.fd in ready:
        wakeup.drain()
        ready.add(-1)
    return ready


def wait_select(exchanges: Iterable[AnyExchange], wakeup: Wakeup, timeout_s: float) -> Collection[int]:
    """Wait until one of the exchanges can go on, the wakeup is nudged, or ``timeout_s`` is over.  Returns the descriptors that are ready.

    This is Windows' way, which has no poll, reports a failed connect as an exception, and refuses to wait for nothing.
    """
    open_ = [exchange for exchange in exchanges if exchange.fd >= 0]
    reading = [exchange.fd for exchange in open_ if not exchange.is_writing] + [wakeup.fd] * (wakeup.fd >= 0)
    writing = [exchange.fd for exchange in open_ if exchange.is_writing]
    if not reading and not writing:
        time.sleep(max(0.0, timeout_s))
        return NOTHING
    return _drained({fd for ready in select.select(reading, writing, writing, max(0.0, timeout_s)) for fd in ready}, wakeup)


if sys.platform != "win32":

    def wait_poll(exchanges: Iterable[AnyExchange], wakeup: Wakeup, timeout_s: float) -> Collection[int]:
        """The same as ``wait_select``, quicker and for any number of descriptors."""
        poll = select.poll()
        for exchange in exchanges:
            if exchange.fd >= 0:
                poll.register(exchange.fd, select.POLLOUT if exchange.is_writing else select.POLLIN)
        if wakeup.fd >= 0:
            poll.register(wakeup.fd, select.POLLIN)
        return _drained({fd for fd, _ in poll.poll(max(0.0, timeout_s) * 1000)}, wakeup)

    wait = wait_poll
else:
    wait = wait_select
