"""The flows of checkout, return, status and usage, and what their ends mean to the caller.

Durations in seconds, instants on the client's monotonic clock.  Nothing here blocks: a runner does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf

from palclient.core import explain
from palclient.core.flow import Answered, Call, Failed, Flow, Step, Woke
from palclient.core.locate import Means, Served, Unanswered, ask_master
from palclient.core.members import NotOursError
from palclient.core.retry import CONNECT_S, JITTER
from palclient.core.topology import FellSilent, spoken
from palclient.core.wire import (
    CheckoutRequest,
    Granted,
    Problem,
    Queued,
    ReturnRequest,
    ReturnsTaken,
    StatusReply,
    StatusRequest,
    UsageReply,
    UsageRequest,
    decode,
    encode,
)
from palclient.models import FeatureUsage, Grant, NodeStatus, TriadStatus, Waiting

QUEUEABLE = frozenset({"seats-taken", "over-max", "reserved"})  # denials that pass when somebody returns a seat
POLL_S = 1.0  # how often a full pool is asked when its server has no line to stand in, and does not say when
LEAST_POLL_S = 0.1  # whoever waits asks no oftener, whatever the server says


@dataclass(slots=True)
class Trace:
    """What a checkout leaves behind when it does not end well: whether a node may have granted it all the same."""

    may_be_taken: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """Seats that a master granted to a request that was sent at ``sent_at``."""

    grant: Grant
    sent_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """``timeout_s`` bounds the time without a word of a serving master (0: every node is asked once), ``wait_s`` the time in line."""

    timeout_s: float
    wait_s: float = 0.0

    def deadline(self, now: float) -> float:
        """The end of the next stretch without a word."""
        return now + self.timeout_s

    @property
    def once(self) -> bool:
        """Whether every node is to be asked only once."""
        return self.timeout_s <= 0


def checkout(
    request: CheckoutRequest, means: Means, patience: Patience, trace: Trace, *, now: float, on_waiting: Callable[[Waiting], None]
) -> Flow[Taken]:
    """Take the seats.

    Raises ``CheckoutDenied`` and its kin for the master's no, ``TriadUnavailable`` and its kin when no master answers, ``ProtocolError`` when the peers do
    not speak the protocol.  A denial is never taken to another node: the pool is one (G6).  ``trace`` tells, whatever the end, whether the id must be given up.
    """
    give_up_at = now + patience.wait_s
    request = replace(request, queue=patience.wait_s > 0)
    had_word = may_have_acted = False
    trace.may_be_taken = True  # whatever interrupts the flow from here on; a plain denial takes it back
    while True:
        served = yield from ask_master(request, means, now=now, deadline=patience.deadline(now), once=patience.once)
        if isinstance(served, Unanswered):
            trace.may_be_taken = served.may_have_acted or request.queue  # who may loop here stands in line
            raise explain.unavailable(request, served, had_word=had_word)
        if isinstance(served.reply, Granted):
            return Taken(grant=served.reply.grant, sent_at=served.sent_at)
        may_have_acted |= served.may_have_acted
        pause_s = _pause_s(served.reply, request, on_waiting) if served.now < give_up_at else None
        if pause_s is None:
            trace.may_be_taken = may_have_acted or isinstance(served.reply, Queued)
            raise explain.denied(request, served.reply)
        had_word = True
        now = yield from sleep(served.now, min(give_up_at, served.now + pause_s * (1 - JITTER * means.luck())))


def _pause_s(reply: object, request: CheckoutRequest, on_waiting: Callable[[Waiting], None]) -> float | None:
    """How long to wait before asking for the place in line, or None when waiting would bring nothing."""
    match reply:
        case Queued():
            on_waiting(Waiting(lease_id=request.id, position=reply.position, of=reply.of))
            return max(LEAST_POLL_S, reply.poll_s)
        case Problem(name=name) if name in QUEUEABLE:
            return max(LEAST_POLL_S, reply.retry_after_s or POLL_S)
    return None


def sleep(now: float, until: float) -> Flow[float]:
    """Let the time pass; gives the instant after it."""
    while now < until:
        event = yield Step(wake_at=until)
        now = event.now
    return now


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenBack:
    """The ids that a master has taken back, held or not; none when no master answered in time."""

    ids: frozenset[str]
    now: float


def give_back(ids: tuple[str, ...], means: Means, *, now: float, timeout_s: float) -> Flow[TakenBack]:
    """Return seats, or give ids up.  Raises nothing."""
    ended = yield from ask_master(ReturnRequest(ids=ids), means, now=now, deadline=now + timeout_s)
    if isinstance(ended, Served) and isinstance(ended.reply, ReturnsTaken):
        return TakenBack(ids=frozenset(ended.reply.results).intersection(ids), now=ended.now)
    return TakenBack(ids=frozenset(), now=ended.now)


def usage(means: Means, *, now: float, timeout_s: float) -> Flow[tuple[FeatureUsage, ...]]:
    """Every pool, by the master's word.  Raises as ``checkout`` does."""
    request = UsageRequest()
    served = yield from ask_master(request, means, now=now, deadline=now + timeout_s, once=timeout_s <= 0)
    if isinstance(served, Unanswered):
        raise explain.unavailable(request, served)
    if not isinstance(served.reply, UsageReply):
        raise explain.unexpected(request, served.reply)
    return served.reply.features


def status(means: Means, *, now: float, timeout_s: float) -> Flow[TriadStatus]:
    """Every node's own word, side by side; one that is silent for ``timeout_s`` is ``unreachable``.  Raises nothing."""
    nodes = means.knowledge.topology.nodes
    answer_by = now + timeout_s
    addresses = [(index, address) for index, node in enumerate(nodes) for address in node.addresses]
    http = encode(StatusRequest())
    calls = {
        number: Call(id=number, node=index, endpoint=address, request=http, connect_by=min(answer_by, now + CONNECT_S), answer_by=answer_by)
        for number, (index, address) in enumerate(addresses)
    }
    words: dict[int, NodeStatus] = {}
    step = Step(start=tuple(calls.values()), wake_at=None)
    while calls:
        event = yield step
        step = Step()
        if isinstance(event, Woke):
            continue
        call = calls.pop(event.call_id)
        word = _word(means, call, event)
        if word.reachable or call.node not in words:
            words[call.node] = word
    found = tuple(words[index] for index in range(len(nodes)))
    for index, word in enumerate(found):
        if not word.reachable:
            means.knowledge.learn(FellSilent(node=index, term=None))
    return TriadStatus(nodes=found, master=_serving(found))


def _word(means: Means, call: Call, event: Answered | Failed) -> NodeStatus:
    if isinstance(event, Failed):
        return NodeStatus(endpoint=call.endpoint, state="unreachable", detail=f"{event.outcome.value}: {event.detail}")
    try:
        reply = decode(StatusRequest(), event)
    except NotOursError as error:
        return NodeStatus(endpoint=call.endpoint, state="unreachable", detail=f"not ours: {error}")
    means.knowledge.learn(spoken(call.node, call.endpoint, reply))
    if not isinstance(reply, StatusReply):
        return NodeStatus(endpoint=call.endpoint, state="unreachable", detail="it answered its status with a problem")
    return NodeStatus(
        endpoint=call.endpoint,
        state=reply.state,
        role=reply.speaker.role,
        cluster=reply.speaker.cluster,
        term=reply.speaker.term,
        quorum=reply.quorum,
        master=reply.master,
        triad=reply.triad,
        primary_is_master=reply.primary_is_master,
        heartbeat_interval_s=reply.heartbeat_interval_s,
        failover_s=reply.failover_s,
        software=reply.software,
    )


def _serving(nodes: tuple[NodeStatus, ...]) -> NodeStatus | None:
    """The one that serves in the highest term; two in one term: neither."""
    masters = [node for node in nodes if node.state == "master" and node.quorum]
    highest = max((node.term for node in masters), default=-inf)
    newest = [node for node in masters if node.term == highest]
    return newest[0] if len(newest) == 1 else None
