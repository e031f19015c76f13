"""The asynchronous client: against three real servers, against servers that misbehave, cancelled at every turn of the loop.

Seats are counted from outside, by what the servers say.  Each test waits for what it wants to see, with a deadline.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from fakeserver import FakeTriad
from palclient import (
    Acquired,
    AsyncClient,
    AsyncLease,
    CheckoutTimeout,
    Client,
    ClientClosed,
    ConfigError,
    LeaseLost,
    LeaseState,
    NoServerReachable,
    PalError,
    Returned,
    SeatsTaken,
    TriadUnavailable,
    acheckout,
    checkout,
)
from palclient.models import Event, Resumed
from palclient.runner_async import turn
from palclient.transport import monotonic
from tests import hostile
from tests.bench.null_node import NullNode, reply
from tests.canned import CannedMaster
from tests.children import LIMIT_S, Child, wait_until

pytestmark = pytest.mark.real

TURNS = 24  # more turns of the loop than a checkout with its connecting takes


@pytest.fixture(scope="module")
def triad() -> Iterator[FakeTriad]:
    """Three servers for the whole page; each test leaves its pools empty."""
    with FakeTriad(features={"X": 5, "LONELY": 1, "MANY": 200}) as triad:
        triad.wait_until_serving()
        yield triad


@pytest.fixture
def seats(triad: FakeTriad) -> Iterator[Callable[[str], int]]:
    """Seats in use, by the master's word.  In the end there are none."""
    with Client(triad.servername) as client:

        def in_use(feature: str) -> int:
            return next(pool.in_use + pool.queued for pool in client.usage() if pool.feature == feature)

        yield in_use
        for feature in ("X", "LONELY", "MANY"):
            wait_until(lambda feature=feature: in_use(feature) == 0, f"{feature} is free again")  # type: ignore[misc]  # the default is the type


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for something that comes about elsewhere, without holding the loop up."""
    await asyncio.to_thread(wait_until, condition, what)


def keepers() -> int:
    """How many keeper threads there are."""
    return sum(thread.name == "palclient-keeper" for thread in threading.enumerate())


# ------------------------------------------------------------------------------------------------------- how it is used


def test_a_checkout_is_awaited_entered_or_made_a_task(triad: FakeTriad, seats: Callable[[str], int]) -> None:
    """api: ``async with acheckout("X") as lease``, and ``lease = await acheckout("X")``."""

    async def main() -> None:
        async with acheckout("X", servers=triad.servername) as entered:
            awaited = await acheckout("X", servers=triad.servername)
            task = await asyncio.create_task(acheckout("X", servers=triad.servername))
            assert {type(lease) for lease in (entered, awaited, task)} == {AsyncLease}
            assert await asyncio.to_thread(seats, "X") == 3
            assert (entered.feature, entered.version, entered.count, entered.state) == ("X", "0", 1, LeaseState.HELD)
            assert len({entered.id, awaited.id, task.id}) == 3
            assert entered.valid
            assert 0 < entered.expires_in() < 3600
            entered.ensure_held()
            assert entered.term >= 1
            assert str(entered.master) in triad.servername
            await awaited.checkin()
            await awaited.checkin()  # twice is harmless
            async with task:
                pass
        for lease in (entered, awaited, task):
            assert lease.state is LeaseState.RETURNED
            with pytest.raises(LeaseLost, match="returned"):
                lease.ensure_held()
        assert "returned" in repr(entered)

    asyncio.run(main())


def test_status_usage_and_config_are_those_of_the_synchronous_client(triad: FakeTriad) -> None:
    """api: the same names, awaited."""

    async def main() -> None:
        async with AsyncClient(triad.servername) as client:
            status, usage = await client.status(), await client.usage()
            assert str(client.config.servername) == triad.servername
        with Client(triad.servername) as other:
            assert {node.endpoint for node in status.nodes} == {node.endpoint for node in other.status().nodes}
            assert usage == other.usage()

    asyncio.run(main())


def test_several_loops_share_the_default_client_and_a_lease_outlives_its_loop(triad: FakeTriad, seats: Callable[[str], int]) -> None:
    """Issue: several event loops, one after the other and in threads, with the process-wide default client."""

    async def take() -> AsyncLease:
        return await acheckout("X", servers=triad.servername)

    async def give(lease: AsyncLease) -> None:
        assert lease.valid
        await lease.checkin()

    leases = [asyncio.run(take()) for _ in range(3)]
    before = keepers()
    assert seats("X") == 3
    for lease in leases:
        asyncio.run(give(lease))

    def in_a_thread() -> None:
        for _ in range(5):
            asyncio.run(give(asyncio.run(take())))

    threads = [threading.Thread(target=in_a_thread) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
        assert not thread.is_alive()
    assert keepers() == before


# ------------------------------------------------------------------------------------------------------------ cancelling


async def cancelled_after(turns: int, coroutine: Coroutine[Any, Any, Any]) -> AsyncLease | None:
    """Start it, let the loop turn so often, cancel it.  Gives the lease if it was quicker."""
    task = asyncio.create_task(coroutine)
    for _ in range(turns):
        await turn()
    task.cancel()
    try:
        lease: AsyncLease = await task
    except asyncio.CancelledError:
        return None
    return lease


def test_a_checkout_that_is_cancelled_at_any_turn_leaves_no_seat_taken(triad: FakeTriad, seats: Callable[[str], int]) -> None:
    """Issue: cancellation of a task during a checkout leaves no seat taken; on new connections and on warm ones, at every turn of the loop."""

    async def main() -> None:
        outcomes = []
        async with AsyncClient(triad.servername) as client:
            for turns in range(TURNS):
                async with AsyncClient(triad.servername) as fresh:
                    outcomes.append(await cancelled_after(turns, fresh.checkout("MANY")))
                    lease = outcomes.append(await cancelled_after(turns, client.checkout("MANY")))  # type: ignore[func-returns-value]
                    assert lease is None
            for lease in outcomes:
                if lease is not None:
                    await lease.checkin()
            await until(lambda: seats("MANY") == 0, "all were given up")

    asyncio.run(main())


@pytest.fixture
def node() -> Iterator[NullNode]:
    """What a node answers, whoever asks it; its own port is not used."""
    node = NullNode()
    yield node
    node._listener.close()
    node._selector.close()


class Slow:
    """A node that holds every answer to a checkout until it is let go, and counts seats: so that a test can cancel before and after the grant."""

    def __init__(self, node: NullNode) -> None:
        self.node = node
        self.held: set[str] = set()
        self.let_go = threading.Event()

    def behave(self, visit: hostile.Visit) -> None:
        """Serve a connection."""
        while request := visit.read_request():
            method, target, _ = request.split(b" ", 2)
            checkout_id = target.rpartition(b"/")[2].decode()
            if method == b"PUT":
                self.held.add(checkout_id)
                self.let_go.wait(LIMIT_S)
            elif method == b"DELETE":
                self.held.discard(checkout_id)
            visit.send(self.node.answer(request))


@pytest.mark.parametrize("turns_after_the_answer", range(6))
def test_a_grant_that_crosses_the_cancellation_is_given_back(node: NullNode, turns_after_the_answer: int) -> None:
    """Issue: at any point: the request is out and granted, the answer on its way, there, read, or taken."""
    slow = Slow(node)

    async def main(client: AsyncClient) -> None:
        task = asyncio.create_task(client.checkout("X"))
        await until(lambda: bool(slow.held), "the seat is taken")
        slow.let_go.set()
        for _ in range(turns_after_the_answer):
            await turn()
        task.cancel()
        [ended] = await asyncio.gather(task, return_exceptions=True)
        if isinstance(ended, AsyncLease):  # the checkout was quicker
            await ended.checkin()
        await until(lambda: not slow.held, "the seat is given back")

    async def with_client() -> None:
        async with AsyncClient(f"{server.port}@127.0.0.1") as client:
            await main(client)

    with hostile.Server(slow.behave) as server:
        asyncio.run(with_client())


def test_a_checkin_that_is_cancelled_at_any_turn_gives_the_seat_back_all_the_same(triad: FakeTriad, seats: Callable[[str], int]) -> None:
    """Issue: a return that is lost is asked again by the keeper."""

    async def main() -> None:
        async with AsyncClient(triad.servername) as client:
            for turns in range(1, 8):
                lease = await client.checkout("X")
                await cancelled_after(turns, lease.checkin())
                assert lease.state is LeaseState.RETURNED
                await until(lambda: seats("X") == 0, "it came back")

    asyncio.run(main())


def test_a_wait_in_line_that_is_cancelled_gives_the_place_up(triad: FakeTriad, seats: Callable[[str], int]) -> None:
    """Issue: waiting is cancellable."""

    async def main() -> None:
        async with AsyncClient(triad.servername) as client, client.checkout("LONELY"):
            with pytest.raises(SeatsTaken):
                await client.checkout("LONELY")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await client.checkout("LONELY", wait=None)
            await until(lambda: seats("LONELY") == 1, "nobody stands in line")

    asyncio.run(main())


# ------------------------------------------------------------------------------------------------------- the keeper's part


def test_a_loop_that_is_blocked_does_not_lose_the_lease(triad: FakeTriad, seats: Callable[[str], int]) -> None:
    """Issue: a blocked event loop does not delay renewals: they go out on the keeper's thread."""

    async def main() -> None:
        async with AsyncClient(triad.servername) as client, client.checkout("X") as lease:
            confirmed_at, ttl_s = lease._holding.record.confirmed_at, lease.grant.ttl_s
            until_s = time.monotonic() + ttl_s * 1.5
            while time.monotonic() < until_s:  # nothing is awaited
                lease.ensure_held()
            assert lease._holding.record.confirmed_at > confirmed_at

    asyncio.run(main())
    assert seats("X") == 0


def test_a_lease_that_is_dropped_is_returned_and_warned_of(triad: FakeTriad, seats: Callable[[str], int]) -> None:
    """api: a lease that is dropped without checkin is returned with a ResourceWarning."""

    async def main() -> None:
        async with AsyncClient(triad.servername) as client:
            lease = await client.checkout("X")
            assert lease.valid
            with pytest.warns(ResourceWarning, match=r"AsyncLease X x1 .* was dropped without checkin"):
                del lease
            await until(lambda: seats("X") == 0, "it is returned")

    asyncio.run(main())


def test_closing_returns_all_and_ends_what_is_under_way(triad: FakeTriad, seats: Callable[[str], int]) -> None:
    """api: ``aclose`` returns all leases; afterwards ClientClosed."""

    async def main() -> None:
        client = AsyncClient(triad.servername)
        leases = [await client.checkout("X") for _ in range(3)]
        lonely = await client.checkout("LONELY")
        waiting = asyncio.create_task(client.checkout("LONELY", wait=None))
        await until(lambda: seats("LONELY") == 2, "the second stands in line")
        began = time.monotonic()
        await client.aclose()
        assert time.monotonic() - began < 2
        with pytest.raises(ClientClosed):
            await waiting
        assert {lease.state for lease in (*leases, lonely)} == {LeaseState.RETURNED}
        assert await asyncio.to_thread(seats, "X") == 0
        assert await asyncio.to_thread(seats, "LONELY") == 0
        with pytest.raises(ClientClosed, match="closed"):
            await client.checkout("X")
        await client.aclose()

    asyncio.run(main())
    wait_until(lambda: "palclient-events" not in {thread.name for thread in threading.enumerate()}, "no thread delivers events")


def withholding(node: NullNode) -> hostile.Behaviour:
    """A master that takes every checkout, says nothing, and answers everything else."""

    def withholds(visit: hostile.Visit) -> None:
        while request := visit.read_request():
            if request.startswith(b"PUT"):
                visit.wait_end()
                return
            visit.send(node.answer(request))

    return withholds


def test_closing_does_not_wait_for_an_answer_that_does_not_come(node: NullNode) -> None:
    """api: ``aclose`` takes 2 s at most, and ends a checkout that has all the time of the world."""

    async def main() -> None:
        client = AsyncClient(f"{server.port}@127.0.0.1")
        task = asyncio.create_task(client.checkout("X", timeout=60))
        await until(server.was_asked.is_set, "it is asked")
        began = time.monotonic()
        await client.aclose()
        with pytest.raises(ClientClosed):
            await task
        assert time.monotonic() - began < 1
        assert any(request.startswith(b"DELETE") for request in server.requests), "it was given up"

    with hostile.Server(withholding(node)) as server:
        asyncio.run(main())


def test_a_checkout_under_way_when_a_signal_closes_the_client_is_given_up_and_told_so() -> None:
    """api: install_signal_handlers; the master refuses the id that was given up, which is no fault of its protocol."""
    master, gate = CannedMaster(), threading.Event()

    def answers_late(visit: hostile.Visit) -> None:
        while request := visit.read_request():
            is_late = request.startswith(b"PUT")
            if is_late:
                gate.wait(LIMIT_S)
            visit.send(master.refusal if is_late else master.answer(request))

    async def main() -> None:
        client = AsyncClient(f"{server.port}@127.0.0.1")
        task = asyncio.create_task(client.checkout("X"))
        await until(server.was_asked.is_set, "it is asked")
        client._home.open().session.close()  # as the handler of a signal does, and the end of the process
        gate.set()
        with pytest.raises(ClientClosed):
            await task
        assert [request.split(b" ", 1)[0] for request in server.requests[:2]] == [b"PUT", b"DELETE"]

    with hostile.Server(answers_late) as server:
        asyncio.run(main())


def test_a_checkout_on_one_loop_ends_when_the_client_is_closed_on_another(node: NullNode) -> None:
    """Issue: several loops; whoever closes does not wait for the other loop, whose task gives its seat back by itself."""

    async def asks() -> None:
        with pytest.raises(ClientClosed):
            await client.checkout("X", timeout=60)

    async def closes() -> None:
        await until(server.was_asked.is_set, "it is asked")
        await client.aclose()

    with hostile.Server(withholding(node)) as server:
        client = AsyncClient(f"{server.port}@127.0.0.1")
        other = threading.Thread(target=asyncio.run, args=(asks(),))
        other.start()
        asyncio.run(closes())
        other.join(LIMIT_S)
        assert not other.is_alive()
        assert any(request.startswith(b"DELETE") for request in server.requests), "it was given up"


def test_checkin_takes_two_seconds_at_most_in_any_weather(node: NullNode) -> None:
    """api: ``checkin()`` returns within 2 s; here the server takes returns and says nothing; the keeper asks again."""
    gave_up, confirmed = threading.Event(), threading.Event()

    def keeps_mum(visit: hostile.Visit) -> None:
        while request := visit.read_request():
            if request.startswith(b"DELETE"):
                if not gave_up.is_set():
                    visit.wait_end()
                    return
                confirmed.set()
            visit.send(node.answer(request))

    async def main() -> None:
        async with AsyncClient(f"{server.port}@127.0.0.1") as client:
            lease = await client.checkout("X")
            began = time.monotonic()
            await lease.checkin()
            assert 1.9 < time.monotonic() - began < 2.5
            assert lease.state is LeaseState.RETURNED
            gave_up.set()
            await until(confirmed.is_set, "the keeper goes on with it")

    with hostile.Server(keeps_mum) as server:
        asyncio.run(main())


def test_wait_lost_wakes_at_the_loss_and_at_its_timeout(triad: FakeTriad) -> None:
    """api: ``wait_lost(timeout)`` tells whether the seats are gone."""

    async def main() -> None:
        async with AsyncClient(triad.servername) as client:
            lease = await client.checkout("X")
            assert not await lease.wait_lost(0.02)
            lost = asyncio.create_task(lease.wait_lost())
            await turn()
            await lease.checkin()
            assert await asyncio.wait_for(lost, LIMIT_S)
            assert not lease._session.session.watchers

    asyncio.run(main())


FORKS = """
import asyncio, os, sys
from palclient import LeaseForked, LeaseState, acheckout

async def take():
    return await acheckout("X", servers=sys.argv[1])

async def in_the_child():
    assert lease.state is LeaseState.FOREIGN
    try:
        lease.ensure_held()
    except LeaseForked:
        pass
    await lease.checkin()  # no-op
    async with acheckout("X", servers=sys.argv[1]) as own:
        assert own.valid

async def main():
    global lease
    lease = await take()
    child = os.fork()
    if not child:
        return child
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    lease.ensure_held()
    await lease.checkin()
    return child

lease = None
if not asyncio.run(main()):
    asyncio.run(in_the_child())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_a_forked_child_owns_nothing_and_takes_its_own(triad: FakeTriad, seats: Callable[[str], int]) -> None:
    """Issue: after ``fork`` leases are FOREIGN, return is a no-op, the child can check out its own, neither disturbs the other."""
    with Child(FORKS, triad.servername) as child:
        assert child.end() == 0, child.complained
    assert seats("X") == 0


# ---------------------------------------------------------------------------------------------------------------- events


def test_events_are_delivered_on_the_loop_in_order(triad: FakeTriad) -> None:
    """api: an AsyncClient delivers on its loop; a listener that raises does no harm."""
    told: list[tuple[str, Event]] = []
    threads: set[int] = set()

    def listen(to: str) -> Callable[[Event], None]:
        def listener(event: Event) -> None:
            told.append((to, event))
            threads.add(threading.get_ident())
            raise ZeroDivisionError

        return listener

    async def main() -> None:
        async with AsyncClient(triad.servername, on_event=listen("client")) as client:
            for _ in range(3):
                async with client.checkout("X", on_event=listen("lease")):
                    pass
        assert [type(event) for to, event in told if to == "lease"] == [Acquired, Returned] * 3
        leases = [event for to, event in told if to == "client" and isinstance(event, Acquired | Returned)]
        assert [type(event) for event in leases] == [Acquired, Returned] * 3
        assert len({event.lease_id for event in leases}) == 3
        assert threads == {threading.get_ident()}

    asyncio.run(main())


def test_what_belongs_to_no_lease_is_told_once_to_each_listener_however_many_leases_it_hears_of(triad: FakeTriad) -> None:
    """api, Events: one change of master is one event."""
    heard: list[Event] = []

    async def main() -> None:
        async with AsyncClient(triad.servername) as client:
            leases = [await client.checkout("X", on_event=heard.append) for _ in range(3)]
            leases[0]._session.session._tell(Resumed(gap_s=3))
        assert [type(event) for event in heard].count(Returned) == 3
        assert heard.count(Resumed(gap_s=3)) == 1

    asyncio.run(main())


def test_a_listener_may_start_a_task_that_calls_the_api(triad: FakeTriad, seats: Callable[[str], int]) -> None:
    """api: a callback may call the API."""

    async def main() -> None:
        tasks: list[asyncio.Task[None]] = []

        async def another() -> None:
            async with client.checkout("LONELY"):
                pass

        async with AsyncClient(triad.servername) as client:
            async with client.checkout("X", on_event=lambda _: tasks.append(asyncio.ensure_future(another()))):
                await turn()
                await asyncio.gather(*tasks)
            assert tasks

    asyncio.run(main())
    assert seats("LONELY") == 0


# ---------------------------------------------------------------------------------------------------------------- errors


def denies(visit: hostile.Visit) -> None:
    """A problem of ours, in good form."""
    while visit.read_request():
        about = '"node":"1@x","role":"primary","cluster":"00000000-0000-4000-8000-000000000000","term":1'
        problem = '"type":"urn:palclient:problem:feature-unknown","title":"no","status":404,"code":-5,"detail":"no such feature"'
        visit.send(reply(b"404 Not Found", f"{{{about},{problem}}}").replace(b"application/json", b"application/problem+json"))


def told(error: BaseException) -> tuple[object, ...]:
    """What a program can see of an error."""
    assert isinstance(error, PalError), error
    probes = {(probe.asked, probe.outcome, probe.answered) for probe in error.probes} if isinstance(error, TriadUnavailable) else set()
    return type(error), error.code, error.retryable, sorted(probes)


MISBEHAVING = [
    hostile.is_silent,
    hostile.hangs_up,
    hostile.resets,
    hostile.drips,
    hostile.speaks_ssh,
    hostile.is_a_web_page,
    hostile.cuts_short,
    denies,
]


def test_errors_are_of_the_same_class_code_and_probes_as_on_threads() -> None:
    """Issue: each ends as the error tree says, inside the deadline, with ``.probes`` telling all of it."""

    async def awaited(name: str) -> None:
        async with AsyncClient(name) as client:
            await client.checkout("X", timeout=0.4)

    def threaded(name: str) -> None:
        with Client(name) as client:
            client.checkout("X", timeout=0.4)

    async def main(names: list[str]) -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(len(names)))
        ours = asyncio.gather(*map(awaited, names), return_exceptions=True)
        theirs = asyncio.gather(*(asyncio.to_thread(threaded, name) for name in names), return_exceptions=True)
        for behave, our, their in zip(MISBEHAVING, await ours, await theirs, strict=True):
            assert our is not None, behave.__name__
            assert their is not None, behave.__name__
            assert told(our) == told(their), behave.__name__

    with ExitStack() as stack:
        servers = [stack.enter_context(hostile.Server(behave)) for behave in MISBEHAVING]
        asyncio.run(main([f"{server.port}@127.0.0.1" for server in servers]))


def test_timeout_0_asks_every_node_once_and_impossible_arguments_ask_none() -> None:
    """api: timeout, count, reacquire."""

    async def main() -> None:
        with hostile.closed_port() as port:
            async with AsyncClient(f"{port}@127.0.0.1") as client:
                with pytest.raises(NoServerReachable) as caught:
                    await client.checkout("X", timeout=0)
                assert len(caught.value.probes) == 1
                for arguments in ({"count": 0}, {"timeout": -1}, {"reacquire": "perhaps"}):
                    with pytest.raises(ConfigError):
                        await client.checkout("X", **arguments)  # impossible on purpose
        with pytest.raises(ConfigError):
            AsyncClient(timeout=-1.0)

    asyncio.run(main())


def test_a_silent_master_ends_in_a_timeout_error(node: NullNode) -> None:
    """api: CheckoutTimeout is a TimeoutError; the deadline is kept on the loop, too."""

    def falls_silent(visit: hostile.Visit) -> None:
        while request := visit.read_request():
            if request.startswith(b"PUT") and visit.server.requests.index(request) > 0:
                visit.wait_end()
                return
            visit.send(node.answer(request))

    async def main() -> None:
        async with AsyncClient(f"{server.port}@127.0.0.1") as client, client.checkout("X"):
            began = time.monotonic()
            with pytest.raises((CheckoutTimeout, NoServerReachable)):
                await client.checkout("X", timeout=0.3)
            assert 0.29 < time.monotonic() - began < 2

    with hostile.Server(falls_silent) as server:
        asyncio.run(main())


# -------------------------------------------------------------------------------------------------------------- failover


def test_checkouts_under_load_outlive_the_master(tmp_path: Path) -> None:
    """api: no errors to callers through a failover, for a timeout of at least E + 2 s; leases are kept, and every seat counted once."""

    async def main(triad: FakeTriad) -> None:
        async with AsyncClient(triad.servername, timeout=10) as client:
            kept = [await client.checkout("X") for _ in range(5)]
            is_over = False
            rounds = 0

            async def worker() -> None:
                nonlocal rounds
                while not is_over:
                    async with client.checkout("X") as lease:
                        lease.ensure_held()
                        rounds += 1

            async with asyncio.TaskGroup() as group:
                for _ in range(16):
                    group.create_task(worker())
                await until(lambda: rounds > 50, "work goes on")
                await asyncio.to_thread(triad.primary.kill)
                await asyncio.to_thread(triad.wait_for_master, LIMIT_S)
                after = rounds
                await until(lambda: rounds > after + 50, "work goes on with the successor")
                is_over = True
            assert all(lease.valid for lease in kept)
            assert sum(pool.in_use for pool in await client.usage()) == 5
            for lease in kept:
                await lease.checkin()
            assert sum(pool.in_use for pool in await client.usage()) == 0

    with FakeTriad(features={"X": 30}, state_dir=tmp_path) as triad:
        triad.wait_until_serving()
        asyncio.run(main(triad))


# ------------------------------------------------------------------------------------------------------------- injected


@pytest.mark.parametrize("is_client", [False, True], ids=["transport", "client"])
def test_an_injected_transport_serves_checkout_renewal_and_return(node: NullNode, *, is_client: bool) -> None:
    """api: ``transport`` is an ``httpx.AsyncBaseTransport``, or an ``httpx.AsyncClient``, which is left open."""
    seen: list[str] = []

    async def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.method)
        head = f"{request.method} {request.url.raw_path.decode()} HTTP/1.1\r\nContent-Length: {len(request.content)}\r\n\r\n".encode()
        answer = node.answer(head + request.content)
        status, _, body = answer.partition(b"\r\n\r\n")
        return httpx.Response(int(status.split()[1]), headers={"Content-Type": "application/json"}, content=body)

    async def main() -> None:
        mock = httpx.MockTransport(handler)
        owners = httpx.AsyncClient(transport=mock)
        async with owners, AsyncClient("27000@lic1.example", transport=owners if is_client else mock) as client:
            async with client.checkout("X") as lease:
                assert lease.valid
            lease = await client.checkout("X")
            lease._session.session.leases.all_due(monotonic())  # the keeper renews at once, on this loop
            await until(lambda: "POST" in seen, "it is renewed")
            lease.ensure_held()
            await client.aclose()
            assert not owners.is_closed
        assert seen == ["PUT", "DELETE", "PUT", "POST", "DELETE"]

    asyncio.run(main())


def test_both_kinds_of_client_see_one_pool(triad: FakeTriad, seats: Callable[[str], int]) -> None:
    """Two default clients, one for threads and one for asyncio, and the same servers."""

    async def main() -> None:
        async with acheckout("X", servers=triad.servername):
            with checkout("X", servers=triad.servername):
                assert seats("X") == 2

    asyncio.run(main())
