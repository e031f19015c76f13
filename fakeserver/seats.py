"""Seats as records (E8): each seat of each pool is one record with a version, and the newest version of a seat is the truth about it.

A pool of five has five records, so it cannot hold six leases, whatever is lost, doubled or merged.  Ids that were given back are records too
(``DeadId``): a request that was late on its way must not bring a returned checkout back to life.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

NUMBER_LIMIT = 2**53  # as in the protocol: beyond it JSON readers differ


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
    except (KeyError, TypeError, AttributeError, OverflowError) as wrong:
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
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= NUMBER_LIMIT:
        raise ValueError(f"not a whole number: {value!r:.80}")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"not a text: {value!r:.80}")  # noqa: TRY004 - whoever decodes a message expects one kind of error
    return value


def _key(record: Record) -> object:
    """What a record is about."""
    return record.id if isinstance(record, DeadId) else (record.feature, record.index)


# --- the table ----------------------------------------------------------------------------------------------------------------------

DEAD_LIMIT = 10_000
"""So many dead ids are kept, the oldest go first: about 2 MB of JSON in a whole table."""

NUMBERS_A_TERM = 10**9
"""The grants of a term are numbered from here on, times the terms before it.  Records of grants may be lost with the power of one node and the death of
another (E2); their numbers must not be given away again.  A master that grants ten thousand times a second needs a day for so many."""

FRESH = Version(0, 0)


def first_number(term: int) -> int:
    """Above all numbers of the terms before this one; nine million terms later it rises no more."""
    return min((term - 1) * NUMBERS_A_TERM, NUMBER_LIMIT - NUMBERS_A_TERM)


class Table:
    """All seats of all pools and the dead ids, as one node knows them.  ``now`` (seconds) is only remembered with a dead id, for its end."""

    def __init__(self, features: Mapping[str, int], records: Iterable[Record] = (), *, now: float) -> None:
        self._features = features
        self._seats: dict[tuple[str, int], SeatRecord] = {}
        self._held: dict[str, dict[tuple[str, int], SeatRecord]] = {}
        self._free = dict.fromkeys(features, 0)  # one bit a seat: the lowest free one is found at once in a pool of ten thousand
        self._dead: dict[str, tuple[DeadId, float]] = {}  # in the order of dying
        self.last = FRESH
        self.seq = 0
        for feature, total in features.items():
            for index in range(total):
                self._put(SeatRecord(feature=feature, index=index, version=FRESH, seq=0, grant=None))
        self.apply(records, now)

    # reading

    def records(self) -> tuple[Record, ...]:
        """Everything, as it is sent to another node or written to the disk."""
        return (*self._seats.values(), *(dead for dead, _ in self._dead.values()))

    def records_since(self, since: Version) -> tuple[Record, ...]:
        """What is newer than ``since``; everything, if that is FRESH."""
        return self.records() if since == FRESH else tuple([record for record in self.records() if record.version > since])

    def held(self) -> Iterator[SeatRecord]:
        """The first seat of every checkout that holds any."""
        return (next(iter(seats.values())) for seats in self._held.values())

    def holding(self, identity: str) -> SeatRecord | None:
        """The first seat that is held under this id."""
        seats = self._held.get(identity)
        return next(iter(seats.values())) if seats else None

    def dead(self, identity: str) -> DeadId | None:
        """The record of this id's end."""
        found = self._dead.get(identity)
        return found and found[0]

    def free_count(self, feature: str, *, among: int = -1, also: int = 0) -> int:
        """How many seats of the pool are free; ``among`` counts only those of these bits, ``also`` these as if they were free."""
        return ((self._free[feature] | also) & among).bit_count()

    def seats_of(self, identity: str) -> int:
        """The seats that are held under this id, one bit a seat."""
        return sum(1 << index for _, index in self._held.get(identity, ()))

    # writing: each gives the records to apply, and changes nothing

    def granted(self, grant: Grant, feature: str, version: Version, *, among: int = -1, also: int = 0) -> tuple[SeatRecord, ...]:
        """The lowest free seats of the pool, taken; there must be enough of them.  ``among`` and ``also`` are as for ``free_count``."""
        bits, taken = (self._free[feature] | also) & among, []
        for _ in range(grant.count):
            index = (bits & -bits).bit_length() - 1
            bits &= bits - 1
            taken.append(SeatRecord(feature=feature, index=index, version=version, seq=self.seq + 1, grant=grant))
        return tuple(taken)

    def freed(self, identity: str, version: Version) -> tuple[SeatRecord, ...]:
        """All seats of this id, free."""
        return tuple(replace(seat, version=version, grant=None) for seat in self._held.get(identity, {}).values())

    def given_over(self, identity: str, grant: Grant, version: Version) -> tuple[SeatRecord, ...]:
        """All seats of this id, held under the id of ``grant`` from now on."""
        return tuple(replace(seat, version=version, grant=grant) for seat in self._held.get(identity, {}).values())

    # changing

    def apply(self, records: Iterable[Record], now: float) -> None:
        """Take over each record that is newer than what is here."""
        for record in records:
            if isinstance(record, DeadId):
                self._bury(record, now)
            elif record.version > self._version(record):
                self._put(record)

    def replace_since(self, since: Version, records: Iterable[Record], now: float) -> bool:
        """Become the table of which ``records`` is all that is newer than ``since``; up to ``since`` both are the same already (E2).

        Whether something had to be let go: it was written down for a master that nobody followed any more.
        """
        told = {_key(record) for record in records}
        lost = [record for record in self.records() if record.version > since and _key(record) not in told]
        for record in lost:
            if isinstance(record, DeadId):
                del self._dead[record.id]
            else:
                self._put(replace(record, grant=None))
                del self._seats[record.feature, record.index]  # no seat of a pool: those are all stamped since
        self.apply(records, now)
        return bool(lost)

    def forget_dead(self, *, before: float) -> None:
        """Let go of the ids that died before this moment."""
        while self._dead and next(iter(self._dead.values()))[1] < before:
            del self._dead[next(iter(self._dead))]

    def settle(self, version: Version) -> None:
        """The recovery barrier's work on a merged table (E3): void what is not whole, then stamp every seat with the new term.

        Free seats are stamped too: a grant that was never acknowledged, found later on a node that was away, is older than this.  Numbers go on above
        all that were ever given, known here or not.
        """
        for identity in tuple(self._held):
            if not self._is_whole(identity):
                for seat in self.freed(identity, version):
                    self._put(seat)
            else:
                self._dead.pop(identity, None)
        for seat in tuple(self._seats.values()):
            self._put(replace(seat, version=version))
        self.seq = max(self.seq, first_number(version.term))

    def forget(self, version: Version) -> None:
        """Let go of all leases and dead ids, as FLEXnet's servers do (G5); numbers of grants go on from where they are."""
        for identity in tuple(self._held):
            for seat in self.freed(identity, version):
                self._put(seat)
        self._dead.clear()

    def _is_whole(self, identity: str) -> bool:
        seats = self._held[identity].values()
        first = next(iter(seats))
        dead = self.dead(identity)
        if dead is not None and dead.version >= first.version:
            return False
        return first.grant is not None and first.grant.count == len(seats) and all(seat.seq == first.seq for seat in seats)

    def _version(self, record: SeatRecord) -> Version:
        known = self._seats.get((record.feature, record.index))
        return Version(-1, 0) if known is None else known.version

    def _put(self, record: SeatRecord) -> None:
        key = record.feature, record.index
        old = self._seats.get(key)
        if old is not None and old.grant is not None:
            held = self._held[old.grant.id]
            del held[key]
            if not held:
                del self._held[old.grant.id]
        self._seats[key] = record
        if record.grant is not None:
            self._held.setdefault(record.grant.id, {})[key] = record
        self._mark(record)
        self.last = max(self.last, record.version)
        self.seq = max(self.seq, record.seq)

    def _mark(self, record: SeatRecord) -> None:
        """Keep the bit of a seat; one beyond the pool's size (the license shrank) is never given away again."""
        if record.index < self._features.get(record.feature, 0):
            bit = 1 << record.index
            self._free[record.feature] = self._free[record.feature] | bit if record.grant is None else self._free[record.feature] & ~bit

    def _bury(self, record: DeadId, now: float) -> None:
        known = self._dead.get(record.id)
        if known is not None and known[0].version >= record.version:
            return  # told once more; it does not die anew, or each election would give all of them another minute
        self._dead.pop(record.id, None)
        self._dead[record.id] = record, now
        if len(self._dead) > DEAD_LIMIT:
            del self._dead[next(iter(self._dead))]
