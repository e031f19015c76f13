"""Whether leases outlast a failover: the client's times and the triad's must fit.

A renewal goes out when at most ttl/3 of the ttl are gone.  From then on there must be time for the failover itself (E), for the attempt at the master that fails
(T), for two probes of the others, and for the renewals of all clients to spread, before the time that is left by a clock that runs 2 % fast is over.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from palclient.core.checkout import sleep
from palclient.core.flow import Flow, Step
from palclient.core.locate import Means, Served, ask_master
from palclient.core.renewal import Leases
from palclient.core.retry import LONGEST_ATTEMPT_S
from palclient.core.wire import StatusReply, StatusRequest

SHARE = 0.646  # 0.98 of the ttl, less the third after which a renewal goes out at the latest
ATTEMPT, PROBES, SPREAD = 1 / 12, 2 / 24, 1 / 12  # of the ttl
PROBES_S, SPREAD_S = 1.0, 1.0  # and at most
ASK_S = 2.0


def spent_s(ttl_s: float, failover_s: float) -> float:
    """How long it may take from when a renewal was due until a new master has confirmed it."""
    return failover_s + min(LONGEST_ATTEMPT_S, ttl_s * ATTEMPT) + min(PROBES_S, ttl_s * PROBES) + min(SPREAD_S, ttl_s * SPREAD)


def outlasts(ttl_s: float, failover_s: float) -> bool:
    """Whether a lease of this ttl is sure to outlast a failover."""
    return SHARE * ttl_s >= spent_s(ttl_s, failover_s) - 1e-9  # of rounding


def least_ttl_s(failover_s: float) -> float:
    """The shortest ttl that outlasts a failover."""
    low, high = 0.0, (failover_s + LONGEST_ATTEMPT_S + PROBES_S + SPREAD_S) / SHARE  # enough for any
    for _ in range(60):  # halves the distance: far beyond the precision of a float
        middle = (low + high) / 2
        low, high = (low, middle) if outlasts(middle, failover_s) else (middle, high)
    return high


def check_fit(leases: Leases, means: Means, tell: Callable[[float, float], None], *, now: float) -> Flow[None]:
    """Ask the master once for the triad's failover time, when it has served for a third of a ttl; ``tell(ttl_s, failover_s)`` if they do not fit.

    A process that ends earlier is spared the request.
    """
    while not leases.kept or leases.ttl_s is None:
        event = yield Step()
        now = event.now
    is_calm = False
    while not is_calm:  # amid a failover, and while all clients meet its new master, there are better things to ask
        term = means.knowledge.topology.term
        now = yield from sleep(now, now + leases.ttl_s / 3)
        is_calm = means.knowledge.topology.master is not None and means.knowledge.topology.term == term
    served = yield from ask_master(StatusRequest(), means, now=now, deadline=now + ASK_S)
    if isinstance(served, Served) and isinstance(served.reply, StatusReply) and 0 < served.reply.failover_s < inf:
        ttl_s, failover_s = leases.ttl_s, served.reply.failover_s
        if not outlasts(ttl_s, failover_s):
            tell(ttl_s, failover_s)
