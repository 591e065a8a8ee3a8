"""Features and history of imported impressions: each read at the position and instant at which it could have been
served.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.features import fold, sweep
from recsys.features.catalog import AGGREGATES, FEATURES
from recsys.features.derive import Context, derive
from recsys.features.history import HISTORY_COLUMNS
from recsys.features.log import Catalogue, EventLog, Rows, names_to_keys
from recsys.features.people import NO_ONE, People

IMPRESSION_COLUMNS: Final = (
    "impression_id", "user_key", "item_key", "occurred_at", "shelf", "device", "slot",
)  # fmt: skip
FEATURE_SCHEMA: Final = pa.schema(
    [
        ("impression_id", pa.string()),
        ("position", pa.int64()),
        ("as_of", pa.int64()),
        *((name, pa.float32()) for name in FEATURES),
        *zip(HISTORY_COLUMNS, (pa.list_(pa.int64()), pa.list_(pa.int8())), strict=True),
    ]
)
Runner = Callable[[EventLog, Catalogue, Rows], np.ndarray]


def impression_features(
    log: EventLog,
    items: Catalogue,
    impressions: pa.Table,
    runner: Runner = sweep.point_in_time,
    people: People = NO_ONE,
) -> pa.Table:
    """One row of FEATURE_SCHEMA per impression, in the order given.

    Args:
        log: cleaned events of every day up to the impressions' own, and no gap before it
        items: read as of each impression's instant where it knows their history
        impressions: IMPRESSION_COLUMNS
        runner: what reads aggregates from the log; the sweep, Spark, or the replay that audits them
        people: what is said of users, read as of each impression's instant
    """
    as_of = impressions["occurred_at"].to_numpy()
    users, keys = impressions["user_key"].to_numpy(), impressions["item_key"].to_numpy()
    positions = sweep.read_positions(log, as_of)
    shelves, item = names_to_keys(impressions["shelf"]), items.lookup(keys, as_of)
    features = derive(
        runner(log, items, Rows(users, keys, positions, as_of, shelves)),
        Context(
            as_of,
            shelves,
            names_to_keys(impressions["device"]),
            pc.fill_null(impressions["slot"], -1).to_numpy().astype(np.int64),
            item,
            people.columns(users, as_of, item.category_key),
        ),
    )
    columns = np.ascontiguousarray(features.T)
    # here whatever runs the aggregates: the log is at hand, and a history needs its order alone
    history = sweep.histories(log, users, positions, as_of).lists()
    return pa.table(
        [impressions["impression_id"], pa.array(positions), pa.array(as_of), *map(pa.array, columns), *history],
        schema=FEATURE_SCHEMA,
    )


def replayed(
    log: EventLog,
    items: Catalogue,
    rows: Rows,
) -> np.ndarray:
    """`sweep.point_in_time` by the way the online store goes: every event applied, every row read from state."""
    reads, order = sweep.rows_to_read(items, rows)
    out = np.empty((len(order), len(AGGREGATES)), np.int64)
    out[order] = fold.replayed(sweep.PROGRAM, log, reads, len(AGGREGATES))
    return out
