"""The asynchronous face has the names, parameters and defaults of the synchronous one."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

import palclient
from palclient.async_client import Acquiring

RENAMED = {"close": "aclose", "__enter__": "__aenter__", "__exit__": "__aexit__"}  # as everywhere on asyncio
AWAITED = {"status", "usage", "aclose", "wait_lost", "checkin", "__aenter__", "__aexit__"}
PAIRS = [(palclient.Client, palclient.AsyncClient), (palclient.Lease, palclient.AsyncLease)]


def shape(function: Callable[..., Any]) -> list[tuple[str, object, object]]:
    """The parameters of a function: name, kind and default."""
    return [(one.name, one.kind, one.default) for one in inspect.signature(function).parameters.values()]


def members(kind: type) -> dict[str, object]:
    """What a class offers: its public members, and how it is entered."""
    return {name: member for name, member in vars(kind).items() if not name.startswith("_") or name in RENAMED or name in RENAMED.values()}


@pytest.mark.parametrize("sync,awaited", PAIRS)
def test_the_names_and_signatures_are_those_of_the_twin(sync: type, awaited: type) -> None:
    """api: the same names, parameters and defaults."""
    twins, own = members(sync), members(awaited)
    assert {RENAMED.get(name, name) for name in twins} == set(own)
    for name, member in twins.items():
        if inspect.isfunction(member):
            other = own[RENAMED.get(name, name)]
            assert inspect.isfunction(other)
            assert shape(member) == shape(other), name
        else:
            assert type(member) is type(own[name]), name


@pytest.mark.parametrize("awaited", [awaited for _, awaited in PAIRS])
def test_what_may_take_time_is_awaited_and_nothing_else(awaited: type) -> None:
    """api: a look at a lease is no request."""
    coroutines = {name for name, member in members(awaited).items() if inspect.iscoroutinefunction(member)}
    assert coroutines == AWAITED & set(members(awaited))


def test_acheckout_and_the_constructors_take_the_same() -> None:
    """api, first table."""
    assert shape(palclient.acheckout) == shape(palclient.checkout)
    assert shape(palclient.AsyncClient) == shape(palclient.Client)


def test_a_checkout_is_a_coroutine_to_asyncio_and_to_type_checkers() -> None:
    """``asyncio.create_task`` and a ``TaskGroup`` take coroutines only."""

    async def never() -> palclient.AsyncLease:
        raise NotImplementedError

    acquiring = Acquiring(never())
    assert inspect.isawaitable(acquiring)
    with pytest.raises(NotImplementedError):
        acquiring.send(None)
    closed = Acquiring(never())
    closed.close()
    with pytest.raises(RuntimeError, match="cannot reuse"):
        closed.send(None)


def test_a_lease_refuses_to_be_pickled_and_says_what_to_do() -> None:
    """api: a lease belongs to one process."""
    with pytest.raises(TypeError, match="check out in the other process"):
        palclient.AsyncLease.__reduce__(None)  # type: ignore[arg-type]  # what it is asked here needs no lease
