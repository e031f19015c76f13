"""Whom a node hears, and which master it knows of: quorum, rivals, hints (T1, T8, T9).

Learning makes a new value of what was known; nothing here decides about votes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from fakeserver.election import LONG_AGO, NEVER
from fakeserver.peer import Heartbeat, Message
from fakeserver.roles import Role

LATELY_INTERVALS = 2.2
"""What was heard within two intervals, and a bit for the way, was heard lately."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """One other node: when it was last heard, when it last answered, its term (None: unknown), and whom it hears."""

    heard_at: float = LONG_AGO
    answered_at: float = LONG_AGO
    term: int | None = None
    hears: tuple[Role, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """A serving master that was heard of at ``at``; ``direct``: from itself, not by another's word."""

    master: Role
    term: int
    at: float
    direct: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """What a node knows of the others at a moment.  Times are readings of its own clock in seconds; at ``heard_at`` any of them was last heard."""

    role: Role
    heartbeat_s: float
    failover_s: float
    neighbours: Mapping[Role, Neighbour]
    heard_at: float = LONG_AGO
    quorum_since: float = LONG_AGO
    sighting: Sighting | None = None

    def heard(self, message: Message, now: float, *, is_answer: bool) -> Membership:
        """The same after a message came in."""
        known = self.neighbours[message.sender]
        news = Neighbour(
            heard_at=now,
            answered_at=now if is_answer else known.answered_at,
            term=message.term,
            hears=message.hears if isinstance(message, Heartbeat) else known.hears,
        )
        return Membership(
            role=self.role,
            heartbeat_s=self.heartbeat_s,
            failover_s=self.failover_s,
            neighbours={**self.neighbours, message.sender: news},
            heard_at=now,
            quorum_since=self.quorum_since if self.has_quorum(now) else now,
            sighting=self.sighting,
        )

    def saw_master(self, message: Heartbeat, now: float) -> Membership:
        """The same after another told of a serving master, or the known one told that it serves no longer."""
        known = self.sighting
        if message.master is not None and message.master is not self.role:
            direct = message.master is message.sender
            seen = Sighting(master=message.master, term=message.master_term, at=now, direct=direct)
            if known is None or (seen.term, direct) >= (known.term, known.direct) or not self._is_fresh(known, now):
                return replace(self, sighting=seen)
        elif known is not None and message.sender is known.master and message.term >= known.term:
            return replace(self, sighting=None)
        return self

    def without_master_before(self, term: int) -> Membership:
        """The same when there is a newer term: a master of an older one is not to be pointed at any more."""
        return replace(self, sighting=None) if self.sighting is not None and self.sighting.term < term else self

    def known_master(self, now: float) -> Sighting | None:
        """The serving master that was heard of within E."""
        return self.sighting if self.sighting is not None and self._is_fresh(self.sighting, now) else None

    def gossip(self, now: float) -> Sighting | None:
        """What to tell others of: only what this node lately heard itself, so that old news does not go round in circles."""
        known = self.sighting
        return known if known is not None and known.direct and now < known.at + LATELY_INTERVALS * self.heartbeat_s else None

    def has_quorum(self, now: float) -> bool:
        """Whether another node was heard within E."""
        return now < self.heard_at + self.failover_s

    def up(self, now: float) -> tuple[Role, ...]:
        """The nodes that were heard within E (T10)."""
        return tuple([role for role, each in self.neighbours.items() if now < each.heard_at + self.failover_s])

    def was_heard(self, role: Role) -> bool:
        """Whether this node was ever heard."""
        return self.neighbours[role].heard_at != LONG_AGO

    def heard_lately(self, role: Role, now: float) -> bool:
        """Whether this node was heard in the last two intervals."""
        return now < self.neighbours[role].heard_at + LATELY_INTERVALS * self.heartbeat_s

    def answering(self, now: float) -> tuple[Role, ...]:
        """The nodes that lately answered: both directions of the link are whole."""
        return tuple(role for role, each in self.neighbours.items() if now < each.answered_at + LATELY_INTERVALS * self.heartbeat_s)

    def is_primary_about(self, now: float) -> bool:
        """Whether the primary lives, as far as this node or the other one lately heard (T8)."""
        return any(
            self.heard_lately(role, now) and (role is Role.PRIMARY or Role.PRIMARY in each.hears)
            for role, each in self.neighbours.items()
        )  # fmt: skip

    def is_fresh_triad(self) -> bool:
        """Whether both others are known and still in term 0 (E2)."""
        return all(each.term == 0 for each in self.neighbours.values())

    def next_change_at(self, now: float) -> float:
        """When silence next changes what is known: a peer counts as lost, or the master as unknown."""
        next_at = NEVER
        for each in self.neighbours.values():
            if now < each.heard_at + self.failover_s < next_at:
                next_at = each.heard_at + self.failover_s
        if self.sighting is not None and self._is_fresh(self.sighting, now):
            next_at = min(next_at, self.sighting.at + self.failover_s)
        return next_at

    def _is_fresh(self, sighting: Sighting, now: float) -> bool:
        return now < sighting.at + self.failover_s


def membership_at_start(role: Role, heartbeat_s: float, failover_s: float) -> Membership:
    """Nobody was heard yet."""
    return Membership(role=role, heartbeat_s=heartbeat_s, failover_s=failover_s, neighbours={other: Neighbour() for other in role.others})
