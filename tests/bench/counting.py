"""A client whose requests are counted as they are begun: those that it cancels later, too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from palclient import Client
from palclient.core.flow import Call
from palclient.core.retry import RetryPolicy
from palclient.home import Home, Where
from palclient.session import Session
from palclient.transport import Exchange, Transport, Wakeup, monotonic


class CountingTransport(Transport):
    """``sent_at`` has an instant of the client's clock for every request."""

    def __init__(self) -> None:
        super().__init__()
        self.sent_at: list[float] = []

    def exchange(self, call: Call, wakeup: Wakeup) -> Exchange:
        """As ever."""
        self.sent_at.append(monotonic())
        return super().exchange(call, wakeup)


@contextmanager
def counted_client(servername: str) -> Iterator[tuple[Client, CountingTransport]]:
    """A client as ``Client(servername)`` makes it, and what it sends."""
    transport = CountingTransport()
    with Client(servername) as client:
        where = Where(servers=servername, ini=None, app=None, ini_names=None)
        client._home = Home(where, lambda config: Session(config, RetryPolicy(), None, transport))
        yield client, transport
