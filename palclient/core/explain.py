"""Errors in an administrator's words: what was tried, in which order, what each server said, what to do next."""

from __future__ import annotations

from palclient.core.locate import Unanswered
from palclient.core.wire import CheckoutRequest, Problem, Queued, Reply, Request, describe
from palclient.errors import CheckoutDenied, CheckoutTimeout, NoQuorum, NoServerReachable, PalError, ProtocolError, SeatsTaken, TriadUnavailable
from palclient.models import ROLES, Endpoint, Probe

SEATS = frozenset({"seats-taken", "over-max", "reserved"})
OUR_FAULT = frozenset({"bad-request", "too-large", "unsupported-version", "other-request", "id-returned"})

ADVICE = {
    "seats-taken": "Wait for a colleague to finish, or ask the administrator who holds the seats (palclient status --usage).",
    "over-max": "The options file limits how many of these seats this user or group may hold.",
    "reserved": "The rest of the pool is reserved for others in the options file.",
    "too-many-asked": "Ask for fewer seats at once: the pool will never have that many.",
    "feature-unknown": "Check the spelling of the feature; the server's license file has no line for it (palclient status --usage lists what it has).",
    "version-not-covered": "The license covers older versions only: ask for one that it covers, or have the license renewed.",
    "expired": "The license has run out: have it renewed, and install the new license file on all three servers.",
    "not-started": "The license starts later: check its start date, and the date on the servers.",
    "excluded": "The options file on the server excludes this user or computer.",
    "not-included": "The options file on the server lists who may use this feature, and this user or computer is not on it.",
}


def denied(request: CheckoutRequest, reply: Reply) -> PalError:
    """The error for a serving master's no."""
    if isinstance(reply, Queued):
        message = f"{request.feature}: all seats are taken; still in line at place {reply.position} of {reply.of} when the waiting time was over."
        return SeatsTaken(message, feature=request.feature, reason="seats-taken", retry_after_s=reply.poll_s, code=-4, advice=ADVICE["seats-taken"])
    if not isinstance(reply, Problem) or reply.name in OUR_FAULT:
        return unexpected(request, reply)
    message = f"{request.feature}: {_number(reply)}{reply.words} (said by {reply.speaker.node})"
    advice = ADVICE.get(reply.name, "")
    if reply.name in SEATS:
        return SeatsTaken(
            message,
            feature=request.feature,
            reason=reply.name,
            in_use=reply.in_use,
            total=reply.total,
            retry_after_s=reply.retry_after_s,
            code=reply.code,
            advice=advice,
        )
    return CheckoutDenied(message, feature=request.feature, reason=reply.name, code=reply.code, advice=advice)


def unexpected(request: Request, reply: Reply) -> ProtocolError:
    """The error for an answer that should not have come: one of the two sides is at fault, and says so."""
    what = f"{_number(reply)}{reply.name}: {reply.words}" if isinstance(reply, Problem) else f"an answer of another kind ({type(reply).__name__})"
    return ProtocolError(
        f"The server {reply.speaker.node} answered a {describe(request)} with {what}",
        advice="Client and server do not understand each other: compare their versions (palclient status).",
        code=reply.code if isinstance(reply, Problem) else None,
    )


def unavailable(request: Request, ended: Unanswered, *, had_word: bool = False) -> TriadUnavailable:
    """The error when no master answered: all silent, answered but none may serve, or one served and fell silent.

    ``had_word`` says that a master answered earlier in the same call (it gave a place in line).
    """
    tried = f"{describe(request)} for {ended.took_s:.1f} s"
    servers = "\n".join(_server_lines(ended.probes))
    if not ended.heard and not had_word:
        message = f"No license server answered (tried {tried}):\n{servers}"
        advice = (
            "Check that the servers are running and that no firewall stands between; compare SERVERNAME with the license file (palclient config)."
        )
        return NoServerReachable(message, probes=ended.probes, advice=advice)
    if ended.master_named or had_word:
        message = f"A license server is serving, but did not answer here (tried {tried}):\n{servers}"
        advice = "There is a master that this computer cannot talk to (any more): check the network and the firewall between the two."
        return CheckoutTimeout(message, probes=ended.probes, advice=advice)
    message = f"License servers answered, but none may serve: no quorum (tried {tried}):\n{servers}"
    advice = "Two of the three servers must be running and see each other: start the missing ones, or mend the network between them."
    return NoQuorum(message, probes=ended.probes, advice=advice)


def _server_lines(probes: tuple[Probe, ...]) -> list[str]:
    """One line for each server, in the order in which they were first asked: how often, and its last word."""
    asked: dict[Endpoint, list[Probe]] = {}
    for probe in probes:
        asked.setdefault(probe.endpoint, []).append(probe)
    lines: dict[object, tuple[list[Endpoint], list[Probe]]] = {}
    for endpoint, of_one in asked.items():
        is_searched = sum(other.host == endpoint.host for other in asked) > len(ROLES)  # ten ports with one word to tell are told on one line
        last = _last(of_one)
        ports, of_all = lines.setdefault((endpoint.host, last.outcome, last.detail) if is_searched else endpoint, ([], []))
        ports.append(endpoint)
        of_all += of_one
    return [f"  {_shown(ports)}: {_last_word(of_all)}" for ports, of_all in lines.values()]


def _shown(ports: list[Endpoint]) -> str:
    """One server, or the ports of it that were searched."""
    numbers = [endpoint.port or 0 for endpoint in ports]
    return str(ports[0]) if len(ports) == 1 else f"{ports[0].host}, {len(ports)} ports from {min(numbers)} to {max(numbers)}"


def _last_word(probes: list[Probe]) -> str:
    last = _last(probes)
    count = sum(probe.times for probe in probes)
    times = f", asked {count} times" if count > 1 else ""
    return f"{last.outcome} after {last.took_s:.2f} s ({last.detail}){times}" if last.detail else f"{last.outcome} after {last.took_s:.2f} s{times}"


def _last(probes: list[Probe]) -> Probe:
    """The last answer, else the last silence."""
    return next((probe for probe in reversed(probes) if probe.answered), probes[-1])


def _number(reply: Reply) -> str:
    return f"({reply.code}) " if isinstance(reply, Problem) and reply.code is not None else ""
