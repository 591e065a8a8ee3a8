"""Items and people that change daily, by file and live, against the contract as a stranger wrote it from the docs
(tests/features/stranger.py): what the lake computed day by day, the fold over its events, the service, and its replay.

`python -m benchmarks.metadata`; also a part of `python -m benchmarks.parity`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.cleaned.keyed import CLEANED_EVENT_SCHEMA, keyed_events, keys_of
from recsys.cleaned.log import COLUMNS
from recsys.cleaned.people import appended as with_said
from recsys.cleaned.people import versions_of
from recsys.cleaned.versions import appended, as_of, starts_at, timeline
from recsys.events import (
    ATTRIBUTE_SCHEMA,
    DAY_MS,
    HOUR_MS,
    ITEM_SCHEMA,
    RAW_EVENT_SCHEMA,
    first_position,
    key64,
    query_key,
)
from recsys.features import sweep
from recsys.features.catalog import AGGREGATES, FEATURES
from recsys.features.derive import Context, derive
from recsys.features.impressions import FEATURE_SCHEMA, IMPRESSION_COLUMNS, impression_features, replayed
from recsys.features.log import EventLog, Rows, concat, from_table, history_of, merged, searches
from recsys.features.parity import Parity, compare, compare_arrays, replay
from recsys.features.people import NO_ONE, People, Said
from recsys.sources.source import day_name
from recsys.store.lmdb_journal import LmdbJournal
from recsys.store.online import OnlineStore
from tests.features import stranger

FIRST_DAY = 20_000  # days since the epoch
SLATE, LOG_SHELVES = 10, ("feed", "podcasts", None)
KINDS = ("click", "play", "long_view", "like", "dislike", "skip", "share", "follow", "search")
Dicts = list[dict[str, Any]]


def of_searches(raw: pa.Table) -> EventLog:
    """Rows of searches (RAW_EVENT_SCHEMA) as events of the log."""
    words = np.array([query_key(query) for query in raw["query"].to_pylist()], np.int64)
    instants = (np.asarray(raw[name].to_numpy(), np.int64) for name in ("occurred_at", "received_at"))
    return searches(np.asarray(raw["position"].to_numpy(), np.int64), keys_of(raw["user_id"]), words, *instants)


class World:
    """Days of a log whose items change: `file` days come from a source, `live` days from the store."""

    def __init__(self, folder: Path, users: int, items: int, seed: int = 1) -> None:
        self.rng, self.users = np.random.default_rng(seed), users
        self.rows = [self.changed({"item_id": f"i{i}", "id_is_integer": False}, everything=True) for i in range(items)]
        self.versions: pa.Table | None = None
        self.keyed: list[pa.Table] = []  # cleaned events, a table a day
        self.searched: list[EventLog] = []
        self.computed: list[pa.Table] = []  # features of imported impressions, as each day computed them
        self.impressions: list[pa.Table] = []
        self.words = {f"u{u}": self.drawn_words() for u in range(users)}
        self.said: pa.Table | None = None
        self.people: People = NO_ONE
        self.store = OnlineStore(LmdbJournal(folder, create=True), create=True)
        # what the stranger knows
        self.items, self.events, self.online = stranger.Items(), Dicts(), dict[str, dict[str, Any]]()
        self.served = Dicts()
        self.told_people = stranger.People()

    def drawn_words(self) -> list[str]:
        """What is said of somebody, some of it left out."""
        draw = self.rng.integers
        every = [f"country=c{draw(3)}", f"language=l{draw(2)}", f"plan=p{draw(3)}", f"taste=topic{draw(6)}"]
        every += [f"taste=topic{draw(6)}", f"utc_offset_minutes={15 * draw(-48, 57)}", f"age={draw(9)}", "age~3"]
        return sorted({word for word in every if draw(3)})

    def changed(self, row: dict[str, Any], everything: bool = False) -> dict[str, Any]:
        """The row with some of its attributes drawn again."""
        draw = self.rng.integers
        drawn = {
            "item_type": ("video", "podcast", "album", "playlist")[draw(4)],
            "creator_id": (None, *(f"maker{i}" for i in range(8)))[draw(9)],
            "category": (None, *(f"topic{i}" for i in range(6)))[draw(7)],
            "tags": [f"tag{draw(5)}"],
            "title": f"title {draw(100)}",
            "duration_ms": int(draw(0, 5)) * 60_000,
            "published_at": (FIRST_DAY - int(draw(0, 90))) * DAY_MS,
            "is_available": bool(draw(4)),
        }
        return row | {name: value for name, value in drawn.items() if everything or draw(3) == 0}

    def some(self, share: float) -> Iterator[int]:
        return iter(np.flatnonzero(self.rng.random(len(self.rows)) < share).tolist())

    def day_of_events(self, number: int, count: int) -> Dicts:
        """Events in the order in which they are received: slates and their outcomes, some late."""
        rng, start = self.rng, (FIRST_DAY + number) * DAY_MS
        received = np.sort(start + rng.integers(0, DAY_MS - HOUR_MS, count) // 1000 * 1000)
        lateness = np.where(rng.random(count) < 0.1, rng.integers(0, 9 * DAY_MS, count), rng.integers(0, 3000, count))
        rows: Dicts = [
            {
                "event_id": f"{number:03d}-{n:06d}",
                "kind": "impression" if rng.random() < 0.5 else KINDS[rng.integers(len(KINDS))],
                "user_id": f"u{rng.integers(self.users)}",
                "item_id": f"i{(rng.zipf(1.3) - 1) % len(self.rows)}",
                "occurred_at": int(received[n] - lateness[n]),
                "received_at": int(received[n]),
                "shelf": LOG_SHELVES[rng.integers(len(LOG_SHELVES))],
                "watch_ms": int(rng.integers(0, 90_000)),
                "date": day_name(FIRST_DAY + number),
            }
            for n in range(count)
        ]
        for row in rows:
            if row["kind"] == "search":  # some without a word
                row |= {"item_id": None, "query": ("Topic{}, show {}!", "show {1} topic{0}", "...")[rng.integers(3)]}
                row["query"] = row["query"].format(rng.integers(6), rng.integers(3))
        return rows

    def log(self) -> EventLog:
        return merged(from_table(pa.concat_tables(self.keyed).select(COLUMNS)), concat(self.searched))

    def take_in(self, number: int, raw: pa.Table) -> None:
        """A day into the lake, as the assets do it, and into the store."""
        taken = [day_name(FIRST_DAY + n) for n in range(number)]
        start = starts_at(taken, [day_name(FIRST_DAY + number)], 0)
        told = self.store.told_items()
        self.versions = appended(self.versions, pa.Table.from_pylist(self.rows, ITEM_SCHEMA), told, start)
        since = timeline(self.versions)
        given = [{"user_id": user, "attributes": words} for user, words in self.words.items()]
        self.said = with_said(self.said, pa.Table.from_pylist(given, ATTRIBUTE_SCHEMA), start)
        self.people = versions_of(self.said)
        self.told_people.read(self.words, start)
        asked = pc.equal(raw["kind"], "search")
        self.searched.append(of_searches(raw.filter(asked)))
        raw = raw.filter(pc.invert(asked))
        items, live = history_of(since), raw.filter(pc.is_valid(raw["category_key"]))
        cleaned = raw.append_column("session_id", pa.nulls(raw.num_rows, pa.string()))
        self.keyed.append(keyed_events(cleaned, items, CLEANED_EVENT_SCHEMA, live))
        shown = self.keyed[-1].filter(pc.equal(self.keyed[-1]["kind"], "impression"))
        shown = shown.drop_columns(["impression_id"]).rename_columns({"event_id": "impression_id"})
        self.impressions.append(shown.select(IMPRESSION_COLUMNS))
        self.computed.append(impression_features(self.log(), items, self.impressions[-1], people=self.people))
        now = (FIRST_DAY + number + 1) * DAY_MS
        log, named = self.log(), as_of(since, now)
        self.store.bootstrap(log, named, log.head, heard=told.filter(pc.greater(told["position"], 0)))
        self.items.read(self.rows, start)
        self.online = {row["item_id"]: self.items.at(row["item_id"], now) for row in self.rows}

    def file_day(self, number: int, count: int) -> None:
        if number:
            for i in self.some(0.2):
                self.rows[i] = self.changed(self.rows[i])
            for user in self.words:
                if self.rng.random() < 0.3:
                    self.words[user] = self.drawn_words()
        rows = self.day_of_events(number, count)
        for rank, row in enumerate(rows):
            row["position"] = first_position(FIRST_DAY + number) + rank
        self.take_in(number, pa.Table.from_pylist(rows, RAW_EVENT_SCHEMA))
        self.events += [self.told_event(row, self.items.at(row["item_id"], row["received_at"])) for row in rows]

    def live_day(self, number: int, count: int, reads: int) -> None:
        rows = self.day_of_events(number, count)
        read_after = set(np.linspace(0, count - 1, reads // SLATE, dtype=int).tolist())
        before = self.store.head()
        for n, row in enumerate(rows):
            if self.rng.random() < 0.05:
                i = int(self.rng.integers(len(self.rows)))
                word = self.changed(self.online[f"i{i}"])
                if self.store.put_items(pa.Table.from_pylist([word], ITEM_SCHEMA), row["received_at"]):
                    self.items.tell(word, row["received_at"])
                    self.online[f"i{i}"] = word
            taken = self.store.append([row], row["received_at"])
            assert taken.accepted == 1, taken
            told = row | {"position": taken.position, "occurred_at": min(row["occurred_at"], row["received_at"])}
            self.events.append(self.told_event(told, self.online.get(row["item_id"], {})))
            if n in read_after:
                self.read(row["received_at"] + 1)
        for i in self.some(0.2):  # the catalogue of the evening
            self.rows[i] = self.changed(self.rows[i])
        self.take_in(number, self.store.tail(before))

    def told_event(self, row: dict[str, Any], item: dict[str, Any]) -> dict[str, Any]:
        name = stranger.searched(row["query"]) if row.get("query") else row["item_id"]
        parts = {"user": row["user_id"], "item": name, "shelf": row["shelf"]}
        return row | parts | {"category": item.get("category"), "creator": item.get("creator_id")}

    def read(self, instant: int) -> None:
        """A slate read from the store, logged with what the stranger needs to say it again."""
        user, shelf = f"u{self.rng.integers(self.users)}", LOG_SHELVES[self.rng.integers(len(LOG_SHELVES))]
        names = [f"i{i}" for i in self.rng.choice(len(self.rows), SLATE, replace=False)]
        shelf_key = int(key64([shelf])[0]) if shelf else 0
        read = self.store.read(user, names, instant, shelf_key=shelf_key)
        zero, of_request = np.zeros(SLATE, np.int64), self.drawn_words() if self.rng.random() < 0.3 else []
        said = Said.of_one(of_request).over(self.people.said(key64([user]), np.array([instant])))
        about = said.columns(read.item.category_key)
        floats = derive(read.aggregates, Context(zero + instant, zero + shelf_key, zero, zero, read.item, about))
        words = self.told_people.at(user, instant, of_request)
        for k, name in enumerate(names):
            asked = {"user_id": user, "item_id": name, "position": read.position, "as_of": instant, "shelf": shelf}
            self.served.append(
                self.told_event(asked, self.online[name])
                | {"device": None, "slot": 0, "item_row": self.online[name], "words": words, "said": said.flat()}
                | {"aggregates": read.aggregates[k], "features": floats[k]}
            )


def by_stranger(log: stranger.Log, rows: Dicts) -> tuple[np.ndarray, np.ndarray]:
    """Aggregates and features of rows as the docs have them."""
    counted = [stranger.aggregates(log, row) for row in rows]
    integers = np.array([[columns[name] for name in AGGREGATES] for columns in counted], np.int64)
    floats = [stranger.features(row, row["item_row"], columns) for row, columns in zip(rows, counted, strict=True)]
    return integers, np.array(floats, np.float32)


def imported_rows(world: World, log: stranger.Log) -> Dicts:
    """The impressions, as the docs read them."""
    rows = Dicts()
    for event in world.events:
        if event["kind"] == "impression":
            instant = event["occurred_at"]
            item = world.items.at(event["item_id"], instant)
            asked = event | {"position": log.imported_position(instant), "as_of": instant, "device": None, "slot": -1}
            words = world.told_people.at(event["user_id"], instant)
            rows.append(world.told_event(asked, item) | {"item_row": item, "words": words})
    return rows


def legs(world: World) -> Iterator[tuple[str, int, Parity]]:
    """Lake, fold, service and replay, each against the stranger."""
    log = stranger.Log(world.events)
    rows = imported_rows(world, log)
    integers, floats = by_stranger(log, rows)
    whole, impressions = world.log(), pa.concat_tables(world.impressions)
    assert world.versions is not None
    items = history_of(timeline(world.versions))
    made = pa.concat_tables(world.computed)
    again = impression_features(whole, items, impressions, replayed, world.people)
    for name, table in (("lake, day by day", made), ("fold", again)):
        theirs = np.stack([table[feature].to_numpy() for feature in FEATURES], axis=1)
        yield f"{name}: features", len(rows), compare_arrays(theirs, floats, FEATURES)
    told = [stranger.history(log, row) for row in rows]
    keys = [key64([item for item, _, _ in of]).tolist() for of in told]
    lists = made.select(["impression_id"]).append_column(
        "history_item_key", pa.array(keys, FEATURE_SCHEMA.field("history_item_key").type)
    )
    yield "lake, day by day: histories", len(rows), compare(lists, made)
    users, item_keys = impressions["user_key"].to_numpy(), impressions["item_key"].to_numpy()
    asked = (users, item_keys, made["position"].to_numpy(), made["as_of"].to_numpy())
    shelves = np.array([int(key64([row["shelf"]])[0]) if row["shelf"] else 0 for row in rows])
    runners: dict[str, Callable[..., np.ndarray]] = {"lake": sweep.point_in_time, "fold": replayed}
    for name, runner in runners.items():
        aggregates = runner(whole, items, Rows(*asked, shelves))
        yield f"{name}: aggregates", len(rows), compare_arrays(aggregates, integers, AGGREGATES)
    served = world.served
    integers, floats = by_stranger(log, served)
    ours = np.stack([row["aggregates"] for row in served])
    yield "service: aggregates", len(served), compare_arrays(ours, integers, AGGREGATES)
    yield "service: features", len(served), compare_arrays(np.stack([r["features"] for r in served]), floats, FEATURES)
    columns = ("user_id", "item_id", "position", "as_of", "device", "said")
    table = pa.table({name: [row[name] for row in served] for name in columns if name != "device"})
    table = table.append_column("device", pa.nulls(len(served), pa.string()))
    table = table.append_column("log_shelf", pa.array([row["shelf"] for row in served], pa.string()))
    again = replay(world.store.export()[0], world.store.items_at, table)
    yield "replay: features", len(served), compare_arrays(again, floats, FEATURES)


def changing(folder: Path, rows: int, *, file_days: int = 5, live_days: int = 4) -> Iterator[tuple[str, int, Parity]]:
    """About `rows` imported impressions and as many served rows, over a world of file days and then live ones."""
    a_day = 2 * rows // (file_days + live_days)
    world = World(folder, users=max(8, rows // 60), items=max(20, rows // 100))
    for number in range(file_days):
        world.file_day(number, a_day)
    for number in range(file_days, file_days + live_days):
        world.live_day(number, a_day, rows // live_days)
    yield from legs(world)
    world.store.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=3_200, help="imported rows, and as many served")
    values = mismatches = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, rows, parity in changing(Path(folder) / "store", parser.parse_args().rows):
            values, mismatches = values + parity.values, mismatches + parity.mismatches + parity.missing + parity.extra
            print(f"{name}: {rows:,} rows, {parity}", flush=True)
    print(f"{mismatches:,} mismatches of {values:,} values")
    return int(mismatches > 0 or values == 0)


if __name__ == "__main__":
    sys.exit(main())
