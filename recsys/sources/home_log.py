"""Logs of the world `home`: visits that begin with something familiar, or with a look around.

A visit shows shortcuts to what its listener knows (`shortcuts`), from which at most one thing is played; what is not
among them is found in the library (shelf `library`, without an impression). Then come slates of the shelves that are
browsed, as in the default world. What somebody has heard of a show depends on the days before: the routine of a day is
lived after theirs, which costs some 10 ms a day of 4,000 users.
"""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.events import DAY_MS, EVENT_SCHEMA, HOUR_MS, LONG_VIEW_MS, MINUTE_MS
from recsys.sources.home import FAVOURITES, NOTHING, ROUTINE_LONG_VIEW, Home
from recsys.sources.simulator import DEVICES, HOURS, Shown, Simulator, dates
from recsys.sources.world import FIRST_DAY, SHOWN_ON

VISITS_PER_USER_DAY: Final = 0.33  # 4,000 users and 14 days give about as many events as the default world
ROUTINE_VISITS: Final = 0.6  # share of the visits at an hour of a favourite's, not at any hour
APART_MS: Final = 45 * MINUTE_MS  # visits of a user: each is a session of its own
SHORTCUTS: Final = 6
BROWSED: Final = {"feed": 0.6, "podcasts": 0.2, "playlists": 0.2}
FIRST_VISIT: Final = {"feed": 0.4, "podcasts": 0.1, "playlists": 0.5}
FINISHES: Final = 0.65  # an episode, at one sitting
SEARCHES: Final = 0.25  # of first visits, in words of the first taste; and of what is played for the first time
LIBRARY: Final = "library"


@dataclass(frozen=True)
class Routine:
    """Visits of a day, [n] each, in order of (user, at); what they were offered and played out of routine."""

    user: np.ndarray
    at: np.ndarray
    is_first: np.ndarray  # of a newcomer
    offered: np.ndarray  # int64 [n, SHORTCUTS], items; -1 none
    played: np.ndarray  # item; -1 nothing
    slot: np.ndarray  # where it stood among the shortcuts; -1 found in the library
    is_new: np.ndarray  # whether nothing of it was played before
    watch_ms: np.ndarray
    is_long: np.ndarray


class HomeSimulator(Simulator):
    """Args: as the Simulator's; `world`: `new_category_on` of `Home`."""

    world: Home
    world_type = Home

    def __init__(self, days: int = 14, users: int = 4000, seed: int = 7, **world: Any) -> None:
        super().__init__(days, users, seed, VISITS_PER_USER_DAY, **world)
        self._routines: list[Routine] = []
        # of each favourite: episodes heard to the end, counted from its show's first, and one begun (item, ms)
        self._heard = np.zeros((users, FAVOURITES), np.int64)
        self._begun = np.full((users, FAVOURITES), -1)
        self._begun_ms = np.zeros((users, FAVOURITES), np.int64)
        self._was_played = np.zeros((users, FAVOURITES), bool)
        self._one_at_a_time = Lock()

    def routine(self, day: int) -> Routine:
        """Of a day (days since the epoch) of the simulated ones."""
        with self._one_at_a_time:
            while len(self._routines) <= day - FIRST_DAY:
                self._routines.append(self._live_routine(FIRST_DAY + len(self._routines)))
        return self._routines[day - FIRST_DAY]

    def _live(self, day: int) -> pa.Table:
        rng = np.random.default_rng([self.seed, 4, day])
        visits = self.routine(day)
        shown = self._browse(visits, rng)
        requests = [f"r{day}-{i:06d}" for i in range(int(shown.request.max()) + 1 if len(shown.request) else 0)]
        visited = [f"v{day}-{i:06d}" for i in range(len(visits.user))]
        parts = [
            self._table(self._react(shown, rng), requests),
            self._played_table(visits, visited),
            self._searched_table(visits, visited, rng),
        ]
        table = pa.concat_tables(parts)
        return self._soil({"occurred_at": table["occurred_at"].to_numpy()}, table, rng)

    def _visits(self, day: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """User, instant and whether it is a newcomer's first, of each visit."""
        world, begin = self.world, day * DAY_MS
        mean = world.user_activity * self._rate / np.exp((1.5 * 0.9) ** 2 / 2)
        user = np.repeat(np.arange(len(mean)), rng.poisson(mean))
        n = len(user)
        weight = world.favourite_weight[user] * (world.favourite_since[user] < begin + DAY_MS)
        habit = np.argmax(np.log(weight + 1e-9) + rng.gumbel(size=weight.shape), axis=1)
        hour = world.favourite_hour[user, habit] + 0.6 * rng.normal(size=n)
        free = rng.choice(24, n, p=HOURS / HOURS.sum()) + rng.random(n)
        hour = np.where(rng.random(n) < ROUTINE_VISITS, hour, free)
        at = begin + ((hour * HOUR_MS).astype(np.int64) - world.user_utc_offset_ms[user]) % DAY_MS
        here = at >= world.user_registered_at[user] + APART_MS
        arrived = np.flatnonzero(world.user_registered_at // DAY_MS == day)
        soon = np.minimum(
            world.user_registered_at[arrived] + rng.integers(20_000, 180_000, len(arrived)), begin + DAY_MS - 1
        )
        user, at = np.r_[user[here], arrived], np.r_[at[here], soon]
        is_first = np.r_[np.zeros(int(here.sum()), bool), np.ones(len(arrived), bool)]
        order = np.lexsort((at, user))
        user, at, is_first = user[order], at[order], is_first[order]
        apart = np.r_[True, (user[1:] != user[:-1]) | (np.diff(at) > APART_MS)][: len(user)]
        return user[apart], at[apart], is_first[apart]

    def _live_routine(self, day: int) -> Routine:
        """A day's visits one after the other, as each listener's state goes on: the first of each, then the second."""
        rng = np.random.default_rng([self.seed, 8, day])
        user, at, is_first = self._visits(day, rng)
        n, world = len(user), self.world
        offered = np.full((n, SHORTCUTS), -1)
        played, slot = np.full(n, -1), np.full(n, -1)
        watch, is_long, is_new = np.zeros(n, np.int64), np.zeros(n, bool), np.zeros(n, bool)
        pull = world.pull(user, at)
        nth = np.arange(n) - np.searchsorted(user, user)
        for visit in range(int(nth.max(initial=-1)) + 1):
            rows = np.flatnonzero(nth == visit)
            who, calls = user[rows], pull[rows]
            next_item = self._next(who, at[rows])
            known = np.where((next_item >= 0) & (calls > 0), calls, 0.0)
            choice = np.sum(
                np.cumsum(known, axis=1) < (rng.random(len(rows)) * (calls.sum(axis=1) + NOTHING))[:, None], axis=1
            )
            plays = choice < FAVOURITES
            choice = np.minimum(choice, FAVOURITES - 1)
            score = np.where(known > 0, 0.7 * np.log(known + 1e-3) + rng.gumbel(size=known.shape), -np.inf)
            best = np.argsort(-score, axis=1, kind="stable")[:, :SHORTCUTS]
            here = np.take_along_axis(score, best, axis=1) > -np.inf
            here &= (here.sum(axis=1) >= 2)[:, None]  # of one thing there is nothing to choose
            offered[rows] = np.where(here, np.take_along_axis(next_item, best, axis=1), -1)
            stood = here & (best == choice[:, None]) & plays[:, None]
            slot[rows] = np.where(stood.any(axis=1), np.argmax(stood, axis=1), -1)
            played[rows] = np.where(plays, next_item[np.arange(len(rows)), choice], -1)
            watch[rows], is_long[rows], is_new[rows] = self._listen(who, choice, played[rows], rng)
        return Routine(user, at, is_first, offered, played, slot, is_new, watch, is_long)

    def _next(self, users: np.ndarray, at: np.ndarray) -> np.ndarray:
        """What each favourite would play, int64 [n, FAVOURITES]: the episode begun, else the newest not heard."""
        world = self.world
        show = world.favourite_show[users]
        out = world.published(show, np.broadcast_to(at[:, None], show.shape))
        newest = world.episodes[np.maximum(show, 0), np.maximum(out - 1, 0)]
        fresh = np.where(out > self._heard[users], newest, -1)
        begun = self._begun[users]
        return np.where(show < 0, world.favourite_item[users], np.where(begun >= 0, begun, fresh))

    def _listen(
        self, users: np.ndarray, choice: np.ndarray, items: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Watch time (ms), whether it was long, and whether nothing of it was played before; the state goes on."""
        world, n = self.world, len(users)
        plays, is_show = items >= 0, world.favourite_show[users, choice] >= 0
        left = world.item_duration_ms[items] - self._begun_ms[users, choice]
        ends = rng.random(n) < FINISHES
        share = np.where(is_show & ends, 1.0, 0.1 + 0.6 * rng.random(n))
        is_long = rng.random(n) < ROUTINE_LONG_VIEW
        enough = np.minimum(left, LONG_VIEW_MS)
        watch = np.where(is_long, np.maximum(share * left, enough), 0.9 * rng.random(n) * enough).astype(np.int64)
        is_new = plays & ~self._was_played[users, choice]
        done, begins = plays & is_show & is_long & ends, plays & is_show & is_long & ~ends
        who, what = users[done], choice[done]
        self._heard[who, what] = np.maximum(self._heard[who, what], world.item_number[items[done]] + 1)
        self._begun[who, what], self._begun_ms[who, what] = -1, 0
        who, what = users[begins], choice[begins]
        self._begun[who, what] = items[begins]
        self._begun_ms[who, what] += watch[begins]
        self._was_played[users[plays], choice[plays]] = True
        return watch, is_long, is_new

    def _browse(self, visits: Routine, rng: np.random.Generator) -> Shown:
        """Slates of the shelves that are browsed: less where something familiar was played."""
        first, plays = visits.is_first, visits.played >= 0
        slates = np.where(first, 2, rng.poisson(np.where(plays, 0.5, 1.3)))
        row = np.repeat(np.arange(len(slates)), slates)
        begun = visits.at + np.where(plays, np.minimum(visits.watch_ms, 20 * MINUTE_MS) + 30_000, 1_000)
        nth = np.arange(len(row)) - np.searchsorted(row, row)
        at = begun[row] + nth * rng.integers(2 * MINUTE_MS, 8 * MINUTE_MS, len(row))
        names = list(SHOWN_ON)
        shares = np.array([[of.get(name, 0.0) for name in names] for of in (BROWSED, FIRST_VISIT)])
        chosen = np.cumsum(shares, axis=1)[first[row].astype(int)]
        shelf = np.sum(rng.random((len(row), 1)) > chosen, axis=1)
        order = np.lexsort((visits.user[row], at))
        return self._slates(visits.user[row][order], at[order], np.minimum(shelf, len(names) - 1)[order], rng)

    def _played_table(self, visits: Routine, visited: list[str]) -> pa.Table:
        """The shortcuts of each visit, and what was played out of routine."""
        request, slot = np.nonzero(visits.offered >= 0)
        plays = np.flatnonzero(visits.played >= 0)
        long = plays[visits.is_long[plays]]
        follows = long[visits.is_new[long] & (self.world.item_show[visits.played[long]] >= 0)]
        begun = visits.at + 4_000
        ended = begun + visits.watch_ms
        outcomes = {
            "click": (plays, begun),
            "play": (plays, ended),
            "long_view": (long, ended),
            "follow": (follows, ended),
        }
        answers = np.concatenate([rows for rows, _ in outcomes.values()])
        row = np.concatenate([request, answers])
        counts = [len(request), *(len(rows) for rows, _ in outcomes.values())]
        kind = np.repeat(np.array(["impression", *outcomes], dtype=object), counts)
        columns = {
            "kind": kind,
            "occurred_at": np.concatenate([visits.at[request], *(at[rows] for rows, at in outcomes.values())]),
            "watch_ms": np.where(kind == "play", visits.watch_ms[row], -1),
            "user": visits.user[row],
            "item": np.concatenate([visits.offered[request, slot], visits.played[answers]]),
            "slot": np.concatenate([slot, visits.slot[answers]]),
            "request": row,
            "shelf": np.full(len(row), list(SHOWN_ON).index("shortcuts")),
        }
        table, alone = self._table(columns, visited), columns["slot"] < 0
        for name, other in {"request_id": None, "impression_id": None, "slot": None, "shelf": LIBRARY}.items():
            place, field = table.schema.get_field_index(name), table.schema.field(name)
            table = table.set_column(place, field, pc.if_else(alone, pa.scalar(other, field.type), table[name]))
        return table

    def _searched_table(self, visits: Routine, visited: list[str], rng: np.random.Generator) -> pa.Table:
        """What newcomers ask for at once, and what leads to a thing that is played for the first time."""
        drawn = rng.random(len(visits.user)) < SEARCHES
        world = self.world
        category = np.where(visits.played >= 0, world.item_category[visits.played], world.user_first_taste[visits.user])
        rows = np.flatnonzero(drawn & (visits.is_first | visits.is_new))
        at = visits.at[rows] + 1_500
        show = np.where(visits.played[rows] >= 0, world.item_show[visits.played[rows]], -1)
        words = [
            f"{world.categories[c]} show {s}" if s >= 0 else str(world.categories[c])
            for c, s in zip(category[rows], show, strict=True)
        ]
        filled = {
            "event_id": [f"{visited[row]}:search" for row in rows],
            "kind": ["search"] * len(rows),
            "user_id": self._user_names[visits.user[rows]],
            "occurred_at": at,
            "received_at": at,
            "device": DEVICES[world.user_device[visits.user[rows]]],
            "query": words,
            "date": dates(at),
            "consent": world.user_consents[visits.user[rows]],
        }
        columns = [filled.get(field.name, pa.nulls(len(rows), field.type)) for field in EVENT_SCHEMA]
        return pa.table(columns, schema=EVENT_SCHEMA)
