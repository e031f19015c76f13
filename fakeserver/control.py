"""The control port: a fake triad under test from any language, over HTTP on the loopback interface (docs/reference/control.md).

A program's own port, apart from those of the nodes.  Whatever a browser could be made to send there is refused: a request with an ``Origin``, or for
a host that is no name of this machine.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote

from fakeserver.cluster import FakeTriad
from fakeserver.faults import to_json
from fakeserver.nodes import FakeNode
from fakeserver.process import FakeTriadError

BODY_LIMIT_BYTES = 64 * 1024  # ours; a fault takes some fifty
SILENCE_LIMIT_S = 60.0  # ours: so long a connection may be silent
OWN_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})
PROCESS_VERBS = ("kill", "stop", "restart", "pause", "resume")


class ControlRefused(Exception):
    """A request that cannot be carried out; ``status`` is HTTP's."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class Control:
    """The control port of ``triad``, for the time of a ``with`` block.

    ``port=0``: a free one.  ``acts`` is what it carries out, for those who need no HTTP.  Raises FakeTriadError when the port cannot be had.
    """

    def __init__(self, triad: FakeTriad, *, port: int = 0) -> None:
        self.acts = Acts(triad)
        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", port), partial(Asking, self.acts))
        except OSError as error:
            raise FakeTriadError(f"Port {port} of 127.0.0.1 cannot be had for the control: {error.strerror or error}.") from error
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="fakeserver control", daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    @property
    def address(self) -> str:
        """The URL to which everything else is added."""
        return f"http://127.0.0.1:{self.port}/control"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Acts:
    """What can be asked of a triad, by method and path: one after the other, whoever asks."""

    def __init__(self, triad: FakeTriad) -> None:
        self._triad = triad
        self._turn = threading.Lock()

    def answer(self, method: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Carry it out; give what is to be told.  Raises ControlRefused."""
        parts = [unquote(part) for part in path.partition("?")[0].strip("/").split("/")]
        if parts[0] != "control":
            raise ControlRefused(404, f"There is nothing at {path!r:.200}; everything is below /control.")
        with self._turn:
            try:
                return self._act(method, *parts[1:], body=body)
            except (ValueError, TypeError) as error:
                raise ControlRefused(400, str(error)) from error
            except NotImplementedError as error:
                raise ControlRefused(501, str(error)) from error
            except FakeTriadError as error:
                raise ControlRefused(409, str(error)) from error

    def _act(self, method: str, *parts: str, body: Mapping[str, Any]) -> dict[str, Any]:
        match method, *parts:
            case ("GET",):
                return self._shown()
            case "GET", "journal":
                return {"journal": [{"at_s": each.at_s, "node": each.node, "name": each.name, "facts": each.facts} for each in self._triad.journal]}
            case "GET", "report":
                return {"report": list(self._triad.report())}
            case "POST", "reset":
                self._triad.reset()
            case "POST", "reread":
                self._triad.reread()
            case "POST", "heal":
                self._triad.heal()
            case (("PUT" | "DELETE"), "faults", ("fill" | "expire") as name):
                return self._in_the_pool(method, name, body)
            case (("PUT" | "DELETE"), "links", a, b):
                self._link(method, a, b, body)
            case _, "nodes", role, *rest if role in {node.role for node in self._triad.nodes}:
                return self._at_node(method, self._triad.node(role), rest, body)
            case _:
                raise ControlRefused(404, f"{method} /control/{'/'.join(parts)} means nothing here.")
        return self._shown()

    def _at_node(self, method: str, node: FakeNode, rest: list[str], body: Mapping[str, Any]) -> dict[str, Any]:
        match method, *rest:
            case ("GET",):
                pass
            case "GET", "log":
                return {"log": list(node.log_lines())}
            case "GET", "report":
                return {"report": list(node.report())}
            case "POST", verb if verb in PROCESS_VERBS:
                getattr(node, verb)()
            case "PUT", "isolated":
                self._triad.isolate(node.role)
            case "DELETE", "faults":
                node.heal()
            case "PUT", "faults", name:
                node.play(name, **body)
            case "DELETE", "faults", name:
                node.heal(name)
            case _:
                raise ControlRefused(404, f"{method} of {'/'.join(rest) or 'a node'} means nothing at a node.")
        return _node(node)

    def _in_the_pool(self, method: str, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        if method == "DELETE":
            for node in self._triad.nodes:
                node.heal(name)
        elif set(body) != {"feature"}:
            raise ControlRefused(400, f"{name} takes a feature, and nothing else.")
        elif name == "fill":
            self._triad.fill(body["feature"])
        else:
            self._triad.expire(body["feature"])
        return self._shown()

    def _link(self, method: str, a: str, b: str, body: Mapping[str, Any]) -> None:
        if method == "DELETE":
            self._triad.mend(a, b)
            return
        one_way = body.get("one_way", False)
        if not isinstance(one_way, bool) or set(body) - {"one_way"}:
            raise ControlRefused(400, "A cut takes one_way, true or false, and nothing else.")
        self._triad.partition(a, b, one_way=one_way)

    def _shown(self) -> dict[str, Any]:
        return {"servername": self._triad.servername, "nodes": {node.role: _node(node) for node in self._triad.nodes}}


def _node(node: FakeNode) -> dict[str, Any]:
    status = node.inside("/v1/status") or {}
    return {
        "role": node.role,
        "endpoint": node.endpoint,
        "state": status.get("state") or ("frozen" if node.is_running else "down"),
        "term": status.get("term"),
        "pid": node.pid,
        "faults": [to_json(each) for each in node.faults],
    }


class Asking(BaseHTTPRequestHandler):
    """One connection of somebody who asks."""

    timeout = SILENCE_LIMIT_S
    protocol_version = "HTTP/1.1"

    def __init__(self, acts: Acts, *arguments: Any) -> None:
        self._acts = acts
        super().__init__(*arguments)

    def log_message(self, *_arguments: object) -> None:
        """Say nothing: the journal tells what was done."""

    def _serve(self) -> None:
        try:
            status, reply = 200, self._acts.answer(self.command, self.path, _body(self))
        except ControlRefused as refused:
            status, reply = refused.status, {"status": refused.status, "detail": str(refused)}
            self.close_connection = True  # its body may not have been read
        content = json.dumps(reply, default=str).encode("ascii") + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json" if status == 200 else "application/problem+json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815 - the names that http.server looks for


def _body(request: BaseHTTPRequestHandler) -> dict[str, Any]:
    """The JSON object that was sent; nothing is an empty one.  Raises ControlRefused."""
    host = request.headers.get("Host", "").rpartition(":")[0] or request.headers.get("Host", "")
    if host.lower() not in OWN_NAMES or "Origin" in request.headers:
        raise ControlRefused(403, "The control is for programs of this machine, and for no web page.")
    length = request.headers.get("Content-Length", "0")
    if not length.isascii() or not length.isdecimal() or int(length[:20]) > BODY_LIMIT_BYTES or "Transfer-Encoding" in request.headers:
        raise ControlRefused(413, f"A body has a Content-Length of at most {BODY_LIMIT_BYTES} bytes.")
    content = request.rfile.read(int(length))
    try:
        body = json.loads(content or b"{}")
    except (ValueError, RecursionError) as error:
        raise ControlRefused(400, f"The body is not JSON: {error}.") from error
    if not isinstance(body, dict):
        raise ControlRefused(400, "The body is not a JSON object.")
    return body
