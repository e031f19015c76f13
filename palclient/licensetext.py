"""What license files and options files have in common: lines, words, and where each of them stands; problems, and how they are shown.

Reading is total: whatever the text, there are lines, and what is odd about them is a ``Problem``.  Only a file that is no text is refused.
"""

from __future__ import annotations

import os
import re
import stat
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path

from palclient.caret import pictured
from palclient.errors import LicenseFileError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Literal

SIZE_LIMIT_BYTES = 4 << 20  # ten thousand FEATURE lines of 400 bytes, more than any vendor sells
PROBLEM_LIMIT = 500  # of either severity: nobody reads on after so many, and no warning may keep an error from being found
_SHOWN_LIMIT = 100  # characters of a line that are shown: one line of a terminal

_BLANKS = " \t\v\f"
_LINE_END = re.compile(r"\r\n|\r|\n")
_WORD = re.compile(rf'(?:[^{_BLANKS}\n"]|"[^"]*+(?:"|\Z))+')
_CONTINUED = re.compile(rf"\\([{_BLANKS}]*)\Z")
_COMMENT = re.compile(rf"[{_BLANKS}]*+#").match
_DECIMAL = re.compile(rf"[{_BLANKS}]*+#\d+(?:[{_BLANKS}]|\Z)").match  # inside a record: a host ID
_GOES_ON = re.compile(rf'[{_BLANKS}]|"|(?!(?i:SERVERNAME)=)[A-Za-z_]++=').match  # how the rest of a line starts that was broken without a backslash
_REMARK = re.compile(r"#(?!\d+\Z)").match
_LICENSING = frozenset("FEATURE INCREMENT UPGRADE PACKAGE".split())  # are served all the same
_BROKEN = re.compile(rf"\n[{_BLANKS}]*+")  # inside a word: a quoted text that goes on in the next line
_TYPESET = re.compile("[\u00a0\u2010-\u201f\u2007\u200b\u202f\ufeff\uff1d\x91-\x97]")  # the last seven: quotes and dashes of Windows' code page


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something in a file that is wrong (``error``) or that somebody should look at (``warning``).

    ``line`` and ``column`` count from 1.  ``message`` says what, ``advice`` why or what to write; both are sentences.
    """

    line: int
    column: int
    severity: Literal["error", "warning"]
    message: str
    advice: str

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}: {self.severity}: {self.message} {self.advice}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """One word of a line.  ``text`` is without quotes; of ``NOTICE="a b"`` it is ``NOTICE=a b``, ``key`` is ``NOTICE`` and ``value`` ``a b``."""

    text: str
    line: int
    column: int
    key: str = ""
    value: str = ""
    is_quoted: bool = False

    @property
    def upper(self) -> str:
        """The text as keywords are compared."""
        return self.text.upper()


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One line as it is meant, whatever it was broken into: its words, at least one."""

    words: tuple[Word, ...]

    @property
    def keyword(self) -> str:
        """The first word, in capitals."""
        return self.words[0].upper

    @property
    def rest(self) -> tuple[Word, ...]:
        """The words after the keyword."""
        return self.words[1:]


class Findings:
    """The problems of a file while it is read, at most ``PROBLEM_LIMIT`` of either severity."""

    def __init__(self) -> None:
        self.errors: list[Problem] = []
        self.warnings: list[Problem] = []

    def error(self, at: Word, message: str, advice: str) -> None:
        """Something wrong, at a word."""
        if len(self.errors) < PROBLEM_LIMIT:
            self.errors.append(Problem(line=at.line, column=at.column, severity="error", message=message, advice=advice))

    def warning(self, at: Word, message: str, advice: str) -> None:
        """Something to look at, at a word."""
        if len(self.warnings) < PROBLEM_LIMIT:
            self.warnings.append(Problem(line=at.line, column=at.column, severity="warning", message=message, advice=advice))


def in_order(*findings: Findings) -> tuple[Problem, ...]:
    """All problems, from the top of the file to its end."""
    found = [problem for one in findings for problem in (*one.errors, *one.warnings)]
    return tuple(sorted(found, key=lambda problem: (problem.line, problem.column)))


# ------------------------------------------------------------------------------------------------------------ from bytes to text


def read_text(source: str | os.PathLike[str] | bytes, findings: Findings) -> tuple[str, str | None]:
    """The text of a file (``str`` and ``PathLike`` are paths) or of its content (``bytes``), and the path or None.  Blocks for the reading.

    UTF-8 where the bytes are that, else Latin-1.

    Raises:
        LicenseFileError: there is no such file or it cannot be read; it has more than 4 MiB; it has NUL bytes, so it is no text.
    """
    if isinstance(source, bytes):
        return _decoded(source, None, findings), None
    path = os.fspath(source)
    try:
        raw = _read(path)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise LicenseFileError(
            f"{path}: cannot be read: {reason}.", path=path, advice="Check the path, and that this user may read the file."
        ) from error
    return _decoded(raw, path, findings), path


def _read(path: str) -> bytes:
    if not stat.S_ISREG(Path(path).stat().st_mode):  # before opening: a named pipe would block
        raise OSError(None, "it is a folder or a device, and not a file")
    with Path(path).open("rb") as file:
        return file.read(SIZE_LIMIT_BYTES + 1)


def _decoded(raw: bytes, path: str | None, findings: Findings) -> str:
    name = path or "the content"
    if len(raw) > SIZE_LIMIT_BYTES:
        advice = "Check that the right file was named."
        raise LicenseFileError(f"{name}: has more than {SIZE_LIMIT_BYTES} bytes (4 MiB); license files are not so large.", path=path, advice=advice)
    start = Word(text="", line=1, column=1)
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        findings.error(start, "The file is UTF-16, which license servers do not read.", "Save it as plain text (ANSI or UTF-8 without BOM).")
        return raw.decode("utf-16", "replace").replace("\0", "\ufffd")
    if b"\0" in raw:
        line = len(_LINE_END.findall(raw[: raw.find(b"\0")].decode("latin-1"))) + 1
        advice = "Ask for the file again, or save it as plain text (ANSI or UTF-8 without BOM)."
        raise LicenseFileError(
            f"{name}, line {line}: has a NUL byte, so this is no text file, or a damaged one.", path=path, line=line, advice=advice
        )
    if raw.startswith(b"\xef\xbb\xbf"):
        findings.warning(
            start, "The file starts with a UTF-8 byte order mark (BOM).", "License servers may not see its first line: save it without BOM."
        )
        raw = raw[3:]
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:  # 8-bit text
        return raw.decode("latin-1")


# ---------------------------------------------------------------------------------------------------------- from text to records


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    """One line of the file, without the backslash that may continue it."""

    text: str
    line: int
    is_continued: bool = False


def read_records(text: str, keywords: frozenset[str], findings: Findings) -> Iterator[Record]:
    """The lines of a file, put together again where a backslash breaks them; comments and empty lines are left out.

    A line that starts with one of ``keywords`` always starts a record, even when the line before ends with a backslash in a comment.
    """
    pieces: list[_Piece] = []
    in_comment = in_quotes = False
    for piece in _pieces(text, findings):
        is_open = bool(pieces) and pieces[-1].is_continued
        starts = _first_word(piece.text) in keywords
        is_comment = (in_comment and not starts) or bool(_COMMENT(piece.text) and not (is_open and _DECIMAL(piece.text)))
        in_comment = is_comment and piece.is_continued and not is_open
        if is_comment and is_open:
            continue
        joinable = bool(pieces) and not is_comment and (is_open or _first_word(pieces[0].text) in keywords)
        if joinable and _joins(piece, is_open=is_open, starts=starts, in_quotes=in_quotes, findings=findings):
            pieces.append(piece)
        else:
            yield from _record(pieces, findings)
            pieces = [] if is_comment or not piece.text else [piece]
            in_quotes = False
        in_quotes ^= piece.text.count('"') % 2 == 1
    yield from _record(pieces, findings)


def _pieces(text: str, findings: Findings) -> Iterator[_Piece]:
    for number, line in enumerate(_LINE_END.split(text), start=1):
        body = line.rstrip(_BLANKS + "\x1a")  # Ctrl-Z: the end of a file under DOS
        match = _CONTINUED.search(body)
        if match is None:
            yield _Piece(text=body, line=number)
            continue
        if body != line.rstrip("\x1a") and not _COMMENT(line):
            at = Word(text="\\", line=number, column=match.start() + 1)
            findings.warning(
                at, "Blanks stand behind the backslash.", "A line is continued only when the backslash is its last character: delete them."
            )
        yield _Piece(text=body[: match.start()].rstrip(_BLANKS), line=number, is_continued=True)


def _joins(piece: _Piece, *, is_open: bool, starts: bool, in_quotes: bool, findings: Findings) -> bool:
    """Whether ``piece`` goes on with the record before it, which ``is_open`` when it ends with a backslash, ``in_quotes`` when a quote is open."""
    first = Word(text=piece.text, line=piece.line, column=len(piece.text) - len(piece.text.lstrip(_BLANKS)) + 1)
    if is_open and starts:
        what = f"A {_first_word(piece.text)} line follows a backslash, which would make it a part of the line above."
        findings.warning(first, what, "Delete the backslash at the end of the line above.")
    if is_open or starts or not piece.text or not (in_quotes or _GOES_ON(piece.text)):
        return is_open and not starts
    findings.warning(first, "This line goes on with the one above, which does not end with a backslash.", "End the line above with a backslash.")
    return True


def _first_word(text: str) -> str:
    words = text.split(None, 1)
    return words[0].upper() if words else ""


def _record(pieces: list[_Piece], findings: Findings) -> Iterator[Record]:
    """The record that the pieces make, if any of them has a word."""
    offsets: list[int] = []
    at = 0
    for piece in pieces:
        offsets.append(at)
        at += len(piece.text) + 1
    words = []
    for match in _WORD.finditer("\n".join(piece.text for piece in pieces)):
        number = bisect_right(offsets, match.start()) - 1
        words.append(_word(match[0], pieces[number].line, match.start() - offsets[number] + 1, findings))
    if words:
        yield Record(words=_without_remark(words, findings))


def _without_remark(words: list[Word], findings: Findings) -> tuple[Word, ...]:
    """The words of a record without those behind a ``#``, unless it begins a host ID: of a group, they would be members."""
    remarks: dict[int, int] = {}
    for number, word in enumerate(words):
        if number and _REMARK(word.text) and not word.is_quoted:
            remarks.setdefault(word.line, number)
    find = findings.warning if words[0].upper in _LICENSING else findings.error
    for number in remarks.values():
        find(words[number], "A comment stands at the end of the line.", "License servers take it for a part of the line. Give it a line of its own.")
    return tuple(word for number, word in enumerate(words) if number < remarks.get(word.line, len(words)))


def _word(raw: str, line: int, column: int, findings: Findings) -> Word:
    key, sign, value = raw.partition("=")
    if not sign or '"' in key:
        key = value = ""
    text, value = (_BROKEN.sub(" ", part.replace('"', "")) if '"' in part else part for part in (raw, value))
    word = Word(text=text, line=line, column=column, key=key, value=value, is_quoted=raw.startswith('"'))
    _look_at_signs(word, raw, findings)
    return word


def _look_at_signs(word: Word, raw: str, findings: Findings) -> None:
    if raw.count('"') % 2:
        findings.error(word, "A quote is opened and not closed on this line.", 'Write the closing " where the text ends.')
    typeset = _TYPESET.search(raw) if '"' not in raw else None
    if typeset is not None:
        what = f"A character that no keyboard has (U+{ord(typeset[0]):04X}) stands in {shown(word.text)}."
        findings.error(word, what, "A word processor or a web page put it there: type the blank, the quote or the hyphen anew.")


# ------------------------------------------------------------------------------------------------------------- showing problems


def shown(text: str) -> str:
    """Fit for one line of a terminal, whatever stands in the file."""
    plain = printable(text[:_SHOWN_LIMIT])
    return plain + "..." if len(text) > _SHOWN_LIMIT else plain


def printable(text: str) -> str:
    """The text with a ``?`` for every character that could move the cursor of a terminal, and a blank for a tab."""
    return "".join(char if char.isprintable() else "?" for char in text.replace("\t", " "))


def lines_of(text: str) -> list[str]:
    """The lines of a file as ``Problem.line`` counts them."""
    return _LINE_END.split(text)


def explained(problem: Problem, *, name: str, lines: list[str]) -> str:
    """A problem as a person reads it: the place, the line with a caret under the word, and the advice.  ``lines`` are the file's."""
    line = lines[problem.line - 1] if problem.line <= len(lines) else ""
    picture = pictured(line.replace("\t", " "), problem.column - 1) if line.strip() else ""
    return f"{name}, line {problem.line}, column {problem.column}: {problem.severity}: {problem.message}{picture}\n    {problem.advice}"
