"""``palclient config``: which SERVERNAME is in force, and why."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from palclient.cli.screen import complain, say, say_json
from palclient.errors import ConfigError

if TYPE_CHECKING:
    from palclient.config import Outranking, Surroundings

OK, USAGE = 0, 2


def add_to(commands: Any) -> None:
    """Declare the command and its options."""
    parser: argparse.ArgumentParser = commands.add_parser("config", help="show which SERVERNAME is in force, and why")
    parser.add_argument("--servers", metavar="SERVERNAME", help="as an application's servers= would say")
    parser.add_argument("--ini", metavar="FILE", help="as an application's ini= would say")
    parser.add_argument("--app", metavar="NAME", help="the application whose directories are searched")
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, *, surroundings: Surroundings | None = None) -> int:
    """Exit code 0 when a SERVERNAME was found, 2 when not.  What outranks it is told in both cases: it may be why there is none here, and yet programs run."""
    from palclient.config import find_outranking, find_servername

    outranking = find_outranking(surroundings=surroundings)
    try:
        found = find_servername(servers=options.servers, ini=options.ini, app=options.app, surroundings=surroundings)
    except ConfigError as error:
        complain(str(error))
        _tell(outranking)
        return USAGE
    if options.json:
        say_json(
            {
                "servername": str(found.servername),
                "source": found.source,
                "trail": [{"place": look.place, "found": look.found} for look in found.trail],
                "warnings": [f"line {warning.line}: {warning.message}" for warning in found.warnings],
                "outranking": [{"name": one.name, "value": one.value, "place": one.place} for one in outranking],
            }
        )
        return OK
    say(f"SERVERNAME={found.servername}")
    say(f"from {found.source}")
    for look in found.trail:
        say(f"  {look}")
    for warning in found.warnings:
        complain(f"warning: {found.path}, line {warning.line}: {warning.message}")
    _tell(outranking)
    return OK


def _tell(outranking: tuple[Outranking, ...]) -> None:
    for one in outranking:
        complain(f"note: {one.name} is {one.value} ({one.place}); palclient does not go by it, other programs on this machine may")
