"""A journal as files: what `Journal.dumped` gives, in parts that stay the same while the log grows.

    store/events/<group>.arrow     position, the nine integers and the JSON of each record
    store/ids/<group>.arrow        digest and position of every event that the log knows, cut or not
    store/blocked.arrow            what users blocked
    store/offsets.arrow            how far each partition of a stream was read
    store/snapshot/<array>.npy     packed state

A group is 2^GROUP_BITS positions, so a later backup writes the last one anew and no other.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.ipc as ipc

from recsys.store.journal import RECORD_FIELDS, Dump

GROUP_BITS: Final = 17
FOLDER: Final = "store"
EVENTS: Final = pa.schema(
    [("position", pa.int64()), ("fields", pa.binary(8 * RECORD_FIELDS)), ("raw", pa.large_binary())]
)
IDS: Final = pa.schema([("position", pa.int64()), ("digest", pa.binary(16))])
OFFSETS: Final = pa.schema([("partition", pa.string()), ("offset", pa.binary())])
BLOCKED: Final = pa.schema([("user_key", pa.int64()), ("kept", pa.binary())])


def files_of(dump: Dump) -> Iterator[tuple[str, io.BytesIO]]:
    """Path below the home and content of each part, one in memory at a time (and 24 bytes an id)."""
    for group, entries in itertools.groupby(dump.entries, lambda entry: entry[0] >> GROUP_BITS):
        yield f"{FOLDER}/events/{group}.arrow", _arrow(EVENTS, zip(*entries, strict=True))
    yield from _ids(dump)
    yield f"{FOLDER}/blocked.arrow", _arrow(BLOCKED, zip(*sorted(dump.blocked), strict=True))
    yield f"{FOLDER}/offsets.arrow", _arrow(OFFSETS, zip(*sorted(dump.offsets), strict=True))
    for name, array in dump.arrays.items():
        file = io.BytesIO()
        np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
        yield f"{FOLDER}/snapshot/{name}.npy", file


def dump_of(folder: Path, head: int, snapshot: str) -> Dump:
    """What lies in a folder of such files, for `Journal.fill`."""
    return Dump(
        head,
        snapshot,
        {path.stem: np.load(path, mmap_mode="r") for path in sorted((folder / "snapshot").glob("*.npy"))},
        ((at, fields, raw) for at, fields, raw in _rows(folder / "events")),
        ((digest, at) for at, digest in _rows(folder / "ids")),
        ((key, kept) for key, kept in _rows(folder, "blocked.arrow")),
        [(partition, offset) for partition, offset in _rows(folder, "offsets.arrow")],
    )


def _ids(dump: Dump) -> Iterator[tuple[str, io.BytesIO]]:
    known = np.fromiter(dump.ids, np.dtype([("digest", "S16"), ("position", np.int64)]))
    known = known[np.argsort(known["position"], kind="stable")]
    groups = known["position"] >> GROUP_BITS
    for group in np.unique(groups).tolist():
        rows = known[slice(*np.searchsorted(groups, (group, group + 1)))]
        digests = pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(16), len(rows), [None, pa.py_buffer(np.ascontiguousarray(rows["digest"]).tobytes())]
        )
        yield f"{FOLDER}/ids/{group}.arrow", _arrow(IDS, (rows["position"], digests))


def _arrow(schema: pa.Schema, columns: Any) -> io.BytesIO:
    given = list(columns) or [[] for _ in schema]
    arrays = [pa.array(column, field.type) for column, field in zip(given, schema, strict=True)]
    file = io.BytesIO()
    with ipc.new_file(file, schema, options=ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
    return file


def _rows(folder: Path, pattern: str = "*.arrow") -> Iterator[tuple[Any, ...]]:
    """Rows of the files, in order of their groups."""
    for path in sorted(folder.glob(pattern), key=lambda path: (len(path.stem), path.stem)):
        with pa.memory_map(str(path)) as source:
            table = ipc.open_file(source).read_all()
        yield from zip(*(column.to_pylist() for column in table.columns), strict=True)
