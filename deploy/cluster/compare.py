"""What has to be the same in the cluster and in one process: how much of it was looked at, how much differs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from deploy.cluster.day import USERS, K, ask, own, users_of
from recsys.cleaned.log import read_log
from recsys.cleaned.versions import item_history
from recsys.features.impressions import IMPRESSION_COLUMNS, impression_features
from recsys.features.log import EventLog
from recsys.lake import Lake
from recsys.policy.shelves import SHELVES
from recsys.settings import from_environment
from recsys.store.opening import open_store

ITEMS = 50
PAST_MS = 5 * 60_000  # an instant nearer than that is now, to a slate


@dataclass
class Comparison:
    """Rows of: what, how many of it, how many of them differ."""

    rows: list[tuple[str, int, int]] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether there was something to look at everywhere, and nothing differs."""
        return bool(self.rows) and all(looked > 0 and different == 0 for _, looked, different in self.rows)

    def screen(self, behind: int) -> str:
        lines = [f"  {name:<66}{looked:>12,}{different:>11,}" for name, looked, different in self.rows]
        head = f"  {'cluster and one process':<66}{'compared':>12}{'different':>11}"
        verdict = "the same bytes" if self.holds and not behind else "NOT THE SAME"
        return "\n".join(["", head, *lines, "", verdict])


def acknowledged(compared: Comparison, told: Sequence[str], home: Path, day: str) -> None:
    """Each event that a service took is in the lake after the night, once."""
    lake = Lake(home)
    kept = Counter(lake.read(lake.day(day, "cleaned", "events"), ["event_id"])["event_id"].to_pylist())
    compared.rows.append(("events acknowledged: in the lake, once", len(told), sum(kept[event] != 1 for event in told)))


def day_of_features(compared: Comparison, home: Path, alone: Path, history: str, live: str) -> None:
    """By Spark's workers and by the local sweep: of the history's last day, and of the day that was lived."""
    lake, other = Lake(home), Lake(alone)
    asked = lake.read(lake.day(history, "cleaned", "impressions"), IMPRESSION_COLUMNS)
    swept = _stored(impression_features(read_log(lake, through=history), item_history(lake), asked))
    ours = lake.day(live, "features", "impressions")
    theirs = other.read(other.day(live, "features", "impressions"))
    for day, table in ((history, swept), (live, theirs)):
        kept = lake.read(lake.day(day, "features", "impressions"))
        different = sum(_bytes(kept[name]) != _bytes(table[name]) for name in table.column_names)
        compared.rows.append(
            (f"features of {day}, values (columns that differ)", table.num_rows * table.num_columns, different)
        )
    files(compared, f"features of {live}, bytes of the file", ours, other.day(live, "features", "impressions"))


def files(compared: Comparison, name: str, ours: Path, theirs: Path) -> None:
    """Every byte of a file, or of the files of a folder."""
    pairs = [(ours, theirs)]
    if not ours.is_file():
        names = {path.relative_to(root) for root in (ours, theirs) for path in root.rglob("*") if path.is_file()}
        pairs = [(ours / path, theirs / path) for path in sorted(names)]
    looked = different = 0
    for pair in pairs:
        sizes, wrong = _differ(*(np.frombuffer(p.read_bytes() if p.exists() else b"", np.uint8) for p in pair))
        looked, different = looked + sizes, different + wrong
    compared.rows.append((name, looked, different))


def state(compared: Comparison, one: Mapping[str, str], other: Mapping[str, str], at: int) -> None:
    """The log that both stores hold, and what reads of many users and items see."""
    stores = [open_store(from_environment(own(given))) for given in (one, other)]
    try:
        logs = [store.export()[0] for store in stores]
        found = [_differ(*(np.asarray(getattr(log, name)) for log in logs)) for name in EventLog._fields]
        compared.rows.append(("log of the store", *np.sum(found, axis=0).tolist()))
        home = Path(one["RECSYS_HOME"])
        path = Lake(home).table("cleaned", "items")
        items = pq.read_table(path, columns=["item_id"])["item_id"].to_pylist()[:ITEMS]
        users, found = users_of(home), []
        for user in users:
            reads = [store.read(user, items, at) for store in stores]
            found += [
                _differ(*(np.asarray(getattr(read, name)) for read in reads))
                for name in ("aggregates", "history_item_keys", "history_kinds")
            ]
        compared.rows.append((f"state of {len(users)} users by {len(items)} items", *np.sum(found, axis=0).tolist()))
    finally:
        for store in stores:
            store.close()


def answers(compared: Comparison, urls: Sequence[str], home: Path, at: int) -> None:
    """Slates of every shelf and rows of features by each service, all as of one instant."""
    time.sleep(max(0.0, (at + PAST_MS) / 1e3 + 1.0 - time.time()))
    users = users_of(home)[:USERS]
    slates: list[list[dict[str, Any]]] = []
    rows: list[list[dict[str, Any]]] = []
    with httpx.Client(timeout=60.0) as http:
        for url in urls:
            told = [
                ask(http, url, "recommend", {"user_id": user, "k": K, "shelf": shelf, "context": {"at": at}})
                for user in users
                for shelf in SHELVES
            ]
            slates.append([{**slate, "request_id": ""} for slate in told])
            asked = [str(item["item_id"]) for item in told[0]["items"]]
            rows.append([ask(http, url, "features", {"user_id": user, "item_ids": asked, "at": at}) for user in users])
    for name, part, each in (("slates", "items", slates), ("answers of /features", "rows", rows)):
        first, *others = each
        looked = sum(len(answer[part]) for told in others for answer in told)
        different = sum(a != b for other in others for a, b in zip(first, other, strict=True))
        compared.rows.append((f"{name} of {len(urls)} services, {part} (answers that differ)", looked, different))


def _differ(one: np.ndarray, other: np.ndarray) -> tuple[int, int]:
    """How many values, how many differ; what one of them lacks differs."""
    if one.ndim > 1 and one.shape != other.shape:
        return max(one.size, other.size), max(one.size, other.size)
    common = min(len(one), len(other))
    missing = max(len(one), len(other)) - common
    return max(one.size, other.size), int((one[:common] != other[:common]).sum()) + missing


def _stored(table: pa.Table) -> pa.Table:
    """As it comes back from Parquet, which calls the values of a list `element` where Arrow calls them `item`."""
    file = pa.BufferOutputStream()
    pq.write_table(table, file)
    return pq.read_table(pa.BufferReader(file.getvalue()))


def _bytes(column: pa.ChunkedArray) -> bytes:
    """Of a column, whatever its chunks: a NaN equals a NaN of the same bits."""
    table = pa.table({"column": column.combine_chunks()})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()
