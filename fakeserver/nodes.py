"""One node of a fake triad, as a test holds it: what it says, what may be done to it, and the faults that it plays."""

from __future__ import annotations

import http.client
import json
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fakeserver import faults as values
from fakeserver.clock import now_s
from fakeserver.faults import Fault, Fill, GarbageKind, fault, to_json
from fakeserver.journal import Entry, read_entries, read_log_lines, read_report
from fakeserver.process import FakeTriadError, NodeProcess
from fakeserver.settings import named

if TYPE_CHECKING:
    from fakeserver.inside import NodeInside

ASK_LIMIT_S = 2.0  # a node answers within a millisecond, or it is frozen
POLL_S = 0.005  # an eightieth of the default failover time
SETTLE_S = 0.05  # so long an order may wait for a node to settle; others wait for it meanwhile


class FakeNode:
    """One node of a ``FakeTriad``.  Each fault has taken effect when its call returns, and lasts until ``heal``.

    A fault is towards clients and the other nodes alike unless ``clients_only=True``.  A node that is down, or frozen, plays it from the moment on
    in which it runs.  Each raises ValueError when a setting is out of its range.
    """

    def __init__(self, process: NodeProcess | NodeInside, note: Callable[[Entry], object]) -> None:
        self._process = process
        self._note = note
        self._faults: tuple[Fault, ...] = ()
        self._is_stopping = False
        self.role = process.settings.role
        self.host, self.port = process.settings.address

    def __repr__(self) -> str:
        return f"<FakeNode {self.role} {self.endpoint}>"

    # --- how it is ------------------------------------------------------------------------------------------------------------------

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
        """How the node is, in truth, whatever clients are told.

        ``down`` (no process), ``frozen`` (a process that answers nothing), or the protocol's own: ``starting``, ``no_quorum``, ``electing``,
        ``standby``, ``master``.
        """
        status = self.inside("/v1/status")
        if status is None:
            return "frozen" if self._process.is_running and not self._is_stopping else "down"
        return str(status.get("state", "down"))  # one that is about to end tells of none

    @property
    def is_master(self) -> bool:
        """Whether the node serves, in truth."""
        return is_serving(self.inside("/v1/status") or {})

    @property
    def term(self) -> int | None:
        """The node's term, in truth; None while it is down or frozen."""
        status = self.inside("/v1/status")
        return None if status is None or "state" not in status else int(status["term"])

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults that the node plays."""
        return self._faults

    @property
    def is_running(self) -> bool:
        """Whether there is a process, be it frozen."""
        return self._process.is_running

    @property
    def is_frozen(self) -> bool:
        """Whether there is a process, and it is frozen."""
        return self._process.is_paused

    def status(self, *, timeout: float = ASK_LIMIT_S) -> dict[str, Any] | None:
        """What the node answers to ``GET /v1/status`` within ``timeout`` seconds; None when it does not, or not in the protocol's form."""
        status = self.get("/v1/status", timeout=timeout)
        return status if isinstance(status, dict) and "state" in status else None

    def get(self, path: str, *, timeout: float = ASK_LIMIT_S) -> dict[str, Any] | None:
        """The JSON body that the node answers to a GET, whatever its status; None when it does not answer within ``timeout`` seconds."""
        if not self._process.is_running or self._process.is_paused:
            return None
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        try:
            connection.request("GET", path)
            body: dict[str, Any] = json.loads(connection.getresponse().read())
        except (OSError, ValueError, http.client.HTTPException):
            return None
        finally:
            connection.close()
        return body

    def inside(self, path: str) -> dict[str, Any] | None:
        """As ``get``, but past all faults: what the node itself would answer.  None while it is down or frozen."""
        return self.looking_inside(path)()

    def looking_inside(self, path: str) -> Callable[[], dict[str, Any] | None]:
        """Begin to look; the result waits for what there is to see.  Several that are begun before one is waited for cost as much as one."""
        if not self._faults and not self._process.is_near:
            return partial(self.get, path)
        if not self._process.is_running or self._process.is_paused:
            return lambda: None
        try:
            number = self._process.tell("look", path=path)
        except FakeTriadError:  # it has ended meanwhile
            return lambda: None
        return partial(self._seen, number)

    def _seen(self, number: int) -> dict[str, Any] | None:
        try:
            body: dict[str, Any] | None = self._process.hear(number)["body"]
        except FakeTriadError:  # as above
            return None
        return body

    def log_lines(self) -> tuple[str, ...]:
        """The node's debug log over all its lives: date and time (UTC), the seconds of ``fakeserver.clock``, the text (T14)."""
        return read_log_lines(Path(self._process.settings.folder))

    def report(self) -> tuple[dict[str, Any], ...]:
        """The node's report log over all its lives, an object for each line: what it did for clients while it was master (T6, T14)."""
        return read_report(Path(self._process.settings.folder))

    @property
    def last_words(self) -> str:
        """Why the node ended by itself, in its own words; empty otherwise."""
        return self._process.last_words

    def entries(self) -> list[Entry]:
        """What the node itself has entered in the journal, over all its lives."""
        return read_entries(Path(self._process.settings.folder), node=self.role)

    # --- its process ----------------------------------------------------------------------------------------------------------------

    def kill(self) -> None:
        """SIGKILL: no goodbye.  Its port refuses connections until ``restart``."""
        self._process.kill()
        self._record("killed")

    def stop(self) -> None:
        """An orderly stop; a master hands over first (E6)."""
        self._is_stopping = True
        try:
            self._process.stop()
        finally:
            self._is_stopping = False
        self._record("stopped")

    def restart(self) -> None:
        """Start the node on the same port and state; one that runs is stopped first.  It answers when this returns, and may not serve yet.

        Faults go on, but for those that are spent when they were played: ``lose_reply`` and ``fail_at``.
        """
        if self._process.is_paused:
            self.kill()
        elif self._process.is_running:
            self.stop()
        self._faults = tuple(each for each in self._faults if not isinstance(each, values.PASSING))
        self._process.launch(self._faults)
        self._process.wait_ready()

    def pause(self) -> None:
        """Freeze the process (SIGSTOP): its port accepts connections, and nothing is answered."""
        self._process.pause()
        self._record("paused")

    def resume(self) -> None:
        """Let a frozen process go on (SIGCONT).  What it was ordered meanwhile is the first that it does."""
        if not self._process.is_paused:
            return
        numbers = [self._process.tell("heal"), *(self._process.tell("play", fault=to_json(each)) for each in self._faults)]
        self._process.resume()
        for number in numbers:
            self._process.hear(number)
        self._record("resumed")

    def reread(self) -> None:
        """Read the options file again (G7), if there is a process; a frozen one does when it goes on.  Raises ValueError when it cannot be read."""
        if self._process.is_paused:
            self._process.tell("reread")
        elif self._process.is_running:
            self._process.order("reread")

    def wait_down(self, timeout: float = 5.0) -> None:
        """Wait until the process has ended by itself, as at a failpoint.  Raises FakeTriadError after ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        while self._process.is_running:
            if time.monotonic() > deadline:
                raise FakeTriadError(f"The {self.role} still runs after {timeout:g} s.")
            time.sleep(POLL_S)

    # --- faults ---------------------------------------------------------------------------------------------------------------------

    def blackhole(self, *, clients_only: bool = False) -> None:
        """Let clients connect, read what they send, do nothing and never answer."""
        self.play("blackhole", clients_only=clients_only)

    def refuse(self) -> None:
        """Refuse connections, and reset those that there are."""
        self.play("refuse")

    def drop_syn(self) -> None:
        """Let nobody connect, without a word; connections that there are fall silent.  Raises NotImplementedError elsewhere than on Linux."""
        self.play("drop_syn")

    def slow(self, latency_s: float, jitter_s: float = 0.0, *, clients_only: bool = False) -> None:
        """Let everything that the node says be late by ``latency_s`` seconds, and up to ``jitter_s`` more."""
        self.play("slow", latency_s=latency_s, jitter_s=jitter_s, clients_only=clients_only)

    def drip(self, interval_s: float = 0.05, *, clients_only: bool = False) -> None:
        """Answer a byte at a time, one every ``interval_s`` seconds."""
        self.play("drip", interval_s=interval_s, clients_only=clients_only)

    def cut(self, after_bytes: int | None = None, *, clients_only: bool = False) -> None:
        """Reset connections in the middle of an answer: after so many bytes, or (None) half of the body."""
        self.play("cut", after_bytes=after_bytes, clients_only=clients_only)

    def lose_reply(self, n: int = 1, *, clients_only: bool = False) -> None:
        """Carry out the next ``n`` requests that change something, and never answer them."""
        self.play("lose_reply", n=n, clients_only=clients_only)

    def garbage(self, kind: GarbageKind = "not_http", *, clients_only: bool = False) -> None:
        """Answer with what is no HTTP, or no JSON (``not_json``), or JSON of another shape (``other_shape``)."""
        self.play("garbage", kind=kind, clients_only=clients_only)

    def wrong_version(self, *, clients_only: bool = False) -> None:
        """Speak another version of the protocol."""
        self.play("wrong_version", clients_only=clients_only)

    def overloaded(self, retry_after_s: float = 1.0, *, status: int = 503, clients_only: bool = False) -> None:
        """Answer everything but the status with ``overloaded``, as a 503 or 429."""
        self.play("overloaded", retry_after_s=retry_after_s, status=status, clients_only=clients_only)

    def stale_master(self) -> None:
        """Tell clients that this is the master, in the term before its own, and grant whatever they ask for."""
        self.play("stale_master")

    def double_count(self) -> None:
        """Count a client that asks again for what it holds a second time (FLEXnet's defect; G3)."""
        self.play("double_count")

    def clock_rate(self, rate: float) -> None:
        """Let the node's clock run ``rate`` times as fast as it should."""
        self.play("clock_rate", rate=rate)

    def fill(self, feature: str) -> None:
        """Take all free seats of a feature, as long as this node is master; ``FakeTriad.fill`` keeps them over a failover, too."""
        self.play("fill", feature=feature)

    def expire(self, feature: str) -> None:
        """Let the license of a feature have run out, as long as this node is master; what is held stays held.  See ``FakeTriad.expire``."""
        self.play("expire", feature=feature)

    def disk_full(self) -> None:
        """Let the disk be full: the node serves no more and says so, until there is room."""
        self.play("disk_full")

    def fail_at(self, place: str) -> None:
        """Let the process kill itself when it comes to a place of ``fakeserver.failpoints.PLACES``; ``wait_down`` waits for that."""
        self.play("fail_at", place=place)

    def play(self, name: str, **settings: object) -> None:
        """Play the fault of this name."""
        self.add(fault(name, settings))

    def add(self, new: Fault) -> None:
        """Play a fault, in the place of one of the same kind."""
        if isinstance(new, Fill) and not new.id:
            new = replace(new, id=str(uuid.uuid4()))
        before, self._faults = self._faults, values.added(self._faults, new)
        try:
            if self._process.is_running and not self._process.is_paused:
                self._process.order("play", fault=to_json(new))
        except (ValueError, NotImplementedError):
            self._faults = before
            raise
        self._record(new.name, to_json(new)["settings"])

    def heal(self, name: str | None = None, detail: str = "") -> None:
        """Undo the faults of this name (with ``detail``: of this feature, or this peer); None: all, and let a frozen process go on."""
        self._faults = values.without(self._faults, name, detail) if name else ()
        if self._process.is_running and not self._process.is_paused:
            self._process.order("heal", name=name, detail=detail)
        elif name is None:
            self.resume()
        self._record("healed", {"fault": name} if name else {})

    def forget_faults(self) -> None:
        """Play no fault any more after the reset that is to follow; let a frozen process go on."""
        self._faults = ()
        self.resume()

    def _record(self, name: str, facts: Any = None) -> None:
        self._note(Entry(at_s=now_s(), node=self.role, name=name, facts=facts or {}))


def is_serving(status: dict[str, Any]) -> bool:
    """Whether a status tells of a node that serves."""
    return status.get("state") == "master" and status.get("quorum") is True
