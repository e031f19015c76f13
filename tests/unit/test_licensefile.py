"""License files: the grammar, the checks of a triad, what else can be asked of a file, and the page that shows what is said."""

from __future__ import annotations

import doctest
import os
from datetime import date
from pathlib import Path

import pytest

from fakeserver import licenses
from palclient import licensefile, optionsfile
from palclient.errors import LicenseFileError
from palclient.hostid import hostid_fault, is_hostid_of
from palclient.licensefile import LicenseFile, Problem, expiry_problems, read_license_file, read_sign, servername_problems, signed_text, written_sign
from palclient.licensetext import PROBLEM_LIMIT, SIZE_LIMIT_BYTES, explained
from palclient.servername import parse_servername
from tests.unit.pages import check_page, examples

SERVERS = """SERVER lic1 0A0027000001 27000 PRIMARY_IS_MASTER HEARTBEAT_INTERVAL=10
SERVER lic2 0A0027000002 27000
SERVER lic3 0A0027000003 27000
VENDOR palisade
"""
SIGN = "SIGN=123456789012"


def read(text: str) -> LicenseFile:
    """The license file with this text."""
    return read_license_file(text.encode())


def said(text: str) -> list[str]:
    """What is said of a file, without the advice."""
    return [f"{problem.line}:{problem.column} {problem.severity}: {problem.message}" for problem in read(text).problems]


def feature(rest: str) -> LicenseFile:
    """A license with one FEATURE line, of which ``rest`` follows the vendor."""
    return read(f"{SERVERS}FEATURE A palisade {rest}\n")


# ---------------------------------------------------------------------------------------------------------------- grammar


def test_a_triad_is_read_line_by_line() -> None:
    """api: servers (host hostid port primary_is_master heartbeat_interval_s), vendors (name), use_server, features, packages, problems."""
    license_file = read(
        f"{SERVERS}USE_SERVER\nFEATURE A palisade 8.0 31-dec-2030 5 {SIGN}\nPACKAGE A palisade 8.0 COMPONENTS='B' {SIGN}\n".replace("'", '"')
    )
    assert [(s.host, s.hostid, s.port, s.primary_is_master, s.heartbeat_interval_s, s.line) for s in license_file.servers] == [
        ("lic1", "0A0027000001", 27000, True, 10, 1),
        ("lic2", "0A0027000002", 27000, False, None, 2),
        ("lic3", "0A0027000003", 27000, False, None, 3),
    ]
    assert (license_file.is_triad, license_file.primary_is_master, license_file.heartbeat_interval_s) == (True, True, 10)
    assert [vendor.name for vendor in license_file.vendors] == ["palisade"]
    assert license_file.use_server
    assert [(f.kind, f.name, f.vendor, f.version, f.expiry, f.count, f.sign, f.line) for f in license_file.features] == [
        ("FEATURE", "A", "palisade", "8.0", date(2030, 12, 31), 5, "123456789012", 6)
    ]
    assert [(p.name, p.version, [c.name for c in p.components], p.is_suite) for p in license_file.packages] == [("A", "8.0", ["B"], False)]
    assert license_file.problems == ()


def test_a_file_that_says_no_interval_has_twenty_seconds() -> None:
    """T10."""
    assert read(SERVERS.replace(" HEARTBEAT_INTERVAL=10", "")).heartbeat_interval_s == 20
    assert read("").heartbeat_interval_s == 20


def test_an_interval_with_blanks_around_its_sign_is_told_once() -> None:
    """T10."""
    assert said(SERVERS.replace("INTERVAL=10", "INTERVAL = 10")) == ["1:50 error: No number of seconds stands behind HEARTBEAT_INTERVAL."]


def test_the_older_word_for_the_interval_is_read() -> None:
    """T10."""
    assert read(SERVERS.replace("HEARTBEAT_INTERVAL", "SERVER_TIMEOUT")).servers[0].heartbeat_interval_s == 10


def test_keywords_are_read_in_upper_and_lower_case() -> None:
    """Issue 6, license file."""
    text = f"{SERVERS}FEATURE A palisade 8.0 31-DEC-2030 5 {SIGN}\nINCREMENT A palisade 8.0 permanent 5 {SIGN}\n"
    lower = "\n".join(" ".join([line.split()[0].lower(), *line.split()[1:]]) for line in text.splitlines())
    lower = lower.replace("PRIMARY_IS_MASTER", "primary_is_master").replace("HEARTBEAT_INTERVAL", "heartbeat_interval")
    assert read(lower) == read(text)


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n"])
def test_all_line_ends_are_read(end: str) -> None:
    """Issue 6: CRLF."""
    text = f"{SERVERS}FEATURE A palisade 8.0 permanent 5 \\\n  {SIGN}\n"
    assert read(text.replace("\n", end)) == read(text)
    assert not read(text.replace("\n", end)).problems


def test_a_broken_line_is_one_line_and_a_comment_may_stand_in_it() -> None:
    """Issue 6: continuation lines, comments."""
    license_file = read(f'{SERVERS}FEATURE A palisade 8.0 \\\n# was 3\n  permanent 5 NOTICE="Licensed \\\n\t to  me" {SIGN} \\\n')
    assert not license_file.problems
    assert license_file.features[0].attributes == (("NOTICE", "Licensed to  me"), ("SIGN", "123456789012"))


def test_a_comment_with_a_backslash_takes_its_next_line_along_but_no_keyword() -> None:
    """Issue 6: comments.  A FEATURE line that is commented out must not leave its second half behind."""
    license_file = read(f"{SERVERS}# FEATURE old palisade 8.0 permanent 5 \\\n  {SIGN}\n# x \\\nFEATURE A palisade 8.0 permanent 5 {SIGN}\n#1 of 2\n")
    assert not license_file.problems
    assert [line.name for line in license_file.features] == ["A"]


def test_a_host_id_in_decimal_is_no_comment() -> None:
    """Issue 6: host ID forms."""
    assert read("SERVER lic1 \\\n #386956968 27000\nVENDOR p\n").servers[0].hostid == "#386956968"


def test_a_comment_in_a_broken_line_ends_where_it_ends() -> None:
    """Issue 6: comments.  Its own backslash, left over from the line that it was, takes nothing along."""
    license_file = read(f"{SERVERS}FEATURE A palisade 8.0 \\\n# permanent 3 \\\n  permanent 5 {SIGN}\n")
    assert [line.count for line in license_file.features] == [5]


def test_a_comment_at_the_end_of_a_line_is_told_once_and_no_part_of_it() -> None:
    """Grammar: a comment is a line.  What goes on below belongs to the line all the same."""
    text = f'SERVER lic1 #386956968 27000 # our first one\nVENDOR palisade\nFEATURE A palisade 8.0 permanent 5 {SIGN} # of Bob\'s \\\n HOSTID=ANY NOTICE="# 1"\n'
    assert said(text) == ["1:30 error: A comment stands at the end of the line.", "3:54 warning: A comment stands at the end of the line."]
    (line,) = read(text).features
    assert (line.hostid, line.attribute("NOTICE")) == ("ANY", "# 1")


def test_a_quoted_text_may_go_on_without_a_backslash() -> None:
    """Issue 6: quoted strings.  As newer servers read it, and with a warning."""
    text = f'{SERVERS}FEATURE A palisade 8.0 permanent 5 NOTICE="Licensed\nto me" {SIGN}\nFEATURE B palisade 8.0 permanent 5 NOTICE="x {SIGN}\n'
    assert [line.attribute("NOTICE") for line in read(text).features] == ["Licensed to me", f"x {SIGN}"]
    assert said(text)[0] == "6:1 warning: This line goes on with the one above, which does not end with a backslash."
    assert "7:36 error: A quote is opened and not closed on this line." in said(text)


def test_a_signature_in_braces_has_blanks_inside() -> None:
    """FLEXnet's common vendor daemon writes ``AUTH={ vendor=( LK=... ) }``."""
    assert said(f"{SERVERS}FEATURE A palisade 8.0 permanent 5 AUTH={{ palisade=( LK=123 ) }}\n") == []


def test_the_examples_run() -> None:
    """Style 12."""
    for module in (licensefile, optionsfile, licenses):
        tried = doctest.testmod(module)
        assert (tried.failed, tried.attempted > 0) == (0, True)


def test_a_line_that_starts_with_nothing_known_takes_no_other_along() -> None:
    """Issue 6: continuation lines without a backslash."""
    assert said(f"{SERVERS}FEATUER A palisade\nHOSTID=ANY\n") == [
        "5:1 error: No line starts with FEATUER.",
        "6:1 warning: No line starts with HOSTID=ANY; it is passed over.",
    ]


def test_the_end_of_a_file_under_dos_is_read_over() -> None:
    """Ctrl-Z, as in INI files (I1)."""
    assert read_license_file(f"{SERVERS}\x1a".encode()).problems == ()


def test_lines_in_the_wrong_order_and_words_in_the_wrong_place_are_told() -> None:
    """Issue 6: checks.  What a triad needs means nothing for one server."""
    assert said("SERVER h ANY 27000 PRIMARY_IS_MASTER SERVER_TIMEOUT=5\nVENDOR d\n") == [
        "1:20 warning: PRIMARY_IS_MASTER means nothing for a single server.",
        "1:38 warning: SERVER_TIMEOUT means nothing for a single server.",
    ]
    assert said(f"VENDOR d\nFEATURE A d 1 permanent 1 {SIGN}\nSERVER h DEMO 27000\n") == [
        "3:1 warning: A SERVER line stands below a FEATURE line.",
        "3:10 error: DEMO is no host ID of a server.",
    ]


def test_numbers_of_any_length_are_refused_and_never_counted() -> None:
    """Style 5: Python itself refuses to read numbers of thousands of digits."""
    assert said(f"SERVER h ANY 27000 HEARTBEAT_INTERVAL={'9' * 5000}\nVENDOR d\n")[0].startswith("1:20 error: 9999")
    assert not is_hostid_of(f"#{'9' * 5000}", ["ANY"])
    assert feature(f"8.0 1-jan-0 {'9' * 5000} {SIGN}").features == ()


def test_blanks_behind_a_backslash_are_told() -> None:
    """Issue 6: continuation lines."""
    assert said(f"{SERVERS}FEATURE A palisade 8.0 permanent 5 \\ \n {SIGN}\n") == ["5:36 warning: Blanks stand behind the backslash."]


def test_a_keyword_behind_a_backslash_starts_a_line_of_its_own() -> None:
    """Issue 6: continuation lines.  One lost line must not take its neighbour along."""
    text = f"{SERVERS}FEATURE A palisade 8.0 permanent 5 {SIGN} \\\nFEATURE B palisade 8.0 permanent 5 {SIGN}\n"
    assert [line.name for line in read(text).features] == ["A", "B"]
    assert said(text) == ["6:1 warning: A FEATURE line follows a backslash, which would make it a part of the line above."]


@pytest.mark.parametrize("text", ["permanent", "PERMANENT", "1-jan-0", "01-jan-00", "1-JAN-000", "31-dec-0000", "0-jan-0"])
def test_a_line_without_an_end_is_permanent(text: str) -> None:
    """Issue 6: dates."""
    license_file = feature(f"8.0 {text} 5 {SIGN}")
    assert license_file.features[0].expiry is None
    assert not license_file.problems


@pytest.mark.parametrize(
    "text", ["31-dec-30", "31-dec", "31/12/2030", "2030-12-31", "31-dez-2030", "31-feb-2030", "0-jan-2030", "never", "1-jan-20300"]
)
def test_what_is_no_date_is_an_error_and_licenses_nothing(text: str) -> None:
    """Issue 6: dates.  A date that cannot be read must not become a permanent license."""
    license_file = feature(f"8.0 {text} 5 {SIGN}")
    assert license_file.features == ()
    assert [problem.severity for problem in license_file.problems] == ["error"]


@pytest.mark.parametrize("text, count", [("5", 5), ("uncounted", None), ("UNCOUNTED", None), ("0", None), ("1000000000", 10**9)])
def test_counts(text: str, count: int | None) -> None:
    """Issue 6: counts and 'uncounted'."""
    license_file = feature(f"8.0 permanent {text} HOSTID=ANY {SIGN}")
    assert license_file.features[0].count == count
    assert not license_file.problems


@pytest.mark.parametrize("text", ["-1", "5.0", "many", "1000000001", "\u0665", "1" * 5000])
def test_what_is_no_count_licenses_nothing(text: str) -> None:
    """Issue 6: counts."""
    assert feature(f"8.0 permanent {text} HOSTID=ANY {SIGN}").features == ()


def test_an_upgrade_has_two_versions() -> None:
    """Issue 6: UPGRADE."""
    license_file = read(f"{SERVERS}UPGRADE A palisade 7.0 8.0 permanent 5 {SIGN}\n")
    assert [(f.kind, f.from_version, f.version) for f in license_file.features] == [("UPGRADE", "7.0", "8.0")]


def test_lines_of_older_files_are_read() -> None:
    """Issue 6: the grammar.  A key, a vendor string and a host ID without keywords; DAEMON; FEATURESET."""
    license_file = read(
        'SERVER h 17007ea8 1700\nDAEMON d /opt/d "/opt/d options" 1701\nFEATURESET d 12345\nFEATURE A d 1.0 1-jan-0 0 0123456789AB "x y" 17007ea8\n'
    )
    assert license_file.problems == ()
    assert [(v.name, v.path, v.options, v.port) for v in license_file.vendors] == [("d", "/opt/d", "/opt/d options", 1701)]
    assert license_file.features[0].attributes == (("KEY", "0123456789AB"), ("VENDOR_STRING", "x y"), ("HOSTID", "17007ea8"))


def test_a_vendor_line_has_keywords_too() -> None:
    """Issue 6: VENDOR."""
    license_file = read("SERVER h ANY\nvendor d options=/opt/d.opt PORT=1701\n")
    assert [(v.path, v.options, v.port) for v in license_file.vendors] == [(None, "/opt/d.opt", 1701)]
    (vendor,) = read('SERVER h ANY\nVENDOR d "options=C:\\Program Files\\d.opt" "port=1701"\n').vendors
    assert (vendor.path, vendor.options, vendor.port) == (None, r"C:\Program Files\d.opt", 1701)
    assert said("SERVER h ANY\nVENDOR d PORT=0\n") == ["2:10 error: There is no port 0."]
    assert said("SERVER h ANY\nVENDOR d a b c\n") == ["2:14 warning: c is one thing too many on a VENDOR line."]
    assert said("SERVER h ANY\nVENDOR d\nVENDOR\nVENDOR d\n") == [
        "3:1 error: The VENDOR line has no name.",
        "4:1 warning: The vendor d is named twice.",
    ]


@pytest.mark.parametrize(
    "version, advice",
    [(".5", "both sides of a dot: 0.5."), ("1.", "both sides of a dot: 1.0."), (".", "0.0"), ("v1", "such as 8.0"), ("1..2", "such as 8.0")],
)
def test_a_version_that_is_none_is_told_how_it_is_written(version: str, advice: str) -> None:
    """Issue 6: each problem with advice."""
    (problem,) = read(f"{SERVERS}FEATURE A palisade {version} permanent 5 {SIGN}\n").problems
    assert problem.message == f"{version} is no version."
    assert advice in problem.advice


def test_eight_bit_text_is_read() -> None:
    """Issue 6: Latin-1; a UTF-8 file keeps its letters."""
    text = f'{SERVERS}FEATURE A palisade 8.0 permanent 5 NOTICE="Zürich" {SIGN}\n'
    assert read_license_file(text.encode("latin-1")) == read_license_file(text.encode()) == read(text)
    assert read(text).features[0].attribute("notice") == "Zürich"


def test_byte_order_marks_are_told() -> None:
    """Issue 6: encodings."""
    with_bom = read_license_file(b"\xef\xbb\xbf" + SERVERS.encode())
    assert ([problem.severity for problem in with_bom.problems], len(with_bom.servers)) == (["warning"], 3)
    for codec in ("utf-16-le", "utf-16-be"):
        wide = read_license_file(("\ufeff" + SERVERS).encode(codec))
        assert ([problem.severity for problem in wide.problems], len(wide.servers)) == (["error"], 3)


def test_a_package_may_have_an_old_key_and_versions_of_its_own() -> None:
    """Issue 6: PACKAGE."""
    license_file = read(f'{SERVERS}FEATURE s palisade 1.0 permanent 3 {SIGN}\nPACKAGE s palisade 1.0 0123456789AB COMPONENTS="a:1.5:2 b" OPTIONS=X\n')
    assert license_file.problems == ()
    assert [(c.name, c.version, c.count) for c in license_file.packages[0].components] == [("a", "1.5", 2), ("b", None, None)]
    assert said(f'{SERVERS}FEATURE s palisade 1.0 permanent 3 {SIGN}\nPACKAGE s palisade COMPONENTS="a:x" {SIGN}\n') == [
        "6:20 error: a:x is no component."
    ]


def test_an_attribute_without_its_value_is_told() -> None:
    """Issue 6: quoted strings."""
    assert said(f"{SERVERS}FEATURE A palisade 8.0 permanent 5 NOTICE= {SIGN} {SIGN} HOSTID=x START=x\n") == [
        "5:36 error: NOTICE= has no value.",
        "5:62 warning: A second SIGN= stands on the line.",
        "5:80 error: x is no host ID: it is neither a number nor one of the known words.",
        "5:95 error: x is no date.",
    ]


# --------------------------------------------------------------------------------------------------------------- host IDs


@pytest.mark.parametrize(
    "text",
    "0A0027000001 17007ea8 #386956968 ANY any DEMO INTERNET=10.0.*.7 INTERNET=2001:db8::7 HOSTNAME=lic1 USER=ann DISK_SERIAL_NUM=3e2e17fd X=1".split(),
)
def test_these_are_host_ids(text: str) -> None:
    """Issue 6: host ID forms."""
    assert hostid_fault(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "lic1",
        "0A:00:27:00:00:01",
        "0A-00-27-00-00-01",
        "#",
        "#x",
        "HOSTNAME=",
        "INTERNET=10.0.0.256",
        "INTERNET=10.0",
        "INTERNET=:x",
        "DISK_SERIAL_NUM=xyz",
    ],
)
def test_these_are_none(text: str) -> None:
    """Issue 6: host ID forms."""
    assert hostid_fault(text)


@pytest.mark.parametrize(
    "hostid, own",
    [
        ("0a0027000001", "0A0027000001"),
        ("17007ea8 0A0027000001", "0A0027000001"),
        ("ANY", "0A0027000001"),
        ("#386956968", "17107ea8"),
        ("INTERNET=10.0.*.*", "internet=10.0.3.7"),
        ("ID=1234-5678", "ID=12345678"),
        ("hostname=LIC1", "HOSTNAME=lic1"),
    ],
)
def test_a_host_id_names_its_machine(hostid: str, own: str) -> None:
    """T12."""
    assert is_hostid_of(hostid, [own, "x"])


@pytest.mark.parametrize("hostid", ["", "0A0027000002", "INTERNET=10.1.*.*", "INTERNET=10.0.*", "DEMO"])
def test_a_host_id_names_no_other_machine(hostid: str) -> None:
    """T12."""
    assert not is_hostid_of(hostid, ["0A0027000001", "INTERNET=10.0.3.7"])


# --------------------------------------------------------------------------------------------------- what else can be asked


@pytest.mark.parametrize(
    "servername, expected",
    [
        ("27000@lic1,27000@LIC2,27000@lic3", []),
        ("lic1,lic2,lic3", []),
        ("27000@lic1", ["error: The file has 3 SERVER lines, SERVERNAME names 1."]),
        ("27000@lic2,27000@lic1,27000@lic3", ["error: SERVERNAME lists the servers in another order than the SERVER lines."]),
        ("27000@lic1,27000@lic2,27000@lic4", ["error: lic3 is not what SERVERNAME has in its place: lic4."]),
        ("27001@lic1,27000@lic2,27000@lic3", ["error: lic1 listens on 27000, and SERVERNAME says 27001."]),
        ("27000@lic1.example.com,27000@lic2,27000@lic3", ["warning: lic1 is lic1.example.com in SERVERNAME."]),
    ],
)
def test_servername_lists_the_same_hosts_in_the_same_order(servername: str, expected: list[str]) -> None:
    """Issue 6: given an INI, whether SERVERNAME lists the same hosts in the same order."""
    assert [f"{one.severity}: {one.message}" for one in servername_problems(read(SERVERS), parse_servername(servername))] == expected


def test_servername_and_a_port_that_only_one_of_the_two_names() -> None:
    """T13: ``@host`` looks at 27000 to 27009, and a server without a port is there."""
    here = read("SERVER lic1 ANY\nVENDOR d\n")
    there = read("SERVER lic1 ANY 28000\nVENDOR d\n")
    assert [one.severity for one in servername_problems(here, parse_servername("27000@lic1"))] == ["warning"]
    assert [one.severity for one in servername_problems(there, parse_servername("@lic1"))] == ["error"]
    assert servername_problems(here, parse_servername("@lic1")) == ()


def test_a_line_is_good_on_its_last_day_and_warned_of_a_month_before() -> None:
    """Issue 5: expired feature."""
    license_file = feature(f"8.0 31-dec-2030 5 {SIGN}")
    line = license_file.features[0]
    assert [line.is_expired(date(2030, 12, 31)), line.is_expired(date(2031, 1, 1))] == [False, True]
    assert expiry_problems(license_file, date(2030, 11, 30)) == ()
    assert [one.message for one in expiry_problems(license_file, date(2030, 12, 1))] == ["A expires in 30 days, on 2030-12-31."]
    assert [one.message for one in expiry_problems(license_file, date(2031, 1, 1))] == ["A has expired on 2030-12-31."]


def test_errors_of_server_lines_keep_a_server_from_starting_and_others_do_not() -> None:
    """T12."""
    assert read(f"{SERVERS}FEATURE A palisade x permanent 5 {SIGN}\n").server_errors == ()
    assert [one.line for one in read(f"{SERVERS}SERVER lic4 ANY 27000\n").server_errors] == [5]


def test_the_signed_text_is_the_one_of_the_page() -> None:
    """docs/reference/license-file.md, SIGN."""
    license_file = read(f'{SERVERS}FEATURE A palisade 8.0 31-dec-2030 5 NOTICE="Zürich" sort=1 {SIGN} TS_OK\n')
    assert signed_text(license_file, license_file.features[0]) == (
        b'["palclient license 1",["0a0027000001","0a0027000002","0a0027000003"],"FEATURE",["A","palisade","8.0",null,"2030-12-31",5],'
        b'[["NOTICE","Z\\u00fcrich"],["TS_OK",""]]]'
    )


@pytest.mark.parametrize(
    "old, new",
    [
        ("lic1", "other"),
        (" 27000", " 28000"),
        ("SERVER lic1 0A0027000001", "server lic1   0a0027000001"),
        (" PRIMARY_IS_MASTER", ""),
        ("VENDOR", "DAEMON"),
        ("sort=1", "sort=2"),
    ],
)
def test_what_an_administrator_may_change_is_not_signed(old: str, new: str) -> None:
    """docs/reference/license-file.md, SIGN; T11: the order of the SERVER lines may differ between the files."""
    text = f"{SERVERS}FEATURE A palisade 8.0 31-dec-2030 5 sort=1 {SIGN}\n"
    before, after = read(text), read(text.replace(old, new))
    assert before != after or old.startswith(("SERVER", "VENDOR"))
    assert signed_text(before, before.features[0]) == signed_text(after, after.features[0])


@pytest.mark.parametrize(
    "old, new",
    [
        ("0A0027000002", "0A0027000009"),
        ("FEATURE", "INCREMENT"),
        ("8.0", "8.1"),
        ("2030", "2031"),
        (" 5 ", " 6 "),
        ("=x", "=y"),
        (" A ", " B "),
        ("TS_OK", ""),
    ],
)
def test_what_is_licensed_is_signed(old: str, new: str) -> None:
    """T12: an altered line does not fit its signature."""
    text = f"{SERVERS}FEATURE A palisade 8.0 31-dec-2030 5 NOTICE=x TS_OK {SIGN}\n"
    before, after = read(text), read(text.replace(old, new))
    assert signed_text(before, before.features[0]) != signed_text(after, after.features[0])


def test_a_sign_of_our_own_form_is_known_even_when_it_is_damaged() -> None:
    """T12: damage must not look like another vendor's form."""
    sign = written_sign(b"k" * 32, b"s" * 64)
    assert read_sign(sign) == (b"k" * 32, b"s" * 64)
    assert read_sign(sign[:-1]) == read_sign(sign.upper()) == read_sign(sign + "0") == (b"", b"")
    assert read_sign("0123456789AB") is read_sign("") is None


# ----------------------------------------------------------------------------------------------------------------- bad input


def test_a_file_that_cannot_be_read_is_a_license_file_error(tmp_path: Path) -> None:
    """api: reading is total, unless the file cannot be read at all."""
    sources: list[str | Path] = [tmp_path, tmp_path / "nope", "a\0b"]
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        sources.append(tmp_path / "pipe")
    for source in sources:
        with pytest.raises(LicenseFileError, match="cannot be read"):
            read_license_file(source)
    with pytest.raises(LicenseFileError, match="line 2: has a NUL byte"):
        read_license_file(b"SERVER\n\0")
    with pytest.raises(LicenseFileError, match="more than"):
        read_license_file(b"#" * (SIZE_LIMIT_BYTES + 1))


def test_a_path_is_read_and_kept(tmp_path: Path) -> None:
    """api: str or PathLike is a path, bytes is content."""
    path = tmp_path / "license.dat"
    path.write_text(SERVERS)
    assert read_license_file(path).path == read_license_file(str(path)).path == str(path)
    assert read_license_file(path).servers == read(SERVERS).servers


def test_the_list_of_problems_has_an_end() -> None:
    """Style 5."""
    assert len(read(f"{SERVERS}{'x' * 9}\n" + "x\n" * 10 * PROBLEM_LIMIT).problems) == PROBLEM_LIMIT


def test_nothing_hides_an_error_of_the_server_lines() -> None:
    """T12: a file full of other troubles still has two SERVER lines."""
    text = "?\n" * 2 * PROBLEM_LIMIT + "FEATURE\n" * 2 * PROBLEM_LIMIT + "SERVER lic1 ANY 27000\nSERVER lic2 ANY 27000\n"
    assert [one.message for one in read(text).server_errors] == ["There are 2 SERVER lines."]
    many = read("USE_SERVER\n" + "SERVER lic1 ANY\n" * 2 * PROBLEM_LIMIT)  # each with a warning
    assert f"There are {2 * PROBLEM_LIMIT} SERVER lines." in [one.message for one in many.server_errors]


def test_a_file_of_one_long_line_costs_no_square() -> None:
    """Style 5: 40,000 continuations, 80,000 words and 10,000 servers are read at once; a quadratic reader would not come back within the suite's limit."""
    assert read("FEATURE \\\n" + "a \\\n" * 40_000).features == ()
    assert read("FEATURE " + '"a' * 80_000).features == ()
    assert len(read("SERVER lic1 ANY 27000\n" * 10_000).servers) == 10_000


def test_a_problem_is_shown_with_its_line_and_a_caret() -> None:
    """Issue 6: line, column."""
    text = f"{SERVERS}FEATURE A palisade 8.0 permanent many {'x' * 200}\tSIGN= x\x1b[2J\n"
    shown = "\n".join(read(text).explain(problem) for problem in read(text).problems)
    assert "\x1b" not in shown
    assert all(line.isprintable() for line in shown.splitlines())
    for problem in read(text).problems:
        place, line, caret, advice = read(text).explain(problem).splitlines()
        assert place.startswith(f"license file, line 5, column {problem.column}: ")
        assert line[caret.index("^")] == text.splitlines()[4][problem.column - 1]
        assert advice.strip() == problem.advice


def test_a_problem_of_no_line_is_shown_without_one() -> None:
    """An empty file."""
    assert explained(read("").problems[0], name="x", lines=[""]).count("\n") == 1


# ------------------------------------------------------------------------------------------------------------------ the page


def seen(text: str) -> str:
    """What ``palclient license lint`` shows of a file, without the last line."""
    license_file = read(text)
    problems: list[Problem] = list(license_file.problems)
    return "".join(f"{explained(problem, name='license.dat', lines=text.splitlines())}\n" for problem in problems) or "No problems.\n"


def test_the_page_of_license_files_shows_what_is_really_said() -> None:
    """Issue 6: the messages are the product."""
    check_page("license-file.md", "license", seen)


def test_the_page_shows_every_check_only_once() -> None:
    """A page that lost its examples must not pass the test above."""
    shown = examples("license-file.md", "license")
    assert len(shown) == len(set(shown)) >= 18


def test_the_caret_stands_under_its_word_behind_wide_characters() -> None:
    """Issue 6, "line, column": a terminal shows some characters twice as wide, which the line of the caret has to allow for."""
    file = read("SERVER lic1 ANY 27000\nVENDOR palisade\nFEATURE 許可 palisade eight permanent 5\n")
    problem = next(problem for problem in file.problems if "eight" in problem.message)
    assert file.explain(problem).splitlines()[2] == "    " + " " * len("FEATURE ____ palisade ") + "^"
