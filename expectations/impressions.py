"""What impressions with their outcomes must be."""

from recsys.cleaned.keyed import IMPRESSION_SCHEMA
from recsys.events import DAY_MS

IMPRESSIONS = [
    ("expect_table_columns_to_match_ordered_list", {"column_list": IMPRESSION_SCHEMA.names}),
    *(
        ("expect_column_values_to_not_be_null", {"column": name})
        for name in ("impression_id", "position", "user_id", "item_id", "occurred_at", "date", "session_id", "watch_ms")
    ),
    ("expect_column_values_to_be_unique", {"column": "impression_id"}),
    *(
        ("expect_column_values_to_be_in_set", {"column": name, "value_set": [0, 1]})
        for name in ("click", "long_view", "like", "skip")
    ),
    ("expect_column_values_to_be_between", {"column": "watch_ms", "min_value": 0, "max_value": 7 * DAY_MS}),
]
