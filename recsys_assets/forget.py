"""`make forget USER=<id>`: removes every byte of a user below RECSYS_HOME and in the online store."""

from __future__ import annotations

import sys
import time

from recsys.lake import Lake
from recsys.privacy.border import Border, PrivacyError
from recsys.serving.forget import Gone, forget
from recsys.settings import Settings, SettingsError, from_environment
from recsys.store.errors import StoreError, StoreMissing
from recsys.store.opening import open_store
from recsys.vocabulary import BLANKS
from recsys_assets.home import HomeError, one_run_at_a_time


def forgotten(settings: Settings, user_id: str) -> str:
    """Forget a user, and say in one line what went. Blanks around an id are no part of it, as in files and requests.

    Raises:
        PrivacyError, StoreError, HomeError: it was not done, or not to the end; what to do is said.
    """
    with one_run_at_a_time(settings):
        try:
            store = open_store(settings)
        except StoreMissing:
            if not settings.has_embedded_store or Lake(settings.home).store.exists():
                raise  # a log of other features may hold the user: it has to be opened first
            store = None
        try:
            gone = forget(user_id.strip(BLANKS), settings.home, Border.of(settings), store, time.time_ns() // 1_000_000)
        finally:
            if store is not None:
                store.close()
    if gone == Gone():
        return (
            "nothing of that user was found, and nothing of theirs comes in from now on: if they were not forgotten "
            "before, look how the log writes the id"
        )
    return (
        f"forgotten: {gone.store_events:,} events of the store and {gone.rows_made_nobodys:,} rows of tables are "
        f"nobody's, {gone.rows_removed:,} rows and {gone.served_rows:,} served rows are gone, {gone.files:,} files "
        "were written anew; the record is in audit/forgotten.jsonl"
    )


def main() -> int:
    """One line either way; status 2 when nothing or not all was forgotten."""
    if len(sys.argv) != 2 or not sys.argv[1].strip(BLANKS):
        print("say whom: make forget USER=<user_id>", file=sys.stderr)
        return 2
    try:
        print(forgotten(from_environment(), sys.argv[1]))
    except (SettingsError, HomeError, PrivacyError, StoreError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
