"""The pytest plugin: fixtures ``triad`` and ``triad_ini``, marker ``triad`` (docs/howto/test-your-application.md).

Its entry point loads it into every session of an environment that has palclient, so nothing else is loaded before a test asks for a triad.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from fakeserver.cluster import FakeTriad

KEPT = 3  # ours: triads that a session keeps for the tests to come, one for each choice of settings; each is three processes

PASSING = frozenset({"license_file", "options_file", "ports", "start", "state_dir"})
"""A triad with one of these settings is for one test: others may want the same port or folder, or the file may change."""


class Stable:
    """The triads of a session.  Under pytest-xdist each worker has its own."""

    def __init__(self) -> None:
        self._triads: dict[str, FakeTriad] = {}  # by their settings, the one of the latest test last

    def fresh(self, settings: dict[str, Any]) -> FakeTriad:
        """A triad that serves, as if it had just been started.  Raises what ``FakeTriad`` raises for settings that it does not take."""
        key = repr(sorted(settings.items()))
        triad = self._triads.pop(key, None)
        if triad is None or not _is_reset(triad):
            triad = started(settings)
        self._triads[key] = triad
        while len(self._triads) > KEPT:
            self._triads.pop(next(iter(self._triads))).close()
        return triad

    def close(self) -> None:
        """End all processes."""
        while self._triads:
            self._triads.popitem()[1].close()


def started(settings: dict[str, Any]) -> FakeTriad:
    """A new triad; it serves, unless fewer than two nodes were to be started."""
    from fakeserver.cluster import FakeTriad

    with ExitStack() as stack:
        triad = stack.enter_context(FakeTriad(**settings))
        if sum(node.is_running for node in triad.nodes) > 1:
            triad.wait_until_serving(timeout=15.0)  # twenty may start at once on a small machine
        stack.pop_all()
    return triad


def _is_reset(triad: FakeTriad) -> bool:
    """Let a triad begin anew; whether it could: a test may have closed it, or broken it for good."""
    from fakeserver.process import FakeTriadError

    if triad.is_open:
        try:
            triad.reset()
        except FakeTriadError:
            triad.close()
    return triad.is_open


def settings_of(node: pytest.Item) -> dict[str, Any]:
    """What the markers of a test say; what is said nearer to the test counts."""
    settings: dict[str, Any] = {}
    for marker in node.iter_markers("triad"):
        if marker.args:
            raise pytest.UsageError(f"{node.nodeid}: the marker triad takes keywords alone, such as triad(features={{'RISK_IND80': 5}}).")
        settings = {**marker.kwargs, **settings}
    return settings


@pytest.fixture(scope="session")
def _triad_stable() -> Iterator[Stable]:
    stable = Stable()
    yield stable
    stable.close()


@pytest.fixture
def triad(request: pytest.FixtureRequest, _triad_stable: Stable) -> Iterator[FakeTriad]:
    """A fake triad that serves, fresh for this test: no seat is taken, no fault is played.  The marker ``triad`` says which features it has."""
    settings = settings_of(request.node)
    if settings.keys() & PASSING:
        triad = started(settings)
        yield triad
        triad.close()
    else:
        yield _triad_stable.fresh(settings)


@pytest.fixture
def triad_ini(triad: FakeTriad, tmp_path: Path) -> Path:
    """The path of an INI file whose SERVERNAME is the ``triad`` of this test."""
    return triad.write_ini(tmp_path / "Palisade_NetworkClient.ini")


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", "triad(features={...}, ...): the arguments of fakeserver.FakeTriad for the fixture triad of this test")


@pytest.hookimpl(hookwrapper=True)  # pytest before version 8 knows no other
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, None]:
    """To the report of a test that failed, add what happened in its triad."""
    outcome = yield
    report = outcome.get_result()
    triad: Any = getattr(item, "funcargs", {}).get("triad")
    if report.failed and call.when == "call" and type(triad).__module__ == "fakeserver.cluster":
        report.sections.append(("Journal of the triad", str(triad.journal)))
