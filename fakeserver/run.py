"""The life of one node in its process: its disk, the node itself, what is done when it cannot go on, and the orders of whoever started it."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from fakeserver import wire
from fakeserver.clock import boot_name, now_s, wall_epoch_s
from fakeserver.disk import Disk, StateRefused
from fakeserver.events import Answer, ClientCall, DiskImage, NodeConfig, Reread, SaveBallot, Status, Tick
from fakeserver.faults import Fault
from fakeserver.hosting import serve
from fakeserver.impostors import Resting
from fakeserver.journal import Recorder
from fakeserver.lifeline import watch_commands
from fakeserver.node import Node
from fakeserver.orders import Orders
from fakeserver.papers import License, read_license, read_options
from fakeserver.roles import Role
from fakeserver.sabotage import Stage
from fakeserver.server import EXIT_REFUSED, End, Shell
from fakeserver.settings import Settings, named
from palclient.errors import LicenseFileError

LOOK_AGAIN_S = 0.5  # ours: so long after a full disk the node tries whether there is room


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """How a node and its parent talk: ``commands`` is the reading end of the parent's pipe, ``say`` sends the parent a line."""

    commands: int
    say: Callable[[str], object]


class Life:
    """A node and its disk, through all that makes it begin anew in one and the same process."""

    def __init__(self, settings: Settings, disk: Disk) -> None:
        """Raises StateRefused when what lies on the disk cannot be this node's, LicenseFileError for a license or options file to stop at (T12)."""
        self.disk = disk
        self.settings = settings
        self._license = read_license(settings)
        self._config = _config(settings, self._license)
        self.node = Node(self._config, disk.load(), now_s())
        self._is_full = self._is_known_full = False
        self._next_look: asyncio.TimerHandle | None = None
        self._shell: Shell | None = None

    @property
    def shell(self) -> Shell:
        """What carries out what the node wants."""
        assert self._shell is not None
        return self._shell

    def begin(self, recorder: Recorder) -> Shell:
        """The shell around the node."""
        peers = dict(zip(Role, self.settings.triad, strict=True))
        del peers[Role(self.settings.role)]
        timeout_s = self.settings.failover_s
        self._shell = Shell(self.node, disk=self.disk, recorder=recorder, peers=peers, peer_timeout_s=timeout_s)
        self._shell.when_full = self._rest_until_there_is_room
        return self._shell

    def close(self) -> None:
        """Look after the disk no more."""
        if self._next_look is not None:
            self._next_look.cancel()

    def rest(self, why: str) -> None:
        """Take no part in the triad any more, and tell everybody ``why``."""
        refused = wire.Refused(why, name="no-quorum", status=503, code=-97)
        status = self._last_status() | {"term": self.disk.ballot.term if self.disk.ballot else 0}  # what was not written was not promised
        self.shell.replace(Resting(status, why, retry_s=self.settings.heartbeat_s), refused)

    def begin_anew(self, term: int, *, waits_s: float) -> None:
        """Go on as a node that has seen ``term``, and nothing else: no seat is taken, no checkout was ever returned.

        It votes ``waits_s`` seconds from now, and not E after a start as usual (E2): whoever orders this has put all three to rest, so there is no
        master that it could have heard.
        """
        old = self.disk.ballot
        cluster, incarnation = (old.cluster, old.incarnation) if old else (self.settings.cluster, 0)
        image = DiskImage(ballot=SaveBallot(cluster=cluster, term=term, voted_for=None, incarnation=incarnation))
        self._is_full = self._is_known_full = False
        self._go_on(image, since_s=self.settings.failover_s - waits_s)

    def reread(self) -> None:
        """Read the options file again (G7).  Raises LicenseFileError when it cannot be read; then the old one goes on."""
        options = read_options(self.settings.options_file)
        if options is not None:
            self._config = replace(self._config, options=options)
            self.shell.handle(Reread(options=options))
            self.note_options("reread")

    def note_papers(self, recorder: Recorder) -> None:
        """Tell the journal of the files that this life began with, and the log of a doubtful order (T11)."""
        if self._license.facts:
            self.shell.note("license", self._license.facts)
        self.note_options("options")
        if self.settings.in_doubt:
            from fakeserver.licenses import MISMATCH_LINES

            for text in MISMATCH_LINES:
                recorder.debug(text, now_s())

    def note_options(self, name: str) -> None:
        """Enter in the journal what options there are, and what is wrong with them: a line with an error does nothing."""
        options = self._config.options
        if options is not None:
            facts = {"file": options.path, "rules": len(options.rules), "problems": [str(problem) for problem in options.problems]}
            self.shell.note(name, facts)

    def look_for_room(self) -> None:
        """After a full disk: read what got written, and go on as after a restart, if there is room again; else look again later."""
        if not self._is_full:
            return
        self.disk.close()
        try:
            image = self.disk.load()
        except StateRefused as refused:
            self.shell.end(str(refused), EXIT_REFUSED)
        else:
            self._is_full = False
            self._go_on(image, since_s=0.0)
            if not self._is_full:
                self._is_known_full = False
                self._note("disk_has_room", "")

    def notice_full(self) -> None:
        """Do not wait for the next write to find out."""
        if not self._is_full:
            self._rest_until_there_is_room(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))

    def _rest_until_there_is_room(self, error: OSError) -> None:
        self._is_full = True
        self.rest(f"The disk of this node is full ({os.strerror(error.errno or errno.ENOSPC)}): it grants nothing until it can write again.")
        if not self._is_known_full:
            self._is_known_full = True
            self._note("disk_full", str(error))
        self._next_look = asyncio.get_running_loop().call_later(LOOK_AGAIN_S, self.look_for_room)

    def _note(self, name: str, error: str) -> None:
        with suppress(OSError):  # a journal on a disk that is full
            self.shell.note(name, {"error": error} if error else {})

    def _go_on(self, image: DiskImage, *, since_s: float) -> None:
        self.node = Node(self._config, image, self.shell.clock.now_s() - since_s)
        self.shell.replace(self.node, wire.Refused("This node has begun anew.", name="electing", status=503, code=-23))
        self.shell.handle(Tick())

    def _last_status(self) -> dict[str, object]:
        """What the node says of itself.  Nothing else that it wants is carried out: it may rest on what was not written."""
        effects = self.node.handle(ClientCall(token=0, request=Status()), self.shell.clock.now_s())
        return next(dict(effect.body) for effect in effects if isinstance(effect, Answer) and effect.token == 0)


async def run(
    settings: Settings,
    listener: socket.socket,
    *,
    line: Line | None,
    faults: Sequence[Fault] = (),
    when_ready: Callable[[], None],
    when_staged: Callable[[Orders], object] | None = None,
    die: Callable[[], object] | None = None,
) -> End:
    """Run a node until it halts.  State that cannot be this node's is such an end, too.

    ``line`` leads to the parent: an order of its stops the node, or plays a fault; its end ends the process at once.  ``faults`` are played from
    the start.  A node inside a process that is not its own gets ``when_staged``, which is told who takes its orders, and ``die``, its way to end
    without a goodbye.
    """
    folder = Path(settings.folder)
    disk = Disk(folder, cluster=settings.cluster, boot=boot_name(), fsync=settings.fsync, lasting=settings.lasting, role=settings.role)
    try:
        life = Life(settings, disk)
    except (StateRefused, LicenseFileError) as refused:
        disk.close()
        listener.close()
        return End(reason=str(refused), exit_code=EXIT_REFUSED)
    recorder = Recorder(folder, wall_epoch_s=wall_epoch_s())
    shell = life.begin(recorder)
    shell.die = die or _die
    orders: list[Orders] = []

    async def staged(stage: Stage) -> None:
        orders.append(Orders(stage, life))
        await orders[0].play(faults)
        if line is not None:
            _obey(line, orders[0])
        if when_staged is not None:
            when_staged(orders[0])

    recorder.happened("started", {"pid": os.getpid()}, now_s())
    life.note_papers(recorder)
    end = await serve(shell, listener, when_ready=when_ready, when_staged=staged)
    life.close()
    for each in orders:
        await each.close()
    return end


def _obey(line: Line, orders: Orders) -> None:
    """Carry out what comes down the line, in the order of its coming."""
    loop = asyncio.get_running_loop()
    watch_commands(
        line.commands,
        on_line=lambda text: loop.call_soon_threadsafe(orders.take, text, line.say),
        on_end=lambda: os._exit(0),
    )


def _die() -> None:
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))  # on Windows SIGTERM kills just so


def _config(settings: Settings, license_: License) -> NodeConfig:
    primary, secondary, tertiary = map(named, settings.triad)
    return NodeConfig(
        role=Role(settings.role),
        triad=(primary, secondary, tertiary),
        cluster=settings.cluster,
        features=license_.features,
        lines=license_.lines,
        heartbeat_s=settings.heartbeat_s,
        heartbeat_interval_s=settings.interval_s,
        ttl_s=settings.ttl_s,
        primary_is_master=settings.primary_is_master,
        wall_epoch_s=wall_epoch_s(),
        software=settings.software,
        options=read_options(settings.options_file),
        grants=settings.grants,
    )
