"""What the owner of a triad orders one of its nodes to do: play a fault, heal, begin anew, tell how it is.

An order is a line of JSON down the pipe that the parent holds, and so is the answer to it; nobody else can write there.  What was ordered has
taken effect when the answer leaves.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from fakeserver import faults as values
from fakeserver import wire
from fakeserver.events import Answer, Expired, Request
from fakeserver.failpoints import PLACES
from fakeserver.faults import ClockRate, DiskFull, DoubleCount, Expire, FailAt, Fault, Fill, LoseReply, Partition, Slow
from fakeserver.ghosts import Ghosts
from fakeserver.roles import Role
from fakeserver.sabotage import Stage, latency_s
from fakeserver.server import Filter

if TYPE_CHECKING:
    from fakeserver.run import Life

STOP = "stop"


class Orders:
    """Carries out orders for one node, one after the other, on its event loop."""

    def __init__(self, stage: Stage, life: Life) -> None:
        self._stage = stage
        self._life = life
        self._shell = stage.shell
        self._faults: tuple[Fault, ...] = ()
        self._ghosts = Ghosts(self._ask, ttl_s=life.settings.ttl_s)
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._orders: Mapping[str, Callable[[Any], Awaitable[dict[str, object]]]] = {
            "play": self._play,
            "heal": self._heal,
            "look": self._look,
            "reread": self._reread,
            "rest": self._rest,
            "reset": self._reset,
            "settle": self._settle,
        }

    def take(self, line: str, say: Callable[[str], object]) -> None:
        """Carry out a line's order, and say what came of it; ``stop`` is no order but the end, and has no answer."""
        if line == STOP:
            self._shell.stop()
            return
        task = asyncio.create_task(self._answer(line, say), name="order")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def stop(self) -> None:
        """An orderly stop."""
        self._shell.stop()

    def cut_off(self) -> None:
        """Let the node do and say nothing any more, as if its process had been killed; ``close_port`` is to follow."""
        self._shell.cut_off()
        self._stage.cut_off()

    def close_port(self) -> None:
        """Let the port refuse, some turns of the loop later."""
        self._stage.close_port()

    async def close(self) -> None:
        """End what runs for faults."""
        await self._ghosts.close()

    async def obey(self, words: Mapping[str, Any]) -> dict[str, object]:
        """Carry out one order; give the members of its answer.

        Raises ValueError or NotImplementedError for what cannot be, OSError when the system does not allow it.
        """
        async with self._turn:
            return await self._orders[words["order"]](words)

    async def play(self, faults: Iterable[Fault]) -> None:
        """Play these faults, from a start on."""
        for fault in faults:
            await self._add(fault)

    async def _answer(self, line: str, say: Callable[[str], object]) -> None:
        words = json.loads(line)
        try:
            result = await self.obey(words)
        except (ValueError, NotImplementedError, OSError) as error:
            result = {"error": str(error), "is_not_played": isinstance(error, NotImplementedError)}
        say(json.dumps({"number": words["number"], **result}))

    # --- faults ---------------------------------------------------------------------------------------------------------------------

    async def _play(self, words: Mapping[str, Any]) -> dict[str, object]:
        await self._add(values.from_json(words["fault"]))
        return {}

    async def _heal(self, words: Mapping[str, Any]) -> dict[str, object]:
        """Undo the faults of one name (and feature or peer), or all."""
        name, detail = words.get("name"), words.get("detail", "")
        kept = values.without(self._faults, name, detail) if name else ()
        gone = [fault for fault in self._faults if fault not in kept]
        await self._set(kept)
        for fault in gone:
            if isinstance(fault, Fill | DoubleCount):
                await self._ghosts.leave(fault.feature if isinstance(fault, Fill) else None)
        return {}

    async def _add(self, fault: Fault) -> None:
        before = self._faults
        try:
            await self._set(values.added(before, fault))
        except (NotImplementedError, OSError):
            await self._set(before)
            raise
        if isinstance(fault, LoseReply):
            self._stage.weather.lose(fault)
        elif isinstance(fault, Fill):
            await self._ghosts.fill(fault.feature, fault.id)

    async def _set(self, faults: tuple[Fault, ...]) -> None:
        """Let everything be as these faults want it."""
        self._faults = faults
        shell = self._shell
        shell.filter = _filter(faults, Role(self._life.settings.role))
        shell.failpoint = next(((each.place, PLACES[each.place]) for each in faults if isinstance(each, FailAt)), None)
        shell.clock.set_rate(next((each.rate for each in faults if isinstance(each, ClockRate)), 1.0))
        shell.look_at_clock()
        self._tell_expired()
        await self._stage.play(faults, self._ghosts)
        self._life.disk.is_full = any(isinstance(each, DiskFull) for each in faults)
        if self._life.disk.is_full:
            self._life.notice_full()
        else:
            self._life.look_for_room()

    def _tell_expired(self) -> None:
        self._shell.handle(Expired(features=frozenset(each.feature for each in self._faults if isinstance(each, Expire))))

    # --- the rest -------------------------------------------------------------------------------------------------------------------

    async def _look(self, words: Mapping[str, Any]) -> dict[str, object]:
        """What the node itself answers to a GET, whatever stands between it and its clients."""
        try:
            call = wire.read_call(method="GET", path=words["path"], headers=(), body=b"")
        except wire.Refused as refused:  # as a client would be
            return {"body": self._shell.identity() | refused.body()}
        answer = await self._ask(call.request)
        return {"body": None if answer is None else dict(answer.body)}

    async def _reread(self, _words: Mapping[str, Any]) -> dict[str, object]:
        """Read the options file again."""
        self._life.reread()
        return {}

    async def _rest(self, _words: Mapping[str, Any]) -> dict[str, object]:
        """The first half of a reset: heal, take no part any more, and tell the term."""
        self._ghosts.forget()
        await self._set(())
        self._life.rest("The triad is being reset.")
        ballot = self._life.disk.ballot
        return {"term": ballot.term if ballot else 0}

    async def _reset(self, words: Mapping[str, Any]) -> dict[str, object]:
        """The second half: begin anew, above all terms there were."""
        self._life.begin_anew(words["term"], waits_s=words["waits_s"])
        return {}

    async def _settle(self, words: Mapping[str, Any]) -> dict[str, object]:
        """Wait until the node serves or follows; whether it does within ``limit_s`` seconds."""
        worth_a_look = asyncio.Event()

        def look() -> None:  # after each event, so it has to be cheap
            if self._shell.has_halted or self._life.node.is_settled(self._shell.clock.now_s()):
                worth_a_look.set()

        self._shell.when_handled = look
        try:
            async with asyncio.timeout(float(words["limit_s"])):
                while not self._is_settled():
                    worth_a_look.clear()  # what the look itself set
                    await worth_a_look.wait()
        except (TimeoutError, wire.Refused):  # or it has ended meanwhile
            return {"settled": False}
        finally:
            self._shell.when_handled = None
        return {"settled": True}

    def _is_settled(self) -> bool:
        """Whether it says so, whoever asks; that is dear, so what can be seen from here is looked at first."""
        return self._life.node.is_settled(self._shell.clock.now_s()) and self._shell.status()["state"] in {"master", "standby"}

    async def _ask(self, request: Request) -> Answer | None:
        """What the node answers by the shell's own door; None when it has halted or begun anew meanwhile."""
        never = asyncio.get_running_loop().create_future()
        try:
            return await self._shell.call(wire.Call(request=request), lambda: asyncio.create_task(_wait_for(never), name="order watch"))
        except wire.Refused:
            return None


async def _wait_for(future: asyncio.Future[None]) -> None:
    await future


def _filter(faults: Iterable[Fault], role: Role) -> Filter:
    """What becomes of the messages between this node and the others."""
    faults = tuple(faults)
    others = frozenset(role.others)
    if any(values.is_silent(each) for each in faults):
        return Filter(lost_to=others, lost_from=others)
    links = [each for each in faults if isinstance(each, Partition)]
    slow = next((each for each in faults if isinstance(each, Slow) and not each.clients_only), None)
    return Filter(
        lost_to=frozenset(Role(each.peer) for each in links if each.outward),
        lost_from=frozenset(Role(each.peer) for each in links if each.inward),
        late_s=None if slow is None else partial(latency_s, slow),
    )
