"""What is said of users, as of any instant: words such as `country=de`, by key, their segment, and what features read.

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

from recsys.compiled import njit
from recsys.events import MINUTE_MS, OFFSETS, UTC_OFFSET, key64
from recsys.features.catalog import ABOUT, ATTRIBUTES
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
    values: np.ndarray  # int64[w], key64 of `value`; 0 of a number's size

    @staticmethod
    def none() -> People:
        """Nothing is said of anybody."""
        return People(*(np.zeros(0, np.int64) for _ in range(7)))

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
        flat = np.array([of_word[word] for word in said], np.int64).reshape(-1, 3)
        return People(keys[order], since[order], start, stop, *np.ascontiguousarray(flat.T))

    def said(self, user_keys: np.ndarray, as_of: np.ndarray) -> Said:
        """What was known of each user at its instant."""
        version = np.zeros((1, len(user_keys)), np.int64)
        keys, instants = (np.ascontiguousarray(np.asarray(a, np.int64)) for a in (user_keys, as_of))
        fill_as_of(self._table, self.since, np.arange(1, len(self.since) + 1)[None, :], keys, instants, version)
        rows = version[0] - 1  # -1, the last place below, where nothing was known
        starts, stops, *words = self._with_none
        at = starts[rows][:, None] + np.arange(MOST_WORDS)
        at = np.where(at < stops[rows][:, None], at, len(self.words))
        return Said(*(keys[at] for keys in words))

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

    def columns(self, user_keys: np.ndarray, as_of: np.ndarray, category_key: np.ndarray) -> np.ndarray:
        """`said(...).columns(category_key)` of many rows, int64[len(ABOUT), n]."""
        out = np.zeros((len(ABOUT), len(user_keys)), np.int64)
        for first in range(0, len(user_keys) if len(self.words) else 0, AT_ONCE):
            part = slice(first, first + AT_ONCE)
            out[:, part] = self.said(user_keys[part], as_of[part]).columns(category_key[part])
        return out

    @cached_property
    def _with_none(self) -> list[np.ndarray]:
        """Versions and words, and below them nothing."""
        return [np.append(column, 0) for column in (self.start, self.stop, self.words, self.names, self.values)]

    @cached_property
    def _table(self) -> np.ndarray:
        keys, first, count = np.unique(self.user_key, return_index=True, return_counts=True)
        return table_of(np.stack([keys, first, first + count], axis=1))


class Said(NamedTuple):
    """The words about the users of n rows, int64[n, MOST_WORDS] each, 0 for none: keys as in `People`."""

    words: np.ndarray
    names: np.ndarray
    values: np.ndarray

    @staticmethod
    def of_one(words: Sequence[str]) -> Said:
        """One row of these words."""
        if not words:
            return NOTHING_SAID
        keys = keys_of(words[:MOST_WORDS])
        return Said(*np.pad(keys, ((0, 0), (0, MOST_WORDS - keys.shape[1])))[:, None])

    @staticmethod
    def of_flat(keys: Sequence[int]) -> Said:
        """One row of what `flat` gave."""
        three = np.array(keys, np.int64).reshape(-1, 3)[:MOST_WORDS]
        return Said(*np.pad(three, ((0, MOST_WORDS - len(three)), (0, 0))).T[:, None])

    @staticmethod
    def of_rows(rows: Sequence[Sequence[int] | None]) -> Said:
        """A row of each of what `flat` gave."""
        distinct = {said: Said.of_flat(said) for said in {tuple(row or ()) for row in rows}}
        each = [distinct[tuple(row or ())] for row in rows] or [NOTHING_SAID]
        return Said(*(np.concatenate(keys)[: len(rows)] for keys in zip(*each, strict=True)))

    def flat(self) -> list[int]:
        """The first row's keys of words, of their names and of their values, in turn."""
        there = self.words[0] != 0
        flat: list[int] = np.stack([keys[0][there] for keys in self], axis=1).ravel().tolist()
        return flat

    def over(self, others: Said) -> Said:
        """These words, and those of the others whose name none of these has: what a request says of itself counts more
        than what is kept of its user.
        """
        if not self.words.any():
            return others
        kept = ~np.any(others.names[:, :, None] == np.where(self.names == 0, -1, self.names)[:, None, :], axis=2)
        both = Said(*(np.concatenate([a, np.where(kept, b, 0)], axis=1) for a, b in zip(self, others, strict=True)))
        first = np.argsort(both.words == 0, axis=1, kind="stable")[:, :MOST_WORDS]
        return Said(*(np.take_along_axis(keys, first, axis=1) for keys in both))

    def columns(self, category_key: np.ndarray) -> np.ndarray:
        """What features read of each row, int64[len(ABOUT), n]: the key of each attribute's word (the first of
        several), how far its clock is ahead of UTC in ms, and whether a value is the category of the row's item.

        Args:
            category_key: int64[n], of the items; where only one row of words is here, it is of all n
        """
        out = np.zeros((len(ABOUT), len(category_key)), np.int64)
        _fill_columns(*self, _READ_NAMES, _OFFSET_WORDS, _OFFSET_MS, category_key, out)
        return out

    def segments(self) -> np.ndarray:
        """Key of each row's segment, int64[n]: equal where all of SEGMENT is equal; 0 where one of it is not said."""
        key = np.ones(len(self.words), np.int64)
        for name in key64(SEGMENT):
            word = np.max(np.where(self.names == name, self.words.view(np.uint64), 0).astype(np.uint64), axis=1)
            key = np.where((word == 0) | (key == 0), 0, (key * np.int64(1_000_003)) ^ word.view(np.int64))
        return key


def keys_of(words: Sequence[str]) -> np.ndarray:
    """Key of each word, of its name and of its value (0 of a number's size), int64[3, n]."""
    parts = [re.split("([=~])", word, maxsplit=1) for word in words]
    names, values = key64(part[0] for part in parts), key64("".join(part[2:]) for part in parts)
    return np.stack([key64(words), names, np.where([part[1:2] == ["="] for part in parts], values, 0)])


@njit(cache=True, nogil=True)
def _fill_columns(words, names, values, read, offset_words, offset_ms, category, out):  # type: ignore[no-untyped-def]
    clock, named = len(out) - 2, len(out) - 1
    for r in range(len(category)):
        said = r if len(words) == len(category) else 0
        if r and not said:
            out[:named, r] = out[:named, 0]
        else:
            for c in range(len(read)):
                for place in range(words.shape[1] - 1, -1, -1):  # the first is kept
                    if names[said, place] == read[c]:
                        out[c, r] = words[said, place]
            at = np.searchsorted(offset_words, out[clock, r])
            is_known = at < len(offset_words) and offset_words[at] == out[clock, r]
            out[clock, r] = offset_ms[at] if is_known else 0
        for place in range(words.shape[1]):
            if values[said, place] == category[r] and category[r] != 0:
                out[named, r] = 1


_READ_NAMES: Final = key64([*ATTRIBUTES, UTC_OFFSET])
_IN_ORDER: Final = np.argsort(key64(f"{UTC_OFFSET}={minutes}" for minutes in OFFSETS))
_OFFSET_WORDS: Final = key64(f"{UTC_OFFSET}={minutes}" for minutes in OFFSETS)[_IN_ORDER]
_OFFSET_MS: Final = np.array(OFFSETS, np.int64)[_IN_ORDER] * MINUTE_MS

NOTHING_SAID: Final = Said(*np.zeros((3, 1, MOST_WORDS), np.int64))
NO_ONE: Final = People.none()  # where nothing is said of anybody
