"""Still weather, and clients that do only what a scenario says."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from palclient.core.flow import Call
from palclient.errors import PalError
from tests.simulation.clients import VirtualClient
from tests.simulation.history import FEATURE, History
from tests.simulation.profiles import PROFILES


class Stage(History):
    """A triad that serves in still weather, and clients that do only what a scenario says."""

    def __init__(self, seed: int = 1) -> None:
        calm = replace(PROFILES["mixed"], faults=0, loss=0.0, double=0.0, slow_share=0.0, drift=0.0)
        super().__init__(seed, calm, keeps_story=True, uses_wire=True)
        self.asked: list[tuple[str, Call]] = []
        for node in self.nodes:
            node.start()
        self.world.run_until(2.0)

    def checkout(self, client: VirtualClient, count: int = 1, timeout_s: float = 8.0) -> tuple[str, list[PalError | None]]:
        """Ask, and let time pass until the answer; gives the id and a list that holds how it ended."""
        ended: list[PalError | None] = []
        lease_id = client.checkout(FEATURE, count, timeout_s, 0.0, lambda _id, error: ended.append(error))
        self.world.run_until(self.world.now + timeout_s + 1)
        return lease_id, ended


def apart_for(stage: Stage, seconds: float) -> None:
    """Primary and secondary hear each other no more; no weather is calm from here on."""
    stage.world.weather.cut |= {("primary", "secondary"), ("secondary", "primary")}
    stage.checks.last_trouble = float("inf")
    stage.world.run_until(stage.world.now + seconds)


def ask_often(stage: Stage, seconds: float) -> None:
    """A checkout a quarter of a second, each by the next client, so that whoever serves has something to answer."""
    for number in range(int(4 * seconds)):
        client = stage.clients[number % len(stage.clients)]
        stage.world.after(number / 4, partial(client.checkout, FEATURE, 1, 1.0, 0.0, whatever))
    stage.world.run_until(stage.world.now + seconds)


def found_on(stage: Stage) -> tuple[str, ...]:
    """The names of the checkers that complained."""
    return tuple(sorted({violation.checker for violation in stage.checks.violations}))


def whatever(_lease_id: str, _error: PalError | None) -> None:
    """How the checkout ends is not asked."""
