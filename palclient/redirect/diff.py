"""A change as a unified diff, for people: the places are known, so nothing is searched for."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from palclient.ini import IniDocument

_CONTEXT = 3  # lines around a change, as diff(1) has them
_SHOWN_LIMIT = 500  # characters of a line


def unified_diff(path: str, document: IniDocument, content: bytes) -> str:
    """What turns ``document`` into ``content``; empty when nothing does.

    Line ends are left out, and what cannot be printed is escaped, so that nothing in a file moves the cursor of the terminal on which the diff is read.
    """
    before, after = _lines(document.raw, document.encoding), _lines(content, document.encoding)
    parts = [f"--- {_shown(path)}\n+++ {_shown(path)}\n"]
    for group in _grouped(_edits(before, after)):
        first, last = group[0], group[-1]
        top, bottom = max(0, first[0] - _CONTEXT), min(len(before), last[1] + _CONTEXT)
        shift, grown = first[2] - first[0], last[3] - last[1]
        parts.append(f"@@ -{_range(top, bottom)} +{_range(top + shift, bottom + grown)} @@\n")
        at = top
        for start, end, new_start, new_end in group:
            parts += [_line(" ", line) for line in before[at:start]]
            parts += [_line("-", line) for line in before[start:end]]
            parts += [_line("+", line) for line in after[new_start:new_end]]
            at = end
        parts += [_line(" ", line) for line in before[at:bottom]]
    return "".join(parts) if len(parts) > 1 else ""


_Edit = tuple[int, int, int, int]  # the lines [0:1] of the old text give way to the lines [2:3] of the new one


def _edits(before: list[str], after: list[str]) -> list[_Edit]:
    if len(before) == len(after):
        return [(at, at + 1, at, at + 1) for at, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    shorter = min(len(before), len(after))
    same = next((at for at in range(shorter) if before[at] != after[at]), shorter)
    tail = next((at for at in range(shorter - same) if before[-1 - at] != after[-1 - at]), shorter - same)
    return [(same, len(before) - tail, same, len(after) - tail)]


def _grouped(edits: list[_Edit]) -> list[list[_Edit]]:
    """Edits whose contexts touch are shown together."""
    groups: list[list[_Edit]] = []
    for edit in edits:
        if groups and edit[0] - groups[-1][-1][1] <= 2 * _CONTEXT:
            groups[-1].append(edit)
        else:
            groups.append([edit])
    return groups


def _range(start: int, end: int) -> str:
    """As diff(1) counts: from 1, and an empty range by the line before it."""
    length = end - start
    return f"{start + 1 if length else start},{length}"


def _lines(raw: bytes, encoding: str) -> list[str]:
    text = raw.decode(encoding if encoding != "8-bit" else "latin-1", "replace").removeprefix("\ufeff")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return lines[:-1] if not lines[-1] else lines


def _line(mark: str, text: str) -> str:
    return f"{mark}{_shown(text)}\n"


def _shown(text: str) -> str:
    text = text if len(text) <= _SHOWN_LIMIT else f"{text[:_SHOWN_LIMIT]}..."
    return text if text.isprintable() else "".join(char if char == "\t" or char.isprintable() else ascii(char)[1:-1] for char in text)
