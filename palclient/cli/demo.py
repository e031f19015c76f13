"""``palclient demo``: a triad of three processes loses its master twice, and a seat is held through both losses.

Each step makes a promise; the promise is checked against what the client and the triad say; the exit code tells whether all held.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from palclient.cli.screen import complain, say, say_json, styled
from palclient.models import Lost, Reacquired

if TYPE_CHECKING:
    from fakeserver import FakeTriad
    from palclient.client import Client, Lease
    from palclient.models import Event

FEATURE, SEATS = "RISK_IND80", 5
WAIT_S = 10.0  # for anything that the triad is to do; it takes a tenth of that
PROMISES = 5 * 3 + 2 + 1  # three in each state of the triad, one after each loss, one at the end


def add_to(commands: Any) -> None:
    """Declare the command and its options."""
    parser: argparse.ArgumentParser = commands.add_parser("demo", help="see a checkout survive the loss of its primary server, here and now")
    parser.add_argument("--json", action="store_true", help="for machines: the timeline and every promise")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Exit code 0 only if every promise was checked and held."""
    try:
        from fakeserver import FakeTriad
    except ImportError as error:
        complain(f"The demo plays the servers itself and lacks {error.name}: install palclient[fakeserver].")
        return 2
    timeline = Timeline(is_shown=not options.json)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="palclient-demo-"))
        began = monotonic()
        triad = stack.enter_context(FakeTriad(features={FEATURE: SEATS}, primary_is_master=True))
        timeline.did("three server processes started on loopback", monotonic() - began)
        _story(timeline, triad, Path(folder) / "Palisade_NetworkClient.ini")
    if options.json:
        say_json({"kept": timeline.all_kept, "steps": timeline.facts})
    else:
        timeline.verdict()
    return 0 if timeline.all_kept else 1


class Timeline:
    """What happened and when, and which promises held; shown as it comes about."""

    def __init__(self, *, is_shown: bool) -> None:
        self._is_shown = is_shown
        self._began = monotonic()
        self.facts: list[dict[str, object]] = []

    def did(self, text: str, took_s: float | None = None) -> None:
        """A step that was taken, and how long it took (seconds)."""
        at_s = monotonic() - self._began
        self.facts.append({"at_ms": round(at_s * 1000, 1), "step": text, "took_ms": None if took_s is None else round(took_s * 1000, 1)})
        took = "" if took_s is None else f"{took_s * 1000:8.1f} ms"
        self._show(f"{at_s:7.3f} s  {text:<62} {styled(took, 'cyan', sys.stdout)}".rstrip())

    def promise(self, text: str, *, kept: bool, found: object = "") -> None:
        """A promise, and whether it held; ``found`` is what was seen instead."""
        self.facts.append({"at_ms": round((monotonic() - self._began) * 1000, 1), "promise": text, "kept": kept, "found": str(found)})
        word = styled("held", "green", sys.stdout) if kept else styled(f"BROKEN: {found}", "red", sys.stdout)
        self._show(f"{'':11}- {text}: {word}")

    @property
    def all_kept(self) -> bool:
        """Whether every promise was checked and held."""
        promises = [fact["kept"] for fact in self.facts if "promise" in fact]
        return len(promises) == PROMISES and all(promises)

    def verdict(self) -> None:
        """The last line."""
        promises = [fact["kept"] for fact in self.facts if "promise" in fact]
        self._show(styled(f"{sum(map(bool, promises))} of {PROMISES} promises held.", "green" if self.all_kept else "red", sys.stdout))

    def _show(self, line: str) -> None:
        if self._is_shown:
            say(line)


def _story(timeline: Timeline, triad: FakeTriad, ini: Path) -> None:
    from palclient.client import Client

    triad.wait_for_master(timeout=WAIT_S)
    triad.write_ini(ini)
    timeline.did(f"INI file written: SERVERNAME={triad.servername}")
    events: list[Event] = []
    with Client(ini=ini, on_event=events.append) as client:
        began = monotonic()
        with client.checkout(FEATURE) as lease:
            timeline.did(f"seat checked out: {FEATURE}, lease time {lease.grant.ttl_s:g} s", monotonic() - began)
            seat = WatchedSeat(timeline=timeline, triad=triad, client=client, lease=lease, events=events)
            seat.check(master="primary")
            seat.lose_primary("primary killed (SIGKILL): the secondary serves", triad.primary.kill)
            seat.regain_primary("primary restarted: it is master again (PRIMARY_IS_MASTER)", triad.primary.restart)
            seat.lose_primary("primary frozen (SIGSTOP): the secondary serves", triad.primary.pause)
            seat.regain_primary("primary thawed: it is master again (PRIMARY_IS_MASTER)", triad.primary.resume)
            began = monotonic()
        timeline.did("seat returned", monotonic() - began)
        in_use = client.usage()[0].in_use
        timeline.promise(f"the pool is full again: {SEATS} of {SEATS} free", kept=in_use == 0, found=f"{in_use} in use")


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedSeat:
    """The seat that is held through it all, and who can tell of it: its holder, the triad, the events."""

    timeline: Timeline
    triad: FakeTriad
    client: Client
    lease: Lease
    events: list[Event]

    def lose_primary(self, text: str, act: Callable[[], None]) -> None:
        """Take the primary away; the secondary takes over, and goes on to renew the seat."""
        began = monotonic()
        act()
        self.client.usage(timeout=WAIT_S)  # answered by the new master, the moment it serves
        self.timeline.did(text, monotonic() - began)
        self.check(master="secondary")
        ttl_s = self.lease.grant.ttl_s
        gone = self.lease.wait_lost(ttl_s)
        self.timeline.did(f"a whole lease time ({ttl_s:g} s) has passed")
        self.timeline.promise("the new master renews the seat", kept=not gone and self.lease.valid, found=self.lease.state.value)

    def regain_primary(self, text: str, act: Callable[[], None]) -> None:
        """Bring the primary back; it takes mastership back."""
        began = monotonic()
        act()
        _wait_until(lambda: self.triad.primary.is_master)
        self.timeline.did(text, monotonic() - began)
        self.check(master="primary")

    def check(self, *, master: str) -> None:
        """The three promises of every state: who serves, that the seat is held and was never lost, that it is counted once."""
        pool = self.client.usage(timeout=WAIT_S)[0]
        serving = [node.role for node in self.triad.nodes if node.is_master]
        self.timeline.promise(f"the {master} is master, and nobody else", kept=serving == [master], found=serving or "nobody")
        troubles = [event for event in self.events if isinstance(event, (Lost, Reacquired))]
        self.timeline.promise(
            "the seat is held, and was all the time", kept=self.lease.valid and not troubles, found=troubles or self.lease.state.value
        )
        held = [holder.id for holder in pool.holders]
        self.timeline.promise("it is counted once", kept=held == [self.lease.id] and pool.in_use == 1, found=f"{pool.in_use} in use by {held}")


def _wait_until(is_so: Callable[[], bool]) -> None:
    until = monotonic() + WAIT_S
    while not is_so() and monotonic() < until:
        sleep(0.005)
