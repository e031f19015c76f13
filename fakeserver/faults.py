"""The faults that a node can play, as values: what each is called, what it takes, what is refused (F).  Pure.

``fault(name, settings)`` reads one, ``to_json`` writes it.  Who plays them: ``sabotage`` (on connections and in answers), ``listening`` (on the
port), ``ghosts`` (in the pool), ``shell`` and ``run`` (messages between nodes, clock, disk, failpoints).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar, Literal, get_args

from fakeserver.failpoints import PLACES
from fakeserver.roles import Role

SECONDS_LIMIT = 3600.0  # ours: no test waits for longer
COUNT_LIMIT = 1_000_000  # ours: replies that may be lost, bytes before a cut
RATE_LIMIT = 100.0  # ours: a clock that runs faster leaves a node no time between two heartbeats
NAME_LIMIT = 100  # characters of a feature's name, as in the protocol

GarbageKind = Literal["not_http", "not_json", "other_shape"]

# --- on the wire --------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Blackhole:
    """The node lets clients connect, reads what they send, does nothing and never answers."""

    name: ClassVar[str] = "blackhole"
    clients_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Slow:
    """Every answer leaves ``latency_s`` seconds later, and up to ``jitter_s`` more.  To peers, what the node asks is late as well."""

    name: ClassVar[str] = "slow"
    latency_s: float
    jitter_s: float = 0.0
    clients_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Drip:
    """Answers leave a byte at a time, one every ``interval_s`` seconds."""

    name: ClassVar[str] = "drip"
    interval_s: float = 0.05
    clients_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """The connection is reset in the middle of an answer: after ``after_bytes`` bytes, or (None) half of the body."""

    name: ClassVar[str] = "cut"
    after_bytes: int | None = None
    clients_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Garbage:
    """Answers are rubbish: no HTTP, HTTP with a page of HTML, or JSON of another shape.  The request is carried out."""

    name: ClassVar[str] = "garbage"
    kind: GarbageKind = "not_http"
    clients_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LoseReply:
    """The next ``n`` requests that change something are carried out, and never answered.  Messages of peers are counted apart from clients'."""

    name: ClassVar[str] = "lose_reply"
    n: int = 1
    clients_only: bool = False


# --- on the port --------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """Nobody listens at the node's port, and its connections are reset."""

    name: ClassVar[str] = "refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class DropSyn:
    """Connecting to the node's port comes to no end, and its connections fall silent (Linux)."""

    name: ClassVar[str] = "drop_syn"


# --- in what is said ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongVersion:
    """The node speaks another version of the protocol."""

    name: ClassVar[str] = "wrong_version"
    clients_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Overloaded:
    """Every answer but the status is ``overloaded``, with ``status`` 503 or 429 and ``retry_after_s`` seconds."""

    name: ClassVar[str] = "overloaded"
    retry_after_s: float = 1.0
    status: int = 503
    clients_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StaleMaster:
    """To clients the node says that it is master, in the term before its own, and grants whatever they ask for; it writes nothing down."""

    name: ClassVar[str] = "stale_master"


# --- in the pool, the clock, the disk -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class DoubleCount:
    """A client that asks again for what it holds is counted a second time, until ``heal`` (FLEXnet's defect; G3)."""

    name: ClassVar[str] = "double_count"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockRate:
    """The node's clock runs ``rate`` times as fast as it should.  Beyond 0.98 and 1.02 nothing is promised any more (E5)."""

    name: ClassVar[str] = "clock_rate"
    rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """All seats of ``feature`` that are free are taken, and kept until ``heal``.

    ``id`` is the checkout's; nodes that are told one and the same keep it over a failover, too.
    """

    name: ClassVar[str] = "fill"
    feature: str
    id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expire:
    """The license of ``feature`` has run out; what is held stays held."""

    name: ClassVar[str] = "expire"
    feature: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskFull:
    """The node cannot write its state."""

    name: ClassVar[str] = "disk_full"


# --- between nodes, and in the midst of things --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """Messages to ``peer`` (``outward``) and from it (``inward``) are lost; clients are not concerned."""

    name: ClassVar[str] = "partition"
    peer: str
    outward: bool = True
    inward: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class FailAt:
    """The process kills itself when it comes to ``place`` (see ``failpoints``)."""

    name: ClassVar[str] = "fail_at"
    place: str


WireFault = Blackhole | Slow | Drip | Cut | Garbage | LoseReply | WrongVersion | Overloaded
"""These have ``clients_only``."""

Fault = WireFault | Refuse | DropSyn | StaleMaster | DoubleCount | ClockRate | Fill | Expire | DiskFull | Partition | FailAt

FAULTS: Mapping[str, type[Fault]] = {shape.name: shape for shape in get_args(Fault)}

PASSING = (LoseReply, FailAt)
"""Faults that are spent when they were played: a process that is started anew does not get them again."""

_SILENT = (Blackhole, Drip, Cut, Garbage, WrongVersion)


def key(fault: Fault) -> tuple[str, str]:
    """What there can be one of at a node: a later fault of the same key takes the place of the earlier."""
    match fault:
        case Fill(feature=detail) | Expire(feature=detail) | Partition(peer=detail):
            return fault.name, detail
        case _:
            return fault.name, ""


def added(faults: Iterable[Fault], new: Fault) -> tuple[Fault, ...]:
    """The faults with one more."""
    return (*(each for each in faults if key(each) != key(new)), new)


def without(faults: Iterable[Fault], name: str, detail: str = "") -> tuple[Fault, ...]:
    """The faults without those of this name; with ``detail``, of this feature or peer alone."""
    return tuple(each for each in faults if each.name != name or (detail and key(each)[1] != detail))


def is_silent(fault: Fault) -> bool:
    """Whether a node with this fault takes no part in its triad: nothing that its peers could understand leaves it, asked or unasked."""
    return isinstance(fault, Refuse | DropSyn) or (isinstance(fault, _SILENT) and not fault.clients_only)


# --- JSON ---------------------------------------------------------------------------------------------------------------------------


def fault(name: str, settings: Mapping[str, object]) -> Fault:
    """Read a fault.

    Raises:
        ValueError: there is none of this name, a setting is missing, unknown or out of its range; the message is a sentence.
    """
    shape = FAULTS.get(name)
    if shape is None:
        raise ValueError(f"There is no fault {name!r:.60}; there are {', '.join(FAULTS)}.")
    members = {each.name: each for each in fields(shape)}
    strangers = [setting for setting in settings if setting not in members]
    if strangers:
        raise ValueError(f"{name} does not take {strangers[0]!r:.60}; it takes {', '.join(members) or 'nothing'}.")
    missing = [each.name for each in members.values() if each.default is MISSING and each.name not in settings]
    if missing:
        raise ValueError(f"{name} needs {', '.join(missing)}.")
    given: dict[str, Any] = {setting: _READERS[setting](setting, value) for setting, value in settings.items()}
    return shape(**given)


def to_json(fault: Fault) -> dict[str, object]:
    """The fault's name and settings as JSON members; ``from_json`` reads them back."""
    return {"name": fault.name, "settings": {each.name: getattr(fault, each.name) for each in fields(fault)}}


def from_json(members: Mapping[str, Any]) -> Fault:
    """Read what ``to_json`` wrote.  Raises ValueError as ``fault`` does."""
    return fault(members["name"], members["settings"])


def _number(low: float, high: float, *, or_low: bool = True) -> Callable[[str, object], float]:
    def read(setting: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise ValueError(f"{setting} must be a number from {low:g} to {high:g}, not {value!r:.60}.")
        if value == low and not or_low:
            raise ValueError(f"{setting} must be above {low:g}.")
        return float(value)

    return read


def _whole(low: int, high: int) -> Callable[[str, object], int]:
    def read(setting: str, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"{setting} must be a whole number from {low} to {high}, not {value!r:.60}.")
        return value

    return read


def _one_of(*words: object) -> Callable[[str, object], object]:
    def read(setting: str, value: object) -> object:
        if isinstance(value, bool) or value not in words:
            raise ValueError(f"{setting} must be one of {', '.join(map(str, words))}, not {value!r:.60}.")
        return value

    return read


def _flag(setting: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{setting} must be true or false, not {value!r:.60}.")  # noqa: TRY004 - whoever reads a fault expects one kind of error
    return value


def _text(setting: str, value: object) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= NAME_LIMIT:
        raise ValueError(f"{setting} must be a text of 1 to {NAME_LIMIT} characters, not {value!r:.60}.")
    return value


_READERS: Mapping[str, Callable[[str, object], object]] = {
    "latency_s": _number(0, SECONDS_LIMIT),
    "jitter_s": _number(0, SECONDS_LIMIT),
    "interval_s": _number(0, SECONDS_LIMIT, or_low=False),
    "retry_after_s": _number(0, SECONDS_LIMIT),
    "rate": _number(0, RATE_LIMIT, or_low=False),
    "n": _whole(1, COUNT_LIMIT),
    "after_bytes": lambda setting, value: None if value is None else _whole(0, COUNT_LIMIT)(setting, value),
    "status": _one_of(503, 429),
    "kind": _one_of(*get_args(GarbageKind)),
    "place": _one_of(*PLACES),
    "peer": _one_of(*(role.value for role in Role)),
    "feature": _text,
    "id": _text,
    "clients_only": _flag,
    "outward": _flag,
    "inward": _flag,
}
"""A setting means the same in every fault that has it."""
