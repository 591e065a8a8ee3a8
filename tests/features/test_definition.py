"""Features are data: names are derived, a new one is one declaration, and everything else follows from it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from recsys.events import DAY_MS
from recsys.features import sweep
from recsys.features.catalog import (
    AGGREGATES,
    CLICKS,
    DEFAULTS,
    FEATURE_DEFINITIONS,
    FEATURES,
    FINGERPRINT,
    ITEM,
    VALID_RANGES,
    VIEWS,
)
from recsys.features.definition import (
    Aggregation,
    DefinitionError,
    Entity,
    Feature,
    FeatureView,
    Measure,
    Window,
    fingerprint,
)
from recsys.features.derive import Context, compile_features, derive, derive_rows, log1p
from recsys.features.layout import compile_program
from recsys.features.log import Rows
from recsys.features.page import views_table
from tests.features import stranger
from tests.features.oracle import by_hand
from tests.features.streams import random_log, random_rows


def test_columns_are_named_by_entity_measure_op_and_window() -> None:
    assert {"user_watch_ms_sum_7d", "item_clicks_count_1h", "user_category_affinity_decayed_7d"} <= set(AGGREGATES)
    assert len(set(AGGREGATES)) == len(AGGREGATES) and len(set(FEATURES)) == len(FEATURES)


def test_a_new_feature_is_one_declaration() -> None:
    """The example of the documentation: shares per device would read the same way."""
    shares = Measure("shares", ("share",))
    views = (FeatureView(ITEM, (Aggregation((shares, CLICKS), (Window("3d", 3 * DAY_MS, DAY_MS),)),)),)
    feature = Feature(
        "item_share_rate_3d", "ratio", ("item_shares_count_3d", "item_clicks_count_3d"),
        (0.01, 5.0, 1.0, 1.0), 0.01, (0.0, 1.0), "shares per click over 3d",
    )  # fmt: skip
    log, items, _ = random_log(2, 400)
    rows = random_rows(2, 50, log)
    aggregates = sweep.point_in_time(log, items, rows, program=compile_program(views))
    told = stranger.columns(stranger.tables(views_table(views))[0])
    truth = by_hand(log, items, *rows, columns=told, order=views[0].columns)
    assert aggregates.tobytes() == truth.tobytes() and aggregates.any()
    tables = compile_features((feature,), views[0].columns)
    out = np.zeros((50, 1), np.float32)
    derive_rows(*tables, aggregates, np.zeros((9, 50), np.int64), out)
    assert np.allclose(out[:, 0], (aggregates[:, 0] + 0.05) / (aggregates[:, 1] + 5.0))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Measure("x", ("sneeze",)), "kinds"),
        (lambda: Entity("x", ("planet",)), "parts"),
        (lambda: Window("x", 100, 30), "multiple"),
        (lambda: Measure("x", ("click",), "decayed"), "weight"),
        (lambda: Aggregation((Measure("x", ("click",), "latest"),), (Window("1h", 3_600_000, 300_000),)), "lifetime"),
        (lambda: compile_features((Feature("f", "ratio", ("nothing",), (), 0, (0, 1), ""),), AGGREGATES), "nothing"),
    ],
)
def test_a_wrong_declaration_is_named(make: object, words: str) -> None:
    with pytest.raises(DefinitionError, match=words):
        make()  # type: ignore[operator]


def test_the_fingerprint_changes_with_any_definition() -> None:
    assert fingerprint(VIEWS, FEATURE_DEFINITIONS) == FINGERPRINT
    changed = (replace(FEATURE_DEFINITIONS[0], constants=(0.31, 10.0, 1.0, 2.0)), *FEATURE_DEFINITIONS[1:])
    assert fingerprint(VIEWS, changed) != FINGERPRINT
    assert fingerprint(VIEWS[::-1], FEATURE_DEFINITIONS) != FINGERPRINT


def test_every_feature_stays_within_its_valid_range_and_is_a_number() -> None:
    log, items, _ = random_log(4, 3_000, users=20, items=12)
    users, keys, positions, as_of, shelves = random_rows(4, 800, log)
    rng = np.random.default_rng(0)
    context = Context(
        as_of,
        rng.integers(-(2**62), 2**62, 800),
        np.zeros(800, np.int64),
        rng.integers(-1, 40, 800),
        items.lookup(keys),
    )
    features = derive(sweep.point_in_time(log, items, Rows(users, keys, positions, as_of, shelves)), context)
    assert features.dtype == np.float32 and features.shape == (800, len(FEATURES))
    for f, name in enumerate(FEATURES):
        low, high = VALID_RANGES[name]
        assert np.isfinite(features[:, f]).all() and low <= features[:, f].min() <= features[:, f].max() <= high, name
        assert low <= DEFAULTS[name] <= high


def test_the_logarithm_is_right_to_the_last_bits_of_a_float32() -> None:
    values = np.concatenate([[0.0], np.geomspace(1e-12, 4e18, 2_000)])
    ours = np.array([log1p(value) for value in values])
    assert np.allclose(ours, np.log1p(values), rtol=1e-13, atol=1e-15)


def test_the_same_rows_give_the_same_floats_in_any_batch() -> None:
    log, items, _ = random_log(8, 1_000)
    users, keys, positions, as_of, _ = random_rows(8, 333, log)
    aggregates, zero = sweep.point_in_time(log, items, Rows(users, keys, positions, as_of)), np.zeros(333, np.int64)
    context = Context(as_of, zero + 5, zero, zero, items.lookup(keys))
    together = derive(aggregates, context)
    for start, stop in ((0, 1), (1, 4), (100, 117), (332, 333)):
        part = slice(start, stop)
        of_part = Context(*(c[part] for c in context[:4]), type(context.item)(*(c[part] for c in context.item)))
        assert derive(aggregates[part], of_part).tobytes() == together[part].tobytes()
    some = (len(FEATURES) - 1, 0, 7)
    assert derive(aggregates, context._replace(shelf=5, slot=0), some).tobytes() == together[:, some].tobytes()
