"""What a checkout and its return cost on a warm connection."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.bench.pairs import Row, null_node, row_of

CALLS = 100  # of each, a pair


def checkouts(rounds: int) -> list[Row]:
    """Checkout and return, against two calls of a bare ``httpx.Client`` with the same bodies, to the same canned server."""
    import httpx

    from palclient import Client

    with null_node() as port, Client(f"{port}@127.0.0.1") as client, httpx.Client() as other:
        url = f"http://127.0.0.1:{port}/v1/checkouts/00000000-0000-4000-8000-000000000001"
        holder = {"user": "ann", "host": "pc7", "display": ":0", "pid": 4711, "app": "risk"}
        body = {"feature": "X", "version": "0", "count": 1, "holder": holder, "queue": False, "nonce": "0" * 32}

        def ours() -> None:
            client.checkout("X").checkin()

        def theirs() -> None:
            other.put(url, json=body).json()
            other.delete(url).json()

        _timed(ours), _timed(theirs)  # warm up
        pairs = [(_timed(ours), _timed(theirs)) if number % 2 else tuple(reversed((_timed(theirs), _timed(ours)))) for number in range(rounds)]
    what = "warm checkout and return : two calls of httpx.Client"
    wall = row_of([(a[0], b[0]) for a, b in pairs], what=f"{what}, wall", goal="0.8")
    cpu = row_of([(a[1], b[1]) for a, b in pairs], what=f"{what}, CPU", goal="0.8")
    return [wall, cpu]


def _timed(call: Callable[[], None]) -> tuple[float, float]:
    """Wall and CPU time of one call, in seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(CALLS):
        call()
    return (time.perf_counter() - wall) / CALLS, (time.process_time() - cpu) / CALLS
