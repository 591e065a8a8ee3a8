"""What raw and cleaned events must be. Raw ones may be dirty, but not mostly; cleaned ones may not be dirty at all."""

from recsys.cleaned.keyed import CLEANED_EVENT_SCHEMA
from recsys.events import KINDS, RAW_EVENT_SCHEMA, SEARCH
from recsys.sources.source import EARLIEST_MS, LATEST_MS

MOSTLY = 0.9  # share of a raw day that has to be usable; the simulator's dirt is 1.5 %
POSITION_MAX = 2**63 - 1

RAW_EVENTS = [
    ("expect_table_columns_to_match_ordered_list", {"column_list": RAW_EVENT_SCHEMA.names}),
    ("expect_column_values_to_not_be_null", {"column": "received_at"}),
    ("expect_column_values_to_be_between", {"column": "received_at", "min_value": EARLIEST_MS, "max_value": LATEST_MS}),
    *(
        ("expect_column_values_to_not_be_null", {"column": name, "mostly": MOSTLY})
        for name in ("event_id", "user_id", "occurred_at")
    ),
    ("expect_column_values_to_be_in_set", {"column": "kind", "value_set": list(KINDS), "mostly": MOSTLY}),
    ("expect_column_values_to_be_between", {"column": "watch_ms", "min_value": 0, "mostly": MOSTLY}),
]

CLEANED_EVENTS = [
    ("expect_table_columns_to_match_ordered_list", {"column_list": CLEANED_EVENT_SCHEMA.names}),
    *(
        ("expect_column_values_to_not_be_null", {"column": name})
        for name in ("event_key", "event_id", "user_id", "item_id", "date", "position")
    ),
    ("expect_column_values_to_be_unique", {"column": "event_key"}),
    ("expect_column_values_to_be_between", {"column": "position", "min_value": 1, "max_value": POSITION_MAX}),
    ("expect_column_values_to_be_increasing", {"column": "position", "strictly": True}),
    (
        "expect_column_values_to_be_in_set",
        {"column": "kind_code", "value_set": sorted(set(KINDS.values()) - {KINDS[SEARCH]})},
    ),
    ("expect_column_values_to_not_be_in_set", {"column": "item_key", "value_set": [0]}),
    ("expect_column_values_to_not_be_in_set", {"column": "consent", "value_set": [False]}),
    (
        "expect_column_pair_values_a_to_be_greater_than_b",
        {"column_A": "received_at", "column_B": "occurred_at", "or_equal": True},
    ),
]
