"""AsyncClient and AsyncLease: the same face as ``client.py``, awaited.  The same flows run on the event loop; the keeper has its thread as ever."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from palclient import asking
from palclient.asking import Defaults, Wanted, checked_listener, checked_reacquire, checked_timeout, wanted
from palclient.async_session import AsyncSession
from palclient.client import STATUS_S, default_of
from palclient.core import checkout as flows
from palclient.core.lease import LeaseRecord
from palclient.core.retry import RetryPolicy
from palclient.holding import PICKLE_ADVICE, Fact, Holding
from palclient.home import Home, Where
from palclient.keeper import Listener
from palclient.models import Counters, FeatureUsage, Holder, ServerName, TriadStatus
from palclient.transport import monotonic

if TYPE_CHECKING:
    import httpx

    from palclient.config import Config


class AsyncClient:
    """A connection of this process to one triad (or one server), for programs on asyncio.

    Arguments as of ``Client``, but that ``on_event`` is called on the event loop (of the latest use, if there are several), and that ``transport`` is an
    ``httpx.AsyncBaseTransport`` or an ``httpx.AsyncClient``.  Leases are renewed on a thread of their own: a loop that is blocked does not lose them.

    May be used on several loops, one after the other or in several threads.  Making one does no I/O and raises nothing but ConfigError for impossible arguments.
    The configuration is read on first use, in the way that a file is read, without yielding to the loop.
    """

    def __init__(
        self,
        servers: str | ServerName | None = None,
        *,
        ini: str | os.PathLike[str] | None = None,
        app: str | None = None,
        ini_names: tuple[str, ...] | None = None,
        timeout: float = 10.0,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008  # a frozen value
        holder: Holder | None = None,
        reacquire: str = "auto",
        on_event: Listener | None = None,
        transport: httpx.AsyncBaseTransport | httpx.AsyncClient | None = None,
    ) -> None:
        self._defaults = Defaults(timeout_s=checked_timeout(timeout), retry=retry, holder=holder, reacquire=checked_reacquire(reacquire))

        listener = checked_listener(on_event)
        if transport is not None:
            from palclient.transport.injected import checked_kind

            checked_kind(transport, is_async=True)

        def begin(config: Config) -> AsyncSession:
            return AsyncSession(config, retry, listener, transport)

        self._home = Home(Where(servers=servers, ini=ini, app=app, ini_names=ini_names), begin)

    def checkout(
        self,
        feature: str,
        *,
        version: str = "0",
        count: int = 1,
        timeout: float | None = None,
        wait: float | None = 0.0,
        reacquire: str | None = None,
        on_event: Listener | None = None,
    ) -> Acquiring:
        """Take ``count`` seats and keep them: ``lease = await client.checkout("X")``, or ``async with client.checkout("X") as lease``.

        Arguments, errors and times as of ``palclient.checkout``.  A task that is cancelled meanwhile leaves no seat taken.
        """
        defaults = self._defaults
        asked = partial(
            wanted,
            feature=feature,
            version=version,
            count=count,
            timeout=defaults.timeout_s if timeout is None else timeout,
            wait=wait,
            reacquire=reacquire or defaults.reacquire,
        )
        return Acquiring(self._acquired(asked, checked_listener(on_event) or defaults.listener))

    async def _acquired(self, asked: Callable[..., Wanted], listener: Listener | None) -> AsyncLease:
        home, defaults = self._home.open(), self._defaults
        checkout = asked(holder=defaults.holder or home.session.holder)
        return await home.acquire(checkout, defaults.retry, listener, lambda record: AsyncLease(home, record))

    async def status(self, *, timeout: float = STATUS_S) -> TriadStatus:
        """Ask every node for its state, side by side, for ``timeout`` seconds at most; a silent node is ``unreachable``, no error."""
        timeout_s = checked_timeout(timeout)
        home = self._home.open()
        return await home.run(flows.status(home.session.means, now=monotonic(), timeout_s=timeout_s))

    async def usage(self, *, timeout: float | None = None) -> tuple[FeatureUsage, ...]:
        """Ask the master who holds what, for ``timeout`` seconds at most; raises TriadUnavailable when no master answers in time."""
        timeout_s = self._defaults.timeout_s if timeout is None else checked_timeout(timeout)
        home = self._home.open()
        means = home.session.means_by(self._defaults.retry)
        return await home.run(flows.usage(means, now=monotonic(), timeout_s=timeout_s))

    @property
    def config(self) -> Config:
        """The SERVERNAME in force, and where it came from.  Reads the configuration if that has not happened yet; raises ConfigError."""
        return self._home.open().session.config

    @property
    def counters(self) -> Counters:
        """What this connection has done so far, a value; of all clients that share it by ``with_options``."""
        return self._home.open().session.counters

    def with_options(
        self,
        *,
        timeout: float | None = None,
        retry: RetryPolicy | None = None,
        holder: Holder | None = None,
        reacquire: str | None = None,
        on_event: Listener | None = None,
    ) -> Self:
        """A client on the same connection whose calls go by other defaults, as of ``Client``: ``aclose`` of either closes both."""
        other = object.__new__(type(self))
        other._home = self._home
        other._defaults = self._defaults.changed(timeout=timeout, retry=retry, holder=holder, reacquire=reacquire, on_event=on_event)
        return other

    async def aclose(self) -> None:
        """Return all seats and stop, in 2 s at most.  Checkouts under way fail with ClientClosed, as does all that is asked of a closed client."""
        session = self._home.close()
        if session is not None:
            await session.close()

    @property
    def is_closed(self) -> bool:
        """Whether it was closed."""
        return self._home.is_closed

    def __reduce__(self) -> str:
        raise TypeError(asking.PICKLE_ADVICE)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()


class Acquiring(Coroutine[Any, Any, "AsyncLease"]):
    """A checkout that is to be awaited, or entered by ``async with``: then the seats are given back at the end of the block."""

    __slots__ = ("_checkout", "_lease")

    def __init__(self, checkout: Coroutine[Any, Any, AsyncLease]) -> None:
        self._checkout = checkout
        self._lease: AsyncLease | None = None

    def __await__(self) -> Generator[Any, Any, AsyncLease]:
        return self._checkout.__await__()

    def send(self, value: Any) -> Any:
        """As of a coroutine, which ``asyncio.create_task`` asks for."""
        return self._checkout.send(value)

    def throw(self, *error: Any) -> Any:
        """As of a coroutine."""
        return self._checkout.throw(*error)

    def close(self) -> None:
        """As of a coroutine."""
        self._checkout.close()

    async def __aenter__(self) -> AsyncLease:
        self._lease = await self._checkout
        return self._lease

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._lease is not None:
            await self._lease.checkin()


class AsyncLease:
    """Seats that are held, for programs on asyncio.  An asynchronous context manager that gives them back; made by ``checkout`` only."""

    __slots__ = ("__weakref__", "_holding", "_session")

    id = Fact(Holding.id)
    feature = Fact(Holding.feature)
    version = Fact(Holding.version)
    count = Fact(Holding.count)
    grant = Fact(Holding.grant)
    valid = Fact(Holding.valid)
    state = Fact(Holding.state)
    master = Fact(Holding.master)
    term = Fact(Holding.term)

    def __init__(self, session: AsyncSession, record: LeaseRecord) -> None:
        self._session = session
        self._holding = Holding(session=session.session, record=record)

    def expires_in(self) -> float:
        """Seconds for which the seats are still held if no renewal gets through; 0 when they are not."""
        return self._holding.expires_in()

    def ensure_held(self) -> None:
        """Raise LeaseLost (LeaseForked in a forked child) unless the seats are held now.  A look; no request is sent, nothing is awaited."""
        self._holding.ensure_held()

    async def wait_lost(self, timeout: float | None = None) -> bool:
        """Wait until the seats are not held any more, for ``timeout`` seconds at most (None: for ever).  Tells whether they are gone."""
        until = float("inf") if timeout is None else monotonic() + timeout
        with self._session.watched() as bell:
            while self.valid and (now := monotonic()) < until:
                await bell.wait(max(0.001, min(until, self._holding.record.valid_until) - now))
        return not self.valid

    async def checkin(self) -> None:
        """Give the seats back, in 2 s at most; without an answer by then the keeper goes on, else the ttl ends it.  Twice is harmless."""
        if not self._session.is_foreign:
            await self._session.give_back(self.id)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.checkin()

    def __repr__(self) -> str:
        return self._holding.shown("AsyncLease")

    def __reduce__(self) -> str:
        raise TypeError(PICKLE_ADVICE)

    def __del__(self) -> None:
        if hasattr(self, "_holding"):  # else Ctrl-C came before there was anything to hold
            self._holding.abandon(self)


def default_async_client(*, servers: str | ServerName | None = None, ini: str | os.PathLike[str] | None = None) -> AsyncClient:
    """The process-wide client for this server list, as ``default_client`` is.  Raises ConfigError."""
    return default_of(AsyncClient, servers=servers, ini=ini)
