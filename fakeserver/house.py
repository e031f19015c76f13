"""What a triad of processes rests on: a folder, three ports, a thread that starts processes.  Set up in order, torn down whatever happens."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from fakeserver.disk import cluster_of
from fakeserver.lifeline import NEEDS_WATCHER, Midwife, Watcher
from fakeserver.process import NodeProcess, Port, require_packages
from fakeserver.roles import Role
from fakeserver.settings import Settings


class House:
    """Three node processes, none of them started yet; ``close`` kills and reaps what runs, frozen or not.

    ``settings`` makes the settings of one node of ``role``, ``triad`` (the three addresses), ``cluster`` and ``folder``.
    """

    def __init__(self, addresses: Sequence[tuple[str, int]], state_dir: str | os.PathLike[str] | None, settings: Callable[..., Settings]) -> None:
        require_packages()
        self._owner_pid = os.getpid()
        with ExitStack() as stack:
            self.folder = Path(state_dir).resolve() if state_dir is not None else _passing_folder(stack)
            ports = [_port(stack, address) for address in addresses]
            midwife = Midwife()
            stack.callback(midwife.close)
            watcher = Watcher() if NEEDS_WATCHER else None
            if watcher is not None:
                stack.callback(watcher.close)
            triad = tuple(port.address for port in ports)
            cluster = self._cluster()
            self.processes = tuple(
                NodeProcess(
                    settings(role=role.value, triad=triad, cluster=cluster, folder=str(self.folder / role.value)),
                    port,
                    midwife=midwife,
                    watcher=watcher,
                )
                for role, port in zip(Role, ports, strict=True)
            )
            stack.callback(self._kill_all)
            self._stack = stack.pop_all()

    def start(self, roles: Sequence[str]) -> None:
        """Start the nodes of these roles, in this order but side by side, and wait until each of them answers."""
        by_role = {process.settings.role: process for process in self.processes}
        for role in roles:
            by_role[role].launch()
        for role in roles:
            by_role[role].wait_ready()

    def close(self) -> None:
        """Kill, reap, and clear away.  In a process that was forked off since it does nothing: there nothing is its own."""
        if os.getpid() == self._owner_pid:
            self._stack.close()

    def _cluster(self) -> str:
        """The cluster whose state lies in the folder already, else a new one's id."""
        found = (cluster_of(self.folder / role.value) for role in Role)
        return next((cluster for cluster in found if cluster), None) or uuid.uuid4().hex

    def _kill_all(self) -> None:
        for process in self.processes:
            process.strike()
        for process in self.processes:
            process.kill()


def _passing_folder(stack: ExitStack) -> Path:
    folder = tempfile.mkdtemp(prefix="fakeserver-")
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _port(stack: ExitStack, address: tuple[str, int]) -> Port:
    port = Port(*address)
    stack.callback(port.release)
    return port
