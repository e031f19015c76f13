"""What a node has promised and what it has written down: ballot, memory, table, and how far the table reaches (E1, E2, E7).

Every change that must outlive a crash is put on the way to the disk here, before anything that rests on it is said.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from fakeserver import election
from fakeserver.events import AppendRecords, DiskImage, Effect, NodeConfig, RewriteTable, SaveBallot
from fakeserver.roles import Role
from fakeserver.seats import FRESH, Record, Table, Version

REWRITE_AFTER = 20_000
"""So many records are added to the log before it is rewritten: some 5 MB, and 0.1 s of work at a time."""


class Ledger:
    """``in_step`` is the term and operation of its master up to which the table has no gap; a restart forgets it.  Effects go to ``out``."""

    def __init__(self, config: NodeConfig, disk: DiskImage, *, failover_s: float, now: float) -> None:
        self.memory = election.memory_at_start(disk, failover=failover_s, ttl_s=config.ttl_s, now=now)
        old = disk.ballot or SaveBallot(cluster=config.cluster, term=0, voted_for=None, incarnation=0)
        lacking = self.memory.lost or self.memory.fresh
        self.ballot = replace(old, incarnation=old.incarnation + 1, may_lack_records=lacking)
        self.table = Table(config.features, disk.records, now=now)
        self.in_step = FRESH
        self.out: list[Effect] = [self.ballot]
        self._features = config.features
        self._added = 0
        self._rewrite()

    def has_history(self, candidate: Role) -> bool:
        """Whether somebody other than ``candidate`` may have granted seats, as far as this node knows."""
        return election.has_history(self.ballot, self.table.last.term, candidate)

    # --- the ballot -----------------------------------------------------------------------------------------------------------------

    def join(self, cluster: str) -> None:
        """A fresh node takes the id of the cluster that it finds; it is saved with the first vote."""
        if self.ballot.term == 0:
            self.ballot = replace(self.ballot, cluster=cluster)

    def vote(self, term: int, role: Role) -> None:
        """Spend the vote of a term; it is on the disk before anybody is told (E1)."""
        if (self.ballot.term, self.ballot.voted_for) != (term, role):
            self.ballot = replace(self.ballot, term=term, voted_for=role)
            self.out.append(self.ballot)

    # --- the table ------------------------------------------------------------------------------------------------------------------

    def add(self, records: tuple[Record, ...], now: float, *, up_to: Version) -> None:
        """Records that follow without a gap."""
        self.table.apply(records, now)
        self.in_step = up_to
        self._append(records)

    def _append(self, records: tuple[Record, ...]) -> None:
        if records:
            self.out.append(AppendRecords(records=records))
        self._added += len(records)
        if self._added > REWRITE_AFTER:
            self._rewrite()

    def common_with(self, other: Version) -> Version:
        """Up to where this table is the same as that of a node that is in step up to ``other``: FRESH unless one master brought both there."""
        return min(self.in_step, other) if self.in_step.term == other.term else FRESH

    def reaches(self, since: Version) -> bool:
        """Whether what is newer than ``since`` is all that this table can lack; what is newer than FRESH is everything."""
        return since == FRESH or (self.in_step.term == since.term and self.in_step >= since)

    def take_over(self, records: tuple[Record, ...], now: float, *, since: Version, up_to: Version) -> None:
        """A master's table instead of the own one, as far as it is newer than ``since``: nothing is lacking from now on (E2)."""
        if not self.reaches(since):
            return
        if since == FRESH:
            self.table = Table(self._features, records, now=now)
        elif self.table.replace_since(since, records, now):
            since = FRESH  # what was let go is still in the log
        self.memory = self.memory.up_to_date()
        self._settle(up_to, since)

    def merge(self, tables: Iterable[tuple[Record, ...]], now: float, *, since: Version, stamp: Version) -> None:
        """The table with which a new master begins (E3): the newest record of every seat, what is not whole voided, all in its own term.

        ``tables`` hold what is newer than ``since``, which this one reaches.
        """
        for records in tables:
            self.table.apply(records, now)
        self.table.settle(stamp)
        self.memory = self.memory.led_myself()
        self._settle(stamp, since)

    def forget(self, *, stamp: Version) -> None:
        """The empty table with which a new master of FLEXnet's kind begins (G5, E9)."""
        self.table.forget(stamp)
        self.merge((), 0.0, since=FRESH, stamp=stamp)

    def _settle(self, up_to: Version, since: Version) -> None:
        self.in_step = up_to
        if since == FRESH:
            self._rewrite()
        else:
            self._append(self.table.records_since(since))
        if self.ballot.may_lack_records:  # after the table: a crash between the two must leave a node that knows what it lacks
            self.ballot = replace(self.ballot, may_lack_records=False)
            self.out.append(self.ballot)

    def _rewrite(self) -> None:
        self._added = 0
        self.out.append(RewriteTable(records=self.table.records()))
