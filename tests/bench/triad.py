"""What the fake triad itself costs: elections, starting, resetting, and how much its master can do."""

from __future__ import annotations

import http.client
import json
import statistics
import uuid

from fakeserver import FakeNode, FakeTriad
from tests.bench.failover import wait_until
from tests.bench.pairs import Row

RETURNED = 10_000  # as many dead ids as a table keeps
IDS_A_REQUEST = 1_000
ELECTIONS = 10


def barriers(rounds: int) -> list[Row]:
    """Kill the master, whose table holds many returned ids or none: how long from the election to serving (E3), and in all."""
    return [row for count in (0, RETURNED) for row in _elections(min(rounds, ELECTIONS), count)]


def _elections(rounds: int, returned: int) -> list[Row]:
    with FakeTriad(features={"X": 100}) as triad:
        _give_back(triad.wait_until_serving(10), returned)
        for _ in range(rounds):
            triad.primary.kill()
            wait_until(lambda: triad.secondary.is_master)
            triad.primary.restart()
            wait_until(lambda: triad.primary.is_master)
        by = {role: [entry.facts for entry in triad.journal.named("serving") if entry.node == role] for role in ("primary", "secondary")}
    what = f"{returned:,} returned ids"
    barrier = [float(str(facts["barrier_s"])) for facts in by["secondary"]]
    back = [float(str(facts["barrier_s"])) for facts in by["primary"][1:]]
    silent = [float(str(facts["silent_s"])) for facts in by["secondary"]]
    return [
        Row(what=f"{what}: barrier of a failover, median of {rounds}", ours_s=statistics.median(barrier), goal="10 ms"),
        Row(what=f"{what}: barrier of a failover, worst", ours_s=max(barrier)),
        Row(what=f"{what}: barrier of the primary's return, median", ours_s=statistics.median(back), goal="10 ms"),
        Row(what=f"{what}: from the old master's last word, median", ours_s=statistics.median(silent)),
    ]


def _give_back(master: FakeNode, count: int) -> None:
    """Return ids that nobody has taken: they are dead all the same."""
    connection = http.client.HTTPConnection(master.host, master.port, timeout=20)
    for _ in range(count // IDS_A_REQUEST):
        connection.request("POST", "/v1/returns", json.dumps({"ids": [str(uuid.uuid4()) for _ in range(IDS_A_REQUEST)]}))
        connection.getresponse().read()
    connection.close()
