"""One file: what is to change in it, and changing it (R1, R2, R4, R7)."""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass, replace

from palclient.errors import ConfigError, IniError, ServerNameError
from palclient.files import create_file, discard, owner_doubt, refuse_unwritable, replace_file
from palclient.ini import IniDocument, IniEntry, IniWarning, read_ini, read_limited
from palclient.models import ServerName
from palclient.redirect.diff import unified_diff
from palclient.redirect.values import FileChange, FileOutcome, Splice, Status, Why, sha256
from palclient.servername import parse_servername

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_HEADER = re.compile(r"(?:\A|(?<=[\r\n]))[ \t\v\f\x1a]*+\[(?P<name>[^\]\r\n]*+)[^\r\n]*+(?P<end>\r\n|\r|\n|)")
_BOM_BYTES = {"utf-8": 3, "utf-16-le": 2, "utf-16-be": 2, "8-bit": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What files are to say: ``to``, or their own hosts at ``port`` (one of the two); ``only_from`` spares files that name something else (R2).

    ``add`` is the section into which a file without SERVERNAME gets one (R7), or None.
    """

    to: ServerName | None = None
    port: int | None = None
    only_from: ServerName | None = None
    add: str | None = None

    def after(self, old: ServerName | None) -> ServerName | None:
        """The value that replaces ``old`` (None: what is there is no SERVERNAME), or None if that cannot be said."""
        if self.to is not None or old is None:
            return self.to
        return ServerName(endpoints=tuple(replace(endpoint, port=self.port) for endpoint in old.endpoints))


def planned(path: str, wish: Wish) -> FileChange | FileOutcome:
    """What is to change in the file ``path``, or why nothing is.  Writes nothing; blocks for reading one file."""
    try:
        target = os.path.realpath(path, strict=True)
        found = _change(path, target, read_ini(target), wish)
        if isinstance(found, FileChange):
            refuse_unwritable(target)
            doubt = owner_doubt(target)
            return replace(found, doubt=doubt) if doubt else found
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path, or text of ours that says what is wrong with the content
        return folder_instead(path) if os.path.isdir(path) else failure(path, error)
    return found


def folder_instead(path: str) -> FileOutcome:
    """The outcome of a folder, or of a link to one, with a file's name."""
    reason = "it is a link to a folder, and links to folders are not followed" if os.path.islink(path) else "it is a folder, and no file"
    return FileOutcome(path=path, status=Status.SKIPPED, why=Why.FOLDER, reason=reason)


def planned_new(path: str, wish: Wish) -> FileChange | FileOutcome:
    """The change that makes a file where there is none (R7, ``--add``)."""
    assert wish.to is not None
    assert wish.add is not None
    folder = os.path.realpath(os.path.dirname(path) or ".")
    target = os.path.join(folder, os.path.basename(path))
    if os.path.lexists(target):
        return failure(path, FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)))
    text = f"[{wish.add}]{os.linesep}SERVERNAME={wish.to}{os.linesep}"
    splice = Splice(start=0, old=b"", new=text.encode("ascii"))
    digest, hunk = sha256(splice.new), unified_diff(path, read_ini(b""), splice.new, (splice,))
    return FileChange(path=path, target=target, line=2, old="", new=str(wish.to), splices=(splice,), old_sha256=None, new_sha256=digest, hunk=hunk)


def restorable(change: FileChange) -> FileChange | FileOutcome:
    """The change with its diff, if the file still has what is to be taken back; else how it is now.  Writes nothing; blocks for reading one file."""
    try:
        is_gone = change.new_sha256 is None and not os.path.lexists(change.target)
        raw = None if is_gone else _read(change.target)[0]
        digest = None if raw is None else sha256(raw)
        if digest == change.new_sha256:
            return FileOutcome(path=change.path, status=Status.RIGHT, line=change.line, old=change.new, new=change.new)
        content = None if raw is None or digest != change.old_sha256 else change.applied_to(raw)
        if raw is None or content is None:
            return _changed_since(change, "the file was changed by somebody else since the run that is to be undone")
        refuse_unwritable(change.target)
        doubt = "" if change.new_sha256 is None else owner_doubt(change.target)
        return replace(change, doubt=doubt, hunk=unified_diff(change.path, read_ini(raw), content, change.splices))
    except (OSError, ValueError) as error:
        return failure(change.path, error)


def carried_out(change: FileChange, run: str, is_wanted: Callable[[], bool]) -> FileOutcome:
    """Write the change.  ``is_wanted`` is asked right before the file is replaced.  Blocks for the disk."""
    try:
        return _create(change, run) if change.old_sha256 is None else _replace(change, run, is_wanted)
    except (OSError, ValueError) as error:
        return replace(failure(change.path, error), line=change.line, old=change.old, new=change.new)


def done(change: FileChange) -> FileOutcome:
    """The outcome of a change that was written."""
    return FileOutcome(path=change.path, status=Status.CHANGED, line=change.line, old=change.old, new=change.new, warnings=change.warnings)


def foreseen(change: FileChange) -> FileOutcome:
    """The outcome of a change if it can be written, with what speaks against that."""
    outcome = done(change)
    if not change.doubt:
        return outcome
    message = f"This file may stay as it is: {change.doubt}."
    return replace(outcome, warnings=(*outcome.warnings, IniWarning(line=change.line, column=1, message=message)))


def tidied(change: FileChange, run: str) -> None:
    """Remove the scratch file that a run which was killed may have left."""
    discard(os.path.join(os.path.dirname(change.target), _scratch(change, run)))


def failure(path: str, error: OSError | ValueError) -> FileOutcome:
    """The outcome of a file that could not be read or written."""
    cause = error.__cause__ if isinstance(error, ConfigError) else error
    why = Why.SYSTEM if isinstance(cause, OSError) else Why.UNUSABLE
    return FileOutcome(path=path, status=Status.FAILED, why=why, reason=_words(error))


def _words(error: OSError | ValueError) -> str:
    if isinstance(error, ConfigError):
        return error.message.removeprefix(f"{error.path}: ").removeprefix(f"{error.path}, ")
    if isinstance(error, FileNotFoundError):
        return "there is no such file (or the symbolic link leads nowhere)"
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


# ------------------------------------------------------------------------------------------------------------ planning


def _change(path: str, target: str, document: IniDocument, wish: Wish) -> FileChange | FileOutcome:
    everywhere = document.entries()
    entries = [entry for entry in everywhere if not entry.shadowed_by]
    if not entries:
        return _addition(path, target, document, wish) if wish.add is not None else _nothing_there(path, document)
    first = entries[0] if len(entries) == 1 else document.servername_entry()
    outcome = FileOutcome(path=path, status=Status.RIGHT, line=first.line, old=first.value, new=first.value)
    old = _parsed(first.value)
    if wish.only_from is not None and (old is None or not _is_same(old, wish.only_from)):
        reason = f"SERVERNAME is {first.value!a}, which is not what --from names"
        return replace(outcome, status=Status.SKIPPED, why=Why.OTHER_SERVERNAME, reason=reason, new="")
    new = wish.after(old)
    if new is None:
        document.servername()  # raises what is wrong with the value, and where
    is_plain = len(entries) == len(everywhere) and document.encoding == "8-bit"
    warnings = () if is_plain else document.warnings()
    assert new is not None
    if old is not None and _is_same(new, old):
        return replace(outcome, warnings=warnings)
    splices = tuple(_splice(document, entry, str(new)) for entry in entries)
    warnings += tuple(warning for entry in entries for warning in _remark_warning(entry))
    change = FileChange(
        path=path,
        target=target,
        line=first.line,
        old=first.value,
        new=str(new),
        splices=splices,
        old_sha256=sha256(document.raw),
        new_sha256=None,
        warnings=warnings,
    )
    return _checked(change, document, new)


def _nothing_there(path: str, document: IniDocument) -> FileOutcome:
    try:
        document.servername_entry()
    except IniError as error:
        reason = _words(error) if document.raw else "the file is empty"
        return FileOutcome(path=path, status=Status.SKIPPED, why=Why.NO_SERVERNAME, reason=reason, line=error.line)
    raise AssertionError("an entry that is not there was found")


def _parsed(value: str) -> ServerName | None:
    try:
        return parse_servername(value)
    except ServerNameError:
        return None


def _is_same(one: ServerName, other: ServerName) -> bool:
    """Whether both name the same servers in the same order; hosts compare without regard to case (N2)."""
    here, there = ([(endpoint.host.lower(), endpoint.port) for endpoint in some.endpoints] for some in (one, other))
    return here == there


def _splice(document: IniDocument, entry: IniEntry, text: str) -> Splice:
    """As ``IniDocument.spliced``, as a value."""
    start, end = entry.span
    codec = document.encoding if document.encoding.startswith("utf-16") else "ascii"
    return Splice(start=start, old=document.raw[start:end], new=text.encode(codec))


def _remark_warning(entry: IniEntry) -> tuple[IniWarning, ...]:
    value, mark, _ = entry.value.partition(";")
    if not mark:
        return ()
    message = f"All of the old value {entry.value!a} is replaced, also what stands behind the semicolon: INI files have no inline comments."
    return (IniWarning(line=entry.line, column=entry.column + len(value), message=message),)


def _checked(change: FileChange, document: IniDocument, new: ServerName) -> FileChange:
    """The change with its digest and its diff, once the result has been read back and says ``new`` (R1)."""
    content = change.applied_to(document.raw)
    if content is None or read_ini(content).servername() != new:
        raise ValueError("the result of the change would not be read as the new value, so nothing is written")
    return replace(change, new_sha256=sha256(content), hunk=unified_diff(change.path, document, content, change.splices))


def _addition(path: str, target: str, document: IniDocument, wish: Wish) -> FileChange:
    """SERVERNAME as the first line of its section, or in a new section at the end (R7)."""
    assert wish.to is not None
    assert wish.add is not None
    headers = list(_HEADER.finditer(document.text))
    mine = next((header for header in headers if header["name"].strip(" \t\v\f\x1a").lower() == wish.add.lower()), None)
    line_end = next((header["end"] for header in headers if header["end"]), None) or ("\r\n" if "\r\n" in document.text else os.linesep)
    key = f"SERVERNAME={wish.to}"
    if mine is not None:
        at, text = mine.end(), f"{key}{line_end}" if mine["end"] else f"{line_end}{key}"
    else:
        at = len(document.text)
        begun = "" if not document.text or document.text.endswith(("\r", "\n")) else line_end
        text = f"{begun}[{wish.add}]{line_end}{key}{line_end}"
    codec = document.encoding if document.encoding.startswith("utf-16") else "latin-1"
    start = _BOM_BYTES[document.encoding] + len(document.text[:at].encode(codec, "surrogatepass"))
    splice = Splice(start=start, old=b"", new=text.encode(codec))
    line = len(re.findall(r"\r\n|\r|\n", document.text[:at] + text[: text.index(key)])) + 1
    change = FileChange(
        path=path, target=target, line=line, old="", new=str(wish.to), splices=(splice,), old_sha256=sha256(document.raw), new_sha256=None
    )
    return _checked(change, document, wish.to)


# ------------------------------------------------------------------------------------------------------------ writing


def _create(change: FileChange, run: str) -> FileOutcome:
    content = change.applied_to(b"")
    assert content is not None
    try:
        create_file(change.target, content, scratch=_scratch(change, run))
    except FileExistsError:
        return _changed_since(change, "somebody else has made the file since it was looked at")
    return done(change)


def _replace(change: FileChange, run: str, is_wanted: Callable[[], bool]) -> FileOutcome:
    raw, seen = _read(change.target)
    content = change.applied_to(raw) if sha256(raw) == change.old_sha256 else None
    if content is None:
        return _changed_since(change, "the file was changed by somebody else since it was looked at")

    def look_again() -> None:
        if _identity(os.stat(change.target)) != seen:
            raise _MeanwhileError
        if not is_wanted():
            raise TimeoutError(errno.ETIMEDOUT, "given up before it was written")

    try:
        if change.new_sha256 is not None:
            replace_file(change.target, content, scratch=_scratch(change, run), before_swap=look_again)
        else:  # a file that the run has made
            refuse_unwritable(change.target)
            look_again()
            os.unlink(change.target)
    except _MeanwhileError:
        return _changed_since(change, "the file was changed by somebody else at this very moment")
    return done(change)


class _MeanwhileError(Exception):
    """The file is not any more what was read."""


def _read(path: str) -> tuple[bytes, tuple[int, ...]]:
    with open(path, "rb") as file:
        raw, status = read_limited(file)
        return raw, _identity(status)


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _scratch(change: FileChange, run: str) -> str:
    """The same for every try at one file in one run, and for undoing it: so what a killed run leaves is found again."""
    return f".palclient-{run}-{sha256(os.fsencode(change.target))[:12]}.tmp"


def _changed_since(change: FileChange, reason: str) -> FileOutcome:
    return FileOutcome(
        path=change.path, status=Status.SKIPPED, why=Why.CHANGED_SINCE, reason=reason, line=change.line, old=change.old, new=change.new
    )
