"""Kernel == plain Python == DuckDB, on streams in which everything goes wrong."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from recsys.features import sweep
from recsys.features.catalog import AGGREGATES, HISTORY_LENGTH
from recsys.features.impressions import replayed
from recsys.features.log import Rows, empty
from recsys.features.parity import compare_arrays
from tests.features.oracle import by_hand, by_sql, history_by_hand
from tests.features.streams import START, World, random_log, random_rows, user_keys, worlds

SEEDS = range(4)


def differing(a: np.ndarray, b: np.ndarray) -> dict[str, int]:
    return compare_arrays(a, b, AGGREGATES).worst


@pytest.mark.parametrize("backwards", [0.0, 0.1])
@pytest.mark.parametrize("seed", SEEDS)
def test_replay_and_sweep_are_the_plain_python_oracle(seed: int, backwards: float) -> None:
    log, items, _ = random_log(seed, 400, backwards=backwards)
    rows = random_rows(seed, 150, log)
    truth = by_hand(log, items, *rows)
    assert truth.any(axis=0).mean() > 0.9  # nearly every column is exercised
    assert differing(replayed(log, items, rows), truth) == {}
    assert differing(sweep.point_in_time(log, items, rows), truth) == {}


@pytest.mark.parametrize("seed", SEEDS)
def test_sql_and_plain_python_agree_on_every_column_that_sql_can_say(seed: int) -> None:
    log, items, _ = random_log(seed, 300, backwards=0.05)
    rows = random_rows(seed, 80, log)
    truth = by_hand(log, items, *rows)
    in_sql = by_sql(log, items, *rows)
    assert set(AGGREGATES) - set(in_sql) == {"user_session_start_30m", "user_session_count_30m"}
    assert {name: values.tolist() for name, values in in_sql.items()} == {
        name: truth[:, AGGREGATES.index(name)].tolist() for name in in_sql
    }


@given(world=worlds())
@settings(max_examples=60)
def test_any_stream_reads_as_the_oracle_says(world: World) -> None:
    truth = by_hand(world.log, world.items, *world.rows)
    assert differing(replayed(world.log, world.items, Rows(*world.rows)), truth) == {}
    assert differing(sweep.point_in_time(world.log, world.items, Rows(*world.rows)), truth) == {}


def test_an_empty_log_reads_as_zeros() -> None:
    _, items, _ = random_log(0, 10)
    rows = Rows(user_keys(3), items.item_key[:3], np.zeros(3, np.int64), np.full(3, START))
    for runner in (replayed, sweep.point_in_time):
        assert not runner(empty(), items, rows).any()


@pytest.mark.parametrize("seed", SEEDS)
def test_histories_are_the_last_events_shown_and_engaged_with_in_log_order(seed: int) -> None:
    log, _, _ = random_log(seed, 900, users=3, backwards=0.1)
    users, _, positions, as_of, _ = random_rows(seed, 60, log, users=4)
    histories = sweep.histories(log, users, positions, as_of)
    lengths = []
    for r in range(60):
        got = zip(*histories.row(r), strict=True)
        truth = history_by_hand(log, int(users[r]), int(positions[r]))
        assert [tuple(map(int, entry)) for entry in got] == truth
        lengths.append(len(truth))
    assert max(lengths) == HISTORY_LENGTH and min(lengths) == 0


def test_the_order_in_which_rows_are_asked_changes_nothing() -> None:
    log, items, _ = random_log(5, 500)
    rows = random_rows(5, 200, log)
    shuffled = np.random.default_rng(0).permutation(200)
    there = sweep.point_in_time(log, items, rows)
    assert sweep.point_in_time(log, items, Rows(*(r[shuffled] for r in rows))).tobytes() == there[shuffled].tobytes()


def test_a_row_never_changes_when_the_log_goes_on() -> None:
    log, items, _ = random_log(6, 600, late=0.5)
    rows = random_rows(6, 200, log.until(int(log.position[300])))
    early = sweep.point_in_time(log.until(int(log.position[300])), items, rows)
    assert sweep.point_in_time(log, items, rows).tobytes() == early.tobytes()


def test_an_imported_read_does_not_see_the_rows_of_its_own_instant() -> None:
    log, _, _ = random_log(7, 300)
    positions = sweep.read_positions(log, log.received_at)
    for instant, position in zip(log.received_at, positions, strict=True):
        before = log.position[log.received_at < instant]
        assert position == (before[-1] if len(before) else 0)
