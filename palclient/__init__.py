"""palclient: floating licenses from three redundant servers.

    from palclient import checkout

    with checkout("RISK_IND80") as lease:
        run_the_application(lease)

Importing does nothing and loads nothing but this file; each name is looked up in its module when it is first used.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:  # never true at run time; type checkers and freezers, which read the code, see every module here
    import os
    from collections.abc import Callable

    from palclient import models
    from palclient.async_client import Acquiring
    from palclient.async_client import AsyncClient as AsyncClient
    from palclient.async_client import AsyncLease as AsyncLease
    from palclient.client import Client as Client
    from palclient.client import Lease as Lease
    from palclient.config import Config as Config
    from palclient.config import find_servername as find_servername
    from palclient.core.retry import RetryPolicy as RetryPolicy
    from palclient.errors import CheckoutDenied as CheckoutDenied
    from palclient.errors import CheckoutTimeout as CheckoutTimeout
    from palclient.errors import ClientClosed as ClientClosed
    from palclient.errors import ConfigError as ConfigError
    from palclient.errors import IniError as IniError
    from palclient.errors import LeaseForked as LeaseForked
    from palclient.errors import LeaseLost as LeaseLost
    from palclient.errors import LicenseFileError as LicenseFileError
    from palclient.errors import NoQuorum as NoQuorum
    from palclient.errors import NoServerReachable as NoServerReachable
    from palclient.errors import PalError as PalError
    from palclient.errors import ProtocolError as ProtocolError
    from palclient.errors import SeatsTaken as SeatsTaken
    from palclient.errors import ServerNameError as ServerNameError
    from palclient.errors import TriadUnavailable as TriadUnavailable
    from palclient.featurelines import Component as Component
    from palclient.featurelines import FeatureLine as FeatureLine
    from palclient.featurelines import PackageLine as PackageLine
    from palclient.ini import IniDocument as IniDocument
    from palclient.ini import read_ini as read_ini
    from palclient.licensefile import LicenseFile as LicenseFile
    from palclient.licensefile import read_license_file as read_license_file
    from palclient.licensetext import Problem as Problem
    from palclient.models import Acquired as Acquired
    from palclient.models import Counters as Counters
    from palclient.models import Endpoint as Endpoint
    from palclient.models import FeatureUsage as FeatureUsage
    from palclient.models import Grant as Grant
    from palclient.models import Holder as Holder
    from palclient.models import LeaseState as LeaseState
    from palclient.models import Lost as Lost
    from palclient.models import MasterChanged as MasterChanged
    from palclient.models import NodeStatus as NodeStatus
    from palclient.models import Probe as Probe
    from palclient.models import Reacquired as Reacquired
    from palclient.models import Recovered as Recovered
    from palclient.models import Resumed as Resumed
    from palclient.models import Returned as Returned
    from palclient.models import ServerName as ServerName
    from palclient.models import Suspect as Suspect
    from palclient.models import TriadStatus as TriadStatus
    from palclient.models import Waiting as Waiting
    from palclient.optionsfile import OptionGroup as OptionGroup
    from palclient.optionsfile import OptionRule as OptionRule
    from palclient.optionsfile import OptionsFile as OptionsFile
    from palclient.optionsfile import OtherOption as OtherOption
    from palclient.optionsfile import read_options_file as read_options_file
    from palclient.redirect import FileChange as FileChange
    from palclient.redirect import FileOutcome as FileOutcome
    from palclient.redirect import RedirectPlan as RedirectPlan
    from palclient.redirect import RedirectReport as RedirectReport
    from palclient.redirect import plan_redirect as plan_redirect
    from palclient.redirect import undo_redirect as undo_redirect
    from palclient.serverlines import ServerLine as ServerLine
    from palclient.serverlines import VendorLine as VendorLine
    from palclient.servername import parse_servername as parse_servername
    from palclient.signals import install_signal_handlers as install_signal_handlers

__version__ = "0.1.0"

_HOMES = {
    "async_client": ("AsyncClient", "AsyncLease"),
    "client": ("Client", "Lease"),
    "config": ("Config", "find_servername"),
    "core.retry": ("RetryPolicy",),
    "errors": (
        "CheckoutDenied CheckoutTimeout ClientClosed ConfigError IniError LeaseForked LeaseLost LicenseFileError NoQuorum NoServerReachable PalError"
        " ProtocolError SeatsTaken ServerNameError TriadUnavailable"
    ).split(),
    "featurelines": ("Component", "FeatureLine", "PackageLine"),
    "ini": ("IniDocument", "read_ini"),
    "licensefile": ("LicenseFile", "read_license_file"),
    "licensetext": ("Problem",),
    "models": (
        "Acquired Counters Endpoint FeatureUsage Grant Holder LeaseState Lost MasterChanged NodeStatus Probe Reacquired Recovered Resumed Returned ServerName"
        " Suspect TriadStatus Waiting"
    ).split(),
    "optionsfile": ("OptionGroup", "OptionRule", "OptionsFile", "OtherOption", "read_options_file"),
    "redirect": "FileChange FileOutcome RedirectPlan RedirectReport plan_redirect undo_redirect".split(),
    "serverlines": ("ServerLine", "VendorLine"),
    "servername": ("parse_servername",),
    "signals": ("install_signal_handlers",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = ["__version__", "acheckout", "checkout", *_HOME_OF]  # noqa: PLE0604  # the names are in the table above


def checkout(
    feature: str,
    *,
    version: str = "0",
    count: int = 1,
    servers: "str | models.ServerName | None" = None,
    ini: "str | os.PathLike[str] | None" = None,
    timeout: float = 10.0,
    wait: float | None = 0.0,
    reacquire: str = "auto",
    on_event: "Callable[[models.Event], None] | None" = None,
) -> "Lease":
    """Take ``count`` seats of ``feature``, and keep them until the lease is returned.

    The triad is found by ``servers`` (a SERVERNAME text), by the INI file ``ini``, or where an application's configuration usually stands (I4).  One client
    for each server list serves the whole process.

    Args:
        feature: the name in the license file's FEATURE line.
        version: the lowest version of the feature that will do.
        count: seats, from 1.
        servers: ``port@host``, or three of them with commas between; it outranks all else.
        ini: the path of the INI file with the SERVERNAME entry.
        timeout: seconds that may pass without a word of a serving master; 0 asks every node once.
        wait: seconds to stand in line when the pool is full: 0 not at all, None for ever.
        reacquire: ``"auto"`` claims a seat again that was lost, ``"never"`` does not.
        on_event: is called with each event of the lease, in order, on a thread of its own.

    Returns:
        A ``Lease``: a context manager that gives the seats back.

    Raises:
        ConfigError: no usable SERVERNAME (``ServerNameError``, ``IniError``).
        CheckoutDenied: the master said no (``SeatsTaken`` when the pool is full).
        TriadUnavailable: no master answered in time (``NoServerReachable``, ``NoQuorum``, ``CheckoutTimeout``).
        ProtocolError: a server does not speak the protocol.

    Blocks for at most ``timeout`` plus ``wait``.
    """
    from palclient.client import default_client

    client = default_client(servers=servers, ini=ini)
    return client.checkout(feature, version=version, count=count, timeout=timeout, wait=wait, reacquire=reacquire, on_event=on_event)


def acheckout(
    feature: str,
    *,
    version: str = "0",
    count: int = 1,
    servers: "str | models.ServerName | None" = None,
    ini: "str | os.PathLike[str] | None" = None,
    timeout: float = 10.0,
    wait: float | None = 0.0,
    reacquire: str = "auto",
    on_event: "Callable[[models.Event], None] | None" = None,
) -> "Acquiring":
    """Take seats as ``checkout`` does, in a program on asyncio.

    Either ``async with acheckout("X") as lease``, or ``lease = await acheckout("X")``.

    Arguments, errors and times are those of ``checkout``, but that ``on_event`` is called on the event loop.  The lease is an ``AsyncLease``.  A task that is
    cancelled meanwhile leaves no seat taken; a loop that is blocked does not delay the renewals.

    Raises ConfigError at once, everything else when it is awaited.
    """
    from palclient.async_client import default_async_client

    client = default_async_client(servers=servers, ini=ini)
    return client.checkout(feature, version=version, count=count, timeout=timeout, wait=wait, reacquire=reacquire, on_event=on_event)


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'palclient' has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"palclient.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
