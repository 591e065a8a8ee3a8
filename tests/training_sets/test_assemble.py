"""Impressions and features become rows; labels see only what was known when their part ended."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from recsys.features.history import HISTORY_COLUMNS
from recsys.training_sets.assemble import KEYS, LABELS, Assembled, AssembleError, assemble, with_propensity
from recsys.training_sets.examples import examples, slates
from recsys.training_sets.split import PARTS, Part, split_by_date, split_by_hours

NAMES = ("first", "second")
LISTS = (pl.List(pl.Int64), pl.List(pl.Int8))
DATES = ("2026-03-01", "2026-03-02", "2026-03-03")
ROWS = dict.fromkeys(DATES, 100)
SPLIT = split_by_date(ROWS, validation_days=1, test_days=1)
END = SPLIT.ends_at("train", 0)


def shown(impression_id: str, date: str = DATES[0], **changes: object) -> dict[str, object]:
    row: dict[str, object] = {
        "impression_id": impression_id,
        "position": int(impression_id[1:]),
        "request_id": None,
        "user_id": "u1",
        "item_id": "i1",
        "user_key": 1,
        "item_key": 2,
        "category_key": 3,
        "creator_key": 4,
        "occurred_at": END - 1000,
        "date": date,
        "shelf": "feed",
        "device": "phone",
        "sampling_rate": None,
        "propensity": 1.0,
        "slot": 0,
        "click": 1,
        "long_view": 1,
        "like": 1,
        "watch_ms": 5000,
        "click_received_at": END - 500,
        "long_view_received_at": END - 400,
        "outcome_received_at": END - 300,
    }
    return {**row, **changes}


def features_of(rows: list[dict[str, object]]) -> pl.LazyFrame:
    ids = [row["impression_id"] for row in rows]
    return pl.LazyFrame(
        {"impression_id": ids, "first": np.arange(len(ids)) / 3, "second": np.arange(len(ids)) * 1.0}
        | {name: [list(range(place)) for place in range(len(ids))] for name in HISTORY_COLUMNS},
        schema_overrides={"first": pl.Float32, "second": pl.Float32, **dict(zip(HISTORY_COLUMNS, LISTS, strict=True))},
    )


def made(rows: list[dict[str, object]], part: Part = "train", features: pl.LazyFrame | None = None) -> Assembled:
    table = pl.LazyFrame(rows, infer_schema_length=None)
    return assemble(table, features_of(rows) if features is None else features, NAMES, SPLIT, part, 0)


def test_rows_of_a_part_are_those_of_its_days_in_log_order_with_their_own_features() -> None:
    rows = [shown("i3"), shown("i1"), shown("i2", date=DATES[1])]
    assembled = made(rows).frame
    assert assembled["impression_id"].to_list() == ["i1", "i3"]
    assert assembled.columns == [*KEYS, *LABELS, *NAMES, *HISTORY_COLUMNS]
    assert assembled["second"].to_list() == [1.0, 0.0]
    for name, dtype in zip(HISTORY_COLUMNS, LISTS, strict=True):
        assert assembled[name].to_list() == [[0], []] and assembled.schema[name] == dtype
    assert assembled.schema["first"] == pl.Float32
    assert made(rows, "validation").frame["impression_id"].to_list() == ["i2"]


def test_an_outcome_received_after_the_part_ended_is_not_seen_and_is_counted() -> None:
    late_play = shown("i1", outcome_received_at=END)
    late_click = shown("i2", click_received_at=END + 5, long_view_received_at=END + 6, outcome_received_at=END + 6)
    in_time = shown("i3", outcome_received_at=END - 1)
    assembled = made([late_play, late_click, in_time])
    assert assembled.frame.select(LABELS).rows() == [(1, 1, 0, 0), (0, 0, 0, 0), (1, 1, 1, 5000)]
    assert assembled.hidden_labels == 2


def test_an_impression_without_outcomes_has_labels_of_zero_and_hides_nothing() -> None:
    silent = dict.fromkeys(LABELS, 0)
    unknown = dict.fromkeys(("click_received_at", "long_view_received_at", "outcome_received_at"))
    assembled = made([shown("i1", **silent, **unknown), shown("i2")])
    assert assembled.frame.select(LABELS).rows()[0] == (0, 0, 0, 0)
    assert assembled.hidden_labels == 0


def test_an_impression_without_features_is_an_error_that_names_the_asset() -> None:
    rows = [shown("i1"), shown("i2")]
    with pytest.raises(AssembleError, match=r"1 impressions of train have no features .* impression_features"):
        made(rows, features=features_of(rows[:1]))


def test_a_row_that_explored_keeps_its_chance_and_counts_by_it_up_to_a_bound() -> None:
    rows = [{name: value for name, value in shown(f"i{n}").items() if name != "propensity"} for n in range(1, 5)]
    days = [{"impression_id": ["i1", "i2"], "propensity": [0.25, 1.0]}, {"impression_id": ["i3"], "propensity": [0.02]}]
    table = with_propensity(pl.LazyFrame(rows, infer_schema_length=None), [pl.LazyFrame(day) for day in days])
    made = examples(assemble(table, features_of(rows), NAMES, SPLIT, "train", 0).frame, NAMES)
    assert made.propensity.tolist() == [0.25, 1.0, 0.02, 1.0] and made.explored == 2
    assert made.weights.tolist() == [4.0, 1.0, 10.0, 1.0]
    never = with_propensity(
        pl.LazyFrame(rows, infer_schema_length=None), [pl.LazyFrame(days[0] | {"propensity": [0.0, 1.0]})]
    )
    with pytest.raises(AssembleError, match=r"served with chances of 0\.0 .* restore the served log"):
        assemble(never, features_of(rows), NAMES, SPLIT, "train", 0)
    alone = with_propensity(pl.LazyFrame(rows, infer_schema_length=None), []).collect()
    assert alone["propensity"].to_list() == [1.0] * 4


def test_two_feature_rows_for_one_impression_are_an_error() -> None:
    rows = [shown("i1")]
    with pytest.raises(AssembleError, match="more than one feature row"):
        made(rows, features=features_of(rows * 2))


def test_rows_of_one_request_are_one_slate_and_without_a_request_those_of_one_user_and_instant() -> None:
    rows = [
        shown("i1", request_id="a", occurred_at=1),
        shown("i2", request_id="a", occurred_at=2),
        shown("i3", request_id="b", occurred_at=2),
        shown("i4", occurred_at=5),
        shown("i5", occurred_at=5),
        shown("i6", occurred_at=5, user_key=9),
    ]
    code = slates(pl.DataFrame(rows, infer_schema_length=None))
    assert code[0] == code[1] and code[3] == code[4]
    assert len(set(code.tolist())) == 4


def test_examples_hold_features_in_the_given_order_and_c_layout() -> None:
    frame = made([shown("i1"), shown("i2", click=0, long_view=1)]).frame
    assembled = examples(frame, ("second", "first"))
    assert assembled.features.flags.c_contiguous and assembled.features.dtype == np.float32
    assert assembled.features[1].tolist() == [1.0, np.float32(1 / 3)]
    assert assembled.relevance.tolist() == [3, 2]


def test_a_day_cut_by_hours_gives_every_impression_to_one_part_and_no_part_a_label_of_the_next() -> None:
    split = split_by_hours(ROWS, 6)
    cuts = [split.ends_at(part, 0) for part in PARTS]
    at = [END - 1000, cuts[0] - 1, cuts[0], cuts[1] - 1, cuts[1], cuts[2] - 1, cuts[2] + 5]  # the last: a clock behind
    dates = [DATES[0], *[DATES[2]] * 6]
    rows = [shown(f"i{n}", date=d, occurred_at=t) for n, (d, t) in enumerate(zip(dates, at, strict=True))]
    rows[1]["click_received_at"] = cuts[0]  # clicked a moment after training ended: not known to it
    table = pl.LazyFrame(rows, infer_schema_length=None)
    frames = {part: assemble(table, features_of(rows), NAMES, split, part, 0).frame for part in PARTS}
    assert [frames[part]["impression_id"].to_list() for part in PARTS] == [
        ["i0", "i1"],
        ["i2", "i3"],
        ["i4", "i5", "i6"],
    ]
    assert frames["train"]["click"].to_list() == [1, 0]
