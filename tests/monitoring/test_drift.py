"""Drift between two tables, by Evidently."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.monitoring.drift import MAX_DRIFTED_SHARE, DriftError, drift


def table(seed: int, rows: int = 3000, shift: float = 0.0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    columns = {f"f{i}": rng.normal(size=rows).astype(np.float32) for i in range(4)}
    return pl.DataFrame({**columns, "moved": rng.normal(shift, 1, rows), "constant": np.zeros(rows)})


def test_a_moved_column_is_found_and_the_others_are_not(tmp_path: Path) -> None:
    before, now = table(1), table(2, shift=1.5)
    found = drift(before, now, before.columns, tmp_path / "drift.html")
    assert found.drifted == ("moved",)
    assert next(iter(found.scores)) == "moved" and found.scores["constant"] == 0.0
    assert found.share == pytest.approx(1 / 6) and found.share <= MAX_DRIFTED_SHARE and found.holds
    assert "1 of 6 columns" in str(found) and "moved" in str(found)
    assert "<html" in (tmp_path / "drift.html").read_text()[:2000]


def test_when_much_has_moved_it_does_not_hold(tmp_path: Path) -> None:
    before = table(1)
    now = before.with_columns(pl.col("f0", "f1", "f2") * 3 + 2)
    assert not drift(before, now, before.columns, tmp_path / "drift.html").holds


def test_an_empty_side_or_a_missing_column_is_one_clear_line(tmp_path: Path) -> None:
    before = table(1, rows=50)
    with pytest.raises(DriftError, match="current has 0 rows"):
        drift(before, before.clear(), before.columns, tmp_path / "drift.html")
    with pytest.raises(DriftError, match="lacks \\['f0'\\]"):
        drift(before, before.drop("f0"), before.columns, tmp_path / "drift.html")
    assert not list(tmp_path.iterdir())


def test_what_moves_by_nature_is_not_asked_to_stand_still() -> None:
    from recsys.features.catalog import FEATURE_DEFINITIONS
    from recsys.monitoring.drift import stationary

    names = stationary(FEATURE_DEFINITIONS)
    assert {"item_ctr_24h", "user_ctr_all", "item_popularity_log_24h", "slot"} <= set(names)
    assert not {"hour_of_day", "day_of_week", "item_age_days", "item_impressions_log_all"} & set(names)
