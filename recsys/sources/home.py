"""The world `home`: listeners with attributes and routines, shows with episodes, and a category that comes late.

Who somebody is (country, age band, language, plan) bends what they like, and what they say of themselves says more: a
segment knows a little of a stranger, an attribute more, a history most. Each listener has favourites (shows, playlists,
albums), and comes back to them at hours and on weekdays of their own. What is said of an item tells of its place in the
taste space, and nothing of its quality. All of it is a function of (seed, user, item, instant), as in the world that it
extends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from recsys.events import ATTRIBUTE_SCHEMA, DAY_MS, HOUR_MS, ITEM_SCHEMA, MINUTE_MS
from recsys.sources.world import BEGIN_MS, CATEGORIES, DIMENSIONS, TYPE_SHARE, Outcome, World, unit, zipf

LATE_CATEGORY: Final = "anime"
LANGUAGES: Final = ("en", "de", "fr", "es", "pt")
COUNTRIES: Final[dict[str, tuple[float, int, tuple[float, ...]]]] = {  # share, minutes ahead of UTC, share by language
    "us": (0.26, -300, (0.86, 0.0, 0.0, 0.14, 0.0)),
    "gb": (0.15, 0, (1.0, 0.0, 0.0, 0.0, 0.0)),
    "de": (0.17, 60, (0.06, 0.94, 0.0, 0.0, 0.0)),
    "ch": (0.06, 60, (0.05, 0.62, 0.33, 0.0, 0.0)),
    "fr": (0.12, 60, (0.03, 0.0, 0.97, 0.0, 0.0)),
    "ca": (0.06, -300, (0.74, 0.0, 0.26, 0.0, 0.0)),
    "es": (0.10, 60, (0.04, 0.0, 0.0, 0.96, 0.0)),
    "br": (0.08, -180, (0.03, 0.0, 0.0, 0.0, 0.97)),
}
AGE_BANDS: Final = ("16-24", "25-34", "35-49", "50-64", "65+")
PLANS: Final = ("free", "premium", "family")
PLAN_CHANGES: Final = 20  # one of so many users who pay began to do so during the simulated days
SEGMENT_WEIGHT: Final = 0.8  # of country and of age each, in the logit by which a listener comes by a taste
DECLARED: Final = (0.85, 0.6, 0.25)  # chance that somebody who declares tastes names their first, second, third one
SILENT: Final = 0.2  # share of the users who declare none
SPOKEN: Final = {"video": 0.7, "podcast": 2.0, "playlist": 0.35, "album": 0.35}  # logit lost in another language
DAILY_SHOWS, WEEKLY_SHOWS = 16, 64
BACK_CATALOGUE_DAYS: Final = 28  # of episodes that are there on the first day
FAVOURITES: Final = 16  # of a listener at most
ROUTINES: Final = (7.5, 12.5, 18.0, 22.0)  # hours of the local day around which people come back
NEW_EPISODE, HEARD_EPISODE, FAVOURITE = 1.4, -2.5, 0.8  # logit of what somebody knows, met on another shelf
FRESH_EPISODE_MS: Final = 7 * DAY_MS
NOTHING: Final = 0.3  # pull of none of the favourites
ROUTINE_LONG_VIEW: Final = 0.9  # of what is played out of routine
WEEKDAYS, WEEKEND, ANY_DAY = range(3)
# fmt: off
MOODS: Final = (  # each a direction of the taste space; a description names the nearest
    "calm", "witty", "dark", "tender", "loud", "strange", "plain", "grand", "nostalgic", "urgent", "playful", "learned",
    "rough", "bright", "slow", "daring",
)
# fmt: on
MOODS_NAMED: Final = 3
EMBEDDING: Final = 16  # numbers of an item's
EMBEDDING_NOISE: Final = 0.15  # standard deviation of each, where the item's own have one of 0.29


class Home(World):
    """Args: as World's, and `new_category_on`: the day (1 is the first) from which LATE_CATEGORY is published."""

    NAMES = (*CATEGORIES, LATE_CATEGORY)
    NEWCOMERS = 0.25

    def __init__(self, days: int, users: int, seed: int, new_category_on: int | None = None) -> None:
        late = days - 2 if new_category_on is None else new_category_on
        self._late_at = BEGIN_MS + (late - 1) * DAY_MS
        super().__init__(days, users, seed, new_items=24, catalogue=1300)

    def _items(self, rng: np.random.Generator, category_vectors: np.ndarray, catalogue: int, new_items: int) -> None:
        super()._items(rng, category_vectors[:-1], catalogue, new_items)
        creators = int(self.item_creator.max()) + 1
        languages = rng.choice(len(LANGUAGES), creators, p=zipf(len(LANGUAGES), 0.9))
        self.item_language = languages[self.item_creator]
        self.item_show = np.full(len(self.item_creator), -1)
        self._keep(np.flatnonzero(self.item_type != list(TYPE_SHARE).index("podcast")))
        self._turn_into_late_category(rng, category_vectors[-1], creators)
        self._episodes(rng, category_vectors[:-1], creators + 4)
        self.item_names = [f"i{i:06d}" for i in range(len(self.item_type))]

    def _keep(self, kept: np.ndarray) -> None:
        for name, column in vars(self).items():
            if name.startswith("item_") and isinstance(column, np.ndarray):
                setattr(self, name, column[kept])

    def _turn_into_late_category(self, rng: np.random.Generator, vector: np.ndarray, creators: int) -> None:
        """Half of what is published from then on is of it, by four creators of its own."""
        late = np.flatnonzero((self.item_published_at >= self._late_at) & (rng.random(len(self.item_type)) < 0.5))
        self.item_category[late] = self.item_second_category[late] = len(CATEGORIES)
        self.item_creator[late] = creators + rng.integers(0, 4, len(late))
        self.item_vectors[late] = unit(vector + 0.15 * rng.normal(size=(len(late), DIMENSIONS)))

    def _episodes(self, rng: np.random.Generator, category_vectors: np.ndarray, first_creator: int) -> None:
        """Shows, whose creator is the show, and their episodes: from Monday to Friday, or once a week."""
        shows = DAILY_SHOWS + WEEKLY_SHOWS
        category = rng.choice(len(category_vectors), shows, p=zipf(len(category_vectors), 0.3))
        self.show_vectors = unit(category_vectors[category] + 0.2 * rng.normal(size=(shows, DIMENSIONS)))
        self.show_quality = rng.normal(size=shows)
        self.show_language = rng.choice(len(LANGUAGES), shows, p=zipf(len(LANGUAGES), 0.9))
        weekday = np.where(np.arange(shows) < DAILY_SHOWS, -1, rng.integers(0, 7, shows))
        minute = rng.integers(4 * 60, 8 * 60, shows)
        of_show = 1000 * rng.uniform(600, 2400, shows)
        days = np.arange(-BACK_CATALOGUE_DAYS, self.days)
        at_work = (days % 7 < 5)[:, None] & (weekday < 0)  # BEGIN_MS is a Monday
        day, show = np.nonzero(at_work | (days[:, None] % 7 == weekday))
        n = len(show)
        added = {
            "item_creator": first_creator + show,
            "item_category": category[show],
            "item_second_category": category[show],
            "item_vectors": unit(self.show_vectors[show] + 0.1 * rng.normal(size=(n, DIMENSIONS))),
            "item_quality": 0.8 * self.show_quality[show] + 0.6 * rng.normal(size=n),
            "item_type": np.full(n, list(TYPE_SHARE).index("podcast")),
            "item_duration_ms": (of_show[show] * np.exp(0.15 * rng.normal(size=n))).astype(np.int64),
            "item_published_at": BEGIN_MS + days[day] * DAY_MS + minute[show] * MINUTE_MS,
            "item_language": self.show_language[show],
            "item_show": show,
        }
        first = len(self.item_type)
        for name, column in added.items():
            setattr(self, name, np.concatenate([getattr(self, name), column]))
        # episodes of each show, oldest first: their items, and padded instants of publication
        most = np.bincount(show).max()
        self.episodes = np.full((shows, most), -1)
        self._episode_at = np.full((shows, most), np.iinfo(np.int64).max)
        self.item_number = np.full(len(self.item_type), -1)  # of an episode within its show, 0 the first
        for s in range(shows):
            of = first + np.flatnonzero(show == s)
            self.episodes[s, : len(of)] = of
            self._episode_at[s, : len(of)] = self.item_published_at[of]
            self.item_number[of] = np.arange(len(of))

    def _users(self, rng: np.random.Generator, category_vectors: np.ndarray, users: int) -> None:
        about = np.random.default_rng([self.seed, 6])
        shares, ahead, languages = zip(*COUNTRIES.values(), strict=True)
        self.user_country = about.choice(len(COUNTRIES), users, p=shares)
        spoken = np.cumsum(languages, axis=1)[self.user_country]
        self.user_language = np.minimum((about.random((users, 1)) > spoken).sum(axis=1), len(LANGUAGES) - 1)
        self.user_age_band = about.choice(len(AGE_BANDS), users, p=[0.22, 0.27, 0.26, 0.16, 0.09])
        self.user_plan = about.choice(len(PLANS), users, p=[0.62, 0.28, 0.10])
        self.user_utc_offset_ms = np.array(ahead)[self.user_country] * MINUTE_MS
        super()._users(rng, category_vectors, users)
        self.user_activity = self.user_activity**1.5  # of many somebody hears little, of some every day
        # who pays has reason to: playlists and albums
        self.user_type_bias[:, 2:] += 0.5 * (self.user_plan > 0)[:, None]
        self._choose_favourites(np.random.default_rng([self.seed, 7]))

    def _picks(self, rng: np.random.Generator, categories: int, users: int) -> np.ndarray:
        by_country = rng.normal(size=(len(COUNTRIES), categories))[self.user_country]
        by_age = rng.normal(size=(len(AGE_BANDS), categories))[self.user_age_band]
        logit = SEGMENT_WEIGHT * (by_country + by_age) + rng.gumbel(size=(users, categories))
        four = np.argsort(-logit, axis=1, kind="stable")[:, :4]
        picks = np.stack([four[:, :3], four[:, [0, 1, 3]]])
        declares = rng.random(users) >= SILENT
        named = (rng.random((users, 3)) < DECLARED) & declares[:, None] & (picks[0] < len(CATEGORIES))
        self.user_tastes = [
            tuple(CATEGORIES[c] for c, told in zip(of, told_of, strict=True) if told)
            for of, told_of in zip(picks[0], named, strict=True)
        ]
        self.user_first_taste = picks[0][:, 0]
        return picks

    def _choose_favourites(self, rng: np.random.Generator) -> None:
        """What each comes back to, int64 [users, FAVOURITES]: a show is its number, a playlist or album its item.

        Old users have known more than half of it before the first day; newcomers come by it in days.
        """
        types, shows = list(TYPE_SHARE), len(self.show_quality)
        lists = np.flatnonzero(
            np.isin(self.item_type, [types.index("playlist"), types.index("album")])
            & (self.item_published_at < BEGIN_MS)
        )
        vectors = np.concatenate([self.show_vectors, self.item_vectors[lists]])
        quality = np.concatenate([self.show_quality, self.item_quality[lists]])
        language = np.concatenate([self.show_language, self.item_language[lists]])
        loss = np.repeat([SPOKEN["podcast"], SPOKEN["playlist"]], [shows, len(lists)])
        users = len(self.user_names)
        chosen = np.empty((users, FAVOURITES), np.int64)
        for part in np.array_split(np.arange(users), max(users // 4096, 1)):
            score = (
                4.0 * self._taste_from[part] @ vectors.T + 0.75 * quality + rng.gumbel(size=(len(part), len(vectors)))
            )
            score -= loss * (language != self.user_language[part][:, None])
            best = np.argpartition(-score, FAVOURITES, axis=1)[:, :FAVOURITES]
            in_order = np.argsort(-np.take_along_axis(score, best, axis=1), axis=1, kind="stable")
            chosen[part] = np.take_along_axis(best, in_order, axis=1)
        kept = np.arange(FAVOURITES) < np.minimum(3 + rng.poisson(4.0, users), FAVOURITES)[:, None]
        self.favourite_show = np.where(kept & (chosen < shows), chosen, -1)
        self.favourite_item = np.where(kept & (chosen >= shows), lists[np.maximum(chosen - shows, 0)], -1)
        known = rng.random(chosen.shape) < 0.6
        during = BEGIN_MS + (rng.random(chosen.shape) * self.days * DAY_MS).astype(np.int64)
        adopted = np.where(known, BEGIN_MS - (rng.random(chosen.shape) * 20 * DAY_MS).astype(np.int64), during)
        waits = np.cumsum(rng.exponential(0.8 * DAY_MS, chosen.shape), axis=1).astype(np.int64)
        newcomer = self.user_registered_at >= BEGIN_MS
        arrived = self.user_registered_at[:, None]
        self.favourite_since = np.where(newcomer[:, None], arrived + waits, np.maximum(adopted, arrived))
        self.favourite_hour = rng.choice(ROUTINES, chosen.shape, p=[0.35, 0.15, 0.25, 0.25])
        self.favourite_hour += 0.7 * rng.normal(size=chosen.shape)
        self.favourite_days = rng.choice(3, chosen.shape, p=[0.45, 0.2, 0.35])
        self.favourite_weight = (
            kept * np.exp(0.3 * rng.normal(size=chosen.shape)) / (1.0 + np.arange(FAVOURITES)) ** 0.6
        )

    def pull(self, users: np.ndarray, at: np.ndarray) -> np.ndarray:
        """How strongly each favourite calls at an instant, float64 [n, FAVOURITES]; 0 for one that is not known yet."""
        local = at + self.user_utc_offset_ms[users]
        distance = np.abs((local % DAY_MS / HOUR_MS)[:, None] - self.favourite_hour[users])
        distance = np.minimum(distance, 24.0 - distance)
        is_weekday = ((local // DAY_MS + 3) % 7 < 5)[:, None]
        days = self.favourite_days[users]
        fits = (days == ANY_DAY) | (is_weekday == (days == WEEKDAYS))
        since = (at[:, None] - self.favourite_since[users]) / DAY_MS
        new = 1.0 + 1.5 * 0.5 ** (np.maximum(since, 0.0) / 3.0)
        weight = (
            self.favourite_weight[users] * (0.06 + np.exp(-0.5 * (distance / 1.3) ** 2)) * np.where(fits, 1.0, 0.12)
        )
        return np.where(since >= 0, weight * new, 0.0)

    def first_play(self, users: np.ndarray, items: np.ndarray, at: np.ndarray) -> np.ndarray:
        """True P(the first thing that a visit at that instant plays is this item or its show), float64 [n]."""
        pull = self.pull(users, at)
        mine = np.sum(pull * self._is_favourite(users, items), axis=1)
        return mine / (pull.sum(axis=1) + NOTHING)

    def _is_favourite(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """bool [n, FAVOURITES]: whether the item, or the show that it is of, is that favourite."""
        show = self.item_show[items][:, None]
        return np.where(show >= 0, self.favourite_show[users] == show, self.favourite_item[users] == items[:, None])

    def appeal(self, users: np.ndarray, items: np.ndarray, at: np.ndarray) -> np.ndarray:
        loss = np.array([SPOKEN[name] for name in TYPE_SHARE])[self.item_type[items]]
        strange = loss * (self.item_language[items] != self.user_language[users])
        knows = np.any(self._is_favourite(users, items) & (self.favourite_since[users] <= at[:, None]), axis=1)
        is_new = at - self.item_published_at[items] < FRESH_EPISODE_MS
        familiar = np.where(self.item_show[items] < 0, FAVOURITE, np.where(is_new, NEW_EPISODE, HEARD_EPISODE))
        return super().appeal(users, items, at) - strange + knows * familiar

    def outcome_on(self, shelves: Sequence[str | None] | None, *shown: np.ndarray) -> Outcome:
        """Of shortcuts a visit takes one thing, wherever it stands; other shelves are browsed."""
        browsed = self.outcome(*shown)
        if shelves is None:
            return browsed
        users, items, at, _ = shown
        taken = np.array([shelf == "shortcuts" for shelf in shelves], bool)
        click = np.where(taken, self.first_play(users, items, at), browsed.click)
        long_view = np.where(taken, click * ROUTINE_LONG_VIEW, browsed.long_view)
        half = self.item_duration_ms[items] / 2
        return Outcome(click, long_view, np.where(taken, click * half, browsed.watch_ms))

    def published(self, shows: np.ndarray, at: np.ndarray) -> np.ndarray:
        """Episodes of each show out by then, int64 of the shape of `shows`; 0 where there is no show."""
        out = np.sum(self._episode_at[np.maximum(shows, 0)] <= at[..., None], axis=-1)
        return np.where(shows >= 0, out, 0)

    def item_table(self) -> pa.Table:
        table = super().item_table()
        named = zip(table["category"].to_pylist(), self.item_show, strict=True)
        shows = [f"{category.capitalize()} show {show}" for category, show in named]
        is_episode, titles = self.item_show >= 0, table["title"].to_pylist()
        for row in np.flatnonzero(is_episode):
            titles[row] = f"{shows[row]}: episode {self.item_number[row] + 1}"
        rng, types = np.random.default_rng([self.seed, 9]), table["item_type"].to_pylist()
        moods = unit(rng.normal(size=(len(MOODS), DIMENSIONS)))
        nearest = np.argsort(-self.item_vectors @ moods.T, axis=1, kind="stable")[:, :MOODS_NAMED]
        of_taste = unit(rng.normal(size=(DIMENSIONS, EMBEDDING)).T).T * (DIMENSIONS / EMBEDDING) ** 0.5
        embedding = self.item_vectors @ of_taste + EMBEDDING_NOISE * rng.normal(size=(len(titles), EMBEDDING))
        said = {
            "title": titles,
            "language": [LANGUAGES[language] for language in self.item_language],
            "description": [
                f"A {', '.join(MOODS[mood] for mood in named)} {kind}"
                for named, kind in zip(nearest, types, strict=True)
            ],
            "creator_name": [
                shows[row] if is_episode[row] else f"Studio {creator}" for row, creator in enumerate(self.item_creator)
            ],
            "embedding": embedding.astype(np.float32).tolist(),
        }
        return (
            pa.table({**{name: table[name] for name in table.column_names}, **said})
            .select(ITEM_SCHEMA.names)
            .cast(ITEM_SCHEMA)
        )

    def attribute_table(self) -> pa.Table:
        """Of everybody from always; who goes from the free plan to another does so on a day of the simulated ones."""
        free = PLANS.index("free")
        rows: dict[str, list[Any]] = {name: [] for name in ATTRIBUTE_SCHEMA.names}
        for user, name in enumerate(self.user_names):
            plans = {0: self.user_plan[user]}
            if user % PLAN_CHANGES == 0 and self.user_plan[user] != free:
                plans = {0: free, BEGIN_MS + (user // PLAN_CHANGES % self.days) * DAY_MS: self.user_plan[user]}
            for since, plan in plans.items():
                words = [
                    f"age_band={AGE_BANDS[self.user_age_band[user]]}",
                    f"country={list(COUNTRIES)[self.user_country[user]]}",
                    f"language={LANGUAGES[self.user_language[user]]}",
                    f"plan={PLANS[plan]}",
                    *(f"taste={taste}" for taste in self.user_tastes[user]),
                    f"utc_offset_minutes={self.user_utc_offset_ms[user] // MINUTE_MS}",
                ]
                for column, value in zip(rows.values(), (name, sorted(words), since), strict=True):
                    column.append(value)
        return pa.table(rows, schema=ATTRIBUTE_SCHEMA)
