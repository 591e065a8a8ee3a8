"""Rows on disk train the ranker that rows in memory train."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from recsys.evaluation import metrics
from recsys.features.history import History
from recsys.ranking import xgboost_ranker, xgboost_rows
from recsys.ranking.saved import load_ranker
from recsys.training_sets import on_disk
from recsys.training_sets.assemble import AssembleError
from tests.ranking.rows import NAMES, rows, write

BLOCK = 1_700  # of 6,000 rows: no row group, and no user's rows, end where a block ends


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    paths = tmp_path / "train.parquet", tmp_path / "validation.parquet"
    for path, made in zip(paths, (rows(6_000, 1), rows(2_000, 2)), strict=True):
        write(made, path)
    return paths


def test_rows_on_disk_are_the_rows_in_memory(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_disk, "BLOCK", BLOCK)
    with (
        on_disk.opened(*files, NAMES, tmp_path / "scratch") as here,
        on_disk.opened(*files, NAMES, tmp_path / "scratch", 0) as there,
    ):
        for memory, disk in zip(here, there, strict=True):
            assert isinstance(disk.features, np.memmap) and not isinstance(memory.features, np.memmap)
            for name in ("features", "click", "long_view", "watch_ms", "user", "slate"):
                assert getattr(disk, name).tobytes() == getattr(memory, name).tobytes(), name
    assert not list((tmp_path / "scratch").iterdir()), "the mapped files are gone"


def test_rows_of_one_slate_share_their_history_wherever_a_block_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As read at once, and nothing of what they share is kept twice."""
    made, path = rows(1_000, 3), tmp_path / "rows.parquet"
    events = np.arange(2_000)
    start = np.repeat(np.arange(250) * 3, 4)  # slates of four rows: 5 events each, of which the next one has 2
    history = History(events, (events % 3).astype(np.int8), events, start, start + 5)
    write(dataclasses.replace(made, inputs=dataclasses.replace(made.inputs, history=history)), path)
    monkeypatch.setattr(on_disk, "BLOCK", 7)
    read = on_disk.part(path, NAMES)
    assert [read.inputs.history.row(r)[0].tolist() for r in range(1_000)] == [list(range(s, s + 5)) for s in start]
    assert read.features.tobytes() == made.features.tobytes()
    assert len(read.inputs.history.item_key) == 250 * 5 and len(np.unique(read.inputs.history.start)) == 250


def test_rows_of_code_that_knew_less_are_refused_by_the_column(files: tuple[Path, Path]) -> None:
    pq.write_table(pq.read_table(files[1]).drop_columns("like"), files[1])
    with pytest.raises(AssembleError, match=r"validation.parquet lacks the column like.*: materialize training_set"):
        on_disk.part(files[1], NAMES)


def test_the_bound_decides(files: tuple[Path, Path], tmp_path: Path) -> None:
    size = 8_000 * len(NAMES) * 4
    for bound, is_mapped in ((size, False), (size - 1, True)):
        with on_disk.opened(*files, NAMES, tmp_path / "scratch", bound) as (train, _, _):
            assert isinstance(train.features, np.memmap) == is_mapped


def test_external_memory_trains_the_ranker_of_memory(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One block: the same bytes. Several: XGBoost merges their quantile sketches, so a cut of 64 may lie between other
    values than before, which moves a probability by far less than a bin's 1.5 % of the rows: a hundredth at most is
    allowed (none at all is moved here, where the sketches still hold every value), and a thousandth of AUC.
    """
    given = {"threads": 1, "seed": 7}
    judged = rows(4_000, 4)

    def trained(bound: int | None) -> xgboost_ranker.XGBoostRanker:
        with on_disk.opened(*files, NAMES, tmp_path / "scratch", bound) as (train, validation, both):
            fitted = xgboost_ranker.train(train, validation, NAMES, "f", rounds=40, **given)
            return xgboost_ranker.refit(fitted, both, **given)

    memory = trained(None)
    expected = memory.predict(judged.inputs)
    one = trained(0)
    one.save(tmp_path / "saved")
    for ranker in (one, load_ranker(tmp_path / "saved")):
        for name, values in ranker.predict(judged.inputs).columns().items():
            assert values.tobytes() == expected.columns()[name].tobytes(), name
    assert one.medians.tobytes() == memory.medians.tobytes()

    for module in (on_disk, xgboost_rows):
        monkeypatch.setattr(module, "BLOCK", BLOCK)
    several = trained(0).predict(judged.inputs)
    for name in ("p_click", "p_long_view"):
        np.testing.assert_allclose(several.columns()[name], expected.columns()[name], atol=0.01)
    for predicted, label in ((several.p_click, judged.click), (several.p_long_view, judged.long_view)):
        best = expected.p_click if label is judged.click else expected.p_long_view
        assert abs(metrics.auc(label, predicted) - metrics.auc(label, best)) < 0.001
