"""How long an attempt lasts, and when to ask again."""

from __future__ import annotations

import pytest
from tenacity import wait_fixed, wait_incrementing

from palclient.core.retry import LEAST_PROBE_S, RetryPolicy, attempt_s
from palclient.errors import ConfigError


def unlucky() -> float:
    """The upper end of all that is drawn."""
    return 1.0


def steady() -> float:
    """The lower end."""
    return 0.0


@pytest.mark.parametrize("ttl_s, expected", [(None, 1.0), (6.0, 0.5), (60.0, 5.0), (180.0, 5.0)])
def test_an_attempt_lasts_a_twelfth_of_the_ttl_and_five_seconds_at_most(ttl_s: float | None, expected: float) -> None:
    """Design, Flows: T = min(5 s, ttl/12), 1 s while no ttl is known."""
    assert attempt_s(ttl_s) == expected


@pytest.mark.parametrize("ttl_s, expected", [(None, [1.0, 3.0, 5.0, 5.0]), (6.0, [0.5, 1.0, 1.5, 2.0]), (48.0, [4.0, 5.0, 5.0, 5.0])])
def test_an_attempt_that_was_too_short_is_followed_by_longer_ones(ttl_s: float | None, expected: list[float]) -> None:
    """Design, Flows: else a node that is slower than a twelfth of the ttl would never be heard."""
    assert [attempt_s(ttl_s, failures) for failures in (0, 1, 2, 10_000)] == expected


def test_delays_double_from_the_probe_to_the_longest() -> None:
    """Design, Flows: backoff is for when nobody answers."""
    assert [RetryPolicy().delay_s(failures, steady) for failures in range(1, 6)] == [0.5, 1.0, 2.0, 2.0, 2.0]
    assert RetryPolicy().delay_s(10_000, steady) == 2.0


def test_a_delay_is_lengthened_by_luck_and_never_shortened() -> None:
    """Style 16: jitter; probes at most every 0.5 s per node."""
    assert RetryPolicy().delay_s(1, unlucky) == 0.625
    assert RetryPolicy().delay_s(3, unlucky) == 2.5


def test_a_wait_strategy_of_tenacity_rules_the_delays_but_not_below_the_probe() -> None:
    """api: ``RetryPolicy(wait=...)``."""
    assert [RetryPolicy(wait=wait_incrementing(start=1, increment=2)).delay_s(failures, steady) for failures in (1, 2, 3)] == [1, 3, 5]
    assert RetryPolicy(wait=wait_fixed(0)).delay_s(7, steady) == 0.5


@pytest.mark.parametrize("ttl_s, probe_s", [(180.0, 0.5), (6.0, 0.25), (1.0, 1 / 24), (0.05, LEAST_PROBE_S), (0.0, LEAST_PROBE_S)])
def test_renewals_probe_steadily_and_so_often_that_a_failover_fits_into_the_lease(ttl_s: float, probe_s: float) -> None:
    """Design, Flows: P = min(0.5 s, ttl/24)."""
    policy = RetryPolicy(wait=wait_fixed(60)).within(ttl_s)
    assert [policy.delay_s(failures, steady) for failures in (1, 2, 9)] == [probe_s] * 3
    assert policy.stagger_s <= policy.probe_s


@pytest.mark.parametrize("ttl_s", [1.0, 6.0, 60.0, 133.0, 180.0])
def test_a_failover_that_fits_the_numbers_ends_before_the_lease_does(ttl_s: float) -> None:
    """Design, Flows: 0.646 * ttl >= E + T + 2P + spread holds what is left of a lease when its renewal falls into the failover."""
    left_s = 0.98 * ttl_s - min(0.25, ttl_s / 20) - ttl_s / 3
    probe_s = RetryPolicy().within(ttl_s).probe_s
    failover_s = 0.646 * ttl_s - attempt_s(ttl_s) - 2 * probe_s - min(1.0, ttl_s / 12)
    assert failover_s > 0
    assert failover_s + attempt_s(ttl_s) + 2 * probe_s * 1.25 <= left_s + 0.06 * ttl_s


@pytest.mark.parametrize(
    "policy", [{"probe_s": 0.0}, {"probe_s": -1.0}, {"probe_s": float("nan")}, {"stagger_s": -0.1}, {"longest_s": -1.0}, {"longest_s": float("nan")}]
)
def test_a_policy_that_would_ask_without_end_is_refused(policy: dict[str, float]) -> None:
    """Style 5; api: nothing but ConfigError for impossible arguments."""
    with pytest.raises(ConfigError, match="probe_s must be more than 0"):
        RetryPolicy(**policy)  # type: ignore[arg-type]  # wait is not among them
