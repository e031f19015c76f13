"""Calls through a transport that the user brings."""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Callable, Iterator

import httpx
import pytest

from palclient.core.flow import Answered, Call, Failed, Flow, HttpRequest, Outcome, Step
from palclient.models import Endpoint
from palclient.runner_sync import run
from palclient.transport import InjectedTransport, monotonic

LONG_S = 20.0  # a deadline that is not meant to come
Handler = Callable[[httpx.Request], httpx.Response]


def ask(handler: Handler, *, answer_s: float = LONG_S, host: str = "lic1.example") -> Answered | Failed:
    """The end of one call to a mock."""
    return ended(InjectedTransport(httpx.MockTransport(handler)), answer_s=answer_s, host=host)


def ended(transport: InjectedTransport, *, answer_s: float = LONG_S, host: str = "lic1.example") -> Answered | Failed:
    """The end of one call."""

    def flow() -> Flow[Answered | Failed]:
        now = monotonic()
        request = HttpRequest(method="PUT", target="/v1/checkouts/x", body=b"{}", headers=(("After-Term", "7"),))
        endpoint = Endpoint(host=host, port=27000)
        event = yield Step(start=(Call(id=7, node=0, endpoint=endpoint, request=request, connect_by=now + 1, answer_by=now + answer_s),))
        assert isinstance(event, Answered | Failed)
        return event

    return run(flow(), transport)


def test_a_mock_sees_the_request_and_its_answer_comes_back() -> None:
    """Public face: an injected ``transport=`` replaces ours."""
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(201, json={"good": True})

    end = ask(handler)
    assert isinstance(end, Answered)
    assert (end.call_id, end.status, end.content_type, end.body.replace(b" ", b"")) == (7, 201, "application/json", b'{"good":true}')
    [request] = seen
    assert (request.method, str(request.url), request.content) == ("PUT", "http://lic1.example:27000/v1/checkouts/x", b"{}")
    assert request.headers["after-term"] == "7"
    assert request.headers.get_list("host") == ["lic1.example:27000"]
    assert request.headers["user-agent"].startswith("palclient/")


def test_a_mock_that_hangs_is_left_alone_at_the_deadline() -> None:
    """A foreign transport cannot be interrupted; the caller's deadline holds all the same."""
    gate = threading.Event()

    def handler(_request: httpx.Request) -> httpx.Response:
        gate.wait(30)
        return httpx.Response(200)

    end = ask(handler, answer_s=0.1)
    gate.set()
    assert isinstance(end, Failed)
    assert (end.outcome, end.sent) == (Outcome.TIMED_OUT, True)


def refused(request: httpx.Request) -> httpx.Response:
    """As httpx tells it: its own error, with the system's as the cause."""
    error = httpx.ConnectError("Connection refused", request=request)
    error.__cause__ = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
    raise error


def raising(kind: type[httpx.TransportError]) -> Handler:
    """A handler that fails so."""

    def handler(request: httpx.Request) -> httpx.Response:
        raise kind("in its own words", request=request)

    return handler


FAILURES: list[tuple[Handler, Outcome, bool]] = [
    (refused, Outcome.REFUSED, False),
    (raising(httpx.ConnectError), Outcome.UNREACHABLE, False),
    (raising(httpx.ConnectTimeout), Outcome.TIMED_OUT, False),
    (raising(httpx.ReadTimeout), Outcome.TIMED_OUT, True),
    (raising(httpx.ReadError), Outcome.RESET, True),
    (raising(httpx.RemoteProtocolError), Outcome.CUT_SHORT, True),
]


@pytest.mark.parametrize("handler,outcome,sent", FAILURES)
def test_the_errors_of_httpx_become_outcomes(handler: Handler, outcome: Outcome, sent: bool) -> None:  # noqa: FBT001 - a column of the table
    """Protocol page, "Problems", last row."""
    end = ask(handler)
    assert isinstance(end, Failed)
    assert (end.outcome, end.sent) == (outcome, sent)
    assert end.detail


def test_a_mistake_in_the_users_transport_is_logged_and_ends_the_call(caplog: pytest.LogCaptureFixture) -> None:
    """On a helper thread an exception would be heard by nobody, and the call would wait for its deadline."""

    def handler(_request: httpx.Request) -> httpx.Response:
        raise ZeroDivisionError("mine")

    with caplog.at_level(logging.ERROR, logger="palclient"):
        end = ask(handler)
    assert isinstance(end, Failed)
    assert "mine" in end.detail
    assert "ZeroDivisionError" in caplog.text


def test_a_client_of_httpx_is_asked_as_it_is_and_left_open() -> None:
    """Issue: an injected httpx transport or client.  It is its owner's, redirects stay off, and the deadline is ours."""
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(307, headers={"Location": "http://elsewhere/"})

    def note(request: httpx.Request) -> None:
        request.headers["X-Test"] = "1"

    with httpx.Client(transport=httpx.MockTransport(handler), event_hooks={"request": [note]}, follow_redirects=True) as owners:
        transport = InjectedTransport(owners)
        end = ended(transport)
        transport.close()
        assert not owners.is_closed
    assert isinstance(end, Answered)
    assert end.status == 307
    assert [(str(request.url), request.headers["X-Test"]) for request in seen] == [("http://lic1.example:27000/v1/checkouts/x", "1")]
    assert seen[0].extensions["timeout"]["read"] > LONG_S - 5


def test_a_transport_is_closed_with_the_client() -> None:
    """api: ``transport``."""
    closed: list[bool] = []

    class Noted(httpx.MockTransport):
        def close(self) -> None:
            closed.append(True)

    InjectedTransport(Noted(lambda _: httpx.Response(200))).close()
    assert closed == [True]


def test_a_body_without_an_end_is_bounded() -> None:
    """Protocol page: replies have at most 4 MiB."""

    class Endless(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            while True:
                yield b"x" * 65536

    end = ask(lambda _request: httpx.Response(200, stream=Endless()))
    assert isinstance(end, Failed)
    assert end.outcome is Outcome.NOT_OURS
