"""`make backup TO=<folder or address> [KEEP=n]` and `make restore FROM=<the same> [AT=<its name>]`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from recsys.addresses import SecretUrl
from recsys.backup.restoring import restore
from recsys.backup.taking import take
from recsys.backup.vault import BackupError, Vault
from recsys.privacy.border import PrivacyError
from recsys.registry import RegistryError
from recsys.retrieval.item_index import ItemIndexError
from recsys.retrieval.milvus_server import MilvusServerError
from recsys.serving.segment_files import ServedLogError
from recsys.settings import Settings, SettingsError, from_environment
from recsys.store.errors import StoreError
from recsys_assets.home import HomeError, one_run_at_a_time

WRONG = (SettingsError, HomeError, BackupError, PrivacyError, RegistryError, ServedLogError, StoreError, OSError)


def backed_up(settings: Settings, address: str, most: int | None = None) -> str:
    """Take a backup, and say so in one line."""
    vault = Vault(address)
    if vault.lies_in(settings.home):
        raise BackupError(
            f"TO={address} lies in RECSYS_HOME: what takes the home takes the backup too, so name another"
        )
    with one_run_at_a_time(settings):
        taken = take(settings, vault)
        pruned = vault.prune(most) if most else 0
    size = sum(part.bytes for part in taken.parts.values())
    told = f", {pruned} older ones are gone" if pruned else ""
    return (
        f"backup {taken.name}: {len(taken.parts):,} parts, {size / 1e3:,.0f} kB, {taken.new_bytes / 1e3:,.0f} of them "
        f"new, up to position {taken.head}, at {vault.address}{told}"
    )


def restored(settings: Settings, address: str, at: str = "") -> str:
    """Restore a backup, and say so in one line."""
    from recsys.backup.index import publish_again  # torch takes 2 s

    vault = Vault(address)
    with one_run_at_a_time(settings):
        manifest, gone = restore(settings, vault, at)
    try:
        publish_again(settings)
    except (MilvusServerError, ItemIndexError) as error:
        print(f"the item index was not published again: {error}; materialize item_index", file=sys.stderr)
    told = f"; {gone} users were forgotten since, and are in it no more" if gone else ""
    return f"backup {manifest.name} is in {settings.home}, up to position {manifest.head}{told}. Next: make serve"


def main(arguments: Sequence[str] | None = None) -> int:
    """One line either way; status 2 when nothing was taken or restored."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("backup", "restore"))
    parser.add_argument("address", help="folder, or an address that fsspec opens")
    parser.add_argument("--at", default="", help="beginning of a backup's name; the newest without it")
    parser.add_argument("--keep", type=int, help="backups that stay; all without it")
    given = parser.parse_args(arguments)
    before = os.umask(0o077)  # what is written here tells of people
    try:
        if not given.address:
            word = {"backup": "TO", "restore": "FROM"}[given.what]
            raise BackupError(f"say where: make {given.what} {word}=<folder or address>")
        if given.keep is not None and given.keep < 1:
            raise BackupError(f"KEEP={given.keep}: keep 1 or more")
        settings = from_environment()
        done = backed_up(settings, given.address, given.keep) if given.what == "backup" else None
        print(done or restored(settings, given.address, given.at))
    except (*WRONG, NotImplementedError) as error:
        words = SecretUrl(given.address).hidden_in(str(error))
        if isinstance(error, NotImplementedError):  # a kind of address that only reads, as http:// is
            words = f"{SecretUrl(given.address)} takes no files: give a folder, s3://, gs:// or sftp://"
        print(" ".join(words.split()), file=sys.stderr)
        return 2
    finally:
        os.umask(before)
    return 0


if __name__ == "__main__":
    sys.exit(main())
