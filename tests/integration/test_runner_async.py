"""The runner on an event loop: flows, calls and deadlines over real sockets on loopback, on the loop of every test's own."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import threading
import time
import warnings
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from palclient.core.flow import Answered, Call, Event, Failed, Flow, HttpRequest, Outcome, Step, Woke
from palclient.errors import ClientClosed, PalError
from palclient.models import Endpoint
from palclient.runner_async import Bell, Drive, Relay, run, turn
from palclient.transport import Wakeup, monotonic
from palclient.transport.async_injected import AsyncInjectedTransport
from palclient.transport.async_transport import AsyncTransport
from palclient.transport.connections import IDLE_LIMIT_S, IDLE_PER_NODE
from palclient.transport.names import Address
from tests import hostile
from tests.endings import ENDINGS

LONG_S = 20.0  # a deadline that is not meant to come
SHORT_S = 0.15
JOIN_S = 5.0
TURNS = 2000

GET = HttpRequest(method="GET", target="/v1/status")
needs_descriptors = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open descriptors are counted in /proc")


def call_to(port: int, call_id: int = 0, *, host: str = "127.0.0.1", connect_s: float = LONG_S, answer_s: float = LONG_S) -> Call:
    """A call with deadlines so many seconds from now."""
    now = monotonic()
    endpoint = Endpoint(host=host, port=port)
    return Call(id=call_id, node=0, endpoint=endpoint, request=GET, connect_by=now + connect_s, answer_by=now + answer_s)


def single(call: Call) -> Flow[Answered | Failed]:
    """A flow of one call, which it returns the end of."""
    event = yield Step(start=(call,))
    assert isinstance(event, Answered | Failed)
    return event


async def answered(transport: AsyncTransport, call: Call) -> Answered:
    """The answer to one call."""
    end = await run(single(call), transport)
    assert isinstance(end, Answered), end
    return end


async def failed(transport: AsyncTransport, call: Call) -> Failed:
    """How one call failed."""
    end = await run(single(call), transport)
    assert isinstance(end, Failed), end
    return end


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something is so."""
    async with asyncio.timeout(JOIN_S):
        while not condition():  # noqa: ASYNC110 - servers on other threads bring it about
            await asyncio.sleep(0.001)


def open_connections(transport: AsyncTransport) -> int:
    """How many connections the transport owns, on all loops."""
    return sum(len(connections.all) for connections in transport._by_loop.values())


def on_a_loop(test: Callable[[AsyncTransport], Awaitable[None]]) -> None:
    """Run a test on a loop of its own, with a transport that must own nothing when the loop has ended."""
    transport = AsyncTransport()
    told: list[dict[str, object]] = []  # by callbacks that failed

    async def whole() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        await test(transport)

    asyncio.run(whole())
    assert not transport._by_loop
    assert not told


# ------------------------------------------------------------------------------------------- how a call can end, one each


@pytest.mark.parametrize("behave,outcome,words", ENDINGS, ids=[behave.__name__ for behave, _, _ in ENDINGS])
def test_every_broken_answer_has_its_outcome_as_on_threads(behave: hostile.Behaviour, outcome: Outcome, words: str) -> None:
    """Protocol page, "Problems", last row; the same table."""

    async def test(transport: AsyncTransport) -> None:
        with hostile.Server(behave) as server:
            end = await failed(transport, call_to(server.port))
            assert (end.outcome, end.sent) == (outcome, True)
            assert words in end.detail
            await until(lambda: open_connections(transport) == 0)

    on_a_loop(test)


WHOLE: list[tuple[hostile.Behaviour, bytes]] = [
    (hostile.answers, b'{"good":true}'),
    (hostile.says_close, b'{"good":true}'),
    (hostile.answers_in_chunks, b'{"a":1}'),
    (hostile.answers_until_the_end, b'{"old":true}'),
    (hostile.is_a_web_page, b"<html>Hello!</html>"),
]


@pytest.mark.parametrize("behave,body", WHOLE, ids=[behave.__name__ for behave, _ in WHOLE])
def test_every_way_of_framing_an_answer_is_read(behave: hostile.Behaviour, body: bytes) -> None:
    """RFC 9112, 6: a length, chunks, or the end of the connection."""

    async def test(transport: AsyncTransport) -> None:
        with hostile.Server(behave) as server:
            assert (await answered(transport, call_to(server.port))).body == body

    on_a_loop(test)


def test_the_end_of_every_call_is_logged_as_on_threads(caplog: pytest.LogCaptureFixture) -> None:
    """Issue "the client in full": under ``PALCLIENT_LOG=debug`` every call is shown, answered or not."""

    async def test(transport: AsyncTransport) -> None:
        with hostile.Server(hostile.answers) as server:
            await answered(transport, call_to(server.port))
        await failed(transport, call_to(server.port))

    with caplog.at_level(logging.DEBUG, logger="palclient"):
        on_a_loop(test)
    ends = [record.getMessage() for record in caplog.records if "/v1/status" in record.getMessage()]
    assert len(ends) == 2
    assert ends[0].endswith(": 200")
    assert "refused" in ends[1]


@pytest.mark.parametrize("behave", [hostile.drips, hostile.drips_its_head, hostile.is_silent, hostile.says_continue_for_ever])
def test_the_deadline_is_for_the_whole_call(behave: hostile.Behaviour) -> None:
    """Design page "architecture": a server that drips bytes defeats timeouts per read; here the deadline is for the whole."""

    async def test(transport: AsyncTransport) -> None:
        with hostile.Server(behave) as server:
            began = monotonic()
            end = await failed(transport, call_to(server.port, answer_s=SHORT_S))
            assert (end.outcome, end.sent) == (Outcome.TIMED_OUT, True)
            assert SHORT_S <= monotonic() - began < SHORT_S + 1

    on_a_loop(test)


def test_a_refusal_is_told_at_once_and_nothing_was_sent() -> None:
    """Protocol page: what was surely never sent is free to go to the next node."""

    async def test(transport: AsyncTransport) -> None:
        with hostile.closed_port() as port:
            end = await failed(transport, call_to(port))
            assert (end.outcome, end.sent) == (Outcome.REFUSED, False)

    on_a_loop(test)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only Linux drops connection requests when the queue is full")
def test_a_node_that_swallows_connection_requests_is_given_up_at_connect_by() -> None:
    """Contract of a runner: not connected by ``connect_by``."""

    async def test(transport: AsyncTransport) -> None:
        with hostile.deaf_port() as port:
            end = await failed(transport, call_to(port, connect_s=SHORT_S))
            assert (end.outcome, end.sent) == (Outcome.TIMED_OUT, False)
            assert "no answer to the connection request" in end.detail

    on_a_loop(test)


# ---------------------------------------------------------------------------------------------------------- connections


def test_a_connection_is_used_again_and_a_second_answer_never_believed() -> None:
    """Protocol page: keep-alive; bytes that nobody asked for are not the answer to the next request."""

    async def test(transport: AsyncTransport) -> None:
        with hostile.Server(hostile.answers) as good, hostile.Server(hostile.answers_twice) as odd:
            for server in (good, odd):
                for number in range(3):
                    assert (await answered(transport, call_to(server.port, number))).body == b'{"good":true}'
            assert (len(good.visits), len(odd.visits)) == (1, 3)

    on_a_loop(test)


def test_an_idle_connection_that_was_closed_meanwhile_costs_nothing() -> None:
    """Protocol page: a failure on a reused connection before the first byte is asked again there on a new one."""

    async def test(transport: AsyncTransport) -> None:
        with hostile.Server(hostile.answers_once) as server:
            for number in range(5):
                await answered(transport, call_to(server.port, number))
                if number % 2:  # else the end may not have been heard of yet when the next request goes out
                    await until(lambda: open_connections(transport) == 0)
            assert len(server.visits) == 5

    on_a_loop(test)


def closes_the_second_time(visit: hostile.Visit) -> None:
    """Answers once on each connection, then takes a request and closes without a word."""
    if visit.read_request():
        visit.send(hostile.GOOD)
        visit.read_request()


def test_a_request_that_a_reused_connection_swallowed_is_asked_again_on_a_new_one() -> None:
    """Protocol page: it counts against nothing; once, since the new connection is not a reused one."""

    async def test(transport: AsyncTransport) -> None:
        with hostile.Server(closes_the_second_time) as server:
            await answered(transport, call_to(server.port, 1))
            await answered(transport, call_to(server.port, 2))
            assert len(server.requests) == 3
            assert len(server.visits) == 2
        with hostile.Server(hostile.hangs_up) as server:
            end = await failed(transport, call_to(server.port, 3))
            assert (end.outcome, len(server.requests)) == (Outcome.CUT_SHORT, 1)

    on_a_loop(test)


def test_bytes_that_come_while_a_connection_is_idle_are_not_the_next_answer() -> None:
    """Transport: such a connection is closed."""
    is_idle = threading.Event()

    def says_more(visit: hostile.Visit) -> None:
        visit.read_request()
        visit.send(hostile.GOOD)
        if visit.number == 0:
            is_idle.wait(JOIN_S)
            visit.send(hostile.GOOD.replace(b"true}", b"null}"))
        visit.wait_end()

    async def test(transport: AsyncTransport) -> None:
        with hostile.Server(says_more) as server:
            await answered(transport, call_to(server.port))
            is_idle.set()
            await until(lambda: open_connections(transport) == 0)
            assert (await answered(transport, call_to(server.port))).body == b'{"good":true}'

    on_a_loop(test)


def test_calls_at_once_have_a_connection_each_and_the_surplus_is_not_kept() -> None:
    """Transport: at most 32 idle connections per node."""

    async def test(transport: AsyncTransport) -> None:
        with hostile.Server(hostile.answers) as server:
            await asyncio.gather(*(answered(transport, call_to(server.port, n)) for n in range(IDLE_PER_NODE + 8)))
            await until(lambda: open_connections(transport) == IDLE_PER_NODE)

    on_a_loop(test)


def test_a_connection_to_a_node_that_is_not_asked_any_more_is_closed_when_it_has_grown_old() -> None:
    """Bounds: as of a transport on threads."""

    async def test(transport: AsyncTransport) -> None:
        with hostile.Server(hostile.answers) as one, hostile.Server(hostile.answers) as other:
            await answered(transport, call_to(one.port))
            await answered(transport, call_to(other.port))
            (connections,) = transport._by_loop.values()
            warm = connections.take(("127.0.0.1", other.port), monotonic())
            assert warm is not None
            connections.keep(warm, monotonic())
            assert open_connections(transport) == 2
            connections.keep(warm, monotonic() + IDLE_LIMIT_S)
            await until(lambda: connections.all == {warm})

    on_a_loop(test)


def test_what_is_being_connected_when_the_transport_is_closed_is_closed_with_its_answer() -> None:
    """A checkout that is given up because its client is closed says so on a new connection, which nobody would close once the transport has ended."""

    async def test(transport: AsyncTransport) -> None:
        with hostile.Server(hostile.answers) as server:
            last_word = asyncio.create_task(answered(transport, call_to(server.port)))
            await turn()
            (connections,) = transport._by_loop.values()
            transport.close()
            await turn()
            assert (connections._room, connections.all) == (0, set()), "it is still being connected"
            assert (await last_word).body == b'{"good":true}'
            await answered(transport, call_to(server.port))
            await until(lambda: not connections.all and open_connections(transport) == 0)
            assert len(server.visits) == 2

    on_a_loop(test)


def test_connections_are_dropped_by_another_thread_and_those_in_use_when_they_have_answered() -> None:
    """Design page "architecture", Clocks: after a sleep the keeper drops all connections."""

    async def test(transport: AsyncTransport) -> None:
        with hostile.Server(hostile.answers) as server:
            await answered(transport, call_to(server.port))
            assert open_connections(transport) == 1
            await asyncio.to_thread(transport.drop_connections)
            await until(lambda: open_connections(transport) == 0)
            in_use = asyncio.create_task(answered(transport, call_to(server.port)))
            await until(lambda: open_connections(transport) == 1)
            next(iter(transport._by_loop.values())).drop_idle()
            await in_use
            await until(lambda: open_connections(transport) == 0)
            assert len(server.visits) == 2

    on_a_loop(test)


def test_the_end_of_a_loop_closes_its_connections_and_the_next_loop_has_its_own() -> None:
    """Issue: several loops in one process; connections belong to a loop."""
    transport = AsyncTransport()
    with hostile.Server(hostile.answers) as server:
        for _ in range(3):
            asyncio.run(answered(transport, call_to(server.port)))
            assert not transport._by_loop
        assert len(server.visits) == 3


@needs_descriptors
def test_a_loop_that_was_closed_without_shutting_down_leaks_no_descriptor() -> None:
    """``loop.close()`` alone tells nobody; the next loop finds out.  (asyncio's own warning about such a loop's transports is as it should be.)"""
    transport = AsyncTransport()
    counts: list[int] = []
    with warnings.catch_warnings(), hostile.Server(hostile.answers) as server:
        warnings.simplefilter("ignore", ResourceWarning)
        for _ in range(4):
            loop = asyncio.new_event_loop()
            loop.run_until_complete(answered(transport, call_to(server.port)))
            loop.close()
            counts.append(open_descriptors() - len(server.visits))  # the server has its end of each
        transport.close()
        gc.collect()
        assert len(server.visits) == 4
    assert not transport._by_loop
    assert counts[-1] <= counts[0]


def open_descriptors() -> int:
    """How many this process has."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a path object per descriptor would open one more


# ---------------------------------------------------------------------------------------------------------------- names


def test_a_lookup_that_hangs_neither_delays_the_deadline_nor_the_end_of_the_loop() -> None:
    """Design page "architecture": names are looked up on a daemon thread of ours, abandoned at the deadline."""
    gate = threading.Event()

    def hangs(_host: str, _flags: int) -> tuple[Address, ...]:
        gate.wait(30)
        return ()

    transport = AsyncTransport(hangs)
    began = monotonic()
    end = asyncio.run(failed(transport, call_to(27000, host="lic1.example", connect_s=SHORT_S)))
    assert monotonic() - began < SHORT_S + 1
    assert not transport._names._running["lic1.example"].waiting
    gate.set()
    assert (end.outcome, end.sent) == (Outcome.TIMED_OUT, False)
    assert "lic1.example was not resolved" in end.detail


def test_the_end_of_a_lookup_wakes_the_call_and_each_address_is_tried() -> None:
    """A name with several addresses: one after the other."""

    async def test(transport: AsyncTransport) -> None:
        end = await answered(transport, call_to(server.port, host="lic1.example"))
        assert end.status == 200

    def both(_host: str, _flags: int) -> tuple[Address, ...]:
        return ((socket.AF_INET, ("127.0.0.2", 0)), (socket.AF_INET, ("127.0.0.1", 0)))

    with hostile.Server(hostile.answers) as server:
        asyncio.run(test(AsyncTransport(both)))


def test_an_unknown_name_says_so() -> None:
    """Protocol page, "Problems", last row: name unknown."""

    def unknown(_host: str, _flags: int) -> tuple[Address, ...]:
        raise socket.gaierror(-2, "Name or service not known")

    end = asyncio.run(failed(AsyncTransport(unknown), call_to(27000, host="lic1.example")))
    assert (end.outcome, end.sent) == (Outcome.NAME_UNKNOWN, False)
    assert "Name or service not known" in end.detail


# ------------------------------------------------------------------------------------------------------------ one flow


def test_a_flow_without_calls_returns_its_result_and_one_that_raises_passes_its_error_on() -> None:
    """Contract of a runner."""

    def flow(calls: tuple[Call, ...]) -> Flow[str]:
        for call in calls:
            yield Step(start=(call,), wake_at=monotonic() + 0.02)
            raise PalError("no")
        return "done"

    async def test(transport: AsyncTransport) -> None:
        assert await run(flow(()), transport) == "done"
        with hostile.Server(hostile.is_silent) as server:
            with pytest.raises(PalError, match="no"):
                await run(flow((call_to(server.port),)), transport)
            await until(lambda: open_connections(transport) == 0)

    on_a_loop(test)


def test_the_first_call_that_ends_resumes_the_flow_and_the_others_go_on() -> None:
    """Contract of a runner: exactly one event at a time, each with the identity of its call."""

    async def test(transport: AsyncTransport) -> None:
        with hostile.Server(hostile.is_silent) as silent, hostile.Server(hostile.answers) as good:

            def flow() -> Flow[list[Event]]:
                events = [(yield Step(start=(call_to(silent.port, 1), call_to(good.port, 2))))]
                events.append((yield Step(start=(call_to(good.port, 3), call_to(good.port, 4)))))
                events.append((yield Step()))
                return events

            events = await run(flow(), transport)
            assert sorted(event.call_id for event in events if isinstance(event, Answered)) == [2, 3, 4]

    on_a_loop(test)


def test_wake_at_comes_while_a_call_is_pending_and_a_cancelled_call_is_heard_of_no_more() -> None:
    """Contract of a runner: ``Woke`` once ``wake_at`` has come, never before; of a cancelled call nothing more is heard."""

    async def test(transport: AsyncTransport) -> None:
        with hostile.Server(hostile.is_silent) as server:

            def flow() -> Flow[list[Event]]:
                began = monotonic()
                events = [(yield Step(start=(call_to(server.port),), wake_at=began + 0.03))]
                events.append((yield Step(cancel=(0,), wake_at=began + 0.06)))
                events.append((yield Step(cancel=(0,), wake_at=began + 0.07)))  # twice is once
                assert [event.now >= began + after for event, after in zip(events, (0.03, 0.06, 0.07), strict=True)] == [True] * 3
                return events

            assert [type(event) for event in await run(flow(), transport)] == [Woke] * 3

    on_a_loop(test)


def test_an_answer_that_crosses_its_cancelling_is_not_told() -> None:
    """Contract of a runner: two answers in one turn of the loop; the flow cancels the second when it hears of the first."""

    async def test(transport: AsyncTransport) -> None:
        with hostile.Server(hostile.answers) as server:
            await asyncio.gather(*(answered(transport, call_to(server.port, n)) for n in range(2)))

            def flow() -> Flow[list[Event]]:
                first = yield Step(start=(call_to(server.port, 1), call_to(server.port, 2)))
                assert isinstance(first, Answered)
                return [first, (yield Step(cancel=(3 - first.call_id,), wake_at=monotonic() + 0.05))]

            drive = Drive(flow(), transport)
            task = asyncio.create_task(drive.run())
            await turn()
            while len(server.requests) < 4:
                time.sleep(0.001)  # noqa: ASYNC251
            first, second = await task
            assert isinstance(first, Answered)
            assert isinstance(second, Woke)

    on_a_loop(test)


def test_a_drive_is_stopped_with_an_error() -> None:
    """A client that is closed ends what is under way."""

    async def test(transport: AsyncTransport) -> None:
        with hostile.Server(hostile.is_silent) as server:
            drive = Drive(single(call_to(server.port)), transport)
            task = asyncio.create_task(drive.run())
            await until(server.was_asked.is_set)
            drive.stop(ClientClosed("closed"))
            with pytest.raises(ClientClosed):
                await task
            await until(lambda: open_connections(transport) == 0)

    on_a_loop(test)


def steps_of(make: Callable[[], Coroutine[Any, Any, object]], cancel_at: int) -> Callable[[AsyncTransport], Awaitable[None]]:
    """A test that starts a task and cancels it after so many turns of the loop."""

    async def test(_: AsyncTransport) -> None:
        task = asyncio.create_task(make())
        for _number in range(cancel_at):
            await turn()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    return test


@pytest.mark.parametrize("cancel_at", range(14))
def test_a_task_that_is_cancelled_at_any_turn_leaves_no_connection_and_no_task(cancel_at: int) -> None:
    """Issue: cancellation at any point; here before and while connecting, asking, reading."""

    async def test(transport: AsyncTransport) -> None:
        with hostile.Server(hostile.is_silent) as server:
            await steps_of(lambda: run(single(call_to(server.port)), transport), cancel_at)(transport)
            await until(lambda: open_connections(transport) == 0 and len(asyncio.all_tasks()) == 1)
            server.saw_end.wait(JOIN_S if server.was_asked.is_set() else 0)

    on_a_loop(test)


def test_a_call_ends_at_once_when_the_task_that_connects_is_cancelled_by_others() -> None:
    """``asyncio.run`` cancels all tasks at its end; one that is shielded, or cleans up, must not wait for a connection that nobody makes."""
    gate = threading.Event()

    def hangs(_host: str, _flags: int) -> tuple[Address, ...]:
        gate.wait(30)
        return ()

    async def test() -> Answered | Failed:
        asking = asyncio.create_task(run(single(call_to(27000, host="lic1.example")), transport))
        await turn()
        await turn()
        [connecting] = [task for task in asyncio.all_tasks() if task.get_name().startswith("palclient-connect")]
        connecting.cancel()
        async with asyncio.timeout(JOIN_S):
            return await asking

    transport = AsyncTransport(hangs)
    end = asyncio.run(test())
    assert not transport._names._running["lic1.example"].waiting
    gate.set()
    assert isinstance(end, Failed)
    assert (end.outcome, end.sent) == (Outcome.UNREACHABLE, False)


# ------------------------------------------------------------------------------------------------------ bells and relays


def test_a_bell_is_rung_by_another_thread_and_remembers() -> None:
    """The end of a look-up, or an event, wakes a coroutine; a ring before the wait counts."""

    async def test(_: AsyncTransport) -> None:
        bell = Bell()
        await asyncio.to_thread(bell.nudge)
        began = monotonic()
        await bell.wait(LONG_S)
        await bell.wait(0.02)
        assert 0.02 <= monotonic() - began + 0.001 < 2

    on_a_loop(test)


def test_a_relay_keeps_the_order_of_many_and_counts_what_it_dropped() -> None:
    """Issue: events are delivered on the loop, in order; the queue is bounded at 1,000, the oldest dropped and counted."""

    async def test(_: AsyncTransport) -> None:
        told: list[int] = []
        dropped: list[int] = []
        on_threads: set[int] = set()

        def take(number: int) -> None:
            told.append(number)
            on_threads.add(threading.get_ident())

        def tell() -> None:
            for number in range(500):
                relay(number)

        relay = Relay(take, lambda: dropped.append(1))
        relay.follow()
        await asyncio.to_thread(tell)
        await until(lambda: len(told) == 500)
        for number in range(500, 1600):  # the loop does not come round
            relay(number)
        await turn()
        assert told == [*range(500), *range(600, 1600)]
        assert len(dropped) == 100
        assert on_threads == {threading.get_ident()}

    on_a_loop(test)


def test_what_comes_when_the_loop_has_ended_is_delivered_on_the_next() -> None:
    """The keeper tells of a lease between two ``asyncio.run``, and before the first."""
    told: list[int] = []
    relay = Relay(told.append, told.clear)

    async def listens() -> None:
        relay.follow()
        await turn()

    for number in range(3):
        relay(number)
        asyncio.run(listens())
        assert told == list(range(number + 1))


# -------------------------------------------------------------------------------------------------- injected transports


@pytest.fixture
def hanging() -> httpx.MockTransport:
    """A transport that never answers."""

    async def handler(_request: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    return httpx.MockTransport(handler)


def test_an_injected_transport_is_asked_on_the_loop_and_cancelled_at_the_deadline(hanging: httpx.MockTransport) -> None:
    """Public face: an ``httpx.AsyncBaseTransport`` replaces ours."""

    async def good(request: httpx.Request) -> httpx.Response:
        await turn()
        return httpx.Response(201, json={"host": request.headers["host"]})

    async def test() -> None:
        end = await run(single(call_to(27000, host="lic1.example")), AsyncInjectedTransport(httpx.MockTransport(good)))
        assert isinstance(end, Answered)
        assert (end.status, end.body.replace(b" ", b"")) == (201, b'{"host":"lic1.example:27000"}')
        late = await run(single(call_to(27000, answer_s=0.05)), AsyncInjectedTransport(hanging))
        assert isinstance(late, Failed)
        assert late.outcome is Outcome.TIMED_OUT
        await until(lambda: len(asyncio.all_tasks()) == 1)

    asyncio.run(test())


def test_the_keeper_asks_an_injected_transport_on_its_loop_and_is_told_when_that_has_ended() -> None:
    """The transport is the loop's; the keeper's thread may not touch it."""
    threads: set[int] = set()

    async def good(_request: httpx.Request) -> httpx.Response:
        threads.add(threading.get_ident())
        return httpx.Response(200)

    transport = AsyncInjectedTransport(httpx.MockTransport(good))
    wakeup = Wakeup()

    async def test() -> None:
        await run(single(call_to(27000)), transport)
        exchange = transport.exchange(call_to(27000), wakeup)
        await asyncio.to_thread(exchange.advance, monotonic())
        await until(lambda: isinstance(exchange.advance(monotonic()), Answered))

    asyncio.run(test())
    assert threads == {threading.get_ident()}
    end = transport.exchange(call_to(27000), wakeup).advance(monotonic())
    wakeup.close()
    assert isinstance(end, Failed)
    assert "does not run any more" in end.detail


def test_the_errors_of_an_injected_transport_become_outcomes() -> None:
    """Protocol page, "Problems", last row, as for threads."""

    def refuses(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("unplugged", request=request)

    async def test() -> Answered | Failed:
        return await run(single(call_to(27000)), AsyncInjectedTransport(httpx.MockTransport(refuses)))

    end = asyncio.run(test())
    assert isinstance(end, Failed)
    assert (end.outcome, end.sent, end.detail) == (Outcome.UNREACHABLE, False, "unplugged")


def test_a_call_with_its_own_deadline_does_not_wait_for_another() -> None:
    """One timer serves all calls of a flow: the first deadline counts."""

    async def test(transport: AsyncTransport) -> None:
        with hostile.Server(hostile.is_silent) as server:

            def flow() -> Flow[Event]:
                return (yield Step(start=(call_to(server.port, 1), replace(call_to(server.port, 2), answer_by=monotonic() + SHORT_S))))

            end = await run(flow(), transport)
            assert isinstance(end, Failed)
            assert end.call_id == 2

    on_a_loop(test)
