#!/usr/bin/env bash
# Expected: a feature store's online side holds the row of the latest event time, in whatever order rows arrive; that is
# what the timestamp column is for.
# Happens: Feast's store on Redis compares the instants. The one on SQLite, its default, writes what comes last: a late
# row replaces a newer one, and the older row of a batch that is sorted the other way stays. Both say PRESENT for a row of
# five days in a view whose ttl is an hour.
# Matters: a backfill or a retried push beside a stream turns features back, in tests and small services; with another
# store under the same definitions they are right.
# Needs redis-server on the PATH.
set -euo pipefail
command -v redis-server >/dev/null || { echo "skipped: no redis-server on the PATH"; exit 0; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: feast==0.67.0 redis==8.1.0
cd "$work"
venv/bin/python - <<'PY'
import datetime
import logging
import os
import socket
import subprocess
import warnings
from pathlib import Path

warnings.simplefilter("ignore")
import feast
import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, PushSource, RepoConfig, ValueType
from feast.data_source import PushMode
from feast.types import Int64

logging.disable(logging.CRITICAL)
print("feast", feast.__version__)
NOW = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
MINUTE, DAY = datetime.timedelta(minutes=1), datetime.timedelta(days=1)
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]


def rows(*plays_at):
    return pd.DataFrame({"user": 1, "plays": [p for p, _ in plays_at], "at": [at for _, at in plays_at]})


def opened(kind):
    """A store with one view, whose ttl is an hour."""
    folder = Path(kind).absolute()
    folder.mkdir()
    rows((0, NOW - 9 * DAY)).to_parquet(folder / "plays.parquet")
    online = {
        "sqlite": {"type": "sqlite", "path": str(folder / "online.db")},
        "redis": {"type": "redis", "connection_string": f"127.0.0.1:{port}"},
    }[kind]
    store = FeatureStore(
        config=RepoConfig(
            project="p", registry=str(folder / "registry.db"), provider="local", online_store=online,
            offline_store={"type": "dask"}, entity_key_serialization_version=3,
        )
    )
    user = Entity(name="user", join_keys=["user"], value_type=ValueType.INT64)
    source = PushSource(name="push", batch_source=FileSource(path=str(folder / "plays.parquet"), timestamp_field="at"))
    fields = [Field(name="plays", dtype=Int64)]
    store.apply([user, FeatureView(name="of_user", entities=[user], ttl=60 * MINUTE, schema=fields, source=source)])
    return store


def asked(store):
    return store.get_online_features(features=["of_user:plays"], entity_rows=[{"user": 1}])


server = subprocess.Popen(["redis-server", "--port", str(port), "--save", ""], stdout=subprocess.DEVNULL)
try:
    for kind, late, batch in (("sqlite", 1, 3), ("redis", 2, 4)):
        store = opened(kind)
        store.push("push", rows((7, NOW - 5 * DAY)), to=PushMode.ONLINE)
        old = asked(store)
        stale = old.to_dict()["plays"][0], int(old.proto.results[-1].statuses[0])
        for plays, at in ((2, NOW - 5 * MINUTE), (1, NOW - 10 * MINUTE)):
            store.push("push", rows((plays, at)), to=PushMode.ONLINE)
        after_late = asked(store).to_dict()["plays"][0]
        store.push("push", rows((4, NOW), (3, NOW - MINUTE)), to=PushMode.ONLINE)
        after_batch = asked(store).to_dict()["plays"][0]
        print(f"{kind}: 2, then the older 1: {after_late}; newest first in a batch, 4 and 3: {after_batch}; five days old: {stale}")
        assert (after_late, after_batch) == (late, batch)
        assert stale == (7, 1)  # PRESENT
finally:
    server.kill()
PY
