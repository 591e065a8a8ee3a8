"""Which outcomes a log has: what a ranker learns, what a report judges, and what is aimed at.

A label is one only where the training days and the validation days each hold rows with and without it (of watch time:
any). What is not there is not learned: its prediction is NaN, null in answers.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Literal

import numpy as np
import polars as pl

from recsys.training_sets.examples import Examples

Label = Literal["click", "long_view"]
PROBABILITIES: Final[tuple[Label, ...]] = ("click", "long_view")  # outcomes that are there or not
WATCH: Final = "watch_ms"
MEANING: Final = {"click": "clicks", "long_view": "long views", "watch_ms": "watch times"}


class LabelError(ValueError):
    """Nothing can be learned from these rows; the message says what they lack."""


def labels_of(train: Examples | pl.DataFrame, validation: Examples | pl.DataFrame) -> tuple[str, ...]:
    """The labels that both parts can teach and judge: of "click", "long_view" and "watch_ms", in this order.

    Raises:
        LabelError: neither part of the rows has clicks or long views to tell apart.
    """
    parts = (train, validation)
    learnable = [label for label in PROBABILITIES if all(has_both(part, label) for part in parts)]
    if not learnable:
        told = "; ".join(
            f"{name} has {len(part):,} impressions, {', '.join(f'{_sum(part, p):,} with {p}' for p in PROBABILITIES)}"
            for name, part in zip(("train", "validation"), parts, strict=True)
        )
        raise LabelError(f"{told}: give days that have impressions with and without one of them in both parts")
    return (*learnable, WATCH) if all(_sum(part, WATCH) > 0 for part in parts) else tuple(learnable)


def probabilities(labels: Collection[str]) -> tuple[Label, ...]:
    """Those of the labels that have a probability."""
    return tuple(label for label in PROBABILITIES if label in labels)


def aim(labels: Collection[str]) -> Label:
    """What a slate is ordered for: long views where they are known, else clicks."""
    return "long_view" if "long_view" in labels else "click"


def has_both(part: Examples | pl.DataFrame, label: str) -> bool:
    """Whether some rows have the label, and some have not."""
    return 0 < _sum(part, label) < len(part)


def _sum(part: Examples | pl.DataFrame, label: str) -> int:
    values = part[label].to_numpy() if isinstance(part, pl.DataFrame) else getattr(part, label)
    return int(np.sum(values))
