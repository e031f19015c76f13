"""What an election carries: of the tables only what the other node lacks (E1 to E3, E6), however many ids were returned."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from fakeserver.events import (
    AppendRecords,
    Checkout,
    DiskImage,
    Effect,
    Happened,
    PeerAnswer,
    PeerCall,
    PeerReply,
    PeerSend,
    Return,
    RewriteTable,
    Tick,
)
from fakeserver.failpoints import PLACES
from fakeserver.node import Node
from fakeserver.peer import Append, AppendReply, Heartbeat, Message, Transfer, TransferReply, VoteAsk, VoteReply
from fakeserver.replication import BARRIER_OP, RECENT_LIMIT, Replication
from fakeserver.roles import Role
from fakeserver.seats import FRESH, DeadId, Grant, Record, SeatRecord, Table, Version
from fakeserver.stance import Stance
from tests.simulation.virtual_triad import FAILOVER_S, HOLDER, PRIMARY, SECONDARY, TERTIARY, Host, VirtualTriad

SEATS = 2  # of the virtual triad's one pool
RETURNED = 500


class Overheard:
    """The records that messages of one kind carried, message by message, and up to where their receivers were known to have all."""

    def __init__(self, triad: VirtualTriad) -> None:
        self.messages: list[Message] = []
        send, answer = triad._send, triad._reply

        def sent(sender: Role, to: Role, message: Message) -> None:
            self.messages.append(message)
            send(sender, to, message)

        def answered(effect: PeerAnswer) -> None:
            self.messages.append(effect.message)
            answer(effect)

        triad._send, triad._reply = sent, answered  # type: ignore[method-assign]

    def most_records(self) -> int:
        """Of all messages since the last look."""
        found = max(len(message.records) for message in self.messages if isinstance(message, VoteReply | Append | Transfer))
        self.messages.clear()
        return found


def vote_of_tertiary(term: int, *, records: tuple[Record, ...] = (), since: Version = FRESH) -> VoteReply:
    """What the tertiary says to a candidate for ``term``."""
    return VoteReply(
        sender=TERTIARY,
        cluster="c1",
        term=term,
        asked_term=term,
        granted=True,
        early=False,
        retry_s=0.0,
        has_history=True,
        records=records,
        since=since,
    )


def identity(number: int) -> str:
    """A checkout id."""
    return f"00000000-0000-4000-8000-{number:012}"


def returned(triad: VirtualTriad, first: int, count: int) -> None:
    """So many ids are given back at the master, ten in a request."""
    master = triad.master()
    assert master is not None
    for start in range(first, first + count, 10):
        triad.ask(master, Return(ids=tuple(map(identity, range(start, start + 10)))))
    triad.run(0.1)


def ready_triad(*, primary_is_master: bool = True) -> VirtualTriad:
    """All three up, the primary serves."""
    triad = VirtualTriad(primary_is_master=primary_is_master, ttl_s=1.0)
    triad.start(*Role)
    triad.run_until_serving(1.0)
    triad.run(0.1)
    return triad


def test_a_failover_sends_no_id_that_was_returned_before() -> None:
    """E3: voter and winner have them all; the barrier's table is the seats."""
    triad = ready_triad()
    returned(triad, 0, RETURNED)
    overheard = Overheard(triad)
    triad.crash(PRIMARY)
    assert triad.run_until_serving(1.0) is SECONDARY
    assert overheard.most_records() == SEATS


def test_a_handover_sends_a_node_that_came_back_the_table_once_and_nobody_else() -> None:
    """E6: of the ids returned, the primary gets one copy when it comes; the transfer and the two barriers carry none."""
    triad = ready_triad()
    returned(triad, 0, RETURNED)
    triad.crash(PRIMARY)
    triad.run_until_serving(1.0)
    overheard = Overheard(triad)
    triad.start(PRIMARY)
    triad.run(0.5)
    assert triad.master() is PRIMARY
    carried = [len(message.records) for message in overheard.messages if isinstance(message, VoteReply | Append | Transfer)]
    assert [count for count in carried if count > SEATS] == [RETURNED + SEATS]


def test_a_node_that_missed_the_last_operations_gets_what_came_after_them() -> None:
    """E2: it says how far it has come when it is offered too little, and is sent the rest."""
    triad = ready_triad()
    returned(triad, 0, RETURNED)
    triad.isolate(TERTIARY)
    returned(triad, RETURNED, 20)
    triad.run(FAILOVER_S)
    overheard = Overheard(triad)
    triad.heal()
    triad.run(0.5)
    assert overheard.most_records() == 20
    assert_in_step_is_the_same(triad)
    assert triad.node(TERTIARY)._member.ledger.table.dead(identity(RETURNED + 19)) is not None


def assert_in_step_is_the_same(triad: VirtualTriad) -> None:
    """Whoever is in step with the same operation of the same master has the same table (E2)."""
    tables: dict[Version, set[Record]] = {}
    for role in Role:
        if triad.hosts[role].node is None:
            continue
        ledger = triad.node(role)._member.ledger
        if ledger.in_step > FRESH:
            here = {replace(record, grant=None) if isinstance(record, SeatRecord) else record for record in ledger.table.records()}
            assert tables.setdefault(ledger.in_step, here) == here, role


@pytest.mark.parametrize("seed", range(20))
def test_nodes_in_step_have_the_same_table_through_every_kind_of_election(seed: int) -> None:
    """E2, E3: whatever was left out of a message was there; dead ids are kept long enough here not to be forgotten by one node before another."""
    luck = random.Random(seed)
    triad = ready_triad(primary_is_master=luck.random() < 0.5)
    triad.delays = lambda: [luck.uniform(0.0005, 0.01) for _ in range(luck.choice((0, 1, 1, 1, 1, 2)))]
    number = 0
    for _ in range(30):
        role = luck.choice(list(Role))
        match luck.randrange(6):
            case 0 if triad.hosts[role].node is not None:
                triad.crash(role)
            case 1:
                triad.isolate(role)
            case 2:
                triad.heal()
            case 3:
                triad.start(*(each for each in Role if triad.hosts[each].node is None))
            case _ if (master := triad.master()) is not None:
                triad.ask(master, Checkout(id=identity(number), feature="RISK", version="0", count=1, holder=HOLDER, queue=luck.random() < 0.5))
                triad.ask(master, Return(ids=(identity(number - luck.randrange(3)),) if number > 3 else (identity(number),)))
                number += 1
        triad.run(luck.choice((0.002, 0.02, 0.2, 0.6)))
        assert_in_step_is_the_same(triad)


# --- what may not be left out -------------------------------------------------------------------------------------------------------


def follower(role: Role) -> Node:
    """A node that is in step with operation 2 of term 1, in which the id "a" was returned."""
    node = Node(VirtualTriad().hosts[role].config, DiskImage(), 1000.0)
    dead = (DeadId(id="a", version=Version(1, 2)),)
    whole = Append(sender=PRIMARY if role is not PRIMARY else SECONDARY, cluster="c1", term=1, sent_at=0.0, whole=True, base_op=0, op=2, records=dead)
    node.handle(PeerCall(token=1, message=whole), 1000.0)
    return node


def told(node: Node, message: Message, now: float) -> Message:
    """What a node replies."""
    (reply,) = [effect.message for effect in node.handle(PeerCall(token=1, message=message), now) if isinstance(effect, PeerAnswer)]
    return reply


@pytest.mark.parametrize(
    "since, accepted", [(FRESH, True), (Version(1, 1), True), (Version(1, 2), True), (Version(1, 3), False), (Version(2, 1), False)]
)
def test_a_table_with_something_left_out_is_taken_only_by_a_node_that_has_that(since: Version, *, accepted: bool) -> None:
    """E2: else it would have a gap; its refusal says how far it has come."""
    node = follower(TERTIARY)
    sent = Append(sender=SECONDARY, cluster="c1", term=3, sent_at=0.0, whole=True, base_op=0, op=1, records=(), since=since)
    reply = told(node, sent, 1001.0)
    assert isinstance(reply, AppendReply)
    assert reply.accepted is accepted
    if not accepted:
        assert reply.has == Version(1, 2)
    assert (node._member.ledger.table.dead("a") is None) is (since in {FRESH, Version(1, 1)})


@pytest.mark.parametrize("has, since", [(FRESH, FRESH), (Version(1, 1), Version(1, 1)), (Version(1, 7), Version(1, 2)), (Version(2, 1), FRESH)])
def test_a_vote_leaves_out_only_what_both_have_of_one_master(has: Version, since: Version) -> None:
    """E1, E3: terms differ in what was lost between them."""
    vote = told(follower(TERTIARY), VoteAsk(sender=SECONDARY, cluster="c1", term=1, asked_term=5, has_history=True, has=has), 1001.0)
    assert isinstance(vote, VoteReply)
    assert vote.granted
    assert vote.since == since
    assert any(isinstance(record, DeadId) for record in vote.records) is (since < Version(1, 2))


def test_a_vote_for_what_a_node_had_before_its_restart_does_not_count() -> None:
    """E2, E3: what it leaves out may be lost since."""
    triad = ready_triad()
    triad.crash(PRIMARY)
    triad.crash(TERTIARY)
    triad.crash(SECONDARY)
    triad.start(SECONDARY)
    triad.run(0.4)
    node = triad.node(SECONDARY)
    # the tertiary is heard, and the secondary stands
    ask = VoteAsk(sender=TERTIARY, cluster="c1", term=1, asked_term=0, has_history=True)
    node.handle(PeerCall(token=1, message=ask), triad.clock(SECONDARY))
    triad.run(0.3)
    wanted = node._member._campaign._candidacy
    assert wanted is not None
    late = vote_of_tertiary(wanted.asked_term, since=Version(1, 1))
    for vote, wins in ((late, False), (replace(late, since=FRESH), True)):
        effects = node.handle(PeerReply(message=vote), triad.clock(SECONDARY))
        assert any(isinstance(effect, Happened) and effect.name == "elected" for effect in effects) is wins


@pytest.mark.parametrize("since, accepted", [(Version(1, 2), True), (Version(1, 3), False), (FRESH, True)])
def test_a_handover_that_leaves_out_what_the_successor_lacks_is_refused(since: Version, *, accepted: bool) -> None:
    """E6: the successor was restarted meanwhile."""
    message = Transfer(sender=SECONDARY, cluster="c1", term=2, records=(), since=since)
    reply = told(follower(PRIMARY), message, 1001.0)
    assert isinstance(reply, TransferReply)
    assert reply.accepted is accepted


def test_a_table_is_replaced_from_where_both_were_the_same() -> None:
    """E2: what was written down for a master that nobody follows any more goes; what is told again is no newer death."""
    old, lost, new = (DeadId(id=name, version=version) for name, version in (("a", Version(1, 2)), ("b", Version(1, 9)), ("c", Version(2, 1))))
    table = Table({"RISK": 1}, (old, lost), now=10.0)
    assert not table.replace_since(Version(1, 9), (), 20.0)
    assert table.replace_since(Version(1, 5), (new,), 20.0)
    assert [record for record in table.records() if isinstance(record, DeadId)] == [old, new]
    assert table.records_since(Version(1, 2)) == (new,)
    table.apply((old,), 30.0)
    table.forget_dead(before=15.0)
    assert table.dead("a") is None
    assert table.dead("c") is not None


def test_a_place_in_line_that_nobody_confirmed_goes_with_its_master() -> None:
    """E2: its record is of no pool, so the barrier does not stamp it."""
    here = follower(TERTIARY)
    grant = Grant(id="waits:b", version="0", count=1, holder=HOLDER, ttl_s=1.0, granted_at=0.0)
    place = SeatRecord(feature="line of RISK", index=0, version=Version(1, 3), seq=4, grant=grant)
    told(here, Append(sender=PRIMARY, cluster="c1", term=1, sent_at=0.0, whole=False, base_op=2, op=3, records=(place,)), 1000.1)
    table = here._member.ledger.table
    assert table.holding("waits:b") == place
    barrier = Append(sender=SECONDARY, cluster="c1", term=2, sent_at=0.0, whole=True, base_op=0, op=1, records=(), since=Version(1, 2))
    effects = here.handle(PeerCall(token=1, message=barrier), 1000.2)
    assert table.holding("waits:b") is None
    assert place.feature not in {record.feature for record in table.records() if isinstance(record, SeatRecord)}
    assert any(isinstance(effect, RewriteTable) for effect in effects)


def test_a_failpoint_of_a_grant_is_not_the_barrier() -> None:
    """F: the barrier's records are written as a grant's are, and are none."""
    grant = Grant(id="a", version="0", count=1, holder=HOLDER, ttl_s=1.0, granted_at=0.0)
    written = AppendRecords(records=(SeatRecord(feature="RISK", index=0, version=Version(2, 1), seq=1, grant=grant),))
    find = PLACES["after_persist_before_replicate"]
    assert find(Tick(), (written,)) == 1
    assert find(Tick(), (written, Happened(name="elected"))) is None


@pytest.mark.parametrize(
    "has, since",
    [(Version(2, 4), Version(2, 4)), (Version(1, 3), Version(1, 3)), (Version(1, 9), Version(1, 5)), (Version(3, 1), FRESH), (FRESH, FRESH)],
)
def test_a_master_leaves_out_what_a_node_has_of_its_own_term_or_of_the_merged_tables(has: Version, since: Version) -> None:
    """E2: of the term before, no more than all had whose tables were merged: beyond that they may differ."""
    log = Replication(role=PRIMARY, cluster="c1", term=2, table=Table({"RISK": 1}, now=0.0), since=Version(1, 5), resend_s=1.0)
    offered = log.due(SECONDARY, 0.0)
    assert offered is not None
    assert offered.since == Version(1, 5)
    refused = AppendReply(sender=SECONDARY, cluster="c1", term=2, sent_at=0.0, accepted=False, op=has.op, has=has)
    log.append_answered(refused)
    again = log.due(SECONDARY, 0.0)
    assert again is not None
    assert again.since == since


@pytest.mark.parametrize("operations, is_whole", [(RECENT_LIMIT, False), (RECENT_LIMIT + 1, True)])
def test_a_node_that_lacks_an_operation_more_than_are_kept_gets_the_table(operations: int, *, is_whole: bool) -> None:
    """E2: the first operation that it lacks is among those that are kept, or it would be left out in silence."""
    log = Replication(role=PRIMARY, cluster="c1", term=2, table=Table({"RISK": 1}, now=0.0), since=FRESH, resend_s=1.0)
    assert log.due(SECONDARY, 0.0) is not None
    log.append_answered(AppendReply(sender=SECONDARY, cluster="c1", term=2, sent_at=0.0, accepted=True, op=BARRIER_OP))
    for _ in range(operations):
        log.add(())
    message = log.due(SECONDARY, 0.0)
    assert message is not None
    assert (message.whole, message.op) == (is_whole, BARRIER_OP + operations)


def asked_for_votes(node: Node) -> int:
    """Let it hear the tertiary alone until it stands; the term that it asks for."""
    for now in (1000.5, 1000.6):
        beat = Heartbeat(sender=TERTIARY, cluster="c1", term=1, sent_at=now, leading=False, master=None, master_term=0, hears=())
        node.handle(PeerCall(token=1, message=beat), now)
    wanted = node._member._campaign._candidacy
    assert wanted is not None
    return wanted.asked_term


def test_what_only_a_voter_had_is_left_out_for_nobody() -> None:
    """E3: its vote came whole, so it may have more than what is newer than what this node has."""
    node = follower(SECONDARY)
    asked_term = asked_for_votes(node)
    records = (DeadId(id="older", version=Version(1, 1)),)
    vote = vote_of_tertiary(asked_term, records=records)
    effects = node.handle(PeerReply(message=vote), 1000.7)
    tables = [effect.message for effect in effects if isinstance(effect, PeerSend) and isinstance(effect.message, Append)]
    assert len(tables) == 2
    assert all(records[0] in message.records for message in tables)


@pytest.mark.parametrize("older", [0, 1])
def test_a_vote_that_answers_an_earlier_try_makes_no_master(older: int) -> None:
    """E1: in that term this node may have voted for another since."""
    node = follower(SECONDARY)
    asked_term = asked_for_votes(node)
    node.handle(PeerReply(message=vote_of_tertiary(asked_term - older)), 1000.7)
    assert node._member.stance is (Stance.FOLLOWING if older else Stance.BARRIER)


def test_the_barrier_of_a_failover_is_added_to_the_log() -> None:
    """E7: to write ten thousand dead ids anew takes as long as an election may."""
    triad = ready_triad()
    written: list[object] = []
    carry_out = triad._carry_out

    def carried_out(role: Role, host: Host, effect: Effect) -> None:
        written.append(effect)
        carry_out(role, host, effect)

    triad._carry_out = carried_out  # type: ignore[method-assign]
    triad.crash(PRIMARY)
    triad.run_until_serving(1.0)
    assert any(isinstance(effect, AppendRecords) for effect in written)
    assert not any(isinstance(effect, RewriteTable) for effect in written)
