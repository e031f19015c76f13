"""The values that travel through palclient: frozen, slotted, keyword-only.  No behaviour but what a value can say of itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class Role(Enum):
    """What a node is in its triad, by the order of the SERVER lines in the license file (``triad.md``'s words)."""

    PRIMARY = "primary"
    SECONDARY = "secondary"
    TERTIARY = "tertiary"


ROLES = (Role.PRIMARY, Role.SECONDARY, Role.TERTIARY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One entry of SERVERNAME.  ``port`` is 1 to 65535, or None: the server is on one of 27000 to 27009 (N2).

    ``host`` is a DNS name, an IPv4 address, or an IPv6 address without its brackets, in the writer's own case.
    """

    host: str
    port: int | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.port if self.port is not None else ''}@{host}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerName:
    """A parsed SERVERNAME: one endpoint, or the three of a triad in the order primary, secondary, tertiary (N1).

    ``source`` says where the text stood (file and line), or is None.  ``str()`` gives the canonical text.
    """

    endpoints: tuple[Endpoint, ...]
    source: str | None = field(default=None, compare=False)

    @property
    def is_triad(self) -> bool:
        """Whether there are three servers and not one."""
        return len(self.endpoints) == 3

    @property
    def primary(self) -> Endpoint:
        """The first entry; of a single server the only one."""
        return self.endpoints[0]

    @property
    def secondary(self) -> Endpoint | None:
        """The second entry, None for a single server."""
        return self.endpoints[1] if self.is_triad else None

    @property
    def tertiary(self) -> Endpoint | None:
        """The third entry, None for a single server."""
        return self.endpoints[2] if self.is_triad else None

    def __str__(self) -> str:
        return ",".join(str(endpoint) for endpoint in self.endpoints)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who takes a seat, as the server's usage report shows it."""

    user: str
    host: str
    display: str = ""
    pid: int = 0
    app: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A master's word that seats are taken.

    ``seq`` is the fencing token: it never falls within one ``cluster`` and changes only when the seat is granted anew.
    ``ttl_s`` is how long the grant lives unrenewed, ``renew_s`` how often the server would like a renewal, ``waited_s`` how long the
    request was parked before it was served, all in seconds.  ``granted_at`` is RFC 3339, in UTC.
    """

    id: str
    feature: str
    version: str
    count: int
    seq: int
    ttl_s: float
    renew_s: float
    granted_at: str
    nonce: str
    node: str
    role: Role | None
    cluster: str
    term: int
    waited_s: float = 0.0


class LeaseState(Enum):
    """What a client may believe of its seat."""

    HELD = "held"
    SUSPECT = "suspect"  #: a renewal that was due is not confirmed yet; still valid
    LOST = "lost"
    RETURNED = "returned"
    FOREIGN = "foreign"  #: the lease of the parent process, seen from a forked child


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What one request to one node came to: an entry of ``TriadUnavailable.probes``.

    ``asked`` names the request, ``began_s`` counts from the start of the call, ``took_s`` from the start of this request.  ``outcome`` is a short word of
    the protocol page (``refused``, ``timed out``, ``no-quorum`` ...), ``detail`` the server's or the system's own words.
    ``answered`` says whether the node itself replied.  Where there is too much to tell one by one, an entry stands for the first and ``times - 1`` more of one
    address that ended alike: ``took_s`` and ``detail`` are those of the last.
    """

    endpoint: Endpoint
    asked: str
    began_s: float
    took_s: float
    outcome: str
    detail: str
    answered: bool
    times: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """One node's own word about itself (``GET /v1/status``), or why there is none.

    ``state`` is ``starting``, ``no_quorum``, ``electing``, ``standby``, ``master``, or ``unreachable``: then ``detail`` says why and the
    rest is empty.  Intervals are in seconds.
    """

    endpoint: Endpoint
    state: str
    detail: str = ""
    role: Role | None = None
    cluster: str = ""
    term: int = 0
    quorum: bool = False
    master: Role | None = None
    triad: tuple[str, ...] = ()
    primary_is_master: bool = False
    heartbeat_interval_s: float = 0.0
    failover_s: float = 0.0
    software: str = ""

    @property
    def reachable(self) -> bool:
        """Whether the node answered at all.  Reachable does not mean serving (T9)."""
        return self.state != "unreachable"


@dataclass(frozen=True, slots=True, kw_only=True)
class TriadStatus:
    """All nodes, in SERVERNAME's order, as they answered one round of questions."""

    nodes: tuple[NodeStatus, ...]
    master: NodeStatus | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeatHolder:
    """One checkout in the usage report.  ``since`` is RFC 3339, in UTC."""

    id: str
    holder: Holder
    count: int
    since: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureUsage:
    """One pool, counted in seats."""

    feature: str
    total: int
    in_use: int
    reserved: int
    queued: int
    holders: tuple[SeatHolder, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """What a client has done since it was made.

    ``checkouts`` counts the leases that were granted, ``renewals`` the confirmed renewals of each of them, ``failovers`` the changes of master that were noticed,
    ``spent_s`` the seconds that callers waited for checkouts and returns, ``events_dropped`` the events that no listener took in time.
    """

    checkouts: int = 0
    renewals: int = 0
    failovers: int = 0
    spent_s: float = 0.0
    events_dropped: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Acquired:
    """A seat was granted."""

    lease_id: str
    grant: Grant


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """The pool is full and the checkout stands in line: ``position`` (from 1) of ``of``."""

    lease_id: str
    position: int
    of: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A renewal that was due is not confirmed; the seat is still valid for ``expires_in_s``."""

    lease_id: str
    expires_in_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """A suspect lease was confirmed by a master; it was held all along."""

    lease_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MasterChanged:
    """Another node serves now.  ``old`` is None when none was known."""

    old: Endpoint | None
    new: Endpoint
    term: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reacquired:
    """The master had lost the lease and granted the same id again; ``same_seat`` is False when somebody else may have held it in between."""

    lease_id: str
    grant: Grant
    same_seat: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """The seat is gone."""

    lease_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """The seat was given back.  ``confirmed`` is False while no master has said so."""

    lease_id: str
    confirmed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """The machine slept, or the process was stopped, for ``gap_s`` seconds."""

    gap_s: float


Event = Acquired | Waiting | Suspect | Recovered | MasterChanged | Reacquired | Lost | Returned | Resumed
