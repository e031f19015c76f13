"""A user's program: nothing here runs, mypy and pyright read it as a user's strict set-up would.

It imports every public name, and uses what ``api.md`` says about types; ``reveal``-like annotations hold the results.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import assert_type

import palclient
from palclient import (
    Acquired,
    AsyncClient,
    AsyncLease,
    CheckoutDenied,
    CheckoutTimeout,
    Client,
    ClientClosed,
    Config,
    ConfigError,
    Counters,
    Endpoint,
    FeatureUsage,
    Grant,
    Holder,
    IniDocument,
    Lease,
    LeaseForked,
    LeaseLost,
    LeaseState,
    Lost,
    MasterChanged,
    NodeStatus,
    NoQuorum,
    PalError,
    Probe,
    Reacquired,
    Recovered,
    Resumed,
    RetryPolicy,
    Returned,
    SeatsTaken,
    ServerName,
    ServerNameError,
    Suspect,
    TriadStatus,
    TriadUnavailable,
    Waiting,
    acheckout,
    checkout,
    find_servername,
    install_signal_handlers,
    parse_servername,
    read_ini,
)
from palclient.models import Event


def hear(event: Event) -> str:
    """Every event, told apart: a checker finds the one that is forgotten."""
    match event:
        case Acquired(grant=grant) | Reacquired(grant=grant):
            return assert_type(grant, Grant).granted_at
        case Waiting(position=position, of=of):
            return f"{position} of {of}"
        case Suspect(expires_in_s=left_s) | Resumed(gap_s=left_s):
            return f"{left_s:.1f}"
        case Lost(reason=reason):
            return reason
        case MasterChanged(old=old, new=new):
            return f"{assert_type(old, Endpoint | None)} {assert_type(new, Endpoint)}"
        case Recovered(lease_id=lease_id) | Returned(lease_id=lease_id):
            return lease_id


HEARD: list[str] = []


def note(event: Event) -> None:
    """A listener."""
    HEARD.append(hear(event))


def hold(ini: Path) -> None:
    """The synchronous face."""
    install_signal_handlers()
    with checkout("RISK_IND80", version="2.0", count=2, ini=ini, timeout=5, wait=None, reacquire="never", on_event=note) as lease:
        assert_type(lease, Lease)
        assert_type(lease.state, LeaseState)
        assert_type(lease.valid, bool)
        assert_type(lease.expires_in(), float)
        assert_type(lease.master, Endpoint | None)
        assert_type(lease.grant.seq, int)
        assert_type(lease.wait_lost(1.0), bool)
        lease.ensure_held()
    client = Client("27000@lic1", retry=RetryPolicy(stagger_s=0.1), holder=Holder(user="ann", host="pc7"))
    with client.with_options(timeout=1) as quick:
        assert_type(quick, Client)
        assert_type(quick.counters, Counters)
        assert_type(quick.config, Config)
        assert_type(quick.usage(), tuple[FeatureUsage, ...])
        status = assert_type(quick.status(), TriadStatus)
        assert_type(status.master, NodeStatus | None)


async def hold_awaited() -> None:
    """The asynchronous face."""
    async with acheckout("RISK_IND80", servers="27000@lic1", on_event=note) as lease:
        assert_type(lease, AsyncLease)
        assert_type(await lease.wait_lost(1.0), bool)
        assert_type(lease.state, LeaseState)
    held = await acheckout("RISK_IND80")
    await held.checkin()
    async with AsyncClient(ini="palclient.ini") as client:
        assert_type(await client.checkout("RISK_IND80"), AsyncLease)
        assert_type(await client.usage(), tuple[FeatureUsage, ...])
        assert_type(client.counters, Counters)
        task = asyncio.create_task(client.checkout("RISK_IND80"))
        assert_type(await task, AsyncLease)


def explain(error: PalError) -> object:
    """Every error has what the page says."""
    if isinstance(error, SeatsTaken):
        return assert_type(error.in_use, int | None), assert_type(error.retry_after_s, float | None)
    if isinstance(error, CheckoutDenied):
        return assert_type(error.feature, str)
    if isinstance(error, CheckoutTimeout | NoQuorum | TriadUnavailable):
        return assert_type(error.probes, tuple[Probe, ...])
    if isinstance(error, LeaseForked | LeaseLost):
        return assert_type(error.last_confirmed_s_ago, float)
    if isinstance(error, ServerNameError):
        return assert_type(error.suggestion, str | None)
    if isinstance(error, ConfigError):
        return assert_type(error.line, int | None)
    return isinstance(error, ClientClosed), assert_type(error.code, int | None), assert_type(error.advice, str)


def look(path: Path) -> None:
    """The text formats."""
    name = assert_type(parse_servername("27000@lic1"), ServerName)
    assert_type(name.secondary, Endpoint | None)
    assert_type(find_servername(ini=path).source, str)
    assert_type(read_ini(path), IniDocument)
    assert_type(palclient.__version__, str)
