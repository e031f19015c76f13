"""What a node is in its triad, and the table of all changes of that."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class Stance(Enum):
    """Only SERVING answers clients with more than a refusal.  What status calls ``state`` is finer: see ``Node``."""

    FOLLOWING = "no master, or another's"
    BARRIER = "elected; its table is not yet on a second node (E3)"
    SERVING = "master"
    DRAINING = "master still, but takes nothing on: it is about to hand over (E6)"
    HALTED = "stopped"

    __hash__ = object.__hash__  # as in ``roles``


class Turn(Enum):
    """What changes a stance."""

    ELECTED = "two of three votes, or the master's own by a transfer"
    REPLICATED = "a second node has the barrier's table"
    DEPOSED = "a higher term was seen, or the lease ran out"
    DRAIN = "somebody better is ready, or a stop was asked for"
    KEPT = "the handover came to nothing"
    HANDED_OVER = "the vote for the successor is saved"
    HALT = "an orderly stop is done, or this is no node of the triad"


TURNS: Mapping[tuple[Stance, Turn], Stance] = {
    (Stance.FOLLOWING, Turn.ELECTED): Stance.BARRIER,
    (Stance.BARRIER, Turn.REPLICATED): Stance.SERVING,
    (Stance.BARRIER, Turn.DEPOSED): Stance.FOLLOWING,
    (Stance.SERVING, Turn.DEPOSED): Stance.FOLLOWING,
    (Stance.SERVING, Turn.DRAIN): Stance.DRAINING,
    (Stance.DRAINING, Turn.KEPT): Stance.SERVING,
    (Stance.DRAINING, Turn.DEPOSED): Stance.FOLLOWING,
    (Stance.DRAINING, Turn.HANDED_OVER): Stance.FOLLOWING,
    (Stance.FOLLOWING, Turn.HALT): Stance.HALTED,
}
"""Every change there is; a turn that is not in the table is a defect and raises KeyError."""

LEADING = (Stance.BARRIER, Stance.SERVING, Stance.DRAINING)
"""The stances of the one node that has won the current term."""

REIGNING = (Stance.SERVING, Stance.DRAINING)
"""Those that need a lease (E5)."""
