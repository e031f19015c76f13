"""Options files: who is let in, for whom seats are kept, who is limited (G7).  Bytes in, an ``OptionsFile`` out, with its problems.

INCLUDE, INCLUDEALL, EXCLUDE, EXCLUDEALL, GROUP, HOST_GROUP, RESERVE, MAX and LINGER are read to the last word; the other options that the
public documentation of FLEXnet names are kept as they are and reported as not played.
"""

from __future__ import annotations

import difflib
from collections import Counter
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from palclient.licensefile import LicenseFile
from palclient.licensetext import Findings, Problem, Record, Word, explained, in_order, lines_of, read_records, read_text, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator

_FORMS = {
    "INCLUDE": "FEATURE TYPE NAME",
    "INCLUDEALL": "TYPE NAME",
    "EXCLUDE": "FEATURE TYPE NAME",
    "EXCLUDEALL": "TYPE NAME",
    "RESERVE": "COUNT FEATURE TYPE NAME",
    "MAX": "COUNT FEATURE TYPE NAME",
    "LINGER": "FEATURE SECONDS",
    "GROUP": "GROUP_NAME USER...",
    "HOST_GROUP": "GROUP_NAME HOST...",
}
_GROUPS = ("GROUP", "HOST_GROUP")
_TYPES = ("USER", "HOST", "DISPLAY", "INTERNET", "PROJECT", *_GROUPS)
_OTHERS = frozenset(
    "ACTIVATION_EXPIRY_DAYS ACTIVATION_LOWWATER AUTOMATIC_REREAD BORROW_LOWWATER DAEMON_SELECT_TIMEOUT DEBUGLOG EXCLUDE_BORROW EXCLUDE_ENTITLEMENT "
    "EXCLUDEALL_ENTITLEMENT FQDN_MATCHING GROUPCASEINSENSITIVE INCLUDE_BORROW INCLUDE_ENTITLEMENT INCLUDEALL_ENTITLEMENT MAX_BORROW_HOURS "
    "MAX_CONNECTIONS MAX_OVERDRAFT NOLOG REPORTLOG TIMEOUT TIMEOUTALL".split()
)
_KEYWORDS = _OTHERS | _FORMS.keys()


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionGroup:
    """The members of all GROUP (``kind``: users) or HOST_GROUP (hosts) lines of one name, in order."""

    kind: str
    name: str
    members: tuple[str, ...]
    line: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionRule:
    """One line that lets in, shuts out, keeps, limits or lingers; what its keyword has no place for is None.

    ``feature`` may be narrowed to some lines of the license by ``qualifier``, such as ``("VERSION", "2.0")``.  ``type`` is USER, HOST,
    DISPLAY, INTERNET, PROJECT, GROUP or HOST_GROUP, and ``name`` one of that type.  ``count`` are seats, ``linger_s`` seconds.
    """

    keyword: str
    feature: str | None = None
    qualifier: tuple[str, str] | None = None
    type: str | None = None
    name: str | None = None
    count: int | None = None
    linger_s: int | None = None
    line: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherOption:
    """An option that is read and not played: its keyword, and the words after it."""

    keyword: str
    arguments: tuple[str, ...]
    line: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionsFile:
    """An options file.  ``rules`` and ``others`` are in the order of the file, ``path`` is None for content."""

    groups: tuple[OptionGroup, ...] = ()
    rules: tuple[OptionRule, ...] = ()
    others: tuple[OtherOption, ...] = ()
    problems: tuple[Problem, ...] = ()
    path: str | None = None
    text: str = field(default="", repr=False, compare=False)

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems for which a line does not do what it was written for."""
        return tuple(problem for problem in self.problems if problem.severity == "error")

    def members(self, kind: str, name: str) -> tuple[str, ...]:
        """The members of a group; ``kind`` is GROUP or HOST_GROUP.  Empty when there is no such group."""
        return next((group.members for group in self.groups if (group.kind, group.name) == (kind, name)), ())

    def is_meant(self, rule: OptionRule, *, user: str, host: str, display: str = "", address: str = "", project: str = "") -> bool:
        """Whether ``rule`` is about somebody.  Names are compared as they are written; addresses may have ``*`` in the rule."""
        known = {"USER": (user,), "HOST": (host, address), "DISPLAY": (display,), "INTERNET": (address,), "PROJECT": (project,)}
        if rule.type in _GROUPS:
            wanted, of = self.members(rule.type, rule.name or ""), known["USER" if rule.type == "GROUP" else "HOST"]
        else:
            wanted, of = (rule.name or "",), known.get(rule.type or "", ())
        return any(_is_same(one, other) for one in wanted for other in of if other)

    def explain(self, problem: Problem) -> str:
        """A problem with its place, its line, and a caret, as ``palclient license lint --options`` shows it."""
        return explained(problem, name=self.path or "options file", lines=lines_of(self.text))


def _is_same(wanted: str, found: str) -> bool:
    return fnmatchcase(found, wanted.replace("[", "[[]").replace("?", "[?]"))  # of its signs, only * is one here


def read_options_file(source: str | os.PathLike[str] | bytes) -> OptionsFile:
    """Read an options file (``str`` and ``PathLike`` are paths) or the content of one (``bytes``).  Blocks for the time of reading the file.

    Raises:
        LicenseFileError: there is no such file or it cannot be read; it has more than 4 MiB; it has NUL bytes, so it is no text.

    >>> options = read_options_file(b"RESERVE 2 RISK_IND80 USER ann")
    >>> options.rules[0].count, options.rules[0].type, options.rules[0].name, options.problems
    (2, 'USER', 'ann', ())
    """
    findings = Findings()
    text, path = read_text(source, findings)
    groups: dict[tuple[str, str], OptionGroup] = {}
    rules: list[tuple[Record, OptionRule]] = []
    others: list[OtherOption] = []
    for record in read_records(text, _KEYWORDS, findings):
        if record.keyword in _GROUPS:
            _add_group(record, groups, findings)
        elif record.keyword in _FORMS:
            rule = _rule(record, findings)
            rules += [(record, rule)] if rule else []
        else:
            others += _other(record, findings)
    _check_groups(rules, groups, findings)
    _check_contradictions(rules, findings)
    read = tuple(rule for _, rule in rules)
    return OptionsFile(groups=tuple(groups.values()), rules=read, others=tuple(others), problems=in_order(findings), path=path, text=text)


# ------------------------------------------------------------------------------------------------------------------- the lines


def _other(record: Record, findings: Findings) -> Iterator[OtherOption]:
    first = record.words[0]
    if record.keyword in _OTHERS:
        findings.warning(first, f"{record.keyword} is read and not played.", "The fake triad behaves as if the line were not there.")
        yield OtherOption(keyword=record.keyword, arguments=tuple(word.text for word in record.rest), line=first.line)
        return
    near = difflib.get_close_matches(first.upper[:40], sorted(_KEYWORDS), n=1)
    advice = "A comment starts with '#'." if first.text.startswith((";", "//")) else f"Was {near[0]} meant?" if near else "The line does nothing."
    findings.error(first, f"There is no option {shown(first.text)}.", advice)


def _add_group(record: Record, groups: dict[tuple[str, str], OptionGroup], findings: Findings) -> None:
    kind, words = record.keyword, record.rest
    if len(words) < 2:
        findings.error(record.words[-1], f"The {kind} line has no members.", _form(kind))
    for word in words[1:]:
        if "," in word.text or ";" in word.text:
            findings.error(word, f"{shown(word.text)} is taken for one name.", "The members of a group have blanks between them.")
    if not words:
        return
    key = kind, words[0].text
    known = groups.get(key) or OptionGroup(kind=kind, name=words[0].text, members=(), line=record.words[0].line)
    members = (*known.members, *(word.text for word in words[1:]))
    groups[key] = OptionGroup(kind=kind, name=known.name, members=members, line=known.line)


def _form(keyword: str) -> str:
    return f"Write: {keyword} {_FORMS[keyword]}"


def _rule(record: Record, findings: Findings) -> OptionRule | None:
    """The rule of a line, or None when a part of it is missing or cannot be read."""
    keyword, words = record.keyword, record.rest
    fields = _FORMS[keyword].split()
    if len(words) != len(fields):
        _complain_of_length(record, fields, findings)
        return None
    parts = dict(zip(fields, words, strict=True))
    count = _number(parts.get("COUNT"), "a number of seats", findings, _form(keyword))
    linger_s = _number(parts.get("SECONDS"), "a number of seconds", findings, _form(keyword))
    kind = _type(parts.get("TYPE"), findings)
    if None in {count, linger_s, kind}:
        return None
    feature, qualifier = _feature(parts["FEATURE"]) if "FEATURE" in parts else (None, None)
    return OptionRule(
        keyword=keyword,
        feature=feature,
        qualifier=qualifier,
        type=kind or None,
        name=parts["NAME"].text if "NAME" in parts else None,
        count=count if "COUNT" in parts else None,
        linger_s=linger_s if "SECONDS" in parts else None,
        line=record.words[0].line,
    )


def _complain_of_length(record: Record, fields: list[str], findings: Findings) -> None:
    words, form = record.rest, _form(record.keyword)
    if len(words) > len(fields):
        advice = f"{form}. For several names at once make a GROUP and write GROUP and its name." if "NAME" in fields else form
        findings.error(words[len(fields)], f"{shown(words[len(fields)].text)} is one word too many on the {record.keyword} line.", advice)
        return
    at = len(fields) - 2
    if fields[-1] == "NAME" and len(words) == len(fields) - 1 and words[at].upper not in _TYPES:
        advice = f"Before the name stands what it is: {', '.join(_TYPES)}. {form}"
        findings.error(words[at], f"It is not said what {shown(words[at].text)} is.", advice)
        return
    findings.error(record.words[-1], f"The {record.keyword} line ends before its {fields[len(words)].lower()}.", form)


def _number(word: Word | None, what: str, findings: Findings, form: str) -> int | None:
    """The number; 0 where none is asked for; None for what is none."""
    if word is None:
        return 0
    if word.text.isascii() and word.text.isdecimal() and len(word.text) < 10:
        return int(word.text)
    findings.error(word, f"{shown(word.text)} is not {what}.", form)
    return None


def _type(word: Word | None, findings: Findings) -> str | None:
    """The type in capitals; empty where none is asked for; None for what is none."""
    if word is None:
        return ""
    if word.upper in _TYPES:
        return word.upper
    findings.error(word, f"{shown(word.text)} is no type of name.", f"It is one of {', '.join(_TYPES)}.")
    return None


def _feature(word: Word) -> tuple[str, tuple[str, str] | None]:
    """``f1``, ``f1:VERSION=2.0`` or, where names have colons, ``"f1 VERSION=2.0"``."""
    name, sign, rest = word.text.partition(" ") if word.is_quoted else word.text.partition(":")
    key, equals, value = rest.strip().partition("=")
    return (name, (key.upper(), value)) if sign and equals else (word.text, None)


# ------------------------------------------------------------------------------------------------------------ checks of the whole


def _check_groups(rules: Iterable[tuple[Record, OptionRule]], groups: dict[tuple[str, str], OptionGroup], findings: Findings) -> None:
    for record, rule in rules:
        if rule.type not in _GROUPS or rule.name is None or (rule.type, rule.name) in groups:
            continue
        other = _GROUPS[1 - _GROUPS.index(rule.type)]
        if (other, rule.name) in groups:
            findings.error(record.words[-2], f"{shown(rule.name)} is a {other}, not a {rule.type}.", f"Write {other} {shown(rule.name)}.")
        else:
            findings.error(record.words[-1], f"No {rule.type} line defines {shown(rule.name)}.", f"Write: {rule.type} {shown(rule.name)} NAME...")


def _check_contradictions(rules: Iterable[tuple[Record, OptionRule]], findings: Findings) -> None:
    out = {(rule.feature, rule.qualifier, rule.type, rule.name) for _, rule in rules if rule.keyword.startswith("EXCLUDE")}
    for record, rule in rules:
        whole = None, None, rule.type, rule.name
        if rule.keyword.startswith("INCLUDE") and {(rule.feature, rule.qualifier, rule.type, rule.name), whole} & out:
            what = f"{shown(rule.name or '')} is included here and excluded elsewhere."
            findings.warning(record.words[0], what, "EXCLUDE is looked at first, so the answer is no.")


def options_problems(options: OptionsFile, license_file: LicenseFile) -> tuple[Problem, ...]:
    """What an options file says of features that the license does not have, or of more seats than it has."""
    findings = Findings()
    seats: Counter[str] = Counter()
    for feature in license_file.features:
        seats[feature.name] += feature.count or 0
    known = {*seats, *(package.name for package in license_file.packages), *_components(license_file)}
    kept: Counter[str] = Counter()
    for rule in options.rules:
        at = Word(text=rule.keyword, line=rule.line, column=1)
        if rule.feature is not None and rule.feature not in known:
            near = difflib.get_close_matches(rule.feature[:40], sorted(known), n=1)
            advice = f"Was {near[0]} meant?" if near else "The line does nothing."
            findings.warning(at, f"The license has no feature {shown(rule.feature)}.", advice)
        elif rule.keyword == "RESERVE" and rule.feature and rule.count:
            kept[rule.feature] += rule.count
            if seats[rule.feature] and kept[rule.feature] > seats[rule.feature]:
                what = f"{kept[rule.feature]} seats of {shown(rule.feature)} are reserved, and the license has {seats[rule.feature]}."
                findings.warning(at, what, "Nothing is left for anybody else: reserve fewer.")
    return in_order(findings)


def _components(license_file: LicenseFile) -> Iterator[str]:
    for package in license_file.packages:
        for component in package.components:
            yield component.name
