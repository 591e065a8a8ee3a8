"""The arrays of a snapshot as files of one folder, which every process maps."""

from __future__ import annotations

import ctypes
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

_FIXED: Final = 0x10  # MAP_FIXED, of Linux and macOS, which Python does not name
_RESERVED: Final = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
_mmap = ctypes.CDLL(None, use_errno=True).mmap
_mmap.restype = ctypes.c_void_p
_mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64]
# Cells of which there is room behind a snapshot's, 256 MB of addresses: 40,000 events take 18 M, whoever they are of.
ROOM: Final = 1 << 25


def write(folder: Path, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Write a snapshot's files; what has to be known of each to map it, and its checksum."""
    folder.mkdir()
    about = {}
    for key, array in arrays.items():
        shape = tuple(max(1, size) for size in array.shape)  # of nothing there is no map
        stored = np.lib.format.open_memmap(folder / f"{key}.npy", "w+", array.dtype, shape)
        if array.size:
            stored[: len(array)] = array
        about[key] = {
            "digest": checksum(array),
            "used": len(array),
            "dtype": array.dtype.str,
            "shape": array.shape,
            "offset": stored.offset,
        }
    with ThreadPoolExecutor() as pool:  # a disk flushes several files in the time of one
        list(pool.map(_flush, folder.glob("*.npy")))
    return about


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fdatasync(file)


def mapped(folder: Path, key: str, about: Mapping[str, Any]) -> np.ndarray:
    """The array of a file, copy on write: workers share every page that none of them changed. Cells have ROOM behind.

    `numpy.load` reads the file's own words on its shape, which takes .5 ms, and a dozen arrays are opened in a request.
    """
    shape, dtype = about["shape"], np.dtype(about["dtype"])
    try:
        with (folder / f"{key}.npy").open("rb") as file:
            if key == "cells":
                shape = (shape[0] + ROOM,)
                held = _with_room(file.fileno(), about["offset"] + shape[0] * dtype.itemsize)
            else:
                held = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        return np.frombuffer(held, dtype, math.prod(shape), about["offset"]).reshape(shape)
    except (OSError, ValueError) as error:
        raise StoreCorrupt(
            f"snapshot file {key}.npy of the online store is gone or torn ({error}): materialize online_state"
        ) from None


def _with_room(descriptor: int, size: int) -> mmap.mmap:
    """Addresses for so many bytes, the file mapped over their beginning, copy on write: behind it they are zero."""
    held = mmap.mmap(-1, size, flags=_RESERVED)
    begin, access = ctypes.addressof(ctypes.c_char.from_buffer(held)), mmap.PROT_READ | mmap.PROT_WRITE
    if _mmap(begin, os.fstat(descriptor).st_size, access, mmap.MAP_PRIVATE | _FIXED, descriptor, 0) != begin:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return held


def checksum(array: Any) -> str:
    """Of an array's bytes."""
    return xxhash.xxh3_64_hexdigest(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
