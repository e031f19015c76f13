"""Programs of their own that use palclient: what they do is seen from outside, by what they print and by the seats that servers count.

A child says where it is by printing a line; ``wait_for`` it.  It goes on when it is told a line on its standard input.
"""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parents[1]
LIMIT_S = 15.0
POLL_S = 0.005


def wait_until(condition: Callable[[], bool], what: str, limit_s: float = LIMIT_S) -> None:
    """Wait for a condition, to a deadline."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {limit_s:g} s: {what}"
        time.sleep(POLL_S)


def clean_environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Ours, without what would tell a child of other servers, and with the sources on its path."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PALCLIENT_", "NO_COLOR", "FORCE_COLOR"))}
    return kept | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"} | dict(more or {})


class Child:
    """A Python program under way.  The end of the ``with`` block kills it if it still runs.

    ``program`` is its source, or with ``module`` the name of a module to run; ``said`` holds its lines so far.
    """

    def __init__(self, program: str, *arguments: str, module: bool = False, environment: Mapping[str, str] | None = None) -> None:
        command = [sys.executable, *(["-m", program] if module else ["-c", program]), *arguments]
        self.process = subprocess.Popen(
            command,
            env=clean_environment(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said: list[str] = []
        self.complained = ""
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=read, name="child-output", daemon=True) for read in (self._read_lines, self._read_talk)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.process.kill()
        self.end()

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    def wait_for(self, words: str) -> str:
        """The next line with these words."""
        deadline = time.monotonic() + LIMIT_S
        while True:
            line = self._lines.get(timeout=max(0.01, deadline - time.monotonic()))
            assert line is not None, f"it ended before {words!r}; it said {self.said} and complained: {self._talk()}"
            self.said.append(line)
            if words in line:
                return line

    def tell(self, line: str = "") -> None:
        """One line for it to read."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def end(self, limit_s: float = LIMIT_S) -> int:
        """Wait for its end; gives the exit code."""
        code = self.process.wait(limit_s)
        self._talk()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        while not self._lines.empty() and (line := self._lines.get()) is not None:
            self.said.append(line)
        return code

    def _talk(self) -> str:
        for thread in self._threads:
            thread.join(LIMIT_S)
            assert not thread.is_alive(), f"{thread.name} did not end: somebody still holds the child's output"
        return self.complained

    def _read_lines(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def _read_talk(self) -> None:
        assert self.process.stderr is not None
        self.complained = self.process.stderr.read()
