"""What a node asks of a license file: may it start with it (T12), in which order do the three stand (T11), what is licensed.  Pure.

The signature is checked here a second time, by code of our own: what signs and what checks must not share a mistake.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from fakeserver.pools import EVER, LicensedLine
from palclient.licensefile import (
    FeatureLine,
    LicenseFile,
    PackageLine,
    ServerLine,
    is_hostid_of,
    read_license_file,
    read_sign,
    signed_text,
    written_sign,
)

BAD_FILE, BAD_SIGNATURE, WRONG_HOST = -2, -8, -9  # the numbers that the field's tools print for these

MISMATCH_LINES = ("License File SERVER line order mismatch.", "Using alphabetical order")
"""What the debug log says when the files do not agree on the order (T11)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Objection:
    """Why a node does not start: the field's number, the file or None, the line (from 1), the reason as a sentence."""

    code: int
    path: str | None
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.path or 'license file'}, line {self.line}: {self.reason} ({self.code})"


def no_triad(license_file: LicenseFile) -> Objection | None:
    """What keeps any node from starting with this file: its SERVER lines are wrong, or not three (T10, T12); None when nothing does."""
    for problem in license_file.server_errors:
        return Objection(code=BAD_FILE, path=license_file.path, line=problem.line, reason=problem.message)
    if license_file.is_triad:
        return None
    line = license_file.servers[0].line if license_file.servers else 1
    reason = f"A triad has three SERVER lines, and here {'is one' if license_file.servers else 'is none'}."
    return Objection(code=BAD_FILE, path=license_file.path, line=line, reason=reason)


def objection(license_file: LicenseFile, own_hostids: Collection[str]) -> Objection | None:
    """What keeps a node whose machine has ``own_hostids`` from starting with this file (T12), or None when nothing does.

    Errors on other than SERVER lines are no reason: such a line licenses nothing.  A signature is checked when it is in the form of ``palclient license new``, and the extra ``signing`` is there.  In a file that has one such
    signature, each FEATURE and PACKAGE line needs one.
    """
    for problem in license_file.server_errors:
        return Objection(code=BAD_FILE, path=license_file.path, line=problem.line, reason=problem.message)
    if not any(is_hostid_of(server.hostid, own_hostids) for server in license_file.servers):
        line = license_file.servers[0].line if license_file.servers else 1
        reason = f"No SERVER line has the host ID of this machine, {' or '.join(sorted(own_hostids)) or 'which has none'}."
        return Objection(code=WRONG_HOST, path=license_file.path, line=line, reason=reason)
    for signed in altered_lines(license_file):
        reason = f"The signature of {signed.name} does not fit: the line, or a host ID of a SERVER line, was changed after it was signed."
        return Objection(code=BAD_SIGNATURE, path=license_file.path, line=signed.line, reason=reason)
    return None


def altered_lines(license_file: LicenseFile) -> list[FeatureLine | PackageLine]:
    """The lines whose signature does not fit, in order; none where the extra ``signing`` is missing."""
    lines: list[FeatureLine | PackageLine] = [*license_file.features, *license_file.packages]
    if not any(read_sign(line.sign or "") for line in lines):
        return []
    try:
        return [line for line in lines if not _fits(line.sign or "", signed_text(license_file, line))]
    except ModuleNotFoundError:
        return []


def _fits(sign: str, text: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    parts = read_sign(sign)
    if parts is None:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(parts[0]).verify(parts[1], text)
    except (InvalidSignature, ValueError):  # ValueError: no public key
        return False
    return True


def serving_order(files: Sequence[LicenseFile]) -> tuple[tuple[ServerLine, ...], bool]:
    """The SERVER lines in the order of primary, secondary, tertiary, as the nodes' ``files`` give it, and whether they agree (T11).

    Nodes whose files have the same hosts in different orders take the alphabetical one.  The lines are those of the first file.

    >>> from palclient.licensefile import LicenseFile, ServerLine
    >>> here = LicenseFile(servers=(ServerLine(host="b", hostid="ANY"), ServerLine(host="A", hostid="ANY")))
    >>> there = LicenseFile(servers=here.servers[::-1])
    >>> [line.host for line in serving_order([here, there])[0]], serving_order([here, here])[1]
    (['A', 'b'], True)
    """
    first = files[0].servers
    if len({tuple(map(_place, one.servers)) for one in files}) == 1:
        return first, True
    return tuple(sorted(first, key=_place)), False


def _place(server: ServerLine) -> tuple[str, int]:
    """What a node goes by; the port tells nodes of one machine apart."""
    return server.host.lower(), server.port or 0


# --- what is licensed ---------------------------------------------------------------------------------------------------------------

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def licensed_lines(license_file: LicenseFile) -> dict[str, tuple[LicensedLine, ...]]:
    """The lines behind each pool: the first FEATURE line of a name, and all INCREMENT lines; those alone that ``not_served`` passes by."""
    lines: dict[str, tuple[LicensedLine, ...]] = {}
    unserved = {line for line, _ in not_served(license_file)}
    for feature in license_file.features:
        if feature.line not in unserved:
            lines[feature.name] = (*lines.get(feature.name, ()), _licensed(feature, license_file.path))
    return lines


def not_served(license_file: LicenseFile) -> Iterator[tuple[int, str]]:
    """The lines that bring no seats to a fake triad: line number and reason."""
    vendors = {vendor.name for vendor in license_file.vendors}
    first: set[str] = set()
    for feature in license_file.features:
        if feature.vendor not in vendors:
            yield feature.line, f"no VENDOR line names {feature.vendor}"
        elif feature.count is None:
            yield feature.line, "an uncounted license needs no server"
        elif feature.kind == "UPGRADE":
            yield feature.line, "UPGRADE is read and not played"
        elif feature.kind == "FEATURE" and feature.name in first:
            yield feature.line, f"only the first FEATURE line of {feature.name} counts"
        elif feature.kind == "FEATURE":
            first.add(feature.name)
    for package in license_file.packages:
        yield package.line, "PACKAGE is read and not played: its components are no pools of their own"


def _licensed(feature: FeatureLine, path: str | None) -> LicensedLine:
    return LicensedLine(
        version=feature.version,
        seats=feature.count or 0,
        from_s=_midnight_s(_day(feature.attribute("START") or "")) or -EVER,
        until_s=_midnight_s(feature.expiry and feature.expiry + timedelta(days=1)) or EVER,
        source=f"{path or 'license file'}, line {feature.line}",
    )


def _day(text: str) -> date | None:
    """``1-jan-2026`` as a date; None for what is none (which ``lint`` has told of)."""
    parts = text.lower().split("-")
    try:
        return date(int(parts[2]), _MONTHS.index(parts[1]) + 1, int(parts[0]))
    except (ValueError, IndexError):
        return None


def _midnight_s(day: date | None) -> float | None:
    """When a day begins (UTC), in seconds since 1970; None for None."""
    return None if day is None else datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()


# --- writing ------------------------------------------------------------------------------------------------------------------------

VENDOR = "palisade"
VERSION = "99.0"  # ours: a pool that was given as a number of seats is good for every version that there is


def written_license(addresses: Sequence[tuple[str, int]], features: Mapping[str, int], *, primary_is_master: bool) -> str:
    """A license file for a triad at these addresses, signed with a key that nobody keeps where the extra ``signing`` is there."""
    servers = [f"SERVER {host} ANY {port}" for host, port in addresses]
    servers[0] += " PRIMARY_IS_MASTER" if primary_is_master else ""
    lines = [f"FEATURE {feature} {VENDOR} {VERSION} permanent {seats}" for feature, seats in features.items()]
    text = "\n".join([*servers, f"VENDOR {VENDOR}", *lines, ""])
    signs = _signs(read_license_file(text.encode("utf-8")))
    return "\n".join([*servers, f"VENDOR {VENDOR}", *(line + sign for line, sign in zip(lines, signs, strict=True)), ""])


def _signs(license_file: LicenseFile) -> list[str]:
    """For each FEATURE line what is to be added to it."""
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    except ModuleNotFoundError:
        return [""] * len(license_file.features)
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw()
    return [f" SIGN={written_sign(public, key.sign(signed_text(license_file, line)))}" for line in license_file.features]
