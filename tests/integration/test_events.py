"""Events, counters, log lines and options of the synchronous client, as an application has them."""

from __future__ import annotations

import gc
import logging
import pickle
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from palclient import Acquired, Client, ConfigError, Counters, Holder, Lease, Lost, RetryPolicy, Returned, Suspect, TriadUnavailable
from palclient.keeper import MAX_EVENTS, Courier
from palclient.models import Event, Resumed
from tests import hostile
from tests.bench.pairs import null_node
from tests.canned import CannedMaster
from tests.children import LIMIT_S, Child, wait_until

pytestmark = pytest.mark.real


@contextmanager
def master(ttl_s: bytes = b"180") -> Iterator[tuple[CannedMaster, str]]:
    """A canned master behind a server, and its SERVERNAME."""
    canned = CannedMaster(ttl_s)
    with hostile.Server(canned) as server:
        yield canned, f"{server.port}@127.0.0.1"


def courier_thread() -> threading.Thread | None:
    """The thread that calls listeners."""
    return next((thread for thread in threading.enumerate() if thread.name == "palclient-events"), None)


# --- listeners ----------------------------------------------------------------------------------------------------------------------


def test_events_come_in_order_on_a_thread_of_their_own_and_each_listener_hears_what_is_its_own() -> None:
    """api, Events: in order, never on the caller's thread; ``checkout``'s listener hears of its lease, the client's of all."""
    of_all: list[Event] = []
    of_one: list[Event] = []
    threads: set[str] = set()

    def hear(event: Event) -> None:
        threads.add(threading.current_thread().name)
        of_all.append(event)

    with master() as (_, servername), Client(servername, on_event=hear) as client:
        with client.checkout("X", on_event=of_one.append) as one, client.checkout("X") as two:
            pass
        wait_until(lambda: len(of_all) == 4, "all events are told")
    assert [(type(event), event.lease_id) for event in of_all if isinstance(event, Acquired | Returned)] == [
        (Acquired, one.id),
        (Acquired, two.id),
        (Returned, two.id),
        (Returned, one.id),
    ]
    assert [type(event) for event in of_one] == [Acquired, Returned]
    assert {event.lease_id for event in of_one if isinstance(event, Acquired | Returned)} == {one.id}
    assert threads == {"palclient-events"}


class Diary:
    """A listener that is a method, and one that is an object."""

    __hash__ = None  # type: ignore[assignment]  # as of any dataclass that can be compared

    def __init__(self) -> None:
        self.heard: list[Event] = []

    def note(self, event: Event) -> None:
        """Hear."""
        self.heard.append(event)

    __call__ = note


def test_what_belongs_to_no_lease_is_told_once_to_each_listener_however_many_leases_it_hears_of() -> None:
    """api, Events: one change of master is one event; a thousand copies would drop what else waits to be told."""
    method, thing, other = Diary(), Diary(), Diary()
    with master() as (_, servername), Client(servername, on_event=other) as client, ExitStack() as leases:
        for listener in (method.note, thing, other, method.note, thing, other):
            leases.enter_context(client.checkout("X", on_event=listener))
        client._home.open()._tell(Resumed(gap_s=3))
        wait_until(lambda: Resumed(gap_s=3) in other.heard, "it is told")
        leases.close()
        wait_until(lambda: [type(event) for event in other.heard].count(Returned) == 6, "the ends of all leases are told")
    assert [each.heard.count(Resumed(gap_s=3)) for each in (method, thing, other)] == [1, 1, 1]
    assert [len(each.heard) for each in (method, thing, other)] == [5, 5, 13]


def test_a_listener_that_blocks_holds_up_neither_calls_nor_renewals() -> None:
    """api: a callback may be slow.  The keeper goes on, so do checkouts, returns and the end of the client."""
    go_on = threading.Event()
    with master(b"0.6") as (canned, servername):

        def block(_event: Event) -> None:
            go_on.wait(LIMIT_S)

        client = Client(servername, on_event=block)
        with client.checkout("X") as lease:
            wait_until(lambda: sum(target == "/v1/renewals" for _, _, target in canned.asked) >= 3, "three renewals")
            assert lease.valid
        began = time.monotonic()
        client.close()
        assert time.monotonic() - began < 1
        go_on.set()
        wait_until(lambda: courier_thread() is None, "the courier has delivered the rest, and ended")


def test_a_listener_that_raises_is_logged_and_hears_the_next_event(caplog: pytest.LogCaptureFixture) -> None:
    """api: what it raises is logged and does no harm."""
    heard: list[Event] = []

    def fail(event: Event) -> None:
        heard.append(event)
        raise ZeroDivisionError("mine")

    with caplog.at_level(logging.INFO, logger="palclient"), master() as (_, servername), Client(servername, on_event=fail) as client:
        with client.checkout("X"):
            pass
        wait_until(lambda: len(heard) == 2, "both events are told")
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert {str(record.exc_info[1]) for record in errors if record.exc_info} == {"mine"}
    assert "Acquired(" in caplog.text


def test_a_listener_that_wants_to_end_the_program_hears_the_next_event_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    """api: what it raises is logged and does no harm; ``sys.exit()`` on a thread of ours would end nothing but the telling."""
    heard: list[Event] = []

    def leave(event: Event) -> None:
        heard.append(event)
        sys.exit("enough")

    with caplog.at_level(logging.ERROR, logger="palclient"), master() as (_, servername), Client(servername, on_event=leave) as client:
        with client.checkout("X"):
            pass
        wait_until(lambda: len(heard) == 2, "both events are told")
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == ["enough", "enough"]


def test_a_listener_may_call_the_api() -> None:
    """api: a callback may call the API; here a lease is checked out, looked at and returned, and the client is closed."""
    client: Client
    done = threading.Event()

    def use(event: Event) -> None:
        if isinstance(event, Acquired) and not done.is_set():
            done.set()
            with client.checkout("Y") as lease:
                lease.ensure_held()
            client.close()

    with master() as (_, servername):
        client = Client(servername, on_event=use)
        lease = client.checkout("X")
        wait_until(lambda: client.is_closed and lease.state.value == "returned", "the client was closed by its listener")


def test_of_more_than_1000_events_the_oldest_go_and_are_counted() -> None:
    """Architecture: queue of 1,000, the oldest dropped and counted."""
    courier, started, go_on = Courier(), threading.Event(), threading.Event()
    heard: list[float] = []

    def hear(event: Event) -> None:
        started.set()
        go_on.wait(LIMIT_S)
        assert isinstance(event, Resumed)
        heard.append(event.gap_s)

    courier.deliver(hear, Resumed(gap_s=-1))
    assert started.wait(LIMIT_S)
    for number in range(MAX_EVENTS + 5):
        courier.deliver(hear, Resumed(gap_s=number))
    assert courier.dropped == 5
    courier.stop()
    go_on.set()
    wait_until(lambda: len(heard) == MAX_EVENTS + 1, "the rest is told")
    assert heard == [-1, *range(5, MAX_EVENTS + 5)]
    wait_until(lambda: courier_thread() is None, "its thread has ended")


def test_no_thread_for_events_is_started_that_nobody_hears() -> None:
    """Architecture: the second thread starts with the first event, and only if ``on_event`` was given."""
    with master() as (_, servername), Client(servername) as client, client.checkout("X"):
        assert courier_thread() is None


def test_a_lease_that_is_dropped_is_told_as_returned_and_its_listener_forgotten() -> None:
    """api, Events: every ``Acquired`` has its end."""
    heard: list[Event] = []
    with master() as (_, servername), Client(servername) as client:
        with pytest.warns(ResourceWarning, match="dropped"):
            client.checkout("X", on_event=heard.append)
        wait_until(lambda: [type(event) for event in heard] == [Acquired, Returned], "it is told")
        assert not client._home.open()._listeners


# --- counters, options, pickles -----------------------------------------------------------------------------------------------------


def test_counters_tell_what_was_done_and_do_not_change_afterwards() -> None:
    """Issue "the client in full": counters that an application can read, an immutable value."""
    with master(b"0.6") as (canned, servername), Client(servername) as client:
        before = client.counters
        assert before == Counters()
        with client.checkout("X"), client.with_options(timeout=3).checkout("X"):
            wait_until(lambda: client.counters.renewals >= 4, "two leases were renewed twice")
        after = client.counters
        assert (after.checkouts, after.failovers, after.events_dropped) == (2, 0, 0)
        assert 0 < after.spent_s < LIMIT_S
        assert before == Counters()
        assert sum(target == "/v1/renewals" for _, _, target in canned.asked) <= after.renewals


def test_with_options_shares_the_connection_and_changes_the_defaults() -> None:
    """api: ``with_options``: one connection, other defaults; the first client keeps its own."""
    heard: list[Event] = []
    ann = Holder(user="ann", host="pc7")
    with master() as (canned, servername), Client(servername, timeout=9) as client:
        other = client.with_options(timeout=0.3, holder=ann, reacquire="never", retry=RetryPolicy(stagger_s=0.2), on_event=heard.append)
        with other.checkout("X"), client.checkout("X"):
            wait_until(lambda: bool(heard), "the other's listener heard of its lease")
        assert {visit for visit, _, _ in canned.asked} == {0}
        wait_until(lambda: len(heard) == 2, "and of its return")
        canned.weather = hostile.Visit.wait_end
        began = time.monotonic()
        with pytest.raises(TriadUnavailable):
            other.checkout("X")
        assert time.monotonic() - began < 1
        canned.weather = None
        assert other.with_options()._defaults == other._defaults
        assert client._home.open().means_by(other._defaults.retry).policy.stagger_s == 0.2
        assert client._defaults.timeout_s == 9
        with pytest.raises(ConfigError):
            client.with_options(timeout=-1)
        with pytest.raises(ConfigError):
            client.with_options(reacquire="perhaps")
        other.close()
        assert client.is_closed


def test_a_client_and_a_lease_refuse_to_be_pickled_with_advice() -> None:
    """Issue "the client in full": pickling a lease or client is refused with advice."""
    with master() as (_, servername), Client(servername) as client, client.checkout("X") as lease:
        for thing, advice in ((client, "make one in the other process"), (lease, "check out in the other process")):
            with pytest.raises(TypeError, match=advice):
                pickle.dumps(thing)


# --- the log ------------------------------------------------------------------------------------------------------------------------

SILENT = """
import sys
from palclient import Client
with Client(sys.argv[1]) as client, client.checkout("X"):
    pass
print("logging" in sys.modules)
import logging
with Client(sys.argv[1]) as client, client.checkout("X"):
    pass
print([type(handler).__name__ for handler in logging.getLogger("palclient").handlers], logging.getLogger().handlers)
"""


def test_a_process_that_does_not_log_is_not_made_to_and_one_that_does_gets_a_null_handler() -> None:
    """Issue "the client in full": logging under ``palclient`` with a NullHandler, without importing logging for it."""
    with master() as (_, servername), Child(SILENT, servername) as child:
        assert (child.end(), child.complained) == (0, "")
    assert child.said == ["False", "['NullHandler'] []"]


@pytest.mark.parametrize("level, seen", [("debug", True), ("INFO", True), ("loud", False)])
def test_the_environment_can_have_the_lines_shown(level: str, seen: bool) -> None:  # noqa: FBT001 - a column of the table
    """Issue "the client in full": ``PALCLIENT_LOG=debug``; every call is shown there, on standard error."""
    with master() as (_, servername), Child(SILENT, servername, environment={"PALCLIENT_LOG": level}) as child:
        assert child.end() == 0
    assert ("palclient INFO" in child.complained and "Acquired(" in child.complained) is seen
    assert ("PUT /v1/checkouts/" in child.complained) is (level == "debug")
    assert not child.complained if not seen else ": 201" in child.complained or level != "debug"


def test_no_call_waits_for_whoever_has_the_lock_of_all_loggers() -> None:
    """Issue "the client in full", never hanging: Ctrl-C inside ``getLogger`` leaves that lock taken, and a keeper that asked for it would stand still."""
    is_held, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with logging._lock:  # type: ignore[attr-defined]  # it is nothing for users
            is_held.set()
            go_on.wait(LIMIT_S)

    with master(b"0.6") as (_, servername), Client(servername) as client, client.checkout("X") as lease:
        holder = threading.Thread(target=hold)
        holder.start()
        assert is_held.wait(LIMIT_S)
        before = client.counters.renewals
        try:
            wait_until(lambda: client.counters.renewals >= before + 2, "renewals go on", limit_s=5)
            lease.ensure_held()
        finally:
            go_on.set()
            holder.join(LIMIT_S)


LOUD = """
import logging, sys
logging.basicConfig(level=logging.INFO, stream=getattr(sys, sys.argv[2]))
from palclient import Client
with Client(sys.argv[1]) as client, client.checkout("X"):
    pass
"""


@pytest.mark.parametrize("stream", ["stderr", "stdout"])
def test_lines_that_the_application_shows_on_standard_error_are_not_shown_there_twice(stream: str) -> None:
    """Issue "the client in full": ``PALCLIENT_LOG=debug``; an application that logs elsewhere does not keep them from standard error."""
    with master() as (_, servername), Child(LOUD, servername, stream, environment={"PALCLIENT_LOG": "debug"}) as child:
        assert child.end() == 0
    assert child.complained.count("PUT /v1/checkouts/") == 1


def test_a_handler_of_the_log_that_raises_is_told_of_and_costs_no_seat(capsys: pytest.CaptureFixture[str]) -> None:
    """Issue "the client in full": what an application does with a word of ours harms nothing; here on every thread that has one."""

    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise ZeroDivisionError(record.levelname)

    log, broken = logging.getLogger("palclient"), Broken()
    log.addHandler(broken)
    before = log.level
    log.setLevel(logging.DEBUG)
    try:
        with master(b"0.6") as (_, servername), Client(servername) as client, client.checkout("X") as lease:
            wait_until(lambda: client.counters.renewals >= 3, "three renewals")
            lease.ensure_held()
    finally:
        log.removeHandler(broken)
        log.setLevel(before)
    assert "ZeroDivisionError: DEBUG" in capsys.readouterr().err


def test_a_loss_is_logged_as_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """api: events are logged as well; what an administrator must see is a warning."""
    with caplog.at_level(logging.INFO, logger="palclient"), master(b"0.3") as (canned, servername), Client(servername) as client:
        lease = client.checkout("X", reacquire="never")
        canned.weather = hostile.Visit.wait_end
        assert lease.wait_lost(LIMIT_S)
        wait_until(lambda: "Lost(" in caplog.text, "the loss is logged")
        canned.weather = None
        lease.checkin()
    by_type = {record.args[0].__class__: record.levelname for record in caplog.records if record.args and isinstance(record.args, tuple)}
    assert (by_type[Lost], by_type[Suspect], by_type[Acquired]) == ("WARNING", "INFO", "INFO")


def test_a_triad_whose_failover_outlasts_its_leases_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """Architecture, numbers that must fit: the canned node says that its failover takes 79 s, and grants for half a second."""
    with caplog.at_level(logging.WARNING, logger="palclient"), master(b"0.6") as (canned, servername), Client(servername) as client:
        with client.checkout("X"), client.checkout("Y"):
            wait_until(lambda: sum(target == "/v1/renewals" for _, _, target in canned.asked) >= 4, "four renewals")
        assert [target for _, _, target in canned.asked].count("/v1/status") == 1
    (warning,) = (record.getMessage() for record in caplog.records)
    assert warning.startswith("leases of 0.6 s are too short for a triad whose failover takes up to 79 s")
    assert "at least 133.1 s" in warning


# --- many leases --------------------------------------------------------------------------------------------------------------------


def test_hundreds_of_leases_have_one_keeper_thread_and_cost_at_most_1_kib_each() -> None:
    """Issue "the client in full", figures; measured here with 300, whose tables have as much room to spare as those of 10,000."""
    number = 300
    others = set(threading.enumerate())
    with null_node() as port, Client(f"{port}@127.0.0.1") as client:
        held: list[Lease] = [client.checkout("X")]
        held = [held[0], *[held[0]] * number]  # the list's own memory is the test's
        gc.collect()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for index in range(1, number + 1):
                held[index] = client.checkout("X")
            gc.collect()
            each_bytes = (tracemalloc.get_traced_memory()[0] - before) / number
        finally:
            tracemalloc.stop()
        keepers = [thread for thread in threading.enumerate() if thread.name == "palclient-keeper" and thread not in others]
        assert len(keepers) == 1
        assert each_bytes <= 1024
        assert sys.getsizeof(held[0]) <= 64
    assert {lease.state.value for lease in held} == {"returned"}
