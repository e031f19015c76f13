"""What happened in a triad, written by several processes and read as one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fakeserver.journal import Entry, Recorder, merged, read_entries, read_log_lines, read_report


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    """A recorder whose clock was 0 at the beginning of 2026."""
    writing = Recorder(tmp_path / "primary", wall_epoch_s=1_767_225_600.0)
    yield writing
    writing.close()


def test_a_line_of_the_debug_log_bears_the_date_and_the_common_clock(recorder: Recorder, tmp_path: Path) -> None:
    """T14, in this project's own layout: who reads two logs can tell what came first."""
    recorder.debug("CONNECTED, master is lic1", 1.25)
    assert read_log_lines(tmp_path / "primary") == ("2026-01-01T00:00:01.250000Z 1.250000 CONNECTED, master is lic1",)


def test_a_line_of_the_report_log_is_an_object_that_bears_the_date_and_the_common_clock(recorder: Recorder, tmp_path: Path) -> None:
    """T14: the same for programs."""
    recorder.report({"event": "OUT", "holder": {"user": "ann"}}, 1.25)
    (line,) = read_report(tmp_path / "primary")
    assert line == {"at": "2026-01-01T00:00:01.250000Z", "at_s": 1.25, "event": "OUT", "holder": {"user": "ann"}}
    assert (tmp_path / "primary" / "report.jsonl").read_text(encoding="utf-8").count("\n") == 1


def test_the_parts_of_a_journal_are_merged_by_the_clock(recorder: Recorder, tmp_path: Path) -> None:
    """Api, the fake triad: `journal`, what happened in order."""
    recorder.happened("elected", {"term": 2}, 3.0)
    recorder.happened("serving", {}, 5.0)
    killed = Entry(at_s=4.0, node="primary", name="killed")
    journal = merged([read_entries(tmp_path / "primary", node="secondary"), [killed]])
    assert [entry.name for entry in journal] == ["elected", "killed", "serving"]
    assert journal.named("elected") == (Entry(at_s=3.0, node="secondary", name="elected", facts={"term": 2}),)
    assert str(journal) == "3.000000 secondary elected term=2\n4.000000 primary   killed\n5.000000 secondary serving"
    assert len(journal) == 3


def test_a_line_that_is_not_written_to_its_end_is_not_read_yet(recorder: Recorder, tmp_path: Path) -> None:
    """The files grow while they are read."""
    recorder.happened("elected", {}, 3.0)
    with (tmp_path / "primary" / "journal.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"at_s": 4.0, "na')
    assert [entry.name for entry in read_entries(tmp_path / "primary", node="primary")] == ["elected"]


def test_a_node_that_never_ran_has_no_past(tmp_path: Path) -> None:
    """Api, the fake triad: `start` may leave a node out."""
    assert read_log_lines(tmp_path / "tertiary") == ()
    assert read_report(tmp_path / "tertiary") == ()
    assert read_entries(tmp_path / "tertiary", node="tertiary") == []
