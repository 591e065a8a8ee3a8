"""Six Redis servers of our own in cluster mode, three primaries and three replicas, that notice a death in a second."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import redis
from redis.crc import key_slot

from tests.features.redis_server import RedisServer, free_port

LOG = "{recsys}:head"  # lies in the slot of the log
SLOTS, SHARDS = 16384, 3
NODE_TIMEOUT_MS = 1000
MOVED_AT_ONCE = 100  # keys


class RedisCluster:
    """`with RedisCluster(folder) as cluster`: cluster.url, and what happens to clusters."""

    def __init__(self, folder: Path) -> None:
        self.servers: list[RedisServer] = []
        self._bus = [free_port() for _ in range(2 * SHARDS)]
        for number in range(2 * SHARDS):
            (folder / str(number)).mkdir(parents=True)
            options = {"enabled": "yes", "node-timeout": NODE_TIMEOUT_MS, "port": self._bus[number]}
            words = [word for name, value in options.items() for word in (f"--cluster-{name}", str(value))]
            self.servers.append(RedisServer(folder / str(number), *words, "--repl-diskless-sync-delay", "0"))
        self.url = "redis+cluster://" + ",".join(f"127.0.0.1:{server.port}" for server in self.servers)

    def __enter__(self) -> RedisCluster:
        with ExitStack() as stack:
            for server in self.servers:
                stack.enter_context(server)
            self._join()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _join(self) -> None:
        for number, server in enumerate(self.servers):
            _ask(server, "SET-CONFIG-EPOCH", number + 1)  # while it knows nobody
        for server in self.servers[1:]:
            _ask(server, "MEET", "127.0.0.1", self.servers[0].port, self._bus[0])
        for number, server in enumerate(self.servers[:SHARDS]):
            _ask(server, "ADDSLOTSRANGE", number * SLOTS // SHARDS, (number + 1) * SLOTS // SHARDS - 1)
        until(lambda: all(len(_ask(server, "NODES")) == len(self.servers) for server in self.servers))
        for primary, replica in zip(self.servers, self.servers[SHARDS:], strict=False):
            _ask(replica, "REPLICATE", identity(primary))
        self.heal()

    def heal(self) -> None:
        """Start who is dead; wait until every shard has a primary and a replica that follows it, and all know it."""
        for server in self.servers:
            server.start()
        until(lambda: all(_is_whole(server) for server in self.servers))

    def flush(self) -> None:
        self.heal()
        for client in (server.client() for server in self.servers):
            if client.role()[0] == b"master":
                client.flushall()
                client.wait(1, 5000)

    def primary_of(self, key: str) -> RedisServer:
        """The server that owns a key's slot, as those who live agree."""
        for server in self.servers:
            if server.lives() and identity(server) == _owner(server, key_slot(key.encode())):
                return server
        raise LookupError(f"nobody has the slot of {key}")

    def fail_over(self, key: str) -> None:
        """Kill the primary of a key's slot; it comes back as a replica. Meanwhile nothing is acknowledged."""
        dead = self.primary_of(key)
        dead.kill()
        until(lambda: self.primary_of(key) is not dead)
        self.heal()

    def replica_of(self, primary: RedisServer) -> RedisServer:
        return next(s for s in self.servers if s.client().role()[:3] == [b"slave", b"127.0.0.1", primary.port])

    def lose(self, key: str) -> Callable[[], None]:
        """Primary and replica of a key's slot die, with their disks; returns what puts empty ones in their place."""
        primary = self.primary_of(key)
        lost = primary, self.replica_of(primary)
        gone = [identity(server) for server in lost]
        slots = next(node["slots"] for node in _ask(primary, "NODES").values() if node["node_id"] == gone[0])
        for server in lost:
            server.kill()
            server.wipe()

        def replace() -> None:
            living = [server for server in self.servers if server.lives()]
            for server, node in itertools.product(living, gone):
                _ask(server, "FORGET", node)
            for server in lost:
                server.start()
                _ask(server, "MEET", "127.0.0.1", living[0].port, self._bus[self.servers.index(living[0])])
            for bounds in slots:
                _ask(primary, "ADDSLOTSRANGE", bounds[0], bounds[-1])
            until(lambda: all(len(_ask(server, "NODES")) == len(self.servers) for server in self.servers))
            _ask(lost[1], "REPLICATE", identity(primary))
            self.heal()

        return replace

    def move(self, key: str) -> None:
        """Give the slot of a key to another shard, key by key, as a resharding does."""
        slot, source = key_slot(key.encode()), self.primary_of(key)
        target = next(s for s in self.servers if s is not source and s.client().role()[0] == b"master")
        _ask(target, "SETSLOT", slot, "IMPORTING", identity(source))
        _ask(source, "SETSLOT", slot, "MIGRATING", identity(target))
        while names := _ask(source, "GETKEYSINSLOT", slot, MOVED_AT_ONCE):
            for name in names:  # one by one: what a script asks for lies on both sides meanwhile
                source.client().execute_command("MIGRATE", "127.0.0.1", target.port, name, 0, 5000)
                time.sleep(0.02)
        for server in (target, source):
            _ask(server, "SETSLOT", slot, "NODE", identity(target))
        until(lambda: all(_owner(server, slot) == identity(target) for server in self.servers if server.lives()))


def until(holds: Callable[[], bool], seconds: float = 30) -> None:
    """Wait until it does."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if holds():
                return
        except (redis.RedisError, LookupError):  # it starts, or nobody is primary yet
            pass
        assert time.monotonic() < deadline, "the cluster does not become what it should"
        time.sleep(0.05)


def identity(server: RedisServer) -> str:
    """Of a node of the cluster."""
    return _ask(server, "MYID").decode()


def _ask(server: RedisServer, *words: Any) -> Any:
    return server.client().execute_command("CLUSTER " + words[0], *words[1:])


def _owner(server: RedisServer, slot: int) -> str | None:
    for node in _ask(server, "NODES").values():
        if any(int(bounds[0]) <= slot <= int(bounds[-1]) for bounds in node["slots"]):
            return str(node["node_id"])
    return None


def _is_whole(server: RedisServer) -> bool:
    nodes = _ask(server, "NODES").values()
    replicas = {node["master_id"] for node in nodes if "slave" in node["flags"]}
    role = server.client().role()
    follows = role[3] == b"connected" if role[0] == b"slave" else len(role[2]) == 1
    told = _ask(server, "INFO")["cluster_state"] == "ok" and len(replicas - {"-"}) == SHARDS
    return follows and told and not any("fail" in node["flags"] for node in nodes)
