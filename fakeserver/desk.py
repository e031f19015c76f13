"""The desk of a serving master: checkouts, renewals, returns, usage (G2, G3, G6, E3, E4).

It is opened when the recovery barrier is behind and closed with the mastership; who may serve at all is not asked here.  Every outcome says
which operation a second node must have acknowledged before the answer may leave.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fakeserver import policy
from fakeserver.events import Checkout, NodeConfig, Renew, Request, Return
from fakeserver.replication import Replication
from fakeserver.replies import PROBLEMS, Reply, problem, problem_type, utc_text
from fakeserver.seats import DeadId, Grant, Record, SeatRecord, Table
from fakeserver.waiting import Line

IDS_LIMIT = 1_000
"""Ids in one renewal or return, by the protocol."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A reply, the records that it rests on (a new operation, if any), the operation that must be on two nodes first, and log lines."""

    reply: Reply
    needs_op: int = 0
    records: tuple[Record, ...] = ()
    lines: tuple[str, ...] = ()


class Desk:
    """Serves in one term.  ``now`` is the master's clock in seconds, ``failover`` is E."""

    def __init__(self, config: NodeConfig, table: Table, log: Replication, *, failover: float, now: float) -> None:
        self._config = config
        self._table = table
        self.log = log
        self._failover = failover
        self._line = Line(3 * policy.poll_s(config.ttl_s) + failover)
        self._free_at: dict[str, float] = {}
        self.next_expiry = float("inf")  # no lease runs out before; renewals leave it behind, `expire` sets it right
        for seat in table.held():
            self._keep(_grant(seat), now)  # a full ttl for every held seat (E3): nobody knows when it was last renewed

    def serve(self, request: Request, *, waited_s: float, now: float) -> Outcome:
        """Decide on a request; the caller puts the outcome's records into the table, on the disk and on their way."""
        if isinstance(request, Checkout):
            return self._checkout(request, waited_s, now)
        if isinstance(request, Renew | Return) and len(request.ids) > IDS_LIMIT:
            return Outcome(reply=problem("bad-request", f"One request may name {IDS_LIMIT} ids, not {len(request.ids)}."))
        if isinstance(request, Renew):
            return self._renew(request, waited_s, now)
        if isinstance(request, Return):
            return self._give_back(request)
        return Outcome(reply=Reply(status=200, body={"features": self._usage(now)}))

    def expire(self, now: float) -> tuple[tuple[Record, ...], tuple[str, ...]]:
        """The records that free every lease that has run out, and their log lines."""
        version = self.log.next_version()
        over = [identity for identity, free_at in self._free_at.items() if now >= free_at]
        lines = tuple(_line("IN", seat, " (EXPIRED)") for seat in map(self._table.holding, over) if seat)
        for identity in over:
            del self._free_at[identity]
        self.next_expiry = min(self._free_at.values(), default=float("inf"))
        return tuple(record for identity in over for record in self._table.freed(identity, version)), lines

    # --- checkouts ------------------------------------------------------------------------------------------------------------------

    def _checkout(self, request: Checkout, waited_s: float, now: float) -> Outcome:
        dead = self._table.dead(request.id)
        if dead is not None:
            return Outcome(reply=problem("id-returned", "This checkout was returned or given up; take a new id."), needs_op=self._op(dead))
        held = self._table.holding(request.id)
        if held is not None:
            return self._again(request, held, waited_s, now)
        refused = policy.refusal(request, self._config.features)
        if refused is not None:
            return self.denied(request, refused)
        in_line = self._line.find(request.id)
        if in_line is not None and not _is_same(request, in_line.feature, in_line.version, in_line.count, in_line.holder):
            return Outcome(reply=problem("other-request", "Another checkout stands in line under this id."))
        if self._table.free_count(request.feature) - self._line.ahead(request, now) >= request.count:
            return self._grant(request, waited_s, now)
        return self._stand_in_line(request, now) if request.queue else self._taken(request)

    def _again(self, request: Checkout, held: SeatRecord, waited_s: float, now: float) -> Outcome:
        """The client asks once more for what it has (G3): the same seats, renewed."""
        grant = _grant(held)
        if not _is_same(request, held.feature, grant.version, grant.count, grant.holder):
            return Outcome(reply=problem("other-request", "Another checkout is held under this id."))
        self._keep(grant, now)
        return Outcome(reply=Reply(status=200, body=_lease(held, waited_s)), needs_op=self._op(held))

    def _grant(self, request: Checkout, waited_s: float, now: float) -> Outcome:
        ttl_s = policy.lease_ttl_s(request.ttl_s, ttl_s=self._config.ttl_s, failover_s=self._failover)
        grant = Grant(
            id=request.id,
            version=request.version,
            count=request.count,
            holder=request.holder,
            ttl_s=ttl_s,
            granted_at=self._config.wall_epoch_s + now,
            nonce=request.nonce,
        )
        seats = self._table.granted(grant, request.feature, self.log.next_version())
        self._keep(grant, now)
        lines = ("DEQUEUED: " + _who(request.feature, request.holder),) if self._line.leave(request.id) else ()
        return Outcome(
            reply=Reply(status=201, body=_lease(seats[0], waited_s)),
            needs_op=seats[0].version.op,
            records=seats,
            lines=(*lines, _line("OUT", seats[0])),
        )

    def _stand_in_line(self, request: Checkout, now: float) -> Outcome:
        new = self._line.find(request.id) is None
        place = self._line.join(request, now)
        if place is None:
            return self._taken(request)
        body = {"id": request.id, "position": place[0], "of": place[1], "poll_s": policy.poll_s(self._config.ttl_s)}
        lines = ("QUEUED: " + _who(request.feature, request.holder),) if new else ()
        return Outcome(reply=Reply(status=202, body=body), lines=lines)

    def _taken(self, request: Checkout) -> Outcome:
        total = self._config.features[request.feature]
        in_use = total - self._table.free_count(request.feature)
        refused = problem(
            "seats-taken",
            f"{in_use} of {total} seats of {request.feature!r} are in use; {request.count} were asked for.",
            feature=request.feature,
            in_use=in_use,
            total=total,
            retry_after_s=policy.poll_s(self._config.ttl_s),
        )
        return self.denied(request, refused)

    @staticmethod
    def denied(request: Checkout, refused: Reply) -> Outcome:
        """A refusal, with its line in the log."""
        return Outcome(reply=refused, lines=(f"DENIED: {_who(request.feature, request.holder)} ({refused.body['title']})",))

    # --- renewals, returns, usage ---------------------------------------------------------------------------------------------------

    def _renew(self, request: Renew, waited_s: float, now: float) -> Outcome:
        results: dict[str, object] = {}
        needs_op = 0
        for identity in request.ids:
            seat = self._table.holding(identity)
            if seat is None:
                results[identity] = _LEASE_UNKNOWN
                continue
            self._keep(_grant(seat), now)
            needs_op = max(needs_op, self._op(seat))  # a seat that is not yet on two nodes must not be called held
            results[identity] = {"ttl_s": _grant(seat).ttl_s}
        return Outcome(reply=Reply(status=200, body={"results": results, "waited_s": waited_s}), needs_op=needs_op)

    def _give_back(self, request: Return) -> Outcome:
        """Free the seats, and let every id be dead, known or not: its checkout may still be on its way."""
        version = self.log.next_version()
        results: dict[str, bool] = {}
        records: list[Record] = []
        lines: list[str] = []
        needs_op = 0
        for identity in dict.fromkeys(request.ids):
            seat, dead = self._table.holding(identity), self._table.dead(identity)
            results[identity] = seat is not None
            self._line.leave(identity)
            if dead is not None:
                needs_op = max(needs_op, self._op(dead))
                continue
            records += [*self._table.freed(identity, version), DeadId(id=identity, version=version)]
            lines += [_line("IN", seat)] if seat else []
            self._free_at.pop(identity, None)
        body: dict[str, object] = {"returned": results[request.ids[0]]} if request.single else {"results": results}
        return Outcome(
            reply=Reply(status=200, body=body),
            needs_op=version.op if records else needs_op,
            records=tuple(records),
            lines=tuple(lines),
        )

    def _usage(self, now: float) -> list[dict[str, object]]:
        holders: dict[str, list[dict[str, object]]] = {feature: [] for feature in self._config.features}
        for seat in self._table.held():
            grant = _grant(seat)
            entry = {"id": grant.id, "holder": dict(grant.holder), "count": grant.count, "since": utc_text(grant.granted_at)}
            holders.setdefault(seat.feature, []).append(entry)
        return [
            {
                "feature": feature,
                "total": total,
                "in_use": total - self._table.free_count(feature),
                "reserved": 0,
                "queued": self._line.length(feature, now),
                "holders": holders[feature],
            }
            for feature, total in self._config.features.items()
        ]

    # --- leases ---------------------------------------------------------------------------------------------------------------------

    def _keep(self, grant: Grant, now: float) -> None:
        self._free_at[grant.id] = now + policy.held_s(grant.ttl_s)
        self.next_expiry = min(self.next_expiry, self._free_at[grant.id])

    def _op(self, record: Record) -> int:
        """The operation that put a record there; what is older than this term is on two nodes since the barrier."""
        return record.version.op if record.version.term == self.log.term else 0


_LEASE_UNKNOWN = {
    "type": problem_type("lease-unknown"),
    "status": PROBLEMS["lease-unknown"].status,
    "code": PROBLEMS["lease-unknown"].code,
}


def _grant(seat: SeatRecord) -> Grant:
    """The grant of a seat that is known to be held."""
    if seat.grant is None:
        raise ValueError(f"seat {seat.index} of {seat.feature!r} is free")
    return seat.grant


def _is_same(request: Checkout, feature: str, version: str, count: int, holder: Mapping[str, object]) -> bool:
    """Whether a repeated request asks for the same as the one that is known under its id."""
    return (request.feature, request.version, request.count, request.holder) == (feature, version, count, holder)


def _lease(seat: SeatRecord, waited_s: float) -> dict[str, object]:
    grant = _grant(seat)
    return {
        "id": grant.id,
        "feature": seat.feature,
        "version": grant.version,
        "count": grant.count,
        "seq": seat.seq,
        "ttl_s": grant.ttl_s,
        "renew_s": policy.renew_s(grant.ttl_s),
        "granted_at": utc_text(grant.granted_at),
        "nonce": grant.nonce,
        "waited_s": waited_s,
    }


def _who(feature: str, holder: Mapping[str, object]) -> str:
    return f"{feature} {holder.get('user', '?')}@{holder.get('host', '?')}"


def _line(word: str, seat: SeatRecord, suffix: str = "") -> str:
    """A line of the debug log (T14)."""
    return f"{word}: {_who(seat.feature, _grant(seat).holder)}{suffix}"
