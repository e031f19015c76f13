"""The systems that are compared, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.compare import etcd, ours, redis_sentinel, zookeeper
from tests.compare.peer import Desk, Peer


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """Both of its sides.  ``peer`` raises Absent."""

    peer: Callable[[], Peer]
    desk: Callable[[dict[str, Any], str], Desk]


SYSTEMS: Mapping[str, System] = {module.NAME: System(peer=module.peer, desk=module.desk) for module in (ours, redis_sentinel, etcd, zookeeper)}
