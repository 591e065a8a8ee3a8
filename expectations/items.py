"""What the cleaned items must be."""

from recsys.cleaned.keyed import CLEANED_ITEM_SCHEMA
from recsys.events import ITEM_TYPES

ITEMS = [
    ("expect_table_columns_to_match_ordered_list", {"column_list": CLEANED_ITEM_SCHEMA.names}),
    ("expect_table_row_count_to_be_between", {"min_value": 1}),
    ("expect_column_values_to_not_be_null", {"column": "item_id"}),
    ("expect_column_values_to_be_unique", {"column": "item_id"}),
    ("expect_column_values_to_be_unique", {"column": "item_key"}),
    ("expect_column_values_to_be_in_set", {"column": "item_type_code", "value_set": list(ITEM_TYPES.values())}),
    ("expect_column_values_to_be_between", {"column": "duration_ms", "min_value": 0}),
    ("expect_column_values_to_be_between", {"column": "published_at", "min_value": 0}),
]
