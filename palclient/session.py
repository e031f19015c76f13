"""What a client has once its configuration is read: one process's knowledge of a triad, its connections, leases and threads.

Composes the parts; decides nothing.
"""

from __future__ import annotations

import atexit
import os
import socket
import sys
import threading
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING

from palclient import log
from palclient.core import checkout as flows
from palclient.core.flow import Flow
from palclient.core.lease import LeaseRecord
from palclient.core.locate import Means
from palclient.core.renewal import Kept, Leases
from palclient.core.retry import RetryPolicy
from palclient.core.topology import Knowledge, fresh
from palclient.core.wire import MAX_IDS, CheckoutRequest
from palclient.keeper import AnyCourier, Courier, Keeper, Listener
from palclient.models import Acquired, Event, Holder, Lost, Returned
from palclient.runner_sync import run
from palclient.transport import AnyTransport, monotonic

if TYPE_CHECKING:
    from palclient.config import Config

CHECKIN_S = 2.0  # a return takes no longer, in any weather; the keeper goes on with it
EXIT_S = 1.0  # the last returns at the interpreter's exit, for each session
EXITS_S = 2.0  # for all of them


class Session:
    """What a client has once its configuration is read: one process's knowledge, connections, leases and threads."""

    def __init__(
        self, config: Config, policy: RetryPolicy, on_event: Listener | None, transport: AnyTransport, courier: AnyCourier | None = None
    ) -> None:
        self.config = config
        self.transport = transport
        self.pid = os.getpid()
        self.holder = _this_process()
        self._on_event = on_event
        self._listeners: dict[str, Listener] = {}
        self._courier = courier or Courier()
        self.changed = threading.Condition()
        self.knowledge = Knowledge(fresh(config.servername), threading.Lock(), self._tell, self._wake)
        self.leases = Leases(threading.Lock(), _luck, self._tell, self._wake)
        self.means = Means(knowledge=self.knowledge, policy=policy, luck=_luck)
        self.keeper = Keeper(self.transport, self.leases, self.means, self._tell)
        log.show_if_asked()
        _sessions.add(self)

    @property
    def is_foreign(self) -> bool:
        """Whether this is the parent's, seen from a forked child."""
        return self.pid != os.getpid()

    def acquire(self, request: CheckoutRequest, patience: flows.Patience, *, reacquire: bool, on_event: Listener | None) -> LeaseRecord:
        """Run the checkout on the caller's thread, and begin to keep what it brings."""
        trace = flows.Trace()
        try:
            return self.keep(request, run(self.taking(request, patience, trace, on_event), self.transport), reacquire=reacquire)
        except BaseException:
            self.abandon(request.id, trace)
            raise

    def taking(self, request: CheckoutRequest, patience: flows.Patience, trace: flows.Trace, on_event: Listener | None) -> Flow[flows.Taken]:
        """The flow of a checkout, whose events go to ``on_event``.  Whoever drives it calls ``keep`` with what it brings, or else ``abandon``."""
        if on_event is not None:
            self._listeners[request.id] = on_event
        return flows.checkout(request, self.means, patience, trace, now=monotonic(), on_waiting=self._tell)

    def keep(self, request: CheckoutRequest, taken: flows.Taken, *, reacquire: bool) -> LeaseRecord:
        """Begin to keep what was granted."""
        record = LeaseRecord(taken.grant, sent_at=taken.sent_at)
        self.leases.add(Kept(record=record, request=request, reacquire=reacquire))
        self.keeper.start()
        self._tell(Acquired(lease_id=request.id, grant=record.grant))
        return record

    def abandon(self, lease_id: str, trace: flows.Trace) -> None:
        """A checkout ended without a lease: if it was interrupted, or never answered, the seat must not stay taken."""
        self._listeners.pop(lease_id, None)
        if self.leases.remove(lease_id) is not None or trace.may_be_taken:
            self.leases.give_up(lease_id, now=monotonic())
            self.keeper.start()

    def give_back(self, lease_id: str) -> None:
        """Return one lease on the caller's thread; what is not confirmed in time the keeper goes on with."""
        if self.leases.remove(lease_id) is None:
            return
        taken_back: frozenset[str] = frozenset()
        try:
            taken_back = run(self.returning(lease_id), self.transport).ids
        finally:
            self.returned(lease_id, taken_back)

    def returning(self, lease_id: str) -> Flow[flows.TakenBack]:
        """The flow of a return.  However it ends, ``returned`` is to be called."""
        return flows.give_back((lease_id,), self.means, now=monotonic(), timeout_s=CHECKIN_S)

    def returned(self, lease_id: str, taken_back: frozenset[str]) -> None:
        """What is not among those that a master has taken back, the keeper goes on with."""
        is_confirmed = lease_id in taken_back
        if not is_confirmed:
            self.leases.give_up(lease_id, now=monotonic())
        self._tell(Returned(lease_id=lease_id, confirmed=is_confirmed))
        self._listeners.pop(lease_id, None)

    def close(self, timeout_s: float = CHECKIN_S) -> None:
        """Return everything in one request, and stop the threads."""
        if self.is_foreign:
            return
        self.keeper.stop()
        run(self.returning_all(timeout_s), self.transport)
        self.end()

    def returning_all(self, timeout_s: float) -> Flow[None]:
        """The flow of returning everything, in as few requests as can be."""
        ids = self.leases.ids()
        for lease_id in ids:
            self.leases.remove(lease_id)
        until = monotonic() + timeout_s
        while ids and (now := monotonic()) < until:
            batch, ids = ids[:MAX_IDS], ids[MAX_IDS:]
            taken = yield from flows.give_back(batch, self.means, now=now, timeout_s=until - now)
            for lease_id in batch:
                self._tell(Returned(lease_id=lease_id, confirmed=lease_id in taken.ids))

    def end(self) -> None:
        """Stop delivering, and close what is idle."""
        self._courier.stop()
        self.transport.close()

    def forget(self) -> None:
        """In a forked child: own nothing of the parent's."""
        self.transport.forget()
        self.keeper.forget()

    def _tell(self, event: Event) -> None:
        log.write("warning" if isinstance(event, Lost) else "info", "%r", event)
        with self.changed:
            self.changed.notify_all()
        lease_id = getattr(event, "lease_id", None)
        if self._on_event is not None:
            self._courier.deliver(self._on_event, event)
        listeners = list(self._listeners.values()) if lease_id is None else [self._listeners[lease_id]] if lease_id in self._listeners else []
        for listener in listeners:
            self._courier.deliver(listener, event)

    def _wake(self) -> None:
        self.keeper.wake()


_sessions: weakref.WeakSet[Session] = weakref.WeakSet()  # for the exit and for forks, which tell the interpreter's hooks only


def _luck() -> float:
    """Uniform in [0, 1), from the system: children of a fork must not share it."""
    return int.from_bytes(os.urandom(6)) / 2**48


def _this_process() -> Holder:
    user = os.environ.get("USERNAME") or os.environ.get("USER") or os.environ.get("LOGNAME") or "unknown"
    app = os.path.basename(sys.argv[0]) if sys.argv else ""  # noqa: PTH119  # pathlib would be imported for this alone
    return Holder(user=user, host=socket.gethostname(), display=os.environ.get("DISPLAY", ""), pid=os.getpid(), app=app)


def _at_exit() -> None:
    """Give all seats back, silently and within 2 s, whatever the weather."""
    until = monotonic() + EXITS_S
    for session in list(_sessions):
        remaining_s = min(EXIT_S, until - monotonic())
        if remaining_s > 0:
            with suppress(OSError):
                session.close(remaining_s)


def _after_fork_in_child() -> None:
    for session in list(_sessions):
        session.forget()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
