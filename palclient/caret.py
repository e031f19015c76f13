"""A line of somebody's text, and a caret under the character that is meant: what errors and problems show (N6)."""

from __future__ import annotations

_SHOWN_LIMIT = 100  # characters of a value that are shown: one line of a terminal


def pictured(text: str, position: int) -> str:
    """``text``, or the part of it around ``position`` (from 0), and below it a caret under the character there.  Each of the two lines begins with a newline."""
    start = max(0, position - _SHOWN_LIMIT // 2) if len(text) > _SHOWN_LIMIT else 0
    end = start + _SHOWN_LIMIT
    before = ("..." if start else "") + text[start:position]
    shown = "".join(map(visible, before))
    rest = "".join(map(visible, text[position:end])) + ("..." if end < len(text) else "")
    return f"\n    {shown}{rest}\n    {''.join(map(_gap, shown))}^"


def visible(char: str) -> str:
    """Nothing from a file may move the cursor of the terminal on which the error is read."""
    return char if char == "\t" or char.isprintable() else char.encode("unicode_escape").decode("ascii")


def _gap(char: str) -> str:
    """As wide on a terminal as ``char``: a tab under a tab, two blanks under a wide character, nothing under an accent."""
    if char == "\t" or char.isascii():
        return "\t" if char == "\t" else " "
    import unicodedata

    if unicodedata.combining(char):
        return ""
    return "  " if unicodedata.east_asian_width(char) in "WF" else " "
