"""Who can be granted what at all, and for how long: features, counts, license lines, the lists of the options file (G7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fakeserver import pools
from fakeserver.events import Checkout, NodeConfig
from fakeserver.replies import Reply, problem

if TYPE_CHECKING:
    from fakeserver.options import Rules

CLOCK_MARGIN = 0.02
"""By how much two clocks may drift apart: a client counts 2 % short, so a seat is freed 2 % late."""

DEAD_S = 60.0
"""An id that was returned stays dead for a ttl, and for this long at least (seconds): no request is on its way for a minute."""

POLL_LIMIT_S = 5.0
"""Whoever waits in line asks again after this time at the latest (seconds)."""


EVERY_SEAT = -1
"""As bits: the seats of a pool that is good for every version and for ever."""


def good_seats(request: Checkout, config: NodeConfig, wall_s: float) -> int:
    """The seats of the pool that are good for this version at this moment (seconds since 1970), one bit a seat."""
    lines = config.lines.get(request.feature)
    return pools.good_seats(lines, request.version, wall_s) if lines else EVERY_SEAT


def refusal(request: Checkout, config: NodeConfig, rules: Rules | None, wall_s: float) -> Reply | None:
    """Why this checkout can never be granted, whoever returns a seat; None when it could be."""
    feature = request.feature
    total = config.features.get(feature)
    if total is None:
        return problem("feature-unknown", f"No license names the feature {feature!r}.", feature=feature)
    if request.count < 1:
        return problem("bad-request", f"A checkout takes at least one seat, not {request.count}.")
    refused = rules.refusal(feature, request.holder) if rules else None
    lines = config.lines.get(feature)
    if refused is None and lines:
        refused = pools.refusal(feature, lines, request.version, wall_s)
        total = good_seats(request, config, wall_s).bit_count()
    if refused is None and request.count > total:
        detail = f"{request.count} seats of {feature!r} were asked for; the pool has {total}."
        return problem("too-many-asked", detail, feature=feature, total=total)
    return refused


def smallest_ttl_s(failover_s: float) -> float:
    """The shortest lease (seconds) that outlives a failover of ``failover_s`` seconds.

    A lease must satisfy 0.646 * ttl >= failover + attempt + 2 * probe + spread with attempt = min(5, ttl/12), probe = min(0.5, ttl/24) and
    spread = min(1, ttl/12).  The difference of both sides grows with the ttl in three straight pieces, each steeper than the one before, so
    the smallest solution is the smallest of the three.
    """
    return min(failover_s / (0.646 - 3 / 12), (failover_s + 2) / (0.646 - 1 / 12), (failover_s + 7) / 0.646)


def lease_ttl_s(asked_s: float | None, *, ttl_s: float, failover_s: float) -> float:
    """The ttl to hand out (seconds): what was asked for, raised to what outlives a failover, and never above the server's own ``ttl_s``.

    The server's ttl is the longest because a node that may have lost records waits for it before it votes (E2).
    """
    if asked_s is None:
        return ttl_s
    return min(max(asked_s, smallest_ttl_s(failover_s)), ttl_s)


def held_s(ttl_s: float) -> float:
    """How long (seconds, by the master's clock) a seat stays taken after a renewal: the ttl and what the client's clock may be slow."""
    return ttl_s * (1 + CLOCK_MARGIN)


def renew_s(ttl_s: float) -> float:
    """When a client should renew (seconds): three tries fit into one ttl."""
    return ttl_s / 3


def poll_s(ttl_s: float) -> float:
    """When whoever waits in line should ask again (seconds)."""
    return min(POLL_LIMIT_S, ttl_s / 12)
