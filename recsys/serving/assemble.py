"""A bundle's folder out of what was trained: towers, ranker, items with their embeddings, what the sources know."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys.retrieval.item_index import IndexedItems
from recsys.retrieval.sources import SourceData
from recsys.retrieval.two_tower import QueryTower
from recsys.serving.about_log import AboutLog

COLUMNS: Final = (
    "item_id",
    "item_type",
    "creator_id",
    "category",
    "title",
    "duration_ms",
    "published_at",
    "is_available",
    "id_is_integer",
    "item_key",
    "category_key",
    "creator_key",
    "item_type_code",
)


NOTHING_LACKS: Final = AboutLog()


class AssembleError(RuntimeError):
    """The parts do not fit together; the message says which to materialize again."""


def assemble(
    folder: Path,
    *,
    tower: Path,
    sources: Path,
    ranker: Path,
    items: pa.Table,
    index: IndexedItems,
    about: AboutLog = NOTHING_LACKS,
) -> None:
    """Write the parts of a bundle into a new `folder`.

    Args:
        tower, sources, ranker: folders that QueryTower.load, SourceData.load and load_ranker read.
        items: cleaned items.
        index: embeddings of exactly those items, as published.
        about: the log that all of them learned from.

    Raises:
        AssembleError: items and index hold different items.
    """
    folder.mkdir(parents=True)
    QueryTower.load(tower).save(folder / "query_tower")
    SourceData.load(sources).save(folder / "sources")
    shutil.copytree(ranker, folder / "ranker")
    about.save(folder)
    items = items.select(list(COLUMNS)).sort_by("item_id")
    ids = items["item_id"].to_pylist()
    if tuple(ids) != index.item_ids:
        strange = sorted(set(ids) ^ set(index.item_ids))
        raise AssembleError(
            f"items and item index differ by {len(strange)} items (first: {strange[0]}): "
            "materialize item_embeddings and item_index again"
        )
    flat = pa.array(np.ascontiguousarray(index.vectors, dtype=np.float32).reshape(-1))
    vectors = pa.FixedSizeListArray.from_arrays(flat, index.vectors.shape[1])
    pq.write_table(items.append_column("embedding", vectors), folder / "items.parquet", compression="zstd")
