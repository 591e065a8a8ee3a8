"""Great Expectations on a table of the lake: a suite (plain data) goes in, what GX found comes out.

To import the package costs 3.1 CPU s and 277 MiB, so it is imported when a table is validated.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

Suite = Sequence[tuple[str, Mapping[str, Any]]]  # (type of the expectation, its arguments)


def validate(table: pa.Table, suite: Suite, name: str = "suite") -> dict[str, Any]:
    """The GX validation result of that table, as the dictionary GX writes (`bridge.from_great_expectations`)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pyspark warns of pandas 3 at import, which GX does not use here
        import great_expectations as gx

        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = {"globally": False, "metric_calculations": False}
        # at once: to add one by one compares each with all before it (1.2 of 1.8 CPU s for the 246 of the features)
        claims: list[Any] = [{"type": kind, "kwargs": dict(arguments)} for kind, arguments in suite]
        expected = gx.ExpectationSuite(name=name, expectations=claims)
        asset = context.data_sources.add_pandas("lake").add_dataframe_asset(name)
        # text as categories: GX hashes the whole table first; with that, a check then takes 0.6 of its CPU
        frame = table.to_pandas(strings_to_categorical=True)
        batch = asset.add_batch_definition_whole_dataframe("table").get_batch({"dataframe": frame})
        return dict(batch.validate(expected, result_format="SUMMARY").to_json_dict())
