"""The arrays of a snapshot as files of one folder, which every process maps."""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
import xxhash

from recsys.store.errors import StoreCorrupt

SPARE: Final = 1.25  # a snapshot's cells have room for a quarter more, as a hole in the file


def write(folder: Path, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Write a snapshot's files; what has to be known of each to map it, and its checksum."""
    folder.mkdir()
    about = {}
    for key, array in arrays.items():
        rows = int(len(array) * SPARE) + 1 if key == "cells" else max(1, len(array))
        shape = rows, *(max(1, size) for size in array.shape[1:])  # of nothing there is no map
        stored = np.lib.format.open_memmap(folder / f"{key}.npy", "w+", array.dtype, shape)
        if array.size:
            stored[: len(array)] = array
        about[key] = {
            "digest": checksum(array),
            "used": len(array),
            "dtype": array.dtype.str,
            "shape": (rows, *array.shape[1:]) if key == "cells" else array.shape,
            "offset": stored.offset,
        }
    with ThreadPoolExecutor() as pool:  # a disk flushes several files in the time of one
        list(pool.map(_flush, folder.glob("*.npy")))
    return about


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fdatasync(file)


def mapped(folder: Path, key: str, about: Mapping[str, Any]) -> np.ndarray:
    """The array of a file, copy on write: workers share every page that none of them changed.

    `numpy.load` reads the file's own words on its shape, which takes .5 ms, and a dozen arrays are opened in a request.
    """
    shape, dtype = about["shape"], np.dtype(about["dtype"])
    try:
        with (folder / f"{key}.npy").open("rb") as file:
            held = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        return np.frombuffer(held, dtype, math.prod(shape), about["offset"]).reshape(shape)
    except (OSError, ValueError) as error:
        raise StoreCorrupt(
            f"snapshot file {key}.npy of the online store is gone or torn ({error}): materialize online_state"
        ) from None


def checksum(array: Any) -> str:
    """Of an array's bytes."""
    return xxhash.xxh3_64_hexdigest(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
