"""What a bundle's manifest says, read from the lake, the reports and the item index."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from recsys.lake import Lake
from recsys.settings import Settings

if TYPE_CHECKING:
    from recsys.registry import Facts
    from recsys.retrieval.item_index import IndexedItems
    from recsys.serving.about_log import AboutLog


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

    from recsys.cleaned.log import read_log
    from recsys.retrieval import replay, sources
    from recsys.training_sets.split import PARTS

    items = lake.read(lake.table("cleaned", "items"))
    shown = pa.concat_tables([lake.read(lake.table("training_sets", part), ["shelf", "item_key"]) for part in PARTS])
    evaluated = sources.SourceData.load(lake.models / "two_tower")
    shelves = replay.shelf_types(shown, items)
    sources.learn(read_log(lake), items, shelves, evaluated.fusion, evaluated.repeats).save(folder)


def save_refreshed(lake: Lake, folder: Path) -> None:
    """Put the member of the ranker that has learned the newest days beside what was judged, where there is one.

    Args:
        folder: of the bundle, with its ranker

    Raises:
        NotJudged: it was refreshed from another ranker than the bundle has.
    """
    from recsys.evaluation.evidence import NotJudged
    from recsys.lake import content_hash
    from recsys.ranking.ranker import read_header
    from recsys.ranking.saved import REFRESHED

    for newest in sorted((lake.models / "refreshed").glob("*")):
        if not (judged := folder / "ranker" / newest.name).exists():
            return  # the verdict names another ranker than the blend
        if read_header(newest)["facts"]["refreshes"] != content_hash(judged):
            raise NotJudged("refreshed_factors go on from another ranker than ranker holds: materialize them again")
        shutil.copytree(newest, folder / REFRESHED)


def save_orders(lake: Lake, folder: Path) -> None:
    """The orders that a bundle brings beside its ranker: what passed its shelf's gate, else what orders the shelf now,
    else the best of its heuristics. A shelf without a gate of its own is ordered by whom the verdict names.

    Args:
        folder: of the bundle
    """
    from recsys.evaluation import shelves
    from recsys.policy.shelves import SHELVES
    from recsys.ranking.orders import Order, heuristic_order
    from recsys.ranking.saved import load_ranker
    from recsys.serving.bundle import ORDERS
    from recsys_assets.defs.evaluation.contenders import judged_ranker
    from recsys_assets.defs.evaluation.shelves_judged import former_orders, shelf_order

    challenger = load_ranker(lake.models / "ranker")
    is_shared = judged_ranker(lake) == lake.models / "ranker"  # else a heuristic is the bundle's ranker
    former = former_orders(lake, challenger)
    for name, told in shelves.told(lake.reports / "evaluation.json").items():
        if (shelf := SHELVES.get(name)) is None or not (is_shared or shelf.gates):
            continue
        order: Order | None = None
        if shelves.goes_on(shelf, told):
            order = shelf_order(lake, name, shelf, challenger)
            if is_shared and order is not None:  # the bundle has the ranker that it reads
                if (learned := lake.models / "shelves" / name).is_dir():
                    shutil.copytree(learned, folder / ORDERS / name)
                continue
        order = order or former.get(name) or heuristic_order(told["order"], lake.models / "heuristics")
        order.save(folder / ORDERS / name)


def facts(settings: Settings, folder: Path, collection: str, index_tower: str) -> Facts:
    """The facts of an assembled folder; the registry refuses those that do not fit."""
    from recsys.features.catalog import FINGERPRINT
    from recsys.ranking.saved import load_ranker
    from recsys.registry import Facts
    from recsys.retrieval.two_tower import QueryTower
    from recsys.sources.opening import open_source

    source = open_source(settings)
    return Facts(
        features=FINGERPRINT,
        ranker_features=load_ranker(folder / "ranker").fingerprint,
        tower=QueryTower.load(folder / "query_tower").fingerprint,
        index_tower=index_tower,
        collection=collection,
        utc_offset_ms=source.utc_offset_ms,
    )


def about_log(settings: Settings) -> AboutLog:
    """What the log lacks: which events are derived, and how its negatives were sampled on the validation days."""
    from recsys.serving.about_log import AboutLog
    from recsys.sources.negatives import log_odds_kept
    from recsys.sources.opening import open_source

    lake = Lake(settings.home)
    rows = lake.read(lake.table("training_sets", "validation"), ["sampling_rate", "click"])
    rates = rows["sampling_rate"].to_numpy()
    return AboutLog(open_source(settings).derives, log_odds_kept(rates, rows["click"].to_numpy() > 0))


def metrics(lake: Lake) -> Mapping[str, Any]:
    """The figures of the judged ranker in the last evaluation, of the labels that the log has."""
    from recsys.evaluation.gates import CHAMPION, Verdict
    from recsys.training_sets.labels import probabilities

    report = json.loads((lake.reports / "evaluation.json").read_text())
    passed = Verdict.load(lake.reports / "verdict.json").passed
    mine = report["ranking"][CHAMPION if passed else report["challenger"]]
    return {
        f"{metric}_{label}": mine[label][metric]
        for label in probabilities(mine)
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
