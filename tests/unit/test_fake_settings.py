"""The arithmetic of a triad's times."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from fakeserver import election
from fakeserver.settings import Settings, check_loopback, check_ttl, failover_s, named, smallest_ttl_s

SETTINGS = Settings(
    role="secondary",
    triad=(("127.0.0.1", 27000), ("127.0.0.1", 27001), ("::1", 27002)),
    cluster="c1",
    features={"X": 5},
    heartbeat_s=0.1,
    ttl_s=2.0,
    primary_is_master=True,
    folder="/somewhere",
    fsync=False,
    software="fakeserver/1",
)


@pytest.mark.parametrize("heartbeat_s, expected_s", [(20.0, 79.0), (0.1, 0.395)])
def test_a_peer_is_lost_after_nearly_four_heartbeats(heartbeat_s: float, expected_s: float) -> None:
    """T10: 3n + (n - 1) seconds for n = 20, and the same to scale."""
    assert failover_s(heartbeat_s) == pytest.approx(expected_s)


@pytest.mark.parametrize("interval_s", [1.0, 2.0, 10.0, 20.0, 120.0])
def test_a_license_files_interval_sets_how_long_a_silence_is_borne(interval_s: float) -> None:
    """T10: 3n + (n - 1) seconds for n, to scale; as both modules of the node reckon it."""
    assert failover_s(interval_s, interval_s) == 3 * interval_s + (interval_s - 1)
    assert failover_s(0.1, interval_s) == pytest.approx(election.failover_s(0.1, interval_s))
    assert Settings(**{**asdict(SETTINGS), "interval_s": interval_s}).failover_s == failover_s(0.1, interval_s)
    check_ttl(smallest_ttl_s(0.1, interval_s), 0.1, interval_s)


@pytest.mark.parametrize("heartbeat_s", [0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 20.0, 120.0])
def test_the_smallest_ttl_fits_and_nothing_smaller_does(heartbeat_s: float) -> None:
    """Architecture, the numbers that must fit; in whole milliseconds."""
    ttl_s = smallest_ttl_s(heartbeat_s)
    check_ttl(ttl_s, heartbeat_s)
    with pytest.raises(ValueError, match="too short"):
        check_ttl(ttl_s - 0.001, heartbeat_s)


def test_the_fields_default_of_twenty_seconds_asks_for_a_ttl_of_133() -> None:
    """Architecture: E = 79 s asks for a ttl of about 133 s; at a heartbeat of 0.1 s it is just under a second."""
    assert smallest_ttl_s(20.0) == pytest.approx(133, abs=0.2)
    assert smallest_ttl_s(0.1) == 0.998


def test_a_ttl_that_is_refused_shows_the_numbers() -> None:
    """Architecture: the server side refuses a ttl that breaks the rule."""
    with pytest.raises(ValueError, match=r"ttl_s=0.5 is too short for heartbeat_s=0.1: .* 0.323 s .* 0.395 s .* ttl_s=0.998"):
        check_ttl(0.5, 0.1)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1"])
def test_a_fake_server_listens_on_loopback_addresses(host: str) -> None:
    """It is a test instrument, and trusts whoever reaches it."""
    check_loopback(host)


@pytest.mark.parametrize("host", ["192.0.2.1", "0.0.0.0", "::", "lic1", "localhost", ""])  # noqa: S104 - to be refused
def test_a_fake_server_listens_nowhere_else(host: str) -> None:
    """A name may mean anything tomorrow, `localhost` included."""
    with pytest.raises(ValueError, match="loopback addresses alone"):
        check_loopback(host)


def test_settings_pass_through_json_unchanged() -> None:
    """They travel to the node's process."""
    assert Settings.from_json(json.loads(json.dumps(SETTINGS.to_json()))) == SETTINGS


def test_an_address_is_named_as_in_servername() -> None:
    """N2: port@host, an IPv6 address in brackets."""
    assert [named(address) for address in SETTINGS.triad] == ["27000@127.0.0.1", "27001@127.0.0.1", "27002@[::1]"]
    assert SETTINGS.address == ("127.0.0.1", 27001)
