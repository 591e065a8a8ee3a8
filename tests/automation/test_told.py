"""A materialization is told for what was made, and for nothing else."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from recsys.lake import Lake
from recsys.settings import Settings, from_environment
from recsys_assets.content import VERSION, content
from recsys_assets.resources import Workspace
from recsys_assets.stock import take_stock
from tests.e2e.poor_worlds import plays, write


def test_slates_without_a_champion_are_not_told_as_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from recsys_assets.defs.serving.slates import slates

    monkeypatch.setenv("RECSYS_HOME", str(tmp_path))
    done = dg.materialize([slates], resources={"workspace": Workspace()}, instance=dg.DagsterInstance.ephemeral())
    assert done.success and done.get_asset_materialization_events() == []


def test_an_assets_version_is_its_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same days again: the same versions; one more event: others, but of what it does not touch."""
    from recsys_assets.defs.ingestion.raw import raw_events, raw_items, raw_users

    folder, home = write(tmp_path / "data", plays(days=2, users=6)), tmp_path / "home"
    for name, value in {"SOURCE": "files", "DATA": folder, "HOME": home}.items():
        monkeypatch.setenv(f"RECSYS_{name}", str(value))
    first, last = take_stock(from_environment()).days
    days = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}

    def versions() -> dict[str, str]:
        with dg.DagsterInstance.ephemeral() as instance:
            given = {"resources": {"workspace": Workspace()}, "instance": instance, "tags": days}
            made = dg.materialize([raw_events, raw_items, raw_users], **given).get_asset_materialization_events()
        told = [event.step_materialization_data.materialization for event in made]
        return {of.asset_key.to_user_string(): (of.tags or {})[VERSION] for of in told}

    before = versions()
    assert versions() == before and len(set(before.values())) == len(before) == 3
    events = pl.read_parquet(folder / "events.parquet")
    pl.concat([events, events.tail(1).with_columns(item_id=pl.lit("i7"))]).write_parquet(folder / "events.parquet")
    after = versions()
    assert {name for name in after if after[name] != before[name]} == {"raw_events"}
    lake = Lake(home)
    assert after["raw_users"] == content(lake.table("raw", "users")).value
    assert after["raw_events"] == content(*(lake.day(day, "raw", "events") for day in (first, last))).value


def test_every_asset_has_a_version_of_its_code_and_tables_have_their_columns() -> None:
    from recsys_assets.definitions import built

    graph = built(Settings(), ("2026-01-05",)).resolve_asset_graph()
    nodes = {key.to_user_string(): graph.get(key) for key in graph.get_all_asset_keys()}
    assert [name for name, node in nodes.items() if not node.code_version] == []
    for name in ("raw_events", "cleaned_events", "impressions", "items"):
        columns = {column.name for column in nodes[name].metadata["dagster/column_schema"].columns}
        assert {"item_id"} <= columns, name
    assert nodes["raw_events"].freshness_policy is not None
