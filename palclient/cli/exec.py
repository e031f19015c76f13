"""``palclient exec``: runs a command for as long as it needs, and holds a seat meanwhile."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from palclient.cli.screen import complain
from palclient.models import Lost, Reacquired

if TYPE_CHECKING:
    from collections.abc import Callable

    from palclient.models import Event

FAILED, CANNOT_RUN, NOT_FOUND, BY_SIGNAL = 1, 126, 127, 128  # the last three as of a shell
FORWARDED = ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")
FROM_TERMINAL = ("SIGINT", "SIGQUIT", "SIGBREAK")  # a terminal sends these to the command as well
GRACE_S = 10.0  # between asking a command to end and ending it


def add_to(commands: Any) -> None:
    """Declare the command and its options."""
    parser: argparse.ArgumentParser = commands.add_parser("exec", help="run a command while holding a seat")
    parser.add_argument("feature", metavar="FEATURE", help="what to check out")
    parser.add_argument("command", metavar="COMMAND", nargs="+", help="after --: the program and its arguments")
    parser.add_argument("--count", metavar="N", type=int, default=1, help="seats (default 1)")
    parser.add_argument(
        "--wait", metavar="S", type=float, default=0.0, help="seconds to stand in line when the pool is full; inf: for ever (default 0)"
    )
    parser.add_argument("--timeout", metavar="S", type=float, default=10.0, help="seconds to look for a serving master (default 10)")
    parser.add_argument(
        "--on-loss", choices=("warn", "stop"), default="warn", help="if the seat is lost: say so, or end the command, too (default warn)"
    )
    parser.add_argument("--servers", metavar="SERVERNAME", help="these servers, not those of the configuration")
    parser.add_argument("--ini", metavar="FILE", help="take SERVERNAME from this INI file")
    parser.set_defaults(run=run)


def split(argv: list[str]) -> tuple[list[str], list[str]]:
    """The words up to the command's first, and the rest, which is the command's own: argparse would take a second ``--`` out of it."""
    cut = argv.index("--") + 2 if argv[:1] == ["exec"] and "--" in argv else len(argv)
    return argv[:cut], argv[cut:]


def run(options: argparse.Namespace) -> int:
    """The exit code of the command, 128 and the number for one that a signal ended; 126 and 127 when it cannot be started, 1 when a loss ended it."""
    from palclient.client import Client

    must_stop = options.on_loss == "stop"
    with Command(options.command) as command:
        watch = watcher(options.feature, command.stop if must_stop else None)
        with Client(options.servers, ini=options.ini, on_event=watch, reacquire="never" if must_stop else "auto") as client:
            _held = client.checkout(options.feature, count=options.count, wait=options.wait, timeout=options.timeout)  # until the client is closed
            return command.run()


def watcher(feature: str, stop: Callable[[], None] | None) -> Callable[[Event], None]:
    """A listener that tells a person of a loss, and calls ``stop``."""

    def watch(event: Event) -> None:
        if isinstance(event, Lost):
            complain(f"palclient: the seat of {feature} is lost: {event.reason}" + ("; the command is ended" if stop else ""))
            if stop is not None:
                stop()
        elif isinstance(event, Reacquired) and not event.same_seat:
            complain(f"palclient: a seat of {feature} is held again")

    return watch


class Command:
    """A program that runs as a child of this process, which hands on the signals that it gets for it.

    Within the ``with`` block, while the program has not been started, a signal ends this process in good order: seats are returned.
    """

    def __init__(self, words: list[str]) -> None:
        self._words = words
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = threading.Event()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for name in FORWARDED + FROM_TERMINAL:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # under nohup both go on ignoring it
                self._before[number] = signal.signal(number, self._hand_on)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def run(self) -> int:
        """Start the program and wait for its end; gives the exit code."""
        if self._stopped.is_set():
            return FAILED
        try:
            self._process = subprocess.Popen(self._words)
        except FileNotFoundError as error:
            complain(f"palclient: {self._words[0]}: {error.strerror}")
            return NOT_FOUND
        except OSError as error:
            complain(f"palclient: {self._words[0]}: {error.strerror}")
            return CANNOT_RUN
        code = self._process.wait()
        if self._stopped.is_set():
            return FAILED
        return code if code >= 0 else BY_SIGNAL - code

    def stop(self) -> None:
        """Ask the program to end, and end it when it has not done so within 10 s, which this waits for.  From any thread."""
        self._stopped.set()
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def _hand_on(self, number: int, _frame: FrameType | None) -> None:
        if self._process is None:
            if signal.Signals(number).name == "SIGINT":
                raise KeyboardInterrupt
            sys.exit(BY_SIGNAL + number)
        if signal.Signals(number).name in FORWARDED or not _is_at_terminal():
            self._process.send_signal(number)


def _is_at_terminal() -> bool:
    """Whether Ctrl-C reaches the program by itself: it shares this process's terminal, in the foreground."""
    is_told = True  # on Windows a console tells all its processes
    if sys.platform != "win32":
        try:
            is_told = os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
        except (OSError, ValueError):  # no terminal; no standard input at all
            is_told = False
    return is_told
