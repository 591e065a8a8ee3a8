"""The version of what an asset wrote: a hash of its bytes, whatever run wrote them, and whenever."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import dagster as dg
import xxhash

from recsys.lake import Lake

VERSION: Final = "dagster/data_version"  # the tag of a materialization that bears it


def content(*paths: Path) -> dg.DataVersion:
    """A hash of these files, and of all files below those that are folders, with their names."""
    digest = xxhash.xxh3_128()
    for path in paths:
        for file in sorted(entry for entry in path.rglob("*") if entry.is_file()) if path.is_dir() else [path]:
            digest.update(f"{file.relative_to(path.parent)}\0{file.stat().st_size}\0".encode())
            digest.update(file.read_bytes())
    return dg.DataVersion(digest.hexdigest())


def content_of_days(lake: Lake, days: Iterable[str], *name: str) -> dg.DataVersion:
    """The same of a table by day: of one day its file's, of a range that of all of it.

    Dagster gives the days of one run one version (1.13.27): a day that is taken in alone after a range of the same
    bytes has another, so what is made of it may be told as out of date when it is not, and never the other way round.
    """
    return content(*(lake.day(day, *name) for day in sorted(days)))
