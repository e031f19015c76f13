"""The lines of a license file that say what is licensed: FEATURE, INCREMENT, UPGRADE and PACKAGE, from words to values.

A line whose required fields cannot be read gives problems and no value, so nothing is ever licensed by half a line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date

from palclient.hostid import check_hostid, hostid_fault
from palclient.licensetext import Findings, Record, Word, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
COUNT_LIMIT = 10**9  # seats; more is a slip of the pen
NEVER = date.max  # what 'permanent' is while a line is read

_DATE = re.compile(r"([0-9]{1,2})-([A-Za-z]{3})-([0-9]{1,4})").fullmatch
_ISO_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})").fullmatch
_VERSION = re.compile(r"[0-9]{1,10}(?:\.[0-9]{1,10})*").fullmatch
_KEY = re.compile(r"[0-9A-Fa-f]{12,}").fullmatch  # of a line before SIGN= was invented
_FLAGS = frozenset(
    "BORROW CAPACITY FLOAT_OK HOST_BASED LINGER METERED MINIMUM NAMED ONE_TS_OK OVERDRAFT PREPAID SITE SUPERSEDE SUPERSEDE_SIGN TS_OK USER_BASED".split()
)
"""What may stand on a FEATURE line without a value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureLine:
    """A FEATURE, INCREMENT or UPGRADE line (``kind``).

    ``expiry`` is the last day on which it is good, None for ever.  ``count`` is the number of seats, None for uncounted.  ``from_version`` is
    the version that an UPGRADE starts from.  ``attributes`` are what follows the count, in order, as (keyword, value).
    """

    kind: str
    name: str
    vendor: str
    version: str
    expiry: date | None
    count: int | None
    from_version: str | None = None
    attributes: tuple[tuple[str, str], ...] = ()
    line: int = 0

    @property
    def sign(self) -> str | None:
        """The value of ``SIGN=``, or None."""
        return self.attribute("SIGN")

    @property
    def hostid(self) -> str | None:
        """The value of ``HOSTID=``: where the line is bound to one machine, or None."""
        return self.attribute("HOSTID")

    def attribute(self, keyword: str) -> str | None:
        """The value of the first attribute of that name, whatever the case; ``""`` for one without a value; None when there is none."""
        return _attribute(self.attributes, keyword)

    def is_expired(self, today: date) -> bool:
        """Whether its last day is before ``today``."""
        return self.expiry is not None and self.expiry < today


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One feature of a package; ``version`` and ``count`` are None where the FEATURE line of the package gives them."""

    name: str
    version: str | None = None
    count: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageLine:
    """A PACKAGE line: features that one FEATURE line of the package's name licenses together."""

    name: str
    vendor: str
    version: str | None
    components: tuple[Component, ...]
    attributes: tuple[tuple[str, str], ...] = ()
    line: int = 0

    @property
    def is_suite(self) -> bool:
        """Whether checking out a component checks out the package, too."""
        return "SUITE" in (_attribute(self.attributes, "OPTIONS") or "").upper().split()

    @property
    def sign(self) -> str | None:
        """The value of ``SIGN=``, or None."""
        return _attribute(self.attributes, "SIGN")


def _attribute(attributes: Iterable[tuple[str, str]], keyword: str) -> str | None:
    return next((value for key, value in attributes if key.upper() == keyword.upper()), None)


# ---------------------------------------------------------------------------------------------------- reading

_FIELDS = {
    "FEATURE": ("name", "vendor", "version", "expiry date", "count"),
    "INCREMENT": ("name", "vendor", "version", "expiry date", "count"),
    "UPGRADE": ("name", "vendor", "old version", "new version", "expiry date", "count"),
}


def read_feature(record: Record, findings: Findings) -> FeatureLine | None:
    """A FEATURE, INCREMENT or UPGRADE line; None when a required field is missing or cannot be read."""
    fields = _FIELDS[record.keyword]
    words = record.rest[: len(fields)]
    order = f"Write: {record.keyword} {' '.join(field.upper().replace(' ', '_') for field in fields)} SIGN=..."
    for field, word in zip(fields, words, strict=False):
        if word.key and field != "name":
            findings.error(word, f"{shown(word.text)} stands where the {field} is expected.", order)
            return None
    if len(words) < len(fields):
        missing = " and ".join((", ".join(fields[len(words) :])).rsplit(", ", 1))
        findings.error(record.words[-1], f"The {record.keyword} line ends before its {missing}.", order)
        return None
    versions = words[2:-2]
    readable = [_check_version(word, findings) for word in versions]
    expiry, count = _expiry(words[-2], findings), _count(words[-1], findings)
    attributes = _attributes(record.rest[len(fields) :], findings)
    if expiry is None or count is None or not all(readable):
        return None
    feature = FeatureLine(
        kind=record.keyword,
        name=words[0].text,
        vendor=words[1].text,
        version=versions[-1].text,
        from_version=versions[0].text if len(versions) > 1 else None,
        expiry=None if expiry == NEVER else expiry,
        count=count or None,
        attributes=attributes,
        line=record.words[0].line,
    )
    if feature.count is None and feature.hostid is None:
        advice = "Uncounted licenses are bound to a machine. HOSTID=ANY binds them to none. The line cannot be changed by hand: ask the vendor for another."
        findings.error(words[-1], f"{feature.name} is uncounted and has no HOSTID=.", advice)
    return feature


def _check_version(word: Word, findings: Findings) -> bool:
    if _VERSION(word.text):
        return True
    number = f"{'0' * word.text.startswith('.')}{word.text}{'0' * word.text.endswith('.')}"
    advice = f"There are digits on both sides of a dot: {number}." if _VERSION(number) else "A version is a number, such as 8.0."
    findings.error(word, f"{shown(word.text)} is no version.", advice)
    return False


def _expiry(word: Word, findings: Findings) -> date | None:
    """The date; NEVER for 'permanent' and for the year 0; None for what is no date."""
    if word.upper == "PERMANENT":
        return NEVER
    match, iso = _DATE(word.text), _ISO_DATE(word.text)
    if match and match[2].lower() in MONTHS:
        year = int(match[3])
        if year == 0:
            return NEVER
        if year < 100:
            findings.error(word, f"The year of {shown(word.text)} has {len(match[3])} digits.", "Nobody can tell the century: it needs four.")
            return None
        return _day(word, year, MONTHS.index(match[2].lower()) + 1, int(match[1]), findings)
    if iso and 1 <= int(iso[2]) <= 12:
        advice = f"Here it is written {iso[3]}-{MONTHS[int(iso[2]) - 1]}-{iso[1]}. A date that was changed by hand breaks the signature."
    else:
        advice = "It is written 31-dec-2030, with the month's English name, or permanent."
    findings.error(word, f"{shown(word.text)} is no date.", advice)
    return None


def _day(word: Word, year: int, month: int, day: int, findings: Findings) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:
        findings.error(word, f"There is no {shown(word.text)}.", "The month has fewer days.")
        return None


def _count(word: Word, findings: Findings) -> int | None:
    """Seats; 0 for uncounted; None for what is no count."""
    if word.upper == "UNCOUNTED":
        return 0
    if word.text.isascii() and word.text.isdecimal() and len(word.text) <= 10 and int(word.text) <= COUNT_LIMIT:
        return int(word.text)
    findings.error(word, f"{shown(word.text)} is no number of licenses.", "It is a whole number, or uncounted.")
    return None


def _attributes(words: tuple[Word, ...], findings: Findings) -> tuple[tuple[str, str], ...]:
    """What follows the count: ``KEY=value``, flags, and the key, vendor string and host ID that older lines have without keywords."""
    found: list[tuple[str, str]] = []
    for number, word in enumerate(words):
        if word.key and not word.is_quoted:
            _check_attribute(word, found, findings)
            found.append((word.key, word.value))
        elif word.is_quoted:
            found.append(("VENDOR_STRING", word.text))
        elif number == 0 and _KEY(word.text):
            found.append(("KEY", word.text))
        elif word.upper in _FLAGS:
            found.append((word.text, ""))
        elif any(key == "KEY" for key, _ in found) and hostid_fault(word.text) is None:
            found.append(("HOSTID", word.text))
        elif word.text.strip("(){}"):  # AUTH={ ... } has blanks inside
            findings.warning(word, f"{shown(word.text)} has no meaning here.", "Look for a missing quote, or for a blank beside an '='.")
    return tuple(found)


def _check_attribute(word: Word, before: Iterable[tuple[str, str]], findings: Findings) -> None:
    key = word.key.upper()
    if not word.value:
        findings.error(word, f"{shown(word.key)}= has no value.", "It stands right behind the '=', in quotes if it has blanks.")
    elif key == "HOSTID":
        check_hostid(word, word.value, findings)
    elif key in {"START", "ISSUED"}:
        _expiry(word_of_value(word), findings)
    if key in {"SIGN", "HOSTID"} and any(other.upper() == key for other, _ in before):
        findings.warning(word, f"A second {shown(word.key)}= stands on the line.", "Only the first counts.")


def word_of_value(word: Word) -> Word:
    """The value of ``KEY=value`` as a word of its own."""
    return Word(text=word.value, line=word.line, column=word.column + len(word.key) + 1)


def read_package(record: Record, findings: Findings) -> PackageLine | None:
    """``PACKAGE name vendor [version] COMPONENTS="..."``; None when a required part is missing."""
    words = record.rest
    plain = [word for word in words[:3] if not word.key]
    if len(plain) < 2:
        findings.error(
            words[-1] if words else record.words[0],
            "The PACKAGE line ends before its name and vendor.",
            'Write: PACKAGE NAME VENDOR VERSION COMPONENTS="A B"',
        )
        return None
    has_version = len(plain) > 2 and bool(_VERSION(plain[2].text)) and not _KEY(plain[2].text)
    attributes = _attributes(words[3 if has_version else 2 :], findings)
    listed = next((word for word in words if word.key.upper() == "COMPONENTS"), None)
    if listed is None or not listed.value.split():
        findings.error(listed or plain[0], f"The package {shown(plain[0].text)} has no components.", 'Write: COMPONENTS="FEATURE1 FEATURE2"')
        return None
    package = PackageLine(
        name=plain[0].text,
        vendor=plain[1].text,
        version=plain[2].text if has_version else None,
        components=tuple(_component(listed, item, findings) for item in listed.value.split()),
        attributes=attributes,
        line=record.words[0].line,
    )
    if package.is_suite and any(component.count is not None for component in package.components):
        findings.error(
            listed,
            f"The package {shown(package.name)} is a suite, and a component has a count.",
            "With OPTIONS=SUITE the count comes from the FEATURE line alone.",
        )
    return package


def _component(at: Word, item: str, findings: Findings) -> Component:
    name, _, rest = item.partition(":")
    version, _, count = rest.partition(":")
    if (version and not _VERSION(version)) or (count and not (count.isascii() and count.isdecimal() and len(count) < 10)):
        findings.error(at, f"{shown(item)} is no component.", "A component is NAME, NAME:VERSION or NAME:VERSION:COUNT.")
        return Component(name=name)
    return Component(name=name, version=version or None, count=int(count) if count else None)
