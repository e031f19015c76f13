"""The line before a full pool: first come, first served.

A place is kept while its owner asks again, and lost by a return or by silence.  The line lives at the master alone; after a failover its
members ask anew and stand in the order in which they do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fakeserver.events import Checkout

LINE_LIMIT = 10_000
"""Places in one line; more would wait longer than anybody does, and each costs memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A checkout in line, last asked for at ``asked_at`` (seconds)."""

    request: Checkout
    asked_at: float


class Line:
    """The lines of all features; ``kept_s`` (seconds) is how long a place outlives its owner's last word."""

    def __init__(self, kept_s: float) -> None:
        self._kept_s = kept_s
        self._places: dict[str, dict[str, Place]] = {}

    def find(self, identity: str) -> Checkout | None:
        """The request that stands in line under this id."""
        return next((places[identity].request for places in self._places.values() if identity in places), None)

    def ahead(self, request: Checkout, now: float) -> Iterator[Checkout]:
        """Those who stand before this request (all, when it is not in line)."""
        for place in self._living(request.feature, now).values():
            if place.request.id == request.id:
                break
            yield place.request

    def join(self, request: Checkout, now: float) -> tuple[int, int] | None:
        """Take or keep a place: its number from 1 and the length of the line; None when the line is full."""
        places = self._living(request.feature, now)
        if request.id not in places and len(places) >= LINE_LIMIT:
            return None
        places[request.id] = Place(request=request, asked_at=now)  # a known id keeps its place in a dict
        return list(places).index(request.id) + 1, len(places)

    def leave(self, identity: str) -> bool:
        """Give a place up; whether there was one (an id stands in one line at most)."""
        return any(places.pop(identity, None) is not None for places in self._places.values())

    def length(self, feature: str, now: float) -> int:
        """How many stand in line for this feature."""
        return len(self._living(feature, now))

    def _living(self, feature: str, now: float) -> dict[str, Place]:
        """The line without those that fell silent."""
        places = self._places.setdefault(feature, {})
        for identity in [identity for identity, place in places.items() if now >= place.asked_at + self._kept_s]:
            del places[identity]
        return places
