"""Pages of the documentation that show files and what is said of them: each text is made again and compared.

A block of a kind such as ``license`` is a file, the block of ``text`` after it is what is said.  With ``PALCLIENT_REWRITE=1`` in the environment the
texts are written anew; read the difference before you commit it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def examples(name: str, kind: str) -> list[str]:
    """The files that a page shows."""
    return [match["file"] for match in _pattern(kind).finditer((REFERENCE / name).read_text("utf-8"))]


def check_page(name: str, kind: str, say: Callable[[str], str]) -> None:
    """Fail when a text of the page is not what ``say`` gives for the file before it."""
    path = REFERENCE / name
    page = path.read_text("utf-8")
    now = _pattern(kind).sub(lambda match: f"```{kind}\n{match['file']}```\n\n```text\n{say(match['file'])}```\n", page)
    if os.environ.get("PALCLIENT_REWRITE"):
        path.write_text(now, "utf-8", newline="\n")
    assert now == page


def _pattern(kind: str) -> re.Pattern[str]:
    return re.compile(rf"```{kind}\n(?P<file>.*?)```\n\n```text\n(?P<text>.*?)```\n", re.DOTALL)
