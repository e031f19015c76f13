"""A world in one thread: virtual time, a network that loses, doubles, delays and reorders, and one seed that decides everything.

Times are seconds of true time from 0; nobody in the world can read them but through a clock of their own (``Clock``).
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

EVENT_LIMIT = 100_000  # a history has a few thousand


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """A clock that started at ``offset_s`` and runs ``rate`` times as fast as true time."""

    offset_s: float = 0.0
    rate: float = 1.0

    def local(self, true_s: float) -> float:
        """What this clock shows at ``true_s``."""
        return self.offset_s + self.rate * true_s

    def true(self, local_s: float) -> float:
        """When this clock shows ``local_s``."""
        return (local_s - self.offset_s) / self.rate


@dataclass(slots=True, kw_only=True)
class Weather:
    """How the network behaves.  ``cut`` holds pairs (from, to): one way each."""

    delay_s: tuple[float, float] = (0.001, 0.01)
    slow_share: float = 0.0  # of messages, delayed by up to slow_s
    slow_s: float = 0.0
    loss: float = 0.0
    double: float = 0.0
    cut: set[tuple[str, str]] = field(default_factory=set)


class World:
    """The agenda, the dice, the network and the story."""

    def __init__(self, seed: int, *, keeps_story: bool = False) -> None:
        self.now = 0.0
        self.dice = random.Random(seed)
        self.weather = Weather()
        self.events = 0
        self.story: list[str] | None = [] if keeps_story else None
        self._agenda: list[tuple[float, int, Callable[[], object]]] = []
        self._order = 0
        self._trace: list[str] = []

    # --- time ---

    def at(self, when: float, action: Callable[[], object]) -> None:
        """Do this at ``when``, or at once if that has passed; what is due at one instant is done in the order in which it was asked for."""
        self._order += 1
        heapq.heappush(self._agenda, (max(self.now, when), self._order, action))

    def after(self, delay_s: float, action: Callable[[], object]) -> None:
        """Do this ``delay_s`` from now."""
        self.at(self.now + delay_s, action)

    def run_until(self, end: float) -> None:
        """Let everything happen that is due before ``end``."""
        agenda, take = self._agenda, heapq.heappop
        while agenda and agenda[0][0] <= end:
            self.now, _, action = take(agenda)
            self.events += 1
            if self.events > EVENT_LIMIT:
                raise AssertionError(f"more than {EVENT_LIMIT} events by {self.now:.3f} s: something asks without end")
            action()
        self.now = end

    # --- the network ---

    def send(self, source: str, target: str, deliver: Callable[[], None]) -> bool:
        """Bring a message from one place to another, or lose it; tells whether it is on its way."""
        weather, dice = self.weather, self.dice
        if (weather.cut and (source, target) in weather.cut) or (weather.loss and dice.random() < weather.loss):
            return False
        self._order += 1
        heapq.heappush(self._agenda, (self.now + self._delay_s(), self._order, deliver))
        if weather.double and dice.random() < weather.double:
            self.after(self._delay_s(), deliver)
        return True

    def is_cut(self, source: str, target: str) -> bool:
        """Whether nothing passes that way."""
        return (source, target) in self.weather.cut

    def _delay_s(self) -> float:
        weather, dice = self.weather, self.dice
        low, high = weather.delay_s
        delay_s = low + (high - low) * dice.random()
        if weather.slow_share and dice.random() < weather.slow_share:
            delay_s += weather.slow_s * dice.random()
        return delay_s

    # --- the story ---

    def tell(self, who: str, what: str) -> None:
        """An entry of the trace: all of them make the hash, and the story where one is kept."""
        line = f"{self.now:9.4f}  {who:<10} {what}"
        self._trace.append(line)
        if self.story is not None:
            self.story.append(line)

    @property
    def trace_hash(self) -> str:
        """The same for two runs of one seed."""
        return hashlib.blake2b("".join(self._trace).encode(), digest_size=16).hexdigest()
