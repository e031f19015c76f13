"""Who may be master: terms, votes, the wait after a start, the master's lease (T2, T7, E1, E2, E5).

Functions of what a node knows at a moment; all times are readings of the node's own clock in seconds.  ``is_elected`` is the line that makes a
master, ``judge`` the vote that it rests on, ``lease_until`` what keeps it one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from fakeserver.events import DiskImage, SaveBallot
from fakeserver.peer import Transfer, VoteAsk, VoteReply
from fakeserver.policy import CLOCK_MARGIN
from fakeserver.roles import Role

LEASE_SHARE = 0.95
"""A master's lease as a share of E.  One clock 2 % fast and another 2 % slow leave 0.98/1.02 = 0.96 of it; the rest is to spare."""

CANDIDATES = (Role.PRIMARY, Role.SECONDARY)
"""The tertiary never stands and is never voted for (T2)."""

NEVER = float("inf")
LONG_AGO = float("-inf")


def failover_s(heartbeat_s: float, interval_s: float = 20.0) -> float:
    """E: how long without a word before a peer counts as lost (T10): 3n + (n - 1) for an interval of n seconds, which take ``heartbeat_s``."""
    return (4 - 1 / interval_s) * heartbeat_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What a node remembers that bears on its votes.

    ``waits_until``: E after its start, because it forgot whom it had heard.  ``lacks_until``: a full ttl and the margin after its start, for a
    node that ``lost`` records, or for a ``fresh`` one when the triad turns out to have a past.  ``master`` was heard leading at ``heard_at``.
    """

    waits_until: float
    lacks_until: float
    lost: bool
    fresh: bool
    master: Role | None = None
    heard_at: float = LONG_AGO

    def heard(self, master: Role, now: float) -> Memory:
        """A live master spoke.  To have heard it is more than the wait after a start was for."""
        return Memory(
            waits_until=LONG_AGO, lacks_until=self.lacks_until, lost=self.lost, fresh=self.fresh, master=master, heard_at=now
        )  # fmt: skip

    def up_to_date(self) -> Memory:
        """A master's whole table came: nothing is lacking any more (E2)."""
        return replace(self, lost=False, fresh=False, lacks_until=LONG_AGO)

    def led_myself(self) -> Memory:
        """The node itself became master: it has heard no other."""
        return replace(self.up_to_date(), master=None, heard_at=LONG_AGO, waits_until=LONG_AGO)

    def sticky_until(self, failover: float, candidate: Role | None = None) -> float:
        """Until when a live master is to be respected (E1).  A master that asks for a new term serves no longer in its old one."""
        return LONG_AGO if self.master in (None, candidate) else self.heard_at + failover

    def lacking_until(self, *, history: bool) -> float:
        """Until when what this node does not know may still be held by somebody (E2)."""
        return self.lacks_until if self.lost or (self.fresh and history) else LONG_AGO


def memory_at_start(disk: DiskImage, *, failover: float, ttl_s: float, now: float) -> Memory:
    """What follows from the disk that a node finds.  In term 0 it has acknowledged nothing yet, or it was wiped: it cannot tell which."""
    fresh = disk.ballot is None or disk.ballot.term == 0
    lost = not fresh and (disk.may_lack_records or (disk.ballot is not None and disk.ballot.may_lack_records))
    return Memory(waits_until=now + failover, lacks_until=now + ttl_s * (1 + CLOCK_MARGIN), lost=lost, fresh=fresh)


def has_history(ballot: SaveBallot, table_term: int, candidate: Role) -> bool:
    """Whether somebody other than ``candidate`` may have granted seats, as far as this node knows."""
    return table_term > 0 or ballot.voted_for not in (None, candidate)


# --- votes --------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A voter's answer; ``retry_s`` (seconds) with a refusal: when it may be another.  0: it will not change with time alone."""

    granted: bool
    early: bool = False
    retry_s: float = 0.0


def judge(ask: VoteAsk, *, ballot: SaveBallot, memory: Memory, history: bool, leading_until: float, failover: float, now: float) -> Verdict:
    """Whether to vote for ``ask.sender`` in ``ask.asked_term`` (E1, E2).  ``leading_until``: how long this node itself may be the master."""
    if ask.sender not in CANDIDATES or not is_vote_free(ballot, ask.asked_term, ask.sender):
        return Verdict(granted=False)
    respect = max(leading_until, memory.sticky_until(failover, ask.sender), memory.lacking_until(history=history or ask.has_history))
    if now < respect:
        return Verdict(granted=False, retry_s=respect - now)
    if now >= memory.waits_until:
        return Verdict(granted=True)
    if ballot.term == 0 and ask.asked_term == 1 and ask.sender is Role.PRIMARY:
        return Verdict(granted=True, early=True)
    return Verdict(granted=False, retry_s=memory.waits_until - now)


def is_vote_free(ballot: SaveBallot, term: int, candidate: Role) -> bool:
    """Whether a vote in ``term`` can go to ``candidate``: one vote a term, and none below a term that was voted in (E1).

    The same candidate may be told again: it saves its own vote before it leads, so after a restart it cannot ask for that term once more.
    """
    return term > ballot.term or (term == ballot.term and ballot.voted_for is candidate)


# --- standing -----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidacy:
    """An open try for mastership: nothing is promised or saved before the first vote has come, so a failed one disturbs nobody.

    Until ``until`` it goes before the other candidate's; ``refused``: a voter has said when to ask again.
    """

    asked_term: int
    until: float
    votes: tuple[VoteReply, ...] = ()
    refused: bool = False

    def with_vote(self, vote: VoteReply) -> Candidacy:
        """One more vote; a doubled one counts once."""
        return replace(self, votes=(*(each for each in self.votes if each.sender is not vote.sender), vote))


def is_elected(votes: Iterable[VoteReply], *, own_vote_early: bool) -> bool:
    """Two of three make a master: the candidate's own vote and one other.  Where any of the two is early, all three are needed (E2)."""
    votes = tuple(votes)
    return len(votes) == 2 or (not own_vote_early and any(not vote.early for vote in votes))


def may_lead(memory: Memory, *, history: bool, failover: float, now: float) -> bool:
    """Whether a candidate may still take the mastership: it respects a live master as every voter does, and must not lack records."""
    return now >= max(memory.sticky_until(failover), memory.lacking_until(history=history))


def stands_from(role: Role, memory: Memory, *, rival: bool, quorum_since: float, heartbeat_s: float, failover: float) -> float:
    """From when a node may ask for votes.  The secondary lets a living primary go first (E1: the primary is quicker)."""
    if role not in CANDIDATES:
        return NEVER
    patience_s = heartbeat_s if role is Role.SECONDARY and rival else 0.0
    lacking = memory.lacks_until if memory.lost else LONG_AGO
    return max(memory.waits_until, memory.sticky_until(failover), lacking, quorum_since) + patience_s


def pause_s(role: Role, heartbeat_s: float) -> float:
    """How long after a failed try (seconds).  The two candidates differ, so that they do not collide for ever."""
    return heartbeat_s * (1.0 if role is Role.PRIMARY else 1.7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """The vote and the table that go to a successor, until it has answered, leads, or the time is up (E6)."""

    to: Role
    message: Transfer
    send_at: float
    until: float


# --- the master's lease -------------------------------------------------------------------------------------------------------------


def lease_until(newest_acked_sent_at: float, failover: float) -> float:
    """Until when a master may serve: counted from when the newest acknowledged message was *sent*, and over before E is (E5)."""
    return newest_acked_sent_at + LEASE_SHARE * failover
