"""Imported exposures: each with its outcome and with the history that was there before it, and not itself."""

from __future__ import annotations

import numpy as np

from recsys.events import KINDS
from recsys.features.log import EventLog
from recsys.training_sets.imported import Imported


def test_an_exposure_knows_its_outcome_and_what_came_before_it() -> None:
    # user 1 sees item 5 (viewed long), then item 6, then item 5 again; user 2 sees item 6 (viewed long)
    told = [
        (1, 5, "exposure", 10),
        (1, 5, "exposure_long_view", 10),
        (2, 6, "exposure", 20),
        (2, 6, "exposure_long_view", 20),
        (1, 6, "exposure", 20),
        (1, 5, "exposure", 30),
        (1, 5, "impression", 40),
    ]
    user, item, at = (np.array([row[i] for row in told], np.int64) for i in (0, 1, 3))
    nothing = np.zeros(len(told), np.int64)
    log = EventLog(
        position=np.arange(1, len(told) + 1),
        kind=np.array([KINDS[row[2]] for row in told], np.int8),
        user_key=user,
        item_key=item,
        category_key=nothing,
        creator_key=nothing,
        shelf_key=nothing,
        occurred_at=at,
        received_at=at,
        watch_ms=nothing,
    )
    imported = Imported.of(log)
    assert imported.item_key.tolist() == [5, 6, 6, 5]
    assert imported.long_view.tolist() == [1, 1, 0, 0]
    assert [imported.history.row(r)[0].tolist() for r in range(4)] == [[], [], [5, 5], [5, 5, 6]]
    assert len(Imported.of(log.take(log.kind == KINDS["impression"])).item_key) == 0
