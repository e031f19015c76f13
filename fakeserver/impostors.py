"""Who answers in the place of a node: one that cannot take part for now, and a master that does not know that it was deposed.  Pure."""

from __future__ import annotations

from collections.abc import Mapping

from fakeserver.events import Answer, Checkout, ClientCall, Effect, Event, Halt, Renew, Request, Return, Status, Stop
from fakeserver.replies import problem

STALE_TTL_S = 60.0  # ours: what a deposed master promises is worth nothing, however long

IDENTITY = ("node", "role", "cluster", "term")


class Resting:
    """In the place of a node that takes no part in its triad: it says who it is, refuses all else, and answers no peer.

    ``status`` is what the node said of itself at last; ``why`` is a sentence for whoever asks (``retry_s``: when to ask again).
    """

    def __init__(self, status: Mapping[str, object], why: str, *, retry_s: float) -> None:
        self.wake_at = float("inf")
        self._status = {**status, "state": "no_quorum", "quorum": False, "master": None, "detail": why}
        self._refusal = problem("no-quorum", why, master=None, retry_after_s=retry_s)
        self._answers = status["seq"]

    def handle(self, event: Event, _now: float) -> tuple[Effect, ...]:
        """As ``Node.handle``."""
        match event:
            case ClientCall(request=Status()):
                assert isinstance(self._answers, int)
                self._answers += 1
                return (Answer(token=event.token, status=200, body=self._status | {"seq": self._answers}),)
            case ClientCall():
                identity = {name: self._status[name] for name in IDENTITY}
                return (Answer(token=event.token, status=self._refusal.status, body=identity | dict(self._refusal.body)),)
            case Stop():
                return (Halt(),)
            case _:
                return ()


def stale_answer(request: Request, status: Mapping[str, object]) -> Answer:
    """What a master of the term before would say (F, ``stale_master``), with ``status`` as what the node truly says of itself."""
    term = status["term"]
    assert isinstance(term, int)
    stale = {name: status[name] for name in IDENTITY} | {"term": max(term - 1, 0)}
    match request:
        case Status():
            return Answer(token=0, status=200, body={**status, **stale, "state": "master", "quorum": True, "master": status["role"]})
        case Checkout():
            return Answer(token=0, status=201, body=stale | _grant(request, status))
        case Renew():
            return Answer(token=0, status=200, body=stale | {"results": {each: {"ttl_s": STALE_TTL_S} for each in request.ids}, "waited_s": 0.0})
        case Return(single=True):
            return Answer(token=0, status=200, body=stale | {"returned": True})
        case Return():
            return Answer(token=0, status=200, body=stale | {"results": dict.fromkeys(request.ids, True)})
        case _:
            return Answer(token=0, status=200, body=stale | {"features": []})


def _grant(request: Checkout, status: Mapping[str, object]) -> dict[str, object]:
    ttl_s = request.ttl_s or STALE_TTL_S
    return {
        "id": request.id,
        "feature": request.feature,
        "version": request.version,
        "count": request.count,
        "seq": 1,
        "ttl_s": ttl_s,
        "renew_s": ttl_s / 3,
        "granted_at": status["server_time"],
        "nonce": request.nonce,
        "waited_s": 0.0,
    }
