"""The command line: one file per command.  Nothing else in palclient prints."""

from __future__ import annotations

import argparse
import os
import sys

from palclient import errors
from palclient.cli import config, demo, status
from palclient.cli.screen import complain

OK, FAILED, USAGE, NOT_REACHABLE, NO_QUORUM, DENIED, TIMEOUT, INTERRUPTED = 0, 1, 2, 5, 6, 7, 8, 130
COMMANDS = (demo, status, config)

EXIT_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (errors.ConfigError, USAGE),
    (errors.NoServerReachable, NOT_REACHABLE),
    (errors.NoQuorum, NO_QUORUM),
    (errors.CheckoutTimeout, TIMEOUT),
    (errors.CheckoutDenied, DENIED),
    (errors.PalError, FAILED),
)


def main(argv: list[str] | None = None) -> int:
    """Run one command; gives the exit code.  A user never sees a traceback, unless PALCLIENT_LOG is ``debug``."""
    parser = argparse.ArgumentParser(prog="palclient", description="Floating licenses from three redundant servers.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_to(commands)
    options = parser.parse_args(argv)
    try:
        code: int = options.run(options)
        sys.stdout.flush()
    except errors.PalError as error:
        complain(str(error))
        return next(code for kind, code in EXIT_CODES if isinstance(error, kind))
    except KeyboardInterrupt:
        complain("Interrupted.")
        return INTERRUPTED
    except BrokenPipeError:  # who read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:  # noqa: BLE001 - a person at a terminal can do nothing with a traceback; the log keeps it
        return _internal(error)
    return code


def _internal(error: Exception) -> int:
    if os.environ.get("PALCLIENT_LOG") == "debug":
        import logging

        logging.getLogger("palclient").critical("internal error", exc_info=error)
    complain(f"Something went wrong inside palclient: {type(error).__name__}: {error}\nSet PALCLIENT_LOG=debug to see where, and report it.")
    return FAILED
