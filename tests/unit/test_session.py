"""What a session does on the spot, whoever drives the flow: no keeper runs here."""

from __future__ import annotations

from palclient import Client, LeaseState
from palclient.client import Lease
from palclient.core.lease import LeaseRecord
from palclient.core.renewal import Kept
from palclient.core.topology import Spoke
from palclient.models import ROLES, Grant
from palclient.transport import monotonic
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
