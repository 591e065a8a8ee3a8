"""Bags of a history: what they hold, by a naive loop, and that a history met by several items is read once."""

from __future__ import annotations

import numpy as np
import torch

from recsys.events import KINDS
from recsys.features.catalog import HISTORY_KINDS
from recsys.features.history import History
from recsys.ranking.taste import BAGS, HALF_LIFE
from recsys.ranking.taste_network import Taste, bags

KNOWN = np.array([3, 5, 9], np.int64)


def some() -> tuple[np.ndarray, History]:
    """Rows 0 and 3 share a history; row 1 has none; 7 is an item without a vector of its own."""
    kinds = [KINDS[kind] for kind in ("impression", "click", "impression", "exposure_long_view", "impression")]
    history = History(
        np.array([3, 3, 7, 9, 5]),
        np.array(kinds, np.int8),
        np.zeros(5, np.int64),
        np.array([0, 2, 1, 0]),
        np.array([3, 2, 5, 3]),
    )
    return np.array([5, 3, 4, 9]), history


def test_the_user_is_the_weighted_sum_of_what_was_shown() -> None:
    torch.manual_seed(1)
    taste = Taste(KNOWN, 4, dropout=0.5, own=True).eval()
    items, history = some()
    with torch.no_grad():
        tasted = taste(bags(KNOWN, items, history))
        for r, key in enumerate(items):
            of = {3: 1, 5: 2, 9: 3}
            user, total = torch.zeros(4), 0.0
            for back, at in enumerate(reversed(range(history.start[r], history.stop[r]))):
                weight = 0.5 ** (back / HALF_LIFE)
                bag = HISTORY_KINDS.index(next(name for name, code in KINDS.items() if code == history.kind[at]))
                vector = taste.items.weight[of.get(int(history.item_key[at]), 0)]
                user, total = user + weight * (vector * taste.turn[bag] + taste.shift[bag]), total + weight
            user, item = user / (total + 1), taste.items.weight[of.get(int(key), 0)]
            torch.testing.assert_close(tasted[r], torch.cat([item, user, item * user]))
        taste.own = False
        assert torch.equal(taste(bags(KNOWN, items, history)), tasted[:, 4:])


def test_a_history_that_several_items_meet_is_read_once() -> None:
    items, history = some()
    made = bags(KNOWN, items, history)
    assert made.mass.shape == (3, BAGS) and made.whose[0] == made.whose[3]
    assert len(made.rows) == len(made.weights) == 3 + 0 + 4
    nothing = bags(KNOWN, np.array([3]), History.none(1))
    assert len(nothing.rows) == 0 and not nothing.mass.any()
