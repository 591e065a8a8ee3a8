"""The tables that retrieval learns from and is replayed on."""

import pyarrow as pa

from recsys.lake import Lake
from recsys.training_sets.split import PARTS

COLUMNS = [
    "user_id",
    "user_key",
    "item_key",
    "position",
    "occurred_at",
    "date",
    "shelf",
    "device",
    "click",
    "long_view",
]


def split_tables(lake: Lake) -> tuple[pa.Table, ...]:
    """Train, validation and test impressions with their labels, without the features."""
    return tuple(lake.read(lake.table("training_sets", part), COLUMNS) for part in PARTS)
