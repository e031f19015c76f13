"""etcd: a slot is a key that is created only if it is not there, with the lease of the client's session; over the JSON gateway of the v3 API."""

from __future__ import annotations

import random
import threading
import uuid
from base64 import b64decode, b64encode
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from palclient.transport import monotonic
from tests.compare.keeping import Keeper, Kept, KeptSeat, patiently
from tests.compare.peer import NODES, PATIENCE_S, POOLS, REQUEST_S, SILENCE_S, TTL_S, Failed, NoSeat, Seat
from tests.compare.servers import HOST, Machines, Node, found, free_ports, seen_elected, told_version, wait_until

NAME = "etcd"
START_S = 30.0
HEARTBEAT_MS = int(SILENCE_S * 100)  # a tenth of the election timeout, as the manual has it
NO_LEASE = "requested lease not found"


class Etcd(Machines):
    """Three members."""

    name = NAME
    settings = (
        f"lease {TTL_S:g} s a client, kept alive each {TTL_S / 3:g} s; election-timeout {SILENCE_S:g} s, heartbeat-interval {HEARTBEAT_MS} ms; "
        f"client: JSON gateway, any member, request timeout {REQUEST_S:g} s, then the next member, tries for {PATIENCE_S:g} s"
    )

    def __init__(self) -> None:
        super().__init__()
        self._program = found("etcd", "ETCD")
        self.version = f"{told_version(self._program, '--version')}, httpx {httpx.__version__}"
        self._ports: list[int] = []
        self._ids: list[str] = []
        self._http: httpx.Client | None = None

    def start(self, folder: Path) -> None:
        """A new cluster."""
        self._http = httpx.Client(timeout=REQUEST_S, trust_env=False)
        ports = free_ports(2 * NODES)
        self._ports, peers = ports[:NODES], ports[NODES:]
        cluster = ",".join(f"node-{number}=http://{HOST}:{port}" for number, port in enumerate(peers))
        for number in range(NODES):
            self.nodes.append(self._made(number, folder, peers[number], cluster))
            self.nodes[number].start()
        wait_until(lambda: all(self._status(number) for number in range(NODES)), START_S, "all members answer")
        self._ids = [str((self._status(number) or {})["header"]["member_id"]) for number in range(NODES)]
        self.wait_whole(START_S)

    def _made(self, number: int, folder: Path, peer_port: int, cluster: str) -> Node:
        home, client, peer = folder / f"node-{number}", f"http://{HOST}:{self._ports[number]}", f"http://{HOST}:{peer_port}"
        words = [self._program, "--name", f"node-{number}", "--data-dir", str(home / "data"), "--log-level", "warn", "--logger", "zap"]
        words += ["--listen-client-urls", client, "--advertise-client-urls", client]
        words += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", cluster, "--initial-cluster-state", "new"]
        words += ["--heartbeat-interval", str(HEARTBEAT_MS), "--election-timeout", str(int(SILENCE_S * 1000))]
        return Node(commands=(words,), folder=home)

    def access(self) -> dict[str, Any]:
        """Where the members are."""
        return {"ports": self._ports}

    # --- what they say --------------------------------------------------------------------------------------------------------------

    def _ask(self, number: int, path: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """What a member answers; None when it does not."""
        assert self._http is not None
        try:
            answer = self._http.post(f"http://{HOST}:{self._ports[number]}/v3/{path}", json=body)
            told: dict[str, Any] = answer.json()
        except (httpx.HTTPError, ValueError):
            return None
        return told if answer.is_success else None

    def _status(self, number: int) -> dict[str, Any] | None:
        return self._ask(number, "maintenance/status", {})

    def _named(self, number: int) -> int | None:
        """Which member this one takes for the leader."""
        leader = (self._status(number) or {}).get("leader", "0")
        return self._ids.index(leader) if leader in self._ids else None

    def leader(self) -> int | None:
        """What the first member says that names one that answers."""
        answering = self.answering()
        return next((named for number in answering if (named := self._named(number)) in answering), None)

    def elected_at(self, _since: float, old: int) -> float | None:
        """When a member first named another."""
        return seen_elected(self.leader, old)

    def wait_whole(self, limit_s: float) -> None:
        """All follow one leader, and have what it has."""
        wait_until(self._is_whole, limit_s, "all members follow one leader")

    def _is_whole(self) -> bool:
        told = [self._status(number) for number in range(NODES)]
        return all(told) and len({(each or {}).get("leader", "0") for each in told}) == 1 and self.leader() is not None

    def taken(self) -> int:
        """Keys of slots, by a linearized read."""
        answers = [self._ask(number, "kv/range", {**_prefix(), "count_only": True}) for number in self.answering()]
        return next((int(answer.get("count", 0)) for answer in answers if answer is not None), -1)

    def stop(self) -> None:
        """Kill all."""
        super().stop()
        if self._http is not None:
            self._http.close()


def peer() -> Etcd:
    """Raises Absent."""
    return Etcd()


def _text(text: str) -> str:
    """As the gateway has bytes."""
    return b64encode(text.encode()).decode()


def _prefix() -> dict[str, str]:
    """All keys of slots: from ``pool/`` to what follows all that begin so."""
    return {"key": _text("pool/"), "range_end": _text("pool0")}


class EtcdDesk:
    """A client of all members, with one lease: its session."""

    def __init__(self, ports: list[int], dice: random.Random) -> None:
        self._http = httpx.Client(timeout=REQUEST_S, trust_env=False)
        self._ports = ports
        self._dice = dice
        self._at = dice.randrange(len(ports))
        self._lock = threading.Lock()
        self._session: Kept | None = None
        self._keeper = Keeper(self._keep_alive)

    # --- requests -------------------------------------------------------------------------------------------------------------------

    def ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """One request to the member that answered last; the next one is the next's.  Raises Failed."""
        at = self._at
        try:
            answer = self._http.post(f"http://{HOST}:{self._ports[at]}/v3/{path}", json=body)
            told: dict[str, Any] = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            self._at = (at + 1) % len(self._ports)
            raise Failed(f"{type(error).__name__}: {error}") from error
        if not answer.is_success or "error" in told:
            if NO_LEASE not in str(told):
                self._at = (at + 1) % len(self._ports)
            raise Failed(f"{answer.status_code}: {told.get('message') or told.get('error')}")
        return told

    def _keep_alive(self, lease: str) -> bool:
        """Whether the lease is there; it lasts anew."""
        told = self.ask("lease/keepalive", {"ID": lease}).get("result", {})
        return int(told.get("TTL", 0)) > 0

    def _held_session(self) -> Kept:
        """The session, a new one if there is none or it is lost.  Raises Failed."""
        with self._lock:
            if self._session is None or self._session.believed_until() is None:
                asked_at = monotonic()
                lease = self.ask("lease/grant", {"TTL": int(TTL_S)})["ID"]
                self._session = self._keeper.keep(lease, asked_at)
            return self._session

    def _create(self, key: str, holder: str, lease: str) -> bool:
        """Put the key if nobody has; whether it is ours now."""
        told = self.ask(
            "kv/txn",
            {
                "compare": [{"key": _text(key), "target": "CREATE", "result": "EQUAL", "create_revision": 0}],
                "success": [{"request_put": {"key": _text(key), "value": _text(holder), "lease": lease}}],
                "failure": [{"request_range": {"key": _text(key)}}],
            },
        )
        if told.get("succeeded"):
            return True
        found = told["responses"][0]["response_range"].get("kvs", [])
        return bool(found) and b64decode(found[0]["value"]).decode() == holder

    # --- seats ----------------------------------------------------------------------------------------------------------------------

    def acquire(self, pool: str) -> Seat:
        """One slot after another, from any on; again and again while all are taken."""
        holder, first = uuid.uuid4().hex, self._dice.randrange(POOLS[pool])
        slots = [(first + step) % POOLS[pool] for step in range(POOLS[pool])]

        def take() -> KeptSeat | None:
            session = self._held_session()
            for slot in slots:
                key = f"pool/{pool}/{slot}"
                try:
                    if self._create(key, holder, session.key):
                        return KeptSeat(session, partial(self.give_back, session, key, holder))
                except Failed as error:
                    if NO_LEASE in str(error):
                        session.lost.set()
                    slots[:] = [slot, *(other for other in slots if other != slot)]  # this one may be ours
                    raise
            return None

        seat = patiently(take)
        if seat is None:
            raise NoSeat
        return seat

    def give_back(self, session: Kept, key: str, holder: str) -> None:
        """Delete the key if it is still ours, and did not go with the lease."""
        if session.believed_until() is None:
            return
        is_ours = {"key": _text(key), "target": "VALUE", "result": "EQUAL", "value": _text(holder)}
        patiently(lambda: self.ask("kv/txn", {"compare": [is_ours], "success": [{"request_delete_range": {"key": _text(key)}}]}))

    def close(self) -> None:
        """End the session, if there is an answer."""
        self._keeper.close()
        if self._session is not None:
            with suppress(Failed):
                self.ask("lease/revoke", {"ID": self._session.key})


def desk(access: dict[str, Any], name: str) -> EtcdDesk:
    """The worker's side."""
    return EtcdDesk(access["ports"], random.Random(name))
