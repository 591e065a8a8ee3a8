"""Spark's workers train a ranker as good as this machine's, and it serves through the same code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.evaluation import metrics
from recsys.ranking import xgboost_ranker, xgboost_spark
from recsys.ranking.objectives import HEADS, SHARED
from recsys.ranking.saved import load_ranker
from recsys.settings import Settings
from recsys.training_sets.examples import concat
from recsys.training_sets.labels import LabelError
from recsys_assets import resources
from tests.ranking.rows import NAMES, rows, write
from tests.ranking.test_xgboost_ranker import confounded

pytestmark = [pytest.mark.spark, pytest.mark.slow]
PARAMS = {**SHARED, "subsample": 1.0, "colsample_bytree": 1.0}
TRAIN, VALIDATION, JUDGED = rows(6_000, 1), rows(2_000, 2), rows(4_000, 4)


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    session = resources.spark(Settings()).spark_session
    yield session
    session.stop()


def test_two_workers_train_the_ranker_of_one_machine(spark: Any, tmp_path: Path) -> None:
    """Nothing is drawn here, so only merged sketches, the order of sums and the round that stops a head (XGBoost takes
    the mean of the workers' AUC) may differ: predictions go together and the AUC agrees to .004.
    """
    for name, made in (("train", TRAIN), ("validation", VALIDATION)):
        write(made, tmp_path / f"{name}.parquet")
    files = tmp_path / "train.parquet", tmp_path / "validation.parquet"
    fitted, ranker = xgboost_spark.train(spark, *files, NAMES, "f", seed=7, workers=2, rounds=25, params=PARAMS)

    given = {"threads": 1, "seed": 7}
    alone = xgboost_ranker.train(TRAIN, VALIDATION, NAMES, "f", rounds=25, params=PARAMS, **given)
    local = xgboost_ranker.refit(alone, concat(TRAIN, VALIDATION), **given)
    expected = local.predict(JUDGED.inputs)
    ranker.save(tmp_path / "saved")
    predictions = load_ranker(tmp_path / "saved").predict(JUDGED.inputs)
    for name, values in ranker.predict(JUDGED.inputs).columns().items():
        assert predictions.columns()[name].tobytes() == values.tobytes(), name
        assert np.corrcoef(values, expected.columns()[name])[0, 1] > 0.98, name
    for label, ours, theirs in (
        (JUDGED.click, predictions.p_click, expected.p_click),
        (JUDGED.long_view, predictions.p_long_view, expected.p_long_view),
    ):
        assert metrics.auc(label, ours) == pytest.approx(metrics.auc(label, theirs), abs=0.004)
        errors = [metrics.calibration_error(label, told) for told in (ours, theirs)]
        assert errors[0] < errors[1] + 0.01
    assert metrics.gauc(JUDGED.slate, JUDGED.relevance > 0, predictions.score) > 0.75
    # of an even number of rows Spark takes the lower of the two in the middle: of slots, 1 and not 1.5
    np.testing.assert_allclose(ranker.medians[:4], local.medians[:4], atol=0.01)
    assert ranker.facts["refit_rows"] == 8_000
    for name in HEADS:
        assert ranker.boosters[name].num_boosted_rounds() == fitted.facts[name]["rounds"]


def test_rows_that_explored_count_by_their_weights_there_too(spark: Any, tmp_path: Path) -> None:
    train, validation = confounded(6_000, 21, 0.1, sound=True), rows(2_000, 22)
    for name, made in (("train", train), ("validation", validation)):
        write(made, tmp_path / f"{name}.parquet")
    files, given = (tmp_path / "train.parquet", tmp_path / "validation.parquet"), {"rounds": 25, "params": PARAMS}
    fitted, ranker = xgboost_spark.train(spark, *files, NAMES, "f", seed=7, workers=2, weighed=True, **given)
    assert fitted.facts["weighed"] is True
    for made, both in ((fitted, False), (ranker, True)):
        apart = {}
        for weighed in (True, False):
            local = xgboost_ranker.train(train, validation, NAMES, "f", threads=1, seed=7, weighed=weighed, **given)
            local = xgboost_ranker.refit(local, concat(train, validation), threads=1, seed=7) if both else local
            told = (one.predict(JUDGED.inputs).p_click for one in (made, local))
            apart[weighed] = float(np.abs(np.subtract(*told)).mean())
        assert apart[True] < 0.5 * apart[False], apart


def test_rows_without_a_click_are_one_clear_line(spark: Any, tmp_path: Path) -> None:
    silent = rows(400, 1)
    silent.click[:] = silent.long_view[:] = 0
    for name, made in (("train", rows(400, 2)), ("validation", silent)):
        write(made, tmp_path / f"{name}.parquet")
    with pytest.raises(LabelError, match="validation has 400 impressions, 0 with click, 0 with long_view"):
        xgboost_spark.train(spark, tmp_path / "train.parquet", tmp_path / "validation.parquet", NAMES, "f", seed=7)
