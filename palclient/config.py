"""Where SERVERNAME comes from (I4), and what else on this machine may be taken for it (I5)."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass

from palclient.errors import ConfigError, IniError, ServerNameError
from palclient.ini import IniDocument, IniWarning, read_ini
from palclient.models import ServerName
from palclient.servername import parse_servername

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

APP = "palclient"
INI_NAMES = ("Palisade_NetworkClient.ini", "palclient.ini")

_SERVERNAME_VARIABLE = "PALCLIENT_SERVERNAME"
_INI_VARIABLE = "PALCLIENT_INI"
_VALUE_LIMIT = 100  # characters of a value in the trail


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One place that was looked at: ``place`` in words or as a path, and what was there (``found``)."""

    place: str
    found: str

    def __str__(self) -> str:
        return f"{self.place}: {self.found}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The SERVERNAME in force, and why it is.

    ``source`` says where it comes from; ``trail`` lists each place looked at, in order, the last one being the source.  When the
    source is a file, ``path`` is that file, ``mtime_ns`` and ``size_bytes`` are what it had when it was read, and ``warnings`` is what
    to look at in it; else they are None and empty.
    """

    servername: ServerName
    source: str
    trail: tuple[Look, ...]
    path: str | None = None
    mtime_ns: int | None = None
    size_bytes: int | None = None
    warnings: tuple[IniWarning, ...] = ()

    def is_outdated(self) -> bool:
        """Whether the file has changed, or gone, since it was read.  Blocks for one look at the file; never without a file."""
        if self.path is None:
            return False
        try:
            now = os.stat(self.path)
        except OSError:
            return True
        return (now.st_mtime_ns, now.st_size) != (self.mtime_ns, self.size_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """All that is read from outside, to be replaced in tests.

    ``application_directory`` gives the folder of the program that runs, or None; ``config_directories`` gives, for an application's
    name, pairs of what a folder is and where; ``registry`` gives the FLEXlm values of the registry as pairs of name and value.  Each
    is called only when its answer is needed.
    """

    environ: Mapping[str, str]
    application_directory: Callable[[], str | None]
    config_directories: Callable[[str], tuple[tuple[str, str], ...]]
    registry: Callable[[], tuple[tuple[str, str], ...]]


def find_servername(
    *,
    servers: str | ServerName | None = None,
    ini: str | os.PathLike[str] | None = None,
    app: str | None = None,
    ini_names: Iterable[str] | None = None,
    surroundings: Surroundings | None = None,
) -> Config:
    """Find the SERVERNAME in force: the first of these that says one (I4).

    The argument ``servers``; the file ``ini``; the variable ``PALCLIENT_SERVERNAME``; the file that ``PALCLIENT_INI`` names; then files
    named as in ``ini_names`` (default ``Palisade_NetworkClient.ini``, ``palclient.ini``) in the folder of the application, the user's
    config folder and the site's config folders for the application's name ``app`` (default ``palclient``).  A file that was searched
    for and has no SERVERNAME is passed by; one that was named must have it.  Blocks for the time of reading those files.

    Raises:
        ServerNameError: the first value found is none (N1 to N6).
        IniError: a file that was named is missing, or a file cannot be read (I3), has no SERVERNAME or contradicts itself (I2).
        ConfigError: there is no SERVERNAME in any place; the advice lists the places.
    """
    outside = surroundings or real_surroundings()
    trail: list[Look] = []
    if servers is not None:
        return _from_argument(servers, trail)
    if ini is not None:
        return _from_named_file(_checked_path(ini), "argument ini=", trail)
    variable = outside.environ.get(_SERVERNAME_VARIABLE, "")
    if variable.strip():
        servername = parse_servername(variable, source=_SERVERNAME_VARIABLE)
        return _won(servername, f"variable {_SERVERNAME_VARIABLE}", variable, trail)
    trail.append(Look(place=f"variable {_SERVERNAME_VARIABLE}", found="empty" if _SERVERNAME_VARIABLE in outside.environ else "not set"))
    file = outside.environ.get(_INI_VARIABLE, "")
    if file.strip():
        return _from_named_file(file, f"variable {_INI_VARIABLE}", trail)
    trail.append(Look(place=f"variable {_INI_VARIABLE}", found="empty" if _INI_VARIABLE in outside.environ else "not set"))
    return _from_directories(app or APP, tuple(ini_names or INI_NAMES), outside, trail)


def _from_argument(servers: object, trail: list[Look]) -> Config:
    if isinstance(servers, str):
        return _won(parse_servername(servers, source="argument servers="), "argument servers=", servers, trail)
    if isinstance(servers, ServerName):
        return _won(servers, "argument servers=", str(servers), trail)
    message = f"argument servers=: is a {type(servers).__name__}, and should be one text."
    raise ConfigError(message, advice='Write servers="27000@lic1,27000@lic2,27000@lic3", or for a single server servers="27000@lic1".')


def _checked_path(ini: object) -> str:
    """The path that an argument gives.  Bytes are none here: to ``read_ini`` they are the content of a file."""
    path = os.fspath(ini) if isinstance(ini, (str, os.PathLike)) else None
    if isinstance(path, str) and path:
        return path
    message = "argument ini=: is empty" if path == "" else f"argument ini=: is of the type {type(ini).__name__}"
    raise ConfigError(
        f"{message}, and should be the path of an INI file.", advice='Write ini=r"C:\\ProgramData\\Client\\client.ini", or leave it away.'
    )


def _from_named_file(path: str, named_by: str, trail: list[Look]) -> Config:
    place = f"{named_by} names {path}"
    try:
        document = read_ini(path)
    except IniError as error:
        _tell(error, place, trail)
        raise
    servername = _servername(document, place, trail)
    return _won(servername, place, str(servername), trail, document)


def _from_directories(app: str, names: tuple[str, ...], outside: Surroundings, trail: list[Look]) -> Config:
    passed: IniError | None = None
    for what, directory in _directories(app, outside, trail):
        for name in names:
            path = os.path.join(directory, name)
            place = f"{what}: {path}"
            document = _read_if_there(path, place, trail)
            if document is None:
                continue
            if document.find() is None:
                passed = passed or _no_value(document)
                trail.append(Look(place=place, found="has no SERVERNAME"))
                continue
            servername = _servername(document, place, trail)
            return _won(servername, place, str(servername), trail, document)
    if passed is not None:
        _add_trail(passed, trail)
        raise passed
    raise _nothing(names, trail)


def _read_if_there(path: str, place: str, trail: list[Look]) -> IniDocument | None:
    try:
        return read_ini(path)
    except IniError as error:
        if isinstance(error.__cause__, (FileNotFoundError, NotADirectoryError)):
            trail.append(Look(place=place, found="no such file"))
            return None
        _tell(error, place, trail)
        raise


def _servername(document: IniDocument, place: str, trail: list[Look]) -> ServerName:
    try:
        return document.servername()
    except (IniError, ServerNameError) as error:
        _tell(error, place, trail)
        raise


def _directories(app: str, outside: Surroundings, trail: list[Look]) -> Iterator[tuple[str, str]]:
    """The folders to search, each found out only when it is needed."""
    directory = outside.application_directory()
    if directory is not None:
        yield "folder of the application", directory
    else:
        trail.append(Look(place="folder of the application", found="none: Python was started without a program"))
    try:
        others = outside.config_directories(app)
    except ImportError:  # the one-file tool has the standard library alone (R9)
        trail.append(Look(place="config folders of the user and the site", found="not looked at: platformdirs is not installed here"))
        return
    yield from others


def _won(servername: ServerName, source: str, value: str, trail: list[Look], document: IniDocument | None = None) -> Config:
    shown = value if len(value) <= _VALUE_LIMIT else f"{value[:_VALUE_LIMIT]}..."
    looks = (*trail, Look(place=source, found=f"SERVERNAME is {shown}"))
    if document is None:
        return Config(servername=servername, source=source, trail=looks)
    return Config(
        servername=servername,
        source=source,
        trail=looks,
        path=document.path,
        mtime_ns=document.mtime_ns,
        size_bytes=len(document.raw),
        warnings=document.warnings(),
    )


def _first_line(error: ConfigError) -> str:
    return error.message.partition("\n")[0].removeprefix(f"{error.path}: ").removeprefix(f"{error.path}, ")


def _no_value(document: IniDocument) -> IniError | None:
    try:
        document.servername_entry()
    except IniError as error:
        return error
    return None


def _tell(error: ConfigError, place: str, trail: list[Look]) -> None:
    """The last place ends the search by an error, which is to say what led there."""
    trail.append(Look(place=place, found=_first_line(error)))
    _add_trail(error, trail)


def _add_trail(error: ConfigError, trail: list[Look]) -> None:
    if len(trail) > 1:  # one place is told by the message itself
        error.advice = "\n".join(part for part in (error.advice, _told(trail)) if part)


def _nothing(names: tuple[str, ...], trail: list[Look]) -> ConfigError:
    advice = (
        f"Write a file {names[-1]} with the two lines\n    [License]\n    SERVERNAME=27000@lic1,27000@lic2,27000@lic3\n"
        f"into one of these folders, or set {_SERVERNAME_VARIABLE} to such a value."
    )
    return ConfigError("No license server is named: there is no SERVERNAME.", advice=f"{_told(trail)}\n{advice}")


def _told(trail: list[Look]) -> str:
    return "\n".join(["Looked at, in this order:", *(f"    {look}" for look in trail)])


# ------------------------------------------------------------------------------------------------------- what FLEXnet itself reads


@dataclass(frozen=True, slots=True, kw_only=True)
class Outranking:
    """A setting that FLEXnet programs obey before any INI file (I5): its ``name`` and ``value``, and in which ``place`` it stands."""

    name: str
    value: str
    place: str


_LICENSE_FILE = r"(?i)\w+_LICENSE_FILE"


def find_outranking(*, surroundings: Surroundings | None = None) -> tuple[Outranking, ...]:
    """The settings that make FLEXnet programs ignore an edited INI file: ``LM_LICENSE_FILE``, ``*_LICENSE_FILE``, the registry (I5).

    They are never read as SERVERNAME; they explain why a change seems to do nothing.  Variables come first, each group by name.
    Does not block, but for the registry on Windows.
    """
    outside = surroundings or real_surroundings()
    variables = [(name, value) for name, value in sorted(outside.environ.items()) if re.fullmatch(_LICENSE_FILE, name)]
    found = [Outranking(name=name, value=value, place="environment") for name, value in variables]
    found += [Outranking(name=name, value=value, place="registry") for name, value in sorted(outside.registry())]
    return tuple(found)


# ------------------------------------------------------------------------------------------------------------ the real surroundings


def real_surroundings() -> Surroundings:
    """This process's own environment, folders and registry."""
    return Surroundings(
        environ=os.environ,
        application_directory=_application_directory,
        config_directories=_config_directories,
        registry=_registry,
    )


def _application_directory() -> str | None:
    if getattr(sys, "frozen", False):  # PyInstaller, cx_Freeze and Nuitka's kin set it: the executable is the application
        return os.path.dirname(os.path.realpath(sys.executable))
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    return None if file is None else os.path.dirname(os.path.realpath(file))


def _config_directories(app: str) -> tuple[tuple[str, str], ...]:
    from platformdirs import PlatformDirs  # late: an INI beside the application needs none of it

    try:
        directories = PlatformDirs(app, appauthor=False, multipath=True)
    except ValueError as error:
        raise ConfigError(f"The application's name names a folder of its settings, and cannot be {app!r}: {error}.") from error
    sites = directories.site_config_dir.split(os.pathsep)
    return (("config folder of the user", directories.user_config_dir), *(("config folder of the site", site) for site in sites))


def _registry() -> tuple[tuple[str, str], ...]:
    """The values under ``FLEXlm License Manager``, of this user and of the machine, each as its path and its text."""
    found: list[tuple[str, str]] = []
    if sys.platform == "win32":
        import winreg

        for hive, name in ((winreg.HKEY_CURRENT_USER, "HKCU"), (winreg.HKEY_LOCAL_MACHINE, "HKLM")):
            try:
                with winreg.OpenKey(hive, _FLEXLM_KEY) as key:
                    values = [winreg.EnumValue(key, index) for index in range(winreg.QueryInfoKey(key)[1])]
            except OSError:  # no FLEXnet program has written there
                continue
            found += [(f"{name}\\{_FLEXLM_KEY}\\{value}", str(data)) for value, data, _ in values]
    return tuple(found)


_FLEXLM_KEY = r"SOFTWARE\FLEXlm License Manager"
