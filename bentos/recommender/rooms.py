"""What the page shows of the whole: shelves, versions and the service's health, from the registry and the reports."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import polars as pl
from pydantic import BaseModel

from recsys.experiments.book import RUNNING
from recsys.experiments.record import ExperimentError
from recsys.features.catalog import FEATURES
from recsys.features.parity import completeness
from recsys.lake import Lake
from recsys.monitoring.versions import versions
from recsys.policy.shelves import FOR_GOOD, SHELVES, shelf_of
from recsys.registry import Registry, RegistryError
from recsys.serving import served_log
from recsys.serving.bundle import ServingBundle
from recsys.serving.inspect import Inspector
from recsys.serving.pipeline import Recommender
from recsys.settings import Settings

LATEST: Final = 200  # slates whose rungs are told
FURTHEST: Final = 10  # columns of the newest judged day, and features that know least
FILES: Final = ("evaluation.json", "verdict.json", "online.parquet", "drift.html", "versions.html", "evaluation.html")
RANKED: Final = ("auc", "gauc", "log_loss", "ndcg@5", "ndcg@10")
COLD: Final = ("users_by_events", "items_by_age", "new_categories")
PROPOSED: Final = ("recall@50", "recall@200", "ndcg@50")
DAY_SECONDS: Final = 86_400
_LOOK: Final = ("arm", "metric", "day", "relative", "low", "high")


class Row(BaseModel):
    """A model, heuristic or candidate source with its figures."""

    name: str
    figures: dict[str, float | None]
    intervals: dict[str, list[float]]  # of a model, of the champion less it: all that decide hold together in 95 %


class Judged(BaseModel):
    """A shelf on the test days of the last evaluation: champion and heuristics by its own notion of success."""

    rows: int  # requests that had a success to find
    metric: str  # that decides
    passed: bool
    reasons: list[str]
    orders: list[Row]


class Shelf(BaseModel):
    """A shelf, as the policy has it."""

    name: str
    item_types: list[str]
    caps: dict[str, float]  # largest share of a slate that one creator or category may take
    left_out: dict[str, float | None]  # what a person judged so stays away for so many days; null: for good
    in_log: bool  # whether the bundle's log has a shelf of that name
    unit: str  # what takes one place
    label: str  # what counts as success
    sources: dict[str, int]  # and the places that each is sure of
    order: str  # what orders it in the bundle
    judged: Judged | None


class Group(BaseModel):
    """People or items of one kind on the test days, and how well the candidates of each way to find them do."""

    name: str
    rows: int
    figures: dict[str, dict[str, float | None]]  # champion, popular, ... -> metric -> value


class Evaluation(BaseModel):
    test: list[str]
    impressions: int
    labels: list[str]
    models: dict[str, list[Row]]  # label -> models and heuristics
    sources: list[Row]
    users_by_events: list[Group]  # events that the person had before, at least
    items_by_age: list[Group]
    new_categories: list[Group]


class Gate(BaseModel):
    claim: str
    outcome: str
    reason: str


class Version(BaseModel):
    bundle: str
    registered_at: str
    kind: str | None
    aliases: str
    passed: bool | None
    gates: str | None
    reasons: str | None
    history: str
    days: str | None
    auc_click: float | None
    auc_long_view: float | None
    impressions: int
    clicks_an_impression: float | None
    promised: float | None


class Looked(BaseModel):
    """A metric of an arm against the control at the last look; the interval holds over all looks."""

    arm: str
    metric: str
    day: int
    users: int  # of both
    relative: float
    low: float
    high: float


class Trial(BaseModel):
    """An experiment, and what became of it."""

    name: str
    bundle: str  # that it tries
    state: str
    share: float  # of the users, now, in all its arms
    unseen: float  # share of the others for whom it ranks unseen
    metric: str
    day: int  # of it, from 1; of one that has ended, its last look
    days: int
    reasons: list[str]  # what it waits for, or why it ended
    looks: list[Looked]


class Drift(BaseModel):
    """The newest judged day: how far its columns are from those that the champion learned from."""

    day: str
    against: str
    moved: int
    columns: dict[str, float]  # the furthest: distance over its bound, so above 1 has moved


class Complete(BaseModel):
    """How much the features of the newest day know."""

    day: str
    unknown: dict[str, float]  # the features that know least -> share of rows of which nothing is known
    never: list[str]  # features of which nothing is known of any row: the source does not tell them


class Fresh(BaseModel):
    """A table or report, and as of when it is."""

    name: str
    newest_day: str | None
    written_at: int  # UTC ms


class RoomsResponse(BaseModel):
    bundle: str
    log_shelves: list[str]
    sandbox: bool  # whether events may be sent to sandbox users
    shelves: list[Shelf]
    evaluation: Evaluation | None
    verdict: list[Gate]  # of the newest judged bundle
    verdict_reasons: list[str]
    versions: list[Version]  # oldest first
    trials: list[Trial]  # those that run first
    position: int
    newest_event: int  # UTC ms; 0 without any
    refused: str | None
    breakers: dict[str, str]
    lost_served_rows: int
    late_items: int
    rungs: dict[str, int]  # of the last LATEST slates
    complete: Complete | None
    drift: Drift | None
    fresh: list[Fresh]
    reports: list[str]


def rooms_of(settings: Settings, recommender: Recommender, inspector: Inspector) -> RoomsResponse:
    """All of it, as the files are now; what was never made is left out."""
    lake = Lake(settings.home)
    registry = Registry(lake.registry)
    state, bundle = recommender.state(), inspector.bundles.current
    verdict, report = _json(lake.reports / "verdict.json") or {}, _json(lake.reports / "evaluation.json") or {}
    seen = lake.reports / "online.parquet"
    refused = [state["refused"]] if state["refused"] else []
    try:
        bundles = versions(registry, pl.read_parquet(seen) if seen.exists() else None).to_dicts()
    except RegistryError as error:  # one that cannot be read; the other rooms go on
        bundles = []
        refused.append(str(error))
    return RoomsResponse(
        bundle=bundle.bundle_id,
        log_shelves=list(bundle.log_shelves),
        sandbox=settings.sandbox,
        shelves=[_shelf(name, bundle, report.get("shelves", {}).get(name)) for name in SHELVES],
        evaluation=_evaluation(report or None),
        verdict=[Gate(**{name: gate[name] for name in Gate.model_fields}) for gate in verdict.get("gates", [])],
        verdict_reasons=verdict.get("reasons", []),
        versions=[_version(row) for row in bundles],
        newest_event=int(inspector.store.past().log.received_at.max(initial=0)),
        trials=_trials(registry, _json(lake.reports / "experiments.json") or {}),
        refused="; ".join(refused) or None,
        **{name: state[name] for name in ("position", "breakers", "lost_served_rows", "late_items")},
        rungs=Counter(slate["rung"] for slate in served_log.latest(lake.served_log, LATEST)),
        complete=_complete(lake),
        drift=_drift(lake),
        fresh=_fresh(lake),
        reports=[name for name in FILES if name.endswith(".html") and (lake.reports / name).exists()],
    )


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None


def _shelf(name: str, bundle: ServingBundle, told: Mapping[str, Any] | None) -> Shelf:
    shelf = shelf_of(name, bundle.come_back)
    return Shelf(
        name=name,
        item_types=list(shelf.item_types),
        caps=dict(shelf.caps),
        left_out={why: None if ms == FOR_GOOD else ms / 1000 / DAY_SECONDS for why, ms in shelf.left_out.items()},
        in_log=name in bundle.log_shelves,
        unit=shelf.unit,
        label=shelf.label,
        sources=dict(shelf.sources),
        order=bundle.order(name).name,
        judged=None if told is None else _judged(told),
    )


def _judged(told: Mapping[str, Any]) -> Judged:
    deciding, intervals = told["metric"], told["intervals"]
    orders = {"champion": told["champion"], **told["heuristics"]}
    return Judged(
        rows=told["rows"],
        metric=deciding,
        passed=told["gate"]["passed"],
        reasons=told["gate"]["reasons"],
        orders=[
            Row(
                name=order,
                figures={metric: _number(value) for metric, value in figures.items()},
                intervals={deciding: span}
                if None not in (span := intervals.get(order, {}).get(deciding, [None]))
                else {},
            )
            for order, figures in orders.items()
        ],
    )


def _evaluation(report: Mapping[str, Any] | None) -> Evaluation | None:
    if report is None:
        return None
    labels = [label for label in report["labels"] if label != "watch_ms"]
    intervals = report.get("intervals", {})
    return Evaluation(
        test=report["split"]["test"],
        impressions=report["impressions"]["test"],
        labels=labels,
        models={
            label: [
                Row(
                    name=name,
                    figures={metric: _number(figures[label].get(metric)) for metric in RANKED},
                    intervals={
                        metric: intervals[name][f"{metric}_{label}"]
                        for metric in RANKED
                        if f"{metric}_{label}" in intervals.get(name, {})
                    },
                )
                for name, figures in report["ranking"].items()
            ]
            for label in labels
        },
        sources=[
            Row(
                name=name,
                figures={metric: _number(figures.get(metric)) for metric in PROPOSED},
                intervals={
                    metric: figures["intervals"][metric] for metric in PROPOSED if metric in figures["intervals"]
                },
            )
            for name, figures in report["retrieval"].items()
        ],
        **{name: _groups(report.get("cold_start", {}).get(name, {})) for name in COLD},
    )


def _groups(told: Mapping[str, Any]) -> list[Group]:
    return [
        Group(
            name=name,
            rows=figures.get("rows", figures.get("targets", 0)),
            figures={
                who: {metric: _number(value) for metric, value in found.items()}
                for who, found in figures.items()
                if isinstance(found, Mapping) and who != "intervals"
            },
        )
        for name, figures in told.items()
    ]


def _version(row: Mapping[str, Any]) -> Version:
    days = f"{row['first_day']} to {row['last_day']}" if row["first_day"] else None
    return Version(days=days, **{name: row[name] for name in Version.model_fields if name != "days"})


def _trials(registry: Registry, told: Mapping[str, Any]) -> list[Trial]:
    """Those that run, then those that have ended, the newest first; `make experiment` says which cannot be read."""
    now, trials = time.time_ns() // 1_000_000, []
    known = [entry for entry in registry.experiments.entries() if not isinstance(entry, ExperimentError)]
    for entry in sorted(known, key=lambda entry: (entry.state != RUNNING, -(entry.decided_at or 0))):
        of, runs = entry.experiment, entry.state == RUNNING
        report = told.get("experiments", {}).get(of.name, {}) if runs else entry.report or {}
        newest = {(look["arm"], look["metric"]): look for look in report.get("looks", [])}
        looks = [
            Looked(users=look["users"] + look["users_control"], **{name: look[name] for name in _LOOK})
            for look in newest.values()
        ]
        last = max((look.day for look in looks), default=0)
        trials.append(
            Trial(
                name=of.name,
                bundle=of.tried,
                state=entry.state,
                share=of.share_on(of.day_of(now)) if runs else 0.0,
                unseen=of.unseen if runs else 0.0,
                metric=of.metric,
                day=min(of.days, max(0, of.day_of(now)) + 1) if runs else last,
                days=of.days,
                reasons=report.get("reasons", ["no look yet"]) if runs else list(entry.reasons),
                looks=looks,
            )
        )
    return trials


def _complete(lake: Lake) -> Complete | None:
    days = lake.days("features", "impressions")
    if not days:
        return None
    shares = completeness(lake.read(lake.day(days[-1], "features", "impressions"), list(FEATURES)))
    least = sorted(((name, share) for name, share in shares.items() if share < 1), key=lambda pair: -pair[1])
    never = [name for name, share in shares.items() if share == 1]
    return Complete(day=days[-1], unknown=dict(least[:FURTHEST]), never=never)


def _drift(lake: Lake) -> Drift | None:
    from recsys.monitoring.drift_summary import TABLE  # its scipy.stats would be .3 s of a worker's start

    days = lake.days(*TABLE)
    if not days:
        return None
    told = pl.read_parquet(lake.day(days[-1], *TABLE)).sort("excess", descending=True)
    return Drift(
        day=days[-1],
        against=told["against"][0],
        moved=int((told["excess"] > 1).sum()),
        columns=dict(told.head(FURTHEST).select("column", "excess").iter_rows()),
    )


def _fresh(lake: Lake) -> list[Fresh]:
    """Every table of the lake, by its newest day where it has days, every model and every report."""
    ages = []
    for path in sorted(lake.home.glob("lake/*/*")):
        name = path.relative_to(lake.home / "lake").with_suffix("")
        days = lake.days(*name.parts) if path.is_dir() else []
        newest = lake.day(days[-1], *name.parts) if days else path
        if newest.is_file() and newest.suffix == ".parquet":
            ages.append((name.as_posix(), days[-1] if days else None, newest))
    ages += [(f"models/{path.stem}", None, path) for path in sorted(lake.models.glob("*")) if path.stem[0] != "."]
    ages += [(f"reports/{name}", None, lake.reports / name) for name in FILES if (lake.reports / name).exists()]
    return [Fresh(name=name, newest_day=day, written_at=_written(path)) for name, day, path in ages]


def _written(path: Path) -> int:
    """UTC ms of the newest file."""
    files = [file.stat().st_mtime for file in path.rglob("*")] if path.is_dir() else []
    return int(max(files, default=path.stat().st_mtime) * 1000)


def _number(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value
