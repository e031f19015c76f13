"""Small servers that misbehave, on loopback, one daemon thread per connection.

``with Server(drips) as server:`` listens on ``server.port`` until the block ends, then closes every connection and joins its threads.  A
behaviour is a function ``behave(visit)``; it ends when it returns or when the connection does.
"""

from __future__ import annotations

import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self

from tests.bench.null_node import reply, whole_request

ACCEPTED_AT_MOST = 2000  # connections in one test
PACE_S = 0.002  # between the bytes of a drip
JOIN_S = 5.0
LINGER = "hh" if sys.platform == "win32" else "ii"  # two shorts on Windows, two ints elsewhere


class Visit:
    """One accepted connection, as a behaviour sees it."""

    def __init__(self, sock: socket.socket, server: Server, number: int) -> None:
        self.sock = sock
        self.server = server
        self.number = number  # from 0, in the order of arrival

    def read_request(self) -> bytes:
        """The next whole request.  Empty when the peer closed."""
        buffer = b""
        while not whole_request(buffer):
            data = self.sock.recv(65536)
            if not data:
                return b""
            buffer += data
        self.server.requests.append(buffer)
        self.server.was_asked.set()
        return buffer

    def send(self, data: bytes) -> None:
        """All of it."""
        self.sock.sendall(data)

    def pause(self) -> bool:
        """Wait a moment, without holding up the end of the test.  Returns whether the server goes on."""
        return not self.server.is_over.wait(PACE_S)

    def wait_end(self) -> None:
        """Wait until the peer closes, and note that it did."""
        with suppress(OSError):
            while self.sock.recv(65536):
                pass
        if not self.server.is_over.is_set():
            self.server.saw_end.set()

    def reset(self) -> None:
        """Close with a RST instead of a FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack(LINGER, 1, 0))
        self.sock.close()


Behaviour = Callable[[Visit], None]


class Server:
    """A listening socket whose connections all behave in one way.

    ``requests`` holds what was read, ``visits`` the connections; ``was_asked`` is set by the first request, ``saw_end`` when a peer closed.
    """

    def __init__(self, behave: Behaviour, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self._behave = behave
        self._listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=128)
        self.host = host
        self.port: int = self._listener.getsockname()[1]
        self.requests: list[bytes] = []
        self.visits: list[Visit] = []
        self.was_asked = threading.Event()
        self.saw_end = threading.Event()
        self.is_over = threading.Event()
        self._threads = [threading.Thread(target=self._accept, name="hostile-accept", daemon=True)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.is_over.set()
        with suppress(OSError):  # wakes accept() on every system
            socket.create_connection((self.host, self.port), timeout=1).close()
        self._threads[0].join(JOIN_S)
        self._listener.close()
        for visit in self.visits:
            with suppress(OSError):
                visit.sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(JOIN_S)
            assert not thread.is_alive(), f"{thread.name} did not end"

    def _accept(self) -> None:
        for number in range(ACCEPTED_AT_MOST):
            sock, _ = self._listener.accept()
            if self.is_over.is_set():
                sock.close()
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            visit = Visit(sock, self, number)
            self.visits.append(visit)
            thread = threading.Thread(target=self._serve, args=(visit,), name=f"hostile-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, visit: Visit) -> None:
        with visit.sock, suppress(OSError):  # the peer may leave at any time
            self._behave(visit)


# ------------------------------------------------------------------------------------------------------------ behaviours

GOOD = reply(b"200 OK", '{"good":true}')


def answers(visit: Visit) -> None:
    """As it should be: one answer per request, for as long as the peer likes."""
    while visit.read_request():
        visit.send(GOOD)


def answers_once(visit: Visit) -> None:
    """Answers, promises to keep the connection, and closes it."""
    if visit.read_request():
        visit.send(GOOD)


def says_close(visit: Visit) -> None:
    """Answers and says that it will close."""
    if visit.read_request():
        visit.send(GOOD.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
        visit.wait_end()


def is_silent(visit: Visit) -> None:
    """Takes the request and says nothing."""
    visit.read_request()
    visit.wait_end()


def hangs_up(visit: Visit) -> None:
    """Takes the request and closes."""
    visit.read_request()


def cuts_short(visit: Visit) -> None:
    """Closes in the middle of the body."""
    if visit.read_request():
        visit.send(GOOD[:-4])


def cuts_the_head_short(visit: Visit) -> None:
    """Closes in the middle of the headers."""
    if visit.read_request():
        visit.send(GOOD[:24])


def resets(visit: Visit) -> None:
    """Takes the request and resets the connection."""
    visit.read_request()
    visit.reset()


def drips(visit: Visit) -> None:
    """Sends a byte at a time of a body that would be whole in a year."""
    if visit.read_request():
        visit.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4000000\r\n\r\n")
        while visit.pause():
            visit.send(b"x")


def drips_its_head(visit: Visit) -> None:
    """Sends a byte at a time of a header that does not end."""
    if visit.read_request():
        visit.send(b"HTTP/1.1 200 OK\r\nX-Drip: ")
        while visit.pause():
            visit.send(b"x")


def speaks_ssh(visit: Visit) -> None:
    """Not HTTP, and not waiting to be asked."""
    visit.send(b"SSH-2.0-OpenSSH_9.6\r\n")
    visit.wait_end()


def speaks_tls(visit: Visit) -> None:
    """What a TLS server says to a plain request: a fatal alert."""
    if visit.read_request():
        visit.send(b"\x15\x03\x03\x00\x02\x02\x28")
        visit.wait_end()


def is_a_web_page(visit: Visit) -> None:
    """HTML with status 200: a proxy's or a portal's page."""
    while visit.read_request():
        visit.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: 19\r\n\r\n<html>Hello!</html>")


def redirects(visit: Visit) -> None:
    """Sends the client elsewhere."""
    while visit.read_request():
        visit.send(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")


def announces_too_much(visit: Visit) -> None:
    """A body of 5 MB, by its Content-Length."""
    if visit.read_request():
        visit.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n")
        visit.wait_end()


def never_stops(visit: Visit) -> None:
    """A chunked body without an end."""
    if visit.read_request():
        visit.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not visit.server.is_over.is_set():
            visit.send(b"8000\r\n" + b"x" * 0x8000 + b"\r\n")


def never_stops_its_head(visit: Visit) -> None:
    """Headers without an end."""
    if visit.read_request():
        visit.send(b"HTTP/1.1 200 OK\r\n")
        while not visit.server.is_over.is_set():
            visit.send(b"X-More: and more\r\n" * 100)


def says_continue_for_ever(visit: Visit) -> None:
    """Interim answers without a final one."""
    if visit.read_request():
        while visit.pause():
            visit.send(b"HTTP/1.1 100 Continue\r\n\r\n")


def answers_twice(visit: Visit) -> None:
    """Two answers to one request; the second must not be taken for the answer to the next."""
    while visit.read_request():
        visit.send(GOOD + reply(b"200 OK", '{"good":false}'))


def answers_in_chunks(visit: Visit) -> None:
    """Chunked, as a streaming server does it."""
    while visit.read_request():
        visit.send(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{"a\r\n4\r\n":1}\r\n0\r\n\r\n')


def answers_until_the_end(visit: Visit) -> None:
    """HTTP/1.0: the body ends with the connection."""
    if visit.read_request():
        visit.send(b'HTTP/1.0 200 OK\r\n\r\n{"old":true}')


# ------------------------------------------------------------------------------------------------- nobody, in two ways


@contextmanager
def closed_port(host: str = "127.0.0.1") -> Iterator[int]:
    """A port that refuses: taken, so that nobody else gets it, and not listening."""
    with socket.socket() as holder:
        holder.bind((host, 0))
        yield holder.getsockname()[1]


@contextmanager
def deaf_port(host: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """A port that does not even answer connection requests: its queue is full and nobody accepts (Linux drops the SYN then)."""
    with socket.create_server((host, port), backlog=0) as listener:
        name = listener.getsockname()
        waiting = []
        for _ in range(3):  # Linux lets one more in than the backlog says
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(name)
            waiting.append(sock)
        try:
            yield name[1]
        finally:
            for sock in waiting:
                sock.close()
