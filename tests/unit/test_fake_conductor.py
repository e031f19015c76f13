"""Several event loops on one thread, turn by turn (issue 5: in-process nodes; style 16: nothing is left behind)."""

from __future__ import annotations

import asyncio
import selectors
import socket
import sys
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from itertools import count
from types import FrameType
from typing import Any

import pytest

from fakeserver import conductor as module
from fakeserver.conductor import Conductor, News, Player, TurnLoop

LIMIT_S = 10.0


class Part:
    """A loop that takes part: ``main`` runs there; ``ended`` is set when all of it is over."""

    def __init__(self, conductor: Conductor, main: Coroutine[Any, Any, None]) -> None:
        self.conductor = conductor
        self.ended = threading.Event()
        self.error: Exception | None = None
        self.player = Player(lambda: main, self._end)
        conductor.add(self.player)
        conductor.wake()

    def _end(self, error: Exception | None) -> None:
        self.error = error
        self.ended.set()

    def wait(self) -> None:
        """Until all of it is over."""
        assert self.ended.wait(LIMIT_S)

    def hold(self) -> None:
        """Until it is held."""
        assert self.conductor.hold(self.player).wait(LIMIT_S)


@contextmanager
def conducting() -> Iterator[Conductor]:
    """A conductor that leaves nothing behind."""
    before = threading.active_count()
    conductor = Conductor()
    conductor.start()
    try:
        yield conductor
    finally:
        conductor.close()
    assert threading.active_count() == before


@pytest.fixture(params=["nested", "flat"])
def waiting(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to wait: for a selector that has a descriptor of its own, and, as on Windows, for all that it waits for."""
    if request.param == "flat":
        monkeypatch.setattr(module, "NESTS", False)
        monkeypatch.setattr(module, "Waiting", selectors.SelectSelector)


@pytest.mark.usefixtures("waiting")
def test_loops_talk_to_each_other_on_one_thread() -> None:
    """A server on one loop, its client on another; timers, sockets and calls from other threads all wake them."""
    address: list[Any] = []
    threads: set[int] = set()
    listening = threading.Event()
    heard: list[bytes] = []

    async def serve() -> None:
        done = asyncio.Event()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            threads.add(threading.get_ident())
            writer.write((await reader.readline()).upper())
            writer.close()
            done.set()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        address.append(server.sockets[0].getsockname())
        listening.set()
        await done.wait()
        server.close()

    async def ask() -> None:
        await asyncio.to_thread(listening.wait, LIMIT_S)
        reader, writer = await asyncio.open_connection(*address[0][:2])
        threads.add(threading.get_ident())
        await asyncio.sleep(0.001)
        writer.write(b"hello\n")
        heard.append(await reader.readline())
        writer.close()

    with conducting() as conductor:
        parts = [Part(conductor, serve()), Part(conductor, ask())]
        for part in parts:
            part.wait()
    assert (heard, len(threads), [part.error for part in parts]) == ([b"HELLO\n"], 1, [None, None])


@pytest.mark.usefixtures("waiting")
def test_a_loop_that_is_held_does_nothing_while_the_others_go_on() -> None:
    """F, freezing: what comes for it waits, in the kernel or in line, and is done when it goes on."""
    calls: list[str] = []
    here, there = socket.socketpair()
    here.setblocking(False)

    async def listen(name: str) -> None:
        if name == "held":
            calls.append((await asyncio.get_running_loop().sock_recv(here, 10)).decode())
        else:
            await asyncio.sleep(0.01)
            calls.append(name)

    with here, there, conducting() as conductor:
        held = Part(conductor, listen("held"))
        held.hold()
        there.send(b"late")
        held.player.loop.call_soon_threadsafe(calls.append, "called")
        other = Part(conductor, listen("other"))
        other.wait()
        assert calls == ["other"]
        conductor.release(held.player)
        held.wait()
    assert sorted(calls) == ["called", "late", "other"]


def test_a_turn_tells_how_long_there_is_nothing_to_do() -> None:
    """A turn ends at once; what it called for soon is for the next one, and a timer is not missed however late the turn is."""
    loop = TurnLoop()
    calls: list[str] = []
    try:
        assert loop.take_turn() is None
        loop.call_soon(lambda: loop.call_soon(calls.append, "soon"))
        assert loop.take_turn() == 0.0
        assert calls == []
        assert loop.take_turn() == 0.0
        assert calls == ["soon"]
        assert loop.take_turn() is None
        loop.call_later(60.0, calls.append, "later")
        idle_s = loop.take_turn()
        assert idle_s is not None
        assert 59.0 < idle_s <= 60.0
        loop.call_at(loop.time() - 1.0, calls.append, "overdue")
        loop.take_turn()
        assert calls == ["soon", "overdue"]
        assert loop.run_until_complete(asyncio.sleep(0, "as any loop")) == "as any loop"
    finally:
        loop.close()


def test_the_clock_stands_still_in_a_turn() -> None:
    """Else a timer could fall due between the question how long to wait and the answer, and what it does be overslept."""
    loop = TurnLoop()
    seen: list[float] = []
    try:
        for _ in range(2):
            loop.call_soon(lambda: seen.append(loop.time()))
        loop.take_turn()
        assert seen[0] == seen[1] < loop.time()
    finally:
        loop.close()


def test_a_loop_is_held_from_that_moment_on() -> None:
    """Not one turn more, be it due already; and one that goes on looks at once what it has to do, though nothing has come for it."""
    turns: list[int] = []
    seen: list[int] = []
    begun = threading.Event()

    async def run() -> None:
        begun.set()
        while not seen or len(turns) == seen[0]:
            turns.append(1)
            await asyncio.sleep(0)

    with conducting() as conductor:
        part = Part(conductor, run())
        assert begun.wait(LIMIT_S)
        queued = threading.Event()
        conductor.call(lambda: queued.wait(LIMIT_S))
        held = conductor.hold(part.player)
        conductor.call(lambda: seen.append(len(turns)))
        queued.set()
        assert held.wait(LIMIT_S)
        for _ in range(3):
            fence = threading.Event()
            conductor.call(fence.set)
            assert fence.wait(LIMIT_S)
        assert len(turns) == seen[0]
        conductor.call(lambda: setattr(part.player, "due_s", float("inf")))
        conductor.release(part.player)
        part.wait()
    assert part.error is None


def test_a_loop_that_is_held_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for it wakes nobody."""
    waits: list[int] = []

    class Counting(selectors.PollSelector):
        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            waits.append(1)
            return super().select(timeout)

    monkeypatch.setattr(module, "Waiting", Counting)
    begun = threading.Event()
    here, there = socket.socketpair()
    here.setblocking(False)

    async def listen() -> None:
        begun.set()
        await asyncio.get_running_loop().sock_recv(here, 10)

    with here, there, conducting() as conductor:
        held = Part(conductor, listen())
        assert begun.wait(LIMIT_S)
        held.hold()
        there.send(b"late")
        Part(conductor, asyncio.sleep(0.05)).wait()
        assert len(waits) < 50
        conductor.release(held.player)
        held.wait()


def test_an_error_ends_one_loop_alone_and_is_told() -> None:
    """The others, and the thread, go on."""

    async def fail() -> None:
        raise LookupError("lost")

    async def last() -> None:
        await asyncio.sleep(0)

    with conducting() as conductor:
        failed = Part(conductor, fail())
        failed.wait()
        other = Part(conductor, last())
        other.wait()
    assert isinstance(failed.error, LookupError)
    assert other.error is None


def test_what_is_called_and_fails_ends_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and what was put behind it is done."""

    async def last() -> None:
        await asyncio.sleep(0)

    with conducting() as conductor:
        conductor.put(lambda: 1 // 0)
        Part(conductor, last()).wait()
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("line", range(1, 4))
def test_whoever_is_interrupted_while_waiting_leaves_nothing_locked(line: int) -> None:
    """Ctrl-C at any line of the wait: the conductor, which tells, and all its nodes, would stand still for ever."""
    news = News()
    lines = count(1)

    def interrupt(frame: FrameType, event: str, _argument: object) -> Any:
        if frame.f_code is News.wait.__code__ and event == "line" and next(lines) == line:
            raise KeyboardInterrupt
        return interrupt

    teller = threading.Timer(0.02, news.tell)
    teller.start()
    before = sys.gettrace()
    sys.settrace(interrupt)
    try:
        with suppress(KeyboardInterrupt):
            news.wait(LIMIT_S)
    finally:
        sys.settrace(before)
    teller.join(LIMIT_S)
    assert not teller.is_alive()
    assert news.wait(LIMIT_S)


def test_what_is_told_is_told_to_all_and_once() -> None:
    """Several may wait, before and after."""
    news = News()
    assert not news.wait(0.0)
    with ThreadPoolExecutor(3) as pool:
        heard = [pool.submit(news.wait, LIMIT_S) for _ in range(3)]
        news.tell("first")
        news.tell("second")
        assert not wait(heard, timeout=LIMIT_S / 2).not_done
        assert [each.result() for each in heard] == [True] * 3
    assert (news.wait(0.0), news.value) == (True, "first")


def test_closing_on_its_own_thread_waits_for_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Where an owner in a circle of references is swept up, by whatever thread that is."""
    conductor = Conductor()
    conductor.start()
    waited: list[bool] = []
    closed = News()
    conductor.put(lambda: waited.append(conductor.wait(News(), LIMIT_S)))
    conductor.put(conductor.close)
    conductor.call(closed.tell)
    assert closed.wait(LIMIT_S)
    conductor._thread.join(LIMIT_S)
    assert (waited, conductor.is_closed, caplog.text) == ([False], True, "")


def test_what_is_put_when_the_thread_has_ended_is_done_by_whoever_wakes_it() -> None:
    """An order that comes as the triad is closed is answered."""
    calls: list[str] = []
    begun = threading.Event()

    async def stay() -> None:
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            conductor.put(lambda: calls.append("as it ends"))

    with conducting() as conductor:
        Part(conductor, stay())
        assert begun.wait(LIMIT_S)
    assert calls == ["as it ends"]
    conductor.call(lambda: calls.append("late"))
    assert calls == ["as it ends", "late"]


def test_what_falls_due_within_the_clocks_resolution_is_not_overslept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifteen milliseconds on Windows: asyncio calls in this turn what is due by then."""
    loop = TurnLoop()
    try:
        loop.call_later(1.0, lambda: None)
        monkeypatch.setattr(module, "RESOLUTION_S", 2.0)
        assert loop.take_turn() == 0.0
    finally:
        loop.close()


def test_closing_ends_all_loops_also_one_that_is_held() -> None:
    """What runs there is cancelled, and gets its ``finally``."""
    cleared: list[str] = []

    async def stay(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleared.append(name)

    with conducting() as conductor:
        parts = [Part(conductor, stay("held")), Part(conductor, stay("free"))]
        begun = threading.Event()
        Part(conductor, _set(begun)).wait()
        parts[0].hold()
    assert sorted(cleared) == ["free", "held"]
    assert all(part.ended.is_set() for part in parts)


async def _set(event: threading.Event) -> None:
    event.set()
