"""The log of what was served: feature rows of slates and of `features` calls, and where and when they were read.

One folder of segments; a worker writes only its own. A segment is a run of frames, each with its length and checksum,
so that a worker killed in the middle of a write costs at most the frame it was writing, never a row before it. A
replay of these rows must give the same bytes (docs/consistency.md); the next day's training reads them as a table.

What is in it: every slate that was given to somebody, on whatever rung and by champion or canary (`bundle` tells
which), one row a place, with the feature row that was scored (none where the rung read none), and every row that
`features` gave out (rung "features"). `user_id` is the id inside, empty for a person who did not consent. What is not:
a shadow's slate, a precomputed one, candidates that were scored and not shown.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from recsys.lake import replacing

MAGIC: Final = b"recsys-served-1\n"
FRAME: Final = struct.Struct("<II")  # payload bytes, crc32 of the payload
HEADER: Final = struct.Struct("<I")  # JSON bytes; what follows is float32[rows, features]
SEGMENT_BYTES: Final = 64 << 20

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
)
_OF_ROW: Final = ("item_id", "slot", "source", "score", "p_click", "watch_seconds")


class ServedLogError(RuntimeError):
    """A segment is not one of ours."""


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


class ServedLog:
    """The writing end of one worker."""

    def __init__(self, root: Path, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._root = root
        self._limit = segment_bytes
        self._lock = threading.Lock()
        self._descriptor = -1
        self._path = root
        self._size = 0
        self._day = ""

    def append(self, served: Served) -> None:
        """Write one answer's rows with one system call; they survive the death of this process.

        Raises:
            OSError: the disk is full or not writable. What was written before stays readable.
        """
        payload = _encode(served)
        frame = FRAME.pack(len(payload), zlib.crc32(payload)) + payload
        day = time.strftime("%Y-%m-%d", time.gmtime(served.served_at / 1000))
        with self._lock:
            if self._descriptor < 0 or self._day != day or self._size + len(frame) > self._limit:
                self._roll(day)
            self._hold(day)
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
        self._size = os.write(self._descriptor, MAGIC)

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


def segments(root: Path, day: str | None = None) -> list[Path]:
    """Segments in the order they were begun; `day` (UTC, YYYY-MM-DD) keeps those of what was served on it."""
    return sorted(root.glob(f"{day or '*'}/*.served"))


def read(paths: Sequence[Path]) -> pa.Table:
    """Every whole row of those segments as SCHEMA, in the order written.

    Raises:
        ServedLogError: for a file that is not a segment.
    """
    columns: dict[str, list[Any]] = {name: [] for name in SCHEMA.names}
    for path in paths:
        for payload in _frames(path):
            _decode(payload, columns)
    return pa.table({name: pa.array(columns[name], SCHEMA.field(name).type) for name in SCHEMA.names}, schema=SCHEMA)


def forget(root: Path, user_ids: Sequence[str]) -> tuple[int, int]:
    """Take every answer to those users out of the log; the other frames keep their bytes. Workers may be writing.

    Returns:
        Segments that were written anew, and rows that are gone.
    """
    rewritten = rows = 0
    for path in segments(root):
        with suppress(FileNotFoundError), path.open("rb") as segment:  # retention may take a day away meanwhile
            fcntl.flock(segment, fcntl.LOCK_EX)
            kept, gone = [MAGIC], 0
            for payload in _frames(path):
                header = _header(payload)
                if header["user_id"] in user_ids:
                    gone += len(header["item_id"])
                else:
                    kept.append(FRAME.pack(len(payload), zlib.crc32(payload)) + payload)
            data = b"".join(kept)
            if len(data) == path.stat().st_size:
                continue
            with replacing(path) as temporary:  # what a worker that was killed had half written goes too
                temporary.write_bytes(data)
                temporary.chmod(0o640)
            rewritten, rows = rewritten + 1, rows + gone
    return rewritten, rows


def _encode(served: Served) -> bytes:
    header = {name: getattr(served, name) for name in _OF_REQUEST}
    header |= {name: list(getattr(served, name)) for name in _OF_ROW}
    matrix = b""
    if served.features is not None:
        features = np.ascontiguousarray(served.features, dtype="<f4")
        if features.ndim != 2 or features.shape[0] != len(served.item_id):
            raise ValueError(f"{len(served.item_id)} rows were served, but their features have shape {features.shape}")
        header["width"] = features.shape[1]
        matrix = features.tobytes()
    text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()
    return HEADER.pack(len(text)) + text + matrix


def _decode(payload: bytes, columns: dict[str, list[Any]]) -> None:
    header, start = _header(payload), HEADER.size + HEADER.unpack_from(payload)[0]
    rows = len(header["item_id"])
    for name in _OF_REQUEST:
        columns[name].extend([header.get(name)] * rows)
    for name in _OF_ROW:
        columns[name].extend(header[name])
    if "width" in header:
        matrix = np.frombuffer(payload, dtype="<f4", offset=start).reshape(rows, header["width"])
        columns["features"].extend(matrix)
    else:
        columns["features"].extend([None] * rows)


def _header(payload: bytes) -> dict[str, Any]:
    header: dict[str, Any] = json.loads(payload[HEADER.size : HEADER.size + HEADER.unpack_from(payload)[0]])
    return header


def _frames(path: Path) -> Iterator[bytes]:
    """Payloads of a segment up to the first torn or damaged frame; after it nothing can be trusted."""
    data = path.read_bytes()
    if not data.startswith(MAGIC):
        if MAGIC.startswith(data):  # killed before its first frame
            return
        raise ServedLogError(f"{path.name} is not a segment of the served log")
    place = len(MAGIC)
    while place + FRAME.size <= len(data):
        length, checksum = FRAME.unpack_from(data, place)
        payload = data[place + FRAME.size : place + FRAME.size + length]
        if len(payload) != length or zlib.crc32(payload) != checksum:
            return
        yield payload
        place += FRAME.size + length
