"""Candidate sources and their fusion: from one request to a few hundred items that may be worth scoring.

The evaluation asks for a batch of users and the service for one, through the same `Retriever`: what it proposes depends
on the request alone and on what a bundle holds (towers, collection, `sources.json`, `sources.npz`).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from recsys.compiled import njit
from recsys.events import DAY_MS, KINDS
from recsys.features.catalog import ENGAGED
from recsys.features.judged import VERDICTS, Judged
from recsys.features.log import EventLog, ItemHistory, row_in
from recsys.lake import replacing
from recsys.policy.repeats import Repeats
from recsys.policy.shelves import GENERAL, Unit
from recsys.retrieval.fusion import START, Fusion
from recsys.retrieval.item_index import ExactMirror, ItemIndex
from recsys.retrieval.top import alike, top_k
from recsys.retrieval.two_tower import QueryTower
from recsys.retrieval.two_tower_query import NOTHING_KNOWN

DEPTH: Final = 200  # how far a source is asked by default
LIST_LENGTH: Final = 1_000  # kept of each list, so that enough is left when a user has seen the first
NEIGHBOURS: Final = 200  # kept of each item; with 50 recall@50 of KuaiRand's validation days is .3223 for .3247
RECENT_ITEMS: Final = 20  # of the history that ask for their neighbours
RECENCY: Final = 0.9  # weight of the item before, against the one after it
_RECENCY: Final = RECENCY ** np.arange(RECENT_ITEMS)
SHRINKAGE: Final = 10.0  # users; keeps two items that one user shared from being twins
HALF_LIFE_MS: Final = DAY_MS  # of a click in trending; 0.25 to 3 days made no difference on KuaiRand's validation days
EPISODE: Final = "podcast"  # the item type of which the creator is the show
EPISODES: Final = 3  # of one show that `followed` proposes
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
    seen: np.ndarray  # int64, keys of items that must not come back; may be empty
    item_types: tuple[str, ...] = ()  # only these; empty: any
    sources: Mapping[str, int] = GENERAL  # that are asked, and the places that each is sure of
    unit: Unit = "item"
    judged: Judged = Judged.none()
    about: np.ndarray = NOTHING_KNOWN  # words about the user, int64[ABOUT_WORDS], 0 none (engagements.about_rows)


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
    sure: np.ndarray  # bool[n]: whether its source has a place for it, whatever its score


@dataclass(frozen=True)
class SourceData:
    """What the sources know beside the towers. Rows are places in the catalogue in ascending order of item id."""

    item_keys: np.ndarray  # int64[n]
    neighbours: np.ndarray  # int32[n, NEIGHBOURS], -1 where there are fewer
    similarity: np.ndarray  # float32[n, NEIGHBOURS]
    lists: Mapping[str, Mapping[str, Sequence[str]]]  # trending, popular -> shelf -> item ids, best first
    log_shelves: Sequence[str]  # shelves of the log, busiest first
    fusion: Fusion
    repeats: Repeats  # of the training days: whether what was engaged with comes back

    def save(self, folder: Path) -> None:
        """Write `sources.npz` and `sources.json` beside the towers."""
        facts = {
            "lists": self.lists,
            "log_shelves": list(self.log_shelves),
            "fusion": {"constant": self.fusion.constant, "weights": dict(self.fusion.weights)},
            "repeats": self.repeats._asdict(),
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
                **columns,
                lists=facts["lists"],
                log_shelves=facts["log_shelves"],
                fusion=Fusion(**facts["fusion"]),
                repeats=Repeats(**facts.get("repeats", {})),  # a bundle of before knows of none
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SourceDataError(
                f"the candidate sources in {folder} are unreadable ({error}): materialize them"
            ) from None


# How a source is asked, by its name: whoever must not wait for it or fail with it gives None in its place.
Attempt = Callable[[str, Callable[[], np.ndarray]], np.ndarray | None]


def always(source: str, propose: Callable[[], np.ndarray]) -> np.ndarray:
    """Every source must answer; what one raises passes through."""
    return propose()


class Retriever:
    """The sources over one collection."""

    def __init__(
        self,
        tower: QueryTower,
        index: ItemIndex,
        collection: str,
        items: pa.Table,
        data: SourceData,
        history: ItemHistory | None = None,
    ) -> None:
        """
        Args:
            items: the catalogue (item_id, item_key, item_type, published_at, is_available)
            history: for requests of the past: an item is proposed where it was published and available at their instant

        Raises:
            SourceDataError: `data` was made for another catalogue.
        """
        items = items.sort_by("item_id")
        self.tower, self.index, self.collection, self.data, self._history = tower, index, collection, data, history
        self.item_ids: list[str] = items["item_id"].to_pylist()
        self.item_keys = items["item_key"].combine_chunks().to_numpy(zero_copy_only=False)
        if not np.array_equal(self.item_keys, data.item_keys):
            raise SourceDataError("the candidate sources were made for other items: materialize them again")
        self._row = {item_id: row for row, item_id in enumerate(self.item_ids)}
        self._embedded: tuple[Ask, np.ndarray] | None = None
        self._by_key = np.argsort(self.item_keys, kind="stable")
        self._sorted_keys = self.item_keys[self._by_key]
        types = np.array(items["item_type"].to_pylist(), dtype=object)
        self._of_type = {name: types == name for name in dict.fromkeys(types)}
        self._published = items["published_at"].combine_chunks().to_numpy(zero_copy_only=False)
        self._available = items["is_available"].combine_chunks().to_numpy(zero_copy_only=False).astype(bool)
        self._newest = np.argsort(-self._published, kind="stable")
        self._is_episode = types == EPISODE
        self.unit_key = {"item": self.item_keys, "show": _shows(items, self.item_keys)}
        self._lists = {
            source: {shelf: self._rows_of(ids) for shelf, ids in shelves.items()}
            for source, shelves in data.lists.items()
        }

    @cached_property
    def _mirrored(self) -> np.ndarray:
        """Catalogue row of each item of a mirror, -1 for one that is not there."""
        assert isinstance(self.index, ExactMirror)
        return np.array([self._row.get(item_id, -1) for item_id in self.index.items.item_ids], np.int64)

    @property
    def remote(self) -> frozenset[str]:
        """Sources that ask somebody outside this process, and so may hang."""
        return frozenset() if self.index.in_memory else frozenset({"two_tower"})

    def candidates(self, ask: Ask, k: int, depth: int = DEPTH) -> Candidates:
        """The k best of all sources together."""
        fused = self.fused(ask, k, depth)
        return Candidates(
            tuple([self.item_ids[row] for row in fused.rows.tolist()]),
            tuple([fused.names[place] for place in fused.source.tolist()]),
            fused.scores,
        )

    def fused(self, ask: Ask, k: int, depth: int = DEPTH, attempt: Attempt = always) -> Fused:
        """The k best of all sources that answer, as numbers."""
        return self.fuse(self.propose(ask, depth, attempt), k, ask.sources)

    def fuse(self, proposals: Mapping[str, np.ndarray], k: int, places: Mapping[str, int] = GENERAL) -> Fused:
        """The k best of what the sources propose: catalogue rows, best first, of each.

        Args:
            places: of a source, how many of its best are kept whatever else is proposed
        """
        rows, source, scores, sure = self.data.fusion.filling(proposals).fused(proposals, len(self.item_ids), k, places)
        return Fused(rows, source, tuple(proposals), scores, sure)

    def propose(
        self, ask: Ask, depth: int = DEPTH, attempt: Attempt = always, *, anything: bool = False
    ) -> dict[str, np.ndarray]:
        """What each source proposes: catalogue rows, best first, at most `depth`. One that gives none is left out;
        `anything`: also what must not be shown, which tells what was left out.
        """
        published, available = self._published, self._available
        if self._history is not None:
            published, available = self._history.offered(self.item_keys, ask.at)
        allowed = available & (published <= ask.at)
        if ask.item_types:
            allowed &= np.any([self._of_type[name] for name in ask.item_types if name in self._of_type], axis=0)
        allowed[self.rows(ask.seen)] = False
        if anything:
            allowed = np.ones(len(self.item_ids), bool)
        proposed = {}
        for source in ask.sources:
            rows = attempt(source, functools.partial(SOURCES[source], self, ask, allowed, depth))
            if rows is not None:
                proposed[source] = rows
        return proposed

    def rows(self, item_keys: np.ndarray) -> np.ndarray:
        """Catalogue rows of the keys that it has, in their order."""
        return np.asarray(_rows(self._sorted_keys, self._by_key, item_keys))

    def units(self, item_keys: np.ndarray, unit: Unit) -> np.ndarray:
        """int64[m]: the key of each item's unit; of an item that is not in the catalogue its own."""
        at = np.minimum(np.searchsorted(self._sorted_keys, item_keys), len(self._sorted_keys) - 1)
        return np.where(self._sorted_keys[at] == item_keys, self.unit_key[unit][self._by_key[at]], item_keys)

    def near(self, ask: Ask, allowed: np.ndarray, depth: int) -> np.ndarray:
        """The nearest items to the user's vector, from the index."""
        held = self._embedded  # an inspection asks the same once more, for all that was left out
        if held is None or held[0] is not ask:
            person = (ask.item_keys, ask.kinds, ask.occurred_at, ask.at, ask.features, ask.about)
            held = self._embedded = ask, self.tower.embed_user(*person)
        only = ask.item_types[0] if len(ask.item_types) == 1 else None
        if isinstance(self.index, ExactMirror):
            held_rows = self._mirrored
            among = np.flatnonzero(allowed[held_rows] & (held_rows >= 0))
            return held_rows[self.index.nearest(self.collection, held[1], depth, only, among)[0]]
        wanted = min(depth, int(allowed.sum()))
        fetch = wanted + len(ask.seen)
        while True:
            hits = self.index.search(self.collection, held[1], min(fetch, len(self.item_ids)), only)
            rows = self._rows_of(hits.item_ids)
            kept = rows[allowed[rows]]
            if len(kept) >= wanted or fetch >= len(self.item_ids):
                return kept[:depth]
            fetch *= 2  # many are not published yet, not available or of another type

    def recent(self, item_keys: np.ndarray) -> np.ndarray:
        """Catalogue rows of the last RECENT_ITEMS different items of a history in log order, the newest first."""
        return self.rows(newest(item_keys, RECENT_ITEMS))

    def alike(self, ask: Ask, allowed: np.ndarray, depth: int) -> np.ndarray:
        """What others engaged with who engaged with the user's last items."""
        recent = self.recent(ask.item_keys)
        return np.asarray(alike(recent, _RECENCY, self.data.neighbours, self.data.similarity, allowed, depth))

    def listed(self, source: str, ask: Ask, allowed: np.ndarray, depth: int) -> np.ndarray:
        """The shelf's list of that name."""
        lists = self._lists[source]
        rows = lists.get(ask.shelf, lists[EVERYWHERE])
        return rows[allowed[rows]][:depth]

    def unfinished(self, ask: Ask, allowed: np.ndarray, depth: int) -> np.ndarray:
        """What the user opened and did not see through, newest first."""
        rows = self.rows(ask.judged.in_progress())
        return rows[allowed[rows]][:depth]

    def familiar(self, ask: Ask, allowed: np.ndarray, depth: int) -> np.ndarray:
        """What the user played before, the last played first. Of a show it is the episode in progress, else the newest
        one that was not finished, else the one played last.
        """
        played = self.rows(distinct_newest(ask.judged.plays[:, 0]))
        if ask.unit == "show":
            played = self._next_episodes(ask, allowed, played)
        return played[allowed[played]][:depth]

    def followed(self, ask: Ask, allowed: np.ndarray, depth: int) -> np.ndarray:
        """The newest episodes that the user has not played of the shows that they did, EPISODES of each at most."""
        show = self.unit_key["show"]
        played = self.rows(distinct_newest(ask.judged.plays[:, 0]))
        theirs = np.isin(show, show[played][self._is_episode[played]]) & allowed & self._is_episode
        theirs[played] = False
        rows = self._newest[theirs[self._newest]]
        return rows[_rank_within(show[rows]) < EPISODES][:depth]

    def _next_episodes(self, ask: Ask, allowed: np.ndarray, played: np.ndarray) -> np.ndarray:
        """Rows [of what was played last first], one a show: the episode to go on with."""
        show = self.unit_key["show"]
        shows = distinct_newest(show[played][::-1])
        there = np.isin(show, shows) & allowed
        there[self.rows(ask.judged.item_key[ask.judged.at[:, VERDICTS["finished"]] > 0])] = False
        going = self.rows(ask.judged.in_progress())
        # of each show the first of: in progress, newest first; not finished, newest first; played, last first
        rows = np.concatenate([going[there[going]], self._newest[there[self._newest]], played[allowed[played]]])
        shown, first = np.unique(show[rows], return_index=True)
        best = dict(zip(shown.tolist(), rows[first].tolist(), strict=True))
        return np.array([best[key] for key in shows.tolist() if key in best], np.int64)

    def newest_first(self, rows: np.ndarray) -> np.ndarray:
        """Catalogue rows, the last published first."""
        return rows[np.argsort(-self._published[rows], kind="stable")]

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
    "familiar": Retriever.familiar,
    "followed": Retriever.followed,
}


def learn(
    log: EventLog,
    items: pa.Table,
    shelf_types: Mapping[str, Sequence[str]],
    fusion: Fusion = START,
    repeats: Repeats | None = None,
) -> SourceData:
    """Lists and neighbours from the events of a log.

    Args:
        log: what may be known; nothing behind it is used.
        items: the catalogue.
        shelf_types: shelves of the log, busiest first, and the item types that each has shown.
        repeats: of the training days, where the log goes on behind them.
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
    repeats = Repeats.counted(log) if repeats is None else repeats
    return SourceData(keys, neighbours, similarity, lists, tuple(shelf_types), fusion, repeats)


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


def distinct_newest(item_keys: np.ndarray) -> np.ndarray:
    """Each key once, the newest first, of keys in log order."""
    newest_first = item_keys[::-1]
    _, first = np.unique(newest_first, return_index=True)
    return newest_first[np.sort(first)]


@njit(cache=True, nogil=True)
def _rows(sorted_keys, by_key, item_keys):  # type: ignore[no-untyped-def]
    """Rows of the keys that are there, of all keys sorted and the row of each: asked five times a request."""
    rows, count = np.empty(len(item_keys), np.int64), 0
    for key in item_keys:
        at = row_in(sorted_keys, key)
        if at:
            rows[count] = by_key[at - 1]
            count += 1
    return rows[:count]


@njit(cache=True, nogil=True)
def newest(item_keys, most):  # type: ignore[no-untyped-def]
    """The first `most` of `distinct_newest`, for few: each is looked for among those before it."""
    out, count = np.empty(most, np.int64), 0
    for e in range(len(item_keys) - 1, -1, -1):
        at = 0
        while at < count and out[at] != item_keys[e]:
            at += 1
        if at == count:
            out[at] = item_keys[e]
            count += 1
            if count == most:
                break
    return out[:count]


def _shows(items: pa.Table, item_keys: np.ndarray) -> np.ndarray:
    """int64[n]: of an episode whose creator is known the creator's key, of anything else the item's own."""
    if "creator_key" not in items.column_names:
        return item_keys
    creators = items["creator_key"].combine_chunks().to_numpy(zero_copy_only=False)
    is_episode = np.array([kind == EPISODE for kind in items["item_type"].to_pylist()], bool)
    return np.where(is_episode & (creators != 0), creators, item_keys)


def _rank_within(groups: np.ndarray) -> np.ndarray:
    """int64[n]: how many of the same group come before each."""
    order = np.argsort(groups, kind="stable")
    _, start, size = np.unique(groups[order], return_index=True, return_counts=True)
    rank = np.empty(len(groups), np.int64)
    rank[order] = np.arange(len(groups)) - np.repeat(start, size)
    return rank
