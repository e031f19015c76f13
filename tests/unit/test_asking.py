"""Arguments that no server could do anything with are refused before any is asked."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from palclient import AsyncClient, Client, Holder
from palclient.asking import MAX_NAME, MAX_WORD, check_asked, check_holder, checked_timeout
from palclient.errors import ConfigError


@pytest.mark.parametrize("count", [0, -1, 1.0, True, "2", None])
def test_a_count_that_is_no_number_of_seats_is_refused(count: Any) -> None:
    """api.md, Errors: no foreign exception leaves the SDK, and a peer is not blamed for the caller's slip."""
    with pytest.raises(ConfigError, match="whole number of seats"):
        check_asked("X", count)


@pytest.mark.parametrize("feature", ["", "two\nlines", "x" * (MAX_NAME + 1), 5, None, b"X"])
def test_a_feature_that_is_no_name_is_refused(feature: Any) -> None:
    """Protocol, checkouts: a name of at most 100 characters on one line."""
    with pytest.raises(ConfigError, match="feature"):
        check_asked(feature, 1)
    check_asked("x" * MAX_NAME, 1)


@pytest.mark.parametrize("version", ["", "1\n2", "1" * (MAX_NAME + 1), 2026.1, None])
def test_a_version_that_is_no_text_is_refused(version: Any) -> None:
    """Protocol, checkouts: printable characters, at most 100."""
    with pytest.raises(ConfigError, match="version"):
        check_asked("X", 1, version)
    check_asked("X", 1, "1" * MAX_NAME)


@pytest.mark.parametrize(
    "holder",
    [
        Holder(user="", host="pc7"),
        Holder(user="ann", host=""),
        Holder(user="ann", host="pc7", app="two\nlines"),
        Holder(user="a" * (MAX_WORD + 1), host="pc7"),
        Holder(user="ann", host="pc7", display="\udcff"),
        Holder(user="ann", host="pc7", pid=-1),
        Holder(user="ann", host=7),  # type: ignore[arg-type]
    ],
)
def test_a_holder_that_no_server_would_take_down_is_refused(holder: Holder) -> None:
    """Protocol, checkouts: at most 256 characters on one line, and a server is not blamed for the caller's slip."""
    with pytest.raises(ConfigError, match=r"older"):
        Client("1@a", holder=holder)
    check_holder(Holder(user="\N{DEVANAGARI LETTER KA}\N{ZERO WIDTH JOINER}", host="pc7" * 80))


def test_a_user_whose_name_the_system_cannot_read_gets_a_seat(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protocol, checkouts: what is found in the environment is made to fit; nobody can be asked to mend it."""
    monkeypatch.setenv("USERNAME", "ann\udcff")
    monkeypatch.setenv("DISPLAY", "x" * 300)
    monkeypatch.setattr("sys.argv", ["/opt/two\nlines"])
    monkeypatch.setattr("socket.gethostname", lambda: "")
    holder = Client("1@a")._home.open().holder
    check_holder(holder)
    assert (holder.user, holder.host, holder.app) == ("ann?", "unknown", "two?lines")


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize("name", ["on_event", "retry", "holder", "transport"])
def test_an_argument_of_another_kind_is_refused_where_it_is_given(kind: Callable[..., Any], name: str) -> None:
    """api.md, Errors: no foreign exception leaves the SDK; and not a thread's log, long after, but the call tells of the slip."""
    with pytest.raises(ConfigError, match=f"{name} must be .*5"):
        kind("1@a", **{name: 5})
    client = kind("1@a")
    if name != "transport":
        with pytest.raises(ConfigError, match=f"{name} must be .*5"):
            client.with_options(**{name: 5})
    if name == "on_event":
        with pytest.raises(ConfigError, match=f"{name} must be .*5"):
            client.checkout("X", on_event=5)


def test_a_transport_for_the_other_kind_of_client_is_refused() -> None:
    """api.md: ``transport``."""
    with pytest.raises(ConfigError, match=r"transport must be an httpx\.BaseTransport or an httpx\.Client"):
        Client("1@a", transport=httpx.AsyncHTTPTransport())  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"transport must be an httpx\.AsyncBaseTransport or an httpx\.AsyncClient"):
        AsyncClient("1@a", transport=httpx.HTTPTransport())  # type: ignore[arg-type]


@pytest.mark.parametrize("seconds", [-1, float("nan"), "3", None, True])
def test_a_time_that_cannot_be_waited_is_refused(seconds: Any) -> None:
    """api.md, timeout: seconds, 0 or more."""
    with pytest.raises(ConfigError, match="time in seconds"):
        checked_timeout(seconds)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_an_output_that_cannot_be_written_is_said_in_words() -> None:
    """Issue, bad input: no traceback reaches a user of the command line."""
    with open("/dev/full", "wb") as full:
        code = "import sys; from palclient.cli import main; sys.exit(main(sys.argv[1:]))"
        ended = subprocess.run(
            [sys.executable, "-c", code, "config", "--servers", "1@a"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=30, check=False
        )
    assert ended.returncode == 1
    assert "could not be written" in ended.stderr
    assert "Traceback" not in ended.stderr
