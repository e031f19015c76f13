"""Where the nodes of this process's triads are born: a process of our own, of which they are forks.  Linux alone; elsewhere each is started anew.

It is started with the first triad, serves all, and ends when this process does, however that ends.  See ``cradle`` for its inside.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import cache
from typing import Any, BinaryIO

from fakeserver.lifeline import where_modules_are

BOOT = "import sys; sys.path[:] = {path!r}; from fakeserver.cradle import main; main({owner})"
ANSWER_LIMIT_S = 20.0  # its first answer comes when it has imported everything
KILLED = -9  # the exit code of a node that died with its nursery


class NurseryGone(Exception):
    """The nursery has ended, or does not answer, or cannot do it."""


class Nursery:
    """The owner's end.  It may be used from several threads, but not in a process that was forked off since."""

    def __init__(self) -> None:
        """Raises OSError when there can be no such process here."""
        self._turn = threading.Lock()
        self._control, theirs = socket.socketpair()
        self._control.settimeout(ANSWER_LIMIT_S)
        command = [sys.executable, "-c", BOOT.format(path=where_modules_are(), owner=os.getpid())]
        nothing = subprocess.DEVNULL
        try:
            self._process = subprocess.Popen(command, stdin=theirs.fileno(), stdout=nothing, stderr=nothing, cwd="/", start_new_session=True)
        except OSError:
            self._control.close()
            raise
        finally:
            theirs.close()
        self.pid = self._process.pid
        self.close = weakref.finalize(self, _hang_up, self._control, self._process, os.getpid())  # also at the end of the program

    @property
    def is_alive(self) -> bool:
        """Whether nodes can be born here; not in a fork of the owner, whose child it is not."""
        return self.close.alive and self._process.poll() is None

    def bear(self, stderr: int, listener: int) -> Forked:
        """A new node process, which waits for its settings.  Raises NurseryGone, or OSError when this process may open no more."""
        with ExitStack() as theirs, ExitStack() as ours:
            stdin, tell = os.pipe()
            theirs.callback(os.close, stdin)
            orders = ours.enter_context(open(tell, "wb"))
            hear, stdout = os.pipe()
            theirs.callback(os.close, stdout)
            answers = ours.enter_context(open(hear, "rb"))
            pid = self.ask({"do": "fork"}, (stdin, stdout, stderr, listener))["pid"]
            node = Forked(self, pid, stdin=orders, stdout=answers)
            ours.pop_all()
        return node

    def ask(self, words: dict[str, object], descriptors: Sequence[int] = ()) -> dict[str, Any]:
        """One request and its answer.  Raises NurseryGone."""
        with self._turn:
            try:
                answer = self._exchange(json.dumps(words).encode() + b"\n", descriptors)
            except BaseException as error:  # Ctrl-C, too
                self.close()  # what is half said cannot be taken up again: the next would hear the answer to this
                if isinstance(error, OSError):
                    raise NurseryGone from error
                raise
        result: dict[str, Any] = json.loads(answer)
        if "error" in result:
            raise NurseryGone(result["error"])
        return result

    def _exchange(self, line: bytes, descriptors: Sequence[int]) -> bytes:
        _send(self._control, line, descriptors)
        answer = b""
        while not answer.endswith(b"\n"):
            chunk = self._control.recv(4096)
            if not chunk:
                raise NurseryGone
            answer += chunk
        return answer


class Forked:
    """A process of the nursery, with as much of the face of ``subprocess.Popen`` as a node's owner looks at."""

    _pidfd: int

    def __init__(self, nursery: Nursery, pid: int, *, stdin: BinaryIO, stdout: BinaryIO) -> None:
        self.pid = pid
        self.stdin = stdin
        self.stdout = stdout
        self.returncode: int | None = None
        self._nursery = nursery
        self._turn = threading.Lock()
        if sys.platform == "linux":
            self._pidfd = os.pidfd_open(pid)  # not reaped yet, so the number is its own
        weakref.finalize(self, os.close, self._pidfd)

    def poll(self) -> int | None:
        """The exit code, once it has ended."""
        with self._turn:
            if self.returncode is None and self._has_ended(0):
                try:
                    self.returncode = int(self._nursery.ask({"do": "reap", "pid": self.pid})["code"])
                except NurseryGone:
                    self.returncode = KILLED
            return self.returncode

    def wait(self, timeout: float) -> int:
        """Wait for its end, at most ``timeout`` seconds; then raise subprocess.TimeoutExpired."""
        if self.returncode is None:
            self._has_ended(timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired("a node", timeout)
        return code

    def _has_ended(self, limit_s: float) -> bool:
        if sys.platform == "linux":
            end = select.poll()  # one for each call: several threads may wait
            end.register(self._pidfd, select.POLLIN)
            if not end.poll(limit_s * 1000):
                return False
        return True

    def send_signal(self, number: int) -> None:
        """To this process, or to none."""
        if self.poll() is None and sys.platform == "linux":
            with suppress(ProcessLookupError):  # it ended just now
                signal.pidfd_send_signal(self._pidfd, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(-KILLED)

    def has_changed(self, flag: int) -> bool:
        """Whether it has stopped, or gone on (WSTOPPED, WCONTINUED), or ended."""
        try:
            return self.returncode is not None or bool(self._nursery.ask({"do": "changed", "pid": self.pid, "flag": flag})["changed"])
        except NurseryGone:
            return True


def _send(control: socket.socket, line: bytes, descriptors: Sequence[int]) -> None:
    if sys.platform == "linux":
        sent = socket.send_fds(control, [line], descriptors)
        control.sendall(line[sent:])


def nursery() -> Nursery | None:
    """This process's own; None where there can be none, and each node must be started by itself."""
    if sys.platform == "linux" and _can_be():
        with _turn(os.getpid()), suppress(OSError):
            if not _nursery(os.geteuid()).is_alive:
                _nursery.cache_clear()
            return _nursery(os.geteuid())
    return None


@cache
def _nursery(_user: int) -> Nursery:
    """One for each user that this process ever is: one's processes are not another's to kill."""
    return Nursery()


@cache
def _turn(_pid: int) -> threading.Lock:
    return threading.Lock()


@cache
def _can_be() -> bool:
    """Whether this is a Linux that tells of a process's end by a descriptor (5.3)."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.close(os.pidfd_open(os.getpid()))
            return True
    return False


def _hang_up(control: socket.socket, process: subprocess.Popen[bytes], owner: int) -> None:
    """End the nursery, and with it what was born there.  In a process that was forked off since it is not ours to end."""
    if os.getpid() == owner:
        process.kill()  # a fork may have a copy of ``control``, so closing is not enough
        process.wait()
    control.close()
