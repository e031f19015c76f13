"""What an administrator reads when no seat was to be had: what was tried, in which order, what each server said, what to do next."""

from __future__ import annotations

import pytest

from palclient.core import explain
from palclient.core.locate import Unanswered
from palclient.core.wire import Granted, Problem, Queued, RenewRequest
from palclient.errors import CheckoutDenied, CheckoutTimeout, NoQuorum, NoServerReachable, ProtocolError, SeatsTaken
from palclient.models import Endpoint, Probe
from tests.unit.script import STATUS_OF, request, speaker


def probe(host: str, outcome: str, detail: str = "", *, answered: bool = False, took_s: float = 0.01, port: int = 27000) -> Probe:
    """What came of one request to one server."""
    return Probe(
        endpoint=Endpoint(host=host, port=port), asked="checkout", began_s=0.0, took_s=took_s, outcome=outcome, detail=detail, answered=answered
    )


def ended(*probes: Probe, heard: int = 0, master_named: bool = False) -> Unanswered:
    """No master answered."""
    return Unanswered(probes=probes, heard=heard, master_named=master_named, may_have_acted=False, took_s=10.0, now=0.0)


def test_every_server_has_a_line_in_the_order_in_which_it_was_asked() -> None:
    """Style 14."""
    error = explain.unavailable(request(), ended(probe("lic2", "refused", "errno 111"), probe("lic1", "timed out"), probe("lic2", "reset")))
    assert type(error) is NoServerReachable
    assert str(error).splitlines()[:3] == [
        "No license server answered (tried checkout for 10.0 s):",
        "  27000@lic2: reset after 0.01 s, asked 2 times",
        "  27000@lic1: timed out after 0.01 s",
    ]
    assert "palclient config" in error.advice
    assert len(error.probes) == 3


def test_the_ports_of_a_server_that_was_searched_share_a_line_while_there_is_one_word_to_tell() -> None:
    """N2: a server without a port is asked on ten of them."""
    searched = [probe("lic1", "name unknown", "no such host", port=port) for port in range(27000, 27010)]
    lines = str(explain.unavailable(request(), ended(*searched, *searched))).splitlines()[1:-1]
    assert lines == ["  lic1, 10 ports from 27000 to 27009: name unknown after 0.01 s (no such host), asked 20 times"]
    other = probe("lic1", "not HTTP", "SSH-2.0", port=27003)
    lines = str(explain.unavailable(request(), ended(*searched[:3], other, *searched[4:], probe("lic2", "reset")))).splitlines()[1:-1]
    assert lines == [
        "  lic1, 9 ports from 27000 to 27009: name unknown after 0.01 s (no such host), asked 9 times",
        "  27003@lic1: not HTTP after 0.01 s (SSH-2.0)",
        "  27000@lic2: reset after 0.01 s",
    ]


def test_a_triad_on_one_host_has_a_line_for_each_server() -> None:
    """Style 14: three entries of SERVERNAME are three servers, also where all say the same."""
    lines = str(explain.unavailable(request(), ended(*(probe("lic1", "refused", port=port) for port in (27000, 27001, 27002))))).splitlines()[1:-1]
    assert [line.split(":")[0] for line in lines] == ["  27000@lic1", "  27001@lic1", "  27002@lic1"]


def test_a_servers_own_words_outweigh_a_later_silence() -> None:
    """What it said tells more than that it says nothing now."""
    error = explain.unavailable(request(), ended(probe("lic1", "no-quorum", "I see nobody.", answered=True), probe("lic1", "timed out"), heard=1))
    assert type(error) is NoQuorum
    assert "  27000@lic1: no-quorum after 0.01 s (I see nobody.), asked 2 times" in str(error)


def test_the_three_ends_are_told_apart() -> None:
    """api: none answered; some answered and none serves; a serving master fell silent."""
    some = probe("lic1", "not-master", answered=True)
    assert type(explain.unavailable(request(), ended(some))) is NoServerReachable
    assert type(explain.unavailable(request(), ended(some, heard=1))) is NoQuorum
    assert type(explain.unavailable(request(), ended(some, heard=1, master_named=True))) is CheckoutTimeout
    assert type(explain.unavailable(request(), ended(some), had_word=True)) is CheckoutTimeout


def test_an_error_about_another_request_names_it() -> None:
    """What was tried."""
    assert "tried renewal" in str(explain.unavailable(RenewRequest(ids=("a",)), ended()))


@pytest.mark.parametrize("name", STATUS_OF)
def test_every_problem_gives_an_error_that_names_the_server_and_what_it_said(name: str) -> None:
    """Protocol, Problems."""
    error = explain.denied(request(), Problem(speaker=speaker(), name=name, status=STATUS_OF[name], code=-5, detail="The words."))
    assert "27000@lic" in str(error)
    assert "(-5)" in str(error)
    assert "The words." in str(error)
    assert error.code == -5


@pytest.mark.parametrize("name", [name for name in STATUS_OF if name in explain.ADVICE])
def test_every_denial_comes_with_advice(name: str) -> None:
    """api: what to do next."""
    error = explain.denied(request(), Problem(speaker=speaker(), name=name, status=409))
    assert isinstance(error, CheckoutDenied)
    assert isinstance(error, SeatsTaken) is (name in explain.SEATS)
    assert error.advice.endswith((".", ")."))


def test_a_denial_without_words_still_says_which_it_was() -> None:
    """A server may send the type alone."""
    assert "seats-taken" in str(explain.denied(request(), Problem(speaker=speaker(), name="seats-taken", status=409)))


def test_the_end_of_a_line_tells_the_place() -> None:
    """api: still in line, SeatsTaken."""
    error = explain.denied(request(), Queued(speaker=speaker(), position=3, of=5, poll_s=2.0))
    assert isinstance(error, SeatsTaken)
    assert (error.retry_after_s, error.code) == (2.0, -4)
    assert "place 3 of 5" in str(error)


def test_an_answer_of_another_kind_is_a_protocol_error() -> None:
    """A peer broke the protocol."""
    odd = Queued(speaker=speaker(), position=1, of=1, poll_s=1.0)
    error = explain.unexpected(RenewRequest(ids=("a",)), odd)
    assert isinstance(error, ProtocolError)
    assert "answered a renewal with an answer of another kind (Queued)" in str(error)
    assert Granted.__name__ not in str(error)
