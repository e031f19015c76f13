"""Processes that must not outlive whoever started them: the watcher of the platforms whose kernel does not see to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fakeserver.lifeline import Midwife, Watcher, watch_commands

pytestmark = [pytest.mark.real, pytest.mark.skipif(os.name != "posix", reason="the watcher is for POSIX; Windows has no SIGSTOP")]

LIMIT_S = 10.0
IDLE = [sys.executable, "-I", "-S", "-c", "import sys; sys.stdin.read()"]


@contextmanager
def idle_process() -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits for the end of the block."""
    with subprocess.Popen(IDLE, stdin=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def test_the_watcher_kills_what_is_left_frozen_or_not_and_nothing_else() -> None:
    """Issue "the main job": no process is left behind.  A process that was struck off is another's business."""
    with idle_process() as frozen, idle_process() as running, idle_process() as struck_off:
        os.kill(frozen.pid, signal.SIGSTOP)
        watcher = Watcher()
        for process in (frozen, running, struck_off):
            watcher.add(process.pid)
        watcher.remove(struck_off.pid)
        watcher.close()
        assert (frozen.wait(LIMIT_S), running.wait(LIMIT_S)) == (-signal.SIGKILL, -signal.SIGKILL)
        assert struck_off.poll() is None


def test_commands_are_read_line_by_line_until_the_pipe_ends() -> None:
    """What a node hears from its parent, and that the thread which listens ends with the pipe."""
    reading, writing = os.pipe()
    lines: list[str] = []
    ended = threading.Event()
    thread = watch_commands(reading, on_line=lines.append, on_end=ended.set)
    os.write(writing, b"stop\nst")
    os.write(writing, b"op\nunfinished")
    os.close(writing)
    thread.join(LIMIT_S)
    os.close(reading)
    assert (lines, ended.is_set(), thread.is_alive()) == (["stop", "stop"], True, False)


def test_the_thread_that_starts_processes_ends_when_it_is_closed() -> None:
    """Style 16: every thread has a name, an owner, and a test that it ends.  What a start raises, the caller gets."""
    midwife = Midwife()
    name = midwife.call(lambda: threading.current_thread().name)
    assert name == "fakeserver midwife"
    assert name in {thread.name for thread in threading.enumerate()}
    with pytest.raises(ZeroDivisionError):
        midwife.call(lambda: 1 / 0)
    midwife.close()
    assert name not in {thread.name for thread in threading.enumerate()}
