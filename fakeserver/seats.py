"""Seats as records (E8): each seat of each pool is one record with a version, and the newest version of a seat is the truth about it.

A pool of five has five records, so it cannot hold six leases, whatever is lost, doubled or merged.  Ids that were given back are records too
(``DeadId``): a request that was late on its way must not bring a returned checkout back to life.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple


class Version(NamedTuple):
    """When a record was written: the term of its master, and the number of the operation within that term.  Newer is greater."""

    term: int
    op: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a seat was given away for.  All seats of one checkout carry the same grant.

    ``count`` is the number of seats of the checkout, ``ttl_s`` (seconds) how long a renewal lasts, ``granted_at`` the wall clock in seconds
    since 1970.
    """

    id: str
    version: str
    count: int
    holder: Mapping[str, object]
    ttl_s: float
    granted_at: float
    nonce: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeatRecord:
    """One seat: ``index`` counts from 0 within the pool of ``feature``; ``grant`` is None while it is free.

    ``seq`` is the fencing token of the last grant of this seat; a freed seat keeps it, so that the numbers never fall after a failover.
    """

    feature: str
    index: int
    version: Version
    seq: int
    grant: Grant | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadId:
    """A checkout id that was returned or given up."""

    id: str
    version: Version


Record = SeatRecord | DeadId


# --- JSON, for the log on disk and for the other nodes ------------------------------------------------------------------------------


def record_to_json(record: Record) -> dict[str, object]:
    """The record as JSON members; ``record_from_json`` reads it back."""
    version = {"term": record.version.term, "op": record.version.op}
    if isinstance(record, DeadId):
        return {"dead": record.id, **version}
    grant = record.grant and {
        "id": record.grant.id,
        "version": record.grant.version,
        "count": record.grant.count,
        "holder": dict(record.grant.holder),
        "ttl_s": record.grant.ttl_s,
        "granted_at": record.grant.granted_at,
        "nonce": record.grant.nonce,
    }
    return {"feature": record.feature, "index": record.index, **version, "seq": record.seq, "grant": grant}


def record_from_json(members: object) -> Record:
    """Read what ``record_to_json`` wrote.

    Raises:
        ValueError: it is something else.
    """
    try:
        return _record(members)
    except (KeyError, TypeError, AttributeError) as wrong:
        raise ValueError(f"not a record of the seat table: {members!r:.200}") from wrong


def _record(members: Any) -> Record:
    version = Version(_whole(members["term"]), _whole(members["op"]))
    if "dead" in members:
        return DeadId(id=_text(members["dead"]), version=version)
    return SeatRecord(
        feature=_text(members["feature"]),
        index=_whole(members["index"]),
        version=version,
        seq=_whole(members["seq"]),
        grant=None if members["grant"] is None else _grant(members["grant"]),
    )


def _grant(members: Any) -> Grant:
    return Grant(
        id=_text(members["id"]),
        version=_text(members["version"]),
        count=_whole(members["count"]),
        holder=dict(members["holder"].items()),
        ttl_s=float(members["ttl_s"]),
        granted_at=float(members["granted_at"]),
        nonce=_text(members["nonce"]),
    )


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"not a whole number: {value!r:.80}")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"not a text: {value!r:.80}")  # noqa: TRY004 - whoever decodes a message expects one kind of error
    return value
