"""What a ranker is, whatever computes it: impressions in, predictions out, and a reason in words."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from recsys.training_sets.inputs import Inputs

FILE: Final = "ranker.json"
PREDICTIONS: Final = ("p_click", "p_long_view", "watch_seconds", "score")
LABEL_OF: Final = {"p_click": "click", "p_long_view": "long_view", "watch_seconds": "watch_ms"}  # of a prediction


class RankerError(ValueError):
    """A saved ranker cannot be used; the message names the file and what to do."""


@dataclass(frozen=True)
class Predictions:
    """n rows, float64 each. Probabilities are calibrated; `score` only orders rows of one user.

    What the log did not teach (`training_sets.labels`) is NaN in every row; `score` never is.
    """

    p_click: np.ndarray
    p_long_view: np.ndarray
    watch_seconds: np.ndarray  # expected watch time of the impression, 0 when it is skipped
    score: np.ndarray

    def columns(self) -> Mapping[str, np.ndarray]:
        """Arrays by name, as `policy.value` takes them."""
        return {name: getattr(self, name) for name in PREDICTIONS}


class Ranker(Protocol):
    """A trained ranker. A row's prediction never depends on the rows it is predicted with."""

    @property
    def name(self) -> str: ...

    @property
    def feature_names(self) -> tuple[str, ...]: ...

    @property
    def fingerprint(self) -> str:
        """Of the feature catalogue it was trained on."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """What it learned, of `training_sets.labels`; its other predictions are NaN."""
        ...

    def predict(self, inputs: Inputs) -> Predictions:
        """Predictions of impressions; their features are in the order of `feature_names`."""
        ...

    def predict_only(self, inputs: Inputs, names: Collection[str]) -> Mapping[str, np.ndarray]:
        """Those of PREDICTIONS by name, the same bits as `predict` gives: what orders 500 rows is enough for them."""
        ...

    def explain(self, inputs: Inputs) -> list[str]:
        """One reason a row, true of that row: the key of a template (recsys/serving/words), or English words."""
        ...

    def save(self, folder: Path) -> None:
        """Write the ranker into a folder, which `saved.load_ranker` reads."""
        ...


def not_learned(n: int) -> np.ndarray:
    """A prediction of n rows that a ranker cannot make: NaN, float64[n]."""
    return np.full(n, np.nan)


def read_header(folder: Path) -> dict[str, Any]:
    """Contents of ranker.json.

    Raises:
        RankerError: when it is missing or not JSON.
    """
    path = folder / FILE
    try:
        header: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        raise RankerError(f"{path} is not there: materialize ranker first") from None
    except ValueError as error:
        raise RankerError(f"{path} is not readable ({error}): materialize ranker again") from None
    return header
