"""dbt on a lake made for a test, published as the assets do it, without Dagster around."""

import json
import os
import subprocess

import pyarrow as pa

from recsys.cleaned.publish import publish, publish_items, scratch
from recsys.events import EVENT_SCHEMA, ITEM_SCHEMA, with_event_keys
from recsys.lake import Lake
from recsys_assets.defs.cleaned import project
from recsys_assets.defs.cleaned.project import DBT, PROJECT

MIDNIGHT = 1767571200000  # 2026-01-05 00:00 UTC


def event(event_id, kind, at, received=None, **values):
    """A row of EVENT_SCHEMA; instants in ms after MIDNIGHT."""
    row = {
        "event_id": event_id,
        "kind": kind,
        "user_id": "u",
        "item_id": "i",
        "occurred_at": MIDNIGHT + at,
        "received_at": MIDNIGHT + (at if received is None else received),
    }
    return row | values


def write_day(lake, day, rows):
    lake.write(with_event_keys(pa.Table.from_pylist(rows, EVENT_SCHEMA)), lake.day(day, "raw", "events"))


def write_items(lake, *ids):
    rows = [{"item_id": i, "item_type": "video", "category": "news", "creator_id": "c1"} for i in ids]
    lake.write(pa.Table.from_pylist(rows, ITEM_SCHEMA), lake.table("raw", "items"))


def dbt(lake: Lake, *arguments: str, start: str = "2026-01-05", end: str = "2026-01-05") -> str:
    folder = scratch(lake)
    folder.mkdir(parents=True, exist_ok=True)
    command = [str(DBT), "--no-use-colors", *arguments, "--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT)]
    command += ["--target-path", str(folder / "target"), "--log-path", str(folder / "logs")]
    command += ["--vars", json.dumps({"start": start, "end": end})]
    done = subprocess.run(
        command, env=os.environ | {"RECSYS_HOME": str(lake.home)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


def build(lake: Lake, *days: str, utc_offset_ms: int = 0) -> dict[str, int]:
    """Build, test and publish those days."""
    variables = {"start": days[0], "end": days[-1], "utc_offset_ms": str(utc_offset_ms)}
    built = project.build(lake.home, scratch(lake) / "target", [], variables)
    assert built.failure is None, built.failure
    publish_items(lake)
    return publish(lake, days)
