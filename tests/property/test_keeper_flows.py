"""The four keeper flows against nodes that do whatever they like, and a holder who does, too."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from palclient.core.flow import Call, Outcome
from palclient.core.lease import Phase
from palclient.models import Reacquired
from tests.unit.keeping import Keeping
from tests.unit.script import (
    NAMES,
    Part,
    denying,
    down,
    electing,
    fails,
    frozen,
    garbage,
    grant,
    ids_of,
    kind_of,
    master,
    no_quorum,
    overloaded,
    problem,
    serves_all,
    standby,
)
from tests.unit.virtual_runner import Reply

STORM = 100  # requests to one address in one second: four flows share it, and the shortest lease is renewed ten times in a second
TTLS = st.sampled_from([1.0, 6.0, 12.0, 180.0])
TERMS = st.integers(6, 10)


class Promises:
    """What masters have promised, and to how many: an account beside the client's own."""

    def __init__(self) -> None:
        self.until: dict[str, float] = {}

    def serve(self, ttl_s: float, whims: tuple[str, ...]) -> Part:
        """A master that renews and grants for ``ttl_s``, but answers about each lease by one of these whims, in turn."""
        asked = iter(range(10**9))

        def answers(part: Part, call: Call, now: float) -> Reply:
            whim = whims[next(asked) % len(whims)]
            if kind_of(call) == "renewals":
                return Reply(body={"results": dict(self._word(one, whim, ttl_s, now) for one in ids_of(call) if whim != "omits"), "waited_s": 0.0})
            if kind_of(call) in ("checkout", "claim") and whim != "denies":
                self._promise(ids_of(call)[0], now + ttl_s)
                return Reply(status=200, body=grant(ids_of(call)[0], ttl_s=ttl_s, seq=next(asked)))
            if kind_of(call) in ("checkout", "claim"):
                return Reply(status=409, body=problem("seats-taken"))
            if whim == "omits":
                return Reply(body={"results": {}})
            return serves_all(part, call, now)

        return Part(term=7, serve=answers, ttl_s=ttl_s)

    def _word(self, lease_id: str, whim: str, ttl_s: float, now: float) -> tuple[str, dict[str, object]]:
        if whim == "renews":
            self._promise(lease_id, now + ttl_s)
            return lease_id, {"ttl_s": ttl_s}
        return lease_id, {"ttl_s": 0.0} if whim == "no time" else problem("lease-unknown" if whim == "forgets" else "electing")

    def _promise(self, lease_id: str, until: float) -> None:
        self.until[lease_id] = max(until, self.until.get(lease_id, until))


WHIMS = st.lists(st.sampled_from(["renews", "renews", "omits", "forgets", "denies", "no time", "hedges"]), min_size=1, max_size=3).map(tuple)
PARTS = st.one_of(
    st.builds(down),
    st.builds(frozen),
    st.builds(garbage, st.binary(max_size=20)),
    st.builds(fails, st.sampled_from(list(Outcome)), sent=st.booleans()),
    st.builds(standby, st.sampled_from([*NAMES, None]), TERMS, holds=st.booleans(), cluster=st.sampled_from(["9f1c", "9f1c", "other"])),
    st.builds(electing, TERMS, holds=st.booleans()),
    st.builds(no_quorum, TERMS, holds=st.booleans()),
    st.builds(overloaded, TERMS, st.sampled_from([0.0, 0.3, 20.0])),
    st.builds(denying, TERMS, st.sampled_from(["seats-taken", "id-returned", "bad-request", "expired", "a-problem-of-2031"])),
    st.builds(master, TERMS, cluster=st.sampled_from(["9f1c", "other"])),
)


class KeeperFlows(RuleBasedStateMachine):
    """Style 4, 5, 15: no exception, no storm, nothing believed for too long, nobody waits for what never comes."""

    def __init__(self) -> None:
        super().__init__()
        self.keeping = Keeping(ttl_s=6.0)
        self.promises = Promises()
        self.keeping.triad.says("primary", self.promises.serve(6.0, ("renews",)))
        self.now_s = 0.0
        self.number = 0
        self.was_valid: dict[str, bool] = {}
        self.told = 0

    @rule(name=st.sampled_from(NAMES), part=PARTS)
    def plays(self, name: str, part: Part) -> None:
        """A node changes."""
        if part.serve is serves_all:
            part = replace(self.promises.serve(180.0, ("renews",)), term=part.term, cluster=part.cluster)
        self.keeping.triad.says(name, part)

    @rule(name=st.sampled_from(NAMES), term=TERMS, ttl_s=TTLS, whims=WHIMS)
    def serves(self, name: str, term: int, ttl_s: float, whims: tuple[str, ...]) -> None:
        """A node becomes a master of moods."""
        self.keeping.triad.says(name, replace(self.promises.serve(ttl_s, whims), term=term))

    @rule(ttl_s=TTLS, reacquire=st.booleans(), cluster=st.sampled_from(["9f1c", "9f1c", "other"]))
    def holds(self, *, ttl_s: float, reacquire: bool, cluster: str) -> None:
        """A lease was granted."""
        self.number += 1
        lease_id = f"lease-{self.number}"
        self.promises.until[lease_id] = self.keeping.net.now + ttl_s
        self.keeping.hold(lease_id, ttl_s=ttl_s, reacquire=reacquire, cluster=cluster)

    @precondition(lambda self: self.number)
    @rule(data=st.data(), how=st.sampled_from(["drop", "return", "give up"]))
    def lets_go(self, data: st.DataObject, how: str) -> None:
        """The holder returns it, forgets it, or a checkout was abandoned."""
        lease_id = f"lease-{data.draw(st.integers(1, self.number))}"
        leases = self.keeping.leases
        if how == "drop":
            leases.drop(lease_id)
        elif how == "give up" or leases.remove(lease_id) is not None:
            leases.give_up(lease_id, now=self.keeping.net.now)

    @rule(seconds=st.sampled_from([0.0005, 0.04, 0.3, 1.0, 2.0, 7.0, 40.0]))
    def passes(self, seconds: float) -> None:
        """Time."""
        self.now_s += seconds
        self.keeping.until(self.now_s)

    @rule()
    def sleeps(self) -> None:
        """The machine slept, and everything is to be confirmed."""
        self.keeping.leases.all_due(self.keeping.net.now)

    @rule()
    def wakes(self) -> None:
        """For nothing."""
        self.keeping.leases.wake()

    @invariant()
    def believes_no_longer_than_a_master_promised(self) -> None:
        """G1; and what was not valid becomes so by an event alone."""
        now = self.keeping.net.now
        news = {event.lease_id for _, event in self.keeping.events[self.told :] if isinstance(event, Reacquired)}
        self.told = len(self.keeping.events)
        for lease_id, kept in self.keeping.leases.kept.items():
            is_valid = kept.record.is_valid(now)
            assert not is_valid or now < self.promises.until[lease_id]
            assert not is_valid or self.was_valid.get(lease_id, True) or lease_id in news
            self.was_valid[lease_id] = is_valid
        assert all(kept.record.phase is not Phase.RETURNED for kept in self.keeping.leases.kept.values())

    def teardown(self) -> None:
        """No storm, in all that time."""
        assert self.keeping.triad.most_in_a_second() <= STORM


KeeperFlows.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestKeeperFlows = KeeperFlows.TestCase
