"""A whole client against three servers of which one, two or all misbehave.

Each way in which a node can answer, or not answer, ends as the error tree says, or is survived; inside the deadline, with ``.probes`` telling all of it, and
with few requests (docs/reference/protocol.md, Who answers what; Problems).
"""

from __future__ import annotations

import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass

import pytest

from palclient import (
    CheckoutTimeout,
    Client,
    Lease,
    LeaseState,
    Lost,
    NoQuorum,
    NoServerReachable,
    ProtocolError,
    TriadUnavailable,
)
from palclient.asking import wanted
from palclient.config import find_servername
from palclient.core.retry import RetryPolicy
from palclient.models import Event, Holder, Probe, Role
from palclient.session import Session
from palclient.transport import Transport
from tests import hostile, scripted
from tests.children import LIMIT_S, wait_until
from tests.hostile import Behaviour, Server
from tests.scripted import Node

SHORT_S = 0.2  # the deadline of a lost cause
GRACE_S = 1.5  # what a busy machine may add to a deadline
A_NODE = 3  # requests at most to one node in one probe period (core/locate.py, rule 4)
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux drops the SYN of a full queue")
LINUX_ADDRESSES = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8 on its loopback")


def name_of(*ports: int) -> str:
    """SERVERNAME of these ports."""
    return ",".join(f"{port}@127.0.0.1" for port in ports)


@contextmanager
def triad_of(*behaviours: Behaviour) -> Iterator[tuple[tuple[Server, ...], str]]:
    """Servers that behave so, primary first, and their SERVERNAME."""
    with ExitStack() as stack:
        servers = tuple(stack.enter_context(Server(behave)) for behave in behaviours)
        yield servers, name_of(*(server.port for server in servers))


@contextmanager
def within(least_s: float, most_s: float) -> Iterator[None]:
    """The block takes so long."""
    began = time.monotonic()
    yield
    took_s = time.monotonic() - began
    assert least_s <= took_s < most_s + GRACE_S


def told(error: TriadUnavailable, servername: str) -> dict[str, list[Probe]]:
    """The probes of each server.  Each has its line in the message, the times are possible, and there is advice."""
    found: dict[str, list[Probe]] = {endpoint: [] for endpoint in servername.split(",")}
    for probe in error.probes:
        assert probe.asked == "checkout"
        assert probe.began_s >= 0
        assert probe.took_s >= 0
        found[str(probe.endpoint)].append(probe)
    for endpoint, probes in found.items():
        assert probes, f"{endpoint} is not told of"
        assert re.search(rf"^  {re.escape(endpoint)}: {re.escape(probes[-1].outcome)}", str(error), flags=re.MULTILINE)
    assert error.advice in str(error)
    assert error.retryable
    return found


def puts(server: Server) -> int:
    """How many checkouts the server was asked for."""
    return sum(request.startswith(b"PUT") for request in server.requests)


@pytest.fixture
def lost_cause() -> Iterator[Callable[[str], Client]]:
    """Clients whose triads will never serve: what they would give up at their end is not waited for."""
    clients: list[Client] = []

    def client_of(servername: str) -> Client:
        clients.append(Client(servername))
        return clients[-1]

    yield client_of
    for client in clients:
        session = client._home.close()
        assert session is not None
        session.close(timeout_s=0)


# --- one kind of trouble, at all three, or at two beside a good one ------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """A way not to answer: what ``.probes`` call it, and words of its detail."""

    behave: Behaviour
    outcome: str
    words: str = ""
    timeout_s: float = SHORT_S


def other_json(body: object, status: int = 200) -> Behaviour:
    """Answers everything with this."""

    def behave(visit: hostile.Visit) -> None:
        while visit.read_request():
            visit.send(scripted.whole(status, body))

    return behave


ABOUT = {"node": "n", "role": "primary", "cluster": "c1", "term": 1}

TROUBLES = {
    "a black hole after connect": Trouble(behave=hostile.is_silent, outcome="timed out"),
    "a drip of its body": Trouble(behave=hostile.drips, outcome="timed out"),
    "a drip of its head": Trouble(behave=hostile.drips_its_head, outcome="timed out"),
    "interim answers for ever": Trouble(behave=hostile.says_continue_for_ever, outcome="timed out"),
    "hung up": Trouble(behave=hostile.hangs_up, outcome="cut short", words="without an answer"),
    "cut in the body": Trouble(behave=hostile.cuts_short, outcome="cut short", words="in the middle"),
    "cut in the head": Trouble(behave=hostile.cuts_the_head_short, outcome="cut short", words="in the middle"),
    "reset": Trouble(behave=hostile.resets, outcome="reset"),
    "SSH": Trouble(behave=hostile.speaks_ssh, outcome="not HTTP", words="SSH-2.0"),
    "TLS": Trouble(behave=hostile.speaks_tls, outcome="not HTTP"),
    "endless headers": Trouble(behave=hostile.never_stops_its_head, outcome="not HTTP"),
    "HTML with status 200": Trouble(behave=hostile.is_a_web_page, outcome="not ours", words="<html>"),
    "a redirect": Trouble(behave=hostile.redirects, outcome="not ours"),
    "a huge body, announced": Trouble(behave=hostile.announces_too_much, outcome="not ours", words="5000000"),
    "a huge body, in chunks": Trouble(behave=hostile.never_stops, outcome="not ours", words="more than", timeout_s=1.0),
    "JSON that is no object": Trouble(behave=other_json([1, 2]), outcome="not ours", words="not a JSON object"),
    "JSON of another service": Trouble(behave=other_json({"status": "UP"}), outcome="not ours", words="'node'"),
    "JSON of another service's error": Trouble(behave=other_json({"error": "no route"}, 404), outcome="not ours"),
    "a problem of another service": Trouble(behave=other_json(ABOUT | {"type": "about:blank"}, 503), outcome="not ours", words="about:blank"),
    "a grant without a seat": Trouble(behave=other_json(ABOUT | {"id": "x"}, 201), outcome="not ours", words="not asked for"),
    "no content": Trouble(behave=other_json(ABOUT, 204), outcome="not ours"),
    "a length that is too small": Trouble(behave=Node(role="primary", dress=scripted.with_length_changed(-5)), outcome="not ours", words="not JSON"),
    "a length that is too large": Trouble(behave=Node(role="primary", dress=scripted.with_length_changed(5), keeps=False), outcome="cut short"),
    "a length that never comes": Trouble(behave=Node(role="primary", dress=scripted.with_length_changed(5)), outcome="timed out", words="bytes came"),
    "gzip": Trouble(behave=Node(role="primary", dress=scripted.in_gzip), outcome="not ours", words="not JSON"),
}


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=list(TROUBLES))
def test_three_servers_in_the_same_trouble_are_told_one_by_one_at_the_deadline(trouble: Trouble, lost_cause: Callable[[str], Client]) -> None:
    """Protocol, Problems: no answer is a reason to ask the next node, and is listed with its reason when there is none left."""
    with triad_of(trouble.behave, trouble.behave, trouble.behave) as (servers, servername):
        client = lost_cause(servername)
        with within(trouble.timeout_s, trouble.timeout_s), pytest.raises(NoServerReachable) as caught:
            client.checkout("X", timeout=trouble.timeout_s)
        for probes in told(caught.value, servername).values():
            assert {(probe.outcome, probe.answered) for probe in probes} == {(trouble.outcome, False)}
            assert any(trouble.words in probe.detail for probe in probes)
        assert all(len(server.visits) <= A_NODE for server in servers)


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=list(TROUBLES))
def test_two_servers_in_trouble_do_not_keep_the_third_from_serving(trouble: Trouble) -> None:
    """Protocol, Who answers what: the request is parked at the others when the first is late or has failed; the good one ends it."""
    good = Node(role="secondary")
    with triad_of(trouble.behave, good, trouble.behave) as (servers, servername), Client(servername) as client:
        with within(0, SHORT_S):
            lease = client.checkout("X")
        assert lease.state is LeaseState.HELD
        assert lease.grant.role is Role.SECONDARY
        with within(0, SHORT_S):
            lease.checkin()
        assert [len(server.visits) <= A_NODE for server in servers] == [True] * 3
        assert puts(servers[1]) == 1


@pytest.mark.parametrize(
    "nobody, outcome",
    [(hostile.closed_port, "refused"), pytest.param(hostile.deaf_port, "timed out", marks=LINUX)],
    ids=["refused", "no SYN answer"],
)
def test_nobody_there_is_told_and_a_good_third_serves(
    nobody: Callable[[], AbstractContextManager[int]], outcome: str, lost_cause: Callable[[str], Client]
) -> None:
    """Protocol, Problems: what was surely never sent is free to go to the next node at once."""
    with nobody() as first, nobody() as second, nobody() as third:
        servername = name_of(first, second, third)
        with within(SHORT_S, SHORT_S), pytest.raises(NoServerReachable) as caught:
            lost_cause(servername).checkout("X", timeout=SHORT_S)
        for probes in told(caught.value, servername).values():
            assert {(probe.outcome, probe.answered) for probe in probes} == {(outcome, False)}
            assert len(probes) <= A_NODE
        with Server(Node(role="tertiary")) as good, Client(name_of(first, second, good.port)) as client, within(0, SHORT_S):
            client.checkout("X").checkin()


DRESSES: dict[str, Node] = {
    "HTTP/1.0 with a length": Node(role="primary", dress=scripted.in_http_1_0, keeps=False),
    "HTTP/1.0 without a length": Node(role="primary", dress=scripted.without_length, keeps=False),
    "HTTP/1.0 that keeps the connection all the same": Node(role="primary", dress=scripted.in_http_1_0),
    "HTTP/1.1 that hangs up without a word": Node(role="primary", keeps=False),
    "an interim answer first": Node(role="primary", dress=scripted.after_continue),
    "chunks": Node(role="primary", dress=scripted.in_chunks),
    "a head of 8 kB": Node(role="primary", dress=scripted.with_big_head),
}


@pytest.mark.parametrize("node", DRESSES.values(), ids=list(DRESSES))
def test_whatever_dress_http_allows_a_master_is_understood_at_once(node: Node) -> None:
    """Protocol: HTTP is RFC 9110's and 9112's; checkout and return are two requests, whoever stands between."""
    with Server(node) as server, Client(name_of(server.port)) as client, within(0, SHORT_S):
        for _ in range(3):
            client.checkout("X").checkin()
        assert len(server.requests) == 6


# --- what nodes say of each other ----------------------------------------------------------------------------------------------------


def test_another_version_of_the_protocol_is_our_own_fault_and_said_so_at_once() -> None:
    """Protocol, Problems: unsupported-version is a ProtocolError; no other node would answer otherwise."""
    stranger = Node(role="primary", problem="unsupported-version")
    with triad_of(stranger, stranger, stranger) as (servers, servername), Client(servername) as client:
        with within(0, SHORT_S), pytest.raises(ProtocolError, match="unsupported version") as caught:
            client.checkout("X")
        assert caught.value.code == -83
        assert "compare their versions" in caught.value.advice
        assert sum(len(server.requests) for server in servers) == 1


def test_an_overloaded_triad_is_asked_no_sooner_than_it_said(lost_cause: Callable[[str], Client]) -> None:
    """Protocol, Problems: overloaded backs off by ``retry_after_s``, keeps the node, and never fails over for it."""
    busy = [Node(role=role, problem="overloaded", retry_after_s=60.0) for role in ("primary", "secondary", "tertiary")]
    with triad_of(*busy) as (servers, servername):
        with within(SHORT_S, SHORT_S), pytest.raises(NoQuorum) as caught:
            lost_cause(servername).checkout("X", timeout=SHORT_S)
        for probes in told(caught.value, servername).values():
            assert [(probe.outcome, probe.answered) for probe in probes] == [("overloaded", True)]
        assert all(len(server.requests) == 1 for server in servers)


def test_a_master_that_is_overloaded_for_a_moment_keeps_the_request() -> None:
    """Protocol, Problems: the client waits as it was told, and comes back to the same node; a hint to it is not followed meanwhile."""
    master = Node(role="primary")
    others = [Node(role=role, problem="not-master", master="primary") for role in ("secondary", "tertiary")]
    with triad_of(master, *others) as (servers, servername), Client(servername) as client:
        client.checkout("X").checkin()
        master.problem, master.retry_after_s = "overloaded", 0.1

        def recover() -> None:
            servers[0].was_asked.wait(LIMIT_S)
            master.problem = ""

        servers[0].was_asked.clear()
        recovery = threading.Thread(target=recover)
        recovery.start()
        with within(0, 1.0):
            client.checkout("X").checkin()
        recovery.join(LIMIT_S)
        assert puts(servers[0]) <= 3
        assert [puts(server) for server in servers[1:]] == [0, 0]


def test_hints_in_a_circle_are_each_followed_once_a_round(lost_cause: Callable[[str], Client]) -> None:
    """Protocol, Who answers what: a hint is followed at once if its term is news, at most once per node and round."""
    circle = (("primary", "secondary"), ("secondary", "tertiary"), ("tertiary", "primary"))
    with triad_of(*(Node(role=role, problem="not-master", master=master) for role, master in circle)) as (servers, servername):
        with within(SHORT_S, SHORT_S), pytest.raises(CheckoutTimeout) as caught:
            lost_cause(servername).checkout("X", timeout=SHORT_S)
        for probes in told(caught.value, servername).values():
            assert {(probe.outcome, probe.answered) for probe in probes} == {("not-master", True)}
        assert all(len(server.requests) <= A_NODE for server in servers)


def test_hints_in_a_circle_whose_terms_grow_without_end_bring_no_storm(lost_cause: Callable[[str], Client]) -> None:
    """core/locate.py, rule 4: whatever it answers, a node is asked no oftener than three times in a probe period."""
    circle = [
        Node(role=role, problem="not-master", master=to) for role, to in (("primary", "secondary"), ("secondary", "primary"), ("tertiary", "primary"))
    ]

    def restless(node: Node, visit: hostile.Visit) -> None:
        while request := visit.read_request():
            for each in circle:
                each.term += 1
            visit.send(node.answer(request))

    with triad_of(*(lambda visit, node=node: restless(node, visit) for node in circle)) as (servers, servername):
        with within(SHORT_S, SHORT_S), pytest.raises(CheckoutTimeout) as caught:
            lost_cause(servername).checkout("X", timeout=SHORT_S)
        told(caught.value, servername)
        assert all(len(server.requests) <= A_NODE for server in servers)


def test_a_stale_master_is_not_believed_and_the_current_one_serves() -> None:
    """Protocol, Who answers what: a master counts only in a term not lower than the highest seen."""
    current, stale = Node(role="secondary", term=7), Node(role="primary", term=6)
    with (
        triad_of(stale, current, Node(role="tertiary", problem="not-master", master="secondary", term=7)) as (servers, servername),
        Client(servername) as client,
    ):
        stale.problem, stale.master, stale.term = "not-master", "secondary", 7
        client.checkout("X").checkin()
        stale.problem, stale.term = "", 6
        current.problem, current.master = "no-quorum", None
        asked = len(servers[0].requests)
        with within(SHORT_S, SHORT_S), pytest.raises(TriadUnavailable) as caught:
            client.checkout("X", timeout=SHORT_S)
        assert ("stale master", True) in {(probe.outcome, probe.answered) for probe in told(caught.value, servername)[name_of(servers[0].port)]}
        assert len(servers[0].requests) - asked <= A_NODE
        current.problem = ""
        with client.checkout("X") as lease:
            assert (lease.term, lease.grant.role) == (7, Role.SECONDARY)


def test_of_two_masters_in_one_term_neither_is_used_until_there_is_a_later_term() -> None:
    """Protocol, Who answers what: two masters in one term, neither is used."""
    first, second = Node(role="primary", term=3), Node(role="secondary", term=3)
    silent = threading.Event()

    def falls_silent(visit: hostile.Visit) -> None:
        while request := visit.read_request():
            if silent.is_set():
                visit.wait_end()
                return
            visit.send(first.answer(request))

    standby = Node(role="tertiary", problem="no-quorum", term=3)
    with triad_of(falls_silent, second, standby) as (servers, servername), Client(servername) as client:
        client.checkout("X").checkin()
        silent.set()
        with within(SHORT_S, SHORT_S), pytest.raises(TriadUnavailable) as caught:
            client.checkout("X", timeout=SHORT_S)
        assert {probe.outcome for probe in told(caught.value, servername)[name_of(servers[1].port)]} == {"stale master"}
        silent.clear()
        with within(SHORT_S, SHORT_S), pytest.raises(TriadUnavailable):  # the first is not to be believed now, either
            client.checkout("X", timeout=SHORT_S)
        first.term = 4
        with client.checkout("X") as lease:
            assert (lease.term, lease.grant.role) == (4, Role.PRIMARY)


def test_another_clusters_node_in_servername_is_passed_over_by_whoever_knows_the_triad() -> None:
    """Protocol, Identity: terms compare within one cluster; one node alone does not replace it."""
    stranger = Node(role="primary", problem="not-master", master="secondary")
    own = Node(role="secondary", term=2)
    with (
        triad_of(stranger, own, Node(role="tertiary", problem="not-master", master="secondary", term=2)) as (servers, servername),
        Client(servername) as client,
    ):
        client.checkout("X").checkin()
        stranger.cluster, stranger.problem, stranger.term = "c2", "", 99
        own.problem = "no-quorum"
        with within(SHORT_S, SHORT_S), pytest.raises(TriadUnavailable) as caught:
            client.checkout("X", timeout=SHORT_S)
        probes = told(caught.value, servername)[name_of(servers[0].port)]
        assert {(probe.outcome, probe.answered) for probe in probes} == {("another cluster", True)}
        assert "belongs to another triad" in probes[0].detail
        own.problem = ""
        with client.checkout("X") as lease:
            assert (lease.grant.cluster, lease.term) == ("c1", 2)


@pytest.mark.parametrize("problem", ["not-master", "no-quorum", "electing"])
def test_a_client_that_meets_another_clusters_node_first_finds_the_triad_all_the_same(problem: str) -> None:
    """Protocol, Identity: two nodes of one other cluster outweigh the first answer."""
    stranger = Node(role="primary", cluster="c2", problem=problem, term=99)
    own = Node(role="secondary", term=2)
    with triad_of(stranger, own, Node(role="tertiary", problem="not-master", master="secondary", term=2)) as (servers, servername):
        with Client(servername) as client, within(0, SHORT_S), client.checkout("X") as lease:
            assert (lease.grant.cluster, lease.term) == ("c1", 2)
        assert all(puts(server) <= A_NODE for server in servers)


def test_a_cluster_that_was_replaced_by_another_takes_its_leases_with_it_and_serves() -> None:
    """Protocol, Identity: when two nodes report one other cluster, all knowledge is forgotten and leases of the old one are lost."""
    nodes = [Node(role="primary", term=9), *(Node(role=role, problem="not-master", master="primary", term=9) for role in ("secondary", "tertiary"))]
    events: list[Event] = []
    with triad_of(*nodes) as (_, servername), Client(servername, on_event=events.append, reacquire="never") as client:
        old = client.checkout("X")
        for node in nodes:
            node.cluster, node.term = "c2", 1
        with within(0, 1.0):
            new = client.checkout("X")
        assert (new.grant.cluster, new.term) == ("c2", 1)
        assert old.state is LeaseState.LOST, "whoever learns of it need not wait for the keeper"
        wait_until(lambda: any(isinstance(event, Lost) and "replaced" in event.reason for event in events), "the holder is told why")
        assert new.state is LeaseState.HELD


def test_a_cluster_that_is_replaced_twice_is_followed_twice() -> None:
    """Protocol, Identity: nothing of an earlier cluster is left, even when it comes back in an earlier term."""
    nodes = [Node(role="primary", term=9), *(Node(role=role, problem="not-master", master="primary", term=9) for role in ("secondary", "tertiary"))]
    with triad_of(*nodes) as (_, servername), Client(servername, reacquire="never") as client:
        for cluster, term in (("c1", 9), ("c2", 5), ("c1", 1)):
            for node in nodes:
                node.cluster, node.term = cluster, term
            with within(0, 1.0), client.checkout("X") as lease:
                assert (lease.grant.cluster, lease.term) == (cluster, term)


# --- slow, but there -----------------------------------------------------------------------------------------------------------------


def answers_after(node: Node, delay_s: float) -> Behaviour:
    """Takes its time over each answer, the end of the test excepted."""

    def behave(visit: hostile.Visit) -> None:
        while request := visit.read_request():
            if visit.server.is_over.wait(delay_s):
                return
            visit.send(node.answer(request))

    return behave


@pytest.mark.slow
def test_a_master_that_takes_two_seconds_over_each_answer_is_waited_for() -> None:
    """Architecture, Attempts: one that ended too early is followed by a longer one, else a slow master is never heard."""
    hint = [Node(role=role, problem="not-master", master="primary") for role in ("secondary", "tertiary")]
    with triad_of(answers_after(Node(role="primary"), 2.0), *hint) as (servers, servername):
        with Client(servername) as client, within(2.0, 8.0), client.checkout("X") as lease:
            assert lease.grant.role is Role.PRIMARY
        assert puts(servers[0]) <= 4


@pytest.mark.slow
def test_a_single_server_that_takes_two_seconds_over_each_answer_is_waited_for() -> None:
    """As above, where nobody else could tell that it serves."""
    with Server(answers_after(Node(role="primary"), 2.0)) as server:
        with Client(name_of(server.port)) as client, within(2.0, 8.0), client.checkout("X") as lease:
            assert lease.grant.role is Role.PRIMARY
        assert puts(server) <= 4


# --- where the nodes are -------------------------------------------------------------------------------------------------------------


def test_a_name_with_several_addresses_is_tried_at_each_of_them() -> None:
    """Issue 4: a name with several addresses; the node is on the last, and is asked there at once the next time."""
    looked_up: list[str] = []

    def resolve(host: str, _flags: int) -> tuple[tuple[int, tuple[object, ...]], ...]:
        looked_up.append(host)
        return tuple((socket.AF_INET, (address, 0)) for address in ("127.0.0.9", "127.0.0.8", "127.0.0.1"))

    with Server(Node(role="primary")) as server:
        config = find_servername(servers=f"{server.port}@lic1.corp.example")
        session = Session(config, RetryPolicy(), None, Transport(resolve=resolve))
        asked = wanted(feature="X", version="0", count=1, holder=Holder(user="ann", host="pc7"), timeout=5.0, wait=0.0, reacquire="never")
        with within(0, SHORT_S):
            lease = session.acquire(asked, RetryPolicy(), None, lambda record: Lease(session, record))
        assert lease.valid
        lease.checkin()
        session.close()
        assert set(looked_up) == {"lic1.corp.example"}
        assert len(server.requests) == 2


def test_a_triad_on_ipv6_is_found_and_told_in_brackets(lost_cause: Callable[[str], Client]) -> None:
    """N2: an IPv6 address stands in brackets."""
    try:
        server = Server(Node(role="primary"), host="::1")
    except OSError as error:
        pytest.skip(f"this machine has no IPv6 loopback: {error}")
    with server:
        with Client(f"{server.port}@[::1]") as client, within(0, SHORT_S), client.checkout("X") as lease:
            assert lease.valid
        assert f"host: [::1]:{server.port}".encode() in server.requests[0].lower()
        with hostile.closed_port() as other:  # of IPv4, so that IPv6's of that number is free
            with pytest.raises(NoServerReachable) as caught:
                lost_cause(f"{other}@[::1]").checkout("X", timeout=SHORT_S)
            told(caught.value, f"{other}@[::1]")


def server_on(host: str, port: int, behave: Behaviour) -> Server:
    """A server on a port of its own choice; skips the test where that is taken."""
    try:
        return Server(behave, host=host, port=port)
    except OSError as error:
        pytest.skip(f"{port}@{host} is not to be had here: {error}")


@LINUX_ADDRESSES
@pytest.mark.parametrize("port", [27000, 27004, 27009])
def test_a_server_without_a_port_is_searched_on_27000_to_27009_and_then_asked_on_its_own(port: int) -> None:
    """N2, T13: ``@host`` is on one of 27000 to 27009."""
    with server_on("127.0.0.2", port, Node(role="primary")) as server, Client("@127.0.0.2") as client, within(0, SHORT_S):
        for _ in range(3):
            client.checkout("X").checkin()
        assert len(server.requests) == 6
