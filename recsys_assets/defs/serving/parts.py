"""What a bundle's manifest says, read from the lake, the reports and the item index."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from recsys.lake import Lake
from recsys.settings import Settings

if TYPE_CHECKING:
    from recsys.registry import Facts
    from recsys.retrieval.item_index import IndexedItems


def published_index(settings: Settings) -> tuple[str, IndexedItems, str]:
    """The collection last published, its rows as Milvus holds them, and the tower that embedded them."""
    from recsys.retrieval.item_index import MilvusIndex
    from recsys.retrieval.milvus_server import ensure_milvus

    collection = json.loads((Lake(settings.home).models / "item_index.json").read_text())["collection"]
    index = MilvusIndex(ensure_milvus(settings).uri)
    try:
        return collection, index.mirror(collection).items, index.facts(collection).get("tower", "")
    finally:
        index.close()


def refresh_sources(lake: Lake, folder: Path) -> None:
    """The candidate sources with the fusion that validation chose, their lists and neighbours up to the log's end.

    Those that were evaluated know nothing of the test days; what goes into service knows everything there is.
    """
    import pyarrow as pa

    from recsys.features.log import EventLog, from_table
    from recsys.retrieval import replay, sources
    from recsys.training_sets.split import PARTS

    items = lake.read(lake.table("cleaned", "items"))
    columns = [*(name for name in EventLog._fields if name != "kind"), "kind_code"]
    log = from_table(lake.read_days(lake.days("cleaned", "events"), "cleaned", "events", columns=columns))
    shown = pa.concat_tables([lake.read(lake.table("training_sets", part), ["shelf", "item_key"]) for part in PARTS])
    evaluated = sources.SourceData.load(lake.models / "two_tower")
    sources.learn(log, items, replay.shelf_types(shown, items), evaluated.fusion).save(folder)


def facts(settings: Settings, folder: Path, collection: str, index_tower: str) -> Facts:
    """The facts of an assembled folder; the registry refuses those that do not fit."""
    from recsys.features.catalog import FINGERPRINT
    from recsys.ranking.ranker import load_ranker
    from recsys.registry import Facts
    from recsys.retrieval.two_tower import QueryTower
    from recsys.sources.source import open_source

    source = open_source(settings)
    return Facts(
        features=FINGERPRINT,
        ranker_features=load_ranker(folder / "ranker").fingerprint,
        tower=QueryTower.load(folder / "query_tower").fingerprint,
        index_tower=index_tower,
        collection=collection,
        id_type=source.id_type,
        utc_offset_ms=source.utc_offset_ms,
    )


def metrics(lake: Lake) -> Mapping[str, Any]:
    """The challenger's figures in the last evaluation."""
    report = json.loads((lake.reports / "evaluation.json").read_text())
    mine = report["ranking"][report["challenger"]]
    return {
        f"{metric}_{label}": mine[label][metric]
        for label in ("click", "long_view")
        for metric in ("auc", "gauc", "log_loss")
    }


def example_users(lake: Lake, n: int = 3) -> list[str]:
    """The users with the most impressions of the last day: somebody to ask for in examples."""
    day = lake.days("cleaned", "impressions")[-1]
    path = lake.day(day, "cleaned", "impressions")
    rows = duckdb.execute(
        "select user_id from read_parquet(?) group by user_id order by count(*) desc, user_id limit ?", [str(path), n]
    ).fetchall()
    return [row[0] for row in rows]
