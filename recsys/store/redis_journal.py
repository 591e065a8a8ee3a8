"""The journal at scale: a Redis Stream as the log, its entries' ids the positions, and snapshots as blobs beside it.

What has to happen as a whole is a script, which Redis runs between two commands of others. So two writers never get
one position, and no writer begins anew because another one came first. With WATCH it would, and a crowd of writers
could keep one from its turn for good. What Redis acknowledges is as durable as its own settings: run it with
`appendonly yes` and `appendfsync always`.
"""

from __future__ import annotations

import itertools
import struct
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Final

import numpy as np
import redis

from recsys.addresses import SecretUrl
from recsys.events import KINDS, SEARCH
from recsys.store.by_entity import whole
from recsys.store.errors import OffsetMoved, StoreError, StoreFull, StoreUnavailable
from recsys.store.journal import (
    CUT,
    FORGETTING_SECONDS,
    NO_END,
    RECORD,
    Dump,
    Entry,
    Mark,
    Offset,
    Records,
    Size,
    Taken,
    is_of,
    records_of,
)
from recsys.store.redis_states import COMMANDS, FORGETTING, RedisStates

PAGE: Final = 20_000  # stream entries read at once
CUT_AT_ONCE: Final = 1_000  # records: Redis answers nobody meanwhile, for some ms
REWRITE_SECONDS: Final = 600
_BYTES: Final = struct.Struct("<q")  # of one of RECORD's fields
_PREFIX: Final = "recsys:"  # with hash tags in a cluster: what a script touches lies in one slot

# Positions are below 2^53, up to which a number of Lua is exact. Arguments: floor, offsets, three words of each, then
# three of each entry. Answer: first position, what was taken, head before; false where an offset was moved.
_APPEND: Final = """
local entries = 3 + 3 * ARGV[2]
for i = 3, entries - 1, 3 do
  if (redis.call('HGET', KEYS[4], ARGV[i]) or '') ~= ARGV[i + 1] then return false end
end
for i = 3, entries - 1, 3 do
  if ARGV[i + 1] ~= ARGV[i + 2] then redis.call('HSET', KEYS[4], ARGV[i], ARGV[i + 2]) end
end
local before = redis.call('GET', KEYS[1]) or '0'
local at = math.max(tonumber(before) + 1, tonumber(ARGV[1]))
local first, taken = at, {}
for i = entries, #ARGV, 3 do
  local id = string.format('%.0f', at)
  if redis.call('HSETNX', KEYS[3], ARGV[i], id) == 1 then
    redis.call('XADD', KEYS[2], id .. '-0', 'f', ARGV[i + 1], 'r', ARGV[i + 2])
    taken[#taken + 1] = '1'
    at = at + 1
  else
    taken[#taken + 1] = '0'
  end
end
if at > first then redis.call('SET', KEYS[1], string.format('%.0f', at - 1)) end
return {string.format('%.0f', first), table.concat(taken), before}
"""
# Arguments: position up to which records have left, how many leave now, these, then the digests of some of them.
_CUT: Final = """
if tonumber(ARGV[1]) > tonumber(redis.call('HGET', KEYS[4], '/cut') or 0) then
  redis.call('HSET', KEYS[4], '/cut', ARGV[1])
end
for i = 3, 2 + ARGV[2] do redis.call('XDEL', KEYS[2], ARGV[i] .. '-0') end
for i = 3 + ARGV[2], #ARGV do redis.call('HDEL', KEYS[3], ARGV[i]) end
"""
_RAISE: Final = """
if tonumber(ARGV[1]) > tonumber(redis.call('GET', KEYS[1]) or 0) then redis.call('SET', KEYS[1], ARGV[1]) end
"""
_SWAP_FIELD: Final = """
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
"""
# A snapshot becomes the current one if the one that it replaces still is, and if it is still noted. It is noted before
# its first part is written; `compact` strikes out all notes but that of the current one, and then drops the parts of
# what is not noted. A client that got no answer asks again and finds its snapshot current.
_SWAP: Final = """
local before = redis.call('GET', KEYS[1]) or ''
if before == ARGV[2] then return '' end
if ARGV[1] ~= '*' and before ~= ARGV[1] then return false end
if redis.call('SISMEMBER', KEYS[2], ARGV[2]) == 0 then return false end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('SREM', KEYS[2], before)
return before
"""
_STRIKE: Final = """
redis.call('DEL', KEYS[2])
redis.call('SADD', KEYS[2], redis.call('GET', KEYS[1]) or '')
"""
# Of a page of the stream that may be a user's: position, fields and JSON of each; and the page's last position.
# Arguments: position behind which it begins, its length, the user, the kind of a search.
_MINE: Final = """
local page, mine = redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', ARGV[2]), {}
for _, entry in ipairs(page) do
  local fields = entry[2][2]
  if string.sub(fields, 9, 16) == ARGV[3] or string.sub(fields, 1, 8) == ARGV[4] then
    mine[#mine + 1] = {entry[1], fields, entry[2][4]}
  end
end
return {page[1] and page[#page][1] or '', mine}
"""
# Copy a page, and of some positions what is given in place of what is there. Asked again, it is there already.
_CARRY: Final = """
local last, other = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1), {}
if last[1] and last[1][1] == ARGV[2] then return end
for i = 3, #ARGV, 3 do other[ARGV[i]] = {'f', ARGV[i + 1], 'r', ARGV[i + 2]} end
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[2])) do
  redis.call('XADD', KEYS[2], entry[1], unpack(other[entry[1]] or entry[2]))
end
"""
# The copy takes the stream's place once it has what came after it was made. Asked again, there is no copy and nothing
# left to do.
_REPLACE: Final = """
if redis.call('EXISTS', KEYS[2]) == 0 then return 0 end
local rest = redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], '+')
if #rest > tonumber(ARGV[2]) then return -1 end
for _, entry in ipairs(rest) do redis.call('XADD', KEYS[2], entry[1], unpack(entry[2])) end
redis.call('RENAME', KEYS[2], KEYS[1])
return #rest
"""


class RedisJournal(RedisStates):
    """A journal in one database of a Redis server, `redis://host:port/db`.

    Raises:
        StoreUnavailable: the server does not answer, or not to this user.
        StoreError: there is no such database, no Redis, or an option of the address that is none.
    """

    shares_pages = False
    _AWAY: ClassVar[tuple[type[Exception], ...]] = redis.ConnectionError, redis.TimeoutError
    _BEGIN: ClassVar[str] = ""  # what a script does before the log takes something

    def __init__(self, url: str, *, timeout: float = 5.0, prefix: str = _PREFIX) -> None:
        self._url = SecretUrl(url)  # as messages name it: without a password
        self._prefix, self._timeout = prefix, timeout
        names = "head", "events", "ids", "offsets", "blocked", "identity", "snapshots", "events:copy"
        self._sequencer = [f"{prefix}{name}" for name in names[:4]]  # what a script of the log touches
        self._head, self._events, self._ids, self._offsets, self._blocked, self._identity, self._noted, self._copy = (
            f"{prefix}{name}" for name in names
        )
        with self._clear_errors():
            try:
                self._redis = self._connected()
                self._redis.ping()
            except (redis.ResponseError, redis.InvalidResponse, ValueError, TypeError) as error:
                # nothing was asked yet that could be told: no such database, an option of the address, no Redis there
                raise StoreError(f"RECSYS_STORE={self._url} cannot be used: {self._said(error)}") from None
        scripts = self._BEGIN + _APPEND, self._BEGIN + _RAISE, self._BEGIN + _CUT, _SWAP_FIELD, _SWAP, _STRIKE, _REPLACE
        self._append, self._raise, self._cut, self._swap_field, self._swap, self._strike, self._replace = map(
            self._redis.register_script, scripts
        )
        self._mine, self._carry = map(self._redis.register_script, (_MINE, _CARRY))

    def _connected(self) -> Any:
        url = self._url.get_secret_value()
        return redis.Redis.from_url(url, socket_timeout=self._timeout, socket_connect_timeout=self._timeout)

    def _kept(self, command: str, key: str, *arguments: Any) -> Any:
        """What a command reads of a key, once what was written there is kept as this store promises."""
        return self._redis.execute_command(command, key, *arguments)

    def _servers(self) -> Sequence[Any]:
        """A client of each server that has files, once all know what was written."""
        return [self._redis]

    def mark(self, fingerprint: str) -> Mark:
        with self._clear_errors():
            head, name = self._redis.mget(self._head, self._pointer(fingerprint))
        return Mark(int(head or 0), (name or b"").decode())

    def probe(self) -> None:
        with self._clear_errors():
            self._kept("EXISTS", self._head)

    def append(self, entries: Sequence[Entry], floor: int, offsets: Sequence[Offset] = ()) -> Taken:
        arguments: list[Any] = [floor, len(offsets), *itertools.chain.from_iterable(offsets)]
        for entry in entries:
            arguments += (entry.digest, entry.fields, entry.raw)
        with self._clear_errors():
            answer = self._append(self._sequencer, arguments)
        if answer is None:
            raise OffsetMoved(
                f"{', '.join(offset.partition for offset in offsets)}: read by another consumer meanwhile"
            )
        first, taken, before = answer
        following = itertools.count(int(first))
        return Taken([next(following) if place == ord("1") else 0 for place in taken], int(before))

    def offsets(self, partitions: Sequence[str]) -> list[bytes]:
        with self._clear_errors():
            return [kept or b"" for kept in self._redis.hmget(self._offsets, partitions)] if partitions else []

    def identity(self) -> str:
        with self._clear_errors():
            self._redis.set(self._identity, uuid.uuid4().hex, nx=True)
            kept: bytes = self._kept("GET", self._identity)
        return kept.decode()

    def raise_head(self, position: int) -> None:
        with self._clear_errors():
            self._raise(self._sequencer, [position])

    def records(self, after: int, until: int) -> Records:
        entries = [(position, fields[b"f"]) for position, fields in self._entries(after, f"{until}-0")]
        return records_of([position for position, _ in entries], [record for _, record in entries])

    def raw(self, after: int, until: int = NO_END, *, only: int | None = None) -> list[tuple[int, int, bytes]]:
        records = (
            (position, RECORD.unpack(fields[b"f"])[0], fields[b"r"])
            for position, fields in self._entries(after, f"{until}-0")
        )
        return [record for record in records if only in (None, record[1])]

    def blocked(self, user_key: int) -> bytes | None:
        with self._clear_errors():
            listed: bytes | None = self._redis.hget(self._blocked, str(user_key))
        return listed

    def block(self, user_key: int, changed: Callable[[bytes | None], bytes]) -> bytes:
        with self._clear_errors():
            while True:
                before = self._redis.hget(self._blocked, str(user_key))
                kept = changed(before)
                swapped = self._swap_field([self._blocked], [str(user_key), before or b"", kept])
                if swapped and self._kept("HGET", self._blocked, str(user_key)) == kept:
                    return kept

    def hold(self) -> None:
        with self._clear_errors():
            self._redis.set(FORGETTING, "", ex=FORGETTING_SECONDS)

    def strip(self, user_key: int, rewritten: Callable[[bytes], bytes], word: bytes) -> int:
        """A copy of the stream takes its place in one step: an entry of a stream cannot be changed."""
        with self._clear_errors():
            self._redis.hdel(self._blocked, str(user_key))
            copied, after = self._copied(0, user_key, rewritten, word)
            # writers do not wait for the copy: the few entries that came meanwhile follow in the one last step
            while copied and self._replace(keys=[self._events, self._copy], args=[f"{after}-0", PAGE]) < 0:
                more, after = self._copied(after, user_key, rewritten, word)
                copied += more
            self._redis.delete(self._copy)
            late = copied and any(self._is_of(fields, user_key, word) for _, fields in self._entries(after, "+"))
            self._kept("EXISTS", self._events)
        return copied + self.strip(user_key, rewritten, word) if late else copied

    def _copied(self, after: int, user_key: int, rewritten: Callable[[bytes], bytes], word: bytes) -> tuple[int, int]:
        """Copy what follows a position, nobody's where it was the user's; how many were, and the last position.

        The server copies: 20,000 records that go to this process and back take 2 s of its CPU.
        """
        copied, whose = 0, [_BYTES.pack(user_key), _BYTES.pack(KINDS[SEARCH])]
        if not after:
            self._redis.delete(self._copy)
        while True:
            last, found = self._mine(keys=[self._events], args=[f"({after}-0", CUT_AT_ONCE, *whose])
            if not last:
                return copied, after
            others = []
            for at, fields, raw in found:
                if self._is_of({b"f": fields, b"r": raw}, user_key, word):
                    kind, _, *rest = RECORD.unpack(fields)
                    others += [at, RECORD.pack(kind, 0, *rest), rewritten(raw)]
            self._carry(keys=[self._events, self._copy], args=[f"({after}-0", last, *others])
            copied += len(others) // 3
            after = int(last.split(b"-")[0])

    @staticmethod
    def _is_of(fields: Mapping[bytes, bytes], user_key: int, word: bytes) -> bool:
        kind, user, *_ = RECORD.unpack(fields[b"f"])
        return is_of(kind, user, fields[b"r"], user_key, word)

    def compact(self, fingerprint: str) -> None:
        """Drop the snapshots that nothing names any more, and write the files anew: they still tell the old story."""
        with self._clear_errors():
            self._redis.delete(FORGETTING)
            pointer = self._pointer(fingerprint)
            for key in self._redis.scan_iter(self._pointer("*"), count=COMMANDS):
                if key != pointer.encode():
                    self._redis.delete(key)
            self._strike([pointer, self._noted])
            self._clear(pointer)
            for server in self._servers():
                if server.info("persistence")["aof_enabled"]:
                    self._rewrite(server, server.bgrewriteaof, "aof_rewrite_in_progress", "aof_last_bgrewrite_status")
                if server.config_get("save").get("save"):
                    self._rewrite(server, server.bgsave, "rdb_bgsave_in_progress", "rdb_last_bgsave_status")

    def _rewrite(self, server: Any, begin: Callable[[], object], running: str, status: str) -> None:
        """Rewrite one of a server's files: begun after now, and ended."""
        deadline = time.monotonic() + REWRITE_SECONDS
        begun = False
        while time.monotonic() < deadline:
            info = server.info("persistence")
            busy = info["aof_rewrite_in_progress"] or info["aof_rewrite_scheduled"] or info["rdb_bgsave_in_progress"]
            if begun and not info[running] and not info["aof_rewrite_scheduled"]:
                if info[status] != "ok":
                    break
                return
            if not begun and not busy:
                begin()
                begun = True
            time.sleep(0.02)
        raise StoreError(f"Redis at {self._url} did not rewrite its file within {REWRITE_SECONDS} s: forget again")

    def _pointer(self, fingerprint: str) -> str:
        return f"{self._prefix}state:{fingerprint}"

    def snapshots(self) -> dict[str, str]:
        with self._clear_errors():
            pointers = [key.decode() for key in self._redis.scan_iter(self._pointer("*"), count=COMMANDS)]
            names = [self._redis.get(pointer) or b"" for pointer in pointers]
        return {
            pointer.removeprefix(self._pointer("")): name.decode()
            for pointer, name in zip(pointers, names, strict=True)
        }

    def cut(self, positions: np.ndarray) -> None:
        wanted = positions.tolist()
        leaving = set(wanted)
        with self._clear_errors():
            found = ((int(at), digest) for digest, at in self._redis.hscan_iter(self._ids, count=PAGE))
            ids = {at: digest for at, digest in found if at in leaving}
            for start in range(0, len(wanted), CUT_AT_ONCE):
                few = wanted[start : start + CUT_AT_ONCE]
                self._cut(self._sequencer, [few[-1], len(few), *few, *(ids[at] for at in few if at in ids)])
            self._kept("EXISTS", self._events)

    def cut_at(self) -> int:
        with self._clear_errors():
            return int(self._redis.hget(self._offsets, CUT) or 0)

    def size(self) -> Size:
        with self._clear_errors():
            memory = (self._redis.memory_usage(key) or 0 for key in (self._events, self._ids))
            return Size(self._redis.xlen(self._events), self._redis.hlen(self._ids), sum(memory))

    def drop(self, fingerprint: str) -> None:
        """Processes that read from it still find its parts for a while; `compact` clears what no name leads to."""
        with self._clear_errors():
            self._redis.delete(self._pointer(fingerprint))
            self._kept("EXISTS", self._pointer(fingerprint))

    @contextmanager
    def dumped(self, fingerprint: str) -> Iterator[Dump]:
        """What came after the head was read is left out: each of its records is later than all of the dump."""
        with self._clear_errors():
            # ahead of the head: what a stream tells again is known by its id, what it left out were lost
            offsets = [(name.decode(), offset) for name, offset in self._redis.hgetall(self._offsets).items()]
            head, snapshot = self.mark(fingerprint)
            yield Dump(
                head,
                snapshot,
                whole(self, snapshot, self.load(fingerprint, snapshot)) if snapshot else {},
                self._whole_entries(head, int(dict(offsets).get(CUT, 0))),
                ((digest, int(at)) for digest, at in self._redis.hscan_iter(self._ids, count=PAGE) if int(at) <= head),
                ((int(user_key), kept) for user_key, kept in self._redis.hscan_iter(self._blocked, count=PAGE)),
                offsets,
            )

    def _whole_entries(self, head: int, cut: int) -> Iterator[tuple[int, bytes, bytes]]:
        yield from ((at, fields[b"f"], fields[b"r"]) for at, fields in self._entries(0, f"{head}-0"))
        if self.cut_at() != cut:
            raise StoreError("records left the journal while it was read: try again")

    def fill(self, fingerprint: str, dump: Dump) -> None:
        with self._clear_errors():
            if self._redis.exists(self._head, self._events, self._ids, self._blocked):
                raise StoreError(f"Redis at {self._url} holds records already: nothing is laid over them")
            self._piped((self._events, {b"f": fields, b"r": raw}, f"{at}-0") for at, fields, raw in dump.entries)
            self._piped((self._ids, digest, str(at)) for digest, at in dump.ids)
            self._piped((self._blocked, str(user_key), kept) for user_key, kept in dump.blocked)
            self._piped((self._offsets, partition, offset) for partition, offset in dump.offsets)
            self._kept("EXISTS", self._events)
            if dump.snapshot:
                self.save(fingerprint, dump.snapshot, dump.arrays, None)
        self.raise_head(dump.head)

    def _piped(self, rows: Iterable[tuple[Any, Any, Any]]) -> None:
        """Entries of a stream, or fields of a hash, some at a time."""
        left = iter(rows)
        while chunk := list(itertools.islice(left, PAGE)):
            pipe = self._redis.pipeline(transaction=False)
            for row in chunk:
                (pipe.xadd if isinstance(row[1], dict) else pipe.hset)(*row)
            pipe.execute()

    def close(self) -> None:
        self._redis.close()

    def _entries(self, after: int, until: str) -> Iterator[tuple[int, dict[bytes, bytes]]]:
        with self._clear_errors():
            while True:
                page = self._redis.xrange(self._events, f"{after + 1}-0", until, count=PAGE)
                for name, fields in page:
                    after = int(name.split(b"-")[0])
                    yield after, fields
                if len(page) < PAGE:
                    return

    def _said(self, error: Exception) -> str:
        return self._url.hidden_in(" ".join(str(error).split()))[:160]

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        try:
            yield
        except self._AWAY as error:
            words = f"Redis at {self._url} does not answer ({self._said(error)})"
            raise StoreUnavailable(f"{words}: start it, or mend RECSYS_STORE, then send the batch again") from None
        except redis.ResponseError as error:
            if isinstance(error, redis.OutOfMemoryError) or "maxmemory" in str(error):
                raise StoreFull(
                    f"Redis at {self._url} is full: raise maxmemory; nothing of this batch was taken"
                ) from None
            raise StoreError(f"Redis at {self._url} refused: {type(error).__name__}") from None
