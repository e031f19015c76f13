"""Properties of the formats: whatever comes in, only the documented errors go out, and no byte is lost."""

from __future__ import annotations

import ipaddress
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from palclient.errors import IniError, ServerNameError
from palclient.ini import IniDocument, read_ini
from palclient.models import Endpoint, ServerName
from palclient.servername import _examine, _Fault, _read_good, parse_servername

settings.register_profile("formats", deadline=None)  # what a file can cost is counted elsewhere; a busy machine is no defect
settings.load_profile("formats")

LABELS = st.from_regex(r"[A-Za-z0-9_-]{0,12}[A-Za-z_-][A-Za-z0-9_-]{0,12}", fullmatch=True)
NAMES = st.lists(LABELS, min_size=1, max_size=5).map(".".join)
HOSTS = NAMES | st.ip_addresses(v=4).map(str) | st.ip_addresses(v=6).map(str).filter(lambda address: "%" not in address)
ENDPOINTS = st.builds(Endpoint, host=HOSTS, port=st.none() | st.integers(1, 65535))


def differ(endpoints: list[Endpoint]) -> bool:
    """Whether no host comes twice: then no entry is another's twin (N5)."""
    return len({endpoint.host.lower() for endpoint in endpoints}) == len(endpoints)


SERVERNAMES = st.builds(
    ServerName, endpoints=(st.lists(ENDPOINTS, min_size=1, max_size=1) | st.lists(ENDPOINTS, min_size=3, max_size=3).filter(differ)).map(tuple)
)

#: Text that is nearly a SERVERNAME: the pieces of which real ones and real mistakes are made.
PIECES = [
    "27000",
    "@",
    "lic1",
    "lic2",
    "10.0.0.7",
    "256.1.1.1",
    "[::1]",
    "::1",
    ",",
    ";",
    ":",
    ".",
    " ",
    "\t",
    "|",
    '"',
    "'",
    "-",
    "0",
    "65536",
    "\x1a",
    "\v",
]
PIECES += [
    "%X%",
    "#",
    "//",
    "license.lic",
    "C:\\",
    "=",
    "SERVERNAME=",
    "\uff0c",
    "\uff1b",
    "\u200b",
    "é",
    "\n",
    "\x1b",
    "[",
    "]",
    "http://",
    "27000@lic3",
]
NEARLY = st.lists(st.sampled_from(PIECES), max_size=14).map("".join)
ANYTHING = NEARLY | st.text(max_size=60) | st.text(alphabet="27@ab.,;: []-", max_size=30)


@given(SERVERNAMES)
def test_what_is_formatted_and_parsed_is_the_same(servername: ServerName) -> None:
    """N6: format(parse(x)) == x for every canonical x."""
    text = str(servername)
    assert parse_servername(text) == servername
    assert str(parse_servername(text)) == text


def parsed(text: str) -> ServerName | ServerNameError:
    """The value, or its error."""
    try:
        return parse_servername(text)
    except ServerNameError as error:
        return error


@given(ANYTHING)
def test_any_text_is_a_servername_or_an_error_that_points_into_it(text: str) -> None:
    """N3, N6."""
    found = parsed(text)
    if isinstance(found, ServerName):
        assert ";" not in text
        assert len(found.endpoints) in {1, 3}
        assert parse_servername(str(found)) == found
        return
    assert found.value == text
    assert 0 <= found.position <= len(text)
    assert found.suggestion is None or str(parse_servername(found.suggestion)) == found.suggestion
    assert all(char.isprintable() or char in "\n\t" for char in str(found))


@given(ANYTHING)
def test_the_quick_reader_and_the_careful_one_are_of_one_opinion(text: str) -> None:
    """N2: the quick one may pass, and never says anything else."""
    quick = _read_good(text)
    assert quick is None or quick == _examine(text)


GROUPS = st.sampled_from(["1", "ab", "FFFF", "::", "::", ":", ":", "0", "0db8", "12345", "1.2.3.4"])
ADDRESSES = st.lists(GROUPS, min_size=1, max_size=17).map("".join) | st.ip_addresses(v=6).map(str)


@given(st.lists(st.tuples(st.sampled_from(["27000@", "27001@", "@", ""]), ADDRESSES), min_size=1, max_size=3))
def test_the_quick_reader_and_the_careful_one_are_of_one_opinion_on_ipv6(servers: list[tuple[str, str]]) -> None:
    """N2, N5: also where two spellings mean one server."""
    text = ",".join(f"{port}[{address}]" for port, address in servers)
    quick = _read_good(text)
    assert quick is None or quick == _examine(text)


@given(ADDRESSES | st.text(alphabet="0123456789abcdefF:.", max_size=40))
def test_an_address_in_brackets_is_what_python_takes_for_one(address: str) -> None:
    """N2: the system reads it, and the standard library's own reader is of the same opinion."""
    try:
        is_one = bool(ipaddress.IPv6Address(address))
    except ValueError:
        is_one = False
    assert isinstance(parsed(f"27000@[{address}]"), ServerName) == is_one


@given(NEARLY.filter(lambda text: ";" not in text))
def test_a_semicolon_anywhere_is_refused(text: str) -> None:
    """N3."""
    for at in range(len(text) + 1):
        assert isinstance(_examine(f"{text[:at]};{text[at:]}"), _Fault)


LINES = st.sampled_from(
    [
        "[a]",
        "[A] ;x",
        "[b",
        "]",
        "SERVERNAME=27000@old",
        " servername = 'x' ",
        "ServerName\t=",
        "; SERVERNAME=c",
        "k=v",
        "",
        "=",
        "[",
        "é=ü",
        '"',
        "SERVERNAME=a;b",
    ]
)
ENDS = st.sampled_from(["\n", "\r\n", "\r", "\n\n", " \x1a\n"])
TEXTS = st.lists(st.tuples(LINES, ENDS), max_size=12).map(lambda pairs: "".join(line + end for line, end in pairs))
ENCODINGS = st.sampled_from([(b"", "latin-1"), (b"", "utf-8"), (b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")])


@st.composite
def contents(draw: st.DrawFn) -> bytes:
    """Files that look like INI files, with some damage."""
    bom, codec = draw(ENCODINGS)
    content = bom + draw(TEXTS).encode(codec)
    at = draw(st.integers(0, len(content)))
    return content[:at] + draw(st.binary(max_size=2)) + content[at + draw(st.integers(0, 2)) :]


def windows_lines(document: IniDocument) -> list[str]:
    """The lines of a document, split in the plainest way."""
    return re.split(r"\r\n|\r|\n", document.text)


@given(contents() | st.binary(max_size=60))
def test_any_bytes_are_read_without_loss_or_refused_with_an_ini_error(content: bytes) -> None:
    """I3."""
    try:
        document = read_ini(content)
    except IniError:
        return
    assert document.raw == content
    list(document.warnings())
    for entry in document.entries():
        line = windows_lines(document)[entry.line - 1]
        assert line.lstrip(" \t\v\f\x1a").lower().startswith("servername")
        assert "=" in line[: entry.column]


@given(contents())
def test_a_splice_changes_its_span_and_is_read_back_and_there_and_back_is_the_same_file(content: bytes) -> None:
    """R1."""
    try:
        document = read_ini(content)
    except IniError:
        return
    new = "27001@new1,27001@new2,27001@new3"
    for before in document.entries():
        result = document.spliced(before, new)
        start, end = before.span
        assert result.startswith(content[:start])
        assert result.endswith(content[end:])
        again = read_ini(result)
        after = again.entries()[document.entries().index(before)]
        assert (after.value, after.line, after.shadowed_by) == (new, before.line, before.shadowed_by)
        if before.value.isascii() and before.value.isprintable():
            assert again.spliced(after, before.value) == content


@given(contents())
def test_the_servername_of_any_file_is_found_or_its_own_error(content: bytes) -> None:
    """I2."""
    try:
        found = str(read_ini(content).servername())
    except (IniError, ServerNameError) as error:
        found = str(error)
    assert found.startswith("INI content") or str(parse_servername(found)) == found
