"""ZooKeeper with kazoo: its own Semaphore recipe; a seat is an ephemeral node, which lives as long as the client's session."""

from __future__ import annotations

import os
import re
import socket
import threading
from pathlib import Path
from typing import Any

from palclient.transport import monotonic
from tests.compare.peer import NODES, PATIENCE_S, POOLS, REQUEST_S, SILENCE_S, TTL_S, Absent, Failed, NoSeat, Seat
from tests.compare.servers import HOST, Machines, Node, found, free_ports, module, seen_elected, told_version, wait_until

NAME = "zookeeper"
START_S = 60.0
TICK_S = 0.2
MAIN = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
HOMES = ("/usr/share/zookeeper", "/opt/zookeeper", "/usr/share/java")
JARS = re.compile(
    r"(zookeeper|zookeeper-jute|slf4j-api|logback-(core|classic)|netty-[a-z0-9-]+|snappy-java|metrics-core|commons-(cli|io|lang))(-[0-9][\w.]*)?\.jar"
)
"""What a server loads; a folder of Java libraries may hold a hundred others."""

CONFIG = """
tickTime={tick}
initLimit=20
maxSessionTimeout={session}
syncLimit={sync}
dataDir={folder}/data
clientPort={port}
clientPortAddress={host}
admin.enableServer=false
4lw.commands.whitelist=srvr
standaloneEnabled=false
"""
LOGBACK = """
<configuration><appender name="said" class="ch.qos.logback.core.ConsoleAppender"><encoder><pattern>%d %-5p %m%n</pattern></encoder></appender>
<root level="WARN"><appender-ref ref="said"/></root></configuration>
"""


def jars() -> tuple[list[str], str]:
    """The class path, and ZooKeeper's version.  Raises Absent."""
    named = os.environ.get("ZOOKEEPER_HOME")
    for home in [named] if named else HOMES:
        files = [path for folder in ("", "lib", "share/java") for path in sorted((Path(home) / folder).glob("*.jar")) if JARS.fullmatch(path.name)]
        versions = [match[1] for path in files if (match := re.fullmatch(r"zookeeper-([0-9][\w.]*)\.jar", path.name))]
        if versions:
            return [str(path) for path in files], versions[0]
    raise Absent(f"no zookeeper-*.jar in {named} (ZOOKEEPER_HOME)" if named else "no zookeeper-*.jar, and ZOOKEEPER_HOME is not set")


class ZooKeeper(Machines):
    """Three servers."""

    name = NAME
    settings = (
        f"session {TTL_S:g} s; tickTime {TICK_S:g} s, syncLimit {SILENCE_S / TICK_S:g}, initLimit 20, cnxTimeout {SILENCE_S:g} s, fsync as it is by default; "
        f"client: Semaphore, connections and commands tried again after {REQUEST_S / 10:g} to {REQUEST_S:g} s, for {PATIENCE_S:g} s"
    )

    def __init__(self) -> None:
        super().__init__()
        library = module("kazoo")
        java = found("java", "JAVA")
        files, version = jars()
        self.version = f"ZooKeeper {version}, {told_version(java, '-version')}, kazoo {library.__version__}"
        self._command = [java, "-Xmx128m", "-XX:+UseSerialGC", f"-Dzookeeper.cnxTimeout={int(SILENCE_S * 1000)}", "-cp"]
        self._jars = files
        self._ports: list[int] = []

    def start(self, folder: Path) -> None:
        """A new ensemble."""
        ports = free_ports(3 * NODES)
        self._ports, followed, elected = ports[:NODES], ports[NODES : 2 * NODES], ports[2 * NODES :]
        members = "".join(f"server.{number + 1}={HOST}:{followed[number]}:{elected[number]}\n" for number in range(NODES))
        for number in range(NODES):
            self.nodes.append(self._made(number, folder / f"node-{number}", members))
            self.nodes[number].start()
        self.wait_whole(START_S)

    def _made(self, number: int, folder: Path, members: str) -> Node:
        (folder / "data").mkdir(parents=True)
        (folder / "data" / "myid").write_text(f"{number + 1}\n", encoding="ascii")
        (folder / "logback.xml").write_text(LOGBACK, encoding="ascii")
        sync, tick = round(SILENCE_S / TICK_S), int(TICK_S * 1000)
        config = CONFIG.format(session=int(TTL_S * 1000), tick=tick, sync=sync, folder=folder, port=self._ports[number], host=HOST) + members
        (folder / "zoo.cfg").write_text(config, encoding="utf-8")
        return Node(commands=([*self._command, ":".join([str(folder), *self._jars]), MAIN, str(folder / "zoo.cfg")],), folder=folder)

    def access(self) -> dict[str, Any]:
        """Where they are."""
        return {"hosts": ",".join(f"{HOST}:{port}" for port in self._ports)}

    # --- what they say --------------------------------------------------------------------------------------------------------------

    def _mode(self, number: int) -> str:
        """``leader``, ``follower``, or nothing."""
        try:
            with socket.create_connection((HOST, self._ports[number]), REQUEST_S) as link:
                link.sendall(b"srvr")
                told = b"".join(iter(lambda: link.recv(4096), b""))
        except OSError:
            return ""
        match = re.search(rb"^Mode: (\w+)", told, re.MULTILINE)
        return match[1].decode() if match else ""

    def leader(self) -> int | None:
        """The one that says so."""
        return next((number for number in self.answering() if self._mode(number) == "leader"), None)

    def elected_at(self, _since: float, old: int) -> float | None:
        """When another first said so."""
        return seen_elected(self.leader, old)

    def wait_whole(self, limit_s: float) -> None:
        """One leads and two follow."""
        modes = ["follower"] * (NODES - 1) + ["leader"]
        wait_until(lambda: sorted(self._mode(number) for number in range(NODES)) == modes, limit_s, "one server leads and two follow")

    def taken(self) -> int:
        """Nodes below the paths of the pools."""
        client = _client(self.access()["hosts"])
        try:
            client.start(timeout=PATIENCE_S)
            return sum(len(client.get_children(f"/{pool}")) for pool in POOLS if client.exists(f"/{pool}"))
        except (module("kazoo.exceptions").KazooException, module("kazoo.handlers.threading").KazooTimeoutError):
            return -1
        finally:
            client.stop()
            client.close()


def peer() -> ZooKeeper:
    """Raises Absent."""
    return ZooKeeper()


def _client(hosts: str) -> Any:
    """A client that tries again soon, with connections for ever, with commands as long as a caller waits."""
    again = {"max_tries": -1, "delay": REQUEST_S / 10, "backoff": 2, "max_delay": REQUEST_S}
    return module("kazoo.client").KazooClient(
        hosts=hosts, timeout=TTL_S, connection_retry=dict(again), command_retry={**again, "deadline": PATIENCE_S}
    )


class ZooDesk:
    """A KazooClient, and what its listener told of the session."""

    def __init__(self, hosts: str, name: str) -> None:
        exceptions = module("kazoo.exceptions")
        self.errors = (exceptions.KazooException, module("kazoo.retry").RetryFailedError, module("kazoo.handlers.threading").KazooTimeoutError)
        self.denials = (exceptions.LockTimeout,)
        self.changed = threading.Condition()
        self.is_connected = True
        self.sessions_lost = 0
        self._name = name
        self._states = module("kazoo.client").KazooState
        self._client = _client(hosts)
        self._client.add_listener(self._told)
        self._client.start(timeout=START_S)

    def _told(self, state: str) -> None:
        """Of kazoo's three states: with SUSPENDED nobody may rely on what he holds, with LOST it is gone."""
        with self.changed:
            self.is_connected = state == self._states.CONNECTED
            self.sessions_lost += state == self._states.LOST
            self.changed.notify_all()

    def acquire(self, pool: str) -> Seat:
        """The recipe's own waiting."""
        semaphore = self._client.Semaphore(f"/{pool}", self._name, max_leases=POOLS[pool])
        try:
            is_held = semaphore.acquire(timeout=PATIENCE_S)
        except self.denials as error:
            raise NoSeat from error
        except self.errors as error:
            raise Failed(f"{type(error).__name__}: {error}") from error
        if not is_held:
            raise NoSeat
        return ZooSeat(self, semaphore)

    def close(self) -> None:
        """End the session."""
        self._client.stop()
        self._client.close()


class ZooSeat:
    """A Semaphore that was acquired."""

    def __init__(self, desk: ZooDesk, semaphore: Any) -> None:
        self._desk = desk
        self._semaphore = semaphore
        self._sessions_lost = desk.sessions_lost

    def believed_until(self) -> float | None:
        """Without end while it is connected; not now while it is suspended; None when the session that it was taken in is lost."""
        with self._desk.changed:
            if self._desk.sessions_lost != self._sessions_lost:
                return None
            return float("inf") if self._desk.is_connected else monotonic()

    def wait_change(self, timeout_s: float) -> None:
        """Until the listener is told anything."""
        with self._desk.changed:
            self._desk.changed.wait(timeout_s)

    def give_back(self) -> None:
        """Release, tried again as commands are."""
        try:
            self._semaphore.release()
        except self._desk.errors as error:
            raise Failed(f"{type(error).__name__}: {error}") from error


def desk(access: dict[str, Any], name: str) -> ZooDesk:
    """The worker's side."""
    return ZooDesk(access["hosts"], name)
