"""The transport against servers that behave and servers that do not, over real sockets on loopback."""

from __future__ import annotations

import gc
import os
import select
import socket
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from palclient.core.flow import Answered, Call, Failed, Flow, HttpRequest, Outcome, Step
from palclient.models import Endpoint
from palclient.runner_sync import run, wait
from palclient.transport import Exchange, Transport, Wakeup, monotonic
from palclient.transport.connections import IDLE_LIMIT_S, IDLE_PER_NODE
from palclient.transport.dial import is_own_echo
from palclient.transport.exchange import USER_AGENT, encoded
from palclient.transport.names import Address, Names
from palclient.transport.reply import Reply
from tests import hostile
from tests.endings import ENDINGS

LONG_S = 20.0  # a deadline that is not meant to come; the tests that wait for one set their own
SHORT_S = 0.15
TURNS = 2000  # no loop of a test is without its bound

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux drops connection requests when the queue is full")
needs_descriptors = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open descriptors are counted in /proc")

PUT = HttpRequest(method="PUT", target="/v1/checkouts/x", body=b'{"feature":"F"}')
GET = HttpRequest(method="GET", target="/v1/status")


def call_to(
    port: int, request: HttpRequest = PUT, *, host: str = "127.0.0.1", connect_s: float = LONG_S, answer_s: float = LONG_S, now: float | None = None
) -> Call:
    """A call with deadlines so many seconds from now."""
    now = monotonic() if now is None else now
    endpoint = Endpoint(host=host, port=port)
    return Call(id=7, node=0, endpoint=endpoint, request=request, connect_by=now + connect_s, answer_by=now + answer_s)


def single(call: Call) -> Flow[Answered | Failed]:
    """A flow of one call, which it returns the end of."""
    event = yield Step(start=(call,))
    assert isinstance(event, Answered | Failed)
    return event


def ask(transport: Transport, call: Call) -> Answered | Failed:
    """The end of one call."""
    return run(single(call), transport)


def answered(transport: Transport, call: Call) -> Answered:
    """The answer to one call."""
    end = ask(transport, call)
    assert isinstance(end, Answered), end
    return end


def failed(transport: Transport, call: Call) -> Failed:
    """How one call failed."""
    end = ask(transport, call)
    assert isinstance(end, Failed), end
    return end


def moved_on(exchange: Exchange, is_enough: Callable[[], bool]) -> Answered | Failed | None:
    """Drive one exchange by hand, until it ends or is enough."""
    for _ in range(TURNS):
        end = exchange.advance(monotonic())
        if end is not None or is_enough():
            return end
        wait([exchange], Wakeup(), 0.005)
    raise AssertionError("neither ended nor enough")


def open_descriptors() -> int:
    """How many this process has."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a path object per descriptor would open one more


def open_connections(transport: Transport) -> int:
    """How many sockets the transport owns, idle ones included."""
    return len(transport._connections._all)


@pytest.fixture
def transport() -> Iterator[Transport]:
    """A transport that must own nothing once it is closed."""
    transport = Transport()
    yield transport
    transport.close()
    assert open_connections(transport) == 0


# ------------------------------------------------------------------------------------------- how a call can end, one each


@pytest.mark.parametrize("behave,outcome,words", ENDINGS, ids=[behave.__name__ for behave, _, _ in ENDINGS])
def test_every_broken_answer_has_its_outcome_and_says_why(transport: Transport, behave: hostile.Behaviour, outcome: Outcome, words: str) -> None:
    """Protocol page, "Problems", last row: an answer that is none is listed with its reason; replies are bounded at 4 MiB."""
    with hostile.Server(behave) as server:
        end = failed(transport, call_to(server.port))
    assert (end.call_id, end.outcome, end.sent) == (7, outcome, True)
    assert words in end.detail
    assert open_connections(transport) == 0


SLOW = [hostile.is_silent, hostile.drips, hostile.drips_its_head, hostile.says_continue_for_ever]


@pytest.mark.parametrize("behave", SLOW, ids=[behave.__name__ for behave in SLOW])
def test_the_total_deadline_holds_whatever_drips_in(transport: Transport, behave: hostile.Behaviour) -> None:
    """Design page "architecture", Flows: the deadline of a call is kept in the read loop, where a byte now and then does not move it."""
    with hostile.Server(behave) as server:
        call = call_to(server.port, answer_s=SHORT_S)
        end = failed(transport, call)
    assert (end.outcome, end.sent) == (Outcome.TIMED_OUT, True)
    assert end.now >= call.answer_by
    assert open_connections(transport) == 0


def test_a_refused_connection_says_so_in_the_systems_words_and_sent_nothing(transport: Transport) -> None:
    """Protocol page, "Who answers what": what was surely never sent is free to go to the next node at once."""
    with hostile.closed_port() as port:
        end = failed(transport, call_to(port))
    assert (end.outcome, end.sent) == (Outcome.REFUSED, False)
    assert "errno" in end.detail


@needs_linux
def test_a_node_that_does_not_answer_connection_requests_is_given_up_at_connect_by(transport: Transport) -> None:
    """Contract of a call: TIMED_OUT when it is not connected by ``connect_by``."""
    with hostile.deaf_port() as port:
        call = call_to(port, connect_s=SHORT_S)
        end = failed(transport, call)
    assert (end.outcome, end.sent) == (Outcome.TIMED_OUT, False)
    assert call.connect_by <= end.now < call.answer_by
    assert open_connections(transport) == 0


@pytest.mark.parametrize(
    "behave", [hostile.answers_in_chunks, hostile.answers_until_the_end, hostile.says_close, hostile.is_a_web_page, hostile.redirects]
)
def test_whatever_is_whole_http_is_an_answer(transport: Transport, behave: hostile.Behaviour) -> None:
    """The transport judges HTTP and nothing else: a web page, a redirect (not followed) and an old server are for the flow to judge."""
    with hostile.Server(behave) as server:
        end = answered(transport, call_to(server.port))
        assert len(server.requests) == 1
    assert (end.status, end.content_type, end.body) in {
        (200, "", b'{"a":1}'),
        (200, "", b'{"old":true}'),
        (200, "application/json", b'{"good":true}'),
        (200, "text/html; charset=utf-8", b"<html>Hello!</html>"),
        (302, "", b""),
    }


# ---------------------------------------------------------------------------------------------------- keeping connections


def test_a_connection_is_used_again(transport: Transport) -> None:
    """Design page "architecture": a checkout at a known master is one request on a warm connection."""
    with hostile.Server(hostile.answers) as server:
        for _ in range(5):
            assert answered(transport, call_to(server.port)).body == b'{"good":true}'
        assert len(server.visits) == 1
        transport.drop_connections()
        answered(transport, call_to(server.port))
        assert len(server.visits) == 2


@pytest.mark.parametrize("behave", [hostile.says_close, hostile.answers_until_the_end])
def test_a_connection_that_the_server_will_close_is_not_kept(transport: Transport, behave: hostile.Behaviour) -> None:
    """RFC 9112, 9.3: after ``Connection: close``, and with HTTP/1.0, nothing more is sent."""
    with hostile.Server(behave) as server:
        answered(transport, call_to(server.port))
        assert open_connections(transport) == 0


def test_an_idle_connection_grows_old_and_is_not_trusted_any_more(transport: Transport) -> None:
    """Some networks drop idle connections without a word; a request on one would wait for its deadline."""
    with hostile.Server(hostile.answers) as server:
        answered(transport, call_to(server.port))
        key = ("127.0.0.1", server.port)
        assert transport._connections.take(key, monotonic() + IDLE_LIMIT_S) is None
        assert open_connections(transport) == 0


def test_a_connection_to_a_node_that_is_not_asked_any_more_is_closed_when_it_has_grown_old(transport: Transport) -> None:
    """Bounds: after a failover hundreds of clients would else keep their connections to the node that was master."""
    stack = transport._connections
    with hostile.Server(hostile.answers) as one, hostile.Server(hostile.answers) as other:
        answered(transport, call_to(one.port))
        answered(transport, call_to(other.port))
        warm = stack.take(("127.0.0.1", other.port), monotonic())
        assert warm is not None
        stack.keep(warm, monotonic())
        assert open_connections(transport) == 2
        stack.keep(warm, monotonic() + IDLE_LIMIT_S)
        assert list(stack._all) == [warm]


def test_what_is_said_after_the_end_leaves_no_connection_behind(transport: Transport) -> None:
    """A checkout that is given up because its client is closed says so when the idle connections have been closed already."""
    with hostile.Server(hostile.answers) as server:
        transport.close()
        answered(transport, call_to(server.port))
        assert open_connections(transport) == 0


def test_the_stack_of_idle_connections_is_bounded_and_the_warmest_is_used(transport: Transport) -> None:
    """Bounds: a burst of threads leaves no more than a few dozen connections behind."""
    stack = transport._connections
    with hostile.Server(hostile.is_silent) as server:
        opened = [stack.open(("127.0.0.1", server.port), socket.AF_INET) for _ in range(IDLE_PER_NODE + 3)]
        for connection in opened:
            connection.sock.connect_ex(("127.0.0.1", server.port))
            stack.keep(connection, monotonic())
        assert open_connections(transport) == IDLE_PER_NODE
        assert stack.take(opened[0].key, monotonic()) is opened[IDLE_PER_NODE - 1]
        stack.close(opened[IDLE_PER_NODE - 1])


def test_a_connection_in_use_while_all_are_dropped_is_not_kept_afterwards(transport: Transport) -> None:
    """Design page "architecture", Clocks: after a sleep all connections are dropped; also the one whose answer is just coming."""
    are_dropped = threading.Event()

    def answers_late(visit: hostile.Visit) -> None:
        while visit.read_request():
            are_dropped.wait(LONG_S)
            visit.send(hostile.GOOD)

    with hostile.Server(answers_late) as server:
        exchange = transport.exchange(call_to(server.port), Wakeup())
        moved_on(exchange, server.was_asked.is_set)
        transport.drop_connections()
        are_dropped.set()
        assert isinstance(moved_on(exchange, lambda: False), Answered)
        assert open_connections(transport) == 0


def test_an_idle_connection_that_the_server_closed_costs_nobody_a_failure(transport: Transport) -> None:
    """Protocol page: a failure on a reused connection before the first byte of an answer is asked again there and counts against nothing."""
    with hostile.Server(hostile.answers_once) as server:
        for _ in range(5):
            answered(transport, call_to(server.port))
        assert len(server.visits) == 5


def test_a_reused_connection_that_breaks_under_the_request_is_asked_again_on_a_new_one(transport: Transport) -> None:
    """The same, where the end comes only after the request has gone out."""

    def breaks_at_the_second_request(visit: hostile.Visit) -> None:
        visit.read_request()
        visit.send(hostile.GOOD)
        visit.read_request()

    with hostile.Server(breaks_at_the_second_request) as server:
        answered(transport, call_to(server.port))
        second = answered(transport, call_to(server.port))
        assert (len(server.visits), len(server.requests)) == (2, 3)
    assert second.body == b'{"good":true}'


def test_a_request_that_went_out_on_a_dying_connection_stays_sent_when_the_node_then_refuses(transport: Transport) -> None:
    """``sent`` is False only when it is sure that no byte left: the first connection had taken them."""
    served = threading.Event()

    def serve_one(listener: socket.socket) -> None:
        sock, _ = listener.accept()
        visit = hostile.Visit(sock, idle_server, 0)
        visit.read_request()
        visit.send(hostile.GOOD)
        visit.read_request()
        listener.close()
        visit.reset()
        served.set()

    idle_server = hostile.Server(hostile.is_silent)  # only keeps the books of the visit
    with idle_server:
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        thread = threading.Thread(target=serve_one, args=(listener,))
        thread.start()
        answered(transport, call_to(port))
        end = failed(transport, call_to(port))
        assert served.wait(5)
        thread.join(5)
    assert (end.outcome, end.sent) == (Outcome.REFUSED, True)


def test_bytes_that_came_beyond_an_answer_are_never_taken_for_the_next(transport: Transport) -> None:
    """A second answer to one request would be read as the answer to the next one, for another lease."""
    with hostile.Server(hostile.answers_twice) as server:
        for _ in range(3):
            assert answered(transport, call_to(server.port)).body == b'{"good":true}'


def test_bytes_that_come_while_a_connection_is_idle_are_never_taken_for_an_answer(transport: Transport) -> None:
    """The same, where the second answer comes late."""
    is_idle = threading.Event()

    def answers_again_later(visit: hostile.Visit) -> None:
        visit.read_request()
        visit.send(hostile.GOOD)
        is_idle.wait(LONG_S)
        visit.send(hostile.GOOD.replace(b"true", b"null"))
        visit.wait_end()

    with hostile.Server(answers_again_later) as server:
        answered(transport, call_to(server.port))
        [idle] = transport._connections._all
        is_idle.set()
        select.select([idle.sock], [], [], LONG_S)
        assert answered(transport, call_to(server.port)).body == b'{"good":true}'
        assert len(server.visits) == 2


def test_a_reply_with_bytes_beyond_it_leaves_no_connection_to_use() -> None:
    """What was read with the answer is not in the socket any more, where it would be seen before the next request."""
    for beyond, leaves_open in ((b"", True), (b"H", False)):
        reply = Reply("GET")
        assert reply.feed(hostile.GOOD + beyond)
        assert reply.leaves_open is leaves_open


def test_silence_on_a_reused_connection_is_not_asked_again(transport: Transport) -> None:
    """Asked again is what failed; a node that hangs has heard the request, and the time is up."""

    def answers_then_hangs(visit: hostile.Visit) -> None:
        visit.read_request()
        visit.send(hostile.GOOD)
        visit.read_request()
        visit.wait_end()

    with hostile.Server(answers_then_hangs) as server:
        answered(transport, call_to(server.port))
        end = failed(transport, call_to(server.port, answer_s=SHORT_S))
        assert len(server.visits) == 1
    assert (end.outcome, end.sent) == (Outcome.TIMED_OUT, True)
    assert end.detail.startswith("no answer within")


@needs_descriptors
def test_a_thousand_exchanges_leak_nothing() -> None:
    """Bounds: one connection serves them all; no descriptor and no object is left of a call."""
    transport = Transport()
    with hostile.Server(hostile.answers) as server:
        answered(transport, call_to(server.port))
        gc.collect()
        descriptors, objects = open_descriptors(), len(gc.get_objects())
        for _ in range(1000):
            answered(transport, call_to(server.port))
        gc.collect()
        server.requests.clear()
        assert open_descriptors() == descriptors
        assert len(gc.get_objects()) - objects < 100
        assert len(server.visits) == 1
    transport.close()
    assert open_connections(transport) == 0


@needs_descriptors
@pytest.mark.parametrize("behave", [hostile.is_silent, hostile.drips, hostile.never_stops])
def test_a_cancelled_call_leaves_no_descriptor_and_its_server_hears_of_it(transport: Transport, behave: hostile.Behaviour) -> None:
    """Protocol page, Parking: a parked request whose connection closes is dropped, so closing has to reach the server."""
    before = open_descriptors()
    with hostile.Server(behave) as server:
        exchange = transport.exchange(call_to(server.port), Wakeup())
        moved_on(exchange, server.was_asked.is_set)
        exchange.cancel()
        assert open_connections(transport) == 0
        if behave is hostile.is_silent:
            assert server.saw_end.wait(5)
    assert open_descriptors() == before


def test_calls_on_one_thread_do_not_wait_for_each_other(transport: Transport) -> None:
    """Two exchanges side by side: the second is answered while the first is still open."""
    with hostile.Server(hostile.is_silent) as silent, hostile.Server(hostile.answers) as good:
        first = transport.exchange(call_to(silent.port), Wakeup())
        moved_on(first, silent.was_asked.is_set)
        assert answered(transport, call_to(good.port)).status == 200
        assert first.advance(monotonic()) is None
        first.cancel()


# ------------------------------------------------------------------------------------------------------- names, addresses


def test_a_name_lookup_that_hangs_is_abandoned_at_the_deadline() -> None:
    """Design page "architecture": names are looked up on a daemon thread of ours, abandoned at the deadline."""
    gate = threading.Event()

    def hangs(_host: str, _flags: int) -> tuple[Address, ...]:
        gate.wait(30)
        raise OSError(0, "woken at the end of the test")

    transport = Transport(resolve=hangs)
    call = call_to(27000, host="lic1.example", connect_s=SHORT_S)
    end = failed(transport, call)
    gate.set()
    assert (end.outcome, end.sent) == (Outcome.TIMED_OUT, False)
    assert "lic1.example" in end.detail
    assert call.connect_by <= end.now < call.answer_by


def test_the_end_of_a_lookup_ends_the_wait_of_all_who_asked() -> None:
    """One question per name at a time; each that joined it is woken."""
    gate, asked = threading.Event(), []

    def waits(host: str, _flags: int) -> tuple[Address, ...]:
        asked.append(host)
        gate.wait(LONG_S)
        return ((socket.AF_INET, ("127.0.0.1", 0)),)

    names = Names(waits)
    first, second, third = Wakeup(), Wakeup(), Wakeup()
    lookup = names.look_up("lic1.example", first)
    assert names.look_up("lic1.example", second) is lookup
    names.leave(names.look_up("lic1.example", third), third)
    gate.set()
    for wakeup in (first, second):
        assert -1 in wait([], wakeup, LONG_S)
    assert lookup.is_done
    assert asked == ["lic1.example"]
    assert not wait([], third, 0.0), "who has left is not woken"
    for wakeup in (first, second, third):
        wakeup.close()


def test_an_unknown_name_is_told_in_the_resolvers_words() -> None:
    """Protocol page, last row of "Problems": name unknown."""

    def knows_nobody(_host: str, _flags: int) -> tuple[Address, ...]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    end = failed(Transport(resolve=knows_nobody), call_to(27000, host="lic1.example"))
    assert (end.outcome, end.sent, end.detail) == (Outcome.NAME_UNKNOWN, False, "lic1.example: Name or service not known")


def test_a_resolver_that_breaks_in_another_way_ends_the_lookup_all_the_same() -> None:
    """What a stand-in raises by mistake is told by the thread's own hook; nobody waits for it."""

    def breaks(_host: str, _flags: int) -> tuple[Address, ...]:
        raise ZeroDivisionError

    told = threading.Event()
    threading.excepthook, hook = lambda _: told.set(), threading.excepthook
    try:
        end = failed(Transport(resolve=breaks), call_to(27000, host="lic1.example"))
        assert told.wait(LONG_S)
    finally:
        threading.excepthook = hook
    assert end.outcome is Outcome.NAME_UNKNOWN


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".example", "caf\u00e9..x"])
def test_a_name_that_cannot_be_one_is_unknown(host: str) -> None:
    """The resolver's own code refuses such labels with other errors than it has for unknown names."""

    def strict(host: str, _flags: int) -> tuple[Address, ...]:
        host.encode("idna")
        raise AssertionError("not a bad name")

    assert failed(Transport(resolve=strict), call_to(27000, host=host)).outcome is Outcome.NAME_UNKNOWN


def test_known_addresses_serve_while_the_resolver_is_late() -> None:
    """Design page "architecture": the last good addresses serve when it is late."""
    gate, asked = threading.Event(), []

    def slower_each_time(host: str, _flags: int) -> tuple[Address, ...]:
        asked.append(host)
        if len(asked) > 1:
            gate.wait(30)
        return ((socket.AF_INET, ("127.0.0.1", 0)),)

    transport = Transport(resolve=slower_each_time)
    with hostile.Server(hostile.says_close) as server:
        answered(transport, call_to(server.port, host="lic1.example"))
        answered(transport, call_to(server.port, host="lic1.example"))  # fresh: not asked again
        assert len(asked) == 1
        wakeup, now = Wakeup(), monotonic() + 60
        exchange = transport.exchange(call_to(server.port, host="lic1.example", now=now), wakeup)
        assert exchange.advance(now) is None
        assert len(server.visits) == 2
        assert exchange.due == pytest.approx(now + 0.05)
        exchange.advance(exchange.due)
        assert exchange.fd >= 0, "connecting, though nobody has answered"
        exchange.cancel()
        wakeup.close()
    gate.set()
    assert len(asked) == 2


def test_the_addresses_of_a_name_are_tried_in_turn_and_the_good_one_first_next_time() -> None:
    """A name with several addresses: one that refuses costs a round trip, once."""
    good, bad = (socket.AF_INET, ("127.0.0.1", 0)), (socket.AF_INET, ("127.0.0.2", 0))
    transport = Transport(resolve=lambda _host, _flags: (bad, good))
    with hostile.Server(hostile.says_close) as server:
        answered(transport, call_to(server.port, host="lic1.example"))
        assert transport._names.known("lic1.example") == (good, bad)
        answered(transport, call_to(server.port, host="lic1.example"))
        assert len(server.visits) == 2
    end = failed(transport, call_to(server.port, host="lic1.example"))
    assert end.outcome is Outcome.REFUSED
    assert end.detail.startswith("127.0.0.1: ")
    assert "; 127.0.0.2: " in end.detail


def test_of_several_failures_the_refusal_counts() -> None:
    """A refusal says most: something is there, and nothing of the request can have left."""
    refuses, unreachable = (socket.AF_INET, ("127.0.0.1", 0)), (socket.AF_INET, ("255.255.255.255", 0))  # no TCP to everybody
    for order in ((refuses, unreachable), (unreachable, refuses)):
        transport = Transport(resolve=lambda _host, _flags, order=order: order)  # type: ignore[misc]
        with hostile.closed_port() as port:
            end = failed(transport, call_to(port, host="lic1.example"))
        assert (end.outcome, end.sent) == (Outcome.REFUSED, False)
        assert "255.255.255.255: " in end.detail


@needs_linux
def test_an_address_that_swallows_requests_leaves_the_next_its_share_of_the_time() -> None:
    """Each address has an equal share of the time that is left to connect."""
    bad, good = (socket.AF_INET, ("127.0.0.2", 0)), (socket.AF_INET, ("127.0.0.1", 0))
    transport = Transport(resolve=lambda _host, _flags: (bad, good))
    with hostile.Server(hostile.answers) as server, hostile.deaf_port("127.0.0.2", server.port):
        call = call_to(server.port, host="lic1.example", connect_s=2 * SHORT_S)
        assert answered(transport, call).now < call.connect_by
    transport.close()


@needs_linux
def test_a_connection_to_oneself_is_known_for_what_it_is() -> None:
    """On loopback a request to a free ephemeral port can come from that very port; kept, it would hold the port of a node that wants to restart."""
    with hostile.closed_port() as port:
        pass
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", port))
        sock.connect(("127.0.0.1", port))
        assert is_own_echo(sock)
    with hostile.Server(hostile.is_silent) as server, socket.create_connection(("127.0.0.1", server.port)) as sock:
        assert not is_own_echo(sock)


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 in this Python")
def test_ipv6_is_spoken_and_spelled_in_brackets(transport: Transport) -> None:
    """RFC 9110, 7.2: Host holds an IPv6 address in brackets."""
    try:
        server = hostile.Server(hostile.answers, host="::1")
    except OSError:
        pytest.skip("this machine has no ::1")
    with server:
        answered(transport, call_to(server.port, host="::1"))
        assert f"Host: [::1]:{server.port}\r\n".encode() in server.requests[0]


# ------------------------------------------------------------------------------------------------------------ the request


def test_the_request_is_what_the_protocol_wants_and_nothing_more() -> None:
    """RFC 9112, and the protocol page: JSON in, JSON or problem details out."""
    request = HttpRequest(method="PUT", target="/v1/checkouts/x", body=b"{}", headers=(("Prefer", "wait=20"), ("After-Term", "7")))
    assert encoded(call_to(27000, request, host="Lic1.example")).split(b"\r\n") == [
        b"PUT /v1/checkouts/x HTTP/1.1",
        b"Host: Lic1.example:27000",
        f"User-Agent: {USER_AGENT}".encode(),
        b"Accept: application/json, application/problem+json",
        b"Prefer: wait=20",
        b"After-Term: 7",
        b"Content-Type: application/json",
        b"Content-Length: 2",
        b"",
        b"{}",
    ]
    assert b"Content" not in encoded(call_to(27000, GET))
    assert b"Content-Length: 0\r\n" in encoded(call_to(27000, HttpRequest(method="POST", target="/v1/returns")))


def test_the_user_agent_names_this_version() -> None:
    """The version stands in pyproject.toml; a constant, since asking the installed package costs tens of milliseconds in a cold process."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"{project['name']}/{project['version']}" == USER_AGENT


def test_hosts_beyond_ascii_and_link_local_zones_are_spelled_for_the_wire() -> None:
    """RFC 5890 for names; RFC 6874: a zone means something on this machine only."""
    assert b"Host: xn--lizenz-gva.example:27000\r\n" in encoded(call_to(27000, host="lizenz\u00e9.example"))
    assert b"Host: [fe80::1]:27000\r\n" in encoded(call_to(27000, host="fe80::1%eth0"))


@pytest.mark.parametrize("target", ["/a\r\nX: y", "/a\nX: y", "/a\rb"])
def test_a_line_break_cannot_be_smuggled_into_the_head(target: str) -> None:
    """RFC 9112, 11.1: what ends a line in the wrong place makes another request."""
    with pytest.raises(ValueError, match="line break"):
        encoded(call_to(27000, HttpRequest(method="GET", target=target)))


def test_a_request_larger_than_the_sockets_buffers_goes_out_whole(transport: Transport) -> None:
    """Requests have at most 64 KiB; even one that the system takes in pieces is sent to its end."""
    body = b"x" * 8_000_000
    with hostile.Server(hostile.answers) as server:
        answered(transport, call_to(server.port, HttpRequest(method="POST", target="/v1/returns", body=body)))
        assert server.requests[0].endswith(body)


# ----------------------------------------------------------------------------------------------------------- after a fork


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_neither_uses_nor_closes_its_parents_connection(transport: Transport) -> None:
    """Design page "architecture": after fork no socket is used or politely closed."""
    with hostile.Server(hostile.answers) as server:
        answered(transport, call_to(server.port))
        pid = os.fork()
        if pid == 0:
            with_status = 1
            try:
                transport.forget()
                with_status = int(open_connections(transport) != 0 or not isinstance(ask(transport, call_to(server.port)), Answered))
                transport.close()
            finally:
                os._exit(with_status)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        answered(transport, call_to(server.port))
        assert len(server.visits) == 2, "the child's own, and the parent's first one, still good"


def test_the_clock_counts_and_never_goes_back() -> None:
    """Design page "architecture", Clocks."""
    readings = [monotonic() for _ in range(1000)]
    assert readings == sorted(readings)
