"""What a user installs: the wheel, in an environment of its own, used from a folder of its own.

The environments begin empty.  The wheel goes in as pip puts it there; what its own metadata asks for is copied from the environment that runs the
tests, distribution by distribution, instead of being downloaded.  So the tests need no network, take seconds, and see a dependency that
nobody declared: what is not asked for is not there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from textwrap import dedent

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

pytestmark = pytest.mark.real

ROOT = Path(__file__).resolve().parents[2]
WINDOWS = sys.platform == "win32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """An environment that holds the wheel and what it asked for."""

    path: Path
    elsewhere: Path

    @property
    def programs(self) -> Path:
        """Where its interpreter and its console scripts are."""
        return self.path / ("Scripts" if WINDOWS else "bin")

    @property
    def packages(self) -> Path:
        """Where its packages are."""
        return next(self.path.glob("**/site-packages"))

    def run(self, *command: str | Path) -> str:
        """What ``command`` says on stdout, run in a folder that is not the checkout.  It must end well and be silent on stderr."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PALCLIENT"))}
        done = subprocess.run(command, cwd=self.elsewhere, env=clean, capture_output=True, text=True, check=False, timeout=30)
        assert (done.returncode, done.stderr) == (0, ""), f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def python(self, program: str) -> str:
        """What ``program`` prints in this environment."""
        return self.run(self.programs / "python", "-c", dedent(program))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def plain(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """``pip install palclient``."""
    return install(wheel, frozenset({""}), tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def with_fakeserver(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """``pip install palclient[fakeserver]``."""
    return install(wheel, frozenset({"", "fakeserver"}), tmp_path_factory.mktemp("fakeserver"))


def pip(*arguments: str | Path) -> None:
    """Run pip without a look at any index."""
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    subprocess.run(command, check=True, timeout=60, env=os.environ | {"PIP_NO_INDEX": "1"})


def install(wheel: Path, extras: frozenset[str], folder: Path) -> Installed:
    """A new environment with ``wheel`` and what its metadata asks for under ``extras`` (the empty name: without any)."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "env"], check=True, timeout=60)
    (folder / "elsewhere").mkdir()
    installed = Installed(path=folder / "env", elsewhere=folder / "elsewhere")
    pip("--python", installed.programs / "python", "install", "--no-deps", wheel)
    (metadata,) = installed.packages.glob("palclient-*.dist-info/METADATA")
    asked = [line.partition(":")[2] for line in metadata.read_text(encoding="utf-8").splitlines() if line.startswith("Requires-Dist:")]
    for name in sorted(closure(asked, extras)):
        copy_distribution(name, installed.packages)
    return installed


def closure(asked: list[str], extras: frozenset[str]) -> set[str]:
    """The names of all distributions that ``asked`` needs on this system, directly or not."""
    names: set[str] = set()
    waiting = list(needed(asked, extras))
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name not in names:
            names.add(name)
            waiting += needed(distribution(name).requires or [], frozenset({"", *requirement.extras}))
    return names


def needed(asked: list[str], extras: frozenset[str]) -> Iterator[Requirement]:
    """Those of ``asked`` that hold on this system under ``extras``."""
    for requirement in map(Requirement, asked):
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in extras):
            yield requirement


def copy_distribution(name: str, target: Path) -> None:
    """Copy the files of an installed distribution, but for its console scripts."""
    for file in distribution(name).files or []:
        if ".." not in file.parts and Path(str(file.locate())).is_file():
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(str(file.locate()), target / file)


def test_both_packages_are_installed_with_their_types(plain: Installed) -> None:
    """Issue "the main job": the wheel holds both import packages, and a type checker reads both (PEP 561)."""
    found = plain.python("""
        from importlib.util import find_spec
        print(*find_spec("palclient").submodule_search_locations, *find_spec("fakeserver").submodule_search_locations)
    """).split()
    assert found == [str(plain.packages / "palclient"), str(plain.packages / "fakeserver")]
    assert all((plain.packages / name / "py.typed").is_file() for name in ("palclient", "fakeserver"))


def test_the_wheel_holds_nothing_else(plain: Installed) -> None:
    """Issue "the main job": no tests and no tools land in a user's environment."""
    (record,) = plain.packages.glob("palclient-*.dist-info/RECORD")
    tops = {line.partition("/")[0] for line in record.read_text(encoding="utf-8").splitlines() if not line.startswith("..")}
    assert tops == {"palclient", "fakeserver", record.parent.name}


def test_every_module_of_the_client_imports_without_an_extra(plain: Installed) -> None:
    """Design page "architecture", budgets: what is not declared as required is an extra, and nobody needs it to import the SDK."""
    names = plain.python("""
        import importlib, palclient, pkgutil
        for module in pkgutil.walk_packages(palclient.__path__, "palclient."):
            importlib.import_module(module.name)
            print(module.name)
    """).split()
    assert {"palclient.client", "palclient.cli.demo"} <= set(names)


def test_the_console_script_answers(plain: Installed) -> None:
    """Design page "api", the command line: `palclient` is on the PATH of whoever installed it, and needs no extra to explain itself."""
    assert "demo" in plain.run(plain.programs / "palclient", "--help")


def test_a_checkout_from_another_folder(with_fakeserver: Installed) -> None:
    """Issue "the main job": client and triad work together where they are installed, the triad's processes included."""
    said = with_fakeserver.python("""
        from fakeserver import FakeTriad
        from palclient import checkout

        with FakeTriad(features={"RISK_IND80": 5}) as triad:
            triad.wait_for_master(timeout=10)
            with checkout("RISK_IND80", servers=triad.servername) as lease:
                print(lease.state.name)
    """)
    assert said.split() == ["HELD"]
