"""``python -m fakeserver``: a triad by hand, or one node of one.  The nodes of a ``FakeTriad`` start here, too."""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
from dataclasses import replace
from hashlib import sha256
from threading import Event
from typing import TYPE_CHECKING

from fakeserver.lifeline import ParentGone, die_with_parent
from fakeserver.process import FakeTriadError
from fakeserver.settings import GRANTS, Settings, check_loopback, check_ttl, named, smallest_ttl_s
from palclient.errors import LicenseFileError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fakeserver.faults import Fault
    from fakeserver.plan import Plan

EXIT_REFUSED = 2
STDIN = 0


def run_child(descriptor: int | None) -> int:
    """The main program of a node that a ``FakeTriad`` started.  ``descriptor``: its listening socket, if it need not bind its port itself.

    A line of settings comes in on stdin and ``ready`` goes out on stdout; from then on stdin carries commands, and its end is the node's end.
    Gives the exit code.
    """
    line = _first_line(STDIN)
    if not line:
        return 0  # the parent changed its mind, or is gone
    words = json.loads(line)
    try:
        die_with_parent(words["parent"])
    except ParentGone:
        return 0
    from fakeserver.faults import from_json

    settings = Settings.from_json(words["settings"])
    listener = None if descriptor is None else socket.socket(fileno=descriptor)
    faults = [from_json(fault) for fault in words["faults"]]
    return run_node(settings, listener, is_child=True, faults=faults, when_ready=lambda: print("ready", flush=True))


def run_node(
    settings: Settings, listener: socket.socket | None, *, is_child: bool, faults: Sequence[Fault] = (), when_ready: Callable[[], None]
) -> int:
    """Run a node until it halts, and give its exit code.

    ``is_child``: a parent gives orders on stdin, and reads the answers on stdout.  ``listener``: None to bind the node's own address.
    """
    import asyncio

    from fakeserver.process import bound
    from fakeserver.run import Line, run

    line = Line(commands=STDIN, say=lambda text: print(text, flush=True)) if is_child else None
    try:
        end = asyncio.run(run(settings, listener or bound(*settings.address), line=line, faults=faults, when_ready=when_ready))
    except FakeTriadError as refused:
        print(refused, file=sys.stderr)
        return EXIT_REFUSED
    if end.reason:
        print(end.reason, file=sys.stderr)
    return end.exit_code


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line.  Gives the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        return _run_one(options) if options.node else _run_triad(options)
    except (FakeTriadError, LicenseFileError) as error:
        print(error, file=sys.stderr)
        return EXIT_REFUSED
    except ValueError as error:
        parser.error(str(error))


def _run_one(options: argparse.Namespace) -> int:
    """One node, the other two being started elsewhere with the same words."""
    from fakeserver.process import first_free, require_packages

    require_packages()
    settings = _by_license(options) if options.license else _by_words(options)
    listener = None
    if settings.address[1] == 0:  # T13
        host = settings.address[0]
        listener = first_free(host)
        here = listener.getsockname()[:2]
        settings = replace(settings, triad=tuple(here if each == settings.address else each for each in settings.triad))
    ready = f"{options.node} {named(settings.address)}"
    return run_node(settings, listener, is_child=False, when_ready=lambda: print(ready, flush=True))


def _by_words(options: argparse.Namespace) -> Settings:
    """What the node is, by ``--triad`` and the rest."""
    from palclient.servername import parse_servername

    if not (options.triad and options.state_dir):
        raise ValueError("--node needs --triad and --state-dir, or --license.")
    endpoints = parse_servername(options.triad).endpoints
    triad = tuple((endpoint.host, endpoint.port or 0) for endpoint in endpoints)
    if len(triad) != 3 or not all(port for _, port in triad):
        raise ValueError("--triad must name three servers, each with its port.")
    for host, _ in triad:
        check_loopback(host)
    ttl_s = options.ttl or smallest_ttl_s(options.heartbeat)
    check_ttl(ttl_s, options.heartbeat)
    return Settings(
        role=options.node,
        triad=triad,
        cluster=options.cluster or _cluster(options.triad),
        features=dict(options.feature),
        heartbeat_s=options.heartbeat,
        ttl_s=ttl_s,
        primary_is_master=options.primary_is_master,
        folder=options.state_dir,
        fsync=options.fsync,
        software="fakeserver",
        options_file=options.options,
        grants=options.grants,
    )


def _by_license(options: argparse.Namespace) -> Settings:
    """What the node is, by its license file (T12); the machine has the host ID of its SERVER line, or that of ``--hostid``."""
    from platformdirs import user_state_path

    planned = _planned(options)
    triad = tuple((host, port or 0) for host, port in planned.addresses)
    cluster = options.cluster or _cluster(",".join(sorted(map(named, triad))))
    folder = options.state_dir or str(user_state_path("fakeserver", appauthor=False) / cluster / options.node)
    settings = planned.settings(role=options.node, triad=triad, cluster=cluster, folder=folder)
    return replace(settings, hostids=tuple(options.hostid)) if options.hostid else settings


def _planned(options: argparse.Namespace) -> Plan:
    from fakeserver.plan import Wishes, plan

    return plan(
        Wishes(
            features=dict(options.feature),
            license_file=options.license,
            options_file=options.options,
            hostids=None,
            hosts=None,
            ports=None,
            primary_is_master=options.primary_is_master,
            heartbeat_s=options.heartbeat,
            ttl_s=options.ttl,
            fsync=options.fsync,
            grants=options.grants,
        )
    )


def _cluster(text: str) -> str:
    """Three nodes that are told of the same triad are of one cluster, without a word between them."""
    return sha256(text.encode("utf-8")).hexdigest()[:32]


def _run_triad(options: argparse.Namespace) -> int:
    """All three, until Ctrl-C or SIGTERM."""
    from fakeserver.nursery import nursery

    nursery()  # it gets ready while the rest is loaded here
    from fakeserver.cluster import FakeTriad

    ended = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with FakeTriad(
        dict(options.feature),
        license_file=options.license,
        options_file=options.options,
        primary_is_master=options.primary_is_master,
        heartbeat_s=options.heartbeat,
        ttl_s=options.ttl,
        state_dir=options.state_dir,
        fsync=options.fsync,
        grants=options.grants,
    ) as triad:
        print(f"[Network]\nSERVERNAME={triad.servername}", flush=True)
        ended.wait()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fakeserver", description="A fake triad of license servers on the loopback interface, for tests.")
    parser.add_argument("--feature", action="append", default=[], type=_feature, metavar="NAME=SEATS", help="a pool; may be given more than once")
    parser.add_argument("--license", metavar="FILE", help="a license file with three SERVER lines, in the place of --feature and --triad")
    parser.add_argument("--options", metavar="FILE", help="an options file")
    parser.add_argument("--heartbeat", type=float, default=0.1, metavar="S", help="seconds between heartbeats (0.1)")
    parser.add_argument("--ttl", type=float, metavar="S", help="seconds that a lease lasts after a renewal")
    parser.add_argument("--no-primary-is-master", dest="primary_is_master", action="store_false", help="a returned primary does not take over")
    parser.add_argument(
        "--grants", choices=GRANTS, default=GRANTS[0], help="whether the next master knows what was granted, or starts empty (flexnet)"
    )
    parser.add_argument("--state-dir", metavar="DIR", help="where state and logs are kept")
    parser.add_argument("--fsync", action="store_true", help="flush each record to the disk")
    node = parser.add_argument_group("one node instead of three")
    node.add_argument("--node", choices=("primary", "secondary", "tertiary"))
    node.add_argument("--triad", metavar="SERVERNAME", help="the three nodes, each port@host")
    node.add_argument("--hostid", action="append", metavar="ID", help="a host ID of its machine; by default what its SERVER line names")
    node.add_argument("--cluster", metavar="ID", help="the cluster's id; by default it follows from --triad")
    return parser


def _feature(text: str) -> tuple[str, int]:
    name, _, seats = text.partition("=")
    if not name or not seats.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=SEATS")
    return name, int(seats)


def _first_line(descriptor: int) -> bytes:
    """Read up to the first line end and no further: what follows is for others to read."""
    line = b""
    while not line.endswith(b"\n") and (chunk := os.read(descriptor, 65536)):
        line += chunk  # the parent sends nothing more before it was told that the node is ready
    return line


if __name__ == "__main__":
    sys.exit(main())
