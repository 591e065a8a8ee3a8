"""A small RECSYS_HOME made by the real parts: a simulated week, store, towers, item index, ranker, two bundles.

The asset graph makes the same out of more days; here the parts are called directly, with little data and few rounds,
because the service's tests need a bundle that works, not one that is good.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from recsys.events import ITEM_TYPES, KINDS, first_position, key64, with_event_keys
from recsys.features import catalog, sweep
from recsys.features.derive import Context, derive
from recsys.features.log import EventLog, Items, Rows, from_table, items_from_table
from recsys.lake import Lake
from recsys.ranking.ranker import Ranker
from recsys.registry import Bundle, Facts, Registry
from recsys.settings import Settings
from recsys.sources.simulator import Simulator
from recsys.sources.source import day_name, day_number
from recsys.store.opening import open_store
from recsys.training_sets.examples import Examples
from recsys.training_sets.inputs import Inputs

DAYS = 4


@dataclass(frozen=True)
class World:
    settings: Settings
    simulator: Simulator
    champion: Bundle
    other: Bundle  # registered, not promoted: the same towers, another ranker
    user_ids: list[str]
    item_ids: list[str]
    simulator_end: int  # UTC ms of the last event


def cleaned(simulator: Simulator) -> pa.Table:
    """Well-formed events of every day with positions and keys: what dbt makes of them, for the tests' needs."""
    items = pl.from_arrow(simulator.items()).select("item_id", "category", "creator_id")
    days = []
    for number in range(day_number(simulator.first_day()), day_number(simulator.last_day()) + 1):
        events = pl.from_arrow(with_event_keys(simulator.read_day(day_name(number)).events))
        good = events.join(items, on="item_id").filter(
            pl.col("user_id").is_not_null(),
            pl.col("kind").is_in(list(KINDS)),
            pl.col("occurred_at") > 0,
            pl.col("occurred_at") <= pl.col("received_at") + 300_000,
            pl.col("watch_ms").fill_null(0) >= 0,
        )
        good = good.sort("received_at", "event_id").with_columns(
            position=first_position(number) + 1 + pl.int_range(pl.len()).cast(pl.Int64),
            occurred_at=pl.min_horizontal("occurred_at", "received_at"),
        )
        days.append(good)
    log = pl.concat(days).unique("event_id", keep="first", maintain_order=True)
    keys = {
        f"{name}_key": key64(log[column].to_list())
        for name, column in (
            ("user", "user_id"),
            ("item", "item_id"),
            ("category", "category"),
            ("creator", "creator_id"),
            ("shelf", "shelf"),
        )
    }
    return log.with_columns(**{name: pl.Series(values) for name, values in keys.items()}).to_arrow()


def impressions(events: pa.Table) -> pl.DataFrame:
    """Impressions with their outcomes, joined by impression_id."""
    frame = pl.from_arrow(events)
    outcomes = (
        frame.filter(pl.col("impression_id").is_not_null())
        .group_by("impression_id")
        .agg(
            click=(pl.col("kind") == "click").any().cast(pl.Int8),
            long_view=(pl.col("kind") == "long_view").any().cast(pl.Int8),
            like=(pl.col("kind") == "like").any().cast(pl.Int8),
            watch_ms=pl.col("watch_ms").sum(),
        )
    )
    return (
        frame.filter(pl.col("kind") == "impression")
        .drop("watch_ms", "impression_id")
        .rename({"event_id": "impression_id"})
        .join(outcomes, on="impression_id", how="left")
        .with_columns(pl.col("click", "long_view", "like", "watch_ms").fill_null(0))
        .sort("position")
    )


def inputs_of(log: EventLog, items: Items, shown: pl.DataFrame) -> Inputs:
    """The impressions as a ranker meets them, each as of itself."""
    as_of = shown["occurred_at"].to_numpy()
    user_keys, item_keys = shown["user_key"].to_numpy(), shown["item_key"].to_numpy()
    positions = sweep.read_positions(log, as_of)
    aggregates = sweep.point_in_time(
        log, items, Rows(user_keys, item_keys, positions, as_of, key64(shown["shelf"].to_list()))
    )
    context = Context(
        as_of=as_of,
        shelf=key64(shown["shelf"].to_list()),
        device=key64(shown["device"].to_list()),
        slot=shown["slot"].to_numpy().astype(np.int64),
        item=items.lookup(item_keys),
    )
    return Inputs(derive(aggregates, context), item_keys, sweep.histories(log, user_keys, positions, as_of))


def examples(shown: pl.DataFrame, inputs: Inputs, rows: slice) -> Examples:
    part = shown[rows]
    return Examples(
        inputs.take(rows),
        click=part["click"].to_numpy().astype(np.int8),
        long_view=part["long_view"].to_numpy().astype(np.int8),
        like=part["like"].to_numpy().astype(np.int8),
        watch_ms=part["watch_ms"].to_numpy().astype(np.int64),
        user=part["user_key"].to_numpy().astype(np.int64),
        slate=key64(part["request_id"].to_list()),
        propensity=np.ones(part.height),
    )


def make(home: Path, http_port: int = 3000, grpc_port: int = 3001) -> World:
    """Everything `serve` needs, below `home`."""
    from recsys.ranking import factors_training, mmoe_training, xgboost_ranker
    from recsys.ranking.blend import BlendRanker
    from recsys.ranking.mmoe_predict import MMoEConfig
    from recsys.retrieval import sources
    from recsys.retrieval.item_index import IndexedItems, MilvusIndex
    from recsys.retrieval.milvus_server import ensure_milvus
    from recsys.retrieval.two_tower import QueryTower
    from recsys.retrieval.two_tower_network import TwoTower
    from recsys.retrieval.two_tower_query import TowerConfig, Vocabulary
    from recsys.serving.assemble import assemble
    from recsys.sources.world import SHOWN_ON

    settings = Settings(home=home, http_port=http_port, grpc_port=grpc_port, explore=False)
    lake = Lake(home)
    simulator = Simulator(days=DAYS, users=120, seed=3, slates_per_user_day=2.0)
    events, catalogue = cleaned(simulator), simulator.items()
    log, items, shown = from_table(events), items_from_table(catalogue), impressions(events)
    inputs = inputs_of(log, items, shown)
    cut = len(shown) * 3 // 4

    store = open_store(settings, create=True)
    store.bootstrap(log, catalogue, log.head, event_keys=events["event_key"].to_pylist())
    store.close()

    names = (items.item_key, np.unique(items.columns.creator_key), np.unique(items.columns.category_key))
    buckets = [
        np.unique(inputs.features[:, catalog.FEATURES.index(f"{n}_bucket")]).astype(np.int64)
        for n in ("shelf", "device")
    ]
    about = np.sort(key64(["country=de", "country=fr", "language=de", "language=fr"]))
    words = np.sort(key64(["language=de", "quiet", "whales"]))  # no item says one of them yet, or has an embedding
    network = TwoTower(
        TowerConfig(dim=16, hidden=32),
        Vocabulary(*names, words, *buckets, about),
        replace(items, given=np.zeros((len(items.item_key), 3), np.float32)),
    )
    tower = QueryTower.of(network, int(log.occurred_at.max()))
    tower.save(lake.models / "two_tower")
    table = pl.from_arrow(catalogue).with_columns(
        item_key=pl.Series(key64(catalogue["item_id"].to_pylist())),
        category_key=pl.Series(key64(catalogue["category"].to_pylist())),
        creator_key=pl.Series(key64(catalogue["creator_id"].to_pylist())),
        item_type_code=pl.col("item_type").replace_strict(ITEM_TYPES, return_dtype=pl.Int64),
    )
    sources.learn(log, table.to_arrow(), SHOWN_ON).save(lake.models / "two_tower")
    vectors = dict(zip(items.item_key.tolist(), tower.embed_items(items), strict=True))

    embedding = np.stack([vectors[key] for key in table["item_key"].to_list()])
    indexed = IndexedItems.of(table["item_id"].to_list(), table["item_type"].to_list(), embedding)
    index = MilvusIndex(ensure_milvus(settings).uri, timeout=10.0)
    collection = index.publish("test", indexed, {"tower": tower.fingerprint})

    facts = Facts(
        features=catalog.FINGERPRINT,
        ranker_features=catalog.FINGERPRINT,
        tower=tower.fingerprint,
        index_tower=tower.fingerprint,
        collection=collection,
        utc_offset_ms=0,
    )
    users = shown["user_id"].unique().sort().to_list()
    registry, bundles = Registry(lake.registry), []
    train, validation = examples(shown, inputs, slice(0, cut)), examples(shown, inputs, slice(cut, None))
    given = (train, validation, catalog.FEATURES, catalog.FINGERPRINT)
    config = mmoe_training.TrainingConfig(max_epochs=2, batch_rows=256, network=MMoEConfig(width=16, min_shown=1))
    for rounds in (10, 20):  # trees alone, and a blend that orders by taste and reads histories
        folder = home / "staging" / str(rounds)
        ranker: Ranker = xgboost_ranker.train(*given, threads=1, seed=1, rounds=rounds)
        if rounds == 20:
            reader = mmoe_training.train(*given, home / "checkpoints", config=config, say=lambda line: None)
            personal = factors_training.train(*given, config=factors_training.TrainingConfig(rounds=20))
            ranker = BlendRanker.fit([ranker, reader, personal], validation, orders=2)
        ranker.save(home / "rankers" / str(rounds))
        assemble(
            folder,
            tower=lake.models / "two_tower",
            sources=lake.models / "two_tower",
            ranker=home / "rankers" / str(rounds),
            items=table.to_arrow(),
            index=indexed,
        )
        bundles.append(registry.register(folder, facts, lineage={"example_users": users[:3]}))
    registry.promote(bundles[0].bundle_id, held=catalog.FINGERPRINT)
    return World(
        settings,
        simulator,
        *bundles,
        user_ids=users,
        item_ids=list(indexed.item_ids),
        simulator_end=int(log.occurred_at.max()),
    )
