"""What becomes of seats when processes fork, are ended by signals, are stopped and go on; counted from outside.

Each program here is a child process that says what it sees; nothing sleeps.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator

import pytest

from fakeserver import FakeTriad
from tests import hostile
from tests.canned import CannedMaster
from tests.children import LIMIT_S, Child, wait_until

pytestmark = [pytest.mark.real, pytest.mark.skipif(sys.platform == "win32", reason="Windows neither forks nor sends signals")]


@pytest.fixture(scope="module")
def triad() -> Iterator[FakeTriad]:
    """A triad that no test of this module hurts; each gives back what it takes."""
    with FakeTriad(features={"X": 40}) as triad:
        triad.wait_until_serving(LIMIT_S)
        yield triad


FORKING = {"PYTHONWARNINGS": "ignore::DeprecationWarning"}  # from 3.12 on Python warns of forks beside threads, which is what these tests are about


def in_use(triad: FakeTriad) -> int:
    """Seats taken, by the master's word."""
    return int(triad.usage()["features"][0]["in_use"])


# --- fork ---------------------------------------------------------------------------------------------------------------------------

FORK = """
import os, sys
from palclient import Client, LeaseForked, LeaseState
client = Client(sys.argv[1])
lease = client.checkout("X")
child = os.fork()
if child == 0:
    code = 1
    try:
        assert (lease.state, lease.valid, lease.expires_in()) == (LeaseState.FOREIGN, False, 0.0)
        assert lease.wait_lost(5)
        try:
            lease.ensure_held()
        except LeaseForked as error:
            assert error.advice
        lease.checkin()
        del lease
        with client.checkout("X") as own:
            assert own.valid and client.usage()[0].in_use == 2
            print("child holds", own.id, flush=True)
            sys.stdin.readline()
        client.close()
        code = 0
    finally:
        os._exit(code)
assert os.waitpid(child, 0)[1] == 0
assert lease.state is LeaseState.HELD and client.usage()[0].in_use == 1
lease.checkin()
print("parent is done", flush=True)
"""


def test_a_forked_child_owns_none_of_its_parents_seats_and_takes_its_own(triad: FakeTriad) -> None:
    """Architecture: leases are FOREIGN in the child and return is a no-op there; neither disturbs the other."""
    with Child(FORK, triad.servername, environment=FORKING) as program:
        own = program.wait_for("child holds").split()[-1]
        holders = triad.usage()["features"][0]["holders"]
        assert {holder["id"] for holder in holders} > {own}
        assert len({holder["holder"]["pid"] for holder in holders}) == 2
        program.tell()
        program.wait_for("parent is done")
        assert (program.end(), program.complained) == (0, "")
    assert in_use(triad) == 0


FORK_IN_THE_MIDDLE = """
import os, signal, sys, threading
from palclient import checkout
from palclient.client import _default_mutex, default_client
lease = checkout("X", servers=sys.argv[1])
session = lease._session
is_held, is_over = threading.Event(), threading.Event()

def hold():
    home = default_client(servers=sys.argv[1])._home
    with home._mutex.lock, _default_mutex.lock, session.changing, session.leases.lock:
        is_held.set()
        is_over.wait()

thread = threading.Thread(target=hold)
thread.start()
is_held.wait()
child = os.fork()
if child == 0:
    code = 1
    try:
        signal.alarm(10)  # ends a child that hangs
        descriptors = [os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]
        assert not [one for one in descriptors if os.path.lexists(one) and os.readlink(one).startswith("socket:")]
        assert lease.wait_lost(1)
        lease.checkin()
        with checkout("X", servers=sys.argv[1]) as own:
            own.ensure_held()
        code = 0
    finally:
        os._exit(code)
status = os.waitpid(child, 0)[1]
is_over.set()
thread.join()
lease.ensure_held()
lease.checkin()
print("child ended with", status, flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="open descriptors are looked up in /proc")
def test_a_child_that_was_forked_while_every_lock_was_held_works_all_the_same(triad: FakeTriad) -> None:
    """Architecture: after fork the child owns nothing of the parent's: no lock, no socket."""
    with Child(FORK_IN_THE_MIDDLE, triad.servername, environment=FORKING) as program:
        assert program.wait_for("child ended with") == "child ended with 0"
        assert (program.end(), program.complained) == (0, "")


PRE_FORK = """
import os, sys, threading
from palclient import Client
servername, rounds = sys.argv[1], int(sys.argv[2])
client = Client(servername)
kept = client.checkout("X")
is_over = threading.Event()

def churn():
    while not is_over.is_set():
        with client.checkout("X"):
            pass

busy = [threading.Thread(target=churn) for _ in range(3)]  # so that a fork finds locks held and requests under way
for thread in busy:
    thread.start()
for _ in range(rounds):
    workers = []
    for _ in range(8):
        worker = os.fork()
        if worker == 0:
            code = 1
            try:
                with client.checkout("X", timeout=10) as lease:
                    lease.ensure_held()
                client.close()
                code = 0
            finally:
                os._exit(code)
        workers.append(worker)
    ends = [os.waitpid(worker, 0)[1] for worker in workers]
    assert ends == [0] * 8, ends
is_over.set()
for thread in busy:
    thread.join()
kept.ensure_held()
kept.checkin()
print("in use", client.usage()[0].in_use, flush=True)
"""


@pytest.mark.parametrize("rounds", [2, pytest.param(200, marks=[pytest.mark.slow, pytest.mark.timeout(300)])])
def test_a_server_of_eight_forked_workers_never_hangs(rounds: int, triad: FakeTriad) -> None:
    """Issue "the client in full": pre-fork server of eight workers, 200 rounds, while threads of the parent are busy with the same client."""
    with Child(PRE_FORK, triad.servername, str(rounds), environment=FORKING) as program:
        assert program.end(limit_s=LIMIT_S + rounds) == 0, program.complained
        assert program.said == ["in use 0"]
        assert program.complained == ""


MULTIPROCESSING = """
import multiprocessing, sys
from palclient import checkout

def work(servername):
    globals()["forgotten"] = checkout("X", servers=servername)

if __name__ == "__main__":
    process = multiprocessing.get_context("fork").Process(target=work, args=(sys.argv[1],))
    process.start()
    process.join()
    print("ended with", process.exitcode, flush=True)
    sys.stdin.readline()
"""


def test_the_seats_of_a_process_of_multiprocessing_come_back_at_its_end(triad: FakeTriad) -> None:
    """Architecture: returns on exit.  Such a process ends without the interpreter's exit, and without what was registered in its parent."""
    with Child(MULTIPROCESSING, triad.servername, environment=FORKING) as program:
        program.wait_for("ended with 0")
        assert in_use(triad) == 0
        program.tell()
        assert (program.end(), program.complained) == (0, "")


# --- signals ------------------------------------------------------------------------------------------------------------------------

HOLD_AND_WAIT = """
import signal, sys, time
from palclient import Client, ClientClosed, install_signal_handlers

def before(number, frame):
    print("the application's own", signal.Signals(number).name, flush=True)
    try:
        client.checkout("X")
    except ClientClosed:
        print("closed", flush=True)

mode = sys.argv[2]
if mode == "handler":
    signal.signal(signal.SIGTERM, before)
if mode == "ignored":
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
install_signal_handlers()
install_signal_handlers()
client = Client(sys.argv[1])
leases = [client.checkout("X") for _ in range(2)]
print("held", flush=True)
sys.stdin.readline()
print("goes on", leases[0].state.value, flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_the_process_returns_all_seats_first(number: signal.Signals, triad: FakeTriad) -> None:
    """api: install_signal_handlers; the process ends by the same signal as ever."""
    with Child(HOLD_AND_WAIT, triad.servername, "default") as program:
        program.wait_for("held")
        assert in_use(triad) == 2
        program.process.send_signal(number)
        assert (program.end(), program.complained) == (-number, "")
        assert in_use(triad) == 0


def test_the_applications_own_handler_runs_when_the_seats_are_back(triad: FakeTriad) -> None:
    """api: then what was there before runs; whatever it asks of a client is refused, not hung."""
    with Child(HOLD_AND_WAIT, triad.servername, "handler") as program:
        program.wait_for("held")
        program.process.send_signal(signal.SIGTERM)
        program.wait_for("the application's own SIGTERM")
        assert in_use(triad) == 0
        program.wait_for("closed")
        program.process.send_signal(signal.SIGTERM)
        program.wait_for("the application's own SIGTERM")
        program.tell()
        assert program.wait_for("goes on") == "goes on returned"
        assert (program.end(), program.complained) == (0, "")


def test_a_signal_that_the_process_ignores_stays_ignored(triad: FakeTriad) -> None:
    """As under nohup: the program goes on, so it keeps its seats."""
    with Child(HOLD_AND_WAIT, triad.servername, "ignored") as program:
        program.wait_for("held")
        program.process.send_signal(signal.SIGHUP)
        program.tell()
        assert program.wait_for("goes on") == "goes on held"
        assert (program.end(), program.complained) == (0, "")
    assert in_use(triad) == 0


IN_THE_MIDDLE = """
import signal, sys
from palclient import Client, install_signal_handlers
install_signal_handlers()
client = Client(sys.argv[1])
client.checkout("X").checkin()
lease = client.checkout("X")
leases = client._home.open().leases
with leases.lock:  # what a signal may find when it comes in the middle of the client's own work
    print("held", flush=True)
    sys.stdin.readline()
    print("done", flush=True)
sys.stdin.readline()
"""


@pytest.mark.slow
def test_a_signal_in_the_middle_of_our_own_work_returns_the_seats_a_little_later(triad: FakeTriad) -> None:
    """The handler interrupts whoever holds the lock that the returning needs: it must neither hang nor give up."""
    with Child(IN_THE_MIDDLE, triad.servername) as program:
        program.wait_for("held")
        program.process.send_signal(signal.SIGTERM)
        program.tell()
        program.wait_for("done")
        assert (program.end(), program.complained) == (-signal.SIGTERM, "")
        assert in_use(triad) == 0


def test_black_holes_hold_up_a_signal_for_2_s_at_most() -> None:
    """api: install_signal_handlers; the returning is bounded."""
    master = CannedMaster()
    with hostile.Server(master) as server, Child(HOLD_AND_WAIT, f"{server.port}@127.0.0.1", "default") as program:
        program.wait_for("held")
        master.weather = hostile.Visit.wait_end
        began = time.monotonic()
        program.process.send_signal(signal.SIGTERM)
        assert program.end() == -signal.SIGTERM
        assert time.monotonic() - began < 2.2


# --- stopped, and going on ----------------------------------------------------------------------------------------------------------

SAY_EVENTS = """
import sys
from palclient import Client
client = Client(sys.argv[1], on_event=lambda event: print(event, flush=True))
with client.checkout("X") as lease:
    print("held", flush=True)
    sys.stdin.readline()
    print(lease.state.value, flush=True)
"""


@pytest.mark.slow
def test_a_process_that_was_stopped_confirms_its_leases_first_and_on_new_connections() -> None:
    """Architecture: waking more than 2 s late is ``Resumed``: re-check first, drop all connections."""
    master = CannedMaster(ttl_s=b"9.0")
    with hostile.Server(master) as server, Child(SAY_EVENTS, f"{server.port}@127.0.0.1") as program:
        program.wait_for("held")
        program.process.send_signal(signal.SIGSTOP)
        stopped_at, before = time.monotonic(), len(master.asked)
        wait_until(lambda: time.monotonic() > stopped_at + 5.5, "the renewal (due within 3 s) is more than 2 s overdue")
        program.process.send_signal(signal.SIGCONT)
        gap_s = float(program.wait_for("Resumed(gap_s=").partition("=")[2].rstrip(")"))
        assert 2 < gap_s < 6
        wait_until(lambda: len(master.asked) > before, "something is asked")
        visit, _, target = master.asked[before]
        assert target == "/v1/renewals"
        assert visit > 0
        program.wait_for("Recovered(")  # it was overdue, until the answer came
        program.tell()
        program.wait_for("held")
        assert (program.end(), program.complained) == (0, "")
