"""The online store that the settings name, with its engine."""

from __future__ import annotations

import pyarrow as pa

from recsys.events import RAW_EVENT_SCHEMA
from recsys.settings import CLUSTER_SCHEMES, Settings
from recsys.store import told
from recsys.store.errors import StoreMissing
from recsys.store.journal import Journal
from recsys.store.online import OnlineStore


def open_journal(settings: Settings, create: bool = False) -> Journal:
    """The journal that the settings name: `lmdb` (a folder below RECSYS_HOME), redis://host:port/db, or
    redis+cluster://host:port,host:port.

    Raises:
        StoreMissing: there is none (and `create` is false).
        StoreCorrupt, StoreUnavailable: it cannot be read.
    """
    address = settings.store.get_secret_value()
    if settings.has_embedded_store:
        from recsys.store.lmdb_journal import LmdbJournal

        return LmdbJournal(settings.home / "store", create=create)
    if address.startswith(CLUSTER_SCHEMES):
        from recsys.store.cluster_journal import ClusterJournal

        return ClusterJournal(address)
    from recsys.store.redis_journal import RedisJournal

    return RedisJournal(address)


def open_store(settings: Settings, create: bool = False) -> OnlineStore:
    """The store over that journal.

    Raises:
        StoreMissing: it was never bootstrapped (and `create` is false).
        StoreCorrupt, StoreUnavailable: it cannot be read.
    """
    return OnlineStore(open_journal(settings, create), create=create, cache_mb=settings.store_cache_mb)


def told_events(settings: Settings) -> pa.Table:
    """The events that services took and that have not left the journal (RAW_EVENT_SCHEMA), of whatever features the
    state is; none before a store is there.

    Raises:
        StoreCorrupt, StoreUnavailable: it cannot be read.
    """
    try:
        journal = open_journal(settings)
    except StoreMissing:
        return RAW_EVENT_SCHEMA.empty_table()
    try:
        return told.events_after(journal, 0)
    finally:
        journal.close()
