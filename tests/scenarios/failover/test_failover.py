"""Plays the stories of failover beside this file: a command, its input, ``----``, and every request with its time.

Stories are separated by an empty line; lines that start with ``#`` before a story are its title.  Commands:

``checkout [timeout=S] [wait=S] [known=NODE@TERM] [luck=L] [servers=TEXT]``   one checkout; without ``known`` the client is cold
``keep until=S [ttl=S] [leases=N] [reacquire=never] [luck=L]``                leases that were granted at 0 by the primary in term 7 are kept

The input is lines ``[SECONDS] NODE PART``.  Parts: ``down``, ``frozen``, ``garbage``, ``master TERM``, ``standby MASTER TERM``, ``electing TERM``,
``no-quorum TERM``, ``overloaded TERM SECONDS``, ``denies TERM PROBLEM``, ``line TERM SECONDS``, ``slow TERM SECONDS``, ``forgetful TERM [PROBLEM]`` (a master
that knows no lease, and denies claims so).  ``hasty`` before a part: it holds no request.  ``cluster=ID`` behind it: of another cluster.

With ``PALCLIENT_REWRITE=1`` in the environment the expected texts are written anew; read the difference before you commit it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from palclient.core.flow import Call
from palclient.errors import PalError
from palclient.models import Lost, Reacquired, Suspect
from tests.unit.keeping import Keeping
from tests.unit.script import Part, ScriptedTriad, denying, down, electing, frozen, garbage, ids_of, kind_of, master, no_quorum, overloaded, problem
from tests.unit.script import standby as follows
from tests.unit.virtual_runner import Reply

REWRITE = bool(os.environ.get("PALCLIENT_REWRITE"))
FILES = sorted(Path(__file__).parent.glob("*.txt"))
STORM = 8  # requests to one address in one second


def line(term: int, poll_s: float) -> Part:
    """A master whose pool is full, and where one may stand in line."""
    return master(term, lambda _part, call, _now: Reply(status=202, body={"id": ids_of(call)[0], "position": 1, "of": 1, "poll_s": poll_s}))


def slow(term: int, answer_s: float) -> Part:
    """A master behind a network where every answer takes so long."""
    usual = master(term)

    def serve(part: Part, call: Call, now: float) -> Reply:
        assert usual.serve is not None
        return replace(usual.serve(part, call, now), after_s=answer_s)

    return replace(usual, serve=serve)


def forgetful(term: int, denial: str = "") -> Part:
    """A master that knows no lease; and denies to grant it again, if ``denial`` says how."""
    usual = denying(term, denial, detail="All seats are taken.") if denial else master(term)

    def serve(part: Part, call: Call, now: float) -> Reply:
        assert usual.serve is not None
        if kind_of(call) == "renewals":
            return Reply(body={"results": {lease_id: problem("lease-unknown") for lease_id in ids_of(call)}, "waited_s": 0.0})
        return usual.serve(part, call, now)

    return replace(usual, serve=serve)


def part_of(words: list[str], ttl_s: float) -> Part:
    """The part that a line of a story names."""
    is_hasty = words[0] == "hasty"
    name, *rest = words[is_hasty:]
    cluster = [word.partition("=")[2] for word in rest if word.startswith("cluster=")]
    rest = [word for word in rest if not word.startswith("cluster=")]
    parts: dict[str, Callable[[], Part]] = {
        "down": down,
        "frozen": frozen,
        "garbage": garbage,
        "master": lambda: master(int(rest[0])),
        "standby": lambda: follows(rest[0], int(rest[1])),
        "electing": lambda: electing(int(rest[0])),
        "no-quorum": lambda: no_quorum(int(rest[0])),
        "overloaded": lambda: overloaded(int(rest[0]), float(rest[1])),
        "denies": lambda: denying(int(rest[0]), rest[1]),
        "line": lambda: line(int(rest[0]), float(rest[1])),
        "slow": lambda: slow(int(rest[0]), float(rest[1])),
        "forgetful": lambda: forgetful(int(rest[0]), *rest[1:]),
    }
    part = parts[name]()
    part = replace(part, ttl_s=ttl_s, holds=part.holds and not is_hasty)
    return replace(part, cluster=cluster[0]) if cluster else part


def set_stage(triad: ScriptedTriad, given: list[str], ttl_s: float = 180.0) -> None:
    """Let the nodes play what the story says, each part in its time."""
    for text in given:
        words = text.split()
        if words[0][0].isdigit():
            triad.at(float(words[0]), words[1], part_of(words[2:], ttl_s))
        else:
            triad.says(words[0], part_of(words[1:], ttl_s))


def played_checkout(given: list[str], options: dict[str, str]) -> list[str]:
    """What one checkout asks, and how it ends."""
    triad = ScriptedTriad(luck=float(options.get("luck", 0)), servers=options.get("servers", "27000@lic1,27001@lic2,27002@lic3"))
    if "known" in options:
        name, _, term = options["known"].partition("@")
        triad.knows_master(name, int(term))
    set_stage(triad, given)
    try:
        grant = triad.checkout(timeout_s=float(options.get("timeout", 10)), wait_s=float(options.get("wait", 0))).grant
        end = f"granted by {grant.node} in term {grant.term}"
    except PalError as error:
        end = f"{type(error).__name__}: {error}" + ("\n(the id is given up)" if triad.trace.may_be_taken else "")
    assert triad.most_in_a_second() <= STORM
    return [*triad.log, f"{triad.took_s:8.3f} {end}"]


def played_keep(given: list[str], options: dict[str, str]) -> list[str]:
    """What a keeper asks, and what it tells."""
    ttl_s = float(options.get("ttl", 180))
    keeping = Keeping(ttl_s=ttl_s, luck=float(options.get("luck", 0)))
    keeping.hold(*(f"id-{number}" for number in range(1, 1 + int(options.get("leases", 1)))), reacquire=options.get("reacquire") != "never")
    set_stage(keeping.triad, given, ttl_s)
    keeping.until(float(options["until"]))
    assert keeping.triad.most_in_a_second() <= STORM
    told = []
    for at, event in keeping.events:
        more = ""
        if isinstance(event, Suspect):
            more = f", {event.expires_in_s:.2f} s left"
        elif isinstance(event, Lost):
            more = f": {event.reason}"
        elif isinstance(event, Reacquired):
            more = ", the same seat" if event.same_seat else ", another seat"
        told.append(f"{at:8.3f} -> {type(event).__name__} {getattr(event, 'lease_id', '')}{more}")
    records = [kept.record for kept in keeping.leases.kept.values()]
    valid = sum(record.is_valid(keeping.net.now) for record in records)
    lines = sorted(keeping.triad.log + told, key=lambda text: float(text.split()[0]))
    return [*lines, f"{float(options['until']):8.3f} {valid} of {len(records)} held"]


def stories(path: Path) -> Iterator[tuple[str, str, str]]:
    """Title, command with input, and expected text of each story of a file."""
    for block in path.read_text("utf-8").strip("\n").split("\n\n"):
        before, _, expected = block.partition("\n----\n")
        lines = before.split("\n")
        title = [text for text in lines if text.startswith("#")]
        yield "\n".join(title), "\n".join(lines[len(title) :]), expected


def seen(told: str) -> str:
    """What happens in a story."""
    command, *given = told.split("\n")
    verb, *words = command.split()
    options = dict(word.split("=", 1) for word in words)
    return "\n".join({"checkout": played_checkout, "keep": played_keep}[verb](given, options))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_failover_goes_as_its_story_tells(path: Path) -> None:
    """Design, Flows; protocol, Parking."""
    told = [(title, story, expected, seen(story)) for title, story, expected in stories(path)]
    if REWRITE:
        path.write_text("\n\n".join(f"{title}\n{story}\n----\n{now}" for title, story, _, now in told) + "\n", "utf-8")
    for title, _, expected, now in told:
        assert now == expected, f"{path.name}: {title}"


def test_there_are_stories_and_each_has_a_title() -> None:
    """A folder that moved must not turn the test above into nothing."""
    titles = [title for path in FILES for title, _, _ in stories(path)]
    assert len(titles) >= 20
    assert all(titles)
