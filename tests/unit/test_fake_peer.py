"""What the nodes say to each other, as JSON; and how a follower takes a master's records in (E2)."""

from __future__ import annotations

import json

import pytest

from fakeserver.events import DiskImage, PeerAnswer, PeerCall
from fakeserver.node import Node
from fakeserver.peer import (
    Append,
    AppendReply,
    Heartbeat,
    HeartbeatReply,
    Message,
    Transfer,
    TransferReply,
    VoteAsk,
    VoteReply,
    decode,
    encode,
)
from fakeserver.roles import Role
from fakeserver.seats import DeadId, Record, Version
from tests.simulation.virtual_triad import FAILOVER_S, PRIMARY, SECONDARY, TERTIARY, VirtualTriad

DEAD = DeadId(id="a", version=Version(3, 4))
MESSAGES: list[Message] = [
    Heartbeat(sender=PRIMARY, cluster="c1", term=3, sent_at=1.5, leading=True, master=PRIMARY, master_term=3, hears=(SECONDARY, TERTIARY)),
    Heartbeat(sender=TERTIARY, cluster="c1", term=0, sent_at=0.0, leading=False, master=None, master_term=0, hears=()),
    HeartbeatReply(sender=SECONDARY, cluster="c1", term=3, sent_at=1.5, accepted=True, op=7),
    VoteAsk(sender=SECONDARY, cluster="c1", term=3, asked_term=4, has_history=True, has=Version(3, 9)),
    VoteReply(sender=TERTIARY, cluster="c1", term=4, asked_term=4, granted=True, early=False, retry_s=0.0, has_history=True, records=(DEAD,)),
    Append(sender=PRIMARY, cluster="c1", term=3, sent_at=1.5, whole=False, base_op=3, op=4, records=(DEAD,), since=Version(2, 8)),
    AppendReply(sender=SECONDARY, cluster="c1", term=3, sent_at=1.5, accepted=False, op=0, has=Version(2, 0)),
    Transfer(sender=SECONDARY, cluster="c1", term=5, records=(DEAD,)),
    TransferReply(sender=PRIMARY, cluster="c1", term=5, accepted=True),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_every_message_is_the_same_after_json(message: Message) -> None:
    """The wire between the nodes loses nothing."""
    assert decode(message.kind, json.loads(json.dumps(encode(message)))) == message


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_with_any_member_missing_or_of_another_type_is_a_value_error(message: Message) -> None:
    """A body that does not fit is refused as a whole."""
    whole = encode(message)
    for name in whole:
        with pytest.raises(ValueError, match=r"\w"):
            decode(message.kind, {key: value for key, value in whole.items() if key != name})
        with pytest.raises(ValueError, match=r"\w"):
            decode(message.kind, whole | {name: {}})


@pytest.mark.parametrize(
    "name, wrong",
    [
        ("sender", "quaternary"),
        ("term", -1),
        ("term", True),
        ("term", 1.5),
        ("sent_at", float("nan")),
        ("sent_at", True),
        ("leading", 1),
        ("hears", ["x"]),
        ("master", "x"),
    ],
)
def test_a_member_that_makes_no_sense_is_a_value_error(name: str, wrong: object) -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError, match=r"\w"):
        decode("heartbeat", encode(MESSAGES[0]) | {name: wrong})


def test_an_unknown_kind_is_a_value_error() -> None:
    """Four kinds there are."""
    with pytest.raises(ValueError, match="gossip"):
        decode("gossip", {"reply": False})


# --- a follower ---------------------------------------------------------------------------------------------------------------------


def append(op: int, *, base_op: int | None = None, whole: bool = False, term: int = 1, records: tuple[Record, ...] = ()) -> Append:
    """What the primary as master would send."""
    base = op - 1 if base_op is None else base_op
    return Append(sender=PRIMARY, cluster="c1", term=term, sent_at=0.0, whole=whole, base_op=base, op=op, records=records)


def replied(node: Node, message: Message, now: float = 1000.0) -> Message:
    """What a node replies."""
    effects = node.handle(PeerCall(token=1, message=message), now)
    (reply,) = [effect.message for effect in effects if isinstance(effect, PeerAnswer)]
    return reply


def told(node: Node, message: Append, now: float = 1000.0) -> AppendReply:
    """What a follower replies to a master."""
    reply = replied(node, message, now)
    assert isinstance(reply, AppendReply)
    return reply


def test_a_follower_acknowledges_only_what_follows_without_a_gap() -> None:
    """E2: and it never goes back, whatever comes late or twice."""
    node = Node(VirtualTriad().hosts[SECONDARY].config, DiskImage(), 1000.0)
    assert not told(node, append(2)).accepted  # never in step in this term
    assert told(node, append(1, whole=True)).op == 1
    assert not told(node, append(3)).accepted
    assert told(node, append(2)).op == 2
    assert told(node, append(4, base_op=1)).op == 4
    assert told(node, append(2)).op == 4
    assert told(node, append(3, whole=True)).op == 4
    assert not told(node, append(5, term=2)).accepted  # a new master's table comes first
    assert told(node, append(1, whole=True, term=2)).op == 1
    assert not told(node, append(9, whole=True, term=1)).accepted


def test_whoever_has_voted_acknowledges_nothing_of_an_older_term() -> None:
    """E1: what its vote brought along is all there can ever be of the terms before."""
    node = Node(VirtualTriad().hosts[TERTIARY].config, DiskImage(), 1000.0)
    assert told(node, append(1, whole=True)).accepted
    later = 1000.0 + FAILOVER_S
    vote = replied(node, VoteAsk(sender=SECONDARY, cluster="c1", term=1, asked_term=2, has_history=True), later)
    assert isinstance(vote, VoteReply)
    assert vote.granted
    assert not told(node, append(2), later).accepted
    beat = replied(node, Heartbeat(sender=PRIMARY, cluster="c1", term=1, sent_at=later, leading=True, master=None, master_term=0, hears=()), later)
    assert isinstance(beat, HeartbeatReply)
    assert not beat.accepted
    assert node._member.ledger.memory.heard_at == 1000.0


def test_a_message_that_claims_the_own_role_is_refused() -> None:
    """A second node in the own place must not be taken for a vote of another."""
    node = Node(VirtualTriad().hosts[PRIMARY].config, DiskImage(), 1000.0)
    assert not told(node, append(1, whole=True)).accepted
    assert Role(node.config.role) is PRIMARY
