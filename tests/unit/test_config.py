"""find_servername: which place wins, what is told of the others, and what outranks an INI on real machines.

The trails and the texts of the errors stand in tests/scenarios/config.txt.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from palclient.config import Config, Surroundings, find_outranking, find_servername, real_surroundings
from palclient.errors import ConfigError, IniError, ServerNameError
from palclient.servername import parse_servername


def no_folders(app: str) -> tuple[tuple[str, str], ...]:
    """Where there are no config folders."""
    del app
    return ()


def outside(
    *,
    environ: Mapping[str, str] | None = None,
    application: str | None = None,
    folders: Callable[[str], tuple[tuple[str, str], ...]] = no_folders,
    registry: tuple[tuple[str, str], ...] = (),
) -> Surroundings:
    """Surroundings in which there is only what a test puts there."""
    return Surroundings(environ=environ or {}, application_directory=lambda: application, config_directories=folders, registry=lambda: registry)


def ini(folder: Path, host: str, name: str = "palclient.ini") -> Path:
    """An INI file in ``folder`` that names ``host``."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(f"[License]\r\nSERVERNAME=27000@{host}\r\n".encode())
    return path


def test_the_first_place_that_says_something_wins(tmp_path: Path) -> None:
    """I4: the order of the seven places, from the last to the first."""
    folders = {name: tmp_path / name for name in ("application", "user", "site", "site2")}
    found = []

    def look(environ: Mapping[str, str], **arguments: Any) -> None:
        there = outside(
            environ=environ,
            application=str(folders["application"]),
            folders=lambda _: (("user", str(folders["user"])), ("site", str(folders["site"])), ("site", str(folders["site2"]))),
        )
        found.append(str(find_servername(surroundings=there, **arguments).servername))

    for name in ("site2", "site", "user", "application"):
        ini(folders[name], name)
        look({})
    by_variable, by_argument = ini(tmp_path, "PALCLIENT_INI", "1.ini"), ini(tmp_path, "ini", "2.ini")
    environ = {"PALCLIENT_INI": str(by_variable)}
    look(environ)
    environ["PALCLIENT_SERVERNAME"] = "27000@PALCLIENT_SERVERNAME"
    look(environ)
    look(environ, ini=by_argument)
    look(environ, ini=by_argument, servers="27000@servers")
    expected = ["site2", "site", "user", "application", "PALCLIENT_INI", "PALCLIENT_SERVERNAME", "ini", "servers"]
    assert found == [f"27000@{name}" for name in expected]


def test_palisades_own_file_name_comes_first_in_each_folder(tmp_path: Path) -> None:
    """I4: the file names looked for."""
    ini(tmp_path, "second", "palclient.ini")
    ini(tmp_path, "first", "Palisade_NetworkClient.ini")
    assert find_servername(surroundings=outside(application=str(tmp_path))).servername.primary.host == "first"


def test_an_application_can_name_its_own_files_and_folders(tmp_path: Path) -> None:
    """I4."""
    ini(tmp_path, "wrong", "palclient.ini")
    ini(tmp_path / "risk", "right", "risk.ini")
    there = outside(application=str(tmp_path), folders=lambda app: (("user", str(tmp_path / app)),))
    config = find_servername(app="risk", ini_names=["risk.ini"], surroundings=there)
    assert config.servername.primary.host == "right"


def test_the_trail_tells_every_place_and_ends_with_the_winner(tmp_path: Path) -> None:
    """I4: the winner with its reason can be shown."""
    path = ini(tmp_path, "lic1")
    config = find_servername(surroundings=outside(environ={"PALCLIENT_INI": ""}, application=str(tmp_path)))
    assert [str(look) for look in config.trail] == [
        "variable PALCLIENT_SERVERNAME: not set",
        "variable PALCLIENT_INI: empty",
        f"folder of the application: {tmp_path / 'Palisade_NetworkClient.ini'}: no such file",
        f"folder of the application: {path}: SERVERNAME is 27000@lic1",
    ]
    assert config.source == config.trail[-1].place


def test_a_parsed_servername_is_taken_as_it_is() -> None:
    """I4: the argument servers=."""
    servername = parse_servername("27000@lic1")
    config = find_servername(servers=servername, surroundings=outside())
    assert config.servername is servername
    assert (config.path, config.warnings, config.is_outdated()) == (None, (), False)


def test_a_list_of_servers_is_told_that_one_text_is_wanted() -> None:
    """Style 14: a likely mistake gets its own words."""
    servers: Any = ["27000@lic1", "27000@lic2", "27000@lic3"]
    with pytest.raises(ConfigError, match="is a list, and should be one text"):
        find_servername(servers=servers)


def test_an_empty_argument_is_an_error_and_not_passed_by() -> None:
    """N5, I4: servers= was given."""
    with pytest.raises(ServerNameError, match="argument servers=, column 1: SERVERNAME is empty"):
        find_servername(servers="", surroundings=outside(environ={"PALCLIENT_SERVERNAME": "lic1"}))


class BytesPath:
    """A path of bytes, as ``os.scandir`` gives them for a folder in bytes."""

    def __fspath__(self) -> bytes:
        return b"a.ini"


@pytest.mark.parametrize(
    "path, words", [(5, "is of the type int"), (b"a.ini", "is of the type bytes"), ("", "is empty"), (BytesPath(), "is of the type BytesPath")]
)
def test_an_argument_that_is_no_path_is_told_so(path: Any, words: str) -> None:
    """api.md, Errors: no foreign exception leaves the SDK; bytes would be taken for the content of a file."""
    with pytest.raises(ConfigError, match=rf"^argument ini=: {words}, and should be the path of an INI file\.\nWrite ini=r\"C:\\ProgramData"):
        find_servername(ini=path, surroundings=outside())


def test_a_path_that_is_given_and_cannot_be_read_is_named_once(tmp_path: Path) -> None:
    """The trail has nothing to add where one place alone was looked at."""
    path = str(tmp_path / "none.ini")
    with pytest.raises(IniError) as caught:
        find_servername(ini=path, surroundings=outside())
    assert str(caught.value).count(path) == 1
    with pytest.raises(IniError, match="variable PALCLIENT_INI names") as caught:  # there it tells who named it
        find_servername(surroundings=outside(environ={"PALCLIENT_INI": path}))


def test_a_named_file_must_exist_and_no_other_is_tried(tmp_path: Path) -> None:
    """I4: first match wins; a file that was named is a match."""
    ini(tmp_path, "lic1")
    there = outside(application=str(tmp_path), environ={"PALCLIENT_INI": str(tmp_path / "gone.ini")})
    with pytest.raises(IniError, match="No such file") as caught:
        find_servername(surroundings=there)
    assert caught.value.path == str(tmp_path / "gone.ini")
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_a_searched_file_that_cannot_be_read_is_an_error_with_the_trail(tmp_path: Path) -> None:
    """I3, I4: whoever put it there wanted it to be read."""
    (tmp_path / "palclient.ini").mkdir()
    with pytest.raises(IniError, match=r"a folder or a device(?s:.*)Looked at, in this order"):
        find_servername(surroundings=outside(application=str(tmp_path)))


def test_a_searched_file_that_contradicts_itself_is_an_error(tmp_path: Path) -> None:
    """I2."""
    (tmp_path / "palclient.ini").write_text("[a]\nSERVERNAME=27000@a\n[b]\nSERVERNAME=27000@b\n")
    with pytest.raises(IniError, match="different values"):
        find_servername(surroundings=outside(application=str(tmp_path)))


def test_no_servername_anywhere_is_an_error_that_lists_the_places() -> None:
    """I4; api.md: what was tried, in which order, what to do next."""
    with pytest.raises(ConfigError) as caught:
        find_servername(surroundings=outside())
    assert not isinstance(caught.value, IniError)
    for part in ("PALCLIENT_SERVERNAME: not set", "PALCLIENT_INI: not set", "folder of the application: none", "Write a file palclient.ini"):
        assert part in str(caught.value)


def test_without_platformdirs_the_rest_is_still_looked_at() -> None:
    """R9: the one-file tool has the standard library alone."""

    def missing(app: str) -> tuple[tuple[str, str], ...]:
        raise ModuleNotFoundError(app)

    with pytest.raises(ConfigError, match="platformdirs is not installed here"):
        find_servername(surroundings=outside(folders=missing))


def test_a_change_of_the_file_is_noticed(tmp_path: Path) -> None:
    """api.md: the INI is read again when its mtime or size changed."""
    path = ini(tmp_path, "lic1")

    def found() -> Config:
        return find_servername(ini=path, surroundings=outside())

    config = found()
    assert (config.path, config.size_bytes, config.is_outdated()) == (str(path), path.stat().st_size, False)
    ini(tmp_path, "longer")
    assert config.is_outdated()
    config = found()
    os.utime(path, ns=(0, 0))
    assert config.is_outdated()
    path.unlink()
    assert config.is_outdated()


def test_warnings_of_the_file_come_along(tmp_path: Path) -> None:
    """I1: later keys are warned about."""
    path = ini(tmp_path, "lic1")
    path.write_bytes(path.read_bytes() * 2)
    assert [warning.line for warning in find_servername(ini=path, surroundings=outside()).warnings] == [4]


def test_what_outranks_an_ini_for_flexnet_is_reported_and_never_used() -> None:
    """I5."""
    there = outside(
        environ={"RISK_LICENSE_FILE": "27000@r", "LM_LICENSE_FILE": "27000@l", "LICENSE_FILE": "x", "MY_LICENSE_FILES": "x", "PATH": "/"},
        registry=(("HKCU\\SOFTWARE\\FLEXlm License Manager\\LM_LICENSE_FILE", "27000@h"),),
    )
    assert [(found.name, found.value, found.place) for found in find_outranking(surroundings=there)] == [
        ("LM_LICENSE_FILE", "27000@l", "environment"),
        ("RISK_LICENSE_FILE", "27000@r", "environment"),
        ("HKCU\\SOFTWARE\\FLEXlm License Manager\\LM_LICENSE_FILE", "27000@h", "registry"),
    ]
    with pytest.raises(ConfigError):
        find_servername(surroundings=there)


def test_nothing_is_asked_for_before_it_is_needed() -> None:
    """architecture.md: the common case pays for nothing."""

    def never(*_: object) -> Any:
        raise AssertionError

    there = Surroundings(environ={}, application_directory=never, config_directories=never, registry=never)
    find_servername(servers="27000@lic1", surroundings=there)


def test_platformdirs_is_imported_only_when_folders_are_searched(tmp_path: Path) -> None:
    """architecture.md: importing is cheap."""
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\nfrom palclient.config import find_servername\nprint(find_servername().source)\nprint('platformdirs' in sys.modules)\n"
    )
    path = ini(tmp_path, "lic1")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PALCLIENT_")}
    environ["PYTHONPATH"] = str(Path(__file__).parents[2])
    result = subprocess.run([sys.executable, program], capture_output=True, text=True, check=True, env=environ, cwd=tmp_path)
    assert result.stdout.splitlines() == [f"folder of the application: {path.resolve()}", "False"]


def test_the_real_folders_are_those_of_the_application(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """I4: of the executable when frozen; directories come from platformdirs for the application's name."""
    real = real_surroundings()
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "risk.exe"))
    assert real.application_directory() == str(tmp_path.resolve())
    folders = real.config_directories("risk-application")
    assert folders[0][0] == "config folder of the user"
    assert folders[1:]
    assert all("risk-application" in folder for _, folder in folders)


@pytest.mark.skipif(sys.platform == "win32", reason="a real registry may hold anything")
def test_there_is_no_registry_off_windows() -> None:
    """I5."""
    assert real_surroundings().registry() == ()


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize(
    "text, kind, found",
    [
        ("[A]\nSERVERNAME=a;b\n", ServerNameError, "line 2, column 13: a semicolon stands between two servers."),
        ("[A]\nSERVERNAME=a\n[B]\nSERVERNAME=b\n", IniError, "line 4, column 12: two sections give SERVERNAME different values."),
    ],
)
def test_a_value_that_cannot_be_used_tells_how_it_was_come_by(tmp_path: Path, text: str, kind: type[ConfigError], found: str, *, named: bool) -> None:
    """I4: with the places before it, as any other error of the search; what the error itself knows is kept."""
    path = tmp_path / "palclient.ini"
    path.write_text(text, encoding="ascii")
    there = outside(environ={"PALCLIENT_INI": str(path)} if named else {}, application=str(tmp_path))
    with pytest.raises(kind) as caught:
        find_servername(surroundings=there)
    place = f"variable PALCLIENT_INI names {path}" if named else f"folder of the application: {path}"
    assert caught.value.advice.endswith(f"    {place}: {found}")
    assert "Looked at, in this order:\n    variable PALCLIENT_SERVERNAME: not set\n" in caught.value.advice
    assert (caught.value.path, caught.value.line) == (str(path), int(found.split()[1].rstrip(",")))
