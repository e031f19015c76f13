"""How the fast suite is spread over the cores."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One core at a time has tests with real processes: short elections are honest only where nobody else is in a hurry.  The others fill the rest."""
    for item in items:
        if item.get_closest_marker("real"):
            item.add_marker(pytest.mark.xdist_group("real"))
