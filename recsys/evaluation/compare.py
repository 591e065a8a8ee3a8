"""The whole comparison: models and heuristics scored on the same rows, judged, and written down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from recsys.evaluation import cohorts, gates, plots, report, slices
from recsys.evaluation.beyond_accuracy import Catalogue
from recsys.evaluation.heuristics import CONTROLS, RETRIEVERS, SIGNALS, Heuristic, Queries
from recsys.evaluation.position import position_curve
from recsys.evaluation.report import IdType, Rows
from recsys.features.log import EventLog, Items
from recsys.ranking.ranker import Predictions, Ranker
from recsys.training_sets.inputs import Inputs
from recsys.training_sets.split import PARTS, Split

CHAMPION: Final = "champion"
PREVIOUS: Final = "previous_champion"


@dataclass(frozen=True)
class Subject:
    """What is compared, and on what."""

    parts: Mapping[str, pl.DataFrame]  # training-set tables by part
    challenger: Ranker
    previous: Ranker | None  # of the registry; None before the first promotion or when it knows other features
    candidates: Mapping[str, np.ndarray]  # by source: int64[q, report.CANDIDATES] item keys of the retrieval task
    source: str
    id_type: IdType
    truth: np.ndarray | None = None  # true P(long view) of the test rows in slot 0, where the source knows it
    others: Mapping[str, Ranker] = field(default_factory=dict)  # models that were not chosen, by name
    catalogue: Catalogue | None = None
    categories: Mapping[int, str] = field(default_factory=dict)  # names by category_key


@dataclass(frozen=True)
class Comparison:
    """The report, the rows behind it, and the verdict on the challenger."""

    evaluation: dict[str, Any]
    predictions: pl.DataFrame
    verdict: gates.Verdict


def compare(subject: Subject) -> Comparison:
    """Score every model and heuristic on the test rows, and judge the challenger.

    The one that stands after the verdict is called `champion` everywhere: the challenger when it passed, else the
    previous champion when there is one.
    """
    test, validation = subject.parts["test"], subject.parts["validation"]
    rows = Rows.of(test)
    predicted: dict[str, Predictions] = {subject.challenger.name: _predict(subject.challenger, test)}
    if subject.previous is not None:
        predicted[PREVIOUS] = _predict(subject.previous, test)
    predicted |= {name: _predict(other, test) for name, other in subject.others.items()}
    predicted |= {name: Heuristic.fit(name, validation).score(test) for name in SIGNALS}
    days = {part: tuple(subject.parts[part]["date"].unique().sort().to_list()) for part in PARTS}
    split = Split(days["train"], days["validation"], days["test"])
    evaluation: dict[str, Any] = {
        **report.data_facts(subject.source, split, test, {part: subject.parts[part].height for part in PARTS}),
        "challenger": subject.challenger.name,
        "previous": PREVIOUS if subject.previous is not None else None,
        "heuristics": list(SIGNALS),
        "ranking": {name: report.ranking(rows, found) for name, found in predicted.items()},
        "controls": {name: report.ranking(rows, Heuristic.fit(name, validation).score(test)) for name in CONTROLS},
        "intervals": report.paired_intervals(rows, predicted, subject.challenger.name),
        "retrieval": report.evaluate_retrieval(subject.candidates, report.retrieval_task(test), subject.catalogue),
    }
    previous = evaluation["previous"]
    evaluation["slices"] = slices.judged(test, predicted, subject.challenger.name, previous)
    scores = {name: found.score for name, found in predicted.items()}
    models = [subject.challenger.name, *([previous] if previous else [])]
    evaluation["exposure"] = slices.exposure(test, rows.slate, scores, models)
    masks = {**cohorts.windows(test), **cohorts.cohorts(test, subject.categories)}
    models += list(subject.others)
    evaluation["cohorts"] = {name: cohorts.by_cohort(masks, rows.user, rows.labels, predicted[name]) for name in models}
    evaluation["position_curve"] = position_curve(subject.challenger, test)
    if hasattr(subject.challenger, "importances"):
        evaluation["importances"] = dict(subject.challenger.importances())
    if subject.truth is not None:
        evaluation["regret"] = report.regret(rows, subject.truth, _served_scores(subject, predicted))
    verdict = gates.decide(evaluation)
    names = {subject.challenger.name: CHAMPION} if verdict.passed else {PREVIOUS: CHAMPION}
    evaluation = _renamed(evaluation, names)
    named = {names.get(name, name): found for name, found in predicted.items()}
    evaluation["champion_is"] = {new: old for old, new in names.items() if old in predicted}.get(CHAMPION)
    return Comparison(evaluation, report.predictions_table(test, named, subject.id_type), verdict)


def write(folder: Path, comparison: Comparison, test: pl.DataFrame) -> None:
    """evaluation.json, predictions.parquet and the plots."""
    report.write(folder, comparison.evaluation, comparison.predictions)
    plots.ranking_bars(comparison.evaluation["ranking"], folder / "ranking.svg")
    if comparison.evaluation.get("importances"):
        plots.importances(comparison.evaluation["importances"], folder / "importances.svg")
    if comparison.evaluation["position_curve"]:
        plots.position_curve(comparison.evaluation["position_curve"], folder / "position_curve.svg")
    plots.cohort_bars(comparison.evaluation["cohorts"], folder / "cohorts.svg")
    best = comparison.evaluation["challenger"]
    mine = comparison.predictions.filter(pl.col("model") == best)
    probabilities = {"click": mine["p_click"].to_numpy(), "long_view": mine["p_long_view"].to_numpy()}
    plots.calibration(Rows.of(test).labels, probabilities, folder / "calibration.svg")


def retrieve_with_heuristics(
    log: EventLog, items: Items, task: report.RetrievalTask, k: int = report.CANDIDATES
) -> dict[str, np.ndarray]:
    """Candidates of every retrieval heuristic for the task's queries, int64[q, k] item keys each."""
    queries = Queries(task.user_key, task.as_of)
    return {name: retrieve(log, items, queries, k) for name, retrieve in RETRIEVERS.items()}


def _predict(ranker: Ranker, rows: pl.DataFrame) -> Predictions:
    return ranker.predict(Inputs.of(rows, ranker.feature_names))


def _served_scores(subject: Subject, predicted: Mapping[str, Predictions]) -> dict[str, np.ndarray]:
    """Scores as the service would give them: every candidate in slot 0."""
    scores = {name: found.score for name, found in predicted.items()}
    test = subject.parts["test"]
    if "slot" in test.columns:
        test = test.with_columns(slot=pl.lit(0.0, pl.Float32))
    scores[subject.challenger.name] = _predict(subject.challenger, test).score
    scores |= {name: _predict(other, test).score for name, other in subject.others.items()}
    if subject.previous is not None:
        scores[PREVIOUS] = _predict(subject.previous, test).score
    return scores


def _renamed(evaluation: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The report with models called by their new names, as keys and as values."""
    renamed = dict(evaluation)
    for table in ("ranking", "intervals", "regret", "exposure", "cohorts"):
        if table in renamed:
            renamed[table] = {names.get(name, name): value for name, value in renamed[table].items()}
    for role in ("challenger", "previous"):
        renamed[role] = names.get(renamed[role], renamed[role])
    return renamed
