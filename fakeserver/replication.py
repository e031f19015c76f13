"""The master's view of the other two: what each has of the table, and what it is to be sent (E2, E4, E5).

A master numbers its operations from 1, the barrier's table.  One message at a time is under way to each node; what is decided meanwhile goes with
the next, so a slow node costs large batches and not a queue.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from fakeserver.election import LONG_AGO
from fakeserver.peer import Append, AppendReply, HeartbeatReply
from fakeserver.roles import Role
from fakeserver.seats import FRESH, Record, Table, Version

BARRIER_OP = 1

RECENT_LIMIT = 2_000
"""So many operations are kept to fill a short gap (a second of full load); a node that is further behind gets the whole table."""


class Follower:
    """One other node: ``acked`` is the operation up to which its table has no gap, None while it is not in step.

    ``has``: up to where it had none, as it said last or is to be hoped; it refuses what it cannot use, and says then.
    """

    def __init__(self, has: Version) -> None:
        self.acked: int | None = None
        self.in_flight_since: float | None = None
        self.wants_table = True
        self.has = has


class Replication:
    """Made anew for each term that this node leads; ``resend_s`` (seconds) is when an unanswered message is given up.

    ``since``: what is newer than that is all in which this table differs from those that were merged; to a node that has everything up to there
    no more need be sent.  An election at a thousand returned ids would else carry them all, twice.  ``newest_acked_sent_at``: when the newest message
    that another node acknowledged was sent (E5).
    """

    def __init__(self, *, role: Role, cluster: str, term: int, table: Table, since: Version, resend_s: float) -> None:
        self.term = term
        self.op = BARRIER_OP
        self.committed = 0
        self.newest_acked_sent_at = LONG_AGO
        self.followers = {other: Follower(since) for other in role.others}
        self._role = role
        self._cluster = cluster
        self._table = table
        self._merged_since = since
        self._resend_s = resend_s
        self._recent: deque[tuple[int, tuple[Record, ...]]] = deque(maxlen=RECENT_LIMIT)

    def next_version(self) -> Version:
        """The version of the records of the next operation."""
        return Version(self.term, self.op + 1)

    def add(self, records: Iterable[Record]) -> None:
        """The next operation's records, already in the own table and on the own disk."""
        self.op += 1
        self._recent.append((self.op, tuple(records)))

    def due(self, role: Role, now: float) -> Append | None:
        """What to send to this node now, if anything."""
        follower = self.followers[role]
        if follower.in_flight_since is not None and now < follower.in_flight_since + self._resend_s:
            return None
        message = self._next_for(follower, now)
        follower.in_flight_since = None if message is None else now
        return message

    def heartbeat_answered(self, reply: HeartbeatReply) -> None:
        """A node in this term told how far it is."""
        follower = self.followers[reply.sender]
        if reply.accepted:
            self._in_step(follower, reply)
        else:
            follower.acked, follower.wants_table = None, True

    def append_answered(self, reply: AppendReply) -> None:
        """A node in this term wrote down what it was sent, or has a gap."""
        follower = self.followers[reply.sender]
        follower.in_flight_since = None
        if reply.accepted:
            self._in_step(follower, reply)
        else:
            follower.acked, follower.wants_table, follower.has = None, True, reply.has

    def _in_step(self, follower: Follower, reply: HeartbeatReply | AppendReply) -> None:
        follower.acked = max(reply.op, follower.acked or 0)
        follower.wants_table = False
        self.newest_acked_sent_at = max(self.newest_acked_sent_at, reply.sent_at)
        self.committed = max(self.committed, follower.acked)  # this node and one other are two of three (E4)

    def _next_for(self, follower: Follower, now: float) -> Append | None:
        if follower.acked is None:
            if not follower.wants_table:
                return None
            follower.wants_table = False  # once; a node that is there and still not in step says so, one that is gone is not sent tables
            return self._table_for(follower.has, now)
        if follower.acked == self.op:
            return None
        if self._recent[0][0] > follower.acked + 1:
            return self._table_for(Version(self.term, follower.acked), now)
        missing = tuple(record for op, records in self._recent if op > follower.acked for record in records)
        return self._append(now, whole=False, base_op=follower.acked, records=missing)

    def _table_for(self, has: Version, now: float) -> Append:
        """The table for a node that has all up to ``has``: without that, if it is the same here."""
        since = FRESH
        if has.term == self.term:
            since = has
        elif has.term == self._merged_since.term:
            since = min(has, self._merged_since)
        return self._append(now, whole=True, base_op=0, records=self._table.records_since(since), since=since)

    def _append(self, now: float, *, whole: bool, base_op: int, records: tuple[Record, ...], since: Version = FRESH) -> Append:
        return Append(
            sender=self._role,
            cluster=self._cluster,
            term=self.term,
            sent_at=now,
            whole=whole,
            base_op=base_op,
            op=self.op,
            records=records,
            since=since,
        )
