"""No node process outlives the one that started it, whatever ends that one.

Every node holds the reading end of a pipe and ends itself when the other end closes.  A process that is frozen (SIGSTOP) reads nothing: on Linux
the kernel kills it when its parent dies; elsewhere a small watcher process, which nobody freezes, does.  Windows freezes nothing.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import cache
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")

WATCH = """
import os, signal, sys
pids = set()
for line in sys.stdin:
    pid = int(line)
    pids.add(pid) if pid > 0 else pids.discard(-pid)
for pid in pids:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
"""
"""The watcher: process ids come in on stdin, negative ones are struck off; at its end all that are left are killed."""

NEEDS_WATCHER = os.name == "posix" and sys.platform != "linux"

EXIT_S = 5.0  # neither watcher nor midwife has anything left to do then


def has_changed(pid: int, flag: int) -> bool:
    """Whether a child of this process has stopped, or gone on (WSTOPPED, WCONTINUED), or ended; that it has ended is left for others to learn."""
    if sys.platform == "linux":
        if os.waitid(os.P_PID, pid, flag | os.WNOHANG | os.WNOWAIT | os.WEXITED) is None:
            return False
        os.waitid(os.P_PID, pid, flag | os.WNOHANG)
    return True


def where_modules_are() -> list[str]:
    """``sys.path`` for a process that starts in another folder.  What importing passes over is left out: no text, or below a folder that is gone."""
    found = []
    for each in sys.path:
        if isinstance(each, str):
            with suppress(FileNotFoundError):
                found.append(str(Path(each).absolute()))
    return found


class ParentGone(Exception):
    """The parent died before its child could ask to die with it."""


def die_with_parent(parent_pid: int) -> None:
    """In a child, on Linux: let the kernel kill this process when the thread that started it ends.  Raises ParentGone when it has ended already."""
    if sys.platform == "linux":
        set_parent_death_signal = 1  # PR_SET_PDEATHSIG of <linux/prctl.h>
        prctl, get_errno = load_prctl()
        if prctl(set_parent_death_signal, int(signal.SIGKILL), 0, 0, 0) != 0:
            raise OSError(get_errno(), "the kernel does not let this process die with its parent")
        if os.getppid() != parent_pid:
            raise ParentGone


@cache
def load_prctl() -> tuple[Callable[..., int], Callable[[], int]]:
    """The system call, and what tells why it failed.  Loading takes some milliseconds, once."""
    import ctypes

    return ctypes.CDLL(None, use_errno=True).prctl, ctypes.get_errno


def watch_commands(descriptor: int, *, on_line: Callable[[str], object], on_end: Callable[[], object]) -> threading.Thread:
    """Read lines of the parent's pipe on a daemon thread of its own, which nothing on the main thread can hold up; then call ``on_end``."""

    def read() -> None:
        rest = b""
        while chunk := os.read(descriptor, 4096):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                on_line(line.decode("utf-8"))
        on_end()

    thread = threading.Thread(target=read, name="fakeserver lifeline", daemon=True)
    thread.start()
    return thread


class Midwife:
    """Starts processes from one thread that lives until ``close``, or as long as this process.

    To Linux the parent of a process is the thread that started it, and a user's thread may end long before the triad does.
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="fakeserver midwife", daemon=True)
        self._begin = threading.Lock()

    def call(self, start: Callable[[], T]) -> T:
        """Run ``start`` there; give what it gives, raise what it raises.  Blocks as long as it does."""
        with self._begin:
            if self._thread.ident is None:
                self._thread.start()  # not before: where there is a nursery nobody calls
        future: Future[T] = Future()
        self._calls.put(lambda: _settle(future, start))
        return future.result()

    def close(self) -> None:
        """End the thread; what it started and still runs dies, on Linux."""
        if self._thread.ident is not None:
            self._calls.put(None)
            self._thread.join(EXIT_S)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()


def _settle(future: Future[T], start: Callable[[], T]) -> None:
    try:
        future.set_result(start())
    except BaseException as error:  # noqa: BLE001 - not swallowed: it is raised where the result is asked for
        future.set_exception(error)


class Watcher:
    """Kills the processes it was told of when this process ends, or at ``close``.  For POSIX systems whose kernel does not do that."""

    def __init__(self) -> None:
        command = [sys.executable, "-I", "-S", "-c", WATCH]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    def add(self, pid: int) -> None:
        """Watch over a process."""
        self._tell(pid)

    def remove(self, pid: int) -> None:
        """Forget a process: it was reaped, and its number may be another's soon."""
        self._tell(-pid)

    def close(self) -> None:
        """Kill what is left, and end the watcher."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=EXIT_S)

    def _tell(self, number: int) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b"%d\n" % number)
        self._process.stdin.flush()
