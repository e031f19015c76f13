"""INI files as Windows reads them, and without losing a byte: find a value and its bytes, splice a new value in (I1, I2, I3).

Where the design leaves something open, this follows what ``GetPrivateProfileString`` was measured to do: a section's name ends at
the first ``]`` or at the end of the line, and what stands behind the ``]`` is not read.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from functools import lru_cache

from palclient.errors import IniError
from palclient.models import ServerName
from palclient.servername import parse_servername

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

KEY = "SERVERNAME"
SIZE_LIMIT_BYTES = 1 << 20  # I3: what is larger is no INI file

_BLANKS = " \t\v\f\x1a"  # what Windows trims around names and values (I1); 0x1A is Ctrl-Z, the end of a file under DOS
_QUOTES = ("'", '"')
_LINE_END = re.compile(r"\r\n|\r|\n")

#: BOM, the encoding's name, and the codec in which the text is looked at.  UTF-8 is looked at byte by byte, as is a file without a
#: BOM: all that matters is ASCII, and so one character is one byte.
_ENCODINGS = (
    (b"\xef\xbb\xbf", "utf-8", "latin-1"),
    (b"\xff\xfe", "utf-16-le", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be", "utf-16-be"),
    (b"", "8-bit", "latin-1"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class IniEntry:
    """One ``key=value`` line.

    ``value`` is the text after trimming and without its pair of quotes (I1).  ``line`` and ``column`` (both from 1) say where it
    starts, ``span`` which bytes of ``IniDocument.raw`` it is (start, end), ``quote`` what stands around it.  ``section`` is the name as
    written, None before the first section.  ``shadowed_by`` says in words why Windows does not see this entry; it is empty for one that counts.
    """

    section: str | None
    key: str
    value: str
    line: int
    column: int
    span: tuple[int, int]
    quote: str = ""
    shadowed_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class IniWarning:
    """Something that is read, and that somebody should look at.  ``line`` and ``column`` count from 1."""

    line: int
    column: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IniDocument:
    """An INI file, whole.

    ``raw`` are its bytes, ``encoding`` is ``8-bit`` (an unnamed code page), ``utf-8``, ``utf-16-le`` or ``utf-16-be`` (the last three
    with a BOM), ``path`` is where it was read, or None, and ``mtime_ns`` when that file was last changed, or None.
    """

    raw: bytes = field(repr=False)
    encoding: str
    path: str | None = None
    mtime_ns: int | None = None
    text: str = field(repr=False, compare=False)  #: what ``raw`` says behind the BOM, in one character per byte where it is not UTF-16

    def entries(self, key: str = KEY) -> tuple[IniEntry, ...]:
        """All lines that give ``key`` a value, in the order of the file, also those that Windows does not see (I1).  Does not block."""
        return tuple(_entries(self, key))

    def find(self, key: str = KEY, *, section: str | None = None) -> IniEntry | None:
        """The entry of ``key`` that counts (I1), in ``section`` or else in whatever section has it first; None if there is none."""
        wanted = None if section is None else _comparable(section)
        for entry in _entries(self, key):
            if not entry.shadowed_by and wanted in {None, _comparable(entry.section or "")}:
                return entry
        return None

    def servername_entry(self, *, section: str | None = None) -> IniEntry:
        """The SERVERNAME that counts (I2): the one of ``section``, or of all sections if they agree.  Does not block.

        Raises:
            IniError: there is none, or sections of different names say different things.
        """
        counting = [entry for entry in self.entries() if not entry.shadowed_by]
        if section is not None:
            counting = [entry for entry in counting if _comparable(entry.section or "") == _comparable(section)]
        if not counting:
            raise _missing(self, section)
        first = counting[0]
        for other in counting[1:]:
            if _without_blanks(other.value) != _without_blanks(first.value):
                raise _contradiction(self, first, other)
        return first

    def servername(self, *, section: str | None = None) -> ServerName:
        """SERVERNAME, found and parsed.  Does not block.

        Raises:
            IniError: as ``servername_entry``.
            ServerNameError: the value is none (N1 to N6); ``path``, ``line`` and ``column`` are those of the offending character.
        """
        entry = self.servername_entry(section=section)
        return parse_servername(entry.value, path=self.path or "INI content", line=entry.line, column=entry.column)

    def warnings(self, key: str = KEY) -> tuple[IniWarning, ...]:
        """What to look at: values of ``key`` that Windows does not see, and encodings that Windows does not read (I1, I3)."""
        found = [
            IniWarning(line=entry.line, column=entry.column, message=f"This {entry.key} is not seen: {entry.shadowed_by}.")
            for entry in self.entries(key)
            if entry.shadowed_by
        ]
        return (*_encoding_warnings(self), *found)

    def spliced(self, entry: IniEntry, text: str) -> bytes:
        """The file's bytes with ``text`` in the place of the value of ``entry``; no other byte differs (R1).  Does not block.

        Raises:
            IniError: ``entry`` is not of this document, or ``text`` would not be read back as it is.
        """
        if entry not in self.entries(entry.key):
            raise IniError(f"{_name(self.path)}: the entry of line {entry.line} belongs to another file.", path=self.path, line=entry.line)
        if not (text.isascii() and text.isprintable()) or (not entry.quote and _trimmed(text) != (0, len(text), "")):
            message = f"{_name(self.path)}, line {entry.line}: {text!a} cannot be the value: it would not be read back as it is."
            raise IniError(message, path=self.path, line=entry.line, column=entry.column)
        start, end = entry.span
        return self.raw[:start] + text.encode(_codec(self.encoding)) + self.raw[end:]


def read_ini(source: str | os.PathLike[str] | bytes) -> IniDocument:
    """Read an INI file (``str`` and ``PathLike`` are paths) or the content of one (``bytes``).  Blocks for the time of reading the file.

    Raises:
        IniError: there is no such file or it cannot be read; it has more than 1 MiB; it is UTF-16 without a BOM, UTF-32, or has NUL
            bytes (I3).
    """
    if isinstance(source, bytes):
        return _document(source, None, None)
    path = os.fspath(source)
    try:
        raw, mtime_ns = _read(path)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        advice = "Check the path, and that this user may read the file."
        if not os.path.isabs(path):
            advice += " The path is relative: it counts from the folder in which the program was started."
        raise IniError(f"{path}: cannot be read: {reason}.", path=path, advice=advice) from error
    return _document(raw, path, mtime_ns)


def _read(path: str) -> tuple[bytes, int]:
    if not stat.S_ISREG(os.stat(path).st_mode):  # before opening: a named pipe would block
        raise OSError(None, "it is a folder or a device, and not a file")
    with open(path, "rb") as file:
        raw, status = read_limited(file)
        return raw, status.st_mtime_ns


def read_limited(file: BinaryIO) -> tuple[bytes, os.stat_result]:
    """What an open file has, up to a byte more than an INI file may have, and what the system says of it.  Blocks for reading.

    To ask for all that may be there would make room for a megabyte each time, which costs three times as much as to read a small file.
    """
    status = os.fstat(file.fileno())
    raw = file.read(min(status.st_size, SIZE_LIMIT_BYTES) + 1)
    if len(raw) > status.st_size:  # it is growing
        raw += file.read(SIZE_LIMIT_BYTES + 1 - len(raw))
    return raw, status


def _document(raw: bytes, path: str | None, mtime_ns: int | None) -> IniDocument:
    bom, encoding, codec = next(known for known in _ENCODINGS if raw.startswith(known[0]))
    _refuse(raw, encoding, path)
    content = raw[len(bom) :]
    if encoding.startswith("utf-16"):
        content = content[: len(content) // 2 * 2]
    return IniDocument(raw=raw, encoding=encoding, path=path, mtime_ns=mtime_ns, text=content.decode(codec, "surrogatepass"))


def _refuse(raw: bytes, encoding: str, path: str | None) -> None:
    """What is no INI file (I3)."""
    name = _name(path)
    again = "Open it in an editor and save it as plain text (ANSI, or UTF-16 with BOM)."
    if len(raw) > SIZE_LIMIT_BYTES:
        advice = "Check that the right file was named."
        raise IniError(f"{name}: has more than {SIZE_LIMIT_BYTES} bytes (1 MiB); INI files are not so large.", path=path, advice=advice)
    if raw.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        raise IniError(f"{name}: is UTF-32, which cannot be read.", path=path, advice=again)
    nul = raw.find(b"\0") if encoding in {"8-bit", "utf-8"} else -1
    if nul < 0:
        return
    if encoding == "8-bit" and len(raw) % 2 == 0 and raw.count(b"\0") * 4 > len(raw):
        raise IniError(f"{name}: looks like UTF-16 without a byte order mark (BOM), which cannot be told for certain.", path=path, advice=again)
    line = len(_LINE_END.findall(raw[:nul].decode("latin-1"))) + 1
    raise IniError(f"{name}, line {line}: has a NUL byte, so this is no text file, or a damaged one.", path=path, line=line, advice=again)


# ------------------------------------------------------------------------------------------------------------ looking for a key


_REPEATED = "an earlier section has the same name, and only the first counts"


def _entries(document: IniDocument, key: str) -> Iterator[IniEntry]:
    """One pass of one regular expression over the text; Python code runs only at sections and at lines of ``key``."""
    cursor = _Cursor(document)
    section: str | None = None
    begun: set[str] = set()
    shadow = "it stands before the first section"
    lines = "\n" + (document.text.replace("\r", "\n") if "\r" in document.text else document.text)  # one sign to search for, in the same places
    for match in _pattern(key).finditer(lines):
        if match.lastgroup == "section":  # runs for every section of the file: kept lean
            section = match["section"].strip(_BLANKS)
            name = section.lower()
            shadow = _REPEATED if name in begun else ""
            begun.add(name)
            continue
        line_start, value_start = match.start(), match.start("value") - 1  # both in the text, which starts one character later
        start, end, quote = _trimmed(match["value"])
        line, first_byte = cursor.move_to(value_start + start)
        yield IniEntry(
            section=section and _shown(document.encoding, section),
            key=match["key"],
            value=_shown(document.encoding, match["value"][start:end]),
            line=line,
            column=value_start + start - line_start + 1,
            span=(first_byte, cursor.move_to(value_start + end)[1]),
            quote=quote,
            shadowed_by=shadow,
        )
        shadow = shadow or f"line {line} has the first {match['key']} of this section, and only the first counts"


@lru_cache(maxsize=8)  # an application looks for one key, or for a few
def _pattern(key: str) -> re.Pattern[str]:
    blanks = f"[{_BLANKS}]*+"
    name = re.escape(key.strip(_BLANKS))
    return re.compile(rf"\n{blanks}(?:\[(?P<section>[^\]\n]*+)|(?P<key>{name}){blanks}=(?P<value>[^\n]*+))", re.ASCII | re.IGNORECASE)


class _Cursor:
    """Counts lines and bytes up to a place in the text, each once: an INI file of nothing but shadowed keys must not cost its square."""

    def __init__(self, document: IniDocument) -> None:
        self._text = document.text
        self._codec = _codec(document.encoding)
        self._at = 0
        self._line = 1
        self._byte = len(_bom(document.encoding))

    def move_to(self, at: int) -> tuple[int, int]:
        """The line (from 1) and the offset in the raw bytes of the text's character ``at``, which is not before the last one."""
        between = self._text[self._at : at]
        self._line += between.count("\n") + between.count("\r") - between.count("\r\n")
        self._byte += len(between.encode(self._codec, "surrogatepass"))
        self._at = at
        return self._line, self._byte


def _trimmed(value: str) -> tuple[int, int, str]:
    """Where what counts of a value starts and ends, and the quote around it (I1).  Of nothing but blanks, the end counts."""
    start = len(value) - len(value.lstrip(_BLANKS))
    end = max(start, len(value.rstrip(_BLANKS)))
    if end - start > 1 and value[start] in _QUOTES and value[start] == value[end - 1]:
        return start + 1, end - 1, value[start]
    return start, end, ""


def _comparable(section: str) -> str:
    return section.partition("]")[0].strip(_BLANKS).lower()


def _shown(encoding: str, text: str) -> str:
    """A piece of ``IniDocument.text`` as a person reads it: UTF-8 if it can be, else Latin-1.  Only messages depend on it."""
    if text.isascii() or encoding.startswith("utf-16"):
        return text
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:  # a code page that the file does not name
        return text


def _bom(encoding: str) -> bytes:
    return next(bom for bom, name, _ in _ENCODINGS if name == encoding)


def _codec(encoding: str) -> str:
    return next(codec for _, name, codec in _ENCODINGS if name == encoding)


def _name(path: str | None) -> str:
    return path or "INI content"


# ------------------------------------------------------------------------------------------------------------ errors and warnings

_NEAR_MISS = (  # compiled when first needed
    rf"(?im)(?:^|(?<=\r))[{_BLANKS}]*+(?P<mark>;|\#|//|rem[ \t])?[{_BLANKS}]*+(?P<key>server[ _-]?names?)[{_BLANKS}]*+(?P<sign>[=:]?)"
)


def _missing(document: IniDocument, section: str | None) -> IniError:
    name = _name(document.path)
    where = f"section [{section}] has no SERVERNAME" if section is not None else "no section has a SERVERNAME"
    line, hint = _near_miss(document)
    advice = "Write a line SERVERNAME=27000@lic1,27000@lic2,27000@lic3 (or one server: SERVERNAME=27000@lic1) in a section."
    return IniError(f"{name}: {where}.{hint}", path=document.path, line=line, advice=advice)


def _near_miss(document: IniDocument) -> tuple[int | None, str]:
    """A line that was probably meant to be SERVERNAME, and why it is not, as a sentence; (None, "") if there is none."""
    for entry in document.entries():
        reason = entry.shadowed_by or f"it is in section [{entry.section}]"
        return entry.line, f" Line {entry.line} has one, but {reason}."
    match = re.search(_NEAR_MISS, document.text)
    if match is None:
        return None, ""
    line, _ = _Cursor(document).move_to(match.start("key"))
    if match["mark"]:
        return line, f" Line {line} has one behind a '{match['mark'].strip()}', so it does not count."
    if match["key"].upper() == KEY:
        return line, f" Line {line} starts with {match['key']}, but an '=' is missing after it."
    return line, f" Line {line} has '{match['key']}', which is spelt differently."


def _contradiction(document: IniDocument, first: IniEntry, other: IniEntry) -> IniError:
    shown = "\n".join(f"    line {entry.line}, [{_short(entry.section or '')}]: {_short(entry.value)}" for entry in (first, other))
    return IniError(
        f"{_name(document.path)}, line {other.line}, column {other.column}: two sections give SERVERNAME different values.\n{shown}",
        path=document.path,
        line=other.line,
        column=other.column,
        advice="Keep the right one of the two lines, and delete the other or put a ';' before it.",
    )


def _short(text: str) -> str:
    """Fit for one line of a terminal, whatever stands in the file."""
    shown = "".join(char if char.isprintable() else "?" for char in text[:100])
    return shown + "..." if len(text) > 100 else shown


def _without_blanks(value: str) -> str:
    return "".join(value.split()).lower()


def _encoding_warnings(document: IniDocument) -> Iterator[IniWarning]:
    if document.encoding == "utf-8" and document.text.lstrip(_BLANKS).startswith("["):
        message = "The file starts with a UTF-8 byte order mark: Windows' own functions do not see the section on its first line."
        yield IniWarning(line=1, column=1, message=message)
    if document.encoding == "utf-16-be":
        yield IniWarning(line=1, column=1, message="The file is UTF-16 big-endian, which Windows' own functions do not read.")
    if document.encoding.startswith("utf-16") and len(document.raw) % 2:
        line, _ = _Cursor(document).move_to(len(document.text))
        yield IniWarning(line=line, column=1, message="The file ends in the middle of a character: it may have been cut short.")
