"""The item index: versions of the catalogue's embeddings in Milvus, and an exact copy of one in memory.

A version is a collection `items__<version>` that is written once and never changed. The alias `items` names the newest
ready one, for people and for readers that adopt it; a search always names the concrete collection, because through the
alias 4-11 % of requests under load met vectors of another model than their query's. Items that arrive after a version
was published are added to a collection beside it, `late__<version>`, which goes when the version goes.

This is the only module that knows pymilvus.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import logging
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import numpy as np

from recsys.events import MAX_ID_BYTES
from recsys.retrieval.top import top_among, top_k

ALIAS: Final = "items"
PREFIX: Final = "items__"
LATE_PREFIX: Final = "late__"
INSERT_ROWS: Final = 5_000
FLAT_ROWS: Final = 200_000  # exact search up to here; beyond it a cluster gets HNSW (Lite's costs O(rows) anyway)
FLAT: Final = "FLAT"
HNSW: Final = {"M": 32, "efConstruction": 200}
UNIT_NORM_TOLERANCE: Final = 1e-4
SCORE_TOLERANCE: Final = 2e-6  # two float32 sums of 64 products in different orders differ by less
GOLDEN_QUERIES: Final = 16
NO_SUCH_COLLECTION: Final = 100  # Milvus' error code, on Lite and on a cluster
T = TypeVar("T")


class ItemIndexError(RuntimeError):
    """A version cannot be published, found or trusted; the message says which and why."""


class ItemIndexUnavailable(ItemIndexError):
    """Milvus refused or did not answer within the time given; the call may be tried again."""


class Hits(NamedTuple):
    """What a search found, by falling score, equal scores by item id: ids and float32 scores of equal length."""

    item_ids: list[str]
    scores: np.ndarray


class ItemIndex(Protocol):
    """Nearest items by inner product within one published collection."""

    @property
    def in_memory(self) -> bool:
        """Whether a search asks nobody outside this process, so that it cannot hang."""
        ...

    def search(self, collection: str, vector: np.ndarray, k: int, item_type: str | None = None) -> Hits:
        """The k best of `collection` (fewer when it, or its share of that type, is smaller) for float32[d]."""
        ...


@dataclass(frozen=True)
class IndexedItems:
    """Rows of one version, ascending by item id: ids, types, unit vectors float32[n, d]."""

    item_ids: tuple[str, ...]
    item_types: tuple[str, ...]
    vectors: np.ndarray

    @classmethod
    def of(cls, item_ids: Sequence[str], item_types: Sequence[str], vectors: np.ndarray) -> IndexedItems:
        """Check and order rows.

        Raises:
            ItemIndexError: lengths differ, an id is repeated, empty or too long, or a vector is not finite or not of
                norm 1; the message names the first such item.
        """
        vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        if vectors.ndim != 2 or not len(item_ids) == len(item_types) == len(vectors):
            raise ItemIndexError(
                f"{len(item_ids)} ids, {len(item_types)} types and vectors of shape {vectors.shape} do not fit together"
            )
        if not len(item_ids):
            raise ItemIndexError("there is no item to index")
        order = sorted(range(len(item_ids)), key=item_ids.__getitem__)
        ids = tuple(item_ids[i] for i in order)
        for left, right in itertools.pairwise(ids):
            if left == right:
                raise ItemIndexError(f"item {left} has two vectors")
        if wrong := [i for i in ids if not 0 < len(i.encode()) <= MAX_ID_BYTES]:
            raise ItemIndexError(f"item id {wrong[0]!r:.40} must have 1 to {MAX_ID_BYTES} bytes")
        vectors = vectors[order]
        with np.errstate(over="ignore", invalid="ignore"):
            norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
        bad = np.flatnonzero(~(np.abs(norms - 1.0) <= UNIT_NORM_TOLERANCE))  # also true of NaN and infinity
        if bad.size:
            raise ItemIndexError(
                f"the vector of item {ids[bad[0]]} has norm {norms[bad[0]]:.5g}, not 1 ({bad.size} such)"
            )
        return cls(ids, tuple(item_types[i] for i in order), vectors)

    @property
    def content_hash(self) -> str:
        """sha256 over ids, types and vectors: equal hash, equal collection."""
        digest = hashlib.sha256()
        digest.update("\0".join(self.item_ids).encode())
        digest.update("\0".join(self.item_types).encode())
        digest.update(self.vectors.tobytes())
        return digest.hexdigest()


class ExactMirror:
    """One collection held in memory: every score is computed, ties are broken by item id.

    Each row's score depends on that row alone (einsum, one thread; a BLAS product rounds by its blocking), so an answer
    does not depend on the machine's threads. 7,583 x 64 takes 0.2-0.4 ms.
    """

    in_memory = True

    def __init__(self, collection: str, items: IndexedItems) -> None:
        self.collection = collection
        self.items = items
        self._types = np.array(items.item_types, dtype=object)

    def search(self, collection: str, vector: np.ndarray, k: int, item_type: str | None = None) -> Hits:
        """See `ItemIndex.search`.

        Raises:
            ItemIndexError: it mirrors another collection, or the vector is not a finite float32[d].
        """
        best, scores = self.nearest(collection, vector, k, item_type)
        return Hits([self.items.item_ids[i] for i in best.tolist()], scores)

    def nearest(
        self,
        collection: str,
        vector: np.ndarray,
        k: int,
        item_type: str | None = None,
        among: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `search`, by rows of `items`; `among`: only these rows, rising int64[m]."""
        if collection != self.collection:
            raise ItemIndexError(f"the mirror holds {self.collection}, not {collection}")
        query = _query(vector, self.items.vectors.shape[1])
        scores = np.einsum("nd,d->n", self.items.vectors, query)
        if item_type is not None:
            is_such = self._types == item_type
            among = np.flatnonzero(is_such) if among is None else among[is_such[among]]
        best = top_k(scores, k) if among is None else top_among(scores, among, k)
        return best, scores[best]


def same_hits(left: Hits, right: Hits, tolerance: float = SCORE_TOLERANCE) -> bool:
    """Whether two exact searches agree: scores equal rank by rank, ids equal but for swaps among equal scores."""
    if len(left.item_ids) != len(right.item_ids):
        return False
    if not len(left.item_ids):
        return True
    if np.max(np.abs(left.scores - right.scores)) > tolerance:
        return False
    ours = dict(zip(left.item_ids, left.scores, strict=True))
    theirs = dict(zip(right.item_ids, right.scores, strict=True))
    last = max(float(left.scores[-1]), float(right.scores[-1]))
    return all(
        abs(float(score) - float(theirs[item])) <= tolerance if item in theirs else score <= last + tolerance
        for item, score in ours.items()
    )


class MilvusIndex:
    """The published collections of one Milvus, embedded or cluster (the URI decides)."""

    in_memory = False

    def __init__(self, uri: str, timeout: float = 10.0, token: str = "") -> None:
        """Connect; `timeout` in seconds bounds every call of a reader (publishing takes 30 times that).

        Raises:
            ItemIndexUnavailable: nothing answers at `uri`.
        """
        from pymilvus import MilvusClient

        logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # it logs a traceback of every error that it raises
        self.uri, self.timeout = uri, timeout
        self._sides: set[str] = set()  # collections of late items that this process opened
        options = {
            "grpc.enable_http_proxy": 0,
            "grpc.initial_reconnect_backoff_ms": 100,  # a server that came back is found at once, not after 1-120 s
            "grpc.min_reconnect_backoff_ms": 100,
            "grpc.max_reconnect_backoff_ms": 1_000,
            "grpc.use_local_subchannel_pool": 1,
        }
        self._client: MilvusClient = self._call(
            lambda: MilvusClient(uri=uri, token=token, timeout=timeout, grpc_options=options), "connect"
        )

    def search(self, collection: str, vector: np.ndarray, k: int, item_type: str | None = None) -> Hits:
        """See `ItemIndex.search`.

        Raises:
            ItemIndexError: the vector is not finite.
            ItemIndexUnavailable: Milvus does not answer, or does not have the collection.
        """
        query = _query(vector, len(vector))
        condition = f'item_type == "{_literal(item_type)}"' if item_type is not None else ""
        nearest = self._call(
            lambda: self._client.search(
                collection,
                data=[query.tolist()],
                anns_field="embedding",
                limit=k,
                filter=condition,
                output_fields=["id"],
                search_params={"metric_type": "IP", "params": {"ef": max(2 * k, 256)}},
                timeout=self.timeout,
            ),
            f"search {collection}",
        )[0]
        ids = [hit["id"] for hit in nearest]
        scores = np.array([hit["distance"] for hit in nearest], dtype=np.float32)
        order = sorted(range(len(ids)), key=lambda i: (-scores[i], ids[i]))
        return Hits([ids[i] for i in order], scores[order])

    def publish(self, version: str, items: IndexedItems, facts: Mapping[str, str], keep: Collection[str] = ()) -> str:
        """Write one version, verify it, point the alias at it and drop what nobody can need; returns its collection.

        `facts` (tower fingerprint, ...) are kept with it. The two newest versions stay, and those in `keep`. A version
        that is already there, ready and of the same content is left as it is; a half-written one is written again.

        Raises:
            ItemIndexError: the version exists with other content, or Milvus holds something else than what was sent.
            ItemIndexUnavailable: Milvus does not answer; the alias still names the version before.
        """
        if not re.fullmatch(r"[A-Za-z0-9_]{1,200}", version):
            raise ItemIndexError(f"version {version!r:.60} may hold letters, digits and _ only")
        collection = PREFIX + version
        if collection in self.collections():
            existing = self.facts(collection)
            if existing.get("state") != "ready":
                self._drop(collection)
            elif existing.get("content_hash") != items.content_hash:
                raise ItemIndexError(f"{collection} already holds other vectors: publish under a new version")
        if collection not in self.collections():
            self._write(collection, items, facts)
            self.verify(collection, items)
            ready = {"state": "ready"}
            self._call(
                lambda: self._client.alter_collection_properties(collection, properties=ready, timeout=self._long),
                f"mark {collection} ready",
            )
        previous = self.current()
        if previous != collection:
            move = self._client.alter_alias if previous else self._client.create_alias
            self._call(lambda: move(collection, ALIAS, timeout=self._long), f"point {ALIAS} at {collection}")
            if self.current() != collection:
                raise ItemIndexError(f"the alias {ALIAS} did not move to {collection}")
        self._drop_old({collection, *([previous] if previous else []), *keep})
        return collection

    def add_late(self, collection: str, items: IndexedItems) -> None:
        """Add items that a version lacks, or replace them, in the collection beside it. Safe to repeat, by several too.

        Raises:
            ItemIndexUnavailable: Milvus does not answer, or the version is not there.
        """
        side = late_of(collection)
        if side not in self._sides:
            if side not in self._names():
                self.facts(collection)  # a version that is gone gets no new side
                try:
                    self._create(side, items.vectors.shape[1], {"state": "late"}, self.timeout)
                except ItemIndexUnavailable:
                    if side not in self._names():  # else another process was first
                        raise
            # whoever made it may have died before this
            self._call(lambda: self._open(side, FLAT, self.timeout), f"open {side}")
            self._sides.add(side)
        try:
            rows = _rows(items, 0, len(items.item_ids))
            self._call(lambda: self._client.upsert(side, rows, timeout=self.timeout), f"write {side}")
        except ItemIndexError:
            self._sides.discard(side)  # it may have been dropped with its version
            raise

    def verify(self, collection: str, items: IndexedItems) -> None:
        """Compare a collection with what it must hold: every id, type and vector, and the answers of golden queries.

        Raises:
            ItemIndexError: they differ; the message says where.
        """
        held = self.read(collection)
        if held.item_ids != items.item_ids:
            raise ItemIndexError(f"{collection} holds {len(held.item_ids)} items, not the {len(items.item_ids)} sent")
        if held.content_hash != items.content_hash:
            raise ItemIndexError(f"{collection} holds other vectors or types than those sent")
        mirror = ExactMirror(collection, items)
        k = min(100, len(items.item_ids))
        for row in np.linspace(0, len(items.item_ids) - 1, min(GOLDEN_QUERIES, len(items.item_ids)), dtype=int):
            query = items.vectors[row]
            if not same_hits(self.search(collection, query, k), mirror.search(collection, query, k)):
                raise ItemIndexError(f"{collection} answers the vector of {items.item_ids[row]} with a wrong top {k}")

    def mirror(self, collection: str) -> ExactMirror:
        """That collection read into memory.

        Raises:
            ItemIndexError: it is not ready, or what came back is not what was published.
        """
        facts = self.facts(collection)
        if facts.get("state") != "ready":
            raise ItemIndexError(
                f"{collection} is not published ({facts.get('state', 'unknown')}): materialize item_index"
            )
        items = self.read(collection)
        if items.content_hash != facts.get("content_hash"):
            raise ItemIndexError(f"{collection} does not hold what was published: publish a new version")
        return ExactMirror(collection, items)

    def read(self, collection: str) -> IndexedItems:
        """Every row of a collection."""

        def pages() -> list[dict[str, Any]]:
            iterator = self._client.query_iterator(
                collection, batch_size=2_000, output_fields=["id", "item_type", "embedding"], timeout=self._long
            )
            rows: list[dict[str, Any]] = []
            try:
                while page := iterator.next():
                    rows += page
            finally:
                iterator.close()
            return rows

        rows = self._call(pages, f"read {collection}")
        if not rows:
            raise ItemIndexError(f"{collection} is empty: materialize item_index again")
        vectors = np.array([row["embedding"] for row in rows], dtype=np.float32)
        return IndexedItems.of([row["id"] for row in rows], [row["item_type"] for row in rows], vectors)

    def facts(self, collection: str) -> dict[str, str]:
        """What was noted when a collection was published: state, content_hash, rows and the publisher's facts."""
        described = self._call(
            lambda: self._client.describe_collection(collection, timeout=self.timeout), f"describe {collection}"
        )
        return {str(key): str(value) for key, value in described.get("properties", {}).items()}

    def current(self) -> str | None:
        """The collection that the alias names, None before the first was published."""
        if ALIAS not in self._aliases():
            return None
        described = self._call(lambda: self._client.describe_alias(ALIAS, timeout=self.timeout), "describe the alias")
        return str(described["collection_name"])

    def collections(self) -> list[str]:
        """Names of all versions, half-written ones too."""
        return sorted(name for name in self._names() if name.startswith(PREFIX))

    def close(self) -> None:
        """Give the connection back."""
        self._client.close()

    @property
    def _long(self) -> float:
        return 30 * self.timeout

    def _aliases(self) -> list[str]:
        listed = self._call(lambda: self._client.list_aliases(timeout=self.timeout), "list aliases")
        return list(listed["aliases"])

    def _names(self) -> list[str]:
        return list(self._call(lambda: self._client.list_collections(timeout=self.timeout), "list collections"))

    def _create(self, collection: str, dimension: int, properties: Mapping[str, str], timeout: float) -> None:
        from pymilvus import DataType, MilvusClient

        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=MAX_ID_BYTES)
        schema.add_field("item_type", DataType.VARCHAR, max_length=64)
        schema.add_field("embedding", DataType.FLOAT_VECTOR, dim=dimension)
        self._call(
            lambda: self._client.create_collection(
                collection, schema=schema, properties=dict(properties), consistency_level="Strong", timeout=timeout
            ),
            f"write {collection}",
        )

    def _open(self, collection: str, kind: str, timeout: float) -> None:
        """Index a collection and make it answer searches."""
        from pymilvus import MilvusClient

        index = MilvusClient.prepare_index_params()
        index.add_index("embedding", index_type=kind, metric_type="IP", params=HNSW if kind == "HNSW" else {})
        if not self._client.list_indexes(collection, timeout=timeout):  # Lite refuses to make one again
            self._client.create_index(collection, index, timeout=timeout)
        self._client.load_collection(collection, timeout=timeout)

    def _write(self, collection: str, items: IndexedItems, facts: Mapping[str, str]) -> None:
        rows, dimension = items.vectors.shape
        exact = rows <= FLAT_ROWS or "lite" in self._call(self._client.get_server_version, "ask the version")
        noted = {**facts, "state": "building", "rows": str(rows), "content_hash": items.content_hash}
        self._create(collection, dimension, noted, self._long)

        def write() -> None:
            for start in range(0, rows, INSERT_ROWS):
                self._client.insert(collection, _rows(items, start, start + INSERT_ROWS), timeout=self._long)
            self._client.flush(collection, timeout=self._long)
            self._open(collection, FLAT if exact else "HNSW", self._long)

        self._call(write, f"write {collection}")

    def _drop_old(self, keep: Collection[str]) -> None:
        for collection in self.collections():
            if collection not in keep:
                self._drop(collection)

    def _drop(self, collection: str) -> None:
        side = late_of(collection)
        for name in (side, collection) if side in self._names() else (collection,):
            self._call(functools.partial(self._client.drop_collection, name, timeout=self._long), f"drop {name}")

    def _call(self, function: Callable[[], T], what: str) -> T:
        """Run one exchange with Milvus; time-outs come as raw grpc errors, everything else as MilvusException."""
        import grpc
        from pymilvus import MilvusException

        try:
            return function()
        except (MilvusException, grpc.RpcError) as error:
            if getattr(error, "code", None) == NO_SUCH_COLLECTION:
                raise ItemIndexError(f"Milvus at {self.uri} could not {what}: it is not there, publish it") from error
            reason = " ".join(str(getattr(error, "message", None) or error).split())
            raise ItemIndexUnavailable(
                f"Milvus at {self.uri} could not {what}: {reason:.300}. Is it up? (make run starts the embedded one)"
            ) from error


def late_of(collection: str) -> str:
    """Name of the collection that holds what is newer than a published one."""
    return LATE_PREFIX + collection.removeprefix(PREFIX)


def _rows(items: IndexedItems, start: int, stop: int) -> list[dict[str, Any]]:
    """Rows [start:stop] as Milvus takes them."""
    columns = zip(
        items.item_ids[start:stop], items.item_types[start:stop], items.vectors[start:stop].tolist(), strict=True
    )
    return [{"id": item_id, "item_type": kind, "embedding": vector} for item_id, kind, vector in columns]


def _query(vector: np.ndarray, dimension: int) -> np.ndarray:
    query = np.ascontiguousarray(vector, dtype=np.float32)
    if query.shape != (dimension,) or not np.isfinite(query).all():
        raise ItemIndexError(f"a query must be {dimension} finite numbers, not an array of shape {query.shape}")
    return query


def _literal(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
