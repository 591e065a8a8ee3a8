"""The comparison itself: it must see one bit, one missing row, one extra, and tell two distributions apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.events import key64
from recsys.features.catalog import DEFAULTS, FEATURES, FINGERPRINT
from recsys.features.derive import Context, derive
from recsys.features.parity import (
    Parity,
    ParityError,
    audit_served,
    compare,
    compare_arrays,
    completeness,
    distances,
)
from recsys.store.lmdb_journal import LmdbJournal
from recsys.store.online import OnlineStore
from tests.features.streams import item_table, random_log
from tests.features.test_store import NOW, event


def table(values: list[float], ids: list[str] | None = None) -> pa.Table:
    ids = ids or [f"r{i}" for i in range(len(values))]
    return pa.table({"impression_id": pa.array(ids, pa.string()), "x": pa.array(values, pa.float32())})


def test_equal_tables_agree_in_any_order() -> None:
    compared = compare(table([1, 2, float("nan")]), table([float("nan"), 2, 1], ["r2", "r1", "r0"]))
    assert compared.holds and compared.values == 3


def test_one_bit_is_a_mismatch_and_so_is_the_sign_of_zero() -> None:
    nearly = float(np.nextafter(np.float32(2), np.float32(3)))
    assert compare(table([1, 2]), table([1, nearly])).worst == {"x": 1}
    assert compare(table([0.0]), table([-0.0])).mismatches == 1


def test_one_event_of_a_history_is_a_mismatch() -> None:
    one, other = (table([1, 2]).append_column("h", pa.array(lists)) for lists in ([[7, 8], []], [[7, 9], []]))
    assert compare(one, one).holds
    assert compare(one.take(pa.array([1, 0])), other.slice(0)).worst == {"h": 1}


def test_missing_and_extra_rows_are_counted() -> None:
    compared = compare(table([1, 2], ["a", "b"]), table([2, 3, 4], ["b", "c", "d"]))
    assert (compared.values, compared.mismatches, compared.missing, compared.extra) == (1, 0, 1, 2)
    assert not compared.holds


def test_nothing_compared_does_not_hold() -> None:
    assert not compare(table([]), table([])).holds


@pytest.mark.parametrize(
    "other",
    [
        table([1, 2], ["a", "a"]),
        pa.table({"impression_id": ["a"], "y": [1.0]}),
        pa.table({"impression_id": ["a"], "x": pa.array([1.0], pa.float64())}),
        pa.table({"impression_id": ["a"], "x": pa.array([None], pa.float32())}),
    ],
)
def test_tables_that_cannot_be_compared_are_refused(other: pa.Table) -> None:
    with pytest.raises(ParityError):
        compare(table([1], ["a"]), other)


@given(st.integers(0, 9), st.integers(0, 30), st.integers(0, 31))
def test_any_flipped_bit_is_seen(row: int, column: int, bit: int) -> None:
    a = np.arange(310, dtype=np.float32).reshape(10, 31)
    b = a.copy()
    b.view(np.uint32)[row, column] ^= np.uint32(1) << np.uint32(bit)
    names = [f"f{i}" for i in range(31)]
    assert compare_arrays(a, b, names).worst == {f"f{column}": 1}


def test_completeness_is_the_share_of_rows_about_which_something_is_known() -> None:
    columns = {name: np.full(4, DEFAULTS[name], np.float32) for name in FEATURES}
    columns["hour_of_day"] = np.array([1, 2, np.nan, 0], np.float32)
    shares = completeness(pa.table(columns))
    assert shares["hour_of_day"] == 0.5 and shares["user_ctr_7d"] == 1.0


def test_distances_are_zero_for_one_distribution_and_grow_with_the_difference() -> None:
    rng = np.random.default_rng(0)
    training = rng.normal(size=20_000)
    same, shifted, far = (distances(training, rng.normal(mean, size=20_000)) for mean in (0, 0.3, 3))
    for name in ("kl", "psi", "chebyshev"):
        assert abs(same[name]) < 0.01 < shifted[name] < far[name]


def test_distances_see_a_category_move_and_a_value_go_missing() -> None:
    training, serving = np.repeat([0.0, 1.0], [90, 10]), np.repeat([0.0, 1.0], [50, 50])
    assert distances(training, serving)["chebyshev"] == pytest.approx(0.4)
    assert distances(training, np.repeat([0.0, np.nan], [50, 50]))["chebyshev"] == pytest.approx(0.5)
    assert np.isfinite(distances(training, np.full(3, np.nan))["kl"])


def test_psi_is_what_the_formula_says() -> None:
    training, serving = np.repeat([0.0, 1.0], [500_000, 500_000]), np.repeat([0.0, 1.0], [300_000, 700_000])
    expected = (0.3 - 0.5) * np.log(0.3 / 0.5) + (0.7 - 0.5) * np.log(0.7 / 0.5)
    assert distances(training, serving)["psi"] == pytest.approx(expected, abs=1e-3)


def test_a_served_log_is_audited_and_one_changed_bit_is_found(tmp_path: Path) -> None:
    held = OnlineStore(LmdbJournal(tmp_path / "store", create=True), create=True)
    log, _, items = random_log(1, 300)
    held.bootstrap(log, items, log.head)
    rows: dict[str, list[Any]] = {name: [] for name in ("user_id", "item_id", "position", "as_of", "features")}
    for number in range(12):
        held.append([event(number)], NOW + 20_000)
        changed = item_table(5).slice(number % 5, 1).set_column(6, "duration_ms", pa.array([77 + number]))
        held.put_items(changed, NOW + 20_000)
        feed = int(key64(["feed"])[0])
        read = held.read("u1", ["i0", "i1", "i4"], NOW + 30_000 + number, shelf_key=feed)
        codes = np.zeros(3, np.int64)
        context = Context(codes + read.as_of, codes + feed, codes, codes, read.item)
        rows["features"] += list(derive(read.aggregates, context))
        for name, values in (("user_id", ["u1"] * 3), ("item_id", ["i0", "i1", "i4"])):
            rows[name] += values
        rows["position"] += [read.position] * 3
        rows["as_of"] += [read.as_of] * 3
    held.bootstrap(log, item_table(6), log.head)  # the next morning, with the items' attributes as they were first

    def audit() -> Parity:
        n = len(rows["as_of"])
        served = pa.table(
            {name: rows[name] for name in ("user_id", "item_id", "position", "as_of")}
            | {
                "log_shelf": ["feed"] * n,
                "device": pa.nulls(n, pa.string()),
                "said": pa.nulls(n, pa.list_(pa.int64())),
                "fingerprint": [FINGERPRINT] * (n - 1) + ["of another model"],
                "features": pa.array(rows["features"], pa.list_(pa.float32())),
            }
        )
        return audit_served(held.export()[0], held.items_at, served)

    assert audit().holds and audit().values == 35 * len(FEATURES)
    rows["features"][7] = rows["features"][7].copy()
    rows["features"][7].view(np.uint32)[3] ^= 1
    assert audit().worst == {FEATURES[3]: 1}
    held.close()
