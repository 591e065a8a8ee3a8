"""Feast's side of the benchmarks. Runs in Feast's own environment (see feast_environment.py), knows nothing of ours.

    python feast_peer.py historical <folder> <offline store>     reads rows.parquet and asked.parquet there
    python feast_peer.py online <folder> <redis url or ->        reads users.parquet and items.parquet there

Prints one JSON object as its last line.
"""

import json
import os
import resource
import sys
import time
from datetime import timedelta
from pathlib import Path

os.environ["FEAST_USAGE"] = os.environ["FEAST_TELEMETRY"] = "False"
os.environ["DO_NOT_TRACK"] = "1"

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, RepoConfig
from feast.infra.offline_stores.file_source import ParquetFormat
from feast.types import Int64
from feast.value_type import ValueType

ROUNDS = {1: 60, 100: 40, 500: 25}
WARM = 5


def opened(folder, online, offline):
    return FeatureStore(
        config=RepoConfig(
            project="bench", provider="local", registry=str(folder / "registry.db"), online_store=online,
            offline_store={"type": offline}, entity_key_serialization_version=3,
        )
    )  # fmt: skip


def view(folder, name, entity):
    path = folder / f"{name}.parquet"
    columns = [c for c in pq.read_schema(path).names if c not in (entity.join_key, "at")]
    source = FileSource(path=str(path), timestamp_field="at", file_format=ParquetFormat())
    fields = [Field(name=c, dtype=Int64) for c in columns]
    return FeatureView(name=name, entities=[entity], ttl=timedelta(0), schema=fields, source=source), columns


def historical(folder, offline):
    """A join of ready-made rows as of each instant: Feast computes no windows."""
    store = opened(folder, {"type": "sqlite", "path": str(folder / "online.db")}, offline)
    key = Entity(name="key", join_keys=["key"], value_type=ValueType.INT64)
    rows, columns = view(folder, "rows", key)
    store.apply([key, rows])
    asked = pd.read_parquet(folder / "asked.parquet")
    began, wall = time.process_time(), time.perf_counter()
    joined = store.get_historical_features(asked, features=[f"rows:{c}" for c in columns]).to_df()
    took = time.process_time() - began
    joined = joined.sort_values("r")
    known = pd.read_parquet(folder / "rows.parquet").sort_values("at", kind="stable")
    wanted = asked.sort_values("event_timestamp", kind="stable")
    truth = pd.merge_asof(wanted, known, left_on="event_timestamp", right_on="at", by="key").sort_values("r")
    truth = truth.set_index("r").loc[joined["r"]]
    same = all((joined[c].fillna(-1).to_numpy() == truth[c].fillna(-1).to_numpy()).all() for c in columns)
    wall = time.perf_counter() - wall
    return {"cpu_s": took, "wall_s": wall, "asked": len(asked), "returned": len(joined), "same": bool(same)}


def online(folder, redis):
    user = Entity(name="user", join_keys=["user_key"], value_type=ValueType.INT64)
    item = Entity(name="item", join_keys=["item_key"], value_type=ValueType.INT64)
    users, _ = view(folder, "users", user)
    items, _ = view(folder, "items", item)
    service = FeatureService(name="ranker", features=[users, items])
    given = {name: pd.read_parquet(folder / f"{name}.parquet") for name in ("users", "items")}
    online_stores = {"SQLite": {"type": "sqlite", "path": str(folder / "online.db")}}
    if redis != "-":
        online_stores["Redis"] = {"type": "redis", "connection_string": redis}
    told = {}
    for name, config in online_stores.items():
        store = opened(folder / name, config, "file")
        store.apply([user, item, users, items, service])
        for table in ("users", "items"):
            store.write_to_online_store(table, df=given[table])
        told[name] = {str(k): reads(store, service, given, k) for k in ROUNDS}
    return told


def reads(store, service, given, k):
    """Seconds at the quantiles 50 and 99 of one user and k items; every answer is held against what was written."""
    rng, took = np.random.default_rng(5), []
    user_keys, item_keys = given["users"]["user_key"].to_numpy(), given["items"]["item_key"].to_numpy()
    by_user, by_item = given["users"].set_index("user_key"), given["items"].set_index("item_key")
    for round_ in range(WARM + ROUNDS[k]):
        one, many = int(rng.choice(user_keys)), rng.choice(item_keys, k)
        rows = [{"user_key": one, "item_key": int(key)} for key in many]
        began = time.perf_counter()
        answer = store.get_online_features(features=service, entity_rows=rows).to_dict()
        took.append(time.perf_counter() - began)
        if round_ % 10 == 0:
            for table, keys in ((by_user, [one] * k), (by_item, many)):
                for column in (c for c in table.columns if c != "at"):
                    if answer[column] != table[column].loc[keys].tolist():
                        raise SystemExit(f"Feast answers {column} wrongly")
    return [float(q) for q in np.quantile(took[WARM:], [0.5, 0.99])]


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30))  # its joins on a hot key have taken 18 GB
    command, place, extra = sys.argv[1:]
    for name in ("SQLite", "Redis"):
        (Path(place) / name).mkdir(exist_ok=True)
    print(json.dumps(historical(Path(place), extra) if command == "historical" else online(Path(place), extra)))
