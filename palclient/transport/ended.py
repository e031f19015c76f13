"""How a call ended, for those who want to see every one: one line, whichever runner drove it."""

from __future__ import annotations

from palclient import log
from palclient.core.flow import Answered, Call, Failed


def note_end(call: Call, ended: Answered | Failed) -> None:
    """Log the end of a call."""
    if log.is_shown("debug"):
        came = f"{ended.status}" if isinstance(ended, Answered) else f"{ended.outcome.value} ({ended.detail})"
        log.write("debug", "%s %s at %s: %s", call.request.method, call.request.target, call.endpoint, came)
