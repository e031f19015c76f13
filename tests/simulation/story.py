"""What a node does, in words for somebody who has not seen the code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fakeserver.events import Happened

HAPPENED = {
    "stood": "asks for votes in term {term}",
    "voted": "votes for the {for} in term {term}",
    "elected": "has the votes for term {term}, and brings its table to a second node",
    "serving": "serves as master in term {term}",
    "deposed": "is master no longer in term {term}: {reason}",
    "handed_over": "hands over to the {to}, which may lead in term {term}",
    "expired": "frees {seats} seats whose time ran out",
}


def happened(entry: Happened) -> str:
    """An entry of a node's journal."""
    words = HAPPENED.get(entry.name)
    return words.format_map(entry.facts) if words else f"{entry.name} {dict(entry.facts)}"


def answered(client: object, status: int, body: Mapping[str, Any]) -> str:
    """What a node answers to a client."""
    if status >= 400:
        return f"refuses {client}: {body['type'].rsplit(':', 1)[-1]}"
    if "seq" in body:
        return f"{'grants' if status == 201 else 'confirms'} {body['id']}, number {body['seq']}, for {body['ttl_s']:.2f} s"
    if "position" in body:
        return f"has {body['id']} in line at place {body['position']} of {body['of']}"
    if "returned" in body:
        return f"takes a return from {client}"
    return f"answers {client}: " + ", ".join(f"{lease_id} {_result(result)}" for lease_id, result in body["results"].items())


def _result(result: Any) -> str:
    if isinstance(result, bool):
        return "returned"
    return f"renewed for {result['ttl_s']:.2f} s" if "ttl_s" in result else "is not known"
