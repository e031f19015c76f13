"""Who is granted what by the options file and by the license lines: G7, and the codes -10, -21, -31, -38, -39, -87, -101."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from fakeserver.events import Answer, Checkout, Renew, Request, Reread, Return, Usage
from fakeserver.options import Rules
from fakeserver.policy import held_s
from fakeserver.pools import LicensedLine, good_seats, refusal
from fakeserver.roles import Role
from fakeserver.seats import Grant
from palclient.optionsfile import OptionsFile, read_options_file
from tests.simulation.virtual_triad import PRIMARY, SECONDARY, TTL_S, VirtualTriad

POOL = "RISK"


def options(*lines: str) -> OptionsFile:
    """An options file of these lines, which has no errors."""
    read = read_options_file("\n".join(lines).encode())
    assert not read.errors
    return read


def who(text: str) -> dict[str, object]:
    """A holder, from ``user@host``."""
    user, _, host = text.partition("@")
    return {"user": user, "host": host or "pc"}


def held(*holders: str) -> list[Grant]:
    """Grants of one seat each."""
    return [Grant(id=str(number), version="0", count=1, holder=who(holder), ttl_s=1, granted_at=0) for number, holder in enumerate(holders)]


# --- the lists ----------------------------------------------------------------------------------------------------------------------


def barred(lines: Iterable[str], holder: str, feature: str = POOL, versions: Iterable[str] = ()) -> object:
    """The code of the refusal that does not depend on what is free; None when there is none."""
    refused = Rules(options(*lines), {POOL: frozenset(versions)}).refusal(feature, who(holder))
    return refused and refused.body["code"]


@pytest.mark.parametrize(
    "lines, ann, bob",
    [
        ([], None, None),
        (["EXCLUDE RISK USER ann"], -38, None),
        (["EXCLUDE OTHER USER ann"], None, None),
        (["EXCLUDEALL USER ann"], -38, None),
        (["INCLUDE RISK USER ann"], None, -39),
        (["INCLUDE OTHER USER ann"], None, None),
        (["INCLUDEALL USER ann"], None, -39),
        (["INCLUDE RISK USER carl", "INCLUDEALL USER ann"], None, -39),
        (["EXCLUDE RISK USER ann", "INCLUDE RISK USER ann"], -38, -39),
        (["GROUP staff ann carl", "EXCLUDE RISK GROUP staff"], -38, None),
        (["HOST_GROUP lab pc7", "INCLUDE RISK HOST_GROUP lab"], None, -39),
        (["EXCLUDE RISK HOST pc7"], -38, None),
        (["EXCLUDE RISK USER Ann"], None, None),
        (["INCLUDE RISK INTERNET 127.*.*.*"], None, None),
        (["EXCLUDE RISK INTERNET 10.*.*.*"], None, None),
    ],
)
def test_who_is_let_in(lines: list[str], ann: object, bob: object) -> None:
    """G7: EXCLUDE is looked at first; an INCLUDE list shuts out all who are not on it."""
    assert (barred(lines, "ann@pc7"), barred(lines, "bob@pc8")) == (ann, bob)


def test_a_rule_for_one_version_holds_where_a_license_line_has_it() -> None:
    """docs/reference/options-file.md."""
    rule = ["EXCLUDE RISK:VERSION=8.0 USER ann"]
    assert barred(rule, "ann", versions=["8.0", "9.0"]) == -38
    assert barred(rule, "ann", versions=["9.0"]) is None
    assert barred(["EXCLUDE RISK:KEY=8.0 USER ann"], "ann", versions=["8.0"]) is None


def test_max_counts_what_all_whom_it_is_about_hold() -> None:
    """G7: MAX for a user, a group, everybody of a host; -87."""
    rules = Rules(options("GROUP staff ann bob", "MAX 1 RISK USER ann", "MAX 2 RISK GROUP staff"), {})
    assert rules.over_max(POOL, who("ann"), 1, held("bob")) is None
    first = rules.over_max(POOL, who("ann"), 1, held("ann"))
    assert first is not None
    assert (first.body["code"], first.body["in_use"], first.body["total"]) == (-87, 1, 1)
    group = rules.over_max(POOL, who("bob"), 1, held("ann", "bob"))
    assert group is not None
    assert group.body["in_use"] == 2
    assert rules.over_max(POOL, who("carl"), 9, held("ann", "bob")) is None
    assert rules.over_max("OTHER", who("ann"), 9, []) is None


def test_a_reservation_is_filled_by_whom_it_is_for() -> None:
    """G7: RESERVE; a seat counts for one reservation only."""
    rules = Rules(options("GROUP staff ann bob", "RESERVE 2 RISK USER ann", "RESERVE 1 RISK GROUP staff"), {})
    assert rules.reserved(POOL, held()) == 3
    assert rules.reserved(POOL, held("ann", "ann", "ann", "carl")) == 0
    assert rules.reserved(POOL, held("bob")) == 2
    assert rules.reserved(POOL, held(), besides=who("ann")) == 0
    assert rules.reserved(POOL, held(), besides=who("bob")) == 2
    assert rules.reserved(POOL, held(), besides=who("carl")) == 3


# --- license lines ------------------------------------------------------------------------------------------------------------------

LINES = (
    LicensedLine(version="8.0", seats=2, until_s=100),
    LicensedLine(version="9.5", seats=1, from_s=50),
    LicensedLine(version="8.0", seats=1),
)


@pytest.mark.parametrize(
    "version, now, seats",
    [("0", 0, 0b1011), ("8.0", 60, 0b1111), ("8", 100, 0b1100), ("8.1", 60, 0b0100), ("9.50", 60, 0b0100), ("9.6", 60, 0), ("8a", 60, 0)],
)
def test_each_line_of_a_pool_is_good_for_its_versions_in_its_time(version: str, now: float, seats: int) -> None:
    """-10, -21, -31, seat by seat; 8.10 is 8.1."""
    assert good_seats(LINES, version, now) == seats
    assert (refusal(POOL, LINES, version, now) is None) == bool(seats)


@pytest.mark.parametrize("version, now, code", [("9.6", 60, -21), ("8.1", 0, -31), ("x", 60, -21), ("8.0", 60, None)])
def test_the_code_says_why_no_line_is_good(version: str, now: float, code: int | None) -> None:
    """-21 before -31 before -10."""
    refused = refusal(POOL, LINES, version, now)
    assert (refused and refused.body["code"]) == code


def test_a_license_is_good_to_the_end_of_its_last_day() -> None:
    """-10."""
    line = LicensedLine(version="1", seats=1, until_s=86400)
    assert refusal(POOL, [line], "1", 86399.9) is None
    refused = refusal(POOL, [line], "1", 86400)
    assert refused is not None
    assert (refused.body["code"], refused.body["detail"]) == (-10, "The license of 'RISK' has expired: its last day was 1970-01-01.")


# --- at a serving master ------------------------------------------------------------------------------------------------------------


class Counter:
    """Clients of a virtual triad whose pool has ``seats``, with an options file."""

    def __init__(self, *lines: str, seats: int = 3) -> None:
        self.triad = VirtualTriad(features={POOL: seats})
        self.triad.start(*Role)
        self.triad.run_until_serving(0.1)
        self.triad.run(0.5)
        self.reread(*lines)

    def reread(self, *lines: str) -> None:
        """All nodes read another options file."""
        for role in Role:
            self.triad._handle(role, Reread(options=options(*lines)))

    def do(self, request: Request) -> Answer:
        """Ask the master, and wait for the answer."""
        master = self.triad.master()
        assert master is not None
        token = self.triad.ask(master, request)
        self.triad.run(0.005)
        return self.triad.answers[token]

    def take(self, name: str, holder: str, *, count: int = 1, queue: bool = False) -> int:
        """The status of a checkout, or the code of its refusal."""
        answer = self.do(Checkout(id=name, feature=POOL, version="0", count=count, holder=who(holder), queue=queue))
        code: Any = answer.body.get("code", answer.status)
        return int(code)

    def give(self, name: str) -> Answer:
        """Return a checkout."""
        return self.do(Return(ids=(name,)))

    @property
    def pool(self) -> dict[str, Any]:
        """The usage of the pool."""
        pools: Any = self.do(Usage()).body["features"]
        return dict(pools[0])


def test_the_rest_is_reserved_for_others() -> None:
    """G7: -101 while seats are free, -4 when none is."""
    counter = Counter("RESERVE 2 RISK USER ann")
    assert counter.pool["reserved"] == 2
    assert counter.take("1", "bob") == 201
    assert counter.take("2", "bob") == -101
    assert [counter.take("3", "ann"), counter.take("4", "ann")] == [201, 201]
    assert (counter.pool["reserved"], counter.pool["in_use"]) == (0, 3)
    assert counter.take("5", "bob") == -4


def test_nobody_holds_more_than_max() -> None:
    """G7: -87, with what is in use and what is allowed."""
    counter = Counter("MAX 1 RISK USER ann")
    assert [counter.take("1", "ann"), counter.take("1", "ann"), counter.take("2", "ann"), counter.take("3", "bob")] == [201, 200, -87, 201]
    counter.give("1")
    assert counter.take("4", "ann") == 201


def test_the_lists_are_looked_at_before_the_pool_and_what_is_held_stays_held() -> None:
    """G7: -38 and -39 for new checkouts; a lease that is held goes on after a reread."""
    counter = Counter(seats=1)
    assert counter.take("1", "ann") == 201
    counter.reread("EXCLUDE RISK USER ann", "INCLUDE RISK USER carl")
    assert [counter.take("2", "ann"), counter.take("3", "bob"), counter.take("4", "carl")] == [-38, -39, -4]
    assert counter.take("1", "ann") == 200
    assert counter.do(Renew(ids=("1",))).body["results"] == {"1": {"ttl_s": TTL_S}}
    counter.reread()
    counter.give("1")
    assert counter.take("5", "ann") == 201


def test_who_may_not_have_what_is_free_stands_in_nobodys_way() -> None:
    """G7 and the line: those behind are served while MAX or RESERVE holds back the first."""
    counter = Counter("RESERVE 1 RISK USER ann", "MAX 1 RISK USER bob", seats=3)
    assert counter.take("1", "bob", queue=True) == 201
    assert counter.take("2", "bob", queue=True) == 202
    assert counter.take("3", "carl", queue=True) == 201
    assert counter.take("4", "dora", queue=True) == 202
    assert counter.take("5", "ann", queue=True) == 201
    counter.give("3")
    assert counter.take("2", "bob", queue=True) == 202
    assert counter.take("4", "dora", queue=True) == 201


def test_a_returned_seat_lingers() -> None:
    """G7: LINGER; its user gets it back at once, others when the time is up, and nobody can renew it."""
    counter = Counter("LINGER RISK 2", seats=1)
    assert counter.take("1", "ann@pc1") == 201
    assert counter.give("1").body["results"] == {"1": True}
    assert (counter.pool["in_use"], counter.pool["holders"]) == (1, [])
    renewed: Any = counter.do(Renew(ids=("1",))).body["results"]
    assert renewed["1"]["code"] == -41
    assert counter.take("2", "ann@pc2") == -4
    assert counter.take("3", "ann@pc1") == 201
    counter.give("3")
    counter.triad.run(1.9)
    assert counter.take("4", "bob") == -4
    counter.triad.run(0.2)
    assert counter.take("5", "bob") == 201
    assert not [line for _, _, line in counter.triad.lines if "EXPIRED" in line]


def test_the_next_master_plays_the_same_options() -> None:
    """G7 with G2: rules and lingering seats are there after a failover."""
    counter = Counter("MAX 1 RISK USER ann", "LINGER RISK 60", seats=2)
    assert counter.take("1", "ann") == 201
    assert counter.take("2", "bob") == 201
    counter.give("2")
    counter.triad.crash(PRIMARY)
    counter.triad.run_until_serving(10 * held_s(TTL_S))
    assert counter.triad.master() is SECONDARY
    assert counter.take("3", "ann") == -87
    assert counter.take("4", "carl") == -4
    assert counter.take("5", "bob") == 201
