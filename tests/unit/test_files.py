"""Replacing a file: whole, with what belongs to it, and never around somebody's lock."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from palclient.files import PAUSES_S, THIS, create_file, is_held, refuse_unwritable, replace_file
from tests.privileges import as_nobody, give_away, open_folder, room_for

posix = pytest.mark.skipif(os.name != "posix", reason="links, modes and owners of POSIX")


def ini(folder: Path, name: str = "x.ini", content: bytes = b"old") -> Path:
    """A file to replace."""
    path = folder / name
    path.write_bytes(content)
    return path


def names(folder: Path) -> list[str]:
    """What is in a folder."""
    return sorted(path.name for path in folder.iterdir())


def held(times: int) -> Callable[[str, str], None]:
    """A swap that another program's open file refuses so many times."""
    left = [times]

    def swap(scratch: str, target: str) -> None:
        if left[0]:
            left[0] -= 1
            raise OSError(errno.EBUSY, "busy")
        THIS.swap(scratch, target)

    return swap


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    """R4."""
    path = ini(tmp_path)
    replace_file(str(path), b"new")
    assert (path.read_bytes(), names(tmp_path)) == (b"new", ["x.ini"])


def test_the_new_content_is_on_the_disk_before_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """R4: a power cut must not leave an empty file under the old name."""
    path, deeds = ini(tmp_path), list[str]()
    flush = os.fsync

    def noted_flush(descriptor: int) -> None:
        deeds.append("flush")
        flush(descriptor)

    def noted_swap(scratch: str, target: str) -> None:
        deeds.append("swap")
        assert Path(scratch).read_bytes() == b"new"
        THIS.swap(scratch, target)

    monkeypatch.setattr(os, "fsync", noted_flush)
    replace_file(str(path), b"new", platform=replace(THIS, swap=noted_swap))
    assert deeds == ["flush", "swap"]


def test_a_reader_that_has_the_old_file_open_keeps_it_whole(tmp_path: Path) -> None:
    """R4: it is replaced, not written over."""
    path = ini(tmp_path)
    with path.open("rb") as reader:
        if os.name == "posix":
            replace_file(str(path), b"new and longer")
        assert reader.read() == b"old"


@posix
@pytest.mark.parametrize("mode", [0o600, 0o664, 0o644, 0o4755])
def test_the_mode_is_carried_over(tmp_path: Path, mode: int) -> None:
    """R1, R4."""
    path = ini(tmp_path)
    path.chmod(mode)
    replace_file(str(path), b"new")
    assert stat.S_IMODE(path.stat().st_mode) == mode


@posix
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only the superuser gives files away")
def test_the_owner_is_carried_over_with_the_set_user_bit(tmp_path: Path) -> None:
    """R1, R4: a change of owner clears the bit, so it comes first."""
    path = ini(tmp_path)
    give_away(path, 65534, 65533)
    path.chmod(0o4750)
    replace_file(str(path), b"new")
    status = path.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (65534, 65533, 0o4750)


@pytest.mark.skipif(sys.platform != "linux", reason="extended attributes of Linux")
def test_extended_attributes_are_carried_over(tmp_path: Path) -> None:
    """R1: access lists are kept as such attributes."""
    path = ini(tmp_path)
    if sys.platform == "linux":
        try:
            os.setxattr(path, "user.note", b"keep")
        except OSError:
            pytest.skip("this file system has no extended attributes")
        replace_file(str(path), b"new")
        assert os.getxattr(path, "user.note") == b"keep"


@posix
def test_the_target_of_a_link_is_replaced_and_not_the_link(tmp_path: Path) -> None:
    """R4: through two links and another folder."""
    (tmp_path / "real").mkdir()
    path = ini(tmp_path / "real")
    (tmp_path / "one.ini").symlink_to("real/x.ini")
    (tmp_path / "two.ini").symlink_to("one.ini")
    replace_file(str(tmp_path / "two.ini"), b"new")
    assert path.read_bytes() == b"new"
    assert not path.is_symlink()
    assert (tmp_path / "two.ini").readlink() == Path("one.ini")
    assert names(tmp_path / "real") == ["x.ini"]


@posix
def test_a_loop_of_links_a_folder_and_a_missing_file_are_the_systems_own_errors(tmp_path: Path) -> None:
    """R4."""
    (tmp_path / "loop.ini").symlink_to("loop.ini")
    (tmp_path / "folder.ini").mkdir()
    for name, number in {"loop.ini": errno.ELOOP, "folder.ini": errno.EINVAL, "gone.ini": errno.ENOENT}.items():
        with pytest.raises(OSError, match=r".") as caught:
            replace_file(str(tmp_path / name), b"new")
        assert caught.value.errno == number
    assert names(tmp_path) == ["folder.ini", "loop.ini"]


def test_a_file_that_is_held_open_is_tried_again_for_two_and_a_half_seconds(tmp_path: Path) -> None:
    """R4: the pauses add up to that, and the first are short."""
    path, waited = ini(tmp_path), list[float]()
    replace_file(str(path), b"new", platform=replace(THIS, swap=held(3), wait=waited.append))
    assert (path.read_bytes(), waited) == (b"new", [0.05, 0.1, 0.2])
    assert sum(PAUSES_S) == pytest.approx(2.5)


def test_a_file_that_stays_held_open_is_as_it_was(tmp_path: Path) -> None:
    """R4: after the last pause it is given up, and the scratch file is gone."""
    path, waited = ini(tmp_path), list[float]()
    with pytest.raises(OSError, match="busy"):
        replace_file(str(path), b"new", platform=replace(THIS, swap=held(99), wait=waited.append))
    assert (path.read_bytes(), names(tmp_path), waited) == (b"old", ["x.ini"], list(PAUSES_S))


def test_another_error_is_not_waited_for(tmp_path: Path) -> None:
    """R4: only a file in use becomes free by itself."""

    def refuse(scratch: str, target: str) -> None:
        raise OSError(errno.EIO, "broken disk", scratch, None, target)

    with pytest.raises(OSError, match="broken disk"):
        replace_file(str(ini(tmp_path)), b"new", platform=replace(THIS, swap=refuse, wait=lambda _: pytest.fail("waited")))


@pytest.mark.parametrize("number, is_it", [(5, True), (32, True), (33, True), (1175, True), (2, False), (None, False)])
def test_what_windows_says_of_a_file_in_use(number: int | None, is_it: bool) -> None:  # noqa: FBT001  # the table's column
    """R4: Microsoft's list of system error codes."""
    error: Any = OSError(errno.EACCES, "no")
    error.winerror = number  # there on Windows alone
    assert is_held(error) is is_it


def test_what_is_asked_before_the_swap_can_stop_it(tmp_path: Path) -> None:
    """R9: a file that somebody has changed meanwhile is left alone, whatever it raises."""
    path = ini(tmp_path)

    def stop() -> None:
        raise KeyError

    with pytest.raises(KeyError):
        replace_file(str(path), b"new", before_swap=stop)
    assert (path.read_bytes(), names(tmp_path)) == (b"old", ["x.ini"])


def test_a_scratch_file_of_a_killed_run_is_replaced(tmp_path: Path) -> None:
    """R4: its name is the same for every try at one file."""
    path = ini(tmp_path)
    ini(tmp_path, "scratch.tmp", b"half")
    replace_file(str(path), b"new", scratch="scratch.tmp")
    assert (path.read_bytes(), names(tmp_path)) == (b"new", ["x.ini"])


def test_a_name_as_long_as_names_can_be(tmp_path: Path) -> None:
    """R4: the scratch name must not be made of it."""
    path = ini(tmp_path, "n" * 251 + ".ini")
    replace_file(str(path), b"new")
    assert path.read_bytes() == b"new"


def test_a_new_file_is_made_whole_and_never_over_another(tmp_path: Path) -> None:
    """R7."""
    path = tmp_path / "new.ini"
    create_file(str(path), b"new")
    assert (path.read_bytes(), names(tmp_path)) == (b"new", ["new.ini"])
    with pytest.raises(FileExistsError):
        create_file(str(path), b"other")
    assert (path.read_bytes(), names(tmp_path)) == (b"new", ["new.ini"])


@posix
def test_a_disk_without_room_leaves_the_old_file(tmp_path: Path) -> None:
    """Issue 6, faults: the system refuses more than 4 KiB a file, as a full disk does."""
    path = ini(tmp_path)
    with room_for(4096), pytest.raises(OSError, match=r".") as caught:
        replace_file(str(path), b"n" * 5000)
    assert caught.value.errno == errno.EFBIG
    assert (path.read_bytes(), names(tmp_path)) == (b"old", ["x.ini"])


@posix
@pytest.mark.parametrize("locked", ["file", "folder"])
def test_a_file_that_may_not_be_written_is_not_replaced_by_a_rename(locked: str) -> None:
    """R4: a rename asks for the folder's rights alone, and must not get around the file's."""
    with open_folder() as folder, as_nobody():
        path = ini(folder)
        (path if locked == "file" else folder).chmod(0o444 if locked == "file" else 0o555)
        with pytest.raises(PermissionError, match="read-only for this user"):
            refuse_unwritable(str(path))
        with pytest.raises(PermissionError):
            replace_file(str(path), b"new")
        folder.chmod(0o755)
        assert (path.read_bytes(), names(folder)) == (b"old", ["x.ini"])


@posix
@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only the superuser gives files away")
def test_a_file_whose_owner_cannot_be_carried_over_is_left_alone() -> None:
    """R1: better an old file than one that has changed hands."""
    with open_folder() as folder:
        path = ini(folder)
        path.chmod(0o666)
        with as_nobody(), pytest.raises(PermissionError):
            replace_file(str(path), b"new")
        assert (path.read_bytes(), path.stat().st_uid, names(folder)) == (b"old", 0, ["x.ini"])
