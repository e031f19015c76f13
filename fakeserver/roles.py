"""The three places of a triad, by the order of the SERVER lines in the license file."""

from __future__ import annotations

from enum import Enum


class Role(Enum):
    """What a node is: it decides who may be master (T2)."""

    PRIMARY = "primary"
    SECONDARY = "secondary"
    TERTIARY = "tertiary"

    @property
    def others(self) -> tuple[Role, Role]:
        """The two other nodes of the triad, in order."""
        first, second = (role for role in Role if role is not self)
        return first, second
