"""What the client processes wrote down, put together: one ``Turn`` for each checkout and what came of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.linear import NEVER, Act, Deed

Line = dict[str, Any]
Span = tuple[float, float]


@dataclass(slots=True, kw_only=True)
class Turn:
    """One checkout of one process.  All instants are of the clock that the processes share; NEVER is what did not happen."""

    who: str
    feature: str
    asked_at: float
    patience_s: float  # timeout and wait
    ended_at: float  # of the process
    frozen: tuple[Span, ...]
    granted_at: float = NEVER
    lease: str = ""
    seq: int = 0
    count: int = 0
    readings: list[Span] = field(default_factory=list)  # at this instant, the client believed in its seat until that one
    returning_at: float = NEVER
    returned_at: float = NEVER
    is_confirmed: bool = False
    lost_at: float = NEVER
    failed_at: float = NEVER
    failure: str = ""
    is_denied: bool = False

    @property
    def answered_at(self) -> float:
        """When the checkout ended, with a seat or without."""
        return min(self.granted_at, self.failed_at)

    @property
    def was_disturbed(self) -> bool:
        """Whether the process was frozen or ended meanwhile: then it can be promised nothing."""
        end = min(self.returned_at, self.lost_at, self.failed_at)
        return self.ended_at < end or any(start <= end and stop >= self.asked_at for start, stop in self.frozen)

    def beliefs(self) -> list[Span]:
        """The spans in which the seat was believed held, as far as readings tell: never more than was."""
        end = min(self.returning_at, self.lost_at)
        nexts = [at for at, _ in self.readings[1:]] + [end]
        return [(at, min(until, following)) for (at, until), following in zip(self.readings, nexts, strict=False)]


def turns(who: str, lines: Iterable[Line], frozen: Iterable[Span], killed_at: float | None) -> list[Turn]:
    """The turns of one process.  A killed one goes on believing until its seats run out, as its server must; one that exits has given them back."""
    told = list(lines)
    exits_at = min((line["at"] for line in told if line["what"] == "exiting"), default=NEVER)
    ended_at = min(exits_at, NEVER if killed_at is None else killed_at)
    found: dict[int, Turn] = {}
    for line in told:
        if line["what"] == "asked":
            patience_s = line["timeout_s"] + line["wait_s"]
            turn = Turn(who=who, feature=line["feature"], asked_at=line["at"], patience_s=patience_s, ended_at=ended_at, frozen=tuple(frozen))
            found[line["op"]] = turn
        elif "op" in line and line["at"] < exits_at:
            _add(found[line["op"]], line)
    confirmed = {line["id"] for line in told if line["what"] == "told" and line.get("confirmed")}
    for turn in found.values():
        turn.is_confirmed = turn.lease in confirmed
        turn.returning_at = min(turn.returning_at, exits_at)
    return list(found.values())


def _add(turn: Turn, line: Line) -> None:
    """One line more."""
    match line["what"]:
        case "granted":
            turn.granted_at, turn.lease, turn.seq, turn.count = line["at"], line["id"], line["seq"], line["count"]
            turn.readings += [(line["at"], line["until"])] if line["until"] else []
        case "reading":
            turn.readings.append((line["at"], line["until"]))
        case "returning":
            turn.returning_at = line["at"]
        case "returned":
            turn.returned_at = line["at"]
        case "lost":
            turn.lost_at = line["at"]
        case "error":
            turn.failed_at, turn.failure, turn.is_denied = line["at"], f"{line['kind']}: {line['text']}", line["is_denial"]


def deeds(turn: Turn, name: str) -> list[Deed]:
    """What a pool's counter would have seen of it; what nobody knows the end of has none."""
    if turn.is_denied:
        return [Deed(act=Act.REFUSED, lease=name, asked=turn.asked_at, answered=turn.failed_at)]
    lease, ends_at = turn.lease or name, min(turn.returning_at, turn.lost_at, turn.failed_at, turn.ended_at)
    taken = Deed(act=Act.TAKEN, lease=lease, asked=turn.asked_at, answered=turn.granted_at)
    if turn.is_confirmed and turn.returning_at < NEVER and turn.lost_at == NEVER and not turn.was_disturbed:
        return [taken, Deed(act=Act.GIVEN_BACK, lease=lease, asked=turn.returning_at, answered=turn.returned_at)]
    # It runs out, or is given up: since its process ended or the return began; of one that was lost or frozen nobody knows since when.
    since = turn.asked_at if turn.frozen or turn.lost_at < NEVER else ends_at
    return [taken, Deed(act=Act.GIVEN_BACK, lease=lease, asked=since)] if since < NEVER else [taken]
