"""What can go wrong with the online store, each with what to do."""

from __future__ import annotations


class StoreError(RuntimeError):
    """The online store cannot answer; the message says what to do."""


class StoreMissing(StoreError):
    """There is no store, or it holds no state of these features yet."""


class StoreCorrupt(StoreError):
    """What the store holds cannot be read back."""


class JournalCut(StoreCorrupt):
    """Records that are asked for have left the journal: a later snapshot and the lake hold them."""


class StoreFull(StoreError):
    """The store has no room for the events; none of the batch was taken."""


class StoreBusy(StoreError):
    """Reads of the past are waiting for their turn; the store is well: try again later."""


class OffsetMoved(StoreError):
    """Somebody else read a part of the stream meanwhile; none of the batch was taken."""


class StoreUnavailable(StoreError):
    """The store's server does not answer; nothing is known about the batch: send it again, repeats change nothing."""
