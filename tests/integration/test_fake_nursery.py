"""The process of which nodes are forks: one for all triads of a program, never the program itself, and gone with it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from fakeserver import FakeTriad
from fakeserver.lifeline import Midwife
from fakeserver.nursery import KILLED, Forked, Nursery, NurseryGone, nursery
from fakeserver.process import NodeProcess, Port
from fakeserver.settings import Settings, smallest_ttl_s
from tests.children import wait_until
from tests.privileges import as_nobody

pytestmark = [pytest.mark.real, pytest.mark.skipif(nursery() is None, reason="Linux 5.3 and later alone has what this rests on")]

LIMIT_S = 15.0
ROOT = Path(__file__).resolve().parents[2]


def parent_of(pid: int | None) -> int:
    """Whose child a process is."""
    return int(Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[1])


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def the_nursery() -> Nursery:
    """This process's own."""
    found = nursery()
    assert found is not None
    return found


def test_all_nodes_are_children_of_one_process_with_one_thread_that_is_not_the_users() -> None:
    """Issue "the triad in full", figures: a fork server of our own, without threads; never a fork of the user's process."""
    with FakeTriad() as one, FakeTriad() as other:
        pid = the_nursery().pid
        assert {parent_of(node.pid) for triad in (one, other) for node in triad.nodes} == {pid}
        assert parent_of(pid) == os.getpid()
        assert len(list(Path(f"/proc/{pid}/task").iterdir())) == 1
    assert the_nursery().pid == pid


def test_a_node_has_nothing_of_the_nurserys_open() -> None:
    """Else a node that is frozen could keep a port, or the nursery itself, from ending."""
    with FakeTriad() as triad:
        control = {link.readlink() for link in Path(f"/proc/{the_nursery().pid}/fd").iterdir()}
        for node in triad.nodes:
            assert os.getsid(node.pid or 0) == node.pid
            own = {link.readlink() for link in Path(f"/proc/{node.pid}/fd").iterdir()}
            assert not {each for each in own & control if each.name.startswith(("socket:", "pipe:"))}


PARENT = """
import sys
from fakeserver import FakeTriad
from fakeserver.nursery import nursery
with FakeTriad() as triad:
    triad.tertiary.pause()
    print(nursery().pid, *[node.pid for node in triad.nodes], flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_neither_nursery_nor_nodes_outlive_their_owner(number: signal.Signals) -> None:
    """Whatever ends it, and be a node frozen."""
    with subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 4
        assert all(map(is_alive, pids))
        parent.send_signal(number)
        wait_until(lambda: not any(map(is_alive, pids)), "nursery and nodes end")


FORKING = """
import os, sys
from fakeserver import FakeTriad
from fakeserver.nursery import nursery
with FakeTriad() as triad:
    mine = nursery().pid
    if not os.fork():
        with FakeTriad() as other:
            other.wait_until_serving(10)
            assert nursery().pid != mine
        sys.exit(0)
    assert os.wait()[1] == 0
    assert nursery().pid == mine
    triad.primary.kill()
    triad.primary.restart()
    triad.wait_until_serving(10)
    if not os.fork():
        os.read(0, 1)  # it outlives its parent, with copies of all its descriptors
        os._exit(0)
    if sys.argv[1] == "killed":
        print(mine, flush=True)
        os.kill(os.getpid(), 9)
print(mine, flush=True)
"""


@pytest.mark.parametrize("end", ["killed", "by itself"])
def test_a_fork_of_the_user_has_a_nursery_of_its_own_and_keeps_none_alive(end: str) -> None:
    """Its parent's goes on when it ends, and ends when that does."""
    with subprocess.Popen([sys.executable, "-c", FORKING, end], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        wait_until(lambda: not is_alive(pid), "the nursery ends")
        parent.stdin.close()


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only the superuser may become another")
def test_whoever_becomes_another_user_has_another_nursery() -> None:
    """What one user started another may not kill."""
    pid = the_nursery().pid
    with as_nobody():
        other = nursery()  # None where a user without rights cannot run this Python
        assert other is None or other.pid != pid
    assert the_nursery().pid == pid


def test_a_nursery_that_was_killed_takes_its_nodes_along_and_is_replaced() -> None:
    """The next node comes from another."""
    with FakeTriad() as triad:
        triad.wait_until_serving(LIMIT_S)
        pid = the_nursery().pid
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not any(node.is_running for node in triad.nodes), "the nodes end")
        for node in triad.nodes:
            node.restart()
        triad.wait_until_serving(LIMIT_S)
        assert {parent_of(node.pid) for node in triad.nodes} == {the_nursery().pid}
        assert the_nursery().pid != pid


def test_a_node_that_ended_by_itself_is_known_by_its_exit_code_to_whoever_asks_first() -> None:
    """Also when two ask."""
    own = Nursery()
    with socket.socket() as listener, open(os.devnull, "wb") as stderr:
        node = own.bear(stderr.fileno(), listener.fileno())
        assert node.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            node.wait(0.0)
        node.stdin.close()  # it is told nothing, and ends
        assert (node.wait(LIMIT_S), node.poll()) == (0, 0)
        killed = own.bear(stderr.fileno(), listener.fileno())
        killed.kill()
        assert killed.wait(LIMIT_S) == KILLED
        killed.send_signal(signal.SIGKILL)  # to nobody: its number may be another's
        assert killed.has_changed(os.WSTOPPED)
        with pytest.raises(NurseryGone):
            own.ask({"do": "reap", "pid": killed.pid})
        lives = [own.is_alive]  # a question that it cannot answer does not end it
        own.close()
        assert [*lives, own.is_alive] == [True, False]
        with pytest.raises(NurseryGone):
            own.bear(stderr.fileno(), listener.fileno())
        for each in (node, killed):
            each.stdin.close()
            each.stdout.close()


def test_without_a_nursery_a_node_is_started_by_itself(tmp_path: Path) -> None:
    """As on every system but Linux; also when the nursery cannot bear."""
    gone = Nursery()
    gone.close()
    for find in (lambda: None, lambda: gone):
        port, midwife = Port("127.0.0.1", 0), Midwife()
        settings = Settings(
            role="primary",
            triad=(port.address,) * 3,
            cluster="c",
            features={},
            heartbeat_s=0.1,
            ttl_s=smallest_ttl_s(0.1),
            primary_is_master=True,
            folder=str(tmp_path),
            fsync=False,
            software="test",
        )
        node = NodeProcess(settings, port, midwife=midwife, watcher=None, nursery=find)
        try:
            node.launch()
            node.wait_ready()
            assert parent_of(node.pid) == os.getpid()
            node.pause()
            node.resume()
        finally:
            node.kill()
            midwife.close()
            port.release()


@contextmanager
def born() -> Iterator[tuple[Nursery, Forked]]:
    """A node that waits for its settings, and its nursery."""
    own = Nursery()
    with ExitStack() as stack, socket.socket() as listener, open(os.devnull, "wb") as stderr:
        stack.callback(own.close)
        node = own.bear(stderr.fileno(), listener.fileno())
        stack.enter_context(node.stdin)
        stack.enter_context(node.stdout)
        yield own, node


def test_one_thread_may_ask_about_a_node_while_another_waits_for_its_end() -> None:
    """As whoever watches a triad does while a test stops a node."""
    with born() as (_, node), ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(node.wait, LIMIT_S)
        assert {node.poll() for _ in range(10_000)} == {None}
        node.stdin.close()
        assert waiting.result(LIMIT_S) == 0


def open_descriptors() -> set[int]:
    """Those of this process."""
    found = set()
    for number in range(1024):
        with suppress(OSError):
            os.fstat(number)
            found.add(number)
    return found


class Interrupted(Exception):
    """In the midst of things."""


def test_whoever_is_interrupted_while_asking_the_nursery_leaves_no_answer_to_the_next() -> None:
    """Ctrl-C, or the alarm of a test's time limit: the next node comes from another nursery, and not with the number of one that nobody has."""

    def interrupt(*_: object) -> None:
        raise Interrupted

    with born() as (own, node):
        before = signal.signal(signal.SIGUSR1, interrupt)
        os.kill(own.pid, signal.SIGSTOP)  # so it cannot answer before
        timer = threading.Timer(0.1, signal.pthread_kill, (threading.get_ident(), signal.SIGUSR1))
        try:
            timer.start()
            with pytest.raises(Interrupted):
                own.ask({"do": "changed", "pid": node.pid, "flag": os.WSTOPPED})
        finally:
            timer.join()
            signal.signal(signal.SIGUSR1, before)
        assert not own.is_alive
        node.stdin.close()
        assert node.wait(LIMIT_S) == KILLED  # nobody is left who could tell


def test_a_birth_that_fails_for_want_of_descriptors_leaves_none_open() -> None:
    """Neither end of any pipe."""
    import resource  # not on Windows

    with born() as (own, _), socket.socket() as listener:
        before = open_descriptors()
        free = [number for number in range(1024) if number not in before]
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        for room in range(5):
            resource.setrlimit(resource.RLIMIT_NOFILE, (free[room], limits[1]))
            try:
                with pytest.raises(OSError, match="Too many open files"):
                    own.bear(2, listener.fileno())
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            assert open_descriptors() == before


ODD = """
import os, pathlib, signal, sys
{habit}
from fakeserver import FakeTriad
from fakeserver.nursery import nursery
with FakeTriad() as triad:
    triad.wait_until_serving(10)
    mine = nursery().pid
    stats = [pathlib.Path(f"/proc/{{node.pid}}/stat").read_text() for node in triad.nodes]
    node = triad.tertiary._process._process
    os.kill(node.pid, signal.SIGTERM)
    code = node.wait(10)
print({{int(stat.rpartition(")")[2].split()[1]) for stat in stats}} == {{mine}}, code, flush=True)
"""


@pytest.mark.parametrize(
    "habit",
    [
        pytest.param("signal.signal(signal.SIGCHLD, signal.SIG_IGN)", id="ignores the end of its children"),
        pytest.param("signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})", id="blocks signals"),
        pytest.param("sys.path[:] = [pathlib.Path('/x'), *(each for each in sys.path if each != os.getcwd())]", id="finds modules where it is"),
        pytest.param(
            "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (2048, 2048)); held = [os.dup(2) for _ in range(1100)]",
            id="has many files open",
        ),
        pytest.param("os.close(0), os.close(1), os.dup2(2, 1)", id="has no stdin or stdout of its own"),
    ],
)
def test_nodes_are_the_same_whatever_the_habits_of_their_owner(habit: str) -> None:
    """They come from the nursery, heed SIGTERM, and their exit code is known."""
    program = ODD.format(habit=habit)
    ran = subprocess.run([sys.executable, "-W", "error", "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S * 2, check=False)
    assert (ran.stdout + ran.stderr).split() == ["True", "0"]


def test_an_order_that_nobody_reads_any_more_does_no_harm() -> None:
    """A node that has just died, as at a failpoint: whoever clears it away sees no broken pipe."""
    with FakeTriad() as triad:
        process, pid = triad.primary._process, triad.primary.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not is_alive(pid), "the node ends")
        process.tell("settle", limit_s=1)
        triad.primary.kill()
        triad.primary.restart()
        triad.wait_until_serving(LIMIT_S)
