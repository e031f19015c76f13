"""For tests of what a user may not do: the superuser may do everything, so he steps down for a while.  And what only POSIX has, typed for Windows, too."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NOBODY = 65534


@contextmanager
def as_nobody() -> Iterator[None]:
    """Run as a user without rights, if this one is the superuser; else as ourselves.  All threads of the process step down."""
    if sys.platform == "linux" and os.geteuid() == 0:
        os.setresuid(NOBODY, NOBODY, 0)
        try:
            yield
        finally:
            os.setresuid(0, 0, 0)
    else:
        yield


@contextmanager
def open_folder() -> Iterator[Path]:
    """A temporary folder that belongs to whoever ``as_nobody`` is (pytest's own are closed to others)."""
    folder = Path(tempfile.mkdtemp(prefix="palclient-test-"))
    try:
        if sys.platform != "win32" and os.geteuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
        yield folder
    finally:
        shutil.rmtree(folder)


def give_away(path: Path, user: int, group: int) -> None:
    """Make somebody else the owner.  Not on Windows."""
    if sys.platform != "win32":
        os.chown(path, user, group)


def named_pipe(path: Path) -> None:
    """Make one.  Not on Windows."""
    if sys.platform != "win32":
        os.mkfifo(path)


@contextmanager
def room_for(limit_bytes: int) -> Iterator[None]:
    """No file of this process gets larger, as on a full disk.  Not on Windows."""
    if sys.platform != "win32":
        import resource

        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    else:
        yield
