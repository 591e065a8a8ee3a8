"""Logs of the simulated world: what a mixed policy showed, what users did, and the dirt that real logs have.

A day is a function of (seed, day) alone: the policy's idea of popularity is the items' true quality, seen through
noise, so no day needs the days before it. What is received late lands on a later day: a day is read from up to three.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.events import CLOCK_SKEW_MS, DAY_MS, EVENT_SCHEMA, HOUR_MS, MINUTE_MS, SKIP_MS
from recsys.sources.derived import Rules
from recsys.sources.source import DayOfEvents, day_name, day_number, rejected_rows
from recsys.sources.world import (
    FIRST_DAY,
    SHOWN_ON,
    SKIP_GIVEN_NO_CLICK,
    TYPE_SHARE,
    Outcome,
    World,
    sigmoid,
)

DEVICES: Final = np.array(["android", "ios", "web", "tv"])
SHELF_SHARE: Final = {"feed": 0.64, "podcasts": 0.13, "shortcuts": 0.13, "playlists": 0.10}
SLATE: Final = {"feed": 10, "podcasts": 8, "shortcuts": 6, "playlists": 8}
CANDIDATES: Final = 48  # drawn from the catalogue for each slate, then ranked by the policy
# The policy's mix: share of slates, weight of quality, weight of taste, noise. `random` keeps every item learnable.
POLICY: Final = {"popular": (0.4, 1.0, 0.4, 0.7), "taste": (0.4, 0.4, 2.2, 0.7), "random": (0.2, 0.0, 0.0, 1.0)}
SLATES_PER_USER_DAY: Final = 0.33  # 4,000 users and 14 days give about 440 k events
HOURS: Final = np.array([2, 1, 1, 1, 1, 2, 4, 6, 7, 6, 5, 5, 6, 6, 5, 5, 6, 7, 8, 9, 10, 10, 8, 5], float)

# The dirt, as shares of rows.
LATE: Final = 0.02  # phones that were offline: 5 minutes to 36 hours
DUPLICATE: Final = 0.005  # delivered again, seconds or a day later
SKEWED: Final = 0.01  # clocks ahead by less than CLOCK_SKEW_MS
CORRUPT: Final = 0.002
CORRUPTIONS: Final = ("negative watch", "unknown kind", "missing user", "missing item", "instant zero", "far ahead")
MOST_LATE_MS: Final = 36 * HOUR_MS


@dataclass(frozen=True)
class Truth:
    """What only the simulator knows, by id. Arrays of one length; `at` is UTC ms, `slot` 0 the first place."""

    world: World
    user_index: dict[str, int]
    item_index: dict[str, int]

    def outcome(
        self,
        user_ids: Sequence[str],
        item_ids: Sequence[str],
        at: np.ndarray | int,
        slot: np.ndarray | int = 0,
        shelf: Sequence[str | None] | None = None,
    ) -> Outcome:
        """True p(click), p(long view) and expected watch (ms), float64 [n]. KeyError for an id of another world.

        Args:
            shelf: where each is shown, for a world in which that changes the truth; None: where things are browsed
        """
        users = np.array([self.user_index[u] for u in user_ids], np.int64)
        items = np.array([self.item_index[i] for i in item_ids], np.int64)
        n = len(users)
        at, slot = np.broadcast_to(at, n), np.broadcast_to(slot, n)
        return self.world.outcome_on(shelf, users, items, at, slot)

    def best(self, user_id: str, at: int, k: int, shelf: str = "feed", target: str = "click") -> list[str]:
        """The k items of that shelf with the highest true probability (`click` or `long_view`), best first."""
        items = self.world.available(at)
        types = [list(TYPE_SHARE).index(t) for t in SHOWN_ON[shelf]]
        items = items[np.isin(self.world.item_type[items], types)]
        users = np.full(len(items), self.user_index[user_id])
        truth = self.world.outcome_on([shelf] * len(items), users, items, np.full(len(items), at), np.zeros(len(items)))
        score = truth.long_view if target == "long_view" else truth.click
        return [self.world.item_names[i] for i in items[np.argsort(-score, kind="stable")[:k]]]


class Simulator:
    """A world of `users` living for `days`, from 2026-01-05; about 25 events a user and week at the default rate."""

    name = "simulator"
    utc_offset_ms = 0
    world_type: type[World] = World

    def __init__(
        self,
        days: int = 14,
        users: int = 4000,
        seed: int = 7,
        slates_per_user_day: float = SLATES_PER_USER_DAY,
        **world: Any,
    ) -> None:
        """`world`: `turns_on`, `restlessness`, `catalogue` and `new_items` of the `World`."""
        self.length, self.seed = days, seed
        self.world = self.world_type(days, users, seed, **world)
        self._rate = slates_per_user_day
        self._lived = lru_cache(maxsize=3)(self._live)
        self._user_names = np.array(self.world.user_names)
        self._item_names = np.array(self.world.item_names)

    @cached_property
    def truth(self) -> Truth:
        names = (self.world.user_names, self.world.item_names)
        return Truth(self.world, *({name: i for i, name in enumerate(n)} for n in names))

    @property
    def derives(self) -> Rules:
        return Rules()

    @property
    def kinds(self) -> tuple[str, ...]:
        return ()

    def days(self) -> dict[str, int]:
        """By living them all: 0.1 CPU s a day of 4,000 users."""
        rows_of = {
            day: self.read_day(day).rows_read for day in map(day_name, range(FIRST_DAY, FIRST_DAY + self.length))
        }
        return {day: rows for day, rows in rows_of.items() if rows}

    def digests(self) -> dict[str, str]:
        return {}

    def first_day(self) -> str:
        return day_name(FIRST_DAY)

    def last_day(self) -> str:
        return day_name(FIRST_DAY + self.length - 1)

    def items(self) -> pa.Table:
        return self.world.item_table()

    def refused(self, table: Literal["items", "users"]) -> pa.Table:
        return rejected_rows([])

    def users(self) -> pa.Table:
        return self.world.user_table()

    def attributes(self) -> pa.Table:
        return self.world.attribute_table()

    def read_day(self, day: str) -> DayOfEvents:
        number = day_number(day)
        parts = [EVENT_SCHEMA.empty_table()]
        for lived in range(number - 2, number + 1):  # MOST_LATE_MS reaches back two days
            if FIRST_DAY <= lived < FIRST_DAY + self.length and number < FIRST_DAY + self.length:
                log = self._lived(lived)
                parts.append(log.filter(pc.equal(pc.divide(log["received_at"], DAY_MS), number)))
        events = pa.concat_tables(parts).sort_by([("received_at", "ascending"), ("event_id", "ascending")])
        return DayOfEvents(events, rejected_rows([]), events.num_rows, events.num_rows)

    def feedback(
        self, user_id: str, item_ids: Sequence[str], at: int, seed: int, request_id: str, shelf: str = "feed"
    ) -> list[dict[str, Any]]:
        """What the user does with a served slate: its impressions and their outcomes, as events to send back."""
        truth, n = self.truth, len(item_ids)
        user = truth.user_index[user_id]
        rng = np.random.default_rng([self.seed, 5, user, at, seed])
        shown = Shown(
            users=np.full(n, user),
            items=np.array([truth.item_index[i] for i in item_ids], np.int64),
            at=np.full(n, at),
            slot=np.arange(n),
            request=np.zeros(n, np.int64),
            shelf=np.full(n, list(SHOWN_ON).index(shelf)),
        )
        columns = self._react(shown, rng)
        table = self._table(columns, [request_id])
        return table.sort_by([("occurred_at", "ascending"), ("event_id", "ascending")]).to_pylist()

    def _live(self, day: int) -> pa.Table:
        """Every event that happened on that day, whenever it was received."""
        rng = np.random.default_rng([self.seed, 4, day])
        shown = self._show(day, rng)
        columns = self._react(shown, rng)
        requests = [f"r{day}-{i:06d}" for i in range(int(shown.request.max()) + 1 if len(shown.request) else 0)]
        return self._soil(columns, self._table(columns, requests), rng)

    def _show(self, day: int, rng: np.random.Generator) -> Shown:
        """The logging policy: slates of the day, in the order of their instants."""
        world, begin = self.world, day * DAY_MS
        mean = world.user_activity * self._rate / np.exp(0.9**2 / 2)
        slates = rng.poisson(mean)
        user = np.repeat(np.arange(len(slates)), slates)
        n = len(user)
        hour = rng.choice(24, n, p=HOURS / HOURS.sum())
        at = begin + hour * HOUR_MS + rng.integers(0, HOUR_MS, n)
        # a visit is one to three slates, minutes apart, so that sessions are more than single slates
        follows = (rng.random(n) < 0.55) & np.r_[False, user[1:] == user[:-1]]
        for i in np.flatnonzero(follows):
            at[i] = min(at[i - 1] + int(rng.integers(1 * MINUTE_MS, 12 * MINUTE_MS)), begin + DAY_MS - 1)
        here = at >= world.user_registered_at[user]
        user, at = user[here], at[here]
        order = np.lexsort((user, at))
        user, at = user[order], at[order]
        return self._slates(user, at, rng.choice(len(SHOWN_ON), len(user), p=[SHELF_SHARE[s] for s in SHOWN_ON]), rng)

    def _slates(self, user: np.ndarray, at: np.ndarray, shelf: np.ndarray, rng: np.random.Generator) -> Shown:
        """What the policy shows each user at that instant on that shelf (index of SHOWN_ON)."""
        world, n = self.world, len(user)
        mode = rng.choice(len(POLICY), n, p=[share for share, *_ in POLICY.values()])
        _, quality_weight, taste_weight, noise = np.array(list(POLICY.values())).T
        candidates = self._draw(shelf, at, rng)
        flat_users, flat_at = np.repeat(user, CANDIDATES), np.repeat(at, CANDIDATES)
        affinity = world.affinity(flat_users, candidates.ravel(), flat_at).reshape(n, CANDIDATES)
        quality = world.quality(candidates, at[:, None])
        score = quality_weight[mode, None] * (quality + 0.5 * rng.normal(size=candidates.shape))
        score += taste_weight[mode, None] * (affinity * 2 + 0.5 * rng.normal(size=candidates.shape))
        score += noise[mode, None] * rng.gumbel(size=candidates.shape)
        score[_repeated(candidates)] = -np.inf  # an item stands in a slate once
        length = np.array([SLATE[s] for s in SHOWN_ON])[shelf]
        widest = max(SLATE.values())
        top = np.take_along_axis(candidates, np.argsort(-score, axis=1, kind="stable")[:, :widest], axis=1)
        request, slot = np.nonzero(np.arange(widest)[None, :] < length[:, None])
        return Shown(user[request], top[request, slot], at[request], slot, request, shelf[request])

    def _draw(self, shelf: np.ndarray, at: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Candidates [n, CANDIDATES]: published items of the shelf's types, half of them of the last ten days."""
        world, types = self.world, list(TYPE_SHARE)
        by_age = np.argsort(world.item_published_at, kind="stable")
        result = np.empty((len(shelf), CANDIDATES), np.int64)
        for number, shown in enumerate(SHOWN_ON.values()):
            rows = np.flatnonzero(shelf == number)
            pool = by_age[np.isin(world.item_type[by_age], [types.index(t) for t in shown])]
            published = world.item_published_at[pool]
            stop = np.searchsorted(published, at[rows], side="right")
            start = np.searchsorted(published, at[rows] - 10 * DAY_MS, side="right")
            start = np.where(stop - start < 2 * CANDIDATES, 0, start)
            recent = np.arange(CANDIDATES) < CANDIDATES // 2
            low = np.where(recent[None, :], start[:, None], 0)
            result[rows] = pool[low + (rng.random((len(rows), CANDIDATES)) * (stop[:, None] - low)).astype(np.int64)]
        return result

    def _react(self, shown: Shown, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Impressions and their outcomes, as columns of equal length."""
        world, n = self.world, len(shown.users)
        truth = world.outcome(shown.users, shown.items, shown.at, shown.slot)
        affinity = world.affinity(shown.users, shown.items, shown.at)
        click = rng.random(n) < truth.click
        long_view = click & (rng.random(n) < truth.long_view / truth.click)
        threshold, rest, depth = world.watch_shape(shown.items, affinity)
        u = rng.random(n)
        # u**(1/m - 1) has mean m
        watch = np.where(long_view, threshold + rest * u ** (1 / depth - 1), threshold * np.minimum(u, 0.999))
        skip = ~click & (rng.random(n) < SKIP_GIVEN_NO_CLICK)
        watch = np.where(skip, u * SKIP_MS, watch).astype(np.int64)
        begun = shown.at + ((1 + shown.slot) * 2500 * (0.5 + rng.random(n))).astype(np.int64)
        watch = np.where(long_view, np.maximum(watch, threshold.astype(np.int64)), watch)
        ended = begun + watch
        soon = ended + rng.integers(500, 8000, n)
        happened = {
            "impression": (np.ones(n, bool), shown.at),
            "click": (click, begun),
            "play": (click | skip, ended),
            "long_view": (long_view, ended),
            "skip": (skip, ended),
            "like": (click & (rng.random(n) < sigmoid(-3.2 + 2.5 * affinity + 1.2 * long_view)), soon),
            "dislike": (~long_view & (rng.random(n) < sigmoid(-4.6 - 2.5 * affinity)), soon),
            "share": (long_view & (rng.random(n) < 0.02), soon),
            "follow": (long_view & (rng.random(n) < sigmoid(-4.2 + 1.5 * affinity)), soon),
        }
        rows = [np.flatnonzero(mask) for mask, _ in happened.values()]
        row = np.concatenate(rows)
        kind = np.repeat(np.array(list(happened), dtype=object), [len(r) for r in rows])
        return {
            "kind": kind,
            "occurred_at": np.concatenate([at[r] for r, (_, at) in zip(rows, happened.values(), strict=True)]),
            "watch_ms": np.where(kind == "play", watch[row], -1),
            "user": shown.users[row],
            "item": shown.items[row],
            "slot": shown.slot[row],
            "request": shown.request[row],
            "shelf": shown.shelf[row],
        }

    def _table(self, columns: dict[str, np.ndarray], requests: Sequence[str]) -> pa.Table:
        """EVENT_SCHEMA rows as a perfect log would have them: received when they occurred."""
        request = np.array(requests, dtype=object)[columns["request"]] if len(requests) else np.array([], object)
        stem = [f"{r}:{s}" for r, s in zip(request, columns["slot"], strict=True)]
        kind = columns["kind"]
        at = columns["occurred_at"]
        return pa.table(
            {
                "event_id": [f"{s}:{k}" for s, k in zip(stem, kind, strict=True)],
                "kind": kind,
                "user_id": self._user_names[columns["user"]],
                "item_id": self._item_names[columns["item"]],
                "occurred_at": at,
                "received_at": at,
                "request_id": request,
                "impression_id": [
                    None if k == "impression" else f"{s}:impression" for s, k in zip(stem, kind, strict=True)
                ],
                "shelf": np.array(list(SHOWN_ON), dtype=object)[columns["shelf"]],
                "device": DEVICES[self.world.user_device[columns["user"]]],
                "slot": columns["slot"].astype(np.int32),
                "watch_ms": pa.array(columns["watch_ms"], pa.int64(), mask=columns["watch_ms"] < 0),
                "query": pa.nulls(len(kind), pa.string()),
                "date": dates(at),
                "consent": self.world.user_consents[columns["user"]],
                "position": pa.nulls(len(kind), pa.int64()),
                "event_key": pa.nulls(len(kind), pa.string()),
            },
            schema=EVENT_SCHEMA,
        )

    def _soil(self, columns: dict[str, np.ndarray], table: pa.Table, rng: np.random.Generator) -> pa.Table:
        """The log as it arrives: delayed, repeated, with wrong clocks and broken rows."""
        n = table.num_rows
        occurred = columns["occurred_at"].copy()
        delay = (50 + rng.exponential(400, n)).astype(np.int64)
        late = rng.random(n) < LATE
        delay[late] = np.exp(rng.uniform(np.log(5 * MINUTE_MS), np.log(MOST_LATE_MS), int(late.sum()))).astype(np.int64)
        received = occurred + delay
        skewed = ~late & (rng.random(n) < SKEWED)
        occurred[skewed] = received[skewed] + rng.integers(1, CLOCK_SKEW_MS, int(skewed.sum()))
        wrong = np.where(rng.random(n) < CORRUPT, rng.integers(0, len(CORRUPTIONS), n), -1)
        is_wrong = {name: wrong == i for i, name in enumerate(CORRUPTIONS)}
        occurred[is_wrong["instant zero"]] = 0
        occurred[is_wrong["far ahead"]] += 400 * DAY_MS
        watch = pc.if_else(is_wrong["negative watch"], -5000, table["watch_ms"])
        replaced = {
            "occurred_at": pa.array(occurred),
            "received_at": pa.array(received),
            "watch_ms": watch,
            "kind": pc.if_else(is_wrong["unknown kind"], "hover", table["kind"]),
            "user_id": pc.if_else(is_wrong["missing user"], pa.scalar(None, pa.string()), table["user_id"]),
            "item_id": pc.if_else(is_wrong["missing item"], pa.scalar(None, pa.string()), table["item_id"]),
        }
        for name, column in replaced.items():
            table = table.set_column(table.schema.get_field_index(name), name, column)
        again = np.flatnonzero(rng.random(n) < DUPLICATE)
        copies = table.take(again)
        later = rng.integers(1000, 60_000, len(again)) + (rng.random(len(again)) < 0.2) * (DAY_MS // 3)
        copies = copies.set_column(5, "received_at", pa.array(received[again] + later))
        return pa.concat_tables([table.cast(EVENT_SCHEMA), copies.cast(EVENT_SCHEMA)])


@dataclass(frozen=True)
class Shown:
    """Impressions, int64 [n] each: index of user and item, UTC ms, slot, number of the slate, index of the shelf."""

    users: np.ndarray
    items: np.ndarray
    at: np.ndarray
    slot: np.ndarray
    request: np.ndarray
    shelf: np.ndarray


def _repeated(candidates: np.ndarray) -> np.ndarray:
    """Mask [n, m] of the entries that equal one to their left."""
    order = np.argsort(candidates, axis=1, kind="stable")
    ordered = np.take_along_axis(candidates, order, axis=1)
    repeats = np.zeros(candidates.shape, bool)
    np.put_along_axis(repeats, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], axis=1)
    return repeats


def dates(at: np.ndarray) -> list[str]:
    days, inverse = np.unique(at // DAY_MS, return_inverse=True)
    names = [day_name(int(d)) for d in days]
    return [names[i] for i in inverse]
