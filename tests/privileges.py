"""For tests of what a user may not do: the superuser may do everything, so he steps down for a while."""

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
    if sys.platform != "linux" or os.geteuid() != 0:
        yield
        return
    os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


@contextmanager
def open_folder() -> Iterator[Path]:
    """A temporary folder that belongs to whoever ``as_nobody`` is (pytest's own are closed to others)."""
    folder = Path(tempfile.mkdtemp(prefix="palclient-test-"))
    try:
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
        yield folder
    finally:
        shutil.rmtree(folder)
