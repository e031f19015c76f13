"""What palclient says to the logger ``palclient``, and that it says nothing to a process that does not log.

Importing logging takes 10 ms and more; a process that has not done so has no handler that could show a line.  With ``PALCLIENT_LOG=debug`` (or ``info``,
``warning``, ``error``) in the environment the lines of that level and above go to standard error, unless the application shows them itself.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from logging import Logger

VARIABLE = "PALCLIENT_LOG"
LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}  # logging's own numbers


def logger() -> Logger | None:
    """The logger ``palclient``, None where nobody logs.  It has a handler from the first: without one, logging itself would print warnings.

    ``getLogger`` takes a lock of the whole process, which Ctrl-C in the middle of it leaves taken before Python 3.13: the keeper would wait for ever.
    """
    logging = sys.modules.get("logging")
    get_logger = getattr(logging, "getLogger", None)  # another thread may be in the middle of importing it
    if logging is None or get_logger is None:
        return None
    known = logging.Logger.manager.loggerDict.get("palclient")
    found: Logger = known if isinstance(known, logging.Logger) else get_logger("palclient")
    if not found.handlers:
        from logging import NullHandler

        found.addHandler(NullHandler())
    return found


def show_if_asked() -> None:
    """Have the lines shown on standard error if the environment says so.  Called once for each connection that is made to a triad."""
    level = LEVELS.get(os.environ.get(VARIABLE, "").lower())
    if level is None:
        return
    from logging import Formatter, NullHandler, StreamHandler, getLogger

    found, shown = getLogger("palclient"), StreamHandler()
    others = getLogger().handlers if found.propagate else []
    is_shown = any(getattr(handler, "stream", None) is shown.stream and handler.level <= level for handler in others)
    if not is_shown and all(isinstance(handler, NullHandler) for handler in found.handlers):
        shown.setFormatter(Formatter("%(asctime)s.%(msecs)03d %(name)s %(levelname)s [%(threadName)s] %(message)s", "%H:%M:%S"))
        found.addHandler(shown)
    found.setLevel(level)


def is_shown(level: str) -> bool:
    """Whether anybody would see a line of this level."""
    found = logger()
    return found is not None and found.isEnabledFor(LEVELS[level])


def write(level: str, message: str, *values: object, error: BaseException | None = None) -> None:
    """A line of this level (a word of ``LEVELS``), if anybody logs; ``error`` is shown with its traceback."""
    found = logger()
    if found is not None:
        try:
            found.log(LEVELS[level], message, *values, exc_info=error)
        except Exception as failure:  # noqa: BLE001 - a handler or filter of the application's, and no seat may depend on it; the log itself cannot take it
            sys.excepthook(type(failure), failure, failure.__traceback__)
