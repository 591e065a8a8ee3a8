"""The simulated world: who likes what, and how strongly. Known truth that no log shows.

Users and items are unit vectors in a taste space whose axes are spanned by categories. A user's taste turns a little
every day; an item's vector never changes. Everything is a function of (seed, user or item, instant), so that any day
can be had without the days before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from recsys.events import (
    ATTRIBUTE_SCHEMA,
    BARE_ITEM_SCHEMA,
    DAY_MS,
    HOUR_MS,
    ITEM_TYPES,
    LONG_VIEW_MS,
    SKIP_MS,
    USER_SCHEMA,
)

FIRST_DAY: Final = 20458  # 2026-01-05, a Monday, in days since the epoch
BEGIN_MS: Final = FIRST_DAY * DAY_MS
DIMENSIONS: Final = 12
# fmt: off
CATEGORIES: Final = (
    "news", "comedy", "sport", "music", "football", "history", "science", "cooking", "travel", "gaming", "beauty",
    "business", "crime", "health", "film", "nature",
)
# fmt: on
TYPE_SHARE: Final = {"video": 0.70, "podcast": 0.14, "playlist": 0.09, "album": 0.07}
MEDIAN_SECONDS: Final = {"video": 45.0, "podcast": 900.0, "playlist": 1500.0, "album": 1800.0}
SHOWN_ON: Final[dict[str, tuple[str, ...]]] = {  # shelf -> item types it shows
    "feed": ("video", "podcast", "playlist", "album"),
    "podcasts": ("podcast",),
    "shortcuts": ("video", "podcast", "playlist", "album"),
    "playlists": ("playlist", "album"),
}
SLOT_BIAS: Final = 0.45  # logit lost per doubling of 1 + slot
AFFINITY_WEIGHT: Final = 3.4  # logit gained from indifferent (cosine 0) to perfect match (cosine 1)
QUALITY_WEIGHT: Final = 0.75
CLICK_BIAS: Final = -1.55
FRESH_BONUS: Final = 0.6  # logit of a just published item, halved every day
LONG_VIEW_BIAS: Final = 0.1
SKIP_GIVEN_NO_CLICK: Final = 0.6


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@dataclass(frozen=True)
class Outcome:
    """What a shown item leads to, each float64 [n]: probabilities, and expected watch in ms."""

    click: np.ndarray
    long_view: np.ndarray  # unconditional: a click and a long view
    watch_ms: np.ndarray


class World:
    """Users, items and the truth about them. Indices are int64 [n]; instants are UTC ms.

    Args:
        days, users, seed: how long, how many, which.
        new_items: published a day, beside the `catalogue` that is there on the first.
        turns_on: day (1 is the first) on which everything turns at once: each user has another's tastes from then on,
            and what was good is bad. None: never.
        restlessness: how fast tastes turn otherwise; 0 stands still.
    """

    NAMES: tuple[str, ...] = CATEGORIES
    NEWCOMERS = 0.1  # share of the users who arrive during the simulated days

    def __init__(
        self,
        days: int,
        users: int,
        seed: int,
        new_items: int = 40,
        catalogue: int = 1600,
        turns_on: int | None = None,
        restlessness: float = 1.0,
    ) -> None:
        self.days, self.seed = days, seed
        self._turns_at = None if turns_on is None else BEGIN_MS + (turns_on - 1) * DAY_MS
        self._restlessness = restlessness
        rng = np.random.default_rng([seed, 1])
        self.categories = np.array(self.NAMES)
        n_categories = len(self.categories)
        category_vectors = unit(rng.normal(size=(n_categories, DIMENSIONS)))
        self._items(np.random.default_rng([seed, 2]), category_vectors, catalogue, new_items)
        self._users(np.random.default_rng([seed, 3]), category_vectors, users)

    def _items(self, rng: np.random.Generator, category_vectors: np.ndarray, catalogue: int, new_items: int) -> None:
        n = catalogue + new_items * self.days
        creators = max(n // 8, 1)
        creator_category = rng.choice(len(category_vectors), creators, p=zipf(len(category_vectors), 0.6))
        creator_vectors = unit(category_vectors[creator_category] + 0.18 * rng.normal(size=(creators, DIMENSIONS)))
        self.item_creator = rng.choice(creators, n, p=zipf(creators, 0.5))
        self.item_category = creator_category[self.item_creator]
        self.item_second_category = rng.integers(0, len(category_vectors), n)
        spread = 0.12 * rng.normal(size=(n, DIMENSIONS))
        second = 0.25 * category_vectors[self.item_second_category]
        self.item_vectors = unit(creator_vectors[self.item_creator] + second + spread)
        self.item_quality = rng.normal(size=n)
        names = list(TYPE_SHARE)
        self.item_type = rng.choice(len(names), n, p=list(TYPE_SHARE.values()))
        median = np.array([MEDIAN_SECONDS[t] for t in names])[self.item_type]
        self.item_duration_ms = (1000 * median * np.exp(0.6 * rng.normal(size=n))).astype(np.int64) + 5000
        old = BEGIN_MS - (rng.random(catalogue) ** 2 * 60 * DAY_MS).astype(np.int64) - 1
        new = BEGIN_MS + (np.repeat(np.arange(self.days), new_items) * DAY_MS)
        new = new + rng.integers(0, DAY_MS, len(new))
        self.item_published_at = np.concatenate([old, new])
        self.item_names = [f"i{i:06d}" for i in range(n)]

    def _users(self, rng: np.random.Generator, category_vectors: np.ndarray, users: int) -> None:
        picks = self._picks(rng, len(category_vectors), users)
        weights = np.array([1.0, 0.75, 0.5])[None, None, :, None]
        ends = unit((category_vectors[picks] * weights).sum(axis=2) + 0.1 * rng.normal(size=(2, users, DIMENSIONS)))
        self._taste_from, self._taste_to = ends
        # radians a day: 14 days turn the average taste by 20 degrees
        self._turn = self._restlessness * rng.gamma(2.0, 0.012, users)
        self.user_click_bias = 0.5 * rng.normal(size=users)
        self.user_type_bias = 0.5 * rng.normal(size=(users, len(TYPE_SHARE)))
        self.user_activity = np.exp(0.9 * rng.normal(size=users))
        self.user_device = rng.choice(4, users, p=[0.45, 0.3, 0.15, 0.1])
        self.user_consents = rng.random(users) >= 0.01
        newcomer = rng.random(users) < self.NEWCOMERS
        before = BEGIN_MS - (rng.random(users) * 500 * DAY_MS).astype(np.int64)
        during = BEGIN_MS + (rng.random(users) * self.days * DAY_MS).astype(np.int64)
        self.user_registered_at = np.where(newcomer, during, before)
        self.user_names = [f"u{i:06d}" for i in range(users)]
        self._heirs = np.roll(np.arange(users), 1)  # whose taste a user has after everything turned

    def _picks(self, rng: np.random.Generator, categories: int, users: int) -> np.ndarray:
        """Categories that a user's two tastes are made of, the first counts most, int64 [2, users, 3]."""
        return rng.integers(0, categories, (2, users, 3))

    def taste(self, users: np.ndarray, at: np.ndarray) -> np.ndarray:
        """Unit vectors [n, DIMENSIONS]: two tastes between which the user turns, a step at each local midnight."""
        day = np.floor_divide(at - BEGIN_MS, DAY_MS)
        angle = (self._turn[users] * day)[:, None]
        whose = np.where(self._turned(at), self._heirs[users], users)
        return unit(np.cos(angle) * self._taste_from[whose] + np.sin(angle) * self._taste_to[whose])

    def quality(self, items: np.ndarray, at: np.ndarray) -> np.ndarray:
        """What an item is to everybody, in standard deviations; float64 of the shape of `items`."""
        return np.where(self._turned(at), -1.0, 1.0) * self.item_quality[items]

    def _turned(self, at: np.ndarray) -> np.ndarray:
        """Whether everything has turned at once by then."""
        return np.zeros(np.shape(at), bool) if self._turns_at is None else np.asarray(at) >= self._turns_at

    def affinity(self, users: np.ndarray, items: np.ndarray, at: np.ndarray) -> np.ndarray:
        return np.einsum("nd,nd->n", self.taste(users, at), self.item_vectors[items])

    def appeal(self, users: np.ndarray, items: np.ndarray, at: np.ndarray) -> np.ndarray:
        """Logit of a click at slot 0, without the hour."""
        age_days = np.maximum(at - self.item_published_at[items], 0) / DAY_MS
        return (
            CLICK_BIAS
            + AFFINITY_WEIGHT * self.affinity(users, items, at)
            + QUALITY_WEIGHT * self.quality(items, at)
            + self.user_click_bias[users]
            + self.user_type_bias[users, self.item_type[items]]
            + FRESH_BONUS * 0.5**age_days
        )

    def outcome(self, users: np.ndarray, items: np.ndarray, at: np.ndarray, slot: np.ndarray) -> Outcome:
        """The truth about showing these items: int64 [n] each; `slot` 0 is the first."""
        hour = (at % DAY_MS) / HOUR_MS
        evening = 0.2 * np.cos((hour - 21) / 24 * 2 * np.pi)
        logit = self.appeal(users, items, at) - SLOT_BIAS * np.log2(1.0 + slot) + evening
        click = sigmoid(logit)
        affinity = self.affinity(users, items, at)
        long_given_click = sigmoid(LONG_VIEW_BIAS + 2.2 * affinity + 0.4 * self.quality(items, at))
        threshold, rest, depth = self.watch_shape(items, affinity)
        watch = click * (long_given_click * (threshold + rest * depth) + (1 - long_given_click) * threshold / 2)
        watch = watch + (1 - click) * SKIP_GIVEN_NO_CLICK * SKIP_MS / 2
        return Outcome(click, click * long_given_click, watch)

    def outcome_on(self, shelves: Sequence[str | None] | None, *shown: np.ndarray) -> Outcome:
        """The truth where it is shown (users, items, at, slot): here the same on every shelf."""
        return self.outcome(*shown)

    def watch_shape(self, items: np.ndarray, affinity: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of a long view: its least ms, the ms beyond that to the end, and the mean share of those that is watched."""
        duration = self.item_duration_ms[items].astype(np.float64)
        threshold = np.minimum(duration, LONG_VIEW_MS)
        return threshold, duration - threshold, np.clip(0.35 + 0.4 * affinity, 0.05, 0.9)

    def available(self, at: int) -> np.ndarray:
        """Indices of the items published by then."""
        return np.flatnonzero(self.item_published_at <= at)

    def item_table(self) -> pa.Table:
        types = list(TYPE_SHARE)
        assert set(types) == set(ITEM_TYPES)
        tags = [
            [str(self.categories[a])] if a == b else [str(self.categories[a]), str(self.categories[b])]
            for a, b in zip(self.item_category, self.item_second_category, strict=True)
        ]
        return pa.table(
            {
                "item_id": self.item_names,
                "item_type": [types[t] for t in self.item_type],
                "creator_id": [f"c{c:05d}" for c in self.item_creator],
                "category": self.categories[self.item_category].tolist(),
                "tags": tags,
                "title": [f"{tag[0].capitalize()} {i}" for i, tag in enumerate(tags)],
                "duration_ms": self.item_duration_ms,
                "published_at": self.item_published_at,
                "is_available": np.ones(len(self.item_names), bool),
                "id_is_integer": np.zeros(len(self.item_names), bool),
            },
            schema=BARE_ITEM_SCHEMA,
        )

    def user_table(self) -> pa.Table:
        return pa.table({"user_id": self.user_names, "registered_at": self.user_registered_at}, schema=USER_SCHEMA)

    def attribute_table(self) -> pa.Table:
        """What users say of themselves: here nothing."""
        return ATTRIBUTE_SCHEMA.empty_table()


def zipf(n: int, exponent: float) -> np.ndarray:
    weights = 1.0 / np.arange(1, n + 1) ** exponent
    return weights / weights.sum()
