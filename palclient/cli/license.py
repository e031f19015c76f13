"""``palclient license``: checks a license file and what belongs to it, shows it, writes a new one."""

from __future__ import annotations

import argparse
from collections import Counter
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palclient.cli.screen import complain, say, say_json
from palclient.errors import ConfigError
from palclient.featurelines import MONTHS
from palclient.licensefile import LicenseFile, expiry_problems, read_license_file, servername_problems
from palclient.licensetext import Problem, explained, lines_of, printable
from palclient.optionsfile import options_problems, read_options_file

if TYPE_CHECKING:
    from palclient.featurelines import FeatureLine, PackageLine
    from palclient.signing import SigningKey

OK, FAILED, USAGE = 0, 1, 2


def add_to(commands: Any) -> None:
    """Declare the command, its three parts and their options."""
    parser: argparse.ArgumentParser = commands.add_parser("license", help="check a license file, show it, or write a new one")
    parts = parser.add_subparsers(metavar="PART", required=True)
    lint = parts.add_parser("lint", help="check a license file, an options file, and whether SERVERNAME fits")
    lint.add_argument("file", metavar="FILE", nargs="?", type=file_name, help="the license file")
    lint.add_argument("--options", metavar="FILE", type=file_name, help="an options file, checked by itself and against the license")
    lint.add_argument("--ini", metavar="FILE", type=file_name, help="an INI file whose SERVERNAME must list the same servers in the same order")
    lint.add_argument("--key", metavar="FILE", type=file_name, help="the key pair that must have signed the lines")
    lint.add_argument("--on", metavar="DATE", type=read_date, help="the day for which expiry dates are looked at, as 2030-12-31 (default today)")
    lint.set_defaults(run=run_lint)
    show = parts.add_parser("show", help="show what a license file says")
    show.add_argument("file", metavar="FILE", type=file_name)
    show.set_defaults(run=run_show)
    _add_new(parts)
    for part in (lint, show):
        part.add_argument("--json", action="store_true", help="for machines")


def _add_new(parts: Any) -> None:
    new = parts.add_parser("new", help="write a signed certificate license for a triad or a single server")
    new.add_argument("file", metavar="FILE", type=file_name, help="is made, and must not be there")
    new.add_argument("--servers", metavar="SERVERNAME", required=True, help="as clients name them: port@host,port@host,port@host")
    new.add_argument("--hostids", metavar="ID,ID,ID", required=True, help="the host ID of each, in the same order")
    new.add_argument("--feature", metavar="NAME=SEATS", action="append", required=True, dest="features", help="may be repeated")
    new.add_argument("--vendor", metavar="NAME", default="palisade", help="the vendor daemon's name (default palisade)")
    new.add_argument("--version", metavar="V", default="1.0", help="of the features (default 1.0)")
    new.add_argument("--expires", metavar="DATE", type=read_expiry, help="the last day, as 2030-12-31 (default: permanent)")
    new.add_argument("--primary-is-master", action="store_true", help="the primary takes mastership back when it returns")
    new.add_argument("--heartbeat-interval", metavar="S", type=int, help="seconds, 0 to 120 (default: 20, unwritten)")
    new.add_argument(
        "--key", metavar="FILE", type=file_name, help="the key pair to sign with; made when it is not there (default: one that is not kept)"
    )
    new.set_defaults(run=run_new)


def file_name(text: str) -> str:
    """A file's name, which an unset variable of a script is not; argparse shows the words of the error."""
    if not text:
        raise argparse.ArgumentTypeError("the name of the file is empty")
    return text


def read_date(text: str) -> date:
    """A day as 2030-12-31 or 31-dec-2030; argparse makes its error of the ValueError."""
    day, _, rest = text.partition("-")
    month, _, year = rest.partition("-")
    if month.lower() in MONTHS:
        return date(int(year), MONTHS.index(month.lower()) + 1, int(day))
    return date.fromisoformat(text)


def read_expiry(text: str) -> date | None:
    """A day as ``read_date`` takes it; None for ``permanent``."""
    return None if text.lower() == "permanent" else read_date(text)


# ------------------------------------------------------------------------------------------------------------------------ lint


def run_lint(options: argparse.Namespace) -> int:
    """Exit code 0 when there is no error, 1 when there is one, 2 when a file cannot be read."""
    if options.file is None and options.options is None:
        complain("Name a license file, or an options file with --options.")
        return USAGE
    if options.file is None and (options.ini or options.key):
        complain("--ini and --key need a license file beside them.")
        return USAGE
    found = _found(options)
    counts = Counter(problem.severity for _, _, problem in found)
    if options.json:
        say_json({"errors": counts["error"], "warnings": counts["warning"], "problems": [_problem(path, one) for path, _, one in found]})
    else:
        for path, lines, problem in found:
            say(explained(problem, name=path, lines=lines))
        say(f"{_counted(counts['error'], 'error')}, {_counted(counts['warning'], 'warning')}.")
    return FAILED if counts["error"] else OK


def _counted(count: int, noun: str) -> str:
    return f"{count or 'no'} {noun}{'' if count == 1 else 's'}"


def _found(options: argparse.Namespace) -> list[tuple[str, list[str], Problem]]:
    """Every problem with its file's name and lines."""
    found: list[tuple[str, list[str], Problem]] = []
    license_file = read_license_file(options.file) if options.file else None
    if license_file is not None:
        problems = [*license_file.problems, *expiry_problems(license_file, options.on or datetime.now().astimezone().date())]
        problems += _signature_problems(license_file, options.key)
        if options.ini:
            from palclient.ini import read_ini

            problems += servername_problems(license_file, read_ini(options.ini).servername())
        lines = lines_of(license_file.text)
        found += [(options.file, lines, problem) for problem in sorted(problems, key=_place)]
    if options.options:
        rules = read_options_file(options.options)
        more = options_problems(rules, license_file) if license_file is not None else ()
        lines = lines_of(rules.text)
        found += [(options.options, lines, problem) for problem in sorted([*rules.problems, *more], key=_place)]
    return found


def _place(problem: Problem) -> tuple[int, int]:
    return problem.line, problem.column


def _signature_problems(license_file: LicenseFile, key: str | None) -> list[Problem]:
    """Lines whose signature does not fit; nothing where signatures cannot be checked, unless a key asks for it."""
    from palclient.signing import Signature, look_at_signature, read_key

    by = read_key(key).public if key else None
    said = {
        Signature.ALTERED: "The signature of {} does not fit: the line, or a host ID on a SERVER line, was changed after it was signed.",
        Signature.STRANGER: "The signature of {} fits, and is by another key.",
        Signature.FOREIGN: "The signature of {} is a vendor's own, which only the vendor can check.",
        Signature.MISSING: "{} has no signature.",
    }
    wrong = {Signature.ALTERED} if by is None else set(said)
    problems = []
    for line in _licensed(license_file):
        try:
            found = look_at_signature(license_file, line, by=by)
        except ConfigError as error:
            complain(f"Signatures were not checked. {error.advice}")
            return []
        if found in wrong:
            advice = "Put the file back as it was signed, or ask for another."
            problems.append(Problem(line=line.line, column=1, severity="error", message=said[found].format(line.name), advice=advice))
    return problems


def _licensed(license_file: LicenseFile) -> list[FeatureLine | PackageLine]:
    return [*license_file.features, *license_file.packages]


def _problem(path: str, problem: Problem) -> dict[str, object]:
    return {
        "path": path,
        "line": problem.line,
        "column": problem.column,
        "severity": problem.severity,
        "message": problem.message,
        "advice": problem.advice,
    }


# ------------------------------------------------------------------------------------------------------------------------ show


def run_show(options: argparse.Namespace) -> int:
    """Exit code 0 when the file can be read, whatever its problems: ``lint`` tells of those."""
    license_file = read_license_file(options.file)
    if options.json:
        say_json(_facts(license_file))
        return OK
    roles = ("primary", "secondary", "tertiary") if license_file.is_triad else ("server",) * len(license_file.servers)
    for role, server in zip(roles, license_file.servers, strict=True):
        port = f"port {server.port}" if server.port is not None else "the first free port of 27000 to 27009"
        say(printable(f"{role:<10} {server.host:<28} {server.hostid:<20} {port}"))
    if license_file.is_triad:
        interval_s = max(license_file.heartbeat_interval_s, 1)
        master = "the primary takes mastership back" if license_file.primary_is_master else "a master stays master"
        say(printable(f"{master}; a server is lost after {4 * interval_s - 1} s of silence"))
    for vendor in license_file.vendors:
        more = [f"options {vendor.options}"] * bool(vendor.options) + [f"port {vendor.port}"] * bool(vendor.port)
        say(printable(f"vendor     {', '.join([vendor.name, *more])}"))
    for feature in license_file.features:
        until = f"until {feature.expiry}" if feature.expiry else "permanent"
        seats = "uncounted" if feature.count is None else _counted(feature.count, "seat")
        bound = f", bound to {feature.hostid}" if feature.hostid else ""
        say(printable(f"{feature.kind.lower():<10} {feature.name:<28} version {feature.version}, {seats}, {until}{bound}"))
    for package in license_file.packages:
        say(printable(f"package    {package.name:<28} {' '.join(component.name for component in package.components)}"))
    if license_file.problems:
        counts = Counter(problem.severity for problem in license_file.problems)
        complain(f"{_counted(counts['error'], 'error')}, {_counted(counts['warning'], 'warning')}: palclient license lint {options.file}")
    return OK


def _facts(license_file: LicenseFile) -> dict[str, object]:
    return {
        "path": license_file.path,
        "primary_is_master": license_file.primary_is_master,
        "heartbeat_interval_s": license_file.heartbeat_interval_s,
        "use_server": license_file.use_server,
        "servers": [{"host": s.host, "hostid": s.hostid, "port": s.port, "line": s.line} for s in license_file.servers],
        "vendors": [{"name": v.name, "path": v.path, "options": v.options, "port": v.port, "line": v.line} for v in license_file.vendors],
        "features": [
            {
                "kind": f.kind,
                "name": f.name,
                "vendor": f.vendor,
                "version": f.version,
                "expiry": f.expiry.isoformat() if f.expiry else None,
                "count": f.count,
                "attributes": [list(pair) for pair in f.attributes],
                "line": f.line,
            }
            for f in license_file.features
        ],
        "packages": [
            {"name": p.name, "vendor": p.vendor, "components": [c.name for c in p.components], "line": p.line} for p in license_file.packages
        ],
        "problems": [_problem(license_file.path or "", problem) for problem in license_file.problems],
    }


# ------------------------------------------------------------------------------------------------------------------------- new


def run_new(options: argparse.Namespace) -> int:
    """Exit code 0 when the file was written; ConfigError for what could not be read back, or cannot be written."""
    plain = _plain_license(options)
    _refuse_errors(plain)
    key = _key(options.key)
    text = signed_license(plain, key)
    try:
        with Path(options.file).open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except OSError as error:
        raise ConfigError(
            f"{options.file}: cannot be written: {error.strerror or error}.", path=options.file, advice="Name a file that is not there yet."
        ) from error
    say(f"{options.file} written, signed by {key.public.hex()}")
    say("Install the same file on all servers.")
    return OK


def _key(path: str | None) -> SigningKey:
    from palclient.signing import new_key, read_key, write_key

    if path is not None and Path(path).exists():
        return read_key(path)
    key = new_key()
    if path is not None:
        write_key(path, key)
    return key


def _plain_license(options: argparse.Namespace) -> str:
    """The license without signatures."""
    from palclient.servername import parse_servername

    endpoints = parse_servername(options.servers, source="--servers").endpoints
    hostids = options.hostids.split(",")
    if len(hostids) != len(endpoints):
        raise ConfigError(
            f"--servers names {len(endpoints)} servers, --hostids {len(hostids)} host IDs.", advice="Each server needs its own, in the same order."
        )
    lines = []
    for number, (endpoint, hostid) in enumerate(zip(endpoints, hostids, strict=True)):
        port = [str(endpoint.port)] * (endpoint.port is not None)
        words = ["SERVER", endpoint.host, hostid.strip(), *port]
        words += ["PRIMARY_IS_MASTER"] * (options.primary_is_master and number == 0)
        words += [f"HEARTBEAT_INTERVAL={options.heartbeat_interval}"] * (options.heartbeat_interval is not None and number == 0)
        lines.append(" ".join(words))
    expires = f"{options.expires.day:02}-{MONTHS[options.expires.month - 1]}-{options.expires.year:04}" if options.expires else "permanent"
    lines.append(f"VENDOR {options.vendor}")
    for feature in options.features:
        name, _, seats = feature.partition("=")
        lines.append(f"FEATURE {name} {options.vendor} {options.version} {expires} {seats}")
    return "".join(f"{line}\n" for line in lines)


def _refuse_errors(text: str) -> None:
    errors = read_license_file(text.encode()).errors
    if errors:
        shown = "\n".join(explained(problem, name="the new license", lines=lines_of(text)) for problem in errors)
        raise ConfigError(f"The license would have errors, so nothing was written.\n{shown}")


def signed_license(text: str, key: SigningKey) -> str:
    """A license text whose FEATURE lines have no signature yet, each on one line, with a signature on each."""
    plain = read_license_file(text.encode())
    signs = {feature.line: key.sign_for(plain, feature) for feature in plain.features}
    lines = [f"{line} \\\n    SIGN={signs[number]}" if number in signs else line for number, line in enumerate(text.splitlines(), start=1)]
    return "".join(f"{line}\n" for line in lines)
