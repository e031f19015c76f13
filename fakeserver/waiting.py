"""The line before a full pool: first come, first served.

A place is kept while its owner asks again, and lost by a return or by silence.  So that it survives a failover it is a record of the seat table, and is
on two nodes before its owner is told (E4): a seat of a pool beside the real one, taken by the waiting checkout.  Whoever is master next finds the
line in the order of the ``seq`` numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

from fakeserver.events import Checkout
from fakeserver.seats import Grant, SeatRecord, Version

LINE_LIMIT = 10_000
"""Places in one line; more would wait longer than anybody does, and each costs memory."""

WAITS = "waits:"
"""Before the id of a checkout that stands in line; no client can name such an id."""

LINE_OF = "line of "
"""Before the feature whose line it is; no feature of a license file has a blank in its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A checkout in line; ``index`` is the number of its record among those of the line, and says nothing of the order."""

    request: Checkout
    index: int


class Line:
    """The lines of all features, as a serving master knows them: at first those of ``places``, the records that ``waits`` tells from others."""

    def __init__(self, places: Iterable[SeatRecord]) -> None:
        self._places: dict[str, dict[str, Place]] = {}
        for seat in sorted(places, key=lambda seat: seat.seq):
            place = Place(request=request_of(seat), index=seat.index)
            self._places.setdefault(place.request.feature, {})[place.request.id] = place

    def find(self, identity: str) -> Checkout | None:
        """The request that stands in line under this id."""
        return next((places[identity].request for places in self._places.values() if identity in places), None)

    def ahead(self, request: Checkout) -> Iterator[Checkout]:
        """Those who stand before this request (all, when it is not in line)."""
        for place in self._places.get(request.feature, {}).values():
            if place.request.id == request.id:
                break
            yield place.request

    def join(self, request: Checkout) -> Place | None:
        """Take a place at the end; None when the line is full."""
        places = self._places.setdefault(request.feature, {})
        if len(places) >= LINE_LIMIT:
            return None
        taken = {place.index for place in places.values()}
        place = places[request.id] = Place(request=request, index=next(index for index in count() if index not in taken))
        return place

    def position(self, request: Checkout) -> int:
        """The number of this request's place, from 1."""
        return list(self._places[request.feature]).index(request.id) + 1

    def leave(self, identity: str) -> Checkout | None:
        """Give a place up; who stood there (an id stands in one line at most)."""
        found = (places.pop(identity, None) for places in self._places.values())
        return next((place.request for place in found if place), None)

    def length(self, feature: str) -> int:
        """How many stand in line for this feature."""
        return len(self._places.get(feature, {}))


def waits(seat: SeatRecord) -> bool:
    """Whether a record that is held is a place in line."""
    return seat.grant is not None and seat.grant.id.startswith(WAITS)


def record_of(place: Place, version: Version, *, seq: int, ttl_s: float, joined_at: float) -> SeatRecord:
    """The record of a place; ``ttl_s`` (seconds) is how long it outlives its owner's last word."""
    request = place.request
    holder = {"count": request.count, "holder": dict(request.holder)}  # the place itself is one record, whatever is waited for
    grant = Grant(id=WAITS + request.id, version=request.version, count=1, holder=holder, ttl_s=ttl_s, granted_at=joined_at, nonce=request.nonce)
    return SeatRecord(feature=LINE_OF + request.feature, index=place.index, version=version, seq=seq, grant=grant)


def request_of(seat: SeatRecord) -> Checkout:
    """The checkout that waits at this place."""
    grant = seat.grant
    if grant is None:
        raise ValueError(f"nobody stands at place {seat.index} of the {seat.feature!r}")
    asked: Any = grant.holder
    return Checkout(
        id=grant.id.removeprefix(WAITS),
        feature=seat.feature.removeprefix(LINE_OF),
        version=grant.version,
        count=asked["count"],
        holder=asked["holder"],
        queue=True,
        nonce=grant.nonce,
    )
