"""One day as `drift_report` looks at it: columns, level of predictions, completeness; and a champion that settles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from recsys.features.catalog import DEFAULTS, FEATURES
from recsys.monitoring.day import look, predicted
from recsys.monitoring.drift import DriftError
from recsys.monitoring.drift_summary import html, record, since
from recsys.monitoring.reference import Reference, reference
from recsys.ranking.ranker import Predictions
from recsys.training_sets.assemble import LABELS
from recsys.training_sets.inputs import Inputs
from tests.evaluation.world import nobody_known


class Rule:
    """P(click) follows one feature; enough of a ranker to be asked."""

    name, fingerprint, feature_names = "rule", "f", FEATURES

    def predict(self, inputs: Inputs) -> Predictions:
        p = np.clip(inputs.features[:, FEATURES.index("user_ctr_24h")].astype(np.float64), 0.01, 0.99)
        return Predictions(p, p / 2, 10 * p, p)


def day(seed: int, date: str, ctr: float = 0.3, true_ctr: float | None = None) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    n = 1500
    columns = {name: np.full(n, DEFAULTS[name] + 1.0, np.float32) for name in FEATURES}
    columns["user_ctr_24h"] = rng.normal(ctr, 0.05, n).astype(np.float32)
    columns["user_ctr_7d"] = rng.normal(0.3, 0.05, n).astype(np.float32)
    clicked = rng.random(n) < (columns["user_ctr_24h"] if true_ctr is None else true_ctr)
    labels = {"click": clicked.astype(np.int8), "long_view": (clicked & (rng.random(n) < 0.5)).astype(np.int8)}
    labels |= {"like": np.zeros(n, np.int8), "watch_ms": np.where(clicked, 10_000, 0)}
    keys = {"user_key": rng.integers(1, 1 << 40, n), "item_key": np.arange(n), "date": [date] * n}
    return nobody_known(pl.DataFrame({**keys, **labels, **columns}))


class Rate(Rule):
    """The same for all, as trees tell where a log teaches them nothing: no number of 32 bits."""

    def predict(self, inputs: Inputs) -> Predictions:
        p = np.full(len(inputs), 0.3)
        return Predictions(p, p / 2, 10 * p, p)


def learned(ctr: float = 0.3, ranker: Rule | None = None) -> Reference:
    rows = pl.concat([day(seed, f"2026-01-{seed:02}", ctr) for seed in range(1, 8)])
    return Reference(predicted(reference(rows, [*LABELS, *FEATURES]).rows, ranker or Rule()))  # type: ignore[arg-type]


def test_a_day_like_the_others_holds_in_every_way() -> None:
    judged = look(learned(), day(20, "2026-01-20"), Rule())  # type: ignore[arg-type]
    assert judged.holds and judged.ctr.holds and judged.complete.holds
    assert "known in 95% of rows or more" in judged.complete.words and "| --- |" in judged.table


def test_one_prediction_for_all_does_not_move_by_its_last_digits() -> None:
    judged = look(learned(ranker=Rate()), day(20, "2026-01-20"), Rate())  # type: ignore[arg-type]
    assert judged.holds, judged.words


def test_a_shift_moves_its_column_the_predictions_and_their_level() -> None:
    judged = look(learned(), day(21, "2026-01-20", ctr=0.36), Rule())  # type: ignore[arg-type]
    assert {"user_ctr_24h", "p_click"} <= set(judged.drift.drifted) and "user_ctr_7d" not in judged.drift.drifted
    assert not judged.ctr.holds and "+20" in judged.ctr.words


def test_the_page_begins_with_what_moved_since_when_and_against_which_bound() -> None:
    moved = look(learned(), day(21, "2026-01-20", ctr=0.36), Rule())  # type: ignore[arg-type]
    still = look(learned(), day(20, "2026-01-20"), Rule())  # type: ignore[arg-type]
    days = {19: moved, 18: moved, 17: still, 16: moved}
    before = [(f"2026-01-{n}", record(judged, "bundle <a>")) for n, judged in days.items()]
    first = since("2026-01-20", moved, "bundle <a>", before)
    assert set(first) == set(moved.drift.drifted) and set(first.values()) == {"2026-01-18"}
    assert set(since("2026-01-20", moved, "bundle b", before).values()) == {"2026-01-20"}, "another champion's days"
    head = html("2026-01-20", moved, "bundle <a>", first)
    assert f"<h1>2026-01-20: {len(first)} of {len(moved.drift.columns)} columns have moved</h1>" in head
    assert "<td>user_ctr_24h</td><td>2026-01-18</td>" in head and "bundle &lt;a&gt;" in head
    assert "<h1>2026-01-20: no column has moved</h1>" in html("2026-01-20", still, "bundle a", {})


def test_a_third_of_the_clicks_lost_is_off_what_was_predicted_and_a_tenth_is_not() -> None:
    rows = day(23, "2026-01-20")
    for share, holds in ((0.1, True), (0.33, False)):
        kept = pl.Series(np.random.default_rng(3).random(rows.height) >= share)
        lost = rows.with_columns(pl.col("click") * kept, pl.col("long_view") * kept)
        judged = look(learned(), lost, Rule())  # type: ignore[arg-type]
        assert judged.level.holds == holds
        if not holds:
            assert not judged.holds and "clicks -3" in judged.words and "against what was predicted" in judged.words


def test_few_days_do_not_say_how_far_a_day_strays() -> None:
    few = learned().rows.filter(pl.col("date") < "2026-01-05")
    judged = look(Reference(few), day(24, "2026-01-20", true_ctr=0.1), Rule())  # type: ignore[arg-type]
    assert judged.level.holds and "4 days of predictions are too few" in judged.level.words


@pytest.mark.parametrize(("share", "holds"), [(0.03, True), (0.08, False)])
def test_features_that_go_missing_are_counted_and_named(share: float, holds: bool) -> None:
    rows = day(22, "2026-01-20")
    lost = np.random.default_rng(1).random(rows.height) < share
    value = pl.when(pl.Series(lost)).then(DEFAULTS["user_ctr_7d"]).otherwise(pl.col("user_ctr_7d"))
    judged = look(learned(), rows.with_columns(user_ctr_7d=value.cast(pl.Float32)), Rule())  # type: ignore[arg-type]
    assert judged.complete.holds == holds and ("user_ctr_7d" in judged.complete.words) != holds


def test_predictions_are_held_against_the_days_in_which_the_champion_settled() -> None:
    """Its own slates promise a fifth more than the log it learned from, and that is no drift; a turn from there is."""
    settled = pl.concat([day(30, "2026-01-10", 0.36), day(31, "2026-01-11", 0.36)])
    same = look(learned(), day(32, "2026-01-12", 0.36), Rule(), settled)  # type: ignore[arg-type]
    assert same.ctr.holds and not set(same.drift.drifted) & {"p_click", "score"}
    turned = look(learned(), day(33, "2026-01-12", 0.22), Rule(), settled)  # type: ignore[arg-type]
    assert not turned.ctr.holds and {"p_click", "user_ctr_24h"} <= set(turned.drift.drifted)


def test_a_world_that_turns_shows_in_the_errors_while_the_features_stand() -> None:
    judged = look(learned(), day(23, "2026-01-20", true_ctr=0.15), Rule())  # type: ignore[arg-type]
    assert "click_error" in judged.drift.drifted and judged.ctr.holds
    assert not set(judged.drift.drifted) & {"user_ctr_24h", "p_click"}


def test_a_reference_of_an_earlier_version_is_refused() -> None:
    old = Reference(learned().rows.drop("click_error"))
    with pytest.raises(DriftError, match="earlier version: train again"):
        look(old, day(24, "2026-01-20"), Rule())  # type: ignore[arg-type]


class OfClicks(Rule):
    """A rule that learned of a log without long views and watch times."""

    def predict(self, inputs: Inputs) -> Predictions:
        told = super().predict(inputs)
        unknown = np.full(len(told.score), np.nan)
        return replace(told, p_long_view=unknown, watch_seconds=unknown)


def test_what_was_not_learned_is_not_looked_at() -> None:
    rows = pl.concat([day(seed, f"2026-01-{seed:02}") for seed in range(1, 8)])
    made = Reference(predicted(reference(rows, [*LABELS, *FEATURES]).rows, OfClicks()))  # type: ignore[arg-type]
    judged = look(made, day(20, "2026-01-20"), OfClicks())  # type: ignore[arg-type]
    assert judged.holds and judged.ctr.holds
    columns = {moved.column for moved in judged.drift.columns}
    assert {"p_click", "click_error"} <= columns and not {"p_long_view", "watch_error"} & columns
    assert "long views" not in judged.level.words
