"""The virtual runner keeps the same contract as the real ones."""

from __future__ import annotations

import pytest

from palclient.core.flow import Answered, Call, Event, Failed, Flow, HttpRequest, Outcome, Step, Woke
from palclient.models import Endpoint
from tests.unit.virtual_runner import REFUSED, SILENCE, Reply, VirtualRunner, scripted


def call_to(node: int, call_id: int, now: float) -> Call:
    """A call with five seconds of time."""
    request = HttpRequest(method="GET", target="/")
    return Call(id=call_id, node=node, endpoint=Endpoint(host="n", port=1), request=request, connect_by=now + 1, answer_by=now + 5)


def test_time_jumps_to_what_comes_first() -> None:
    """Contract of a runner: the first call that ends, or ``Woke`` once ``wake_at`` has come; every call ends at its deadline."""
    net = VirtualRunner([scripted(SILENCE), scripted(REFUSED)], now=1000.0)

    def flow() -> Flow[list[Event]]:
        events = [(yield Step(start=(call_to(0, 0, 1000.0),), wake_at=1000.05))]
        events.append((yield Step(start=(call_to(1, 1, 1000.05),))))
        events.append((yield Step()))
        return events

    woke, refused, late = net.run(flow())
    assert woke == Woke(now=1000.05)
    assert isinstance(refused, Failed)
    assert (refused.call_id, refused.now, refused.sent) == (1, 1000.05, False)
    assert isinstance(late, Failed)
    assert (late.call_id, late.now, late.outcome) == (0, 1005.0, Outcome.TIMED_OUT)


def test_a_parked_call_is_answered_later_and_a_cancelled_one_never() -> None:
    """What a node met with silence can be ended by the test, unless it was cancelled."""
    net = VirtualRunner([scripted(SILENCE), scripted(SILENCE)], now=0.0)

    def flow() -> Flow[Event]:
        yield Step(start=(call_to(0, 0, 0.0), call_to(1, 1, 0.0)), wake_at=1.0)
        return (yield Step(cancel=(0,)))

    task = net.spawn(flow())
    net.at(2.0, lambda: net.end_all(task, 0, Reply(body={"node": 0})))
    net.at(3.0, lambda: net.end_all(task, 1, Reply(body={"node": 1}, after_s=0.5)))
    net.run_until(10.0)
    assert task.result == Answered(call_id=1, now=3.5, sent_at=0.0, status=200, content_type="application/json", body=b'{"node": 1}')
    assert [asked.call.id for asked in net.cancelled] == [0]


def test_a_flow_that_waits_for_nothing_fails_its_test() -> None:
    """No call open and no ``wake_at``: a real runner would wait for ever."""

    def flow() -> Flow[None]:
        yield Step()

    with pytest.raises(AssertionError, match="never comes"):
        VirtualRunner([]).run(flow())
