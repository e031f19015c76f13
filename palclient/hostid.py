"""Host IDs: the name of a machine to which a license is bound, in the forms that license files have."""

from __future__ import annotations

import re
from ipaddress import IPv6Address

from palclient.licensetext import Findings, Word, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

FORMS = "It is 12 hexadecimal digits (an Ethernet address without separators), 8 of them, ANY, or a form such as INTERNET=10.0.0.7."

_HEX = re.compile(r"[0-9A-Fa-f]+").fullmatch
_HEX_LENGTHS = frozenset({*range(1, 9), 12, 16})  # a 32-bit number, an Ethernet address, an EUI-64
_WITH_SEPARATORS = re.compile(r"[0-9A-Fa-f]{1,2}(?:[:-][0-9A-Fa-f]{1,2}){5}").fullmatch
_INTERNET = re.compile(r"(?:[0-9]{1,3}|\*)(?:\.(?:[0-9]{1,3}|\*)){3}").fullmatch


def check_hostid(at: Word, text: str, findings: Findings, *, of_server: bool = False) -> None:
    """Look at the host IDs in ``text``, one or several with blanks between; problems are found at ``at``.  DEMO is none of a server."""
    for one in text.split() or [""]:
        fault = hostid_fault(one)
        if fault is not None:
            findings.error(at, f"{shown(one) or 'Nothing'} is no host ID: {fault}.", FORMS)
        elif _HEX(one) and len(one) not in _HEX_LENGTHS:
            findings.warning(
                at,
                f"The host ID {shown(one)} has {len(one)} digits.",
                "An Ethernet address has 12, other numbers at most 8: one may be lost or doubled.",
            )
        elif of_server and one.upper() == "DEMO":
            findings.error(at, "DEMO is no host ID of a server.", "It is for uncounted FEATURE lines alone; ANY fits every server.")


def hostid_fault(text: str) -> str | None:
    """What keeps one host ID from being one, in a few words; None when it is fine.

    Forms: hexadecimal digits, ``#`` and decimal digits, ANY, DEMO, and KEYWORD=VALUE, where the values of INTERNET= and
    DISK_SERIAL_NUM= are looked at and those of other keywords (HOSTNAME, USER, a vendor's own) are the vendor's business.
    """
    key, sign, value = text.partition("=")
    if not sign:
        if _WITH_SEPARATORS(text):
            return f"an Ethernet address is written without separators, {text.replace(':', '').replace('-', '')}"
        plain = _HEX(text) or text.upper() in {"ANY", "DEMO"} or (text.startswith("#") and text[1:].isdecimal())
        return None if plain else "it is neither a number nor one of the known words"
    if not value:
        return f"nothing follows {key}="
    if key.upper() == "INTERNET" and not _is_internet(value):
        return f"{value} is no address"
    if key.upper() == "DISK_SERIAL_NUM" and not _HEX(value):
        return f"{value} is not hexadecimal"
    return None


def _is_internet(value: str) -> bool:
    if ":" in value:
        try:
            IPv6Address(value)
        except ValueError:
            return False
        return True
    return bool(_INTERNET(value)) and all(octet == "*" or int(octet) < 256 for octet in value.split("."))


def is_hostid_of(hostid: str, own: Collection[str]) -> bool:
    """Whether a host ID of a license (one, or several with blanks between) names a machine whose own host IDs are ``own`` (T12)."""
    owned = {comparable_hostid(one) for one in own}
    return any(one.upper() == "ANY" or _fits(comparable_hostid(one), owned) for one in hostid.split())


def _fits(wanted: str, owned: set[str]) -> bool:
    if "*" not in wanted:
        return wanted in owned
    pattern = re.compile(re.escape(wanted).replace(r"\*", "[^.]+"))
    return any(pattern.fullmatch(one) for one in owned)


def comparable_hostid(text: str) -> str:
    """One host ID as it is compared: without regard to case, a decimal number as a hexadecimal one, without the dashes of ``ID=``."""
    if text.startswith("#") and text[1:].isdecimal() and len(text) < 40:
        return f"{int(text[1:]):x}".rjust(8, "0")
    key, sign, value = text.lower().partition("=")
    if key == "id" and sign:
        return f"id={value.replace('-', '')}"
    return f"{key}{sign}{value}"
