"""What the fake triad itself costs: elections, starting, resetting, and how much its master can do."""

from __future__ import annotations

import http.client
import json
import os
import statistics
import subprocess
import sys
import time
import uuid
from pathlib import Path

from fakeserver import FakeNode, FakeTriad
from fakeserver.faults import FAULTS
from tests.bench.failover import wait_until
from tests.bench.pairs import ROOT, Figure, Row

RETURNED = 10_000  # as many dead ids as a table keeps
IDS_A_REQUEST = 1_000
ELECTIONS = 10
SETTINGS: dict[str, dict[str, object]] = {
    "slow": {"latency_s": 0.01},
    "clock_rate": {"rate": 1.01},
    "fill": {"feature": "X"},
    "expire": {"feature": "X"},
    "partition": {"peer": "tertiary"},
}
"""What a fault cannot be played without."""
PAIRS = 5  # of loads that are compared with each other
SEATS = 10_000  # as many as a fake triad holds


STARTING = """
import sys, time
began = time.perf_counter()
from fakeserver import FakeTriad
for _ in range(int(sys.argv[1])):
    with FakeTriad(features={"X": 5}, in_process="inside" in sys.argv) as triad:
        triad.wait_until_serving(10)
        print(time.perf_counter() - began, end=" ")
    began = time.perf_counter()
"""
AGAIN = 5  # triads after the first of a program


def starts(rounds: int) -> list[Row]:
    """From nothing to three nodes that follow one master: the first of a program with what it imports, and the next ones; by the command line, too."""
    processes = [_started() for _ in range(rounds)]
    inside = [_started("inside") for _ in range(rounds)]
    by_hand = [_by_hand_s() for _ in range(rounds)]
    first, later = statistics.median(each[0] for each in processes), statistics.median(s for each in processes for s in each[1:])
    return [
        Row(what=f"triad of processes, first of a program, median of {rounds}", ours_s=first, goal="400 ms"),
        Row(what="triad of processes, from the second on, median", ours_s=later, goal="60 ms"),
        Row(what="triad of processes, by the command line, median", ours_s=statistics.median(by_hand), goal="400 ms"),
        Row(what="triad in process, first of a program, median", ours_s=statistics.median(each[0] for each in inside)),
        Row(what="triad in process, from the second on, median", ours_s=statistics.median(s for each in inside for s in each[1:]), goal="10 ms"),
    ]


def _started(*words: str) -> list[float]:
    done = subprocess.run([sys.executable, "-c", STARTING, str(1 + AGAIN), *words], check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    return [float(word) for word in done.stdout.split()]


def _by_hand_s() -> float:
    """``python -m fakeserver``, from its start until its primary says that it is master."""
    began = time.perf_counter()
    with subprocess.Popen([sys.executable, "-m", "fakeserver", "--feature", "X=5"], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        servername = next(line for line in process.stdout if line.startswith("SERVERNAME="))
        connection = http.client.HTTPConnection("127.0.0.1", int(servername.removeprefix("SERVERNAME=").partition("@")[0]), timeout=20)
        wait_until(lambda: _state(connection) == "master")
        taken_s = time.perf_counter() - began
        connection.close()
        process.terminate()
    return taken_s


def _state(connection: http.client.HTTPConnection) -> str:
    connection.request("GET", "/v1/status")
    return str(json.loads(connection.getresponse().read())["state"])


def resets(rounds: int) -> list[Row]:
    """A triad like new, with the nodes that there are."""
    rows = []
    for what, inside in (("processes", False), ("in process", True)):
        with FakeTriad(features={"X": 5}, in_process=inside) as triad:
            triad.wait_until_serving(10)
            taken_s = []
            for _ in range(5 * rounds):
                began = time.perf_counter()
                triad.reset()
                taken_s.append(time.perf_counter() - began)
        rows.append(Row(what=f"reset, {what}, median of {5 * rounds}", ours_s=statistics.median(taken_s), goal="5 ms"))
    return rows


def loads(_rounds: int) -> list[Row | Figure]:
    """What the master of a triad of processes can do, and what a thousand quiet clients cost it."""
    granted = {mode: _granted(mode) for mode in ("", "returns")}
    return [
        Figure(what="64 connections: checkouts a second", ours=granted[""], unit="/s", goal=">= 2000"),
        Figure(what="64 connections: checkouts a second, each given back", ours=granted["returns"], unit="/s", goal=">= 2000"),
        Figure(what="the same after every fault was played and healed, of that", ours=_share_after_faults() * 100, unit="%", goal=">= 95"),
        Figure(what="1,000 clients of ten leases, every 10 s: a core's share", ours=_share_of_quiet_clients() * 100, unit="%", goal="<= 25"),
    ]


def _share_after_faults() -> float:
    """What a master that had every fault grants, of what one grants that never had any (F: no cost when off)."""
    return statistics.median(_granted("returns", has_failed=True) / _granted("returns") for _ in range(PAIRS))


def _play_and_heal_all(node: FakeNode) -> None:
    for name in FAULTS.keys() - {"fail_at"}:
        node.play(name, **SETTINGS.get(name, {}))
        node.heal()


def _granted(mode: str, *, has_failed: bool = False) -> float:
    with FakeTriad(features={"X": SEATS}, ttl_s=600.0) as triad:
        master = triad.wait_until_serving(10)
        if has_failed:
            _play_and_heal_all(master)
            master = triad.wait_until_serving(10)
        command = [sys.executable, "-m", "tests.bench.load", str(master.port), "64", "4.0" if mode else "1.0", mode]
        return float(subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout)


def _share_of_quiet_clients() -> float:
    """The processor time of the master's process in the twenty seconds, as Linux tells it; elsewhere not a number."""
    with FakeTriad(features={"X": SEATS}, ttl_s=30.0) as triad:
        master = triad.wait_until_serving(10)
        command = [sys.executable, "-m", "tests.bench.load", str(master.port), "1000", "20", "renewing"]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            began, before_s = time.perf_counter(), _processor_s(master.pid)
            process.stdout.read()
            return (_processor_s(master.pid) - before_s) / (time.perf_counter() - began)


def _processor_s(pid: int | None) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except FileNotFoundError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


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
