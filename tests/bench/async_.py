"""What a checkout and its return cost on an event loop, and what many at a time bring through."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

from tests.bench.pairs import Row, in_turn, null_node

CALLS = 100  # checkouts and returns, one after the other
AT_ONCE = 32  # tasks, or threads
EACH = 10  # checkouts and returns of each of them

HOLDER = {"user": "ann", "host": "pc7", "display": ":0", "pid": 4711, "app": "risk"}
BODY: dict[str, Any] = {"feature": "X", "version": "0", "count": 1, "holder": HOLDER, "queue": False, "nonce": "0" * 32}


def url_of(port: int) -> str:
    """Where the other client takes its seat."""
    return f"http://127.0.0.1:{port}/v1/checkouts/00000000-0000-4000-8000-000000000001"


def checkouts(rounds: int) -> list[Row]:
    """One after the other, and 32 tasks at once, against the same calls of one ``httpx.AsyncClient``, to the same canned server."""
    import httpx

    from palclient import AsyncClient

    with null_node() as port, asyncio.Runner() as runner:
        client, other, url = AsyncClient(f"{port}@127.0.0.1"), httpx.AsyncClient(), url_of(port)

        async def ours() -> None:
            await (await client.checkout("X")).checkin()

        async def theirs() -> None:
            (await other.put(url, json=BODY)).json()
            (await other.delete(url)).json()

        def timed(tasks: int, each: int, pair: Callable[[], Awaitable[None]]) -> Callable[[], float]:
            return lambda: runner.run(_together(tasks, each, pair)) / (tasks * each)

        rows = []
        for tasks, each, what, goal in (
            (1, CALLS, "checkout and return, awaited : httpx.AsyncClient", "0.5"),
            (AT_ONCE, EACH, f"the same by {AT_ONCE} tasks at once", "0.125"),
        ):
            us, them = timed(tasks, each, ours), timed(tasks, each, theirs)
            us(), them()  # warm up
            rows.append(in_turn(rounds, us, them, what=what, goal=goal))
        runner.run(client.aclose())
        runner.run(other.aclose())
    return rows


async def _together(tasks: int, each: int, pair: Callable[[], Awaitable[None]]) -> float:
    """Seconds until so many tasks have called so often each."""

    async def task() -> None:
        for _ in range(each):
            await pair()

    began = time.perf_counter()
    await asyncio.gather(*(task() for _ in range(tasks)))
    return time.perf_counter() - began


def threads(rounds: int) -> list[Row]:
    """32 threads on one client, against 32 on one ``httpx.Client``."""
    import httpx

    from palclient import Client

    with null_node() as port, Client(f"{port}@127.0.0.1") as client, httpx.Client() as other:
        url = url_of(port)

        def ours() -> None:
            client.checkout("X").checkin()

        def theirs() -> None:
            other.put(url, json=BODY).json()
            other.delete(url).json()

        _abreast(ours), _abreast(theirs)  # warm up
        what = f"checkout and return by {AT_ONCE} threads : httpx.Client"
        return [in_turn(rounds, lambda: _abreast(ours), lambda: _abreast(theirs), what=what, goal="0.5")]


def _abreast(pair: Callable[[], None]) -> float:
    """Seconds for each of so many calls, made by all threads together."""

    def call() -> None:
        for _ in range(EACH):
            pair()

    crew = [threading.Thread(target=call, name=f"bench-{number}") for number in range(AT_ONCE)]
    began = time.perf_counter()
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    return (time.perf_counter() - began) / (AT_ONCE * EACH)
