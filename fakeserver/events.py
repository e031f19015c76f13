"""What a node is told (events) and what it wants done (effects).  The node decides, the shell acts; neither knows the other's inside.

``Node.handle(event, now)`` returns effects.  They are carried out in the order given, each finished before the next is begun: a record is on
disk before the answer that rests on it leaves.  ``now`` is a monotonic reading in seconds; ``Node.wake_at`` says when the node
wants its next ``Tick``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fakeserver.peer import Message
from fakeserver.pools import LicensedLine
from fakeserver.roles import Role
from fakeserver.seats import Record
from fakeserver.settings import REPLICATED

if TYPE_CHECKING:
    from palclient.optionsfile import OptionsFile  # a node without options does not load it

# --- what a client asked, as the wire module read it --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """``PUT /v1/checkouts/{id}``.  ``holder`` keeps the members that the client sent."""

    id: str
    feature: str
    version: str
    count: int
    holder: Mapping[str, object]
    queue: bool = False
    ttl_s: float | None = None
    nonce: str = ""
    reclaim: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Renew:
    """``POST /v1/renewals``."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """``POST /v1/returns``; ``single`` when it came as ``DELETE /v1/checkouts/{id}``, whose answer has another shape."""

    ids: tuple[str, ...]
    single: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """``GET /v1/status``: answered by every node, always."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """``GET /v1/usage``."""


Request = Checkout | Renew | Return | Status | Usage

# --- events -------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCall:
    """A client's request.  ``token`` is the shell's name for it; ``park_s`` is ``Prefer: wait`` (0: answer at once), ``after_term`` is ``After-Term``."""

    token: int
    request: Request
    park_s: float = 0.0
    after_term: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientGone:
    """The connection of a request that is not answered yet was closed: drop it, never serve it."""

    token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerCall:
    """A message from another node.  It is answered by exactly one ``PeerAnswer`` among the effects of the same ``handle``."""

    token: int
    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerReply:
    """What a peer answered to a ``PeerSend``.  It may come late, twice or never; the message says all that is needed to place it."""

    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """``wake_at`` has come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """An orderly stop: a master hands over first (E6); the node asks to be halted when it is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expired:
    """The licenses of these features, and of no others, have run out, whatever the file said: nothing is granted for them; what is held stays."""

    features: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reread:
    """The options file was read again: from now on this is what it says (G7)."""

    options: OptionsFile


Event = ClientCall | ClientGone | PeerCall | PeerReply | Tick | Stop | Expired | Reread

# --- effects ------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The reply to a ``ClientCall``.  A status of 400 and above is a problem, whose ``type`` stands in the body."""

    token: int
    status: int
    body: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerSend:
    """Send this to another node; its answer, if any, comes back as a ``PeerReply``.  No answer is not reported."""

    to: Role
    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerAnswer:
    """The reply to a ``PeerCall``."""

    token: int
    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveBallot:
    """Replace the small file that holds cluster, term, vote and incarnation; always flushed to the disk (E7).

    ``may_lack_records``: what this node once acknowledged may be missing from its table.  It stays true over restarts until a master has
    brought the node up to date, or the time that E2 names is over.
    """

    cluster: str
    term: int
    voted_for: Role | None
    incarnation: int
    may_lack_records: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendRecords:
    """Append to the table's log, in one write (E7)."""

    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RewriteTable:
    """Replace the table's log by these records (at start, and when a whole table was received)."""

    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DebugLine:
    """A line of the debug log.  Only a master has any (T6)."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportLine:
    """A line of the report log.  Only a master has any (T6)."""

    members: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """An entry for the journal: what a test may ask for later, by name, with its facts."""

    name: str
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Halt:
    """The node has nothing more to do: end the process.  ``reason`` is empty after an orderly stop."""

    reason: str = ""


Effect = Answer | PeerSend | PeerAnswer | SaveBallot | AppendRecords | RewriteTable | DebugLine | ReportLine | Happened | Halt

# --- the start ----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskImage:
    """What a node finds at its start.  ``None`` for ``ballot``: a fresh disk.

    ``may_lack_records``: written records may be lost (no ``fsync`` and the machine has rebooted since, or the log's tail is torn), so E2's long
    wait applies.
    """

    ballot: SaveBallot | None = None
    records: tuple[Record, ...] = ()
    may_lack_records: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """What a node is born with.  All intervals in seconds.

    ``triad`` names the three nodes as ``port@host`` in role order; ``features`` gives the seats of each pool; ``wall_epoch_s`` is the wall clock
    (seconds since 1970) at which the monotonic reading ``now`` was 0.  ``cluster`` is the id that a fresh triad takes.  ``lines`` are the license
    lines behind a pool, none for one that is good for every version and for ever; ``options`` is the options file (G7), None when there is none.
    ``grants`` is REPLICATED or FLEXNET (E9).
    """

    role: Role
    triad: tuple[str, str, str]
    cluster: str
    features: Mapping[str, int]
    heartbeat_s: float
    ttl_s: float
    primary_is_master: bool = True
    heartbeat_interval_s: float = 20.0
    wall_epoch_s: float = 0.0
    software: str = "fakeserver"
    lines: Mapping[str, tuple[LicensedLine, ...]] = field(default_factory=dict)
    options: OptionsFile | None = None
    grants: str = REPLICATED
