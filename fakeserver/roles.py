"""The three places of a triad, by the order of the SERVER lines in the license file."""

from __future__ import annotations

from enum import Enum


class Role(Enum):
    """What a node is: it decides who may be master (T2)."""

    PRIMARY = "primary"
    SECONDARY = "secondary"
    TERTIARY = "tertiary"

    __hash__ = object.__hash__  # members are one of a kind; Enum's own hash is computed in Python, at each look into a table

    @property
    def others(self) -> tuple[Role, Role]:
        """The two other nodes of the triad, in order."""
        return _OTHERS[self]


_OTHERS = {
    Role.PRIMARY: (Role.SECONDARY, Role.TERTIARY),
    Role.SECONDARY: (Role.PRIMARY, Role.TERTIARY),
    Role.TERTIARY: (Role.PRIMARY, Role.SECONDARY),
}
