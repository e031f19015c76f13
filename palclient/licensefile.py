"""License files: bytes in, a ``LicenseFile`` out, with all that is wrong with it.  Checks a triad as a whole (T10, T12, T13).

Whatever the text, there is a ``LicenseFile``; what could not be used of it stands in ``problems``.
"""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass, field

from palclient.featurelines import Component, FeatureLine, PackageLine, read_feature, read_package
from palclient.hostid import comparable_hostid, is_hostid_of
from palclient.licensetext import Findings, Problem, Record, Word, explained, in_order, lines_of, read_records, read_text, shown
from palclient.serverlines import ServerLine, VendorLine, read_server, read_vendor

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Iterator
    from datetime import date

    from palclient.models import Endpoint, ServerName

__all__ = [
    "Component",
    "FeatureLine",
    "LicenseFile",
    "PackageLine",
    "Problem",
    "ServerLine",
    "VendorLine",
    "is_hostid_of",
]  # of our parts, for all who read

DEFAULT_INTERVAL_S = 20  # T10: what a file means that does not say

_KEYWORDS = frozenset("SERVER VENDOR DAEMON USE_SERVER FEATURE INCREMENT UPGRADE PACKAGE FEATURESET".split())
_DEFAULT_PORTS = range(27000, 27010)  # T13
_SIGN = re.compile("ed25519:([0-9a-f]{64}):([0-9a-f]{128})").fullmatch


@dataclass(frozen=True, slots=True, kw_only=True)
class LicenseFile:
    """A license file, line by line in its order.  ``features`` are the FEATURE, INCREMENT and UPGRADE lines.  ``path`` is None for content.

    ``problems`` are in the order of the file; lines that cannot be used are there and nowhere else.  ``server_errors`` are those of them with
    which no server can start, whatever the other lines say: the errors of SERVER lines (T12).
    """

    servers: tuple[ServerLine, ...] = ()
    vendors: tuple[VendorLine, ...] = ()
    use_server: bool = False
    features: tuple[FeatureLine, ...] = ()
    packages: tuple[PackageLine, ...] = ()
    problems: tuple[Problem, ...] = ()
    server_errors: tuple[Problem, ...] = ()
    path: str | None = None
    text: str = field(default="", repr=False, compare=False)

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems with which a server would not start, or would not serve some line."""
        return tuple(problem for problem in self.problems if problem.severity == "error")

    @property
    def is_triad(self) -> bool:
        """Whether there are three SERVER lines."""
        return len(self.servers) == 3

    @property
    def primary_is_master(self) -> bool:
        """Whether the first SERVER line says PRIMARY_IS_MASTER (T5)."""
        return bool(self.servers) and self.servers[0].primary_is_master

    @property
    def heartbeat_interval_s(self) -> int:
        """The interval in force, in whole seconds: the first SERVER line's, or 20 (T10)."""
        said = self.servers[0].heartbeat_interval_s if self.servers else None
        return DEFAULT_INTERVAL_S if said is None else said

    def explain(self, problem: Problem) -> str:
        """A problem with its place, its line, and a caret, as ``palclient license lint`` shows it."""
        return explained(problem, name=self.path or "license file", lines=lines_of(self.text))


def read_license_file(source: str | os.PathLike[str] | bytes) -> LicenseFile:
    """Read a license file (``str`` and ``PathLike`` are paths) or the content of one (``bytes``).  Blocks for the time of reading the file.

    Raises:
        LicenseFileError: there is no such file or it cannot be read; it has more than 4 MiB; it has NUL bytes, so it is no text.

    >>> license = read_license_file(b"SERVER lic1 0A0027000001 27000" + bytes([10]) + b"VENDOR palisade")
    >>> license.servers[0].host, license.servers[0].port, license.vendors[0].name, license.problems
    ('lic1', 27000, 'palisade', ())
    """
    findings = Findings()
    text, path = read_text(source, findings)
    of_servers = Findings()
    draft = _Draft()
    for record in read_records(text, _KEYWORDS, findings):
        if record.keyword == "SERVER":
            _read_server(record, draft, of_servers)
        else:
            _read(record, draft, findings)
    _check_servers(draft, of_servers)
    _check_vendors(draft, findings)
    _check_features(draft, findings)
    return LicenseFile(
        servers=tuple(line for _, line in draft.servers if line is not None),
        vendors=tuple(line for _, line in draft.vendors if line is not None),
        use_server=draft.use_server is not None,
        features=tuple(line for _, line in draft.features if line is not None),
        packages=tuple(line for _, line in draft.packages if line is not None),
        problems=in_order(findings, of_servers),
        server_errors=tuple(of_servers.errors),
        path=path,
        text=text,
    )


class _Draft:
    """The lines while they are read: each with its words, and None for one that cannot be used."""

    def __init__(self) -> None:
        self.servers: list[tuple[Record, ServerLine | None]] = []
        self.vendors: list[tuple[Record, VendorLine | None]] = []
        self.features: list[tuple[Record, FeatureLine | None]] = []
        self.packages: list[tuple[Record, PackageLine | None]] = []
        self.use_server: Word | None = None


def _read_server(record: Record, draft: _Draft, findings: Findings) -> None:
    first = record.words[0]
    if draft.features:
        findings.warning(first, "A SERVER line stands below a FEATURE line.", "SERVER lines come first in the file.")
    if draft.use_server is not None:
        findings.warning(first, "A SERVER line stands below USE_SERVER.", "Clients read no further than USE_SERVER: put it below the SERVER lines.")
    draft.servers.append((record, read_server(record, findings)))


def _read(record: Record, draft: _Draft, findings: Findings) -> None:
    keyword, first = record.keyword, record.words[0]
    if keyword in {"VENDOR", "DAEMON"}:
        draft.vendors.append((record, read_vendor(record, findings)))
    elif keyword == "USE_SERVER":
        draft.use_server = draft.use_server or first
        if record.rest:
            findings.warning(record.rest[0], "USE_SERVER takes nothing after it.", "Delete what follows it on the line.")
    elif keyword in {"FEATURE", "INCREMENT", "UPGRADE"}:
        draft.features.append((record, read_feature(record, findings)))
    elif keyword == "PACKAGE":
        draft.packages.append((record, read_package(record, findings)))
    elif keyword != "FEATURESET":  # an old line that only the vendor daemon understands
        _complain_of_keyword(first, findings)


def _complain_of_keyword(word: Word, findings: Findings) -> None:
    advice = "A license file has SERVER, VENDOR, USE_SERVER, FEATURE, INCREMENT, UPGRADE and PACKAGE lines, and comments that start with '#'."
    near = difflib.get_close_matches(word.upper[:40], sorted(_KEYWORDS), n=1)
    if word.key.upper() == "SERVERNAME":
        advice = "SERVERNAME belongs into an INI file. Here each server has a line of its own: SERVER HOST HOSTID PORT"
    elif near:
        advice = f"Was {near[0]} meant? {advice}"
    else:  # the covering letter, mostly
        findings.warning(word, f"No line starts with {shown(word.text)}; it is passed over.", advice)
        return
    findings.error(word, f"No line starts with {shown(word.text)}.", advice)


# ------------------------------------------------------------------------------------------------------------ checks of the whole


def _check_servers(draft: _Draft, findings: Findings) -> None:
    count = len(draft.servers)
    if count not in {0, 1, 3}:
        at = draft.servers[min(count - 1, 3)][0].words[0]
        advice = "Add the third, or keep one." if count == 2 else "Keep the three that belong together."
        findings.error(at, f"There are {count} SERVER lines.", f"A triad has exactly three, a single server has one. {advice}")
    for number, (record, _) in enumerate(draft.servers):
        for word in record.rest[2:]:
            _check_place(word, number, count, findings)
    servers = [(record, line) for record, line in draft.servers if line is not None]
    _check_twins(servers, findings)
    if len(servers) == count == 3:
        _check_ports(servers, findings)


def _check_place(word: Word, number: int, count: int, findings: Findings) -> None:
    """What concerns a whole triad stands on its first SERVER line."""
    is_master = word.upper == "PRIMARY_IS_MASTER"
    if not is_master and word.key.upper() not in {"HEARTBEAT_INTERVAL", "SERVER_TIMEOUT"}:
        return
    name = shown(word.key or word.text)
    if count == 1:
        findings.warning(word, f"{name} means nothing for a single server.", "It is for three SERVER lines: leave it out.")
    elif number and is_master:
        findings.error(word, f"{name} stands on SERVER line {number + 1}.", "It stands on the first SERVER line alone: that server is the primary.")
    elif number:
        findings.warning(word, f"{name} stands on SERVER line {number + 1}.", "Only the first SERVER line counts.")


def _check_twins(servers: list[tuple[Record, ServerLine]], findings: Findings) -> None:
    for later, (record, server) in enumerate(servers):
        at = record.words[0]
        for _, other in servers[:later] if later < 4 else ():
            if server.host.lower() == other.host.lower():
                if server.port == other.port or None in {server.port, other.port}:
                    advice = "The servers of a triad are different ones. A line was probably copied and then not changed."
                    findings.error(at, f"The server {shown(server.host)} is named twice.", advice)
                else:
                    advice = "All servers of one machine are lost together: this is good for a test alone."
                    findings.warning(at, f"Two servers are on the machine {shown(server.host)}.", advice)
                break
            if server.hostid and comparable_hostid(server.hostid) == comparable_hostid(other.hostid) != "any":
                advice = "Two different machines have different ones. A line was probably copied and then not changed."
                findings.warning(at, f"Two servers have the host ID {shown(server.hostid)}.", advice)
                break


def _check_ports(servers: list[tuple[Record, ServerLine]], findings: Findings) -> None:
    """T13: a port may be missing, and the three need not be equal; both are worth a look."""
    for record, server in servers:
        if server.port is None and not any(word.text.isdecimal() for word in record.rest[2:]):
            advice = (
                f"It takes the first free one of 27000 to 27009, and clients look for it there when they say @{shown(server.host)}. A port is safer."
            )
            findings.warning(record.words[0], f"The server {shown(server.host)} has no port.", advice)
    ports = {server.port for _, server in servers}
    hosts = {server.host.lower() for _, server in servers}
    if len(ports) > 1 and None not in ports and len(hosts) == 3:
        advice = "They need not be. Check that SERVERNAME of the clients and the firewalls say the same."
        findings.warning(servers[0][0].words[0], "The ports of the three servers are not equal.", advice)


def _check_vendors(draft: _Draft, findings: Findings) -> None:
    named: set[str] = set()
    for record, vendor in draft.vendors:
        if vendor is not None and vendor.name in named:
            findings.warning(record.words[0], f"The vendor {shown(vendor.name)} is named twice.", "Only the first line counts.")
        named |= {vendor.name} if vendor else set()
    if not draft.servers:
        return
    if not draft.vendors:
        findings.error(
            draft.servers[-1][0].words[0],
            "The file has no VENDOR line.",
            "Without one the server grants nothing. Write VENDOR and the vendor's name below the SERVER lines.",
        )
        return
    for record, line in [*draft.features, *draft.packages]:
        if line is not None and line.vendor not in named:
            named.add(line.vendor)
            what = f"No VENDOR line names {shown(line.vendor)}, the vendor of {shown(line.name)}."
            findings.error(record.words[2], what, f"Write: VENDOR {shown(line.vendor)}")


def _check_features(draft: _Draft, findings: Findings) -> None:
    seen: set[tuple[str, str]] = set()
    for record, line in draft.features:
        if line is None:
            continue
        name = record.words[1]
        if line.kind == "FEATURE" and (line.name, line.vendor) in seen:
            findings.warning(
                name, f"A second FEATURE line is for {shown(line.name)}.", "Only the first counts. Seats are added with INCREMENT lines."
            )
        if line.kind == "FEATURE":
            seen.add((line.name, line.vendor))
        if not any(line.attribute(keyword) for keyword in ("SIGN", "SIGN2", "AUTH", "KEY")):
            findings.warning(name, f"{shown(line.name)} has no signature.", "A vendor's daemon refuses a line without SIGN=. Ask for the file again.")
        if line.count is not None and not draft.servers:
            advice = "Counted licenses need a server: the SERVER lines were lost, or stand in another file."
            findings.error(record.words[0], f"{shown(line.name)} is counted, and there is no SERVER line.", advice)
    if not (draft.servers or draft.features or draft.packages):
        advice = "Check that the right file was named, and that it came through whole."
        findings.error(Word(text="", line=1, column=1), "The file names no server and licenses nothing.", advice)
    licensed = {line.name for _, line in draft.features if line is not None}
    for record, package in draft.packages:
        if package is not None and package.name not in licensed:
            findings.warning(
                record.words[1], f"No FEATURE line is for the package {shown(package.name)}.", "By itself a PACKAGE line licenses nothing."
            )


# --------------------------------------------------------------------------------------------------- what else can be asked of it


def expiry_problems(license_file: LicenseFile, today: date) -> tuple[Problem, ...]:
    """A warning for each line that has expired on ``today``, and for each that will within 30 days."""
    return tuple(_expiry_problems(license_file, today))


def _expiry_problems(license_file: LicenseFile, today: date) -> Iterator[Problem]:
    for feature in license_file.features:
        if feature.expiry is None or (feature.expiry - today).days > 30:
            continue
        left = (feature.expiry - today).days
        what = (
            f"{shown(feature.name)} has expired on {feature.expiry}."
            if left < 0
            else f"{shown(feature.name)} expires in {left} days, on {feature.expiry}."
        )
        yield Problem(line=feature.line, column=1, severity="warning", message=what, advice="Ask the vendor for a new license file.")


def servername_problems(license_file: LicenseFile, servername: ServerName) -> tuple[Problem, ...]:
    """Where clients with this SERVERNAME would miss the servers of this file: the same hosts, in the same order, with the same ports."""
    findings = Findings()
    servers, endpoints = license_file.servers, servername.endpoints
    here, there = ([_comparable(one.host) for one in some] for some in (servers, endpoints))
    start = Word(text="", line=servers[0].line if servers else 1, column=1)
    told = f"SERVERNAME is {servername}" + (f" ({servername.source})." if servername.source else ".")
    if len(here) != len(there):
        findings.error(start, f"The file has {len(here)} SERVER lines, SERVERNAME names {len(there)}.", told)
    elif here != there and sorted(here) == sorted(there):
        right = ",".join(f"{server.port or ''}@{server.host}" for server in servers)
        findings.error(start, "SERVERNAME lists the servers in another order than the SERVER lines.", f"{told} Write: SERVERNAME={right}")
    else:
        for server, endpoint in zip(servers, endpoints, strict=True):
            _compare(server, endpoint, told, findings)
    return in_order(findings)


def _comparable(host: str) -> str:
    return host.lower().removesuffix(".")


def _compare(server: ServerLine, endpoint: Endpoint, told: str, findings: Findings) -> None:
    at = Word(text="", line=server.line, column=1)
    here, there = _comparable(server.host), _comparable(endpoint.host)
    if here.startswith(f"{there}.") or there.startswith(f"{here}."):
        findings.warning(at, f"{shown(server.host)} is {shown(endpoint.host)} in SERVERNAME.", f"{told} The same spelling in both is safer.")
    elif here != there:
        findings.error(at, f"{shown(server.host)} is not what SERVERNAME has in its place: {shown(endpoint.host)}.", told)
        return
    if server.port is not None and endpoint.port is not None and server.port != endpoint.port:
        findings.error(at, f"{shown(server.host)} listens on {server.port}, and SERVERNAME says {endpoint.port}.", told)
    elif server.port is not None and endpoint.port is None and server.port not in _DEFAULT_PORTS:
        findings.error(
            at, f"{shown(server.host)} listens on {server.port}, and SERVERNAME names no port.", f"{told} Without one, clients try 27000 to 27009."
        )
    elif server.port is None and endpoint.port is not None:
        findings.warning(
            at,
            f"{shown(server.host)} has no port, and SERVERNAME says {endpoint.port}.",
            f"{told} The server takes the first free one of 27000 to 27009.",
        )


def signed_text(license_file: LicenseFile, line: FeatureLine | PackageLine) -> bytes:
    """What the signature of a line is over, in this project's own form: JSON in ASCII, so that every tool can make it again.

    It has the host IDs of the SERVER lines, sorted, and of the line all but ``SIGN`` and the keywords in lower case, which belong to the
    administrator.  Hosts, ports, the order of SERVER lines, blanks, quotes and line ends are not signed (docs/reference/license-file.md).
    """
    kind = line.kind if isinstance(line, FeatureLine) else "PACKAGE"
    fields: list[object] = [line.name, line.vendor, line.version]
    if isinstance(line, FeatureLine):
        fields += [line.from_version, line.expiry.isoformat() if line.expiry else None, line.count]
    attributes = [[key.upper(), value] for key, value in line.attributes if not key.islower() and key.upper() != "SIGN"]
    hostids = sorted(" ".join(sorted(map(comparable_hostid, server.hostid.split()))) for server in license_file.servers)
    return json.dumps(["palclient license 1", hostids, kind, fields, attributes], separators=(",", ":")).encode("ascii")


def read_sign(sign: str) -> tuple[bytes, bytes] | None:
    """Public key and signature of a ``SIGN=`` value of this project's own form, both empty when it is damaged; None for a vendor's form.

    A vendor's has no colon.
    """
    if ":" not in sign:
        return None
    match = _SIGN(sign)
    return (bytes.fromhex(match[1]), bytes.fromhex(match[2])) if match else (b"", b"")


def written_sign(public_key: bytes, signature: bytes) -> str:
    """A ``SIGN=`` value of this project's own form: ``ed25519:``, the public key, ``:``, the signature, both in hexadecimal digits."""
    return f"ed25519:{public_key.hex()}:{signature.hex()}"
