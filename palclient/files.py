"""Replacing a file whole, on every system: a reader sees the old bytes or the new ones, never a mixture, nor none (R4).

The new content goes into a scratch file in the same folder, is flushed to the disk, gets the old file's mode, owner and access list, and is
renamed into its place.  Raises the system's own ``OSError``: whoever calls knows which file it was about, and what to advise.

On Windows ``ReplaceFileW`` does the last step, which keeps access lists, attributes and streams.  That branch was never run on Windows; it is
written after Microsoft's documentation and held to its types alone.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from contextlib import suppress
from dataclasses import dataclass
from time import sleep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

#: How long to wait before each new try at a file that another program holds open, in seconds: 2.5 in all (R4).
PAUSES_S = (0.05, 0.1, 0.2, 0.4, 0.75, 1.0)

_HELD_ERRNOS = frozenset({errno.EBUSY, errno.ETXTBSY})
_HELD_WINERRORS = frozenset({5, 32, 33, 1175})  # access denied, sharing violation, lock violation, unable to remove the replaced file
_NO_ATTRIBUTES = frozenset({errno.ENOTSUP, errno.ENODATA, errno.EINVAL})  # of a file system that has none
_ACCESS_LIST = "system.posix_acl_access"


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """What differs between systems, and what a test must not wait for.

    ``swap(scratch, target)`` puts one file into the place of another at once, ``carry_over(target, descriptor)`` gives an open file the mode,
    owner and access list of another, ``wait(seconds)`` waits.
    """

    swap: Callable[[str, str], None]
    carry_over: Callable[[str, int], None]
    wait: Callable[[float], None]


def replace_file(
    path: str, content: bytes, *, scratch: str | None = None, before_swap: Callable[[], None] | None = None, platform: Platform | None = None
) -> None:
    """Give the file ``path`` the bytes ``content``, all at once.

    A symbolic link is followed: what it leads to is replaced.  ``scratch`` is the name of the scratch file in the same folder (default: one of its own);
    one that a killed run has left under that name is replaced.  ``before_swap`` is called right before the file is replaced, and before each new try; what
    it raises leaves everything as it was.  Blocks for the disk, and for about 2.5 s more while another program holds the file open.

    Raises:
        OSError: the file is missing, may not be written to, or could not be replaced.  It is as it was, and the scratch file is gone.
    """
    here = platform or THIS
    target = os.path.realpath(path, strict=True) if os.path.islink(path) else path
    refuse_unwritable(target)
    temporary = _beside(target, scratch)
    try:
        _write(temporary, content, mode=0o600, finish=lambda descriptor: here.carry_over(target, descriptor))
        _swap_patiently(temporary, target, before_swap, here)
    except BaseException:
        discard(temporary)
        raise


def create_file(path: str, content: bytes, *, scratch: str | None = None) -> None:
    """Make the file ``path``, whole, with the bytes ``content``.  Blocks for the disk.

    Raises:
        FileExistsError: there is one.
        OSError: it could not be made; there is none.
    """
    temporary = _beside(path, scratch)
    try:
        _write(temporary, content, mode=0o666)
        _rename_to_nothing(temporary, path)
    finally:
        discard(temporary)


def refuse_unwritable(target: str) -> None:
    """Raise ``PermissionError`` where this user may not write to ``target`` or its folder: a rename must not get around what somebody has locked.

    On POSIX the superuser may; on Windows nobody may write to a file with the read-only attribute, which ``os.access`` knows.
    """
    status = os.stat(target)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is a folder or a device, and not a file", target)
    if not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, "it is read-only for this user", target)
    if not os.access(os.path.dirname(target) or ".", os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "its folder is read-only for this user", target)


def owner_doubt(target: str) -> str:
    """Why the successor of ``target`` will probably not get its owner or group, in words; empty where nothing speaks against it.

    Only a try tells for certain: some users may give files away, and of a mounted share all files may have one owner.  Does not write.
    """
    if sys.platform != "win32" and os.geteuid() != 0:
        wanted, folder = os.stat(target), os.stat(os.path.dirname(target) or ".")
        groups = {os.getegid(), *os.getgroups()}
        if folder.st_mode & stat.S_ISGID or sys.platform == "darwin":
            groups.add(folder.st_gid)  # new files get it
        if wanted.st_uid != os.geteuid() or wanted.st_gid not in groups:
            return f"its {_owner(wanted)} can probably not be kept by this user"
    return ""  # on Windows ReplaceFileW carries the owner over, too


def _owner(status: os.stat_result) -> str:
    return f"owner and group ({status.st_uid}:{status.st_gid})"


def discard(path: str) -> None:
    """Remove a scratch file, if it is there and can be removed."""
    with suppress(OSError):
        os.unlink(path)


def is_held(error: OSError) -> bool:
    """Whether the reason is another program that has the file open, which passes."""
    return error.errno in _HELD_ERRNOS or getattr(error, "winerror", None) in _HELD_WINERRORS


def _beside(target: str, scratch: str | None) -> str:
    """A scratch name in the folder of ``target``: short, since the target's own may already be as long as a name can be."""
    return os.path.join(os.path.dirname(target), scratch or f".palclient-{os.urandom(8).hex()}.tmp")


def _write(path: str, content: bytes, *, mode: int, finish: Callable[[int], None] | None = None) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
    try:
        descriptor = os.open(path, flags, mode)
    except FileExistsError:  # a run that was killed has left it
        discard(path)
        descriptor = os.open(path, flags, mode)
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        if finish is not None:
            finish(descriptor)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _swap_patiently(temporary: str, target: str, before_swap: Callable[[], None] | None, platform: Platform) -> None:
    for pause_s in (*PAUSES_S, None):
        if before_swap is not None:
            before_swap()
        try:
            platform.swap(temporary, target)
        except OSError as error:
            if pause_s is None or not is_held(error):
                raise
            platform.wait(pause_s)
        else:
            return


def _rename_to_nothing(temporary: str, path: str) -> None:
    if sys.platform != "win32":
        with suppress(PermissionError, NotImplementedError):  # a file system without hard links
            os.link(temporary, path)
            return
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
    os.rename(temporary, path)  # on Windows it refuses a name that is taken


# ------------------------------------------------------------------------------------------------------------ the platforms


if sys.platform == "win32":
    _UNABLE_TO_MOVE_REPLACEMENT = (1176, 1177)

    def _swap(temporary: str, target: str) -> None:
        """ReplaceFileW.  It may fail half-way, with the old file gone and the new one under its scratch name; then the rest is done here."""
        import ctypes

        replace = ctypes.WinDLL("kernel32", use_last_error=True).ReplaceFileW
        replace.argtypes = [ctypes.c_wchar_p, ctypes.c_wchar_p, ctypes.c_wchar_p, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_void_p]
        replace.restype = ctypes.c_int
        if replace(target, temporary, None, 0, None, None):
            return
        error = ctypes.get_last_error()
        if error in _UNABLE_TO_MOVE_REPLACEMENT and not os.path.lexists(target):
            os.replace(temporary, target)
            return
        raise ctypes.WinError(error)

    def _carry_over(target: str, descriptor: int) -> None:
        """ReplaceFileW does that."""

else:

    def _swap(temporary: str, target: str) -> None:
        os.replace(temporary, target)

    def _carry_over(target: str, descriptor: int) -> None:
        """Owner before mode, since a change of owner drops the set-user bit; the access list last, since a change of mode rewrites it."""
        wanted, given = os.stat(target), os.fstat(descriptor)
        if (wanted.st_uid, wanted.st_gid) != (given.st_uid, given.st_gid):
            try:
                os.fchown(descriptor, wanted.st_uid, wanted.st_gid)
            except PermissionError as error:
                raise PermissionError(errno.EPERM, f"its {_owner(wanted)} cannot be kept by this user", target) from error
        os.fchmod(descriptor, stat.S_IMODE(wanted.st_mode))
        _carry_over_attributes(target, descriptor)


if sys.platform == "linux":

    def _carry_over_attributes(target: str, descriptor: int) -> None:
        """Extended attributes, of which the access list is one.  Only that one is worth failing for: labels of the system may not be ours to set."""
        try:
            names = os.listxattr(target)
        except OSError as error:
            if error.errno in _NO_ATTRIBUTES:
                return
            raise
        for name in names:
            try:
                os.setxattr(descriptor, name, os.getxattr(target, name))
            except OSError:
                if name == _ACCESS_LIST:
                    raise

elif sys.platform == "darwin":

    def _carry_over_attributes(target: str, descriptor: int) -> None:
        """Access list and extended attributes, by the system's own copyfile(3).  Never run on macOS by this project."""
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        source = os.open(target, os.O_RDONLY)
        try:
            if libc.fcopyfile(source, descriptor, None, ctypes.c_uint32((1 << 0) | (1 << 2))) != 0:  # COPYFILE_ACL, COPYFILE_XATTR
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number), target)
        finally:
            os.close(source)

else:

    def _carry_over_attributes(target: str, descriptor: int) -> None:
        """Nothing is known of this system's access lists."""


THIS = Platform(swap=_swap, carry_over=_carry_over, wait=sleep)
