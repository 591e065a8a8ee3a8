"""`forget`: no byte of a user stays below RECSYS_HOME or in the online store; what they did stays counted for items.

First the user is noted as forgotten, so that nothing of theirs comes in any more; then store, served log, tables and
logs are written without them; then everything is searched for what is left. Each step may be repeated: a run that was
killed is ended by the next one. Derived tables go before those that say whose their rows are.
"""

from __future__ import annotations

import json
import mmap
import re
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys.encryption import is_encrypted_parquet
from recsys.events import NOBODY, SANDBOX
from recsys.lake import Lake, replacing
from recsys.privacy import access
from recsys.privacy.border import TELLING, Border, PrivacyError, put
from recsys.serving import served_log
from recsys.store import sandbox
from recsys.store.journal import key_of
from recsys.store.online import SEARCHABLE, OnlineStore

PASSES: Final = 3  # a service that answers meanwhile may write once more what it began before
SCRATCH: Final = ("dbt", "spark")  # folders that the next run makes anew
# of catalogues: ids with keys, as users have them, and names
THINGS: Final = ("item_id", "creator_id", "category", "tags", "creator_name", "language")
NAMELESS: Final = ("bentoml", "milvus", "models")  # hold code, items and keys; an id there is a word that looks like it


@dataclass(frozen=True)
class Gone:
    """What was done, by number: all that the audit may know."""

    store_events: int = 0
    served_rows: int = 0
    rows_removed: int = 0
    rows_made_nobodys: int = 0
    files: int = 0

    def __add__(self, other: Gone) -> Gone:
        return Gone(*(a + b for a, b in zip(asdict(self).values(), asdict(other).values(), strict=True)))


def forget(user_id: str, home: Path, border: Border, store: OnlineStore | None, at: int) -> Gone:
    """Forget a user and write the audit record. Services may run meanwhile, `make run` may not.

    Args:
        user_id: as callers and the source give it
        store: the open online store, None where there is none
        at: now, UTC ms

    Raises:
        PrivacyError: something of the user is still there; the message says where. The user stays noted.
    """
    names = tuple(dict.fromkeys(border.names(user_id)))
    keys = [border.forgotten.digest(str(key_of(name))) for name in names]
    who = {"who": [border.forgotten.digest(name) for name in names], "keys": keys}
    border.forgotten.note({**who, "at": at, "state": "begun"})
    gone, left = Gone(), []
    for _ in range(PASSES):
        gone += _everywhere(names, Lake(home), border, store)
        left = traces(names, home)
        if not left:
            border.forgotten.note({**who, "at": at, "state": "done", **asdict(gone)})
            return gone
    raise PrivacyError(f"still to be found in {', '.join(left[:5])}: remove it there, then forget again")


def traces(names: Sequence[str], home: Path) -> list[str]:
    """Files below `home` in which one of those users can still be found.

    An id that an item, creator or category bears too tells of a user in the tables alone: elsewhere nobody knows which.
    """
    shared = _things_named(names, home)
    told = [name for name in names if name not in shared]
    keys = [key_of(known) for name in told for known in (name, SANDBOX + name)]
    packed = [key.to_bytes(8, order, signed=True) for key in keys for order in ("little", "big")]  # type: ignore[arg-type]
    by_key = re.compile(b"|".join(re.escape(trace) for trace in (*packed, *(str(key).encode() for key in keys))))
    by_name = _pattern(told)
    places = []
    for path in sorted(p for p in home.rglob("*") if p.is_file() and not p.is_symlink() and p.stat().st_size):
        place, hit = path.relative_to(home), False
        if path.is_relative_to(Lake(home).served_log) and served_log.is_encrypted(path):
            hit = served_log.holds(path, names)
        elif path.suffix == ".parquet":
            hit = _mine(pq.read_table(path), names, pa.array([], pa.string())) is not None
        elif told:
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                hit = by_key.search(data) is not None
                hit = hit or (place.parts[0] not in NAMELESS and by_name.search(data) is not None)
        if hit:
            places.append(place.as_posix())
    return places


def _things_named(names: Sequence[str], home: Path) -> set[str]:
    """Those of the names that something of a catalogue bears: items and users may be numbered alike."""
    things: set[str] = set()
    for path in _parquets(home):
        columns = set(pq.read_schema(path).names)
        if "item_id" not in columns or columns & {"user_id", "user_key"}:
            continue
        table = pq.read_table(path, columns=[name for name in THINGS if name in columns])
        for column in table.columns:
            words = pc.cast(pc.list_flatten(column) if pa.types.is_list(column.type) else column, pa.string())
            things.update(pc.unique(words.filter(pc.is_in(words, value_set=pa.array(names, pa.string())))).to_pylist())
    return things


def _everywhere(names: Sequence[str], lake: Lake, border: Border, store: OnlineStore | None) -> Gone:
    in_store = 0
    if store is not None:
        for name in names:
            sandbox.forget(store, name)
            in_store += store.forget(name, border.nobodys_json)
    segments, served = served_log.forget(lake.served_log, names)
    for folder in SCRATCH:
        shutil.rmtree(lake.home / folder, ignore_errors=True)
    for torn in lake.home.rglob(".*.tmp"):  # of writers that were killed
        if torn.is_file():
            torn.unlink()
    gone = _tables(names, lake.home, border)
    looks = access.forget(lake.home, [border.forgotten.digest(name) for name in names])
    texts = looks + sum(_without_in_text(path, names) for path in _texts(lake.home))
    texts += sum(_without_in_manifest(path, names) for path in lake.registry.glob("bundles/*/manifest.json"))
    texts += sum(_without_in_database(path, names) for path in lake.home.glob("dagster/**/*.db"))
    return gone + Gone(store_events=in_store, served_rows=served, files=segments + texts)


def _tables(names: Sequence[str], home: Path, border: Border) -> Gone:
    files = _parquets(home)
    shown = _impressions_of(names, files)
    gone = Gone()
    for path in sorted(files, key=lambda p: bool({"user_id", "user_key"} & set(pq.read_schema(p).names))):
        table = pq.read_table(path)
        mine = _mine(table, names, shown)
        if mine is None:
            continue
        rows = pc.sum(mine).as_py()
        if "text" in table.column_names:
            table = put(table, "text", pc.if_else(mine, "", table["text"]))
        elif "event_id" in table.column_names:
            table, gone = border.nobodys(table, mine), gone + Gone(rows_made_nobodys=rows)
        else:
            table, gone = table.filter(pc.invert(mine)), gone + Gone(rows_removed=rows)
        with replacing(path) as temporary:
            pq.write_table(table, temporary, compression="zstd", compression_level=1)
        gone += Gone(files=1)
    return gone


def _mine(table: pa.Table, names: Sequence[str], shown: pa.Array) -> Any:
    """Mask of the rows that are, or tell of, those users; None when no row is."""
    columns = table.column_names
    masks = []
    if "user_id" in columns:
        masks.append(pc.is_in(pc.cast(table["user_id"], pa.string()), value_set=pa.array(names)))
    if "user_key" in columns:
        masks.append(pc.is_in(table["user_key"], value_set=pa.array([key_of(name) for name in names])))
    if "impression_id" in columns and len(shown):
        masks.append(pc.is_in(table["impression_id"], value_set=shown))
    long = [re.escape(name) for name in names if len(name) >= SEARCHABLE]
    if long:
        telling = f"(^|[^0-9A-Za-z_])({'|'.join(long)})([^0-9A-Za-z_]|$)"
        masks += [
            pc.match_substring_regex(table[c], telling)
            for c in (*TELLING, "session_id", "text", "query")
            if c in columns
        ]
    mine: Any = None
    for mask in masks:
        known = pc.fill_null(mask, False)
        mine = known if mine is None else pc.or_(mine, known)
    return mine if mine is not None and pc.any(mine).as_py() else None


def _parquets(home: Path) -> list[Path]:
    """Tables, but for encrypted segments of the served log: those are its own affair."""
    return sorted(path for path in home.rglob("*.parquet") if not is_encrypted_parquet(path))


def _impressions_of(names: Sequence[str], files: Sequence[Path]) -> pa.Array:
    """impression_id of every row that is theirs: tables of features know no more of them."""
    nothing, impressions = pa.array([], pa.string()), []
    for path in files:
        columns = set(pq.read_schema(path).names)
        told = "event_key" if "event_key" in columns else "impression_id"
        if {"user_id", told} <= columns:
            table = pq.read_table(path, columns=["user_id", told])
            mine = _mine(table.select(["user_id"]), names, nothing)
            if mine is not None:
                impressions += table[told].filter(mine).to_pylist()
    return pa.array(sorted({name for name in impressions if name is not None}), pa.string())


def _pattern(names: Sequence[str]) -> re.Pattern[bytes]:
    """Where a text names one of them: as a word, or between quotes where it is short, or all digits and so a number."""
    patterns = []
    for name in names:
        word = b"|".join(re.escape(w) for w in dict.fromkeys((name.encode(), json.dumps(name)[1:-1].encode())))
        patterns.append(rb"(?<=[\"'])(?:" + word + rb")(?=[\"'])")
        if len(name) >= SEARCHABLE and not name.isdigit():
            patterns.append(rb"(?<![0-9A-Za-z_])(?:" + word + rb")(?![0-9A-Za-z_])")
    return re.compile(b"|".join(patterns))


def _texts(home: Path) -> Iterator[Path]:
    """Logs of runs, services and steps."""
    yield from home.glob("*.log")
    yield from (p for p in home.glob("dagster/**/*") if p.is_file() and p.suffix in (".log", ".out", ".err"))


def _without_in_text(path: Path, names: Sequence[str]) -> int:
    text = path.read_bytes()
    cleared = _pattern(names).sub(NOBODY.encode(), text)
    if cleared == text:
        return 0
    with path.open("r+b") as file:  # in place: a process may be writing to its end
        file.write(cleared)
        file.truncate()
    return 1


def _without_in_manifest(path: Path, names: Sequence[str]) -> int:
    """A bundle names some users as examples; its id does not hang on them."""
    manifest = json.loads(path.read_text())
    lineage = manifest.get("lineage", {})
    kept = [user for user in lineage.get("example_users", []) if user not in names]
    if kept == lineage.get("example_users", []):
        return 0
    lineage["example_users"] = kept
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(manifest, indent=1, sort_keys=True))
        temporary.chmod(0o444)
    return 1


def _without_in_database(path: Path, names: Sequence[str]) -> int:
    """Dagster's own records: what its checks and steps said."""
    pattern = _pattern(names)

    def cleared(value: str) -> str:
        return pattern.sub(NOBODY.encode(), value.encode()).decode()

    with closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as database:
        database.create_function("cleared", 1, cleared, deterministic=True)
        changed = 0
        for (table,) in database.execute("select name from sqlite_master where type = 'table'").fetchall():
            for _, column, *_ in database.execute(f'pragma table_info("{table}")').fetchall():
                where = f'''typeof("{column}") = 'text' and cleared("{column}") != "{column}"'''
                update = f'update "{table}" set "{column}" = cleared("{column}") where {where}'
                changed += database.execute(update).rowcount
        if changed:
            database.execute("vacuum")
            database.execute("pragma wal_checkpoint(truncate)")
    return int(changed > 0)
