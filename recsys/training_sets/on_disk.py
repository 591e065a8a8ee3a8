"""Training rows from their files, a block at a time: the features in one matrix, on disk where it is large.

All that learns from them shares that matrix. What reads the rows on disk reads the blocks it asks for. Outcomes, keys
(45 bytes a row) and histories (some 150 bytes a row, since rows of one slate share theirs) stay in memory.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from recsys.features.history import HISTORY_COLUMNS, History
from recsys.training_sets.assemble import LABELS, AssembleError
from recsys.training_sets.examples import Examples, concat, with_outcomes
from recsys.training_sets.inputs import Inputs, histories, matrix

BLOCK: Final = 65_536  # rows read or written at once: 34 MB of 129 features, and at most 75 MB of histories
# of a row, beside features
KNOWN: Final = [*LABELS, "user_key", "request_id", "occurred_at", "propensity"]
MOST_SAMPLED: Final = 60_000  # rows of a log with drawn negatives
SHARE: Final = 8  # of the machine's memory: the matrix and its bins are there at once, and other work is, too


@contextmanager
def opened(
    train: Path, validation: Path, names: Sequence[str], scratch: Path, bound_bytes: int | None = None
) -> Iterator[tuple[Examples, Examples, Examples]]:
    """Train rows, validation rows, and both one below the other, over one matrix. Of a log with drawn negatives those
    of each part are the newest.

    Args:
        scratch: folder for the mapped file, which is gone afterwards: as large as the matrix.
        bound_bytes: a matrix of all rows above it stays on disk; None: an eighth of the machine's memory.
    """
    rows = [_rows(path, names) for path in (train, validation)]
    bound = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // SHARE if bound_bytes is None else bound_bytes
    shape = sum(rows), len(names)
    with ExitStack() as held:
        features = np.empty((0, len(names)), np.float32)
        if shape[0] * shape[1] * 4 > bound:
            scratch.mkdir(parents=True, exist_ok=True)
            folder = held.enter_context(tempfile.TemporaryDirectory(dir=scratch, prefix="rows_"))
            features = np.memmap(Path(folder) / "features.f32", np.float32, "w+", shape=shape)
        else:
            features = np.empty(shape, np.float32)
        learned = _read(train, names, features[: rows[0]])
        held_out = _read(validation, names, features[rows[0] :])
        both = concat(learned, held_out, features=features)
        yield learned, held_out, both


def part(path: Path, names: Sequence[str]) -> Examples:
    """The rows of one file, in memory."""
    return _read(path, names, np.empty((_rows(path, names), len(names)), np.float32))


def _rows(path: Path, names: Sequence[str]) -> int:
    """How many rows of a file are learned from, its last ones. Where negatives are drawn the older ones say little
    that the features do not, and 400,000 rows cost the trees five CPU minutes; what says what was shown is learned
    from whole.

    Raises:
        AssembleError: it was written by code that knew less.
    """
    about = pq.read_metadata(path)
    there = about.schema.to_arrow_schema().names
    if missing := [name for name in (*KNOWN, *names, *HISTORY_COLUMNS) if name not in there]:
        raise AssembleError(f"{path} lacks the column {missing[0]}, which is learned from: materialize training_set")
    rows = int(about.num_rows)
    drawn = pq.read_table(path, columns=["sampling_rate"])["sampling_rate"].null_count < rows
    return min(rows, MOST_SAMPLED) if drawn else rows


def _read(path: Path, names: Sequence[str], features: np.ndarray) -> Examples:
    """The last rows of a file, as many as `features` has, which their features are written into."""
    left_out, start = int(pq.read_metadata(path).num_rows) - len(features), 0
    held, keys = [History.none(0)], [np.zeros(0, np.int64)]
    with pq.ParquetFile(path, pre_buffer=False) as source:
        for batch in source.iter_batches(BLOCK, columns=["item_key", *names, *HISTORY_COLUMNS]):
            skipped = min(left_out, len(batch))
            left_out -= skipped
            block = pl.DataFrame(batch.slice(skipped))
            features[start : start + block.height] = matrix(block, names)
            keys.append(block["item_key"].to_numpy())
            held.append(histories(block))
            start += block.height
    if isinstance(features, np.memmap):
        features.flush()
    inputs = Inputs(features, np.concatenate(keys), History.below(*held).shared())
    return with_outcomes(inputs, pl.read_parquet(path, columns=KNOWN).tail(len(features)))
