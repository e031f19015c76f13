"""The members of a reply's body, checked: whatever is not as the protocol says raises ``NotOursError``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from palclient.models import Role

MAX_SECONDS = 1e9  # the protocol page's; thirty years
MAX_WHOLE = 2**53  # beyond it JSON readers differ
MAX_SHOWN = 500  # characters of a text for people: it goes into messages and logs

Value = TypeVar("Value")


class NotOursError(Exception):
    """An HTTP answer that no node of ours gives; the text says what is odd about it."""


def text(body: Mapping[str, Any], name: str, default: str | None = None) -> str:
    """A text, to the letter."""
    value = body.get(name, default)
    if not isinstance(value, str):
        raise NotOursError(f"no text in {name!r}")
    return value


def shown(body: Mapping[str, Any], name: str, default: str | None = None) -> str:
    """A text for people: one line, bounded, without what a terminal would take for commands or cannot print at all."""
    words = text(body, name, default)[:MAX_SHOWN]
    return words if words.isprintable() else "".join(character if character.isprintable() else "?" for character in words)


def whole(body: Mapping[str, Any], name: str, default: int | None = None, *, least: int = -MAX_WHOLE) -> int:
    """A whole number from ``least``."""
    value = body.get(name, default)
    if type(value) is not int or not least <= value < MAX_WHOLE:  # bool is an int to Python, and not to the protocol
        raise NotOursError(f"no whole number in {name!r}")
    return value


def seconds(body: Mapping[str, Any], name: str, default: float | None = None, *, least: float = 0.0) -> float:
    """A duration from ``least``."""
    value = body.get(name, default)
    if type(value) not in (int, float) or not least <= value <= MAX_SECONDS:  # NaN fails the comparison, too
        raise NotOursError(f"no duration in {name!r}")
    return float(value)


def optional(body: Mapping[str, Any], name: str, read: Callable[[Mapping[str, Any], str], Value]) -> Value | None:
    """What ``read`` gives, or None where there is nothing."""
    return None if body.get(name) is None else read(body, name)


def role(body: Mapping[str, Any], name: str) -> Role | None:
    """A role; anything else tells nothing."""
    value = body.get(name)
    return _ROLES.get(value) if isinstance(value, str) else None


_ROLES = {one.value: one for one in Role}


def mapping(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An object."""
    value = body.get(name)
    if not isinstance(value, dict):
        raise NotOursError(f"no object in {name!r}")
    return value


def listed(body: Mapping[str, Any], name: str, read: Callable[[Any], Value]) -> tuple[Value, ...]:
    """A list, each of whose items ``read`` understands."""
    value = body.get(name)
    if not isinstance(value, list):
        raise NotOursError(f"no list in {name!r}")
    return tuple(read(item) for item in value)
