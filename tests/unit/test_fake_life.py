"""A node whose disk is full in the midst of its work, and one that begins anew (F, E7): the shell and the disk are real, nobody else is there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from fakeserver import wire
from fakeserver.clock import wall_epoch_s
from fakeserver.disk import Disk
from fakeserver.events import SaveBallot, Tick
from fakeserver.journal import Recorder, read_entries
from fakeserver.peer import VoteAsk, VoteReply
from fakeserver.roles import Role
from fakeserver.run import Life
from fakeserver.server import Shell
from fakeserver.settings import Settings

VOTE = VoteAsk(sender=Role.PRIMARY, cluster="c", term=0, asked_term=1, has_history=False)


def lived(folder: Path, story: Callable[[Life, Shell], Awaitable[None]]) -> None:
    """A tertiary that has begun, and what a test does with it."""
    settings = Settings(
        role="tertiary",
        triad=tuple(("127.0.0.1", port) for port in (1, 2, 3)),  # nobody answers there
        cluster="c",
        features={"X": 5},
        heartbeat_s=0.1,
        ttl_s=1.0,
        primary_is_master=True,
        folder=str(folder),
        fsync=False,
        software="test",
    )

    async def main() -> None:
        disk = Disk(folder, cluster="c", boot="b", fsync=False)
        life = Life(settings, disk)
        shell = life.begin(Recorder(folder, wall_epoch_s=wall_epoch_s()))
        shell.handle(Tick())
        try:
            await story(life, shell)
        finally:
            life.close()
            await shell.close()

    asyncio.run(main())


def test_a_vote_that_cannot_be_written_is_not_given_and_the_node_rests_until_there_is_room(tmp_path: Path) -> None:
    """E1, E7, F: nothing that rests on the write leaves; the node says why; with room it goes on from what was written, one life later."""

    async def story(life: Life, shell: Shell) -> None:
        before = shell.status()["incarnation"]
        life.disk.is_full = True
        with pytest.raises(wire.Refused):
            shell.call_peer(VOTE)
        told = shell.status()
        assert (told["state"], told["term"], told["quorum"]) == ("no_quorum", 0, False)
        assert "The disk of this node is full (No space left on device)" in str(told["detail"])
        life.look_for_room()  # too early
        assert shell.status()["state"] == "no_quorum"
        life.disk.is_full = False
        life.look_for_room()
        assert shell.status()["state"] == "starting"
        assert shell.status()["incarnation"] == int(str(before)) + 1
        reply = shell.call_peer(VOTE)
        assert isinstance(reply, VoteReply)
        assert reply.granted
        assert life.disk.ballot is not None
        assert life.disk.ballot.voted_for is Role.PRIMARY
        assert not shell._halted.done()

    lived(tmp_path, story)
    names = [entry.name for entry in read_entries(tmp_path, node="tertiary")]
    assert [name for name in names if name.startswith("disk")] == ["disk_full", "disk_has_room"]


@pytest.mark.parametrize("cluster", ["c", "c" * 600])
def test_a_ballot_that_need_not_last_is_written_over_and_read_back(tmp_path: Path, cluster: str) -> None:
    """E7: the newest is found, be it shorter or longer than the one before; the table of a rewrite is found, too."""
    disk = Disk(tmp_path, cluster=cluster, boot="b", fsync=False, lasting=False)
    disk.load()
    for term, role in ((9_999, Role.SECONDARY), (10_000, None), (3, Role.PRIMARY)):
        disk.save_ballot(SaveBallot(cluster=cluster, term=term, voted_for=role, incarnation=1))
        disk.rewrite(())
    disk.close()
    again = Disk(tmp_path, cluster=cluster, boot="b", fsync=False, lasting=False)
    image = again.load()
    again.close()
    assert image.ballot is not None
    assert (image.ballot.term, image.ballot.voted_for, image.may_lack_records) == (3, Role.PRIMARY, False)


def test_a_node_that_begins_anew_has_seen_the_term_and_nothing_else(tmp_path: Path) -> None:
    """F, reset: a lower term, and the term itself, are spent; a higher one is voted in at once."""

    async def story(life: Life, shell: Shell) -> None:
        life.rest("The triad is being reset.")
        with pytest.raises(wire.Refused):
            shell.call_peer(VOTE)
        life.begin_anew(7, waits_s=0.0)
        assert shell.status()["term"] == 7
        for term, is_granted in ((1, False), (7, False), (8, True)):
            reply = shell.call_peer(VoteAsk(sender=Role.PRIMARY, cluster="c", term=7, asked_term=term, has_history=True))
            assert isinstance(reply, VoteReply)
            assert reply.granted is is_granted

    lived(tmp_path, story)
