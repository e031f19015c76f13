"""What a session does on the spot, whoever drives the flow: no keeper runs here."""

from __future__ import annotations

import pytest

from palclient import Client, ClientClosed, LeaseState
from palclient.client import Lease
from palclient.core.checkout import Taken
from palclient.core.flow import Call
from palclient.core.lease import LeaseRecord
from palclient.core.renewal import Kept
from palclient.core.topology import Spoke
from palclient.models import ROLES, Grant
from palclient.session import Session
from palclient.transport import Exchange, Transport, Wakeup, monotonic
from tests import hostile
from tests.unit.script import grant, request, speaker


def test_a_lease_of_a_cluster_that_was_replaced_is_lost_for_whoever_learns_of_it() -> None:
    """Protocol, Identity: when two nodes report another cluster, leases of the old one are lost; not a moment later."""
    client = Client("27000@lic1,27001@lic2,27002@lic3", reacquire="never")
    session = client._home.open()
    record = LeaseRecord(Grant(**grant("id-1"), node="27000@lic1", role=None, cluster="old", term=7), sent_at=monotonic())
    session.leases.add(Kept(record=record, request=request(), reacquire=False))
    lease = Lease(session, record)

    def hears(node: int, cluster: str) -> LeaseState:
        session.knowledge.learn(Spoke(node=node, port=27000, speaker=speaker(role=ROLES[node], cluster=cluster), serves=False))
        return lease.state

    assert [hears(0, "old"), hears(1, "new"), hears(2, "new")] == [LeaseState.HELD, LeaseState.HELD, LeaseState.LOST]
    session.leases.remove("id-1")  # there is no server to return it to


class Noted(Transport):
    """Notes every call; what it is given to reach is not there."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []

    def exchange(self, call: Call, wakeup: Wakeup) -> Exchange:
        """Note it."""
        self.calls.append(call)
        return super().exchange(call, wakeup)


def kept_by(session: Session) -> LeaseRecord:
    """What a master granted to this session just now."""
    own = Grant(**grant("id-1"), node="27000@lic1", role=None, cluster="one", term=7)
    return session.keep(request(), Taken(grant=own, sent_at=monotonic()), reacquire=False)


def test_a_grant_that_comes_when_the_client_was_closed_is_kept_by_nobody_and_said_so() -> None:
    """Exactly once: ``close`` has returned what it saw; this it may not have seen, so whoever asked gives it back."""
    session = Client("1@127.0.0.1")._home.open()
    session.close()
    with pytest.raises(ClientClosed):
        kept_by(session)
    assert session.leases.ids() == ("id-1",), "in the table, from which it is given up"
    assert session.counters.checkouts == 0


def test_a_keeper_that_hangs_takes_from_the_time_of_the_last_returns_and_adds_none() -> None:
    """Architecture: at exit 1 s for each client, 2 s in all, whatever hangs."""
    with hostile.closed_port() as port:
        session = Client(f"{port}@127.0.0.1")._home.open()
        session.transport = noted = Noted()
        kept_by(session)
        given: list[tuple[float, float]] = []
        end, session.keeper.stop = session.keeper.stop, lambda within_s: given.append((within_s, monotonic()))  # type: ignore[method-assign]
        session.close(0.05)
        end(1)
    (within_s, at), *_ = given
    assert within_s < 0.05
    assert noted.calls
    assert all(call.answer_by <= at + 0.05 for call in noted.calls)
