"""The one session that a client shares with all that ``with_options`` makes of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from palclient.asking import closed
from palclient.lifetime import Mutex

if TYPE_CHECKING:
    from palclient.config import Config
    from palclient.models import ServerName


class HasOwner(Protocol):
    """A session: it belongs to one process."""

    @property
    def is_foreign(self) -> bool:
        """Whether this is the parent's, seen from a forked child."""


AnySession = TypeVar("AnySession", bound=HasOwner)


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Where SERVERNAME is looked for (I4): the arguments of ``find_servername``."""

    servers: str | ServerName | None
    ini: str | os.PathLike[str] | None
    app: str | None
    ini_names: tuple[str, ...] | None


class Home(Generic[AnySession]):
    """Makes the session when it is first used, and anew in a forked child."""

    __slots__ = ("_is_closed", "_make", "_mutex", "_session", "_where")

    def __init__(self, where: Where, make: Callable[[Config], AnySession]) -> None:
        self._where = where
        self._make = make
        self._mutex = Mutex()
        self._session: AnySession | None = None
        self._is_closed = False

    @property
    def is_closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._is_closed

    def open(self) -> AnySession:
        """The session of this process.  Reads the configuration the first time; raises ConfigError, and ClientClosed after ``close``."""
        with self._mutex.lock:
            if self._is_closed:
                raise closed()
            if self._session is None or self._session.is_foreign:
                from palclient.config import find_servername

                where = self._where
                config = find_servername(servers=where.servers, ini=where.ini, app=where.app, ini_names=where.ini_names)
                self._session = self._make(config)
            return self._session

    def close(self) -> AnySession | None:
        """Open no more; gives the session that is to be closed, if there is one."""
        with self._mutex.lock:
            self._is_closed = True
            session, self._session = self._session, None
            return session
