"""How a node votes and how it stands for mastership (E1, E2); the rules themselves are functions of ``election``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from fakeserver import election
from fakeserver.election import LONG_AGO, Candidacy, Verdict
from fakeserver.events import Happened, PeerSend
from fakeserver.ledger import Ledger
from fakeserver.membership import Membership
from fakeserver.peer import Transfer, VoteAsk, VoteReply
from fakeserver.roles import Role
from fakeserver.seats import Record


class Campaign:
    """The votes of one node, given and asked for.  ``now`` is its clock in seconds."""

    def __init__(self, role: Role, ledger: Ledger, *, heartbeat_s: float, failover_s: float) -> None:
        self._role = role
        self._ledger = ledger
        self._heartbeat_s = heartbeat_s
        self._failover_s = failover_s
        self._candidacy: Candidacy | None = None
        self._again_at = LONG_AGO
        self.seen_term = ledger.ballot.term

    # --- voting ---------------------------------------------------------------------------------------------------------------------

    def vote(self, ask: VoteAsk, *, leading_until: float, now: float) -> VoteReply:
        """Give the vote, saved first, with what the table has that the other lacks; or refuse it.  ``leading_until``: how long this node may be master itself."""
        history = self._ledger.has_history(ask.sender)
        if self._goes_first(ask, now):
            return self._reply(ask, Verdict(granted=False, retry_s=self._heartbeat_s), history=history)
        verdict = election.judge(
            ask,
            ballot=self._ledger.ballot,
            memory=self._ledger.memory,
            history=history,
            leading_until=leading_until,
            failover=self._failover_s,
            now=now,
        )
        if verdict.granted:
            self._candidacy = None
            self._again_at = now + 1.5 * election.pause_s(self._role, self._heartbeat_s)  # time for the other to make good use of it
            self._ledger.join(ask.cluster)
            self._ledger.vote(ask.asked_term, ask.sender)
            facts = {"term": ask.asked_term, "for": ask.sender.value, "early": verdict.early}
            self._ledger.out.append(Happened(name="voted", facts=facts))
        return self._reply(ask, verdict, history=history)

    def _goes_first(self, ask: VoteAsk, now: float) -> bool:
        """The primary does not vote for the secondary while it stands itself (E1: the primary is quicker)."""
        mine = self._candidacy
        return self._role is Role.PRIMARY and mine is not None and now < mine.until and mine.asked_term >= ask.asked_term

    def _reply(self, ask: VoteAsk, verdict: Verdict, *, history: bool) -> VoteReply:
        """The verdict as a message; a vote carries the table (E1), but for what the other has already."""
        since = self._ledger.common_with(ask.has)
        return VoteReply(
            sender=self._role,
            cluster=self._ledger.ballot.cluster,
            term=self._ledger.ballot.term,
            asked_term=ask.asked_term,
            granted=verdict.granted,
            early=verdict.early,
            retry_s=verdict.retry_s,
            has_history=history,
            records=self._ledger.table.records_since(since) if verdict.granted else (),
            since=since,
        )

    # --- standing -------------------------------------------------------------------------------------------------------------------

    def wait_until(self, moment: float) -> None:
        """Do not stand before this moment."""
        self._again_at = moment

    def give_way(self) -> None:
        """A live master was heard: the try is over."""
        self._candidacy = None

    def next_try_at(self, membership: Membership, now: float) -> float:
        """From when this node may ask for votes, as things are."""
        if self._role not in election.CANDIDATES or not membership.has_quorum(now):
            return election.NEVER
        ledger = self._ledger
        if self._role is Role.PRIMARY and ledger.ballot.term == 0 and membership.is_fresh_triad():
            return self._again_at  # a fresh triad need not wait (E2)
        start = self._stands_from(membership, rival=False)
        if now >= start:  # only then does it matter who else lives
            start = self._stands_from(membership, rival=membership.is_primary_about(now))
        return max(start, self._again_at)

    def _stands_from(self, membership: Membership, *, rival: bool) -> float:
        return election.stands_from(
            self._role,
            self._ledger.memory,
            rival=rival,
            quorum_since=membership.quorum_since,
            heartbeat_s=self._heartbeat_s,
            failover=self._failover_s,
        )

    def stand_if_due(self, membership: Membership, now: float) -> float:
        """Ask both others for their votes, if it is time; gives when the next try is due.

        Nothing is promised or saved before the first vote comes, so a vain try disturbs nobody.
        """
        next_at = self.next_try_at(membership, now)
        if now >= next_at:
            self._stand(now)
            next_at = self._again_at
        return next_at

    def _stand(self, now: float) -> None:
        pause = election.pause_s(self._role, self._heartbeat_s)
        ballot = self._ledger.ballot
        asked_term = max(ballot.term, self.seen_term) + 1
        votes = self._candidacy.votes if self._candidacy and self._candidacy.asked_term == asked_term else ()
        self._candidacy = Candidacy(asked_term=asked_term, until=now + pause / 2, votes=votes)
        self._again_at = now + pause
        history = self._ledger.has_history(self._role)
        has = self._ledger.in_step
        ask = VoteAsk(sender=self._role, cluster=ballot.cluster, term=ballot.term, asked_term=asked_term, has_history=history, has=has)
        self._ledger.out += [PeerSend(to=other, message=ask) for other in self._role.others]
        self._ledger.out.append(Happened(name="stood", facts={"term": asked_term}))

    def count(self, vote: VoteReply, now: float) -> tuple[VoteReply, ...] | None:
        """Take a reply in: the votes with which this node is elected, or None while it is not."""
        mine = self._candidacy
        if mine is None or vote.asked_term != mine.asked_term:
            return None
        if not vote.granted:
            self._heed(mine, vote, now)
            return None
        if not self._ledger.reaches(vote.since):
            return None  # it answers what this node asked in an earlier life, when it had more
        self._candidacy = mine = mine.with_vote(vote)
        ledger = self._ledger
        if mine.asked_term <= ledger.ballot.term:  # the own vote is spent; no term is led twice
            return None
        if not election.is_elected(mine.votes, own_vote_early=now < ledger.memory.waits_until) or not self._may_lead(mine.votes, now):
            return None
        self._candidacy = None
        return mine.votes

    def _heed(self, mine: Candidacy, vote: VoteReply, now: float) -> None:
        """Ask again when a voter says it makes sense, the sooner of two; not in the same instant, and within E whatever they say.

        What the primary waits for it may wait for to stand itself: the secondary leaves it a heartbeat more (E1).
        """
        if vote.retry_s <= 0:
            return
        wait_s = vote.retry_s + self._heartbeat_s if vote.sender is Role.PRIMARY else max(vote.retry_s, self._heartbeat_s / 50)
        again_at = now + min(wait_s, self._failover_s)
        self._again_at = min(self._again_at, again_at) if mine.refused else again_at
        self._candidacy = replace(mine, refused=True)

    def _may_lead(self, votes: Iterable[VoteReply], now: float) -> bool:
        memory = self._ledger.memory
        history = self._ledger.has_history(self._role) or any(vote.has_history for vote in votes)
        if election.may_lead(memory, history=history, failover=self._failover_s, now=now):
            return True
        self._again_at = max(self._again_at, memory.lacking_until(history=history))
        return False


def tables(votes: Iterable[VoteReply | Transfer]) -> tuple[tuple[Record, ...], ...]:
    """What the votes brought along (E3)."""
    return tuple(vote.records for vote in votes)
