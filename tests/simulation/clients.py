"""Clients in the world: the product's own flows, knowledge and lease table, on a virtual clock and network."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from palclient.core import checkout as flows
from palclient.core.flow import Answered, Call, Event, Failed, Flow, Outcome, Step, Woke
from palclient.core.lease import LeaseRecord
from palclient.core.locate import Means
from palclient.core.renewal import Kept, Leases, keep_claiming, keep_renewing, keep_returning, keep_watch
from palclient.core.retry import RetryPolicy
from palclient.core.topology import Knowledge, fresh
from palclient.core.wire import CheckoutRequest
from palclient.errors import PalError
from palclient.models import Event as LeaseEvent
from palclient.models import Holder, ServerName
from tests.simulation.nodes import RESET

if TYPE_CHECKING:
    from tests.simulation.nodes import VirtualNode
    from tests.simulation.world import Clock, World

CLOSE_AGAIN_S = 0.5


@dataclass(eq=False, slots=True)
class Task:
    """One flow under way."""

    flow: Flow[Any]
    on_done: Callable[[Any, PalError | None], None]
    open: dict[int, tuple[Call, tuple[str, int]]] = field(default_factory=dict)  # by call id: the call, and its name in the world
    inbox: list[tuple[Event, Call | None]] = field(default_factory=list)
    resumed: int = 0
    is_over: bool = False


class VirtualClient:
    """One client process.  ``beliefs`` lists every lease that it was ever granted, for the checkers."""

    def __init__(
        self, number: int, world: World, nodes: tuple[VirtualNode, ...], servername: ServerName, clock: Clock, *, reacquire: bool = True
    ) -> None:
        self.number = number
        self.name = f"client{number}"
        self.world = world
        self.nodes = nodes
        self.clock = clock
        self.reacquire = reacquire
        self.is_dead = False
        self.is_asleep = False
        self.ids = 0
        self.calls = 0
        self.records: dict[str, LeaseRecord] = {}
        self.under_way: set[str] = set()  # ids that a checkout or a return is busy with
        self.doubled: set[str] = set()  # ids for which the network brought a request twice
        self.on_event: Callable[[VirtualClient, LeaseEvent], None] = lambda _client, _event: None
        self.on_answer: Callable[[VirtualClient, Call, Answered], None] = lambda _client, _call, _answer: None
        self.after_turn: Callable[[VirtualClient], None] = lambda _client: None
        luck = world.dice.random
        self.knowledge = Knowledge(fresh(servername), nullcontext(), self._emit)
        self.leases = Leases(nullcontext(), luck, self._emit, self._wake)
        self.means = Means(knowledge=self.knowledge, policy=RetryPolicy(), luck=luck)
        self._keepers: list[Task] = []
        self._tasks: list[Task] = []
        now = self.local_now
        for flow in (
            keep_renewing(self.leases, self.means, now=now),
            keep_watch(self.leases, self.means),
            keep_claiming(self.leases, self.means, now=now),
            keep_returning(self.leases, self.means, now=now),
        ):
            self._keepers.append(self._begin(flow, self._keeper_ended))

    @property
    def local_now(self) -> float:
        """What this client's clock shows."""
        return self.clock.local(self.world.now)

    # --- what an application does ---

    def checkout(self, feature: str, count: int, timeout_s: float, wait_s: float, on_done: Callable[[str, PalError | None], None]) -> str:
        """Ask for seats; ``on_done`` is told the id and how it ended."""
        self.ids += 1
        lease_id = f"00000000-0000-4000-8000-{self.number:06x}{self.ids:06x}"
        holder = Holder(user=self.name, host=self.name)
        request = CheckoutRequest(id=lease_id, feature=feature, version="0", count=count, holder=holder, nonce=lease_id)
        trace = flows.Trace()
        patience = flows.Patience(timeout_s=timeout_s, wait_s=wait_s)

        def done(taken: flows.Taken | None, error: PalError | None) -> None:
            self.under_way.discard(lease_id)
            if taken is not None:
                record = LeaseRecord(taken.grant, sent_at=taken.sent_at)
                self.records[lease_id] = record
                self.leases.add(Kept(record=record, request=request, reacquire=self.reacquire))
            elif trace.may_be_taken:
                self.leases.give_up(lease_id, now=self.local_now)
            self.world.tell(self.name, f"checkout {lease_id}: {f'granted seq {taken.grant.seq}' if taken else type(error).__name__}")
            on_done(lease_id, error)

        self.under_way.add(lease_id)
        self.world.tell(self.name, f"asks for {count} of {feature} as {lease_id}")
        self._begin(flows.checkout(request, self.means, patience, trace, now=self.local_now, on_waiting=self._emit), done)
        return lease_id

    def checkin(self, lease_id: str) -> None:
        """Give a lease back, as ``Lease.checkin`` does."""
        if self.leases.remove(lease_id) is None:
            return
        self.world.tell(self.name, f"returns {lease_id}")
        self.after_turn(self)
        del self.records[lease_id]
        self.under_way.add(lease_id)

        def done(taken: flows.TakenBack, _error: PalError | None) -> None:
            self.under_way.discard(lease_id)
            if not taken.ids:
                self.leases.give_up(lease_id, now=self.local_now)

        self._begin(flows.give_back((lease_id,), self.means, now=self.local_now, timeout_s=2.0), done)

    def die(self) -> None:
        """The process is killed: nothing is returned, and its connections close."""
        self.world.tell(self.name, "is killed")
        self.is_dead = True
        for task in (*self._tasks, *self._keepers):
            self._close(task)

    def sleep(self) -> None:
        """The machine sleeps: its clock runs on, and nothing is done."""
        self.world.tell(self.name, "sleeps")
        self.is_asleep = True

    def wake_up(self) -> None:
        """The machine wakes: what came meanwhile is looked at, and all leases are to be confirmed."""
        if self.is_dead or not self.is_asleep:
            return
        self.world.tell(self.name, "wakes")
        self.is_asleep = False
        self.leases.all_due(self.local_now)
        for task in [*self._tasks, *self._keepers]:
            self._drain(task)

    def valid_seats(self) -> int:
        """How many seats this client believes to hold now, by the product's own word."""
        now = self.local_now
        return 0 if self.is_dead else sum([record.grant.count for record in self.records.values() if record.is_valid(now)])

    # --- the runner ---

    def _begin(self, flow: Flow[Any], on_done: Callable[[Any, PalError | None], None]) -> Task:
        task = Task(flow, on_done)
        self._tasks.append(task)
        self._advance(task, lambda: next(flow))
        return task

    def _keeper_ended(self, _result: object, error: PalError | None) -> None:
        raise AssertionError(f"a keeper's flow ended: {error!r}")

    def _emit(self, event: LeaseEvent) -> None:
        self.world.tell(self.name, f"event {event}")
        self.on_event(self, event)

    def _wake(self) -> None:
        for task in self._keepers:
            self.world.after(0.0, partial(self._wake_task, task))

    def _wake_task(self, task: Task) -> None:
        self._post(task, Woke(now=self.local_now))

    def _post(self, task: Task, event: Event, call: Call | None = None) -> None:
        if self.is_dead or task.is_over:
            return
        task.inbox.append((event, call))
        if not self.is_asleep:
            self._drain(task)

    def _drain(self, task: Task) -> None:
        heard = False
        while task.inbox and not task.is_over and not self.is_asleep:
            event, call = task.inbox.pop(0)
            if call is not None:
                if task.open.get(call.id, (None,))[0] is not call:
                    continue  # cancelled while its end lay here
                del task.open[call.id]
                if isinstance(event, Answered):
                    self.on_answer(self, call, event)
                    heard = True
            now = self.local_now
            if event.now < now:  # a sleeper finds it: when it came is when it is looked at
                event = replace(event, now=now)
            self._advance(task, partial(task.flow.send, event))
        if heard:  # only an answer can make a client believe more than before
            self.after_turn(self)

    def _advance(self, task: Task, resume: Callable[[], Step]) -> None:
        task.resumed += 1
        try:
            step = resume()
        except StopIteration as end:
            self._close(task)
            task.on_done(end.value, None)
            return
        except PalError as error:
            self._close(task)
            task.on_done(None, error)
            return
        for call_id in step.cancel:
            found = task.open.pop(call_id, None)
            if found is not None:
                self._cancel(*found)
        for call in step.start:
            self._start(task, call)
        if step.wake_at is not None:
            resumed, wake_at = task.resumed, step.wake_at
            self.world.at(self.clock.true(wake_at), lambda: self._wake_if(task, resumed, wake_at))

    def _wake_if(self, task: Task, resumed: int, wake_at: float) -> None:
        if task.resumed == resumed:
            self._post(task, Woke(now=max(self.local_now, wake_at)))  # true time and back is not exact to the last bit

    def _close(self, task: Task) -> None:
        task.is_over = True
        for call, key in task.open.values():
            self._cancel(call, key)
        task.open.clear()
        task.flow.close()
        if task in self._tasks:
            self._tasks.remove(task)

    def _cancel(self, call: Call, key: tuple[str, int]) -> None:
        """Close the connection; the system tells the other end again and again, until it gets there."""
        node = self.nodes[call.node]
        if not self.world.send(self.name, node.name, lambda: node.client_gone(key)):
            self.world.after(CLOSE_AGAIN_S, partial(self._cancel, call, key))

    # --- calls ---

    def _start(self, task: Task, call: Call) -> None:
        node, sent_at = self.nodes[call.node], self.local_now
        self.calls += 1
        key = (self.name, self.calls)
        task.open[call.id] = call, key
        arrivals = 0

        def is_open() -> bool:
            return task.open.get(call.id, (None,))[0] is call  # a later call may bear the same number; of a cancelled one nothing is heard

        def fail(outcome: Outcome, detail: str, *, sent: bool) -> None:
            if is_open():
                self._post(task, Failed(call_id=call.id, now=self.local_now, outcome=outcome, sent=sent, detail=detail), call)

        def answer(status: int, body: Any) -> None:
            if status == RESET:
                fail(Outcome.RESET, "reset", sent=True)
            elif is_open():
                now = self.local_now
                event = Answered(call_id=call.id, now=now, sent_at=sent_at, status=status, content_type="application/json", body=body)
                self._post(task, event, call)

        def arrive() -> None:
            nonlocal arrivals
            arrivals += 1
            if arrivals == 2:
                self.doubled.add(call.request.target.rpartition("/")[2])
            if not node.accepts:
                self.world.send(node.name, self.name, lambda: fail(Outcome.REFUSED, "refused", sent=False))
                return
            node.ask(key, call.request, lambda status, body: self.world.send(node.name, self.name, lambda: answer(status, body)))

        self.world.send(self.name, node.name, arrive)
        self.world.at(self.clock.true(call.answer_by), lambda: fail(Outcome.TIMED_OUT, "no answer", sent=True))
