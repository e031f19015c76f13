"""One request's way to the serving master: which nodes to ask, in what order, how far apart, when to park; what each answer means.

The rules, in the order in which they come up:

1. The node that is thought to be master is asked alone; with none known, the first of SERVERNAME, but last of all one that served and failed.
2. When it is late by ``stagger_s``, has failed, or says that it is not master, the request is *parked* at the others (``protocol.md``, Parking): at
   the next one at once, at the last when that one, too, is late, has failed, or says so.  A master that failed is asked without parking first.
3. A hint is followed at once if its term is news; never to a node that has an open request already.
4. A node that did not answer is asked again after ``RetryPolicy.delay_s``, without parking; one that answered holds the request again.  Whatever it
   answers, a node is asked no oftener than three times in ``RetryPolicy.probe_s``: at its time, by a hint, and to hold the request.
5. The first answer of a current master ends it; all else is cancelled.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, inf

from palclient.core import topology as known
from palclient.core.flow import Answered, Call, Event, Failed, Flow, Outcome, Step
from palclient.core.members import NotOursError
from palclient.core.probes import Probes
from palclient.core.retry import CONNECT_S, JITTER, Luck, RetryPolicy, attempt_s
from palclient.core.topology import FellSilent, Knowledge
from palclient.core.wire import MAX_PARK_S, Parking, Problem, Reply, Request, decode, describe, encode
from palclient.models import Probe

WORD_S = 0.25  # a node that has not said a word yet is to say it this long before the deadline
LAST_WORDS_S = 0.05  # what the runner may take to tell of calls that ended with the deadline: how far each had come
STAGGERS = 4  # at least so many fit into the time there is, so that every node is asked within it
OUR_FAULT = frozenset({"bad-request", "too-large", "unsupported-version"})  # no other node would answer otherwise


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What every flow of a client works with: its knowledge, its policy, its luck, and the ttl of its leases once one is known (seconds)."""

    knowledge: Knowledge
    policy: RetryPolicy
    luck: Luck
    ttl_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unanswered:
    """No master answered in time.  ``heard`` counts the nodes that said anything; ``may_have_acted``: a node may have served the request."""

    probes: tuple[Probe, ...]
    heard: int
    master_named: bool
    may_have_acted: bool
    took_s: float
    now: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A current master's answer; ``sent_at`` is when the request that it answers was sent, ``node`` who answered, ``now`` when.

    ``may_have_acted``: another try of the same request was sent and never answered, so it may still be served some day.
    """

    reply: Reply
    node: int
    sent_at: float
    now: float
    may_have_acted: bool = False


def ask_master(request: Request, means: Means, *, now: float, deadline: float, once: bool = False) -> Flow[Served | Unanswered]:
    """Bring ``request`` to the serving master.  With ``once`` each node is asked once, whatever the deadline."""
    pursuit = Pursuit(request, means, now=now, deadline=inf if once else deadline, once=once)
    while True:
        event = yield pursuit.next_step(now)
        now = event.now
        ended = pursuit.take(event) or (pursuit.unanswered(now) if pursuit.is_over(now) else None)
        if ended is not None:
            left_open = pursuit.left_open()
            if left_open:  # whoever asked may go on for ever, so the losers are not left to the end of its flow
                yield Step(cancel=left_open, wake_at=now)
            return ended


@dataclass(slots=True)
class _Node:
    """A node within one pursuit."""

    next_at: float = -inf  # not asked again before
    failures: int = 0  # in a row
    spoke: bool = False  # said anything yet
    names_master: bool = False  # by its last word on that
    paused_until: float = -inf  # it is overloaded, and said for how long
    followed_at: float = -inf  # when a hint last led here
    hurried_at: float = -inf  # when it was last to be asked again at once
    hinted_term: int = -1  # the term of that hint
    laid_down: int = -1  # the term in which it was master, and says that it is not any more


@dataclass(frozen=True, slots=True, kw_only=True)
class _Open:
    """A call under way.  ``master_term``: the term in which its node was thought to serve, or None."""

    call: Call
    began: float
    parking: Parking | None
    master_term: int | None


class Pursuit:
    """The state of one request on its way.  Only ``ask_master`` drives it."""

    def __init__(self, request: Request, means: Means, *, now: float, deadline: float, once: bool) -> None:
        topology = means.knowledge.topology
        self.request = request
        self.means = means
        self.began = now
        self.deadline = deadline
        self.once = once
        self.generation = topology.generation
        self.nodes = [_Node() for _ in topology.nodes]
        self.open: dict[int, _Open] = {}
        self.cancelled: list[int] = []
        self.probes = Probes()
        self.order = topology.order
        self.target = self.order[0]  # asked alone until widen_at
        self.more_at = -inf  # when the next node may be asked that was not asked yet
        self.widen_at = now if topology.master is None and topology.failed_term else now + means.policy.stagger_s
        self.suspect_term = topology.failed_term  # no master up to this term will do
        self.may_have_acted = False
        self.calls = 0

    # --- where to ask next ---

    def next_step(self, now: float) -> Step:
        """The line that decides where to ask next: every node in view that is due and has no open request."""
        self._suspect_the_late(now)
        start: list[Call] = []
        for index in self._in_view(now):
            if self._due_at(index) <= now < self.deadline and not self._is_asked(index):
                start += self._ask(index, now)
        cancel, self.cancelled = tuple(self.cancelled), []
        return Step(start=tuple(start), cancel=cancel, wake_at=self._wake_at(now))

    def _in_view(self, now: float) -> tuple[int, ...]:
        return (self.target,) if now < self.widen_at else self.order

    def _due_at(self, index: int) -> float:
        """When this node may be asked: a first time only when those before it have had their time, or have failed."""
        next_at = self.nodes[index].next_at
        return self.more_at if next_at == -inf else next_at

    def _wake_at(self, now: float) -> float | None:
        asked = {each.call.node for each in self.open.values()}
        due = min([self._due_at(index) for index in self._in_view(now) if index not in asked], default=inf)
        widen_at = self.widen_at if now < self.widen_at else inf
        wake_at = min(due, widen_at, self.deadline) if now < self.deadline else self._over_at
        return None if wake_at == inf else wake_at

    def _suspect_the_late(self, now: float) -> None:
        """A master that is late counts as failed for the requests that are parked beside it, and for nobody else yet."""
        for asked in self.open.values():
            if asked.master_term is not None and now >= asked.began + self.means.policy.stagger_s:
                self.suspect_term = max(self.suspect_term, asked.master_term)

    def _ask(self, index: int, now: float) -> list[Call]:
        if self.nodes[index].next_at == -inf:
            self.more_at = now if self.once else now + min(self.means.policy.stagger_s, (self.deadline - now) / STAGGERS)
        master_term = self._believed_term(index)
        parking = None if master_term is not None or now < self.widen_at else self._parking(index, now)
        answer_s = attempt_s(self.means.ttl_s, self.nodes[index].failures) if parking is None else parking.wait_s + 1
        answer_by = min(now + answer_s, self.deadline)
        http = encode(self.request, parking)
        calls: list[Call] = []
        for address in self.means.knowledge.topology.nodes[index].addresses:
            self.calls += 1
            call = Call(id=self.calls, node=index, endpoint=address, request=http, connect_by=min(now + CONNECT_S, answer_by), answer_by=answer_by)
            self.open[call.id] = _Open(call=call, began=now, parking=parking, master_term=master_term)
            calls.append(call)
        self._again(index, now + self.means.policy.probe_s)
        return calls

    def _believed_term(self, index: int) -> int | None:
        """The term in which this node is thought to be master, by knowledge or by a hint that was just followed."""
        topology = self.means.knowledge.topology
        if topology.master == index:
            return topology.term
        hinted_term, self.nodes[index].hinted_term = self.nodes[index].hinted_term, -1
        return hinted_term if hinted_term > self.suspect_term else None

    def _parking(self, index: int, now: float) -> Parking | None:
        """How long a node may hold the request.  One that never said a word answers before the deadline, so that the error can tell."""
        node, remaining_s = self.nodes[index], self.deadline - now
        if node.failures or self.once or (index == self.means.knowledge.topology.fallen and not node.spoke):
            return None  # it holds nothing before it has shown that it can be reached; the fallen master may serve on
        remaining_s = min(remaining_s, MAX_PARK_S + WORD_S)
        wait_s = min(MAX_PARK_S, ceil(remaining_s) if node.spoke else floor(remaining_s - WORD_S))
        after_term = self.suspect_term - (node.laid_down == self.suspect_term)  # it may take up again what it laid down
        return Parking(wait_s=wait_s, after_term=after_term) if wait_s >= 1 else None

    def _is_asked(self, index: int) -> bool:
        return index in [asked.call.node for asked in self.open.values()]

    def _again(self, index: int, at: float) -> None:
        self.nodes[index].next_at = inf if self.once else at

    # --- what an answer means ---

    def take(self, event: Event) -> Served | None:
        """Take in what happened; gives the answer if it is one of a current master, or final for another reason."""
        if not isinstance(event, Answered | Failed):
            return None
        asked = self.open.pop(event.call_id, None)
        if asked is None:  # it crossed its own cancelling
            return None
        if isinstance(event, Answered):
            try:
                return self._after_reply(asked, event, decode(self.request, event))
            except NotOursError as error:
                event = Failed(call_id=event.call_id, now=event.now, outcome=Outcome.NOT_OURS, sent=True, detail=str(error))
        self._after_failure(asked, event)
        return None

    def _after_failure(self, asked: _Open, failure: Failed) -> None:
        self.may_have_acted |= failure.sent
        index = asked.call.node
        is_held = asked.parking is not None and self.nodes[index].spoke and failure.outcome is Outcome.TIMED_OUT
        self._note(asked, failure.now, failure.outcome.value, f"held the request: {failure.detail}" if is_held else failure.detail, answered=False)
        if self._is_asked(index):  # another of its ports may still answer
            return
        node = self.nodes[index]
        node.failures += 1
        self._again(index, failure.now + self.means.policy.delay_s(node.failures, self.means.luck))
        self.means.knowledge.learn(FellSilent(node=index, term=asked.master_term))
        if asked.master_term is not None:
            self.suspect_term = max(self.suspect_term, asked.master_term)
        self._widen(failure.now)

    def _after_reply(self, asked: _Open, answer: Answered, reply: Reply) -> Served | None:
        index, now = asked.call.node, answer.now
        topology = self.means.knowledge.learn(known.spoken(index, asked.call.endpoint, reply))
        self.nodes[index].failures, self.nodes[index].spoke = 0, True
        if topology.generation != self.generation:
            self._begin_anew(topology, now)
        if reply.speaker.cluster != topology.cluster:
            self._after_odd_reply(asked, now, "another cluster", f"{reply.speaker.node} belongs to another triad")
            return None
        self._cancel_other_ports(index)
        is_final = isinstance(reply, Problem) and reply.name in OUR_FAULT
        if is_final or (known.serves(reply) and known.is_current(topology, reply)):
            return Served(reply=reply, node=index, sent_at=answer.sent_at, now=now, may_have_acted=self._may_be_served_yet())
        if isinstance(reply, Problem):
            self._note(asked, now, reply.name, reply.words, answered=True)
            self._after_problem(asked, reply, now)
        else:
            self.may_have_acted = True
            self._after_odd_reply(asked, now, "stale master", "it serves in a term that the triad has left, or in one in which another serves, too")
        return None

    def _after_odd_reply(self, asked: _Open, now: float, outcome: str, detail: str) -> None:
        """Whoever answered is not to be believed; it is asked again at the common pace."""
        self._note(asked, now, outcome, detail, answered=True)
        self._again(asked.call.node, now + self.means.policy.probe_s)
        self._widen(now)

    def _begin_anew(self, topology: known.Topology, now: float) -> None:
        """The triad was replaced by another: what was suspected, and what is held for a later term, has lost its meaning."""
        self.generation = topology.generation
        self.suspect_term = topology.failed_term
        self.cancelled += self.open
        self.open.clear()
        self.nodes = [_Node(spoke=node.spoke, next_at=node.next_at if self.once else now) for node in self.nodes]
        self._widen(now)

    def _may_be_served_yet(self) -> bool:
        """Whether a try was sent that nobody answered.  One that is parked is dropped by its node when it is cancelled."""
        return self.may_have_acted or any(asked.parking is None for asked in self.open.values())

    def _after_problem(self, asked: _Open, problem: Problem, now: float) -> None:
        index, probe_s = asked.call.node, self.means.policy.probe_s
        self.may_have_acted |= problem.may_have_acted
        if problem.name in known.NOT_SERVING:
            self.nodes[index].names_master = problem.master is not None
            self._believe_its_end(asked, problem)
        elif problem.name == "overloaded":
            self.nodes[index].names_master |= asked.master_term is not None
        if problem.name == "overloaded":
            self._pause(asked, max(probe_s, problem.retry_after_s or 0.0) * (1 + JITTER * self.means.luck()), now)
        elif problem.name != "not-master" or not self._follow(problem, now):
            self._again(index, now if self._may_hold_again(asked, problem, now) else now + probe_s)
            self._widen(now)

    def _believe_its_end(self, asked: _Open, problem: Problem) -> None:
        """A master that says itself that it serves no more has failed: the others, who may not know it yet, are to wait for the next."""
        if asked.master_term is not None and problem.master is None:
            self.nodes[asked.call.node].laid_down = asked.master_term
            self.suspect_term = max(self.suspect_term, asked.master_term)

    def _pause(self, asked: _Open, pause_s: float, now: float) -> None:
        """A master that is overloaded keeps the request: others could do no better.  Any other node is only left alone for that time."""
        index = asked.call.node
        self.nodes[index].paused_until = now + pause_s
        self._again(index, now + pause_s)
        if asked.master_term is not None and not self.once:
            self._keep_to(index, now + pause_s)
        else:
            self._widen(now)

    def _keep_to(self, index: int, until: float) -> None:
        """Ask this node alone until it has had its time to answer after ``until``."""
        self.target, self.widen_at = index, until + self.means.policy.stagger_s

    def _may_hold_again(self, asked: _Open, problem: Problem, now: float) -> bool:
        """Whether asking this node again at once brings something new: it was not asked to hold the request, or held it, or held it for less."""
        parking, node = asked.parking, self.nodes[asked.call.node]
        if now < node.hurried_at + self.means.policy.probe_s:
            return False
        if problem.name == "not-master" and problem.master is not None:
            is_new = self.suspect_term >= problem.speaker.term and (parking is None or parking.after_term < self.suspect_term)
        else:
            is_new = parking is None or now - asked.began >= parking.wait_s / 2
        if is_new:
            node.hurried_at = now
        return is_new

    def _follow(self, problem: Problem, now: float) -> bool:
        """Go where a hint leads.  A hint to a master that has failed or is late tells only that the others do not know it yet."""
        term = problem.speaker.term
        target = self.means.knowledge.topology.node_of(problem.master)
        if target is None:
            return False
        node = self.nodes[target]
        if node.failures or self._is_late(target, now):
            self.suspect_term = max(self.suspect_term, term)
        if now < node.paused_until and not self.once:  # it is the master, and too busy
            self._keep_to(target, node.paused_until)
            return True
        was_asked = self.once and node.next_at == inf
        if term <= self.suspect_term or self._is_asked(target) or was_asked or now < node.followed_at + self.means.policy.probe_s:
            return False
        node.followed_at, node.next_at, node.hinted_term = now, now, term
        self._keep_to(target, now)
        return True

    def _is_late(self, index: int, now: float) -> bool:
        """Whether the node was asked directly, and has been silent for longer than an answer takes."""
        stagger_s = self.means.policy.stagger_s
        return any(asked.call.node == index and asked.parking is None and now >= asked.began + stagger_s for asked in self.open.values())

    def _widen(self, now: float) -> None:
        self.widen_at = min(self.widen_at, now)
        self.more_at = now

    def _cancel_other_ports(self, index: int) -> None:
        others = [number for number, asked in self.open.items() if asked.call.node == index]
        for number in others:
            del self.open[number]
        self.cancelled += others

    # --- the end ---

    def left_open(self) -> tuple[int, ...]:
        """The calls that nobody waits for any more."""
        return (*self.cancelled, *self.open)

    def is_over(self, now: float) -> bool:
        """Whether the time is up, or every node was asked once and that was all that was wanted."""
        return now >= self._over_at or (self.once and not self.open and all(node.next_at == inf for node in self.nodes))

    @property
    def _over_at(self) -> float:
        return self.deadline + (LAST_WORDS_S if self.open else 0.0)

    def unanswered(self, now: float) -> Unanswered:
        """What is to be told when no master answered."""
        for asked in self.open.values():
            self.may_have_acted = True
            self._note(asked, now, Outcome.TIMED_OUT.value, "held the request" if asked.parking else "no answer", answered=False)
        heard = sum(node.spoke for node in self.nodes)
        return Unanswered(
            probes=self.probes.told(),
            heard=heard,
            master_named=any(node.names_master for node in self.nodes),
            may_have_acted=self.may_have_acted,
            took_s=now - self.began,
            now=now,
        )

    def _note(self, asked: _Open, now: float, outcome: str, detail: str, *, answered: bool) -> None:
        self.probes.add(
            Probe(
                endpoint=asked.call.endpoint,
                asked=describe(self.request),
                began_s=asked.began - self.began,
                took_s=now - asked.began,
                outcome=outcome,
                detail=detail,
                answered=answered,
            )
        )
