"""From an endpoint to a connection, on an event loop: the twin of ``dial.py``, which says what both have in common."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from palclient.core.flow import Outcome
from palclient.transport.dial import NOBODY, Search, at_address, defeat, is_own_echo, unheard
from palclient.transport.system import Trouble, monotonic, trouble_of

if TYPE_CHECKING:
    from palclient.transport.async_connections import AsyncConnection
    from palclient.transport.connections import NodeKey
    from palclient.transport.names import Address, Names


class Bell:
    """Wakes one coroutine of a loop, from any thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._rung = asyncio.Event()

    def open(self) -> None:
        """Nothing: it is ready."""

    def nudge(self) -> None:
        """Wake it."""
        with suppress(RuntimeError):  # the loop was closed: nobody waits
            self._loop.call_soon_threadsafe(self._rung.set)

    async def wait(self, timeout_s: float) -> None:
        """Wait for a nudge, for so many seconds at most; nudges that came before count."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._rung.wait()
        self._rung.clear()


async def dial(key: NodeKey, names: Names, make: Callable[[socket.socket], AsyncConnection], *, by: float) -> None:
    """Connect to one address of the node after another, each with an equal share of the time; ``make`` gives a connected socket its protocol.

    Raises Trouble when no address is left.
    """
    addresses = await _addresses(key[0], names, by=by)
    troubles: list[Trouble] = []
    for position, address in enumerate(addresses):
        share_s = max(0.0, by - monotonic()) / (len(addresses) - position)
        try:
            sock = await _connected(address, key[1], share_s)
        except Trouble as trouble:
            troubles.append(Trouble(trouble.outcome, at_address(address, trouble.detail)))
            continue
        names.worked(key[0], address)
        connection = make(sock)
        await asyncio.get_running_loop().create_connection(lambda made=connection: made, sock=sock)  # type: ignore[misc]  # the default is the type
        return
    raise defeat(key[0], names, troubles)


async def _addresses(host: str, names: Names, *, by: float) -> tuple[Address, ...]:
    bell = Bell()
    search = Search(host, names, bell, now=monotonic(), by=by)
    try:
        while (found := search.advance(monotonic())) is None:
            await bell.wait(max(0.0, search.due - monotonic()))
    finally:
        search.cancel()
    return found


async def _connected(address: Address, port: int, share_s: float) -> socket.socket:
    """A socket that is connected to this address.  Raises Trouble."""
    family, (ip, _, *rest) = address
    began = monotonic()
    try:
        with ExitStack() as unwanted:
            sock = unwanted.enter_context(socket.socket(family, socket.SOCK_STREAM))
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.timeout(share_s):
                await asyncio.get_running_loop().sock_connect(sock, (ip, port, *rest))
            _refuse_echo(sock)
            unwanted.pop_all()
    except OSError as error:
        is_ours = isinstance(error, TimeoutError) and not error.errno
        raise (Trouble(Outcome.TIMED_OUT, unheard(monotonic() - began)) if is_ours else trouble_of(error)) from error
    return sock


def _refuse_echo(sock: socket.socket) -> None:
    if is_own_echo(sock):
        raise Trouble(Outcome.REFUSED, NOBODY)
