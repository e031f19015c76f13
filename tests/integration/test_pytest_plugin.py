"""The pytest plugin (issue "the triad in full"): a fresh triad for each test without restarting processes, and the page that shows its use."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
import uuid
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fakeserver import FakeTriad, pytest_plugin
from fakeserver.pytest_plugin import KEPT, Stable, settings_of
from tests.integration.test_fake_triad import in_use, take_seat

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "howto" / "test-your-application.md"
LIMIT_S = 50.0

IMPORT_AND_LOOK = """
import json, sys
sys.path.insert(0, sys.argv[1])
import pytest
before = set(sys.modules)
import fakeserver.pytest_plugin
print(json.dumps(sorted(set(sys.modules) - before)))
"""

FAILING = """
import pytest

@pytest.mark.triad(features={"X": 1})
def test_that_fails(triad):
    triad.tertiary.pause()
    assert triad.usage()["features"] == []

@pytest.mark.triad({"X": 1})
def test_with_a_wrong_marker(triad):
    pass
"""


@pytest.fixture
def stable() -> Iterator[Stable]:
    """The triads of a session."""
    stable = Stable()
    yield stable
    stable.close()


def run_suite(folder: Path, *options: str, limit_s: float = LIMIT_S) -> subprocess.CompletedProcess[str]:
    """A session of pytest in a folder, with our plugin and no other, found by its entry point."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "fakeserver", "-p", "no:cacheprovider", "--rootdir", str(folder), *options]
    environment = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT), "PATH": ""}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=limit_s, check=False)


# --- what it costs, and how it is found ---------------------------------------------------------------------------------------------


def test_importing_the_plugin_loads_nothing_heavy() -> None:
    """Issue "the triad in full": it is loaded into every session, so it brings itself alone."""
    done = subprocess.run([sys.executable, "-c", IMPORT_AND_LOOK, str(ROOT)], capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == ["fakeserver", "fakeserver.pytest_plugin"]


def test_pytest_finds_the_plugin_by_its_entry_point() -> None:
    """Design page "api": the entry point ``pytest11``."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["pytest11"] == {"fakeserver": pytest_plugin.__name__}
    (found,) = metadata.entry_points(group="pytest11", name="fakeserver")
    assert found.load() is pytest_plugin


# --- a fresh triad for each test ----------------------------------------------------------------------------------------------------


@pytest.mark.real
@pytest.mark.triad(features={"X": 2})
def test_a_test_gets_a_triad_that_serves_and_a_file_that_names_it(triad: FakeTriad, triad_ini: Path) -> None:
    """Design page "api": the fixtures, in this very session."""
    assert triad.primary.is_master
    assert triad_ini.read_text(encoding="ascii") == f"[Network]\nSERVERNAME={triad.servername}\n"
    assert triad.usage()["features"][0]["total"] == 2


@pytest.mark.real
def test_the_next_test_finds_no_trace_of_the_one_before(stable: Stable) -> None:
    """Issue "the triad in full": a fresh state for each test without restarting processes."""
    settings: dict[str, Any] = {"features": {"X": 2}}
    triad = stable.fresh(settings)
    pids = [node.pid for node in triad.nodes]
    assert take_seat(triad.primary, str(uuid.uuid4()))[0] == 201
    triad.tertiary.pause()
    triad.primary.refuse()
    assert stable.fresh(settings) is triad
    assert [node.pid for node in triad.nodes] == pids
    assert triad.primary.is_master
    assert in_use(triad) == 0
    assert [node.faults for node in triad.nodes] == [(), (), ()]
    triad.primary.kill()
    assert stable.fresh(settings) is triad
    assert [node.state for node in triad.nodes] == ["master", "standby", "standby"]


@pytest.mark.real
@pytest.mark.slow
def test_a_triad_that_a_test_closed_is_replaced_and_few_are_kept(stable: Stable) -> None:
    """Style 15: bounded; whatever a test does, the next one has a triad."""
    first = stable.fresh({"features": {"X": 1}})
    first.close()
    triads = [stable.fresh({"features": {"X": seats}}) for seats in range(1, KEPT + 2)]
    assert triads[0] is not first
    assert [triad.is_open for triad in triads] == [False] + [True] * KEPT
    stable.close()
    assert not any(triad.is_open for triad in triads)


def test_the_marker_nearest_to_the_test_counts() -> None:
    """docs/howto/test-your-application.md."""
    near, far = pytest.mark.triad(features={"X": 1}), pytest.mark.triad(features={"Y": 2}, heartbeat_s=0.2)
    item: Any = SimpleNamespace(nodeid="test_x", iter_markers=lambda _name: [near.mark, far.mark])
    assert settings_of(item) == {"features": {"X": 1}, "heartbeat_s": 0.2}


# --- suites of others ---------------------------------------------------------------------------------------------------------------


@pytest.mark.real
def test_the_suite_on_the_page_passes(tmp_path: Path) -> None:
    """docs/howto/test-your-application.md: an imaginary application's suite, run as its author would."""
    files = re.findall(r'^```py\n("""(\w+\.py): .*?)^```$', PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    assert [name for _, name in files] == ["valuation.py", "test_valuation.py"]
    for content, name in files:
        (tmp_path / name).write_text(content, encoding="utf-8")
    done = run_suite(tmp_path, "-W", "error")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^6 passed in ", done.stdout, flags=re.MULTILINE), done.stdout


@pytest.mark.real
def test_the_report_of_a_failed_test_tells_what_happened_in_its_triad(tmp_path: Path) -> None:
    """docs/howto/test-your-application.md; and a marker that cannot be read is no silent default."""
    (tmp_path / "test_it.py").write_text(FAILING, encoding="utf-8")
    done = run_suite(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    journal = done.stdout.partition("Journal of the triad")[2]
    assert re.search(r"primary +serving term=1 ", journal), done.stdout
    assert re.search(r"tertiary +paused", journal), done.stdout
    assert "the marker triad takes keywords alone" in done.stdout
    assert "1 failed, 1 error" in done.stdout


SIDE_BY_SIDE = """
import os, time
from pathlib import Path
import pytest
from palclient import Client

MEETING = Path(__file__).parent / "met"

@pytest.mark.triad(features={"X": 1}, heartbeat_s=1.0)
@pytest.mark.parametrize("number", range(20))
def test_one_of_twenty(triad, number):
    with Client(triad.servername, timeout=60.0) as client, client.checkout("X") as lease:
        MEETING.mkdir(exist_ok=True)
        (MEETING / os.environ["PYTEST_XDIST_WORKER"]).touch()
        until = time.monotonic() + 60.0
        while len(list(MEETING.iterdir())) < 20:
            assert time.monotonic() < until, "twenty triads are not there at once"
            time.sleep(0.05)
        triad.primary.kill()
        triad.wait_for_master(timeout=60.0)
        assert client.usage()[0].in_use == 1
        assert lease.valid
"""


@pytest.mark.real
@pytest.mark.slow
def test_twenty_triads_serve_side_by_side(tmp_path: Path) -> None:
    """Issue "the triad in full", figures: under pytest-xdist, all at one time, each through the loss of its master."""
    (tmp_path / "test_it.py").write_text(SIDE_BY_SIDE, encoding="utf-8")
    done = run_suite(tmp_path, "-p", "xdist", "-n", "20", "--dist", "load", "--maxschedchunk", "1", limit_s=240.0)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "20 passed" in done.stdout
