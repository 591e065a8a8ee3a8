"""Snapshots and state by entity as keys of Redis, beside the journal's log: a worker loads the former whole, and of the
latter what it is asked for.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

import numpy as np
import xxhash

from recsys.store.by_entity import divided_arrays
from recsys.store.errors import StoreCorrupt
from recsys.store.hot import LOG
from recsys.store.journal import AHEAD_SECONDS, FORGETTING_SECONDS, WATCHED_SECONDS

CHUNK_BYTES: Final = 64 << 20  # of a blob; a Redis string holds 512 MB
KEEP_SECONDS: Final = 3600  # an old snapshot stays this long for processes that are loading it
COMMANDS: Final = 500  # sent at once
BUCKETS: Final = 64  # of an archive's digests, by their first byte; each has the member b"" as well
OWNERS: Final = 1024  # buckets of owners, by their last bits: each lies in one slot, beside a key that says it is here
# Of parts, which may lie in any slot.
SNAPSHOT: Final = "recsys:snapshot:"
OF: Final = "recsys:of:"  # a lineage
COMING: Final = "recsys:coming:"  # begins the key of what is announced
WATCHED: Final = "recsys:watched"  # there while processes look for that
FORGETTING: Final = "recsys:forgetting"  # while it is there nobody folds (Journal.hold)
LOST: Final = "part of the online store's state is gone, as where a shard was lost: materialize online_state"
# What owners have goes forward only: of two that fold at once, the one that got further stands.
_KEEP: Final = """
local kept = redis.call('GETRANGE', KEYS[1], 0, 7)
if #kept == 8 and struct.unpack('>l', kept) >= struct.unpack('>l', ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1])
return 1
"""


class _Arrays(dict[str, np.ndarray]):
    """Arrays of a snapshot; the log, which only a replay reads, comes each time that it is asked for."""

    def __init__(self, of: Callable[[str], np.ndarray]) -> None:
        super().__init__()
        self._of = of

    def __missing__(self, key: str) -> np.ndarray:
        return self._of(key)


class RedisStates:
    """The part of RedisJournal that keeps states."""

    _redis: Any
    _noted: str
    _swap: Any
    _clear_errors: Callable[[], AbstractContextManager[None]]
    _kept: Callable[..., Any]
    _pointer: Callable[[str], str]

    def coming(self, fingerprint: str) -> str:
        with self._clear_errors():
            self._redis.set(WATCHED, "", ex=WATCHED_SECONDS)
            return (self._redis.get(f"{COMING}{fingerprint}") or b"").decode()

    def _announce(self, fingerprint: str, name: str) -> None:
        if self._redis.exists(WATCHED) and not self._redis.exists(FORGETTING):
            self._redis.set(f"{COMING}{fingerprint}", name, ex=FORGETTING_SECONDS)  # of one that was killed
            time.sleep(AHEAD_SECONDS)

    def save(self, fingerprint: str, name: str, arrays: Mapping[str, np.ndarray | None], replaces: str | None) -> bool:
        pointer, lineage = self._pointer(fingerprint), name.split("-")[0]
        with self._clear_errors():
            if lineage == (replaces or "").split("-")[0] and self._redis.exists(FORGETTING):
                return False
            before = self._about(replaces) if replaces else {}
            if not {key for key, array in arrays.items() if array is None} <= before.keys():
                return False  # one without a user came in its place, and dropped it
            self._redis.sadd(self._noted, name)
            kept: Mapping[str, np.ndarray | None] = arrays
            if "table" in arrays:  # a whole state
                kept, blobs, digests = divided_arrays(arrays)  # type: ignore[arg-type]
                self._write(("SET", _owners(lineage, bucket), "") for bucket in range(OWNERS))
                self.keep_owned(lineage, blobs)
                self._archive(lineage, digests)
            about = self._put(name, kept, replaces, before)
            if replaces and lineage != replaces.split("-")[0]:  # nobody loads another one of a lineage
                self._announce(fingerprint, name)
            parts = [f"{SNAPSHOT}{name}", *_parts(name, about)]
            whole = all(self._kept("EXISTS", part) for part in parts)
            swapping = [pointer, self._noted], ["*" if replaces is None else replaces, name]
            swapped = self._swap(*swapping) if whole else None
            self._redis.delete(f"{COMING}{fingerprint}")
            # what a failover took back is as it was before
            if swapped is None or (current := self._kept("GET", pointer)) == swapped:
                self._expire({part for part in parts if part.startswith(f"{SNAPSHOT}{name}")})
                current = self._redis.get(pointer) or b""
                if current.split(b"-")[0] != lineage.encode():
                    self._leave(lineage)
                return False
            gone = swapped.decode()
            if gone:
                self._expire({f"{SNAPSHOT}{gone}", *_parts(gone, self._about(gone))} - set(parts))
                if gone.split("-")[0] != lineage:
                    self._leave(gone.split("-")[0])
        return True

    def load(self, fingerprint: str, snapshot: str) -> dict[str, np.ndarray]:
        with self._clear_errors():
            about = self._about(snapshot)
        if not about:
            raise StoreCorrupt(f"snapshot {snapshot} of the online store is gone: materialize online_state")
        arrays = _Arrays(lambda key: self._array(snapshot, key, about[key]))
        arrays.update({key: self._array(snapshot, key, of) for key, of in about.items() if key not in LOG})
        return arrays

    def check(self, fingerprint: str, snapshot: str, names: Collection[str]) -> None:
        """That no shard has lost its keys; what comes over a network is checked as it comes."""
        self._require(snapshot.split("-")[0], range(OWNERS))

    def owned(self, lineage: str, names: Sequence[int]) -> list[bytes | None]:
        with self._clear_errors():
            blobs = list(self._many([("GET", _owner(lineage, name)) for name in names]))
        # asked behind them: an owner without events has no key, and one in a shard that was lost has none either
        self._require(lineage, {name % OWNERS for name, blob in zip(names, blobs, strict=True) if blob is None})
        return blobs

    def _require(self, lineage: str, buckets: Iterable[int]) -> None:
        with self._clear_errors():
            here = self._many([("EXISTS", _owners(lineage, bucket)) for bucket in buckets])
        if not all(here):
            raise StoreCorrupt(LOST)

    def keep_owned(self, lineage: str, blobs: Iterator[tuple[int, bytes]]) -> None:
        with self._clear_errors():
            self._write(("EVAL", _KEEP, 1, _owner(lineage, name), blob) for name, blob in blobs)

    def has_archived(self, lineage: str, digests: Sequence[bytes]) -> np.ndarray:
        buckets: dict[int, list[int]] = {}
        for place, digest in enumerate(digests):
            buckets.setdefault(digest[0] % BUCKETS, []).append(place)
        asked = [("SMISMEMBER", _ids(lineage, b), *(digests[i] for i in places), b"") for b, places in buckets.items()]
        with self._clear_errors():
            answers = self._many(asked)
        held = np.zeros(len(digests), bool)
        for places, (*answer, here) in zip(buckets.values(), answers, strict=True):
            if not here:
                raise StoreCorrupt(LOST)
            held[places] = np.array(answer, bool)
        return held

    def archived(self, lineage: str) -> np.ndarray:
        with self._clear_errors():
            members = self._many([("SMEMBERS", _ids(lineage, bucket)) for bucket in range(BUCKETS)])
        if not all(members):
            raise StoreCorrupt(LOST)
        pairs = np.frombuffer(b"".join(itertools.chain.from_iterable(members)), np.uint64).reshape(-1, 2)
        return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]

    def _archive(self, lineage: str, digests: np.ndarray) -> None:
        self._write(("SADD", _ids(lineage, bucket), b"") for bucket in range(BUCKETS))
        rows = [row.tobytes() for row in digests]
        rows.sort(key=lambda row: row[0] % BUCKETS)
        by_bucket = itertools.groupby(rows, key=lambda row: row[0] % BUCKETS)
        self._write(
            ("SADD", _ids(lineage, bucket), *few) for bucket, members in by_bucket for few in _chunks(members, COMMANDS)
        )

    def _put(
        self, name: str, arrays: Mapping[str, np.ndarray | None], replaces: str | None, before: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Keep the arrays of a snapshot; those that are None stay where the one replaced has them (`before`)."""
        about: dict[str, Any] = {}
        for key, array in arrays.items():
            if array is None:
                about[key] = {"of": replaces, **before[key]}
                continue
            blob = np.ascontiguousarray(array).tobytes()
            chunks = range(0, max(1, len(blob)), CHUNK_BYTES)
            digest = xxhash.xxh3_64_hexdigest(blob)
            about[key] = {"dtype": array.dtype.str, "shape": array.shape, "chunks": len(chunks), "digest": digest}
            for part, start in zip(_parts(name, {key: about[key]}), chunks, strict=True):
                self._redis.set(part, blob[start : start + CHUNK_BYTES])
        self._redis.set(f"{SNAPSHOT}{name}", json.dumps(about))
        return about

    def _about(self, snapshot: str) -> dict[str, Any]:
        about: dict[str, Any] = json.loads(self._redis.get(f"{SNAPSHOT}{snapshot}") or "{}")
        return about

    def _array(self, snapshot: str, key: str, of: Mapping[str, Any]) -> np.ndarray:
        with self._clear_errors():
            blob = b"".join(self._redis.get(part) or b"" for part in _parts(snapshot, {key: of}))
        if xxhash.xxh3_64_hexdigest(blob) != of["digest"]:
            raise StoreCorrupt(f"{key} of the online store's snapshot is torn: materialize online_state")
        return np.frombuffer(bytearray(blob), np.dtype(of["dtype"])).reshape(of["shape"])

    def _expire(self, keys: Iterable[str | bytes]) -> None:
        self._write(("EXPIRE", key, KEEP_SECONDS) for key in keys)

    def _leave(self, lineage: str) -> None:
        """What a lineage has goes once nobody reads it any more, or at once where somebody is being forgotten."""
        keys = self._redis.scan_iter(f"{OF}{lineage}:*", count=COMMANDS)
        if self._redis.exists(FORGETTING):
            self._write(("DEL", key) for key in keys)
        else:
            self._expire(keys)

    def _clear(self, pointer: str) -> None:
        """Drop at once whatever belongs to no snapshot that is noted."""
        keys = self._redis.scan_iter("recsys:*", count=COMMANDS)
        parts = [key for key in keys if key.startswith((SNAPSHOT.encode(), OF.encode()))]
        # asked last: who is noted meanwhile has parts among those
        noted = {name.decode() for name in self._redis.smembers(self._noted)}
        used = {part.encode() for name in noted for part in _parts(name, self._about(name))}
        lineages = {name.split("-")[0] for name in noted}

        def stays(part: bytes) -> bool:
            of, name = part.decode().split(":")[1:3]
            return part in used or name in (noted if of == "snapshot" else lineages)

        self._write(("DEL", part) for part in parts if not stays(part))

    def _many(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Answers of commands, each of one key; all may be asked twice."""
        answers = []
        for few in _chunks(commands, COMMANDS):
            pipe = self._redis.pipeline(transaction=False)
            for command in few:
                pipe.execute_command(*command)
            answers += pipe.execute()
        return answers

    def _write(self, commands: Iterable[tuple[Any, ...]]) -> None:
        for few in _chunks(commands, COMMANDS):
            self._write_few(few)

    def _write_few(self, commands: Sequence[tuple[Any, ...]]) -> None:
        self._many(commands)


def _chunks(things: Iterable[Any], size: int) -> Iterator[list[Any]]:
    following = iter(things)
    while few := list(itertools.islice(following, size)):
        yield few


def _owners(lineage: str, bucket: int) -> str:
    return f"{OF}{lineage}:{{{bucket:x}}}"


def _owner(lineage: str, name: int) -> str:
    return f"{_owners(lineage, name % OWNERS)}:{name & 0xFFFFFFFFFFFFFFFF:016x}"


def _ids(lineage: str, bucket: int) -> str:
    return f"{OF}{lineage}:ids:{bucket}"


def _parts(snapshot: str, about: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Keys of the arrays that a snapshot has."""
    return [
        f"{SNAPSHOT}{of.get('of', snapshot)}:{key}:{number}"
        for key, of in about.items()
        for number in range(of["chunks"])
    ]
