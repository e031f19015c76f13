"""What every system that is compared must be able to do: its servers as the run holds them, and its client as a worker process holds it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

TTL_S = 5.0  # of a lease, everywhere
HEARTBEAT_S = 0.2
SILENCE_S = 0.8  # after which a leader counts as lost, everywhere; what an election takes beyond it is each system's own
PATIENCE_S = 5.0  # of a caller
REQUEST_S = 0.5  # after which a client gives up a request that is not answered, where it can be told so
POLL_S = 0.05  # between two tries of a recipe that has to try again
READ_S = 0.1  # between two looks at a seat that is held
NODES = 3

RACE, WIDE = "RACE", "WIDE"
POOLS = {RACE: 3, WIDE: 50}
"""Four clients fight over the seats of one; of the other there is always one to be had."""


class Absent(Exception):
    """A peer cannot be played here; the message says what is missing."""


class NoSeat(Exception):
    """The pool was full for as long as the caller waits.  No error."""


class Failed(Exception):
    """What reaches the caller when there was no answer: the library's own error, by name and text."""


class Seat(Protocol):
    """A seat that was taken."""

    def believed_until(self) -> float | None:
        """By what its API tells now, until when it is held (``tests.compare.peer`` knows no clock but ``palclient.transport.monotonic``); None: lost for good."""

    def wait_change(self, timeout_s: float) -> None:
        """Block until that may have changed, for so long at most."""

    def give_back(self) -> None:
        """Return it.  Raises Failed."""


class Desk(Protocol):
    """A client, with what it takes to be renewed; used by several threads."""

    def acquire(self, pool: str) -> Seat:
        """Take a seat, with PATIENCE_S.  Raises NoSeat and Failed."""

    def close(self) -> None:
        """The end."""


class Peer(Protocol):
    """A system: three nodes on the loopback interface."""

    @property
    def name(self) -> str:
        """As on the command line."""

    @property
    def version(self) -> str:
        """Of servers and client library."""

    @property
    def settings(self) -> str:
        """What was set, in one line."""

    def start(self, folder: Path) -> None:
        """Three nodes in a clean state that follow one leader.  Raises Stuck."""

    def access(self) -> dict[str, Any]:
        """What a worker process must be told to make its Desk, as JSON."""

    def leader(self) -> int | None:
        """Which node leads, as far as those say that are neither killed nor frozen; None while none does."""

    def elected_at(self, since: float, old: int) -> float | None:
        """When another node than ``old`` was made leader; None if that has not been seen yet."""

    def kill(self, node: int) -> None:
        """SIGKILL all that runs on the node."""

    def restart(self, node: int) -> None:
        """Start a killed node again, with what it has on its disk."""

    def freeze(self, node: int) -> None:
        """SIGSTOP all that runs on the node."""

    def thaw(self, node: int) -> None:
        """SIGCONT."""

    def wait_whole(self, limit_s: float) -> None:
        """Block until all three follow one leader, and the next loss can be survived.  Raises Stuck."""

    def taken(self) -> int:
        """How many seats of all pools are taken, by the leader's word; -1 when there is no answer."""

    def stop(self) -> None:
        """Kill and reap everything."""
