"""What happened in a triad, in order: each process writes its own file, a line at a time; whoever asks gets them merged by the common clock."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

DEBUG_LOG = "debug.log"
REPORT_LOG = "report.jsonl"
JOURNAL = "journal.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Something that happened: ``at_s`` by ``fakeserver.clock``, at the node of role ``node``."""

    at_s: float
    node: str
    name: str
    facts: Mapping[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        facts = " ".join(f"{name}={value}" for name, value in self.facts.items())
        return f"{self.at_s:.6f} {self.node:9} {self.name} {facts}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """The entries of a whole triad, in order.  ``str()`` gives a line for each."""

    entries: tuple[Entry, ...]

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def named(self, name: str) -> tuple[Entry, ...]:
        """The entries of one name, in order."""
        return tuple(entry for entry in self.entries if entry.name == name)

    def __str__(self) -> str:
        return "\n".join(map(str, self.entries))


class Recorder:
    """Writes three files of one node: the debug log (T14), the report log and its part of the journal.  Each line is one write, so that SIGKILL tears none."""

    def __init__(self, folder: Path, *, wall_epoch_s: float) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._log = open(folder / DEBUG_LOG, "ab", buffering=0)  # noqa: SIM115 - all stay open for the node's life
        self._report = open(folder / REPORT_LOG, "ab", buffering=0)  # noqa: SIM115
        self._journal = open(folder / JOURNAL, "ab", buffering=0)  # noqa: SIM115
        self._wall_epoch_s = wall_epoch_s

    def debug(self, text: str, at_s: float) -> None:
        """A line of the debug log: the date and time (RFC 3339, UTC), the common clock's seconds, the text."""
        self._log.write(f"{self._date(at_s)} {at_s:.6f} {text}\n".encode())

    def report(self, members: Mapping[str, object], at_s: float) -> None:
        """A line of the report log: a JSON object that begins with the date and time (RFC 3339, UTC) and the common clock's seconds."""
        line = json.dumps({"at": self._date(at_s), "at_s": round(at_s, 6), **members}, default=dict)
        self._report.write(f"{line}\n".encode())

    def happened(self, name: str, facts: Mapping[str, object], at_s: float) -> None:
        """An entry of the journal.  Facts that JSON does not know are told by their text."""
        line = json.dumps({"at_s": round(at_s, 6), "name": name, "facts": facts}, default=str)
        self._journal.write(f"{line}\n".encode())

    def close(self) -> None:
        """Let go of the files."""
        self._log.close()
        self._report.close()
        self._journal.close()

    def _date(self, at_s: float) -> str:
        return datetime.fromtimestamp(self._wall_epoch_s + at_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def read_entries(folder: Path, *, node: str) -> list[Entry]:
    """What the ``Recorder`` of ``folder`` has written so far."""
    entries = []
    for line in _whole_lines(folder / JOURNAL):
        fields = json.loads(line)
        entries.append(Entry(at_s=fields["at_s"], node=node, name=fields["name"], facts=fields["facts"]))
    return entries


def read_log_lines(folder: Path) -> tuple[str, ...]:
    """The debug log so far, without line ends."""
    return tuple(_whole_lines(folder / DEBUG_LOG))


def read_report(folder: Path) -> tuple[dict[str, Any], ...]:
    """The report log so far, an object for each line."""
    return tuple(json.loads(line) for line in _whole_lines(folder / REPORT_LOG))


def merged(parts: Iterable[Iterable[Entry]]) -> Journal:
    """One journal of all parts, by the common clock; of one instant, in the order given."""
    return Journal(entries=tuple(sorted((entry for part in parts for entry in part), key=lambda entry: entry.at_s)))


def _whole_lines(path: Path) -> list[str]:
    """The lines that have been written to their end; none while there is no file."""
    try:
        content = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    return content.split("\n")[:-1]
