"""What becomes of the seats of many clients at the end of their process."""

from __future__ import annotations

import pytest

from palclient.lifetime import EXIT_S, EXITS_S, SeatOwner, close_each


class Noted:
    """Holds seats, and notes how long it was given to return them."""

    def __init__(self) -> None:
        self.given_s: list[float] = []

    def forget(self) -> None:
        """Nothing."""

    def close(self, timeout_s: float) -> None:
        """Note it."""
        self.given_s.append(timeout_s)
        raise OSError("the network is gone")


@pytest.mark.parametrize("clients", [1, 2, 3, 50])
def test_no_client_whose_servers_are_silent_uses_up_the_time_of_another(clients: int) -> None:
    """Architecture: at exit 1 s for each, 2 s in all; the seats of every client are to be asked back within it."""
    owners = [Noted() for _ in range(clients)]
    close_each(list[SeatOwner](owners))
    shares_s = [owner.given_s for owner in owners]
    assert all(len(given_s) == 1 and given_s[0] <= EXIT_S for given_s in shares_s)
    assert shares_s[0][0] <= EXITS_S / clients
