"""From raw to the online state with pseudonyms, a user forgotten, and the source read again: they stay forgotten."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from recsys.events import NOBODY, key64
from recsys.features import sweep
from recsys.features.catalog import AGGREGATES
from recsys.features.log import Rows
from recsys.lake import Lake
from recsys.privacy.border import Border
from recsys.serving.forget import traces
from recsys.settings import from_environment
from recsys.sources.simulator import Simulator
from recsys.store.opening import open_store
from recsys_assets.forget import forgotten
from tests.cleaned.build import build

pytestmark = pytest.mark.slow
USERS = 200  # of whom some do not consent
DAYS = ("2026-01-05", "2026-01-06", "2026-01-07")
FIRST, LAST = DAYS[0], DAYS[-1]


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    key = "a key that stays at the border"
    for name, value in {
        "HOME": tmp_path,
        "SOURCE": "simulator",
        "DAYS": 3,
        "USERS": USERS,
        "PSEUDONYM_KEY": key,
    }.items():
        monkeypatch.setenv(f"RECSYS_{name}", str(value))
    return Lake(tmp_path)


def materialize(lake: Lake) -> None:
    """Raw by its asset, clean by dbt with all its tests, and the border's own checks of what became of each row."""
    from recsys_assets.defs.borders import checks
    from recsys_assets.defs.features.online_state import online_state
    from recsys_assets.defs.ingestion import raw
    from recsys_assets.resources import Workspace

    tags = {"dagster/asset_partition_range_start": FIRST, "dagster/asset_partition_range_end": LAST}
    with dg.DagsterInstance.ephemeral() as instance:
        for assets in ([raw.raw_events, raw.raw_items, raw.raw_users], [online_state]):
            definitions = dg.Definitions(assets=assets, resources={"workspace": Workspace()})
            job = definitions.resolve_implicit_global_asset_job_def()
            assert job.execute_in_process(instance=instance, tags=tags).success
            if online_state not in assets:
                build(lake, *DAYS)
    for day in DAYS:
        raw_rows, *fates = checks._fates(lake, day)
        assert raw_rows == sum(fates)
        shown, events = (lake.read(lake.day(day, "cleaned", name)) for name in ("impressions", "events"))
        impressions = events.filter(
            pc.and_(pc.equal(events["kind"], "impression"), pc.not_equal(events["user_key"], 0))
        )
        assert shown["position"].equals(impressions["position"])


def whole(lake: Lake, *table: str) -> pa.Table:
    return lake.read_days(lake.days(*table), *table)


def of_items(lake: Lake) -> np.ndarray:
    """What the features of every item say at the end, to a user of whom nothing is known."""
    from recsys.cleaned.log import read_log
    from recsys.features.log import items_from_table

    log, items = read_log(lake, through=LAST), items_from_table(lake.read(lake.table("cleaned", "items")))
    n = len(items.item_key)
    asked: Any = (np.full(n, key64(["a stranger"])[0]), items.item_key, np.full(n, log.head), np.full(n, END))
    columns = [i for i, name in enumerate(AGGREGATES) if not name.startswith("user")]
    return sweep.point_in_time(log, items, Rows(*asked))[:, columns]


END = 1767830400000  # 2026-01-08


def named(lake: Lake, name: str) -> list[str]:
    """Files that tell that id anywhere: as bytes, or as a value of a table."""
    files = []
    for path in (p for p in lake.home.rglob("*") if p.is_file()):
        text = str(pq.read_table(path).to_pydict()).encode() if path.suffix == ".parquet" else path.read_bytes()
        if name.encode() in text:
            files.append(path.name)
    return files


def test_a_forgotten_user_does_not_come_back_with_the_source(lake: Lake) -> None:
    settings = from_environment()
    source, border = Simulator(days=3, users=USERS), Border.of(settings)
    consented = pa.concat_tables([source.read_day(day).events for day in DAYS])
    consented = consented.filter(pc.fill_null(consented["consent"], True))
    counts = consented.filter(pc.is_valid(consented["user_id"]))["user_id"].value_counts().to_pylist()
    user = max((c for c in counts if c["values"]), key=lambda c: c["counts"])["values"]
    materialize(lake)
    # The border let no id of the source through, and nobody without consent.
    inside = border.user(user)
    assert named(lake, user) == [] and len(named(lake, inside)) > 5
    events = whole(lake, "cleaned", "events")
    assert inside in set(events["user_id"].to_pylist()) and not pc.any(pc.equal(events["consent"], False)).as_py()
    refused = whole(lake, "cleaned", "quarantine").filter(
        pc.equal(whole(lake, "cleaned", "quarantine")["consent"], False)
    )
    unwilling = set(refused["user_id"].to_pylist()) - {None, ""}
    assert unwilling and not unwilling & set(whole(lake, "cleaned", "impressions")["user_id"].to_pylist())

    store = open_store(settings)
    told = {
        "event_id": "told",
        "kind": "click",
        "user_id": inside,
        "item_id": "i000001",
        "occurred_at": END - 9_000_000,
    }
    assert store.append([told], END - 9_000_000).accepted == 1
    store.close()
    before, impressions = of_items(lake), whole(lake, "cleaned", "impressions").num_rows
    words = forgotten(settings, f" {user}\n")
    assert words.startswith("forgotten: ") and user not in words and inside not in words
    assert forgotten(settings, user).startswith("nothing of that user was found")
    assert traces([inside, user], lake.home) == [] and named(lake, inside) == []
    assert of_items(lake).tobytes() == before.tobytes()

    materialize(lake)  # everything again, from the source, with every blocking check
    assert traces([inside, user], lake.home) == [] and named(lake, inside) == named(lake, user) == []
    again = whole(lake, "cleaned", "events")
    mine = pc.equal(again["user_id"], NOBODY)
    assert pc.sum(mine).as_py() == 1 + pc.sum(pc.equal(events["user_id"], inside)).as_py()  # with what was told live
    assert set(again.filter(mine)["user_key"].to_pylist()) == {0}
    assert again.filter(mine)["session_id"].null_count == pc.sum(mine).as_py()
    assert whole(lake, "cleaned", "impressions").num_rows < impressions
    column = [name for name in AGGREGATES if not name.startswith("user")].index("item_clicks_count_all")
    after = of_items(lake)
    assert after[:, column].sum() == before[:, column].sum() + 1
    told_row = np.flatnonzero((after != before).any(axis=1))
    assert len(told_row) >= 1  # what was told live is now in the archive too; nothing else moved
    assert (after[:, column] - before[:, column]).max() == 1
