"""Seats that are returned when a signal ends the process, which Python's own exit does not see to."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

from palclient.errors import ConfigError
from palclient.lifetime import EXITS_S, close_all

NAMES = ("SIGTERM", "SIGHUP", "SIGBREAK")  # SIGBREAK is what closing a console window sends on Windows, which has no SIGHUP
WAIT_S = EXITS_S + 0.5


def install_signal_handlers() -> None:
    """Have all seats returned on SIGTERM and SIGHUP (Windows: SIGTERM and SIGBREAK); then what was there before runs.

    What was there before is kept: the end of the process by the signal, or a handler of the application's, which runs when the seats are back.  A signal
    that the process ignores (as under nohup) stays ignored.  Returning takes at most 2 s; afterwards every client raises ClientClosed.  Calling this twice is
    harmless.  Call it after the application has installed its own handlers.  Raises ConfigError on any thread but the main one.
    """
    if threading.current_thread() is not threading.main_thread():
        raise ConfigError(
            "Signal handlers can be installed on the main thread only: call install_signal_handlers there, at the start of the program."
        )
    for name in NAMES:
        number = getattr(signal, name, None)
        before = None if number is None else signal.getsignal(number)
        if number is None or before is None or before is signal.SIG_IGN or isinstance(before, ReturnFirst):
            continue
        signal.signal(number, ReturnFirst(None if before is signal.SIG_DFL else before))  # type: ignore[arg-type]  # not one of the two constants


def _send_to_main_thread(number: int) -> None:
    """There handlers run, and there a wait is to end."""
    ident = threading.main_thread().ident
    if sys.platform == "win32" or ident is None:
        signal.raise_signal(number)
    else:
        signal.pthread_kill(ident, number)


class ReturnFirst:
    """A signal's handler: returns all seats, then does what was done before.

    The returning has a thread of its own.  The handler may have interrupted its own thread in the middle of anything, also while that held a lock which the
    returning needs: then it lets go, and the thread sends the signal again when it is done.
    """

    def __init__(self, before: Callable[[int, FrameType | None], object] | None) -> None:
        self._before = before
        self._returned = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_awaited = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """What the interpreter calls, on the main thread."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._return, args=(number,), name="palclient-signal", daemon=True)
            self._thread.start()
        if not self._returned.wait(WAIT_S):
            self._is_awaited = True
            if not self._returned.is_set():
                return
        self._is_awaited = False
        self._go_on(number, frame)

    def _return(self, number: int) -> None:
        close_all()
        self._returned.set()
        if self._is_awaited:
            _send_to_main_thread(number)

    def _go_on(self, number: int, frame: FrameType | None) -> None:
        if self._before is not None:
            self._before(number, frame)
            return
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
