"""A history's engaged part against a plain loop."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from recsys.events import KINDS
from recsys.features import sweep
from recsys.features.catalog import ENGAGED, ENGAGED_LENGTH, HISTORY_LENGTH
from recsys.features.history import History
from tests.features.streams import random_log, random_rows


def naive(history: History, r: int) -> list[tuple[int, ...]]:
    codes = [KINDS[kind] for kind in ENGAGED]
    events = zip(*(column.tolist() for column in history.row(r)), strict=True)
    return [event for event in events if event[1] in codes][-ENGAGED_LENGTH:]


@pytest.mark.parametrize("seed", range(3))
def test_the_engaged_part_is_the_last_engaged_events_of_each_row(seed: int) -> None:
    log, _, _ = random_log(seed, 900, users=3)
    users, _, positions, as_of, _ = random_rows(seed, 80, log, users=4)
    history = sweep.histories(log, users, positions, as_of)
    engaged = history.engaged()
    lengths = (history.stop - history.start), (engaged.stop - engaged.start)
    assert [held.max() for held in lengths] == [HISTORY_LENGTH, ENGAGED_LENGTH] and lengths[1].min() == 0
    for r in range(80):
        assert list(zip(*(column.tolist() for column in engaged.row(r)), strict=True)) == naive(history, r)
    again = engaged.engaged()
    assert all(np.array_equal(a, b) for a, b in zip(engaged, again, strict=True))


def test_as_lists_each_row_holds_its_own_events() -> None:
    log, _, _ = random_log(2, 900, users=3)
    users, _, positions, as_of, _ = random_rows(2, 40, log, users=4)
    history = sweep.histories(log, users, positions, as_of)
    for rows in (history, history.take(np.array([5, 2])), History.none(3)):
        keys, kinds = rows.lists()
        assert (keys.type, kinds.type) == (pa.list_(pa.int64()), pa.list_(pa.int8()))
        expected = [[column.tolist() for column in rows.row(r)[:2]] for r in range(len(rows.start))]
        assert [list(pair) for pair in zip(keys.to_pylist(), kinds.to_pylist(), strict=True)] == expected


def test_rows_are_taken_over_the_same_events() -> None:
    log, _, _ = random_log(1, 300, users=3)
    users, _, positions, as_of, _ = random_rows(1, 20, log)
    history = sweep.histories(log, users, positions, as_of)
    some = history.take(np.array([7, 3, 7]))
    assert some.item_key is history.item_key
    for mine, theirs in enumerate((7, 3, 7)):
        assert all(np.array_equal(a, b) for a, b in zip(some.row(mine), history.row(theirs), strict=True))


def test_one_history_is_that_of_every_row_and_none_is_empty() -> None:
    keys, kinds, at = np.array([5, 6]), np.array([1, 2], np.int8), np.array([10, 20])
    one = History.of_one(keys, kinds, at, rows=3)
    for r in range(3):
        assert one.row(r)[0].tolist() == [5, 6] and one.engaged().row(r)[0].tolist() == [6]
    none = History.none(2)
    assert [len(column) for column in (*none.row(1), *none.engaged().row(0), none.start)] == [0] * 6 + [2]


def test_rows_of_a_table_that_hold_the_same_share_their_events() -> None:
    """Those of one slate do: else a training reads, and keeps in each batch, as many histories as rows."""
    held = [([5, 6], [1, 2]), ([5, 6], [1, 2]), ([5, 6], [1, 1]), ([6, 6], [1, 1]), ([], []), ([], []), ([6], [1])]
    keys = pa.array([list(row[0]) for row in held], pa.large_list(pa.int64()))
    kinds = pa.array([list(row[1]) for row in held], pa.large_list(pa.int8()))
    for first in (0, 1):  # a slice of a column begins somewhere in its values
        history = History.of_lists(keys[first:], kinds[first:])
        told = [tuple(column.tolist() for column in history.row(r)[:2]) for r in range(len(held) - first)]
        assert told == held[first:]
        spans = list(zip(history.start.tolist(), history.stop.tolist(), strict=True))
        assert len(set(spans)) == 5 and spans[-3] == spans[-2]
