"""A session whose flows run on the event loops of those who await them: the twin of what ``session.py`` does on threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakValueDictionary

from palclient.asking import Wanted, closed
from palclient.core import checkout as flows
from palclient.core.flow import Flow, Result
from palclient.core.lease import LeaseRecord
from palclient.core.retry import RetryPolicy
from palclient.errors import PalError
from palclient.keeper import Listener, call_listener, identity
from palclient.models import Event
from palclient.runner_async import Bell, Drive, Relay, this_loop, turn
from palclient.session import CHECKIN_S, Session
from palclient.transport import monotonic
from palclient.transport.async_injected import AsyncInjectedTransport
from palclient.transport.async_transport import AsyncTransport

if TYPE_CHECKING:
    import httpx

    from palclient.config import Config

TURNS = 3  # of the loop: until it tells a task that it is stopped, until the task hears of it, and one to spare
Held = TypeVar("Held")


class LoopCourier:
    """Delivers events in order, each on the event loop of its listener."""

    def __init__(self) -> None:
        self.dropped = 0
        self._relays: WeakValueDictionary[object, Relay[Event]] = WeakValueDictionary()

    def relayed(self, listener: Listener, loop: object = None) -> Relay[Event]:
        """A listener that is called on a loop, whatever thread has an event to tell; the same one for all leases that it hears of there."""
        key = (identity(listener), loop)
        relay = self._relays.get(key)
        if relay is None:
            relay = self._relays[key] = Relay(lambda event: call_listener(listener, event), self._note_drop)
        return relay

    def _note_drop(self) -> None:
        self.dropped += 1

    def deliver(self, listener: Listener, event: Event) -> None:
        """A listener of an ``AsyncSession`` is a relay, and never blocks."""
        listener(event)

    def stop(self) -> None:
        """Nothing: what is under way to a loop arrives."""


class AsyncSession:
    """What an ``AsyncClient`` has once its configuration is read."""

    def __init__(
        self, config: Config, policy: RetryPolicy, on_event: Listener | None, transport: httpx.AsyncBaseTransport | httpx.AsyncClient | None
    ) -> None:
        self._transport = AsyncTransport() if transport is None else AsyncInjectedTransport(transport)
        self._courier = LoopCourier()
        self._relay = None if on_event is None else self._courier.relayed(on_event)
        self.session = Session(config, policy, self._relay, self._transport, self._courier)
        self._drives: set[Drive[Any]] = set()
        self._has_returned_all = False

    @property
    def is_foreign(self) -> bool:
        """Whether this is the parent's, seen from a forked child."""
        return self.session.is_foreign

    async def run(self, flow: Flow[Result]) -> Result:
        """Drive a flow in the task that calls."""
        if self._relay is not None:
            self._relay.follow()
        drive = Drive(flow, self._transport)
        self._drives.add(drive)
        try:
            return await drive.run()
        finally:
            self._drives.discard(drive)

    async def acquire(self, asked: Wanted, policy: RetryPolicy, on_event: Listener | None, hold: Callable[[LeaseRecord], Held]) -> Held:
        """Run the checkout, and begin to keep what it brings.  One that is cancelled is given up: the keeper has its id returned."""
        trace, session = flows.Trace(), self.session
        listener = None if on_event is None else self._courier.relayed(on_event, this_loop())
        if listener is not None:
            listener.follow()
        try:
            taken = await self.run(session.taking(asked.request, asked.patience, trace, listener, policy))
            return hold(session.keep(asked.request, taken, reacquire=asked.reacquire))
        except BaseException as error:
            session.abandon(asked.request.id, trace)
            if self._has_returned_all and trace.may_be_taken:  # closed from another loop, and the keeper has ended
                await self.run(session.returning(asked.request.id))
            if session.is_closed and isinstance(error, PalError):  # closed by a signal: its id was given back, so the master refused it
                raise closed() from error
            raise

    async def give_back(self, lease_id: str) -> None:
        """Return one lease; what is not confirmed in time, or before a cancellation, the keeper goes on with."""
        try:
            if self.session.let_go(lease_id):
                self.session.returned(lease_id, (await self.run(self.session.returning(lease_id))).ids)
        except BaseException:
            self.session.returned(lease_id, frozenset())
            raise

    async def close(self) -> None:
        """Return everything in one request, and stop the threads."""
        if self.is_foreign:
            return
        self.session.is_closed = True
        until = monotonic() + CHECKIN_S
        for drive in tuple(self._drives):
            drive.stop(closed())
        for _ in range(TURNS):  # whoever was in the middle of a checkout gives it up now
            await turn()
        self.session.keeper.stop(CHECKIN_S / 2)
        self._has_returned_all = True
        await self.run(self.session.returning_all(until))
        self.session.end()
        if isinstance(self._transport, AsyncInjectedTransport):
            await self._transport.aclose()
        await turn()  # the last events, and the ends of connections

    @contextmanager
    def watched(self) -> Iterator[Bell]:
        """A bell that rings with every event."""
        bell = Bell()
        self.session.watchers.add(bell.nudge)
        try:
            yield bell
        finally:
            self.session.watchers.discard(bell.nudge)
