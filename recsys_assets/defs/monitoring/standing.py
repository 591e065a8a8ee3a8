"""What stands in the way of a promotion: findings that nobody has cleared yet, read from Dagster's own records.

A check that failed for a day stands until it passed for that day, in a later run or because a person accepted it (job
`accept_finding`, which leaves its note in the check's history). A day that was received and never cleaned stands too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

import dagster as dg
from dagster import AssetCheckKey, AssetKey

from recsys.lake import Lake
from recsys.sources import manifest
from recsys_assets.checks.nothing import has_failed

DRIFT: Final = AssetCheckKey(AssetKey("drift_report"), "features_and_predictions_are_stable")
# A ranker that reads histories predicts fewer clicks of people who pass more over: the same drift, seen twice.
PREDICTED: Final = AssetCheckKey(AssetKey("drift_report"), "mean_predicted_ctr_is_stable")
# Of these the newest evaluation counts: what a model learns from is whole, or it is not.
OF_THE_WHOLE: Final = tuple(
    AssetCheckKey(AssetKey(asset), name)
    for asset, name in (
        ("impression_features", "parity"),
        ("impression_features", "rows_accounted"),
        ("online_state", "replay"),
        ("drift_report", "features_are_complete"),
    )
)
# Of these every day counts, until it passes.
OF_A_DAY: Final = tuple(
    AssetCheckKey(AssetKey(asset), name)
    for asset, name in (
        ("raw_events", "every_source_row_is_accounted_for"),
        ("raw_events", "raw_events_meet_expectations"),
        ("cleaned_events", "cleaned_events_meet_expectations"),
        ("cleaned_events", "every_raw_event_is_accounted_for"),
        ("impressions", "impressions_meet_expectations"),
        ("impressions", "every_impression_event_has_its_row"),
        ("impression_features", "impression_features_meet_expectations"),
        ("feedback", "features_as_logged_are_features_as_recomputed"),
    )
)
LOOKED_BACK: Final = 60  # evaluations of a check
EXPLAINED_FOR: Final = timedelta(days=7)  # after a retrain for drift: as long as windows of a week hold both worlds


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be."""

    check: str  # asset: check
    day: str | None
    words: str

    def __str__(self) -> str:
        return f"{self.check}: {self.words}"


def standing(instance: dg.DagsterInstance, lake: Lake) -> list[Finding]:
    """Every finding that holds a promotion back, both drifts among them (see `drift_is_explained`)."""
    findings = [finding for key in OF_A_DAY for finding in _by_day(instance, key)]
    for key in (*OF_THE_WHOLE, PREDICTED, DRIFT):
        newest = next(iter(_evaluations(instance, key)), None)
        if newest is not None and not newest.passed:
            findings.append(Finding(name_of(key), newest.last, newest.words))
    return findings + [Finding("cleaned_events", day, words) for day, words in missing_days(lake).items()]


def missing_days(lake: Lake) -> dict[str, str]:
    """Days between the first and the last that were never taken in, or taken in and refused, with what to do.

    Of a home with a manifest only days that source or service have rows of: a sparse log has no others.
    """
    raw, cleaned = set(lake.days("raw", "events")), set(lake.days("cleaned", "events"))
    if not raw:
        return {}
    first, last = date.fromisoformat(min(raw)), date.fromisoformat(max(raw))
    days = [(first + timedelta(days=n)).isoformat() for n in range((last - first).days + 1)]
    known = manifest.read(lake.home)
    if known is not None:
        days = [day for day in days if day in known.days or day in raw]
    return {
        day: f"{day} {'was refused' if day in raw else 'is missing'}: correct the source and materialize it again"
        for day in days
        if day not in cleaned
    }


def drift_is_explained(day: str | None, lineage: Mapping[str, Any]) -> bool:
    """Whether a bundle was learned because of drift, from days that include this one or end at most a week before."""
    through = lineage.get("through")
    if lineage.get("cause") != "drift" or day is None or through is None:
        return False
    return date.fromisoformat(day) <= date.fromisoformat(through) + EXPLAINED_FOR


@dataclass(frozen=True)
class _Evaluation:
    passed: bool
    first: str | None  # days that it was about; None for all of them
    last: str | None
    words: str


def _by_day(instance: dg.DagsterInstance, key: AssetCheckKey) -> list[Finding]:
    """Days whose newest evaluation failed."""
    newer: list[_Evaluation] = []
    by_day = {}
    for evaluation in _evaluations(instance, key):
        if not evaluation.passed and not any(_covers(later, evaluation) for later in newer):
            by_day[evaluation.last] = Finding(name_of(key), evaluation.last, evaluation.words)
        newer.append(evaluation)
    return [by_day[day] for day in sorted(by_day, key=str)]


def _covers(later: _Evaluation, earlier: _Evaluation) -> bool:
    """Whether the later one speaks of every day of the earlier; a failure of it is a finding of its own."""
    if later.first is None or later.last is None:
        return True
    if earlier.first is None or earlier.last is None:
        return False
    return later.first <= earlier.first and earlier.last <= later.last


def _evaluations(instance: dg.DagsterInstance, key: AssetCheckKey) -> Sequence[_Evaluation]:
    """Newest first."""
    records = instance.event_log_storage.get_asset_check_execution_history(key, limit=LOOKED_BACK)
    evaluations = []
    for record in records:
        event = record.event.dagster_event if record.event else None
        evaluated = event is not None and event.event_type_value == "ASSET_CHECK_EVALUATION"
        evaluation = event.asset_check_evaluation_data if event is not None and evaluated else None
        run = instance.get_run_by_id(record.run_id) if record.run_id else None
        if evaluation is None:
            if run is not None and run.status == dg.DagsterRunStatus.FAILURE:  # it crashed, or was never reached
                evaluations.append(
                    _Evaluation(False, *_days(run), f"could not be evaluated, its run {run.run_id[:8]} failed")
                )
            continue
        day = evaluation.metadata.get("day")
        days = (str(day.value), str(day.value)) if day else _days(run) if run is not None else (None, None)
        evaluations.append(_Evaluation(not has_failed(evaluation), *days, evaluation.description or "failed"))
    return evaluations


def _days(run: dg.DagsterRun) -> tuple[str | None, str | None]:
    """First and last day that a run is about."""
    day = run.tags.get("dagster/partition")
    first, last = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
    return run.tags.get(first) or day, run.tags.get(last) or day


def name_of(key: AssetCheckKey) -> str:
    return f"{key.asset_key.to_user_string()}: {key.name}"
