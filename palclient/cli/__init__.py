"""The command line: one file per command.  Nothing else in palclient prints."""

from __future__ import annotations

import argparse
import errno
import os
import sys

from palclient import __version__, errors, log
from palclient.cli.screen import complain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

OK, FAILED, USAGE, NOT_REACHABLE, NO_QUORUM, DENIED, TIMEOUT, INTERRUPTED = 0, 1, 2, 5, 6, 7, 8, 130

EXIT_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (errors.ConfigError, USAGE),
    (errors.NoServerReachable, NOT_REACHABLE),
    (errors.NoQuorum, NO_QUORUM),
    (errors.CheckoutTimeout, TIMEOUT),
    (errors.CheckoutDenied, DENIED),
    (errors.PalError, FAILED),
)


def commands() -> tuple[ModuleType, ...]:
    """The modules of all commands.  Imported here, since the one-file tool comes in by ``redirect`` and has nothing of the others (R9)."""
    from palclient.cli import config, demo, redirect, status, triad
    from palclient.cli import exec as exec_command
    from palclient.cli import license as license_command

    return (demo, exec_command, status, config, redirect, license_command, triad)


def main(argv: list[str] | None = None) -> int:
    """Run one command; gives the exit code."""
    return guarded(_named_command, argparse.Namespace(argv=argv))


def _named_command(started: argparse.Namespace) -> int:
    from palclient.cli import exec as exec_command

    parser = argparse.ArgumentParser(prog="palclient", description="Floating licenses from three redundant servers.")
    parser.add_argument("--version", action="version", version=f"palclient {__version__}")
    parts = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in commands():
        command.add_to(parts)
    argv, rest = exec_command.split(sys.argv[1:] if started.argv is None else started.argv)
    options = parser.parse_args(argv)
    if rest:
        options.command += rest
    code: int = options.run(options)
    return code


def guarded(run: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """Run a command; gives its exit code, or that of its error.  A user never sees a traceback, unless PALCLIENT_LOG is ``debug``."""
    try:
        code = run(options)
        if sys.stdout is not None:  # it is None where the caller closed it
            sys.stdout.flush()
    except errors.PalError as error:
        complain(str(error))
        return next(code for kind, code in EXIT_CODES if isinstance(error, kind))
    except KeyboardInterrupt:
        complain("Interrupted.")
        return INTERRUPTED
    except BrokenPipeError:  # who read our output has seen enough
        _write_no_more()
        return FAILED
    except OSError as error:
        if error.errno != errno.ENOSPC:
            return _internal(error)
        _write_no_more()
        complain(f"The output could not be written: {error.strerror}.")
        return FAILED
    except Exception as error:  # noqa: BLE001 - a person at a terminal can do nothing with a traceback; the log keeps it
        return _internal(error)
    return code


def _write_no_more() -> None:
    """What is still to be flushed at the exit goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _internal(error: Exception) -> int:
    log.show_if_asked()
    log.write("critical", "internal error", error=error)
    complain(f"Something went wrong inside palclient: {type(error).__name__}: {error}\nSet PALCLIENT_LOG=debug to see where, and report it.")
    return FAILED
