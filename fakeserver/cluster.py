"""A fake triad of three processes on the loopback interface, and what may be done to its nodes."""

from __future__ import annotations

import http.client
import json
import math
import os
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fakeserver.clock import now_s
from fakeserver.house import House
from fakeserver.journal import Entry, Journal, merged, read_entries, read_log_lines
from fakeserver.process import FakeTriadError, NodeProcess
from fakeserver.roles import Role
from fakeserver.settings import Settings, check_loopback, check_ttl, named, smallest_ttl_s

ROLES = tuple(role.value for role in Role)
SEATS_LIMIT = 10_000  # ours, in all pools: each seat is a record, and a new master gets the whole table from the others within a failover
ASK_LIMIT_S = 2.0  # a node answers within a millisecond, or it is frozen
POLL_S = 0.005  # an eightieth of the default failover time


class NotServing(FakeTriadError, TimeoutError):
    """What was waited for did not come about; the message tells what each node said last."""


class FakeNode:
    """One node of a ``FakeTriad``.  Each fault has taken effect when its call returns."""

    def __init__(self, process: NodeProcess, entries: list[Entry]) -> None:
        self._process = process
        self._entries = entries
        self.role = process.settings.role
        self.host, self.port = process.settings.address

    def __repr__(self) -> str:
        return f"<FakeNode {self.role} {self.endpoint}>"

    @property
    def endpoint(self) -> str:
        """The node's entry of SERVERNAME, ``port@host``."""
        return named((self.host, self.port))

    @property
    def pid(self) -> int | None:
        """The process id; None while the node is down."""
        return self._process.pid

    @property
    def state(self) -> str:
        """How the node is.

        ``down`` (no process), ``frozen`` (a process that answers nothing), or the protocol's own: ``starting``, ``no_quorum``, ``electing``,
        ``standby``, ``master``.
        """
        status = self.status()
        if status is not None:
            return str(status["state"])
        return "frozen" if self._process.is_running else "down"

    @property
    def is_master(self) -> bool:
        """Whether the node says that it serves."""
        return _is_serving(self.status() or {})

    @property
    def term(self) -> int | None:
        """The node's term; None while it is down or frozen."""
        status = self.status()
        return None if status is None else int(status["term"])

    def status(self, *, timeout: float = ASK_LIMIT_S) -> dict[str, Any] | None:
        """What the node answers to ``GET /v1/status`` within ``timeout`` seconds; None while it is down or frozen."""
        return self.get("/v1/status", timeout=timeout)

    def get(self, path: str, *, timeout: float = ASK_LIMIT_S) -> dict[str, Any] | None:
        """The JSON body that the node answers to a GET, whatever its status; None when it does not answer within ``timeout`` seconds."""
        if not self._process.is_running or self._process.is_paused:
            return None
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        try:
            connection.request("GET", path)
            body: dict[str, Any] = json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()
        return body

    def log_lines(self) -> tuple[str, ...]:
        """The node's debug log over all its lives: date and time (UTC), the seconds of ``fakeserver.clock``, the text (T14)."""
        return read_log_lines(Path(self._process.settings.folder))

    @property
    def last_words(self) -> str:
        """Why the node ended by itself, in its own words; empty otherwise."""
        return self._process.last_words

    def entries(self) -> list[Entry]:
        """What the node itself has entered in the journal, over all its lives."""
        return read_entries(Path(self._process.settings.folder), node=self.role)

    def kill(self) -> None:
        """SIGKILL: no goodbye.  Its port refuses connections until ``restart``."""
        self._process.kill()
        self._record("killed")

    def stop(self) -> None:
        """An orderly stop; a master hands over first (E6)."""
        self._process.stop()
        self._record("stopped")

    def restart(self) -> None:
        """Start the node on the same port and state; one that runs is stopped first.  It answers when this returns, and may not serve yet."""
        if self._process.is_paused:
            self.kill()
        elif self._process.is_running:
            self.stop()
        self._process.launch()
        self._process.wait_ready()

    def pause(self) -> None:
        """Freeze the process (SIGSTOP): its port accepts connections, and nothing is answered."""
        self._process.pause()
        self._record("paused")

    def resume(self) -> None:
        """Let a frozen process go on (SIGCONT)."""
        self._process.resume()
        self._record("resumed")

    def _record(self, name: str) -> None:
        self._entries.append(Entry(at_s=now_s(), node=self.role, name=name))


class FakeTriad:
    """Three license servers as processes on the loopback interface, for the time of a ``with`` block.

    Args:
        features: the seats of each pool.
        primary_is_master: whether the primary takes mastership back when it returns (T5).
        heartbeat_s: seconds between heartbeats; all else is to scale, and a failover takes 3.95 of them (T10).
        ttl_s: seconds that a lease lasts after a renewal; None for the smallest that outlasts a failover.
        ports: one for each node, in role order; None for free ones.
        hosts: a loopback address for each node; None for 127.0.0.1.
        start: the roles to start at once, in this order; ``restart()`` starts the others.
        state_dir: where the nodes keep their state and logs, and find them again; None for a folder that goes with the block.
        fsync: whether records survive a power cut, too.

    Raises:
        ValueError: an argument is out of range, or ``ttl_s`` too short for ``heartbeat_s``.

    Entering the block starts the nodes and waits until each answers, not until one serves; it raises FakeTriadError with a node's own words when
    that node refuses to start.  At the end all processes are killed, frozen ones too.
    """

    def __init__(
        self,
        features: Mapping[str, int] | None = None,
        *,
        primary_is_master: bool = True,
        heartbeat_s: float = 0.1,
        ttl_s: float | None = None,
        ports: Sequence[int] | None = None,
        hosts: Sequence[str] | None = None,
        start: Sequence[str] = ROLES,
        state_dir: str | os.PathLike[str] | None = None,
        fsync: bool = False,
    ) -> None:
        _check_features(features or {})
        _check_heartbeat(heartbeat_s)
        if ttl_s is not None:
            check_ttl(ttl_s, heartbeat_s)
        self._settings = partial(
            Settings,
            features=dict(features or {}),
            heartbeat_s=heartbeat_s,
            ttl_s=smallest_ttl_s(heartbeat_s) if ttl_s is None else ttl_s,
            primary_is_master=primary_is_master,
            fsync=fsync,
            software=_software(),
        )
        self._addresses = _checked_addresses(hosts, ports)
        self._start = _checked_start(start)
        self._state_dir = state_dir
        self._nodes: tuple[FakeNode, ...] = ()
        self._entries: list[Entry] = []
        self._close: Callable[[], object] = _nothing

    def __enter__(self) -> Self:
        if self._nodes:
            raise FakeTriadError("This triad was started before; make another.")
        house = House(self._addresses, self._state_dir, self._settings)
        self._close = weakref.finalize(self, house.close)  # also at the end of the program
        self._nodes = tuple(FakeNode(process, self._entries) for process in house.processes)
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
        return float(self._settings.keywords["ttl_s"])

    @property
    def journal(self) -> Journal:
        """What happened so far, at the nodes and to them, in order."""
        return merged([*(node.entries() for node in self.nodes), self._entries])

    def status(self) -> dict[str, dict[str, Any]]:
        """For each role what its node answers to ``GET /v1/status``; a node that does not answer has its ``state`` only: ``down`` or ``frozen``."""
        return {node.role: node.status() or {"role": node.role, "state": node.state} for node in self.nodes}

    def usage(self) -> dict[str, Any]:
        """What the master answers to ``GET /v1/usage``.  Raises NotServing when there is no master."""
        master = self._master()
        usage = None if master is None else master.get("/v1/usage")
        if usage is None or "features" not in usage:
            raise NotServing(f"No node serves: {self._told()}.")
        return usage

    def write_ini(self, path: str | os.PathLike[str]) -> Path:
        """Write an INI file whose SERVERNAME is this triad's."""
        written = Path(path)
        written.write_text(f"[Network]\nSERVERNAME={self.servername}\n", encoding="ascii")
        return written

    def wait_for_master(self, timeout: float = 5.0) -> FakeNode:
        """Wait until a node serves, and give it.  Raises NotServing after ``timeout`` seconds."""
        return self._wait(self._master, timeout, "No node serves")

    def wait_until_serving(self, timeout: float = 5.0) -> FakeNode:
        """Wait until a node serves and all others that run follow it: from then on a loss can be survived.  Gives the master; raises NotServing."""
        return self._wait(self._followed_master, timeout, "No node serves with all that run behind it")

    def _wait(self, look: Callable[[], FakeNode | None], timeout: float, failure: str) -> FakeNode:
        deadline = time.monotonic() + timeout
        while True:
            master = look()
            if master is not None:
                return master
            if time.monotonic() > deadline:
                raise NotServing(f"{failure} after {timeout:g} s: {self._told()}.")
            time.sleep(POLL_S)

    def _master(self) -> FakeNode | None:
        """The node that serves; of two that say so, the one of the higher term."""
        told = [(status["term"], node) for node in self.nodes[:2] if _is_serving(status := node.status() or {})]
        return max(told, key=lambda pair: pair[0])[1] if told else None

    def _followed_master(self) -> FakeNode | None:
        told = {node: status for node in self.nodes if (status := node.status()) is not None}
        masters = [node for node, status in told.items() if _is_serving(status)]
        followers = [status for status in told.values() if status["state"] == "standby" and status["master"]]
        terms = {status["term"] for status in told.values()}
        return masters[0] if len(masters) == 1 and len(masters) + len(followers) == len(told) and len(terms) == 1 else None

    def _told(self) -> str:
        return ", ".join(f"{node.role} ({node.endpoint}) is {node.state}{node.last_words and f' ({node.last_words})'}" for node in self.nodes)


def _is_serving(status: Mapping[str, Any]) -> bool:
    return status.get("state") == "master" and status.get("quorum") is True


def _nothing() -> None:
    """What closing does before there is anything to close."""


def _software() -> str:
    try:
        return f"fakeserver/{metadata.version('palclient')}"
    except metadata.PackageNotFoundError:  # run from its sources
        return "fakeserver"


def _check_features(features: Mapping[str, int]) -> None:
    for feature, seats in features.items():
        if seats < 1 or seats != int(seats):
            raise ValueError(f"features[{feature!r}] must be a number of seats, not {seats!r}.")
    if sum(features.values()) > SEATS_LIMIT:
        raise ValueError(f"features name {sum(features.values())} seats; a fake triad holds {SEATS_LIMIT} at most.")


def _check_heartbeat(heartbeat_s: float) -> None:
    if not (math.isfinite(heartbeat_s) and heartbeat_s > 0):
        raise ValueError(f"heartbeat_s must be a number of seconds above 0, not {heartbeat_s!r}.")


def _checked_addresses(hosts: Sequence[str] | None, ports: Sequence[int] | None) -> tuple[tuple[str, int], ...]:
    hosts = ("127.0.0.1",) * 3 if hosts is None else tuple(hosts)
    ports = (0, 0, 0) if ports is None else tuple(ports)
    for host in hosts:
        check_loopback(host)
    if len(hosts) != 3 or len(ports) != 3:
        raise ValueError(f"A triad has three hosts and three ports, not {len(hosts)} and {len(ports)}.")
    return tuple(zip(hosts, ports, strict=True))


def _checked_start(start: Sequence[str]) -> tuple[str, ...]:
    strangers = [role for role in start if role not in ROLES]
    if strangers or len(set(start)) != len(start):
        raise ValueError(f"start must name roles of {', '.join(ROLES)}, each once at most, not {tuple(start)!r}.")
    return tuple(start)
