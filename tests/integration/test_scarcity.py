"""When the system gives no descriptors, or no threads, for a while: seats are kept, or given back and told of, and later all is well."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from palclient import AsyncClient, Client, NoServerReachable, PalError, Returned
from palclient.models import Event, Resumed
from palclient.runner_async import MAX_WAITING, turn
from tests import hostile
from tests.canned import CannedMaster
from tests.children import LIMIT_S, Child, wait_until

pytestmark = pytest.mark.real

WITHOUT_DESCRIPTORS = """
import os, resource, sys
from palclient import Client
client = Client(sys.argv[1])
client.status()  # there is a connection now
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
hoard = []
try:
    while True:
        hoard.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    pass
lease = client.checkout("X")
while client.counters.renewals < 3 and not lease.wait_lost(0.01):
    pass
lease.ensure_held()
for descriptor in hoard:
    os.close(descriptor)
client.close()
print(lease.state.value, flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_a_keeper_that_begins_when_descriptors_have_run_out_keeps_its_leases_all_the_same() -> None:
    """Issue "the client in full": the lease's life; one bad moment of the process must not end the keeping for ever."""
    with hostile.Server(CannedMaster(b"0.9")) as server, Child(WITHOUT_DESCRIPTORS, f"{server.port}@127.0.0.1") as child:
        assert child.wait_for("") == "returned"
        assert (child.end(), child.complained) == (0, "")


@contextmanager
def no_threads(name: str) -> Iterator[None]:
    """The system gives no threads of this name."""
    start = threading.Thread.start

    def refused(thread: threading.Thread) -> None:
        if thread.name == name:
            raise RuntimeError("can't start new thread")
        start(thread)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", refused)
        yield


def test_a_checkout_that_nobody_could_keep_is_told_of_and_given_back_and_the_next_is_kept() -> None:
    """api.md, Errors: no foreign exception leaves; exactly once: no seat stays taken."""
    master = CannedMaster(b"0.6")
    with hostile.Server(master) as server, Client(f"{server.port}@127.0.0.1") as client:
        with no_threads("palclient-keeper"), pytest.raises(PalError, match="no thread to keep seats with") as caught:
            client.checkout("X")
        assert caught.value.advice
        with client.checkout("X") as lease:
            wait_until(lambda: client.counters.renewals >= 2, "the next is renewed")
            lease.ensure_held()
            wait_until(lambda: "DELETE" in [method for _, method, _ in master.asked], "the first is given back")


def test_an_event_that_no_thread_could_tell_is_told_with_the_next() -> None:
    """api.md, events: delivered in order."""
    heard: list[Event] = []
    with hostile.Server(CannedMaster()) as server, Client(f"{server.port}@127.0.0.1", on_event=heard.append) as client:
        with no_threads("palclient-events"):
            lease = client.checkout("X")
        assert heard == []
        lease.checkin()
        wait_until(lambda: len(heard) == 2, "both are told")
    assert isinstance(heard[1], Returned)


def test_an_injected_transport_without_threads_is_a_server_that_cannot_be_reached() -> None:
    """api.md, Errors: no foreign exception leaves the SDK."""
    transport = httpx.MockTransport(lambda _: httpx.Response(500))
    with Client("1@lic1", transport=transport) as client, no_threads("palclient-call"), pytest.raises(NoServerReachable, match="new thread"):
        client.checkout("X", timeout=0)


def test_events_that_a_blocked_loop_did_not_take_are_counted() -> None:
    """api.md, Counters: ``events_dropped``, of an ``AsyncClient`` as of a ``Client``."""
    heard: list[Event] = []

    async def block(servername: str) -> None:
        async with AsyncClient(servername, on_event=heard.append) as client:
            lease = await client.checkout("X")
            await turn()
            for number in range(MAX_WAITING + 5):
                lease._session.session._tell(Resumed(gap_s=number))
            assert client.counters.events_dropped == 5

    with hostile.Server(CannedMaster()) as server:
        asyncio.run(asyncio.wait_for(block(f"{server.port}@127.0.0.1"), LIMIT_S))
    assert len(heard) == 1 + MAX_WAITING + 1
