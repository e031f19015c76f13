"""One node as a child process: start it, kill it, freeze it, and know what became of it."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fakeserver.lifeline import Midwife, Watcher, has_changed, where_modules_are
from fakeserver.nursery import Forked, Nursery, NurseryGone
from fakeserver.settings import DEFAULT_PORTS, Settings, named
from palclient.errors import PalError

if TYPE_CHECKING:
    from fakeserver.faults import Fault

START_LIMIT_S = 20.0  # importing takes 0.3 s; twenty triads may start at once on a small machine
STOP_LIMIT_S = 5.0  # beside the failover time, within which a handover succeeds or is given up
ORDER_LIMIT_S = 10.0  # an order takes a millisecond, and there may be many triads on a small machine
SIGNAL_LIMIT_S = 5.0  # the kernel needs microseconds, unless the machine is out of memory

OWN_GROUP: int = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)  # what a session of its own is on Windows

STDERR = "stderr.txt"

BOOT = "import sys; sys.path[:] = {path!r}; from fakeserver.__main__ import run_child; sys.exit(run_child({listener!r}))"
"""The child finds its modules where this process found them, however that came about."""

CAN_HAND_OVER_SOCKETS = os.name == "posix"
HAS_SPARE_BIND = sys.platform == "linux"  # elsewhere a second socket cannot be bound to a port, be the first silent or not


class FakeTriadError(PalError):
    """A fake triad that could not do what was asked of it."""


def require_packages() -> None:
    """Raise FakeTriadError when what the optional extra ``fakeserver`` brings is not installed."""
    missing = [name for name in ("starlette", "uvicorn") if find_spec(name) is None]
    if missing:
        raise FakeTriadError(
            f"The fake triad needs {' and '.join(missing)}, not installed for {sys.executable}.", advice="pip install 'palclient[fakeserver]'"
        )


class Port:
    """A port of the loopback interface, kept for one node; 0 for one of the kernel's choice, None for the first free one of 27000 to 27009 (T13).

    On Linux a second socket, bound and silent, keeps the port from being given to anybody else while no process listens; connections to it are
    refused.
    """

    def __init__(self, host: str, port: int | None) -> None:
        self._spare: socket.socket | None = first_free(host) if port is None else bound(host, port)
        self.address: tuple[str, int] = self._spare.getsockname()[:2]

    def hand_over(self) -> socket.socket | None:
        """A listening socket for the node's process, to be closed here when it has it; None where the process must bind the port itself."""
        if not CAN_HAND_OVER_SOCKETS:
            self.release()
            return None
        if HAS_SPARE_BIND or self._spare is None:
            listener = bound(*self.address)
        else:
            listener, self._spare = self._spare, None
        listener.listen(2048)  # uvicorn's own number
        return listener

    def release(self) -> None:
        """Let go of the port."""
        if self._spare is not None:
            self._spare.close()
            self._spare = None


class NodeProcess:
    """The process of one node; between ``kill`` and ``start`` there is none.  ``is_near``: an order costs less than a request."""

    is_near = False

    def __init__(
        self, settings: Settings, port: Port, *, midwife: Midwife, watcher: Watcher | None, nursery: Callable[[], Nursery | None] = lambda: None
    ) -> None:
        self.settings = settings
        self._port = port
        self._midwife = midwife
        self._watcher = watcher
        self._nursery = nursery
        self._process: subprocess.Popen[bytes] | Forked | None = None
        self._is_paused = False
        self._heard = b""
        self._orders = 0
        self._answers: dict[int, dict[str, Any]] = {}
        self._turn = threading.RLock()  # whoever waits for an answer keeps those of others for them

    @property
    def is_running(self) -> bool:
        """Whether there is a process, be it frozen."""
        process = self._process  # another thread may be about to end it
        return process is not None and process.poll() is None

    @property
    def is_paused(self) -> bool:
        """Whether the process is frozen by ``pause``."""
        return self.is_running and self._is_paused

    @property
    def pid(self) -> int | None:
        """The process id, None while there is no process."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    @property
    def last_words(self) -> str:
        """What the node said on stderr since its last start: why it ended by itself, if it did; else empty."""
        try:
            return (Path(self.settings.folder) / STDERR).read_text(encoding="utf-8", errors="replace").strip()
        except FileNotFoundError:
            return ""

    def launch(self, faults: Sequence[Fault] = ()) -> None:
        """Start the process, which plays these faults from the start, without waiting for it: ``wait_ready`` does."""
        from fakeserver.faults import to_json  # half of what the command line would load before it starts the nursery

        self._forget()
        self._is_paused = False
        self._heard = b""
        self._answers.clear()
        folder = Path(self.settings.folder)
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / STDERR, "wb") as stderr:
            self._process, parent = self._born(stderr.fileno())
        words = {"settings": self.settings.to_json(), "parent": parent, "faults": [to_json(fault) for fault in faults]}
        self._tell(self._process, json.dumps(words))
        if self._watcher is not None:
            self._watcher.add(self._process.pid)

    def _born(self, stderr: int) -> tuple[subprocess.Popen[bytes] | Forked, int]:
        """A process for the node, and the number of its parent."""
        listener = self._port.hand_over()
        try:
            nursery = self._nursery()
            if nursery is not None and listener is not None:
                try:
                    return nursery.bear(stderr, listener.fileno()), nursery.pid
                except NurseryGone:
                    pass  # then as where there is none
            return self._midwife.call(lambda: self._spawned(stderr, listener)), os.getpid()
        finally:
            if listener is not None:
                listener.close()  # or the port would still accept when the node is dead

    def _spawned(self, stderr: int, listener: socket.socket | None) -> subprocess.Popen[bytes]:
        descriptor = None if listener is None else listener.fileno()
        return subprocess.Popen(
            [sys.executable, "-c", BOOT.format(path=where_modules_are(), listener=descriptor), self.settings.role],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            pass_fds=() if descriptor is None else (descriptor,),
            start_new_session=True,  # Ctrl-C in the user's terminal is for the user's program
            creationflags=OWN_GROUP,
        )

    def wait_ready(self) -> None:
        """Wait until the node serves its port.  Raises FakeTriadError, with the node's own words, when it ends instead."""
        process = self._process
        assert process is not None
        assert process.stdout is not None
        guard = threading.Timer(START_LIMIT_S, process.kill)
        guard.name = "fakeserver start guard"
        guard.start()
        try:
            line = process.stdout.readline()
        finally:
            guard.cancel()
            guard.join()
        if line.strip() != b"ready":
            process.wait(SIGNAL_LIMIT_S)
            self._forget()
            role, code = self.settings.role, process.returncode
            raise FakeTriadError(self.last_words or f"The {role} at {named(self.settings.address)} did not start: exit code {code}, and not a word.")

    # --- orders ---------------------------------------------------------------------------------------------------------------------

    def order(self, name: str, /, **words: object) -> dict[str, Any]:
        """Have the node do something (see ``orders``), and give its answer.

        Raises ValueError or NotImplementedError for what it cannot do, FakeTriadError when it has ended, or does not answer in time.
        """
        return self.hear(self.tell(name, **words))

    def tell(self, name: str, /, **words: object) -> int:
        """Give an order, without waiting; the number by which its answer is heard.  A frozen process does it as the first thing when it goes on."""
        with self._turn:
            process = self._process
            if process is None:
                raise FakeTriadError(f"The {self.settings.role} is down.")
            self._orders += 1
            self._tell(process, json.dumps({"order": name, "number": self._orders, **words}))
            return self._orders

    def hear(self, number: int, *, limit_s: float = ORDER_LIMIT_S) -> dict[str, Any]:
        """The answer to an order, within ``limit_s`` seconds.  Raises as ``order`` does."""
        deadline = time.monotonic() + limit_s
        with self._turn:
            while number not in self._answers:
                heard = json.loads(self._hear_line(deadline))
                self._answers[heard["number"]] = heard
            answer = self._answers.pop(number)
        if "error" in answer:
            raise (NotImplementedError if answer["is_not_played"] else ValueError)(answer["error"])
        return answer

    def _hear_line(self, deadline: float) -> bytes:
        while b"\n" not in self._heard:
            process = self._process
            if process is None or process.stdout is None:
                raise FakeTriadError(f"The {self.settings.role} is down.")
            descriptor = process.stdout.fileno()
            if not _has_more(descriptor, max(deadline - time.monotonic(), 0.0)):
                raise FakeTriadError(f"The {self.settings.role} did not do in time what it was ordered to.")
            chunk = os.read(descriptor, 65536)
            if not chunk:
                raise FakeTriadError(f"The {self.settings.role} has ended. {self.last_words}".rstrip())
            self._heard += chunk
        line, _, self._heard = self._heard.partition(b"\n")
        return line

    # --- the end, and the ice -------------------------------------------------------------------------------------------------------

    def strike(self) -> None:
        """SIGKILL, also to a frozen process, without waiting."""
        if self._process is not None:
            self._process.kill()

    def kill(self) -> None:
        """SIGKILL; when this returns the process is gone and its port refuses."""
        self.strike()
        if self._process is not None:
            self._process.wait(SIGNAL_LIMIT_S)
        self._forget()

    def stop(self) -> None:
        """Ask for an orderly end, and wait for it.  A process that does not end in time is killed, and FakeTriadError says so."""
        if self._process is None or not self.is_running:
            self._forget()
            return
        limit_s = STOP_LIMIT_S + self.settings.failover_s
        self._tell(self._process, "stop")
        try:
            self._process.wait(limit_s)
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise FakeTriadError(f"The {self.settings.role} did not stop within {limit_s:g} s, and was killed.") from error
        self._forget()

    def pause(self) -> None:
        """SIGSTOP; when this returns, nothing runs there any more."""
        if not self.is_paused:
            self._signal("SIGSTOP", "WSTOPPED")
            self._is_paused = True

    def resume(self) -> None:
        """SIGCONT, after ``pause``."""
        if self.is_paused:
            self._signal("SIGCONT", "WCONTINUED")
            self._is_paused = False

    def _signal(self, name: str, flag: str) -> None:
        if not hasattr(signal, name):
            raise NotImplementedError(f"{name}: freezing a process is not played on this platform yet")
        process = self._process
        if process is None or not self.is_running:
            raise FakeTriadError(f"The {self.settings.role} is down; only a running node can be frozen.")
        process.send_signal(getattr(signal, name))
        if sys.platform == "linux":  # macOS has no such call before Python 3.13
            self._wait_changed(process, getattr(os, flag))

    @staticmethod
    def _wait_changed(process: subprocess.Popen[bytes] | Forked, flag: int) -> None:
        """Wait until the kernel says that the process has stopped, or gone on."""
        deadline = time.monotonic() + SIGNAL_LIMIT_S
        while not (process.has_changed(flag) if isinstance(process, Forked) else has_changed(process.pid, flag)):
            if time.monotonic() > deadline:
                raise FakeTriadError(f"Process {process.pid} did not heed a signal within {SIGNAL_LIMIT_S:g} s.")
            time.sleep(0.0002)

    @staticmethod
    def _tell(process: subprocess.Popen[bytes] | Forked, line: str) -> None:
        assert process.stdin is not None
        try:
            process.stdin.write(line.encode("utf-8") + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended; whoever waits for it will see that

    def _forget(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if self._watcher is not None:
            self._watcher.remove(process.pid)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):  # a last order that nobody reads
                    pipe.close()


def _has_more(pipe: int, limit_s: float) -> bool:
    """Whether there is something to read, or its end, within ``limit_s`` seconds.  On Windows one finds out by reading."""
    if sys.platform != "win32":
        waiting = select.poll()  # select() knows no descriptor above 1023
        waiting.register(pipe, select.POLLIN)
        if not waiting.poll(limit_s * 1000):
            return False
    return True


def first_free(host: str) -> socket.socket:
    """A socket bound to the first free port of 27000 to 27009 (T13).  Raises FakeTriadError when there is none."""
    refused: list[FakeTriadError] = []
    for port in DEFAULT_PORTS:
        try:
            return bound(host, port)
        except FakeTriadError as error:
            refused.append(error)
    raise FakeTriadError(f"No port of {DEFAULT_PORTS[0]} to {DEFAULT_PORTS[-1]} of {host} is free.") from refused[0]


def bound(host: str, port: int) -> socket.socket:
    """A socket bound to a port; 0 for a free one.  Raises FakeTriadError when it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # named, or asyncio does not see that it may switch Nagle off
    try:
        if os.name == "posix":  # a port whose last connections are not forgotten yet; on Windows the option means something else
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise FakeTriadError(f"Port {port} of {host} cannot be had: {error.strerror or error}.") from error
    return bound
