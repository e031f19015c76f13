"""Asking new servers whether they serve, before anything points to them (R3).

The questions, and what an answer means, are ``core``'s, as for ``palclient status``.  Only the sockets are the standard library's, so that the one-file tool,
which brings no HTTP library along, can ask too (R9).
"""

from __future__ import annotations

import socket
from contextlib import nullcontext
from http.client import HTTPConnection, HTTPException
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING

from palclient.core import checkout as flows
from palclient.core.flow import Answered, Failed, Outcome
from palclient.core.locate import Means
from palclient.core.retry import RetryPolicy
from palclient.core.topology import Knowledge, fresh
from palclient.errors import NoQuorum, NoServerReachable

if TYPE_CHECKING:
    from palclient.core.flow import Call
    from palclient.models import ServerName, TriadStatus

TIMEOUT_S = 5.0  # for all nodes, asked at once
_BODY_LIMIT_BYTES = 1 << 16  # of a status

_OUTCOMES: tuple[tuple[type[Exception], Outcome], ...] = (
    (ConnectionRefusedError, Outcome.REFUSED),
    (ConnectionResetError, Outcome.RESET),
    (TimeoutError, Outcome.TIMED_OUT),
    (socket.gaierror, Outcome.NAME_UNKNOWN),
    (UnicodeError, Outcome.NAME_UNKNOWN),  # a label that no name has
    (HTTPException, Outcome.NOT_HTTP),
    (OSError, Outcome.UNREACHABLE),
)


def refuse_without_master(servername: ServerName, *, timeout_s: float = TIMEOUT_S) -> None:
    """Raise unless one of the servers is master.  Blocks for at most ``timeout_s`` seconds.

    Raises:
        NoServerReachable: none of them answers.
        NoQuorum: some answer, and none serves.
    """
    triad = asked(servername, timeout_s=timeout_s)
    if triad.master is not None:
        return
    is_reached = any(node.reachable for node in triad.nodes)
    said = "".join(f"\n    {node.endpoint!s:<28} {node.state}{f' ({node.detail})' if node.detail else ''}" for node in triad.nodes)
    advice = "No INI file was changed. Start the servers first (palclient status shows them), or say --force if they will be up later."
    if is_reached:
        raise NoQuorum(f"{servername}: none of these servers is master.{said}", advice=advice)
    raise NoServerReachable(f"{servername}: none of these servers answers.{said}", advice=advice)


def asked(servername: ServerName, *, timeout_s: float) -> TriadStatus:
    """Every node's own word.  Blocks for at most ``timeout_s`` seconds, by names that are looked up slowly and by answers that drip, too."""
    began = monotonic()
    means = Means(knowledge=Knowledge(fresh(servername), nullcontext()), policy=RetryPolicy(), luck=lambda: 0.0)
    flow = flows.status(means, now=began, timeout_s=timeout_s)
    calls = {call.id: call for call in next(flow).start}
    inbox: SimpleQueue[Answered | Failed] = SimpleQueue()
    for call in calls.values():
        Thread(target=lambda call=call: inbox.put(_ended(call)), name=f"palclient-verify-{call.id}", daemon=True).start()
    try:
        while True:
            event = _next(inbox, calls, began + timeout_s)
            calls.pop(event.call_id)
            flow.send(event)
    except StopIteration as end:
        triad: TriadStatus = end.value
        return triad


def _next(inbox: SimpleQueue[Answered | Failed], calls: dict[int, Call], until: float) -> Answered | Failed:
    try:
        return inbox.get(timeout=max(0.0, until - monotonic()))
    except Empty:
        return Failed(call_id=next(iter(calls)), now=monotonic(), outcome=Outcome.TIMED_OUT, sent=True, detail="no answer in time")


def _ended(call: Call) -> Answered | Failed:
    sent_at = monotonic()
    assert call.endpoint.port is not None  # the core asks addresses
    connection = HTTPConnection(call.endpoint.host, call.endpoint.port, timeout=max(0.001, call.answer_by - sent_at))
    try:
        connection.request(call.request.method, call.request.target, headers={"User-Agent": "palclient"})
        answer = connection.getresponse()
        body = answer.read(_BODY_LIMIT_BYTES)
    except tuple(kind for kind, _ in _OUTCOMES) as error:
        outcome = next(outcome for kind, outcome in _OUTCOMES if isinstance(error, kind))
        return Failed(call_id=call.id, now=monotonic(), outcome=outcome, sent=True, detail=getattr(error, "strerror", None) or str(error))
    finally:
        connection.close()
    return Answered(
        call_id=call.id,
        now=monotonic(),
        sent_at=sent_at,
        status=answer.status,
        content_type=answer.headers.get("Content-Type", ""),
        body=body,
    )
