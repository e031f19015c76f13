"""Plays the stories in ``*.txt`` beside this file: a command, its input, ``----``, and what the administrator sees.

Stories are separated by an empty line; a line that starts with ``#`` before a story is a remark.  ``<TAB>`` and ``<U+200B>`` stand for
characters that an editor does not show.  Commands:

``servername``        the input is one value
``ini [ENCODING]``    the input is an INI file; ENCODING is a codec of Python (default ``latin-1``), ``bom`` before it adds its BOM
``find``              the input is lines ``variable NAME=VALUE`` and ``file FOLDER/NAME=VALUE``, FOLDER being app, user or site

With ``PALCLIENT_REWRITE=1`` in the environment the expected texts are written anew from what is seen; read the difference before you
commit it.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from palclient.config import Surroundings, find_servername
from palclient.errors import ConfigError, ServerNameError
from palclient.ini import read_ini
from palclient.servername import parse_servername

REWRITE = bool(os.environ.get("PALCLIENT_REWRITE"))
STORIES = sorted(Path(__file__).parent.glob("*.txt"))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """One story of a file: where its command stands, and its parts."""

    line: int
    remarks: str
    command: str
    given: str
    expected: str


def stories(path: Path) -> Iterator[Story]:
    """The stories of a file, in order."""
    for match in re.finditer(r"(?P<remarks>(?:#.*\n)*)(?P<command>.+)\n(?P<given>(?:.*\n)*?)----\n(?P<expected>(?:.+\n)*)", path.read_text("utf-8")):
        line = match.string.count("\n", 0, match.start("command")) + 1
        yield Story(line=line, **{name: text.removesuffix("\n") for name, text in match.groupdict().items()})


def seen(command: str, given: str, folder: Path) -> str:
    """What an administrator sees of it."""
    text = re.sub(r"<U\+([0-9A-F]{4,6})>", lambda match: chr(int(match[1], 16)), given.replace("<TAB>", "\t"))
    verb, *options = command.split()
    try:
        if verb == "servername":
            return f"{parse_servername(text)}"
        if verb == "ini":
            return _seen_in_ini(text, options)
        return _seen_by_search(text, folder).replace(str(folder), "").replace("\\", "/")
    except ConfigError as error:
        told = str(error).replace(str(folder), "")
        return f"{told}\nsuggestion: {error.suggestion}" if isinstance(error, ServerNameError) and error.suggestion else told


def _seen_in_ini(text: str, options: list[str]) -> str:
    encoding = options[-1] if options else "latin-1"
    content = (("\ufeff" if options[:1] == ["bom"] else "") + text).encode(encoding)
    document = dataclasses.replace(read_ini(content), path="palclient.ini")
    shown = [f"{document.servername()}  ({document.servername().source})"]
    return "\n".join(shown + [f"warning, line {w.line}, column {w.column}: {w.message}" for w in document.warnings()])


def _seen_by_search(text: str, folder: Path) -> str:
    environ: dict[str, str] = {}
    for line in text.split("\n"):
        what, _, rest = line.partition(" ")
        name, _, value = rest.partition("=")
        if what == "variable":
            environ[name] = value.replace("FOLDER", str(folder))
        elif what == "file":
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(f"[License]\n{value}\n")
    outside = Surroundings(
        environ=environ,
        application_directory=lambda: str(folder / "app"),
        config_directories=lambda app: (
            ("config folder of the user", str(folder / "user" / app)),
            ("config folder of the site", str(folder / "site")),
        ),
        registry=lambda: (),
    )
    return "\n".join(map(str, find_servername(ini_names=["palclient.ini"], surroundings=outside).trail))


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_what_the_administrator_sees_is_what_the_story_tells(path: Path, tmp_path: Path) -> None:
    """N6: every error says where, what, why and what to write."""
    told = list(stories(path))
    after = []
    for number, story in enumerate(told):
        folder = tmp_path / str(number)
        folder.mkdir()
        after.append(dataclasses.replace(story, expected=seen(story.command, story.given, folder)))
    if REWRITE:
        blocks = ["\n".join(filter(None, (s.remarks, s.command, s.given, "----", s.expected))) for s in after]
        path.write_text("\n\n".join(blocks) + "\n", "utf-8", newline="\n")
    for story, now in zip(told, after, strict=True):
        assert now.expected == story.expected, f"{path.name}, line {story.line}: {story.given!r}"


def test_there_are_stories() -> None:
    """A folder that moved must not turn the test above into nothing."""
    assert len(STORIES) >= 3
    assert sum(len(list(stories(path))) for path in STORIES) >= 60
