"""What can happen to a triad and its clients, by name.  Each is played on a ``Stage``, which mends everything afterwards."""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import combinations, permutations

from fakeserver import FakeNode, FakeTriad
from fakeserver.cluster import ROLES
from fakeserver.process import FakeTriadError
from palclient.transport import monotonic
from tests.chaos.crew import Member, Stuck

WAIT_S = 20.0
POLL_S = 0.02


@dataclass(slots=True)
class Stage:
    """One episode: what it may touch, its dice, and when the fault was."""

    triad: FakeTriad
    crew: list[Member]
    dice: random.Random
    election_s: float  # E
    fault_at: float = 0.0
    note: str = ""
    left_behind: frozenset[str] = frozenset()  # leases that are still taken when the program that took them has ended

    def strike(self, fault: Callable[[], object]) -> None:
        """Do it, and remember when."""
        self.fault_at = monotonic()
        fault()

    def let(self, least_s: float, most_s: float) -> None:
        """Let time pass."""
        threading.Event().wait(self.dice.uniform(least_s, most_s))

    def wait(self, is_so: Callable[[], bool], what: str) -> None:
        """Block until it is so.  Raises Stuck."""
        deadline = time.monotonic() + WAIT_S
        while not is_so():
            if time.monotonic() > deadline:
                raise Stuck(f"not within {WAIT_S:g} s: {what}")
            threading.Event().wait(POLL_S)

    def wait_served_by(self, node: FakeNode) -> None:
        """Block until this node serves, with all that run behind it."""
        self.wait(lambda: self.triad.wait_until_serving(WAIT_S) is node, f"the {node.role} serves")

    def outlast(self, more_s: float = 1.0) -> None:
        """Let an election pass, and some calm after it."""
        self.let(1.3 * self.election_s, 1.3 * self.election_s + more_s)
        self.triad.wait_for_master(WAIT_S)

    def falls(self, node: FakeNode) -> bool:
        """Whether the node comes to its failpoint within some elections."""
        try:
            node.wait_down(4 * self.election_s)
        except FakeTriadError:
            self.note += f"{node.role} did not come to its failpoint; "
            return False
        return True

    def victim(self) -> Member:
        """One of the clients."""
        return self.dice.choice(self.crew)


def kill(stage: Stage) -> None:
    """The master is killed."""
    stage.strike(stage.triad.primary.kill)
    stage.outlast()


def freeze(stage: Stage) -> None:
    """The master is frozen for longer than a lease, and goes on."""
    stage.strike(stage.triad.primary.pause)
    stage.let(1.1 * stage.triad.ttl_s, 1.6 * stage.triad.ttl_s)
    stage.triad.primary.resume()
    stage.outlast(0.3)


def stop(stage: Stage) -> None:
    """The master is stopped in good order."""
    stage.strike(stage.triad.primary.stop)
    stage.outlast(0.5)


def handover(stage: Stage) -> None:
    """The primary comes back and takes the mastership from the secondary."""
    stage.triad.primary.stop()
    stage.wait_served_by(stage.triad.secondary)
    stage.let(0.2, 0.5)
    stage.strike(stage.triad.primary.restart)
    stage.wait_served_by(stage.triad.primary)
    stage.let(0.2, 0.5)


def partition(stage: Stage) -> None:
    """One link is cut, one way or both."""
    one, other = stage.dice.choice(list(permutations(ROLES, 2)))
    one_way = stage.dice.random() < 0.5
    stage.note = f"{one} {'to' if one_way else 'and'} {other}"
    stage.strike(lambda: stage.triad.partition(one, other, one_way=one_way))
    stage.outlast()


def isolate(stage: Stage) -> None:
    """The master is cut off from both others, and clients reach all three."""
    stage.strike(lambda: stage.triad.isolate("primary"))
    stage.outlast()


def lose_reply(stage: Stage) -> None:
    """Some requests are carried out and not answered."""
    n, clients_only = stage.dice.randint(1, 6), stage.dice.random() < 0.7
    stage.note = f"{n}{' of clients' if clients_only else ''}"
    stage.strike(lambda: stage.triad.primary.lose_reply(n, clients_only=clients_only))
    stage.outlast()


def slow(stage: Stage) -> None:
    """A node is late with all that it says."""
    node, latency_s = stage.dice.choice(stage.triad.nodes), stage.dice.uniform(0.02, 0.4)
    clients_only = stage.dice.random() < 0.5
    stage.note = f"{node.role} by {latency_s:.2f} s{' to clients' if clients_only else ''}"
    stage.strike(lambda: node.slow(latency_s, latency_s / 2, clients_only=clients_only))
    stage.outlast()


def drip(stage: Stage) -> None:
    """A node answers a byte at a time."""
    node, clients_only = stage.dice.choice(stage.triad.nodes[:2]), stage.dice.random() < 0.5
    stage.note = f"{node.role}{' to clients' if clients_only else ''}"
    stage.strike(lambda: node.drip(0.005, clients_only=clients_only))
    stage.outlast()


def disk_full(stage: Stage) -> None:
    """The master cannot write any more."""
    stage.strike(stage.triad.primary.disk_full)
    stage.outlast()


def failpoint(stage: Stage) -> None:
    """The master dies in the midst of a grant or a return."""
    place = stage.dice.choice(["before_persist", "after_persist_before_replicate", "after_replicate_before_reply"])
    stage.note = place
    stage.strike(lambda: stage.triad.primary.fail_at(place))
    stage.falls(stage.triad.primary)
    stage.outlast()


def failpoint_follower(stage: Stage) -> None:
    """A follower dies with a record written and not acknowledged; the master goes on."""
    node = stage.dice.choice(stage.triad.nodes[1:])
    stage.note = node.role
    stage.strike(lambda: node.fail_at("after_persist_before_acknowledge"))
    stage.falls(node)
    stage.outlast()


def failpoint_election(stage: Stage) -> None:
    """The master is killed, and the next one (or its voter) dies in the election; it is started again at once."""
    place = stage.dice.choice(["after_vote_before_answer", "before_barrier", "mid_barrier", "before_serving"])
    node = stage.triad.tertiary if place == "after_vote_before_answer" else stage.triad.secondary
    stage.note = place
    node.fail_at(place)
    stage.strike(stage.triad.primary.kill)
    if stage.falls(node):
        node.restart()
    stage.outlast()


def failpoint_handover(stage: Stage) -> None:
    """One of the two dies while the mastership is handed back to the primary."""
    triad, leaves = stage.triad, stage.dice.random() < 0.5
    node, stage.note = (triad.secondary, "before_transfer") if leaves else (triad.primary, "after_transfer_before_answer")
    triad.primary.stop()
    stage.wait_served_by(triad.secondary)
    if leaves:
        node.fail_at(stage.note)
    stage.strike(triad.primary.restart)
    if not leaves:
        node.fail_at(stage.note)
    stage.falls(node)
    stage.outlast()


def shattered(stage: Stage) -> None:
    """All links are cut, and nobody serves, for less than callers wait."""
    for one, other in combinations(ROLES, 2):
        stage.strike(partial(stage.triad.partition, one, other))
    stage.let(0.3 * stage.election_s, 1.2 * stage.election_s)
    stage.triad.heal()
    stage.outlast(0.3)


def unreachable(stage: Stage) -> None:
    """Nobody can connect to a node, neither clients nor peers: it refuses, or does not even answer the SYN."""
    node = stage.dice.choice(stage.triad.nodes)
    how = stage.dice.choice(["refuse", "drop_syn"] if sys.platform == "linux" else ["refuse"])
    stage.note = f"{node.role} {how}"
    stage.strike(lambda: node.play(how))
    stage.outlast()


def client_link(stage: Stage) -> None:
    """Clients are cut off from a follower, or for a moment from the master, and the nodes are not."""
    node, how = stage.dice.choice(stage.triad.nodes), stage.dice.choice(["blackhole", "cut", "overloaded"])
    stage.note = f"{node.role} {how}"
    stage.strike(lambda: node.play(how, clients_only=True))
    stage.let(0.2, 0.6)
    if node is not stage.triad.primary:
        stage.outlast()


def deaf_voter(stage: Stage) -> None:
    """The master is killed while the tertiary takes what clients say and answers none of it."""
    stage.triad.tertiary.blackhole(clients_only=True)
    stage.strike(stage.triad.primary.kill)
    stage.outlast()


def client_kill(stage: Stage) -> None:
    """A client is killed, with what it holds."""
    stage.strike(stage.victim().kill)
    stage.let(0.5, 1.5)


def client_freeze(stage: Stage) -> None:
    """A client is frozen for longer than its leases."""
    victim = stage.victim()
    stage.strike(victim.freeze)
    stage.let(1.1 * stage.triad.ttl_s, 1.6 * stage.triad.ttl_s)
    victim.thaw()
    stage.let(0.5, 1.0)


def client_exit(stage: Stage) -> None:
    """A client's program ends, with what it holds; its seats are back when it has ended."""
    victim = stage.victim()
    stage.strike(victim.exit)
    holders = [each for feature in stage.triad.usage()["features"] for each in feature["holders"]]
    stage.left_behind = frozenset(each["id"] for each in holders if each["holder"]["pid"] == victim.process.pid)
    stage.let(0.2, 0.5)


def client_exit_in_election(stage: Stage) -> None:
    """The master is killed, and a client's program ends with checkouts under way."""
    victim = stage.victim()
    stage.strike(stage.triad.primary.kill)
    stage.let(0.05, 0.8 * stage.election_s)
    victim.exit()
    stage.outlast(0.3)


def client_fork(stage: Stage) -> None:
    """A client forks with seats held; half of the time the master is then killed."""
    stage.strike(lambda: stage.victim().tell("fork"))
    if stage.dice.random() < 0.5:
        stage.note = "and the master is killed"
        stage.strike(stage.triad.primary.kill)
        stage.outlast()
    stage.let(0.5, 1.0)


def client_and_master(stage: Stage) -> None:
    """A client is frozen, the master is killed, and the client goes on after its leases have run out."""
    victim = stage.victim()
    victim.freeze()
    stage.strike(stage.triad.primary.kill)
    stage.let(1.1 * stage.triad.ttl_s + stage.election_s, 1.6 * stage.triad.ttl_s + stage.election_s)
    victim.thaw()
    stage.outlast(0.3)


KINDS: Mapping[str, Callable[[Stage], None]] = {
    play.__name__: play
    for play in (
        *(kill, freeze, stop, handover, partition, isolate, shattered, unreachable, lose_reply, slow, drip, disk_full),
        *(failpoint, failpoint_follower, failpoint_election, failpoint_handover),
        *(client_link, deaf_voter, client_kill, client_freeze, client_exit, client_exit_in_election, client_fork, client_and_master),
    )
}

DOUBLED = frozenset({"failpoint_election", "failpoint_handover"})
"""Two nodes are lost at once, or one after another: nobody is promised a seat through that, and errors and losses are counted, not held against anybody."""
