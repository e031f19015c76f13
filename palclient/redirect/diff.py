"""A change as a unified diff, for people: the places are known, so nothing is searched for."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from palclient.ini import IniDocument
    from palclient.redirect.values import Splice

_CONTEXT = 3  # lines around a change, as diff(1) has them
_NEAR_BYTES = 600  # around a change in which those lines stand in most files
_SHOWN_LIMIT = 500  # characters of a line


def unified_diff(path: str, document: IniDocument, content: bytes, splices: Sequence[Splice]) -> str:
    """What turns ``document`` into ``content``, which differ by ``splices``; empty when nothing does.

    Line ends are left out, and what cannot be printed is escaped, so that nothing in a file moves the cursor of the terminal on which the diff is read.
    """
    start, end, skipped = _window(document, splices)
    grown_bytes = len(content) - len(document.raw)
    before, after = _lines(document.raw[start:end], document.encoding), _lines(content[start : end + grown_bytes], document.encoding)
    parts = [f"--- {_shown(path)}\n+++ {_shown(path)}\n"]
    for group in _grouped(_edits(before, after)):
        first, last = group[0], group[-1]
        top, bottom = max(0, first[0] - _CONTEXT), min(len(before), last[1] + _CONTEXT)
        shift, grown = first[2] - first[0], last[3] - last[1]
        parts.append(f"@@ -{_range(top, bottom, skipped)} +{_range(top + shift, bottom + grown, skipped)} @@\n")
        at = top
        for first_line, line_after, new_first, new_after in group:
            parts += [_line(" ", line) for line in before[at:first_line]]
            parts += [_line("-", line) for line in before[first_line:line_after]]
            parts += [_line("+", line) for line in after[new_first:new_after]]
            at = line_after
        parts += [_line(" ", line) for line in before[at:bottom]]
    return "".join(parts) if len(parts) > 1 else ""


def _window(document: IniDocument, splices: Sequence[Splice]) -> tuple[int, int, int]:
    """Where whole lines begin and end that have the splices and enough around them, as offsets in the old bytes; and how many lines stand before them.

    All of the file where that is not easily told.  To split ten thousand files into lines costs more than to find what is to change in them.
    """
    raw = document.raw
    first, last = splices[0].start, splices[-1].start + len(splices[-1].old)
    start = raw.find(b"\n", first - _NEAR_BYTES, first) + 1 if first > _NEAR_BYTES else 0
    end = raw.rfind(b"\n", last, last + _NEAR_BYTES) + 1 if last + _NEAR_BYTES < len(raw) else len(raw)
    has_enough = (start == 0 or raw.count(b"\n", start, first) >= _CONTEXT) and (end == len(raw) or raw.count(b"\n", last, end) > _CONTEXT)
    if document.encoding.startswith("utf-16") or not has_enough:
        return 0, len(raw), 0
    return start, end, raw.count(b"\n", 0, start) + raw.count(b"\r", 0, start) - raw.count(b"\r\n", 0, start)


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


def _range(start: int, end: int, skipped: int) -> str:
    """As diff(1) counts: from 1, and an empty range by the line before it."""
    length = end - start
    return f"{skipped + start + (1 if length else 0)},{length}"


def _lines(raw: bytes, encoding: str) -> list[str]:
    text = raw.decode(encoding if encoding != "8-bit" else "latin-1", "replace").removeprefix("\ufeff")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return lines[:-1] if not lines[-1] else lines


def _line(mark: str, text: str) -> str:
    return f"{mark}{_shown(text)}\n"


def _shown(text: str) -> str:
    text = text if len(text) <= _SHOWN_LIMIT else f"{text[:_SHOWN_LIMIT]}..."
    return text if text.isprintable() else "".join(char if char == "\t" or char.isprintable() else ascii(char)[1:-1] for char in text)
