"""How long an attempt may last, when to ask again, when to stop.  Instants are monotonic readings, durations seconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from palclient.errors import ConfigError

if TYPE_CHECKING:
    from tenacity.wait import wait_base

CONNECT_S = 1.0  # the longest that connecting may take
LONGEST_ATTEMPT_S = 5.0
BLIND_ATTEMPT_S = 1.0  # an attempt while no ttl is known
BLIND_ATTEMPTS_S = (BLIND_ATTEMPT_S, 3.0, LONGEST_ATTEMPT_S)  # the first, the second, and any later one at a node in a row
MOST_TWELFTHS = 4  # of the ttl: more do not fit between a renewal and the end of its lease
LEAST_PROBE_S = 0.005  # not even for the shortest lease is a node asked oftener
JITTER = 0.25  # a delay is drawn from 1.0 to 1.25 of itself

Luck = Callable[[], float]  # uniform in [0, 1), like random.random


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How a client asks again.

    ``wait`` is a tenacity wait strategy that draws no luck of its own (jitter is added here), or None: exponential from ``probe_s`` to ``longest_s``.  It
    rules the delay between attempts at a node that does not answer.  ``probe_s`` is the shortest such delay; ``stagger_s`` is how late an answer
    must be before other nodes are asked, too.  Seconds.
    """

    wait: wait_base | None = None
    probe_s: float = 0.5
    stagger_s: float = 0.05
    longest_s: float = 2.0  # a triad that comes back is found within this

    def __post_init__(self) -> None:
        if not (self.probe_s > 0 and self.stagger_s >= 0 and self.longest_s >= 0):
            raise ConfigError(f"{self!r}: probe_s must be more than 0 seconds, stagger_s and longest_s 0 or more.")

    def delay_s(self, failures: int, luck: Luck) -> float:
        """The delay before a node is asked again that has failed ``failures`` (from 1) times in a row."""
        is_steady = self.wait is None and (failures <= 1 or self.longest_s <= self.probe_s)
        base = self.probe_s if is_steady else _waited(self.wait or _exponential(self.probe_s, self.longest_s), failures)
        return max(self.probe_s, base) * (1 + JITTER * luck())

    def within(self, ttl_s: float) -> RetryPolicy:
        """The policy for renewals of leases that live ``ttl_s``: a steady probe, so quick that a failover fits into the lease."""
        probe_s = max(LEAST_PROBE_S, min(self.probe_s, ttl_s / 24))
        return RetryPolicy(probe_s=probe_s, stagger_s=min(self.stagger_s, probe_s), longest_s=probe_s)

    def unhurried(self) -> RetryPolicy:
        """The policy for a request that nobody waits for: a master that is busy, as after an election, is not late for it so soon."""
        return replace(self, stagger_s=max(self.stagger_s, self.probe_s))


def attempt_s(ttl_s: float | None, failures: int = 0) -> float:
    """T: how long a request may wait at a node that is thought to be master, and that has failed so many times in a row.

    The ttl rules it; without one it is a guess.  Each that was too short is followed by a longer one: else a slow node would never be heard.  The others hold
    the request meanwhile, so that this costs a failover nothing.
    """
    if ttl_s is None:
        return BLIND_ATTEMPTS_S[min(failures, len(BLIND_ATTEMPTS_S) - 1)]
    return min(LONGEST_ATTEMPT_S, ttl_s / 12 * min(failures + 1, MOST_TWELFTHS))


def _exponential(shortest_s: float, longest_s: float) -> wait_base:
    from tenacity import wait_exponential

    return wait_exponential(multiplier=shortest_s, max=longest_s)


def _waited(wait: wait_base, failures: int) -> float:
    from tenacity import RetryCallState

    state = RetryCallState(retry_object=None, fn=None, args=(), kwargs={})  # type: ignore[arg-type]  # wait strategies read the attempt's number only
    state.attempt_number = failures
    return float(wait(state))
