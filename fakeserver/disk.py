"""A node's two files: the ballot, replaced whole and always flushed, and the table's log, to which each batch adds one line (E7).

What was cut short by a crash is told from what was altered: a torn last line costs the node a longer wait before it votes (E2), anything else
that does not read is refused.  Nothing is guessed.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO
from zlib import crc32

from fakeserver.clock import is_same_boot
from fakeserver.events import DiskImage, SaveBallot
from fakeserver.roles import Role
from fakeserver.seats import Record, record_from_json, record_to_json
from fakeserver.wire import to_json

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

FORMAT = 1
BALLOT = "ballot.json"
TABLE = "table.log"
CLAIM = "claim"
BALLOT_BYTES = 512  # three times what it takes; always the same, so that one can be written over another


class StateRefused(Exception):
    """What lies on the disk cannot be this node's state.  The message is a sentence for whoever started the node."""


class Disk:
    """The files of one node, in a folder of its own.  ``boot`` is ``clock.boot_name()``.  Blocks while it writes; raises OSError when it cannot.

    ``lasting=False``: nobody will look for these files after a power cut, so nothing is flushed; a flush can take as long as an election.
    ``role``: whose state it has to be; None does not ask.
    """

    def __init__(self, folder: Path, *, cluster: str, boot: str, fsync: bool, lasting: bool = True, role: str | None = None) -> None:
        self._folder = folder
        self._boot = boot
        self._cluster = cluster
        self._role = role
        self._fsync = fsync
        self._lasting = lasting
        self._log: BinaryIO | None = None
        self._ballot: BinaryIO | None = None
        self._claim: BinaryIO | None = None
        self.ballot: SaveBallot | None = None  # as it is on the disk
        self.is_full = False  # a test's way to fill it (F): whatever is written fails as on a full disk
        folder.mkdir(parents=True, exist_ok=True)

    def load(self) -> DiskImage:
        """What the last run of this node left, which from now on is this object's alone.

        Raises StateRefused when it is in use, another cluster's, another node's of this one, a newer version's, or altered.
        """
        self._claim = _claim(self._folder)
        self.ballot = ballot = self._load_ballot()
        if ballot is None:
            return DiskImage()
        header, records, torn = self._load_table()
        rebooted = not is_same_boot(str(header.get("boot")), self._boot)
        unflushed = header.get("fsync") is not True
        return DiskImage(ballot=ballot, records=records, may_lack_records=torn or (unflushed and rebooted))

    def save_ballot(self, ballot: SaveBallot) -> None:
        """Replace the ballot; it is on the disk when this returns (E7), where that matters."""
        voted_for = ballot.voted_for.value if ballot.voted_for else None
        fields = {
            "format": FORMAT,
            "cluster": ballot.cluster,
            "role": self._role,
            "term": ballot.term,
            "voted_for": voted_for,
            "incarnation": ballot.incarnation,
            "may_lack_records": ballot.may_lack_records,
        }
        content = _line(fields, width=BALLOT_BYTES)
        if self._lasting or self.ballot is None:
            self._replace(BALLOT, content, flush=self._lasting)
        else:
            self._overwrite_ballot(content)
        self.ballot = ballot

    def append(self, records: Sequence[Record]) -> None:
        """Add a batch to the log, in one write."""
        if self._log is None:
            raise RuntimeError("the log is rewritten at the start, before anything is added")
        self._need_room()
        _write(self._log, _line([record_to_json(record) for record in records]))
        if self._fsync:
            os.fsync(self._log.fileno())

    def rewrite(self, records: Sequence[Record]) -> None:
        """Replace the log by these records."""
        header = {"format": FORMAT, "cluster": self._cluster, "boot": self._boot, "fsync": self._fsync}
        batch = [record_to_json(record) for record in records]
        content = _line(header) + _line(batch)
        if self._lasting:
            self._close_log()
            self._replace(TABLE, content, flush=self._fsync)
        else:
            self._need_room()
        if self._log is None:
            self._log = open(self._folder / TABLE, "ab", buffering=0)  # noqa: SIM115 - it stays open for the node's life
        if not self._lasting:
            self._log.truncate(0)  # a node that dies between the two lines knows that its table is gone (E2)
            _write(self._log, content)

    def close(self) -> None:
        """Let go of the files."""
        self._close_log()
        self._close_ballot()
        if self._claim is not None:
            self._claim.close()
            self._claim = None

    def _close_log(self) -> None:
        if self._log is not None:
            self._log.close()
            self._log = None

    def _close_ballot(self) -> None:
        if self._ballot is not None:
            self._ballot.close()
            self._ballot = None

    def _need_room(self) -> None:
        if self.is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _overwrite_ballot(self, content: bytes) -> None:
        """One write over a file of the same length, which SIGKILL cannot tear.  A rename over a file is slow: ext4 flushes the new one first."""
        self._need_room()
        if self._ballot is None:
            self._ballot = open(self._folder / BALLOT, "r+b", buffering=0)  # noqa: SIM115 - it stays open for the node's life
        if os.fstat(self._ballot.fileno()).st_size != len(content):
            self._close_ballot()
            self._replace(BALLOT, content, flush=self._lasting)
            return
        self._ballot.seek(0)
        _write(self._ballot, content)

    def _replace(self, name: str, content: bytes, *, flush: bool) -> None:
        self._need_room()
        path, fresh = self._folder / name, self._folder / f"{name}.new"
        with open(fresh, "wb", buffering=0) as file:
            _write(file, content)
            if flush:
                os.fsync(file.fileno())
        fresh.replace(path)
        if flush:
            _flush_folder(self._folder)

    def _load_ballot(self) -> SaveBallot | None:
        path = self._folder / BALLOT
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        fields = _read_line(content)
        if not isinstance(fields, dict):
            raise StateRefused(f"The state in {path} was altered: its checksum does not fit.")
        self._refuse_foreign(fields, path)
        found = fields.get("role")
        if self._role and found not in (None, self._role):
            raise StateRefused(f"The state in {path} is that of the {found} of this cluster; this node is the {self._role}.")
        voted_for = fields["voted_for"]
        return SaveBallot(
            cluster=fields["cluster"],
            term=fields["term"],
            voted_for=None if voted_for is None else Role(voted_for),
            incarnation=fields["incarnation"],
            may_lack_records=fields.get("may_lack_records", False),
        )

    def _load_table(self) -> tuple[Mapping[str, object], tuple[Record, ...], bool]:
        """The log's header, its records in the order of writing, and whether it lacks its end.  One that is not there lacks everything."""
        path = self._folder / TABLE
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        values = [_read_line(line) for line in lines]
        is_cut = bool(values) and values[-1] is None
        whole = values[:-1] if is_cut else values
        if None in whole:
            raise StateRefused(f"The state in {path} was altered: line {whole.index(None) + 1} does not fit its checksum.")
        if not whole:
            return {}, (), True
        header, *batches = whole
        torn = is_cut or not batches  # a log is born with a batch, be it empty
        self._refuse_foreign(header, path)
        return header, tuple(record_from_json(fields) for batch in batches for fields in batch), torn

    def _refuse_foreign(self, fields: Mapping[str, object], path: Path) -> None:
        if fields.get("format") != FORMAT:
            raise StateRefused(f"The state in {path} has format {fields.get('format')!r}, of a newer version; this one reads format {FORMAT}.")
        if fields.get("cluster") != self._cluster:
            raise StateRefused(f"The state in {path} belongs to cluster {fields.get('cluster')!r}; this node is one of cluster {self._cluster!r}.")


def _claim(folder: Path) -> BinaryIO:
    """A file that one process alone can hold open so; the kernel lets go of it when the process ends, however it ends."""
    file = open(folder / CLAIM, "wb")  # noqa: SIM115 - held until the node lets go of its disk
    try:
        if sys.platform == "win32":
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise StateRefused(f"The state in {folder} is in use by another node.") from error
    return file


def cluster_of(folder: Path) -> str | None:
    """The cluster whose state lies in ``folder``, or None when none can be made out.  Its own node says why it cannot be read."""
    try:
        fields = _read_line((folder / BALLOT).read_bytes())
    except OSError:
        return None
    cluster = fields.get("cluster") if isinstance(fields, dict) else None
    return cluster if isinstance(cluster, str) else None


def _line(value: object, *, width: int = 0) -> bytes:
    """A line that proves itself whole: a checksum, a blank, and JSON, filled up with blanks to ``width`` bytes."""
    content = to_json(value).ljust(width)
    return b"%08x %b\n" % (crc32(content), content)


def _read_line(line: bytes) -> Any:
    """What ``_line`` wrote, an object or a list; None when it is not whole."""
    checksum, _, content = line.removesuffix(b"\n").partition(b" ")
    if not line.endswith(b"\n") or checksum != b"%08x" % crc32(content):
        return None
    return json.loads(content)


def _write(file: BinaryIO, content: bytes) -> None:
    written = file.write(content)
    if written != len(content):
        raise OSError(errno.ENOSPC, f"only {written} of {len(content)} bytes could be written", file.name)


def _flush_folder(folder: Path) -> None:
    """Make a rename last.  Windows has no way to flush a folder, and needs none."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
