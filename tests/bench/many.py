"""What ten thousand leases in one process cost, and what two hundred clients ask when they all lose their master at once.

``python -m tests.bench.many PORT`` is the process with the leases, ``python -m tests.bench.many SERVERNAME CLIENTS`` one with a part of the clients; each
prints what it measured as JSON.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from tests.bench.counting import counted_client
from tests.bench.failover import elected_at, wait_until
from tests.bench.pairs import ROOT, Figure, null_node

if TYPE_CHECKING:
    from fakeserver import FakeTriad

LEASES = 10_000
RENEWAL_S = 60.0  # a third of the canned node's ttl
CLIENTS, PROCESSES = 200, 4  # two hundred keepers in one interpreter would measure its lock
TTL_S = 3.0
FAILOVERS = 3  # each takes seconds


def leases(_rounds: int) -> list[Figure]:
    """Once, over one whole interval of renewals: it takes more than a minute."""
    with null_node() as port:
        command = [sys.executable, "-m", "tests.bench.many", str(port)]
        found = json.loads(subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout)
    what = f"{LEASES:,} leases in one process"
    return [
        Figure(what=f"{what}: keeper threads", ours=found["keepers"], goal="1"),
        Figure(what=f"{what}: memory of each, handle and all", ours=found["bytes"], unit="B", goal="<= 1024"),
        Figure(what=f"{what}: a core's share at renewals every 60 s", ours=found["share"] * 100, unit="%", goal="<= 1"),
    ]


def held(port: int) -> dict[str, float]:
    """Take the leases, keep them until each was renewed once, and say what that took."""
    from palclient import Client

    with Client(f"{port}@127.0.0.1") as client:
        client.checkout("X").checkin()  # what is loaded, or made, once is not a lease's
        gc.collect()
        tracemalloc.start()
        kept = [client.checkout("X") for _ in range(LEASES)]
        gc.collect()
        each_bytes = tracemalloc.get_traced_memory()[0] / LEASES
        tracemalloc.stop()
        keepers = sum(thread.name == "palclient-keeper" for thread in threading.enumerate())
        cpu_s, began = time.process_time(), time.monotonic()
        while client.counters.renewals < LEASES:
            if time.monotonic() - began > 2 * RENEWAL_S:
                raise TimeoutError(f"only {client.counters.renewals} leases were renewed")
            time.sleep(1.0)
        cpu_s = time.process_time() - cpu_s
        assert all(lease.valid for lease in kept)
        return {"keepers": keepers, "bytes": each_bytes, "share": cpu_s / RENEWAL_S}


def crowds(rounds: int) -> list[Figure]:
    """Two hundred clients, each with one lease of 3 s and a keeper of its own, and a master that is killed."""
    from fakeserver import FakeTriad

    failovers = min(rounds, FAILOVERS)
    with FakeTriad(features={"X": CLIENTS}, ttl_s=TTL_S) as triad, ExitStack() as stack:
        parts = [stack.enter_context(_part(triad.servername)) for _ in range(PROCESSES)]
        told = [word for _ in range(failovers) for word in _told_after_failover(triad, parts)]
    asked = [count for word in told for count in word["asked"]]
    lost = max(sum(word["lost"] for word in told[at : at + PROCESSES]) for at in range(0, len(told), PROCESSES))
    what = f"{CLIENTS} clients, ttl {TTL_S:g} s, {failovers} failovers"
    return [
        Figure(what=f"{what}: requests in the next second, most", ours=max(asked), goal="<= 3"),
        Figure(what=f"{what}: the same, mean", ours=sum(asked) / len(asked)),
        Figure(what=f"{what}: leases lost", ours=lost, goal="0"),
    ]


@contextmanager
def _part(servername: str) -> Iterator[subprocess.Popen[str]]:
    """A process with its share of the clients, once each of them holds its lease."""
    command = [sys.executable, "-m", "tests.bench.many", servername, str(CLIENTS // PROCESSES)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        _heard(process)
        yield process  # its end of the pipe is closed then, and it ends


def _heard(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    word: dict[str, Any] = json.loads(process.stdout.readline())
    return word


def _told_after_failover(triad: FakeTriad, parts: list[subprocess.Popen[str]]) -> list[dict[str, Any]]:
    """Kill the primary; what each process tells of the second after the election."""
    from palclient.transport import monotonic as same_clock

    lines = len(triad.secondary.log_lines())
    triad.primary.kill()
    wait_until(lambda: triad.secondary.is_master)
    elected = elected_at(triad.secondary, lines)
    wait_until(lambda: same_clock() > elected + 1.0)
    for part in parts:
        assert part.stdin is not None
        print(elected, file=part.stdin, flush=True)
    told = [_heard(part) for part in parts]
    triad.primary.restart()
    wait_until(lambda: triad.primary.is_master)
    settled = same_clock()
    wait_until(lambda: same_clock() > settled + TTL_S)  # every client has found the primary again
    return told


def keep_clients(servername: str, count: int) -> None:
    """One process of the crowd: for each instant of an election that it reads, it tells how much each client asked in the second after it."""
    with ExitStack() as stack:
        crowd = [stack.enter_context(counted_client(servername)) for _ in range(count)]
        kept = [client.checkout("X") for client, _ in crowd]
        print("{}", flush=True)
        for line in sys.stdin:
            elected = float(line)
            asked = [sum(elected <= at < elected + 1.0 for at in transport.sent_at) for _, transport in crowd]
            print(json.dumps({"asked": asked, "lost": sum(not lease.valid for lease in kept)}), flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        keep_clients(sys.argv[1], int(sys.argv[2]))
    else:
        print(json.dumps(held(int(sys.argv[1]))))
