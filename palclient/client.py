"""Client and Lease: what an application holds.  Decisions stand in ``core``; here they are given a clock, a network and threads."""

from __future__ import annotations

import os
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Self

from palclient.asking import checked_reacquire, checked_timeout, closed, wanted
from palclient.core import checkout as flows
from palclient.core.lease import LeaseRecord
from palclient.core.retry import RetryPolicy
from palclient.holding import PICKLE_ADVICE, Fact, Holding
from palclient.keeper import Listener
from palclient.models import FeatureUsage, Holder, ServerName, TriadStatus
from palclient.runner_sync import run
from palclient.session import Session
from palclient.transport import InjectedTransport, Transport, monotonic

if TYPE_CHECKING:
    import httpx

    from palclient.config import Config

STATUS_S = 2.0


class Client:
    """A connection of this process to one triad (or one server): finds its master, takes seats, keeps them.

    ``servers`` is a SERVERNAME text (or value), ``ini`` the path of an INI file; without both the usual places are searched (I4), for the application ``app``
    and the file names ``ini_names``.  ``timeout`` (seconds) is what ``checkout`` takes when it is given none.  ``holder`` is how the server's usage
    report shows this process; ``reacquire`` is ``"auto"`` or ``"never"``; ``on_event`` is called with every event of the client, in order, on a thread of its own.
    ``transport`` is an ``httpx.BaseTransport`` (an ``httpx.MockTransport``, say) that takes the place of palclient's own, in tests.

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
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._transport = transport
        self._where = {"servers": servers, "ini": ini, "app": app, "ini_names": ini_names}
        self._timeout_s = checked_timeout(timeout)
        self._policy = retry
        self._holder = holder
        self._reacquire = checked_reacquire(reacquire)
        self._on_event = on_event
        self._lock = threading.Lock()
        self._session: Session | None = None
        self._is_closed = False

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
        session = self._open()
        asked = wanted(
            feature=feature,
            version=version,
            count=count,
            holder=self._holder or session.holder,
            timeout=self._timeout_s if timeout is None else timeout,
            wait=wait,
            reacquire=reacquire or self._reacquire,
        )
        return Lease(session, session.acquire(asked.request, asked.patience, reacquire=asked.reacquire, on_event=on_event))

    def status(self, *, timeout: float = STATUS_S) -> TriadStatus:
        """Ask every node for its state, side by side.  Blocks for ``timeout`` seconds at most; a silent node is ``unreachable``, no error."""
        timeout_s = checked_timeout(timeout)
        session = self._open()
        return run(flows.status(session.means, now=monotonic(), timeout_s=timeout_s), session.transport)

    def usage(self, *, timeout: float | None = None) -> tuple[FeatureUsage, ...]:
        """Ask the master who holds what.  Blocks for ``timeout`` seconds at most; raises TriadUnavailable when no master answers in time."""
        timeout_s = self._timeout_s if timeout is None else checked_timeout(timeout)
        session = self._open()
        return run(flows.usage(session.means, now=monotonic(), timeout_s=timeout_s), session.transport)

    @property
    def config(self) -> Config:
        """The SERVERNAME in force, and where it came from.  Reads the configuration if that has not happened yet; raises ConfigError."""
        return self._open().config

    def close(self) -> None:
        """Return all seats and stop.  Blocks for 2 s at most; a closed client raises ClientClosed."""
        with self._lock:
            self._is_closed = True
            session, self._session = self._session, None
        if session is not None:
            session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _open(self) -> Session:
        with self._lock:
            if self._is_closed:
                raise closed()
            if self._session is None or self._session.is_foreign:
                from palclient.config import find_servername

                transport = Transport() if self._transport is None else InjectedTransport(self._transport)
                self._session = Session(find_servername(**self._where), self._policy, self._on_event, transport)  # type: ignore[arg-type]  # the four, by name
            return self._session


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
        with self._session.changed:
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
        self._holding.abandon(self)


# --- the process's own clients ------------------------------------------------------------------------------------------------------

_default_lock = threading.Lock()
_default_clients: dict[str, Client] = {}  # by canonical SERVERNAME: the one global that changes
_default_configs: dict[object, Config] = {}  # what was found, until its file changes


def default_client(*, servers: str | ServerName | None = None, ini: str | os.PathLike[str] | None = None) -> Client:
    """The process-wide client for this server list; the INI is read again when its time or size has changed.  Raises ConfigError."""
    from palclient.config import find_servername

    key = (str(servers), str(ini), os.environ.get("PALCLIENT_SERVERNAME"), os.environ.get("PALCLIENT_INI"))
    with _default_lock:
        config = _default_configs.get(key)
        if config is None or config.is_outdated():
            config = _default_configs[key] = find_servername(servers=servers, ini=ini)
        name = str(config.servername)
        client = _default_clients.get(name)
        if client is None or client._is_closed:  # noqa: SLF001  # this module's own
            client = _default_clients[name] = Client(config.servername)
        return client
