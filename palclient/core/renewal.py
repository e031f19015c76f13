"""All leases of one client: what is due, what a reply means, what to do after a failover.

Four endless flows share one table (``Leases``); the keeper runs them side by side, the simulator too:

- ``keep_renewing`` sends renewals in batches at 0.9 to 1.0 of ttl/3;
- ``keep_watch`` tells when a lease becomes suspect or runs out;
- ``keep_claiming`` asks again, under the same id, for seats that the master does not know, or that ran out;
- ``keep_returning`` brings back what ``checkin()`` or an abandoned checkout could not.

A flow that has nothing to do waits to be woken: ``Leases.wake`` is called whenever there is work for another flow.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from math import inf

from palclient.core.checkout import give_back, sleep
from palclient.core.flow import Flow, Step
from palclient.core.lease import Happening, LeaseRecord, Phase, valid_until
from palclient.core.locate import Means, Served, Unanswered, ask_master
from palclient.core.retry import JITTER, MOST_TWELFTHS, attempt_s
from palclient.core.wire import LEAST_TTL_S, MAX_IDS, CheckoutRequest, Granted, Problem, Renewed, RenewRequest
from palclient.models import Event, Lost, Reacquired, Recovered, Returned, Suspect

EARLY = 0.9  # a renewal goes out between this share of ttl/3 and the whole
RETURN_TRY_S = 2.0  # one round of a return that the keeper goes on with
DEAD_ID_S = 60.0  # a server remembers an id that was given up for at least this long
MAX_PENDING_RETURNS = 10_000  # as many dead ids as a server keeps
IDLE_S = 5.0  # so long after its last lease a client needs no keeper: longer than the pause between two checkouts in a row
CLAIM_PAUSE_S = 5.0  # between claims of a seat that was lost, at most
RENEWABLE = (Phase.HELD, Phase.SUSPECT)
ENDED = frozenset({"lease-unknown", "id-returned"})  # -41: only these words of a master end a lease; any other problem proves nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A lease in the table: its record, the request under whose id it is claimed again, and whether that goes on after a loss."""

    record: LeaseRecord
    request: CheckoutRequest
    reacquire: bool


class Leases:
    """The leases of one client, and the returns that are still to be confirmed.

    ``lock`` is any context manager (a client with threads gives a lock of theirs); ``emit`` takes events, ``wake`` resumes the flows; neither
    may block.
    """

    def __init__(
        self, lock: AbstractContextManager[object], luck: Callable[[], float], emit: Callable[[Event], None], wake: Callable[[], None]
    ) -> None:
        self.lock = lock
        self.luck = luck
        self.emit = emit
        self.wake = wake
        self.kept: dict[str, Kept] = {}
        self.returns: dict[str, float] = {}  # id -> when to stop trying
        self.dropped: deque[str] = deque()  # leases that were garbage-collected: no lock may be taken there
        self.ttl_s: float | None = None  # the shortest in the table; the last known when it is empty
        self.renews_at = inf  # when the flows will look again by themselves
        self.turns_at = inf
        self.renewals = 0  # confirmed so far, each lease by itself
        self.spread = 0.0  # where in its tenth a renewal goes out, drawn for each batch: leases that were confirmed together stay together

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to keep, and nothing to return."""
        return not (self.kept or self.returns or self.dropped)

    # --- what a holder does ---

    def add(self, kept: Kept) -> None:
        """Keep a lease that was just granted."""
        with self.lock:
            self._schedule(kept.record)
            self.ttl_s = min(self.ttl_s or inf, kept.record.ttl_s) if self.kept else kept.record.ttl_s
            self.kept[kept.record.grant.id] = kept
            is_news = kept.record.due_at < self.renews_at or kept.record.suspect_at < self.turns_at
        if is_news:
            self.wake()

    def remove(self, lease_id: str) -> LeaseRecord | None:
        """Stop keeping a lease, because its holder returns it; None if that was done already."""
        with self.lock:
            kept = self.kept.pop(lease_id, None)
            if kept is None:
                return None
            kept.record.step(Happening.RETURNED)
            return kept.record

    def give_up(self, lease_id: str, *, now: float) -> None:
        """Have this id returned until a master confirms it, or until no server can hold it any more."""
        with self.lock:
            if len(self.returns) < MAX_PENDING_RETURNS:
                self.returns[lease_id] = now + max(self.ttl_s or 0.0, DEAD_ID_S)
        self.wake()

    def drop(self, lease_id: str) -> None:
        """Return a lease whose holder has forgotten it.  Takes no lock: the garbage collector may call it in the middle of anything."""
        self.dropped.append(lease_id)
        self.wake()

    def all_due(self, now: float) -> None:
        """Have everything confirmed at once, after a sleep."""
        with self.lock:
            for kept in self.kept.values():
                kept.record.due_at = now
        self.wake()

    def ids(self) -> tuple[str, ...]:
        """All ids for which a server may hold seats: kept, dropped, or still to be returned."""
        with self.lock:
            return tuple({**self.kept, **self.returns, **dict.fromkeys(self.dropped)})

    # --- renewing ---

    def next_due(self) -> float:
        """When the next renewal is due."""
        with self.lock:
            renewable = [kept.record for kept in self.kept.values() if kept.record.phase in RENEWABLE]
            self.ttl_s = min((record.ttl_s for record in renewable), default=self.ttl_s)
            self.renews_at = min((record.due_at for record in renewable), default=inf)
            return self.renews_at

    def due(self, now: float) -> tuple[str, ...]:
        """The batch to renew now: what is due, and what will be so soon that a request of its own would be a waste."""
        with self.lock:
            renewable = [(kept.record, key) for key, kept in self.kept.items() if kept.record.phase in RENEWABLE]
            batch = [(r.due_at, key) for r, key in renewable if r.due_at <= now or r.confirmed_at + EARLY * r.ttl_s / 3 <= now]
        return tuple(key for _, key in sorted(batch)[:MAX_IDS])

    def earliest_end(self, ids: tuple[str, ...]) -> float:
        """When the first of these leases runs out."""
        with self.lock:
            return min((self.kept[key].record.valid_until for key in ids if key in self.kept), default=-inf)

    def confirm(self, ids: tuple[str, ...], sent_at: float, renewed: Renewed) -> None:
        """What a master's answer to a batch means for each lease in it."""
        self.spread = self.luck()
        for lease_id in ids:
            result = renewed.results.get(lease_id)
            if isinstance(result, float) and result >= LEAST_TTL_S:
                self._confirmed(lease_id, sent_at, result, renewed.waited_s)
            elif isinstance(result, float) or result in ENDED:  # to live for no time is to end
                self._unknown(lease_id, sent_at)

    def _confirmed(self, lease_id: str, sent_at: float, ttl_s: float, waited_s: float) -> None:
        with self.lock:
            record = self._renewable(lease_id, sent_at)
            if record is None:
                return
            self.renewals += 1
            was_suspect = record.phase is Phase.SUSPECT
            record.step(Happening.CONFIRMED)
            record.ttl_s, record.confirmed_at = ttl_s, sent_at
            record.valid_until = valid_until(sent_at, ttl_s, waited_s)  # a ttl that has become shorter counts, too
            self._schedule(record)
            is_news = min(record.suspect_at, record.valid_until) < self.turns_at
        if is_news:
            self.wake()
        if was_suspect:
            self.emit(Recovered(lease_id=lease_id))

    def _unknown(self, lease_id: str, sent_at: float) -> None:
        """The master's own word (-41) ends a lease at once; it is claimed again under the same id."""
        with self.lock:
            record = self._renewable(lease_id, sent_at)
            if record is None or sent_at == record.confirmed_at:  # sent with a claim in one tick of the clock, and served before it
                return
            record.step(Happening.UNKNOWN)
            record.claim_at = -inf
        self.wake()

    def _renewable(self, lease_id: str, sent_at: float = inf) -> LeaseRecord | None:
        """The record that a word about this lease is for; none when it answers a request that is older than what is known (a claim came between)."""
        kept = self.kept.get(lease_id)
        is_news = kept is not None and kept.record.phase in RENEWABLE and sent_at >= kept.record.confirmed_at
        return kept.record if kept is not None and is_news else None

    def postpone(self, ids: tuple[str, ...], now: float, pause_s: float) -> None:
        """Renewals that brought no word go out again after a pause, so that no answer whatever makes a client ask without end."""
        with self.lock:
            for lease_id in ids:
                record = self._renewable(lease_id)
                if record is not None and record.due_at <= now:
                    record.due_at = now + pause_s

    def _schedule(self, record: LeaseRecord) -> None:
        third_s = record.ttl_s / 3
        if not self.kept:
            self.spread = self.luck()
        record.due_at = record.confirmed_at + third_s * (EARLY + (1 - EARLY) * self.spread)
        record.suspect_at = record.due_at + attempt_s(record.ttl_s)

    # --- watching ---

    def next_turn(self) -> float:
        """When the next lease becomes suspect, or runs out."""
        with self.lock:
            records = [kept.record for kept in self.kept.values() if kept.record.phase in RENEWABLE]
            self.turns_at = min((min(r.suspect_at, r.valid_until) if r.phase is Phase.HELD else r.valid_until for r in records), default=inf)
            return self.turns_at

    def turn(self, now: float) -> None:
        """Note, and tell, what became suspect or ran out."""
        events: list[Event] = []
        with self.lock:
            for lease_id, kept in self.kept.items():
                record = kept.record
                if record.phase in RENEWABLE and now >= record.valid_until:
                    events.append(self._lose(lease_id, record, Happening.EXPIRED, "no master confirmed it in time", now))
                elif record.phase is Phase.HELD and now >= record.suspect_at:
                    record.step(Happening.OVERDUE)
                    events.append(Suspect(lease_id=lease_id, expires_in_s=record.valid_until - now))
        self._tell(events)

    def cluster_replaced(self, cluster: str | None, now: float) -> None:
        """``cluster`` answers in the triad's place now: leases of another one are worth nothing."""
        lost = (Phase.HELD, Phase.SUSPECT, Phase.CLAIMING)
        with self.lock:
            events: list[Event] = [
                self._lose(lease_id, kept.record, Happening.CLUSTER_REPLACED, "the cluster was replaced by another", now)
                for lease_id, kept in self.kept.items()
                if kept.record.phase in lost and kept.record.grant.cluster != cluster
            ]
        self._tell(events)

    def _lose(self, lease_id: str, record: LeaseRecord, happening: Happening, reason: str, claim_at: float) -> Lost:
        record.step(happening)
        record.lost_reason, record.claim_at = reason, claim_at
        return Lost(lease_id=lease_id, reason=reason)

    def _tell(self, events: list[Event]) -> None:
        for event in events:
            self.emit(event)
        if events:
            self.wake()

    # --- claiming again ---

    def next_claim(self) -> tuple[float, Kept | None]:
        """The lease to claim again first, and when."""
        with self.lock:
            claims = [k for k in self.kept.values() if k.record.phase is Phase.CLAIMING or (k.record.phase is Phase.LOST and k.reacquire)]
            first = min(claims, key=lambda kept: kept.record.claim_at, default=None)
            return (inf, None) if first is None else (first.record.claim_at, first)

    def claimed(self, kept: Kept, served: Served, granted: Granted) -> None:
        """The claim was granted; ``same_seat`` tells whether anybody else can have held the seat in between."""
        record, grant = kept.record, granted.grant
        with self.lock:
            same_seat = (grant.cluster, grant.seq) == (record.grant.cluster, record.grant.seq)
            is_kept = grant.id in self.kept
            if is_kept:
                record.step(Happening.GRANTED)
                record.take(grant, sent_at=served.sent_at)
                self._schedule(record)
        if is_kept:
            self.emit(Reacquired(lease_id=grant.id, grant=grant, same_seat=same_seat))
            self.wake()
        else:  # its holder returned it meanwhile
            self.give_up(grant.id, now=served.now)

    def refused(self, kept: Kept, reason: str, *, now: float, is_final: bool) -> None:
        """The claim was refused, or not answered."""
        record = kept.record
        with self.lock:
            if record.grant.id not in self.kept:
                return
            was_claiming = record.phase is Phase.CLAIMING
            lost = self._lose(record.grant.id, record, Happening.REFUSED, reason, inf if is_final else now + self._claim_pause_s(record))
        if was_claiming:
            self.emit(lost)

    def _claim_pause_s(self, record: LeaseRecord) -> float:
        return min(CLAIM_PAUSE_S, max(record.ttl_s, LEAST_TTL_S) / 3) * (1 + JITTER * self.luck())

    # --- returning ---

    def pending_returns(self, now: float) -> tuple[str, ...]:
        """The returns that are still to be confirmed; those that the ttl has settled are dropped."""
        while self.dropped:
            lease_id = self.dropped.popleft()
            if self.remove(lease_id) is not None:
                self.give_up(lease_id, now=now)
                self.emit(Returned(lease_id=lease_id, confirmed=False))
        with self.lock:
            self.returns = {lease_id: until for lease_id, until in self.returns.items() if now < until}
            return tuple(self.returns)[:MAX_IDS]

    def taken_back(self, ids: frozenset[str]) -> None:
        """A master confirmed these returns."""
        with self.lock:
            for lease_id in ids:
                self.returns.pop(lease_id, None)


def renewal_means(means: Means, leases: Leases) -> Means:
    """The means for requests that leases depend on: attempts and probes that fit into the shortest of them."""
    ttl_s = leases.ttl_s
    return means if ttl_s is None else replace(means, ttl_s=ttl_s, policy=means.policy.within(ttl_s))


def keep_renewing(leases: Leases, means: Means, *, now: float) -> Flow[None]:
    """Renew what is due, one batch after the other."""
    while True:
        event = yield Step(wake_at=_instant(leases.next_due()))
        now = event.now
        while leases.next_due() <= now:
            now = yield from _renew(leases.due(now), leases, renewal_means(means, leases), now)


def _renew(ids: tuple[str, ...], leases: Leases, means: Means, now: float) -> Flow[float]:
    deadline = max(leases.earliest_end(ids), now + attempt_s(means.ttl_s))
    unhurried = replace(means, policy=means.policy.unhurried())
    ended = yield from ask_master(RenewRequest(ids=ids), unhurried, now=now, deadline=deadline)
    if isinstance(ended, Served) and isinstance(ended.reply, Renewed):
        leases.turn(ended.now)  # what ran out before the answer came does not come back in silence
        leases.confirm(ids, ended.sent_at, ended.reply)
    now = ended.now
    leases.postpone(ids, now, means.policy.probe_s)
    return now


def keep_watch(leases: Leases, means: Means) -> Flow[None]:
    """Tell when a lease becomes suspect, runs out, or belongs to a cluster that is no more."""
    generation = means.knowledge.topology.generation
    while True:
        event = yield Step(wake_at=_instant(leases.next_turn()))
        leases.turn(event.now)
        if generation != means.knowledge.topology.generation:
            generation = means.knowledge.topology.generation
            leases.cluster_replaced(means.knowledge.topology.cluster, event.now)


def keep_claiming(leases: Leases, means: Means, *, now: float) -> Flow[None]:
    """Claim again what the master does not know, or what ran out, one lease after the other."""
    while True:
        claim_at, kept = leases.next_claim()
        if kept is None or claim_at > now:
            event = yield Step(wake_at=_instant(claim_at))
            now = event.now
        else:
            now = yield from _claim(kept, leases, renewal_means(means, leases), now)


def _claim(kept: Kept, leases: Leases, means: Means, now: float) -> Flow[float]:
    request = replace(kept.request, reclaim=kept.record.grant, queue=False)
    patience_s = attempt_s(means.ttl_s, 0 if kept.record.phase is Phase.CLAIMING else MOST_TWELFTHS)  # for the first claim the holder waits
    ended = yield from ask_master(request, means, now=now, deadline=now + patience_s)
    if isinstance(ended, Unanswered):
        leases.refused(kept, "the master lost it, and no master answered when it was claimed again", now=ended.now, is_final=False)
        if ended.may_have_acted and not kept.reacquire:  # nobody will ask again, and the seat must not stay taken
            leases.give_up(request.id, now=ended.now)
    elif isinstance(ended.reply, Granted):
        leases.claimed(kept, ended, ended.reply)
    else:
        reason = ended.reply.words if isinstance(ended.reply, Problem) else "an answer that is not understood"
        is_final = isinstance(ended.reply, Problem) and ended.reply.name == "id-returned"
        leases.refused(kept, reason, now=ended.now, is_final=is_final)
    return ended.now


def keep_returning(leases: Leases, means: Means, *, now: float) -> Flow[None]:
    """Bring back what is still out, until a master has confirmed it or the ttl has settled it."""
    while True:
        ids = leases.pending_returns(now)
        if not ids:
            event = yield Step()
            now = event.now
            continue
        began = now
        taken = yield from give_back(ids, means, now=now, timeout_s=RETURN_TRY_S)
        leases.taken_back(taken.ids)
        now = taken.now
        if len(taken.ids) < len(ids):
            now = yield from sleep(now, began + RETURN_TRY_S)


def until_idle(leases: Leases, *, now: float) -> Flow[None]:
    """Ends when there has been nothing to keep and nothing to return for ``IDLE_S``: nobody need be there for that."""
    idle_since: float | None = None
    while idle_since is None or now < idle_since + IDLE_S:
        event = yield Step(wake_at=(now if idle_since is None else idle_since) + IDLE_S)
        now = event.now
        if not leases.is_empty:
            idle_since = None
        elif idle_since is None:
            idle_since = now


def _instant(at: float) -> float | None:
    return None if at == inf else at
