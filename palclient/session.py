"""What a client has once its configuration is read: one process's knowledge of a triad, its connections, leases and threads.

Composes the parts; decides nothing.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from palclient import lifetime, log
from palclient.asking import MAX_WORD, UNSAYABLE, Wanted, closed
from palclient.core import checkout as flows
from palclient.core.flow import Flow
from palclient.core.lease import LeaseRecord
from palclient.core.locate import Means
from palclient.core.renewal import Kept, Leases
from palclient.core.retry import RetryPolicy
from palclient.core.topology import Knowledge, fresh
from palclient.core.wire import MAX_IDS, CheckoutRequest
from palclient.errors import PalError
from palclient.keeper import AnyCourier, Courier, Keeper, Listener, distinct
from palclient.models import Acquired, Counters, Event, Grant, Holder, Lost, MasterChanged, Returned
from palclient.runner_sync import run
from palclient.transport import AnyTransport, monotonic

if TYPE_CHECKING:
    from palclient.config import Config

PATIENT_TTL_S = 12.0  # its twelfth, T, is a second
UNKNOWN = "unknown"
CHECKIN_S = 2.0  # a return takes no longer, in any weather; the keeper goes on with it
Held = TypeVar("Held")


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
        self.is_closed = False
        self._asked: set[str] = set()  # checkouts under way: their seats may be taken before anybody here knows it
        self._counting = threading.Lock()
        self._counters = Counters()
        self.changing = threading.Lock()
        self.changed = threading.Condition(self.changing)
        self.watchers: set[Callable[[], None]] = set()  # called with every event; they do not block
        self.knowledge = Knowledge(fresh(config.servername), threading.Lock(), self._tell, self._replaced)
        self.leases = Leases(threading.Lock(), _luck, self._tell, self._wake)
        self.means = Means(knowledge=self.knowledge, policy=policy, luck=_luck)
        self.keeper = Keeper(self.transport, self.leases, self.means, self._tell)
        log.show_if_asked()
        lifetime.register(self)

    @property
    def is_foreign(self) -> bool:
        """Whether this is the parent's, seen from a forked child."""
        return self.pid != os.getpid()

    @property
    def counters(self) -> Counters:
        """What was done so far."""
        return replace(self._counters, renewals=self.leases.renewals, events_dropped=self._courier.dropped)

    def means_by(self, policy: RetryPolicy) -> Means:
        """The means of a caller's flows: its own policy, and the ttl of the leases so far, which rules how long an attempt may last.

        A caller has more time than a short lease: then its attempts last as long as those of a client that knows no ttl.
        """
        ttl_s = self.leases.ttl_s
        return Means(knowledge=self.knowledge, policy=policy, luck=_luck, ttl_s=ttl_s if ttl_s is not None and ttl_s >= PATIENT_TTL_S else None)

    def acquire(self, asked: Wanted, policy: RetryPolicy, on_event: Listener | None, hold: Callable[[LeaseRecord], Held]) -> Held:
        """Run the checkout on the caller's thread, and begin to keep what it brings.  Whatever interrupts it, no seat is left that nobody holds."""
        trace = flows.Trace()
        try:
            taken = run(self.taking(asked.request, asked.patience, trace, on_event, policy), self.transport)
            return hold(self.keep(asked.request, taken, reacquire=asked.reacquire))
        except BaseException as error:
            self.abandon(asked.request.id, trace)
            if self.is_closed:
                if trace.may_be_taken:  # the keeper has ended
                    run(self.returning(asked.request.id), self.transport)
                self.transport.close()
                if isinstance(error, PalError):  # ``close`` gave the id back, so the master refused it
                    raise closed() from error
            raise

    def taking(
        self, request: CheckoutRequest, patience: flows.Patience, trace: flows.Trace, on_event: Listener | None, policy: RetryPolicy | None = None
    ) -> Flow[flows.Taken]:
        """The flow of a checkout, whose events go to ``on_event``.  Whoever drives it calls ``keep`` with what it brings, or else ``abandon``."""
        self._asked.add(request.id)  # before the look: whoever closes meanwhile sees one or the other
        if self.is_closed:
            raise closed()
        if on_event is not None:
            self._listeners[request.id] = on_event
        means, began = self.means_by(policy or self.means.policy), monotonic()
        try:
            return (yield from flows.checkout(request, means, patience, trace, now=began, on_waiting=self._tell))
        finally:
            self._count(spent_s=monotonic() - began)

    def keep(self, request: CheckoutRequest, taken: flows.Taken, *, reacquire: bool) -> LeaseRecord:
        """Begin to keep what was granted.  Raises ClientClosed when there is nobody left to keep it."""
        record = LeaseRecord(_thrifty(taken.grant), sent_at=taken.sent_at)
        self.leases.add(Kept(record=record, request=request, reacquire=reacquire))
        self._asked.discard(request.id)
        if self.is_closed:
            raise closed()
        self.keeper.start()
        self._count(checkouts=1)
        self._tell(Acquired(lease_id=request.id, grant=record.grant))
        return record

    def abandon(self, lease_id: str, trace: flows.Trace) -> None:
        """A checkout ended without a lease: if it was interrupted, or never answered, the seat must not stay taken."""
        self._listeners.pop(lease_id, None)
        if self.leases.remove(lease_id) is not None or trace.may_be_taken:
            self._give_up(lease_id)
        self._asked.discard(lease_id)

    def give_back(self, lease_id: str) -> None:
        """Return one lease on the caller's thread; what is not confirmed in time the keeper goes on with."""
        try:
            if self.let_go(lease_id):
                self.returned(lease_id, run(self.returning(lease_id), self.transport).ids)
        except BaseException:  # Ctrl-C, perhaps between two lines; twice is harmless
            self.returned(lease_id, frozenset())
            raise

    def let_go(self, lease_id: str) -> bool:
        """Hold a lease no more, from this instant on; whoever waits for its loss hears of it.  False if that was done already."""
        was_kept = self.leases.remove(lease_id) is not None
        if was_kept:
            self._ring()
        return was_kept

    def returning(self, lease_id: str) -> Flow[flows.TakenBack]:
        """The flow of a return.  However it ends, ``returned`` is to be called."""
        began = monotonic()
        try:
            return (yield from flows.give_back((lease_id,), self.means, now=began, timeout_s=CHECKIN_S))
        finally:
            self._count(spent_s=monotonic() - began)

    def returned(self, lease_id: str, taken_back: frozenset[str]) -> None:
        """What is not among those that a master has taken back, the keeper goes on with."""
        is_confirmed = lease_id in taken_back
        if not is_confirmed:
            self._give_up(lease_id)
        self._tell(Returned(lease_id=lease_id, confirmed=is_confirmed))

    def _give_up(self, lease_id: str) -> None:
        """Have the keeper bring it back, until a master has confirmed it or the ttl has settled it."""
        self.leases.give_up(lease_id, now=monotonic())
        if not self.is_closed:
            with suppress(PalError):  # without a thread it waits for the next keeper, or for the exit
                self.keeper.start()

    def close(self, timeout_s: float = CHECKIN_S) -> None:
        """Return everything in one request, and stop the threads."""
        if self.is_foreign:
            return
        self.is_closed = True
        until = monotonic() + timeout_s
        self.keeper.stop(timeout_s / 2)  # it may hang in the application's own handler of the log
        run(self.returning_all(until), self.transport)
        self.end()

    def returning_all(self, until: float) -> Flow[None]:
        """The flow of returning everything, in as few requests as can be: also what is being asked for, which is refused from then on."""
        ids = tuple({**dict.fromkeys(tuple(self._asked)), **dict.fromkeys(self.leases.ids())})
        kept = frozenset(lease_id for lease_id in ids if self.leases.remove(lease_id) is not None)  # of the others it was told before
        while ids and (now := monotonic()) < until:
            batch, ids = ids[:MAX_IDS], ids[MAX_IDS:]
            taken = yield from flows.give_back(batch, self.means, now=now, timeout_s=until - now)
            for lease_id in kept.intersection(batch):
                self._tell(Returned(lease_id=lease_id, confirmed=lease_id in taken.ids))

    def end(self) -> None:
        """Stop delivering, and close what is idle."""
        self._courier.stop()
        self.transport.close()

    def forget(self) -> None:
        """In a forked child: own nothing of the parent's."""
        self.changing = threading.Lock()
        self.changed = threading.Condition(self.changing)
        self.transport.forget()
        self.keeper.forget()

    def _count(self, *, checkouts: int = 0, failovers: int = 0, spent_s: float = 0.0) -> None:
        with self._counting:
            old = self._counters
            self._counters = replace(old, checkouts=old.checkouts + checkouts, failovers=old.failovers + failovers, spent_s=old.spent_s + spent_s)

    def _tell(self, event: Event) -> None:
        log.write("warning" if isinstance(event, Lost) else "info", "%r", event)
        self._ring()
        lease_id = getattr(event, "lease_id", None)
        own = list(self._listeners.values()) if lease_id is None else [self._listeners.get(lease_id)]
        for listener in distinct([self._on_event, *own]):
            self._courier.deliver(listener, event)
        if isinstance(event, Returned):
            self._listeners.pop(event.lease_id, None)
        elif isinstance(event, MasterChanged):
            self._count(failovers=1)

    def _ring(self) -> None:
        with self.changing:  # by itself: Ctrl-C in a condition's own method would leave it taken
            self.changed.notify_all()
        for ring in tuple(self.watchers):
            ring()

    def _replaced(self) -> None:
        """No lease of the old cluster is called held from here on, whoever learnt of it."""
        self.leases.cluster_replaced(self.knowledge.topology.cluster, monotonic())
        self._wake()

    def _wake(self) -> None:
        self.keeper.wake()


def _thrifty(grant: Grant) -> Grant:
    """The same, sharing with all others what all of them say."""
    return replace(grant, node=sys.intern(grant.node), cluster=sys.intern(grant.cluster), version=sys.intern(grant.version))


def _luck() -> float:
    """Uniform in [0, 1), from the system: children of a fork must not share it."""
    return int.from_bytes(os.urandom(6)) / 2**48


def _this_process() -> Holder:
    user = os.environ.get("USERNAME") or os.environ.get("USER") or os.environ.get("LOGNAME") or UNKNOWN
    app = os.path.basename(sys.argv[0]) if sys.argv else ""  # noqa: PTH119  # pathlib would be imported for this alone
    display = os.environ.get("DISPLAY", "")
    return Holder(user=_fit(user), host=_fit(socket.gethostname() or UNKNOWN), display=_fit(display), pid=os.getpid(), app=_fit(app))


def _fit(word: str) -> str:
    """What the system says, as the protocol can say it: no odd name keeps anybody from a seat."""
    return UNSAYABLE.sub("?", word[:MAX_WORD])
