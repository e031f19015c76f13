"""What a client knows of its triad: one observation after the other, as values."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palclient.core.topology import FellSilent, Knowledge, Observation, Spoke, Topology, fresh, is_current, serves, spoken, updated
from palclient.core.wire import Granted, Problem, Queued, Renewed, Reply, ReturnsTaken, StatusReply, UsageReply
from palclient.models import ROLES, Endpoint, Grant, MasterChanged, Role
from palclient.servername import parse_servername
from tests.unit.script import CLUSTER, SERVERS, speaker

TRIAD = fresh(parse_servername(SERVERS))
P, S, T = range(3)


def says(node: int, term: int, *, is_master: bool | None, cluster: str = CLUSTER, role: Role | None = None, port: int | None = None) -> Spoke:
    """A node's word."""
    return Spoke(node=node, port=port or 27000 + node, speaker=speaker(term=term, cluster=cluster, role=role or ROLES[node]), serves=is_master)


def after(*observations: Observation, of: Topology = TRIAD) -> Topology:
    """What is known after these."""
    for observation in observations:
        of = updated(of, observation)
    return of


def test_nothing_is_known_at_first_but_the_roles_by_their_place() -> None:
    """Protocol, Identity: the n-th entry is taken for the n-th role."""
    assert [node.role for node in TRIAD.nodes] == list(ROLES)
    assert (TRIAD.master, TRIAD.term, TRIAD.cluster) == (None, 0, None)
    assert [node.role for node in fresh(parse_servername("27000@lic1")).nodes] == [None]


def test_the_master_is_who_served_in_the_highest_term() -> None:
    """Protocol, Identity."""
    known = after(says(P, 7, is_master=True), says(S, 8, is_master=True))
    assert (known.master, known.term) == (S, 8)
    assert after(says(P, 7, is_master=True), of=known) == known


def test_a_higher_term_without_a_master_ends_what_was_believed() -> None:
    """Whoever served before has been deposed, or the node would not know that term."""
    known = after(says(P, 7, is_master=True), says(T, 8, is_master=False))
    assert (known.master, known.term) == (None, 8)
    assert after(says(P, 7, is_master=True), of=known).master is None


def test_a_master_that_says_it_is_none_is_none() -> None:
    """Its own word, in the same term, or in a lower one when it came back without its state."""
    known = after(says(P, 7, is_master=True))
    assert after(says(P, 7, is_master=False), of=known).master is None
    assert after(says(P, 0, is_master=False), of=known).master is None
    assert after(says(P, 0, is_master=False), of=known).term == 7
    assert after(says(S, 7, is_master=False), of=known).master == P
    assert after(says(P, 7, is_master=None), of=known).master == P


def test_of_two_masters_in_one_term_neither_is_used_until_a_higher_term() -> None:
    """Protocol, Identity."""
    known = after(says(P, 7, is_master=True), says(S, 7, is_master=True))
    assert (known.master, known.disputed_term) == (None, 7)
    assert after(says(P, 7, is_master=True), of=known).master is None
    assert after(says(P, 8, is_master=True), of=known).master == P


def test_a_second_master_in_one_term_is_noticed_after_the_first_fell_silent() -> None:
    """A term has one master, whether or not it still answers; the same one may come back."""
    known = after(says(P, 7, is_master=True), FellSilent(node=P, term=7))
    assert after(says(S, 7, is_master=True), of=known).disputed_term == 7
    assert after(says(P, 7, is_master=True), of=known).master == P


def test_a_late_failure_does_not_count_against_the_successor() -> None:
    """Design, Flows: the failure belongs to the term in which the call began."""
    known = after(says(P, 7, is_master=True), says(S, 8, is_master=True))
    assert after(FellSilent(node=P, term=7), of=known).master == S
    returned = after(says(P, 9, is_master=True), of=known)
    assert after(FellSilent(node=P, term=7), of=returned).master == P
    assert after(FellSilent(node=P, term=7), of=returned).failed_term == 7


def test_a_master_that_fell_silent_is_none_and_its_term_has_failed() -> None:
    """Protocol, Parking: After-Term is the highest term that the client has seen fail."""
    known = after(says(P, 7, is_master=True), FellSilent(node=P, term=7))
    assert (known.master, known.failed_term, known.term) == (None, 7, 7)
    assert after(FellSilent(node=S, term=3), of=known).failed_term == 7


def test_the_silence_of_a_node_that_was_not_master_proves_nothing() -> None:
    """A network error proves nothing about who serves."""
    known = after(says(P, 7, is_master=True))
    assert after(FellSilent(node=S, term=None), FellSilent(node=P, term=None), of=known) == known


def test_a_found_port_is_forgotten_when_the_node_falls_silent() -> None:
    """T13: it takes the first free port when it starts; one that stands in SERVERNAME stays."""
    portless = fresh(parse_servername("@lic1"))
    assert len(portless.nodes[0].addresses) == 10
    found = after(says(P, 7, is_master=True, port=27004), of=portless)
    assert found.nodes[0].addresses == (Endpoint(host="lic1", port=27004),)
    assert len(after(FellSilent(node=P, term=None), of=found).nodes[0].addresses) == 10
    assert after(FellSilent(node=P, term=None)).nodes[0].port == 27000


def test_one_node_of_another_cluster_is_remembered_as_a_stranger_and_ignored() -> None:
    """Protocol, Identity."""
    known = after(says(P, 7, is_master=True), says(S, 99, is_master=True, cluster="other"))
    assert (known.cluster, known.master, known.term, known.generation) == (CLUSTER, P, 7, 0)
    assert known.nodes[S].stranger == "other"
    assert after(says(S, 7, is_master=False), of=known).nodes[S].stranger is None


def test_two_nodes_of_one_other_cluster_replace_the_triad() -> None:
    """Protocol, Identity: all knowledge is forgotten."""
    known = after(says(P, 7, is_master=True), FellSilent(node=P, term=7), says(S, 3, is_master=False, cluster="new"))
    replaced = after(says(T, 3, is_master=True, cluster="new"), of=known)
    assert (replaced.cluster, replaced.master, replaced.term, replaced.failed_term, replaced.generation) == ("new", T, 3, 0, 1)
    assert all(node.stranger is None for node in replaced.nodes)


def test_two_nodes_of_two_other_clusters_replace_nothing() -> None:
    """They must report the same other id."""
    known = after(says(P, 7, is_master=True), says(S, 3, is_master=True, cluster="one"), says(T, 3, is_master=True, cluster="two"))
    assert (known.cluster, known.generation) == (CLUSTER, 0)


def test_a_node_that_answers_twice_is_one_witness() -> None:
    """Two *nodes* must report it."""
    known = after(says(P, 7, is_master=True), says(S, 3, is_master=True, cluster="one"), says(S, 3, is_master=True, cluster="one"))
    assert known.generation == 0


def test_a_single_server_is_replaced_by_its_own_word() -> None:
    """There is no second node."""
    known = after(says(P, 7, is_master=True), says(P, 1, is_master=True, cluster="new"), of=fresh(parse_servername("27000@lic1")))
    assert (known.cluster, known.master, known.term, known.generation) == ("new", 0, 1, 1)


def test_roles_are_learnt_from_the_nodes_own_words() -> None:
    """Protocol: hints are roles, and SERVERNAME's order may differ from the license file's."""
    swapped = after(says(P, 7, is_master=False, role=Role.SECONDARY), says(S, 7, is_master=True, role=Role.PRIMARY))
    assert (swapped.node_of(Role.PRIMARY), swapped.node_of(Role.SECONDARY)) == (S, P)
    assert swapped.node_of(None) is None


def test_a_role_that_two_nodes_claim_leads_to_neither() -> None:
    """A hint must not send a request to the wrong one."""
    assert after(says(P, 7, is_master=False, role=Role.SECONDARY)).node_of(Role.SECONDARY) is None


GRANT = Grant(id="a", feature="CAD", version="0", count=1, seq=1, ttl_s=1, renew_s=1, granted_at="", nonce="", node="", role=None, cluster="", term=7)
STATUS = StatusReply(
    speaker=speaker(),
    state="master",
    quorum=True,
    master=None,
    triad=(),
    primary_is_master=False,
    heartbeat_interval_s=0.0,
    failover_s=0.0,
    software="",
)


@pytest.mark.parametrize(
    "reply",
    [
        Granted(speaker=speaker(), grant=GRANT),
        Queued(speaker=speaker(), position=1, of=1, poll_s=1.0),
        Renewed(speaker=speaker(), results={}, waited_s=0.0),
        ReturnsTaken(speaker=speaker(), results={}),
        UsageReply(speaker=speaker(), features=()),
        STATUS,
        *(Problem(speaker=speaker(), name=name, status=409) for name in ("seats-taken", "feature-unknown", "id-returned", "a-denial-of-2031")),
    ],
)
def test_who_serves_or_denies_is_master(reply: Reply) -> None:
    """T6: only the master grants, and a denial is a master's too."""
    assert serves(reply) is True
    assert spoken(P, Endpoint(host="lic1", port=27000), reply) == says(P, 7, is_master=True)


@pytest.mark.parametrize("name", ["not-master", "no-quorum", "electing"])
def test_who_says_that_it_may_not_serve_is_none(name: str) -> None:
    """T9: reachable does not mean serving."""
    assert serves(Problem(speaker=speaker(), name=name, status=503)) is False


@pytest.mark.parametrize("state, quorum", [("master", False), ("standby", True), ("no_quorum", False), ("dreaming", True)])
def test_a_status_counts_as_serving_only_as_master_with_a_quorum(state: str, *, quorum: bool) -> None:
    """Protocol, Status: an unknown state counts as not serving."""
    assert serves(replace(STATUS, state=state, quorum=quorum)) is False


@pytest.mark.parametrize(
    "name, status", [("overloaded", 429), ("bad-request", 400), ("too-large", 413), ("unsupported-version", 400), ("novel", 500)]
)
def test_what_any_node_may_say_tells_nothing_about_the_master(name: str, status: int) -> None:
    """Protocol, Problems: said before mastership is looked at."""
    assert serves(Problem(speaker=speaker(), name=name, status=status)) is None


@pytest.mark.parametrize(
    "observations, current",
    [
        ([says(P, 7, is_master=True)], True),
        ([says(P, 6, is_master=True)], True),
        ([says(P, 8, is_master=True)], False),
        ([says(P, 7, is_master=True), says(S, 7, is_master=True)], False),
        ([says(P, 1, is_master=True, cluster="other")], False),
    ],
)
def test_a_masters_word_counts_in_no_older_term_and_no_dispute_and_our_cluster(observations: list[Observation], *, current: bool) -> None:
    """Protocol, Identity."""
    assert is_current(after(*observations), Problem(speaker=speaker(term=7), name="seats-taken", status=409)) is current


def test_a_change_of_master_is_told_once() -> None:
    """api: MasterChanged(old, new, term); not for the first, nor for what is known."""
    told: list[MasterChanged] = []
    knowledge = Knowledge(TRIAD, nullcontext(), told.append)
    history: list[Observation] = [says(P, 7, is_master=True), says(P, 7, is_master=True), FellSilent(node=P, term=7), says(S, 8, is_master=True)]
    for observation in history:
        knowledge.learn(observation)
    assert told == [MasterChanged(old=Endpoint(host="lic1", port=27000), new=Endpoint(host="lic2", port=27001), term=8)]
    knowledge.learn(says(S, 9, is_master=True))
    assert (told[-1].term, len(told)) == (9, 2)


def test_a_master_that_comes_back_in_its_own_term_is_no_change() -> None:
    """It was only out of sight."""
    told: list[MasterChanged] = []
    knowledge = Knowledge(TRIAD, nullcontext(), told.append)
    history: list[Observation] = [says(P, 7, is_master=True), FellSilent(node=P, term=7), says(P, 7, is_master=True)]
    for observation in history:
        knowledge.learn(observation)
    assert told == []


def test_a_replaced_cluster_is_told_at_once() -> None:
    """Protocol, Identity: the leases of the old cluster are lost, and must not look held until their next renewal."""
    told: list[str] = []
    knowledge = Knowledge(TRIAD, nullcontext(), on_cluster_replaced=lambda: told.append("replaced"))
    for observation in [says(P, 7, is_master=True), says(S, 1, is_master=False, cluster="new"), says(T, 1, is_master=False, cluster="new")]:
        knowledge.learn(observation)
    assert told == ["replaced"]


OBSERVATIONS = st.lists(
    st.one_of(
        st.builds(
            says,
            st.integers(0, 2),
            st.integers(0, 4),
            is_master=st.sampled_from([True, False, None]),
            cluster=st.sampled_from(["a", "b"]),
            role=st.sampled_from(ROLES),
            port=st.integers(1, 3),
        ),
        st.builds(FellSilent, node=st.integers(0, 2), term=st.one_of(st.none(), st.integers(0, 4))),
    ),
    max_size=12,
)


@given(OBSERVATIONS)
def test_whatever_is_observed_terms_never_fall_within_a_cluster_and_no_disputed_master_is_used(observations: list[Observation]) -> None:
    """Protocol, Identity, over arbitrary histories; ``updated`` raises nothing."""
    known = TRIAD
    for observation in observations:
        before, known = known, updated(known, observation)
        assert known.generation - before.generation in (0, 1)
        if known.generation == before.generation:
            assert known.term >= before.term
            assert known.failed_term >= before.failed_term
        assert known.master is None or known.term != known.disputed_term
        assert known.master in (None, known.claimant)
