"""Training rows too many for memory: the features mapped from a file, everything else as always.

The Parquet files are read a block at a time into one float32 file; what learns from it reads the blocks it asks for.
Outcomes and keys (45 bytes a row) stay in memory.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from recsys.training_sets.examples import Examples, concat, is_sampled, newest, with_outcomes
from recsys.training_sets.inputs import Inputs, matrix

BLOCK: Final = 65_536  # rows read or written at once: 34 MB of 129 features
# of a row, beside features
KNOWN: Final = ["click", "long_view", "watch_ms", "user_key", "request_id", "occurred_at", "propensity"]
SHARE: Final = 8  # of the machine's memory: table, matrix and its bins are there at once, and other work is, too


@contextmanager
def opened(
    train: Path, validation: Path, names: Sequence[str], scratch: Path, bound_bytes: int | None = None
) -> Iterator[tuple[Examples, Examples, Examples]]:
    """Train rows, validation rows, and both one below the other, without histories: what asks for them are the trees.

    Args:
        scratch: folder for the mapped files, which are gone afterwards: as large as the matrix of all rows, twice.
        bound_bytes: a matrix of all rows above it stays on disk; None: an eighth of the machine's memory.
    """
    rows = sum(pq.read_metadata(path).num_rows for path in (train, validation))
    bound = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // SHARE if bound_bytes is None else bound_bytes
    if rows * len(names) * 4 <= bound or is_sampled(pl.read_parquet(train, columns=["sampling_rate"])):
        columns = [*KNOWN, "sampling_rate", *names]
        tables = (newest(pl.read_parquet(path, columns=columns)) for path in (train, validation))
        learned, held_out = (with_outcomes(Inputs.of_strangers(matrix(rows, names)), rows) for rows in tables)
        yield learned, held_out, concat(learned, held_out)
        return
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch, prefix="rows_") as folder:
        parts = ((train,), (validation,), (train, validation))
        maps = [mapped(paths, names, Path(folder) / f"{i}.f32") for i, paths in enumerate(parts)]
        yield maps[0], maps[1], maps[2]


def mapped(paths: Sequence[Path], names: Sequence[str], file: Path) -> Examples:
    """Rows of training-set files, one below the other, whose features are a read-only map of `file`, written here.

    Never more than a block of the features is in memory.
    """
    sources = [pq.ParquetFile(path, pre_buffer=False) for path in paths]
    n = sum(source.metadata.num_rows for source in sources)
    out = np.memmap(file, np.float32, "w+", shape=(n, len(names)))
    start = 0
    for source in sources:
        for batch in source.iter_batches(BLOCK, columns=list(names)):
            out[start : start + len(batch)] = matrix(pl.DataFrame(batch), names)
            start += len(batch)
        source.close()
    out.flush()
    parts = [pl.read_parquet(path, columns=KNOWN) for path in paths]
    known = concat(*(with_outcomes(Inputs.of_strangers(np.empty((len(p), 0), np.float32)), p) for p in parts))
    return replace(known, inputs=Inputs.of_strangers(np.memmap(file, np.float32, "r", shape=(n, len(names)))))
