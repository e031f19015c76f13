"""What a flow asks of its runner, and what it is told.

A flow is a generator that yields ``Step`` values and is sent ``Event`` values; it returns its result or raises a ``PalError``.  A runner starts calls, keeps time
and hands events back; it knows nothing of licenses.  The same flows run under threads, under asyncio, and under a virtual clock in the
tests.  All instants are readings of the client's monotonic clock, in seconds.

The contract of a runner: after each ``Step`` it carries out ``cancel``, then ``start``, and resumes the flow with exactly one event: the first call that ends, or
``Woke`` once ``wake_at`` has come.  A call that was started ends in exactly one ``Answered`` or ``Failed``, at its deadline at the latest, unless it was
cancelled: then nothing more is heard of it.  When the flow ends, whatever it left open is cancelled.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from palclient.models import Endpoint

Result = TypeVar("Result")


class Outcome(Enum):
    """How a call ended that brought no whole HTTP answer from a node of ours; the protocol page gives each its number."""

    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    NAME_UNKNOWN = "name unknown"
    TIMED_OUT = "timed out"
    RESET = "reset"
    CUT_SHORT = "cut short"
    NOT_HTTP = "not HTTP"
    NOT_OURS = "not ours"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """One request, encoded.  ``target`` is path and query; ``headers`` come on top of those that HTTP itself needs."""

    method: str
    target: str
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request to one address.  ``id`` is unique among the open calls of its flow; ``node`` is the index in SERVERNAME; ``endpoint`` has a port.

    The call fails with ``TIMED_OUT`` when it is not connected by ``connect_by``, or has no whole answer by ``answer_by``.
    """

    id: int
    node: int
    endpoint: Endpoint
    request: HttpRequest
    connect_by: float
    answer_by: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What the flow wants next: start these calls, cancel those, wake it at ``wake_at`` at the latest (None: only when a call ends)."""

    start: tuple[Call, ...] = ()
    cancel: tuple[int, ...] = ()
    wake_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A whole HTTP answer.  ``sent_at`` is when the first byte of the request that was answered was handed to the system."""

    call_id: int
    now: float
    sent_at: float
    status: int
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """No whole answer.  ``sent`` is False only when it is sure that no byte of the request left; ``detail`` is in the system's words."""

    call_id: int
    now: float
    outcome: Outcome
    sent: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Woke:
    """``wake_at`` has come, or the runner was told of something new (a lease to keep, a stop)."""

    now: float


Event = Answered | Failed | Woke
Flow = Generator[Step, Event, Result]
