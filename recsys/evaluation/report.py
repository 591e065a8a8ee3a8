"""The report: every model and heuristic on the same test impressions and the same retrieval queries, side by side."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from recsys.evaluation import metrics
from recsys.evaluation.beyond_accuracy import LIST_K, Catalogue, beyond_accuracy
from recsys.evaluation.bootstrap import LEVEL, Resamples, interval
from recsys.events import is_integer_id
from recsys.lake import replacing
from recsys.ranking.ranker import Predictions
from recsys.training_sets.examples import slates
from recsys.training_sets.labels import PROBABILITIES, probabilities
from recsys.training_sets.split import PARTS, Split

RANKING_K: Final = (5, 10)
RECALL_K: Final = (50, 100, 200)
RETRIEVAL_NDCG_K: Final = 50
CANDIDATES: Final = max(RECALL_K)
REGRET_K: Final = 5


@dataclass(frozen=True)
class Rows:
    """The test impressions as arrays, [n] each."""

    user: np.ndarray
    slate: np.ndarray
    labels: Mapping[str, np.ndarray]  # of those that have a probability
    watch_seconds: np.ndarray

    @staticmethod
    def of(frame: pl.DataFrame, labels: Collection[str] = PROBABILITIES) -> Rows:
        """`labels`: what is judged, those that the log has (`training_sets.labels`)."""
        return Rows(
            user=frame["user_key"].to_numpy(),
            slate=slates(frame),
            labels={label: frame[label].to_numpy().astype(np.float64) for label in probabilities(labels)},
            watch_seconds=frame["watch_ms"].to_numpy() / 1000.0,
        )


def ranking(rows: Rows, predictions: Predictions) -> dict[str, Any]:
    """Metrics of one model.

    `auc`, `log_loss` and `calibration_error` judge each label's probability. `gauc` and `ndcg@k` judge `score` by user
    (the public KuaiRand protocol: a group spans days). `gauc@slate` judges it among what one user saw at one moment,
    which is what a served slate is.
    """
    by_label = {"click": predictions.p_click, "long_view": predictions.p_long_view}
    figures: dict[str, Any] = {}
    for label, truth in rows.labels.items():
        p, score = by_label[label], predictions.score
        figures[label] = {
            "auc": metrics.auc(truth, p),
            # a watched positive counts as many seconds as it was watched, a negative the mean of those
            "auc_weighted_by_watch": metrics.auc(truth, p, _watch_weights(truth, rows.watch_seconds)),
            "gauc": metrics.gauc(rows.user, truth, score),
            "log_loss": metrics.log_loss(truth, p),
            **{f"ndcg@{k}": metrics.ndcg_at_k(rows.user, truth, score, k) for k in RANKING_K},
            "ndcg@5_users_with_positives": metrics.ndcg_at_k(rows.user, truth, score, 5, "skip"),
            "map@10": metrics.map_at_k(rows.user, truth, score, 10),
            "precision@5": metrics.precision_at_k(rows.user, truth, score, 5),
            "gauc@slate": metrics.gauc(rows.slate, truth, score),
            "slates_with_both": len(metrics.auc_by_group(rows.slate, truth, score).group),
            "calibration_error": metrics.calibration_error(truth, p),
            "mean_prediction": float(p.mean()),
            "mean_label": float(truth.mean()),
        }
    if np.isfinite(predictions.watch_seconds).all():  # else nobody learned of it
        figures["watch_seconds"] = {
            "xauc": metrics.xauc(rows.watch_seconds, predictions.watch_seconds),
            "mean_absolute_error": metrics.mean_absolute_error(rows.watch_seconds, predictions.watch_seconds),
            "mean_prediction": float(predictions.watch_seconds.mean()),
            "mean_observed": float(rows.watch_seconds.mean()),
        }
    return figures


def _watch_weights(truth: np.ndarray, watch_seconds: np.ndarray) -> np.ndarray:
    watched = watch_seconds[truth > 0]
    return np.where(truth > 0, watch_seconds, watched.mean() if len(watched) else 1.0)


def paired_intervals(
    rows: Rows, predictions: Mapping[str, Predictions], champion: str, claims: int = 1
) -> dict[str, Any]:
    """For every other model the interval of champion minus model, users resampled alike for both: of `claims` that
    hold together in 95 %.
    """
    drawn = Resamples.draw(rows.user)
    replicates = {name: _replicates(drawn, rows, predicted) for name, predicted in predictions.items()}
    best = replicates[champion]
    return {
        name: {metric: list(interval(best[metric] - values[metric], claims)) for metric in best}
        for name, values in replicates.items()
        if name != champion
    } | {champion: {metric: list(interval(values, claims)) for metric, values in best.items()}}


def _replicates(drawn: Resamples, rows: Rows, predicted: Predictions) -> dict[str, np.ndarray]:
    by_label = {"click": predicted.p_click, "long_view": predicted.p_long_view}
    replicates: dict[str, np.ndarray] = {}
    for label, truth in rows.labels.items():
        replicates |= {
            f"auc_{label}": drawn.auc(truth, by_label[label]),
            f"gauc_{label}": drawn.gauc(truth, predicted.score),
            f"ndcg@{RANKING_K[0]}_{label}": drawn.ndcg(truth, predicted.score, RANKING_K[0]),
            f"log_loss_{label}": drawn.log_loss(truth, by_label[label]),
        }
    return {**replicates, "watch_deviance": drawn.watch_deviance(rows.watch_seconds, predicted.watch_seconds)}


def levels(rows: Rows, predicted: Predictions, claims: int = 1) -> dict[str, list[float]]:
    """Whether predictions have the right level: calibration error and the like, each as [value, low, high].

    All `claims` intervals hold together in 95 % of cases.
    """
    drawn, figures = Resamples.draw(rows.user), {}
    for label, p in (("click", predicted.p_click), ("long_view", predicted.p_long_view)):
        if label in rows.labels:
            truth = rows.labels[label]
            error = metrics.calibration_error(truth, p)
            chance = np.quantile(drawn.chance_of_calibration(truth, p), 1 - (1 - LEVEL) / claims)
            figures[f"calibration_error_{label}"] = [error, float(max(error - chance, 0.0)), float(error + chance)]
    if rows.watch_seconds.any() and np.isfinite(predicted.watch_seconds).all():
        ratio = float(predicted.watch_seconds.sum() / rows.watch_seconds.sum())
        figures["watch_ratio"] = [ratio, *interval(drawn.ratio(predicted.watch_seconds, rows.watch_seconds), claims)]
    return figures


@dataclass(frozen=True)
class RetrievalTask:
    """Users of the test days who clicked or viewed long: asked at their first test impression for what was to come."""

    user_id: list[str]  # [q]
    user_key: np.ndarray  # int64[q]
    as_of: np.ndarray  # int64[q]
    impression_id: list[str]  # [q], the first impression itself
    position: np.ndarray  # int64[q], of that impression in the log
    shelf: list[str | None]  # [q], where it was shown
    target_query: np.ndarray  # int64[t], row of the query
    target_item: np.ndarray  # int64[t], item keys; distinct within a query


def retrieval_task(test: pl.DataFrame) -> RetrievalTask:
    """The task of these test impressions; users without any click or long view cannot be judged and stay out."""
    wanted = test.filter((pl.col("click") > 0) | (pl.col("long_view") > 0)).select("user_key", "item_key").unique()
    first = (
        test.sort("occurred_at", "position")
        .group_by("user_key", maintain_order=True)
        .first()
        .join(wanted.select("user_key").unique(), on="user_key", how="semi", maintain_order="left")
        .with_row_index("query")
    )
    targets = wanted.join(first.select("user_key", "query"), on="user_key").sort("query", "item_key")
    return RetrievalTask(
        user_id=first["user_id"].to_list(),
        user_key=first["user_key"].to_numpy(),
        as_of=first["occurred_at"].to_numpy(),
        impression_id=first["impression_id"].to_list(),
        position=first["position"].to_numpy(),
        shelf=first["shelf"].to_list() if "shelf" in first.columns else [None] * first.height,
        target_query=targets["query"].to_numpy().astype(np.int64),
        target_item=targets["item_key"].to_numpy(),
    )


def evaluate_retrieval(
    candidates: Mapping[str, np.ndarray], task: RetrievalTask, catalogue: Catalogue | None = None
) -> dict[str, dict[str, Any]]:
    """recall@k and ndcg@50 of every source with the interval of each recall; what lies beyond accuracy, too.

    Args:
        candidates: int64[q, CANDIDATES] item keys over the full catalogue, by source.
        catalogue: gives coverage, diversity, novelty and popularity bias of the first ten of each list.
    """
    targets = np.bincount(task.target_query, minlength=len(task.user_id))
    judged = np.flatnonzero(targets > 0)
    drawn = Resamples.draw(judged)
    figures: dict[str, dict[str, Any]] = {}
    for name, lists in candidates.items():
        hit = metrics.hits(lists, task.target_query, task.target_item)
        recalls = {k: hit[judged, :k].sum(axis=1) / targets[judged] for k in RECALL_K}
        figures[name] = {
            **{f"recall@{k}": metrics.recall_at_k(hit, targets, k) for k in RECALL_K},
            f"ndcg@{RETRIEVAL_NDCG_K}": metrics.retrieval_ndcg_at_k(hit, targets, RETRIEVAL_NDCG_K),
            "intervals": {f"recall@{k}": list(interval(drawn.mean(recalls[k]))) for k in RECALL_K},
            "catalogue_items_shown": float(len(np.unique(lists[lists != 0]))),
            **({f"{m}@{LIST_K}": v for m, v in beyond_accuracy(lists, catalogue).items()} if catalogue else {}),
        }
    return figures


class CandidatesError(ValueError):
    """Candidate lists do not answer the task's queries; the message says what to materialize."""


def aligned(proposed: pl.DataFrame, task: RetrievalTask, k: int = CANDIDATES) -> dict[str, np.ndarray]:
    """Candidate lists by source, int64[q, k], in the order of the task's queries; short lists are padded with 0.

    Args:
        proposed: columns source, user_key, as_of, item_keys (list of int64, best first).

    Raises:
        CandidatesError: when a source was not asked by some user of the task, or at another instant.
    """
    queries = pl.DataFrame({"user_key": task.user_key, "as_of": task.as_of})
    matrices = {}
    for (source,), lists in proposed.group_by("source", maintain_order=True):
        answers = queries.join(lists, on=["user_key", "as_of"], how="left", maintain_order="left")
        if answers.height != queries.height or answers["item_keys"].null_count():
            raise CandidatesError(
                f"{source} has candidates for {lists.height} requests, but not for the {queries.height} of this test "
                "set: materialize retrieval_candidates again"
            )
        matrix = np.zeros((queries.height, k), dtype=np.int64)
        for row, items in enumerate(answers["item_keys"].to_list()):
            matrix[row, : min(k, len(items))] = items[:k]
        matrices[str(source)] = matrix
    return matrices


def regret(rows: Rows, truth: np.ndarray, scores: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Against the simulator's oracle, within slates: scores [n] of every model, truth [n] true P(long view) in slot 0.

    `true_ndcg@5` has the true probability as gain; `regret@5` is the share of the attainable true long views among the
    first five that the order loses. The oracle has 1 and 0.
    """
    figures = {}
    for name, score in {"oracle": truth, **scores}.items():
        ndcg = metrics.ndcg_at_k(rows.slate, truth, score, REGRET_K, "skip")
        mine = metrics.precision_at_k(rows.slate, truth, score, REGRET_K, "skip")
        best = metrics.precision_at_k(rows.slate, truth, truth, REGRET_K, "skip")
        figures[name] = {f"true_ndcg@{REGRET_K}": ndcg, f"regret@{REGRET_K}": 1.0 - mine / best}
    return figures


def data_facts(source: str, split: Split, test: pl.DataFrame, rows_by_part: Mapping[str, int]) -> dict[str, Any]:
    """What the figures were measured on: source, days and impressions of each part, and what the metrics mean."""
    return {
        "source": source,
        "first_day": split.train[0],
        "last_day": split.test[-1],
        "split": {part: list(split.days(part)) for part in PARTS},
        "impressions": dict(rows_by_part),
        "test_users": test["user_key"].n_unique(),
        "test_items": test["item_key"].n_unique(),
        "conventions": {
            "gauc": "mean AUC within users weighted by impressions, over users with both classes, of `score`",
            "ndcg": "mean over users of `score`; a user without positives counts 0; ties in expectation",
            "gauc@slate": "as gauc, within the impressions of one user at one moment",
            "recall": "mean over users with a target; full catalogue, asked at the first test impression",
        },
    }


def predictions_table(test: pl.DataFrame, predictions: Mapping[str, Predictions]) -> pl.DataFrame:
    """One row per test impression and model. A column of ids is one of integers where all of them are, else of text."""
    keys = test.select(as_written(test["user_id"]), as_written(test["item_id"]), "occurred_at", "date")
    return pl.concat(
        [
            keys.select(
                pl.lit(name).alias("model"),
                "user_id",
                "item_id",
                "occurred_at",
                "date",
                pl.Series("p_click", predicted.p_click),
                pl.Series("p_long_view", predicted.p_long_view),
                pl.Series("score", predicted.score),
            )
            for name, predicted in predictions.items()
        ]
    )


def as_written(ids: pl.Series) -> pl.Series:
    """Ids as integers, where every one is an integer's text."""
    text = ids.cast(pl.String)
    return text.cast(pl.Int64) if all(map(is_integer_id, text.drop_nulls().unique())) else text


def write(folder: Path, evaluation: Mapping[str, Any], table: pl.DataFrame) -> None:
    """Replace evaluation.json and predictions.parquet. NaN is written as null."""
    with replacing(folder / "predictions.parquet") as temporary:
        table.write_parquet(temporary)
    with replacing(folder / "evaluation.json") as temporary:
        temporary.write_text(json.dumps(plain(evaluation), indent=1, allow_nan=False))


def plain(value: Any) -> Any:
    """The same as strict JSON can say it: numbers of Python, null for what is not finite."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value
