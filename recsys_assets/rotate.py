"""`make rotate [NEW=<id>]`: adds a key if NEW names one, then encrypts everything with the newest key."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from recsys import keyfile
from recsys.encryption import LOOK_SECONDS
from recsys.lake import Lake
from recsys.serving import served_log
from recsys.serving.segment_files import ServedLogError
from recsys.settings import Settings, SettingsError, from_environment
from recsys.store.errors import StoreError, StoreMissing
from recsys.store.opening import open_store
from recsys_assets.home import HomeError, one_run_at_a_time


def rotated(settings: Settings) -> str:
    """Encrypt journal and served log anew, and say so in one line. Services may run; killed, it is repeated."""
    if settings.encryption_keys is None:
        raise SettingsError("RECSYS_ENCRYPTION_KEYS names no file of keys: set it, here and for every service")
    with one_run_at_a_time(settings):
        time.sleep(2 * LOOK_SECONDS)  # until every service encrypts with the newest key
        told = "the journal"
        try:
            store = open_store(settings)
        except StoreMissing:
            told = "no journal yet"
        else:
            try:
                if settings.has_embedded_store:
                    store.journal.compact(store.fingerprint)
                else:
                    told = "not the journal, which lies in Redis: encrypt its disk"
            finally:
                store.close()
        segments = served_log.encrypt_again(Lake(settings.home).served_log)
    newest = list(keyfile.read(settings.encryption_keys))[-1]
    return f"encrypted with key {newest}: {told}, {segments} segments of the served log; backups from the next one on"


def main(arguments: Sequence[str] | None = None) -> int:
    """One line either way; status 2 when it was not done to the end."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        if given and given[0]:
            keyfile.add(_file(), given[0])
        print(rotated(from_environment()))
    except (SettingsError, HomeError, StoreError, ServedLogError, ValueError, OSError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 2
    return 0


def _file() -> Path:
    """Where the keys are to be: the file need not be there yet."""
    named = os.environ.get("RECSYS_ENCRYPTION_KEYS")
    if not named:
        raise SettingsError("say in RECSYS_ENCRYPTION_KEYS where the file of keys is to be")
    return Path(named)


if __name__ == "__main__":
    sys.exit(main())
