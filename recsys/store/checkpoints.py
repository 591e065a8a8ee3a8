"""Checkpoints of a store that services hold, each taken by a process of its own: one that answers neither waits for it
nor needs room for it.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from typing import Final

from recsys.beside import NICE, alone, run_beside
from recsys.settings import Settings, from_environment
from recsys.store.errors import StoreError
from recsys.store.online import OnlineStore
from recsys.store.opening import open_store

RECORDS: Final = 40_000  # since the snapshot: of .8 s of CPU in which a store is opened they take .4
LOOK_SECONDS: Final = 10.0
log = logging.getLogger("recsys.store")


def take(settings: Settings, after: int) -> bool:
    """Take a checkpoint when more than `after` records came since the last one; not while another is being taken."""
    with alone(settings.home / "checkpoint.lock") as mine:
        if not mine:
            return False
        store = open_store(settings)
        try:
            return store.checkpoint(after)
        finally:
            store.close()


class Checkpoints:
    """Looks from time to time whether one is due, in a thread of its own."""

    def __init__(self, store: OnlineStore, settings: Settings, *, records: int = RECORDS) -> None:
        self._store, self._settings, self._records = store, settings, records
        self._asked_at = 0  # records since the snapshot when it was last asked for
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="checkpoints", daemon=True)
        self._thread.start()

    def look(self) -> None:
        """Take one if it is due."""
        held = self._store.since_snapshot
        if held < self._asked_at:  # this process reads from a later snapshot now
            self._asked_at = 0
        if held - self._asked_at <= self._records:
            return
        self._asked_at = held
        store = {"RECSYS_HOME": str(self._settings.home), "RECSYS_STORE": self._settings.store.get_secret_value()}
        status, said = run_beside("recsys.store.checkpoints", str(self._records), **store)
        if status:
            log.error("no checkpoint of the store was taken: %s", said)

    def close(self) -> None:
        """Stop; a checkpoint that is being taken goes on."""
        self._stop.set()

    def _watch(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            self.look()


def main() -> int:
    """RECORDS, of the store that the environment names."""
    os.nice(NICE)
    try:
        take(from_environment(), int(sys.argv[1]))
    except StoreError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
