"""What the loss of the master costs the client beyond the election."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from time import monotonic, sleep
from typing import TYPE_CHECKING

from tests.bench.pairs import Row

if TYPE_CHECKING:
    from fakeserver import FakeNode, FakeTriad
    from palclient import Client

WAIT_S = 10.0
ELECTED = "CONNECTED, master is"


def losses(rounds: int) -> list[Row]:
    """Kill and freeze the master; the election's end is in the new master's log, on the clock that the client reads."""
    from fakeserver import FakeTriad
    from palclient import Client

    rows = []
    with FakeTriad(features={"X": 5}) as triad, Client(triad.servername) as client:
        for word, goal, lose, regain in (
            ("killed", "5 ms", triad.primary.kill, triad.primary.restart),
            ("frozen", "10 ms", triad.primary.pause, triad.primary.resume),
        ):
            beyond = [_episode(triad, client, lose, regain) for _ in range(rounds)]
            election = statistics.median(e for e, _ in beyond)
            cost = sorted(c for _, c in beyond)
            rows.append(Row(what=f"master {word}: election (the triad's own time)", ours_s=election))
            rows.append(Row(what=f"master {word}: client beyond the election, median of {rounds}", ours_s=statistics.median(cost), goal=goal))
            rows.append(Row(what=f"master {word}: client beyond the election, worst of {rounds}", ours_s=cost[-1]))
    return rows


def _episode(triad: FakeTriad, client: Client, lose: Callable[[], None], regain: Callable[[], None]) -> tuple[float, float]:
    """Seconds from the loss to the election's end, and from there to the client's seat."""
    from palclient.transport import monotonic as same_clock

    client.checkout("X").checkin()  # it knows the master, on a warm connection
    lines = len(triad.secondary.log_lines())
    lost_at = same_clock()
    lose()
    lease = client.checkout("X", timeout=WAIT_S)
    granted_at = same_clock()
    elected_at = _elected_at(triad.secondary, lines)
    lease.checkin()
    regain()
    _wait_until(lambda: triad.primary.is_master)
    return elected_at - lost_at, granted_at - elected_at


def _elected_at(node: FakeNode, lines_before: int) -> float:
    """The instant in the new master's own log line: date and time, seconds of the monotonic clock, text."""
    line = next(line for line in node.log_lines()[lines_before:] if ELECTED in line)
    return float(line.split()[1])


def _wait_until(is_so: Callable[[], bool]) -> None:
    until = monotonic() + WAIT_S
    while not is_so():
        if monotonic() > until:
            raise TimeoutError("the primary did not take mastership back")
        sleep(0.01)
