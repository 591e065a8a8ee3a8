"""The whole comparison: models and heuristics scored on the same rows, judged, and written down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from recsys.evaluation import cohorts, gates, plots, report, slices
from recsys.evaluation.beyond_accuracy import Catalogue
from recsys.evaluation.gates import CHAMPION
from recsys.evaluation.heuristics import RETRIEVERS, Queries
from recsys.evaluation.position import position_curve
from recsys.evaluation.report import Rows
from recsys.features.catalog import FEATURES
from recsys.features.log import EventLog, Items
from recsys.ranking.blend import predict_all
from recsys.ranking.heuristics import CONTROLS, RULES, HeuristicRanker
from recsys.ranking.ranker import Predictions, Ranker
from recsys.training_sets.examples import examples, is_sampled
from recsys.training_sets.inputs import Inputs
from recsys.training_sets.labels import Label, labels_of, probabilities
from recsys.training_sets.split import PARTS, Split

PREVIOUS: Final = "previous_champion"


@dataclass(frozen=True)
class Subject:
    """What is compared, and on what."""

    parts: Mapping[str, pl.DataFrame]  # training-set tables by part
    challenger: Ranker
    previous: Ranker | None  # of the registry; None before the first promotion or when it knows other features
    previous_learned_until: int = field(kw_only=True, default=0)  # UTC ms of the last row that it learned from
    candidates: Mapping[str, np.ndarray]  # by source: int64[q, report.CANDIDATES] item keys of the retrieval task
    source: str
    truth: np.ndarray | None = None  # true P(long view) of the test rows in slot 0, where the source knows it
    others: Mapping[str, Ranker] = field(default_factory=dict)  # models that were not chosen, by name
    catalogue: Catalogue | None = None
    categories: Mapping[int, str] = field(default_factory=dict)  # names by category_key
    served: Mapping[str, Any] | None = None  # `served.judge` of the slates that the service would have given
    curve: Mapping[str, float] | None = None  # `position_curve` of the challenger, where somebody asked it already


@dataclass(frozen=True)
class Comparison:
    """The report, the rows behind it, and the verdict on the challenger."""

    evaluation: dict[str, Any]
    predictions: pl.DataFrame
    verdict: gates.Verdict
    heuristics: Mapping[str, HeuristicRanker]  # as they were judged: the first champion may be one of them
    test: pl.DataFrame  # the rows that were judged


def compare(subject: Subject) -> Comparison:
    """Score every model and heuristic on the test rows, and judge the challenger.

    The one that stands after the verdict is called `champion` everywhere: the one that passed, or the previous one.
    Rows that the previous champion learned from are left out, for all alike; where hardly any other is there, nothing
    is compared with it.
    """
    test, validation = subject.parts["test"], subject.parts["validation"]
    labels = labels_of(subject.parts["train"], validation)
    test, truth, learned = _unlearned(subject, probabilities(labels))
    rows = Rows.of(test, labels)
    predicted = _predicted(subject, test)
    known = tuple(name for name in FEATURES if name in validation.columns)
    calibrated_on, asked = examples(validation, known), Inputs.of(test, known)
    ruled = {
        name: HeuristicRanker.fit(name, calibrated_on, known, subject.challenger.fingerprint, labels)
        for name in (*RULES, *CONTROLS)
    }
    predicted |= {name: ruled[name].predict(asked) for name in RULES}
    parts = {**subject.parts, "test": test}
    days = {part: tuple(parts[part]["date"].unique().sort().to_list()) for part in PARTS}
    split = Split(days["train"], days["validation"], days["test"])
    evaluation: dict[str, Any] = {
        **report.data_facts(subject.source, split, test, {part: parts[part].height for part in PARTS}),
        "labels": list(labels),
        "sampled": "sampling_rate" in test.columns and is_sampled(test),
        "challenger": subject.challenger.name,
        "previous": PREVIOUS if subject.previous is not None else None,
        "heuristics": list(RULES),
        "ranking": {name: report.ranking(rows, predictions) for name, predictions in predicted.items()},
        "controls": {name: report.ranking(rows, ruled[name].predict(asked)) for name in CONTROLS},
        "intervals": report.paired_intervals(rows, predicted, subject.challenger.name, gates.COMPARISONS),
        "comparisons": gates.COMPARISONS,
        "levels": report.levels(rows, predicted[subject.challenger.name], gates.COMPARISONS),
        "retrieval": report.evaluate_retrieval(
            subject.candidates, report.retrieval_task(subject.parts["test"]), subject.catalogue
        ),
    }
    previous = evaluation["previous"]
    beside = previous
    if learned is not None:
        evaluation["learned_by_previous"] = learned
        if not learned["left_out"]:
            beside = None
            evaluation["intervals"][PREVIOUS] = {name: [None, None] for name in evaluation["intervals"][PREVIOUS]}
    evaluation["slices"] = slices.judged(test, predicted, subject.challenger.name, beside, probabilities(labels))
    scores = {name: predictions.score for name, predictions in predicted.items()}
    models = [subject.challenger.name, *([previous] if previous else [])]
    evaluation["exposure"] = slices.exposure(test, rows.slate, scores, models, gates.COMPARISONS)
    masks = {**cohorts.windows(test), **cohorts.cohorts(test, subject.categories)}
    models += list(subject.others)
    evaluation["cohorts"] = {name: cohorts.by_cohort(masks, rows.user, rows.labels, predicted[name]) for name in models}
    curve = subject.curve
    evaluation["position_curve"] = position_curve(subject.challenger, test) if curve is None else dict(curve)
    if hasattr(subject.challenger, "importances"):
        evaluation["importances"] = dict(subject.challenger.importances())
    if truth is not None:
        evaluation["regret"] = report.regret(rows, truth, _served_scores(subject, test, predicted))
    if subject.served is not None:
        evaluation["served"] = dict(subject.served)
    verdict = gates.decide(evaluation)
    names = {verdict.challenger if verdict.passed else PREVIOUS: CHAMPION}
    evaluation = _renamed(evaluation, names)
    named = {names.get(name, name): predictions for name, predictions in predicted.items()}
    evaluation["champion_is"] = {new: old for old, new in names.items() if old in predicted}.get(CHAMPION)
    table = report.predictions_table(test, named)
    return Comparison(evaluation, table, verdict, {name: ruled[name] for name in RULES}, test)


def _unlearned(
    subject: Subject, labels: Sequence[Label]
) -> tuple[pl.DataFrame, np.ndarray | None, dict[str, Any] | None]:
    """The test rows that the previous champion did not learn from, their truth, and what became of the others."""
    test, truth = subject.parts["test"], subject.truth
    known = test["occurred_at"].to_numpy() <= subject.previous_learned_until
    if subject.previous is None or not known.any():
        return test, truth, None
    fresh = test.filter(pl.Series(~known))
    told = {"rows": int(known.sum()), "of": test.height, "left_out": slices.large_enough(fresh, labels)}
    if not told["left_out"]:
        return test, truth, told
    return fresh, None if truth is None else truth[~known], told


def write(folder: Path, comparison: Comparison) -> None:
    """evaluation.json, predictions.parquet and the plots."""
    report.write(folder, comparison.evaluation, comparison.predictions)
    plots.ranking_bars(comparison.evaluation["ranking"], folder / "ranking.svg")
    if comparison.evaluation.get("importances"):
        plots.importances(comparison.evaluation["importances"], folder / "importances.svg")
    if comparison.evaluation.get("position_curve"):
        plots.position_curve(comparison.evaluation["position_curve"], folder / "position_curve.svg")
    plots.cohort_bars(comparison.evaluation["cohorts"], folder / "cohorts.svg")
    best = comparison.evaluation["challenger"]
    mine = comparison.predictions.filter(pl.col("model") == best)
    predicted = {"click": mine["p_click"].to_numpy(), "long_view": mine["p_long_view"].to_numpy()}
    labels = Rows.of(comparison.test, comparison.evaluation["labels"]).labels
    plots.calibration(labels, predicted, folder / "calibration.svg")


def retrieve_with_heuristics(
    log: EventLog, items: Items, task: report.RetrievalTask, come_back: bool, k: int = report.CANDIDATES
) -> dict[str, np.ndarray]:
    """Candidates of every retrieval heuristic for the task's queries, int64[q, k] item keys each."""
    queries = Queries(task.user_key, task.as_of, task.shelf, come_back)
    return {name: retrieve(log, items, queries, k) for name, retrieve in RETRIEVERS.items()}


def _predicted(subject: Subject, rows: pl.DataFrame) -> dict[str, Predictions]:
    """What the challenger, the previous champion and the models that were not chosen say of these rows."""
    asked = {
        subject.challenger.name: subject.challenger,
        **({} if subject.previous is None else {PREVIOUS: subject.previous}),
        **subject.others,
    }
    told: dict[str, Predictions] = {}
    for names in {ranker.feature_names for ranker in asked.values()}:
        alike = {name: ranker for name, ranker in asked.items() if ranker.feature_names == names}
        told |= predict_all(alike, Inputs.of(rows, names))
    return {name: told[name] for name in asked}


def _served_scores(subject: Subject, test: pl.DataFrame, predicted: Mapping[str, Predictions]) -> dict[str, np.ndarray]:
    """Scores as the service would give them: every candidate in slot 0."""
    scores = {name: predictions.score for name, predictions in predicted.items()}
    if "slot" in test.columns:
        test = test.with_columns(slot=pl.lit(0.0, pl.Float32))
    return scores | {name: told.score for name, told in _predicted(subject, test).items()}


def _renamed(evaluation: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The report with models called by their new names, as keys and as values."""
    renamed = dict(evaluation)
    for table in ("ranking", "intervals", "regret", "exposure", "cohorts"):
        if table in renamed:
            renamed[table] = {names.get(name, name): value for name, value in renamed[table].items()}
    for role in ("challenger", "previous"):
        renamed[role] = names.get(renamed[role], renamed[role])
    renamed["heuristics"] = [names.get(name, name) for name in renamed["heuristics"]]
    return renamed
