"""What `palclient status --lmstat` says: lines that scripts take apart."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from palclient.cli.lmstat import lines
from palclient.models import Endpoint, FeatureUsage, Holder, NodeStatus, SeatHolder, TriadStatus

NODE = re.compile(r"^  (\S+): server (UP|DOWN)(?: \((\S+)\))?")
FEATURE = re.compile(r"^Users of (\S+): \((\d+) licenses? issued; (\d+) licenses? in use; (\d+) queued\)$")
USER = re.compile(r"^  (\S+) (\S+) (\S+) (\S+) \((\S+) (\d+)\), start (\S+ \d+/\d+ \d+:\d\d), (\d+) licenses?$")

MASTER = NodeStatus(endpoint=Endpoint(port=27000, host="lic1"), state="master", quorum=True, term=7)
STANDBY = NodeStatus(endpoint=Endpoint(port=27000, host="lic2"), state="standby", quorum=True, term=7)
DEAD = NodeStatus(endpoint=Endpoint(port=27000, host="lic3"), state="unreachable", detail="refused: lic3:\nConnection refused")
TRIAD = TriadStatus(nodes=(MASTER, STANDBY, DEAD), master=MASTER)

ANN = SeatHolder(id="a", holder=Holder(user="ann", host="pc7", display=":0", pid=4711, app="risk"), count=1, since="2026-11-24T03:05:07.123Z")
POOL = FeatureUsage(feature="RISK_IND80", total=5, in_use=1, reserved=0, queued=2, holders=(ANN,))


@pytest.fixture(autouse=True)
def in_greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Local time is UTC here, where the system lets a program say so."""
    if not hasattr(time, "tzset"):
        pytest.skip("Windows takes the time zone from its settings alone")
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


def test_each_node_has_a_line_and_each_user_one() -> None:
    """Issue "the triad in full": one line a node, `UP (MASTER)`, the unreachable one with its error, users with start time."""
    assert list(lines(TRIAD, (POOL, replace(POOL, feature="X", total=1, in_use=0, queued=0, holders=())))) == [
        "License servers: 27000@lic1,27000@lic2,27000@lic3",
        "  27000@lic1: server UP (MASTER)",
        "  27000@lic2: server UP (standby)",
        "  27000@lic3: server DOWN: refused: lic3: Connection refused",
        "",
        "Feature usage:",
        "",
        "Users of RISK_IND80: (5 licenses issued; 1 license in use; 2 queued)",
        "  ann pc7 :0 risk (27000@lic1 4711), start Tue 11/24 3:05, 1 license",
        "",
        "Users of X: (1 license issued; 0 licenses in use; 0 queued)",
    ]


def test_without_a_master_nobody_knows_who_holds_what() -> None:
    """T1, T9: reachable does not mean serving."""
    alone = replace(STANDBY, state="no_quorum", quorum=False)
    told = list(lines(TriadStatus(nodes=(alone, DEAD), master=None), ()))
    assert told[1] == "  27000@lic2: server UP (no_quorum)"
    assert told[-1] == "Feature usage: unknown, no server is master"


@pytest.mark.parametrize("name", ["ann lee", "ann\nUsers of Y: (9", "\u2028x", "", "a\x1b[2Jb"])
def test_no_name_can_shift_the_columns_or_forge_a_line(name: str) -> None:
    """Issue, bad input: a client calls itself what it likes, and a script must still find the columns."""
    odd = replace(ANN, holder=replace(ANN.holder, user=name), count=3)
    *_, feature, user = lines(TRIAD, (replace(POOL, holders=(odd,)),))
    assert FEATURE.match(feature)
    found = USER.match(user)
    assert found
    assert found.group(2, 6, 8) == ("pc7", "4711", "3")
    assert user.isprintable()


def test_a_start_that_is_no_date_is_told_as_it_is() -> None:
    """A peer that breaks the protocol is no reason to say nothing of the others."""
    *_, user = lines(TRIAD, (replace(POOL, holders=(replace(ANN, since="this morning"),)),))
    assert user == "  ann pc7 :0 risk (27000@lic1 4711), start this_morning, 1 license"


def test_the_expressions_of_the_page_find_everything() -> None:
    """docs/reference/cli.md says how to read the lines; these are its expressions."""
    told = list(lines(TRIAD, (POOL,)))
    assert [found.groups() for found in map(NODE.match, told) if found] == [
        ("27000@lic1", "UP", "MASTER"),
        ("27000@lic2", "UP", "standby"),
        ("27000@lic3", "DOWN", None),
    ]
    assert [found.groups() for found in map(FEATURE.match, told) if found] == [("RISK_IND80", "5", "1", "2")]
    assert [found.groups() for found in map(USER.match, told) if found] == [("ann", "pc7", ":0", "risk", "27000@lic1", "4711", "Tue 11/24 3:05", "1")]
