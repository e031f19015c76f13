"""Server programs of others as processes of ours: found, started on free ports, killed, frozen, and ended with the run."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from palclient.transport import monotonic
from tests.chaos.crew import Stuck
from tests.compare.peer import Absent

HOST = "127.0.0.1"
STOP_LIMIT_S = 10.0
LOOK_S = 0.01  # between two looks at who leads


def found(program: str, variable: str) -> str:
    """The path of a program, by an environment variable or the PATH.  Raises Absent."""
    named = os.environ.get(variable)
    path = shutil.which(named or program)
    if path is None:
        raise Absent(f"no program {named} ({variable})" if named else f"no {program} on the PATH, and {variable} is not set")
    return path


def module(name: str) -> Any:
    """A Python package that is not ours to require.  Raises Absent."""
    try:
        return import_module(name)
    except ImportError:
        raise Absent(f"no Python package {name.partition('.')[0]}") from None


def told_version(*command: str) -> str:
    """The first line that a program prints of itself."""
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=STOP_LIMIT_S)
    return done.stdout.partition("\n")[0].strip()


def free_ports(count: int) -> list[int]:
    """So many ports on which nobody listens now."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((HOST, 0))
        return [each.getsockname()[1] for each in sockets]


def wait_until(is_so: Callable[[], bool], limit_s: float, what: str) -> None:
    """Look again and again.  Raises Stuck."""
    deadline = time.monotonic() + limit_s
    while not is_so():
        if time.monotonic() > deadline:
            raise Stuck(f"not within {limit_s:g} s: {what}")
        threading.Event().wait(0.05)


def seen_elected(leader: Callable[[], int | None], old: int) -> float | None:
    """The instant of this look if another than the old one leads now: late by LOOK_S at most, and by the answer's own time."""
    now_leads = leader()
    return monotonic() if now_leads is not None and now_leads != old else None


@dataclass(slots=True, kw_only=True)
class Node:
    """The programs of one machine: killed and frozen together."""

    commands: Sequence[Sequence[str]]
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    is_frozen: bool = False

    @property
    def answers(self) -> bool:
        """Whether it is neither killed nor frozen."""
        return bool(self.processes) and not self.is_frozen

    def start(self) -> None:
        """Start all its programs."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for number, command in enumerate(self.commands):
            self.launch(number, command)

    def launch(self, number: int, command: Sequence[str]) -> None:
        """Start one of them; what it says goes into a file."""
        with open(self.folder / f"said-{number}.log", "ab") as said:
            environment = {**os.environ, **self.environment}
            self.processes.append(subprocess.Popen(command, cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said))

    def kill(self) -> None:
        """SIGKILL, in whatever state, and reap."""
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait(STOP_LIMIT_S)
        self.processes.clear()
        self.is_frozen = False

    def freeze(self) -> None:
        """SIGSTOP."""
        self._signal(signal.SIGSTOP)
        self.is_frozen = True

    def thaw(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)
        self.is_frozen = False

    def _signal(self, number: signal.Signals) -> None:
        for process in self.processes:
            process.send_signal(number)


class Machines:
    """What is done to the three nodes, the same for all systems that are started here."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []

    def answering(self) -> list[int]:
        """Those that are neither killed nor frozen."""
        return [number for number, node in enumerate(self.nodes) if node.answers]

    def kill(self, node: int) -> None:
        """SIGKILL."""
        self.nodes[node].kill()

    def restart(self, node: int) -> None:
        """With what it has on its disk."""
        self.nodes[node].start()

    def freeze(self, node: int) -> None:
        """SIGSTOP."""
        self.nodes[node].freeze()

    def thaw(self, node: int) -> None:
        """SIGCONT."""
        self.nodes[node].thaw()

    def stop(self) -> None:
        """Kill and reap all."""
        for node in self.nodes:
            node.kill()
        self.nodes.clear()
