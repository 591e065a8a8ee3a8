"""What every ranker's training asks of its rows."""

from __future__ import annotations

from recsys.training_sets.examples import Examples


class TrainingError(ValueError):
    """The rows cannot train a ranker; the message says what they lack."""


def require_both_outcomes(train: Examples, validation: Examples) -> None:
    """Raises TrainingError when a label of either part has one class only."""
    for part, rows in (("train", train), ("validation", validation)):
        for label in ("click", "long_view"):
            positives = int(getattr(rows, label).sum())
            if not 0 < positives < len(rows):
                raise TrainingError(
                    f"{part} has {len(rows)} impressions, {positives} with {label}: give days that have both"
                )
