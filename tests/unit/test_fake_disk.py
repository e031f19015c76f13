"""A node's files: what it finds again, what it takes for torn, what it refuses."""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from zlib import crc32

import pytest

from fakeserver.clock import is_same_boot
from fakeserver.disk import Disk, StateRefused, cluster_of
from fakeserver.events import DiskImage, SaveBallot
from fakeserver.roles import Role
from fakeserver.seats import Grant, SeatRecord, Version
from tests.privileges import room_for

BALLOT = SaveBallot(cluster="c1", term=7, voted_for=Role.SECONDARY, incarnation=3)
GRANT = Grant(id="i", version="0", count=1, holder={"user": "änn"}, ttl_s=2.0, granted_at=1.0)
FREE = SeatRecord(feature="X", index=0, version=Version(7, 1), seq=1, grant=None)
HELD = replace(FREE, index=1, grant=GRANT)


def disk(folder: Path, *, cluster: str = "c1", boot: str = "boot-1", fsync: bool = False) -> Disk:
    """The disk of one node."""
    return Disk(folder, cluster=cluster, boot=boot, fsync=fsync)


def load(folder: Path, *, cluster: str = "c1", boot: str = "boot-1", fsync: bool = False) -> DiskImage:
    """What a node finds there."""
    with closing(disk(folder, cluster=cluster, boot=boot, fsync=fsync)) as found:
        return found.load()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder in which a node has run: a ballot, a table of one record, one batch of another."""
    with_state = disk(tmp_path)
    with_state.save_ballot(BALLOT)
    with_state.rewrite([FREE])
    with_state.append([HELD])
    with_state.close()
    return tmp_path


@pytest.mark.parametrize("length", range(370, 440, 5))
@pytest.mark.parametrize("lasting", [True, False])
def test_a_ballot_may_be_longer_or_shorter_than_the_one_before(tmp_path: Path, length: int, *, lasting: bool) -> None:
    """E7: it is written over the old one only where it covers it to the last byte."""
    cluster = "c" * length
    with closing(Disk(tmp_path, cluster=cluster, boot="b", fsync=False, lasting=lasting)) as own:
        own.load()
        for term, voted_for in ((1, None), (2, Role.SECONDARY), (3, None), (4, Role.PRIMARY)):
            own.save_ballot(replace(BALLOT, cluster=cluster, term=term, voted_for=voted_for))
            own.rewrite([FREE])
            with closing(Disk(tmp_path, cluster=cluster, boot="b", fsync=False, lasting=lasting)) as again:
                ballot = again._load_ballot()
            assert ballot is not None
            assert (ballot.term, ballot.voted_for) == (term, voted_for)


@pytest.mark.parametrize("lasting", [True, False])
def test_the_state_of_another_node_of_the_cluster_is_refused(tmp_path: Path, *, lasting: bool) -> None:
    """Issue, bad input: two folders that were swapped would give each node a vote that it never cast (E1)."""

    def of(role: str | None) -> Disk:
        return Disk(tmp_path, cluster="c1", boot="b", fsync=False, lasting=lasting, role=role)

    with closing(of("primary")) as own:
        own.save_ballot(BALLOT)
        own.rewrite([FREE])
    with (
        closing(of("secondary")) as other,
        pytest.raises(StateRefused, match=r"is that of the primary of this cluster; this node is the secondary\.$"),
    ):
        other.load()
    with closing(of("primary")) as again:
        assert again.load().ballot == BALLOT


def test_a_state_that_does_not_say_whose_it_is_is_taken(folder: Path) -> None:
    """An older version wrote no role."""
    with closing(Disk(folder, cluster="c1", boot="boot-1", fsync=False, role="tertiary")) as found:
        assert found.load().ballot == BALLOT


def test_a_fresh_disk_holds_nothing(tmp_path: Path) -> None:
    """E2: a node that has no state may vote at once."""
    assert load(tmp_path / "new") == DiskImage()


def test_a_node_finds_again_what_it_wrote(folder: Path) -> None:
    """E7: ballot and records, those in the order of writing."""
    assert load(folder) == DiskImage(ballot=BALLOT, records=(FREE, HELD))


def test_a_rewritten_log_holds_what_it_was_given_and_what_came_after(folder: Path) -> None:
    """E7: the log is rewritten at the start."""
    again = disk(folder)
    again.rewrite([HELD])
    again.append([FREE])
    again.close()
    assert load(folder).records == (HELD, FREE)


def test_nothing_is_added_to_a_log_that_was_not_rewritten_first(folder: Path) -> None:
    """E7: a torn tail must not get a neighbour."""
    with pytest.raises(RuntimeError):
        disk(folder).append([FREE])


@pytest.mark.parametrize("cut", [1, 2, 30])
def test_a_torn_last_line_costs_its_batch_and_a_longer_wait(folder: Path, cut: int) -> None:
    """E2: the log's tail is torn, so records may be lacking."""
    log = folder / "table.log"
    log.write_bytes(log.read_bytes()[:-cut])
    assert load(folder) == DiskImage(ballot=BALLOT, records=(FREE,), may_lack_records=True)


@pytest.mark.parametrize("lasting", [True, False])
def test_a_log_that_was_not_written_to_its_end_is_known_to_lack_records(tmp_path: Path, *, lasting: bool) -> None:
    """E2: wherever a rewrite was cut short, also between two lines."""
    whole = Disk(tmp_path, cluster="c1", boot="boot-1", fsync=False, lasting=lasting)
    whole.save_ballot(BALLOT)
    for records in ([FREE, HELD], [HELD]):
        whole.rewrite(records)
    whole.close()
    log = tmp_path / "table.log"
    content = log.read_bytes()
    for length in range(len(content)):
        log.write_bytes(content[:length])
        assert load(tmp_path) == DiskImage(ballot=BALLOT, may_lack_records=True)
    log.write_bytes(content)
    assert load(tmp_path) == DiskImage(ballot=BALLOT, records=(HELD,))


@pytest.mark.skipif(sys.platform == "win32", reason="there is no limit on the size of files")
@pytest.mark.parametrize("room_bytes", [0, 10, 100])
@pytest.mark.parametrize("lasting", [True, False])
def test_a_rewrite_for_which_there_is_no_room_leaves_no_mixture(tmp_path: Path, room_bytes: int, *, lasting: bool) -> None:
    """E2, E7: the log is the old one, or known to lack records; never the old one with a new beginning."""
    own = Disk(tmp_path, cluster="c1", boot="boot-1", fsync=False, lasting=lasting)
    own.save_ballot(BALLOT)
    own.rewrite([FREE, HELD])
    with room_for(room_bytes), pytest.raises(OSError, match=r"too large|could be written"):
        own.rewrite([HELD])
    own.close()
    old = DiskImage(ballot=BALLOT, records=(FREE, HELD))
    assert load(tmp_path) == (old if lasting else DiskImage(ballot=BALLOT, may_lack_records=True))


@pytest.mark.parametrize("content", [None, b"", b"\0" * 4096], ids=["gone", "empty", "zeros"])
def test_a_log_without_a_whole_line_may_lack_everything(folder: Path, content: bytes | None) -> None:
    """E2: what a power cut can leave of a file that was never flushed."""
    log = folder / "table.log"
    log.unlink() if content is None else log.write_bytes(content)
    assert load(folder) == DiskImage(ballot=BALLOT, may_lack_records=True)


def test_an_altered_line_in_the_middle_is_refused(folder: Path) -> None:
    """Issue "the main job", bad input: never guessed.  No crash alters a line and leaves the next."""
    log = folder / "table.log"
    log.write_bytes(log.read_bytes().replace(b'"index":0', b'"index":9'))
    with pytest.raises(StateRefused, match=r"table.log was altered: line 2 "):
        load(folder)


def test_an_altered_ballot_is_refused(folder: Path) -> None:
    """E7: a ballot is replaced whole, so no crash can have done this."""
    ballot = folder / "ballot.json"
    ballot.write_bytes(ballot.read_bytes().replace(b'"term":7', b'"term":1'))
    with pytest.raises(StateRefused, match=r"ballot.json was altered"):
        load(folder)


def test_the_state_of_another_cluster_is_refused(folder: Path) -> None:
    """Issue "the main job", bad input: it says whose state it is."""
    with pytest.raises(StateRefused, match=r"belongs to cluster 'c1'; this node is one of cluster 'c2'"):
        load(folder, cluster="c2")
    assert cluster_of(folder) == "c1"
    assert cluster_of(folder / "nowhere") is None


def test_state_that_is_in_use_is_refused(folder: Path) -> None:
    """One state, one node: two that write to it would vote twice (E1)."""
    first = disk(folder)
    first.load()
    with pytest.raises(StateRefused, match=r"is in use by another node\.$"):
        load(folder)
    first.close()
    assert load(folder).ballot == BALLOT


def test_a_newer_format_is_refused(folder: Path) -> None:
    """Issue "the triad in full", bad input: state from a newer version."""
    content = b'{"format":2,"anything":"else"}'
    (folder / "ballot.json").write_bytes(b"%08x %b\n" % (crc32(content), content))
    with pytest.raises(StateRefused, match=r"format 2, of a newer version; this one reads format 1"):
        load(folder)


def test_unflushed_records_may_be_lacking_after_a_reboot(folder: Path) -> None:
    """E2: no fsync, and the machine has rebooted since; what counts is how the log was written, not how it will be."""
    assert load(folder, boot="boot-2", fsync=True) == DiskImage(ballot=BALLOT, records=(FREE, HELD), may_lack_records=True)


def test_what_may_be_lacking_is_remembered_over_restarts(folder: Path) -> None:
    """E2: a second start must not take the rewritten log for a whole one."""
    with closing(disk(folder)) as first:
        first.load()
        first.save_ballot(replace(BALLOT, may_lack_records=True))
        first.rewrite([FREE])
    found = load(folder).ballot
    assert found is not None
    assert found.may_lack_records


def test_flushed_records_outlast_a_reboot(folder: Path) -> None:
    """E2, E7."""
    flushing = disk(folder, fsync=True)
    flushing.rewrite([FREE])
    flushing.append([HELD])
    flushing.close()
    assert load(folder, boot="boot-2") == DiskImage(ballot=BALLOT, records=(FREE, HELD))


@pytest.mark.parametrize(
    "name, other, expected",
    [("a", "a", True), ("a", "b", False), ("1000", "1004", True), ("1000", "1005", False), ("1000", "a", False), ("", "None", False)],
)
def test_two_names_of_one_boot_are_known_as_such(name: str, other: str, *, expected: bool) -> None:
    """E2: a kernel's boot id, or the moment of booting within a few seconds; in doubt it was another boot."""
    assert is_same_boot(name, other) is expected


def test_a_crash_between_two_files_leaves_the_old_ones(folder: Path) -> None:
    """E7: files are replaced by a rename, so what a crash left half-written has another name."""
    (folder / "ballot.json.new").write_bytes(b"half")
    (folder / "table.log.new").write_bytes(b"half")
    assert load(folder) == DiskImage(ballot=BALLOT, records=(FREE, HELD))
