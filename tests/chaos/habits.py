"""What the clients of the chaos suite do with a triad: some fight over few seats, some ask again and again for one of many."""

from __future__ import annotations

from dataclasses import dataclass

from fakeserver.settings import failover_s

HEARTBEAT_S = 0.2  # twice the default: a busy machine delays a process by tens of milliseconds
ELECTION_S = failover_s(HEARTBEAT_S)
READ_S = 0.1
RACE_SEATS = 3
WIDE_SEATS = 50
CROWD_SEATS = 140
PAIR_SEATS = 2  # nobody waits in line for these: what callers see must be one counter (see linear.py)
PATIENT_S = ELECTION_S + 2.0  # who waits so long sees no error in a failover


@dataclass(frozen=True, slots=True, kw_only=True)
class Habit:
    """How one loop of a client behaves; in seconds."""

    feature: str
    timeout_s: float
    wait_s: float
    hold_s: tuple[float, float]
    pause_s: float


# The pauses: a returned id is remembered for a minute, and an election carries all of them; with a hundred returns a second it takes longer than E.
RACE = Habit(feature="RACE", timeout_s=PATIENT_S, wait_s=1.0, hold_s=(0.2, 2.5), pause_s=0.02)
WIDE = Habit(feature="WIDE", timeout_s=PATIENT_S, wait_s=0.0, hold_s=(0.0, 0.0), pause_s=0.2)
PAIR = Habit(feature="PAIR", timeout_s=PATIENT_S, wait_s=0.0, hold_s=(0.0, 0.3), pause_s=0.2)
CROWD = Habit(feature="CROWD", timeout_s=12.0, wait_s=2.0, hold_s=(1.0, 6.0), pause_s=1.0)  # of each of two hundred, at a slower triad
HABITS = (RACE, WIDE, PAIR)
FEATURES = {"RACE": RACE_SEATS, "WIDE": WIDE_SEATS, "PAIR": PAIR_SEATS, "CROWD": CROWD_SEATS}
