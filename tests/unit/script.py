"""A triad in a script: three nodes that answer as the protocol page says, under the clock of the virtual runner.

    triad = ScriptedTriad()                                  # the primary is master of term 7
    triad.says("primary", down())
    triad.net.at(triad.start + 0.4, lambda: triad.says("secondary", master(8)))
    taken = triad.checkout(timeout_s=10.0)

A node is a ``Part``: what it does with a request that it does not serve, and with one that it serves.  A changed part answers what was parked.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

from palclient.core.checkout import Patience, Taken, Trace, checkout
from palclient.core.flow import Answered, Call, Flow, Outcome, Result
from palclient.core.locate import Means
from palclient.core.retry import RetryPolicy
from palclient.core.topology import Knowledge, Spoke, fresh
from palclient.core.wire import CheckoutRequest, Speaker
from palclient.models import ROLES, Endpoint, Holder, MasterChanged, Role, Waiting
from palclient.servername import parse_servername
from tests.unit.virtual_runner import REFUSED, SILENCE, Failure, Fate, Reply, VirtualRunner, VirtualTask

CLUSTER = "9f1c"
SERVERS = "27000@lic1,27001@lic2,27002@lic3"
NAMES = ("primary", "secondary", "tertiary")
RTT_S = 0.001
TTL_S = 180.0

Body = dict[str, Any]
Serve = Callable[["Part", Call, float], Reply]

STATUS_OF = {
    "not-master": 421,
    "no-quorum": 503,
    "electing": 503,
    "overloaded": 429,
    "seats-taken": 409,
    "over-max": 409,
    "reserved": 409,
    "too-many-asked": 409,
    "feature-unknown": 404,
    "version-not-covered": 403,
    "expired": 403,
    "not-started": 403,
    "excluded": 403,
    "not-included": 403,
    "lease-unknown": 404,
    "id-returned": 410,
    "other-request": 422,
    "bad-request": 400,
    "too-large": 413,
    "unsupported-version": 400,
}


def request(*, count: int = 1, lease_id: str = "id-1", queue: bool = False) -> CheckoutRequest:
    """A checkout of one seat."""
    return CheckoutRequest(id=lease_id, feature="CAD", version="0", count=count, holder=Holder(user="ann", host="pc7"), queue=queue, nonce="n")


def speech(*, term: int = 7, role: str | None = "primary", cluster: str = CLUSTER) -> Body:
    """What every reply says of its sender."""
    return {"node": f"27000@{role}", "role": role, "cluster": cluster, "term": term}


def speaker(*, term: int = 7, role: Role | None = Role.PRIMARY, cluster: str = CLUSTER) -> Speaker:
    """The same, decoded."""
    return Speaker(node="27000@lic", role=role, cluster=cluster, term=term)


def problem(name: str, **more: Any) -> Body:
    """A problem's own members."""
    return {"type": f"urn:palclient:problem:{name}", "title": name, "status": STATUS_OF.get(name, 500), "code": -1, **more}


def grant(lease_id: str, *, seq: int = 42, ttl_s: float = TTL_S, count: int = 1, waited_s: float = 0.0) -> Body:
    """A grant's own members."""
    return {
        "id": lease_id,
        "feature": "CAD",
        "version": "1.0",
        "count": count,
        "seq": seq,
        "ttl_s": ttl_s,
        "renew_s": ttl_s / 3,
        "granted_at": "2026-11-24T03:00:00.000Z",
        "nonce": "n",
        "waited_s": waited_s,
    }


def answered(body: Mapping[str, Any] | bytes, *, status: int = 200, now: float = 0.001, sent_at: float = 0.0) -> Answered:
    """An answer as the transport brings it."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answered(call_id=1, now=now, sent_at=sent_at, status=status, content_type="application/json", body=data)


# --- the parts that a node can play -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """``serve`` answers as master; without it the node refuses with ``refusal``.  ``known_term``: it knows another master, of this term.

    ``holds`` is False for a node that does not play by the rule of parking.  ``fate``: it does this with every call, whatever it asks.
    """

    term: int = 0
    serve: Serve | None = None
    refusal: Body = field(default_factory=dict)
    known_term: int = -1
    holds: bool = True
    fate: Failure | Reply | None = None
    mute: bool = False
    cluster: str = CLUSTER
    ttl_s: float = TTL_S


def down() -> Part:
    """Nobody listens."""
    return Part(fate=REFUSED)


def frozen() -> Part:
    """It takes the request and says nothing."""
    return Part(mute=True)


def garbage(body: bytes = b"<html>It works!</html>") -> Part:
    """HTTP, but not ours."""
    return Part(fate=Reply(body=body, after_s=RTT_S))


def fails(outcome: Outcome, *, sent: bool, after_s: float = RTT_S) -> Part:
    """Every call fails like this."""
    return Part(fate=Failure(outcome=outcome, sent=sent, after_s=after_s))


def master(term: int, serve: Serve | None = None, *, cluster: str = CLUSTER, ttl_s: float = TTL_S) -> Part:
    """It serves, by default whatever it is asked."""
    return Part(term=term, serve=serve or serves_all, cluster=cluster, ttl_s=ttl_s)


def denying(term: int, name: str, *, cluster: str = CLUSTER, **more: Any) -> Part:
    """A master that answers everything with this problem."""
    return master(term, lambda _part, _call, _now: Reply(status=STATUS_OF.get(name, 500), body=problem(name, **more)), cluster=cluster)


def standby(of: str | None, term: int, *, holds: bool = True, cluster: str = CLUSTER) -> Part:
    """It follows the master in this role."""
    return Part(term=term, refusal=problem("not-master", master=of), known_term=term, holds=holds, cluster=cluster)


def electing(term: int, *, holds: bool = True) -> Part:
    """It sees another node, and no master."""
    return Part(term=term, refusal=problem("electing", master=None), holds=holds)


def no_quorum(term: int, *, holds: bool = True) -> Part:
    """It sees neither of the others."""
    return Part(term=term, refusal=problem("no-quorum", master=None), holds=holds)


def overloaded(term: int, retry_after_s: float) -> Part:
    """It has too much to do."""
    return Part(term=term, refusal=problem("overloaded", retry_after_s=retry_after_s), holds=False)


def serves_all(part: Part, call: Call, _now: float) -> Reply:
    """Everything is granted, renewed, returned."""
    method, target = call.request.method, call.request.target
    if target == "/v1/renewals":
        return Reply(body={"results": {lease_id: {"ttl_s": part.ttl_s} for lease_id in ids_of(call)}, "waited_s": 0.0})
    if target == "/v1/returns":
        return Reply(body={"results": dict.fromkeys(ids_of(call), True)})
    if target == "/v1/usage":
        return Reply(body={"features": []})
    if target == "/v1/status":
        return Reply(body={"state": "master", "quorum": True, "master": "primary", "failover_s": 79})
    if method == "DELETE":
        return Reply(body={"returned": True})
    return Reply(status=201, body=grant(ids_of(call)[0], ttl_s=part.ttl_s, count=json.loads(call.request.body)["count"]))


def ids_of(call: Call) -> tuple[str, ...]:
    """The lease ids that a call is about."""
    if call.request.target in ("/v1/renewals", "/v1/returns"):
        return tuple(json.loads(call.request.body)["ids"])
    return (call.request.target.rpartition("/")[2],)


def header(call: Call, name: str) -> str | None:
    """A header of a call."""
    return dict(call.request.headers).get(name)


def kind_of(call: Call) -> str:
    """What a call asks for."""
    path = call.request.target.split("/")[2]
    return {"PUT": "claim" if b'"reclaim"' in call.request.body else "checkout", "DELETE": "return"}.get(call.request.method, path)


# --- the triad ----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Parked:
    call: Call
    node: int
    began: float
    after_term: int
    until: float


class ScriptedTriad:
    """Three nodes (or one), a client's knowledge of them, and the runner; ``log`` is what was asked and how each call was met."""

    def __init__(self, *, servers: str = SERVERS, luck: float = 0.0, policy: RetryPolicy | None = None, ttl_s: float | None = None) -> None:
        servername = parse_servername(servers)
        self.parts: list[Part] = [master(7), standby("primary", 7), standby("primary", 7)][: len(servername.endpoints)]
        self.listens: list[int | None] = [None] * len(self.parts)  # the one port on which a node without a port in SERVERNAME is
        self.elsewhere: Failure | None = REFUSED  # what becomes of a call to another of its ports
        self.net = VirtualRunner([self._node(index) for index in range(len(self.parts))])
        self.start = self.net.now
        self.tasks: list[VirtualTask[Any]] = []
        self.parked: list[_Parked] = []
        self.changes: list[MasterChanged] = []
        self.on_replaced: Callable[[], None] = lambda: None
        self.knowledge = Knowledge(fresh(servername), nullcontext(), self.changes.append, self._tell_replaced)
        self.luck = luck
        self.means = Means(knowledge=self.knowledge, policy=policy or RetryPolicy(), luck=lambda: self.luck, ttl_s=ttl_s)
        self.trace = Trace()
        self.waiting: list[Waiting] = []
        self.log: list[str] = []
        self.took_s = 0.0

    # --- playing ---

    def says(self, name: str, part: Part) -> None:
        """From now on the node plays this part; what is parked there is answered if the part has an answer."""
        index = NAMES.index(name)
        self.parts[index] = part
        for entry in [entry for entry in self.parked if entry.node == index]:
            self._release(entry)

    def at(self, after_s: float, name: str, part: Part) -> None:
        """The same, so long after the start."""
        self.net.at(self.start + after_s, lambda: self.says(name, part))

    def knows_master(self, name: str = "primary", term: int = 7, *, cluster: str = CLUSTER) -> None:
        """The client has met this master before."""
        index = NAMES.index(name)
        port = self.knowledge.topology.nodes[index].port
        self.knowledge.learn(Spoke(node=index, port=port, speaker=speaker(term=term, role=ROLES[index], cluster=cluster), serves=True))

    def spawn(self, flow: Flow[Result]) -> VirtualTask[Result]:
        """Begin a flow whose parked calls this triad can answer."""
        task = self.net.spawn(flow)
        self.tasks.append(task)
        return task

    def run(self, flow: Flow[Result], *, limit_s: float = 1000.0) -> Result:
        """Drive a flow to its end."""
        task = self.spawn(self._timed(flow))
        while not task.is_done and self.net.now < self.start + limit_s:
            self.net.run_until(min(self.net.now + 0.1, self.start + limit_s))
        assert task.is_done, f"the flow did not end within {limit_s} s"
        if task.error is not None:
            raise task.error
        result: Result = task.result
        return result

    def _tell_replaced(self) -> None:
        self.on_replaced()

    def _timed(self, flow: Flow[Result]) -> Flow[Result]:
        try:
            return (yield from flow)
        finally:
            self.took_s = round(self.net.now - self.start, 4)

    def checkout_flow(self, *, timeout_s: float = 10.0, wait_s: float = 0.0, count: int = 1) -> Flow[Taken]:
        """The flow of a checkout."""
        patience = Patience(timeout_s=timeout_s, wait_s=wait_s)
        return checkout(request(count=count), self.means, patience, self.trace, now=self.net.now, on_waiting=self.waiting.append)

    def checkout(self, *, timeout_s: float = 10.0, wait_s: float = 0.0, count: int = 1) -> Taken:
        """A checkout, from its beginning to its end."""
        return self.run(self.checkout_flow(timeout_s=timeout_s, wait_s=wait_s, count=count))

    # --- looking back ---

    @property
    def asked(self) -> list[tuple[float, str]]:
        """When each node was asked, from the start, in milliseconds' precision."""
        return [(round(asked.at - self.start, 4), NAMES[asked.call.node]) for asked in self.net.asked]

    def asked_of(self, name: str) -> list[Call]:
        """The calls to one node."""
        return [asked.call for asked in self.net.asked if NAMES[asked.call.node] == name]

    def times_of(self, name: str) -> list[float]:
        """When one node was asked, from the start."""
        return [at for at, node in self.asked if node == name]

    def most_in_a_second(self) -> int:
        """The most requests to one address in any stretch of one second: what a storm would show in."""
        worst = 0
        latest: defaultdict[Endpoint, deque[float]] = defaultdict(deque)
        for asked in self.net.asked:
            times = latest[asked.call.endpoint]
            times.append(asked.at)
            while times[0] <= asked.at - 1.0:
                times.popleft()
            worst = max(worst, len(times))
        return worst

    def counts(self) -> Counter[str]:
        """How often each node was asked."""
        return Counter(name for _, name in self.asked)

    # --- a node ---

    def _node(self, index: int) -> Callable[[Call, float], Fate]:
        return lambda call, now: self._meets(index, call, now)

    def _meets(self, index: int, call: Call, now: float) -> Fate:
        part = self.parts[index]
        prefer = header(call, "Prefer") or "wait=0"
        held = "" if prefer == "wait=0" else f" (may hold it for {prefer[5:]} s, after term {header(call, 'After-Term')})"
        many = f" of {len(ids_of(call))}" if kind_of(call) in ("renewals", "returns") else ""
        self.log.append(f"{now - self.start:8.3f} {NAMES[index]:9} {kind_of(call)}{many}{held}")
        if self.listens[index] not in (None, call.endpoint.port):
            return self.elsewhere
        if part.mute:
            return SILENCE
        if part.fate is not None:
            return part.fate
        entry = _Parked(call, index, now, int(header(call, "After-Term") or 0), now + float(prefer[5:]))
        reply = self._reply(entry, now)
        if reply is not None:
            return replace(reply, after_s=reply.after_s or RTT_S)
        self.parked.append(entry)
        self.net.at(entry.until, lambda: self._release(entry))
        return SILENCE

    def _reply(self, entry: _Parked, now: float) -> Reply | None:
        """The protocol page, Parking: the first of these that fits."""
        part = self.parts[entry.node]
        if part.serve is not None:
            reply = part.serve(part, entry.call, now)
        elif not part.holds or part.known_term > entry.after_term or now >= entry.until:
            reply = Reply(status=STATUS_OF[part.refusal["type"].rpartition(":")[2]], body=part.refusal)
        else:
            return None
        if isinstance(reply.body, bytes):
            return reply
        body = {**speech(term=part.term, role=NAMES[entry.node], cluster=part.cluster), **reply.body}
        if "waited_s" in body and not body["waited_s"]:
            body["waited_s"] = now - entry.began
        return replace(reply, body=body)

    def _release(self, entry: _Parked) -> None:
        part = self.parts[entry.node]
        if entry not in self.parked or part.mute:
            return
        fate = part.fate or self._reply(entry, self.net.now)
        if fate is None:
            return
        self.parked.remove(entry)
        for task in self.tasks:
            self.net.end(task, entry.call, replace(fate, after_s=fate.after_s or RTT_S))
