"""What is said of users, as of any instant: words such as `country=de`, by key, and the segment that they make.

A reader names a user and an instant and sees the last version that was known then: nothing that is said later changes
what was read before.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np

from recsys.events import key64
from recsys.features.log import fill_as_of, table_of

AT_ONCE: Final = 100_000  # rows
MOST_WORDS: Final = 24  # about one user that are read, in the order of the alphabet
SEGMENT: Final = ("country", "age_band")  # the attributes by which people are counted together


@dataclass(frozen=True)
class People:
    """m versions sorted by `user_key` and `since`, int64[m] each; those of one user follow each other."""

    user_key: np.ndarray
    since: np.ndarray  # UTC ms
    start: np.ndarray  # the words of version v are words[start[v]:stop[v]]
    stop: np.ndarray
    words: np.ndarray  # int64[w], key64 of `name=value`
    names: np.ndarray  # int64[w], key64 of `name`

    @staticmethod
    def none() -> People:
        """Nothing is said of anybody."""
        return People(*(np.zeros(0, np.int64) for _ in range(6)))

    @staticmethod
    def of(user_ids: Sequence[str], since: np.ndarray, words: Sequence[Sequence[str]]) -> People:
        """Of versions in any order; of two with one user and instant the later row stands."""
        keys, since = key64(user_ids), np.asarray(since, np.int64)
        order = np.lexsort((np.arange(len(keys)), since, keys))
        last = np.ones(len(order), bool)
        last[:-1] = (np.diff(keys[order]) != 0) | (np.diff(since[order]) != 0)
        order = order[last]
        stop = np.cumsum([len(words[v]) for v in order], dtype=np.int64)
        start = np.concatenate([np.zeros(1, np.int64), stop[:-1]])[: len(stop)]
        said = [word for v in order for word in words[v]]
        distinct = list(dict.fromkeys(said))
        of_word = dict(zip(distinct, keys_of(distinct).T.tolist(), strict=True))
        flat = np.array([of_word[word] for word in said], np.int64).reshape(-1, 2)
        return People(keys[order], since[order], start, stop, *np.ascontiguousarray(flat.T))

    def said(self, user_keys: np.ndarray, as_of: np.ndarray) -> Said:
        """What was known of each user at its instant."""
        version = np.zeros((1, len(user_keys)), np.int64)
        keys, instants = (np.ascontiguousarray(np.asarray(a, np.int64)) for a in (user_keys, as_of))
        fill_as_of(self._table, self.since, np.arange(1, len(self.since) + 1)[None, :], keys, instants, version)
        rows = version[0] - 1  # -1, the last place below, where nothing was known
        start, stop = np.append(self.start, 0)[rows], np.append(self.stop, 0)[rows]
        at = start[:, None] + np.arange(MOST_WORDS)
        there = at < stop[:, None]
        at = np.where(there, at, len(self.words))
        return Said(np.append(self.words, 0)[at], np.append(self.names, 0)[at])

    def words_of(self, user_keys: np.ndarray, as_of: np.ndarray) -> np.ndarray:
        """`said(...).words` of many rows, a part of them at a time: int64[n, MOST_WORDS]."""
        out = np.zeros((len(user_keys), MOST_WORDS), np.int64)
        for first in range(0, len(out) if len(self.words) else 0, AT_ONCE):
            part = slice(first, first + AT_ONCE)
            out[part] = self.said(user_keys[part], as_of[part]).words
        return out

    def segments(self, user_keys: np.ndarray, as_of: np.ndarray) -> np.ndarray:
        """`said(...).segments()` of many rows, int64[n]."""
        out = np.zeros(len(user_keys), np.int64)
        for first in range(0, len(out) if len(self.words) else 0, AT_ONCE):
            part = slice(first, first + AT_ONCE)
            out[part] = self.said(user_keys[part], as_of[part]).segments()
        return out

    @cached_property
    def _table(self) -> np.ndarray:
        keys, first, count = np.unique(self.user_key, return_index=True, return_counts=True)
        return table_of(np.stack([keys, first, first + count], axis=1))


class Said(NamedTuple):
    """The words about the users of n rows, int64[n, MOST_WORDS] each, 0 for none: keys of words and of their names."""

    words: np.ndarray
    names: np.ndarray

    @staticmethod
    def of_one(words: Sequence[str]) -> Said:
        """One row of these words."""
        keys = keys_of(words[:MOST_WORDS])
        return Said(*np.pad(keys, ((0, 0), (0, MOST_WORDS - keys.shape[1])))[:, None])

    @staticmethod
    def of_flat(keys: Sequence[int]) -> Said:
        """One row of what `flat` gave."""
        both = np.array(keys, np.int64).reshape(-1, 2)[:MOST_WORDS]
        return Said(*np.pad(both, ((0, MOST_WORDS - len(both)), (0, 0))).T[:, None])

    def flat(self) -> list[int]:
        """The first row's keys of words and of their names, in turn."""
        there = self.words[0] != 0
        flat: list[int] = np.stack([self.words[0][there], self.names[0][there]], axis=1).ravel().tolist()
        return flat

    def over(self, others: Said) -> Said:
        """These words, and those of the others whose name none of these has: what a request says of itself counts more
        than what is kept of its user.
        """
        kept = ~np.any(others.names[:, :, None] == np.where(self.names == 0, -1, self.names)[:, None, :], axis=2)
        words = np.concatenate([self.words, np.where(kept, others.words, 0)], axis=1)
        names = np.concatenate([self.names, np.where(kept, others.names, 0)], axis=1)
        first = np.argsort(words == 0, axis=1, kind="stable")[:, :MOST_WORDS]
        return Said(np.take_along_axis(words, first, axis=1), np.take_along_axis(names, first, axis=1))

    def segments(self) -> np.ndarray:
        """Key of each row's segment, int64[n]: equal where all of SEGMENT is equal; 0 where one of it is not said."""
        key = np.ones(len(self.words), np.int64)
        for name in key64(SEGMENT):
            word = np.max(np.where(self.names == name, self.words.view(np.uint64), 0).astype(np.uint64), axis=1)
            key = np.where((word == 0) | (key == 0), 0, (key * np.int64(1_000_003)) ^ word.view(np.int64))
        return key


def keys_of(words: Sequence[str]) -> np.ndarray:
    """Key of each word, and of its name, int64[2, n]."""
    return np.stack([key64(words), key64(re.split("[=~]", word, maxsplit=1)[0] for word in words)])


NOTHING_SAID: Final = Said.of_one(())
NO_ONE: Final = People.none()  # where nothing is said of anybody
