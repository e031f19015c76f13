"""The page on a lease's life is drawn from the table: whoever changes the table runs this with ``PALCLIENT_REWRITE=1``, and reads the difference."""

from __future__ import annotations

import os
import re
from pathlib import Path

from palclient.core.lease import TRANSITIONS, Happening, Phase

PAGE = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "lease.md"
BLOCK = re.compile(r"^```mermaid\n.*?^```\n", flags=re.MULTILINE | re.DOTALL)


def drawn() -> str:
    """The table as a diagram: an arrow for each pair of phases, labelled with all that leads from one to the other."""
    arrows: dict[tuple[Phase, Phase], list[str]] = {}
    for (before, happening), after in TRANSITIONS.items():
        arrows.setdefault((before, after), []).append(happening.value)
    lines = [f"    {before.name} --> {after.name}: {', '.join(labels)}" for (before, after), labels in arrows.items()]
    return "\n".join(["```mermaid", "stateDiagram-v2", f"    [*] --> {Phase.HELD.name}: checked out", *lines, "```", ""])


def test_the_diagram_is_the_table() -> None:
    """Issue "the client in full": the diagram in the docs is drawn from the table."""
    page = PAGE.read_text("utf-8")
    if os.environ.get("PALCLIENT_REWRITE"):
        page = BLOCK.sub(lambda _: drawn(), page)
        PAGE.write_text(page, "utf-8", newline="\n")
    assert BLOCK.findall(page) == [drawn()]


def test_the_page_explains_every_phase_and_everything_that_can_happen() -> None:
    """A word of the diagram that the page does not explain would be noise."""
    rows = set(re.findall(r"^\| `?([^`|]+?)`? \|", PAGE.read_text("utf-8"), flags=re.MULTILINE))
    assert {phase.name for phase in Phase} <= rows
    assert {happening.value for happening in Happening} <= rows
