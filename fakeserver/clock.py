"""The clock of the fake servers: one reading that all processes of a machine share, and that counts the time the machine slept."""

from __future__ import annotations

import sys
import time
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


def wall_epoch_s() -> float:
    """The wall clock (seconds since 1970) at which ``now_s`` was 0."""
    return time.time() - now_s()


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
