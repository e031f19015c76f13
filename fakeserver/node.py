"""One node of the triad: ``handle(event, now)`` gives back what is to be done.

``Member`` (votes, terms, the table's copies) decides whether this node may serve; ``Desk`` serves; ``Parking`` and ``Held`` keep those who
wait.  Here they are put together, and clients get their answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from fakeserver import policy
from fakeserver.desk import Desk, Outcome
from fakeserver.events import (
    Answer,
    Checkout,
    ClientCall,
    ClientGone,
    DebugLine,
    DiskImage,
    Effect,
    Event,
    Expired,
    Happened,
    NodeConfig,
    PeerAnswer,
    PeerCall,
    PeerReply,
    ReportLine,
    Request,
    Reread,
    Status,
    Stop,
    Tick,
)
from fakeserver.logged import Logged
from fakeserver.member import Member
from fakeserver.parking import Held, Outlook, Parking
from fakeserver.peer import Reply as PeerReplyMessage
from fakeserver.replies import Reply, problem, utc_text
from fakeserver.roles import Role
from fakeserver.stance import LEADING, Stance

if TYPE_CHECKING:
    from fakeserver.options import Rules
    from palclient.optionsfile import OptionsFile


class Node:
    """A node, seen from its shell.  ``now`` and ``wake_at`` are monotonic readings in seconds; no call blocks, draws luck or reads a clock."""

    def __init__(self, config: NodeConfig, disk: DiskImage, now: float) -> None:
        self.config = config
        self.wake_at = now
        self._names = dict(zip(Role, config.triad, strict=True))
        self._member = Member(config, disk, now)
        self._desk: Desk | None = None
        self._parking = Parking()
        self._held = Held()
        self._answers = 0
        self._known_term = 0  # the highest of a master that this node knew of, be it by hearsay
        self._expired: frozenset[str] = frozenset()
        self._rules = _rules(config, config.options)
        self._forget_at = now
        self._dead_s = policy.held_s(max(config.ttl_s, policy.DEAD_S))

    def handle(self, event: Event, now: float) -> tuple[Effect, ...]:
        """Take one event in; do the effects in their order, each to its end.

        ``now`` must be read when the event is handled, not when it came: after a freeze the node sees by it how late it is, and its lease is
        looked at before anything else.
        """
        if self._member.stance is Stance.HALTED:
            return ()
        self._member.watch_lease(now)
        if self._desk:
            self._close_desk_if_deposed(now)
        self._take(event, now)
        self._member.do_due(now)
        self._attend_clients(now)
        if now >= self._forget_at:
            self._forget_at = now + self.config.heartbeat_s
            self._member.ledger.table.forget_dead(before=now - self._dead_s)
        self._member.replicate(now)
        self.wake_at = min(self._member.wake_at, self._parking.next_end, self._held.next_end, self._next_expiry())
        effects = (*self._member.out, self._member.halt) if self._member.halt else tuple(self._member.out)
        self._member.out.clear()
        return effects

    def _take(self, event: Event, now: float) -> None:
        match event:
            case ClientCall():
                self._call(event, now)
            case ClientGone():
                self._parking.drop(event.token)
                self._held.drop(event.token)
            case PeerCall() if not isinstance(event.message, PeerReplyMessage):
                reply = self._member.receive(event.message, now)
                self._member.out.append(PeerAnswer(token=event.token, message=reply))
            case PeerReply() if isinstance(event.message, PeerReplyMessage):
                self._member.answered(event.message, now)
            case Stop():
                self._member.stop(now)
            case Expired():
                self._expired = event.features
            case Reread():
                self._rules = _rules(self.config, event.options)
                if self._desk:
                    self._desk.rules = self._rules
            case Tick():
                pass
            case _:
                raise ValueError(f"a question came as an answer, or the other way round: {event}")

    def is_settled(self, now: float) -> bool:
        """Whether it serves, or knows who does, if nothing has happened since the last event."""
        return self._state(self._outlook(now), now) in {"master", "standby"}

    # --- clients --------------------------------------------------------------------------------------------------------------------

    def _call(self, call: ClientCall, now: float) -> None:
        if isinstance(call.request, Status):
            self._answers += 1
            self._answer(call.token, Reply(status=200, body=self._status(now)))
        elif self._desk and self._member.stance is Stance.SERVING:
            self._serve(self._desk, call, received_at=now, now=now)
        else:
            refused = self._parking.admit(call, self._outlook(now), now)
            if refused:
                self._answer(call.token, refused)

    def _serve(self, desk: Desk, call: ClientCall, *, received_at: float, now: float) -> None:
        """Decide now, answer when a second node has what the answer says (E4)."""
        if self._held.is_full:
            self._answer(call.token, problem("overloaded", "Too many requests wait for a second node.", retry_after_s=self._retry_s()))
            return
        self._expire(desk, now)
        outcome = self._refuse_expired(call.request) or desk.serve(call.request, waited_s=now - received_at, now=now)
        if outcome.records:
            self._member.write(outcome.records, now)
        self._held.add(call.token, outcome, now + self._member.failover_s)
        self._answer_confirmed()

    def _refuse_expired(self, request: Request) -> Outcome | None:
        """Refuse a new checkout of a feature whose license has run out; what is held, and what was returned, is the desk's affair."""
        if not isinstance(request, Checkout) or request.feature not in self._expired:
            return None
        table = self._member.ledger.table
        if table.holding(request.id) or table.dead(request.id):
            return None
        return Desk.denied(request, problem("expired", f"The license of {request.feature!r} has expired.", feature=request.feature))

    def _answer_confirmed(self) -> None:
        replication = self._member.replication
        for token, outcome in self._held.confirmed(replication.committed) if replication else ():
            self._log(outcome.lines)
            if token is not None:
                self._answer(token, outcome.reply)

    def _log(self, events: Iterable[Logged]) -> None:
        for each in events:
            self._member.out += [DebugLine(text=each.text), self._report(each.members)]

    def _report(self, members: Mapping[str, object]) -> ReportLine:
        role = self.config.role
        return ReportLine(members={"node": self._names[role], "role": role.value, "term": self._member.ballot.term, **members})

    def _attend_clients(self, now: float) -> None:
        """Whatever the event changed for those who wait here."""
        if self._desk:
            self._close_desk_if_deposed(now)
        if self._desk:
            self._expire(self._desk, now)
            self._answer_confirmed()
            for token in self._held.overdue(now):
                self._answer(token, _unconfirmed(problem("electing", "No second node confirmed in time; ask again.", retry_after_s=self._retry_s())))
        if self._member.stance is Stance.DRAINING and self._member.finish_drain(now, unanswered=len(self._held)):
            self._member.do_due(now)
            self._close_desk_if_deposed(now)
        if self._desk is None and self._member.stance is Stance.SERVING:
            self._open_desk(now)
        if self._parking.is_empty:
            return
        outlook = self._outlook(now)
        if self._member.stance is Stance.HALTED:
            for entry in self._parking.take_all():
                self._answer(entry.call.token, outlook.no_master())
        for token, reply in self._parking.ended(outlook, now):
            self._answer(token, reply)

    def _open_desk(self, now: float) -> None:
        member = self._member
        if member.replication is None:
            raise ValueError("only a leading node serves")
        self._desk = Desk(self.config, member.ledger.table, member.replication, failover=member.failover_s, now=now, rules=self._rules)
        self._member.out.append(self._report({"event": "CONNECTED", "master": self.config.role.value}))
        for entry in self._parking.take_all():
            self._serve(self._desk, entry.call, received_at=entry.received_at, now=now)

    def _close_desk_if_deposed(self, now: float) -> None:
        if self._desk is None or self._desk.log is self._member.replication:
            return
        self._desk = None
        for token in self._held.take_all():
            self._answer(token, _unconfirmed(self._outlook(now).reply()))

    def _expire(self, desk: Desk, now: float) -> None:
        """Free what has run out; while a handover is under way nothing new is written."""
        if now < desk.next_expiry or self._member.stance is not Stance.SERVING:
            return
        records, lines = desk.expire(now)
        if records:
            self._member.write(records, now)
            self._log(lines)
            self._member.out.append(Happened(name="expired", facts={"seats": len(records)}))

    def _next_expiry(self) -> float:
        return self._desk.next_expiry if self._desk and self._member.stance is Stance.SERVING else float("inf")

    def _retry_s(self) -> float:
        return self.config.heartbeat_s

    # --- what every reply says ------------------------------------------------------------------------------------------------------

    def _answer(self, token: int, reply: Reply) -> None:
        self._member.out.append(Answer(token=token, status=reply.status, body=self._identity() | dict(reply.body)))

    def _identity(self) -> dict[str, object]:
        ballot = self._member.ballot
        term = ballot.term if self._member.stance in LEADING else max(ballot.term, self._known_term)  # a hint comes with its master's term
        return {"node": self._names[self.config.role], "role": self.config.role.value, "cluster": ballot.cluster, "term": term}

    def _outlook(self, now: float) -> Outlook:
        known = self._member.membership.known_master(now)
        if known:
            self._known_term = max(self._known_term, known.term)
        return Outlook(
            master=known.master if known else None,
            master_term=known.term if known else 0,
            quorum=self._member.membership.has_quorum(now),
            retry_s=self._retry_s(),
        )

    def _status(self, now: float) -> dict[str, object]:
        outlook = self._outlook(now)
        serving = self._member.stance is Stance.SERVING
        master = self.config.role if serving else outlook.master
        return {
            "state": self._state(outlook, now),
            "quorum": outlook.quorum,
            "master": master.value if master else None,
            "incarnation": self._member.ballot.incarnation,
            "seq": self._answers,
            "triad": list(self.config.triad),
            "primary_is_master": self.config.primary_is_master,
            "heartbeat_interval_s": self.config.heartbeat_s,
            "failover_s": self._member.failover_s,
            "server_time": utc_text(self.config.wall_epoch_s + now),
            "protocol": "1",
            "software": self.config.software,
        }

    def _state(self, outlook: Outlook, now: float) -> str:
        """The protocol's word for what this node is (T9)."""
        if self._member.stance is Stance.SERVING:
            return "master"
        if self._member.stance in LEADING:
            return "electing"
        if self._member.is_waiting(now):
            return "starting"
        if not outlook.quorum:
            return "no_quorum"
        return "standby" if outlook.master else "electing"


def _unconfirmed(refused: Reply) -> Reply:
    """What was written down here may reach the next master's table, so whoever asked must not take it for undone."""
    return Reply(status=refused.status, body={**refused.body, "may_have_acted": True})


def _rules(config: NodeConfig, options: OptionsFile | None) -> Rules | None:
    """What the options file says of these pools."""
    if options is None:
        return None
    from fakeserver.options import Rules  # a node without options does not load it

    return Rules(options, {feature: frozenset(line.version for line in lines) for feature, lines in config.lines.items()})
