"""What the nodes say to each other, as values and as JSON.

Four kinds of message, each an ask and a reply, go by ``POST /v1/peer/{kind}``.  ``encode`` and ``decode`` do no I/O; a body that does not fit is a
``ValueError``.  Every message names its sender and carries the sender's cluster and term, so a late or doubled one can be placed by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

from fakeserver.roles import Role
from fakeserver.seats import FRESH, NUMBER_LIMIT, Record, Version, record_from_json, record_to_json

Kind = Literal["heartbeat", "vote", "append", "transfer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """I am here.  Sent by every node to both others, every interval.

    ``sent_at`` (seconds, the sender's own clock) comes back in the reply: a master's lease counts from it (E5).  ``leading``: the sender is the
    master of ``term``, or has been elected and is still in its recovery barrier.  ``master`` and ``master_term`` tell which serving master the
    sender knows of; ``hears`` names the nodes that lately answered the sender.
    """

    kind: ClassVar[Kind] = "heartbeat"
    sender: Role
    cluster: str
    term: int
    sent_at: float
    leading: bool
    master: Role | None
    master_term: int
    hears: tuple[Role, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatReply:
    """``accepted``: I follow you in this term and my table has no gap up to ``op`` (E2)."""

    kind: ClassVar[Kind] = "heartbeat"
    sender: Role
    cluster: str
    term: int
    sent_at: float
    accepted: bool
    op: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteAsk:
    """Make me master of ``asked_term`` (E1).

    ``has_history``: the asking node's table has been through a master's hands; ``has``: the last operation up to which it has no gap.
    """

    kind: ClassVar[Kind] = "vote"
    sender: Role
    cluster: str
    term: int
    asked_term: int
    has_history: bool
    has: Version = FRESH


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteReply:
    """Granted with what the voter's table has newer than ``since`` (FRESH: all of it), or refused; then ``retry_s`` (seconds) tells when asking again makes sense.

    ``early``: given before the voter's waiting time was over, as a fresh node may; it counts only if both others gave theirs (E2).
    """

    kind: ClassVar[Kind] = "vote"
    sender: Role
    cluster: str
    term: int
    asked_term: int
    granted: bool
    early: bool
    retry_s: float
    has_history: bool
    records: tuple[Record, ...]
    since: Version = FRESH


@dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """Records of the master of ``term``: those of the operations after ``base_op`` up to ``op``, or the ``whole`` table as of ``op``.

    Of the whole table, what is not newer than ``since`` is left out: it is for a node that has no gap up to there.
    """

    kind: ClassVar[Kind] = "append"
    sender: Role
    cluster: str
    term: int
    sent_at: float
    whole: bool
    base_op: int
    op: int
    records: tuple[Record, ...]
    since: Version = FRESH


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendReply:
    """``accepted``: written down, and my table has no gap up to ``op``.  Not accepted: another term, or a gap that you must fill first.

    ``has``: of which master, and up to which operation of its, my table has no gap.
    """

    kind: ClassVar[Kind] = "append"
    sender: Role
    cluster: str
    term: int
    sent_at: float
    accepted: bool
    op: int
    has: Version = FRESH


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """The sender was master, has stopped serving, and gives you its vote for ``term`` without being asked (E6), and what its table has newer than ``since``."""

    kind: ClassVar[Kind] = "transfer"
    sender: Role
    cluster: str
    term: int
    records: tuple[Record, ...]
    since: Version = FRESH


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferReply:
    """Whether the receiver took the mastership of ``term`` over."""

    kind: ClassVar[Kind] = "transfer"
    sender: Role
    cluster: str
    term: int
    accepted: bool


Ask = Heartbeat | VoteAsk | Append | Transfer
Reply = HeartbeatReply | VoteReply | AppendReply | TransferReply
Message = Ask | Reply

_ASKS: dict[str, type[Ask]] = {"heartbeat": Heartbeat, "vote": VoteAsk, "append": Append, "transfer": Transfer}
_REPLIES: dict[str, type[Reply]] = {
    "heartbeat": HeartbeatReply,
    "vote": VoteReply,
    "append": AppendReply,
    "transfer": TransferReply,
}


def refusal(ask: Ask, *, sender: Role, cluster: str, term: int, has: Version) -> Reply:
    """The reply that says no.  ``has``: how far the sender's table goes, for a master that wants to fill the gap."""
    match ask:
        case Heartbeat():
            return HeartbeatReply(sender=sender, cluster=cluster, term=term, sent_at=ask.sent_at, accepted=False, op=has.op)
        case Append():
            return AppendReply(sender=sender, cluster=cluster, term=term, sent_at=ask.sent_at, accepted=False, op=has.op, has=has)
        case Transfer():
            return TransferReply(sender=sender, cluster=cluster, term=term, accepted=False)
        case VoteAsk():
            return VoteReply(
                sender=sender,
                cluster=cluster,
                term=term,
                asked_term=ask.asked_term,
                granted=False,
                early=False,
                retry_s=0.0,
                has_history=False,
                records=(),
            )


# --- JSON ---------------------------------------------------------------------------------------------------------------------------


def encode(message: Message) -> dict[str, object]:
    """The message as a JSON object; ``reply`` tells an answer from a question."""
    members: dict[str, object] = {"reply": isinstance(message, Reply)}
    for each in fields(message):
        members[each.name] = _plain(getattr(message, each.name))
    return members


def decode(kind: str, members: Mapping[str, object]) -> Message:
    """Read a body that came under ``kind``; unknown members are ignored.

    Raises:
        ValueError: the kind is unknown, a member is missing, or one is of the wrong type.
    """
    shape = (_REPLIES if _flag(members.get("reply")) else _ASKS).get(kind)
    if shape is None:
        raise ValueError(f"no such kind of peer message: {kind!r:.40}")
    given: dict[str, Any] = {}
    for each in fields(shape):
        if each.name not in members:
            raise ValueError(f"a {kind} message without {each.name!r}")
        given[each.name] = _READERS[each.name](members[each.name])
    return shape(**given)


def _plain(value: object) -> object:
    if isinstance(value, Role):
        return value.value
    if isinstance(value, Version):
        return list(value)
    if isinstance(value, tuple):
        return [entry.value if isinstance(entry, Role) else record_to_json(entry) for entry in value]
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"neither true nor false: {value!r:.40}")  # noqa: TRY004 - one kind of error for a body that does not fit
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"not a text: {value!r:.40}")  # noqa: TRY004 - as above
    return value


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= NUMBER_LIMIT:
        raise ValueError(f"not a whole number: {value!r:.40}")
    return value


def _seconds(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not -NUMBER_LIMIT <= value <= NUMBER_LIMIT:
        raise ValueError(f"not a number of seconds: {value!r:.40}")
    return float(value)


def _role(value: object) -> Role:
    return Role(value)


def _role_or_none(value: object) -> Role | None:
    return None if value is None else Role(value)


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise ValueError(f"not a list: {value!r:.40}")  # noqa: TRY004 - as above
    return value


def _version(value: object) -> Version:
    term, op = _list(value)  # which raises ValueError, as it should, if there are not two
    return Version(_whole(term), _whole(op))


# A member means the same in every message that has it.
_READERS: dict[str, Callable[[object], object]] = {
    "sender": _role,
    "cluster": _text,
    "term": _whole,
    "asked_term": _whole,
    "master_term": _whole,
    "base_op": _whole,
    "op": _whole,
    "has": _version,
    "since": _version,
    "sent_at": _seconds,
    "retry_s": _seconds,
    "leading": _flag,
    "accepted": _flag,
    "granted": _flag,
    "early": _flag,
    "whole": _flag,
    "has_history": _flag,
    "master": _role_or_none,
    "hears": lambda value: tuple(_role(entry) for entry in _list(value)),
    "records": lambda value: tuple(record_from_json(entry) for entry in _list(value)),
}
