"""SERVERNAME, from text to value.  What is refused is explained: where, what, why, and what to write instead (N1 to N6).

A grammar says what is right, a table of signs (``signs``) explains what is wrong.  The grammar alone accepts; a sign that is missing
from the table costs a good message, never a wrong value.  ``_GOOD`` is the same grammar, narrower and in one piece, so that the usual value
costs next to nothing; a property test holds the two to one opinion.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache, partial

from palclient.caret import pictured, visible
from palclient.errors import ServerNameError
from palclient.models import Endpoint, ServerName
from palclient.signs import COLON_LIST, COMMAS, HOST, IPV4, PORT_FIRST, PORT_LIMIT, SEMICOLON, SIGN, SIGNS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_BLANKS = " \t\v\f\x1a"  # what Windows trims in an INI value (I1)
_EDGES = _BLANKS + "\r\n"  # around a whole value, which may also come from a variable or a script
_QUOTES = "\"'"

_FORM = "Write the three servers of a triad as 27000@lic1,27000@lic2,27000@lic3 (primary, secondary, tertiary), or a single server as 27000@lic1."

_LIMIT = 1000  # characters of a value that are read: a triad of the longest names has 780

# The grammar (N2).  253 and 63: RFC 1035's limits for a name and for each of its labels.
_NAME = r"(?![\w.-]{254})(?![0-9.]++(?![\w-]))[\w-]{1,63}+(?:\.[\w-]{1,63}+)*\.?+"  # no possessive group: Python before 3.11.5 takes half of one that fails
_FILE = r"[\w.-]*\.(?i:lic|dat)(?![^,\s])"  # without an '@' this is a license file, not a host (N5)
_IPV6 = "[0-9A-Fa-f]*+:[0-9A-Fa-f:.]++"  # what may be an address: whether it is one, the system's own reader says
_PORT = "[1-5][0-9]{4}|6(?:[0-4][0-9]{3}|5(?:[0-4][0-9]{2}|5(?:[0-2][0-9]|3[0-5])))|[1-9][0-9]{0,3}"
_GOOD_ENTRY = rf"[{_BLANKS}]*+(?:(?:0*+({_PORT}))?@|(?!{_FILE}))(HOST)[{_BLANKS}]*+"
_GOOD = rf"[{_EDGES}]*+([\"']?){_GOOD_ENTRY}(?:,{_GOOD_ENTRY},{_GOOD_ENTRY})?\1[{_EDGES}]*+".replace("HOST", f"{IPV4}|{_NAME}")
_GOOD_WITH_IPV6 = _GOOD.replace(f"({IPV4}|{_NAME})", rf"(?:\[({_IPV6})\]|({IPV4}|{_NAME}))")
_ENTRY = rf"(?:([0-9]*+)@|(?!{_FILE}))({IPV4}|{_NAME}|\[[0-9A-Fa-f:.]++\])"


def parse_servername(
    text: str, *, source: str | None = None, path: str | None = None, line: int | None = None, column: int | None = None
) -> ServerName:
    """Read a SERVERNAME value: one server, or the three of a triad in the order primary, secondary, tertiary (N1, N2).

    ``source`` says in words where the text comes from (``PALCLIENT_SERVERNAME``).  ``path``, ``line`` and ``column`` (both from 1)
    say where its first character stands in a file.  Both are only told on: in ``ServerName.source`` and in errors.  Blanks around
    commas and one pair of quotes around the whole are dropped (N5).  ``str()`` of the result is the canonical text; of a canonical
    text it is that text again.  Does not block.

    Raises:
        ServerNameError: with ``value``, ``position`` (from 0, in ``text``), ``suggestion``, and ``path``, ``line``, ``column`` of the
            offending character, for all that N1 to N5 refuse.

    >>> parse_servername("27000@lic1, @lic2, lic3").secondary
    Endpoint(host='lic2', port=None)
    >>> str(parse_servername('"27000@lic1, @lic2, lic3"'))
    '27000@lic1,@lic2,@lic3'
    """
    found = _read_good(text)
    if found is None:
        examined = _examine(text)
        if isinstance(examined, _Fault):
            raise _error(examined, text, _Place(source=source, path=path, line=line, column=column or 1))
        found = examined
    if path is not None:
        source = f"{path}, line {line}" if line is not None else path
    return ServerName(endpoints=found, source=source)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where the value's first character stands."""

    source: str | None
    path: str | None
    line: int | None
    column: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fault:
    """What is wrong, at which offset, and why it is wrong or what may have been meant."""

    at: int
    what: str
    why: str


# ------------------------------------------------------------------------------------------------------- reading what is right


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.ASCII)  # what re.fullmatch costs for looking it up is a twentieth of the whole


def _read_good(text: str) -> tuple[Endpoint, ...] | None:
    if "[" not in text:
        match = _compiled(_GOOD).fullmatch(text)
        if match is None:
            return None
        _, port, host, port2, host2, port3, host3 = match.groups()
        keys: tuple[str | bytes, ...] = (host.rstrip(".").lower(), host2.rstrip(".").lower(), host3.rstrip(".").lower()) if host3 else ()
    else:
        match = _compiled(_GOOD_WITH_IPV6).fullmatch(text)
        if match is None:
            return None
        _, port, six, host, port2, six2, host2, port3, six3, host3 = match.groups()
        host, host2, host3 = six or host, six2 or host2, six3 or host3
        try:
            keys = (_comparable(host), _comparable(host2), _comparable(host3)) if host3 else (_comparable(host),)
        except OSError:
            return None
    first = Endpoint(host=host, port=int(port) if port else None)
    if not host3:
        return (first,)
    if len(set(keys)) < 3:
        ports = {port, port2, port3}
        if None in ports or (len(ports) < 3 and len(set(zip(keys, (port, port2, port3), strict=True))) < 3):
            return None  # perhaps twins; look closely
    second = Endpoint(host=host2, port=int(port2) if port2 else None)
    third = Endpoint(host=host3, port=int(port3) if port3 else None)
    return (first, second, third)


def _examine(text: str) -> tuple[Endpoint, ...] | _Fault:
    """Read step by step: the endpoints, or the first fault, with its offset in ``text``."""
    start, body = _body(text)
    found = _read_body(body) if len(body) <= _LIMIT else None
    if found is None:
        found = _explained(body)
    return replace(found, at=found.at + start) if isinstance(found, _Fault) else found


def _body(text: str) -> tuple[int, str]:
    """Where the value starts, and the value, without blanks at its ends and without one pair of quotes around it (N5)."""
    body = text.strip(_EDGES)
    start = len(text) - len(text.lstrip(_EDGES))
    if len(body) > 1 and body[0] in _QUOTES and body[0] == body[-1]:
        inner = body[1:-1]
        start += 1 + len(inner) - len(inner.lstrip(_BLANKS))
        body = inner.strip(_BLANKS)
    return start, body


def _read_body(body: str) -> tuple[Endpoint, ...] | _Fault | None:
    """The endpoints; or the fault of a value whose entries are all well-formed; or None."""
    endpoints: list[Endpoint] = []
    starts: list[int] = []
    at = 0
    for piece in body.split(","):
        match = _compiled(_ENTRY).fullmatch(piece.strip(_BLANKS))
        start = at + len(piece) - len(piece.lstrip(_BLANKS))
        if match is None:
            return None
        if match[1] and not 0 < int(match[1]) <= PORT_LIMIT:
            why = f"Ports go from 1 to {PORT_LIMIT}. License servers mostly use 27000 to 27009."
            return _Fault(at=start, what=f"there is no port {_short(match[1])}", why=why)
        if match[2][0] == "[" and not _is_ipv6(match[2][1:-1]):
            why = "In the brackets stands one whole address, such as [2001:db8::7]."
            return _Fault(at=start + match.start(2) + 1, what=f"{match[2][1:-1]} is no IPv6 address", why=why)
        endpoints.append(Endpoint(host=match[2].strip("[]"), port=int(match[1]) if match[1] else None))
        starts.append(start)
        at += len(piece) + 1
    return _count_fault(starts) or _twin_fault(endpoints, starts) or tuple(endpoints)


def _count_fault(starts: list[int]) -> _Fault | None:
    """N1: one or three."""
    count = len(starts)
    if count in {1, 3}:
        return None
    named = "two servers are named" if count == 2 else f"{count} servers are named"
    cure = "Add the third server, or keep only one." if count == 2 else "Keep the three that belong together."
    return _Fault(at=starts[min(count - 1, 3)], what=named, why=f"A triad has exactly three servers, and a single server is one. {cure}")


def _twin_fault(endpoints: list[Endpoint], starts: list[int]) -> _Fault | None:
    """N5: the same host with the same port, or twice when one of the two has no port."""
    for later, endpoint in enumerate(endpoints):
        for earlier in endpoints[:later]:
            same_port = endpoint.port == earlier.port or None in {endpoint.port, earlier.port}
            if same_port and _comparable(endpoint.host) == _comparable(earlier.host):
                why = "The three servers of a triad are three different ones. An entry was probably copied and then not changed."
                return _Fault(at=starts[later], what=f"the server {endpoint} is named twice", why=why)
    return None


def _is_ipv6(text: str) -> bool:
    try:
        return ":" in text and bool(_comparable(text))
    except OSError:
        return False


def _comparable(host: str) -> str | bytes:
    """What all spellings of one host have in common.  Raises ``OSError`` for one with colons that is no IPv6 address."""
    return _ipv6_reader()(host) if ":" in host else host.rstrip(".").lower()


@cache
def _ipv6_reader() -> Callable[[str], bytes]:
    from socket import AF_INET6, inet_pton  # late: hardly any value needs it

    return partial(inet_pton, AF_INET6)


# ------------------------------------------------------------------------------------------------------- explaining what is wrong


def _explained(body: str) -> _Fault:
    if not body:
        return _Fault(at=0, what="SERVERNAME is empty", why="No license server is named.")
    read = body[:_LIMIT]
    strange = _strange_fault(_without_remark(read)) if ";" not in read else None
    if strange is not None:
        return strange
    for pattern, what, why in SIGNS:
        match = re.search(pattern, read, re.ASCII)
        if match is not None:
            group = match.lastindex or 0
            return _Fault(at=match.start(group), what=what.format(_short(match[group])), why=why)
    if len(body) > _LIMIT:
        return _Fault(at=_LIMIT, what=f"the value has {len(body)} characters", why="That is far more than the names of three servers.")
    return _Fault(at=0, what="this is no list of license servers", why=PORT_FIRST)


def _strange_fault(body: str) -> _Fault | None:
    """A character that no host name has: most come from a word processor, a web page or another keyboard (N4)."""
    if body.isascii() and body.translate(_NO_BLANKS).isprintable():
        return None
    import unicodedata

    at, char = next((at, char) for at, char in enumerate(body) if not " " <= char <= "~" and char not in _EDGES)
    plain = _LOOKALIKES.get(char, unicodedata.normalize("NFKC", char))
    what = f"{unicodedata.name(char, 'an unprintable character').lower()} (U+{ord(char):04X}) is not allowed here"
    if plain in {",", ";"}:
        why = f"It looks like a {'comma' if plain == ',' else 'semicolon'} and is none. {COMMAS if plain == ',' else SEMICOLON}"
    elif char.isalpha() and plain == char:
        why = f"{HOST} A name with other letters has an ASCII form that starts with xn--; whoever runs your DNS knows it."
    else:
        why = "It often comes along when text is copied from a document or a web page. Type the value by hand."
    return _Fault(at=at, what=what, why=why)


_NO_BLANKS = str.maketrans("", "", _EDGES)

# ------------------------------------------------------------------------------------------------------------ what to write

#: Characters that Unicode's own table (NFKC) does not lead back to the plain one that was meant.
_LOOKALIKES = {"、": ",", "\u060c": ",", "‚": ",", "\u200b": "", "\u200c": "", "\u200d": "", "\u2060": "", "\ufeff": "", "\u00ad": ""}
_LOOKALIKES |= dict.fromkeys("‐‑‒–—−", "-") | dict.fromkeys("“”„‟«»‘’‛", "")

_SEPARATOR = rf"[,;|\r\n]|{SIGN}|:(?=[0-9]{{0,5}}@)|(?<=[^@ \t])[ \t]+(?=[0-9]{{0,5}}@[^ \t])"

#: An entry written in another way, and how it is written here.
_REWRITES = (
    (r"@?([^@:\s]+|\[[0-9A-Fa-f:.]+\])(?::|\s+)([0-9]{1,5})", r"\2@\1"),  # host:port
    (r"(([0-9]{1,5})@(?:[^@:\s]+|\[[0-9A-Fa-f:.]+\])):\2", r"\1"),  # port@host:port
    (rf"([0-9]{{1,5}})(?::|\s+)({IPV4}|[^@:\s]*[^@:\s0-9.][^@:\s]*)", r"\1@\2"),  # port:host
    (r"([^@:\s]*[^@:\s0-9][^@:\s]*)@([0-9]{1,5})", r"\2@\1"),  # host@port
    (r"(?:([0-9]{1,5})?@)?([0-9A-Fa-f.]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*)", r"\1@[\2]"),  # IPv6 without brackets
    (r"(?i:SERVER)\s+([^@:\s]+)\s+[^@\s]+\s+([0-9]{1,5})", r"\2@\1"),  # from a license file
)


def _suggestion(text: str) -> str | None:
    """The value that was evidently meant, in canonical form, or None (N3, N4)."""
    if len(text) > _LIMIT:
        return None
    value = _plain(_without_remark(_body(text)[1]))
    value = re.sub(r"^\s*\w*\s*=+", "", value)
    value = value.replace(":", ",") if re.match(COLON_LIST, value, re.ASCII) else value
    value = re.sub(r"(?:^|(?<=[,;|]))(\s*[0-9]{1,5})[ \t]+@", r"\1@", value)  # the blank stands in an entry, not between two
    entries = [_rewritten(entry) for entry in re.split(_SEPARATOR, value)]
    found = _examine(",".join(filter(None, entries)))
    return None if isinstance(found, _Fault) else ",".join(map(str, found))


def _without_remark(body: str) -> str:
    remark = next((match for pattern, what, _ in SIGNS if "comment" in what and (match := re.search(pattern, body, re.ASCII))), None)
    return body[: remark.start(remark.lastindex or 0)] if remark is not None else body


def _plain(value: str) -> str:
    if value.isascii():
        return value
    import unicodedata

    return unicodedata.normalize("NFKC", "".join(_LOOKALIKES.get(char, char) for char in value))


def _rewritten(entry: str) -> str:
    entry = re.sub(r"\s*@\s*", "@", entry.strip(_EDGES + _QUOTES))
    entry = re.sub(r"^[A-Za-z]{2,10}://([^/]*)/?$", r"\1", entry)
    for pattern, form in _REWRITES:
        match = re.fullmatch(pattern, entry)
        if match is not None:
            return match.expand(form)
    return entry


# ------------------------------------------------------------------------------------------------------------ the message


def _error(fault: _Fault, text: str, place: _Place) -> ServerNameError:
    suggestion = _suggestion(text)
    column = place.column + fault.at
    where = place.path or place.source or "SERVERNAME"
    if place.line is not None:
        where += f", line {place.line}"
    remedy = _FORM if suggestion is None else f"Write instead:\n    {'SERVERNAME=' if place.line is not None else ''}{suggestion}"
    return ServerNameError(
        f"{where}, column {column}: {fault.what}.{pictured(text, fault.at) if text.strip(_EDGES) else ''}",
        value=text,
        position=fault.at,
        suggestion=suggestion,
        path=place.path,
        line=place.line,
        column=column,
        advice=f"{fault.why}\n{remedy}",
    )


def _short(text: str) -> str:
    return "".join(map(visible, text if len(text) <= 40 else f"{text[:37]}..."))
