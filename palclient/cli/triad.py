"""``palclient triad``: the fake cluster by hand.  It prints an INI to paste and the control address, and does what is typed."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from palclient.cli.screen import complain, say, say_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fakeserver.control import Acts

    Asked = tuple[str, str, Mapping[str, object]]

FAILED, USAGE = 1, 2

HELP = """\
kill NODE, stop NODE, restart NODE, pause NODE, resume NODE      NODE: primary, secondary or tertiary
FAULT NODE [SETTING=VALUE ...]      such as: slow primary latency_s=0.2 clients_only=true
                                    blackhole refuse drop_syn slow drip cut lose_reply garbage wrong_version
                                    overloaded stale_master double_count clock_rate disk_full fail_at
fill FEATURE, expire FEATURE        at all three
isolate NODE, partition NODE NODE [one_way=true], mend NODE NODE
reread                              the options file again, at all three
heal [NODE [FAULT]], reset, status, journal, report, help, quit"""

COMMANDS = {
    ("status", 0): ("GET", ""),
    ("journal", 0): ("GET", "journal"),
    ("report", 0): ("GET", "report"),
    ("reread", 0): ("POST", "reread"),
    ("heal", 0): ("POST", "heal"),
    ("reset", 0): ("POST", "reset"),
    ("heal", 1): ("DELETE", "nodes/{0}/faults"),
    ("heal", 2): ("DELETE", "nodes/{0}/faults/{1}"),
    ("isolate", 1): ("PUT", "nodes/{0}/isolated"),
    ("partition", 2): ("PUT", "links/{0}/{1}"),
    ("mend", 2): ("DELETE", "links/{0}/{1}"),
    **{(verb, 1): ("POST", f"nodes/{{0}}/{verb}") for verb in ("kill", "stop", "restart", "pause", "resume")},
}
"""A typed word and how many places follow it: method and path on the control port.  Another word with one place is a fault at a node."""


def add_to(commands: Any) -> None:
    """Declare the command and its options."""
    parser: argparse.ArgumentParser = commands.add_parser("triad", help="run the fake triad by hand, and let its nodes fail")
    parser.add_argument(
        "--feature", action="append", type=_feature, metavar="NAME=SEATS", help="a pool (default RISK_IND80=5); may be given more than once"
    )
    parser.add_argument("--options", metavar="FILE", help="an options file: who is let in, reserved, limited; `reread` reads it again")
    parser.add_argument("--control", type=_port, default=0, metavar="PORT", help="where the control listens (default: any free port)")
    parser.add_argument("--heartbeat", type=float, default=0.1, metavar="S", help="seconds between heartbeats; a failover takes four (default 0.1)")
    parser.add_argument("--ttl", type=float, metavar="S", help="seconds that a lease lasts (default: the least that outlasts a failover)")
    parser.add_argument("--no-primary-is-master", dest="primary_is_master", action="store_false", help="a returned primary does not take over")
    parser.add_argument("--state-dir", metavar="DIR", help="where the nodes keep state and logs (default: gone at the end)")
    parser.add_argument("--json", action="store_true", help="for machines: say where it is as JSON")
    parser.set_defaults(run=run)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: write 0 to 65535, 0 for any that is free")
    return int(text)


def run(options: argparse.Namespace) -> int:
    """Until ``quit``, Ctrl-D, Ctrl-C or SIGTERM; without a terminal the end of the input is no reason to go."""
    try:
        from fakeserver import FakeTriad
        from fakeserver.control import Control
    except ImportError as error:
        complain(f"The fake triad lacks {error.name}: install palclient[fakeserver].")
        return USAGE
    ended = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    try:
        triad = FakeTriad(
            dict(options.feature or [("RISK_IND80", 5)]),
            options_file=options.options,
            primary_is_master=options.primary_is_master,
            heartbeat_s=options.heartbeat,
            ttl_s=options.ttl,
            state_dir=options.state_dir,
        )
    except ValueError as error:
        complain(str(error))
        return USAGE
    with triad, Control(triad, port=options.control) as control:
        triad.wait_for_master(timeout=10)
        _tell_where(triad.servername, control.address, as_json=options.json)
        Thread(target=_obey, args=(control.acts, ended), name="typed commands", daemon=True).start()
        while not ended.wait(0.5):  # a wait without a limit would keep a signal from being seen on Windows
            pass
    return 0


def _tell_where(servername: str, address: str, *, as_json: bool) -> None:
    if as_json:
        say_json({"servername": servername, "control": address})
        return
    say(f"[Network]\nSERVERNAME={servername}\n")
    say(f"Control: {address}")
    if sys.stdin.isatty():
        complain("Type help to see what can be done to it.")


def _obey(acts: Acts, ended: Event) -> None:
    """Do what is typed, a command a line."""
    for line in sys.stdin:
        if line.strip() in {"quit", "exit"}:
            ended.set()
            return
        if line.strip():
            _do(acts, line.split())
    if sys.stdin.isatty():
        ended.set()


def _do(acts: Acts, words: list[str]) -> None:
    from fakeserver.control import ControlRefused

    if words == ["help"]:
        complain(HELP)
        return
    try:
        method, path, body = asked(words)
        told = acts.answer(method, f"/control/{path}", body)
    except (ControlRefused, ValueError) as error:
        complain(str(error))
    else:
        say(_summary(told))


def asked(words: list[str]) -> Asked:
    """What a typed command means on the control port: method, path, body.  Raises ValueError for what means nothing."""
    verb, places = words[0], [word for word in words[1:] if "=" not in word]
    settings = dict(_setting(word) for word in words[1:] if "=" in word)
    if verb in {"fill", "expire"} and len(places) == 1:
        return "PUT", f"faults/{verb}", {"feature": places[0]}
    known = COMMANDS.get((verb, len(places)), ("PUT", f"nodes/{{0}}/faults/{verb}") if len(places) == 1 else None)
    if known is None:
        raise ValueError(f"{' '.join(words)!r:.200} means nothing here; type help.")
    method, path = known
    return method, path.format(*places), settings


def _setting(word: str) -> tuple[str, object]:
    """``name=value``: the value is JSON where it can be, and a text elsewhere."""
    name, _, value = word.partition("=")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _summary(told: Mapping[str, Any]) -> str:
    """The nodes, a line each; of a journal each entry, of a report each line."""
    if "report" in told:
        return "\n".join(json.dumps(line) for line in told["report"])
    if "journal" in told:
        return "\n".join(f"{each['at_s']:.3f} {each['node']:9} {each['name']} {json.dumps(each['facts'])}" for each in told["journal"])
    nodes = told["nodes"].values() if "nodes" in told else [told]
    return "\n".join(
        f"{node['role']:9} {node['endpoint']:21} {node['state']:10} term {node['term']!s:5} {' '.join(fault['name'] for fault in node['faults'])}".rstrip()
        for node in nodes
    )


def _feature(text: str) -> tuple[str, int]:
    name, _, seats = text.partition("=")
    if not name or not seats.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=SEATS")
    return name, int(seats)
