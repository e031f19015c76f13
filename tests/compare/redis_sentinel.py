"""Redis with Sentinel: a sorted set of holders by expiry, counted by a script on the master; one server and one sentinel a node."""

from __future__ import annotations

import uuid
from functools import partial
from pathlib import Path
from typing import Any

from palclient.transport import monotonic
from tests.compare.keeping import Keeper, Kept, KeptSeat, patiently
from tests.compare.peer import NODES, PATIENCE_S, POOLS, REQUEST_S, SILENCE_S, TTL_S, Failed, NoSeat, Seat
from tests.compare.servers import HOST, Machines, Node, found, free_ports, module, seen_elected, told_version, wait_until

NAME = "redis"
GROUP = "pool"
START_S = 30.0

SERVER = """
bind {host}
port {port}
dir {folder}
save ""
appendonly yes
appendfsync everysec
min-replicas-to-write 1
min-replicas-max-lag 2
repl-diskless-sync-delay 0
"""
SENTINEL = """
bind {host}
port {port}
dir {folder}
sentinel monitor {group} {host} {master} 2
sentinel down-after-milliseconds {group} {silence}
sentinel failover-timeout {group} 3000
sentinel parallel-syncs {group} 1
"""

TAKE = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZSCORE', KEYS[1], ARGV[1]) or redis.call('ZCARD', KEYS[1]) < tonumber(ARGV[3]) then
  redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
  return 1
end
return 0
"""
RENEW = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if score and tonumber(score) > now then
  redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
  return 1
end
return 0
"""


class Redis(Machines):
    """Three servers and three sentinels."""

    name = NAME
    settings = (
        f"lease {TTL_S:g} s, renewed each {TTL_S / 3:g} s; down-after {SILENCE_S:g} s, quorum 2, failover-timeout 3 s; AOF everysec; "
        f"min-replicas-to-write 1, max-lag 2 s; client: socket timeouts {REQUEST_S:g} s, min_other_sentinels 1, tries for {PATIENCE_S:g} s"
    )

    def __init__(self) -> None:
        super().__init__()
        self._library = module("redis")
        self._server, self._sentinel = found("redis-server", "REDIS_SERVER"), found("redis-sentinel", "REDIS_SENTINEL")
        self.version = f"{told_version(self._server, '--version').partition(' sha')[0]}, redis-py {self._library.__version__}"
        self._ports: list[int] = []
        self._links: dict[int, Any] = {}

    def start(self, folder: Path) -> None:
        """The first node's server is master; sentinels follow when both replicas are in step."""
        self._ports = free_ports(2 * NODES)
        self._links = {port: self._library.Redis(host=HOST, port=port, socket_timeout=REQUEST_S, decode_responses=True) for port in self._ports}
        for number in range(NODES):
            self.nodes.append(self._made(number, folder / f"node-{number}"))
        for node in self.nodes:
            node.launch(0, node.commands[0])
        wait_until(lambda: self._has_replicas(0), START_S, "both replicas are in step")
        for node in self.nodes:
            node.launch(1, node.commands[1])
        self.wait_whole(START_S)

    def _made(self, number: int, folder: Path) -> Node:
        """Its files, as its programs will rewrite them."""
        folder.mkdir(parents=True)
        follows = "" if number == 0 else f"replicaof {HOST} {self._ports[0]}\n"
        facts = {"host": HOST, "folder": folder, "group": GROUP, "silence": int(SILENCE_S * 1000), "master": self._ports[0]}
        (folder / "redis.conf").write_text(SERVER.format(port=self._ports[number], **facts) + follows, encoding="utf-8")
        (folder / "sentinel.conf").write_text(SENTINEL.format(port=self._ports[NODES + number], **facts), encoding="utf-8")
        return Node(commands=((self._server, str(folder / "redis.conf")), (self._sentinel, str(folder / "sentinel.conf"))), folder=folder)

    def access(self) -> dict[str, Any]:
        """Where the sentinels are."""
        return {"sentinels": self._ports[NODES:]}

    # --- what they say --------------------------------------------------------------------------------------------------------------

    def _ask(self, port: int, *words: str) -> Any:
        """What one program answers; None when it does not."""
        try:
            return self._links[port].execute_command(*words)
        except self._library.exceptions.RedisError:
            return None

    def _named(self, number: int) -> int | None:
        """Which node this node's sentinel names as master."""
        answer = self._ask(self._ports[NODES + number], "SENTINEL", "GET-MASTER-ADDR-BY-NAME", GROUP)
        return self._ports.index(int(answer[1])) if answer else None

    def leader(self) -> int | None:
        """What the first sentinel says that names one that answers."""
        answering = self.answering()
        return next((named for number in answering if (named := self._named(number)) in answering), None)

    def elected_at(self, _since: float, old: int) -> float | None:
        """When a sentinel first named another."""
        return seen_elected(self.leader, old)

    def _has_replicas(self, number: int) -> bool:
        told = self._ask(self._ports[number], "INFO", "replication")
        return bool(told) and told["role"] == "master" and sum(told.get(f"slave{n}", {}).get("state") == "online" for n in range(NODES)) == NODES - 1

    def _is_at_peace(self, number: int) -> bool:
        """Whether its sentinel sees all, in good health, and is not in TILT."""
        port = self._ports[NODES + number]
        told, master = self._ask(port, "INFO", "sentinel"), self._ask(port, "SENTINEL", "MASTER", GROUP)
        replicas = self._ask(port, "SENTINEL", "REPLICAS", GROUP)
        if not told or not master or not replicas:
            return False
        is_seen = (int(master["num-slaves"]), int(master["num-other-sentinels"]), master["flags"]) == (NODES - 1, NODES - 1, "master")
        return not int(told["sentinel_tilt"]) and is_seen and all(_flags(each) == {"slave"} for each in replicas)

    def wait_whole(self, limit_s: float) -> None:
        """All sentinels agree, and the master has both replicas."""
        wait_until(self._is_whole, limit_s, "the sentinels agree on one master with two replicas")

    def _is_whole(self) -> bool:
        named = {self._named(number) for number in range(NODES)}
        leads = self.leader()
        return leads is not None and named == {leads} and self._has_replicas(leads) and all(self._is_at_peace(number) for number in range(NODES))

    def taken(self) -> int:
        """Those that have not expired, by the master's clock."""
        leads = self.leader()
        now = None if leads is None else self._ask(self._ports[leads], "TIME")
        if leads is None or now is None:
            return -1
        since = str(int(now[0]) * 1000 + int(now[1]) // 1000)
        return sum(int(self._ask(self._ports[leads], "ZCOUNT", pool, since, "+inf") or 0) for pool in POOLS)

    def stop(self) -> None:
        """Kill all."""
        super().stop()
        for link in self._links.values():
            link.close()
        self._links.clear()


def peer() -> Redis:
    """Raises Absent."""
    return Redis()


def _flags(replica: Any) -> set[str]:
    return set(replica["flags"].split(",")) if isinstance(replica["flags"], str) else set(replica["flags"])


class RedisDesk:
    """A client of the sentinels, with a keeper for the holders that it put into the sets."""

    def __init__(self, sentinels: list[int]) -> None:
        library, sentinel = module("redis"), module("redis.sentinel")
        self.errors = library.exceptions.RedisError
        once = module("redis.retry").Retry(module("redis.backoff").NoBackoff(), 0)  # the recipe tries again, by the caller's patience
        options = {"socket_timeout": REQUEST_S, "socket_connect_timeout": REQUEST_S, "retry": once}
        group = sentinel.Sentinel([(HOST, port) for port in sentinels], min_other_sentinels=1, sentinel_kwargs=options, **options)
        self._master = group.master_for(GROUP)
        self._take, self._renew = self._master.register_script(TAKE), self._master.register_script(RENEW)
        self._keeper = Keeper(self._renewed)

    def _renewed(self, key: str) -> bool:
        pool, _, holder = key.partition(" ")
        return bool(self._asked(lambda: self._renew(keys=[pool], args=[holder, int(TTL_S * 1000)])))

    def _asked(self, ask: Any) -> int:
        try:
            return int(ask())
        except self.errors as error:
            raise Failed(f"{type(error).__name__}: {error}") from error

    def acquire(self, pool: str) -> Seat:
        """The script, again and again while the pool is full."""
        holder, asked_at = uuid.uuid4().hex, 0.0

        def take() -> bool | None:
            nonlocal asked_at
            asked_at = monotonic()
            return bool(self._asked(lambda: self._take(keys=[pool], args=[holder, int(TTL_S * 1000), POOLS[pool]]))) or None

        if patiently(take) is None:
            raise NoSeat
        kept = self._keeper.keep(f"{pool} {holder}", asked_at)
        return KeptSeat(kept, partial(self.give_back, kept))

    def give_back(self, kept: Kept) -> None:
        """ZREM."""
        self._keeper.drop(kept)
        pool, _, holder = kept.key.partition(" ")
        patiently(lambda: self._asked(lambda: self._master.zrem(pool, holder)))

    def close(self) -> None:
        """Renew no more."""
        self._keeper.close()


def desk(access: dict[str, Any], _name: str) -> RedisDesk:
    """The worker's side."""
    return RedisDesk(access["sentinels"])
