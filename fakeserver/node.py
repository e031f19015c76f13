"""One node of the triad: ``handle(event, now)`` gives back what is to be done."""

from __future__ import annotations

from fakeserver.events import DiskImage, Effect, Event, NodeConfig


class Node:
    """A node, seen from its shell.  ``now`` and ``wake_at`` are monotonic readings in seconds."""

    def __init__(self, config: NodeConfig, disk: DiskImage, now: float) -> None:
        self.config = config
        self.wake_at = now
        self._disk = disk

    def handle(self, event: Event, now: float) -> tuple[Effect, ...]:
        """Take one event in; do the effects in their order, each to its end."""
        raise NotImplementedError
