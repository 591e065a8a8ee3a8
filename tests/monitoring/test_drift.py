"""Whether a day has moved: bounds from the reference itself, at a stated rate of false alarms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys.monitoring import drift_page
from recsys.monitoring.drift import FALSE_ALARMS, Binned, DriftError, drift
from recsys.monitoring.reference import Reference, ReferenceMissing, known_shares, reference, stationary, watched

COLUMNS = ["f0", "f1", "of_user", "rare", "constant"]


def day(seed: int, date: str, users: int = 150, shift: float = 0.0, of_user: float = 0.0) -> pl.DataFrame:
    """Users with very different numbers of rows; `of_user` is one number a user: rows are not independent."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(1, 12, users)
    user = np.repeat(rng.permutation(10_000)[:users], rows)
    n = len(user)
    return pl.DataFrame(
        {
            "user_key": user.astype(np.int64) * 2_654_435_761,
            "date": [date] * n,
            "f0": rng.normal(shift, 1, n),
            "f1": np.where(rng.random(n) < 0.3, np.nan, rng.exponential(size=n)),
            "of_user": np.repeat(rng.normal(of_user, 1, users), rows),
            "rare": (rng.random(n) < 0.02).astype(float),
            "constant": np.zeros(n),
        }
    )


@pytest.fixture(scope="module")
def before() -> Reference:
    return reference(pl.concat([day(seed, f"2026-01-{seed:02}") for seed in range(1, 11)]), COLUMNS)


def test_days_like_the_reference_alarm_no_more_often_than_stated(before: Reference) -> None:
    days = 200
    alarms = sum(
        not drift(before, watched(day(seed, "2026-02-01"), COLUMNS), replicates=300).holds
        for seed in range(100, 100 + days)
    )
    assert alarms <= 2 * FALSE_ALARMS * days  # 2 % of 200 days is 4; bounds are for half of it


@pytest.mark.parametrize("shift", [{"shift": 0.4}, {"of_user": 0.8}])
def test_a_moved_column_is_found_and_named_first(before: Reference, shift: dict[str, float]) -> None:
    judged = drift(before, watched(day(50, "2026-02-01", **shift), COLUMNS))
    moved = {"shift": "f0"}.get(next(iter(shift)), "of_user")
    assert judged.columns[0].column == moved and not judged.holds and moved in str(judged)
    assert judged.columns[0].distance["psi"] > judged.columns[0].bound["psi"]


def test_a_column_that_goes_missing_or_becomes_constant_is_found(before: Reference) -> None:
    lost = day(51, "2026-02-01").with_columns(f1=pl.lit(float("nan")), constant=pl.lit(1.0))
    assert set(drift(before, watched(lost, COLUMNS)).drifted) == {"f1", "constant"}


def test_bounds_tighten_with_the_rows_of_the_day(before: Reference) -> None:
    few, many = (drift(before, watched(day(52, "2026-02-01", users), COLUMNS)) for users in (60, 600))
    bound = {judged.rows: next(m.bound["psi"] for m in judged.columns if m.column == "f0") for judged in (few, many)}
    assert bound[many.rows] < 0.5 * bound[few.rows]


def test_the_same_day_gives_the_same_answer(before: Reference) -> None:
    today = watched(day(53, "2026-02-01"), COLUMNS)
    assert drift(before, today) == drift(before, today)


def test_distances_are_those_of_the_books() -> None:
    rows = pl.DataFrame({"user_key": [1, 2] * 50, "date": ["a", "b"] * 50, "x": [0.0, 1.0] * 50})
    binned = Binned.of(Reference(rows))
    now = binned.counts(pl.DataFrame({"x": [0.0] * 75_000 + [1.0] * 25_000}))
    before = binned.counts(pl.DataFrame({"x": [0.0] * 50_000 + [1.0] * 50_000}))
    psi, kl, chebyshev, shannon = binned.distances(now[None], before[None])[0, 0]
    assert psi == pytest.approx(0.25 * np.log(3), rel=2e-3)
    assert kl == pytest.approx(0.75 * np.log(1.5) + 0.25 * np.log(0.5), rel=2e-3)
    assert chebyshev == pytest.approx(0.25, abs=1e-3)
    middle = 0.5 * (0.5 * np.log(0.5 / 0.625) + 0.5 * np.log(0.5 / 0.375))
    other = 0.5 * (0.75 * np.log(0.75 / 0.625) + 0.25 * np.log(0.25 / 0.375))
    assert shannon == pytest.approx(np.sqrt(middle + other), rel=2e-3)


def test_what_cannot_be_judged_is_one_clear_line(before: Reference) -> None:
    today = watched(day(54, "2026-02-01"), COLUMNS)
    with pytest.raises(DriftError, match="has 10 rows"):
        drift(before, today.head(10))
    with pytest.raises(DriftError, match="lacks \\['f0'\\]"):
        drift(before, today.drop("f0"))
    with pytest.raises(DriftError, match="1 day"):
        drift(Reference(before.rows.filter(pl.col("date") == "2026-01-10")), today)


def test_a_reference_is_whole_users_of_the_newest_days_and_survives_its_file(tmp_path: Path) -> None:
    rows = pl.concat([day(seed, f"2026-01-{seed:02}") for seed in range(1, 11)])
    small = reference(rows, COLUMNS, days=3, most=800)
    assert small.days == ("2026-01-08", "2026-01-09", "2026-01-10") and 400 < small.rows.height < 1300
    kept = (
        small.rows.group_by("user_key", "date")
        .len()
        .join(rows.group_by("user_key", "date").len(), on=["user_key", "date"], suffix="_given")
    )
    assert (kept["len"] == kept["len_given"]).all()
    small.save(tmp_path)
    assert Reference.load(tmp_path).rows.equals(small.rows)
    with pytest.raises(ReferenceMissing, match="materialize drift_reference"):
        Reference.load(tmp_path / "nowhere")


def test_the_page_says_what_the_check_says(before: Reference, tmp_path: Path) -> None:
    today = watched(day(55, "2026-02-01", shift=1.0), COLUMNS)
    judged = drift(before, today)
    snapshot = drift_page.write(tmp_path / "drift.html", judged, before, today, "<h1>what moved</h1>")
    assert failed(snapshot, "calibrated PSI") == list(judged.drifted) and "f0" in failed(snapshot, "Wasserstein")
    page = (tmp_path / "drift.html").read_text()
    assert "<html" in page[:2000] and page.index("<h1>what moved</h1>") < page.index(
        "drawDashboard", page.index("<body>")
    )
    assert "default-src 'none'" in page and " connect-src" not in page, "it may load nothing"


def failed(snapshot: dict[str, Any], method: str) -> list[str]:
    """Columns that fail a method's test on Evidently's page."""
    told = [metric["metric_name"] for metric in snapshot["metrics"]]
    tests = zip(told, snapshot["tests"], strict=True)
    fail = [name for name, test in tests if method in name and "FAIL" in str(test["status"]).upper()]
    return [name.partition("column=")[2].partition(",")[0] for name in fail]


def test_evidently_s_own_tests_stand_beside_ours_and_decide_nothing(before: Reference, tmp_path: Path) -> None:
    """Nothing has moved: one number a user only looks as if it had, where rows are taken to be independent."""
    today = watched(day(100, "2026-02-01"), COLUMNS)
    judged = drift(before, today)
    snapshot = drift_page.write(tmp_path / "drift.html", judged, before, today)
    assert judged.holds and failed(snapshot, "calibrated PSI") == []
    assert failed(snapshot, "Wasserstein") == ["of_user"] and failed(snapshot, "Jensen-Shannon") == []
    assert len(snapshot["tests"]) == 2 * len(COLUMNS)


def test_what_is_known_is_told_from_what_is_missing() -> None:
    rows = pl.DataFrame({"a": [0.3, 0.5, float("nan"), 0.4], "b": [0.0, 0.0, 0.0, 0.0]})
    assert known_shares(rows, {"a": 0.3, "b": 0.0}) == {"a": 0.5, "b": 0.0}


def test_what_moves_by_nature_is_not_asked_to_stand_still() -> None:
    from recsys.features.catalog import FEATURE_DEFINITIONS

    names = stationary(FEATURE_DEFINITIONS)
    assert {"user_ctr_24h", "user_ctr_all", "item_duration_log", "slot", "user_category_ctr_all"} <= set(names)
    assert not {
        "hour_of_day", "item_age_days", "item_impressions_log_all", "category_ctr_7d", "item_ctr_24h", "creator_bucket",
        "item_popularity_log_24h", "user_creator_ctr_all", "item_mean_watch_fraction_all", "user_impressions_log_all",
    } & set(names)  # fmt: skip
