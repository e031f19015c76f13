"""Who may be master: the rules one by one, then as they play together in a virtual triad (T4, T5, E1 to E3, E5, E6).

The driver raises TwoMasters when two nodes would serve at one instant, so every story here is also a test of T7.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from fakeserver import election
from fakeserver.campaign import Campaign
from fakeserver.election import LONG_AGO, Memory
from fakeserver.events import Checkout, DiskImage, PeerCall, PeerReply, Renew, Return, SaveBallot, Usage
from fakeserver.ledger import Ledger
from fakeserver.membership import membership_at_start
from fakeserver.peer import AppendReply, HeartbeatReply, Transfer, VoteAsk, VoteReply
from fakeserver.roles import Role
from fakeserver.stance import Stance
from tests.simulation.virtual_triad import FAILOVER_S, HOLDER, PRIMARY, SECONDARY, TERTIARY, TTL_S, VirtualTriad

AWAKE = Memory(waits_until=LONG_AGO, lacks_until=LONG_AGO, lost=False, fresh=False)
BALLOT = SaveBallot(cluster="c1", term=5, voted_for=PRIMARY, incarnation=1)
STEP_S = 0.01


def verdict(
    *,
    ballot: SaveBallot = BALLOT,
    memory: Memory = AWAKE,
    sender: Role = SECONDARY,
    term: int = 6,
    history: bool = True,
    leading_until: float = LONG_AGO,
) -> election.Verdict:
    """What a voter says to a candidate at the moment 100."""
    ask = VoteAsk(sender=sender, cluster="c1", term=0, asked_term=term, has_history=history)
    return election.judge(ask, ballot=ballot, memory=memory, history=history, leading_until=leading_until, failover=FAILOVER_S, now=100.0)


def vote(sender: Role, *, early: bool = False) -> VoteReply:
    """A vote that was given."""
    return VoteReply(sender=sender, cluster="c1", term=6, asked_term=6, granted=True, early=early, retry_s=0.0, has_history=False, records=())


def checkout(identity: str, count: int = 1) -> Checkout:
    """A request for seats of the one pool."""
    return Checkout(id=identity, feature="RISK", version="0", count=count, holder=HOLDER)


def serving_triad(*, primary_is_master: bool = True) -> VirtualTriad:
    """All three up, the primary serving."""
    triad = VirtualTriad(primary_is_master=primary_is_master)
    triad.start(*Role)
    assert triad.run_until_serving(0.1) is PRIMARY
    triad.run(0.5)
    return triad


def held_ids(triad: VirtualTriad) -> set[str]:
    """The ids that hold seats, as the master tells."""
    master = triad.master()
    assert master is not None
    token = triad.ask(master, Usage())
    triad.run(STEP_S)
    features = triad.answers[token].body["features"]
    assert isinstance(features, list)
    return {holder["id"] for holder in features[0]["holders"]}


# --- votes --------------------------------------------------------------------------------------------------------------------------


def test_a_node_votes_once_in_a_term_and_never_in_a_lower_one() -> None:
    """E1."""
    assert verdict(term=6).granted
    assert not verdict(term=5).granted
    assert not verdict(term=4).granted
    assert verdict(term=5, sender=PRIMARY).granted  # the vote that it gave: told again


def test_the_tertiary_is_never_voted_for_and_never_stands() -> None:
    """T2."""
    assert not verdict(sender=TERTIARY).granted
    assert election.stands_from(TERTIARY, AWAKE, rival=False, quorum_since=0.0, heartbeat_s=0.1, failover=FAILOVER_S) == election.NEVER


def test_the_secondary_lets_a_living_primary_go_first() -> None:
    """E1, T8: by one interval, counted from when either of them may stand."""
    stands = {
        role: election.stands_from(role, AWAKE, rival=True, quorum_since=100.0, heartbeat_s=0.1, failover=FAILOVER_S) for role in (PRIMARY, SECONDARY)
    }
    assert stands == {PRIMARY: 100.0, SECONDARY: pytest.approx(100.1)}


def test_a_voter_respects_a_live_master_for_e_and_says_how_long() -> None:
    """E1: stickiness."""
    heard = AWAKE.heard(PRIMARY, 99.9)
    assert verdict(memory=heard).retry_s == pytest.approx(FAILOVER_S - 0.1)
    assert verdict(memory=AWAKE.heard(PRIMARY, 100.0 - FAILOVER_S)).granted


def test_a_master_that_asks_for_a_new_term_serves_no_longer_in_its_old_one() -> None:
    """E1: the live master that was heard is no reason to refuse itself."""
    assert verdict(memory=AWAKE.heard(SECONDARY, 99.9)).granted


def test_a_master_votes_for_nobody_while_its_lease_lasts() -> None:
    """E5."""
    refused = verdict(leading_until=100.1)
    assert not refused.granted
    assert refused.retry_s == pytest.approx(0.1)


def test_after_a_restart_a_node_waits_e_before_it_votes() -> None:
    """E2: it may have heard a master just before."""
    waiting = replace(AWAKE, waits_until=100.2)
    assert verdict(memory=waiting).retry_s == pytest.approx(0.2)


@pytest.mark.parametrize("sender, term, granted", [(PRIMARY, 1, True), (PRIMARY, 2, False), (SECONDARY, 1, False)])
def test_in_term_0_a_node_votes_at_once_for_the_primary_in_term_1_and_for_nothing_else(sender: Role, term: int, *, granted: bool) -> None:
    """E2."""
    fresh = Memory(waits_until=100.2, lacks_until=101.0, lost=False, fresh=True)
    given = verdict(ballot=replace(BALLOT, term=0, voted_for=None), memory=fresh, sender=sender, term=term, history=False)
    assert (given.granted, given.early) == (granted, granted)


def test_a_node_that_lost_records_waits_for_the_longest_lease() -> None:
    """E2: what it forgot has run out by then."""
    assert verdict(memory=replace(AWAKE, lost=True, lacks_until=100.7)).retry_s == pytest.approx(0.7)


@pytest.mark.parametrize("history", [True, False])
def test_a_fresh_disk_in_a_triad_with_a_past_counts_as_one_that_lost_records(*, history: bool) -> None:
    """E2: nothing tells a wiped disk from a new one but what the others know."""
    fresh = replace(AWAKE, fresh=True, lacks_until=100.7)
    assert verdict(memory=fresh, history=history).granted is not history


def test_two_of_three_make_a_master_and_early_votes_only_all_three() -> None:
    """Quorum of two; E2: one wiped node among two must not be enough."""
    assert not election.is_elected([], own_vote_early=False)
    assert election.is_elected([vote(TERTIARY)], own_vote_early=False)
    assert not election.is_elected([vote(TERTIARY, early=True)], own_vote_early=False)
    assert not election.is_elected([vote(TERTIARY)], own_vote_early=True)
    assert election.is_elected([vote(TERTIARY, early=True), vote(SECONDARY, early=True)], own_vote_early=True)


def test_the_masters_lease_is_over_before_e_is_on_clocks_that_drift_apart() -> None:
    """E5: the master's clock 2 % slow, the voter's 2 % fast."""
    assert election.lease_until(0.0, FAILOVER_S) / 0.98 < FAILOVER_S / 1.02


def test_a_candidate_respects_a_live_master_as_every_voter_does() -> None:
    """E1: neither does it ask, nor does it take what it asked for before it heard."""
    heard = AWAKE.heard(PRIMARY, 99.9)
    stands = election.stands_from(SECONDARY, heard, rival=False, quorum_since=0.0, heartbeat_s=0.1, failover=FAILOVER_S)
    assert stands == pytest.approx(99.9 + FAILOVER_S)
    assert not election.may_lead(heard, history=True, failover=FAILOVER_S, now=100.0)
    assert election.may_lead(heard, history=True, failover=FAILOVER_S, now=100.3)


def test_a_vote_for_a_term_that_was_voted_in_meanwhile_comes_too_late() -> None:
    """E1: the own vote is one of the two."""
    ledger = Ledger(VirtualTriad().hosts[SECONDARY].config, DiskImage(), failover_s=FAILOVER_S, now=90.0)
    campaign = Campaign(SECONDARY, ledger, heartbeat_s=0.1, failover_s=FAILOVER_S)
    heard = membership_at_start(SECONDARY, 0.1, FAILOVER_S).heard(vote(TERTIARY), 99.9, is_answer=True)
    campaign.seen_term = 5
    campaign.stand_if_due(heard, 100.0)
    ledger.vote(6, PRIMARY)
    assert campaign.count(vote(TERTIARY), 100.0) is None


# --- stories ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", range(5))
def test_when_the_master_is_killed_the_next_one_serves_e_after_its_last_word(phase: int) -> None:
    """T4: the election costs E and a few messages, wherever in the interval the master dies."""
    triad = serving_triad()
    triad.run(phase * 0.02)
    triad.crash(PRIMARY)
    killed_at = triad.now

    assert triad.run_until_serving(1.0) is SECONDARY
    assert triad.now - killed_at < FAILOVER_S + 0.02
    _, _, serving = triad.events("serving")[-1]
    assert serving.facts["silent_s"] == pytest.approx(FAILOVER_S, abs=0.02)
    assert serving.facts["term"] == 2


def test_a_master_that_is_cut_off_stops_before_another_can_be_elected() -> None:
    """E5."""
    triad = serving_triad()
    triad.isolate(PRIMARY)
    triad.run(FAILOVER_S + 0.1)

    assert triad.serving() == [SECONDARY]
    stopped_at, _, _ = triad.events("deposed")[-1]
    serving_at, who, _ = triad.events("serving")[-1]
    assert who is SECONDARY
    assert stopped_at < serving_at


def test_a_voter_that_forgot_the_master_by_a_restart_does_not_elect_a_second_one() -> None:
    """E1, E2: the tertiary acknowledged the primary, restarts, and is asked by a secondary that cannot hear the primary."""
    triad = serving_triad()
    triad.cut(PRIMARY, SECONDARY)
    triad.run(FAILOVER_S - 0.02)
    triad.crash(TERTIARY)
    triad.cut(PRIMARY, TERTIARY)
    triad.start(TERTIARY)
    triad.run(0.1)
    assert triad.serving() == [PRIMARY]  # by its lease, which the tertiary has forgotten

    assert triad.run_until_serving(1.0) is PRIMARY
    triad.run(FAILOVER_S + 0.1)
    assert triad.serving() == [SECONDARY]


def test_a_vote_outlives_a_restart() -> None:
    """E1, E7: the ballot is on the disk before the answer leaves."""
    triad = serving_triad()
    triad.crash(PRIMARY)
    triad.run_until_serving(1.0)
    triad.crash(TERTIARY)
    ballot = triad.hosts[TERTIARY].disk.ballot
    assert ballot is not None
    assert (ballot.term, ballot.voted_for) == (2, SECONDARY)

    triad.start(TERTIARY)
    assert triad.node(TERTIARY)._member.ballot.term == 2


def test_a_frozen_master_that_thaws_answers_nothing_as_master() -> None:
    """E5: what waited in its sockets is taken in with the fresh reading of the clock."""
    triad = serving_triad()
    held = triad.ask(PRIMARY, checkout("a"))
    triad.run(STEP_S)
    assert triad.answers[held].status == 201
    triad.pause(PRIMARY)
    renewal, grant = triad.ask(PRIMARY, Renew(ids=("a",))), triad.ask(PRIMARY, checkout("b"))
    triad.run(FAILOVER_S + 0.1)
    assert triad.serving() == [SECONDARY]

    triad.thaw(PRIMARY)
    assert {triad.answers[token].status for token in (renewal, grant)} <= {421, 503}
    triad.run(1.0)
    assert triad.serving() == [PRIMARY]  # handed back (T5)


def test_with_primary_is_master_a_returned_primary_catches_up_and_takes_over_with_every_seat() -> None:
    """T5, E6."""
    triad = serving_triad()
    triad.ask(PRIMARY, checkout("a"))
    triad.run(STEP_S)
    triad.crash(PRIMARY)
    triad.run_until_serving(1.0)
    token = triad.ask(SECONDARY, checkout("b"))
    triad.run(STEP_S)
    assert triad.answers[token].status == 201

    triad.start(PRIMARY)
    triad.run(0.3)
    assert triad.serving() == [PRIMARY]
    assert triad.node(PRIMARY)._member.ballot.term == 3
    assert held_ids(triad) == {"a", "b"}


def test_without_primary_is_master_the_secondary_stays() -> None:
    """T5."""
    triad = serving_triad(primary_is_master=False)
    triad.crash(PRIMARY)
    triad.run_until_serving(1.0)
    triad.start(PRIMARY)
    triad.run(3.0)
    assert triad.serving() == [SECONDARY]
    assert triad.node(SECONDARY)._member.ballot.term == 2


def test_an_orderly_stop_of_the_master_hands_over_without_waiting_for_e() -> None:
    """E6."""
    triad = serving_triad()
    triad.ask(PRIMARY, checkout("a"))
    triad.run(STEP_S)
    triad.stop(PRIMARY)
    triad.run(0.05)

    assert triad.halts == {PRIMARY: ""}
    assert triad.serving() == [SECONDARY]
    assert held_ids(triad) == {"a"}
    triad.run(2.0)
    assert triad.serving() == [SECONDARY]


def test_a_stopped_master_without_an_heir_halts_at_once() -> None:
    """E6: with the secondary down there is nobody to hand over to."""
    triad = serving_triad()
    triad.crash(SECONDARY)
    triad.run(1.0)
    assert triad.serving() == [PRIMARY]
    triad.stop(PRIMARY)
    assert triad.halts == {PRIMARY: ""}


def test_a_master_that_is_told_to_stop_halts_though_its_successor_falls_silent() -> None:
    """E6: it seemed ready, and never says that it has the last grant; the handover is given up in time, and so is the mastership."""
    triad = serving_triad()
    triad.cut(SECONDARY, PRIMARY, both=False)
    triad.ask(PRIMARY, Checkout(id="a", feature="RISK", version="0", count=1, holder=HOLDER))
    triad.stop(PRIMARY)
    triad.run(FAILOVER_S / 2 + 0.05)
    assert triad.halts == {PRIMARY: ""}


@pytest.mark.parametrize("lost", [1, 2, 3, 4])
def test_a_handover_that_loses_messages_still_ends_with_one_master(lost: int) -> None:
    """E6: the transfer is told again; should it come to nothing, an election follows."""
    triad = serving_triad()
    triad.crash(PRIMARY)
    triad.run_until_serving(1.0)
    triad.start(PRIMARY)
    while not triad.events("handed_over"):
        triad.run(0.001)
    left = lost

    def delays() -> tuple[float, ...]:
        nonlocal left
        left -= 1
        return () if left >= 0 else (0.001,)

    triad.delays = delays
    triad.run(FAILOVER_S + 1.0)
    assert triad.serving() == [PRIMARY]


def test_a_node_that_lost_records_does_not_let_their_seats_be_given_twice() -> None:
    """E2: the grant stood on the primary and the tertiary; the primary dies and the tertiary lost its log's tail."""
    triad = serving_triad()
    triad.isolate(SECONDARY)
    token = triad.ask(PRIMARY, checkout("a", count=2))
    triad.run(STEP_S)
    assert triad.answers[token].status == 201
    granted_at = triad.now
    triad.crash(PRIMARY)
    triad.crash(TERTIARY)
    tertiary = triad.hosts[TERTIARY]
    tertiary.disk = replace(tertiary.disk, records=tertiary.disk.records[:-2], may_lack_records=True)
    triad.heal()
    triad.start(TERTIARY)

    triad.run_until_serving(TTL_S * 1.1)
    assert triad.now > granted_at + TTL_S  # the client that holds it has given up by now
    assert held_ids(triad) == set()


def test_a_second_restart_does_not_make_a_node_forget_that_it_lacks_records() -> None:
    """E2: the log is rewritten at the start and looks whole then; the ballot tells."""
    triad = serving_triad()
    triad.isolate(SECONDARY)
    triad.crash(PRIMARY)
    triad.crash(TERTIARY)
    tertiary = triad.hosts[TERTIARY]
    tertiary.disk = replace(tertiary.disk, records=(), may_lack_records=True)
    triad.start(TERTIARY)
    triad.run(0.1)
    triad.crash(TERTIARY)
    tertiary.disk = replace(tertiary.disk, may_lack_records=False)
    triad.heal()
    triad.start(TERTIARY)
    restarted_at = triad.now

    triad.run_until_serving(TTL_S * 1.1)
    assert triad.now > restarted_at + TTL_S


def test_a_node_that_a_master_brought_up_to_date_votes_without_the_long_wait() -> None:
    """E2."""
    triad = serving_triad()
    triad.crash(TERTIARY)
    tertiary = triad.hosts[TERTIARY]
    tertiary.disk = replace(tertiary.disk, records=(), may_lack_records=True)
    triad.start(TERTIARY)
    triad.run(0.3)
    triad.crash(PRIMARY)
    assert triad.run_until_serving(FAILOVER_S + 0.02) is SECONDARY


def test_a_fresh_triad_serves_at_once_and_a_fresh_pair_after_e() -> None:
    """E2."""
    triad = VirtualTriad()
    triad.start(*Role)
    triad.run_until_serving(0.02)
    pair = VirtualTriad()
    pair.start(PRIMARY, TERTIARY)
    pair.run_until_serving(FAILOVER_S + 0.05)
    assert pair.now > FAILOVER_S


def test_one_wiped_disk_does_not_make_a_second_master_out_of_a_fresh_primary() -> None:
    """E2: the secondary serves by the word of a tertiary that is wiped then, and a primary that was never up finds that tertiary."""
    triad = VirtualTriad()
    triad.start(SECONDARY, TERTIARY)
    assert triad.run_until_serving(1.0) is SECONDARY
    triad.run(0.1)
    triad.wipe(TERTIARY)
    triad.isolate(SECONDARY)
    triad.start(PRIMARY, TERTIARY)
    triad.run(0.2)
    assert triad.serving() == [SECONDARY]
    triad.run(1.0)
    assert triad.serving() == [PRIMARY]


def test_a_wiped_voter_waits_until_the_leases_that_it_forgot_are_over() -> None:
    """E2: the grant stood on the primary and the tertiary; the primary dies, the tertiary is wiped, the secondary has a past without it."""
    triad = serving_triad()
    triad.isolate(SECONDARY)
    token = triad.ask(PRIMARY, checkout("a", count=2))
    triad.run(STEP_S)
    assert triad.answers[token].status == 201
    granted_at = triad.now
    triad.crash(PRIMARY)
    triad.wipe(TERTIARY)
    triad.heal()
    triad.start(TERTIARY)
    triad.run_until_serving(TTL_S * 1.1)
    assert triad.now > granted_at + TTL_S


def test_a_returning_node_outside_the_quorum_does_not_disturb_the_master() -> None:
    """E1: a try for mastership that nobody votes for changes no term, so nobody is deposed when the link heals."""
    triad = serving_triad(primary_is_master=False)
    triad.isolate(SECONDARY)
    triad.run(5.0)
    triad.heal()
    triad.run(1.0)
    assert triad.serving() == [PRIMARY]
    assert triad.node(PRIMARY)._member.ballot.term == 1
    assert not triad.events("deposed")


def test_a_node_with_another_clusters_state_says_so_and_stops() -> None:
    """Terms compare within one cluster only."""
    triad = serving_triad()
    triad.crash(SECONDARY)
    secondary = triad.hosts[SECONDARY]
    assert secondary.disk.ballot is not None
    secondary.disk = replace(secondary.disk, ballot=replace(secondary.disk.ballot, cluster="c2", term=9))
    triad.start(SECONDARY)
    triad.run(1.0)
    assert "cluster 'c2'" in triad.halts[SECONDARY]
    assert triad.serving() == [PRIMARY]


def test_a_master_that_hears_of_a_higher_term_stops() -> None:
    """E1: whoever is in that term cannot acknowledge anything of the old one."""
    triad = serving_triad()
    reply = HeartbeatReply(sender=TERTIARY, cluster="c1", term=5, sent_at=0.0, accepted=False, op=0)
    triad._handle(PRIMARY, PeerReply(message=reply))
    assert triad.serving() == []
    triad.run(0.1)
    assert triad.serving() == [PRIMARY]
    assert triad.node(PRIMARY)._member.ballot.term == 6


def test_a_word_of_an_old_term_confirms_nothing_in_a_new_one() -> None:
    """E4, G4: operations are numbered anew in each term."""
    triad = serving_triad()
    triad.isolate(PRIMARY)
    triad.run(1.0)
    triad.heal()
    triad.run(1.0)
    assert triad.node(PRIMARY)._member.ballot.term == 3
    triad.isolate(PRIMARY)
    token = triad.ask(PRIMARY, checkout("a"))
    late = AppendReply(sender=TERTIARY, cluster="c1", term=1, sent_at=triad.clock(PRIMARY), accepted=True, op=50)
    triad._handle(PRIMARY, PeerReply(message=late))
    assert token not in triad.answers


def test_the_vote_for_the_successor_is_on_the_disk_before_the_successor_is_told() -> None:
    """E6: should it crash now, it cannot serve or vote in that term."""
    triad = serving_triad()
    triad.crash(PRIMARY)
    triad.run_until_serving(1.0)
    triad.start(PRIMARY)
    while not triad.events("handed_over"):
        triad.run(0.001)
    ballot = triad.hosts[SECONDARY].disk.ballot
    assert ballot is not None
    assert (ballot.term, ballot.voted_for) == (3, PRIMARY)


def test_a_transfer_that_comes_again_after_its_term_does_not_make_a_master() -> None:
    """E6: no term is led twice, since its operations are numbered from one."""
    triad = serving_triad()
    triad.crash(PRIMARY)
    triad.run_until_serving(1.0)
    triad.start(PRIMARY)
    triad.run(0.5)
    assert triad.node(PRIMARY)._member.ballot.term == 3
    triad.isolate(PRIMARY)
    triad.run(FAILOVER_S)
    again = Transfer(sender=SECONDARY, cluster="c1", term=3, records=())
    triad.node(PRIMARY).handle(PeerCall(token=1, message=again), triad.clock(PRIMARY))
    assert triad.node(PRIMARY)._member.stance is Stance.FOLLOWING


def test_a_grant_that_the_winner_missed_comes_with_the_vote() -> None:
    """G2, E3: it was on the dead master and on the voter."""
    triad = serving_triad()
    triad.cut(PRIMARY, SECONDARY)
    token = triad.ask(PRIMARY, checkout("a"))
    while token not in triad.answers:
        triad.run(0.001)
    assert triad.answers[token].status == 201
    triad.crash(PRIMARY)
    triad.run_until_serving(1.0)
    assert held_ids(triad) == {"a"}


def test_a_handover_comes_to_an_end_under_constant_load() -> None:
    """E6: a master that is about to hand over takes nothing new on, and what it took on is done before."""
    triad = serving_triad()
    triad.crash(PRIMARY)
    triad.run_until_serving(1.0)
    triad.start(PRIMARY)
    taken_on = []
    for number in range(300):
        token = triad.ask(SECONDARY, Return(ids=(str(number),)))
        taken_on += [token] if token not in triad.answers else []
        triad.run(0.001)
    assert triad.serving() == [PRIMARY]
    assert taken_on
    assert {triad.answers[token].status for token in taken_on} == {200}


@pytest.mark.parametrize("earlier_s", [0.0, 0.02])
def test_where_nobody_sat_before_the_primarys_pair_serves(earlier_s: float) -> None:
    """T8: also when the secondary, cut off from the primary, is a little ahead: the tertiary tells that the primary is about."""
    triad = VirtualTriad(primary_is_master=False)
    triad.cut(PRIMARY, SECONDARY)
    triad.start(SECONDARY, TERTIARY)
    triad.run(earlier_s)
    triad.start(PRIMARY)
    triad.run(FAILOVER_S + 1.0)
    assert triad.serving() == [PRIMARY]


def test_after_a_long_night_without_any_link_the_primary_is_the_quicker_one() -> None:
    """E1: the secondary lets it go first, counted from when they can talk again."""
    triad = serving_triad(primary_is_master=False)
    triad.crash(PRIMARY)
    triad.run_until_serving(1.0)
    triad.start(PRIMARY)
    for role in Role:
        triad.isolate(role)
    triad.run(3.0)
    triad.heal()
    assert triad.run_until_serving(0.3) is PRIMARY


def test_a_primary_whose_wait_is_over_is_the_quicker_one_even_when_it_is_late() -> None:
    """E1, E2: a secondary that was told when to ask again does not ask in the moment in which the primary stands itself."""
    triad = VirtualTriad(primary_is_master=False)
    triad.isolate(TERTIARY)
    triad.start(SECONDARY)
    triad.run(2 * FAILOVER_S)
    triad.start(PRIMARY)
    triad.run(FAILOVER_S - 0.001)
    triad.pause(PRIMARY)
    triad.run(0.02)
    triad.thaw(PRIMARY)
    assert triad.run_until_serving(1.0) is PRIMARY


def lines_of(triad: VirtualTriad, role: Role) -> list[str]:
    """What this node has written into its debug log."""
    return [text for _, by, text in triad.lines if by is role]


def test_only_the_master_writes_a_log() -> None:
    """T6, T14: what it grants, whom it hears; the next one goes on where it takes over, and the others write nothing, whatever they see."""
    triad = serving_triad()
    triad.ask(PRIMARY, checkout("a"))
    triad.run(0.5)
    began = ["Connected to lic2", "Connected to lic3", "CONNECTED, master is lic1"]
    assert [sorted(lines_of(triad, PRIMARY)[:2]), *lines_of(triad, PRIMARY)[2:]] == [began[:2], began[2], "OUT: RISK ann@pc7"]
    assert lines_of(triad, SECONDARY) == lines_of(triad, TERTIARY) == []
    triad.crash(PRIMARY)
    triad.run(2.0)
    assert lines_of(triad, SECONDARY)[:3] == ["Lost connection to lic1", "Connected to lic3", "CONNECTED, master is lic2"]
    assert lines_of(triad, TERTIARY) == []


def test_a_master_that_is_cut_off_writes_whom_it_lost_and_then_nothing() -> None:
    """T6, T14: and what it sees afterwards, as one among others, is not for its log."""
    triad = serving_triad(primary_is_master=False)
    triad.isolate(PRIMARY)
    before = len(lines_of(triad, PRIMARY))
    triad.run(2.0)
    assert lines_of(triad, PRIMARY)[before:] == ["Lost connection to lic2", "Lost connection to lic3", "Lost quorum"]
    triad.heal()
    triad.run(2.0)
    assert triad.serving() == [SECONDARY]
    assert len(lines_of(triad, PRIMARY)) == before + 3


def test_a_master_that_slept_through_its_reign_writes_nothing_of_its_end() -> None:
    """T6: when it is thawed another may be master, and write."""
    triad = serving_triad(primary_is_master=False)
    before = len(lines_of(triad, PRIMARY))
    triad.pause(PRIMARY)
    triad.run(2.0)
    triad.thaw(PRIMARY)
    triad.run(1.0)
    assert triad.serving() == [SECONDARY]
    assert len(lines_of(triad, PRIMARY)) == before


def test_a_master_tells_of_each_connection_that_changes() -> None:
    """T14: lost once and found once; and of one that was never there nothing."""
    triad = VirtualTriad()
    triad.start(PRIMARY)
    triad.start(SECONDARY)
    assert triad.run_until_serving(5.0) is PRIMARY
    triad.run(2.0)
    assert lines_of(triad, PRIMARY) == ["Connected to lic2", "CONNECTED, master is lic1"]
    triad.start(TERTIARY)
    triad.run(0.5)
    triad.pause(TERTIARY)
    triad.run(2.0)
    triad.thaw(TERTIARY)
    triad.run(0.5)
    assert lines_of(triad, PRIMARY)[2:] == ["Connected to lic3", "Lost connection to lic3", "Connected to lic3"]


def test_a_hint_comes_with_the_term_of_its_master_also_by_hearsay() -> None:
    """Protocol: a client follows a hint at once when the term that comes with it is news, so that of a node that cannot hear the master must not be old."""
    triad = serving_triad(primary_is_master=False)
    triad.isolate(PRIMARY)
    triad.run(2.0)
    assert triad.serving() == [SECONDARY]
    triad.cuts = {(PRIMARY, SECONDARY), (SECONDARY, PRIMARY)}
    triad.run(0.5)
    refused = triad.answers[triad.ask(PRIMARY, checkout("a"))]
    ballot = triad.hosts[PRIMARY].disk.ballot
    assert ballot is not None
    assert (ballot.term, triad.status(SECONDARY)["term"]) == (1, 2)
    assert (refused.status, refused.body["master"], refused.body["term"]) == (421, "secondary", 2)
    triad.isolate(PRIMARY)
    triad.run(2.0)
    assert triad.status(PRIMARY)["term"] == 2  # what it knew once it goes on knowing


@pytest.mark.parametrize("interval_s", [1.0, 2.0, 120.0])
def test_a_triad_with_another_heartbeat_interval_survives_its_master(interval_s: float) -> None:
    """T4, T10: E is three intervals for n = 1 and nearly four for n = 120; the driver sees that no two serve."""
    triad = VirtualTriad()
    for host in triad.hosts.values():
        host.config = replace(host.config, heartbeat_interval_s=interval_s)
    triad.start(*Role)
    triad.run_until_serving(0.1)
    triad.run(1.0)
    failover_s = election.failover_s(0.1, interval_s)
    assert triad.status(TERTIARY)["failover_s"] == failover_s
    triad.crash(PRIMARY)
    triad.run(failover_s - 0.11)
    assert triad.serving() == []
    assert triad.run_until_serving(0.11 + 0.2) is SECONDARY
    triad.start(PRIMARY)
    triad.run(failover_s + 1.0)
    assert triad.serving() == [PRIMARY]
