"""Clients that wait at a node: parked until there is a master, or held until a second node has acknowledged what their answer says.

``Parking`` waits for a master, never for a seat.  A node that serves itself never parks a request, whatever its ``After-Term`` says; of *another*
node as master only one in a term above it ends the wait.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

from fakeserver.desk import Outcome
from fakeserver.events import ClientCall
from fakeserver.replies import Reply, problem
from fakeserver.roles import Role

PARK_LIMIT_S = 30.0
"""The longest wait, by the protocol (seconds)."""

CALLS_LIMIT = 10_000
"""Requests that wait here at one time, parked and held each: ten times the clients that one master is built for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What a node that does not serve can tell a client: the other node that does, if it knows one, and whether there is a quorum."""

    master: Role | None
    master_term: int
    quorum: bool
    retry_s: float

    @property
    def news(self) -> tuple[Role | None, int]:
        """What ends a wait when it changes."""
        return self.master, self.master_term

    def reply(self) -> Reply:
        """The answer for those who do not wait (T9): never a grant, and the hint where there is one."""
        if self.master is not None:
            return problem("not-master", f"The {self.master.value} is the master.", master=self.master.value)
        return self.no_master()

    def no_master(self) -> Reply:
        """The answer when the wait for a master was in vain; it names the one that the client did not want to hear of again."""
        if self.quorum:
            known = self.master.value if self.master else None
            detail = f"No master came after the {known}." if known else "There is a quorum, but no master yet."
            return problem("electing", detail, master=known, retry_after_s=self.retry_s)
        return problem("no-quorum", "This node can talk to neither of the others.", master=None, retry_after_s=self.retry_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parked:
    """A request that waits for a master, since ``received_at`` until ``until`` (seconds)."""

    call: ClientCall
    received_at: float
    until: float

    def is_ended_by(self, outlook: Outlook) -> bool:
        """Whether a master that the client has not seen fail is known now."""
        return outlook.master is not None and outlook.master_term > self.call.after_term


class Parking:
    """The parked requests of one node, in the order of their coming."""

    def __init__(self) -> None:
        self._parked: dict[int, Parked] = {}
        self._looked_at: tuple[Role | None, int] = (None, 0)
        self.next_end = float("inf")

    def admit(self, call: ClientCall, outlook: Outlook, now: float) -> Reply | None:
        """Refuse at once, or park (None)."""
        entry = Parked(call=call, received_at=now, until=now + min(call.park_s, PARK_LIMIT_S))
        if call.park_s <= 0 or entry.is_ended_by(outlook):
            return outlook.reply()
        if len(self._parked) >= CALLS_LIMIT:
            return problem("overloaded", f"{CALLS_LIMIT} requests wait here already.", retry_after_s=outlook.retry_s)
        if not self._parked:
            self._looked_at = outlook.news
        self._parked[call.token] = entry
        self.next_end = min(self.next_end, entry.until)
        return None

    def drop(self, token: int) -> None:
        """The client has gone: its request must never be served."""
        self._parked.pop(token, None)
        if not self._parked:
            self.next_end = float("inf")

    @property
    def is_empty(self) -> bool:
        """Whether nobody waits here."""
        return not self._parked

    def take_all(self) -> tuple[Parked, ...]:
        """Everybody, because this node serves now or stops."""
        everybody = tuple(self._parked.values())
        self._parked.clear()
        self.next_end = float("inf")
        return everybody

    def ended(self, outlook: Outlook, now: float) -> list[tuple[int, Reply]]:
        """Those whose wait is over: another node is master, or the time is up."""
        if outlook.news == self._looked_at and now < self.next_end:
            return []
        self._looked_at = outlook.news
        over = [(entry, outlook.reply()) for entry in self._parked.values() if entry.is_ended_by(outlook)]
        over += [(entry, outlook.no_master()) for entry in self._parked.values() if now >= entry.until and not entry.is_ended_by(outlook)]
        for entry, _ in over:
            del self._parked[entry.call.token]
        self.next_end = min((entry.until for entry in self._parked.values()), default=float("inf"))
        return [(entry.call.token, reply) for entry, reply in over]


class Held:
    """Outcomes that wait for a second node's acknowledgement (E4), until ``until`` at the longest."""

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[float, Outcome]] = {}
        self._gone: set[int] = set()
        self._by_op: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether no further request may be taken on."""
        return len(self._waiting) >= CALLS_LIMIT

    @property
    def next_end(self) -> float:
        """When the oldest has waited for too long; all wait equally long."""
        for until, _ in self._waiting.values():
            return until
        return float("inf")

    def add(self, token: int, outcome: Outcome, until: float) -> None:
        """One more."""
        self._waiting[token] = (until, outcome)
        heapq.heappush(self._by_op, (outcome.needs_op, token))

    def drop(self, token: int) -> None:
        """The client has gone: nobody waits for this answer any more, but what was done is done, and told to the logs."""
        if token in self._waiting:
            self._gone.add(token)

    def confirmed(self, committed: int) -> list[tuple[int | None, Outcome]]:
        """Those whose operation is on two nodes; None in the place of a client that has gone."""
        out: list[tuple[int | None, Outcome]] = []
        while self._by_op and self._by_op[0][0] <= committed:
            _, token = heapq.heappop(self._by_op)
            if token in self._waiting:
                out.append((None if token in self._gone else token, self._waiting.pop(token)[1]))
                self._gone.discard(token)
        return out

    def overdue(self, now: float) -> list[int]:
        """Those who must not wait any longer for an acknowledgement that does not come."""
        if not self._waiting or now < self.next_end:
            return []
        over = [token for token, (until, _) in self._waiting.items() if now >= until]
        for token in over:
            del self._waiting[token]
            self._gone.discard(token)
        return over

    def take_all(self) -> tuple[int, ...]:
        """Everybody, because the mastership is lost: none of these answers may leave (G4)."""
        everybody = tuple(self._waiting)
        self._waiting.clear()
        self._gone.clear()
        self._by_op.clear()
        return everybody
