"""Every error pickles and keeps its message and facts, and the tree is the one on the api page."""

from __future__ import annotations

import copy
import pickle

import pytest

from palclient import errors
from palclient.errors import (
    CheckoutDenied,
    CheckoutTimeout,
    ClientClosed,
    ConfigError,
    IniError,
    LeaseForked,
    LeaseLost,
    LicenseFileError,
    NoQuorum,
    NoServerReachable,
    PalError,
    ProtocolError,
    SeatsTaken,
    ServerNameError,
    TriadUnavailable,
)
from palclient.models import Endpoint, Probe

PROBE = Probe(endpoint=Endpoint(host="lic1", port=27000), asked="checkout", began_s=0.0, took_s=0.1, outcome="refused", detail="no", answered=False)
EXAMPLES: list[PalError] = [
    PalError("What.", advice="Do.", code=-9),
    ConfigError("What.", path="a.ini", line=3, column=7, advice="Do.", code=-1),
    ServerNameError("What.", value="a;b", position=1, suggestion="a,b", path="a.ini", line=3, column=7, advice="Do."),
    IniError("What.", path="a.ini", line=3, column=7),
    LicenseFileError("What.", path="a.lic", line=3, column=7),
    CheckoutDenied("What.", feature="CAD", reason="expired", advice="Do.", code=-10),
    SeatsTaken("What.", feature="CAD", reason="seats-taken", in_use=5, total=5, retry_after_s=2.5, advice="Do.", code=-4),
    TriadUnavailable("What.", probes=(PROBE,), advice="Do.", code=-1),
    NoServerReachable("What.", probes=(PROBE,)),
    NoQuorum("What.", probes=(PROBE,)),
    CheckoutTimeout("What.", probes=(PROBE, PROBE)),
    LeaseLost("What.", reason="gone", last_confirmed_s_ago=1.5, advice="Do."),
    LeaseForked("What.", reason="forked", last_confirmed_s_ago=1.5),
    ProtocolError("What.", code=-42),
    ClientClosed("What.", advice="Do."),
]
TREE = {
    "PalError": "Exception",
    "ConfigError": "PalError ValueError",
    "ServerNameError": "ConfigError",
    "IniError": "ConfigError",
    "LicenseFileError": "ConfigError",
    "CheckoutDenied": "PalError",
    "SeatsTaken": "CheckoutDenied",
    "TriadUnavailable": "PalError",
    "NoServerReachable": "TriadUnavailable",
    "NoQuorum": "TriadUnavailable",
    "CheckoutTimeout": "TriadUnavailable TimeoutError",
    "LeaseLost": "PalError",
    "LeaseForked": "LeaseLost",
    "ProtocolError": "PalError",
    "ClientClosed": "PalError",
}


def test_the_tree_is_the_one_of_the_api_page() -> None:
    """api, Errors, on one screen: no foreign exception leaves the SDK, so there is no other root."""
    found = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, BaseException)}
    assert {name: " ".join(base.__name__ for base in kind.__bases__) for name, kind in found.items()} == TREE
    assert {type(example).__name__ for example in EXAMPLES} == set(TREE)


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_an_error_pickles_and_keeps_its_message_and_facts(error: PalError, protocol: int) -> None:
    """api: every error pickles, for process pools and task queues."""
    again = pickle.loads(pickle.dumps(error, protocol))  # noqa: S301  # our own bytes
    assert type(again) is type(error)
    assert (str(again), again.args, vars(again)) == (str(error), error.args, vars(error))
    assert (again.code, again.retryable, again.advice, again.message) == (error.code, error.retryable, error.advice, "What.")


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_copies_and_keeps_its_notes(error: PalError) -> None:
    """copy() goes the same way as pickling; ``add_note`` is part of an exception."""
    error = copy.copy(error)
    error.add_note("seen on pc7")
    again = copy.deepcopy(error)
    assert again.__notes__ == ["seen on pc7"]
    assert str(again) == str(error)


def test_the_advice_stands_on_a_line_of_its_own() -> None:
    """Errors: ``str(error)`` is the message, and the advice below it."""
    assert str(PalError("What.", advice="Do.")) == "What.\nDo."
    assert str(PalError("What.")) == "What."


def test_codes_are_the_fields_own() -> None:
    """Protocol, Problems, last table; a code that is given outweighs the class's own."""
    assert [kind.code for kind in (NoServerReachable, NoQuorum, CheckoutTimeout, LeaseLost, ProtocolError, PalError)] == [
        -15,
        -97,
        -7,
        -41,
        -12,
        None,
    ]
    assert ProtocolError("x", code=-83).code == -83


def test_what_may_pass_by_itself_says_so() -> None:
    """api: ``retryable``."""
    assert {type(example).__name__ for example in EXAMPLES if example.retryable} == {
        "SeatsTaken",
        "TriadUnavailable",
        "NoServerReachable",
        "NoQuorum",
        "CheckoutTimeout",
    }
