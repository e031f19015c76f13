"""Calls through an ``httpx.AsyncBaseTransport`` that the user brings: the twin of ``injected.py``.

Such a transport belongs to the loop on which it is used.  The keeper's calls go there, too, so with one of these a loop that is blocked does delay
renewals.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from functools import partial
from typing import TYPE_CHECKING

from palclient.core.flow import Answered, Call, Failed, Outcome
from palclient.transport.injected import InjectedExchange, OnEnd, add_bounded, answer, failure, request_of, silence
from palclient.transport.system import Trouble

if TYPE_CHECKING:
    import httpx

    from palclient.transport.system import Wakeup

Ask = Callable[["httpx.Request"], Awaitable["httpx.Response"]]
NO_LOOP = Trouble(Outcome.UNREACHABLE, "the event loop of the injected transport does not run any more")


class AsyncInjectedTransport:
    """Looks as an ``AsyncTransport`` does.  Whoever owns it closes the user's transport, on its loop; an ``httpx.AsyncClient`` is its owner's."""

    def __init__(self, transport: httpx.AsyncBaseTransport | httpx.AsyncClient) -> None:
        import httpx

        self._owned = None if isinstance(transport, httpx.AsyncClient) else transport
        self._ask = (
            partial(transport.send, stream=True, follow_redirects=False)
            if isinstance(transport, httpx.AsyncClient)
            else transport.handle_async_request
        )
        self._loop: asyncio.AbstractEventLoop | None = None

    def exchange_here(self, call: Call, on_end: OnEnd) -> AsyncInjectedExchange:
        """A call on the running loop, which ``begin`` sends."""
        self._loop = asyncio.get_running_loop()
        return AsyncInjectedExchange(call, self._ask, on_end)

    def exchange(self, call: Call, wakeup: Wakeup) -> InjectedExchange:
        """A call of another thread, on the loop that was used last; the first ``advance`` sends it."""
        return InjectedExchange(call, wakeup, self._send)

    def drop_connections(self) -> None:
        """Nothing: the connections are the user's."""

    def forget(self) -> None:
        """Nothing: the connections are the user's."""

    def close(self) -> None:
        """Nothing: see ``aclose``."""

    async def aclose(self) -> None:
        """Close the user's transport."""
        if self._owned is not None:
            await self._owned.aclose()

    def _send(self, call: Call, sent_at: float, on_end: OnEnd) -> None:
        exchange = AsyncInjectedExchange(call, self._ask, on_end)
        loop = self._loop
        if loop is not None and loop.is_running():
            with suppress(RuntimeError):  # it was closed in this very moment
                loop.call_soon_threadsafe(exchange.begin, sent_at)
                return
        on_end(failure(call, NO_LOOP))


class AsyncInjectedExchange:
    """One call, in a task of its own on the running loop."""

    def __init__(self, call: Call, ask: Ask, on_end: OnEnd) -> None:
        self.call = call
        self._ask = ask
        self._on_end: OnEnd | None = on_end
        self._began = 0.0
        self._asking: asyncio.Task[Answered | Failed] | None = None

    def begin(self, now: float) -> None:
        """Send it."""
        self._began = now
        self._asking = asyncio.get_running_loop().create_task(self._asked(now), name="palclient-call")
        self._asking.add_done_callback(self._ended)

    def expire(self, now: float) -> None:
        """Its deadline has come."""
        on_end = self._on_end
        self.cancel()
        if on_end is not None:
            on_end(silence(self.call, now, now - self._began))

    def cancel(self) -> None:
        """Give up."""
        self._on_end = None
        if self._asking is not None:
            self._asking.cancel()

    def _ended(self, task: asyncio.Task[Answered | Failed]) -> None:
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end(failure(self.call, NO_LOOP) if task.cancelled() else task.result())

    async def _asked(self, sent_at: float) -> Answered | Failed:
        """How the call ends."""
        try:
            response = await self._ask(request_of(self.call, sent_at))
            body = bytearray()
            async with aclosing(response):
                async for data in response.aiter_bytes():
                    add_bounded(body, data)
        except Exception as error:  # noqa: BLE001 - the transport is the user's code, and nobody else hears of its mistakes: they are logged
            return failure(self.call, error)
        return answer(self.call, response, bytes(body), sent_at)
