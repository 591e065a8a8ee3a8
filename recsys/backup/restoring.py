"""Restoring a backup into an empty home: all of it is written beside and verified, then moved into place name by name.

Who was forgotten since the backup stays forgotten. The newest backup at the address and the home's own audit/ hold the
keyed hashes of all who were; these users are forgotten before anything is in place.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import orjson
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys.backup.journal_files import FOLDER, dump_of
from recsys.backup.vault import BackupError, Manifest, Vault
from recsys.encryption import is_encrypted_parquet
from recsys.features.catalog import FINGERPRINT
from recsys.lake import Lake, replacing
from recsys.privacy.border import Border, Forgotten
from recsys.serving import served_log
from recsys.serving.forget import forget
from recsys.settings import Settings
from recsys.store.journal import Dump
from recsys.store.opening import open_journal, open_store

STAGING: Final = ".restoring"
WHOLE: Final = "whole"  # file in the staging folder: the name of the backup that is whole in it
STAYS: Final = frozenset({"audit", "run.lock", STAGING})  # what a home may hold and count as empty
_LINES: Final = "audit/forgotten.jsonl"


def restore(settings: Settings, vault: Vault, at: str = "") -> tuple[Manifest, int]:
    """Put a backup into the home and the online store that the settings name.

    Killed, it is ended by being repeated.

    Args:
        at: beginning of its name; "" for the newest

    Returns:
        What was restored, and how many users were forgotten in it.

    Raises:
        BackupError: nothing was changed: the home is not empty, a part is missing or torn, or it does not fit.
        PrivacyError: RECSYS_PSEUDONYM_KEY is not the one under which the users are known.
        StoreError: the online store is not empty, or has no room.
    """
    home, manifest = settings.home, vault.manifest(at)
    staging = home / STAGING
    begun = (staging / WHOLE).read_text() if (staging / WHOLE).exists() else ""
    if begun and begun != manifest.name:
        raise BackupError(f"{home} was left half-way through backup {begun}: restore that one first (AT={begun})")
    if manifest.fingerprint != FINGERPRINT:
        raise BackupError(
            f"backup {manifest.name} holds features {manifest.fingerprint} of version {manifest.version}, this code "
            f"has {FINGERPRINT}: restore it with that version, then upgrade"
        )
    gone = 0
    if not begun:
        if home.exists() and (names := sorted({path.name for path in home.iterdir()} - STAYS)):
            raise BackupError(f"{home} is not empty ({', '.join(names[:3])}): set RECSYS_HOME to another folder")
        shutil.rmtree(staging, ignore_errors=True)
        for path, part in manifest.parts.items():
            vault.get(path, part, _inside(staging, path))
        gone = _made_whole(settings.model_copy(update={"home": staging}), vault, manifest, home)
        with replacing(staging / WHOLE) as temporary:
            temporary.write_text(manifest.name)
    _put_in_place(staging, home)
    return manifest, gone


def _inside(folder: Path, path: str) -> Path:
    target = folder / path
    if not target.resolve().is_relative_to(folder.resolve()):
        raise BackupError(f"{path:.80} of the manifest leads out of the home: it is none of ours")
    return target


def _made_whole(settings: Settings, vault: Vault, manifest: Manifest, home: Path) -> int:
    """In the staging home: audit, store, and whoever was forgotten since; returns how many users."""
    staging = settings.home
    border = Border.of(settings)
    _join_audit(staging, vault, manifest, home)
    users: set[str] = set()
    has_store = (staging / FOLDER).exists()
    if has_store:
        aside = staging / f".{FOLDER}"
        os.rename(staging / FOLDER, aside)
        dump = dump_of(aside, manifest.head, manifest.snapshot)
        journal = open_journal(settings, create=True)
        try:
            journal.fill(manifest.fingerprint, _without_forgotten(dump, border.forgotten, users))
        finally:
            journal.close()
        shutil.rmtree(aside)
    if not border.forgotten:
        return 0
    users |= set(_users_of_tables(staging))
    gone = sorted(user for user in users if user in border.forgotten)
    store = open_store(settings) if has_store else None
    try:
        for user in gone:
            forget(user, staging, border, store, time.time_ns() // 1_000_000)
    finally:
        if store is not None:
            store.close()
    return len(gone)


def _join_audit(staging: Path, vault: Vault, manifest: Manifest, home: Path) -> None:
    """Every line of who was forgotten that is known: of this backup, of the newest one, and of the home."""
    newest = vault.manifest()
    if _LINES in newest.parts and newest.name != manifest.name:
        for path in (_LINES, "audit/key"):
            vault.get(path, newest.parts[path], staging / f".newest/{path}")
    lines: dict[str, None] = {}
    for audit in (staging, staging / ".newest", home):
        key, noted = audit / "audit/key", audit / _LINES
        if not noted.exists():
            continue
        ours = staging / "audit/key"
        if not ours.exists():
            ours.parent.mkdir(exist_ok=True)
            shutil.copy2(key, ours)
        elif not key.exists() or key.read_bytes() != ours.read_bytes():
            raise BackupError(
                f"{home / 'audit'} tells by another key who was forgotten: restore into the home of that backup, or"
                " into a folder without audit/"
            )
        lines |= dict.fromkeys(line for line in noted.read_text().splitlines() if line.endswith("}"))
    if lines:
        (staging / _LINES).write_text("\n".join(lines) + "\n")
    shutil.rmtree(staging / ".newest", ignore_errors=True)


def _without_forgotten(dump: Dump, forgotten: Forgotten, users: set[str]) -> Dump:
    """The dump without what the forgotten blocked; its users are noted where anybody is forgotten."""
    if not forgotten:
        return dump

    def entries() -> Iterator[tuple[int, bytes, bytes]]:
        for at, fields, raw in dump.entries:
            if user := orjson.loads(raw).get("user_id"):
                users.add(user)
            yield at, fields, raw

    blocked = ((key, kept) for key, kept in dump.blocked if not forgotten.has_key(key))
    return dump._replace(entries=entries(), blocked=blocked)


def _users_of_tables(home: Path) -> Iterator[str]:
    for path in (path for path in home.rglob("*.parquet") if not is_encrypted_parquet(path)):
        if "user_id" in pq.read_schema(path).names:
            yield from filter(None, pc.unique(pq.read_table(path, columns=["user_id"])["user_id"]).to_pylist())
    for segment in served_log.segments(Lake(home).served_log):
        for piece in served_log.pieces(segment):
            yield from filter(None, pc.unique(piece.read()["user_id"]).to_pylist())


def _put_in_place(staging: Path, home: Path) -> None:
    """Move everything out of the staging folder; a killed run may have moved some of it before."""
    if (staging / "audit").exists():
        for path in sorted(file for file in (staging / "audit").rglob("*") if file.is_file()):
            target = home / path.relative_to(staging)
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists() or target.name == "forgotten.jsonl":
                os.replace(path, target)
        shutil.rmtree(staging / "audit")
    for path in sorted(staging.iterdir()):
        if path.name not in (WHOLE, "run.lock"):
            os.rename(path, home / path.name)
    shutil.rmtree(staging)
