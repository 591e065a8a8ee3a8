"""Items that were not engaged with, for days on which a log does not say what was shown.

There every engagement implies that its item was shown (dbt's impressions.sql), and NEGATIVES other items are drawn for
it, evenly from those known and available at that instant, less what the user engages with on that day. They are rows of
the cleaned impressions and no events: no feature counts them. An item of which the user had enough long ago may be
drawn: were it left out, having engaged before would mark every positive.

Drawn evenly, they leave the order as it is. A probability learned beside them is one of a world in which so few were
shown; `desampled` takes its odds back to all that might have been (Elkan 2001, the case-control correction).
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.events import key64

# An implied impression: each is a row to sweep, store and learn from. Of 60,000 rows to learn from (examples.py), 1 is
# ahead of 3 and 10 on the validation days: click AUC .860, .847, .840 and NDCG@5 .605, .587, .556 on MovieLens-100k,
# .678, .676, .671 and .502, .485, .500 on generated plays of its shape (trees, all judged among 10 negatives each).
NEGATIVES: Final = 1
DRAWS: Final = 16  # an impression: of them the first that fit are taken
_MIX: Final = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


class Pool(NamedTuple):
    """Items that may be drawn, in the order in which they came to be known; [n] each."""

    item_id: np.ndarray  # objects
    item_key: np.ndarray  # int64
    category_key: np.ndarray
    creator_key: np.ndarray
    known_since: np.ndarray  # int64, UTC ms

    @staticmethod
    def of(items: pa.Table, first_seen: pa.Table) -> Pool:
        """The available items, each from its publication on, or from its first event where that is earlier or the
        publication unknown; an item of which neither is known is not drawn.

        Args:
            items: cleaned items.
            first_seen: item_id, received_at of its first event.
        """
        seen = dict(zip(*(first_seen[name].to_pylist() for name in ("item_id", "received_at")), strict=True))
        there = items.filter(pc.fill_null(items["is_available"], True))
        never = np.iinfo(np.int64).max
        published = pc.fill_null(there["published_at"], 0).to_numpy()
        since = np.array([seen.get(item, never) for item in there["item_id"].to_pylist()], np.int64)
        since = np.minimum(since, np.where(published > 0, published, never))
        order = np.lexsort((there["item_key"].to_numpy(), since))
        order = order[since[order] < never]
        ids = np.array(there["item_id"].to_pylist(), dtype=object)
        item, category, creator = (there[name].to_numpy() for name in ("item_key", "category_key", "creator_key"))
        return Pool(ids[order], item[order], category[order], creator[order], since[order])


def with_negatives(impressions: pa.Table, pool: Pool) -> pa.Table:
    """The impressions of one day with the negatives of each implied one below it; no other table, none added.

    Args:
        impressions: IMPRESSION_SCHEMA, in order of position.
    """
    implied = np.flatnonzero(pc.fill_null(pc.equal(impressions["sampling_rate"], 1.0), False).to_numpy(False))
    if not len(implied) or not len(pool.item_key):
        return impressions
    of = impressions.take(implied)
    row, item, rate = _drawn(of, pool)
    parents, n = of.take(row), len(row)
    place = np.arange(n) - np.searchsorted(row, row, side="left")  # 0, 1, .. of each parent
    columns = {
        "impression_id": pa.array(
            [f"{i}~{j}" for i, j in zip(parents["impression_id"].to_pylist(), place, strict=True)]
        ),
        "item_id": pa.array(pool.item_id[item], pa.string()),
        **{name: pa.array(getattr(pool, name)[item]) for name in ("item_key", "category_key", "creator_key")},
        **{name: pa.nulls(n) for name in impressions.schema.names if name.endswith("_received_at") or name == "slot"},
        **{name: pa.array(np.zeros(n, np.int64)) for name in ("click", "long_view", "like", "skip", "watch_ms")},
        "sampling_rate": pa.array(rate),
    }
    schema = impressions.schema
    negatives = pa.table([columns.get(f.name, parents[f.name]) for f in schema], names=schema.names).cast(schema)
    order = np.argsort(np.concatenate([np.arange(impressions.num_rows), implied[row]]), kind="stable")
    return pa.concat_tables([impressions, negatives]).take(order)


def _drawn(of: pa.Table, pool: Pool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each negative, parent by parent: the row of its parent, its row of the pool, the rate it was drawn at."""
    n = of.num_rows
    known = np.searchsorted(pool.known_since, of["occurred_at"].to_numpy(), side="right")
    users, items = of["user_key"].to_numpy(), of["item_key"].to_numpy()
    draws = _numbers(key64(of["impression_id"].to_pylist()), DRAWS)
    drawn = (draws % np.maximum(known, 1).astype(np.uint64)[:, None]).astype(np.int64)
    engaged = np.unique(_pair(users, items))
    fits = ~np.isin(_pair(users[:, None], pool.item_key[drawn]), engaged) & (known > 0)[:, None]
    for j in range(1, DRAWS):  # the same item is not drawn twice for one impression
        fits[:, j] &= ~(drawn[:, :j] == drawn[:, j : j + 1]).any(axis=1)
    fits &= np.cumsum(fits, axis=1) <= NEGATIVES
    row, place = np.nonzero(fits)
    # candidates of each impression: what was known, less what its user engages with on the day
    owner, first = np.unique(users, return_inverse=True)
    pairs = np.unique(np.stack([users, items]), axis=1)
    known_pairs = pairs[:, np.isin(pairs[1], pool.item_key)]
    busy = np.bincount(np.searchsorted(owner, known_pairs[0]), minlength=len(owner))[first]
    candidates = np.maximum(known - busy, 1)
    rate = np.minimum(np.bincount(row, minlength=n) / candidates, np.nextafter(1.0, 0.0))  # 1 is an implied one's
    return row, drawn[row, place], rate[row]


def _numbers(keys: np.ndarray, count: int) -> np.ndarray:
    """uint64[n, count] of each key (splitmix64): the same everywhere, without the state of a generator."""
    with np.errstate(over="ignore"):
        x = keys.view(np.uint64)[:, None] + np.arange(1, count + 1, dtype=np.uint64) * _MIX[0]
        x = (x ^ (x >> np.uint64(30))) * _MIX[1]
        x = (x ^ (x >> np.uint64(27))) * _MIX[2]
        return np.asarray(x ^ (x >> np.uint64(31)))


def _pair(user: np.ndarray, item: np.ndarray) -> np.ndarray:
    """One number a user and item."""
    with np.errstate(over="ignore"):
        return np.asarray((user.view(np.uint64) * _MIX[1]) ^ (item.view(np.uint64) * _MIX[2]))


def log_odds_kept(sampling_rates: np.ndarray, positive: np.ndarray) -> float:
    """Log of how many of the negatives the rows hold: what has to be added to log odds learned from them; 0 for all.

    Args:
        sampling_rates: float64[n], NaN for an impression that the log has.
        positive: bool[n]; a positive stands for itself.
    """
    stands_for = 1.0 / np.where(np.isnan(sampling_rates) | positive, 1.0, sampling_rates)
    negative = ~positive
    return float(np.log(negative.sum() / stands_for[negative].sum())) if negative.any() else 0.0


def desampled(probability: np.ndarray, kept: float) -> np.ndarray:
    """Probabilities learned from rows whose negatives were sampled, in the world that they were sampled from."""
    if kept == 0.0:
        return probability
    odds = probability / (1.0 - probability) * np.exp(kept)
    return np.asarray(odds / (1.0 + odds))
