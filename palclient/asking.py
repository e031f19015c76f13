"""What is asked of a client, checked before any server is: the same for ``Client`` and ``AsyncClient``."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from uuid import uuid4

from palclient.core.checkout import Patience
from palclient.core.retry import RetryPolicy
from palclient.core.wire import CheckoutRequest
from palclient.errors import ClientClosed, ConfigError
from palclient.models import Event, Holder

MAX_NAME, MAX_WORD = 100, 256  # characters of a feature, and of what a holder says of itself, by the protocol
UNSAYABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")  # by the protocol, too; the last are bytes that the system could not read
Listener = Callable[[Event], None]
PICKLE_ADVICE = "A client belongs to one process and cannot be pickled: make one in the other process, of the same SERVERNAME."


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What a client's calls go by when they say nothing themselves.  ``listener`` is told of the leases that are checked out with these."""

    timeout_s: float
    retry: RetryPolicy
    holder: Holder | None
    reacquire: str
    listener: Listener | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.retry, RetryPolicy):
            raise ConfigError(f"retry must be a RetryPolicy, and is {self.retry!r}.")
        if not isinstance(self.holder, Holder | None):
            raise ConfigError(f"holder must be a Holder, and is {self.holder!r}.")
        if self.holder is not None:
            check_holder(self.holder)

    def changed(
        self,
        *,
        timeout: float | None,
        retry: RetryPolicy | None,
        holder: Holder | None,
        reacquire: str | None,
        on_event: Listener | None,
    ) -> Defaults:
        """The same with what is not None in its place.  Raises ConfigError for impossible values."""
        return replace(
            self,
            timeout_s=self.timeout_s if timeout is None else checked_timeout(timeout),
            retry=retry or self.retry,
            holder=holder or self.holder,
            reacquire=checked_reacquire(reacquire or self.reacquire),
            listener=checked_listener(on_event) or self.listener,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A checkout: what the master is asked, how long is waited for it, and whether a seat that is lost is claimed again."""

    request: CheckoutRequest
    patience: Patience
    reacquire: bool


def wanted(*, feature: str, version: str, count: int, holder: Holder, timeout: float, wait: float | None, reacquire: str) -> Wanted:
    """The checkout of these arguments, under a fresh id.  Raises ConfigError for impossible ones."""
    check_asked(feature, count, version)
    return Wanted(
        request=CheckoutRequest(id=str(uuid4()), feature=feature, version=version, count=count, holder=holder, nonce=uuid4().hex),
        patience=Patience(timeout_s=checked_timeout(timeout), wait_s=float("inf") if wait is None else checked_timeout(wait)),
        reacquire=checked_reacquire(reacquire) == "auto",
    )


def check_asked(feature: str, count: int, version: str = "0") -> None:
    """Raise ConfigError for a checkout that no server could grant."""
    if feature == "":
        raise ConfigError("The feature has no name: write it as the FEATURE line of the license file does.")
    _check_word("feature", feature, "a name")
    if version == "":
        raise ConfigError('The version is empty: write "0" if any version will do, and leave it away.')
    _check_word("version", version, 'a text such as "2026.1"')
    if type(count) is not int or count < 1:  # True is an int to Python, and no number of seats
        raise ConfigError(f"count must be a whole number of seats from 1, and is {count!r}.")


def check_holder(holder: Holder) -> None:
    """Raise ConfigError for a holder that no server would take down."""
    for name in ("user", "host", "display", "app"):
        word = getattr(holder, name)
        if not isinstance(word, str) or len(word) > MAX_WORD or UNSAYABLE.search(word):
            raise ConfigError(f"The holder's {name} must be a text of at most {MAX_WORD} characters on one line, and is {word!r}.")
    if not (holder.user and holder.host and type(holder.pid) is int and holder.pid >= 0):
        raise ConfigError(f"A holder has a user, a host, and a pid from 0, and this is {holder!r}.")


def _check_word(what: str, word: object, shape: str) -> None:
    if not isinstance(word, str) or len(word) > MAX_NAME or not word.isprintable():
        shown = word[:MAX_NAME] if isinstance(word, str) else word
        raise ConfigError(f"The {what} must be {shape} of at most {MAX_NAME} characters on one line, and is {shown!r}.")


def checked_listener(on_event: Listener | None) -> Listener | None:
    """Something that can be called, or None.  Raises ConfigError for anything else."""
    if on_event is not None and not callable(on_event):
        raise ConfigError(f"on_event must be a function that takes an event, and is {on_event!r}.")
    return on_event


def checked_timeout(seconds: float) -> float:
    """A time that may be waited.  Raises ConfigError for a negative one."""
    if type(seconds) not in (int, float) or not seconds >= 0:
        raise ConfigError(f"A time in seconds must be 0 or more, and is {seconds!r}.")
    return float(seconds)


def checked_reacquire(word: str) -> str:
    """One of the two words.  Raises ConfigError for any other."""
    if word not in ("auto", "never"):
        raise ConfigError(f'reacquire must be "auto" or "never", and is {word!r}.')
    return word


def closed() -> ClientClosed:
    """What a closed client raises."""
    return ClientClosed("This client was closed.", advice="Make a new one, or call palclient.checkout, which keeps one for you.")
