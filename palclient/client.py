"""Client and Lease: what an application holds.  Decisions stand in ``core``; here they are given a clock, a network and threads."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from palclient import asking
from palclient.asking import Defaults, checked_listener, checked_reacquire, checked_timeout, wanted
from palclient.core import checkout as flows
from palclient.core.lease import LeaseRecord
from palclient.core.retry import RetryPolicy
from palclient.holding import PICKLE_ADVICE, Fact, Holding
from palclient.home import Home, Where
from palclient.keeper import Listener
from palclient.lifetime import Mutex
from palclient.models import Counters, FeatureUsage, Holder, ServerName, TriadStatus
from palclient.runner_sync import run
from palclient.session import Session
from palclient.transport import AnyTransport, Transport, monotonic

if TYPE_CHECKING:
    import httpx

    from palclient.config import Config

STATUS_S = 2.0


class Closable(Protocol):
    """What the process's own clients have in common."""

    @property
    def is_closed(self) -> bool:
        """Whether it was closed: then another takes its place."""


Kind = TypeVar("Kind", bound=Closable)


class Client:
    """A connection of this process to one triad (or one server): finds its master, takes seats, keeps them.

    ``servers`` is a SERVERNAME text (or value), ``ini`` the path of an INI file; without both the usual places are searched (I4), for the application ``app``
    and the file names ``ini_names``.  ``timeout`` (seconds) is what ``checkout`` takes when it is given none.  ``holder`` is how the server's usage
    report shows this process; ``reacquire`` is ``"auto"`` or ``"never"``; ``on_event`` is called with every event of the client, in order, on a thread of its own.
    ``transport`` is an ``httpx.BaseTransport`` (an ``httpx.MockTransport``, say) that takes the place of palclient's own, in tests, or an ``httpx.Client``
    that is to send the requests.

    Thread-safe.  Making one does no I/O and raises nothing but ConfigError for impossible arguments.
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
        transport: httpx.BaseTransport | httpx.Client | None = None,
    ) -> None:
        self._defaults = Defaults(timeout_s=checked_timeout(timeout), retry=retry, holder=holder, reacquire=checked_reacquire(reacquire))

        listener, made = checked_listener(on_event), _made(transport)

        def begin(config: Config) -> Session:
            return Session(config, retry, listener, made())

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
    ) -> Lease:
        """Take ``count`` seats and keep them.  Arguments, errors and times as of ``palclient.checkout``."""
        session, defaults = self._home.open(), self._defaults
        asked = wanted(
            feature=feature,
            version=version,
            count=count,
            holder=defaults.holder or session.holder,
            timeout=defaults.timeout_s if timeout is None else timeout,
            wait=wait,
            reacquire=reacquire or defaults.reacquire,
        )
        return session.acquire(asked, defaults.retry, checked_listener(on_event) or defaults.listener, lambda record: Lease(session, record))

    def status(self, *, timeout: float = STATUS_S) -> TriadStatus:
        """Ask every node for its state, side by side.  Blocks for ``timeout`` seconds at most; a silent node is ``unreachable``, no error."""
        timeout_s = checked_timeout(timeout)
        session = self._home.open()
        return run(flows.status(session.means, now=monotonic(), timeout_s=timeout_s), session.transport)

    def usage(self, *, timeout: float | None = None) -> tuple[FeatureUsage, ...]:
        """Ask the master who holds what.  Blocks for ``timeout`` seconds at most; raises TriadUnavailable when no master answers in time."""
        timeout_s = self._defaults.timeout_s if timeout is None else checked_timeout(timeout)
        session = self._home.open()
        means = session.means_by(self._defaults.retry)
        return run(flows.usage(means, now=monotonic(), timeout_s=timeout_s), session.transport)

    @property
    def config(self) -> Config:
        """The SERVERNAME in force, and where it came from.  Reads the configuration if that has not happened yet; raises ConfigError."""
        return self._home.open().config

    @property
    def counters(self) -> Counters:
        """What this connection has done so far, a value; of all clients that share it by ``with_options``."""
        return self._home.open().counters

    def with_options(
        self,
        *,
        timeout: float | None = None,
        retry: RetryPolicy | None = None,
        holder: Holder | None = None,
        reacquire: str | None = None,
        on_event: Listener | None = None,
    ) -> Self:
        """A client on the same connection whose calls go by other defaults; what is None stays.  Raises ConfigError.

        ``on_event`` is called with the events of the leases that are checked out by the new client.  Connections, leases and threads are shared: ``close`` of
        either closes both.
        """
        other = object.__new__(type(self))
        other._home = self._home
        other._defaults = self._defaults.changed(timeout=timeout, retry=retry, holder=holder, reacquire=reacquire, on_event=on_event)
        return other

    def close(self) -> None:
        """Return all seats and stop.  Blocks for 2 s at most; a closed client raises ClientClosed."""
        session = self._home.close()
        if session is not None:
            session.close()

    @property
    def is_closed(self) -> bool:
        """Whether it was closed."""
        return self._home.is_closed

    def __reduce__(self) -> str:
        raise TypeError(asking.PICKLE_ADVICE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _made(transport: httpx.BaseTransport | httpx.Client | None) -> Callable[[], AnyTransport]:
    if transport is None:
        return Transport
    from palclient.transport.injected import InjectedTransport, checked_kind

    return partial(InjectedTransport, checked_kind(transport))


class Lease:
    """Seats that are held.  A context manager that gives them back; made by ``checkout`` only."""

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

    def __init__(self, session: Session, record: LeaseRecord) -> None:
        self._session = session
        self._holding = Holding(session=session, record=record)

    def expires_in(self) -> float:
        """Seconds for which the seats are still held if no renewal gets through; 0 when they are not."""
        return self._holding.expires_in()

    def ensure_held(self) -> None:
        """Raise LeaseLost (LeaseForked in a forked child) unless the seats are held now.  A look; no request is sent."""
        self._holding.ensure_held()

    def wait_lost(self, timeout: float | None = None) -> bool:
        """Block until the seats are not held any more, for ``timeout`` seconds at most (None: for ever).  Tells whether they are gone."""
        until = float("inf") if timeout is None else monotonic() + timeout
        with self._session.changing:
            while self.valid and (now := monotonic()) < until:
                self._session.changed.wait(max(0.001, min(until, self._holding.record.valid_until) - now))
        return not self.valid

    def checkin(self) -> None:
        """Give the seats back.  Blocks for 2 s at most; without an answer by then the keeper goes on, else the ttl ends it.  Twice is harmless."""
        if not self._session.is_foreign:
            self._session.give_back(self.id)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.checkin()

    def __repr__(self) -> str:
        return self._holding.shown("Lease")

    def __reduce__(self) -> str:
        raise TypeError(PICKLE_ADVICE)

    def __del__(self) -> None:
        if hasattr(self, "_holding"):  # else Ctrl-C came before there was anything to hold
            self._holding.abandon(self)


# --- the process's own clients ------------------------------------------------------------------------------------------------------

_default_mutex = Mutex()
_default_clients: dict[tuple[object, str], Any] = {}  # by kind and canonical SERVERNAME: the one global that changes
_default_configs: dict[object, Config] = {}  # what was found, until its file changes


def default_client(*, servers: str | ServerName | None = None, ini: str | os.PathLike[str] | None = None) -> Client:
    """The process-wide client for this server list; the INI is read again when its time or size has changed.  Raises ConfigError."""
    return default_of(Client, servers=servers, ini=ini)


def default_of(kind: Callable[[ServerName], Kind], *, servers: str | ServerName | None, ini: str | os.PathLike[str] | None) -> Kind:
    """``default_client`` for any kind of client."""
    from palclient.config import find_servername

    key = (str(servers), str(ini), os.environ.get("PALCLIENT_SERVERNAME"), os.environ.get("PALCLIENT_INI"))
    with _default_mutex.lock:
        config = _default_configs.get(key)
        if config is None or config.is_outdated():
            config = _default_configs[key] = find_servername(servers=servers, ini=ini)
        name = str(config.servername)
        client: Kind | None = _default_clients.get((kind, name))
        if client is None or client.is_closed:
            client = _default_clients[kind, name] = kind(config.servername)
        return client
