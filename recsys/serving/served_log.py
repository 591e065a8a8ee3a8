"""The log of what was served: feature rows of slates and of `features` calls, and where and when they were read.

One folder of segments a day; a worker writes only its own. A segment that is written to (`.served`) is a run of frames,
each with its length and checksum, so that a worker killed in the middle of a write costs at most the frame it was
writing, never a row before it. Later it is sealed (sealing.py): a Parquet file of SCHEMA, which anything reads. A
replay of these rows must give the same bytes (docs/consistency.md); the next day's training reads them as a table.

What is in it: every slate that was given to somebody, on whatever rung and by champion or canary (`bundle` tells
which), one row a place, with the feature row that was scored (none where the rung read none), and every row that
`features` gave out (rung "features"). `user_id` is the id inside, empty for a person who did not consent. What is not:
a shadow's slate, a precomputed one, candidates that were scored and not shown.
"""

from __future__ import annotations

import fcntl
import itertools
import mmap
import os
import struct
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys.encryption import OVERHEAD, is_encrypted_parquet, keyring, parquet_properties
from recsys.lake import replacing
from recsys.serving import segment_files
from recsys.serving.segment_files import ENCRYPTED, FRAME, MAGIC, ServedLogError

HEADER: Final = struct.Struct("<I")  # JSON bytes; what follows is float32[rows, features]
SEGMENT_BYTES: Final = 64 << 20
LOOKED_AT: Final = 200  # pieces that a search for the latest answers goes through, some 10 ms each
PIECE_BYTES: Final = 1 << 20  # in memory at once: 2,000 rows with their features
SPREAD: Final = 16  # segments at least that a sample is drawn from
WRITTEN, SEALING, SEALED = SUFFIXES = ".served", ".sealing", ".parquet"  # what becomes of a segment, in this order

SCHEMA: Final = pa.schema(
    [
        ("request_id", pa.string()),
        ("served_at", pa.int64()),
        ("user_id", pa.string()),
        ("item_id", pa.string()),
        ("slot", pa.int32()),  # place in the answer, 0 first; the features of every row are those of the first place
        ("shelf", pa.string()),
        ("log_shelf", pa.string()),  # the name the shelf has in the features
        ("device", pa.string()),
        ("bundle", pa.string()),
        ("rung", pa.string()),  # of a slate; "features" where features alone were asked for and nothing was shown
        ("source", pa.string()),
        ("score", pa.float64()),  # null on rung "features"
        ("p_click", pa.float64()),
        ("watch_seconds", pa.float64()),
        ("position", pa.int64()),
        ("as_of", pa.int64()),
        ("fingerprint", pa.string()),
        ("features", pa.list_(pa.float32())),  # null where the rung read none
        # what else a replay of the whole request needs; null in rows written before it was kept
        ("k", pa.int32()),  # places asked for
        ("history_position", pa.int64()),  # of the read whose history the candidates were sought for
        ("late_records", pa.int64()),  # records of items, newer than the bundle, that were in its catalogue
        ("blocked_items", pa.list_(pa.int64())),  # keys
        ("blocked_creators", pa.list_(pa.int64())),
        ("missing", pa.list_(pa.string())),  # candidate sources that did not answer
        # the chance with which each item stands in its place (policy/exploration.py); null on rung "features" and in
        # rows from before it was kept
        ("propensity", pa.float64()),
        ("pool_size", pa.int32()),
        ("explored", pa.bool_()),
        ("policy", pa.string()),
        ("displaced", pa.int32()),  # places above the one that its score alone would give it
        ("cause", pa.string()),  # why (policy/slate.py)
        ("team", pa.int8()),  # of an interleaved slate, whose place it is: 0 its bundle's, 1 the one's mixed in
        ("took_ms", pa.float64()),  # from the request to its slate
        ("said", pa.list_(pa.int64())),  # of the person, as it was read: keys of words and of their names, in turn
    ]
)
_OF_REQUEST: Final = (
    "request_id",
    "served_at",
    "user_id",
    "shelf",
    "log_shelf",
    "device",
    "bundle",
    "rung",
    "position",
    "as_of",
    "fingerprint",
    "k",
    "history_position",
    "late_records",
    "blocked_items",
    "blocked_creators",
    "missing",
    "policy",
    "took_ms",
    "said",
)
_DRAWN: Final = ("propensity", "pool_size", "explored", "displaced", "cause", "team")
OF_ROW: Final = ("item_id", "slot", "source", "score", "p_click", "watch_seconds", *_DRAWN)


@dataclass(frozen=True)
class Served:
    """The rows of one answer. Sequences have one entry a row; `features` is float32[rows, F] or None."""

    request_id: str
    served_at: int
    user_id: str
    shelf: str
    log_shelf: str
    device: str | None
    bundle: str
    rung: str
    position: int
    as_of: int
    fingerprint: str
    item_id: Sequence[str]
    slot: Sequence[int]
    source: Sequence[str]
    score: Sequence[float | None]
    p_click: Sequence[float | None]
    watch_seconds: Sequence[float | None]
    features: np.ndarray | None
    k: int | None = None
    history_position: int | None = None
    late_records: int | None = None
    blocked_items: Sequence[int] | None = None
    blocked_creators: Sequence[int] | None = None
    missing: Sequence[str] | None = None
    propensity: Sequence[float] | None = None
    pool_size: Sequence[int] | None = None
    explored: Sequence[bool] | None = None
    policy: str | None = None
    displaced: Sequence[int] | None = None
    cause: Sequence[str] | None = None
    team: Sequence[int] | None = None
    took_ms: float | None = None
    said: Sequence[int] | None = None


class ServedLog:
    """The writing end of one worker."""

    def __init__(self, root: Path, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._root = root
        self._limit = segment_bytes
        self._lock = threading.Lock()
        self._descriptor = -1
        self._path = root
        self._size = 0
        self._is_encrypted = False
        self._day = ""

    def append(self, served: Served) -> None:
        """Write one answer's rows with one system call; they survive the death of this process.

        Raises:
            OSError: the disk is full or not writable. What was written before stays readable.
        """
        payload = _encode(served)
        size = FRAME.size + len(payload) + OVERHEAD
        day = time.strftime("%Y-%m-%d", time.gmtime(served.served_at / 1000))
        with self._lock:
            if self._descriptor < 0 or self._day != day or self._size + size > self._limit:
                self._roll(day)
            self._hold(day)
            frame = segment_files.framed(payload, self._path, self._size, self._is_encrypted)
            try:
                written = os.write(self._descriptor, frame)
                if written != len(frame):
                    raise OSError(f"wrote {written} of {len(frame)} bytes of the served log: is the disk full?")
            except OSError:
                os.ftruncate(self._descriptor, self._size)  # or the frames after it could not be found
                raise
            finally:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            self._size += len(frame)

    def close(self) -> None:
        """Make what was written survive a power cut, and let go of the segment."""
        with self._lock:
            self._release()

    def _roll(self, day: str) -> None:
        self._release()
        self._day = day
        folder = self._root / day
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{time.time_ns()}-{os.getpid()}.served"
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o640)
        self._is_encrypted = keyring() is not None
        self._size = os.write(self._descriptor, ENCRYPTED if self._is_encrypted else MAGIC)

    def _hold(self, day: str) -> None:
        """Lock the segment against `forget`, which puts another file in its place: then a new one is begun."""
        while True:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)  # with the look at the path 2 us, of a write of 20
            try:
                if os.path.samestat(os.stat(self._path), os.fstat(self._descriptor)):
                    return
            except FileNotFoundError:
                pass
            self._roll(day)

    def _release(self) -> None:
        if self._descriptor >= 0:
            os.fsync(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1


def days(root: Path) -> list[str]:
    """The days (UTC, YYYY-MM-DD) on which something was served, in order."""
    return sorted(path.name for path in root.glob("[0-9]*"))


def segments(root: Path, day: str | None = None) -> list[Path]:
    """Segments in the order they were begun; `day` (UTC, YYYY-MM-DD) keeps those of what was served on it."""
    path_of = {path.with_suffix(""): path for suffix in SUFFIXES for path in root.glob(f"{day or '*'}/[0-9]*{suffix}")}
    return [path_of[name] for name in sorted(path_of)]


class Piece(NamedTuple):
    """Whole answers of one segment, some PIECE_BYTES of them."""

    path: Path
    at: int  # place of the first frame, or number of the row group

    def read(self) -> pa.Table:
        """Its rows, SCHEMA; of a segment that is gone meanwhile, none."""
        with suppress(FileNotFoundError):
            if self.path.suffix == SEALED:
                return completed(segment_files.row_group(segment_files.parquet(self.path), self.path, self.at))
            columns: dict[str, list[Any]] = {name: [] for name in SCHEMA.names}
            with segment_files.opened(self.path) as file:
                file.seek(self.at)
                for at, payload in segment_files.frames(file):
                    _decode(payload, columns)
                    if at + len(payload) - self.at >= PIECE_BYTES:
                        break
            return _table(columns)
        return SCHEMA.empty_table()


def completed(rows: pa.Table) -> pa.Table:
    """Rows as SCHEMA: what was sealed before a column was kept has nulls there."""
    return pa.concat_tables([SCHEMA.empty_table(), rows], promote_options="default").cast(SCHEMA)


def pieces(path: Path) -> Iterator[Piece]:
    """A segment's pieces, in order; of one that was sealed or removed since it was found, what there is now.

    Raises:
        ServedLogError: for a file that is not a segment.
    """
    for now in (path, *(path.with_suffix(suffix) for suffix in SUFFIXES)):
        try:
            if now.suffix == SEALED:
                yield from (Piece(now, group) for group in range(segment_files.parquet(now).num_row_groups))
                return
            with segment_files.opened(now) as file:
                begin = -1
                for at, payload in segment_files.frames(file):
                    if begin < 0:
                        begin = at
                        yield Piece(now, at)
                    if at + len(payload) - begin >= PIECE_BYTES:
                        begin = -1
            return
        except FileNotFoundError:
            continue
        except pa.ArrowInvalid as error:
            raise ServedLogError(f"{now.name} is not a segment of the served log ({error})") from None


def read(paths: Sequence[Path]) -> pa.Table:
    """Every whole row of those segments as SCHEMA, in the order written.

    Raises:
        ServedLogError: for a file that is not a segment.
    """
    return pa.concat_tables([SCHEMA.empty_table(), *(piece.read() for path in paths for piece in pieces(path))])


def draw(root: Path, rows: int, chance: np.random.Generator | None = None) -> pa.Table:
    """Whole answers, `rows` rows and at most a piece more: all where there are no more, else some.

    Their number bounds the memory that it takes, however long the log is.

    Args:
        chance: by which segments and pieces of them are drawn; None: the newest
    """
    paths = segments(root)
    order = list(reversed(paths)) if chance is None else [paths[i] for i in chance.permutation(len(paths))]
    share = rows if chance is None else max(1, rows // SPREAD)
    drawn, later, n = [SCHEMA.empty_table()], deque[Piece](), 0
    for path in order:
        if n >= rows:
            break
        here, took = list(pieces(path)), 0
        here = here[::-1] if chance is None else [here[i] for i in chance.permutation(len(here))]
        for piece in here:
            if took >= share or n >= rows:
                later.append(piece)
                continue
            drawn.append(piece.read())
            took, n = took + drawn[-1].num_rows, n + drawn[-1].num_rows
    while later and n < rows:
        drawn.append(later.popleft().read())
        n += drawn[-1].num_rows
    return pa.concat_tables(drawn)


def find(root: Path, request_id: str) -> pa.Table | None:
    """Rows of the last answer that was given under this id (SCHEMA), None where the log keeps none.

    A segment that does not hold the id is passed over without taking it apart: a GB of text takes half a second.
    """
    needle = orjson.dumps(request_id)
    for path in reversed(segments(root)):
        rows = SCHEMA.empty_table()
        with suppress(FileNotFoundError, ValueError):  # gone meanwhile, or still empty
            if path.suffix == SEALED:
                rows = _of_request(path, request_id)
            else:
                with segment_files.opened(path) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                    columns: dict[str, list[Any]] = {name: [] for name in SCHEMA.names}
                    may_hold = data.find(needle) >= 0 or data[: len(MAGIC)] == ENCRYPTED
                    for _, payload in segment_files.frames(file) if may_hold else ():
                        if header_of(payload)["request_id"] == request_id:
                            _decode(payload, columns)
                    rows = _table(columns)
        if rows.num_rows:
            # of several under one id the last: an answer's rows lie together, from the first place on
            begins = np.flatnonzero(rows["slot"].to_numpy() == 0)
            return rows.slice(int(begins[-1]) if len(begins) else 0)
    return None


def _of_request(path: Path, request_id: str) -> pa.Table:
    """Rows of a sealed segment under this id."""
    if not is_encrypted_parquet(path):
        return completed(pq.read_table(path, filters=[("request_id", "=", request_id)]))
    groups = (group.filter(pc.equal(group["request_id"], request_id)) for group in _batches(path))
    return pa.concat_tables([SCHEMA.empty_table(), *(completed(rows) for rows in groups if rows.num_rows)])


def latest(root: Path, count: int, holds: str = "") -> list[dict[str, Any]]:
    """The last slates, newest first, each as one row of SCHEMA without features, with all of its `item_id`: those whose
    user's or own id holds a text, among the newest LOOKED_AT pieces.
    """
    matching: list[dict[str, Any]] = []
    newest = (piece for path in reversed(segments(root)) for piece in reversed(list(pieces(path))))
    for piece in itertools.islice(newest, LOOKED_AT):
        rows = piece.read().drop_columns(["features"]).to_pylist()
        answers: list[dict[str, Any]] = []
        for row in rows:
            if row["slot"] == 0 or not answers:
                answers.append({**row, "item_id": []})
            answers[-1]["item_id"].append(row["item_id"])
        slates = [answer for answer in answers if answer["rung"] != "features"]
        matching += [one for one in slates if holds in one["user_id"] or holds in one["request_id"]]
        if len(matching) >= count:
            break
    return sorted(matching, key=lambda one: -one["served_at"])[:count]


def encrypt_again(root: Path) -> int:
    """Write every segment anew, encrypted with the newest key; returns how many. Workers may be writing."""
    written = 0
    for path in segments(root):
        with suppress(FileNotFoundError):
            (_forget_sealed if path.suffix == SEALED else _forget_written)(path, (), anew=True)
            written += 1
    return written


def is_encrypted(path: Path) -> bool:
    """Whether a segment can be read with its key only."""
    with path.open("rb") as file:
        return is_encrypted_parquet(path) if path.suffix == SEALED else segment_files.is_encrypted(file)


def holds(path: Path, user_ids: Sequence[str]) -> bool:
    """Whether an answer to one of those users is in a segment."""
    return any(pc.any(_of(piece.read(), user_ids)).as_py() for piece in pieces(path))


def forget(root: Path, user_ids: Sequence[str]) -> tuple[int, int]:
    """Take every answer to those users out of the log; the other frames stay what they are. Workers may be writing.

    Returns:
        Segments that were written anew, and rows that are gone.
    """
    rewritten = rows = 0
    for path in segments(root):
        with suppress(FileNotFoundError):  # retention may take a day away meanwhile, or the segment is sealed
            gone = _forget_sealed(path, user_ids) if path.suffix == SEALED else _forget_written(path, user_ids)
            if gone is not None:
                rewritten, rows = rewritten + 1, rows + gone
    return rewritten, rows


def _forget_written(path: Path, user_ids: Sequence[str], anew: bool = False) -> int | None:
    """Rows that are gone, None where the file stayed as it was."""
    with segment_files.opened(path) as segment:
        fcntl.flock(segment, fcntl.LOCK_EX)
        is_encrypted = segment_files.is_encrypted(segment) or (anew and keyring() is not None)
        data, gone = bytearray(ENCRYPTED if is_encrypted else MAGIC), 0
        for _, payload in segment_files.frames(segment):
            header = header_of(payload)
            if header["user_id"] in user_ids:
                gone += len(header["item_id"])
            else:
                data += segment_files.framed(payload, path, len(data), is_encrypted)
        if not anew and len(data) == path.stat().st_size:
            return None
        with replacing(path) as temporary:  # what a worker that was killed had half written goes too
            temporary.write_bytes(data)
            temporary.chmod(0o640)
        return gone


def _forget_sealed(path: Path, user_ids: Sequence[str], anew: bool = False) -> int | None:
    gone = sum(pc.sum(_of(batch, user_ids)).as_py() or 0 for batch in _batches(path, ["user_id"]))
    if not gone and not anew:
        return None
    with replacing(path) as temporary:
        kept = (batch.filter(pc.invert(_of(batch, user_ids))) for batch in _batches(path))
        write_sealed(temporary, kept, path.stem)
    return int(gone)


def _batches(path: Path, columns: list[str] | None = None) -> Iterator[pa.Table]:
    file = segment_files.parquet(path)
    return (segment_files.row_group(file, path, group, columns) for group in range(file.num_row_groups))


def _of(batch: pa.Table, user_ids: Sequence[str]) -> Any:
    return pc.fill_null(pc.is_in(batch["user_id"], value_set=pa.array(user_ids, pa.string())), False)


def write_sealed(path: Path, tables: Iterable[pa.Table], name: str) -> None:
    """Tables of SCHEMA as a Parquet file, each of them a row group; encrypted about the segment's name."""
    how = parquet_properties(name)
    with pq.ParquetWriter(path, SCHEMA, compression="zstd", compression_level=1, encryption_properties=how) as writer:
        for table in tables:
            if table.num_rows:
                writer.write_table(completed(table), row_group_size=table.num_rows)
    path.chmod(0o640)


def _table(columns: Mapping[str, list[Any]]) -> pa.Table:
    return pa.table({name: pa.array(columns[name], SCHEMA.field(name).type) for name in SCHEMA.names}, schema=SCHEMA)


def _encode(served: Served) -> bytes:
    header = {name: getattr(served, name) for name in _OF_REQUEST}
    header |= {name: list(given) for name in OF_ROW if (given := getattr(served, name)) is not None}
    matrix = b""
    if served.features is not None:
        features = np.ascontiguousarray(served.features, dtype="<f4")
        if features.ndim != 2 or features.shape[0] != len(served.item_id):
            raise ValueError(f"{len(served.item_id)} rows were served, but their features have shape {features.shape}")
        header["width"] = features.shape[1]
        matrix = features.tobytes()
    text = orjson.dumps(header)
    return HEADER.pack(len(text)) + text + matrix


def _decode(payload: bytes, columns: dict[str, list[Any]]) -> None:
    header, start = header_of(payload), HEADER.size + HEADER.unpack_from(payload)[0]
    rows = len(header["item_id"])
    for name in _OF_REQUEST:
        columns[name].extend([header.get(name)] * rows)
    for name in OF_ROW:
        columns[name].extend(header.get(name) or [None] * rows)
    if "width" in header:
        matrix = np.frombuffer(payload, dtype="<f4", offset=start).reshape(rows, header["width"])
        columns["features"].extend(matrix)
    else:
        columns["features"].extend([None] * rows)


def header_of(payload: bytes) -> dict[str, Any]:
    """All of SCHEMA but the features, of the answer in a frame; columns of its rows (OF_ROW) are lists."""
    header: dict[str, Any] = orjson.loads(payload[HEADER.size : HEADER.size + HEADER.unpack_from(payload)[0]])
    return header
