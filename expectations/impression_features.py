"""What the feature table must be: the bounds are the catalogue's own. Histories are left to parity."""

from recsys.features.catalog import FEATURES, VALID_RANGES

COLUMNS = ["impression_id", "position", "as_of", *FEATURES]
IMPRESSION_FEATURES = [
    ("expect_table_columns_to_match_ordered_list", {"column_list": COLUMNS}),
    ("expect_column_values_to_be_unique", {"column": "impression_id"}),
    # smallest and largest value instead of every value: 8 times faster on a hundred columns, and just as strict beside
    # the question for missing ones: pandas leaves NaN out of both, so that [0, NaN] would pass
    *(("expect_column_values_to_not_be_null", {"column": name}) for name in VALID_RANGES),
    *(
        (f"expect_column_{end}_to_be_between", {"column": name, "min_value": low, "max_value": high})
        for name, (low, high) in VALID_RANGES.items()
        for end in ("min", "max")
    ),
]
