"""The values of a redirect: what is to change in a file, what became of it, and the sum of a run.  All frozen; nothing here touches a file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from palclient.ini import IniWarning


class Status(Enum):
    """What became of one file."""

    CHANGED = "changed"
    RIGHT = "already right"
    SKIPPED = "skipped"
    FAILED = "failed"


class Why(Enum):
    """Why a file was skipped or failed, for programs; people read ``FileOutcome.reason``."""

    NO_SERVERNAME = "no-servername"  #: nothing there to rewrite (R7)
    OTHER_SERVERNAME = "other-servername"  #: it does not name what ``--from`` says (R2)
    NOTHING_FOUND = "nothing-found"  #: a folder or a pattern without files
    FOLDER = "folder"  #: a folder with a file's name
    CHANGED_SINCE = "changed-since"  #: somebody else has changed it (R5, R9)
    UNUSABLE = "unusable"  #: its content cannot be edited with certainty
    SYSTEM = "system"  #: the operating system said no
    SILENT = "silent"  #: no answer within the path timeout (R8); it may have been written all the same, which undoing finds out
    UNTRIED = "untried"  #: given up without a try, since its machine or folder is silent


@dataclass(frozen=True, slots=True, kw_only=True)
class Splice:
    """In the old file, the bytes ``old`` at offset ``start`` give way to ``new``."""

    start: int
    old: bytes
    new: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """What is to be written into one file.

    ``path`` is the file as it was named or found, ``target`` where it really is, links followed.  ``line`` (from 1) is where the value stands, ``old`` and ``new`` are
    the values as text, ``splices`` the bytes to exchange, in ascending order.  ``old_sha256`` and ``new_sha256`` are of the whole file; None where there is no file before, or none after.
    ``warnings`` is what to look at in the file; ``hunk`` shows the change as a unified diff does.
    ``doubt`` says, before anything is tried, why it can perhaps not be written; empty when nothing speaks against it.
    """

    path: str
    target: str
    line: int
    old: str
    new: str
    splices: tuple[Splice, ...]
    old_sha256: str | None
    new_sha256: str | None
    warnings: tuple[IniWarning, ...] = ()
    hunk: str = ""
    doubt: str = ""

    def applied_to(self, raw: bytes) -> bytes | None:
        """The new bytes of a file that has the bytes ``raw``; None if they are not those that the change was made for."""
        parts: list[bytes] = []
        at = 0
        for splice in self.splices:
            parts += [raw[at : splice.start], splice.new]
            at = splice.start + len(splice.old)
        result = b"".join([*parts, raw[at:]])
        return result if self.new_sha256 is None or self.new_sha256 == sha256(result) else None

    def reversed(self) -> FileChange:
        """The change that undoes this one."""
        splices = []
        shift = 0
        for splice in self.splices:
            splices.append(Splice(start=splice.start + shift, old=splice.new, new=splice.old))
            shift += len(splice.new) - len(splice.old)
        return FileChange(
            path=self.path,
            target=self.target,
            line=self.line,
            old=self.new,
            new=self.old,
            splices=tuple(splices),
            old_sha256=self.new_sha256,
            new_sha256=self.old_sha256,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOutcome:
    """What became of one file: ``status``, and for one that was skipped or failed ``why`` (for programs) and ``reason`` (for people).

    ``old`` and ``new`` are the values before and after, where they are known; ``line`` (from 1, or None) is where the value stands.
    """

    path: str
    status: Status
    why: Why | None = None
    reason: str = ""
    line: int | None = None
    old: str = ""
    new: str = ""
    warnings: tuple[IniWarning, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RedirectReport:
    """The sum of a run.

    ``outcomes`` has every file, in the order in which they were named; ``journal`` is the file for undoing it, or None when nothing was written.  ``notes``
    says what else is worth knowing, in sentences.
    """

    outcomes: tuple[FileOutcome, ...]
    journal: str | None = None
    notes: tuple[str, ...] = ()

    def of(self, status: Status) -> tuple[FileOutcome, ...]:
        """The files of which this became."""
        return tuple(outcome for outcome in self.outcomes if outcome.status is status)

    @property
    def is_complete(self) -> bool:
        """Whether every file that was to be changed is: none failed, and none was changed by somebody else meanwhile."""
        return not any(outcome.status is Status.FAILED or outcome.why is Why.CHANGED_SINCE for outcome in self.outcomes)

    @property
    def found_any(self) -> bool:
        """Whether any file has a SERVERNAME at all."""
        return any(outcome.status in {Status.CHANGED, Status.RIGHT} or outcome.why is Why.OTHER_SERVERNAME for outcome in self.outcomes)


def sha256(content: bytes) -> str:
    """The digest of a file's bytes, as the journal has it."""
    return hashlib.sha256(content).hexdigest()
