"""Options files (G7): the grammar, whom a rule is about, what does not fit together, and the page that shows what is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from palclient.errors import LicenseFileError
from palclient.licensefile import read_license_file
from palclient.licensetext import explained
from palclient.optionsfile import OptionRule, OptionsFile, options_problems, read_options_file
from tests.unit.pages import check_page, examples


def read(text: str) -> OptionsFile:
    """The options file with this text."""
    return read_options_file(text.encode())


def said(text: str) -> list[str]:
    """What is said of a file, without the advice."""
    return [f"{problem.line}:{problem.column} {problem.severity}: {problem.message}" for problem in read(text).problems]


def only(text: str) -> OptionRule:
    """The rule of a file that has one, and no problem."""
    options = read(text)
    assert options.problems == ()
    (rule,) = options.rules
    return rule


@pytest.mark.parametrize(
    "text, rule",
    [
        ("INCLUDE f USER ann", OptionRule(keyword="INCLUDE", feature="f", type="USER", name="ann", line=1)),
        ("include f user ann", OptionRule(keyword="INCLUDE", feature="f", type="USER", name="ann", line=1)),
        ("INCLUDEALL HOST pc1", OptionRule(keyword="INCLUDEALL", type="HOST", name="pc1", line=1)),
        ("EXCLUDE f DISPLAY d", OptionRule(keyword="EXCLUDE", feature="f", type="DISPLAY", name="d", line=1)),
        ("EXCLUDEALL INTERNET 10.0.*.*", OptionRule(keyword="EXCLUDEALL", type="INTERNET", name="10.0.*.*", line=1)),
        ("RESERVE 2 f PROJECT x", OptionRule(keyword="RESERVE", count=2, feature="f", type="PROJECT", name="x", line=1)),
        ('MAX 3 f USER "ann b"', OptionRule(keyword="MAX", count=3, feature="f", type="USER", name="ann b", line=1)),
        ("LINGER f 3600", OptionRule(keyword="LINGER", feature="f", linger_s=3600, line=1)),
        ("LINGER f:VERSION=2.0 0", OptionRule(keyword="LINGER", feature="f", qualifier=("VERSION", "2.0"), linger_s=0, line=1)),
        ('LINGER "a:b version=2.0" 0', OptionRule(keyword="LINGER", feature="a:b", qualifier=("VERSION", "2.0"), linger_s=0, line=1)),
        ("LINGER a:b 0", OptionRule(keyword="LINGER", feature="a:b", linger_s=0, line=1)),
    ],
)
def test_each_rule_is_read(text: str, rule: OptionRule) -> None:
    """G7."""
    assert only(text) == rule


def test_a_comment_at_the_end_of_a_line_has_no_members_of_a_group() -> None:
    """G7: a comment is a line, which starts with a '#'."""
    text = 'GROUP a ann # the boss\nINCLUDE f USER ann # too\nEXCLUDE f USER "#ann"\n; another\n'
    assert read(text).members("GROUP", "a") == ("ann",)
    assert [rule.name for rule in read(text).rules] == ["ann", "#ann"]
    assert said(text) == [
        "1:13 error: A comment stands at the end of the line.",
        "2:20 error: A comment stands at the end of the line.",
        "4:1 error: There is no option ;.",
    ]


def test_groups_of_one_name_are_one_group() -> None:
    """G7: GROUP and HOST_GROUP; a line may go on."""
    options = read("# who\r\nGROUP a ann \\\r\n  bob\r\nHOST_GROUP a pc1\r\nGROUP a cleo\r\nMAX 1 f GROUP a\r\n")
    assert options.problems == ()
    assert [(group.kind, group.name, group.members) for group in options.groups] == [
        ("GROUP", "a", ("ann", "bob", "cleo")),
        ("HOST_GROUP", "a", ("pc1",)),
    ]
    assert options.members("GROUP", "a") == ("ann", "bob", "cleo")
    assert options.members("GROUP", "b") == ()


@pytest.mark.parametrize(
    "rule, is_meant",
    [
        ("USER ann", True),
        ("USER Ann", False),
        ("USER a?n", False),
        ("USER a[n]n*", False),
        ("USER a*", True),
        ('PROJECT ""', False),
        ("HOST pc1", True),
        ("HOST 10.0.0.*", True),
        ("DISPLAY :0", True),
        ("INTERNET 10.0.*.*", True),
        ("INTERNET 10.1.*.*", False),
        ("PROJECT x", True),
        ("GROUP people", True),
        ("HOST_GROUP machines", True),
        ("GROUP machines", False),
    ],
)
def test_a_rule_is_about_those_that_it_names(rule: str, is_meant: bool) -> None:  # noqa: FBT001 - a column of the table
    """G7."""
    options = read(f"GROUP people bob ann\nHOST_GROUP machines pc1\nGROUP machines pc1\nINCLUDEALL {rule}\n")
    assert options.is_meant(options.rules[0], user="ann", host="pc1", display=":0", address="10.0.0.7", project="x") is is_meant
    assert not options.is_meant(options.rules[0], user="", host="", project="")


def test_other_options_are_kept_and_reported() -> None:
    """G7: others are read and reported as not played."""
    options = read("TIMEOUTALL 3600\nnolog QUEUED\n")
    assert [(other.keyword, other.arguments, other.line) for other in options.others] == [("TIMEOUTALL", ("3600",), 1), ("NOLOG", ("QUEUED",), 2)]
    assert [problem.severity for problem in options.problems] == ["warning", "warning"]
    assert options.errors == ()


@pytest.mark.parametrize(
    "text", ["RESERVE x f USER a", "MAX -1 f USER a", "LINGER f 99999999999", "INCLUDE f WHO a", "INCLUDE f USER", "INCLUDE", "MAX 1 f a"]
)
def test_a_line_that_cannot_be_used_is_no_rule(text: str) -> None:
    """G7."""
    assert read(text).rules == ()
    assert len(read(text).errors) == 1


LICENSE = read_license_file(
    b"SERVER h ANY 27000\nVENDOR v\nFEATURE f v 1.0 permanent 3 SIGN=1\nINCREMENT f v 1.0 permanent 2 SIGN=1\nFEATURE u v 1.0 permanent 0 HOSTID=ANY SIGN=1\n"
    b'FEATURE s v 1.0 permanent 2 SIGN=1\nPACKAGE s v COMPONENTS="part:1.0" SIGN=1\n'
)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("MAX 1 f USER a\nMAX 1 s USER a\nMAX 1 part USER a\nINCLUDEALL USER a\n", []),
        ("MAX 1 F USER a\n", ["1: The license has no feature F."]),
        ("RESERVE 3 f USER a\nRESERVE 2 f USER b\nRESERVE 9 u USER a\n", []),
        ("RESERVE 3 f USER a\nRESERVE 3 f USER b\n", ["2: 6 seats of f are reserved, and the license has 5."]),
    ],
)
def test_options_and_license_fit_together(text: str, expected: list[str]) -> None:
    """Issue 6: lint with --options beside a license."""
    assert LICENSE.problems == ()
    assert [f"{problem.line}: {problem.message}" for problem in options_problems(read(text), LICENSE)] == expected


def test_the_same_rule_for_another_version_is_no_contradiction() -> None:
    """G7: EXCLUDE is looked at first."""
    assert said("INCLUDE f:VERSION=1.0 USER a\nEXCLUDE f:VERSION=2.0 USER a\n") == []
    assert said("INCLUDE f USER a\nEXCLUDE f USER a\n") == ["1:1 warning: a is included here and excluded elsewhere."]


def test_a_file_that_cannot_be_read_is_a_license_file_error(tmp_path: Path) -> None:
    """api."""
    with pytest.raises(LicenseFileError, match="cannot be read"):
        read_options_file(tmp_path / "nope")
    path = tmp_path / "palisade.opt"
    path.write_bytes(b"LINGER f 1")
    assert read_options_file(path).path == str(path)
    assert (
        read("MAX")
        .explain(read("MAX").problems[0])
        .startswith("options file, line 1, column 1: error: The MAX line ends before its count.\n    MAX\n")
    )


def seen(text: str) -> str:
    """What ``palclient license lint --options`` shows of a file, without the last line."""
    return "".join(f"{explained(problem, name='palisade.opt', lines=text.splitlines())}\n" for problem in read(text).problems) or "No problems.\n"


def test_the_page_of_options_files_shows_what_is_really_said() -> None:
    """Issue 6: the messages are the product."""
    check_page("options-file.md", "options", seen)


def test_the_page_shows_every_check_only_once() -> None:
    """A page that lost its examples must not pass the test above."""
    shown = examples("options-file.md", "options")
    assert len(shown) == len(set(shown)) >= 4
