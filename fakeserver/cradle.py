"""The process from which the nodes of all triads of one program are forked: it has imported everything, and has one thread.

An interpreter that imports a node's modules takes a quarter of a second, a fork a few milliseconds.  The user's own process is never forked: it may
have threads, locks and a GPU.  ``nursery.Nursery`` is the other end; each request is a line of JSON, and so is the answer.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
import traceback
from typing import Any, NoReturn

from fakeserver import run  # noqa: F401 - what a node needs is there before there is a node
from fakeserver.__main__ import run_child
from fakeserver.lifeline import has_changed, load_prctl

CHUNK_BYTES = 65536
DESCRIPTORS = 4  # of one birth: stdin, stdout, stderr, the listening socket
STDIN = 0

if sys.platform == "linux":

    def main(owner_pid: int) -> NoReturn:
        """Serve the process that started this one until it has ended, or hangs up.  The nodes die with this process, frozen ones too."""
        try:
            _serve(owner_pid)
        finally:
            os._exit(0)  # there is nothing to put in order

    def _serve(owner_pid: int) -> None:
        control = socket.socket(fileno=os.dup(STDIN))
        owner = os.pidfd_open(owner_pid)
        if os.getppid() != owner_pid:
            return  # it had ended before, and its number may be another's
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # where the owner ignores it, no child's end would be learnt
        load_prctl()
        gc.collect()
        gc.freeze()  # or the first collection in each node would copy all there is
        while (request := _next_request(control, owner)) is not None:
            words, descriptors = request
            try:
                answer = _fork(descriptors, [control.fileno(), owner]) if words["do"] == "fork" else _answer(words)
            except OSError as error:  # no memory for one more, or a child that is known no more: that is for the owner to bear
                answer = {"error": str(error)}
            control.sendall(json.dumps(answer).encode() + b"\n")

    def _next_request(control: socket.socket, owner: int) -> tuple[dict[str, Any], list[int]] | None:
        """What is asked next, with what came along; None when nobody asks any more."""
        line, descriptors = b"", list[int]()
        while not line.endswith(b"\n"):
            readable, _, _ = select.select([control.fileno(), owner], [], [])
            if owner in readable:
                return None
            chunk, more, _, _ = socket.recv_fds(control, CHUNK_BYTES, DESCRIPTORS)
            if not chunk:
                return None
            line += chunk
            descriptors += more
        return json.loads(line), descriptors

    def _fork(descriptors: list[int], own: list[int]) -> dict[str, object]:
        """A node's process; its number."""
        pid = -1
        try:
            pid = os.fork()
        finally:
            if pid:
                for descriptor in descriptors:
                    os.close(descriptor)
        if pid:
            return {"pid": pid}
        code = 1
        try:
            code = _live(descriptors, own)
        except BaseException:  # noqa: BLE001 - not swallowed: said on the node's stderr, where its owner looks
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _live(descriptors: list[int], own: list[int]) -> int:
        """In a node's process: be as if it had been started by itself, and live.  Gives the exit code."""
        os.setsid()
        for standard, descriptor in enumerate(descriptors[:3]):
            os.dup2(descriptor, standard)
        for descriptor in [*own, *descriptors[:3]]:
            os.close(descriptor)
        return run_child(descriptors[3])

    def _answer(words: dict[str, Any]) -> dict[str, object]:
        """What became of a child.  Only here its number is given back to the system, so to the owner it names nobody else."""
        if words["do"] == "reap":
            return {"code": os.waitstatus_to_exitcode(os.waitpid(words["pid"], 0)[1])}
        return {"changed": has_changed(words["pid"], words["flag"])}
