"""The keeper thread: drives the flows of ``core/renewal.py`` for all leases of one client; and the courier thread, which delivers events.

Both are daemon threads that start with the first need of them.  Neither is ever waited for without a deadline.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Protocol

from palclient import log
from palclient.core.fit import check_fit, least_ttl_s
from palclient.core.locate import Means
from palclient.core.renewal import IDLE_S, Leases, keep_claiming, keep_renewing, keep_returning, keep_watch, until_idle
from palclient.errors import ClientClosed, PalError
from palclient.models import Event, Resumed
from palclient.runner_sync import Loop, Task
from palclient.transport import AnyTransport, monotonic

MAX_EVENTS = 1000  # not delivered yet; the oldest go first
NO_THREAD = "Raise the limit of threads or processes of this user (ulimit -u), or end some of them."

Listener = Callable[[Event], None]


class Keeper:
    """Keeps the leases of one client alive on one thread, whether or not the application's own threads run.

    ``tell`` takes the events that belong to no lease.
    """

    def __init__(self, transport: AnyTransport, leases: Leases, means: Means, tell: Callable[[Event], None]) -> None:
        self._transport = transport
        self._leases = leases
        self._means = means
        self._tell = tell
        self._lock = threading.Lock()
        self._loop: Loop | None = None  # while the thread runs
        self._tasks: tuple[Task[None], ...] = ()
        self._thread: threading.Thread | None = None
        self._is_stopped = False

    def start(self) -> None:
        """Start the thread, unless it runs.  It ends by itself when there has been nothing to keep for a while.

        Raises PalError when the system gives no thread.
        """
        with self._lock:
            if self._loop is not None or self._is_stopped:
                return
            try:
                self._begin()
            except RuntimeError as error:
                self._end()
                raise PalError(f"There is no thread to keep seats with: {error}.", advice=NO_THREAD) from error
            except BaseException:  # Ctrl-C: there may be a thread or not, and the next call begins another
                self._end()
                raise

    def _begin(self) -> None:
        now = monotonic()
        self._loop = loop = Loop(self._transport, on_late=self._resumed)
        flows = (
            keep_renewing(self._leases, self._means, now=now),
            keep_watch(self._leases, self._means),
            keep_claiming(self._leases, self._means, now=now),
            keep_returning(self._leases, self._means, now=now),
            check_fit(self._leases, self._means, _warn_of_misfit, now=now),
        )
        self._tasks = tuple(loop.submit(flow, _ended) for flow in flows)
        loop.submit(until_idle(self._leases, now=now), self._rest)
        self._thread = threading.Thread(target=loop.run, name="palclient-keeper", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Have all flows look again.  From any thread; takes no lock."""
        for task in self._tasks:
            task.wake()

    def stop(self, within_s: float) -> None:
        """End the thread; waits for it for so long at most."""
        with self._lock:
            self._is_stopped = True
            thread = self._end()
        if thread is not None and thread is not threading.current_thread():
            thread.join(within_s)

    def forget(self) -> None:
        """In a forked child, where the thread does not exist."""
        if self._loop is not None:
            self._loop.forget()

    def _end(self) -> threading.Thread | None:
        loop, thread = self._loop, self._thread
        self._loop, self._thread, self._tasks = None, None, ()
        if loop is not None:
            loop.stop()
        return thread

    def _rest(self, _: object, error: BaseException | None) -> None:
        """There has been nothing to do for a while: end the thread, so that a client that is forgotten costs nothing.  ``start`` begins another."""
        with self._lock:
            loop = self._loop
            if error is None and loop is not None:
                if self._leases.is_empty:
                    self._end()
                else:  # a lease came just now
                    loop.submit(until_idle(self._leases, now=monotonic()), self._rest)

    def _resumed(self, gap_s: float) -> None:
        """The machine slept: whatever was connected is not any more, and every lease is to be confirmed before anything else."""
        self._transport.drop_connections()
        self._leases.all_due(monotonic())
        self._tell(Resumed(gap_s=gap_s))


def _warn_of_misfit(ttl_s: float, failover_s: float) -> None:
    log.write(
        "warning",
        "leases of %g s are too short for a triad whose failover takes up to %g s: a seat may be lost with its master. "
        "Have the servers grant leases of at least %.4g s, or lower HEARTBEAT_INTERVAL.",
        ttl_s,
        failover_s,
        least_ttl_s(failover_s),
    )


def _ended(_: object, error: BaseException | None) -> None:
    """A keeper's flow never ends but by ``stop``; should it fail, that must be heard."""
    if error is not None and not isinstance(error, ClientClosed):
        log.write("critical", "the keeper of the leases failed; they will run out", error=error)


class AnyCourier(Protocol):
    """Hands events to listeners, in order, and never to the thread that has one to tell."""

    dropped: int  # events that were too many

    def deliver(self, listener: Listener, event: Event) -> None:
        """Queue an event; never blocks."""

    def stop(self) -> None:
        """Deliver no more than what is queued."""


class Courier:
    """Delivers events in order on a thread of its own, so that a listener may be slow, may raise, and may call the API."""

    def __init__(self) -> None:
        self._queue: deque[tuple[Listener, Event]] = deque(maxlen=MAX_EVENTS)
        self._lock = threading.Lock()  # entered by itself: Ctrl-C in a condition's own method would leave it taken
        self._something = threading.Condition(self._lock)
        self._thread: threading.Thread | None = None
        self._is_stopped = False
        self.dropped = 0

    def deliver(self, listener: Listener, event: Event) -> None:
        """Queue an event.  Never blocks for longer than it takes to append."""
        with self._lock:
            if self._is_stopped:
                return
            self.dropped += len(self._queue) == MAX_EVENTS
            self._queue.append((listener, event))
            if self._thread is None:
                self._begin()
            self._something.notify()

    def _begin(self) -> None:
        thread = threading.Thread(target=self._run, name="palclient-events", daemon=True)
        with suppress(RuntimeError):  # the system gives no thread: with the next event it is asked again
            thread.start()
            self._thread = thread

    def stop(self) -> None:
        """End the thread when the queue is empty; does not wait for it: a listener may be slow."""
        with self._lock:
            self._is_stopped = True
            self._something.notify()

    def _run(self) -> None:
        while True:
            with self._lock:
                if self._thread is not threading.current_thread():  # Ctrl-C came when it was started, and another took its place
                    return
                while not self._queue:
                    if self._is_stopped or not self._something.wait(IDLE_S):
                        self._thread = None  # the next event begins another
                        return
                listener, event = self._queue.popleft()
            call_listener(listener, event, BaseException)  # here sys.exit() would end nothing but the telling


def identity(listener: Listener) -> object:
    """What tells one listener from another.  A method is made anew by each look at it, and equals itself."""
    return listener if hasattr(listener, "__self__") else id(listener)


def distinct(listeners: Iterable[Listener | None]) -> Iterable[Listener]:
    """Each listener once, however many leases it hears of: a failover of thousands is one event, and drops no others."""
    return {identity(listener): listener for listener in listeners if listener is not None}.values()


def call_listener(listener: Listener, event: Event, harmless: type[BaseException] = Exception) -> None:
    """Tell a listener.  What it raises is logged, and does no harm."""
    try:
        listener(event)
    except harmless as error:  # it is the application's code, and the seat must not depend on it; it is logged
        log.write("error", "a listener failed on %r", event, error=error)
