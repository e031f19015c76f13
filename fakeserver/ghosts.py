"""Leases that nobody holds: the pool that a test fills, and the second seat of FLEXnet's double count (F).

A ghost is a checkout that the node's own process makes and renews, by the same door as everybody's, for as long as its node serves.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from fakeserver.events import Answer, Checkout, Renew, Request, Return, Usage

HOLDER = {"user": "ghost", "host": "fakeserver"}
RENEWALS = 4  # in one lease time: two may come late
IDS_LIMIT = 1_000  # the protocol's, in one renewal; ours for ghosts at one node


class Ghosts:
    """The ghosts of one node.  ``ask`` has a request answered by the node (None: it was not); ``ttl_s`` is how long its leases last."""

    def __init__(self, ask: Callable[[Request], Awaitable[Answer | None]], *, ttl_s: float) -> None:
        self._ask = ask
        self._ttl_s = ttl_s
        self._fillers: dict[str, str] = {}  # feature: id
        self._doubles: list[str] = []
        self._task: asyncio.Task[None] | None = None

    async def fill(self, feature: str, identity: str) -> None:
        """Take all free seats under this id; where this node does not serve, as soon as it does and nobody holds that id."""
        self._fillers[feature] = identity
        await self._take(feature, identity)
        self._work()

    async def double(self, request: Checkout) -> None:
        """Take for nobody what ``request`` asks for, once more, if there is room."""
        ghost = replace(request, id=str(uuid.uuid4()), queue=False)
        answer = await self._ask(ghost)
        if answer is not None and answer.status == 201 and len(self._doubles) < IDS_LIMIT:
            self._doubles.append(ghost.id)
            self._work()

    async def leave(self, feature: str | None) -> None:
        """Give back what ``fill`` took of a feature; None: what ``double`` took."""
        if feature is None:
            ids, self._doubles = tuple(self._doubles), []
        else:
            ids = (self._fillers.pop(feature),) if feature in self._fillers else ()
        if ids:
            await self._ask(Return(ids=ids))

    def forget(self) -> None:
        """There is a new table, without any ghost."""
        self._fillers.clear()
        self._doubles.clear()

    async def close(self) -> None:
        """Stop renewing."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _take(self, feature: str, identity: str) -> None:
        usage = await self._ask(Usage())
        pools: Any = usage.body["features"] if usage is not None and usage.status == 200 else ()
        for pool in pools:
            free = pool["total"] - pool["in_use"]
            if pool["feature"] == feature and free > 0:
                await self._ask(Checkout(id=identity, feature=feature, version="0", count=free, holder=HOLDER))

    def _work(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._keep(), name="ghosts")

    async def _keep(self) -> None:
        while self._fillers or self._doubles:
            await asyncio.sleep(self._ttl_s / RENEWALS)
            ids = (*self._fillers.values(), *self._doubles)
            answer = await self._ask(Renew(ids=ids)) if ids else None
            if answer is not None and answer.status == 200:
                await self._settle(answer.body["results"])

    async def _settle(self, results: object) -> None:
        """Take again for a pool what this master does not know; a double that is gone is gone."""
        assert isinstance(results, Mapping)
        gone = {identity for identity, result in results.items() if "ttl_s" not in result}
        self._doubles = [each for each in self._doubles if each not in gone]
        for feature, identity in tuple(self._fillers.items()):
            if identity in gone:
                await self._take(feature, identity)
