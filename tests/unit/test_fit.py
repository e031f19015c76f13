"""Whether leases outlast a failover, and that a client asks once, and tells once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fakeserver.settings import failover_s as failover_of
from fakeserver.settings import smallest_ttl_s
from palclient.core.fit import check_fit, least_ttl_s, outlasts
from tests.unit.keeping import Keeping
from tests.unit.script import electing, master


def test_flexnets_own_failover_of_79_s_asks_for_leases_of_133_s() -> None:
    """Architecture, numbers that must fit."""
    assert round(least_ttl_s(79), 1) == 133.1
    assert not outlasts(133.0, 79)
    assert outlasts(133.2, 79)


@pytest.mark.parametrize("heartbeat_s", [0.02, 0.1, 0.5, 1.0, 1.3, 5.0, 6.0, 20.0, 120.0])
def test_client_and_server_agree_on_the_shortest_lease(heartbeat_s: float) -> None:
    """Architecture: the server refuses a ttl that breaks the rule, the client warns of it.  Two readings of one formula, over all its pieces."""
    assert 0 <= smallest_ttl_s(heartbeat_s) - least_ttl_s(failover_of(heartbeat_s)) <= 0.0012


def test_amid_a_failover_nothing_is_asked_that_can_wait() -> None:
    """Issue: 200 clients after one failover."""
    keeping = Keeping(ttl_s=9.0)
    keeping.hold("id-1")
    keeping.triad.spawn(check_fit(keeping.leases, keeping.triad.means, lambda *_: None, now=keeping.net.now))
    for name in ("primary", "secondary", "tertiary"):
        keeping.triad.says(name, electing(7))
    keeping.triad.at(5.0, "secondary", replace(master(8), ttl_s=9.0))
    keeping.until(8.9)
    assert keeping.asked("status") == []
    keeping.until(12.0)
    assert [at for at, _ in keeping.asked("status")] == [9.0]


@pytest.mark.parametrize("ttl_s, told", [(180.0, []), (90.0, [(90.0, 79.0)])])
def test_the_master_is_asked_once_when_the_first_third_of_a_lease_is_over(ttl_s: float, told: list[tuple[float, float]]) -> None:
    """Architecture: the client logs one warning; a process that ends sooner is spared the request."""
    heard: list[tuple[float, float]] = []
    keeping = Keeping(ttl_s=ttl_s)
    task = keeping.triad.spawn(check_fit(keeping.leases, keeping.triad.means, lambda *numbers: heard.append(numbers), now=keeping.net.now))
    keeping.until(1000.0)
    assert keeping.asked("status") == []
    keeping.hold("id-1")
    keeping.net.wake(task)
    keeping.until(1000.0 + ttl_s / 3 - 0.1)
    assert keeping.asked("status") == []
    keeping.until(3000.0)
    assert [at for at, _ in keeping.asked("status")] == [pytest.approx(1000.0 + ttl_s / 3)]
    assert heard == told
