"""What nine histories of ten need not pay for: bytes between values, and guards against assignment.

The history stays the same to the last event (``test_a_history_is_the_same_without_shortcuts``).  Nothing in the product knows of this.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass, make_dataclass
from typing import Any
from unittest.mock import patch

from fakeserver.events import Checkout, Renew, Return
from fakeserver.wire import Call
from palclient.core import locate, wire
from palclient.core.wire import CheckoutRequest, Parking, RenewRequest, ReturnRequest

PRODUCT = ("fakeserver", "palclient")
RECLAIMED = ("seq", "term", "cluster", "granted_at")


# --- requests and replies as values -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """In an ``HttpRequest``'s place: what would be its bytes, as the node reads them."""

    method: str
    target: str
    call: Call


@contextmanager
def values_for_bytes() -> Iterator[None]:
    """Within, clients send ``Carried``, and take the body of an answer as the mapping that the node made."""
    with patch.object(locate, "encode", carried), patch.object(wire, "_object", lambda body: body):
        yield


def carried(request: wire.Request, parking: Parking | None = None) -> Carried:
    """What the client's ``encode`` writes and the node's ``read_call`` reads of it."""
    method, target, read = _read(request)
    call = Call(request=read) if parking is None else Call(request=read, park_s=float(parking.wait_s), after_term=parking.after_term)
    return Carried(method=method, target=target, call=call)


def _read(request: wire.Request) -> tuple[str, str, Checkout | Renew | Return]:
    match request:
        case CheckoutRequest():
            return "PUT", f"/v1/checkouts/{request.id}", _checkout(request)
        case RenewRequest():
            return "POST", "/v1/renewals", Renew(ids=request.ids)
        case ReturnRequest(ids=(only,)):
            return "DELETE", f"/v1/checkouts/{only}", Return(ids=request.ids, single=True)
        case ReturnRequest():
            return "POST", "/v1/returns", Return(ids=request.ids)
    raise TypeError(f"no client of the simulator asks for this: {request}")


def _checkout(request: CheckoutRequest) -> Checkout:
    holder, earlier = request.holder, request.reclaim
    return Checkout(
        id=request.id,
        feature=request.feature,
        version=request.version,
        count=request.count,
        holder={"user": holder.user, "host": holder.host, "display": holder.display, "app": holder.app, "pid": holder.pid},
        queue=request.queue,
        nonce=request.nonce,
        reclaim=None if earlier is None else {name: getattr(earlier, name) for name in RECLAIMED},
    )


# --- values without guards ----------------------------------------------------------------------------------------------------------


@contextmanager
def no_guards() -> Iterator[None]:
    """Within, the product's frozen values are filled by plain assignment, which takes a sixth of the time."""
    guarded = [(cls, cls.__init__, cls.__setattr__) for cls in _frozen()]
    for cls, _, _ in guarded:
        del cls.__setattr__
        cls.__init__ = _plain_init(cls)
    try:
        yield
    finally:
        for cls, init, setter in guarded:
            cls.__init__, cls.__setattr__ = init, setter


def _frozen() -> list[Any]:
    modules = [module for name, module in sys.modules.items() if name.partition(".")[0] in PRODUCT]
    own = {cls for module in modules for cls in vars(module).values() if isinstance(cls, type) and is_dataclass(cls)}
    return [cls for cls in own if "__setattr__" in vars(cls) and cls.__module__.partition(".")[0] in PRODUCT and not hasattr(cls, "__post_init__")]


def _plain_init(cls: Any) -> Any:
    """The ``__init__`` of a dataclass with the same members that is not frozen."""
    members = [
        (each.name, object, field(default=each.default, default_factory=each.default_factory, init=each.init, kw_only=each.kw_only))
        for each in fields(cls)
    ]
    return vars(make_dataclass(cls.__name__, members))["__init__"]
