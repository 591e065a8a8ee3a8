"""Negatives drawn for implied impressions: known and available then, not engaged with, and their odds undone."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from recsys.cleaned.keyed import IMPRESSION_SCHEMA, keyed_items
from recsys.events import key64
from recsys.sources.negatives import NEGATIVES, Pool, desampled, log_odds_kept, with_negatives

N = 40


def items(**columns: object) -> pa.Table:
    given = {
        "item_id": [f"i{i}" for i in range(N)],
        "item_type": ["video"] * N,
        "creator_id": ["m"] * N,
        "category": [f"t{i % 3}" for i in range(N)],
        "tags": pa.nulls(N, pa.list_(pa.string())),
        "title": pa.nulls(N, pa.string()),
        "duration_ms": [0] * N,
        "published_at": [100 * i for i in range(N)],
        "is_available": [True] * N,
        "id_is_integer": [False] * N,
    }
    return keyed_items(pa.table({**given, **columns}))


def seen(**at: int) -> pa.Table:
    schema = pa.schema([("item_id", pa.string()), ("received_at", pa.int64())])
    return pa.Table.from_pylist([{"item_id": item, "received_at": instant} for item, instant in at.items()], schema)


def implied(rows: list[tuple[str, str, int]], rate: float | None = 1.0) -> pa.Table:
    """user, item, instant."""
    made = [
        {
            "impression_id": f"e{i}", "position": i, "user_id": user, "item_id": item,
            "user_key": int(key64([user])[0]), "item_key": int(key64([item])[0]), "category_key": 0, "creator_key": 0,
            "shelf_key": 0, "occurred_at": at, "received_at": at, "date": "2026-01-05", "session_id": "s", "slot": None,
            "click": 1, "long_view": 1, "like": 0, "skip": 0, "watch_ms": 9, "click_received_at": at,
            "sampling_rate": rate,
        }
        for i, (user, item, at) in enumerate(rows)
    ]  # fmt: skip
    return pa.Table.from_pylist(made, IMPRESSION_SCHEMA)


def test_negatives_were_known_and_available_and_are_not_engaged_with() -> None:
    rows = implied([("u", "i1", 2_000), ("u", "i2", 2_000), ("v", "i3", 3_950), ("v", "i0", 50)])
    published = [100 * i if i != 9 else 0 for i in range(N)]
    pool = Pool.of(items(is_available=[i != 7 for i in range(N)], published_at=published), seen(i9=3_000, i30=10))
    made = with_negatives(rows, pool)
    assert made.schema == IMPRESSION_SCHEMA
    negatives = made.filter(pc.less(made["sampling_rate"], 1.0)).to_pylist()
    assert made.num_rows == 4 + len(negatives) and 2 * NEGATIVES < len(negatives) <= 4 * NEGATIVES
    for row in negatives:
        number, at = int(row["item_id"][1:]), row["occurred_at"]
        since = {9: 3_000, 30: 10}.get(number, 100 * number)
        assert since <= at and number != 7 and (row["user_id"], row["item_id"]) not in {("u", "i1"), ("u", "i2")}
        assert (row["click"], row["long_view"], row["watch_ms"], row["click_received_at"]) == (0, 0, 0, None)
        assert row["item_key"] == int(key64([row["item_id"]])[0]) and row["category_key"] != 0
    assert pc.count_distinct(made["impression_id"]).as_py() == made.num_rows
    ids = made["impression_id"].to_pylist()
    assert ids[0] == "e0" and ids[1] == "e0~0"  # below their own
    # of 17 others known at 2,000 (i1 to i20 and i30, less i7, i9 and the two engaged with) NEGATIVES were drawn
    assert made.slice(1, 1)["sampling_rate"][0].as_py() == pytest.approx(NEGATIVES / 17)
    assert with_negatives(rows, pool).equals(made)  # the same draw each time


def test_a_log_that_says_what_was_shown_gets_no_negatives() -> None:
    rows = implied([("u", "i1", 2_000)], rate=None)
    assert with_negatives(rows, Pool.of(items(), seen())).equals(rows)


def test_a_catalogue_of_one_item_has_none_to_draw() -> None:
    rows = implied([("u", "i1", 2_000)])
    one = items().slice(0, N).filter(pc.equal(items()["item_id"], "i1"))
    assert with_negatives(rows, Pool.of(one, seen())).num_rows == 1


def test_draws_are_even_and_probabilities_come_back_to_the_truth() -> None:
    """Users choose by a known softmax: rates learned among the sampled rows, their odds undone, are the true ones."""
    rng, n = np.random.default_rng(5), 60_000
    appeal = np.linspace(-2.0, 1.5, N)
    truth = np.exp(appeal) / np.exp(appeal).sum()
    chosen = rng.choice(N, n, p=truth)
    rows = implied([(f"u{i}", f"i{c}", 10_000) for i, c in enumerate(chosen)])
    made = with_negatives(rows, Pool.of(items(), seen(i0=1)))
    number = np.array([int(i[1:]) for i in made["item_id"].to_pylist()])
    clicks = made["click"].to_numpy()
    drawn = np.bincount(number[clicks == 0], minlength=N)
    expected = NEGATIVES * n * (1 - truth) / (N - 1)
    assert (np.abs(drawn - expected) < 4 * np.sqrt(expected)).all()
    learned = np.bincount(number, clicks, N) / np.bincount(number, minlength=N)  # the rate of each item
    kept = log_odds_kept(made["sampling_rate"].to_numpy(), clicks > 0)
    assert kept == pytest.approx(np.log(NEGATIVES / (N - 1)), abs=1e-6)
    assert (np.abs(desampled(learned, kept) - truth) < 4 * np.sqrt(truth / n)).all()  # four standard errors
    assert learned.mean() > 5 * truth.mean()  # as it stands it is far off


def test_a_whole_log_needs_no_correction() -> None:
    assert log_odds_kept(np.full(4, np.nan), np.array([True, False, False, True])) == 0.0
    p = np.array([0.1, 0.9])
    assert desampled(p, 0.0) is p
