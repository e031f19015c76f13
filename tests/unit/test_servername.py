"""parse_servername: what is accepted, what is refused, and what an error carries.  The texts of the messages stand in tests/scenarios."""

from __future__ import annotations

import pickle

import pytest

from palclient.errors import ConfigError, PalError, ServerNameError
from palclient.models import Endpoint
from palclient.servername import _read_good, parse_servername

EDGES = " \t'\v\f\x1a\r\n"
TRIAD = "27000@lic1,27000@lic2,27000@lic3"


def refused(text: str) -> ServerNameError:
    """The error that ``text`` is refused with."""
    with pytest.raises(ServerNameError) as caught:
        parse_servername(text)
    return caught.value


def test_three_entries_are_primary_secondary_and_tertiary_in_that_order() -> None:
    """N1."""
    servername = parse_servername("27000@a,27001@b,27002@c")
    assert servername.is_triad
    assert [servername.primary, servername.secondary, servername.tertiary] == list(servername.endpoints)
    assert servername.endpoints == (Endpoint(host="a", port=27000), Endpoint(host="b", port=27001), Endpoint(host="c", port=27002))


def test_one_entry_is_a_single_server() -> None:
    """N1."""
    servername = parse_servername("27000@lic1")
    assert not servername.is_triad
    assert (servername.primary, servername.secondary, servername.tertiary) == (Endpoint(host="lic1", port=27000), None, None)


@pytest.mark.parametrize("count", [2, 4, 5, 30])
def test_any_other_number_of_entries_is_refused_and_told(count: int) -> None:
    """N1: two, four or more are an error that says how many were found."""
    error = refused(",".join(f"27000@lic{number}" for number in range(count)))
    assert ("two servers" if count == 2 else f"{count} servers") in str(error)


@pytest.mark.parametrize(
    "text, host, port",
    [
        ("27000@lic1", "lic1", 27000),
        ("@lic1", "lic1", None),
        ("lic1", "lic1", None),
        ("1@lic1", "lic1", 1),
        ("65535@lic1", "lic1", 65535),
        ("027000@lic1", "lic1", 27000),
        ("27000@LIC_1-a.Corp.Example", "LIC_1-a.Corp.Example", 27000),
        ("27000@lic1.", "lic1.", 27000),
        ("27000@10.0.0.7", "10.0.0.7", 27000),
        ("27000@7lic", "7lic", 27000),
        ("27000@3.14.lic", "3.14.lic", 27000),
        ("27000@license.lic", "license.lic", 27000),
        ("27000@[::1]", "::1", 27000),
        ("[2001:db8::7]", "2001:db8::7", None),
        ("27000@[::ffff:10.0.0.7]", "::ffff:10.0.0.7", 27000),
        ("[1:2:3:4:5:6:7:8]", "1:2:3:4:5:6:7:8", None),
        ("[1:2:3::5:6:7:8]", "1:2:3::5:6:7:8", None),
        ("[1:2:3:4:5:6:7::]", "1:2:3:4:5:6:7::", None),
        ("64999@[::]", "::", 64999),
        ("65000@[0:0::0]", "0:0::0", 65000),
        ("65529@[2001:0DB8::0007]", "2001:0DB8::0007", 65529),
        ("027000@7lic.", "7lic.", 27000),
        (" \t'\v27000@lic1\f' \x1a\r\n", "lic1", 27000),
        ("27000@" + "a" * 63, "a" * 63, 27000),
        ("27000@" + ".".join(["a" * 50] * 4 + ["a" * 49]), ".".join(["a" * 50] * 4 + ["a" * 49]), 27000),
    ],
)
def test_every_form_of_an_entry_is_accepted(text: str, host: str, port: int | None) -> None:
    """N2.  All are read in one go: by steps it takes three times as long, or, with the standard library's ipaddress, thirty times."""
    assert parse_servername(text).endpoints == _read_good(text) == (Endpoint(host=host, port=port),)
    assert parse_servername(f"{text.strip(EDGES)},1@other1,1@other2").primary == Endpoint(host=host, port=port)


@pytest.mark.parametrize(
    "text, position",
    [
        ("0@lic1", 0),
        ("00@lic1", 0),
        ("65536@lic1", 0),
        ("27000@a,27000@b,99999@c", 16),
        ("1" * 500 + "@lic1", 0),
        ("27000@" + "a" * 64, 69),
        ("27000@" + ".".join(["a" * 50] * 5), 259),
        ("27000@lic1..corp", 11),
        ("27000@256.0.0.1", 6),
        ("27000@10.0.0", 6),
        ("27000@10.0.0.07", 6),
        ("27000", 0),
        ("27000@lic/1", 9),
        ("27000@lic1,27000@li c2,27000@lic3", 19),
        ("27000@[::1", 6),
        ("27000@[::1%1]", 10),
        ("27000@[:::1]", 7),
        ("[1:2:3:4::5:6:7:8]", 1),
        ("[1:2:3:4:5:6:7]", 1),
        ("[1:2:3:4:5:6:7:8:9]", 1),
        ("[1::2::3]", 1),
        ("[:1]", 1),
        ("[:]", 1),
        ("27000@[::1],27000@[::2],27000@[1:2:3:4::5:6:7:8]", 31),
        ("lic1.DAT", 0),
        ("٣@lic1", 0),
        ("x" * 5000, 253),
        ("27000@lic1," * 500, 5499),
    ],
)
def test_what_is_no_port_and_no_host_is_refused_at_its_place(text: str, position: int) -> None:
    """N2, N5, N6."""
    error = refused(text)
    assert (error.position, error.value) == (min(position, 1000), text)


@pytest.mark.parametrize(
    "text, suggestion",
    [
        ("27000@a;27000@b;27000@c", "27000@a,27000@b,27000@c"),
        ("27000@a,27000@b;27000@c", "27000@a,27000@b,27000@c"),
        ("27000@a;", "27000@a"),
        ("27000@a;27000@b", None),
        ("27000@a ; 27000@b", None),
        ("27000@a ; old server", "27000@a"),
        ("27000@a ;old", "27000@a"),
        ("27000@a,27000@b,27000@c; old server", "27000@a,27000@b,27000@c"),
        ("27000@a,27000@b,27000@c;old", "27000@a,27000@b,27000@c"),
        ("27000@a,27000@b,27000@c;27000@d", None),
        ("a,b,c;d", None),
        ("27000@a;27000@b;27000@c;27000@d", None),
        (";", None),
        ("license.lic;27000@b", None),
        ("lic1:27000;lic2:27000;lic3:27000", "27000@lic1,27000@lic2,27000@lic3"),
    ],
)
def test_a_semicolon_is_always_refused_with_its_reason(text: str, suggestion: str | None) -> None:
    """N3: never converted in silence; the corrected value stands there when it is evident."""
    error = refused(text)
    assert error.position == text.index(";")
    assert "independent servers" in str(error)
    assert error.suggestion == suggestion
    assert suggestion is None or suggestion in str(error)


@pytest.mark.parametrize(
    "text, what, position, suggestion",
    [
        ("27000 @lic1, 27000 @lic2, 27000 @lic3", "a blank stands beside the '@'", 5, TRIAD),
        ("@lic1 @lic2 @lic3", "a blank does not separate servers", 5, "@lic1,@lic2,@lic3"),
        ("lic1:lic2:lic3", "a colon does not separate servers", 4, "@lic1,@lic2,@lic3"),
        ("a:b:c", "a colon does not separate servers", 1, "@a,@b,@c"),
        ("dead:beef:cafe", "a colon does not separate servers", 4, "@dead,@beef,@cafe"),
        ("10.0.0.1:10.0.0.2:10.0.0.3", "a colon does not separate servers", 8, "@10.0.0.1,@10.0.0.2,@10.0.0.3"),
        ("lic1:lic2:lic1", "a colon does not separate servers", 4, None),
        ("27000@lic1:27000", "a colon stands between host and port", 10, "27000@lic1"),
        ("27000@lic1:27001", "a colon stands between host and port", 10, None),
        ("27000@li\x1ac1", r"'\x1a' is not allowed in a host name", 8, None),
        ("a:b:c:d", "an IPv6 address needs brackets", 0, None),
        ("a::c", "an IPv6 address needs brackets", 0, "@[a::c]"),
        ("host:27000:x", "a colon stands between host and port", 4, None),
        ("[2001:db8::7]:27000", "a colon stands between host and port", 13, "27000@[2001:db8::7]"),
        ("@[2001:db8::7]:27000", "a colon stands between host and port", 14, "27000@[2001:db8::7]"),
        ("27000@lic1+27000@lic2+27000@lic3", "'+' does not separate servers", 10, TRIAD),
        ("27000@lic1 / 27000@lic2 / 27000@lic3", "'/' does not separate servers", 11, TRIAD),
        ("27000 lic1,27000 lic2,27000\tlic3", "a blank stands between port and host", 5, TRIAD),
        ("lic1 27000", "a blank stands between host and port", 4, "27000@lic1"),
        ("=27000@lic1", "'=' stands inside the value", 0, "27000@lic1"),
        ("LM_LICENSE_FILE=27000@lic1", "'LM_LICENSE_FILE=' stands inside the value", 0, "27000@lic1"),
        ("SERVER lic1 ANY 27000", "this is a SERVER line of a license file", 0, "27000@lic1"),
        ("27000@{{ host }}", "{{ host }} is a placeholder", 6, None),
    ],
)
def test_other_signs_between_servers_or_in_them_are_told_by_what_was_meant(text: str, what: str, position: int, suggestion: str | None) -> None:
    """N4."""
    error = refused(text)
    assert what in str(error)
    assert (error.position, error.suggestion) == (position, suggestion)


def test_a_value_that_mixes_commas_and_semicolons_is_told_so() -> None:
    """N3."""
    assert "mixed" in str(refused("27000@a,27000@b;27000@c"))
    assert "mixed" not in str(refused("27000@a;27000@b;27000@c"))


def test_a_semicolon_is_told_where_it_stands() -> None:
    """N3: before the first server, and twice between two, it does not stand between two servers of which one is to be kept."""
    assert "starts the value" in str(refused("; 27000@a"))
    assert "keep one" not in str(refused("27000@a;;27000@b;27000@c"))


def test_a_semicolon_before_a_remark_is_told_that_ini_files_have_no_comments_in_a_line() -> None:
    """I1, N3."""
    assert "comment needs a line of its own" in str(refused("27000@a ; old server"))
    assert "comment needs a line of its own" in str(refused("27000@a,27000@b,27000@c; old server"))
    assert "comment" not in str(refused("27000@a;27000@b"))


@pytest.mark.parametrize("text", [f" \t{TRIAD}\x1a", f'"{TRIAD}"', f"'{TRIAD}'", f' " {TRIAD} " ', TRIAD.replace(",", " ,\t"), f"{TRIAD}\r\n"])
def test_blanks_around_commas_and_one_pair_of_quotes_are_trimmed(text: str) -> None:
    """N5."""
    assert str(parse_servername(text)) == TRIAD


@pytest.mark.parametrize(
    "text, position",
    [
        ("27000@a,27000@A,27000@c", 8),
        ("27000@a,27000@b,@a", 16),
        ("a,b,27000@a", 4),
        ("a,a,a", 2),
        ("27000@[::1],27000@b,27000@[0::1]", 20),
        ("27000@a,27000@a.,27000@c", 8),
        ("27000@a,27001@b,27000@A.", 16),
        ("27000@[::1],27001@[::1],27001@[0::0001]", 24),
        ("27000@a,027000@a,27000@c", 8),
    ],
)
def test_the_same_server_twice_is_refused_at_the_second(text: str, position: int) -> None:
    """N5: the same host with the same port, or the same host twice when one of the two has no port."""
    error = refused(text)
    assert "twice" in str(error)
    assert error.position == position


def test_one_host_may_serve_on_three_ports() -> None:
    """N5, read the other way: as a triad for tests does."""
    for text in ("27000@127.0.0.1,27001@127.0.0.1,27002@127.0.0.1", "27000@a,27000@b,27001@a"):
        assert str(parse_servername(text)) == text
        assert _read_good(text) is not None


def test_an_error_carries_file_line_and_column_of_the_offending_character() -> None:
    """N6."""
    with pytest.raises(ServerNameError) as caught:
        parse_servername("27000@lic1;27000@lic2", path="palclient.ini", line=3, column=12)
    error = caught.value
    assert (error.path, error.line, error.column, error.position) == ("palclient.ini", 3, 22, 10)
    assert str(error).startswith("palclient.ini, line 3, column 22: ")


@pytest.mark.parametrize("before, gap", [("lic", "   "), ("l\tic", " \t  "), ("甲乙", "    "), ("e\u0301", " ")])
def test_the_caret_stands_under_the_offending_character(before: str, gap: str) -> None:
    """N6: also behind tabs, wide characters and accents."""
    shown = refused(f"{before};27000@b").message.split("\n")
    assert shown[1] == f"    {before};27000@b"
    assert shown[2] == f"    {gap}^"


def test_nothing_of_the_value_can_move_the_cursor_of_a_terminal() -> None:
    """N6: an error is read on a terminal, and the value comes from a file that anybody may have written."""
    for text in ("27000@a\x1b[2J", "\x1b]0;x\x07", "27000@a\x9b31m;", "27000@a\u202eb"):
        assert all(char.isprintable() or char in "\n\t" for char in str(refused(text)))


def test_a_value_of_any_length_is_refused_quickly_and_shown_in_one_line() -> None:
    """Style 5: every number from outside has a bound."""
    for text in ("27000@" + "a" * 1_000_000, ";" * 1_000_000, " @" * 500_000, "[" * 1_000_000, "a." * 500_000 + "\x00"):
        assert max(map(len, refused(text).message.split("\n"))) < 130


def test_the_source_is_told_on() -> None:
    """N6: file and line, or the words of the caller."""
    assert parse_servername("a", source="PALCLIENT_SERVERNAME").source == "PALCLIENT_SERVERNAME"
    assert parse_servername("a", path="x.ini", line=3, column=12).source == "x.ini, line 3"
    assert parse_servername("a", path="x.ini").source == "x.ini"
    assert parse_servername("a").source is None


def test_the_error_is_a_value_error_and_survives_pickling() -> None:
    """api.md: every error pickles and keeps its message."""
    error = refused("27000@a;27000@b;27000@c")
    assert isinstance(error, (ValueError, PalError, ConfigError))
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (str(copy), copy.position, copy.suggestion) == (str(error), error.position, error.suggestion)
