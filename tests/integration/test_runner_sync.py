"""The runner: flows on the caller's thread and on a loop's, over real sockets on loopback."""

from __future__ import annotations

import _thread
import logging
import socket
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from palclient import runner_sync
from palclient.core.flow import Answered, Call, Event, Failed, Flow, HttpRequest, Step, Woke
from palclient.errors import ClientClosed, PalError
from palclient.models import Endpoint
from palclient.runner_sync import Loop, Task, run
from palclient.transport import Transport, Wakeup, monotonic
from tests import hostile

LONG_S = 20.0  # a deadline that is not meant to come
JOIN_S = 5.0


def call_to(server: hostile.Server, call_id: int = 0) -> Call:
    """A call with all the time of the world."""
    now = monotonic()
    request = HttpRequest(method="GET", target=f"/{call_id}")
    endpoint = Endpoint(host="127.0.0.1", port=server.port)
    return Call(id=call_id, node=0, endpoint=endpoint, request=request, connect_by=now + LONG_S, answer_by=now + LONG_S)


@pytest.fixture
def transport() -> Iterator[Transport]:
    """A transport that must own nothing once it is closed."""
    transport = Transport()
    yield transport
    transport.close()
    assert not transport._connections._all


# ---------------------------------------------------------------------------------------------------------------- one flow


def test_a_flow_without_calls_returns_its_result(transport: Transport) -> None:
    """Contract of a runner: a flow returns its result."""

    def flow(calls: Iterable[Call]) -> Flow[str]:
        for call in calls:
            yield Step(start=(call,))
        return "done"

    assert run(flow(()), transport) == "done"


def test_a_flow_that_raises_passes_its_error_on_and_leaves_no_call_open(transport: Transport) -> None:
    """Contract of a runner: when the flow ends, whatever it left open is cancelled."""
    with hostile.Server(hostile.is_silent) as server:

        def flow() -> Flow[None]:
            yield Step(start=(call_to(server),), wake_at=monotonic() + 0.05)
            raise PalError("no")

        with pytest.raises(PalError, match="no"):
            run(flow(), transport)
        assert not transport._connections._all


def test_the_first_call_that_ends_resumes_the_flow_and_the_others_go_on(transport: Transport) -> None:
    """Contract of a runner: exactly one event at a time, each with the identity of its call."""
    with hostile.Server(hostile.is_silent) as silent, hostile.Server(hostile.answers) as good:

        def flow() -> Flow[list[Event]]:
            events = [(yield Step(start=(call_to(silent, 1), call_to(good, 2))))]
            events.append((yield Step(start=(call_to(good, 3), call_to(good, 4)))))
            events.append((yield Step()))
            return events

        events = run(flow(), transport)
        assert [isinstance(event, Answered) and event.call_id for event in events] == [2, 3, 4]


def test_calls_are_under_way_at_the_same_time_on_one_thread(transport: Transport) -> None:
    """Three servers, each of which answers only when all three have been asked."""
    meeting = threading.Barrier(3)

    def waits_for_the_others(visit: hostile.Visit) -> None:
        while visit.read_request():
            meeting.wait(JOIN_S)
            visit.send(hostile.GOOD)

    with hostile.Server(waits_for_the_others) as server:

        def flow() -> Flow[set[int]]:
            event = yield Step(start=tuple(call_to(server, n) for n in range(3)))
            ended = set()
            for _ in range(3):
                assert isinstance(event, Answered)
                ended.add(event.call_id)
                event = yield Step(wake_at=monotonic() if len(ended) == 3 else None)
            return ended

        assert run(flow(), transport) == {0, 1, 2}


def test_wake_at_comes_while_a_call_is_pending_and_a_cancelled_call_is_heard_of_no_more(transport: Transport) -> None:
    """Contract of a runner: ``Woke`` once ``wake_at`` has come; of a cancelled call nothing more is heard."""
    with hostile.Server(hostile.is_silent) as server:

        def flow() -> Flow[list[Event]]:
            began = monotonic()
            events = [(yield Step(start=(call_to(server),), wake_at=began + 0.03))]
            server.was_asked.wait(JOIN_S)
            events.append((yield Step(cancel=(0,), wake_at=began + 0.06)))
            assert server.saw_end.wait(JOIN_S)
            events.append((yield Step(cancel=(0,), wake_at=began + 0.07)))  # twice is once
            assert [event.now >= began + after for event, after in zip(events, (0.03, 0.06, 0.07), strict=True)] == [True] * 3
            return events

        assert [type(event) for event in run(flow(), transport)] == [Woke] * 3


def test_a_task_is_woken_from_another_thread(transport: Transport) -> None:
    """Contract of a runner: ``Woke`` also when it was told of something new."""
    with hostile.Server(hostile.is_silent) as server:

        def flow() -> Flow[Event]:
            return (yield Step(start=(call_to(server),)))

        task = Task(flow(), transport)

        def wakes_it() -> None:
            server.was_asked.wait(JOIN_S)
            task.wake()

        threading.Thread(target=wakes_it).start()
        assert isinstance(task.run(), Woke)


def test_ctrl_c_in_the_wait_closes_the_connections_and_the_flow(transport: Transport) -> None:
    """Issue: Ctrl-C during a checkout returns the seat; the first step of that is that nothing is left waiting."""
    closed = []

    def interrupts(visit: hostile.Visit) -> None:
        visit.read_request()
        _thread.interrupt_main()
        visit.wait_end()

    with hostile.Server(interrupts) as server:

        def flow() -> Flow[Event]:
            try:
                return (yield Step(start=(call_to(server),)))
            finally:
                closed.append(True)

        with pytest.raises(KeyboardInterrupt):
            run(flow(), transport)
        assert closed
        assert not transport._connections._all
        assert server.saw_end.wait(JOIN_S)


def test_a_name_lookup_that_ends_wakes_the_wait() -> None:
    """The look-up runs on another thread; its end must not wait for the next slice."""
    with hostile.Server(hostile.answers) as server:
        transport = Transport(resolve=lambda _host, _flags: ((socket.AF_INET, ("127.0.0.1", 0)),))

        def flow() -> Flow[Event]:
            call = call_to(server)
            endpoint = Endpoint(host="lic1.example", port=server.port)
            return (
                yield Step(start=(Call(id=0, node=0, endpoint=endpoint, request=call.request, connect_by=call.connect_by, answer_by=call.answer_by),))
            )

        assert isinstance(run(flow(), transport), Answered)
        transport.close()


WAITS = [runner_sync.wait_select, *([runner_sync.wait_poll] if sys.platform != "win32" else [])]


@pytest.mark.parametrize("wait", WAITS)
def test_both_ways_of_waiting_see_the_same(transport: Transport, wait: Callable[..., Collection[int]]) -> None:
    """Design page, budgets: nothing POSIX-only without its Windows twin; the twin is tried here too."""
    wakeup = Wakeup()
    assert set(wait([], wakeup, 0.001)) == set()
    wakeup.open()
    with hostile.Server(hostile.answers) as server, hostile.closed_port() as port:
        good = transport.exchange(call_to(server), wakeup)
        assert good.advance(monotonic()) is None
        assert set(wait([good], wakeup, JOIN_S)) == {good.fd}, "connected"
        assert good.advance(monotonic()) is None
        assert set(wait([good], wakeup, JOIN_S)) == {good.fd}, "answered"
        assert isinstance(good.advance(monotonic()), Answered)
        bad = transport.exchange(replace(call_to(server), endpoint=Endpoint(host="127.0.0.1", port=port)), wakeup)
        end = bad.advance(monotonic())
        if end is None:
            assert set(wait([bad], wakeup, JOIN_S)) == {bad.fd}, "refused"
            end = bad.advance(monotonic())
        assert isinstance(end, Failed)
        assert set(wait([], wakeup, 0.0)) == set()
        wakeup.nudge()
        wakeup.nudge()
        assert set(wait([], wakeup, JOIN_S)) == {wakeup.fd, -1}
        assert set(wait([], wakeup, 0.0)) == set(), "nudges are forgotten once seen"
    wakeup.close()
    wakeup.nudge()


# -------------------------------------------------------------------------------------------------------------- many flows


class Ends:
    """Collects what ``on_done`` is told."""

    def __init__(self, expected: int) -> None:
        self.told: list[tuple[Any, BaseException | None]] = []
        self.threads: set[str] = set()
        self._expected = expected
        self._are_all_told = threading.Event()

    def __call__(self, result: Any, error: BaseException | None) -> None:
        """The end of a flow."""
        self.told.append((result, error))
        self.threads.add(threading.current_thread().name)
        if len(self.told) == self._expected:
            self._are_all_told.set()

    def wait(self) -> list[tuple[Any, BaseException | None]]:
        """All of them."""
        assert self._are_all_told.wait(JOIN_S), self.told
        return self.told


@contextmanager
def running(loop: Loop) -> Iterator[None]:
    """The loop on a thread of its own, which ends with the block."""
    thread = threading.Thread(target=loop.run, name="the-loop", daemon=True)
    thread.start()
    try:
        yield
    finally:
        loop.stop()
        thread.join(JOIN_S)
        assert not thread.is_alive()


def single(make_call: Callable[[], Call]) -> Flow[Event]:
    """A flow of one call."""
    return (yield Step(start=(make_call(),)))


def test_a_loop_drives_many_flows_and_a_silent_node_delays_none_of_them(transport: Transport) -> None:
    """Design page "architecture": a dead node must not delay any lease."""
    loop, ends, never = Loop(transport), Ends(50), Ends(1)
    with hostile.Server(hostile.is_silent) as silent, hostile.Server(hostile.answers) as good:
        with running(loop):
            loop.submit(single(lambda: call_to(silent)), never)
            for n in range(50):
                loop.submit(single(lambda n=n: call_to(good, n)), ends)  # type: ignore[misc]
            assert sorted(result.call_id for result, _ in ends.wait()) == list(range(50))
        assert ends.threads == {"the-loop"}
        [(result, error)] = never.wait()
        assert result is None
        assert isinstance(error, ClientClosed)


def test_a_flow_that_fails_is_told_to_who_submitted_it_and_harms_no_other(transport: Transport, caplog: pytest.LogCaptureFixture) -> None:
    """One flow's mistake, or its receiver's, must not end the keeping of all leases."""

    def breaks() -> Flow[None]:
        yield Step(wake_at=monotonic())
        raise ZeroDivisionError

    def raises(_result: Any, _error: BaseException | None) -> None:
        raise KeyError("receiver")

    def sound() -> Flow[str]:
        yield Step(wake_at=monotonic() + 0.02)
        return "sound"

    loop, broken, ends = Loop(transport), Ends(1), Ends(1)
    with running(loop), caplog.at_level(logging.ERROR, logger="palclient"):
        loop.submit(breaks(), broken)
        loop.submit(breaks(), raises)
        loop.submit(sound(), ends)
        assert isinstance(broken.wait()[0][1], ZeroDivisionError)
        assert ends.wait() == [("sound", None)]
    assert "receiver" in caplog.text


def test_a_flow_of_a_loop_is_woken_early(transport: Transport) -> None:
    """Contract of a runner: ``Woke`` when there is something new, here a lease to keep, though ``wake_at`` is far."""
    waits = threading.Event()

    def flow() -> Flow[Event]:
        waits.set()
        return (yield Step(wake_at=monotonic() + LONG_S))

    loop, ends = Loop(transport), Ends(1)
    with running(loop):
        task = loop.submit(flow(), ends)
        assert waits.wait(JOIN_S)
        task.wake()
        assert isinstance(ends.wait()[0][0], Woke)


def test_what_is_submitted_before_the_loop_runs_is_begun_and_what_comes_after_its_end_is_refused(transport: Transport) -> None:
    """No flow is ever forgotten: each has its end told once."""
    loop, before, after = Loop(transport), Ends(1), Ends(1)
    with hostile.Server(hostile.answers) as server:
        loop.submit(single(lambda: call_to(server)), before)
        with running(loop):
            assert isinstance(before.wait()[0][0], Answered)
        loop.submit(single(lambda: call_to(server)), after)
        assert isinstance(after.wait()[0][1], ClientClosed)


def test_a_loop_tells_when_it_was_kept_from_waking_in_time(transport: Transport) -> None:
    """Design page "architecture", Clocks: waking more than 2 s late means that the machine slept; that is told before any flow is resumed."""
    order: list[str] = []
    waits, slept_s = threading.Event(), [0.0]

    def clock() -> float:
        return monotonic() + slept_s[0]

    def flow() -> Flow[None]:
        waits.set()
        yield Step(wake_at=clock() + LONG_S)
        order.append("flow")

    loop, ends = Loop(transport, on_late=lambda late_s: order.append(f"late: {late_s > 3000}"), clock=clock), Ends(1)
    with running(loop):
        task = loop.submit(flow(), ends)
        assert waits.wait(JOIN_S)
        slept_s[0] = 3600.0
        task.wake()
        ends.wait()
    assert order == ["late: True", "flow"]


def test_failed_is_an_event_too(transport: Transport) -> None:
    """A refusal does not end the loop's wait for others."""
    loop, ends = Loop(transport), Ends(2)
    with hostile.closed_port() as port, hostile.Server(hostile.answers) as good, running(loop):
        dead = replace(call_to(good), endpoint=Endpoint(host="127.0.0.1", port=port))
        loop.submit(single(lambda: dead), ends)
        loop.submit(single(lambda: call_to(good)), ends)
        assert {type(result) for result, _ in ends.wait()} == {Answered, Failed}
