"""Every error that leaves palclient, on one screen.

Messages are for an administrator: what was tried, in which order, what each server said, what to do next.  ``str(error)`` is the
message, and the advice on lines of its own.  Every error pickles, and keeps its facts.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from palclient.models import Probe


class PalError(Exception):
    """Something that palclient could not do.

    ``code`` is the number that the field's tools print for the same trouble (``-4``: all seats taken), or None.
    ``retryable`` says whether the same call may succeed later without anybody changing anything.
    ``advice`` is what to do next, in a sentence or two; it may be empty.
    """

    code: int | None = None
    retryable: bool = False

    def __init__(self, message: str, *, advice: str = "", code: int | None = None) -> None:
        super().__init__(message)
        self.advice = advice
        if code is not None:
            self.code = code

    @property
    def message(self) -> str:
        """What happened, without the advice."""
        return str(self.args[0])

    def __str__(self) -> str:
        return f"{self.message}\n{self.advice}" if self.advice else self.message

    def __reduce__(self) -> tuple[object, ...]:
        return (_unpickled, (type(self), self.args), self.__dict__)


def _unpickled(cls: type[PalError], args: tuple[object, ...]) -> PalError:
    error = cls.__new__(cls, *args)
    error.args = args  # OSError, the root of TimeoutError, leaves that to an __init__ of its own
    return error


class ConfigError(PalError, ValueError):
    """The configuration cannot be used.  ``path`` (str or None), ``line`` and ``column`` (from 1, or None) say where it stands."""

    def __init__(
        self, message: str, *, path: str | None = None, line: int | None = None, column: int | None = None, advice: str = "", code: int | None = None
    ) -> None:
        super().__init__(message, advice=advice, code=code)
        self.path = path
        self.line = line
        self.column = column


class ServerNameError(ConfigError):
    """A SERVERNAME value that is not one server or one triad (N1 to N6).

    ``value`` is the text; ``position`` the offset in it of the offending character (from 0); ``suggestion`` the value to write
    instead where that is evident, else None.
    """

    def __init__(
        self,
        message: str,
        *,
        value: str,
        position: int = 0,
        suggestion: str | None = None,
        path: str | None = None,
        line: int | None = None,
        column: int | None = None,
        advice: str = "",
    ) -> None:
        super().__init__(message, path=path, line=line, column=column, advice=advice)
        self.value = value
        self.position = position
        self.suggestion = suggestion


class IniError(ConfigError):
    """An INI file that cannot be read, or that does not say what it must (I1 to I4)."""


class LicenseFileError(ConfigError):
    """A license file or an options file that cannot be used."""


class CheckoutDenied(PalError):
    """The serving master said no.  ``feature`` is what was asked for, ``reason`` the protocol's name of the problem."""

    def __init__(self, message: str, *, feature: str, reason: str, advice: str = "", code: int | None = None) -> None:
        super().__init__(message, advice=advice, code=code)
        self.feature = feature
        self.reason = reason


class SeatsTaken(CheckoutDenied):
    """The pool is full for this holder (-4, -87, -101).  ``in_use`` and ``total`` count seats; ``retry_after_s`` is the server's hint or None."""

    retryable = True

    def __init__(
        self,
        message: str,
        *,
        feature: str,
        reason: str,
        in_use: int | None = None,
        total: int | None = None,
        retry_after_s: float | None = None,
        advice: str = "",
        code: int | None = None,
    ) -> None:
        super().__init__(message, feature=feature, reason=reason, advice=advice, code=code)
        self.in_use = in_use
        self.total = total
        self.retry_after_s = retry_after_s


class TriadUnavailable(PalError):
    """No serving master answered in time.  ``probes`` lists, in order, what each node was asked, how long it took, and what came back."""

    retryable = True

    def __init__(self, message: str, *, probes: "tuple[Probe, ...]" = (), advice: str = "", code: int | None = None) -> None:
        super().__init__(message, advice=advice, code=code)
        self.probes = probes


class NoServerReachable(TriadUnavailable):
    """Not one node answered."""

    code = -15


class NoQuorum(TriadUnavailable):
    """Nodes answered, and none of them may serve: a triad serves only while two of its three nodes see each other (T1)."""

    code = -97


class CheckoutTimeout(TriadUnavailable, TimeoutError):
    """A master was serving, and fell silent until the deadline had passed."""

    code = -7


class LeaseLost(PalError):
    """The seat is no longer held.  ``last_confirmed_s_ago``: seconds since the last request that a master confirmed was sent."""

    code = -41

    def __init__(self, message: str, *, reason: str, last_confirmed_s_ago: float, advice: str = "", code: int | None = None) -> None:
        super().__init__(message, advice=advice, code=code)
        self.reason = reason
        self.last_confirmed_s_ago = last_confirmed_s_ago


class LeaseForked(LeaseLost):
    """The lease belongs to the parent of this process; a forked child owns none of its parent's seats."""


class ProtocolError(PalError):
    """A peer broke the protocol, or says that this client did."""

    code = -12


class ClientClosed(PalError):
    """The client was closed; make a new one."""
