"""What users never want to see again, kept beside the log for as long as they are known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from recsys.events import key64

MOST: Final = 500  # items, and creators, of one user: they are logged with each of the user's slates


class TooManyBlocked(ValueError):
    """A user would have more than MOST; nothing was changed."""


class Blocked(NamedTuple):
    """Keys of items and creators, ascending, int64[n] each."""

    items: np.ndarray
    creators: np.ndarray

    @classmethod
    def of(cls, item_ids: Sequence[str], creator_ids: Sequence[str]) -> Blocked:
        """By their ids."""
        return cls(_keys(key64(item_ids) if item_ids else ()), _keys(key64(creator_ids) if creator_ids else ()))

    @classmethod
    def read(cls, kept: bytes | None) -> Blocked:
        """What `kept` wrote; nothing where there is nothing."""
        if not kept:
            return NONE
        listed = json.loads(kept)
        return cls(_keys(listed["items"]), _keys(listed["creators"]))

    def kept(self) -> bytes:
        """For a journal."""
        return json.dumps({"items": self.items.tolist(), "creators": self.creators.tolist()}).encode()

    def plus(self, other: Blocked) -> Blocked:
        """Both together."""
        return Blocked(*(np.union1d(a, b) for a, b in zip(self, other, strict=True)))

    def without(self, other: Blocked) -> Blocked:
        """These, less the others."""
        return Blocked(*(np.setdiff1d(a, b) for a, b in zip(self, other, strict=True)))


NONE: Final = Blocked(np.empty(0, np.int64), np.empty(0, np.int64))


def changed(before: bytes | None, more: Blocked, less: Blocked) -> bytes:
    """What a journal keeps of a user (None: nothing), with some more and less.

    Raises:
        TooManyBlocked: it would be more than MOST.
    """
    now = Blocked.read(before).without(less).plus(more)
    if max(map(len, now)) > MOST:
        raise TooManyBlocked(f"a user may block {MOST} items and {MOST} creators: unblock some first")
    return now.kept()


def _keys(keys: Sequence[int] | np.ndarray) -> np.ndarray:
    return np.unique(np.asarray(keys, np.int64))
