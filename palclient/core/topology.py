"""What a client knows of its triad, as a value; learning is ``updated(topology, observation) -> topology``.

Terms compare within one cluster.  Roles, not names, tell nodes apart: SERVERNAME and the license file rarely spell hosts alike.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from palclient.core.wire import Problem, Reply, Speaker, StatusReply
from palclient.models import ROLES, Endpoint, MasterChanged, Role, ServerName

DYNAMIC_PORTS = range(27000, 27010)  # N2: where a server without a port in SERVERNAME listens
NOT_SERVING = frozenset({"not-master", "no-quorum", "electing"})  # said by a node that is not master
SAID_BY_ANY = frozenset({"overloaded", "bad-request", "too-large", "unsupported-version"})  # said before mastership is looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """One node: ``endpoint`` as SERVERNAME has it, ``port`` where it was found, ``role`` by its own word, else by its place.

    ``stranger`` is the cluster id by which it last answered when that is not the triad's.
    """

    endpoint: Endpoint
    port: int | None
    role: Role | None
    stranger: str | None = None

    @property
    def addresses(self) -> tuple[Endpoint, ...]:
        """Where to ask it: one address, or all dynamic ports while its own is not known."""
        ports = DYNAMIC_PORTS if self.port is None else (self.port,)
        return tuple(Endpoint(host=self.endpoint.host, port=port) for port in ports)


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """``master`` is the node (index in SERVERNAME) that is thought to serve in ``term``, the highest term seen, or None.

    ``failed_term`` is the highest term whose master was seen to fail: a hint to a master of such a term is no news.  ``disputed_term`` is a term in which two nodes
    claimed to serve: neither is used.  ``claimant`` served in ``term``, even if it has failed since.  ``generation`` counts the clusters that
    this triad has been.
    """

    nodes: tuple[NodeView, ...]
    cluster: str | None = None
    term: int = 0
    master: int | None = None
    claimant: int | None = None
    failed_term: int = 0
    disputed_term: int = -1
    generation: int = 0

    @property
    def order(self) -> tuple[int, ...]:
        """Who is to be asked first: the master, else as SERVERNAME has them, with the one that served in the highest term, and does not now, at the end."""
        return tuple(sorted(range(len(self.nodes)), key=lambda index: (index != self.master, index == self.claimant, index)))

    @property
    def fallen(self) -> int | None:
        """The node that served in the highest term, and was seen to fail."""
        return self.claimant if self.master is None else None

    def node_of(self, role: Role | None) -> int | None:
        """The index of the node in this role, if exactly one has it."""
        found = [index for index, node in enumerate(self.nodes) if node.role is role]
        return found[0] if role is not None and len(found) == 1 else None


def fresh(servername: ServerName) -> Topology:
    """Nothing is known but SERVERNAME: the n-th entry is taken for the n-th role."""
    roles = ROLES if servername.is_triad else (None,)
    nodes = zip(servername.endpoints, roles, strict=True)
    return Topology(nodes=tuple(NodeView(endpoint=endpoint, port=endpoint.port, role=role) for endpoint, role in nodes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoke:
    """A node answered.  ``serves`` is True when it answered as master, False when it said that it is not, None when it said neither."""

    node: int
    port: int | None
    speaker: Speaker
    serves: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FellSilent:
    """A node did not answer in time, or not at all; ``term`` is the one in which it was thought to be master, or None."""

    node: int
    term: int | None


Observation = Spoke | FellSilent


def serves(reply: Reply) -> bool | None:
    """Whether the reply is a master's (True), one of a node that is not master (False), or tells neither (None)."""
    match reply:
        case StatusReply():
            return reply.state == "master" and reply.quorum
        case Problem(name=name):
            return None if name in SAID_BY_ANY or (reply.status >= 500 and name not in NOT_SERVING) else name not in NOT_SERVING
        case _:
            return True


def spoken(node: int, endpoint: Endpoint, reply: Reply) -> Spoke:
    """What a reply says about the triad."""
    return Spoke(node=node, port=endpoint.port, speaker=reply.speaker, serves=serves(reply))


def is_current(topology: Topology, reply: Reply) -> bool:
    """Whether the word of a node that answered as master counts: our cluster, no older term, no dispute."""
    speaker = reply.speaker
    return speaker.cluster == topology.cluster and speaker.term >= topology.term and speaker.term != topology.disputed_term


def updated(topology: Topology, observation: Observation) -> Topology:
    """The knowledge after the observation."""
    if isinstance(observation, FellSilent):
        return _after_silence(topology, observation)
    topology = _with_cluster(topology, observation)
    if observation.speaker.cluster != topology.cluster:
        return topology
    topology = _with_node(topology, observation)
    return _with_master(topology, observation)


def _after_silence(topology: Topology, silence: FellSilent) -> Topology:
    topology = _with_port(topology, silence.node, topology.nodes[silence.node].endpoint.port)  # it may be on another one when it comes back
    if silence.term is None:
        return topology
    failed_term = max(topology.failed_term, silence.term)
    is_master = topology.master == silence.node and topology.term <= silence.term
    return replace(topology, failed_term=failed_term, master=None if is_master else topology.master)


def _with_port(topology: Topology, index: int, port: int | None) -> Topology:
    return topology if topology.nodes[index].port == port else replace(topology, nodes=_replaced(topology.nodes, index, port=port))


def _with_cluster(topology: Topology, spoke: Spoke) -> Topology:
    """The first cluster is adopted; another one replaces it when two nodes (of a single server: the one) say so."""
    cluster = spoke.speaker.cluster
    if topology.cluster is None:
        return replace(topology, cluster=cluster)
    if cluster == topology.cluster:
        return topology
    nodes = _replaced(topology.nodes, spoke.node, stranger=cluster)
    witnesses = sum(node.stranger == cluster for node in nodes)
    if witnesses < min(2, len(nodes)):
        return replace(topology, nodes=nodes)
    forgotten = tuple(replace(node, stranger=None) for node in nodes)
    return Topology(nodes=forgotten, cluster=cluster, generation=topology.generation + 1)


def _with_node(topology: Topology, spoke: Spoke) -> Topology:
    node = topology.nodes[spoke.node]
    role = spoke.speaker.role or node.role
    if node.role is role and node.port == spoke.port and node.stranger is None:
        return topology
    return replace(topology, nodes=_replaced(topology.nodes, spoke.node, role=role, port=spoke.port, stranger=None))


def _with_master(topology: Topology, spoke: Spoke) -> Topology:
    """The line that decides who is thought to be master: the one that served in the highest term."""
    term = spoke.speaker.term
    if spoke.serves is False and topology.master == spoke.node and term < topology.term:  # it has come back without its memory
        return replace(topology, master=None)
    if term < topology.term or term == topology.disputed_term:
        return topology
    if spoke.serves:
        if term == topology.term and topology.claimant not in (None, spoke.node):
            return replace(topology, master=None, disputed_term=term)
        is_news = (term, spoke.node) != (topology.term, topology.master)
        return replace(topology, term=term, master=spoke.node, claimant=spoke.node) if is_news else topology
    if term > topology.term:
        return replace(topology, term=term, master=None, claimant=None)
    return replace(topology, master=None) if spoke.serves is False and topology.master == spoke.node else topology


def _replaced(nodes: tuple[NodeView, ...], index: int, **changes: object) -> tuple[NodeView, ...]:
    return (*nodes[:index], replace(nodes[index], **changes), *nodes[index + 1 :])  # type: ignore[arg-type]  # replace() checks the names


class Knowledge:
    """The one place where a client's topology is kept: flows read ``topology`` and tell what they saw by ``learn``.

    ``lock`` is any context manager; a client with threads gives a lock of theirs.  ``on_master_changed`` is told when another node, or the same one in another
    term, serves than the one that served before; ``on_cluster_replaced`` when another cluster answers in the triad's place.
    """

    __slots__ = ("_lock", "_on_cluster_replaced", "_on_master_changed", "_served", "topology")

    def __init__(
        self,
        topology: Topology,
        lock: AbstractContextManager[object],
        on_master_changed: Callable[[MasterChanged], None] = lambda _: None,
        on_cluster_replaced: Callable[[], None] = lambda: None,
    ) -> None:
        self.topology = topology
        self._lock = lock
        self._on_master_changed = on_master_changed
        self._on_cluster_replaced = on_cluster_replaced
        self._served: tuple[int, int] | None = None

    def learn(self, observation: Observation) -> Topology:
        """Take the observation in; gives the topology after it."""
        with self._lock:
            generation = self.topology.generation
            topology = self.topology = updated(self.topology, observation)
            changed = self._change_of_master(topology)
        if topology.generation != generation:
            self._on_cluster_replaced()
        if changed is not None:
            self._on_master_changed(changed)
        return topology

    def _change_of_master(self, topology: Topology) -> MasterChanged | None:
        if topology.master is None or self._served == (topology.master, topology.term):
            return None
        before, self._served = self._served, (topology.master, topology.term)
        if before is None:
            return None
        return MasterChanged(old=topology.nodes[before[0]].endpoint, new=topology.nodes[topology.master].endpoint, term=topology.term)
