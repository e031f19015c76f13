"""What the loss of the master costs the client beyond the election."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from time import monotonic, sleep
from typing import TYPE_CHECKING

from tests.bench.counting import counted_client
from tests.bench.pairs import Figure, Row

if TYPE_CHECKING:
    from fakeserver import FakeNode, FakeTriad
    from palclient import Client
    from tests.bench.counting import CountingTransport

WAIT_S = 10.0
ELECTED = "CONNECTED, master is"


def losses(rounds: int) -> list[Row | Figure]:
    """Kill and freeze the master; the election's end is in the new master's log, on the clock that the client reads."""
    from fakeserver import FakeTriad

    rows: list[Row | Figure] = []
    with FakeTriad(features={"X": 5}) as triad, counted_client(triad.servername) as (client, transport):
        for word, goal, lose, regain in (
            ("killed", "5 ms", triad.primary.kill, triad.primary.restart),
            ("frozen", "10 ms", triad.primary.pause, triad.primary.resume),
        ):
            beyond = [_episode(triad, client, transport, lose, regain) for _ in range(rounds)]
            election = statistics.median(e for e, _, _ in beyond)
            cost = sorted(c for _, c, _ in beyond)
            rows.append(Row(what=f"master {word}: election (the triad's own time)", ours_s=election))
            rows.append(Row(what=f"master {word}: client beyond the election, median of {rounds}", ours_s=statistics.median(cost), goal=goal))
            rows.append(Row(what=f"master {word}: client beyond the election, worst of {rounds}", ours_s=cost[-1]))
            rows.append(Figure(what=f"master {word}: requests of the client until its seat, most", ours=max(n for _, _, n in beyond), goal="<= 12"))
    return rows


def black_holes(rounds: int) -> list[Row]:
    """The first checkout of a client while the first node of SERVERNAME takes what clients say and answers none of it; the secondary is master."""
    from fakeserver import FakeTriad
    from palclient import Client

    taken_s = []
    with FakeTriad(features={"X": 5}, primary_is_master=False) as triad:
        triad.primary.kill()
        wait_until(lambda: triad.secondary.is_master)
        triad.primary.restart()
        wait_until(lambda: triad.primary.state == "standby")
        triad.primary.blackhole(clients_only=True)
        for _ in range(rounds):
            with Client(triad.servername) as client:
                began = monotonic()
                lease = client.checkout("X")
                taken_s.append(monotonic() - began)
                lease.checkin()
    what = "first checkout, the primary a black hole to clients"
    return [
        Row(what=f"{what}, median of {rounds}", ours_s=statistics.median(taken_s), goal="100 ms"),
        Row(what=f"{what}, worst", ours_s=max(taken_s), goal="100 ms"),
    ]


def _episode(
    triad: FakeTriad, client: Client, transport: CountingTransport, lose: Callable[[], None], regain: Callable[[], None]
) -> tuple[float, float, int]:
    """Seconds from the loss to the election's end, and from there to the client's seat; and the requests that it sent meanwhile."""
    from palclient.transport import monotonic as same_clock

    client.checkout("X").checkin()  # it knows the master, on a warm connection
    lines = len(triad.secondary.log_lines())
    lost_at = same_clock()
    requests = len(transport.sent_at)
    lose()
    lease = client.checkout("X", timeout=WAIT_S)
    granted_at = same_clock()
    requests = len(transport.sent_at) - requests
    at = elected_at(triad.secondary, lines)
    lease.checkin()
    regain()
    wait_until(lambda: triad.primary.is_master)
    return at - lost_at, granted_at - at, requests


def elected_at(node: FakeNode, lines_before: int) -> float:
    """The instant in the new master's own log line: date and time, seconds of the monotonic clock, text."""
    line = next(line for line in node.log_lines()[lines_before:] if ELECTED in line)
    return float(line.split()[1])


def wait_until(is_so: Callable[[], bool]) -> None:
    """Look again and again; raises TimeoutError after ten seconds."""
    until = monotonic() + WAIT_S
    while not is_so():
        if monotonic() > until:
            raise TimeoutError("the triad did not come to where it should be")
        sleep(0.01)
