"""What a user may rely on: the names, the signatures, and that importing does nothing."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import palclient
from palclient import errors

NAMES = (
    "AsyncClient AsyncLease acheckout Counters install_signal_handlers "
    "Acquired CheckoutDenied CheckoutTimeout Client ClientClosed Component Config ConfigError Endpoint FeatureLine FeatureUsage Grant Holder "
    "IniDocument IniError Lease LeaseForked LeaseLost LeaseState LicenseFile LicenseFileError Lost MasterChanged NoQuorum NoServerReachable "
    "NodeStatus OptionGroup OptionRule OptionsFile OtherOption PackageLine PalError Probe Problem ProtocolError Reacquired Recovered Resumed "
    "RetryPolicy Returned SeatsTaken ServerLine ServerName ServerNameError Suspect TriadStatus TriadUnavailable VendorLine Waiting __version__ "
    "checkout find_servername parse_servername read_ini read_license_file read_options_file "
    "FileChange FileOutcome RedirectPlan RedirectReport plan_redirect undo_redirect"
).split()


def parameters(function: object) -> dict[str, object]:
    """The parameters of a callable with their defaults; an empty value where there is none."""
    return {name: one.default for name, one in inspect.signature(function).parameters.items() if name != "self"}  # type: ignore[arg-type]  # callable


def test_the_public_names_are_these() -> None:
    """api: names are fixed; a new one is added here, and in the changelog."""
    assert sorted(palclient.__all__) == sorted(NAMES)
    assert dir(palclient) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_is_there_and_says_what_it_is(name: str) -> None:
    """Style 12."""
    value = getattr(palclient, name)
    assert name == "__version__" or inspect.getdoc(value)
    assert getattr(palclient, name) is value


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    """As of any module."""
    with pytest.raises(AttributeError, match="no attribute 'chekout'"):
        palclient.chekout  # noqa: B018  # the look-up is what is tried


def test_the_signature_of_checkout_is_fixed() -> None:
    """api, first table."""
    assert parameters(palclient.checkout) == {
        "feature": inspect.Parameter.empty,
        "version": "0",
        "count": 1,
        "servers": None,
        "ini": None,
        "timeout": 10.0,
        "wait": 0.0,
        "reacquire": "auto",
        "on_event": None,
    }
    kinds = [one.kind for one in inspect.signature(palclient.checkout).parameters.values()]
    assert kinds[1:] == [inspect.Parameter.KEYWORD_ONLY] * 8


def test_a_client_takes_what_checkout_takes_but_the_configuration() -> None:
    """api: a Client knows its servers; ``None`` stands for the client's own value."""
    common = parameters(palclient.checkout).keys() - {"servers", "ini"}
    assert parameters(palclient.Client.checkout).keys() == common
    made = parameters(palclient.Client)
    assert {"servers", "ini", "app", "ini_names", "timeout", "retry", "holder", "reacquire", "on_event"} <= made.keys()
    assert (made["timeout"], made["reacquire"], made["retry"]) == (10.0, "auto", palclient.RetryPolicy())


def test_every_error_of_the_tree_is_public() -> None:
    """api, Errors: whoever catches one finds it beside ``checkout``."""
    tree = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.PalError)}
    assert tree <= set(NAMES)
    assert all(getattr(palclient, name) is getattr(errors, name) for name in tree)


def test_a_lease_refuses_to_be_pickled_and_says_what_to_do() -> None:
    """api: a lease belongs to one process."""
    with pytest.raises(TypeError, match="check out in the other process"):
        palclient.Lease.__reduce__(None)  # type: ignore[arg-type]  # a lease needs a triad; what it is asked here needs no lease


QUIET = """
import sys
sys.stdout = sys.stderr = None  # whatever is printed fails
import palclient
assert not [name for name in sys.modules if name.startswith("palclient.")], sorted(sys.modules)
"""


def test_importing_prints_nothing_and_loads_none_of_our_modules() -> None:
    """api: nothing is printed, nothing happens on import.  (Third parties, threads and files: tests/test_architecture.py.)"""
    done = subprocess.run([sys.executable, "-c", QUIET], check=False, timeout=30)
    assert done.returncode == 0
