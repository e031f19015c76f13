"""The desk of a serving master: checkouts, renewals, returns, usage (G2, G3, G6, E3, E4).

It is opened when the recovery barrier is behind and closed with the mastership; who may serve at all is not asked here.  Every outcome says
which operation a second node must have acknowledged before the answer may leave.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from fakeserver import policy
from fakeserver.events import Checkout, NodeConfig, Renew, Request, Return
from fakeserver.logged import Logged, of_grant, of_request
from fakeserver.replication import Replication
from fakeserver.replies import PROBLEMS, Reply, problem, problem_type, utc_text
from fakeserver.seats import DeadId, Grant, Record, SeatRecord, Table, Version
from fakeserver.waiting import WAITS, Line, record_of, waits

if TYPE_CHECKING:
    from fakeserver.options import Rules

IDS_LIMIT = 1_000
"""Ids in one renewal or return, by the protocol."""

LINGERS = "lingers:"
"""Before the id of a checkout whose seats stay taken for a while after their return (LINGER); no client can name such an id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A reply, the records that it rests on (a new operation, if any), the operation that must be on two nodes first, and what the logs tell."""

    reply: Reply
    needs_op: int = 0
    records: tuple[Record, ...] = ()
    lines: tuple[Logged, ...] = ()


class Desk:
    """Serves in one term.  ``now`` is the master's clock in seconds, ``failover`` is E, ``rules`` is what the options file says (G7)."""

    def __init__(self, config: NodeConfig, table: Table, log: Replication, *, failover: float, now: float, rules: Rules | None = None) -> None:
        self._config = config
        self._table = table
        self.log = log
        self.rules = rules
        self._failover = failover
        self._line = Line(filter(waits, table.held()))
        self._free_at: dict[str, float] = {}
        self.next_expiry = float("inf")  # no lease runs out before; renewals leave it behind, `expire` sets it right
        for seat in table.held():
            self._keep(_grant(seat), now)  # a full ttl for every held seat (E3): nobody knows when it was last renewed, or its place asked for

    def serve(self, request: Request, *, waited_s: float, now: float) -> Outcome:
        """Decide on a request; the caller puts the outcome's records into the table, on the disk and on their way."""
        if isinstance(request, Checkout):
            return self._checkout(request, waited_s, now)
        if isinstance(request, Renew | Return) and len(request.ids) > IDS_LIMIT:
            return Outcome(reply=problem("bad-request", f"One request may name {IDS_LIMIT} ids, not {len(request.ids)}."))
        if isinstance(request, Renew):
            return self._renew(request, waited_s, now)
        if isinstance(request, Return):
            return self._give_back(request, now)
        return Outcome(reply=Reply(status=200, body={"features": self._usage()}))

    def expire(self, now: float) -> tuple[tuple[Record, ...], tuple[Logged, ...]]:
        """The records that free every lease that has run out, and what the logs tell of it."""
        version = self.log.next_version()
        over = [identity for identity, free_at in self._free_at.items() if now >= free_at]
        lines = tuple(_logged("IN", seat, reason="EXPIRED") for seat in map(self._table.holding, over) if seat and not _is_ours(seat))
        for identity in over:
            del self._free_at[identity]
        silent = [self._line.leave(identity.removeprefix(WAITS)) for identity in over if identity.startswith(WAITS)]
        lines += tuple(of_request("DEQUEUED", request, reason="SILENT") for request in silent if request)
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
        refused = policy.refusal(request, self._config, self.rules, self._config.wall_epoch_s + now)
        if refused is not None:
            return self.denied(request, refused)
        in_line = self._line.find(request.id)
        if in_line is not None and not _is_same(request, in_line.feature, in_line.version, in_line.count, in_line.holder):
            return Outcome(reply=problem("other-request", "Another checkout stands in line under this id."))
        shortage = self._shortage(request, now)
        if shortage is None:
            return self._grant(request, waited_s, now)
        return self._stand_in_line(request, shortage, now) if request.queue else self.denied(request, shortage)

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
        good = policy.good_seats(request, self._config, grant.granted_at)
        seats = self._table.granted(grant, request.feature, self.log.next_version(), among=good, also=self._own_lingering(request))
        self._keep(grant, now)
        waited, lines = self._leave_line(request.id, "")
        return Outcome(
            reply=Reply(status=201, body=_lease(seats[0], waited_s)),
            needs_op=seats[0].version.op,
            records=(*seats, *waited),
            lines=(*lines, _logged("OUT", seats[0])),
        )

    def _shortage(self, request: Checkout, now: float) -> Reply | None:
        """Why there is no seat for this request now; None when there is one.  Who cannot have what is free stands in nobody's way in the line."""
        good = policy.good_seats(request, self._config, self._config.wall_epoch_s + now)
        ahead = sum(other.count for other in self._line.ahead(request) if not self._held_back(other))
        free = self._table.free_count(request.feature, among=good, also=self._own_lingering(request)) - ahead
        held_back = self._held_back(request)
        if held_back is not None:
            return held_back
        return None if free >= request.count else self._taken(request)

    def _held_back(self, request: Checkout) -> Reply | None:
        """What MAX and RESERVE of the options file have against it, with what is free now; None when they have nothing."""
        feature = request.feature
        if self.rules is None or not self.rules.is_counting(feature):
            return None
        own = self._own_lingering(request)
        held = [_grant(seat) for seat in self._table.held() if seat.feature == feature and not own & self._table.seats_of(_grant(seat).id)]
        over = self.rules.over_max(feature, request.holder, request.count, held)
        if over is not None:
            return self._with_hint(over)
        kept = self.rules.reserved(feature, held, besides=request.holder)
        free = self._table.free_count(feature, also=own)
        if free - kept >= request.count or free < request.count:
            return None
        detail = f"{free} seats of {feature!r} are free, {kept} of them are reserved for others; {request.count} were asked for."
        total = self._config.features[feature]
        return self._with_hint(problem("reserved", detail, feature=feature, in_use=total - free, total=total))

    def _with_hint(self, refused: Reply) -> Reply:
        return replace(refused, body={**refused.body, "retry_after_s": policy.poll_s(self._config.ttl_s)})

    def _own_lingering(self, request: Checkout) -> int:
        """The seats that linger for whoever asks, as bits: they are as good as free."""
        if self.rules is None or not self.rules.linger_s(request.feature):
            return 0
        whose = _user_and_host(request.holder)
        mine = (
            seat for seat in self._table.held() if seat.feature == request.feature and _lingers(seat) and _user_and_host(_grant(seat).holder) == whose
        )
        return sum(self._table.seats_of(_grant(seat).id) for seat in mine)

    def _stand_in_line(self, request: Checkout, shortage: Reply, now: float) -> Outcome:
        """Take a place, or keep the one that there is: what was told is on two nodes (E4), so the next master knows of it."""
        record = self._table.holding(WAITS + request.id)
        new: tuple[SeatRecord, ...] = ()
        if record is None:
            place = self._line.join(request)
            if place is None:
                return self.denied(request, shortage)
            version, seq = self.log.next_version(), self._table.seq + 1
            record = record_of(place, version, seq=seq, ttl_s=self._patience_s, joined_at=self._config.wall_epoch_s + now)
            new = (record,)
        self._keep(_grant(record), now)
        position, length = self._line.position(request), self._line.length(request.feature)
        body = {"id": request.id, "position": position, "of": length, "poll_s": policy.poll_s(self._config.ttl_s)}
        lines = (of_request("QUEUED", request, position=position),) if new else ()
        return Outcome(reply=Reply(status=202, body=body), needs_op=self._op(record), records=new, lines=lines)

    def _leave_line(self, identity: str, reason: str) -> tuple[tuple[SeatRecord, ...], tuple[Logged, ...]]:
        """The record that gives a place up, and its line in the logs; nothing of an id that has none."""
        request = self._line.leave(identity)
        if request is None:
            return (), ()
        self._free_at.pop(WAITS + identity, None)
        return self._table.freed(WAITS + identity, self.log.next_version()), (of_request("DEQUEUED", request, reason=reason),)

    @property
    def _patience_s(self) -> float:
        """How long a place outlives its owner's last word (``held_s`` adds the clocks' margin)."""
        return (3 * policy.poll_s(self._config.ttl_s) + self._failover) / (1 + policy.CLOCK_MARGIN)

    def _taken(self, request: Checkout) -> Reply:
        total = self._config.features[request.feature]
        in_use = total - self._table.free_count(request.feature)
        in_line = self._line.length(request.feature)
        return problem(
            "seats-taken",
            f"{in_use} of {total} seats of {request.feature!r} are in use, {in_line} checkouts stand in line; {request.count} were asked for.",
            feature=request.feature,
            in_use=in_use,
            total=total,
            retry_after_s=policy.poll_s(self._config.ttl_s),
        )

    @staticmethod
    def denied(request: Checkout, refused: Reply) -> Outcome:
        """A refusal, with its line in the logs."""
        line = of_request("DENIED", request, reason=str(refused.body["title"]), type=refused.body["type"], code=refused.body["code"])
        return Outcome(reply=refused, lines=(line,))

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

    def _give_back(self, request: Return, now: float) -> Outcome:
        """Free the seats, and let every id be dead, known or not: its checkout may still be on its way."""
        version = self.log.next_version()
        results: dict[str, bool] = {}
        records: list[Record] = []
        lines: list[Logged] = []
        needs_op = 0
        for identity in dict.fromkeys(request.ids):
            seat, dead = self._table.holding(identity), self._table.dead(identity)
            results[identity] = seat is not None
            waited, left = self._leave_line(identity, "GIVEN UP")
            records += waited
            lines += left
            if dead is not None:
                needs_op = max(needs_op, self._op(dead))
                continue
            records += [*self._let_go(identity, seat, version, now), DeadId(id=identity, version=version)]
            lines += [_logged("IN", seat)] if seat else []
            self._free_at.pop(identity, None)
        body: dict[str, object] = {"returned": results[request.ids[0]]} if request.single else {"results": results}
        return Outcome(
            reply=Reply(status=200, body=body),
            needs_op=version.op if records else needs_op,
            records=tuple(records),
            lines=tuple(lines),
        )

    def _let_go(self, identity: str, seat: SeatRecord | None, version: Version, now: float) -> tuple[SeatRecord, ...]:
        """The records of a return: the seats free, or (LINGER) taken for a while under an id that nobody asks for."""
        linger_s = self.rules.linger_s(seat.feature) if self.rules and seat else 0.0
        if seat is None or not linger_s:
            return self._table.freed(identity, version)
        rest = replace(_grant(seat), id=LINGERS + identity, ttl_s=linger_s / (1 + policy.CLOCK_MARGIN))  # no client counts it, so no margin
        self._keep(rest, now)
        return self._table.given_over(identity, rest, version)

    def _usage(self) -> list[dict[str, object]]:
        holders: dict[str, list[dict[str, object]]] = {feature: [] for feature in self._config.features}
        for seat in self._table.held():
            grant = _grant(seat)
            if _is_ours(seat):
                continue
            entry = {"id": grant.id, "holder": dict(grant.holder), "count": grant.count, "since": utc_text(grant.granted_at)}
            holders.setdefault(seat.feature, []).append(entry)
        return [
            {
                "feature": feature,
                "total": total,
                "in_use": total - self._table.free_count(feature),
                "reserved": self._reserved(feature),
                "queued": self._line.length(feature),
                "holders": holders[feature],
            }
            for feature, total in self._config.features.items()
        ]

    def _reserved(self, feature: str) -> int:
        """The seats that nobody holds and that RESERVE keeps for somebody."""
        if self.rules is None:
            return 0
        return self.rules.reserved(feature, [_grant(seat) for seat in self._table.held() if seat.feature == feature])

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


def _lingers(seat: SeatRecord) -> bool:
    return _grant(seat).id.startswith(LINGERS)


def _is_ours(seat: SeatRecord) -> bool:
    """Whether no client holds this, though a record says that it is held."""
    return _lingers(seat) or waits(seat)


def _user_and_host(holder: Mapping[str, object]) -> tuple[object, object]:
    return holder.get("user"), holder.get("host")


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


def _logged(word: Literal["OUT", "IN"], seat: SeatRecord, *, reason: str = "") -> Logged:
    return of_grant(word, seat.feature, _grant(seat), reason=reason, seq=seat.seq)
