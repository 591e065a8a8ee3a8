"""The position curve says what a place costs, all else equal, and nothing where places are not known."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import polars as pl
import pytest

from recsys.evaluation.position import position_curve
from recsys.training_sets.inputs import Inputs
from tests.evaluation.world import nobody_known


class Known:
    """A ranker with a known cost of places: half a log odds each."""

    name, fingerprint = "known", "f"
    feature_names = ("appeal", "slot")

    labels = ("click", "long_view", "watch_ms")

    def predict_only(self, inputs: Inputs, names: Collection[str]) -> dict[str, np.ndarray]:
        odds = inputs.features[:, 0].astype(np.float64) - 0.5 * inputs.features[:, 1]
        return dict.fromkeys(names, 1 / (1 + np.exp(-odds)))


def rows(slots: list[float]) -> pl.DataFrame:
    # good items stand first: the raw rates of places would mistake their appeal for the place's
    slot = np.tile(slots, 50)
    features = {"appeal": (2.0 - slot).astype(np.float32), "slot": slot.astype(np.float32)}
    return nobody_known(pl.DataFrame({**features, "item_key": np.arange(len(slot))}))


def test_the_curve_is_that_of_the_place_alone() -> None:
    assert position_curve(Known(), rows([0, 1, 2])) == pytest.approx({"0": 0.0, "1": -0.5, "2": -1.0})  # type: ignore[arg-type]


def test_there_is_no_curve_without_places() -> None:
    assert position_curve(Known(), rows([-1, -1])) == {}  # type: ignore[arg-type]
    assert position_curve(Known(), rows([0]).drop("slot")) == {}  # type: ignore[arg-type]
