"""With the same receipts and order, the same events by HTTP, gRPC, Kafka and file give the same feature bytes."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import grpc
import httpx
import numpy as np
import pyarrow as pa
import pytest

from bentos.recommender import grpc_server
from bentos.recommender.calls import Calls
from bentos.recommender.dev_stream import Broker
from bentos.recommender.ending import Ending
from bentos.recommender.front_door import FrontDoor
from bentos.recommender.gate import Gate
from bentos.recommender.health import Health
from bentos.recommender.inside import Inside
from bentos.recommender.observer import Observer
from bentos.recommender.recsys_v1 import recommender_pb2 as pb
from bentos.recommender.recsys_v1 import recommender_pb2_grpc as pb_grpc
from recsys.events import DAY_MS, HOUR_MS, ITEM_SCHEMA, MINUTE_MS, key64
from recsys.features.catalog import FEATURES
from recsys.features.derive import Context, derive
from recsys.features.log import empty
from recsys.serving.about_log import AboutLog
from recsys.serving.bundles import Fixed
from recsys.serving.pipeline import Recommender
from recsys.settings import Settings
from recsys.sources.derived import Rules
from recsys.store.opening import open_store
from tests.serving.running import free_port
from tests.stream.reading import kafka_of, produce, reading, until

BEGIN = 1_767_571_200_000  # 2026-01-05 00:00 UTC
ITEMS, USERS, TOLD = 8, 4, 120
RULES = Rules(long_view=True)  # what the files' log implies: it has plays and no long views
Rows = list[dict[str, Any]]


def told() -> Rows:
    """Events of two days as they came, each with its receipt: late ones, repeats and some that are none."""
    chance, rows = random.Random(5), []
    for n in range(TOLD):
        received = BEGIN + 2 * HOUR_MS + n * 20 * MINUTE_MS
        row = {
            "event_id": f"e{n}",
            "kind": chance.choice(("impression", "impression", "click", "play", "skip", "like", "search")),
            "user_id": f"u{chance.randrange(USERS)}",
            "item_id": f"i{chance.randrange(ITEMS)}",
            "occurred_at": received - chance.choice((0, 500, 90_000, 5 * HOUR_MS)),
            "shelf": chance.choice(("feed", "podcasts")),
            "device": "phone",
        }
        row |= {"watch_ms": chance.randrange(40_000)} if row["kind"] == "play" else {}
        row |= {"query": "whales", "item_id": None} if row["kind"] == "search" else {}
        match n % 12:
            case 5:
                row["kind"] = "nap"
            case 7:
                row["consent"] = False
            case 9:
                row = {**rows[n - 4], "received_at": None} if n % 24 == 9 else dict(rows[n - 3])
            case 11:
                del row["event_id"]
        rows.append({**row, "received_at": received})
    return [{name: value for name, value in row.items() if value is not None} for row in rows]


def catalogue() -> Rows:
    return [
        {"item_id": f"i{n}", "item_type": "video", "category": f"topic{n % 3}", "creator_id": f"maker{n % 2}",
         "title": f"title {n}", "tags": [], "duration_ms": 5_000 * n, "published_at": BEGIN - DAY_MS,
         "is_available": True, "id_is_integer": False}
        for n in range(ITEMS)
    ]  # fmt: skip


def from_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Taken in as the nightly job does it, up to the online state."""
    from dagster_pyspark import LazyPySparkResource

    from recsys_assets.defs.cleaned import tables
    from recsys_assets.defs.features import online_state
    from recsys_assets.defs.ingestion import raw
    from recsys_assets.resources import Workspace

    data = home / "data"
    data.mkdir(parents=True)
    for table, rows in (("events", told()), ("items", catalogue())):
        (data / f"{table}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, value in {"HOME": home, "SOURCE": "files", "DATA": data}.items():
        monkeypatch.setenv(f"RECSYS_{name}", str(value))
    definitions = dg.Definitions(
        assets=dg.load_assets_from_modules([raw, tables, online_state]),
        resources={"workspace": Workspace(), "spark": LazyPySparkResource(spark_config={})},
    )
    tags = {"dagster/asset_partition_range_start": "2026-01-05", "dagster/asset_partition_range_end": "2026-01-06"}
    with dg.DagsterInstance.ephemeral() as instance:
        job = definitions.resolve_implicit_global_asset_job_def()
        assert job.execute_in_process(instance=instance, tags=tags).success


def begun(home: Path) -> Any:
    """A store that knows the items, and no event."""
    store = open_store(Settings(home=home), create=True)
    store.bootstrap(empty(), pa.Table.from_pylist(catalogue(), ITEM_SCHEMA), 0)
    return store


@dataclasses.dataclass
class Front:
    """Both fronts over a store of their own, by a clock that is set."""

    recommender: Recommender
    settings: Settings
    now: list[int]

    async def tell(self, by_grpc: bool) -> list[tuple[int, int, int]]:
        calls, ending = Calls(60.0), Ending()
        calls.open(self.recommender)
        observer, gate, inside = Observer(calls), Gate.of(self.settings), Inside(self.settings)
        if not by_grpc:
            door = FrontDoor(None, calls, observer, gate, Health(self.settings, calls, ending), inside)  # type: ignore[arg-type]
            async with httpx.AsyncClient(transport=httpx.ASGITransport(door), base_url="http://door") as client:
                return [await self._by_http(client, row) for row in told()]
        servicer, port = grpc_server.Servicer(calls, observer, gate, inside), free_port()
        server, checks = await grpc_server.start(servicer, "127.0.0.1", port, None)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            answers = [await self._by_grpc(pb_grpc.RecommenderStub(channel), row) for row in told()]
        await grpc_server.stop(server, checks)
        return answers

    async def _by_http(self, client: httpx.AsyncClient, row: dict[str, Any]) -> tuple[int, int, int]:
        answer = (await client.post("/events", json={"events": [self._set(row)]})).json()
        return answer["accepted"], answer["duplicates"], len(answer["rejected"])

    async def _by_grpc(self, stub: Any, row: dict[str, Any]) -> tuple[int, int, int]:
        answer = await stub.RecordEvents(pb.RecordEventsRequest(events=[pb.Event(**self._set(row))]))
        return answer.accepted, answer.duplicates, len(answer.rejected)

    def _set(self, row: dict[str, Any]) -> dict[str, Any]:
        """The event as it is told, at its receipt."""
        self.now[0] = row["received_at"]
        return said(row)


def said(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "received_at"}


def features(store: Any) -> Iterator[bytes]:
    names = [f"i{n}" for n in range(ITEMS)]
    zero = np.zeros(ITEMS, np.int64)
    for user in (f"u{n}" for n in range(USERS)):
        for instant in (BEGIN + 2 * DAY_MS, BEGIN + 9 * DAY_MS):
            for shelf in key64(["feed", "podcasts"]).tolist():
                read = store.read(user, names, instant, shelf_key=shelf)
                context = Context(zero + instant, zero + shelf, zero, zero, read.item)
                yield derive(read.aggregates, context).tobytes()
                yield read.history_kinds.tobytes() + read.history_item_keys.tobytes()


def test_the_same_events_give_the_same_feature_bytes_by_http_grpc_kafka_and_file(
    recommender: Recommender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from_file(tmp_path / "file", monkeypatch)
    bundle = dataclasses.replace(recommender._bundles.current, about_log=AboutLog(RULES))
    outcomes, stores = {}, {"file": open_store(Settings(home=tmp_path / "file"))}
    for way in ("http", "grpc"):
        stores[way], now = begun(tmp_path / way), [0]
        over = Recommender(stores[way], Fixed(bundle), None, clock=lambda now=now: now[0])
        settings = Settings(home=tmp_path / way, page=False)
        outcomes[way] = asyncio.run(Front(over, settings, now).tell(way == "grpc"))
    stores["kafka"] = begun(tmp_path / "kafka")
    with Broker() as broker:
        kafka, receipts = kafka_of(broker, partitions=1), [row["received_at"] for row in told()]
        produce(kafka, [said(row) for row in told()])
        done = [0, 0, 0]

        def counted() -> int:
            done[:] = stream.progress.accepted, stream.progress.duplicates, stream.progress.rejected.total()
            return sum(done)

        with reading(kafka, stores["kafka"], rules=lambda: RULES, most=1, clock=lambda: receipts[counted()]) as stream:
            until(lambda: counted() == TOLD)
    totals = {way: [sum(column) for column in zip(*each, strict=True)] for way, each in outcomes.items()}
    assert totals["http"] == totals["grpc"] == done and min(done) >= 5
    ours = {way: list(features(store)) for way, store in stores.items()}
    assert ours["http"] == ours["grpc"] == ours["kafka"] == ours["file"]
    assert len(set(ours["file"])) > USERS * 4 and len(FEATURES) > 50
    logs = {way: store.export()[0] for way, store in stores.items()}
    assert all(np.array_equal(log.kind, logs["file"].kind) for log in logs.values()) and 4 in logs["file"].kind
