"""What the page shows of the whole: shelves, versions and the service's health, from the registry and the reports."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import polars as pl
from pydantic import BaseModel

from recsys.lake import Lake
from recsys.monitoring.versions import versions
from recsys.policy.shelves import FOR_GOOD, SHELVES, shelf_of
from recsys.registry import Registry
from recsys.serving.bundle import ServingBundle
from recsys.serving.inspect import Inspector
from recsys.serving.pipeline import Recommender

TABLES: Final = (
    ("raw", "events"),
    ("cleaned", "events"),
    ("cleaned", "impressions"),
    ("features", "impressions"),
)
FILES: Final = ("evaluation.json", "verdict.json", "online.parquet", "drift.html", "versions.html", "evaluation.html")
RANKED: Final = ("auc", "gauc", "log_loss", "ndcg@5", "ndcg@10")
PROPOSED: Final = ("recall@50", "recall@200", "ndcg@50")
DAY_SECONDS: Final = 86_400


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


class Evaluation(BaseModel):
    test: list[str]
    impressions: int
    labels: list[str]
    models: dict[str, list[Row]]  # label -> models and heuristics
    sources: list[Row]


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


class Trial(BaseModel):
    """An experiment that runs."""

    name: str
    bundle: str  # that it tries
    share: float  # of the users, now, in all its arms
    unseen: float  # share of the others for whom it ranks unseen


class Fresh(BaseModel):
    """A table or report, and as of when it is."""

    name: str
    newest_day: str | None
    written_at: int  # UTC ms


class RoomsResponse(BaseModel):
    bundle: str
    log_shelves: list[str]
    shelves: list[Shelf]
    evaluation: Evaluation | None
    verdict: list[Gate]  # of the newest judged bundle
    verdict_reasons: list[str]
    versions: list[Version]  # oldest first
    trials: list[Trial]
    position: int
    newest_event: int  # UTC ms; 0 without any
    refused: str | None
    breakers: dict[str, str]
    lost_served_rows: int
    late_items: int
    fresh: list[Fresh]
    reports: list[str]


def rooms_of(home: Path, recommender: Recommender, inspector: Inspector) -> RoomsResponse:
    """All of it, as the files are now; what was never made is left out."""
    lake = Lake(home)
    registry = Registry(lake.registry)
    state, bundle = recommender.state(), inspector.bundles.current
    now = time.time_ns() // 1_000_000
    verdict, report = _json(lake.reports / "verdict.json") or {}, _json(lake.reports / "evaluation.json") or {}
    seen = lake.reports / "online.parquet"
    bundles = versions(registry, pl.read_parquet(seen) if seen.exists() else None).to_dicts()
    return RoomsResponse(
        bundle=bundle.bundle_id,
        log_shelves=list(bundle.log_shelves),
        shelves=[_shelf(name, bundle, report.get("shelves", {}).get(name)) for name in SHELVES],
        evaluation=_evaluation(report or None),
        verdict=[Gate(**{name: gate[name] for name in Gate.model_fields}) for gate in verdict.get("gates", [])],
        verdict_reasons=verdict.get("reasons", []),
        versions=[_version(row) for row in bundles],
        newest_event=int(inspector.store.past().log.received_at.max(initial=0)),
        trials=[
            Trial(name=t.name, bundle=t.tried, share=t.share_on(t.day_of(now)), unseen=t.unseen)
            for t in registry.experiments.running()[0]
        ],
        **{name: state[name] for name in ("position", "refused", "breakers", "lost_served_rows", "late_items")},
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
    )


def _version(row: Mapping[str, Any]) -> Version:
    days = f"{row['first_day']} to {row['last_day']}" if row["first_day"] else None
    return Version(days=days, **{name: row[name] for name in Version.model_fields if name != "days"})


def _fresh(lake: Lake) -> list[Fresh]:
    ages = []
    for table in TABLES:
        days = lake.days(*table)
        if days:
            at = lake.day(days[-1], *table).stat().st_mtime
            ages.append(Fresh(name="/".join(table), newest_day=days[-1], written_at=int(at * 1000)))
    for name in FILES:
        path = lake.reports / name
        if path.exists():
            ages.append(Fresh(name=f"reports/{name}", newest_day=None, written_at=int(path.stat().st_mtime * 1000)))
    return ages


def _number(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value
