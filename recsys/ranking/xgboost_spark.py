"""The same trees learned by Spark's workers, for rows beyond one machine: same heads, parameters and recipe.

Spark only brings the rows to XGBoost's distributed training; what comes back is an `XGBoostRanker`. Its trees are those
of one machine but for the rows that `subsample` draws (each worker draws its own) and the quantile sketches that the
workers merge. Spark is imported only when a session is handed in.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import xgboost as xgb

from recsys.ranking import calibration
from recsys.ranking.objectives import HEADS, PATIENCE, ROUNDS, SHARED, Head, monotone
from recsys.ranking.xgboost_ranker import XGBoostRanker
from recsys.training_sets.assemble import LABELS
from recsys.training_sets.examples import moment, with_outcomes, worth_learning
from recsys.training_sets.inputs import Inputs, matrix
from recsys.training_sets.labels import LabelError, aim, labels_of
from recsys.training_sets.on_disk import KNOWN

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

MEDIAN_ACCURACY: Final = 10_000  # a median is off by at most 1/10,000 of the rows
WEIGHT: Final = "weight_of_row"
Batches = Iterator[pa.RecordBatch]


def train(
    spark: SparkSession,
    train_file: Path,
    validation_file: Path,
    feature_names: Sequence[str],
    fingerprint: str,
    *,
    seed: int,
    workers: int | None = None,
    rounds: int = ROUNDS,
    params: Mapping[str, Any] = SHARED,
    weighed: bool = False,
) -> tuple[XGBoostRanker, XGBoostRanker]:
    """The ranker fitted on train (stopped and calibrated on validation), and the one then fitted to both.

    Args:
        train_file, validation_file: of the training set, where the executors see them; they import this package.
        workers: Spark tasks that train together; None: as many as the session runs at once.
        weighed: rows that explored count by their inverse propensity, as in `xgboost_ranker.train`.

    Raises:
        LabelError: when there is nothing to learn, or no order.
    """
    workers = workers or spark.sparkContext.defaultParallelism
    files = {"train": train_file, "validation": validation_file}
    labels = labels_of(*(pl.read_parquet(path, columns=list(LABELS)) for path in files.values()))
    heads = [name for name, head in HEADS.items() if head.label is None or head.label in labels]
    parts = [
        _prepared(spark, path, feature_names, is_validation)
        for path, is_validation in ((train_file, False), (validation_file, True))
    ]
    rows = parts[0].unionByName(parts[1]).persist()
    try:
        counts = {f"{part}_rows": pq.read_metadata(path).num_rows for part, path in files.items()}
        fit = partial(
            _fit, feature_names=tuple(feature_names), params=params, seed=seed, workers=workers, weighed=weighed
        )
        boosters, facts = _boosters(rows, partial(fit, stops=True), dict.fromkeys(heads, rounds), feature_names)
        chosen = XGBoostRanker(
            feature_names=tuple(feature_names),
            fingerprint=fingerprint,
            boosters=boosters,
            calibrations={},
            medians=_medians(rows.where("not is_validation"), feature_names),
            facts={**counts, "params": dict(params), "weighed": weighed, "workers": workers, **facts},
        )
        chosen = replace(chosen, calibrations=_calibrations(rows.where("is_validation"), chosen))
        if not worth_learning(counts["validation_rows"], counts["train_rows"]):
            return chosen, replace(chosen, facts={**chosen.facts, "refit_rows": counts["train_rows"]})
        best = {name: int(facts[name]["rounds"]) for name in heads}
        together, _ = _boosters(rows, partial(fit, stops=False), best, feature_names)
        return chosen, replace(
            chosen,
            boosters=together,
            medians=_medians(rows, feature_names),
            facts={**chosen.facts, "refit_rows": counts["train_rows"] + counts["validation_rows"]},
        )
    finally:
        rows.unpersist()


def _prepared(spark: SparkSession, path: Path, names: Sequence[str], is_validation: bool) -> DataFrame:
    """Features, the target of each head, a row's weight, and the two groups that it is ordered in."""
    from pyspark.sql import functions as f

    schema = ", ".join([f"`{n}` float" for n in names] + [f"target_{h} double" for h in HEADS])
    made = (
        spark.read.parquet(str(path))
        .select(*KNOWN, *(n for n in names if n not in KNOWN))
        .mapInArrow(partial(_targets, tuple(names)), f"{schema}, {WEIGHT} double, by_user string, by_slate string")
    )
    return made.withColumn("is_validation", f.lit(is_validation))


def _targets(names: tuple[str, ...], batches: Batches) -> Batches:
    for batch in batches:
        frame = pl.DataFrame(batch)
        rows = with_outcomes(Inputs.of_strangers(matrix(frame, names)), frame)
        columns = {name: rows.features[:, i] for i, name in enumerate(names)}
        columns |= {f"target_{name}": head.target(rows).astype(np.float64) for name, head in HEADS.items()}
        columns[WEIGHT] = rows.weights
        keys = frame.select(
            by_user=pl.col("user_key").cast(pl.String),
            by_slate=pl.concat_str(pl.col("user_key").cast(pl.String), moment(), separator=" "),
        )
        table = pa.table(columns | {name: keys[name].to_arrow() for name in keys.columns})
        fields = [
            field.with_type(pa.string()) if pa.types.is_large_string(field.type) else field for field in table.schema
        ]
        yield from table.cast(pa.schema(fields)).to_batches()


def _boosters(
    rows: DataFrame, fit: Callable[..., xgb.Booster], rounds: Mapping[str, int], names: Sequence[str]
) -> tuple[dict[str, xgb.Booster], dict[str, Any]]:
    boosters: dict[str, xgb.Booster] = {}
    facts: dict[str, Any] = {}
    for name in rounds:
        head = HEADS[name]
        learned = _grouped(rows, name, boosters[aim(boosters)], names) if head.is_grouped else rows
        booster = fit(learned, name, head, rounds[name])
        facts[name] = {"rounds": booster.num_boosted_rounds()}
        if booster.attr("best_score") is not None:
            facts[name][head.metric] = float(booster.attr("best_score") or "nan")
        boosters[name] = booster
    return boosters, facts


def _fit(
    rows: DataFrame,
    name: str,
    head: Head,
    rounds: int,
    *,
    feature_names: tuple[str, ...],
    params: Mapping[str, Any],
    seed: int,
    workers: int,
    weighed: bool,
    stops: bool,
) -> xgb.Booster:
    from pyspark.sql import functions as f
    from xgboost.spark import SparkXGBClassifier, SparkXGBRanker, SparkXGBRegressor

    kind = SparkXGBRanker if head.is_grouped else SparkXGBClassifier if head.is_calibrated else SparkXGBRegressor
    given: dict[str, Any] = {**params, **head.params, "monotone_constraints": monotone(feature_names, name)}
    if head.is_grouped:
        given |= {"qid_col": "group", "base_margin_col": "start"}
    if not head.is_calibrated:
        given["objective"] = head.objective  # the classifier's is binary:logistic, and it lets nobody say so
    elif weighed:
        given["weight_col"] = WEIGHT
        if stops:  # what stops a head and calibrates it counts as it is
            rows = rows.withColumn(WEIGHT, f.when(f.col("is_validation"), 1.0).otherwise(f.col(WEIGHT)))
    if stops:
        given |= {"validation_indicator_col": "is_validation", "early_stopping_rounds": PATIENCE}
    logging.getLogger("XGBoost-PySpark").setLevel(logging.WARNING)
    estimator = kind(
        features_col=list(feature_names),
        label_col=f"target_{name}",
        eval_metric=head.metric,
        verbose_eval=False,
        n_estimators=rounds,
        random_state=seed,
        num_workers=workers,
        force_repartition=True,  # else a worker may meet rows of one part only, and wait for ever
        **given,
    )
    trained = estimator.fit(rows).get_booster()
    best = trained.attr("best_iteration")
    kept = trained[: int(best) + 1] if stops and best is not None else trained
    booster = xgb.Booster({"nthread": 1}, model_file=bytearray(kept.save_raw("ubj")))
    booster.feature_names = booster.feature_types = None  # columns are known by place, as everywhere
    return booster


def _grouped(rows: DataFrame, name: str, start: xgb.Booster, names: Sequence[str]) -> DataFrame:
    """Rows by user and again by slate, with the margin that the order head starts from; groups of one grade
    stay out.
    """
    from pyspark.sql import functions as f

    target = f"target_{name}"
    kept = [*names, target, "is_validation"]
    both = None
    for place, column in enumerate(("by_user", "by_slate")):
        key = f.concat_ws(" ", f.lit(place), f.col("is_validation").cast("string"), f.col(column)).alias("key")
        one = rows.select(*kept, key)
        both = one if both is None else both.unionByName(one)
    assert both is not None
    mixed = both.groupBy("key").agg(f.min(target).alias("low"), f.max(target).alias("high")).where("low < high")
    # numbered in the order of a hash: each worker gets a range of groups, and needs some of either part
    numbered = mixed.select("key").orderBy(f.xxhash64("key")).rdd.zipWithIndex()
    groups = numbered.map(lambda pair: (pair[0]["key"], pair[1])).toDF("key string, group long")
    if groups.isEmpty():
        raise LabelError("no user has two impressions with different outcomes: there is no order to learn")
    schema = ", ".join([f"`{n}` float" for n in names] + [f"{target} double", "is_validation boolean", "group long"])
    joined = both.join(groups, "key").select(*kept, "group")
    return joined.mapInArrow(partial(_started, bytes(start.save_raw("ubj")), tuple(names)), f"{schema}, start float")


def _started(booster: bytes, names: tuple[str, ...], batches: Batches) -> Batches:
    loaded = xgb.Booster({"nthread": 1}, model_file=bytearray(booster))
    for batch in batches:
        margins = loaded.inplace_predict(matrix(pl.DataFrame(batch), names), predict_type="margin")
        yield batch.append_column("start", pa.array(margins, pa.float32()))


def _calibrations(rows: DataFrame, ranker: XGBoostRanker) -> dict[str, calibration.Calibration]:
    """Of the probability heads; two numbers a validation row come to the driver."""
    calibrations = {}
    for name in ranker.boosters:
        head = HEADS[name]
        if head.is_calibrated:
            raw = bytes(ranker.boosters[name].save_raw("ubj"))
            judge = rows.select(*ranker.feature_names, f"target_{name}")
            schema = ", ".join([*(f"`{n}` float" for n in ranker.feature_names), f"target_{name} double, start float"])
            table = judge.mapInArrow(partial(_started, raw, ranker.feature_names), schema).select(
                "start", f"target_{name}"
            )
            margin, target = (column.to_numpy() for column in table.toArrow().columns)
            calibrations[name] = calibration.fit(margin.astype(np.float64), target.astype(np.int8))
    return calibrations


def _medians(rows: DataFrame, names: Sequence[str]) -> np.ndarray:
    from pyspark.sql import functions as f

    known = (f.nanvl(f.col(f"`{name}`"), f.lit(None).cast("float")) for name in names)
    medians = rows.agg(
        *(f.percentile_approx(column, 0.5, MEDIAN_ACCURACY).alias(f"m{i}") for i, column in enumerate(known))
    )
    return np.array([np.nan if value is None else value for value in medians.collect()[0]], np.float32)
