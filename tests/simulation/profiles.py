"""How the dice of a history are loaded."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How the dice are loaded.  Faults are weights; rates and shares are fractions; times are seconds.

    ``strands`` checkouts of each client go on side by side.  ``spares_leases``: nothing that breaks here may cost a lease.
    """

    name: str = "mixed"
    clients: int = 5
    seats: int = 2
    faults: int = 8
    kill: float = 3
    power_cut: float = 2
    crash_in_midst: float = 2
    freeze: float = 3
    stop: float = 1
    cut: float = 3
    one_way: float = 2
    isolate: float = 1
    cut_client: float = 2
    storm: float = 2
    client_sleep: float = 1
    client_kill: float = 1
    blackout: float = 0
    drift: float = 0.008
    loss: float = 0.01
    double: float = 0.01
    slow_share: float = 0.02
    slow_s: float = 0.5
    fault_s: tuple[float, float] = (0.2, 9.0)
    hold_s: float = 4.0
    think_s: float = 3.0
    two_seats: float = 0.1
    strands: int = 1
    spares_leases: bool = False
    grants: str = "replicated"


PROFILES = {
    profile.name: profile
    for profile in (
        Profile(),
        Profile(name="drift", drift=0.0099, freeze=5, cut=5, faults=6),
        Profile(name="slow", slow_share=0.3, slow_s=2.0, loss=0.03, double=0.05),
        Profile(name="reboots", power_cut=8, kill=5, crash_in_midst=6, blackout=2, faults=12, fault_s=(0.05, 5.0)),
        Profile(name="flapping", cut=10, one_way=10, isolate=5, faults=20, fault_s=(0.1, 4.5)),
        Profile(name="full", clients=8, seats=1, hold_s=8.0, think_s=0.2, two_seats=0.0),
        Profile(name="frozen", freeze=12, client_sleep=4, faults=10, fault_s=(1.0, 12.0)),
        Profile(
            name="one fault",
            clients=3,
            seats=4,
            strands=2,
            faults=1,
            storm=0,
            cut_client=0,
            client_sleep=0,
            client_kill=0,
            loss=0.0,
            double=0.0,
            slow_share=0.0,
            fault_s=(0.2, 20.0),
            hold_s=16.0,
            think_s=0.5,
            spares_leases=True,
        ),
    )
}


FLEXNET = Profile(name="flexnet", grants="flexnet", clients=8, seats=1, two_seats=0.0, hold_s=8.0, think_s=0.2, kill=6, cut_client=6)
"""The honest emulation (G5, E9), which promises less: it is no part of the proof, it shows what the proof is worth."""
