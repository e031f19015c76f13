"""palclient, and the fake triad as processes: the checkout that an application writes, with a timeout."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import palclient
from fakeserver import FakeTriad
from fakeserver.process import FakeTriadError
from palclient import CheckoutDenied, Client, Lease, PalError
from palclient.transport import monotonic
from tests.chaos.crew import Stuck
from tests.compare.peer import HEARTBEAT_S, PATIENCE_S, POOLS, TTL_S, Failed, NoSeat, Seat
from tests.compare.servers import wait_until

NAME = "palclient"
START_S = 20.0


class Ours:
    """The triad."""

    name = NAME
    version = f"palclient {palclient.__version__} and its fake triad, Python {platform.python_version()}"
    settings = f"heartbeat_s={HEARTBEAT_S:g}, ttl_s={TTL_S:g}, fsync=True; checkout(timeout={PATIENCE_S:g}, wait={PATIENCE_S:g})"

    def __init__(self) -> None:
        self._open: FakeTriad | None = None

    @property
    def triad(self) -> FakeTriad:
        """Started."""
        assert self._open is not None
        return self._open

    def start(self, folder: Path) -> None:
        """Three processes."""
        self._open = FakeTriad(features=POOLS, heartbeat_s=HEARTBEAT_S, ttl_s=TTL_S, fsync=True, state_dir=folder)
        self._open.__enter__()
        self.wait_whole(START_S)

    def access(self) -> dict[str, Any]:
        """Where they are."""
        return {"servername": self.triad.servername}

    def leader(self) -> int | None:
        """The one that serves."""
        return next((number for number, node in enumerate(self.triad.nodes) if node.is_master), None)

    def elected_at(self, since: float, old: int) -> float | None:
        """By the new master's own journal."""
        roles = [node.role for node in self.triad.nodes]
        return next((entry.at_s for entry in self.triad.journal.named("serving") if entry.at_s > since and entry.node != roles[old]), None)

    def kill(self, node: int) -> None:
        """SIGKILL."""
        self.triad.nodes[node].kill()

    def restart(self, node: int) -> None:
        """On the same port and state."""
        self.triad.nodes[node].restart()

    def freeze(self, node: int) -> None:
        """SIGSTOP."""
        self.triad.nodes[node].pause()

    def thaw(self, node: int) -> None:
        """SIGCONT."""
        self.triad.nodes[node].resume()

    def wait_whole(self, limit_s: float) -> None:
        """The primary serves, with both others behind it."""
        wait_until(lambda: self.triad.primary.is_master, limit_s, "the primary serves")
        try:
            self.triad.wait_until_serving(limit_s)
        except FakeTriadError as error:
            raise Stuck(str(error)) from error

    def taken(self) -> int:
        """By the master's usage."""
        try:
            return sum(len(feature["holders"]) for feature in self.triad.usage()["features"])
        except FakeTriadError as error:
            raise Stuck(str(error)) from error

    def stop(self) -> None:
        """Kill the processes."""
        if self._open is not None:
            self._open.close()
            self._open = None


def peer() -> Ours:
    """Ours is never absent."""
    return Ours()


class OurDesk:
    """A Client."""

    def __init__(self, servername: str) -> None:
        self._client = Client(servername)

    def acquire(self, pool: str) -> Seat:
        """A checkout that waits in line."""
        try:
            return OurSeat(self._client.checkout(pool, timeout=PATIENCE_S, wait=PATIENCE_S))
        except CheckoutDenied as error:
            raise NoSeat from error
        except PalError as error:
            raise Failed(f"{type(error).__name__}: {error}") from error

    def close(self) -> None:
        """With all that it holds."""
        self._client.close()


class OurSeat:
    """A Lease."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease

    def believed_until(self) -> float | None:
        """``expires_in``, on the client's own clock."""
        now = monotonic()
        left_s = self._lease.expires_in()
        return now + left_s if left_s > 0 else None

    def wait_change(self, timeout_s: float) -> None:
        """``wait_lost``."""
        self._lease.wait_lost(timeout_s)

    def give_back(self) -> None:
        """``checkin``, which raises nothing."""
        self._lease.checkin()


def desk(access: dict[str, Any], _name: str) -> OurDesk:
    """The worker's side."""
    return OurDesk(access["servername"])
