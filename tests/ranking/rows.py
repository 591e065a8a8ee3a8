"""A small world in which clicks depend on known features, to train real rankers on in a second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys.features.history import HISTORY_COLUMNS
from recsys.training_sets.examples import Examples
from recsys.training_sets.inputs import Inputs

NAMES = ("item_long_view_rate_7d", "user_category_affinity_log_7d", "item_age_days", "noise", "slot")


def rows(n: int, seed: int, users: int = 80) -> Examples:
    """n impressions in slates of four; the two rates help, age hurts, slot 0 is clicked more often."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, len(NAMES))).astype(np.float32)
    features[:, 4] = np.arange(n) % 4
    features[rng.random(n) < 0.05, 3] = np.nan
    logit = 1.2 * features[:, 0] + 1.0 * features[:, 1] - 0.7 * features[:, 2] - 0.4 * features[:, 4]
    click = rng.random(n) < 1 / (1 + np.exp(-logit))
    long_view = click & (rng.random(n) < 0.7)
    slate = np.arange(n) // 4
    return Examples(
        Inputs.of_strangers(features),
        click=click.astype(np.int8),
        long_view=long_view.astype(np.int8),
        like=np.zeros(n, np.int8),
        watch_ms=np.where(click, rng.gamma(2.0, 8000.0, n), 0).astype(np.int64),
        user=slate % users,
        slate=slate,
        propensity=np.ones(n),
    )


def poorer(made: Examples, without: Sequence[str]) -> Examples:
    """The rows of a log that does not know some of the labels."""
    return replace(made, **{name: np.zeros_like(getattr(made, name)) for name in without})


def write(made: Examples, path: Path, names: Sequence[str] = NAMES) -> None:
    """The rows as a file of the training set, of small row groups."""
    columns = {name: made.features[:, i] for i, name in enumerate(names)}
    columns |= {
        "click": made.click,
        "long_view": made.long_view,
        "like": made.like,
        "watch_ms": made.watch_ms,
        "user_key": made.user,
    }
    columns |= {"item_key": made.inputs.item_key}
    columns |= dict(zip(HISTORY_COLUMNS, made.inputs.history.lists(), strict=True))
    columns |= {"request_id": np.char.add("r", made.slate.astype(str)), "occurred_at": made.slate * 1_000}
    columns["propensity"] = made.propensity
    columns["sampling_rate"] = pa.nulls(len(made), pa.float64())
    pq.write_table(pa.table(columns), path, row_group_size=1_000)
