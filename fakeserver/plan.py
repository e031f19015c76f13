"""What a triad is started with: arguments, or a license file, become the addresses and settings of three nodes (T10, T11, T12, T13)."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fakeserver.process import FakeTriadError
from fakeserver.roles import Role
from fakeserver.settings import DEFAULT_INTERVAL_S, GRANTS, Settings, check_loopback, check_ttl, smallest_ttl_s

if TYPE_CHECKING:
    from palclient.licensefile import LicenseFile, ServerLine

SEATS_LIMIT = 10_000  # ours, in all pools: each seat is a record, and a new master gets the whole table from the others within a failover

StrPath = str | os.PathLike[str]
LicenseFiles = StrPath | Sequence[StrPath]

Address = tuple[str, int | None]
"""A host, and a port: 0 for one of the kernel's choice, None for the first free one of 27000 to 27009."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """``addresses`` are in role order; ``settings`` makes those of a node of its ``role`` and of what is known when it starts."""

    addresses: tuple[Address, ...]
    settings: Callable[..., Settings]
    ttl_s: float
    primary_is_master: bool
    features: Mapping[str, int]
    license_text: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """The arguments of ``FakeTriad`` that settle what its nodes are; see there."""

    features: Mapping[str, int] | None
    license_file: LicenseFiles | None
    options_file: StrPath | None
    hostids: Sequence[str] | None
    hosts: Sequence[str] | None
    ports: Sequence[int] | None
    primary_is_master: bool
    heartbeat_s: float
    ttl_s: float | None
    fsync: bool
    grants: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pool:
    """What is licensed, and how the three stand: by arguments, or by a license file."""

    features: Mapping[str, int]
    addresses: tuple[Address, ...]
    primary_is_master: bool
    interval_s: float = DEFAULT_INTERVAL_S
    of_role: Mapping[str, Mapping[str, Any]]
    options_file: str | None = None
    license_text: str | None = None


def plan(wishes: Wishes) -> Plan:
    """Settle it all.  Raises ValueError for an argument out of range, FakeTriadError for a license file that no triad starts with."""
    if not (math.isfinite(wishes.heartbeat_s) and wishes.heartbeat_s > 0):
        raise ValueError(f"heartbeat_s must be a number of seconds above 0, not {wishes.heartbeat_s!r}.")
    if wishes.grants not in GRANTS:
        raise ValueError(f"grants must be one of {', '.join(GRANTS)}, not {wishes.grants!r:.60}.")
    pool = _by_arguments(wishes) if wishes.license_file is None else _by_license(wishes, wishes.license_file)
    interval_s = max(pool.interval_s, 1.0)  # T10: 0 is taken as 1
    heartbeat_s = wishes.heartbeat_s * interval_s / DEFAULT_INTERVAL_S  # the argument plays an interval of 20 s
    if wishes.ttl_s is not None:
        check_ttl(wishes.ttl_s, heartbeat_s, interval_s)
    ttl_s = smallest_ttl_s(heartbeat_s, interval_s) if wishes.ttl_s is None else wishes.ttl_s
    common: dict[str, Any] = {
        "features": pool.features,
        "heartbeat_s": heartbeat_s,
        "interval_s": interval_s,
        "ttl_s": ttl_s,
        "primary_is_master": pool.primary_is_master,
        "fsync": wishes.fsync,
        "grants": wishes.grants,
        "software": _software(),
        "options_file": pool.options_file if wishes.options_file is None else str(Path(wishes.options_file).absolute()),
    }

    def settings(*, role: str, **members: Any) -> Settings:
        return Settings(role=role, **common, **pool.of_role.get(role, {}), **members)

    return Plan(
        addresses=pool.addresses,
        settings=settings,
        ttl_s=ttl_s,
        primary_is_master=pool.primary_is_master,
        features=pool.features,
        license_text=pool.license_text,
    )


# --- by arguments -------------------------------------------------------------------------------------------------------------------


def _by_arguments(wishes: Wishes) -> _Pool:
    features: dict[str, Any] = dict(wishes.features or {})  # whatever somebody without a type checker gave
    for feature, seats in features.items():
        if not isinstance(seats, int | float) or seats < 1 or seats != int(seats):
            raise ValueError(f"features[{feature!r}] must be a number of seats, not {seats!r}.")
    if sum(features.values()) > SEATS_LIMIT:
        raise ValueError(f"features name {sum(features.values())} seats; a fake triad holds {SEATS_LIMIT} at most.")
    if wishes.hostids is not None:
        raise ValueError("hostids are for a license_file, which names those that it is for.")
    hosts = ("127.0.0.1",) * 3 if wishes.hosts is None else tuple(wishes.hosts)
    ports = (0, 0, 0) if wishes.ports is None else tuple(wishes.ports)
    _check_three(hosts, ports)
    return _Pool(features=features, addresses=tuple(zip(hosts, ports, strict=True)), primary_is_master=wishes.primary_is_master, of_role={})


def _check_three(hosts: Sequence[str], ports: Sequence[int | None]) -> None:
    for host in hosts:
        check_loopback(host)
    if len(hosts) != 3 or len(ports) != 3:
        raise ValueError(f"A triad has three hosts and three ports, not {len(hosts)} and {len(ports)}.")


# --- by license file ----------------------------------------------------------------------------------------------------------------


def _by_license(wishes: Wishes, license_file: LicenseFiles) -> _Pool:
    """As its SERVER lines say; the machines stand in the order of the first file's, which is also that of ``hosts``, ``ports`` and ``hostids``."""
    from fakeserver.licenses import licensed_lines, serving_order

    if wishes.features:
        raise ValueError("What is licensed is said by features or by license_file, not by both.")
    paths = _paths(license_file)
    files = [read_triad(path) for path in paths]
    machines = files[0].servers
    addresses = _addresses(machines, wishes)
    order, agree = serving_order(files)
    at = [machines.index(server) for server in order]
    hostids = wishes.hostids or [server.hostid for server in machines]
    if len(hostids) != 3:
        raise ValueError(f"A triad has three host IDs, not {len(hostids)}.")
    features = {feature: sum(line.seats for line in lines) for feature, lines in licensed_lines(files[0]).items()}
    if sum(features.values()) > SEATS_LIMIT:
        raise FakeTriadError(f"{files[0].path} licenses {sum(features.values())} seats; a fake triad holds {SEATS_LIMIT} at most.")
    return _Pool(
        features=features,
        addresses=tuple(addresses[index] for index in at),
        primary_is_master=files[0].primary_is_master,
        interval_s=float(files[0].heartbeat_interval_s),
        of_role={
            role.value: {"license_file": paths[index % len(paths)], "hostids": tuple(hostids[index].split()), "in_doubt": not agree}
            for role, index in zip(Role, at, strict=True)
        },
        options_file=_options_beside(files[0]),
        license_text=files[0].text,
    )


def _paths(license_file: LicenseFiles) -> list[str]:
    given = [license_file] if isinstance(license_file, str | os.PathLike) else list(license_file)
    if len(given) not in {1, 3}:
        raise ValueError(f"license_file is one file for all, or three, one for each machine, not {len(given)}.")
    return [str(Path(path).absolute()) for path in given]


def read_triad(path: str) -> LicenseFile:
    """A license file with three SERVER lines.  Raises FakeTriadError when its SERVER lines make no triad (T12), LicenseFileError when it cannot be read."""
    from fakeserver.licenses import no_triad
    from palclient.licensefile import read_license_file

    read = read_license_file(path)
    reason = no_triad(read)
    if reason is not None:
        raise FakeTriadError(str(reason))
    return read


def _addresses(machines: Sequence[ServerLine], wishes: Wishes) -> list[Address]:
    hosts = [_played_on(server.host, number) for number, server in enumerate(machines, start=1)] if wishes.hosts is None else list(wishes.hosts)
    ports = [server.port for server in machines] if wishes.ports is None else list(wishes.ports)
    _check_three(hosts, ports)
    return list(zip(hosts, ports, strict=True))


def _played_on(host: str, number: int) -> str:
    """The loopback address in the place of a machine of this name: its own when it is one."""
    try:
        check_loopback(host)
    except ValueError:
        return f"127.0.0.{number}"
    return host


def _options_beside(license_file: LicenseFile) -> str | None:
    """The options file that a VENDOR line names, if it is there."""
    named: Iterable[str] = (vendor.options for vendor in license_file.vendors if vendor.options)
    paths = (Path(license_file.path or "").parent / name for name in named)
    return next((str(path) for path in paths if path.is_file()), None)


@cache
def _software() -> str:
    try:
        return f"fakeserver/{metadata.version('palclient')}"
    except metadata.PackageNotFoundError:  # run from its sources
        return "fakeserver"
