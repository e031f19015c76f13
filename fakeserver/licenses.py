"""What a node asks of a license file: may it start with it (T12), and in which order do the three stand (T11).  Pure.

The signature is checked here a second time, by code of our own: what signs and what checks must not share a mistake.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from palclient.licensefile import FeatureLine, LicenseFile, PackageLine, ServerLine, is_hostid_of, read_sign, signed_text

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
