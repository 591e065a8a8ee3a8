"""Taking a backup while services run: files of the home, the served log before the journal, and all of one moment.

Files that are replaced whole (lake, models, registry) must be the same files at the end as at the beginning, else what
changed is taken again: so they all stood side by side at one moment, and the journal was read within it. Files that
only grow are taken up to the length they had. The journal comes last, so it holds every position that was served.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, cast

from recsys import __version__
from recsys.backup.journal_files import FOLDER, files_of
from recsys.backup.vault import BackupError, Part, Vault
from recsys.features.catalog import FINGERPRINT
from recsys.privacy.border import KEY_MARK
from recsys.settings import Settings
from recsys.store.errors import StoreMissing
from recsys.store.opening import open_journal

LEFT_OUT: Final = (FOLDER, "milvus", "dbt", "spark", ".restoring")  # the journal's own, and what is made anew
GROWING: Final = (".log", ".jsonl", ".served", ".out", ".err")  # suffixes of files that are only ever added to
PASSES: Final = 5
_BESIDE_SQLITE: Final = ("-wal", "-shm", "-journal")


@dataclass
class Taken:
    """A backup that was taken."""

    name: str = ""
    head: int = 0
    parts: dict[str, Part] = field(default_factory=dict)
    new_bytes: int = 0

    def keep(self, vault: Vault, path: str, file: BinaryIO, stat: os.stat_result | None = None) -> None:
        """Put one part into the vault, up to the length that it had."""
        known = (stat.st_size, stat.st_mode & 0o777) if stat is not None else ()
        self.parts[path], is_new = vault.put(file, *known)
        self.new_bytes += self.parts[path].bytes * is_new


def take(settings: Settings, vault: Vault) -> Taken:
    """Take a backup of the home and of its online store. Services may run meanwhile, `make run` and `forget` may not.

    Raises:
        BackupError: there is nothing to take, or files change faster than they are read.
        StoreError: the online store cannot be read.
    """
    home, taken = settings.home, Taken()
    if not any((home / name).is_dir() for name in ("lake", "registry", FOLDER)):
        raise BackupError(f"{home} holds nothing to keep: run `make run` first, or set RECSYS_HOME")
    seen: dict[str, tuple[int, ...]] = {}
    for _ in range(PASSES):
        now = _listed(home)
        changed = [path for path, stamp in now.items() if seen.get(path) != stamp]
        if seen and not changed and seen.keys() == now.keys():
            break
        for path in seen.keys() - now.keys():
            taken.parts.pop(path, None)
        seen = {path: stamp for path, stamp in now.items() if path not in changed or _kept(taken, vault, home, path)}
        snapshot = _journal(settings, vault, taken)
    else:
        raise BackupError(f"{changed[0] if changed else home} keeps changing: wait for the run that writes it")
    mark = home / KEY_MARK
    manifest = {
        "version": __version__,
        "fingerprint": FINGERPRINT,
        "head": taken.head,
        "snapshot": snapshot,
        "pseudonyms": mark.read_text().strip() if mark.exists() else None,
        "parts": taken.parts,
    }
    instant = time.time_ns() // 1_000_000
    written = time.strftime("%Y-%m-%dT%H%M%S", time.gmtime(instant // 1000))
    taken.name = vault.keep(manifest, f"{written}.{instant % 1000:03d}Z")
    return taken


def _listed(home: Path) -> dict[str, tuple[int, ...]]:
    """Files of the home that a backup holds, and what tells one that was replaced."""
    whole_files: dict[str, tuple[int, ...]] = {}
    for path in _files(home):
        try:
            stat = path.stat()
        except FileNotFoundError:
            continue
        whole = path.suffix not in GROWING and not _is_database(path)
        whole_files[path.relative_to(home).as_posix()] = (stat.st_ino, stat.st_size, stat.st_mtime_ns) if whole else ()
    return whole_files


def _files(home: Path) -> Iterator[Path]:
    for top in sorted(home.iterdir()):
        if top.name not in LEFT_OUT:
            for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
                passing = path.name.endswith(_BESIDE_SQLITE) or path.suffix in (".tmp", ".lock", ".pid")
                if path.is_file() and not path.is_symlink() and not passing and path.name != ".lock":
                    yield path


def _is_database(path: Path) -> bool:
    return path.suffix == ".db"


def _kept(taken: Taken, vault: Vault, home: Path, path: str) -> bool:
    """Put a file into the vault; False when it is gone or was replaced meanwhile: the next pass looks again."""
    try:
        if _is_database(home / path):
            with tempfile.NamedTemporaryFile() as copy:
                with (
                    closing(sqlite3.connect(f"file:{home / path}?mode=ro", uri=True, timeout=60)) as source,
                    closing(sqlite3.connect(copy.name)) as target,
                ):
                    source.backup(target)
                copy.seek(0)
                taken.keep(vault, path, cast(BinaryIO, copy))
            return True
        with (home / path).open("rb") as file:
            taken.keep(vault, path, file, os.fstat(file.fileno()))
        return True
    except FileNotFoundError:
        taken.parts.pop(path, None)
        return False


def _journal(settings: Settings, vault: Vault, taken: Taken) -> str:
    """Put the online store's parts into the vault; the name of its snapshot."""
    for path in [path for path in taken.parts if path.startswith(f"{FOLDER}/")]:
        del taken.parts[path]
    try:
        journal = open_journal(settings)
    except StoreMissing:
        return ""
    try:
        with journal.dumped(FINGERPRINT) as dump:
            for path, file in files_of(dump):
                file.seek(0)
                taken.keep(vault, path, file)
            taken.head = dump.head
            return dump.snapshot
    finally:
        journal.close()
