"""Many jobs at once, none of which may hold up the others for long (R8).

The jobs block in the operating system: a share of a machine that is off answers after minutes, and nothing can interrupt that.  So they run on daemon
threads which may be left behind.  The one thread that reads the results decides alone whether a job was late.
"""

from __future__ import annotations

from collections import Counter, deque
from contextlib import suppress
from itertools import count
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic, process_time, sleep
from typing import Generic, TypeVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Task = TypeVar("Task")
Result = TypeVar("Result")

RELIEF_S = 1.0  # a job that takes longer gets a stand-in, so that the others go on
SILENCES = 2  # jobs of one place that may end late in a row before the rest of that place is given up
THREADS_LIMIT = 1000  # those that are stuck included; each costs some address space and no time
_LOOK_S = 0.1  # how often late jobs are looked for
_POLL_S = 0.001  # how often results are looked for; to wake this thread for each would cost more than most jobs do
_ENOUGH = 2  # results a poll: when there are fewer, the jobs may wait for the system
_BUSY = (
    0.7  # of a processor: a process that uses more computes and does not wait, and in Python a second thread would only be in the way of the first
)


class Late:
    """In the place of a result: the job did not end in time, or (``was_tried`` is False) was not begun, since its place is silent."""

    __slots__ = ("was_tried",)

    def __init__(self, *, was_tried: bool) -> None:
        self.was_tried = was_tried


class _Job(Generic[Task]):
    """A task that a thread has begun.  ``is_relieved``: another thread has been started in that thread's place."""

    __slots__ = ("began_s", "is_relieved", "number", "task")

    def __init__(self, number: int, task: Task) -> None:
        self.number = number
        self.task = task
        self.began_s = monotonic()
        self.is_relieved = False


class Crew(Generic[Task, Result]):
    """Does ``work(task, is_wanted)`` for every task that is added, on as many threads as help, up to ``jobs``: on a quick disk more would be in each other's way.

    ``is_wanted()`` tells a job whether anybody still waits for it, which ends after ``timeout_s`` seconds.  ``place_of(task)`` names the machine or folder that tasks have in common.
    ``used_s()`` tells how long this process has computed.
    """

    def __init__(
        self,
        work: Callable[[Task, Callable[[], bool]], Result],
        *,
        jobs: int,
        timeout_s: float,
        place_of: Callable[[Task], str],
        threads_limit: int = THREADS_LIMIT,
        used_s: Callable[[], float] = process_time,
    ) -> None:
        self._work = work
        self._jobs = jobs
        self._timeout_s = timeout_s
        self._place_of = place_of
        self._inbox: SimpleQueue[Task | None] = SimpleQueue()
        self._outbox: deque[tuple[_Job[Task], Result | Late | BaseException]] = deque()
        self._numbers = count()
        self._running: dict[int, _Job[Task]] = {}
        self._open = 0  # tasks without a result
        self._threads: list[Thread] = []
        self._threads_limit = threads_limit
        self._used_s = used_s
        self._free = 0  # threads of which none is known to be stuck
        self._silences: Counter[str] = Counter()
        self._is_over = False

    def add(self, task: Task) -> None:
        """One more thing to do.  Only from the thread that reads the results."""
        self._open += 1
        self._inbox.put(task)

    def results(self) -> Iterator[tuple[Task, Result | Late]]:
        """Each task with its result, in the order in which they end.  Tasks may be added meanwhile.  Blocks.  Whatever ends it, no thread begins another job."""
        moved_at = look_at = slept_at = monotonic()
        used_s = self._used_s()
        try:
            while self._open:
                now, before = monotonic(), self._open
                ended, has_waiting = len(self._outbox), not self._inbox.empty()
                for _ in range(ended):
                    yield from self._taken(*self._outbox.popleft())
                is_slow = ended < _ENOUGH and has_waiting and self._used_s() - used_s < _BUSY * (now - slept_at)
                if self._free < min(self._jobs, self._open) and (is_slow or not self._free):
                    self._hire()
                if now >= look_at:
                    look_at = now + _LOOK_S
                    yield from self._late_ones(now)
                if self._open < before or self._free:
                    moved_at = now
                elif now > moved_at + self._timeout_s:  # all threads are stuck, and there may be no more of them
                    yield from self._untried()
                slept_at, used_s = monotonic(), self._used_s()
                sleep(_POLL_S)
        finally:
            self._is_over = True
            for _ in self._threads:
                self._inbox.put(None)

    def _hire(self) -> None:
        if len(self._threads) >= self._threads_limit:
            self._threads = [thread for thread in self._threads if thread.is_alive()]
        if len(self._threads) < self._threads_limit:
            self._free += 1
            self._threads.append(Thread(target=self._serve, name="palclient-redirect", daemon=True))
            self._threads[-1].start()

    def _taken(self, job: _Job[Task], result: Result | Late | BaseException) -> Iterator[tuple[Task, Result | Late]]:
        if self._running.pop(job.number, None) is None:
            return  # was late
        if isinstance(result, BaseException):
            raise result
        self._open -= 1
        if self._silences and not isinstance(result, Late):
            self._silences.pop(self._place_of(job.task), None)
        yield job.task, result

    def _untried(self) -> Iterator[tuple[Task, Late]]:
        with suppress(Empty):
            while (task := self._inbox.get_nowait()) is not None:
                self._open -= 1
                yield task, Late(was_tried=False)

    def _late_ones(self, now: float) -> Iterator[tuple[Task, Late]]:
        for job in self._running.copy().values():
            age_s = now - job.began_s
            if age_s > min(RELIEF_S, self._timeout_s) and not job.is_relieved:
                job.is_relieved = True  # its thread ends with it
                self._free -= 1
            if age_s > self._timeout_s and self._running.pop(job.number, None) is not None:
                self._open -= 1
                self._silences[self._place_of(job.task)] += 1
                yield job.task, Late(was_tried=True)

    def _serve(self) -> None:
        while (task := self._inbox.get()) is not None and not self._is_over:
            job = _Job(next(self._numbers), task)
            self._running[job.number] = job
            self._outbox.append((job, self._result_of(job)))
            if job.is_relieved:
                return

    def _result_of(self, job: _Job[Task]) -> Result | Late | BaseException:
        try:
            if self._silences and self._silences[self._place_of(job.task)] >= SILENCES:
                return Late(was_tried=False)
            return self._work(job.task, lambda: job.number in self._running and not self._is_over)
        except BaseException as error:  # noqa: BLE001 - it is raised where the results are read, on the thread of whoever called
            return error
