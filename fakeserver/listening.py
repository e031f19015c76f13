"""The port of a node: open, refusing, or deaf to whoever wants to connect (F)."""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import suppress
from enum import Enum

import uvicorn

from fakeserver.process import bound

BACKLOG = 2048  # uvicorn's own number


class Port(Enum):
    """How the port is."""

    OPEN = "somebody listens"
    REFUSING = "nobody listens: connecting is refused"
    DEAF = "connecting comes to no end"


class Listening:
    """Opens and closes the port of a uvicorn server that runs."""

    def __init__(self, server: uvicorn.Server, address: tuple[str, int]) -> None:
        self._server = server
        self._address = address
        self._is = Port.OPEN
        self._deaf: list[socket.socket] = []

    async def be(self, wanted: Port) -> None:
        """Change the port; when this returns, it is as wanted.  Raises NotImplementedError for DEAF elsewhere than on Linux."""
        if wanted is self._is:
            return
        if wanted is Port.DEAF and sys.platform != "linux":
            raise NotImplementedError("drop_syn: only Linux leaves a connection unanswered when too many wait; use blackhole or refuse.")
        self.close()
        self._is = wanted
        if wanted is Port.OPEN:
            await self._open()
        elif wanted is Port.DEAF:
            await self._fill()

    def stop_accepting(self) -> None:
        """Take nobody in any more.  To be followed by ``close`` some turns of the loop later: asyncio loses who is being taken in while it closes."""
        for server in self._server.servers:
            for listener in server.sockets:
                with suppress(NotImplementedError):  # Windows' loop, which has no such trouble
                    server.get_loop().remove_reader(listener.fileno())

    def close(self) -> None:
        """Let nobody in any more."""
        for server in self._server.servers:
            server.close()
        self._server.servers.clear()
        for each in self._deaf:
            each.close()
        self._deaf.clear()

    async def _open(self) -> None:
        listener = bound(*self._address)
        listener.listen(BACKLOG)
        loop = asyncio.get_running_loop()
        self._server.servers.append(await loop.create_server(self._protocol, sock=listener, backlog=BACKLOG))

    def _protocol(self) -> asyncio.Protocol:
        """As uvicorn makes one for each connection."""
        config = self._server.config
        protocol: asyncio.Protocol = config.http_protocol_class(  # type: ignore[call-arg]
            config=config, server_state=self._server.server_state, app_state=self._server.lifespan.state
        )
        return protocol

    async def _fill(self) -> None:
        """Listen with no room to wait in but for one, and take that: from then on the kernel drops whoever knocks."""
        listener = bound(*self._address)
        listener.listen(0)
        self._deaf.append(listener)
        filler = socket.socket(listener.family, socket.SOCK_STREAM)
        self._deaf.append(filler)
        filler.setblocking(False)
        await asyncio.get_running_loop().sock_connect(filler, self._address)  # not before is the place taken
