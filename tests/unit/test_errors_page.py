"""docs/reference/errors.md shows what the administrator sees; here each of its texts is made again and compared.

A block of ``ini`` is a file, the block of ``text`` after it is the error that reading it raises.  With ``PALCLIENT_REWRITE=1`` in the
environment the texts are written anew; read the difference before you commit it.
"""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path

import pytest

from palclient.errors import ConfigError
from palclient.ini import read_ini

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "errors.md"
INI_PATH = r"C:\ProgramData\palclient\palclient.ini"
EXAMPLE = re.compile(r"```ini\n(?P<ini>.*?)```\n\n```text\n(?P<text>.*?)```\n", re.DOTALL)


def seen(content: str) -> str:
    """What the administrator sees when this is the INI file."""
    document = dataclasses.replace(read_ini(content.encode()), path=INI_PATH)
    with pytest.raises(ConfigError) as caught:
        document.servername()
    return f"{caught.value}\n"


def test_the_page_of_errors_shows_what_is_really_said() -> None:
    """N6: the messages are the product, and the page must not lie about them."""
    page = PAGE.read_text("utf-8")
    now = EXAMPLE.sub(lambda match: f"```ini\n{match['ini']}```\n\n```text\n{seen(match['ini'])}```\n", page)
    if os.environ.get("PALCLIENT_REWRITE"):
        PAGE.write_text(now, "utf-8", newline="\n")
    assert now == page


def test_the_page_shows_twenty_mistakes_and_each_only_once() -> None:
    """A page that lost its examples must not pass the test above."""
    examples = [match["ini"] for match in EXAMPLE.finditer(PAGE.read_text("utf-8"))]
    assert len(examples) >= 20
    assert len(set(examples)) == len(examples)
    assert PAGE.read_text("utf-8").count("```ini") == len(examples)
