"""What a node process is started with, and the arithmetic of its times.  Pure."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from fakeserver.roles import Role

DEFAULT_PORTS = range(27000, 27010)  # where a server is whose SERVER line names no port (T13)

REPLICATED, FLEXNET = GRANTS = ("replicated", "flexnet")
"""How grants fare when mastership moves: the next master knows them (G2), or starts empty and grants at once, as FLEXnet does (G5, E9)."""

DEFAULT_INTERVAL_S = 20.0  # the HEARTBEAT_INTERVAL that a license file means when it says nothing (T10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One node of a triad.  ``triad`` names the three as ``(host, port)`` in role order; times in seconds; ``folder`` is the node's own.

    ``lasting``: the folder is there to be found again; else it goes with the triad, and need not outlive a power cut.  ``options_file`` is a path, or
    None where there is none; ``license_file`` is one that is read for a machine that has ``hostids``.  ``interval_s`` is the license file's interval,
    which ``heartbeat_s`` plays.  ``in_doubt``: the license files of the three do not agree on the order of their SERVER lines (T11).
    """

    role: str
    triad: tuple[tuple[str, int], ...]
    cluster: str
    features: Mapping[str, int]
    heartbeat_s: float
    ttl_s: float
    primary_is_master: bool
    folder: str
    fsync: bool
    software: str
    lasting: bool = True
    options_file: str | None = None
    license_file: str | None = None
    hostids: tuple[str, ...] = ()
    interval_s: float = DEFAULT_INTERVAL_S
    in_doubt: bool = False
    grants: str = "replicated"

    @property
    def address(self) -> tuple[str, int]:
        """Where this node listens."""
        return self.triad[list(Role).index(Role(self.role))]

    @property
    def failover_s(self) -> float:
        """E, in seconds (T10)."""
        return failover_s(self.heartbeat_s, self.interval_s)

    def to_json(self) -> dict[str, object]:
        """For ``from_json``, in another process."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, object]) -> Settings:
        """Back from ``to_json`` and JSON."""
        triad = tuple((host, port) for host, port in fields["triad"])  # type: ignore[attr-defined]
        hostids = tuple(str(hostid) for hostid in fields["hostids"])  # type: ignore[attr-defined]
        return cls(**{**fields, "triad": triad, "hostids": hostids})  # type: ignore[arg-type]


def named(address: tuple[str, int]) -> str:
    """An address as a SERVERNAME entry: ``27000@127.0.0.1``, or ``@127.0.0.1`` while its port (0) is not known."""
    host, port = address
    return f"{port or ''}@[{host}]" if ":" in host else f"{port or ''}@{host}"


def check_loopback(host: str) -> None:
    """Refuse, with a ValueError, a host that is no address of the loopback interface."""
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise ValueError(f"A fake server listens on loopback addresses alone, such as 127.0.0.1; {host} is none, and open to whoever reaches it.")


def failover_s(heartbeat_s: float, interval_s: float = DEFAULT_INTERVAL_S) -> float:
    """E: after how long without an answer a peer counts as lost (T10), at a time scale at which ``interval_s`` seconds take ``heartbeat_s``."""
    return (3 * interval_s + (interval_s - 1)) * heartbeat_s / interval_s


def smallest_ttl_s(heartbeat_s: float, interval_s: float = DEFAULT_INTERVAL_S) -> float:
    """The smallest ttl, in whole milliseconds, in which a client finds the new master before its lease runs out."""
    failover = failover_s(heartbeat_s, interval_s)
    low, high = 0.0, 1.0
    while not _lasts(high, failover):
        high *= 2
    while high - low > 0.0001:
        middle = (low + high) / 2
        low, high = (low, middle) if _lasts(middle, failover) else (middle, high)
    return math.ceil(high * 1000) / 1000


def check_ttl(ttl_s: float, heartbeat_s: float, interval_s: float = DEFAULT_INTERVAL_S) -> None:
    """Refuse, with a ValueError that shows the numbers, a ttl that a failover can outlast."""
    failover = failover_s(heartbeat_s, interval_s)
    if not _lasts(ttl_s, failover):
        silence_s, needed_s = 0.646 * ttl_s, failover + _detour_s(ttl_s)
        raise ValueError(
            f"ttl_s={ttl_s:g} is too short for heartbeat_s={heartbeat_s:g}: a lease would have {silence_s:.3f} s (0.646 of its ttl) left when a renewal "
            f"fails, and finding the new master can take {needed_s:.3f} s (a failover of {failover:.3f} s and a client's own "
            f"{_detour_s(ttl_s):.3f} s). The smallest that fits is ttl_s={smallest_ttl_s(heartbeat_s, interval_s):g}."
        )


def _lasts(ttl_s: float, failover: float) -> bool:
    return 0.646 * ttl_s >= failover + _detour_s(ttl_s)


def _detour_s(ttl_s: float) -> float:
    """What the client adds to a failover: one attempt at the old master, two probe periods, and the spread of renewals in time."""
    return min(5.0, ttl_s / 12) + 2 * min(0.5, ttl_s / 24) + min(1.0, ttl_s / 12)
