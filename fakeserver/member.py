"""A node among the other two: votes, terms, following, leading, handing over (E1 to E6).

The rules stand in ``election``; here is the order that makes them safe: what is promised is on the disk before it is said.  Clients are unknown
here.  ``now`` is the node's clock in seconds, effects are gathered in ``out``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fakeserver import election
from fakeserver.campaign import Campaign, tables
from fakeserver.election import LONG_AGO, NEVER, Handover
from fakeserver.events import DiskImage, Halt, Happened, NodeConfig, PeerSend, SaveBallot
from fakeserver.ledger import Ledger
from fakeserver.linklog import LinkLog
from fakeserver.membership import membership_at_start
from fakeserver.peer import Append, AppendReply, Ask, Heartbeat, HeartbeatReply, Message, Reply, Transfer, TransferReply, VoteAsk, VoteReply, refusal
from fakeserver.replication import BARRIER_OP, Replication
from fakeserver.roles import Role
from fakeserver.seats import FRESH, Record, Version
from fakeserver.settings import FLEXNET
from fakeserver.stance import LEADING, REIGNING, TURNS, Stance, Turn

RESEND_INTERVALS = 2.0
"""An append that was not answered for two heartbeats is sent anew."""


class Member:
    """The state of one node towards its peers.  The pure rules that it follows are functions of ``election``."""

    def __init__(self, config: NodeConfig, disk: DiskImage, now: float) -> None:
        self.role = config.role
        self.stance = Stance.FOLLOWING
        self.failover_s = election.failover_s(config.heartbeat_s, config.heartbeat_interval_s)
        self.ledger = Ledger(config, disk, failover_s=self.failover_s, now=now)
        self.membership = membership_at_start(config.role, config.heartbeat_s, self.failover_s)
        self.replication: Replication | None = None
        self.leaving = False
        self.halt: Halt | None = None
        self.out = self.ledger.out
        self._config = config
        self._campaign = Campaign(self.role, self.ledger, heartbeat_s=config.heartbeat_s, failover_s=self.failover_s)
        self._handover: Handover | None = None
        self._successor = Role.PRIMARY
        self._offer_at = LONG_AGO
        self._beat_at = self._elected_at = self._links_change_at = now
        self._silent_since = LONG_AGO  # when the master before this one was last heard
        self._barrier_until = self._drain_until = self._try_at = NEVER
        self._up: tuple[Role, ...] = ()
        self._link_log = LinkLog(config)

    # --- what the node asks ---------------------------------------------------------------------------------------------------------

    @property
    def ballot(self) -> SaveBallot:
        """Cluster, term, vote and incarnation, as they are on the disk."""
        return self.ledger.ballot

    @property
    def lease_until(self) -> float:
        """Until when this node may answer as master, if it is one (E5)."""
        return election.lease_until(self.replication.newest_acked_sent_at, self.failover_s) if self.replication else LONG_AGO

    def watch_lease(self, now: float) -> None:
        """The first thing in every event: a master whose lease is over, however long it slept, stops before it does anything else (E5)."""
        if self.stance in REIGNING and now >= self.lease_until:
            if now < self.lease_until + self._config.heartbeat_s / 2:  # else it has slept, and another may write by now (T6)
                self.out += self._link_log.end(self.membership, now)
            self._step_down("no second node has acknowledged a heartbeat for too long", now)
        elif self.stance is Stance.BARRIER and now >= self._barrier_until:
            self._step_down("no second node took the table of the barrier", now)

    def write(self, records: tuple[Record, ...], now: float) -> None:
        """The next operation of this master: into the table, onto the disk, and due to be sent (E4)."""
        if self.replication is None:
            raise ValueError("only a leading node writes")
        self.ledger.add(records, now, up_to=self.replication.next_version())
        self.replication.add(records)

    def is_waiting(self, now: float) -> bool:
        """Whether this node may not vote yet (E2)."""
        memory = self.ledger.memory
        return now < max(memory.waits_until, memory.lacking_until(history=False))

    # --- messages -------------------------------------------------------------------------------------------------------------------

    def receive(self, ask: Ask, now: float) -> Reply:
        """A message of another node, and the reply to it."""
        if self._is_foreign(ask):
            self._meet_foreign(ask)
            return self._refuse(ask)
        self._hear(ask, now, is_answer=False)
        match ask:
            case Heartbeat():
                return self._on_heartbeat(ask, now)
            case Append():
                return self._on_append(ask, now)
            case VoteAsk():
                return self._on_vote_ask(ask, now)
            case Transfer():
                return self._on_transfer(ask, now)

    def answered(self, reply: Reply, now: float) -> None:
        """What another node replied to a message of this one, perhaps late or twice."""
        if self._is_foreign(reply):
            return
        self._hear(reply, now, is_answer=True)
        match reply:
            case HeartbeatReply() if self.replication and reply.term == self.ballot.term:
                self.replication.heartbeat_answered(reply)
            case AppendReply() if self.replication and reply.term == self.ballot.term:
                self.replication.append_answered(reply)
            case VoteReply() if self.stance is Stance.FOLLOWING and not self.leaving:
                votes = self._campaign.count(reply, now)
                if votes:
                    self._lead(reply.asked_term, votes, how="vote", now=now)
            case TransferReply() if self._handover and reply.term >= self._handover.message.term:
                if reply.accepted:  # it leads: to be respected before its first heartbeat comes
                    self.ledger.memory = self.ledger.memory.heard(reply.sender, now)
                self._handover = None
        self._end_barrier(now)

    def _hear(self, message: Message, now: float, *, is_answer: bool) -> None:
        if message.term > 0:
            self.ledger.join(message.cluster)
        self.membership = self.membership.heard(message, now, is_answer=is_answer)
        if message.sender not in self._up:
            self._links_change_at = now
        self._campaign.seen_term = max(self._campaign.seen_term, message.term)
        if self.stance in LEADING and message.term > self.ballot.term:
            self._step_down(f"the {message.sender.value} is in term {message.term}", now)

    def _is_foreign(self, message: Message) -> bool:
        """Whether this comes from another cluster, or from a second node in the own place."""
        if message.sender is self.role:
            return True
        return message.cluster != self.ballot.cluster and self.ballot.term > 0 and message.term > 0

    def _meet_foreign(self, ask: Ask) -> None:
        leads = isinstance(ask, Append) or (isinstance(ask, Heartbeat) and ask.leading)
        if leads and self.stance is Stance.FOLLOWING:
            self._halt(f"The state here belongs to cluster {self.ballot.cluster!r}; the {ask.sender.value} is master of cluster {ask.cluster!r}.")

    def _refuse(self, ask: Ask) -> Reply:
        return refusal(ask, sender=self.role, cluster=self.ballot.cluster, term=self.ballot.term, has=self.ledger.in_step)

    # --- following ------------------------------------------------------------------------------------------------------------------

    def _on_heartbeat(self, ask: Heartbeat, now: float) -> Reply:
        if self.leaving and self.stance not in LEADING:
            return self._refuse(ask)
        if ask.leading and ask.term >= self.ballot.term:
            self._follow(ask, now)
        if ask.master is None or ask.master_term >= self.ballot.term:
            self._see_master(ask, now)
        in_step = self.ledger.in_step
        if not ask.leading or ask.term != self.ballot.term or ask.term != in_step.term:
            return self._refuse(ask)
        return HeartbeatReply(sender=self.role, cluster=self.ballot.cluster, term=ask.term, sent_at=ask.sent_at, accepted=True, op=in_step.op)

    def _on_append(self, ask: Append, now: float) -> Reply:
        if ask.term < self.ballot.term or self.leaving:
            return self._refuse(ask)
        self._follow(ask, now)
        self._take_records(ask, now)
        in_step = self.ledger.in_step
        if in_step.term != ask.term or in_step.op < ask.base_op:
            return self._refuse(ask)
        return AppendReply(sender=self.role, cluster=self.ballot.cluster, term=ask.term, sent_at=ask.sent_at, accepted=True, op=in_step.op)

    def _take_records(self, ask: Append, now: float) -> None:
        """Write down what is news and follows without a gap (E2); what came late or twice changes nothing."""
        has, offered = self.ledger.in_step, Version(ask.term, ask.op)
        if has >= offered:
            return
        if ask.whole:
            self.ledger.take_over(ask.records, now, since=ask.since, up_to=offered)
        elif has >= Version(ask.term, ask.base_op):
            news = tuple(record for record in ask.records if record.version > has)
            self.ledger.add(news, now, up_to=offered)

    def _follow(self, ask: Heartbeat | Append, now: float) -> None:
        """Respect a live master (E1).  Its term is taken over with the vote spent on it: no second master can be voted for in that term."""
        if ask.term > self.ballot.term:
            self.ledger.vote(ask.term, ask.sender)
        self.ledger.memory = self.ledger.memory.heard(ask.sender, now)
        self.membership = self.membership.without_master_before(ask.term)
        self._campaign.give_way()
        if self._handover and ask.term >= self._handover.message.term:
            self._handover = None

    def _on_vote_ask(self, ask: VoteAsk, now: float) -> Reply:
        if self.leaving:
            return self._refuse(ask)
        leading_until = self._barrier_until if self.stance is Stance.BARRIER else self.lease_until
        reply = self._campaign.vote(ask, leading_until=leading_until, now=now)
        if reply.granted:
            self.membership = self.membership.without_master_before(ask.asked_term)
        return reply

    def _see_master(self, ask: Heartbeat, now: float) -> None:
        before = self.membership.known_master(now)
        self.membership = self.membership.saw_master(ask, now)
        after = self.membership.known_master(now)
        is_news = after is not None and (before is None or (before.master, before.term) != (after.master, after.term))
        if is_news and after is not None and after.master is Role.PRIMARY:
            self._offer_at = LONG_AGO

    # --- leading --------------------------------------------------------------------------------------------------------------------

    def _lead(self, term: int, votes: Sequence[VoteReply | Transfer], *, how: str, now: float) -> None:
        """Begin the recovery barrier (E3): the own vote is saved first, then the tables are merged and stamped, then sent to the others."""
        since = min(vote.since for vote in votes) if self._config.grants != FLEXNET else FRESH
        self._silent_since = self.ledger.memory.heard_at
        self.ledger.vote(term, self.role)
        if self._config.grants == FLEXNET:
            self.ledger.forget(stamp=Version(term, BARRIER_OP))
        else:
            self.ledger.merge(tables(votes), now, since=since, stamp=Version(term, BARRIER_OP))
        self.membership = self.membership.without_master_before(term)
        self._campaign.give_way()
        resend_s = RESEND_INTERVALS * self._config.heartbeat_s
        self.replication = Replication(
            role=self.role, cluster=self.ballot.cluster, term=term, table=self.ledger.table, since=since, resend_s=resend_s
        )
        self._handover = None
        self._elected_at, self._barrier_until = now, now + self.failover_s
        self._turn(Turn.ELECTED)
        self.out.append(Happened(name="elected", facts={"term": term, "how": how}))

    def _end_barrier(self, now: float) -> None:
        """Serve from now on, if the table of this term is on a second node, and lately enough for a lease (E3, E5)."""
        if self.stance is not Stance.BARRIER or self.replication is None:
            return
        if self.replication.committed < BARRIER_OP or now >= self.lease_until:
            return
        self._turn(Turn.REPLICATED)
        self._beat_at = now  # the others have clients parked that are to be sent here
        silent_s = None if self._silent_since == LONG_AGO else now - self._silent_since
        facts = {"term": self.ballot.term, "silent_s": silent_s, "barrier_s": now - self._elected_at}
        self.out += [*self._link_log.begin(self.membership, now), Happened(name="serving", facts=facts)]

    def _step_down(self, reason: str, now: float) -> None:
        """Lead no longer: nothing that waits for an acknowledgement may be answered as done (G4)."""
        self.replication = None
        self._turn(Turn.DEPOSED)
        self._campaign.wait_until(now)
        self.out.append(Happened(name="deposed", facts={"term": self.ballot.term, "reason": reason}))

    # --- handing over (E6) ----------------------------------------------------------------------------------------------------------

    def stop(self, now: float) -> None:
        """Leave in good order: a master hands over if the other candidate is ready, and halts then."""
        self.leaving = True
        heir = Role.SECONDARY if self.role is Role.PRIMARY else Role.PRIMARY
        if self.stance is Stance.SERVING and self._is_ready(heir, now):
            self._drain(heir, now)
        elif self.stance in {Stance.SERVING, Stance.BARRIER}:
            self._step_down("stopped", now)

    def _offer_if_due(self, now: float) -> None:
        """With PRIMARY_IS_MASTER a secondary gives the mastership back as soon as the primary has caught up (T5)."""
        is_wanted = self.stance is Stance.SERVING and self.role is Role.SECONDARY and self._config.primary_is_master
        if is_wanted and now >= self._offer_at and self._is_ready(Role.PRIMARY, now):
            self._drain(Role.PRIMARY, now)

    def _is_ready(self, heir: Role, now: float) -> bool:
        """Whether a node could lead at once: its table has no gap, and the link to it is whole in both directions."""
        has_all = self.replication is not None and self.replication.followers[heir].acked is not None
        return has_all and self.membership.heard_lately(heir, now) and self.role in self.membership.neighbours[heir].hears

    def _drain(self, heir: Role, now: float) -> None:
        self._successor, self._drain_until = heir, now + self.failover_s / 2
        self._turn(Turn.DRAIN)

    def finish_drain(self, now: float, *, unanswered: int) -> bool:
        """Hand over when everything is answered and the successor has it all; give up when that takes too long.  Whether it came to an end."""
        if self.stance is not Stance.DRAINING or self.replication is None:
            return False
        if not unanswered and self.replication.followers[self._successor].acked == self.replication.op:
            self._hand_over(now)
            return True
        if now < self._drain_until:
            return False
        self._offer_at = now + self.failover_s
        self._turn(Turn.KEPT)
        if self.leaving:
            self._step_down("stopped", now)
        return True

    def _hand_over(self, now: float) -> None:
        """Vote for the successor in a new term, on the disk, and only then tell it: this node cannot serve in the old term any more."""
        self.replication = None
        self._turn(Turn.HANDED_OVER)
        term = max(self.ballot.term, self._campaign.seen_term) + 1
        self.ledger.vote(term, self._successor)
        has = self.ledger.in_step  # as the successor, else it would not be ready
        message = Transfer(sender=self.role, cluster=self.ballot.cluster, term=term, records=(), since=has)
        self._handover = Handover(to=self._successor, message=message, send_at=now, until=now + self.failover_s)
        self._offer_at = now + 4 * self.failover_s  # should the successor fail to lead, it is not tried again at once
        self.out.append(Happened(name="handed_over", facts={"term": term, "to": self._successor.value}))

    def _press(self, handover: Handover, now: float) -> None:
        if now >= handover.until:
            self._handover = None
        elif now >= handover.send_at:
            self.out.append(PeerSend(to=handover.to, message=handover.message))
            self._handover = replace(handover, send_at=now + self._config.heartbeat_s)

    def _on_transfer(self, ask: Transfer, now: float) -> Reply:
        """Take the mastership over: the sender's vote and the own are two of three, and the sender serves no longer."""
        leads = self.stance in LEADING and self.ballot.term == ask.term
        if not leads and self._may_take_over(ask, now):
            self._lead(ask.term, [ask], how="transfer", now=now)
            leads = True
        return TransferReply(sender=self.role, cluster=self.ballot.cluster, term=max(ask.term, self.ballot.term), accepted=leads)

    def _may_take_over(self, ask: Transfer, now: float) -> bool:
        memory = self.ledger.memory
        respect = max(memory.sticky_until(self.failover_s, ask.sender), memory.lacking_until(history=True))
        is_free = self.role in election.CANDIDATES and self.stance is Stance.FOLLOWING and not self.leaving
        return is_free and ask.term > self.ballot.term and now >= respect and self.ledger.reaches(ask.since)

    # --- time -----------------------------------------------------------------------------------------------------------------------

    def do_due(self, now: float) -> None:
        """Everything whose time has come."""
        if now >= self._links_change_at:
            self._note_links(now)
        if now >= self._beat_at:
            self._beat(now)
        if self._handover:
            self._press(self._handover, now)
        if self.leaving and self.stance is Stance.FOLLOWING and not self._handover:
            self._halt("")
        self._try_at = self._campaign.stand_if_due(self.membership, now) if self._may_stand() else NEVER
        self._offer_if_due(now)

    def replicate(self, now: float) -> None:
        """Send each other node what it lacks; the last thing in every event, so that a batch goes in one message."""
        if self.replication is None:
            return
        for other in self.role.others:
            if message := self.replication.due(other, now):
                self.out.append(PeerSend(to=other, message=message))

    @property
    def wake_at(self) -> float:
        """When time alone next changes something."""
        soonest = min(self._beat_at, self._links_change_at, self._try_at)
        if self.stance in REIGNING:
            soonest = min(soonest, self.lease_until)
        if self.stance is Stance.BARRIER:
            soonest = min(soonest, self._barrier_until)
        if self.stance is Stance.DRAINING:
            soonest = min(soonest, self._drain_until)
        return min(soonest, self._handover.send_at, self._handover.until) if self._handover else soonest

    def _may_stand(self) -> bool:
        return self.stance is Stance.FOLLOWING and not self.leaving and not self._handover

    def _beat(self, now: float) -> None:
        self._beat_at = now + self._config.heartbeat_s
        self._links_change_at = self.membership.next_change_at(now)  # what was heard since the last beat only puts it off
        seen = self.membership.gossip(now)
        master, master_term = (seen.master, seen.term) if seen else (None, 0)
        if self.stance is Stance.SERVING:
            master, master_term = self.role, self.ballot.term
        message = Heartbeat(
            sender=self.role,
            cluster=self.ballot.cluster,
            term=self.ballot.term,
            sent_at=now,
            leading=self.stance in LEADING,
            master=master,
            master_term=master_term,
            hears=self.membership.answering(now),
        )
        self.out += [PeerSend(to=other, message=message) for other in self.role.others]

    def _note_links(self, now: float) -> None:
        """Whom this node hears; a master writes it down (T14), and it alone (T6)."""
        self._links_change_at = self.membership.next_change_at(now)
        self._up = self.membership.up(now)
        if self.stance in REIGNING:
            self.out += self._link_log.note(self._up)

    # --- small things ---------------------------------------------------------------------------------------------------------------

    def _turn(self, turn: Turn) -> None:
        self.stance = TURNS[self.stance, turn]

    def _halt(self, reason: str) -> None:
        self._turn(Turn.HALT)
        self.halt = Halt(reason=reason)
