"""Which files are meant: names, folders and patterns, one folder at a time, so that a silent share costs one look and no more (R1, R8)."""

from __future__ import annotations

import ntpath
import os
import re
from dataclasses import dataclass, replace
from fnmatch import fnmatch

from palclient.redirect.change import Wish, failure, folder_instead, planned, planned_new
from palclient.redirect.values import FileChange, FileOutcome, Status, Why

_MAGIC = re.compile(r"[*?\[]")
_INI_FILES = ("**", "*.[iI][nN][iI]")  # what a folder stands for
_SCRATCH = ".palclient-"  # what the names of our own scratch files begin with


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Something to look at: ``path`` as a name (``parts`` is empty), or the folder ``path`` in which ``parts`` are to be matched, one part a level.

    ``order`` is the place of the name in the list that a person wrote.  ``is_named``: ``path`` may be a folder or a pattern.  ``goes_down``: the folders below are
    visited anyhow, so that one with a file's name is no file.
    """

    order: int
    path: str
    parts: tuple[str, ...] = ()
    is_named: bool = False
    goes_down: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a look has brought: more to look at, or the end of one file."""

    looks: tuple[Look, ...] = ()
    results: tuple[FileChange | FileOutcome, ...] = ()


def looked_at(look: Look, wish: Wish) -> Found:
    """Look at one file or one folder.  Blocks for that; raises nothing that the system may say."""
    try:
        if look.parts:
            return _matched(look)
        return _named(look, wish) if look.is_named else Found(results=(planned(look.path, wish),))
    except NotADirectoryError:
        return Found()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        return Found(results=(failure(look.path, error),))


def place_of(path: str) -> str:
    r"""The machine of a UNC path (``\\pc7\c$\...``), else the folder: what is likely to be silent as a whole."""
    drive = ntpath.splitdrive(path)[0].replace("/", "\\")
    if drive.startswith("\\\\"):
        return drive.split("\\")[2].lower()
    return os.path.dirname(path)


def nothing_found(look: Look) -> FileOutcome:
    """The outcome of a folder or a pattern that led to no file."""
    reason = "no file of that name is there" if _MAGIC.search(look.path) else "there is no *.ini file in this folder"
    return FileOutcome(path=look.path, status=Status.SKIPPED, why=Why.NOTHING_FOUND, reason=reason)


def _named(look: Look, wish: Wish) -> Found:
    if not look.path:
        return Found(results=(failure(look.path, ValueError("the name is empty")),))
    if os.path.isdir(look.path):
        return Found(looks=(Look(order=look.order, path=look.path, parts=_INI_FILES, goes_down=True),))
    if not os.path.lexists(look.path):
        if _MAGIC.search(look.path):
            return Found(looks=(_pattern(look),))
        if wish.add is not None:
            return Found(results=(planned_new(look.path, wish),))
    return Found(results=(planned(look.path, wish),))


def _pattern(look: Look) -> Look:
    """A pattern as the folder before its first sign, and the parts from there on."""
    drive, rest = os.path.splitdrive(look.path)
    pieces = re.split(r"[\\/]+" if os.sep == "\\" else "/+", rest)
    first = next(at for at, piece in enumerate(pieces) if _MAGIC.search(piece))
    folder = drive + os.sep.join(pieces[:first]) + (os.sep if first == 1 and not pieces[0] else "")
    parts = tuple(piece for piece in pieces[first:] if piece)
    return replace(look, path=folder, parts=parts, is_named=False, goes_down="**" in parts)


def _matched(look: Look) -> Found:
    """One level: everything in a folder that the first part fits, each with the parts that are left."""
    head, *tail = look.parts
    if not _MAGIC.search(head):
        path = os.path.join(look.path, head)
        return Found(looks=(_onward(look, path, tuple(tail)),)) if os.path.lexists(path) else Found()
    with os.scandir(look.path or ".") as entries:
        found = [
            (os.path.join(look.path, entry.name), entry.name, entry.is_dir(follow_symlinks=False))
            for entry in entries
            if not entry.name.startswith(_SCRATCH)
        ]
    if head == "**":  # this folder, and every one below it; links are not followed, since they may lead back
        here = replace(look, parts=tuple(tail) or ("*",))
        return Found(looks=(here, *(replace(look, path=path) for path, _, is_folder in found if is_folder)))
    fitting = [(path, is_folder) for path, name, is_folder in found if fnmatch(name, head)]
    names_of_folders = [path for path, is_folder in fitting if is_folder and look.goes_down and not tail]
    return Found(
        looks=tuple(_onward(look, path, tuple(tail)) for path, _ in fitting if path not in names_of_folders),
        results=tuple(folder_instead(path) for path in names_of_folders),
    )


def _onward(look: Look, path: str, tail: tuple[str, ...]) -> Look:
    return replace(look, path=path, parts=tail, is_named=not tail and not look.goes_down)
