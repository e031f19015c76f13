"""The license lines behind a pool: which of its seats are good for a version at a moment (-10, -21, -31).  Pure.

Each line brings its seats, in the order of the file: the first five of a pool may end this year, and its last two be for an older version.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fakeserver.replies import Reply, problem, utc_text

EVER = float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class LicensedLine:
    """A FEATURE or INCREMENT line: its seats, the highest version that they are for, and from when until when, in seconds since 1970.

    ``source`` is its place, as ``license.dat, line 5``.
    """

    version: str
    seats: int
    from_s: float = -EVER
    until_s: float = EVER
    source: str = ""


def good_seats(lines: Sequence[LicensedLine], version: str, wall_s: float) -> int:
    """The seats of a pool that may be given away for this version now, one bit a seat."""
    bits = first = 0
    for line in lines:
        if _covers(line, version) and line.from_s <= wall_s < line.until_s:
            bits |= ((1 << line.seats) - 1) << first
        first += line.seats
    return bits


def refusal(feature: str, lines: Sequence[LicensedLine], version: str, wall_s: float) -> Reply | None:
    """Why no seat of this pool is good for this version now; None when one is."""
    if good_seats(lines, version, wall_s):
        return None
    covering = [line for line in lines if _covers(line, version)]
    if not covering:
        highest = max(lines, key=lambda line: _number(line.version))
        return _refused("version-not-covered", feature, f"{feature!r} is licensed up to version {highest.version}, not for {version}", highest)
    coming = [line for line in covering if line.from_s > wall_s]
    if coming:
        first = min(coming, key=lambda line: line.from_s)
        return _refused("not-started", feature, f"The license of {feature!r} starts on {utc_text(first.from_s)[:10]}", first)
    last = max(covering, key=lambda line: line.until_s)
    return _refused("expired", feature, f"The license of {feature!r} has expired: its last day was {utc_text(last.until_s - 1)[:10]}", last)


def _refused(name: str, feature: str, reason: str, line: LicensedLine) -> Reply:
    return problem(name, f"{reason} ({line.source})." if line.source else f"{reason}.", feature=feature)


def _covers(line: LicensedLine, version: str) -> bool:
    return _number(version) <= _number(line.version)


def _number(version: str) -> tuple[float, ...]:
    """A version as it is compared: as a decimal number, so that 8.10 is 8.1; with more dots number by number.  What is none is above all."""
    parts = version.split(".")
    if not all(part.isascii() and part.isdecimal() and len(part) <= 10 for part in parts):
        return (EVER,)
    return (float(version),) if len(parts) <= 2 else tuple(map(float, parts))
