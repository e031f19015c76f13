"""What a triad of processes rests on: a folder, three ports, a thread that starts processes.  Set up in order, torn down whatever happens."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fakeserver.clock import boot_name, now_s
from fakeserver.disk import Disk, cluster_of
from fakeserver.events import SaveBallot
from fakeserver.lifeline import NEEDS_WATCHER, Midwife, Watcher
from fakeserver.nursery import nursery
from fakeserver.process import FakeTriadError, NodeProcess, Port, require_packages
from fakeserver.roles import Role
from fakeserver.settings import Settings

if TYPE_CHECKING:
    from fakeserver.inside import NodeInside

    AnyNode = NodeProcess | NodeInside

QUORUM = 2
SETTLE_LIMIT_S = 8.0  # below the limit of an order; a failover at the default heartbeat takes 0.4 s


class House:
    """Three node processes, none of them started yet; ``close`` kills and reaps what runs, frozen or not.

    ``settings`` makes the settings of one node of ``role``, ``triad`` (the three addresses), ``cluster``, ``folder`` and ``lasting``.  ``inside``: the
    nodes live on one thread of this process.
    """

    def __init__(
        self,
        addresses: Sequence[tuple[str, int | None]],
        state_dir: str | os.PathLike[str] | None,
        settings: Callable[..., Settings],
        *,
        inside: bool = False,
    ) -> None:
        require_packages()
        self._owner_pid = os.getpid()
        with ExitStack() as stack:
            self.folder = _lasting_folder(state_dir) if state_dir is not None else _passing_folder(stack)
            ports = [_port(stack, address) for address in addresses]
            make = (_maker_of_insiders if inside else _maker_of_processes)(stack)
            triad = tuple(port.address for port in ports)
            cluster = self._cluster()
            self.processes = tuple(
                make(
                    settings(role=role.value, triad=triad, cluster=cluster, folder=str(self.folder / role.value), lasting=state_dir is not None), port
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

    def reset(self, roles: Sequence[str]) -> float:
        """Start those of ``roles`` that are down, put all that run to rest, then let them begin anew in a term above all there were.

        When this returns, a node serves and the others follow it, if two or more run; as on a first start that is the primary (T3).
        The result is the moment of the common clock between the old life and the new.
        """
        self.start([process.settings.role for process in self.processes if process.settings.role in roles and not process.is_running])
        up = [process for process in self.processes if process.is_running]
        down = [process for process in self.processes if process not in up]
        terms = [answer["term"] for answer in _ordered([(process, "rest", {}) for process in up])]
        between_s = now_s()
        term = max([0, *terms, *map(_term_on_disk, down)]) + 1
        for process in down:
            _write_fresh_state(process.settings, term)
        primary = [process for process in up if process.settings.role == "primary"]
        # The secondary lets the primary go first, as on a first start (T3).
        waits = {"secondary": self.processes[0].settings.heartbeat_s if primary else 0.0}
        resets = [(process, "reset", {"term": term, "waits_s": waits.get(process.settings.role, 0.0)}) for process in up]
        if primary and not primary[0].is_near:  # it comes last, when there are those who answer it; insiders obey before they hear anything
            _ordered(resets[1:])
            del resets[1:]
        settle = [(process, "settle", {"limit_s": SETTLE_LIMIT_S}) for process in up] if len(up) >= QUORUM else []
        answers = _ordered([*resets, *settle])  # at once: each node does one after the other
        if not all(answer.get("settled", True) for answer in answers):
            raise FakeTriadError(f"The nodes did not come to an agreement within {SETTLE_LIMIT_S:g} s after a reset.")
        return between_s

    def wait_settled(self, limit_s: float) -> bool:
        """Wait, at most ``limit_s`` seconds, until each node that runs serves or follows; whether that is so.  Frozen ones count as down."""
        up = [process for process in self.processes if process.is_running and not process.is_paused]
        try:
            return all(answer["settled"] for answer in _ordered([(process, "settle", {"limit_s": limit_s}) for process in up]))
        except FakeTriadError:  # one has ended meanwhile, or hangs
            return False

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


def _ordered(orders: Sequence[tuple[AnyNode, str, Mapping[str, object]]]) -> list[dict[str, Any]]:
    """Give orders to several nodes at once, and wait for all answers."""
    told = [(process, process.tell(name, **words)) for process, name, words in orders]
    return [process.hear(number) for process, number in reversed(told)][::-1]  # who was told last answers last: the others need not be waited for


def _term_on_disk(process: AnyNode) -> int:
    disk = _disk(process.settings)
    try:
        ballot = disk.load().ballot
    finally:
        disk.close()
    return ballot.term if ballot else 0


def _write_fresh_state(settings: Settings, term: int) -> None:
    """What a node that is down finds when it comes: the term of the reset, and nothing else."""
    disk = _disk(settings)
    try:
        disk.load()
        cluster, incarnation = (disk.ballot.cluster, disk.ballot.incarnation) if disk.ballot else (settings.cluster, 0)
        disk.rewrite(())
        disk.save_ballot(SaveBallot(cluster=cluster, term=term, voted_for=None, incarnation=incarnation))
    finally:
        disk.close()


def _disk(settings: Settings) -> Disk:
    return Disk(Path(settings.folder), cluster=settings.cluster, boot=boot_name(), fsync=settings.fsync, lasting=settings.lasting, role=settings.role)


def _lasting_folder(wanted: str | os.PathLike[str]) -> Path:
    folder = Path(wanted).resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FakeTriadError(f"The state cannot be kept in {folder}: {error.strerror or error}.") from error
    return folder


def _passing_folder(stack: ExitStack) -> Path:
    folder = tempfile.mkdtemp(prefix="fakeserver-")
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _port(stack: ExitStack, address: tuple[str, int | None]) -> Port:
    port = Port(*address)
    stack.callback(port.release)
    return port


def _maker_of_processes(stack: ExitStack) -> Callable[[Settings, Port], AnyNode]:
    """What makes a node that has a process of its own."""
    midwife = Midwife()
    stack.callback(midwife.close)
    watcher = Watcher() if NEEDS_WATCHER else None
    if watcher is not None:
        stack.callback(watcher.close)
    return partial(NodeProcess, midwife=midwife, watcher=watcher, nursery=nursery)


def _maker_of_insiders(stack: ExitStack) -> Callable[[Settings, Port], AnyNode]:
    """What makes a node that is a part of this process."""
    from fakeserver.conductor import Conductor  # who has processes need not load it
    from fakeserver.inside import NodeInside

    conductor = Conductor()
    stack.callback(conductor.close)
    conductor.start()
    return partial(NodeInside, conductor=conductor)
