"""What a master's debug log tells of its connections to the other nodes (T14).  It alone has one (T6)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from fakeserver.events import DebugLine, NodeConfig
from fakeserver.roles import Role

if TYPE_CHECKING:
    from fakeserver.membership import Membership


class LinkLog:
    """The lines of one node, whenever it reigns: all connections as a reign begins, then what changes."""

    def __init__(self, config: NodeConfig) -> None:
        self._role = config.role
        self._hosts = {role: name.partition("@")[2] for role, name in zip(Role, config.triad, strict=True)}
        self._told: dict[Role, bool | None] = {}

    def begin(self, membership: Membership, now: float) -> list[DebugLine]:
        """A reign begins.  Of a node that was never heard there is nothing to tell."""
        self._told = {other: None if membership.was_heard(other) else False for other in self._role.others}
        return [*self.note(membership.up(now)), DebugLine(text=f"CONNECTED, master is {self._hosts[self._role]}")]

    def note(self, up: Iterable[Role]) -> list[DebugLine]:
        """These nodes are heard, and no others."""
        changed = {other: other in up for other in self._role.others if (other in up) is not self._told[other]}
        self._told |= changed
        return [DebugLine(text=f"{'Connected' if is_up else 'Lost connection'} to {self._hosts[other]}") for other, is_up in changed.items()]

    def end(self, membership: Membership, now: float) -> list[DebugLine]:
        """The quorum is lost, and the reign with it."""
        heard = [other for other in self._role.others if membership.heard_lately(other, now)]
        return [*self.note(heard), DebugLine(text="Lost quorum")]
