"""A user's right to be nobody: pseudonyms at the border, and `forget`, which leaves no byte of a user behind.

What a user did stays counted for the items: their events stay in the log as nobody's. Tables whose rows are about the
user (impressions, sessions, features, training rows, predictions) lose those rows.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys.events import key64
from recsys.features.store import OnlineStore
from recsys.lake import replacing

NOBODY: Final = ""
_TELLING: Final = ("event_id", "request_id", "impression_id", "session_id")  # ids that sources build from the user's


@dataclass(frozen=True)
class Forgotten:
    """What an audit may know: no id, only its keyed hash, when, and how much went."""

    pseudonym: str
    at: int  # UTC ms
    store_events: int
    tables: int  # files rewritten
    rows_removed: int
    rows_made_nobodys: int


def pseudonym(user_id: str, secret: bytes) -> str:
    """The id under which a user is known inside: HMAC-SHA256 by a key that stays at the border, 32 hex digits."""
    return hmac.new(secret, user_id.encode(), hashlib.sha256).hexdigest()[:32]


def pseudonymise(table: pa.Table, secret: bytes) -> pa.Table:
    """A table with its user_id replaced by pseudonyms, null where it was null."""
    encoded = table["user_id"].combine_chunks().dictionary_encode()
    names = pa.array([None if name is None else pseudonym(name, secret) for name in encoded.dictionary.to_pylist()])
    column = names.cast(pa.string()).take(encoded.indices)
    return table.set_column(table.column_names.index("user_id"), "user_id", column)


def forget(user_id: str, home: Path, store: OnlineStore | None, *, secret: bytes, at: int) -> Forgotten:
    """Remove a user from the online store and from every Parquet table below `home`, and write the audit record.

    Args:
        home: RECSYS_HOME; the record goes to audit/forgotten.jsonl below it
        store: the open online store, or None where there is none
        secret: key of the audit's pseudonym
        at: now, UTC ms
    """
    in_store = store.forget(user_id) if store is not None else 0
    user_key = int(key64([user_id])[0])
    files = sorted(path for path in home.rglob("*.parquet") if not path.name.startswith("."))
    shown = _impressions_of(user_id, files)
    tables = removed = emptied = 0
    for path in files:
        found = _without(pq.read_table(path), user_id, user_key, shown)
        if found is None:
            continue
        table, gone, nobodys = found
        with replacing(path) as temporary:
            pq.write_table(table, temporary, compression="zstd", compression_level=1)
        tables, removed, emptied = tables + 1, removed + gone, emptied + nobodys
    record = Forgotten(pseudonym(user_id, secret), at, in_store, tables, removed, emptied)
    audit = home / "audit" / "forgotten.jsonl"
    audit.parent.mkdir(parents=True, exist_ok=True)
    with open(audit, "a") as lines:
        lines.write(json.dumps(asdict(record)) + "\n")
        lines.flush()
        os.fsync(lines.fileno())
    return record


def _impressions_of(user_id: str, files: list[Path]) -> pa.Array:
    """impression_id of every row that is this user's: tables of features know no more of them."""
    found: list[Any] = []
    for path in files:
        names = pq.read_schema(path).names
        if "user_id" in names and "impression_id" in names:
            table = pq.read_table(path, columns=["user_id", "impression_id"])
            found += table.filter(pc.equal(pc.cast(table["user_id"], pa.string()), user_id))[
                "impression_id"
            ].to_pylist()
    return pa.array(sorted({name for name in found if name is not None}), pa.string())


def _without(table: pa.Table, user_id: str, user_key: int, shown: pa.Array) -> tuple[pa.Table, int, int] | None:
    """The table without the user, rows removed and rows made nobody's; None when it never knew them."""
    names = table.column_names
    if "user_id" in names:
        mine = pc.equal(pc.cast(table["user_id"], pa.string()), user_id)
    elif "user_key" in names:
        mine = pc.equal(table["user_key"], user_key)
    elif "impression_id" in names:
        mine = pc.is_in(table["impression_id"], value_set=shown)
    else:
        return None
    mine = pc.fill_null(mine, False)
    count = pc.sum(mine).as_py() or 0
    if not count:
        return None
    if "kind" not in names or "user_key" not in names:
        return table.filter(pc.invert(mine)), count, 0  # rows about the user; of raw events the cleaned ones remain
    for name in names:  # cleaned events: the items' counts need them
        column = table[name]
        if name == "user_id":
            table = _put(table, name, pc.if_else(mine, NOBODY, column))
        elif name == "user_key":
            table = _put(table, name, pc.if_else(mine, 0, column))
        elif name == "event_id":
            digests = [hashlib.sha256(os.urandom(16)).hexdigest()[:32] for _ in range(count)]
            table = _put(table, name, pc.replace_with_mask(column.combine_chunks(), mine.combine_chunks(), digests))
        elif name in _TELLING:
            table = _put(table, name, pc.if_else(mine, pa.scalar(None, column.type), column))
    return table, 0, count


def _put(table: pa.Table, name: str, column: Any) -> pa.Table:
    field = table.schema.field(name)
    return table.set_column(table.column_names.index(name), field, pc.cast(column, field.type))
