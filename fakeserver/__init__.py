"""A fake triad of license servers, to test license clients against: three nodes that fail as you tell them to.

    from fakeserver import FakeTriad

    with FakeTriad(features={"RISK_IND80": 5}) as triad:
        triad.wait_for_master(timeout=5)
        triad.primary.kill()

A test instrument: its nodes listen on the loopback interface alone, and it is no production license server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fakeserver.cluster import FakeTriad, NotServing
    from fakeserver.control import Control
    from fakeserver.journal import Entry, Journal
    from fakeserver.nodes import FakeNode
    from fakeserver.process import FakeTriadError

__all__ = ["Control", "Entry", "FakeNode", "FakeTriad", "FakeTriadError", "Journal", "NotServing"]


def __getattr__(name: str) -> Any:
    """Load what is asked for when it is asked for: a node process needs none of it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "Control":
        from fakeserver.control import Control

        return Control
    from fakeserver import cluster

    return getattr(cluster, name)


def __dir__() -> list[str]:
    return sorted(__all__)
