"""Status and usage in the manner of ``lmstat -a``, for scripts that read that: a line for each node, then the users of each feature.

The wording is this project's own and does not change; the page on the command line says how to read it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from palclient.models import FeatureUsage, NodeStatus, SeatHolder, TriadStatus

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")  # strftime would say them in the user's language


def lines(triad: TriadStatus, usage: tuple[FeatureUsage, ...]) -> Iterator[str]:
    """All lines, without their ends.  Times are local ones."""
    yield f"License servers: {','.join(str(node.endpoint) for node in triad.nodes)}"
    for node in triad.nodes:
        yield f"  {node.endpoint}: server {_state(node, is_master=node is triad.master)}"
    yield ""
    if triad.master is None:
        yield "Feature usage: unknown, no server is master"
        return
    yield "Feature usage:"
    for pool in usage:
        yield ""
        yield f"Users of {_word(pool.feature)}: ({_licenses(pool.total)} issued; {_licenses(pool.in_use)} in use; {pool.queued} queued)"
        for each in pool.holders:
            yield f"  {_user(each)} ({triad.master.endpoint} {each.holder.pid}), start {_start(each.since)}, {_licenses(each.count)}"


def _state(node: NodeStatus, *, is_master: bool) -> str:
    if not node.reachable:
        return f"DOWN: {' '.join(node.detail.split())}"
    return "UP (MASTER)" if is_master else f"UP ({node.state})"


def _user(each: SeatHolder) -> str:
    who = each.holder
    return " ".join(map(_word, (who.user, who.host, who.display, who.app)))


def _word(text: str) -> str:
    """One word, so that the columns stay: whatever a client calls itself, it can neither shift them nor begin a line."""
    return "".join(letter if letter.isprintable() and not letter.isspace() else "_" for letter in text) or "-"


def _licenses(number: int) -> str:
    return f"{number} license{'' if number == 1 else 's'}"


def _start(since: str) -> str:
    """Day, month/day and hour:minute; what a server says that is no date, as it is."""
    try:
        at = datetime.fromisoformat(since).astimezone()
    except (ValueError, OverflowError, OSError):
        return _word(since)
    return f"{DAYS[at.weekday()]} {at.month}/{at.day} {at.hour}:{at.minute:02}"
