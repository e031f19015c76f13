"""What a process pays that has done nothing yet."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.bench.pairs import Row, in_turn, null_node, process_s

OURS = """
from palclient import checkout
with checkout("X", ini={ini!r}):
    pass
"""

OTHER = """
import httpx
url = "http://127.0.0.1:{port}/v1/checkouts/00000000-0000-4000-8000-000000000001"
body = {{"feature": "X", "version": "0", "count": 1, "holder": {{"user": "a", "host": "b", "pid": 1}}, "queue": False, "nonce": "n"}}
httpx.put(url, json=body).json()
httpx.delete(url).json()
"""


def imports(rounds: int) -> list[Row]:
    """The import alone, against a bare interpreter."""
    what = "from palclient import checkout : bare interpreter"
    return [in_turn(rounds, lambda: process_s("-c", "from palclient import checkout"), lambda: process_s("-c", "pass"), what=what, goal="1.6")]


def processes(rounds: int) -> list[Row]:
    """Import, INI, checkout, return, exit, against one that calls httpx.put and httpx.delete."""
    with null_node() as port, tempfile.TemporaryDirectory() as folder:
        ini = Path(folder) / "palclient.ini"
        ini.write_text(f"[License]\nSERVERNAME={port}@127.0.0.1\n", encoding="ascii")
        ours, other = OURS.format(ini=str(ini)), OTHER.format(port=port)
        what = "cold process, checkout and return : httpx.put and .delete"
        return [in_turn(rounds, lambda: process_s("-c", ours), lambda: process_s("-c", other), what=what, goal="0.75")]
