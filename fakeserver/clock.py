"""The clock of the fake servers: one reading that all processes of a machine share, and that counts the time the machine slept."""

from __future__ import annotations

import sys
import time
from functools import cache
from pathlib import Path

if sys.platform == "linux":
    _CLOCK_ID = time.CLOCK_BOOTTIME

    def now_s() -> float:
        """Seconds since the machine was booted."""
        return time.clock_gettime(_CLOCK_ID)

elif sys.platform == "win32":

    def now_s() -> float:
        """Seconds of the system's monotonic clock."""
        return time.monotonic()

else:  # macOS: CLOCK_MONOTONIC counts sleep, time.monotonic() does not

    def now_s() -> float:
        """Seconds of the system's monotonic clock."""
        return time.clock_gettime(time.CLOCK_MONOTONIC)


class Clock:
    """A node's own clock: ``now_s``, until a test lets it run at another rate (F)."""

    def __init__(self) -> None:
        self._rate = 1.0
        self._began_s = self._shown_s = now_s()

    def now_s(self) -> float:
        """What the clock shows."""
        return self._shown_s + (now_s() - self._began_s) * self._rate

    def seconds_to(self, reading_s: float) -> float:
        """How long, in true seconds, until the clock shows this reading."""
        return (reading_s - self.now_s()) / self._rate

    def set_rate(self, rate: float) -> None:
        """From now on run ``rate`` times as fast; what the clock shows goes on from where it is."""
        self._shown_s, self._began_s = self.now_s(), now_s()
        self._rate = rate


def wall_epoch_s() -> float:
    """The wall clock (seconds since 1970) at which ``now_s`` was 0."""
    return time.time() - now_s()


@cache
def boot_name() -> str:
    """What tells this run of the machine from its other runs: the kernel's boot id, or else the moment at which the clock was 0."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return f"{wall_epoch_s():.0f}"


def is_same_boot(name: str, other: str) -> bool:
    """Whether two ``boot_name`` were taken in one run of the machine.  When in doubt it is not, and a node waits the longer (E2)."""
    if name.isdecimal() and other.isdecimal():
        # The wall clock is set right by small steps, and no machine boots twice within five seconds.
        return abs(int(name) - int(other)) < 5
    return name == other
