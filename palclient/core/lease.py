"""The life of one lease, as a table; the diagram in the docs is drawn from it.

Only transitions live in the table.  What they bring about (events, requests) is decided in ``renewal.py``.  An event that is not in the table is an error.
"""

from __future__ import annotations

from enum import Enum

from palclient.models import Grant, LeaseState

CLOCK_MARGIN = 0.98  # clocks may differ by 2 % in speed: a lease is trusted for this share of its ttl
MAX_GUARD_S = 0.25


class Phase(Enum):
    """Where a lease is in its life."""

    HELD = "held"
    SUSPECT = "suspect"  # a due renewal is unconfirmed
    CLAIMING = "claiming"  # the master does not know it: not valid, asked for again under the same id
    LOST = "lost"
    RETURNED = "returned"


class Happening(Enum):
    """What can happen to a lease."""

    CONFIRMED = "confirmed"  # a current master renewed it
    OVERDUE = "overdue"  # a renewal was due T ago and is not confirmed
    UNKNOWN = "unknown"  # a current master says that it does not know it (-41)
    EXPIRED = "expired"  # the local deadline passed
    GRANTED = "granted"  # claimed again, with success
    REFUSED = "refused"  # claimed again, in vain (or unanswered for T)
    CLUSTER_REPLACED = "cluster replaced"  # another cluster answers in the triad's place
    RETURNED = "returned"  # the holder gave it back


P, H = Phase, Happening
TRANSITIONS: dict[tuple[Phase, Happening], Phase] = {
    (P.HELD, H.CONFIRMED): P.HELD,
    (P.HELD, H.OVERDUE): P.SUSPECT,
    (P.HELD, H.UNKNOWN): P.CLAIMING,
    (P.HELD, H.EXPIRED): P.LOST,
    (P.HELD, H.CLUSTER_REPLACED): P.LOST,
    (P.HELD, H.RETURNED): P.RETURNED,
    (P.SUSPECT, H.CONFIRMED): P.HELD,
    (P.SUSPECT, H.OVERDUE): P.SUSPECT,
    (P.SUSPECT, H.UNKNOWN): P.CLAIMING,
    (P.SUSPECT, H.EXPIRED): P.LOST,
    (P.SUSPECT, H.CLUSTER_REPLACED): P.LOST,
    (P.SUSPECT, H.RETURNED): P.RETURNED,
    (P.CLAIMING, H.GRANTED): P.HELD,
    (P.CLAIMING, H.REFUSED): P.LOST,
    (P.CLAIMING, H.CLUSTER_REPLACED): P.LOST,
    (P.CLAIMING, H.RETURNED): P.RETURNED,
    (P.LOST, H.GRANTED): P.HELD,
    (P.LOST, H.REFUSED): P.LOST,
    (P.LOST, H.RETURNED): P.RETURNED,
    (P.RETURNED, H.RETURNED): P.RETURNED,
}


class LeaseRecord:
    """What a client keeps of one lease; about ten words of memory beside its grant.  Changed only by ``renewal.py``, under the client's lock.

    ``valid_until``, ``due_at``, ``suspect_at`` and ``claim_at`` are monotonic readings; ``confirmed_at`` is when the last confirmed request was sent.
    """

    __slots__ = ("claim_at", "confirmed_at", "due_at", "grant", "lost_reason", "phase", "suspect_at", "ttl_s", "valid_until")

    def __init__(self, grant: Grant, *, sent_at: float) -> None:
        self.phase = Phase.HELD
        self.lost_reason = ""
        self.claim_at = 0.0
        self.due_at = self.suspect_at = sent_at
        self.take(grant, sent_at=sent_at)

    def take(self, grant: Grant, *, sent_at: float) -> None:
        """Hold this grant, which answers a request that was sent at ``sent_at``."""
        self.grant = grant
        self.ttl_s = grant.ttl_s
        self.confirmed_at = sent_at
        self.valid_until = valid_until(sent_at, grant.ttl_s, grant.waited_s)

    def is_valid(self, now: float) -> bool:
        """Whether the seat is held, computed from the clock at this instant and from nothing that another thread must have done."""
        return self.phase in (Phase.HELD, Phase.SUSPECT) and now < self.valid_until

    def state(self, now: float) -> LeaseState:
        """The state to show: LOST as soon as the lease is not valid, whatever the keeper has got round to."""
        if self.phase is Phase.RETURNED:
            return LeaseState.RETURNED
        if not self.is_valid(now):
            return LeaseState.LOST
        return LeaseState.SUSPECT if self.phase is Phase.SUSPECT else LeaseState.HELD

    def step(self, happening: Happening) -> None:
        """Take the transition of the table; raises KeyError for one that it does not have."""
        self.phase = TRANSITIONS[self.phase, happening]


def valid_until(sent_at: float, ttl_s: float, waited_s: float) -> float:
    """Until when a seat may be believed to be held: counted from when the request was *sent*, by a clock that may be fast, less a guard."""
    return sent_at + CLOCK_MARGIN * (waited_s + ttl_s) - min(MAX_GUARD_S, ttl_s / 20)
