"""A master that answers at once, until the test changes the weather."""

from __future__ import annotations

from collections.abc import Callable

from tests import hostile
from tests.bench.null_node import NullNode, reply


class CannedMaster:
    """The behaviour of a ``hostile.Server`` that grants, renews and takes back, until the weather changes.

    ``weather`` says how requests are treated from then on, all whose target begins with ``spoilt``.
    ``ttl_s`` is written as three characters in the place of the canned node's 180.  ``asked`` holds, for each request, the number of its connection, its method
    and its target.  ``answer`` gives the bytes for a request; ``refusal`` says of a checkout that its id was returned.
    """

    def __init__(self, ttl_s: bytes = b"180") -> None:
        node = NullNode()
        node._listener.close()
        node._selector.close()
        self.answer = node.answer
        about = f'{{{node._about},"type":"urn:palclient:problem:id-returned","title":"returned","status":410,"code":-41}}'
        self.refusal = reply(b"410 Gone", about)
        self._ttl = b'"ttl_s":' + ttl_s
        self.weather: Callable[[hostile.Visit], None] | None = None
        self.spoilt = "/"
        self.asked: list[tuple[int, str, str]] = []

    def __call__(self, visit: hostile.Visit) -> None:
        """One connection."""
        while request := visit.read_request():
            method, target, _ = request.decode("ascii").split(" ", 2)
            self.asked.append((visit.number, method, target))
            if self.weather is not None and target.startswith(self.spoilt):
                self.weather(visit)
                return
            visit.send(self.answer(request).replace(b'"ttl_s":180', self._ttl))
