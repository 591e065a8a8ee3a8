"""The state that the service reads, begun anew from the archived log."""

from __future__ import annotations

from typing import Final

import dagster as dg

from recsys.events import ITEM_SCHEMA
from recsys.features.log import EventLog, from_table
from recsys.features.parity import audit_served
from recsys.features.store import open_store
from recsys.serving import served_log
from recsys.sources.source import open_source
from recsys_assets.resources import Workspace

REPLAYED_REQUESTS: Final = 50  # a day's check takes seconds


@dg.asset(deps=["cleaned_events", "items"], kinds={"numba"}, owners=["team:recsys"])
def online_state(workspace: Workspace) -> dg.MaterializeResult:
    """Packed state of every entity at the head of the cleaned log; later live events are kept and applied on top."""
    lake, settings = workspace.lake, workspace.settings
    columns = ["event_id", *(name for name in EventLog._fields if name != "kind"), "kind_code"]
    table = lake.read_days(lake.days("cleaned", "events"), "cleaned", "events", columns=columns)
    log = from_table(table)
    store = open_store(settings, create=True)
    try:
        events = store.bootstrap(
            log,
            lake.read(lake.table("cleaned", "items"), ITEM_SCHEMA.names),
            log.head,
            event_ids=table["event_id"].to_pylist(),
            utc_offset_ms=open_source(settings).utc_offset_ms,
        )
    finally:
        store.close()
    return dg.MaterializeResult(
        metadata={"dagster/row_count": events, "position": log.head, "fingerprint": store.fingerprint}
    )


@dg.asset_check(asset="online_state", blocking=True)
def replay(workspace: Workspace) -> dg.AssetCheckResult:
    """Every feature row that was served is read again from the log at its position and instant: the same bytes."""
    served = served_log.read(served_log.segments(workspace.lake.served_log))
    store = open_store(workspace.settings)
    try:
        found = audit_served(store.export()[0], store.items_at, served)
    finally:
        store.close()
    return dg.AssetCheckResult(
        passed=found.mismatches == 0,
        description=str(found) if found.values else "nothing was served with these features yet",
        metadata={"values": found.values, "mismatches": found.mismatches},
    )


@dg.asset_check(asset="online_state", blocking=True)
def request_replay(workspace: Workspace) -> dg.AssetCheckResult:
    """The last requests, answered again from bundle and log: the same items, order, scores and features."""
    from recsys.registry import Registry
    from recsys.serving import bundle
    from recsys.serving.replay import replay_requests

    lake, settings = workspace.lake, workspace.settings
    served = served_log.read(served_log.segments(lake.served_log))
    store, registry = open_store(settings), Registry(lake.registry)
    try:
        found = replay_requests(
            served,
            store,
            lambda name: bundle.load(registry.get(name), None, store.fingerprint, registry),
            latest=REPLAYED_REQUESTS,
        )
    finally:
        store.close()
    return dg.AssetCheckResult(
        passed=not found.different,
        description=str(found) if found.same or found.different else "no slate was served with these features yet",
        metadata={"requests": found.same + len(found.different), "left_out": len(found.left_out)},
    )
