"""What can be told of a lease by looking at the clock and at what is known: the part of ``Lease`` and ``AsyncLease`` that is the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeVar, overload

from palclient.core.lease import LeaseRecord, Phase
from palclient.errors import LeaseForked, LeaseLost
from palclient.models import Endpoint, Grant, LeaseState
from palclient.transport import monotonic

if TYPE_CHECKING:
    from palclient.session import Session

Value = TypeVar("Value")

PICKLE_ADVICE = "A lease belongs to one process and cannot be pickled: check out in the other process."


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """A lease's record, and the session that keeps it.  Nothing here sends a request or waits."""

    session: Session
    record: LeaseRecord

    def id(self) -> str:
        """The checkout's name, a UUID, the same through every failover."""
        return self.record.grant.id

    def grant(self) -> Grant:
        """The master's word, the newest; ``grant.seq`` is the fencing token."""
        return self.record.grant

    def feature(self) -> str:
        """What is licensed."""
        return self.record.grant.feature

    def version(self) -> str:
        """The version that was granted."""
        return self.record.grant.version

    def count(self) -> int:
        """How many seats."""
        return self.record.grant.count

    def valid(self) -> bool:
        """Whether the seats are held, computed at this instant.  Never True after the time for which a master vouched."""
        return not self.session.is_foreign and self.record.is_valid(monotonic())

    def state(self) -> LeaseState:
        """HELD, SUSPECT (unconfirmed, still valid), LOST, RETURNED, or FOREIGN in a forked child."""
        return LeaseState.FOREIGN if self.session.is_foreign else self.record.state(monotonic())

    def master(self) -> Endpoint | None:
        """The node that serves, as far as this client knows, named as SERVERNAME names it."""
        topology = self.session.knowledge.topology
        return None if topology.master is None else topology.nodes[topology.master].endpoint

    def term(self) -> int:
        """The highest term that this client has seen: it grows with every change of master."""
        return self.session.knowledge.topology.term

    def expires_in(self) -> float:
        """Seconds for which the seats are still held if no renewal gets through; 0 when they are not."""
        now = monotonic()
        return self.record.valid_until - now if self.valid() else 0.0

    def ensure_held(self) -> None:
        """Raise LeaseLost (LeaseForked in a forked child) unless the seats are held now."""
        if self.valid():
            return
        feature, ago_s = self.feature(), monotonic() - self.record.confirmed_at
        if self.session.is_foreign:
            advice = "A forked process owns none of its parent's seats: check out in the child."
            raise LeaseForked(f"{feature}: this lease belongs to the parent process.", reason="forked", last_confirmed_s_ago=ago_s, advice=advice)
        returned = self.record.phase is Phase.RETURNED
        reason = "it was returned" if returned else self.record.lost_reason or "no master confirmed it in time"
        message = f"{feature}: the seat is not held: {reason} (last confirmed {ago_s:.1f} s ago)."
        raise LeaseLost(message, reason=reason, last_confirmed_s_ago=ago_s)

    def shown(self, kind: str) -> str:
        """The lease on one line."""
        return f"<{kind} {self.feature()} x{self.count()} {self.state().value} {self.id()}>"

    def abandon(self, lease: object) -> None:
        """The last reference to the lease is gone: have the seats returned, and warn of it.  Takes no lock: it runs in the middle of anything."""
        if self.record.phase is Phase.RETURNED or self.session.is_foreign:
            return
        self.session.leases.drop(self.id())
        import warnings

        warnings.warn(f"{lease!r} was dropped without checkin(); it is returned now", ResourceWarning, stacklevel=3, source=lease)


class HasHolding(Protocol):
    """A lease."""

    @property
    def _holding(self) -> Holding: ...  # private, since it is nothing for users


class Fact(Generic[Value]):
    """A read-only attribute of a lease that its ``Holding`` tells: written once, for both kinds of lease."""

    def __init__(self, look: Callable[[Holding], Value]) -> None:
        self._look = look
        self.__doc__ = look.__doc__

    @overload
    def __get__(self, lease: None, kind: type) -> Self: ...
    @overload
    def __get__(self, lease: HasHolding, kind: type) -> Value: ...
    def __get__(self, lease: HasHolding | None, kind: type) -> Value | Self:
        return self if lease is None else self._look(lease._holding)  # noqa: SLF001  # its own: this is a part of the lease's class
