"""``palclient status``: the triad's nodes, who is master, who holds what."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from palclient.cli import lmstat
from palclient.cli.screen import say, say_json

if TYPE_CHECKING:
    from palclient.models import FeatureUsage, NodeStatus, TriadStatus

OK, NOT_REACHABLE, NO_QUORUM = 0, 5, 6


def add_to(commands: Any) -> None:
    """Declare the command and its options."""
    parser: argparse.ArgumentParser = commands.add_parser("status", help="show the triad's nodes, who is master, who holds what")
    parser.add_argument("--servers", metavar="SERVERNAME", help="ask these servers, not those of the configuration")
    parser.add_argument("--ini", metavar="FILE", help="take SERVERNAME from this INI file")
    parser.add_argument("--timeout", metavar="S", type=float, default=2.0, help="seconds to wait for an answer (default 2)")
    parser.add_argument("--usage", action="store_true", help="show also who holds seats")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="for machines")
    form.add_argument("--lmstat", action="store_true", help="for scripts that read what `lmstat -a` says: nodes and users in lines like those")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Exit code 0 when a master serves, 5 when no node answers, 6 when none may serve."""
    from palclient.client import Client

    with Client(options.servers, ini=options.ini) as client:
        triad = client.status(timeout=options.timeout)
        usage = client.usage(timeout=options.timeout) if (options.usage or options.lmstat) and triad.master else ()
        source = client.config.source
    if options.json:
        say_json({"source": source, "nodes": [_facts(node) for node in triad.nodes], "usage": [_pool(pool) for pool in usage]})
    elif options.lmstat:
        for line in lmstat.lines(triad, usage):
            say(line)
    else:
        _show(triad, usage, source)
    if triad.master is not None:
        return OK
    return NO_QUORUM if any(node.reachable for node in triad.nodes) else NOT_REACHABLE


def _show(triad: TriadStatus, usage: tuple[FeatureUsage, ...], source: str) -> None:
    say(f"SERVERNAME from {source}")
    for node in triad.nodes:
        role = node.role.value if node.role else "?"
        says = f"{node.state}: {node.detail}" if node.detail else f"{node.state} (term {node.term})"
        say(f"  {node.endpoint!s:<28} {role:<10} {says}")
    if triad.master is None:
        what_for = "two of the three must be running and see each other" if len(triad.nodes) > 1 else "SERVERNAME names this one alone"
        say(f"No server serves licenses: {what_for}.")
    for pool in usage:
        say(f"{pool.feature}: {pool.in_use} of {pool.total} in use" + (f", {pool.queued} in line" if pool.queued else ""))
        for checkout in pool.holders:
            who = checkout.holder
            say(f"  {who.user}@{who.host} {who.display} {who.app} pid {who.pid}, {checkout.count} since {checkout.since}")


def _facts(node: NodeStatus) -> dict[str, object]:
    return {
        "endpoint": str(node.endpoint),
        "state": node.state,
        "detail": node.detail,
        "role": node.role.value if node.role else None,
        "term": node.term,
        "quorum": node.quorum,
        "master": node.master.value if node.master else None,
        "cluster": node.cluster,
        "software": node.software,
    }


def _pool(pool: FeatureUsage) -> dict[str, object]:
    holders = [
        {"id": h.id, "user": h.holder.user, "host": h.holder.host, "pid": h.holder.pid, "count": h.count, "since": h.since} for h in pool.holders
    ]
    return {"feature": pool.feature, "total": pool.total, "in_use": pool.in_use, "queued": pool.queued, "holders": holders}
