"""The lines of a license file that say who serves: SERVER and VENDOR (or DAEMON), from words to values (T10, T13)."""

from __future__ import annotations

from dataclasses import dataclass

from palclient import hostid as hostids
from palclient.licensetext import Findings, Record, Word, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

HEARTBEAT_LIMIT_S, HEARTBEAT_USUAL_S = 120, 30  # T10: above is refused, above is warned

_PORT_LIMIT = 65535
_INTERVAL_KEYS = frozenset({"HEARTBEAT_INTERVAL", "SERVER_TIMEOUT"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLine:
    """A SERVER line.  ``port`` is None when it has none: the server takes the first free one of 27000 to 27009 (T13).

    ``hostid`` is as written, without quotes (several stand with blanks between).  ``heartbeat_interval_s`` is what HEARTBEAT_INTERVAL
    or SERVER_TIMEOUT says, in whole seconds, and None when neither is there.  ``line`` counts from 1.
    """

    host: str
    hostid: str
    port: int | None = None
    primary_is_master: bool = False
    heartbeat_interval_s: int | None = None
    line: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorLine:
    """A VENDOR (or DAEMON) line: the vendor daemon's name, its path, its options file and its port, each None when it is not there."""

    name: str
    path: str | None = None
    options: str | None = None
    port: int | None = None
    line: int = 0


def read_server(record: Record, findings: Findings) -> ServerLine | None:
    """A SERVER line; None when it does not even name a host.  It counts as a SERVER line all the same (T12)."""
    words = record.rest
    if not words:
        findings.error(record.words[0], "The SERVER line names no host.", "Write: SERVER HOST HOSTID PORT")
        return None
    host, hostid = words[0], words[1] if len(words) > 1 else None
    if "@" in host.text or "," in host.text:
        advice = "PORT@HOST is how clients name a server. Here it is SERVER HOST HOSTID PORT, one line for each server."
        findings.error(host, f"{shown(host.text)} is no host.", advice)
    if hostid is None or hostid.upper == "PRIMARY_IS_MASTER" or hostid.key.upper() in _INTERVAL_KEYS:
        findings.error(hostid or host, f"The host ID of {shown(host.text)} is missing.", f"Write it after the host. {hostids.FORMS}")
        hostid, options = None, words[1:]
    else:
        hostids.check_hostid(hostid, hostid.text, findings, of_server=True)
        options = words[2:]
    port, is_master, interval_s = _server_options(options, findings)
    return ServerLine(
        host=host.text,
        hostid=hostid.text if hostid else "",
        port=port,
        primary_is_master=is_master,
        heartbeat_interval_s=interval_s,
        line=record.words[0].line,
    )


def _server_options(words: tuple[Word, ...], findings: Findings) -> tuple[int | None, bool, int | None]:
    """Port, PRIMARY_IS_MASTER, heartbeat interval (seconds)."""
    port_word: Word | None = None
    early: Word | None = None
    port, is_master, interval_s = None, False, None
    for word in words:
        if word.upper == "PRIMARY_IS_MASTER":
            is_master = True
        elif word.key.upper() in _INTERVAL_KEYS:
            interval_s = _interval(word, findings)
        elif word.text.isdecimal() and port_word is None:
            port_word, port = word, _port(word, word.text, findings)
            if early is not None:
                advice = f"Write: SERVER HOST HOSTID {shown(word.text)} {shown(early.text)}"
                findings.error(early, f"{shown(early.key or early.text)} stands before the port.", advice)
            continue
        elif word.upper in _INTERVAL_KEYS:
            findings.error(word, f"No number of seconds stands behind {shown(word.text)}.", f"Write it without blanks: {shown(word.text)}=20")
            break
        else:
            findings.error(
                word,
                f"{shown(word.text)} has no meaning on a SERVER line.",
                "After the host ID stand the port, PRIMARY_IS_MASTER, HEARTBEAT_INTERVAL=SECONDS.",
            )
            continue
        early = early or (word if port_word is None else None)
    return port, is_master, interval_s


def _interval(word: Word, findings: Findings) -> int | None:
    """T10: 0 to 120 whole seconds, and more than 30 is too much for comfort."""
    if not (word.value.isascii() and word.value.isdecimal()) or len(word.value) > 9:
        findings.error(word, f"{shown(word.value) or 'Nothing'} is no number of seconds.", f"Write a whole number: {word.key}=20")
        return None
    interval_s = int(word.value)
    silence = f"A server would count as lost after {4 * interval_s - 1} s of silence."
    if interval_s > HEARTBEAT_LIMIT_S:
        findings.error(
            word, f"{shown(word.key)} is {interval_s}, and {HEARTBEAT_LIMIT_S} is the most.", f"{silence} Write {word.key}=20, or leave it out."
        )
    elif interval_s > HEARTBEAT_USUAL_S:
        findings.warning(word, f"{shown(word.key)} is {interval_s}, more than {HEARTBEAT_USUAL_S}.", f"{silence} 20 is usual.")
    return interval_s


def _port(at: Word, text: str, findings: Findings) -> int | None:
    if text.isascii() and text.isdecimal() and len(text) <= 9 and 0 < int(text) <= _PORT_LIMIT:
        return int(text)
    findings.error(at, f"There is no port {shown(text)}.", f"Ports go from 1 to {_PORT_LIMIT}. License servers mostly use 27000 to 27009.")
    return None


def read_vendor(record: Record, findings: Findings) -> VendorLine | None:
    """``VENDOR name [path] [[OPTIONS=]options_file] [[PORT=]port]``; None when it has no name."""
    words = record.rest
    if not words:
        findings.error(record.words[0], f"The {record.keyword} line has no name.", "Write the name that stands second on the FEATURE lines.")
        return None
    places: dict[str, tuple[Word, str]] = {}
    for word in words[1:]:
        place = _vendor_place(word, places)
        if place in places:
            what = f"{shown(word.text)} is one thing too many on a {record.keyword} line."
            findings.warning(word, what, "A path, OPTIONS=FILE and PORT=NUMBER may stand there.")
        else:
            places[place] = word, _behind(word, place)
    path, options = (places[place][1] if place in places else None for place in ("PATH", "OPTIONS"))
    port = _port(*places["PORT"], findings) if "PORT" in places else None
    return VendorLine(name=words[0].text, path=path, options=options, port=port, line=record.words[0].line)


def _behind(word: Word, key: str) -> str:
    """What stands behind ``KEY=``, which may be in quotes as a whole; all of a word without."""
    name, sign, value = word.text.partition("=")
    return value if sign and name.upper() == key else word.text


def _vendor_place(word: Word, taken: Collection[str]) -> str:
    for key in ("OPTIONS", "PORT"):
        if _behind(word, key) != word.text:
            return key
    if word.text.isdecimal() and not word.is_quoted:
        return "PORT"
    return "OPTIONS" if "PATH" in taken else "PATH"
