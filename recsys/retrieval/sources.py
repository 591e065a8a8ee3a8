"""Candidate sources and their fusion: from one request to a few hundred items that may be worth scoring.

The evaluation asks for a batch of users and the service for one, through the same `Retriever`: what it proposes depends
on the request alone and on what a bundle holds (towers, collection, `sources.json`, `sources.npz`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from recsys.events import DAY_MS, KINDS
from recsys.features.catalog import ENGAGED
from recsys.features.log import EventLog
from recsys.lake import replacing
from recsys.retrieval.item_index import ItemIndex, top_k
from recsys.retrieval.two_tower import QueryTower

DEPTH: Final = 200  # how far a source is asked by default
LIST_LENGTH: Final = 1_000  # kept of each list, so that enough is left when a user has seen the first
NEIGHBOURS: Final = 50  # kept of each item
RECENT_ITEMS: Final = 20  # of the history that ask for their neighbours
RECENCY: Final = 0.9  # weight of the item before, against the one after it
SHRINKAGE: Final = 10.0  # users; keeps two items that one user shared from being twins
HALF_LIFE_MS: Final = DAY_MS  # of a click in trending; 0.25 to 3 days made no difference on KuaiRand's validation days
SATISFIED: Final = ("long_view", "exposure_long_view", "like")
_IS_SATISFIED: Final = np.isin(np.arange(max(KINDS.values()) + 1), [KINDS[kind] for kind in SATISFIED])  # by kind
EVERYWHERE: Final = "feed"  # name of the list for a shelf without one of its own


class SourceDataError(RuntimeError):
    """What the sources need is missing or belongs to other items; the message says what to materialize."""


class Ask(NamedTuple):
    """One request for candidates, as it was read at (position, instant)."""

    at: int  # UTC ms
    shelf: str
    item_keys: np.ndarray  # int64[m], engaged events in log order
    kinds: np.ndarray  # int8[m]
    occurred_at: np.ndarray  # int64[m]
    features: np.ndarray  # float32[len(catalog.FEATURES)], the row of any candidate
    seen: np.ndarray  # int64, keys of items that must not come back (but to be resumed); may be empty
    item_types: tuple[str, ...] = ()  # only these; empty: any


class Candidates(NamedTuple):
    """Items best first, the source that ranked each highest, and the fused score (falling)."""

    item_ids: tuple[str, ...]
    sources: tuple[str, ...]
    scores: np.ndarray


class Fused(NamedTuple):
    """Candidates as numbers: catalogue rows best first, the place in `names` of each one's source, fused scores."""

    rows: np.ndarray  # int64[n]
    source: np.ndarray  # int8[n]
    names: tuple[str, ...]
    scores: np.ndarray  # float64[n]


@dataclass(frozen=True)
class SourceData:
    """What the sources know beside the towers. Rows are places in the catalogue in ascending order of item id."""

    item_keys: np.ndarray  # int64[n]
    neighbours: np.ndarray  # int32[n, NEIGHBOURS], -1 where there are fewer
    similarity: np.ndarray  # float32[n, NEIGHBOURS]
    lists: Mapping[str, Mapping[str, Sequence[str]]]  # trending, popular -> shelf -> item ids, best first
    log_shelves: Sequence[str]  # shelves of the log, busiest first
    fusion: Fusion

    def save(self, folder: Path) -> None:
        """Write `sources.npz` and `sources.json` beside the towers."""
        facts = {
            "lists": self.lists,
            "log_shelves": list(self.log_shelves),
            "fusion": {"constant": self.fusion.constant, "weights": dict(self.fusion.weights)},
        }
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / "sources.npz") as path, path.open("wb") as file:
            np.savez(file, item_keys=self.item_keys, neighbours=self.neighbours, similarity=self.similarity)
        with replacing(folder / "sources.json") as path:
            path.write_text(json.dumps(facts, sort_keys=True) + "\n")

    @classmethod
    def load(cls, folder: Path) -> SourceData:
        """What `save` wrote.

        Raises:
            SourceDataError: a file is missing or damaged.
        """
        try:
            with np.load(folder / "sources.npz") as arrays:
                columns = {name: arrays[name] for name in ("item_keys", "neighbours", "similarity")}
            facts = json.loads((folder / "sources.json").read_text())
            return cls(
                **columns, lists=facts["lists"], log_shelves=facts["log_shelves"], fusion=Fusion(**facts["fusion"])
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SourceDataError(
                f"the candidate sources in {folder} are unreadable ({error}): materialize them"
            ) from None


@dataclass(frozen=True)
class Fusion:
    """Weighted reciprocal ranks: an item's score is the sum of weight / (constant + rank) over the sources."""

    weights: Mapping[str, float]
    constant: float = 20.0

    def scores(self, proposals: Mapping[str, np.ndarray], n: int) -> np.ndarray:
        """float64[n] of rows best first by source."""
        total = np.zeros(n)
        for source, rows in proposals.items():
            total[rows] += self.shares(source, len(rows))
        return total

    def shares(self, source: str, length: int) -> np.ndarray:
        """float64[length]: what a source adds to the items of its list."""
        return np.asarray(self.weights.get(source, 0.0) / (self.constant + np.arange(length)))

    def top(self, proposals: Mapping[str, np.ndarray], n: int, k: int) -> np.ndarray:
        """Rows of the k best; equal scores by item id."""
        scores = self.scores(proposals, n)
        best = top_k(scores, k)
        return best[scores[best] > 0]


class Retriever:
    """The sources over one collection."""

    def __init__(self, tower: QueryTower, index: ItemIndex, collection: str, items: pa.Table, data: SourceData) -> None:
        """`items`: the catalogue (item_id, item_key, item_type, published_at, is_available).

        Raises:
            SourceDataError: `data` was made for another catalogue.
        """
        items = items.sort_by("item_id")
        self.tower, self.index, self.collection, self.data = tower, index, collection, data
        self.item_ids: list[str] = items["item_id"].to_pylist()
        self.item_keys = items["item_key"].combine_chunks().to_numpy(zero_copy_only=False)
        if not np.array_equal(self.item_keys, data.item_keys):
            raise SourceDataError("the candidate sources were made for other items: materialize them again")
        self._row = {item_id: row for row, item_id in enumerate(self.item_ids)}
        self._by_key = np.argsort(self.item_keys, kind="stable")
        self._sorted_keys = self.item_keys[self._by_key]
        types = np.array(items["item_type"].to_pylist(), dtype=object)
        self._of_type = {name: types == name for name in dict.fromkeys(types)}
        self._published = items["published_at"].combine_chunks().to_numpy(zero_copy_only=False)
        self._available = items["is_available"].combine_chunks().to_numpy(zero_copy_only=False).astype(bool)
        self._newest = np.argsort(-self._published, kind="stable")
        self._lists = {
            source: {shelf: self._rows_of(ids) for shelf, ids in shelves.items()}
            for source, shelves in data.lists.items()
        }

    def candidates(self, ask: Ask, k: int, depth: int = DEPTH) -> Candidates:
        """The k best of all sources together."""
        fused = self.fused(ask, k, depth)
        return Candidates(
            tuple([self.item_ids[row] for row in fused.rows.tolist()]),
            tuple([fused.names[place] for place in fused.source.tolist()]),
            fused.scores,
        )

    def fused(self, ask: Ask, k: int, depth: int = DEPTH) -> Fused:
        """The k best of all sources together, as numbers."""
        proposals = self.propose(ask, depth)
        fusion = self.data.fusion
        total, largest = np.zeros(len(self.item_ids)), np.zeros(len(self.item_ids))
        first = np.zeros(len(self.item_ids), np.int8)
        for place, (source, rows) in enumerate(proposals.items()):
            share = fusion.shares(source, len(rows))
            total[rows] += share
            ahead = share > largest[rows]
            largest[rows[ahead]], first[rows[ahead]] = share[ahead], place
        best = top_k(total, k)
        best = best[total[best] > 0]
        return Fused(best, first[best], tuple(proposals), total[best])

    def propose(self, ask: Ask, depth: int = DEPTH) -> dict[str, np.ndarray]:
        """What each source proposes: catalogue rows, best first, at most `depth`."""
        allowed = self._available & (self._published <= ask.at)
        if ask.item_types:
            allowed &= np.any([self._of_type[name] for name in ask.item_types if name in self._of_type], axis=0)
        unseen = allowed.copy()
        unseen[self.rows(ask.seen)] = False
        return {
            source: propose(self, ask, allowed if source == "resume" else unseen, depth)
            for source, propose in SOURCES.items()
        }

    def rows(self, item_keys: np.ndarray) -> np.ndarray:
        """Catalogue rows of the keys that it has, in their order."""
        at = np.minimum(np.searchsorted(self._sorted_keys, item_keys), len(self._sorted_keys) - 1)
        return self._by_key[at[self._sorted_keys[at] == item_keys]]

    def near(self, ask: Ask, allowed: np.ndarray, depth: int) -> np.ndarray:
        """The nearest items to the user's vector, from the index."""
        vector = self.tower.embed_user(ask.item_keys, ask.kinds, ask.occurred_at, ask.at, ask.features)
        only = ask.item_types if len(ask.item_types) == 1 else (None,)
        wanted = min(depth, int(allowed.sum()))
        fetch = wanted + len(ask.seen)
        while True:
            hits = self.index.search(self.collection, vector, min(fetch, len(self.item_ids)), only[0])
            rows = self._rows_of(hits.item_ids)
            kept = rows[allowed[rows]]
            if len(kept) >= wanted or fetch >= len(self.item_ids):
                return kept[:depth]
            fetch *= 2  # many are not published yet, not available or of another type

    def alike(self, ask: Ask, allowed: np.ndarray, depth: int) -> np.ndarray:
        """What others engaged with who engaged with the user's last items."""
        recent = self.rows(_distinct_newest(ask.item_keys)[:RECENT_ITEMS])
        if not len(recent):
            return np.empty(0, np.int64)
        weights = RECENCY ** np.arange(len(recent))
        near = self.data.neighbours[recent]
        there = near >= 0
        shares = (weights[:, None] * self.data.similarity[recent])[there]
        score = np.bincount(near[there], shares, len(self.item_ids))
        score[~allowed] = 0.0
        best = top_k(score, depth)
        return best[score[best] > 0]

    def listed(self, source: str, ask: Ask, allowed: np.ndarray, depth: int) -> np.ndarray:
        """The shelf's list of that name."""
        lists = self._lists[source]
        rows = lists.get(ask.shelf, lists[EVERYWHERE])
        return rows[allowed[rows]][:depth]

    def unfinished(self, ask: Ask, allowed: np.ndarray, depth: int) -> np.ndarray:
        """What the user opened and did not see through, newest first."""
        done = _IS_SATISFIED[ask.kinds]
        opened = _distinct_newest(ask.item_keys[~np.isin(ask.item_keys, ask.item_keys[done])])
        rows = self.rows(opened)
        return rows[allowed[rows]][:depth]

    def newest(self, ask: Ask, allowed: np.ndarray, depth: int) -> np.ndarray:
        """What was published last."""
        return self._newest[allowed[self._newest]][:depth]

    def _rows_of(self, item_ids: Sequence[str]) -> np.ndarray:
        return np.array([self._row[i] for i in item_ids if i in self._row], dtype=np.int64)


Propose = Callable[[Retriever, Ask, np.ndarray, int], np.ndarray]
SOURCES: Final[Mapping[str, Propose]] = {
    "two_tower": Retriever.near,
    "item_item": Retriever.alike,
    "trending": lambda r, ask, allowed, depth: r.listed("trending", ask, allowed, depth),
    "popular": lambda r, ask, allowed, depth: r.listed("popular", ask, allowed, depth),
    "fresh": Retriever.newest,
    "resume": Retriever.unfinished,
}
START: Final = Fusion(dict.fromkeys(SOURCES, 1.0))


def learn(
    log: EventLog, items: pa.Table, shelf_types: Mapping[str, Sequence[str]], fusion: Fusion = START
) -> SourceData:
    """Lists and neighbours from the events of a log.

    Args:
        log: what may be known; nothing behind it is used.
        items: the catalogue.
        shelf_types: shelves of the log, busiest first, and the item types that each has shown.
    """
    items = items.sort_by("item_id")
    item_ids = items["item_id"].to_pylist()
    types = np.array(items["item_type"].to_pylist(), dtype=object)
    keys = items["item_key"].combine_chunks().to_numpy(zero_copy_only=False)
    engaged = np.flatnonzero(np.isin(log.kind, [KINDS[kind] for kind in ENGAGED]))
    by_key = np.argsort(keys, kind="stable")
    at = np.minimum(np.searchsorted(keys[by_key], log.item_key[engaged]), len(keys) - 1)
    known = keys[by_key][at] == log.item_key[engaged]
    engaged, row = engaged[known], by_key[at[known]]
    age = int(log.received_at.max(initial=0)) - log.received_at[engaged]
    counts = {
        "popular": np.bincount(row, minlength=len(keys)).astype(float),
        "trending": np.bincount(row, 0.5 ** (age / HALF_LIFE_MS), len(keys)),
    }
    shelves = {EVERYWHERE: tuple(dict.fromkeys(types)), **shelf_types}
    lists = {}
    for name, count in counts.items():
        order = top_k(count, len(keys))
        order = order[count[order] > 0]
        lists[name] = {
            shelf: [item_ids[i] for i in order[np.isin(types[order], shown)][:LIST_LENGTH]]
            for shelf, shown in shelves.items()
        }
    somebodys = log.user_key[engaged] != 0  # the forgotten count for popularity, and are no one person
    neighbours, similarity = co_visitation(log.user_key[engaged][somebodys], row[somebodys], len(keys))
    return SourceData(keys, neighbours, similarity, lists, tuple(shelf_types), fusion)


def co_visitation(user_key: np.ndarray, row: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Each item's nearest items by shared users: rows int32[n, NEIGHBOURS] (-1: none) and similarity float32.

    Similarity is shared users / (sqrt(users of one x users of the other) + SHRINKAGE).
    """
    from scipy.sparse import csr_array

    _, user = np.unique(user_key, return_inverse=True)
    pairs = np.unique(np.stack([user, row], axis=1), axis=0) if len(row) else np.zeros((0, 2), np.int64)
    shape = (int(pairs[:, 0].max(initial=0)) + 1, n)
    matrix = csr_array((np.ones(len(pairs), np.float32), (pairs[:, 0], pairs[:, 1])), shape=shape)
    users = np.asarray(matrix.sum(axis=0)).ravel()
    neighbours = np.full((n, NEIGHBOURS), -1, np.int32)
    similarity = np.zeros((n, NEIGHBOURS), np.float32)
    by_item = matrix.T.tocsr()
    for start in range(0, n, 1_000):  # 1,000 x n of shared users at a time
        shared = (by_item[start : start + 1_000] @ matrix).toarray()
        for place, counts in enumerate(shared, start=start):
            counts[place] = 0.0
            like = counts / (np.sqrt(users[place] * users) + SHRINKAGE)
            best = top_k(like, NEIGHBOURS)
            best = best[like[best] > 0]
            neighbours[place, : len(best)] = best
            similarity[place, : len(best)] = like[best]
    return neighbours, similarity


def fit_fusion(proposals: Sequence[Mapping[str, np.ndarray]], wanted: Sequence[np.ndarray]) -> Fusion:
    """Weights with the highest mean recall@50/100/200 over validation requests: one pass of coordinate ascent.

    Args:
        proposals: of each request, rows by source.
        wanted: of each request, the rows engaged with afterwards.
    """

    judged = [_Judged.of(p, w) for p, w in zip(proposals, wanted, strict=True)]

    def quality(fusion: Fusion) -> float:
        return float(np.mean([request.recall(fusion) for request in judged]))

    alone = {source: quality(Fusion({source: 1.0})) for source in SOURCES}
    order = sorted(SOURCES, key=lambda source: -alone[source])
    weights = dict.fromkeys(SOURCES, 0.0) | {order[0]: 1.0}
    best, reached = Fusion(weights), alone[order[0]]
    for source in order[1:]:
        for weight in (0.03, 0.1, 0.2, 0.4, 0.8):
            trial = Fusion({**best.weights, source: weight})
            if (found := quality(trial)) > reached:
                best, reached = trial, found
    for constant in (5.0, 60.0):
        trial = Fusion(best.weights, constant)
        if (found := quality(trial)) > reached:
            best, reached = trial, found
    return best


class _Judged(NamedTuple):
    """One request over the rows that any source proposed, so that a trial of the fusion costs 50 us."""

    places: Mapping[str, np.ndarray]  # of each source's rows among those
    is_wanted: np.ndarray  # bool
    wanted: int

    @classmethod
    def of(cls, proposals: Mapping[str, np.ndarray], wanted: np.ndarray) -> _Judged:
        rows = np.unique(np.concatenate(list(proposals.values())))
        places = {source: np.searchsorted(rows, proposed) for source, proposed in proposals.items()}
        return cls(places, np.isin(rows, wanted), len(wanted))

    def recall(self, fusion: Fusion) -> float:
        return mean_recall(self.is_wanted[fusion.top(self.places, len(self.is_wanted), 200)], self.wanted)


def mean_recall(hits: np.ndarray, wanted: int) -> float:
    """Mean of recall@50, @100 and @200 of one request: bool of the first 200, best first, and how many there are."""
    return float(sum(hits[:k].sum() for k in (50, 100, 200)) / (3 * wanted))


def _distinct_newest(item_keys: np.ndarray) -> np.ndarray:
    newest_first = item_keys[::-1]
    _, first = np.unique(newest_first, return_index=True)
    return newest_first[np.sort(first)]
