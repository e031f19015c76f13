"""A node on its port: uvicorn around a shell, from the first request to the last."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import threading
from collections.abc import Awaitable, Callable
from functools import partial

import uvicorn
from starlette.routing import Router

from fakeserver.connection import NodeProtocol
from fakeserver.door import Door
from fakeserver.events import Tick
from fakeserver.sabotage import Stage
from fakeserver.server import End, Shell

KEEP_ALIVE_S = 3600  # far above any renewal interval; uvicorn's 5 s would close the connections of every quiet client
EXIT_S = 1  # how long uvicorn may wait for replies that are on their way when the node stops


async def serve(
    shell: Shell, listener: socket.socket, *, when_ready: Callable[[], None], when_staged: Callable[[Stage], Awaitable[None]] | None = None
) -> End:
    """Serve ``shell`` on ``listener`` until it halts.  ``when_staged`` gets what faults need to be played, before the node begins."""
    door = Door(shell, shell.begin)
    app = Router(default=door)  # a route's pattern stops at a newline
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http=partial(NodeProtocol, identity=shell.identity, door=door),  # type: ignore[arg-type]  # whatever makes a protocol will do
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=EXIT_S,
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="uvicorn")
    while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn has no other way to tell; it takes a few turns of the loop
        await asyncio.sleep(0)
    stop_on_signals(shell)
    if when_staged is not None:
        await when_staged(Stage(server=server, door=door, shell=shell, address=listener.getsockname()[:2]))
    shell.handle(Tick())
    when_ready()
    end = await shell.wait_halted()
    server.should_exit = True
    await serving
    await shell.close()
    return end


def stop_on_signals(shell: Shell) -> None:
    """Let SIGTERM and SIGINT end the node in good order, in the place of uvicorn's own way, which knows of no handover (E6)."""
    if threading.current_thread() is not threading.main_thread():
        return  # a node inside somebody else's process, whose signals are not ours
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(shell.stop))
    if sys.platform != "win32":  # whoever started this process may have blocked them
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT))
