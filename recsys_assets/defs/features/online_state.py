"""The state that the service reads, begun anew from the archived log."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

import dagster as dg
import numpy as np
import pyarrow.compute as pc

from recsys.beside import alone
from recsys.cleaned import live as from_service
from recsys.cleaned.log import read_keys, read_log
from recsys.cleaned.versions import heard
from recsys.events import ITEM_SCHEMA
from recsys.features.catalog import FEATURES
from recsys.features.log import merged
from recsys.features.parity import audit_served
from recsys.serving import served_log
from recsys.sources.opening import open_source
from recsys.store import archived
from recsys.store.known import horizon
from recsys.store.opening import open_store
from recsys_assets.checks.nothing import nothing
from recsys_assets.content import content
from recsys_assets.resources import Workspace

REPLAYED_ROWS: Final = 20_000  # drawn by chance from segments of all days: 20 MB, however long the log is
REPLAYED_REQUESTS: Final = 50  # a day's check takes seconds
LATEST_ROWS: Final = 5_000  # among which they are


@dg.asset(
    deps=["cleaned_events", "items"],
    kinds={"numba"},
    owners=["team:recsys"],
    check_specs=[dg.AssetCheckSpec("the_journal_is_cut", asset="online_state")],
)
def online_state(workspace: Workspace) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """Packed state of every entity at the head of the cleaned log; later live events are kept and applied on top.

    Then those that the lake holds leave the store's journal, but for the last days.
    """
    lake, settings = workspace.lake, workspace.settings
    offset = open_source(settings).utc_offset_ms
    with alone(lake.home / "online_state.lock", wait=True):  # a lake that was read before does not hold what left since
        aside, told = from_service.set_aside(lake), heard(lake)
        log = merged(read_log(lake), from_service.counted(aside))
        store = open_store(settings, create=True)
        try:
            since = horizon(log, store.journal, settings.deduplication_days, time.time_ns() // 1_000_000)
            keys = read_keys(lake, from_service.local_day(since, offset))
            events = store.bootstrap(
                log,
                lake.read(lake.table("cleaned", "items"), ITEM_SCHEMA.names),
                log.head,
                event_keys=[*keys, *aside["event_key"].to_pylist()],
                known_since=since,
                utc_offset_ms=offset,
                heard=told,
                judged=lambda positions: from_service.holds(lake, positions),
            )
            cut = archived.cut(
                store.journal,
                store.fingerprint,
                lambda since: from_service.keys_since(lake, since, offset),
                store.knows,
                0 if told is None else int(pc.max(told["position"]).as_py() or 0),
                settings.journal_days,
            )
            size = store.journal.size()
        finally:
            store.close()
    yield dg.MaterializeResult(
        metadata={
            "dagster/row_count": events,
            "position": log.head,
            "fingerprint": store.fingerprint,
            "journal_records": size.records,
            "journal_bytes": size.bytes,
            "left_the_journal": cut.left,
        },
        data_version=content(
            lake.table("cleaned", "items"),
            *(lake.day(day, "cleaned", "events") for day in lake.days("cleaned", "events")),
        ),
    )
    yield dg.AssetCheckResult(
        check_name="the_journal_is_cut",
        passed=not cut.not_in_lake and not cut.held_by,
        severity=dg.AssetCheckSeverity.WARN,
        description=str(cut),
        metadata={"not_in_lake": cut.not_in_lake, "held_by": cut.held_by},
    )


@dg.asset_check(asset="online_state", blocking=True)
def replay(workspace: Workspace) -> dg.AssetCheckResult:
    """Feature rows that were served are read again from the log at their position and instant: the same bytes."""
    store = open_store(workspace.settings)
    try:
        chance = np.random.default_rng(store.head())  # others each night, and the same when it is asked again
        served = served_log.draw(workspace.lake.served_log, REPLAYED_ROWS, chance)
        audited = audit_served(store.export()[0], store.items_at, served)
    finally:
        store.close()
    rows = audited.values // len(FEATURES)
    looked_at = f"{rows:,} of {served.num_rows:,} served rows"
    if rows < served.num_rows:
        looked_at += ", the others are of other features or bear none"
    metadata = {"values": audited.values, "mismatches": audited.mismatches, "rows": rows, "served": served.num_rows}
    if not audited.values:
        return nothing(f"nothing was served with these features yet ({looked_at})", metadata=metadata)
    return dg.AssetCheckResult(passed=audited.holds, description=f"{audited} ({looked_at})", metadata=metadata)


@dg.asset_check(asset="online_state", blocking=True)
def request_replay(workspace: Workspace) -> dg.AssetCheckResult:
    """The last requests, answered again from bundle and log: the same items, order, scores and features."""
    from recsys.policy.exploration import Explorer
    from recsys.registry import Registry
    from recsys.serving import bundle
    from recsys.serving.replay import replay_requests

    lake, settings = workspace.lake, workspace.settings
    served = served_log.draw(lake.served_log, LATEST_ROWS)
    store, registry = open_store(settings), Registry(lake.registry)
    try:
        replays = replay_requests(
            served,
            store,
            lambda name: bundle.load(registry.get(name), None, store.fingerprint, registry),
            Explorer(registry.secret()),
            latest=REPLAYED_REQUESTS,
        )
    finally:
        store.close()
    requests = replays.same + len(replays.different)
    metadata = {"requests": requests, "left_out": len(replays.left_out)}
    if not requests:
        why = f"all {len(replays.left_out)} that were looked at were left out ({replays.why_left_out})"
        words = why if replays.left_out else "no slate was served with these features yet"
        return nothing(f"no request was answered again: {words}", metadata=metadata)
    return dg.AssetCheckResult(passed=not replays.different, description=str(replays), metadata=metadata)
