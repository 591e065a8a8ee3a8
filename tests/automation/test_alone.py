"""An asset that is materialized alone, as the UI offers it: it says what is missing, and told is what was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import dagster as dg
import pytest

from recsys_assets.home import headless, prepare
from recsys_assets.progress import words_of
from tests.conftest import ROOT

DAYS = {"dagster/asset_partition_range_start": "2026-11-02", "dagster/asset_partition_range_end": "2026-11-11"}
OURS = ("LakeError", "VerdictError", "ReferenceMissing", "RankerError", "TowerError")


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dg.JobDefinition:
    from recsys.settings import from_environment
    from recsys.sources.opening import open_source
    from recsys_assets.definitions import defs
    from recsys_assets.stock import take_stock

    monkeypatch.setenv("RECSYS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RECSYS_DATA", str(ROOT / "docs" / "example_logs"))
    settings = from_environment()
    prepare(settings)
    take_stock(settings, open_source(settings))
    return defs().resolve_implicit_global_asset_job_def()


def alone(job: dg.JobDefinition, names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """What became of each asset: the class of the error and its words; nothing where it was made."""
    told = {}
    with headless() as instance:
        for name in names:
            selected = [dg.AssetKey(name)]
            done = job.execute_in_process(instance=instance, tags=DAYS, asset_selection=selected, raise_on_error=False)
            errors = [event.step_failure_data.error for event in done.all_events if event.is_step_failure]
            told[name] = ("", "")
            for error in errors:
                inner = error.cause or error if error is not None else None
                told[name] = (inner.cls_name or "" if inner else "", words_of(error))
    return told


@pytest.mark.slow
def test_in_an_empty_home_each_says_what_to_materialize_first(job: dg.JobDefinition) -> None:
    """Nine of them said what a library says of a file that is not there, or of no table at all."""
    names = [
        *("bundle", "drift_report", "drift_reference", "verdict", "evaluation", "shelf_orders", "refreshed_factors"),
        *("retrieval_candidates", "ranker", "item_index", "xgboost_ranker", "item_embeddings", "two_tower"),
        *("training_set", "impression_features", "feedback", "online_state", "cleaned_events", "items"),
    ]
    for name, (error, words) in alone(job, names).items():
        assert error in OURS and "materialize" in words and "\n" not in words, (name, error, words)


@pytest.mark.slow
def test_a_view_of_dbt_can_be_materialized_without_the_table_that_is_made_of_it(job: dg.JobDefinition) -> None:
    done = alone(job, ["raw_items", "raw_events", "stg_items", "stg_events", "items", "cleaned_events"])
    assert not any(error for error, _ in done.values()), done
