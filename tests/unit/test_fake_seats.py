"""The seat table: versions, merging, voiding, dead ids (E3, E8, protocol, Identity)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fakeserver.seats import DEAD_LIMIT, DeadId, Grant, Record, SeatRecord, Table, Version, record_from_json, record_to_json

POOL = {"RISK": 3}
GRANT = Grant(id="a", version="1.0", count=2, holder={"user": "ann", "host": "pc7", "pid": 7}, ttl_s=1.5, granted_at=12.25, nonce="n")


def table(*records: Record) -> Table:
    """A table with these records."""
    return Table(POOL, records, now=0.0)


def seats(identity: str, version: Version, *, count: int = 2, first: int = 0, seq: int = 1) -> tuple[SeatRecord, ...]:
    """The records of a checkout."""
    grant = replace(GRANT, id=identity, count=count)
    return tuple(SeatRecord(feature="RISK", index=first + index, version=version, seq=seq, grant=grant) for index in range(count))


@pytest.mark.parametrize(
    "record", [*seats("a", Version(3, 4)), replace(seats("a", Version(3, 4))[0], grant=None), DeadId(id="a", version=Version(1, 2))]
)
def test_every_record_is_the_same_after_json(record: Record) -> None:
    """E7: what is written is what is read."""
    assert record_from_json(record_to_json(record)) == record


@pytest.mark.parametrize(
    "spoilt", [None, [], {}, {"dead": 1, "term": 1, "op": 1}, {"dead": "a", "term": -1, "op": 1}, {"dead": "a", "term": True, "op": 1}]
)
def test_what_is_no_record_is_a_value_error(spoilt: object) -> None:
    """State that was altered is refused, never guessed."""
    with pytest.raises(ValueError, match=r"record|whole|text"):
        record_from_json(spoilt)


def test_a_pool_has_as_many_records_as_seats_and_grants_the_lowest_free() -> None:
    """E8."""
    made = table()
    assert len(made.records()) == 3
    made.apply(made.granted(GRANT, "RISK", Version(1, 2)), 0.0)
    assert made.free_count("RISK") == 1
    assert [seat.index for seat in made.granted(replace(GRANT, count=1), "RISK", Version(1, 3))] == [2]


def test_the_newest_version_of_a_seat_wins_in_whatever_order_it_comes() -> None:
    """E3."""
    old, new = seats("old", Version(1, 9), count=1), seats("new", Version(2, 2), count=1)
    for order in ((old, new), (new, old)):
        made = table()
        for records in order:
            made.apply(records, 0.0)
        assert made.holding("old") is None
        assert made.holding("new") is not None


def test_the_barrier_stamps_every_seat_and_keeps_its_seq() -> None:
    """E3: free seats as well, so that no grant from before can be newer."""
    made = table(*seats("a", Version(1, 5), seq=7))
    made.settle(Version(2, 1))
    assert {record.version for record in made.records()} == {Version(2, 1)}
    made.apply(seats("stale", Version(1, 9), count=1, first=2), 0.0)
    assert made.holding("stale") is None
    held = made.holding("a")
    assert held is not None
    assert held.seq == 7


def test_a_checkout_that_lacks_a_seat_after_the_merge_is_void() -> None:
    """E3."""
    made = table(seats("a", Version(1, 5))[0])
    made.settle(Version(2, 1))
    assert made.holding("a") is None
    assert made.free_count("RISK") == 3


@pytest.mark.parametrize("dead_op, held", [(4, True), (6, False)])
def test_of_a_grant_and_a_return_of_one_id_the_newer_counts(dead_op: int, *, held: bool) -> None:
    """E3: a return that no second node saw may come to light after the seat was stamped anew."""
    made = table(*seats("a", Version(1, 5)), DeadId(id="a", version=Version(1, dead_op)))
    made.settle(Version(2, 1))
    assert (made.holding("a") is not None, made.dead("a") is None) == (held, held)


def test_seq_is_remembered_by_a_freed_seat() -> None:
    """Protocol, Identity: it never falls, though nobody holds the seat any more."""
    made = table(*seats("a", Version(1, 5), seq=7))
    made.apply(made.freed("a", Version(1, 6)), 0.0)
    assert Table(POOL, made.records(), now=0.0).seq == 7


def test_of_dead_ids_the_oldest_go_first() -> None:
    """Protocol, Identity: at most 10,000."""
    made = table()
    made.apply([DeadId(id=str(number), version=Version(1, number)) for number in range(DEAD_LIMIT + 1)], 0.0)
    assert made.dead("0") is None
    assert made.dead("1") is not None
    assert made.dead(str(DEAD_LIMIT)) is not None


def test_a_license_that_shrank_frees_what_is_held_and_grants_no_more_than_it_has() -> None:
    """E8: seats beyond the pool stay with their holders and are not given away again."""
    made = Table({"RISK": 1}, seats("a", Version(1, 5)), now=0.0)
    assert made.free_count("RISK") == 0
    made.apply(made.freed("a", Version(1, 6)), 0.0)
    assert made.free_count("RISK") == 1
