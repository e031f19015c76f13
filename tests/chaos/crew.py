"""The client processes, as the controller holds them: started, told what to do, killed, frozen; and what they have written down."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from palclient.transport import monotonic

ROOT = Path(__file__).resolve().parents[2]
EXIT_LIMIT_S = 10.0


class Stuck(Exception):
    """Something did not come about in time."""


@dataclass(slots=True, eq=False)
class Member:
    """One client process."""

    name: str
    kind: str
    path: Path
    process: subprocess.Popen[bytes]
    frozen: list[tuple[float, float]] = field(default_factory=list)  # spans of the common clock
    ended_at: float | None = None  # killed, or told to exit
    _frozen_at: float | None = None
    _read: int = 0

    def tell(self, word: str) -> None:
        """Give an order.  Of one who has ended by itself ``wait_resting`` tells."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(word.encode() + b"\n")

    def wait_resting(self, deadline: float) -> None:
        """Block until it holds nothing and asks for nothing.  Raises Stuck at the deadline, of ``time.monotonic``."""
        assert self.process.stdout is not None
        if not select.select([self.process.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise Stuck(f"{self.name} does not come to rest")
        if os.read(self.process.stdout.fileno(), 100) != b"resting\n":
            raise Stuck(f"{self.name} ended by itself: {self.path.with_suffix('.err').read_text(encoding='utf-8')[-2000:]}")

    def turns_ended(self) -> int:
        """How many seats it has given back since the last ``news()``."""
        with open(self.path, "rb") as history:
            history.seek(self._read)
            return history.read().count(b'"returned"')

    def kill(self) -> None:
        """SIGKILL, with all that it holds."""
        self.ended_at = monotonic()
        self.process.kill()
        self.process.wait(EXIT_LIMIT_S)

    def exit(self) -> None:
        """Let the program end with all that it holds."""
        self.ended_at = monotonic()
        self.tell("exit")
        self.process.wait(EXIT_LIMIT_S)

    def freeze(self) -> None:
        """SIGSTOP."""
        self._frozen_at = monotonic()
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT, if it is frozen."""
        if self._frozen_at is not None:
            self.process.send_signal(signal.SIGCONT)
            self.frozen.append((self._frozen_at, monotonic()))
            self._frozen_at = None

    def close(self) -> None:
        """The end, whatever its state."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(EXIT_LIMIT_S)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    def news(self) -> Iterator[dict[str, Any]]:
        """What it has written since the last call, whole lines only."""
        with open(self.path, "rb") as history:
            history.seek(self._read)
            for line in history:
                if not line.endswith(b"\n"):
                    break
                self._read += len(line)
                yield json.loads(line)


def hired(name: str, kind: str, folder: Path, worker: Sequence[str], *more: str) -> Member:
    """Start a client process, which rests until it is told to go: a module and its arguments, then the path of its diary, then what comes after it.

    It may still be loading: see ``wait_resting``.
    """
    path = folder / f"{name}.jsonl"
    path.touch()
    with open(path.with_suffix(".err"), "wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", *worker, str(path), *more],
            bufsize=0,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
    return Member(name=name, kind=kind, path=path, process=process)
