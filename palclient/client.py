"""Client and Lease: what an application holds.  Decisions stand in ``core``; here they are given a clock, a network and threads."""

from __future__ import annotations

import os
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Self
from uuid import uuid4

from palclient.core import checkout as flows
from palclient.core.lease import LeaseRecord, Phase
from palclient.core.retry import RetryPolicy
from palclient.core.wire import CheckoutRequest
from palclient.errors import ClientClosed, ConfigError, LeaseForked, LeaseLost
from palclient.keeper import Listener
from palclient.models import Endpoint, FeatureUsage, Grant, Holder, LeaseState, ServerName, TriadStatus
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
        self._timeout_s = _checked_timeout(timeout)
        self._policy = retry
        self._holder = holder
        self._reacquire = _checked_reacquire(reacquire)
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
        patience = flows.Patience(
            timeout_s=self._timeout_s if timeout is None else _checked_timeout(timeout),
            wait_s=float("inf") if wait is None else _checked_timeout(wait),
        )
        if count < 1:
            raise ConfigError(f"count must be at least 1, and is {count}.")
        session = self._open()
        request = CheckoutRequest(
            id=str(uuid4()), feature=feature, version=version, count=count, holder=self._holder or session.holder, nonce=uuid4().hex
        )
        again = _checked_reacquire(reacquire or self._reacquire) == "auto"
        return Lease(session, session.acquire(request, patience, reacquire=again, on_event=on_event))

    def status(self, *, timeout: float = STATUS_S) -> TriadStatus:
        """Ask every node for its state, side by side.  Blocks for ``timeout`` seconds at most; a silent node is ``unreachable``, no error."""
        session = self._open()
        return run(flows.status(session.means, now=monotonic(), timeout_s=timeout), session.transport)

    def usage(self, *, timeout: float | None = None) -> tuple[FeatureUsage, ...]:
        """Ask the master who holds what.  Blocks for ``timeout`` seconds at most; raises TriadUnavailable when no master answers in time."""
        session = self._open()
        timeout_s = self._timeout_s if timeout is None else _checked_timeout(timeout)
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
                raise ClientClosed("This client was closed.", advice="Make a new one, or call palclient.checkout, which keeps one for you.")
            if self._session is None or self._session.is_foreign:
                from palclient.config import find_servername

                transport = Transport() if self._transport is None else InjectedTransport(self._transport)
                self._session = Session(find_servername(**self._where), self._policy, self._on_event, transport)  # type: ignore[arg-type]  # the four, by name
            return self._session


class Lease:
    """Seats that are held.  A context manager that gives them back; made by ``checkout`` only."""

    __slots__ = ("__weakref__", "_record", "_session", "id")

    def __init__(self, session: Session, record: LeaseRecord) -> None:
        self._session = session
        self._record = record
        self.id = record.grant.id

    @property
    def grant(self) -> Grant:
        """The master's word, the newest; ``grant.seq`` is the fencing token."""
        return self._record.grant

    @property
    def feature(self) -> str:
        """What is licensed."""
        return self._record.grant.feature

    @property
    def version(self) -> str:
        """The version that was granted."""
        return self._record.grant.version

    @property
    def count(self) -> int:
        """How many seats."""
        return self._record.grant.count

    @property
    def valid(self) -> bool:
        """Whether the seats are held, computed at this instant.  Never True after the time for which a master vouched."""
        return not self._session.is_foreign and self._record.is_valid(monotonic())

    @property
    def state(self) -> LeaseState:
        """HELD, SUSPECT (unconfirmed, still valid), LOST, RETURNED, or FOREIGN in a forked child."""
        return LeaseState.FOREIGN if self._session.is_foreign else self._record.state(monotonic())

    def expires_in(self) -> float:
        """Seconds for which the seats are still held if no renewal gets through; 0 when they are not."""
        now = monotonic()
        return self._record.valid_until - now if self.valid else 0.0

    @property
    def master(self) -> Endpoint | None:
        """The node that serves, as far as this client knows, named as SERVERNAME names it."""
        topology = self._session.knowledge.topology
        return None if topology.master is None else topology.nodes[topology.master].endpoint

    @property
    def term(self) -> int:
        """The highest term that this client has seen: it grows with every change of master."""
        return self._session.knowledge.topology.term

    def ensure_held(self) -> None:
        """Raise LeaseLost (LeaseForked in a forked child) unless the seats are held now.  A look; no request is sent."""
        if self.valid:
            return
        ago_s = monotonic() - self._record.confirmed_at
        if self._session.is_foreign:
            advice = "A forked process owns none of its parent's seats: check out in the child."
            raise LeaseForked(
                f"{self.feature}: this lease belongs to the parent process.", reason="forked", last_confirmed_s_ago=ago_s, advice=advice
            )
        returned = self._record.phase is Phase.RETURNED
        reason = "it was returned" if returned else self._record.lost_reason or "no master confirmed it in time"
        raise LeaseLost(
            f"{self.feature}: the seat is not held: {reason} (last confirmed {ago_s:.1f} s ago).", reason=reason, last_confirmed_s_ago=ago_s
        )

    def wait_lost(self, timeout: float | None = None) -> bool:
        """Block until the seats are not held any more, for ``timeout`` seconds at most (None: for ever).  Tells whether they are gone."""
        until = float("inf") if timeout is None else monotonic() + timeout
        with self._session.changed:
            while self.valid and (now := monotonic()) < until:
                self._session.changed.wait(max(0.001, min(until, self._record.valid_until) - now))
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
        return f"<Lease {self.feature} x{self.count} {self.state.value} {self.id}>"

    def __reduce__(self) -> str:
        raise TypeError("A lease belongs to one process and cannot be pickled: check out in the other process.")

    def __del__(self) -> None:
        record = self._record
        if record.phase is Phase.RETURNED or self._session.is_foreign:
            return
        self._session.leases.drop(self.id)
        import warnings

        warnings.warn(f"{self!r} was dropped without checkin(); it is returned now", ResourceWarning, stacklevel=2, source=self)


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


def _checked_timeout(seconds: float) -> float:
    if not seconds >= 0:
        raise ConfigError(f"A time in seconds must be 0 or more, and is {seconds!r}.")
    return float(seconds)


def _checked_reacquire(word: str) -> str:
    if word not in ("auto", "never"):
        raise ConfigError(f'reacquire must be "auto" or "never", and is {word!r}.')
    return word
