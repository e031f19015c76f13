"""How each way of not answering is to be told: a server that behaves so, the outcome, and words of the detail."""

from __future__ import annotations

from palclient.core.flow import Outcome
from tests import hostile

ENDINGS: list[tuple[hostile.Behaviour, Outcome, str]] = [
    (hostile.hangs_up, Outcome.CUT_SHORT, "closed the connection without an answer"),
    (hostile.cuts_short, Outcome.CUT_SHORT, "in the middle of its answer"),
    (hostile.cuts_the_head_short, Outcome.CUT_SHORT, "in the middle of its answer"),
    (hostile.resets, Outcome.RESET, "errno"),
    (hostile.speaks_ssh, Outcome.NOT_HTTP, "SSH-2.0"),
    (hostile.speaks_tls, Outcome.NOT_HTTP, "\\x15"),
    (hostile.never_stops_its_head, Outcome.NOT_HTTP, "too long"),
    (hostile.announces_too_much, Outcome.NOT_OURS, "5000000"),
    (hostile.never_stops, Outcome.NOT_OURS, "more than 4194304"),
]
