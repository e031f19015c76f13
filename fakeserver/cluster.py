"""A fake triad of three processes on the loopback interface, and what may be done to its nodes."""

from __future__ import annotations

import os
import time
import uuid
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from fakeserver.faults import Expire, Fault, Fill, Partition
from fakeserver.house import House
from fakeserver.journal import Entry, Journal, merged
from fakeserver.nodes import POLL_S, SETTLE_S, FakeNode, is_serving
from fakeserver.plan import LicenseFiles, Wishes, plan
from fakeserver.process import FakeTriadError
from fakeserver.roles import Role

ROLES = tuple(role.value for role in Role)


class NotServing(FakeTriadError, TimeoutError):
    """What was waited for did not come about; the message tells what each node said last."""


class FakeTriad:
    """Three license servers as processes on the loopback interface, for the time of a ``with`` block.

    Args:
        features: the seats of each pool.
        license_file: a certificate license in the place of ``features``, for all three, or three, one for each machine; see docs/reference/license-file.md.
        options_file: who is let in, for whom seats are kept, who is limited (G7); each node reads it at its start, and on ``reread``.
        primary_is_master: whether the primary takes mastership back when it returns (T5); a license file says that itself.
        heartbeat_s: seconds between heartbeats; all else is to scale, and a failover takes 3.95 of them (T10).  With a license file, what 20 s of its
            HEARTBEAT_INTERVAL take.
        ttl_s: seconds that a lease lasts after a renewal; None for the smallest that outlasts a failover.
        in_process: the nodes live on one thread of this process, and start within milliseconds; they fail as processes do, but share its fate.
        grants: whether the next master knows what was granted, or ("flexnet") starts empty and grants at once, as FLEXnet does (G5).
        ports: one for each node, in role order; None for free ones, or those of the license file.
        hosts: a loopback address for each node; None for 127.0.0.1, or with a license file for 127.0.0.1, .2 and .3.
        hostids: with a license file, the host IDs of the three machines in the order of its SERVER lines; None for those that it names (T12).
        start: the roles to start at once, in this order; ``restart()`` starts the others.
        state_dir: where the nodes keep their state and logs, and find them again; None for a folder that goes with the block.
        fsync: whether records survive a power cut, too.

    Raises:
        ValueError: an argument is out of range, ``ttl_s`` too short for ``heartbeat_s``, a license file cannot be read.
        FakeTriadError: the SERVER lines of a license file make no triad.

    Entering the block starts the nodes and waits until each answers, not until one serves; it raises FakeTriadError with a node's own words when
    that node refuses to start.  At the end all processes are killed, frozen ones too.
    """

    def __init__(
        self,
        features: Mapping[str, int] | None = None,
        *,
        license_file: LicenseFiles | None = None,
        options_file: str | os.PathLike[str] | None = None,
        primary_is_master: bool = True,
        heartbeat_s: float = 0.1,
        ttl_s: float | None = None,
        in_process: bool = False,
        grants: Literal["replicated", "flexnet"] = "replicated",
        ports: Sequence[int] | None = None,
        hosts: Sequence[str] | None = None,
        hostids: Sequence[str] | None = None,
        start: Sequence[str] = ROLES,
        state_dir: str | os.PathLike[str] | None = None,
        fsync: bool = False,
    ) -> None:
        self._plan = plan(
            Wishes(
                features=features,
                license_file=license_file,
                options_file=options_file,
                hostids=hostids,
                hosts=hosts,
                ports=ports,
                primary_is_master=primary_is_master,
                heartbeat_s=heartbeat_s,
                ttl_s=ttl_s,
                fsync=fsync,
                grants=grants,
            )
        )
        self._start = _checked_start(start)
        self._state_dir = state_dir
        self._inside = in_process
        self._nodes: tuple[FakeNode, ...] = ()
        self._entries: list[Entry] = []
        self._since_s = float("-inf")
        self._house: House | None = None
        self._close: Callable[[], object] = _nothing

    def __enter__(self) -> Self:
        if self._nodes:
            raise FakeTriadError("This triad was started before; make another.")
        self._house = house = House(self._plan.addresses, self._state_dir, self._plan.settings, inside=self._inside)
        self._close = weakref.finalize(self, house.close)  # also at the end of the program
        self._nodes = tuple(FakeNode(process, self._entries.append) for process in house.processes)
        try:
            house.start(self._start)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Kill and reap all processes, as the end of the ``with`` block does."""
        self._close()

    @property
    def is_open(self) -> bool:
        """Whether the block was entered, and not left yet."""
        return isinstance(self._close, weakref.finalize) and self._close.alive

    @property
    def nodes(self) -> tuple[FakeNode, FakeNode, FakeNode]:
        """Primary, secondary and tertiary."""
        if not self._nodes:
            raise FakeTriadError("This triad has not been started; write `with FakeTriad(...) as triad:`.")
        primary, secondary, tertiary = self._nodes
        return primary, secondary, tertiary

    @property
    def primary(self) -> FakeNode:
        """The node of the first SERVER line."""
        return self.nodes[0]

    @property
    def secondary(self) -> FakeNode:
        """The node of the second SERVER line."""
        return self.nodes[1]

    @property
    def tertiary(self) -> FakeNode:
        """The node of the third SERVER line, which is never master (T2)."""
        return self.nodes[2]

    @property
    def servername(self) -> str:
        """The value of SERVERNAME that names this triad."""
        return ",".join(node.endpoint for node in self.nodes)

    @property
    def ttl_s(self) -> float:
        """How long a lease lasts after a renewal, in seconds."""
        return self._plan.ttl_s

    @property
    def journal(self) -> Journal:
        """What happened so far, at the nodes and to them, in order; after a ``reset``, since then."""
        parts = [*(node.entries() for node in self.nodes), self._entries]
        return merged([entry for entry in part if entry.at_s >= self._since_s] for part in parts)

    def report(self) -> tuple[dict[str, Any], ...]:
        """The report log of the triad: those of all who were master, by the common clock; after a ``reset``, since then (T6, T14)."""
        lines = (line for node in self.nodes for line in node.report() if line["at_s"] >= self._since_s)
        return tuple(sorted(lines, key=lambda line: line["at_s"]))

    def status(self) -> dict[str, dict[str, Any]]:
        """For each role what its node answers to ``GET /v1/status``; a node that does not answer has its ``state`` only: ``down`` or ``frozen``."""
        return {node.role: node.status() or {"role": node.role, "state": node.state} for node in self.nodes}

    def usage(self) -> dict[str, Any]:
        """What the master answers to ``GET /v1/usage``.  Raises NotServing when there is no master."""
        master = self._master()
        usage = None if master is None else master.inside("/v1/usage")
        if usage is None or "features" not in usage:
            raise NotServing(f"No node serves: {self._told()}.")
        return usage

    def node(self, role: str) -> FakeNode:
        """The node of this role.  Raises ValueError when there is no such role."""
        if role not in ROLES:
            raise ValueError(f"There is no {role!r:.60} in a triad; there are {', '.join(ROLES)}.")
        return self.nodes[ROLES.index(role)]

    def partition(self, a: str, b: str, *, one_way: bool = False) -> None:
        """Cut the link between the nodes of these roles; ``one_way``: what ``a`` says to ``b`` is lost, and not the other way round."""
        first, second = self.node(a), self.node(b)
        if a == b:
            raise ValueError(f"A link has two ends, not the {a} twice.")
        first.add(Partition(peer=b, inward=not one_way))
        second.add(Partition(peer=a, outward=not one_way))

    def mend(self, a: str, b: str) -> None:
        """Mend the link between the nodes of these roles."""
        self.node(a).heal(Partition.name, b)
        self.node(b).heal(Partition.name, a)

    def isolate(self, role: str) -> None:
        """Cut both links of this node.  Clients still reach it."""
        for other in ROLES:
            if other != role:
                self.partition(role, other)

    def fill(self, feature: str) -> None:
        """Take all free seats of a feature, and keep them over every failover until ``heal``."""
        self._play_everywhere(Fill(feature=feature, id=str(uuid.uuid4())))

    def expire(self, feature: str) -> None:
        """Let the license of a feature have run out from now on; what is held stays held."""
        self._play_everywhere(Expire(feature=feature))

    def heal(self) -> None:
        """Undo all faults at all nodes, and let frozen nodes go on.  What was killed or stopped stays down."""
        for node in self.nodes:
            node.heal()

    def reset(self) -> None:
        """Begin anew with the processes that there are: no faults, no seat taken, no journal; the cluster is the same, its term a higher one.

        Nodes of ``start`` that are down are started.  A node serves when this returns.
        """
        assert self._house is not None
        for node in self.nodes:
            node.forget_faults()
        self._since_s = self._house.reset(self._start)
        self._entries.clear()

    def reread(self) -> None:
        """Let all nodes that run read the options file again; a frozen one does when it goes on.

        Raises ValueError when the file cannot be read; then what it said before goes on.
        """
        for node in self.nodes:
            node.reread()

    def _play_everywhere(self, fault: Fault) -> None:
        for node in self.nodes:
            node.add(fault)

    def write_ini(self, path: str | os.PathLike[str]) -> Path:
        """Write an INI file whose SERVERNAME is this triad's."""
        written = Path(path)
        written.write_text(f"[Network]\nSERVERNAME={self.servername}\n", encoding="ascii")
        return written

    def write_license(self, path: str | os.PathLike[str]) -> Path:
        """Write the license file that this triad runs from, or one that says the same: three SERVER lines, and a signed FEATURE line for each pool."""
        written, text = Path(path), self._plan.license_text
        if text is None:
            from fakeserver.licenses import written_license

            addresses = [(node.host, node.port) for node in self.nodes]
            text = written_license(addresses, self._plan.features, primary_is_master=self._plan.primary_is_master)
        written.write_text(text, encoding="utf-8", newline="")
        return written

    def wait_for_master(self, timeout: float = 5.0) -> FakeNode:
        """Wait until a node serves, and give it.  Raises NotServing after ``timeout`` seconds."""
        return self._wait(self._master, timeout, "No node serves")

    def wait_until_serving(self, timeout: float = 5.0) -> FakeNode:
        """Wait until a node serves and all others that run follow it: from then on a loss can be survived.  Gives the master; raises NotServing."""
        return self._wait(self._followed_master, timeout, "No node serves with all that run behind it", settled=True)

    def _wait(self, look: Callable[[], FakeNode | None], timeout: float, failure: str, *, settled: bool = False) -> FakeNode:
        """Look until there is something to see; with ``settled`` only when all nodes say that they serve or follow."""
        deadline = time.monotonic() + timeout
        while True:
            if settled and self._house is not None and self.is_open:
                self._house.wait_settled(min(SETTLE_S, max(timeout, 0.0)))
            master = look()
            if master is not None:
                return master
            if time.monotonic() > deadline:
                raise NotServing(f"{failure} after {timeout:g} s: {self._told()}.")
            time.sleep(POLL_S)

    def _master(self) -> FakeNode | None:
        """The node that serves; of two that say so, the one of the higher term."""
        told = [(status["term"], node) for node in self.nodes[:2] if is_serving(status := node.inside("/v1/status") or {})]
        return max(told, key=lambda pair: pair[0])[1] if told else None

    def _followed_master(self) -> FakeNode | None:
        looks = [(node, node.looking_inside("/v1/status")) for node in self.nodes]
        told = {node: status for node, look in looks if "state" in (status := look() or {})}
        masters = [node for node, status in told.items() if is_serving(status)]
        followers = [status for status in told.values() if status["state"] == "standby" and status["master"]]
        terms = {status["term"] for status in told.values()}
        return masters[0] if len(masters) == 1 and len(masters) + len(followers) == len(told) and len(terms) == 1 else None

    def _told(self) -> str:
        return ", ".join(f"{node.role} ({node.endpoint}) is {node.state}{node.last_words and f' ({node.last_words})'}" for node in self.nodes)


def _nothing() -> None:
    """What closing does before there is anything to close."""


def _checked_start(start: Sequence[str]) -> tuple[str, ...]:
    strangers = [role for role in start if role not in ROLES]
    if strangers or len(set(start)) != len(start):
        raise ValueError(f"start must name roles of {', '.join(ROLES)}, each once at most, not {tuple(start)!r}.")
    return tuple(start)
