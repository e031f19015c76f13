"""Runs flows against nodes that are functions, on a clock that jumps: a day of renewals in milliseconds, no socket, no sleep.

A node is a function ``node(call, now)`` that says what becomes of a call: a ``Reply`` or a ``Failure``, each ``after_s`` from now, or ``SILENCE``.  A
node that parks a request keeps the call and says ``SILENCE``; ``VirtualRunner.end`` answers it later.

    net = VirtualRunner([primary, secondary, tertiary])
    net.at(1.0, lambda: net.nodes.__setitem__(0, refuses))
    lease = net.run(checkout_flow)
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Generic

from palclient.core.flow import Answered, Call, Event, Failed, Flow, Outcome, Result, Step, Woke

STEP_LIMIT = 100_000  # a flow that never comes to an end fails its test instead of hanging it


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A whole HTTP answer, ``after_s`` seconds from now.  A body that is a mapping is sent as JSON."""

    status: int = 200
    body: Mapping[str, Any] | bytes = b""
    after_s: float = 0.0
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """No whole answer, ``after_s`` seconds from now."""

    outcome: Outcome
    after_s: float = 0.0
    sent: bool = True
    detail: str = "scripted"


REFUSED = Failure(outcome=Outcome.REFUSED, sent=False, detail="Connection refused (errno 111)")
SILENCE = None

Fate = Reply | Failure | None
Node = Callable[[Call, float], Fate]


def scripted(*fates: Fate) -> Node:
    """A node that does this with its calls, in turn, and the last for ever."""
    left = list(fates)
    return lambda _call, _now: left.pop(0) if len(left) > 1 else left[0]


@dataclass(eq=False, slots=True, kw_only=True)
class VirtualTask(Generic[Result]):
    """One flow under the virtual clock."""

    flow: Flow[Result]
    open: dict[int, Call] = field(default_factory=dict)
    wake_at: float | None = None
    resumed: int = 0
    is_done: bool = False
    result: Any = None
    error: Exception | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A call that a flow started, and when."""

    at: float
    call: Call


class VirtualRunner:
    """The clock, the nodes, and the flows.  ``asked`` lists every call that was started, ``cancelled`` every one that was given up."""

    def __init__(self, nodes: Sequence[Node], *, now: float = 1000.0) -> None:
        self.nodes = list(nodes)
        self.now = now
        self.asked: list[Asked] = []
        self.cancelled: list[Asked] = []
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def at(self, instant: float, action: Callable[[], None]) -> None:
        """Do this when the clock reads ``instant`` (or at once, if that has passed).  Actions of one instant are done in the order they were given."""
        heapq.heappush(self._agenda, (max(instant, self.now), next(self._order), action))

    def after(self, delay_s: float, action: Callable[[], None]) -> None:
        """Do this so many seconds from now."""
        self.at(self.now + delay_s, action)

    def spawn(self, flow: Flow[Result]) -> VirtualTask[Result]:
        """Begin a flow now; ``run_until`` and ``run`` carry it on."""
        task = VirtualTask(flow=flow)
        self._resume(task, None)
        return task

    def run(self, flow: Flow[Result]) -> Result:
        """Drive a flow to its end, and with it all others.  Returns its result or raises its error."""
        task = self.spawn(flow)
        for _ in range(STEP_LIMIT):
            if task.is_done:
                break
            assert self._agenda, "the flow waits for something that never comes: no call is open and it set no wake_at"
            self._next()
        assert task.is_done, f"the flow did not end within {STEP_LIMIT} events"
        if task.error is not None:
            raise task.error
        result: Result = task.result
        return result

    def run_until(self, instant: float) -> None:
        """Let time pass until ``instant``."""
        for _ in range(STEP_LIMIT):
            if not self._agenda or self._agenda[0][0] > instant:
                break
            self._next()
        else:
            raise AssertionError(f"more than {STEP_LIMIT} events before {instant}")
        self.now = max(self.now, instant)

    def wake(self, task: VirtualTask[Any]) -> None:
        """Resume a flow early, as a runner does when something new is to be told."""
        self.after(0.0, lambda: self._resume(task, Woke(now=self.now)))

    def close(self, task: VirtualTask[Any]) -> None:
        """End a flow from outside, as Ctrl-C does."""
        self._end(task)
        task.flow.close()

    def end(self, task: VirtualTask[Any], call: Call, fate: Reply | Failure) -> None:
        """Let a call that was met with SILENCE (a parked one) end so, ``after_s`` from now; nothing happens if it has ended or was cancelled."""
        sent_at = next(asked.at for asked in reversed(self.asked) if asked.call is call)
        self.after(fate.after_s, lambda: self._over(task, call, self._event(call, fate, sent_at)))

    def end_all(self, task: VirtualTask[Any], node: int, fate: Reply | Failure) -> None:
        """The same for every open call of a flow at one node."""
        for call in [call for call in task.open.values() if call.node == node]:
            self.end(task, call, fate)

    def _next(self) -> None:
        self.now, _, action = heapq.heappop(self._agenda)
        action()

    def _resume(self, task: VirtualTask[Any], event: Event | None) -> None:
        if task.is_done:
            return
        task.resumed += 1
        try:
            step = next(task.flow) if event is None else task.flow.send(event)
        except StopIteration as end:
            task.result = end.value
            self._end(task)
        except Exception as error:  # noqa: BLE001 - run() raises it again; a test that only spawns looks at task.error
            task.error = error
            self._end(task)
        else:
            self._carry_out(task, step)

    def _end(self, task: VirtualTask[Any]) -> None:
        """As a runner does: whatever a flow left open is cancelled."""
        task.is_done = True
        self.cancelled += [Asked(at=self.now, call=call) for call in task.open.values()]
        task.open.clear()

    def _carry_out(self, task: VirtualTask[Any], step: Step) -> None:
        for call_id in step.cancel:
            call = task.open.pop(call_id, None)
            if call is not None:
                self.cancelled.append(Asked(at=self.now, call=call))
        for call in step.start:
            assert call.id not in task.open, f"call id {call.id} is in use"
            self._start(task, call)
        task.wake_at = step.wake_at
        if step.wake_at is not None:
            resumed = task.resumed
            self.at(step.wake_at, lambda: self._wake_if(task, resumed))

    def _wake_if(self, task: VirtualTask[Any], resumed: int) -> None:
        """``wake_at`` holds until the flow is resumed."""
        if task.resumed == resumed:
            self._resume(task, Woke(now=self.now))

    def _start(self, task: VirtualTask[Any], call: Call) -> None:
        task.open[call.id] = call
        self.asked.append(Asked(at=self.now, call=call))
        fate = self.nodes[call.node](call, self.now)
        late = Failed(call_id=call.id, now=call.answer_by, outcome=Outcome.TIMED_OUT, sent=True, detail="no answer")
        self.at(call.answer_by, lambda: self._over(task, call, late))
        if fate is not None:
            self.end(task, call, fate)

    def _over(self, task: VirtualTask[Any], call: Call, event: Answered | Failed) -> None:
        if task.open.get(call.id) is call:
            del task.open[call.id]
            self._resume(task, event)

    def _event(self, call: Call, fate: Reply | Failure, sent_at: float) -> Answered | Failed:
        """The end of a call, at the instant when it comes."""
        if isinstance(fate, Failure):
            return Failed(call_id=call.id, now=self.now, outcome=fate.outcome, sent=fate.sent, detail=fate.detail)
        body = fate.body if isinstance(fate.body, bytes) else json.dumps(fate.body).encode()
        return Answered(call_id=call.id, now=self.now, sent_at=sent_at, status=fate.status, content_type=fate.content_type, body=body)
