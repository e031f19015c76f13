"""What must hold in every history, looked at while it runs."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from traceback import extract_tb
from typing import TYPE_CHECKING, Any

from fakeserver.events import Answer, Effect, ReportLine
from palclient.core.flow import Answered, Call
from palclient.errors import PalError
from palclient.models import Event, Lost, Reacquired

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.simulation.clients import VirtualClient
    from tests.simulation.nodes import VirtualNode
    from tests.simulation.world import World

from tests.simulation.nodes import book, may_serve

CLOCK_MARGIN = 0.02  # the protocol's: a client counts 2 % short
FRAMES = 4  # of what was being done when a history stopped

CHECKERS = {
    "over-issue": "more seats believed held than the pool has, by `valid` as the product computes it (G1)",
    "exactly once": "one checkout id holds more seats than it asked for, or a returned one holds any (G3)",
    "lost grant": "a master does not know a lease that its client validly holds (G2)",
    "two serve": "a node serves while another may (T7)",
    "fencing": "`seq` falls, numbers two grants, or `same_seat` is not what it says",
    "abandoned": "a seat runs out of which its client, alive and awake, knows nothing any more",
    "overstay": "a seat is held longer than its ttl after its last renewal or the last change of master",
    "valid too long": "`valid` after the deadline that the confirmed requests allow",
    "needless loss": "a lease ran out in calm weather",
    "liveness": "with a quorum healed for long enough, somebody who asks is not served",
    "stopped": "the product, or the simulator itself, fails in the midst of it",
}


@dataclass(frozen=True, slots=True)
class Violation:
    """What was broken, when, and how it showed."""

    checker: str
    at: float
    detail: str


@dataclass(slots=True)
class Checks:
    """Watches one history."""

    world: World
    pool: int
    nodes: tuple[VirtualNode, ...]
    clients: list[VirtualClient]
    ttl_s: float
    calm_s: float  # so long after the last trouble everything is to work
    violations: list[Violation] = field(default_factory=list)
    grants: int = 0
    masters: int = 0
    last_trouble: float = 0.0
    _deadlines: dict[str, float] = field(default_factory=dict)
    _returned: set[str] = field(default_factory=set)
    _seq: int = 0  # of the newest grant
    _seqs: dict[str, int] = field(default_factory=dict)  # by lease, as a master told it last
    _is_same_seat: bool = False  # by the answer that was heard last
    _reign: tuple[str, object] = ("", 0)
    _served_since: float = 0.0
    _unserved: set[str] = field(default_factory=set)

    def fail(self, checker: str, detail: str) -> None:
        """Note a violation."""
        self.world.tell("VIOLATION", f"{checker}: {detail}")
        self.violations.append(Violation(checker, self.world.now, detail))

    def stopped(self, error: Exception) -> None:
        """Note what ended the history before its time, and where."""
        frames = extract_tb(error.__traceback__)[-FRAMES:]
        where = " < ".join(f"{frame.name} ({Path(frame.filename).name}:{frame.lineno})" for frame in reversed(frames))
        self.fail("stopped", f"{type(error).__name__}: {error}, in {where}")

    def trouble(self) -> None:
        """Something was just broken or mended."""
        self.last_trouble = self.world.now

    @property
    def is_calm(self) -> bool:
        """Whether nothing was wrong for so long that nothing may go wrong."""
        weather = self.world.weather
        return weather.slow_share < 0.1 and weather.loss < 0.02 and self.world.now - self.last_trouble > self.calm_s

    # --- after a client did something ---

    def after_client(self, client: VirtualClient) -> None:
        """Belief can only begin when a client has heard something, so this is when to count."""
        self.deadlines_hold(client)
        held = sum([client.valid_seats() for client in self.clients if client.records])
        if held > self.pool:
            who = [client.name for client in self.clients if client.valid_seats()]
            self.fail("over-issue", f"{held} of {self.pool} seats are believed held, by {who}")

    def on_answer(self, client: VirtualClient, call: Call, answer: Answered) -> None:
        """Keep the latest deadline that an answer can justify, by arithmetic of its own; and see what a master denies knowing."""
        if answer.status == 200 and (call.request.method == "DELETE" or call.request.target == "/v1/returns"):
            results = _members(answer.body).get("results", {call.request.target.rsplit("/", 1)[-1]: True})
            self._returned.update(results)
            return
        is_about_leases = call.request.method == "PUT" or call.request.target == "/v1/renewals"
        if answer.status >= 300 or not is_about_leases:
            return
        body = _members(answer.body)
        if "seq" in body and body["id"] in client.records:
            self._is_same_seat = client.records[body["id"]].grant.seq == body["seq"]
        results = body["results"] if "results" in body else {body["id"]: body} if "seq" in body else {}
        for lease_id, result in results.items():
            if "ttl_s" in result:
                deadline = answer.sent_at + (1 - CLOCK_MARGIN) * (result["ttl_s"] + body.get("waited_s", 0.0))
                self._deadlines[lease_id] = max(deadline, self._deadlines.get(lease_id, 0.0))
            elif result.get("code") == -41:
                self._denied(client, lease_id, body, answer.sent_at)

    def _denied(self, client: VirtualClient, lease_id: str, body: dict[str, Any], sent_at: float) -> None:
        """What was asked before the lease was last confirmed may have been answered before it was granted again, under the same id."""
        record = client.records.get(lease_id)
        if (
            record is not None
            and lease_id in client.leases.kept
            and record.is_valid(client.local_now)
            and sent_at > record.confirmed_at
            and body["term"] >= client.knowledge.topology.term
        ):
            self.fail("lost grant", f"{body['node']} does not know {lease_id}, which {client.name} holds")

    def on_event(self, client: VirtualClient, event: Event) -> None:
        """A lease that ends is looked at for its reason."""
        if isinstance(event, Lost) and self.is_calm and not client.is_asleep:
            self.fail("needless loss", f"{client.name} lost {event.lease_id}: {event.reason}")
        elif isinstance(event, Reacquired) and event.same_seat != self._is_same_seat:
            self.fail("fencing", f"{client.name} is told same_seat={event.same_seat} of {event.lease_id}")

    def deadlines_hold(self, client: VirtualClient) -> None:
        """No lease is, or will be, valid after what its confirmed requests allow."""
        now = client.local_now
        for lease_id, record in client.records.items():
            deadline = self._deadlines.get(lease_id, 0.0) if lease_id in client.leases.kept else 0.0  # it was returned
            if record.is_valid(now) and (now > deadline or record.valid_until > deadline):
                self.fail("valid too long", f"{client.name} believes in {lease_id} until {record.valid_until:.3f}, past {deadline:.3f}")

    # --- after a node did something ---

    def after_node(self, node: VirtualNode, effects: tuple[Effect, ...]) -> None:
        """Whoever answers as master must be the only one who may."""
        term: object = None
        for effect in effects:
            if isinstance(effect, Answer):
                if effect.status < 300 and "state" not in effect.body:
                    term = effect.body["term"]
                    if "seq" in effect.body:
                        self._told(node, effect)
            elif isinstance(effect, ReportLine) and effect.members.get("reason") == "EXPIRED":
                self._ran_out(node, effect.members)
        if term is not None:
            self._serves(node, term)

    def _serves(self, node: VirtualNode, term: object) -> None:
        if (node.name, term) != self._reign:
            self._reign = (node.name, term)
            self.masters += 1
            self._served_since = self.world.now
        for other in self.nodes:
            if other is not node and may_serve(other):
                self.fail("two serve", f"{node.name} answers while {other.name} may serve")

    def _told(self, node: VirtualNode, answer: Answer) -> None:
        """A master told of a grant: of a new one with the highest number that there was, of an older one with the number that it had."""
        lease_id: Any = answer.body["id"]
        seq: Any = answer.body["seq"]
        if answer.status == 201:
            self.grants += 1
            if lease_id in self._returned:
                self.fail("exactly once", f"{node.name} grants {lease_id}, which was returned")
            if seq <= self._seq:
                self.fail("fencing", f"{node.name} grants {lease_id} with number {seq}, after {self._seq}")
            self._seq = max(seq, self._seq)
        elif seq < self._seqs.get(lease_id, 0):
            self.fail("fencing", f"{node.name} tells number {seq} of {lease_id}, which had {self._seqs[lease_id]}")
        self._seqs[lease_id] = seq

    def _ran_out(self, node: VirtualNode, members: Any) -> None:
        """Whoever is awake returns what it does not keep: no seat waits for its end for want of a word.

        A return that was confirmed may be lost again with the power of a node, as a grant may (E2).  Of a request that the network made two of, or that
        is served at its second node before that hears that the first has denied it, a client cannot know.  Each costs a seat for a lease time.
        """
        lease_id = members["id"]
        client = next(client for client in self.clients if client.name == members["holder"]["user"])
        is_known = lease_id in client.leases.ids() or lease_id in client.under_way
        is_back = lease_id in self._returned and any(each.disk.has_lost_records for each in self.nodes)
        is_late = lease_id in client.doubled or any(lease_id in each.overtaken for each in self.nodes)
        if not (client.is_dead or client.is_asleep or is_known or is_back or is_late):
            self.fail("abandoned", f"{node.name} frees {lease_id}, which {client.name} had forgotten")

    # --- at the end ---

    def free_seats(self) -> int:
        """What the serving master's book leaves of the pool; nobody serving is a violation."""
        serving = [node for node in self.nodes if may_serve(node)]
        if not serving:
            self.fail("liveness", "nobody serves, though all was healed long ago")
            return 0
        return self.pool - sum(book(serving[0]).values())

    def expects_service(self, names: Iterable[str]) -> None:
        """These clients are going to ask for seats that are free."""
        self._unserved = set(names)

    def was_served(self, name: str, error: PalError | None) -> None:
        """The answer to one of them."""
        self._unserved.discard(name)
        if error is not None:
            self._unserved.clear()
            self.fail("liveness", f"after all was healed {name} was refused: {error}")

    def at_the_end(self) -> None:
        """Everybody was served; and the master's book is what the clients hold."""
        if self._unserved:
            self.fail("liveness", f"after all was healed there was no answer to {', '.join(sorted(self._unserved))}")
        for client in self.clients:
            self.deadlines_hold(client)
        for node in self.nodes:
            if may_serve(node):
                self._check_book(node)

    def _check_book(self, node: VirtualNode) -> None:
        """Every seat in the book belongs to a living client's lease, once; a seat of the dead or the returned is overdue by now."""
        living = {lease_id for client in self.clients if not client.is_dead for lease_id in (*client.leases.kept, *client.leases.returns)}
        is_known = self._reign == (node.name, node.term)  # else nobody has asked this master yet, and since when it serves was not seen
        for lease_id, count in book(node).items():
            if lease_id not in living and is_known and self.world.now - self._served_since > self.ttl_s * 1.05:
                self.fail("overstay", f"{node.name} still counts {lease_id}, which nobody has held for a lease time")
            asked = next((client.records[lease_id].grant.count for client in self.clients if lease_id in client.records), count)
            if count != asked:
                self.fail("exactly once", f"{lease_id} holds {count} seats and asked for {asked}")


def _members(body: Any) -> dict[str, Any]:
    return json.loads(body) if isinstance(body, bytes) else body  # type: ignore[no-any-return]
