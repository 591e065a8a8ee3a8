"""Drift: how often a stationary day alarms, and which injected shifts are caught on their first day.

`python -m benchmarks.drift [worlds days first_seed]`: every world is a simulator that stands still (tastes do not turn,
the catalogue is large beside what is new), whose days go through features, a trained ranker and
`recsys.monitoring.day.look`, the code of the asset `drift_report`. The reference is renewed every seventh day, as the
weekly retrain does. Which columns are watched and how was chosen on the worlds of seeds 1 to 48; what is claimed is
measured on those after them, the default.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

from recsys.cleaned.keyed import CLEANED_EVENT_SCHEMA, keyed_events, keyed_items
from recsys.cleaned.log import COLUMNS
from recsys.events import DAY_MS, KINDS
from recsys.features.catalog import DEFAULTS, FEATURES, FINGERPRINT
from recsys.features.impressions import IMPRESSION_COLUMNS, impression_features
from recsys.features.log import from_table, items_from_table
from recsys.monitoring import deliveries
from recsys.monitoring.day import MEASURED, look, predicted
from recsys.monitoring.drift import FALSE_ALARMS
from recsys.monitoring.reference import Reference, reference
from recsys.ranking import xgboost_ranker
from recsys.ranking.ranker import Ranker
from recsys.sources.simulator import Simulator
from recsys.sources.source import day_name
from recsys.sources.world import BEGIN_MS, FIRST_DAY
from recsys.training_sets.assemble import LABELS
from recsys.training_sets.examples import examples
from recsys.training_sets.inputs import matrix

USERS = 600
LEARNED = 14  # days of a reference
BURN_IN = 14  # days before the first reference: windows of a week have filled, rates of a lifetime have settled
RENEWED = 7
CHECKS = ("drift", "mean predicted CTR", "completeness", "delivery", "bytes as recomputed")


@dataclass
class Past:
    """Cleaned events of a world, and its impressions with labels and features."""

    simulator: Simulator
    events: pl.DataFrame

    def events_of(self, day: int) -> pl.DataFrame:
        """Events that arrived on a day, 0 is the first."""
        return self.events.filter((pl.col("received_at") - BEGIN_MS) // DAY_MS == day)

    def rows(self, days: range, change: Callable[[pl.DataFrame], pl.DataFrame] | None = None) -> pl.DataFrame:
        """Impressions of those days (0 is the first) with labels, features; `change` alters the last day's events."""
        day = (pl.col("occurred_at") - BEGIN_MS) // DAY_MS
        events = self.events.filter(day < days.stop)
        if change is not None:
            last = day == days.stop - 1
            events = pl.concat([events.filter(~last), change(events.filter(last))]).sort("position")
        items = keyed_items(self.simulator.items())
        keyed = keyed_events(events.to_arrow(), items_from_table(items), CLEANED_EVENT_SCHEMA)
        log = from_table(keyed.select(COLUMNS))
        table = pl.DataFrame(keyed)
        shown = table.filter(pl.col("kind") == "impression", day.is_in(list(days))).with_columns(
            impression_id="event_id"
        )
        for label in ("click", "long_view"):
            outcomes = table.filter(pl.col("kind") == label)["impression_id"].unique()
            shown = shown.with_columns(pl.col("event_id").is_in(outcomes.implode()).cast(pl.Int8).alias(label))
        played = table.filter(pl.col("kind") == "play").group_by("impression_id").agg(pl.col("watch_ms").sum())
        shown = shown.drop("watch_ms").join(played, on="impression_id", how="left", maintain_order="left")
        features = impression_features(log, items_from_table(items), shown.select(IMPRESSION_COLUMNS).to_arrow())
        return shown.select(
            "impression_id",
            "user_key",
            "item_key",
            "date",
            "occurred_at",
            "request_id",
            "click",
            "long_view",
            pl.col("watch_ms").fill_null(0),
        ).join(pl.DataFrame(features).drop("position", "as_of"), on="impression_id", maintain_order="left")


def lived(seed: int, days: int, **world: object) -> Past:
    """A world that stands still, cleaned as dbt would."""
    simulator = Simulator(days=days, users=USERS, seed=seed, restlessness=0.0, catalogue=20_000, new_items=40, **world)
    raw = pl.concat([pl.DataFrame(simulator.read_day(day_name(FIRST_DAY + day)).events) for day in range(days)])
    sound = (
        pl.col("user_id").is_not_null()
        & pl.col("item_id").is_not_null()
        & pl.col("kind").is_in(list(KINDS))
        & pl.col("occurred_at").is_between(BEGIN_MS, pl.col("received_at") + 300_000)
        & (pl.col("watch_ms").fill_null(0) >= 0)
        & pl.col("consent")
    )
    events = (
        raw.filter(sound)
        .unique("event_id", keep="first", maintain_order=True)
        .sort("received_at", "event_id")
        .with_columns(
            occurred_at=pl.min_horizontal("occurred_at", "received_at"),
            position=pl.int_range(1, pl.len() + 1, dtype=pl.Int64),
            session_id=pl.lit(""),
        )
    )
    return Past(simulator, events)


def learn(rows: pl.DataFrame) -> Ranker:
    """A ranker of the first reference: its last three days stop and calibrate it."""
    days = rows["date"].unique().sort().to_list()
    late = pl.col("date").is_in(days[-3:])
    parts = (examples(rows.filter(part), FEATURES) for part in (~late, late))
    return xgboost_ranker.train(*parts, FEATURES, FINGERPRINT, threads=1, seed=7)


@dataclass
class Delivered:
    """What the checks on raw events look at, by day."""

    rows: list[int]
    arrived: list[deliveries.Arrivals]
    share: list[float]

    @staticmethod
    def of(events: pl.DataFrame, days: range) -> Delivered:
        delivered = Delivered([], [], [])
        by_day = events.with_columns(day=(pl.col("received_at") - BEGIN_MS) // DAY_MS)
        for number in days:
            day = by_day.filter(pl.col("day") == number)
            delivered.rows.append(day.height)
            when, who = day["received_at"].to_numpy(), day["user_id"].rank("dense").cast(pl.Int64).to_numpy()
            delivered.arrived.append(deliveries.Arrivals.of(when, who, BEGIN_MS + number * DAY_MS))
            delivered.share.append(day["user_id"].value_counts()["count"].max() / day.height)
        return delivered

    def before(self, n: int) -> Delivered:
        return Delivered(self.rows[:n], self.arrived[:n], self.share[:n])

    def strange(self, today: pl.DataFrame, number: int) -> bool:
        """Whether a check on the delivery of a day alarms; these are the days before it."""
        new = Delivered.of(today, range(number, number + 1))
        anomalies = (
            deliveries.volume(new.rows[0], self.rows),
            deliveries.freshness(new.arrived[0], self.arrived),
            deliveries.dominance(new.share[0], self.share),
        )
        return not all(anomaly.holds for anomaly in anomalies)


def alarms(learned: Reference, rows: pl.DataFrame, ranker: Ranker) -> list[bool]:
    judged = look(learned, rows, ranker)
    return [not judged.holds, not judged.ctr.holds, not judged.complete.holds]


def other_bytes(rows: pl.DataFrame, recomputed: pl.DataFrame) -> bool:
    """What the check `features_as_logged_are_features_as_recomputed` asks of what was served."""
    return matrix(rows, FEATURES).tobytes() != matrix(recomputed, FEATURES).tobytes()


# -- shifts: what is done to the events of one day --------------------------------------------------------------------


def some(events: pl.DataFrame, share: float, by: str = "event_id") -> pl.Expr:
    return pl.col(by).hash(11) % 1000 < int(1000 * share)


def newcomers(events: pl.DataFrame) -> pl.DataFrame:
    fresh = pl.format("new-{}", pl.col("request_id"))
    return events.with_columns(
        user_id=pl.when(some(events, 0.25, "request_id")).then(fresh).otherwise(pl.col("user_id"))
    )


def bot(events: pl.DataFrame) -> pl.DataFrame:
    return events.with_columns(
        user_id=pl.when(some(events, 0.15, "request_id")).then(pl.lit("bot")).otherwise(pl.col("user_id"))
    )


EVENT_SHIFTS: dict[str, Callable[[pl.DataFrame], pl.DataFrame]] = {
    "watch time in seconds, not ms": lambda e: e.with_columns(pl.col("watch_ms") // 1000),
    "30 % of clicks and long views lost": lambda e: e.filter(
        ~(pl.col("kind").is_in(["click", "long_view"]) & some(e, 0.3))
    ),
    "iOS lost": lambda e: e.filter(pl.col("device") != "ios"),
    "a third of the feed logged as podcasts": lambda e: e.with_columns(
        shelf=pl.when((pl.col("shelf") == "feed") & some(e, 0.33, "request_id"))
        .then(pl.lit("podcasts"))
        .otherwise(pl.col("shelf"))
    ),
    "a quarter of the slates by newcomers": newcomers,
    "one bot sees 15 % of the slates": bot,
    "evening lost (after 18:00)": lambda e: e.filter(pl.from_epoch("occurred_at", time_unit="ms").dt.hour() < 18),
}


def lost_features(rows: pl.DataFrame, share: float) -> pl.DataFrame:
    """A share of the rows reads the user's features as if nobody knew the user."""
    hit = some(rows, share, "impression_id")
    names = [name for name in FEATURES if name.startswith("user_")]
    return rows.with_columns(
        pl.when(hit).then(pl.lit(DEFAULTS[n], pl.Float32)).otherwise(pl.col(n)).alias(n) for n in names
    )


def swapped_items(rows: pl.DataFrame) -> pl.DataFrame:
    """The item's features are those of another row's item."""
    names = [name for name in FEATURES if name.startswith("item_") and not name.startswith("item_shelf")]
    order = np.random.default_rng(3).permutation(rows.height)
    return rows.with_columns(rows[name].gather(order.tolist()).alias(name) for name in names)


TURN = "tastes turn at once"
ROW_SHIFTS: dict[str, Callable[[pl.DataFrame], pl.DataFrame]] = {
    "10 % of the rows without the user's features": lambda rows: lost_features(rows, 0.10),
    "item features of another item (5 days old)": swapped_items,
}


def main() -> int:
    given = [int(word) for word in sys.argv[1:4]]
    worlds, days, first = (*given, *(12, 84, 49)[len(given) :])
    began = time.time()
    false, judged = np.zeros(len(CHECKS), int), 0
    caught: dict[str, list[list[bool]]] = {}
    for seed in range(first, first + worlds):
        past = lived(seed, BURN_IN + LEARNED + days)
        rows = past.rows(range(BURN_IN, BURN_IN + LEARNED + days))
        every = [day_name(FIRST_DAY + BURN_IN + n) for n in range(LEARNED + days)]
        ranker = learn(rows.filter(pl.col("date").is_in(every[:LEARNED])))
        scored = predicted(rows, ranker)
        delivered = Delivered.of(past.events, range(BURN_IN + LEARNED + days))
        for start in range(LEARNED, len(every), RENEWED):
            learned = reference(scored.filter(pl.col("date").is_in(every[start - LEARNED : start])), watched_columns())
            for n, day in enumerate(every[start : start + RENEWED], BURN_IN + start):
                strange = delivered.before(n).strange(past.events_of(n), n)
                false += [*alarms(learned, rows.filter(pl.col("date") == day), ranker), strange, False]
                judged += 1
            if start == LEARNED:
                number = BURN_IN + LEARNED
                today = pl.col("date") == every[LEARNED]
                whole, events = rows.filter(today), past.events_of(number)
                turned = lived(seed, number + 1, turns_on=number + 1)
                shifted: dict[str, tuple[pl.DataFrame, pl.DataFrame]] = {
                    **{
                        name: (past.rows(range(number, number + 1), change).filter(today), change(events))
                        for name, change in EVENT_SHIFTS.items()
                    },
                    **{name: (alter(whole), events) for name, alter in ROW_SHIFTS.items()},
                    TURN: (turned.rows(range(number, number + 1)).filter(today), turned.events_of(number)),
                }
                for name, (of_day, arrived) in shifted.items():
                    strange = delivered.before(number).strange(arrived, number)
                    other = name in ROW_SHIFTS and other_bytes(of_day, whole)
                    caught.setdefault(name, []).append([*alarms(learned, of_day, ranker), strange, other])
        print(f"world {seed}: {judged} days, false alarms {false.tolist()}, {time.time() - began:.0f} s", flush=True)
    seeds = f"seeds {first} to {first + worlds - 1}"
    print(f"\n{judged} stationary days, {USERS} users, {seeds}; stated rate {FALSE_ALARMS:.1%} (drift)\n")
    print("| | " + " | ".join(CHECKS) + " | any |\n| --- |" + " --- |" * (len(CHECKS) + 1))
    print("| false alarms | " + " | ".join(f"{n} ({n / judged:.2%})" for n in false) + " | |")
    for name, raised in caught.items():
        hits = np.array(raised)
        cells = " | ".join(f"{n} of {len(hits)}" for n in (*hits.sum(axis=0), hits.any(axis=1).sum()))
        print(f"| {name} | {cells} |")
    return 0


def watched_columns() -> list[str]:
    return [*LABELS, *FEATURES, *MEASURED]


if __name__ == "__main__":
    sys.exit(main())
