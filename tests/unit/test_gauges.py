"""What the chaos suite takes for growth."""

from __future__ import annotations

import os
import sys

import pytest

from tests.chaos.gauges import DESCRIPTORS_MORE, Gauges, Reading, reading


def gauges(*descriptors: int) -> Gauges:
    """Of one process, whose descriptors were so many at each reading."""
    return Gauges({("primary", 7): [Reading(each, 2, 30_000) for each in descriptors]})


def test_what_rises_all_the_time_is_told_and_what_goes_up_and_down_is_not() -> None:
    """A leak passes every mark and stays above; connections that rest with a process come and go with the fault before."""
    (told,) = gauges(*range(100, 100 + 12 * DESCRIPTORS_MORE, DESCRIPTORS_MORE)).grown()
    assert told.startswith("primary (process 7): at most ")
    assert not list(gauges(100, 400, 100, 100, 390, 400).grown())
    assert not list(gauges(100).grown())


def test_threads_and_memory_are_looked_at_too() -> None:
    """Each by a mark of its own."""
    threads = [Reading(10, each, 30_000) for each in (2, 2, 9, 9)]
    memory = [Reading(10, 2, each) for each in (30_000, 30_000, 70_000, 70_000)]
    assert len(list(Gauges({("a", 1): threads, ("b", 2): memory, ("c", 3): threads[:2]}).grown())) == 2
    assert Gauges({("a", 1): threads, ("b", 2): memory}).most() == Reading(0, 7, 40_000)
    assert Gauges().most() == Reading(0, 0, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's own count")
def test_this_process_can_be_read_and_one_that_is_gone_cannot() -> None:
    """Without a word: a process may end between two looks."""
    now = reading(os.getpid())
    assert now is not None
    assert now.descriptors > 2
    assert now.memory_kib > 1000
    assert reading(2**22 + 1) is None
