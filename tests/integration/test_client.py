"""The synchronous client as a program has it: against three real servers, against servers that misbehave, and as processes that are interrupted or end.

Seats are counted from outside, by what the servers say.  Nothing here sleeps: each test waits for what it wants to see, with a deadline.
"""

from __future__ import annotations

import re
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from fakeserver import FakeNode, FakeTriad
from palclient import (
    CheckoutDenied,
    CheckoutTimeout,
    Client,
    ClientClosed,
    ConfigError,
    IniError,
    LeaseLost,
    LeaseState,
    Lost,
    MasterChanged,
    NoQuorum,
    NoServerReachable,
    PalError,
    Reacquired,
    Returned,
    SeatsTaken,
    ServerNameError,
)
from palclient.models import Event
from tests import hostile
from tests.bench.null_node import reply
from tests.canned import CannedMaster
from tests.children import LIMIT_S, Child, wait_until

pytestmark = pytest.mark.real

Argument = TypeVar("Argument")
Result = TypeVar("Result")

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals that one process sends another")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """One pool as the master counts it: seats in use, how many checkouts stand in line, the ids that hold."""

    in_use: int
    queued: int
    ids: tuple[str, ...]
    pids: tuple[int, ...]


def pool(triad: FakeTriad, feature: str = "X") -> Pool:
    """The pool of ``feature``, by the master's word."""
    (found,) = (one for one in triad.usage()["features"] if one["feature"] == feature)
    holders = found["holders"]
    return Pool(
        in_use=found["in_use"],
        queued=found["queued"],
        ids=tuple(holder["id"] for holder in holders),
        pids=tuple(holder["holder"]["pid"] for holder in holders),
    )


@pytest.fixture(scope="module")
def whole() -> Iterator[FakeTriad]:
    """A triad that no test of this module hurts; each gives back what it takes."""
    with FakeTriad(features={"X": 3, "LONELY": 1}) as triad:
        triad.wait_until_serving(LIMIT_S)
        yield triad


@pytest.fixture
def ini(whole: FakeTriad, tmp_path: Path) -> Path:
    """An INI file that names the whole triad."""
    return whole.write_ini(tmp_path / "Palisade_NetworkClient.ini")


def at_the_same_time(function: Callable[[Argument], Result], arguments: Collection[Argument]) -> list[Result]:
    """Each argument on a thread of its own: these tests consist of waiting."""
    with ThreadPoolExecutor(len(arguments)) as threads:
        return list(threads.map(function, arguments))


@pytest.fixture(scope="module")
def lost_cause() -> Iterator[Callable[[str], Client]]:
    """Makes clients of servers that will never answer.  Closing one takes 2 s then, which nobody waits for here."""
    clients: list[Client] = []

    def make(servername: str) -> Client:
        clients.append(Client(servername))
        return clients[-1]

    yield make
    for client in clients:
        client._home.open().close(timeout_s=0.0)


# --- the main job -------------------------------------------------------------------------------------------------------------------


def test_a_checkout_from_an_ini_takes_one_seat_and_the_end_of_the_block_returns_it(whole: FakeTriad, ini: Path) -> None:
    """api, first example; G3: the seat is counted once, under the lease's id."""
    with Client(ini=ini) as client, client.checkout("X") as lease:
        assert (lease.state, lease.valid, lease.count, lease.feature) == (LeaseState.HELD, True, 1, "X")
        assert 0 < lease.expires_in() < whole.ttl_s
        assert str(lease.master) == whole.primary.endpoint
        assert (pool(whole).in_use, pool(whole).ids) == (1, (lease.id,))
        lease.checkin()
        assert lease.state is LeaseState.RETURNED
        assert pool(whole).in_use == 0
        lease.checkin()
        with pytest.raises(LeaseLost, match="it was returned"):
            lease.ensure_held()
    with pytest.raises(ClientClosed, match="closed"):
        client.checkout("X")


LOSSES: list[tuple[Callable[[FakeNode], None], Callable[[FakeNode], None]]] = [(FakeNode.kill, FakeNode.restart), (FakeNode.pause, FakeNode.resume)]


def test_the_same_seat_is_held_and_counted_once_through_every_loss_of_the_primary_and_its_return(tmp_path: Path) -> None:
    """Issue "the main job"; T4, T5, G2, G3: killed and frozen, the master changes four times and the seat never."""
    events: list[Event] = []
    with FakeTriad(features={"X": 3}) as triad, Client(ini=triad.write_ini(tmp_path / "palclient.ini"), on_event=events.append) as client:
        triad.wait_until_serving(LIMIT_S)
        lease = client.checkout("X")
        first = lease.grant
        for lose, bring_back in LOSSES:
            lose(triad.primary)
            wait_until(lambda: lease.master is not None and str(lease.master) == triad.secondary.endpoint, "the client has found the secondary")
            assert (lease.valid, pool(triad).in_use, pool(triad).ids) == (True, 1, (lease.id,))
            bring_back(triad.primary)
            wait_until(lambda: triad.primary.is_master, "the primary is master again")
            wait_until(lambda: str(lease.master) == triad.primary.endpoint, "the client has found the primary")
            assert (lease.valid, pool(triad).in_use, pool(triad).ids) == (True, 1, (lease.id,))
        assert lease.grant.seq == first.seq
        lease.ensure_held()
        lease.checkin()
        assert pool(triad).in_use == 0
        wait_until(lambda: any(isinstance(event, Returned) for event in events), "the last event is told")
    assert not [event for event in events if isinstance(event, Lost | Reacquired)]
    assert len([event for event in events if isinstance(event, MasterChanged)]) == 4


def test_a_checkout_during_a_failover_ends_with_a_seat() -> None:
    """api: no errors to callers through a failover, for a timeout of at least E + 2 s."""
    with FakeTriad(features={"X": 3}) as triad, Client(triad.servername) as client:
        triad.wait_until_serving(LIMIT_S)
        triad.primary.kill()
        with client.checkout("X", timeout=5) as lease:
            assert str(lease.master) == triad.secondary.endpoint
            assert pool(triad).ids == (lease.id,)


# --- what is wrong with the configuration -------------------------------------------------------------------------------------------

WRONG_INIS: list[tuple[str, str, type[ConfigError], tuple[int, int] | None, str]] = [
    ("no SERVERNAME", "[License]\nSERVER=27000@lic1\n", IniError, None, "SERVERNAME"),
    ("empty", "[License]\nSERVERNAME=\n", ServerNameError, (2, 12), "27000@lic1,27000@lic2,27000@lic3"),
    (
        "semicolons",
        "[License]\nSERVERNAME=27000@lic1;27000@lic2;27000@lic3\n",
        ServerNameError,
        (2, 22),
        "SERVERNAME=27000@lic1,27000@lic2,27000@lic3",
    ),
    ("two entries", "[License]\r\n\r\nSERVERNAME = 27000@lic1,27000@lic2\r\n", ServerNameError, (3, 25), "three"),
]


@pytest.mark.parametrize("text,kind,place,advice", [row[1:] for row in WRONG_INIS], ids=[row[0] for row in WRONG_INIS])
def test_a_wrong_servername_is_refused_with_its_file_line_and_column(
    text: str, kind: type[ConfigError], place: tuple[int, int] | None, advice: str, tmp_path: Path
) -> None:
    """Issue "the main job", bad input; N1, N3, N6: nothing is asked of any server."""
    path = tmp_path / "Palisade_NetworkClient.ini"
    path.write_bytes(text.encode())
    with Client(ini=path) as client, pytest.raises(kind) as caught:
        client.checkout("X")
    error = caught.value
    assert error.path == str(path)
    assert str(path) in str(error)
    if place is not None:
        assert (error.line, error.column) == place
        assert f"line {place[0]}, column {place[1]}" in str(error)
    assert advice in str(error)


def test_an_ini_that_is_not_there_is_named(tmp_path: Path) -> None:
    """I4: the file that was asked for is the only place that counts."""
    with Client(ini=tmp_path / "none.ini") as client, pytest.raises(IniError) as caught:
        client.checkout("X")
    assert caught.value.path == str(tmp_path / "none.ini")
    assert "none.ini" in str(caught.value)


def test_without_any_configuration_every_place_that_was_looked_at_is_named(tmp_path: Path) -> None:
    """I4: in a child, whose home is an empty folder."""
    program = "from palclient import checkout, ConfigError\ntry:\n    checkout('X')\nexcept ConfigError as error:\n    print(error)"
    home = {name: str(tmp_path) for name in ("HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS")}
    with Child(program, environment=home) as child:
        assert child.end() == 0
    told = "\n".join(child.said)
    assert "PALCLIENT_SERVERNAME" in told
    assert "Palisade_NetworkClient.ini" in told
    assert child.complained == ""


IMPOSSIBLE: list[Callable[[Client], object]] = [
    lambda client: client.checkout("X", count=0),
    lambda client: client.checkout("X", timeout=-1),
    lambda client: client.checkout("X", timeout=float("nan")),
    lambda client: client.checkout("X", wait=-0.1),
    lambda client: client.checkout("X", reacquire="perhaps"),
    lambda client: client.checkout(""),
    lambda client: client.usage(timeout=-1),
    lambda client: client.status(timeout=-1),
]


@pytest.mark.parametrize("use", IMPOSSIBLE)
def test_impossible_arguments_are_refused_before_any_server_is_asked(use: Callable[[Client], object]) -> None:
    """api: no foreign exception leaves the SDK, and a caller's mistake is none of the servers' business."""
    with hostile.Server(hostile.is_silent) as server, Client(f"{server.port}@127.0.0.1") as client:
        with pytest.raises(ConfigError):
            use(client)
        assert server.requests == []


# --- what is wrong with the servers -------------------------------------------------------------------------------------------------


def told_of_each(error: NoServerReachable | NoQuorum | CheckoutTimeout, servername: str) -> None:
    """The message has a line for each server, the probes too, and the advice says what to do."""
    endpoints = servername.split(",")
    assert {str(probe.endpoint) for probe in error.probes} == set(endpoints)
    for endpoint in endpoints:
        assert re.search(rf"^  {re.escape(endpoint)}: \w", str(error), flags=re.MULTILINE)
    assert error.advice in str(error)
    assert error.retryable


def test_nobody_listening_is_told_in_time_with_every_server(tmp_path: Path) -> None:
    """Issue "the main job", bad input: each server with what it answered."""
    with ExitStack() as stack:
        ports = [stack.enter_context(hostile.closed_port()) for _ in range(3)]
        servername = ",".join(f"{port}@127.0.0.1" for port in ports)
        path = tmp_path / "palclient.ini"
        path.write_text(f"[License]\nSERVERNAME={servername}\n", encoding="ascii")
        client = stack.enter_context(Client(ini=path))
        began = time.monotonic()
        with pytest.raises(NoServerReachable) as caught:
            client.checkout("X", timeout=0.6)
        assert 0.6 <= time.monotonic() - began < 1.1
        told_of_each(caught.value, servername)
        assert caught.value.code == -15
        assert {(probe.outcome, probe.answered) for probe in caught.value.probes} == {("refused", False)}
        began = time.monotonic()
        with pytest.raises(NoServerReachable):
            client.checkout("X", timeout=0)
        assert time.monotonic() - began < 0.5


def test_black_holes_are_left_at_the_deadline(lost_cause: Callable[[str], Client]) -> None:
    """Style 16: every wait has a deadline; servers that accept and say nothing, and one that drips."""
    with ExitStack() as stack:
        servers = [stack.enter_context(hostile.Server(behave)) for behave in (hostile.is_silent, hostile.drips, hostile.is_silent)]
        servername = ",".join(f"{server.port}@127.0.0.1" for server in servers)
        began = time.monotonic()
        with pytest.raises(NoServerReachable) as caught:
            lost_cause(servername).checkout("X", timeout=0.8)
        assert 0.8 <= time.monotonic() - began < 1.3
        told_of_each(caught.value, servername)


def test_one_node_alone_serves_nobody_and_says_why(lost_cause: Callable[[str], Client]) -> None:
    """T1, T9: reachable does not mean serving."""
    with FakeTriad(features={"X": 3}, start=("secondary",)) as triad:
        began = time.monotonic()
        with pytest.raises(NoQuorum) as caught:
            lost_cause(triad.servername).checkout("X", timeout=0.8)
        assert time.monotonic() - began < 2
        told_of_each(caught.value, triad.servername)
        assert caught.value.code == -97
        answered = {str(probe.endpoint) for probe in caught.value.probes if probe.answered}
        assert answered == {triad.secondary.endpoint}
        assert "Two of the three servers must be running" in caught.value.advice


def test_a_master_that_serves_others_and_is_silent_here_is_a_timeout(lost_cause: Callable[[str], Client]) -> None:
    """Errors: a serving master that cannot be talked to is another trouble than a triad without one."""
    not_master = (
        '{"node":"n","role":"%s","cluster":"c","term":3,"type":"urn:palclient:problem:not-master","status":421,"code":-23,"master":"primary"}'
    )

    def points_to_the_primary(visit: hostile.Visit, role: str) -> None:
        while visit.read_request():
            visit.send(reply(b"421 Misdirected Request", not_master % role))

    with (
        hostile.Server(hostile.is_silent) as primary,
        hostile.Server(lambda visit: points_to_the_primary(visit, "secondary")) as secondary,
        hostile.Server(lambda visit: points_to_the_primary(visit, "tertiary")) as tertiary,
    ):
        servername = ",".join(f"{server.port}@127.0.0.1" for server in (primary, secondary, tertiary))
        with pytest.raises(CheckoutTimeout) as caught:
            lost_cause(servername).checkout("X", timeout=0.8)
        told_of_each(caught.value, servername)
        assert isinstance(caught.value, TimeoutError)


def test_a_full_pool_says_how_full_and_an_unknown_feature_that_it_is_unknown(whole: FakeTriad, ini: Path) -> None:
    """G6; protocol, Problems: the master's no is final, at once, and each has its class and number."""
    with Client(ini=ini) as client, client.checkout("X", count=3):
        began = time.monotonic()
        with pytest.raises(SeatsTaken) as taken:
            client.checkout("X")
        with pytest.raises(CheckoutDenied) as unknown:
            client.checkout("RISK_IND8")
        with pytest.raises(CheckoutDenied) as too_many:
            client.checkout("X", count=4)
        assert time.monotonic() - began < 1
    assert (taken.value.in_use, taken.value.total, taken.value.code, taken.value.retryable) == (3, 3, -4, True)
    assert (unknown.value.code, unknown.value.reason, unknown.value.retryable) == (-5, "feature-unknown", False)
    assert (too_many.value.code, too_many.value.reason) == (-26, "too-many-asked")
    for error in (taken.value, unknown.value, too_many.value):
        assert whole.primary.endpoint in str(error)  # who said so
        assert error.advice in str(error)
    assert pool(whole).in_use == 0


def test_waiting_in_line_ends_with_the_seat_when_it_is_free_and_in_time_when_it_is_not(whole: FakeTriad, ini: Path) -> None:
    """api: ``wait`` is how long to stand in line."""
    with Client(ini=ini) as client, client.checkout("LONELY") as lease:
        began = time.monotonic()
        with pytest.raises(SeatsTaken):
            client.checkout("LONELY", wait=0.3)
        assert 0.3 <= time.monotonic() - began < 1.5
        threading.Timer(0.1, lease.checkin).start()
        with client.checkout("LONELY", wait=None) as next_one:
            assert pool(whole, "LONELY").ids == (next_one.id,)
    wait_until(lambda: pool(whole, "LONELY").queued == 0, "nobody stands in line any more")


# --- interrupted, dropped, ended ----------------------------------------------------------------------------------------------------

WAIT_IN_BODY = """
import sys
from palclient import checkout
with checkout("X", ini=sys.argv[1]):
    print("held", flush=True)
    sys.stdin.readline()
"""

WAIT_IN_LINE = """
import sys
from palclient import checkout
checkout("LONELY", ini=sys.argv[1], wait=None, on_event=lambda event: print(type(event).__name__, flush=True))
"""

GO_ON_AFTER_CTRL_C = """
import sys
from palclient import Client
client = Client(sys.argv[1])
print("asking", flush=True)
try:
    client.checkout("X", timeout=60)
except KeyboardInterrupt:
    print("interrupted", flush=True)
sys.stdin.readline()
"""


@POSIX
def test_ctrl_c_in_the_body_of_with_returns_the_seat(whole: FakeTriad, ini: Path) -> None:
    """Issue "the main job": KeyboardInterrupt passes, the seat is back when the process has ended."""
    with Child(WAIT_IN_BODY, str(ini)) as child:
        child.wait_for("held")
        assert pool(whole).pids == (child.pid,)
        child.process.send_signal(signal.SIGINT)
        assert child.end() == -signal.SIGINT
        assert pool(whole).in_use == 0
    assert "KeyboardInterrupt" in child.complained
    assert "Warning" not in child.complained


@POSIX
def test_ctrl_c_in_line_gives_the_place_up(whole: FakeTriad, ini: Path) -> None:
    """Issue "the client in full": a checkout given up leaves no seat taken, later neither."""
    with Client(ini=ini) as client, client.checkout("LONELY"), Child(WAIT_IN_LINE, str(ini)) as child:
        child.wait_for("Waiting")
        assert pool(whole, "LONELY").queued == 1
        child.process.send_signal(signal.SIGINT)
        assert child.end() == -signal.SIGINT
        assert pool(whole, "LONELY").queued == 0
    assert pool(whole, "LONELY").in_use == 0


class Messenger:
    """Stands between a client and a node; passes requests on, and answers too, but withholds the first answer to a checkout."""

    def __init__(self, node: FakeNode) -> None:
        self._node = node
        self.has_withheld = threading.Event()

    def __call__(self, visit: hostile.Visit) -> None:
        """The behaviour of a ``hostile.Server``."""
        while request := visit.read_request():
            answer = self._ask(request)
            if request.startswith(b"PUT") and not self.has_withheld.is_set():
                self.has_withheld.set()
                visit.wait_end()
            visit.send(answer)

    def _ask(self, request: bytes) -> bytes:
        import socket

        with socket.create_connection((self._node.host, self._node.port), timeout=LIMIT_S) as sock:
            sock.sendall(request)
            answer = b""
            while b"\r\n\r\n" not in answer or len(answer.partition(b"\r\n\r\n")[2]) < _length(answer):
                answer += sock.recv(65536)
        return answer


def _length(answer: bytes) -> int:
    found = re.search(rb"content-length: (\d+)", answer, flags=re.IGNORECASE)
    assert found
    return int(found[1])


@POSIX
def test_ctrl_c_during_a_checkout_returns_a_seat_whose_answer_never_came(whole: FakeTriad) -> None:
    """Exactly once: the seat was taken, the process lives on without knowing, and its keeper gives the id up."""
    messenger = Messenger(whole.primary)
    with hostile.Server(messenger) as server, Child(GO_ON_AFTER_CTRL_C, f"{server.port}@127.0.0.1") as child:
        child.wait_for("asking")
        assert messenger.has_withheld.wait(LIMIT_S)
        assert pool(whole).pids == (child.pid,)
        child.process.send_signal(signal.SIGINT)
        child.wait_for("interrupted")
        wait_until(lambda: pool(whole).in_use == 0, "the seat is back, while the process goes on", limit_s=whole.ttl_s * 0.9)
        child.tell()
        assert child.end() == 0
        assert child.complained == ""


@contextmanager
def bad_triad(master: CannedMaster) -> Iterator[tuple[hostile.Server, str]]:
    """The master as the primary, and two black holes; gives the master's server and SERVERNAME."""
    with hostile.Server(master) as primary, hostile.Server(hostile.is_silent) as secondary, hostile.Server(hostile.is_silent) as tertiary:
        yield primary, ",".join(f"{server.port}@127.0.0.1" for server in (primary, secondary, tertiary))


def drip(visit: hostile.Visit) -> None:
    """An answer that never ends, a byte at a time."""
    visit.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4000000\r\n\r\n")
    while visit.pause():
        visit.send(b"x")


def talk_nonsense(visit: hostile.Visit) -> None:
    """HTTP and JSON, and nothing that a node would say."""
    visit.send(reply(b"200 OK", "[]"))


WEATHERS = (hostile.Visit.wait_end, drip, hostile.Visit.reset, talk_nonsense)

HOLD_THREE = """
import sys
from palclient import checkout
held = [checkout("X", servers=sys.argv[1], version=str(n)) for n in range(3)]
print("held", *(lease.id for lease in held), flush=True)
sys.stdin.readline()
"""


def test_the_exit_of_the_interpreter_returns_all_seats_in_one_request_silently() -> None:
    """Architecture: at exit one batch of returns, on the exiting thread."""
    master = CannedMaster()
    with hostile.Server(master) as server, Child(HOLD_THREE, f"{server.port}@127.0.0.1", environment={"PYTHONWARNINGS": "always"}) as child:
        ids = child.wait_for("held").split()[1:]
        child.tell()
        assert (child.end(), child.complained) == (0, "")
    last = [request for request in server.requests if not request.startswith(b"PUT")]
    assert [request.split(b" ", 2)[:2] for request in last] == [[b"POST", b"/v1/returns"]]
    assert all(lease_id.encode() in last[0] for lease_id in ids)


THREAD_ASKS = """
import sys, threading
from palclient import Client
client = Client(sys.argv[1])
held = client.checkout("X")
threading.Thread(target=client.checkout, args=("Y",), daemon=True).start()
sys.stdin.readline()
"""

TASK_ASKS = """
import asyncio, sys
from palclient import AsyncClient
async def main():
    global held, task
    client = AsyncClient(sys.argv[1])
    held = await client.checkout("X")
    task = asyncio.create_task(client.checkout("Y"))
    await asyncio.to_thread(sys.stdin.readline)
asyncio.new_event_loop().run_until_complete(main())  # which, unlike asyncio.run, cancels nothing
"""

LOOP_ASKS = """
import asyncio, sys, threading
from palclient import AsyncClient
async def main():
    global held
    client = AsyncClient(sys.argv[1])
    held = await client.checkout("X")
    await client.checkout("Y")
threading.Thread(target=asyncio.run, args=(main(),), daemon=True).start()
sys.stdin.readline()
"""


@pytest.mark.parametrize("program", [THREAD_ASKS, TASK_ASKS, LOOP_ASKS], ids=["daemon thread", "task", "loop of a daemon thread"])
def test_a_checkout_under_way_at_the_exit_is_given_up_in_the_same_one_request(program: str) -> None:
    """Exactly once: a checkout given up leaves no seat, even when its request is served later.  Architecture: at exit one batch of returns."""
    master = CannedMaster()

    def grants_x_only(visit: hostile.Visit) -> None:
        while request := visit.read_request():
            if b'"Y"' in request:
                is_asked.set()
                visit.wait_end()
                return
            visit.send(master.answer(request))

    is_asked = threading.Event()
    with hostile.Server(grants_x_only) as server, Child(program, f"{server.port}@127.0.0.1") as child:
        assert is_asked.wait(LIMIT_S)
        asked = {request.split(b" ", 2)[1].rpartition(b"/")[2] for request in server.requests}
        assert len(asked) == 2
        began = time.monotonic()
        child.tell()
        assert child.end() == 0, child.complained
        assert time.monotonic() - began < 2
    returns = [request for request in server.requests if not request.startswith(b"PUT")]
    assert [request.split(b" ", 2)[:2] for request in returns] == [[b"POST", b"/v1/returns"]]
    assert all(lease_id in returns[0] for lease_id in asked)


def test_the_seats_of_a_program_that_ends_are_free(whole: FakeTriad) -> None:
    """Issue "the main job": returns on exit, seen at the servers."""
    with Child(HOLD_THREE, whole.servername) as child:
        child.wait_for("held")
        assert pool(whole).in_use == 3
        child.tell()
        assert (child.end(), child.complained) == (0, "")
        assert pool(whole).in_use == 0


def test_the_exit_takes_less_than_2_s_even_if_every_node_is_a_black_hole() -> None:
    """Architecture: at exit 1 s, 2 s in all, silently."""

    def took_s(weather: Callable[[hostile.Visit], None]) -> float:
        master = CannedMaster()
        with bad_triad(master) as (_, servername), Child(HOLD_THREE, servername) as child:
            child.wait_for("held")
            master.weather = weather
            began = time.monotonic()
            child.tell()
            assert (child.end(), child.complained) == (0, "")
            return time.monotonic() - began

    assert max(at_the_same_time(took_s, (hostile.Visit.wait_end, drip))) < 2


def test_checkin_takes_at_most_2_s_in_any_weather() -> None:
    """api: ``checkin()`` at most 2 s in any weather; the event says that nobody confirmed it.  All weathers at the same time."""

    def took_s(weather: Callable[[hostile.Visit], None]) -> float:
        master, events = CannedMaster(), list[Event]()
        with bad_triad(master) as (_, servername), Client(servername, on_event=events.append) as client:
            lease = client.checkout("X")
            master.weather = weather
            began = time.monotonic()
            lease.checkin()
            took_s = time.monotonic() - began
            assert (lease.state, lease.valid) == (LeaseState.RETURNED, False)
            wait_until(lambda: any(isinstance(event, Returned) and not event.confirmed for event in events), "the return is told as unconfirmed")
            master.weather = None
        return took_s

    assert max(at_the_same_time(took_s, WEATHERS)) < 2.2


@pytest.mark.slow
def test_whoever_waits_for_the_loss_hears_at_once_of_a_return_that_nobody_answers() -> None:
    """api, ``wait_lost``: the seats are not held from the first moment of ``checkin`` on, however long the servers take over it."""
    master = CannedMaster()
    with hostile.Server(master) as server, Client(f"{server.port}@127.0.0.1") as client:
        lease = client.checkout("X")
        master.weather = hostile.Visit.wait_end
        heard: list[bool] = []
        waiter = threading.Thread(target=lambda: heard.append(lease.wait_lost(LIMIT_S)))
        returner = threading.Thread(target=lease.checkin)
        waiter.start()
        returner.start()
        waiter.join(LIMIT_S)
        assert (heard, returner.is_alive()) == ([True], True)
        returner.join(LIMIT_S)
        master.weather = None


def test_a_return_that_nobody_confirmed_is_asked_again_by_the_keeper() -> None:
    """Exactly once: a return that is lost is asked again."""
    with FakeTriad(features={"X": 3}) as triad, Client(triad.servername) as client:
        triad.wait_until_serving(LIMIT_S)
        lease = client.checkout("X")
        for node in triad.nodes:
            node.pause()
        lease.checkin()
        for node in triad.nodes:
            node.resume()
        triad.wait_for_master(LIMIT_S)
        wait_until(lambda: pool(triad).in_use == 0, "the seat is back")


def test_a_lease_that_is_dropped_is_returned_with_a_warning(whole: FakeTriad) -> None:
    """api: a lease that is dropped without checkin is returned with a ResourceWarning."""
    with Client(whole.servername) as client:
        lease = client.checkout("X")
        with pytest.warns(ResourceWarning, match=r"X.*dropped without checkin"):
            del lease
        wait_until(lambda: pool(whole).in_use == 0, "the seat is back")
        with client.checkout("X") as kept, warnings.catch_warnings():
            warnings.simplefilter("error")
            del kept  # the block still holds it


@pytest.mark.parametrize("is_refused", [False, True], ids=["granted", "refused"])
def test_a_client_that_is_closed_in_the_middle_of_a_checkout_leaves_no_seat_taken(*, is_refused: bool) -> None:
    """Exactly once: closing gives up the id, which the master refuses (410) then; a grant that was on its way is given back by the checkout itself.

    Either way it fails with ClientClosed.
    """
    master, gate = CannedMaster(), threading.Event()

    def answers_late(visit: hostile.Visit) -> None:
        while request := visit.read_request():
            is_late = request.startswith(b"PUT")
            if is_late:
                gate.wait(LIMIT_S)
            visit.send(master.refusal if is_late and is_refused else master.answer(request))

    def take() -> None:
        with pytest.raises(ClientClosed):
            client.checkout("X")

    with hostile.Server(answers_late) as server, ThreadPoolExecutor(1) as threads:
        client = Client(f"{server.port}@127.0.0.1")
        taking = threads.submit(take)
        assert server.was_asked.wait(LIMIT_S)
        client.close()
        gate.set()
        taking.result(LIMIT_S)
        methods = [request.split(b" ", 1)[0] for request in server.requests]
        assert methods == [b"PUT", b"DELETE"] if is_refused else [b"PUT", b"DELETE", b"DELETE"]


# --- threads ------------------------------------------------------------------------------------------------------------------------


def threads_of_ours() -> set[threading.Thread]:
    """The SDK's threads."""
    return {thread for thread in threading.enumerate() if thread.name.startswith("palclient")}


def test_both_threads_of_a_client_end_when_it_is_closed(whole: FakeTriad) -> None:
    """Style 16: every thread has a name, an owner, and a test that it ends."""
    others = threads_of_ours()
    with Client(whole.servername, on_event=lambda _: None) as client, client.checkout("X"):
        assert {thread.name for thread in threads_of_ours() - others} == {"palclient-keeper", "palclient-events"}
    wait_until(lambda: not threads_of_ours() - others, "both threads have ended")


def test_the_keeper_outlives_bad_weather_and_the_lease_with_it() -> None:
    """Architecture: a network error proves nothing; a renewal that gets through makes a suspect lease a held one."""

    def outlive(weather: Callable[[hostile.Visit], None]) -> None:
        master = CannedMaster(ttl_s=b"1.5")
        with hostile.Server(master) as server, Client(f"{server.port}@127.0.0.1") as client, client.checkout("X") as lease:
            master.weather = weather
            wait_until(lambda: lease.state is LeaseState.SUSPECT, f"a due renewal is unconfirmed ({weather.__name__})")
            assert lease.valid
            master.weather = None
            wait_until(lambda: lease.state is LeaseState.HELD, f"it is confirmed again ({weather.__name__})")

    at_the_same_time(outlive, WEATHERS)


def test_a_lease_that_nobody_confirms_is_lost_in_time_and_its_holder_is_told() -> None:
    """Architecture: ``valid`` never outlives what a master vouched for; ``wait_lost`` needs no thread to tell it."""
    master = CannedMaster(ttl_s=b"0.6")
    with bad_triad(master) as (_, servername), Client(servername) as client, client.checkout("X", reacquire="never") as lease:
        master.weather = hostile.Visit.wait_end
        began = time.monotonic()
        assert not lease.wait_lost(0.05)
        assert lease.wait_lost(LIMIT_S)
        assert time.monotonic() - began <= 0.6
        assert lease.state is LeaseState.LOST
        with pytest.raises(LeaseLost, match="not held") as caught:
            lease.ensure_held()
        assert 0 <= caught.value.last_confirmed_s_ago < 2
        assert isinstance(caught.value, PalError)
        master.weather = None
