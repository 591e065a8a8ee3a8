"""The journal in a Redis Cluster: one log in one slot, which one sequencer orders, and snapshots over all shards.

A replica follows its primary some time after that has answered, so what a primary took can be gone with it. Nobody is
told of such a record: an append is acknowledged, and a mark reaches it, once a replica has it (ADR 8).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

import redis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.retry import Retry

from recsys.store.errors import StoreUnavailable
from recsys.store.journal import NO_END, Entry, Mark, Offset, Taken
from recsys.store.redis_journal import RedisJournal

REPLICAS: Final = 1  # that have a record before anybody is told of it
WAIT_MS: Final = 500  # for them at once: shorter than the silence after which a socket is given up
PAUSE_SECONDS: Final = 0.05
PASSING: Final = (  # what a replica that takes over and a slot that moves make of calls, for a while
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.RedisClusterException,
    exceptions.ClusterError,
    exceptions.TryAgainError,
    exceptions.AskError,
    exceptions.MovedError,
    exceptions.ReadOnlyError,
)

# What replicas have is told beside the history (Redis's own name of it) of the node that knows: a node that became the
# primary, or to which the slot moved, has what came to it. It tells that before it takes its first record.
_HISTORY: Final = """
local history = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
local told = redis.call('GET', KEYS[1]) or '0'
if redis.call('GET', KEYS[6]) == history then told = redis.call('GET', KEYS[5]) or '0' end
"""
_MARK: Final = _HISTORY + "return {told, redis.call('GET', KEYS[7])}"
_BEGIN: Final = (
    _HISTORY
    + """
if redis.call('GET', KEYS[6]) ~= history then
  redis.call('SET', KEYS[5], told)
  redis.call('SET', KEYS[6], history)
end
"""
)
_TELL: Final = _BEGIN + "if tonumber(ARGV[1]) > tonumber(told) then redis.call('SET', KEYS[5], ARGV[1]) end"


class PatientCluster(redis.RedisCluster):
    """A client that follows the cluster for some seconds before it says that something is gone."""

    def __init__(self, url: str, *, timeout: float) -> None:
        self._patience = timeout
        parts = urlsplit(url)
        user, at, hosts = parts.netloc.rpartition("@")
        scheme = parts.scheme.removesuffix("+cluster")
        first, *others = (urlsplit(f"{scheme}://{user}{at}{host}") for host in hosts.split(","))
        super().__init__(
            url=first.geturl(),
            startup_nodes=[ClusterNode(other.hostname, other.port or 6379) for other in others],
            retry=Retry(NoBackoff(), 0),  # it would try again at once, ten times, and a failover takes seconds
            require_full_coverage=False,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
        )

    def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        deadline = time.monotonic() + self._patience
        while True:
            try:
                return super().execute_command(*args, **kwargs)
            except PASSING:
                if time.monotonic() > deadline:
                    raise
            time.sleep(PAUSE_SECONDS)


class ClusterJournal(RedisJournal):
    """A journal in a cluster, `redis+cluster://host:port,host:port`: any of its nodes, the others are found.

    Raises:
        StoreUnavailable: no node answers.
    """

    _AWAY: ClassVar[tuple[type[Exception], ...]] = PASSING
    _BEGIN: ClassVar[str] = _BEGIN

    def __init__(self, url: str, *, timeout: float = 5.0) -> None:
        super().__init__(url, timeout=timeout, prefix="{recsys}:")
        self._sequencer += [f"{self._prefix}told", f"{self._prefix}teller"]
        self._mark, self._tell = map(self._redis.register_script, (_MARK, _TELL))

    def _connected(self) -> Any:
        return PatientCluster(self._url.get_secret_value(), timeout=self._timeout)

    def mark(self, fingerprint: str) -> Mark:
        with self._clear_errors():
            told, name = self._mark([*self._sequencer, self._pointer(fingerprint)])
        return Mark(int(told), (name or b"").decode())

    def append(self, entries: Sequence[Entry], floor: int, offsets: Sequence[Offset] = ()) -> Taken:
        taken = super().append(entries, floor, offsets)
        with self._clear_errors():
            if not entries:
                self._kept("EXISTS", self._offsets)
                return taken
            places = [int(at or 0) for at in self._kept("HMGET", self._ids, *(entry.digest for entry in entries))]
            if not all(there and at in (0, there) for at, there in zip(taken.positions, places, strict=True)):
                raise StoreUnavailable(
                    f"a replica of {self._url} took over while it had not all of the batch yet: send it again"
                )
            self._tell(self._sequencer, [max(places)])
        return taken

    def offsets(self, partitions: Sequence[str]) -> list[bytes]:
        """As the journal's. The log up to its head may be read then: a batch moves both in one step."""
        kept = super().offsets(partitions)
        with self._clear_errors():
            self._tell(self._sequencer, [int(self._kept("GET", self._head) or 0)])
        return kept

    def raise_head(self, position: int) -> None:
        super().raise_head(position)
        with self._clear_errors():
            if int(self._kept("GET", self._head) or 0) < position:
                raise StoreUnavailable(f"a replica of {self._url} took over meanwhile: try again")
            self._tell(self._sequencer, [position])

    def raw(self, after: int, until: int = NO_END, *, only: int | None = None) -> list[tuple[int, int, bytes]]:
        return super().raw(after, min(until, self.mark("").head), only=only)

    def _kept(self, command: str, key: str, *arguments: Any) -> Any:
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                node = self._redis.get_redis_connection(self._redis.get_node_from_key(key))
                return self._with_replicas(node, command, key, *arguments)
            except (*PASSING, StoreUnavailable):
                if time.monotonic() > deadline:
                    raise
            time.sleep(PAUSE_SECONDS)
            # finds out who has it now; `exists` would be a pipeline, which waits for nothing
            self._redis.execute_command("EXISTS", key)

    def _with_replicas(self, node: Any, *command: Any) -> Any:
        """What a node answers, once its replicas have what it had written before."""
        # WAIT waits for what was written before the last command of its own connection: both have to go through one
        answer, replicas = node.pipeline(transaction=False).execute_command(*command).wait(REPLICAS, WAIT_MS).execute()
        if replicas < REPLICAS:
            raise StoreUnavailable(
                f"a shard of {self._url} has no replica that answers: nothing is acknowledged until one is back, then "
                "send the batch again"
            )
        return answer

    def _many(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                return super()._many(commands)
            except PASSING:
                if time.monotonic() > deadline:
                    raise
            time.sleep(PAUSE_SECONDS)

    def _write_few(self, commands: Sequence[tuple[Any, ...]]) -> None:
        while True:
            before = self._histories()
            super()._write_few(commands)
            if self._histories() == before:
                return  # else a replica took over, and may lack some of it

    def _histories(self) -> list[str]:
        """Of the primaries, once their replicas have what they have."""
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                nodes = sorted(self._redis.get_primaries(), key=lambda node: str(node.name))
                clients = [self._redis.get_redis_connection(node) for node in nodes]
                return [str(self._with_replicas(client, "INFO", "replication")["master_replid"]) for client in clients]
            except (*PASSING, redis.ResponseError, StoreUnavailable):  # who became a replica refuses to WAIT
                if time.monotonic() > deadline:
                    raise
            time.sleep(PAUSE_SECONDS)
            with suppress(*PASSING):
                self._redis.nodes_manager.initialize()

    def _servers(self) -> Sequence[Any]:
        self._histories()
        return [self._redis.get_redis_connection(node) for node in self._redis.get_nodes()]
