"""The service and dbt judge a row by the same rules: every row has the same reason by both."""

from __future__ import annotations

from typing import Any

import duckdb
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys import vocabulary
from recsys.events import CLOCK_SKEW_MS, DAY_MS, EVENT_SCHEMA, KINDS
from recsys.vocabulary import END_INSTANT_MS, FIRST_INSTANT_MS, MAX_QUERY_BYTES, MAX_SLOT

NOW = 1_767_571_200_000
ids = st.sampled_from(
    [None, "", "a", "sandbox:a", "é" * 128, "é" * 129, "x" * 256, "x" * 257, "a\x00", "\x85b", "a\u200d", "a\x7fb"]
)
edges = [-1, 0, 1, FIRST_INSTANT_MS - 1, FIRST_INSTANT_MS, END_INSTANT_MS - 1, END_INSTANT_MS]
instants = st.sampled_from([None, *edges, NOW, NOW + CLOCK_SKEW_MS, NOW + CLOCK_SKEW_MS + 1])
QUERIES = ("q" * MAX_QUERY_BYTES, "é" * MAX_QUERY_BYTES)
rows = st.fixed_dictionaries(
    {
        **{name: st.just("a") | ids for name in vocabulary.TEXTS},
        "kind": st.sampled_from([*KINDS, "hover", "", None]),
        "occurred_at": st.just(NOW) | instants,
        "received_at": st.just(NOW) | instants,
        "slot": st.sampled_from([None, -1, 0, MAX_SLOT, MAX_SLOT + 1]),
        "watch_ms": st.sampled_from([None, -1, 0, DAY_MS, DAY_MS + 1]),
        "query": st.sampled_from([None, "", " \t\u2003\u3000", "\x1c", "\xa0whales ", *QUERIES]),
        "consent": st.sampled_from([None, True, False]),
    }
)


def test_the_macro_is_that_of_the_rules() -> None:
    assert vocabulary.MACRO.read_text() == vocabulary.macro(), "run python -m recsys.vocabulary"


@settings(max_examples=10)
@given(st.lists(rows, min_size=30, max_size=30))
def test_dbt_and_the_service_give_the_same_reason(told: list[dict[str, Any]]) -> None:
    given_rows = pa.Table.from_pylist(told, schema=EVENT_SCHEMA)  # noqa: F841  DuckDB reads it by name
    day = f"date '1970-01-01' + cast(coalesce(received_at, 0) // {DAY_MS} as integer)"
    theirs = duckdb.sql(f"select {vocabulary.sql(0)} from (select *, {day} as received_day from given_rows)").fetchall()
    ours = [None if rule is None else rule.reason for rule in map(vocabulary.wrong, told)]
    assert [reason for (reason,) in theirs] == ours
