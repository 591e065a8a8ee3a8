"""GX results and Evidently snapshots as asset checks, and the suites themselves on rows that break them."""

import dagster as dg
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from expectations.events import CLEANED_EVENTS, RAW_EVENTS
from expectations.impression_features import IMPRESSION_FEATURES
from recsys.cleaned.keyed import keyed_events
from recsys.events import RAW_EVENT_SCHEMA
from recsys.features.catalog import DEFAULTS, FEATURES
from recsys.features.log import items_from_table
from recsys.sources.simulator import Simulator
from recsys_assets.checks.bridge import BridgeError, from_evidently, from_great_expectations
from recsys_assets.checks.validation import validate


@pytest.fixture(scope="module")
def raw():
    events = Simulator(days=2, users=200).read_day("2026-01-05").events
    return pa.concat_tables([RAW_EVENT_SCHEMA.empty_table(), events], promote_options="default")


@pytest.fixture(scope="module")
def cleaned():
    from recsys.cleaned.keyed import CLEANED_EVENT_SCHEMA

    rows = [
        {
            "event_id": "e",
            "event_key": f"e{n}",
            "kind": "click",
            "user_id": "u",
            "item_id": "i",
            "date": "2026-01-05",
            "consent": True,
        }
        | {"occurred_at": 1767571200000 + n, "received_at": 1767571200000 + n, "position": (20458 << 32) + n}
        for n in range(4)
    ]
    names = [
        n
        for n in CLEANED_EVENT_SCHEMA.names
        if n not in ("user_key", *(f"{x}_key" for x in ("item", "category", "creator", "shelf")))
    ]
    table = pa.Table.from_pylist(rows, pa.schema([CLEANED_EVENT_SCHEMA.field(n) for n in names]))
    return keyed_events(table, items_from_table(Simulator(days=2, users=200).items()), CLEANED_EVENT_SCHEMA)


def replaced(table, name, values):
    at = table.schema.get_field_index(name)
    return table.set_column(at, table.schema.field(at), pa.array(values, table.schema.field(at).type))


def test_a_suite_that_holds_is_one_passed_check(raw):
    check = from_great_expectations(validate(raw, RAW_EVENTS), "meets_expectations")
    assert isinstance(check, dg.AssetCheckResult)
    assert check.passed and check.description == f"all {len(RAW_EVENTS)} expectations hold"
    table = check.metadata["expectations"].md_str
    assert table.count("| yes |") == len(RAW_EVENTS) and "**no**" not in table


def test_what_failed_is_said_in_words(raw):
    broken = replaced(raw, "kind", ["hover"] * raw.num_rows)
    check = from_great_expectations(
        validate(broken, RAW_EVENTS), "meets_expectations", severity=dg.AssetCheckSeverity.WARN
    )
    assert not check.passed and check.severity == dg.AssetCheckSeverity.WARN
    assert check.description.startswith(f"1 of {len(RAW_EVENTS)} expectations failed: kind: column values to be in set")
    assert f"{raw.num_rows:,} of {raw.num_rows:,} unexpected (hover" in check.description
    assert check.metadata["expectations_failed"].value == 1


def test_an_expectation_that_cannot_be_evaluated_raises(raw):
    with pytest.raises(BridgeError, match=r"absent: column values to not be null could not be evaluated.*absent"):
        from_great_expectations(validate(raw, [("expect_column_values_to_not_be_null", {"column": "absent"})]))


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("event_key", ["a", "a", "b", "c"], "event_key: column values to be unique"),
        ("position", [1, 3, 2, 4], "position: column values to be increasing"),
        ("user_id", ["u", None, "u", "u"], "user_id: column values to not be null"),
        ("item_key", [5, 0, 5, 5], "item_key: column values to not be in set"),
        ("kind_code", [2, 2, 99, 2], "kind_code: column values to be in set"),
        ("consent", [True, False, True, True], "consent: column values to not be in set"),
        ("occurred_at", [1767571209999] * 4, "column pair values a to be greater than b"),
    ],
)
def test_each_rule_of_cleaned_events_can_fail(cleaned, column, values, words):
    assert from_great_expectations(validate(cleaned, CLEANED_EVENTS)).passed
    check = from_great_expectations(validate(replaced(cleaned, column, values), CLEANED_EVENTS))
    assert not check.passed and words in check.description


def test_feature_bounds_are_those_of_the_catalogue():
    columns = {"impression_id": ["a", "b"], "position": [1, 2], "as_of": [1, 2]}
    columns |= {name: np.full(2, DEFAULTS[name], np.float32) for name in FEATURES}
    good = pa.table(columns)
    assert from_great_expectations(validate(good, IMPRESSION_FEATURES)).passed
    wrong = replaced(good, FEATURES[3], [-1e9, DEFAULTS[FEATURES[3]]])
    check = from_great_expectations(validate(wrong, IMPRESSION_FEATURES))
    assert not check.passed and f"{FEATURES[3]}: column min to be between" in check.description
    half = replaced(good, FEATURES[3], [0.0, float("nan")])  # a smallest and a largest value within the bounds
    check = from_great_expectations(validate(half, IMPRESSION_FEATURES))
    assert not check.passed and f"{FEATURES[3]}: column values to not be null" in check.description


@pytest.fixture(scope="module")
def snapshot():
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift

    rng = np.random.default_rng(0)
    before = pd.DataFrame({"stable": rng.normal(size=800), "shifted": rng.normal(size=800)})
    after = pd.DataFrame({"stable": rng.normal(size=800), "shifted": 2 + rng.normal(size=800)})
    columns = DataDefinition(numerical_columns=list(before))
    report = Report([ValueDrift(column=c, method="psi") for c in before], include_tests=True)
    return report.run(*(Dataset.from_pandas(d, data_definition=columns) for d in (after, before))).dict()


def test_a_drifted_column_fails_its_check_by_name(snapshot, tmp_path):
    check = from_evidently(snapshot, "inputs_are_stable", report=tmp_path / "drift.html")
    assert not check.passed and check.severity == dg.AssetCheckSeverity.WARN
    assert check.description.startswith("1 of 2 tests failed: Value Drift for column shifted: Drift score is")
    assert check.metadata["report"].path == str(tmp_path / "drift.html")
    assert "| Value Drift for column stable | yes |" in check.metadata["tests"].md_str


def test_a_stable_snapshot_passes(snapshot):
    stable = {"tests": [t for t in snapshot["tests"] if "stable" in t["name"]]}
    assert from_evidently(stable, "inputs_are_stable").description == "all 1 tests hold"


def test_a_snapshot_that_says_nothing_raises(snapshot):
    with pytest.raises(BridgeError, match="include_tests=True"):
        from_evidently({"tests": []}, "inputs_are_stable")
    errored = {"tests": [{**snapshot["tests"][0], "status": "ERROR", "description": "no data"}]}
    with pytest.raises(BridgeError, match="could not be evaluated: no data"):
        from_evidently(errored, "inputs_are_stable")
