"""Ctrl-C at each moment at which the interpreter can notice it: when a function begins, and when a call of C code has ended."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from itertools import count, takewhile
from types import FrameType

import pytest

import palclient
from fakeserver import FakeTriad
from palclient import Acquired, Client, Lease, checkout
from palclient.client import default_client
from palclient.models import Event
from tests import hostile
from tests.canned import CannedMaster
from tests.children import LIMIT_S, wait_until

PACKAGE = palclient.__path__[0]
ROOM = 5000  # seats: more than there are moments


class CtrlC:
    """A profile function that raises KeyboardInterrupt at one moment of our code on this thread, and then leaves."""

    def __init__(self, moment: int) -> None:
        self._left = moment
        self.where = ""

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        """What the interpreter calls."""
        if event in ("call", "c_return") and frame.f_code.co_filename.startswith(PACKAGE) and not is_finalizing(frame):
            self._left -= 1
            if not self._left:
                self.where = f"{frame.f_code.co_qualname}, line {frame.f_lineno}"
                sys.setprofile(None)
                raise KeyboardInterrupt


def is_finalizing(frame: FrameType | None) -> bool:
    """Whether this runs in a finalizer, where Python itself takes no notice of Ctrl-C."""
    while frame is not None and frame.f_code.co_name != "__del__":
        frame = frame.f_back
    return frame is not None


def interrupted(take: Callable[[], Lease], moment: int) -> str:
    """Check out and in, with Ctrl-C at this moment.  Gives where it came; nothing when all was over before."""
    ctrl_c = CtrlC(moment)
    try:
        sys.setprofile(ctrl_c)
        with take() as lease:
            assert lease.feature == "X"
    except KeyboardInterrupt:
        pass
    finally:
        sys.setprofile(None)
    return ctrl_c.where


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # one that Ctrl-C loses between two lines closes by itself
@pytest.mark.filterwarnings("ignore:.*was dropped without checkin:ResourceWarning")  # Ctrl-C between the checkout and the block
def test_ctrl_c_at_any_moment_of_a_checkout_or_a_return_leaves_no_seat_taken_and_no_lock() -> None:
    """Issue "the client in full": a checkout given up by Ctrl-C leaves no seat, and the next one of the same process works: nothing hangs."""
    with FakeTriad(features={"X": ROOM}, in_process=True, ttl_s=300.0) as triad:
        triad.wait_until_serving(LIMIT_S)
        with default_client(servers=triad.servername) as client:
            client.checkout("X").checkin()
            came = list(takewhile(bool, (interrupted(lambda: checkout("X", servers=triad.servername), moment) for moment in count(1))))
            gc.collect()
            wait_until(lambda: client.usage()[0].in_use == 0, "every seat is back")
    assert {where.split(",")[0] for where in came} >= {"Client.checkout", "Home.open", "Session.acquire", "Task.run", "Lease.checkin"}


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.filterwarnings("ignore:.*was dropped without checkin:ResourceWarning")
@pytest.mark.parametrize("stride", [11, pytest.param(1, marks=pytest.mark.slow)])
def test_ctrl_c_at_any_moment_of_the_first_checkout_hinders_no_later_one(stride: int) -> None:
    """The first use reads the configuration, looks the name up and begins the threads: none of that may be left half begun for good."""
    with hostile.Server(CannedMaster()) as server:
        for moment in count(1, stride):
            heard: list[Event] = []
            with Client(f"{server.port}@localhost", on_event=heard.append) as client:
                where = interrupted(lambda client=client: client.checkout("X"), moment)  # type: ignore[misc]  # mypy sees no default argument
                with client.checkout("X") as lease:
                    keeper = client._home.open().keeper._thread
                    assert keeper is not None and keeper.is_alive(), where  # noqa: PT018  # one thing is asked
                    wait_until(lambda: lease.id in [event.lease_id for event in heard if isinstance(event, Acquired)], f"it is told, {where}")  # noqa: B023  # is called here
            if not where:
                break
    assert moment > 300
