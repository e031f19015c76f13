"""What the redirect costs beside plain copies, and the two readers beside the plainest split of the same text."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle
from pathlib import Path

from palclient.ini import read_ini
from palclient.redirect import Status, plan_redirect
from palclient.servername import parse_servername
from tests.bench.pairs import Row, in_turn

FILES, FILE_BYTES = 10_000, 4096
ROUNDS = 4  # each writes 20,000 files
IN_MEMORY = ("tmpfs", "ramfs")  # the goal is for what a disk costs; there a plain copy costs next to nothing, and the row shows our own time
SPECS = ("27000@old1,27000@old2,27000@old3", "27000@new1,27000@new2,27000@new3")
VALUES = {
    "of a triad": "27000@lic1,27000@lic2,27000@lic3",
    "with long names": ",".join(f"27000@license-server-{number}.emea.corp.example.com" for number in range(3)),
    "in quotes": '"27000@lic1,27000@lic2,27000@lic3"',
    "of IPv6 addresses": "27000@[2001:db8::1],27000@[2001:db8::2],27000@[2001:db8::3]",
    "of IPv6 addresses with zeros": "27000@[2001:0db8:0:1::1],27000@[2001:0db8:0:1::2],27000@[2001:0db8:0:1::3]",
    "of IPv6 addresses in full": ",".join(f"27000@[fd12:3456:789a:1:216:3eff:fe12:{number}]" for number in range(1, 4)),
}


def redirects(rounds: int) -> list[Row]:
    """Ten thousand files of 4 KiB, from the plan to the last rename."""
    rows = []
    for parent in _places():
        with tempfile.TemporaryDirectory(dir=parent) as folder:
            kind = _file_system(folder)
            paths = _fleet(Path(folder))
            specs = cycle(reversed(SPECS))
            what = f"redirect of {FILES:,} files beside plain copies, {kind}"
            redirect, copy = partial(_redirected, folder, specs), partial(_copied, paths)
            rows.append(in_turn(min(rounds, ROUNDS), redirect, copy, what=what, goal="" if kind in IN_MEMORY else "<= 2"))
    return rows


def _places() -> list[str | None]:
    """Where temporary files go; and where there is one, a file system in memory, on which nothing but our own time counts."""
    memory = "/dev/shm"  # noqa: S108  # a place of its own is made in it
    return [None, *([memory] if sys.platform == "linux" and os.access(memory, os.W_OK) else [])]


def _file_system(folder: str) -> str:
    """What it is called by the system, since everything depends on it: to flush a file costs milliseconds on one and nothing on another."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()]
    except OSError:
        return sys.platform
    real = Path(folder).resolve()
    return max((len(at), kind) for at, kind in mounts if real.is_relative_to(at))[1]


def _fleet(folder: Path) -> list[str]:
    head = f"; client\r\n[License]\r\nSERVERNAME={SPECS[0]}\r\n[Other]\r\n".encode()
    content = (head + b"key=a value of forty bytes, all in all...\r\n" * 100)[:FILE_BYTES]
    paths = []
    for number in range(FILES):
        path = folder / f"pc{number // 100}" / f"{number}.ini"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        paths.append(str(path))
    return paths


def _redirected(folder: str, specs: Iterator[str]) -> float:
    began = time.perf_counter()
    report = plan_redirect(folder, to=next(specs)).apply(journal=Path(folder, f"journal-{time.monotonic_ns()}"))
    took_s = time.perf_counter() - began
    assert len(report.of(Status.CHANGED)) == FILES
    return took_s


def _copied(paths: list[str]) -> float:
    """The plain way: read, write beside, flush, rename; one after the other."""
    began = time.perf_counter()
    for path in paths:
        with open(path, "rb") as file:
            content = file.read()
        with open(f"{path}.tmp", "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(f"{path}.tmp").replace(path)
    return time.perf_counter() - began


def readers(rounds: int) -> list[Row]:
    """A SERVERNAME beside ``str.split``, an INI file of 1 MiB beside ``bytes.splitlines``."""
    rows = [
        in_turn(rounds, _timed(parse_servername, text), _timed(text.split, ","), what=f"a SERVERNAME {kind}, beside str.split", goal="<= 40")
        for kind, text in VALUES.items()
    ]
    line = b"key=a value of forty bytes with its end\n"
    head = f"[License]\nSERVERNAME={SPECS[0]}\n".encode()
    content = head + line * (((1 << 20) - len(head)) // len(line))
    reading, splitting = _timed(_servername_of, content, times=1), _timed(content.splitlines, times=1)
    return [*rows, in_turn(rounds, reading, splitting, what="an INI file of 1 MiB, beside bytes.splitlines", goal="<= 20")]


def _servername_of(content: bytes) -> object:
    return read_ini(content).servername()


def _timed(work: Callable[..., object], *arguments: object, times: int = 200) -> Callable[[], float]:
    """The best of fifty short runs: what a busy machine adds is not what is asked."""

    def once() -> float:
        began = time.perf_counter()
        for _ in range(times):
            work(*arguments)
        return (time.perf_counter() - began) / times

    return lambda: min(once() for _ in range(50 if times > 1 else 3))
