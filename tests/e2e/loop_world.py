"""A platform that lives by a simulated clock: users who ask and react, nightly deliveries, Dagster's runs and ticks.

Nothing is a stand-in but the clock: the assets, checks, jobs and sensors are the project's own, run in this process by
what the daemon would call; slates come from the recommender that the service runs, and events go to its store.
"""

from __future__ import annotations

import dataclasses
import heapq
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl

from recsys.events import CLOCK_SKEW_MS, DAY_MS, HOUR_MS, KINDS, MINUTE_MS
from recsys.experiments.record import Experiment
from recsys.lake import Lake
from recsys.ranking.saved import REFRESHED
from recsys.registry import Registry
from recsys.serving.course import Course
from recsys.serving.opening import open_recommender
from recsys.serving.pipeline import Recommender
from recsys.serving.schema import Context, EventsRequest, RecommendRequest
from recsys.settings import Settings, from_environment
from recsys.sources.simulator import DEVICES, Simulator
from recsys.sources.source import day_name
from recsys.sources.world import BEGIN_MS, FIRST_DAY
from recsys_assets.checks.nothing import has_failed
from recsys_assets.definitions import defs
from recsys_assets.partitions import days
from recsys_assets.stock import take_stock

FIRST, LAST = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
EVENT_FIELDS = (
    "event_id", "kind", "user_id", "item_id", "occurred_at", "request_id", "impression_id", "shelf", "device", "slot",
    "watch_ms", "consent",
)  # fmt: skip


@dataclass
class Served:
    """What a day's slates were worth: means of the true P(click), which no log shows."""

    true_ctr: float
    values: list[float]  # of each slate
    by_bundle: dict[str, float]  # the mean of each bundle that answered
    slates: list[tuple[str, int, tuple[str, ...]]]  # user, instant, items


@dataclass
class Platform:
    """Days are numbered from 1 after `history` days of the log alone."""

    home: Path
    simulator: Simulator
    history: int
    requests: int  # a day
    instance: dg.DagsterInstance
    definitions: dg.Definitions
    now: int = 0
    cursors: dict[str, str | None] = field(default_factory=dict)
    run_keys: set[str] = field(default_factory=set)
    runs: list[tuple[int, str, bool, str]] = field(default_factory=list)  # day, job, success, cause
    skipped: dict[str, str] = field(default_factory=dict)  # sensor -> why it did nothing at its last tick
    failures: list[str] = field(default_factory=list)  # of the last run
    seconds: dict[str, float] = field(default_factory=dict)  # of its steps

    @property
    def settings(self) -> Settings:
        return from_environment()

    @property
    def lake(self) -> Lake:
        return Lake(self.home)

    @property
    def registry(self) -> Registry:
        return Registry(self.lake.registry)

    def name(self, day: int) -> str:
        """Calendar day of a numbered day; 0 is the last of the history."""
        return day_name(FIRST_DAY + self.history + day - 1)

    def begins(self, day: int) -> int:
        return BEGIN_MS + (self.history + day - 1) * DAY_MS

    # -- the source ----------------------------------------------------------------------------------------------------

    def deliver(self, day: int) -> None:
        """Put a file of the simulator's log of a day into the folder of deliveries."""
        folder = self.home.parent / "deliveries"
        (folder / "events").mkdir(parents=True, exist_ok=True)
        if not (folder / "items.parquet").exists():
            pl.DataFrame(self.simulator.items()).drop("id_is_integer").write_parquet(folder / "items.parquet")
        events = pl.DataFrame(self.simulator.read_day(self.name(day)).events).drop("position", "event_key")
        events.write_parquet(folder / "events" / f"{self.name(day)}.parquet")

    def withdraw(self, day: int) -> None:
        """Take the file of a day away again."""
        (self.home.parent / "deliveries" / "events" / f"{self.name(day)}.parquet").unlink()

    # -- the day -------------------------------------------------------------------------------------------------------

    def visits(self, day: int) -> list[tuple[int, int]]:
        """Who asks for a feed on a day, and when: rows of the world's users and instants, in their order."""
        rng, world, begin = np.random.default_rng([11, 1000 + day]), self.simulator.world, self.begins(day)
        there = np.flatnonzero((world.user_registered_at < begin) & world.user_consents)
        users = rng.choice(there, self.requests, p=world.user_activity[there] / world.user_activity[there].sum())
        instants = np.sort(begin + rng.integers(6 * HOUR_MS, 23 * HOUR_MS, self.requests))
        return list(zip(users.tolist(), instants.tolist(), strict=True))

    def serve(self, day: int) -> Served:
        """A day of requests and reactions through the recommender of the champion, among the traffic of other surfaces.

        What happens there (the simulator's log of the day, without what no API would take) is told to the service as it
        comes in; a log that lives takes no files of the same day, or what was served could not be replayed.
        """
        self.now = self.begins(day)
        recommender = open_recommender(self.settings, follow=False, clock=lambda: self.now)
        truth = self.simulator.truth
        pending: list[tuple[int, int, dict[str, Any]]] = [
            (event["received_at"], n - 1_000_000, event) for n, event in enumerate(self._elsewhere(day))
        ]
        heapq.heapify(pending)
        slates, values, bundles = [], [], []
        try:
            for n, (user, at) in enumerate(self.visits(day)):
                self._tell(recommender, pending, at)
                self.now = at
                name = self.simulator.world.user_names[user]
                # ids of our own: a replay of the day that explores draws alike
                answer = recommender.recommend(self._request(user, at), Course(f"day{day}-{n}"))
                assert answer.rung == "full", answer.rung
                items = [str(item.item_id) for item in answer.items]
                bundles.append(answer.bundle)
                outcomes = truth.outcome([name] * len(items), items, at, np.arange(len(items)))
                values.append(float(outcomes.click.mean()))
                slates.append((name, at, tuple(items)))
                for event in self.simulator.feedback(name, items, at, n, answer.request_id):
                    heapq.heappush(pending, (event["occurred_at"], len(pending), event))
            self._tell(recommender, pending, self.begins(day + 1) - 1)
        finally:
            recommender.close()
        told = pl.DataFrame({"bundle": bundles, "value": values}).group_by("bundle").agg(pl.col("value").mean())
        return Served(float(np.mean(values)), values, dict(told.iter_rows()), slates)

    def experiment(self, day: int, name: str, treatment: str) -> None:
        """Try a bundle on half of the users, against the champion, on a day and the one after it.

        Its days end 90 minutes before midnight: the last of a day's requests come later, so its looks are that evening.
        """
        arms = {"control": str(self.registry.alias_id()), "treatment": treatment}
        begins, halves = self.begins(day) - 90 * MINUTE_MS, dict.fromkeys(arms, 0.5)
        self.registry.run_experiment(Experiment(name, arms, halves, begins, 2, ((0, 1.0),)), now=begins)

    def _elsewhere(self, day: int) -> list[dict[str, Any]]:
        events = pl.DataFrame(self.simulator.read_day(self.name(day)).events)
        sound = (
            pl.col("user_id").is_not_null()
            & pl.col("item_id").is_not_null()
            & pl.col("kind").is_in(list(KINDS))
            & (pl.col("watch_ms").fill_null(0) >= 0)
            & pl.col("consent")
            & (pl.col("occurred_at") <= pl.col("received_at") + CLOCK_SKEW_MS)
            & (pl.col("occurred_at") > pl.col("received_at") - 2 * DAY_MS)
        )
        return events.filter(sound).to_dicts()

    def what_if(self, bundle_id: str, served: Served) -> float:
        """True P(click) of the slates that another bundle would have shown to the same users at the same instants."""
        registry = self.registry
        shown = registry.get(bundle_id)
        recommender = open_recommender(self.settings, follow=False, clock=lambda: self.now)
        from recsys.serving import bundle as loading
        from recsys.serving.bundles import Fixed
        from recsys.serving.served_log import ServedLog

        other = Recommender(
            recommender._store,
            Fixed(loading.load(shown, None, recommender._store.fingerprint, registry)),
            ServedLog(self.home / "what_if"),
        )
        values, truth = [], self.simulator.truth
        try:
            for name, at, _ in served.slates:
                answer = other.recommend(self._request(truth.user_index[name], at))
                items = [str(item.item_id) for item in answer.items]
                outcomes = truth.outcome([name] * len(items), items, at, np.arange(len(items)))
                values.append(float(outcomes.click.mean()))
        finally:
            recommender.close()
        return float(np.mean(values))

    def _request(self, user: int, at: int) -> RecommendRequest:
        world = self.simulator.world
        context = Context(device=str(DEVICES[world.user_device[user]]), at=at)
        return RecommendRequest(user_id=world.user_names[user], k=10, context=context)

    def _tell(self, recommender: Recommender, pending: list[tuple[int, int, dict[str, Any]]], until: int) -> None:
        """Send what has happened by then, an hour after the other; a store keeps the order in which it is told."""
        while pending and pending[0][0] <= until:
            hour = min(until, (pending[0][0] // HOUR_MS + 1) * HOUR_MS - 1)
            due = []
            while pending and pending[0][0] <= hour:
                due.append(heapq.heappop(pending)[2])
            self._send(recommender, due, hour)

    def _send(self, recommender: Recommender, due: list[dict[str, Any]], at: int) -> None:
        self.now = at
        events = [{name: event[name] for name in EVENT_FIELDS if event[name] is not None} for event in due]
        for start in range(0, len(events), 1000):
            told = recommender.record_events(EventsRequest(events=events[start : start + 1000]))
            assert not told.rejected, told.rejected[:3]

    # -- Dagster -------------------------------------------------------------------------------------------------------

    def run(self, day: int, job: str, tags: Mapping[str, str] = {}, config: Mapping[str, Any] = {}) -> bool:
        """One run of a job, as the daemon would launch it."""
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        done = self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance, tags=dict(tags), run_config={**config, **quiet}, raise_on_error=False
        )
        self.runs.append((day, job, done.success, tags.get("recsys/cause", "")))
        self.seconds = {
            event.step_key or "": event.step_success_data.duration_ms / 1000
            for event in done.all_events
            if event.event_type_value == "STEP_SUCCESS"
        }
        self.failures = [
            f"{event.step_key}: {_first_cause(event.step_failure_data.error)}"
            for event in done.all_events
            if event.event_type_value == "STEP_FAILURE"
        ]
        return done.success

    def offer(self) -> None:
        """What a schedule's tick does first: take stock of the days that there are."""
        take_stock(self.settings)
        days.cache_clear()
        self.definitions = defs()

    def night(self, day: int) -> bool:
        """The nightly run after a day: that day and the one before, on offer since the schedule's tick took stock."""
        self.offer()
        return self.run(day, "observe", {FIRST: self.name(day - 1), LAST: self.name(day)})

    def tick(self, day: int, *names: str) -> None:
        """Let sensors look once, and run what they ask for; a run key is run once, as the daemon holds it."""
        repository = self.definitions.get_repository_def()
        for name in names:
            sensor = repository.get_sensor_def(name)
            context = dg.build_sensor_context(
                self.instance, cursor=self.cursors.get(name), repository_def=repository, sensor_name=name
            )
            ticked = sensor.evaluate_tick(context)
            self.skipped[name] = ticked.skip_message or ""
            if ticked.cursor is not None:
                self.cursors[name] = ticked.cursor
            for request in ticked.run_requests or []:
                if request.run_key not in self.run_keys:
                    self.run_keys.add(str(request.run_key))
                    job = request.job_name or sensor.job_name
                    self.run(day, job, dict(request.tags), dict(request.run_config or {}))

    def retrains(self) -> list[tuple[int, bool]]:
        return [(day, success) for day, job, success, _ in self.runs if job == "learn_ranker"]

    def failed_checks(self) -> dict[str, str]:
        """Newest evaluation of each check that does not pass: its words."""
        keys = list(self.definitions.get_repository_def().asset_graph.asset_check_keys)
        newest = self.instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
        failed = {}
        for key, record in newest.items():
            event = record.event.dagster_event if record.event else None
            if event is not None and event.event_type_value == "ASSET_CHECK_EVALUATION":
                evaluation = event.asset_check_evaluation_data
                if has_failed(evaluation):
                    failed[f"{key.asset_key.to_user_string()}: {key.name}"] = evaluation.description or ""
        return failed


def _first_cause(error: Any) -> str:
    while error is not None and error.cause is not None:
        error = error.cause
    return "" if error is None else str(error.message).strip().splitlines()[0]


def contrary(platform: Platform) -> str:
    """A bundle like the champion whose ranker prefers what it should not: registered, and forced to be champion."""
    registry = platform.registry
    champion = registry.champion()
    assert champion is not None
    folder = platform.home.parent / "contrary"
    shutil.copytree(champion.path, folder, ignore=shutil.ignore_patterns("manifest.json", REFRESHED))
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    _turn_around(folder / "ranker")
    bad = registry.register(folder, champion.facts, lineage={"cause": "forced"})
    registry.promote(bad.bundle_id, reason="forced by hand")
    return bad.bundle_id


def _turn_around(folder: Path) -> None:
    """The trees of a ranker (of a blend without its network) alone, every leaf with the other sign."""
    import xgboost as xgb

    from recsys.ranking.xgboost_ranker import XGBoostRanker

    trees = folder / XGBoostRanker.name
    ranker = XGBoostRanker.load(trees if trees.exists() else folder)
    boosters = {}
    for head, booster in ranker.boosters.items():
        model = json.loads(booster.save_raw("json"))
        for tree in model["learner"]["gradient_booster"]["model"]["trees"]:
            leaf = np.asarray(tree["left_children"]) == -1
            values = np.asarray(tree["split_conditions"], np.float64)
            tree["split_conditions"] = np.where(leaf, -values, values).tolist()
            tree["base_weights"] = (-np.asarray(tree["base_weights"], np.float64)).tolist()
        boosters[head] = xgb.Booster({"nthread": 1}, model_file=bytearray(json.dumps(model).encode()))
    shutil.rmtree(folder)
    dataclasses.replace(ranker, boosters=boosters).save(folder)
