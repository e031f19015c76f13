"""Places in a node's work at which a test can have it killed, by name (F).  Pure.

The node knows nothing of them: a place is found in what it was told and what it wants done, and the shell dies there in the place of going on.
Everything before the place is carried out, nothing after it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from fakeserver.events import Answer, AppendRecords, Effect, Event, Happened, PeerAnswer, PeerCall, PeerReply, PeerSend, RewriteTable, SaveBallot
from fakeserver.peer import AppendReply, Transfer, TransferReply, VoteReply

Finder = Callable[[Event, Sequence[Effect]], int | None]
"""The index of the effect before which to die; None when the place is not met."""


def _first(effects: Sequence[Effect], is_wanted: Callable[[Effect], bool]) -> int | None:
    return next((index for index, effect in enumerate(effects) if is_wanted(effect)), None)


def _after(index: int | None) -> int | None:
    return None if index is None else index + 1


def _named(name: str) -> Callable[[Effect], bool]:
    return lambda effect: isinstance(effect, Happened) and effect.name == name


def _acknowledges(effect: Effect) -> bool:
    return isinstance(effect, PeerAnswer) and isinstance(effect.message, AppendReply) and effect.message.accepted


def _before_persist(event: Event, effects: Sequence[Effect]) -> int | None:
    if isinstance(event, PeerCall) or _first(effects, _named("elected")) is not None:
        return None  # a master's records, or the barrier's: no grant
    return _first(effects, lambda effect: isinstance(effect, AppendRecords))


def _after_persist(event: Event, effects: Sequence[Effect]) -> int | None:
    return _after(_before_persist(event, effects))


def _before_acknowledge(_event: Event, effects: Sequence[Effect]) -> int | None:
    written = _first(effects, lambda effect: isinstance(effect, AppendRecords | RewriteTable))
    return None if written is None else _first(effects, _acknowledges)


def _after_replicate(event: Event, effects: Sequence[Effect]) -> int | None:
    if not isinstance(event, PeerReply):
        return None
    return _first(effects, lambda effect: isinstance(effect, Answer) and effect.status < 300)


def _before_vote_leaves(_event: Event, effects: Sequence[Effect]) -> int | None:
    return _first(effects, lambda effect: isinstance(effect, PeerAnswer) and isinstance(effect.message, VoteReply) and effect.message.granted)


def _before_barrier(_event: Event, effects: Sequence[Effect]) -> int | None:
    if _first(effects, _named("elected")) is None:
        return None
    return _after(_first(effects, lambda effect: isinstance(effect, SaveBallot)))


def _mid_barrier(_event: Event, effects: Sequence[Effect]) -> int | None:
    return _after(_first(effects, _named("elected")))


def _before_serving(_event: Event, effects: Sequence[Effect]) -> int | None:
    return _first(effects, _named("serving"))


def _before_transfer(_event: Event, effects: Sequence[Effect]) -> int | None:
    return _first(effects, lambda effect: isinstance(effect, PeerSend) and isinstance(effect.message, Transfer))


def _before_transfer_reply(_event: Event, effects: Sequence[Effect]) -> int | None:
    return _first(effects, lambda effect: isinstance(effect, PeerAnswer) and isinstance(effect.message, TransferReply) and effect.message.accepted)


PLACES: Mapping[str, Finder] = {
    "before_persist": _before_persist,
    "after_persist_before_replicate": _after_persist,
    "after_persist_before_acknowledge": _before_acknowledge,
    "after_replicate_before_reply": _after_replicate,
    "after_vote_before_answer": _before_vote_leaves,
    "before_barrier": _before_barrier,
    "mid_barrier": _mid_barrier,
    "before_serving": _before_serving,
    "before_transfer": _before_transfer,
    "after_transfer_before_answer": _before_transfer_reply,
}
"""Each place; what stands at it, is in ``docs/reference/control.md``."""
