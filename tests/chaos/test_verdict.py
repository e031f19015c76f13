"""Each checker, on a history in which what it looks for is there, and on one in which it just is not."""

from __future__ import annotations

from typing import Any

from tests.chaos.history import Line, Turn, turns
from tests.chaos.verdict import most_held, verdicts


def asked(op: int, at: float, feature: str = "RACE") -> Line:
    """A checkout begins; it has two seconds."""
    return {"what": "asked", "op": op, "at": at, "feature": feature, "timeout_s": 2.0, "wait_s": 0.0}


def granted(op: int, at: float, seq: int, *, until: float, count: int = 1) -> Line:
    """It has its seat."""
    return {"what": "granted", "op": op, "at": at, "id": f"id{seq}", "seq": seq, "term": 1, "count": count, "until": until}


def line(what: str, op: int, at: float, **facts: Any) -> Line:
    """Any other line."""
    return {"what": what, "op": op, "at": at, **facts}


def error(op: int, at: float, *, is_denial: bool = False) -> Line:
    """It ended without a seat."""
    return line("error", op, at, kind="SeatsTaken" if is_denial else "NoQuorum", text="", is_denial=is_denial)


def checkers(found: list[Turn]) -> set[str]:
    """What is wrong with a history."""
    return {violation.checker for violation in verdicts(found)}


def test_a_seat_is_believed_held_until_it_runs_out_or_is_given_back() -> None:
    """G1: belief is what the client computes; it ends with the return, or with the last reading's time."""
    first = turns("a", [asked(1, 0), granted(1, 1, 1, until=3), line("reading", 1, 2, until=4), line("returning", 1, 5)], [], None)
    assert first[0].beliefs() == [(1, 2), (2, 4)]
    then = turns("b", [asked(1, 3), granted(1, 4, 2, until=9), line("returning", 1, 6)], [], None)
    assert most_held(first + then) == 1


def test_one_seat_too_many_is_seen() -> None:
    """G1: four believe in seats of a pool of three, if only for a moment."""
    some = [turns(f"c{seq}", [asked(1, 0), granted(1, 1 + seq / 2, seq, until=5.5)], [], None) for seq in range(1, 5)]
    assert checkers([turn for each in some for turn in each]) == {"over-issued"}
    assert not checkers([turn for each in some[1:] for turn in each])


def test_a_killed_client_counts_until_its_seats_run_out() -> None:
    """G1: its server cannot know that it is dead, and one that exits has given back."""
    lines = [asked(1, 0), granted(1, 1, 1, until=5, count=3)]
    other = turns("b", [asked(1, 2), granted(1, 3, 2, until=9)], [], None)
    assert checkers(turns("a", lines, [], 2.0) + other) == {"over-issued"}
    assert not checkers(turns("a", [*lines, {"what": "exiting", "at": 2.0}], [], None) + other)


def test_one_seq_for_two_leases_is_seen_and_so_is_one_that_falls() -> None:
    """G3: seq is the fencing token."""
    first = turns("a", [asked(1, 0), granted(1, 1, 7, until=2)], [], None)
    assert checkers(first + turns("b", [asked(1, 0), granted(1, 1, 7, until=2)], [], None)) == {"twice"}
    assert checkers(first + turns("b", [asked(1, 1.5), granted(1, 3, 6, until=4)], [], None)) == {"twice"}
    assert not checkers(first + turns("b", [asked(1, 0.5), granted(1, 3, 6, until=4)], [], None))


def test_answers_that_one_counter_would_not_give_are_seen() -> None:
    """G1, G6: a client is refused by a pool of two in which one seat is taken."""
    one = turns("a", [asked(1, 0, "PAIR"), granted(1, 1, 1, until=9)], [], None)
    other = turns("b", [asked(1, 2, "PAIR"), granted(1, 3, 2, until=9)], [], None)
    refused = turns("c", [asked(1, 4, "PAIR"), error(1, 5, is_denial=True)], [], None)
    assert checkers(one + refused) == {"no counter"}
    assert not checkers(one + other + refused)


def test_a_seat_that_ran_out_while_its_process_was_frozen_was_free_since_then() -> None:
    """G1: the return that follows the thaw is confirmed, and frees nothing."""
    frozen = [asked(1, 0, "PAIR"), granted(1, 1, 1, until=3), line("returning", 1, 8), line("returned", 1, 9)]
    told = {"what": "told", "at": 9, "event": "Returned", "id": "id1", "confirmed": True}
    others = [turn for n in (2, 3) for turn in turns(f"b{n}", [asked(1, 4, "PAIR"), granted(1, 5, n, until=7)], [], None)]
    assert not checkers(turns("a", [*frozen, told], [(2, 7)], None) + others)
    assert checkers(turns("a", [*frozen, told], [], None) + others) == {"no counter"}


def test_an_error_a_loss_and_an_answer_too_late_are_seen_unless_the_process_was_frozen() -> None:
    """G2 and the time limits of a checkout; a frozen process can be promised none of it."""
    cases = {
        "error": [asked(1, 0), error(1, 2)],
        "lost": [asked(1, 0), granted(1, 1, 1, until=2), line("lost", 1, 2.5)],
        "overtime": [asked(1, 0), granted(1, 4, 1, until=9)],
    }
    for checker, lines in cases.items():
        assert checkers(turns("a", lines, [], None)) == {checker}
        if checker != "overtime":
            assert not checkers(turns("a", lines, [(0.5, 1.5)], None))
    assert not checkers(turns("a", [asked(1, 0), error(1, 2, is_denial=True)], [], None))
