"""Every safety rule, switched off in turn: the proof that the checkers would see it.

A mutation replaces a piece of the *product* for the time of a ``with`` block, from outside; the product has no flag for it.  ``redundant`` names the rules
that nothing here can catch, and why: other rules hold what they hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

from fakeserver import desk, election, member, node, policy, seats
from fakeserver.desk import Desk
from fakeserver.election import LONG_AGO, NEVER, Memory
from fakeserver.events import DiskImage
from fakeserver.ledger import Ledger
from fakeserver.member import Member
from fakeserver.parking import Held, Parking
from fakeserver.peer import Append, AppendReply, HeartbeatReply
from fakeserver.replication import Replication
from fakeserver.seats import DeadId, Table, Version
from fakeserver.settings import REPLICATED
from fakeserver.waiting import Line
from palclient.core import lease, locate, wire
from palclient.core import topology as known
from palclient.core.lease import LeaseRecord, Phase
from palclient.core.renewal import Leases
from tests.simulation.directed import found_by
from tests.simulation.history import play
from tests.simulation.profiles import PROFILES

Patched = Callable[[], Any]  # makes a context manager


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """A rule and how it is switched off.  ``profiles`` load the dice against it; ``directed`` names a scenario that random faults do not reach."""

    rule: str
    off: Patched
    profiles: tuple[str, ...] = ("mixed", "flapping", "frozen")
    directed: str | None = None
    redundant: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caught:
    """How a mutation fared: ``by`` the checkers that complained, in ``broken`` of ``histories``."""

    rule: str
    histories: int
    broken: int
    by: tuple[str, ...]
    redundant: str

    @property
    def is_as_expected(self) -> bool:
        """Caught; or not, and listed as such."""
        return bool(self.broken) != bool(self.redundant)

    def line(self) -> str:
        """A row of the table."""
        found = ", ".join(self.by) or (f"not caught: {self.redundant}" if self.redundant else "NOT CAUGHT")
        return f"{self.rule:<64} {f'{self.broken} of {self.histories}':>12}   {found}"


def try_mutation(name: str, seed: int, limit: int, wanted: int = 3) -> Caught:
    """Play histories with the rule switched off, until ``wanted`` of them have shown it or ``limit`` are played."""
    mutation = MUTATIONS[name]
    histories = broken = 0
    by: set[str] = set()
    with mutation.off():
        if mutation.directed is not None:
            complaints = found_by(mutation.directed)
            histories, broken, by = 1, int(bool(complaints)), set(complaints)
        while mutation.directed is None and histories < limit and broken < wanted:
            profile = PROFILES[mutation.profiles[histories % len(mutation.profiles)]]
            found = {violation.checker for violation in play(seed + histories, profile).violations}
            histories += 1
            broken += bool(found)
            by |= found
    return Caught(rule=mutation.rule, histories=histories, broken=broken, by=tuple(sorted(by)), redundant=mutation.redundant)


# --- the rules ----------------------------------------------------------------------------------------------------------------------


def _attribute(owner: Any, name: str, new: Any) -> Patched:
    return lambda: patch.object(owner, name, new)


def _forgets_votes(image: Callable[..., DiskImage]) -> Callable[..., DiskImage]:
    def forgetful(self: Any) -> DiskImage:
        disk = image(self)
        ballot = disk.ballot and replace(disk.ballot, voted_for=None, term=max(1, disk.ballot.term - 1))
        return replace(disk, ballot=ballot)

    return forgetful


@contextmanager
def _votes_forgotten() -> Iterator[None]:
    from tests.simulation.nodes import Disk

    with patch.object(Disk, "image", _forgets_votes(Disk.image)):
        yield


@contextmanager
def _no_wait_after_start() -> Iterator[None]:
    original = election.memory_at_start

    def eager(*args: Any, **members: Any) -> Memory:
        return replace(original(*args, **members), waits_until=LONG_AGO)

    with patch.object(election, "memory_at_start", eager):
        yield


@contextmanager
def _losses_forgotten() -> Iterator[None]:
    original = election.memory_at_start

    def careless(*args: Any, **members: Any) -> Memory:
        return replace(original(*args, **members), lost=False, fresh=False)

    with patch.object(election, "memory_at_start", careless):
        yield


@contextmanager
def _gaps_accepted() -> Iterator[None]:
    def gullible(self: Member, ask: Append, now: float) -> AppendReply:
        if ask.term >= self.ballot.term:
            self._follow(ask, now)
            self.ledger.add(ask.records, now, up_to=Version(ask.term, ask.op))
        return AppendReply(sender=self.role, cluster=self.ballot.cluster, term=ask.term, sent_at=ask.sent_at, accepted=True, op=ask.op)

    with patch.object(Member, "_on_append", gullible):
        yield


@contextmanager
def _old_terms_accepted() -> Iterator[None]:
    original = Member._on_append

    def loyal(self: Member, ask: Append, now: float) -> Any:
        if ask.term < self.ballot.term:
            return AppendReply(sender=self.role, cluster=self.ballot.cluster, term=ask.term, sent_at=ask.sent_at, accepted=True, op=ask.op)
        return original(self, ask, now)

    with patch.object(Member, "_on_append", loyal), patch.object(Member, "_on_heartbeat", _loyal_heartbeat(Member._on_heartbeat)):
        yield


def _loyal_heartbeat(original: Any) -> Any:
    def loyal(self: Member, ask: Any, now: float) -> Any:
        reply = original(self, ask, now)
        return replace(reply, accepted=True, term=ask.term, op=10**9) if ask.leading and ask.term < self.ballot.term else reply

    return loyal


@contextmanager
def _no_full_ttl() -> Iterator[None]:
    original = Desk.__init__

    def stingy(self: Desk, *args: Any, now: float, **members: Any) -> None:
        original(self, *args, now=now, **members)
        self._free_at = dict.fromkeys(self._free_at, now + 0.2)
        self.next_expiry = now + 0.2 if self._free_at else NEVER

    with patch.object(Desk, "__init__", stingy):
        yield


@contextmanager
def _answers_before_replication() -> Iterator[None]:
    original = Held.confirmed
    with patch.object(Held, "confirmed", lambda self, _committed: original(self, 10**9)):
        yield


@contextmanager
def _deadline_from_receipt() -> Iterator[None]:
    original = locate.Served

    def late(**members: Any) -> Any:
        return original(**members | {"sent_at": members["now"]})

    with patch.object(locate, "Served", late):
        yield


@contextmanager
def _new_id_each_time() -> Iterator[None]:
    encode, decode, numbers = wire.encode, wire.decode, iter(range(1, 10**9))

    def fickle(request: Any, parking: Any = None) -> Any:
        http = encode(request, parking)
        return replace(http, target=f"{http.target[:-12]}{next(numbers):012x}") if http.method == "PUT" else http

    def lenient(request: Any, answer: Any) -> Any:
        own_id = getattr(request, "id", None)
        if own_id is None or b'"seq"' not in answer.body:
            return decode(request, answer)
        import json

        body = json.loads(answer.body) | {"id": own_id}
        return decode(request, replace(answer, body=json.dumps(body).encode()))

    with patch.object(locate, "encode", fickle), patch.object(locate, "decode", lenient):
        yield


def _is_flipped_only(record: LeaseRecord, _now: float) -> bool:
    return record.phase in (Phase.HELD, Phase.SUSPECT)


@contextmanager
def _flag_forgotten() -> Iterator[None]:
    original = election.memory_at_start

    def forgetful(disk: DiskImage, **members: Any) -> Memory:
        return original(replace(disk, ballot=disk.ballot and replace(disk.ballot, may_lack_records=False)), **members)

    with patch.object(election, "memory_at_start", forgetful):
        yield


@contextmanager
def _dead_ids_kept_back() -> Iterator[None]:
    original = Table.records

    def seats_only(self: Table) -> Any:
        return tuple(record for record in original(self) if not isinstance(record, DeadId))

    with patch.object(Table, "records", seats_only):
        yield


@contextmanager
def _vote_kept_back() -> Iterator[None]:
    original = Member._hand_over

    def hand_over(self: Member, now: float) -> None:
        with patch.object(Ledger, "vote", lambda *_: None):
            original(self, now)

    with patch.object(Member, "_hand_over", hand_over):
        yield


@contextmanager
def _lease_from_answer() -> Iterator[None]:
    original = Member.answered

    def answered(self: Member, reply: Any, now: float) -> None:
        original(self, reply, now)
        if self.replication is not None and isinstance(reply, HeartbeatReply):
            self.replication.newest_acked_sent_at = now

    with patch.object(Member, "answered", answered):
        yield


@contextmanager
def _one_confirms_all() -> Iterator[None]:
    original = Replication._in_step

    def in_step(self: Replication, *args: Any) -> None:
        original(self, *args)
        self.committed = self.op

    with patch.object(Replication, "_in_step", in_step):
        yield


@contextmanager
def _asked_again_in_vain() -> Iterator[None]:
    original = Desk._again

    def again(self: Desk, *args: Any) -> Any:
        with patch.object(Desk, "_keep", lambda *_: None):
            return original(self, *args)

    with patch.object(Desk, "_again", again):
        yield


@contextmanager
def _renewed_late() -> Iterator[None]:
    original = Leases._schedule

    def late(self: Leases, record: LeaseRecord) -> None:
        original(self, record)
        record.due_at = record.confirmed_at + 0.7 * record.ttl_s

    with patch.object(Leases, "_schedule", late):
        yield


def _all_taken_back(self: Leases, _ids: frozenset[str]) -> None:
    self.returns.clear()


def _numbered_only(self: Table, version: Version) -> None:
    self.seq = max(self.seq, seats.first_number(version.term))


def _both(*offs: Patched) -> Patched:
    @contextmanager
    def all_off() -> Iterator[None]:
        with ExitStack() as stack:
            for off in offs:
                stack.enter_context(off())
            yield

    return all_off


_TABLE_DEAD: Patched = _attribute(Table, "dead", lambda _self, _identity: None)

_ALL = (
    Mutation(
        rule="E1 a node remembers its votes over a restart",
        off=_votes_forgotten,
        profiles=("reboots",),
    ),
    Mutation(rule="E1 and E2: votes forgotten, and no wait either", off=_both(_votes_forgotten, _no_wait_after_start), directed="two votes"),
    Mutation(rule="E1 one vote a term", off=_attribute(election, "is_vote_free", lambda *_: True), directed="duel"),
    Mutation(rule="E1 a live master is respected", off=_attribute(Memory, "sticky_until", lambda *_args, **_members: LONG_AGO)),
    Mutation(rule="E2 a restarted node waits E before it votes", off=_no_wait_after_start, directed="restarted"),
    Mutation(rule="E2 a node that lost records waits a full ttl", off=_losses_forgotten, directed="lost records"),
    Mutation(
        rule="E2 only a table without a gap is acknowledged",
        off=_gaps_accepted,
        redundant="a master sends from what was acknowledged, and a node that lost records waits a ttl before it votes",
    ),
    Mutation(rule="E3 the new master merges the voters' tables", off=_attribute(member, "tables", lambda _votes: ()), directed="apart"),
    Mutation(
        rule="E3 every seat is stamped with the new term",
        off=_attribute(Table, "settle", _numbered_only),
        redundant="a grant that nobody was told of comes back to life and costs a seat for one ttl; that is no over-issue",
    ),
    Mutation(rule="E3 every held seat gets a full ttl", off=_no_full_ttl),
    Mutation(rule='G2 a new master knows the leases (grants="flexnet")', off=_attribute(member, "FLEXNET", REPLICATED), profiles=("full", "mixed")),
    Mutation(rule="E4 a second node has it before the answer leaves", off=_answers_before_replication),
    Mutation(rule="E5 a master serves no longer than its lease", off=_attribute(election, "lease_until", lambda *_: NEVER)),
    Mutation(
        rule="G4 no acknowledgement for an older term",
        off=_old_terms_accepted,
        redundant="by E5 a master has stepped down before another can be elected",
    ),
    Mutation(
        rule="G4 and E5: old terms acknowledged, and no lease", off=_both(_old_terms_accepted, _attribute(election, "lease_until", lambda *_: NEVER))
    ),
    Mutation(
        rule="G3 asking twice takes one seat", off=_attribute(Desk, "_again", lambda self, ask, _held, waited, now: self._grant(ask, waited, now))
    ),
    Mutation(rule="dead ids stay dead", off=_TABLE_DEAD, profiles=("slow",)),
    Mutation(rule="a seat stays taken for the whole ttl", off=_attribute(policy, "held_s", lambda ttl_s: 0.8 * ttl_s), directed="cut off"),
    Mutation(rule="the client counts 2 % short, and a guard", off=_attribute(lease, "valid_until", lambda sent, ttl, waited: sent + waited + ttl)),
    Mutation(rule="the deadline counts from when the request was sent", off=_deadline_from_receipt, profiles=("slow",)),
    Mutation(rule="valid is computed when it is read", off=_attribute(LeaseRecord, "is_valid", _is_flipped_only), directed="asleep"),
    Mutation(rule="one id for the whole life of a checkout", off=_new_id_each_time, directed="lost reply"),
    Mutation(
        rule="a denial is never taken to another node",
        off=_attribute(known, "NOT_SERVING", known.NOT_SERVING | {"seats-taken"}),
        directed="full pool",
    ),
    Mutation(rule="the word of a stale master is refused", off=_attribute(known, "is_current", lambda *_: True), directed="stale master"),
    Mutation(rule="E4 each operation waits for its own acknowledgement", off=_one_confirms_all, directed="half told"),
    Mutation(rule="E5 the lease counts from when a heartbeat was sent", off=_lease_from_answer, directed="slow answers"),
    Mutation(rule="E6 the vote for a successor is spent", off=_vote_kept_back, directed="late transfer"),
    Mutation(rule="E2 a second start does not forget that records lack", off=_flag_forgotten, directed="lost twice"),
    Mutation(rule="E2 a node without a past respects that of others", off=_attribute(election, "has_history", lambda *_: False), directed="wiped"),
    Mutation(rule="G3 dead ids are known to the next master", off=_dead_ids_kept_back, directed="late try"),
    Mutation(rule="G3 asking again renews", off=_asked_again_in_vain, directed="asked again"),
    Mutation(rule="no number is given a second time", off=_attribute(seats, "first_number", lambda _term: 0), directed="numbers"),
    Mutation(rule="a refusal says when it may leave a trace", off=_attribute(node, "_unconfirmed", lambda refused: refused), directed="lonely"),
    Mutation(rule="first come, first served", off=_attribute(Line, "ahead", lambda *_: ()), directed="line"),
    Mutation(rule="a place in line survives a failover", off=_attribute(desk, "waits", lambda _seat: False), directed="line"),
    Mutation(rule="a parked request is dropped with its client", off=_attribute(Parking, "drop", lambda *_: None), directed="gone"),
    Mutation(rule="a place is given up", off=_attribute(Leases, "give_up", lambda *_args, **_members: None), directed="left line"),
    Mutation(rule="E7 what was written is read at the next start", off=_attribute(Ledger, "_append", lambda *_: None), directed="blackout"),
    Mutation(rule="a return is made again until a master has it", off=_attribute(Leases, "taken_back", _all_taken_back), directed="given up"),
    Mutation(
        rule="a renewal is due so early that a failover fits into the rest",
        off=_renewed_late,
        profiles=("one fault",),
    ),
)
MUTATIONS: dict[str, Mutation] = {mutation.rule: mutation for mutation in _ALL}
