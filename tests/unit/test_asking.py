"""Arguments that no server could do anything with are refused before any is asked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from palclient.asking import MAX_NAME, check_asked, checked_timeout
from palclient.errors import ConfigError


@pytest.mark.parametrize("count", [0, -1, 1.0, True, "2", None])
def test_a_count_that_is_no_number_of_seats_is_refused(count: Any) -> None:
    """api.md, Errors: no foreign exception leaves the SDK, and a peer is not blamed for the caller's slip."""
    with pytest.raises(ConfigError, match="whole number of seats"):
        check_asked("X", count)


@pytest.mark.parametrize("feature", ["", "two\nlines", "x" * (MAX_NAME + 1)])
def test_a_feature_that_is_no_name_is_refused(feature: str) -> None:
    """Protocol, checkouts: a name of at most 100 characters on one line."""
    with pytest.raises(ConfigError, match="feature"):
        check_asked(feature, 1)
    check_asked("x" * MAX_NAME, 1)


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
