"""Dagster's event log in SQLite, which writes the events of a range of days in one transaction.

Dagster hands such events over in batches (DAGSTER_EVENT_BATCH_SIZE). But its own SQLite storage writes each to two
databases, with a transaction, an engine and four connections for each (Dagster 1.13.27).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import dagster as dg
from dagster._core.storage.event_log.sqlite import SqliteEventLogStorage
from dagster._serdes import ConfigurableClassData


class EventLog(SqliteEventLogStorage):
    """As SqliteEventLogStorage; a batch of materializations is there whole, or not at all."""

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        return cls(inst_data=inst_data, **config_value)

    def store_event_batch(self, events: Sequence[dg.EventLogEntry]) -> None:
        """Events of one run; of one asset where they are materializations."""
        if any(event.dagster_event_type != dg.DagsterEventType.ASSET_MATERIALIZATION for event in events):
            super().store_event_batch(events)
            return
        rows = [self.prepare_insert_event(event) for event in events]
        with self.run_connection(events[0].run_id) as shard:
            for row in rows:
                shard.execute(row)
        with self.index_connection() as index:
            ids = [index.execute(row).inserted_primary_key[0] for row in rows]
            self._store_asset_event_tags(index, events, ids)
            self._store_asset_event(index, events[-1], ids[-1])  # the asset's newest
