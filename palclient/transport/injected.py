"""Calls through an ``httpx.BaseTransport``, or an ``httpx.Client``, that the user brings: a mock, a recorder, a proxy of their own.

Such a transport blocks, and can be neither watched nor interrupted.  So each call runs on a daemon thread; the deadline is kept here, and a call that
was given up is left to end by itself, unheard.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from palclient import log
from palclient.core.flow import Answered, Call, Failed, Outcome
from palclient.errors import ConfigError
from palclient.transport.exchange import authority, fields
from palclient.transport.system import REPLY_LIMIT_BYTES, Trouble, monotonic, outcome_of

if TYPE_CHECKING:
    import httpx

    from palclient.transport.system import Wakeup

OnEnd = Callable[[Answered | Failed], None]
Kind = TypeVar("Kind")
Send = Callable[[Call, float, OnEnd], None]


def checked_kind(transport: Kind, *, is_async: bool = False) -> Kind:
    """Something that can take the place of the transport.  Raises ConfigError for anything else."""
    import httpx

    kinds = (httpx.AsyncBaseTransport, httpx.AsyncClient) if is_async else (httpx.BaseTransport, httpx.Client)
    if not isinstance(transport, kinds):
        raise ConfigError(f"transport must be an httpx.{kinds[0].__name__} or an httpx.{kinds[1].__name__}, and is {transport!r}.")
    return transport


class InjectedTransport:
    """Looks to a runner as a ``Transport`` does.  What the user brings must be thread-safe, as httpx's own are.

    A transport is closed with this one; an ``httpx.Client`` is not, since its owner may have other uses for it.
    """

    def __init__(self, transport: httpx.BaseTransport | httpx.Client) -> None:
        import httpx

        self._owned = None if isinstance(transport, httpx.Client) else transport
        self._ask = partial(transport.send, stream=True, follow_redirects=False) if isinstance(transport, httpx.Client) else transport.handle_request

    def exchange(self, call: Call, wakeup: Wakeup) -> InjectedExchange:
        """Begin a call; the first ``advance`` sends it."""
        return InjectedExchange(call, wakeup, self._send)

    def drop_connections(self) -> None:
        """Nothing: the connections are the user's."""

    def forget(self) -> None:
        """Nothing: the connections are the user's."""

    def close(self) -> None:
        """Close the user's transport."""
        if self._owned is not None:
            self._owned.close()

    def _send(self, call: Call, sent_at: float, on_end: OnEnd) -> None:
        threading.Thread(target=lambda: on_end(self._asked(call, sent_at)), name="palclient-call", daemon=True).start()

    def _asked(self, call: Call, sent_at: float) -> Answered | Failed:
        """On the helper thread: how the call ends."""
        try:
            response = self._ask(request_of(call, sent_at))
            body = bytearray()
            with closing(response):
                for data in response.iter_bytes():
                    add_bounded(body, data)
        except Exception as error:  # noqa: BLE001 - the transport is the user's code, and nobody else hears of its mistakes: they are logged
            return failure(call, error)
        return answer(call, response, bytes(body), sent_at)


class InjectedExchange:
    """One call that goes on elsewhere.  ``fd`` is always -1: only the wakeup tells that it can go on.

    ``send(call, now, on_end)`` returns at once, and has ``on_end`` told from any thread how the call ended.
    """

    fd = -1
    is_writing = False

    def __init__(self, call: Call, wakeup: Wakeup, send: Send) -> None:
        self.call = call
        self.due = 0.0  # at once
        self._wakeup = wakeup
        self._send = send
        self._sent_at: float | None = None
        self._end: Answered | Failed | None = None

    def advance(self, now: float) -> Answered | Failed | None:
        """Returns how the call ended, or None: wait, and call again."""
        if self._sent_at is None:
            self._sent_at = now
            self.due = self.call.answer_by
            try:
                self._wakeup.open()
                self._send(self.call, now, self._ended)
            except (OSError, RuntimeError) as error:  # descriptors, or threads, have run out
                return failure(self.call, Trouble(Outcome.UNREACHABLE, str(error)))
        if self._end is None and now >= self.call.answer_by:
            return silence(self.call, now, now - self._sent_at)
        return self._end

    def cancel(self) -> None:
        """Nobody asks for the end any more."""

    def _ended(self, end: Answered | Failed) -> None:
        self._end = end
        self._wakeup.nudge()


def request_of(call: Call, now: float) -> httpx.Request:
    """A call as httpx has it, with its deadlines as timeouts."""
    import httpx

    left_s = {"connect": call.connect_by - now, "pool": call.connect_by - now, "read": call.answer_by - now, "write": call.answer_by - now}
    url = f"http://{authority(call)}{call.request.target}"
    return httpx.Request(call.request.method, url, headers=fields(call), content=call.request.body, extensions={"timeout": left_s})


def add_bounded(body: bytearray, data: bytes) -> None:
    """Take the next bytes of a body.  Raises Trouble when they are too many."""
    body += data
    if len(body) > REPLY_LIMIT_BYTES:
        raise Trouble(Outcome.NOT_OURS, f"an answer of more than {REPLY_LIMIT_BYTES} bytes, which is what the protocol allows")


def answer(call: Call, response: httpx.Response, body: bytes, sent_at: float) -> Answered:
    """A whole answer."""
    content_type = response.headers.get("content-type", "")
    return Answered(call_id=call.id, now=monotonic(), sent_at=sent_at, status=response.status_code, content_type=content_type, body=body)


def silence(call: Call, now: float, waited_s: float) -> Failed:
    """No answer by the deadline."""
    return Failed(call_id=call.id, now=now, outcome=Outcome.TIMED_OUT, sent=True, detail=f"no answer within {waited_s:.3g} s")


def failure(call: Call, error: Exception) -> Failed:
    """What an exception of a user's transport means; one that is none of httpx's is a mistake, and logged."""
    import httpx

    if isinstance(error, Trouble):
        outcome, sent, detail = error.outcome, True, error.detail
    elif isinstance(error, httpx.TransportError):
        sent = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
        outcome, detail = _outcome(error), str(error) or type(error).__name__
    else:
        log.write("error", "the injected transport failed", error=error)
        outcome, sent, detail = Outcome.NOT_OURS, True, f"the injected transport raised {error!r}"
    return Failed(call_id=call.id, now=monotonic(), outcome=outcome, sent=sent, detail=detail)


def _outcome(error: httpx.TransportError) -> Outcome:
    """httpx names what it was doing; the system's own error, where there is one, says more."""
    import httpx

    cause: BaseException | None = error
    for _ in range(8):  # causes form a short chain; not every library takes care that it ends
        if isinstance(cause, OSError) and cause.errno:
            return outcome_of(cause.errno)
        cause = cause.__cause__ or cause.__context__ if cause is not None else None
    by_class = (
        (httpx.TimeoutException, Outcome.TIMED_OUT),
        (httpx.RemoteProtocolError, Outcome.CUT_SHORT),
        (httpx.ReadError | httpx.WriteError, Outcome.RESET),
    )
    return next((outcome for kind, outcome in by_class if isinstance(error, kind)), Outcome.UNREACHABLE)
