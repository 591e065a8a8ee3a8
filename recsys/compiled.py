"""numba's `njit`, whose kept machine code is made anew once anything that it was compiled from has changed.

numba freezes what a function reads of its globals and whatever it calls into machine code, and keeps that by the bytes
of the function's own file. So an update that changed a column of layout.py alone would leave a kernel that reads the
old one. Here the code is kept by what it froze, too.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numba import config, njit
from numba.core import caching
from numba.extending import is_jitted

__all__ = ["njit"]


class _ByAllThatIsFrozen:
    """A place where numba keeps code, which is as new as all that the code froze."""

    def __init__(self, function: Callable[..., Any], file: str) -> None:
        super().__init__(function, file)  # type: ignore[call-arg]
        self._function = function

    def get_source_stamp(self) -> bytes:
        digest = hashlib.sha256(super().get_source_stamp())  # type: ignore[misc]
        digest.update(_frozen(self._function))
        return digest.digest()


class Given(_ByAllThatIsFrozen, caching.UserProvidedCacheLocator):
    """Below NUMBA_CACHE_DIR."""


class Beside(_ByAllThatIsFrozen, caching.InTreeCacheLocator):
    """In the `__pycache__` of the function's file."""


class OfUser(_ByAllThatIsFrozen, caching.UserWideCacheLocator):
    """In the cache of the user, where the code's own folder cannot be written."""


OURS: Final = [f"{__name__}.{place.__name__}" for place in (Given, Beside, OfUser)]
_order = [*OURS, "IPythonCacheLocator", "ZipCacheLocator"]  # numba's own
config.CACHE_LOCATOR_CLASSES = ",".join(_order)  # type: ignore[attr-defined]


@functools.cache
def _bytes_of(file: str) -> bytes:
    return hashlib.sha256(Path(file).read_bytes()).digest()


@functools.cache
def _frozen(function: Callable[..., Any]) -> bytes:
    """A digest of the globals that a function reads, and of those that what it calls reads."""
    digest = hashlib.sha256()
    seen = inspect.getclosurevars(function)
    for name, value in sorted({**seen.globals, **seen.nonlocals}.items()):
        for part in _parts(value):
            digest.update(name.encode())
            digest.update(part)
    return digest.digest()


def _parts(value: Any) -> Iterator[bytes]:
    if is_jitted(value):
        called = value.py_func
        yield _bytes_of(inspect.getfile(called))
        yield _frozen(called)
    elif isinstance(value, np.ndarray):
        yield repr((value.dtype, value.shape)).encode() + value.tobytes()
    elif isinstance(value, (bool, int, float, complex, str, bytes, tuple, np.generic)):
        yield repr(value).encode()
    elif hasattr(value, "_fields"):  # a named tuple's places
        yield repr(value._fields).encode()
