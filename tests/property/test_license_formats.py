"""Properties of license and options files: whatever the bytes, values and problems, or the one documented error."""

from __future__ import annotations

import re
from datetime import date

from hypothesis import example, given, settings
from hypothesis import strategies as st

from palclient.errors import LicenseFileError
from palclient.licensefile import (
    FeatureLine,
    LicenseFile,
    PackageLine,
    Problem,
    ServerLine,
    expiry_problems,
    is_hostid_of,
    read_license_file,
    read_sign,
    servername_problems,
    signed_text,
)
from palclient.licensetext import lines_of
from palclient.models import Endpoint, ServerName
from palclient.optionsfile import OptionsFile, options_problems, read_options_file

settings.register_profile("license-formats", deadline=None)  # a busy machine is no defect
settings.load_profile("license-formats")

WORDS = (
    "SERVER server VENDOR DAEMON USE_SERVER FEATURE INCREMENT UPGRADE PACKAGE FEATURESET PRIMARY_IS_MASTER HEARTBEAT_INTERVAL=20 SERVER_TIMEOUT=999 "
    "HEARTBEAT_INTERVAL=x lic1 lic2 27000 0 65536 99999999999 0A0027000001 ANY DEMO #123 INTERNET=1.2.*.4 HOSTID=ANY HOSTID= SIGN=1 SIGN= permanent 1-jan-0 "
    '31-dec-2030 31-feb-2030 uncounted 5 1.0 COMPONENTS="a:1:2 b" OPTIONS=SUITE "a b" " = "" NOTICE="x \\ ed25519: SIGN=ed25519:00 '
    "INCLUDE EXCLUDEALL GROUP HOST_GROUP RESERVE MAX LINGER NOLOG USER HOST f:VERSION=1 people # #x \u201c \u0665 \u00e4 \x1b \x1a"
).split(" ")
GAPS = st.sampled_from([" ", " ", " ", "\t", "\n", "\r\n", "\r", " \\\n", "\\ \n", "\n  ", ""])
TEXTS = st.lists(st.tuples(st.sampled_from(WORDS), GAPS), max_size=40).map(lambda pairs: "".join(word + gap for word, gap in pairs))
CONTENTS = st.one_of(
    TEXTS.map(str.encode),
    TEXTS.map(lambda text: text.encode("latin-1", "replace")),
    TEXTS.map(lambda text: text.encode("utf-16")),
    st.binary(max_size=80),
)


def check_problems(problems: tuple[Problem, ...], text: str) -> None:
    """Each is at a place that there is, and fit to be read."""
    lines = lines_of(text)
    assert list(problems) == sorted(problems, key=lambda problem: (problem.line, problem.column))
    for problem in problems:
        assert 1 <= problem.line <= len(lines)
        assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1
        assert problem.severity in {"error", "warning"}
        assert problem.message
        assert problem.message[-1] == "."
        assert problem.advice
        assert f"{problem.message}{problem.advice}".isprintable()


@given(CONTENTS)
@example(b"SERVER h ANY HEARTBEAT_INTERVAL=" + b"9" * 5000)
@example(b"FEATURE a b 1 permanent 5 HOSTID=#" + b"9" * 5000)
def test_any_bytes_are_a_license_file_with_problems_or_the_documented_error(content: bytes) -> None:
    """api: reading is total."""
    try:
        license_file = read_license_file(content)
    except LicenseFileError:
        assert b"\0" in content
        return
    check_problems(license_file.problems, license_file.text)
    assert all(license_file.explain(problem).replace("\n", "").isprintable() for problem in license_file.problems)
    assert set(license_file.server_errors) <= set(license_file.errors) <= set(license_file.problems)
    lines: list[FeatureLine | PackageLine] = [*license_file.features, *license_file.packages]
    for line in lines:
        assert line.name
        signed_text(license_file, line)
        read_sign(line.sign or "")
    for server in license_file.servers:
        assert server.port is None or 0 < server.port < 65536
        is_hostid_of(server.hostid, ["0A0027000001"])
    for feature in license_file.features:
        assert feature.count is None or feature.count > 0
    expiry_problems(license_file, date(2030, 12, 31))
    servername_problems(license_file, ServerName(endpoints=(Endpoint(host="lic1", port=27000),)))


@given(CONTENTS)
def test_any_bytes_are_an_options_file_with_problems_or_the_documented_error(content: bytes) -> None:
    """api: reading is total."""
    try:
        options = read_options_file(content)
    except LicenseFileError:
        assert b"\0" in content
        return
    check_problems(options.problems, options.text)
    options_problems(options, LicenseFile())
    for rule in options.rules:
        assert (rule.type is None) == (rule.name is None) == (rule.keyword == "LINGER")
        options.is_meant(rule, user="ann", host="lic1", address="10.0.0.7")


@given(TEXTS)
def test_line_ends_do_not_matter(text: str) -> None:
    """Issue 6: CRLF."""
    plain = re.sub(r"\r\n|\r", "\n", text)
    assert read_license_file(plain.replace("\n", "\r\n").encode()) == read_license_file(plain.encode())


NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,8}", fullmatch=True)
HOSTIDS = st.from_regex(r"[0-9A-F]{12}", fullmatch=True)
SERVERS = st.builds(ServerLine, host=NAMES, hostid=HOSTIDS, port=st.none() | st.integers(1, 65535))
FEATURES = st.builds(
    FeatureLine,
    kind=st.sampled_from(["FEATURE", "INCREMENT"]),
    name=NAMES,
    vendor=st.just("palisade"),
    version=st.sampled_from(["1.0", "8", "2024.06"]),
    expiry=st.none() | st.dates(date(1000, 1, 1), date(9999, 12, 30)),
    count=st.integers(1, 10**9),
    attributes=st.lists(
        st.tuples(st.sampled_from(["NOTICE", "SN", "VENDOR_STRING"]), st.text("ab =\\#,;\u00e4", min_size=1, max_size=8)), max_size=3
    ).map(tuple),
)


def written(servers: list[ServerLine], features: list[FeatureLine]) -> str:
    """A license file with these lines, and a broken line before each attribute."""
    lines = [" ".join(["SERVER", server.host, server.hostid, *([str(server.port)] if server.port else [])]) for server in servers]
    lines.append("VENDOR palisade")
    for feature in features:
        expiry = feature.expiry.strftime("%d-%b-%Y") if feature.expiry else "permanent"
        words = [feature.kind, feature.name, feature.vendor, feature.version, expiry, str(feature.count)]
        lines.append(" \\\n   ".join([" ".join(words), *(f'{key}="{value}"' for key, value in feature.attributes)]))
    return "\n".join(lines)


@given(st.lists(SERVERS, min_size=1, max_size=3), st.lists(FEATURES, max_size=3))
def test_what_is_written_is_read_again(servers: list[ServerLine], features: list[FeatureLine]) -> None:
    """Issue 6: the grammar, there and back."""
    found = read_license_file(written(servers, features).encode())
    assert [(one.host, one.hostid, one.port) for one in found.servers] == [(one.host, one.hostid, one.port) for one in servers]
    assert [(one.kind, one.name, one.expiry, one.count, one.attributes) for one in found.features] == [
        (one.kind, one.name, one.expiry, one.count, one.attributes) for one in features
    ]
    assert signed_texts(found) == signed_texts(LicenseFile(servers=tuple(servers), features=tuple(features)))


def signed_texts(license_file: LicenseFile) -> list[bytes]:
    """What the signatures of all lines are over."""
    return [signed_text(license_file, line) for line in license_file.features]


@given(CONTENTS)
def test_an_options_file_is_no_license_and_a_license_no_options_file(content: bytes) -> None:
    """Either reader stands the other's files."""
    if b"\0" not in content:
        assert isinstance(read_license_file(content), LicenseFile)
        assert isinstance(read_options_file(content), OptionsFile)
