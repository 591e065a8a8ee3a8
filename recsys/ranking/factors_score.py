"""What the factors say of rows, in one compiled pass: five hundred candidates took 0.6 ms as arrays, one by one.

A row's numbers are its own, alone or among others: plain loops of float64 in a fixed order.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np

from recsys.compiled import njit
from recsys.features.catalog import ATTRIBUTES
from recsys.features.log import row_in

# Features beside a history, in the order in which a row is read here.
READ: Final = (
    "slot", "item_age_days", "hour_of_day", "shelf_bucket", "category_bucket", "creator_bucket", "item_type",
    "user_names_category", *(f"user_{name}_bucket" for name in ATTRIBUTES),
)  # fmt: skip
SLOT, AGE, HOUR, SHELF, CATEGORY, CREATOR, TYPE, NAMED = range(len(READ) - len(ATTRIBUTES))
SAID: Final = slice(NAMED + 1, len(READ))  # words about the user
PLACES: Final = 20  # of a slate that have a level of their own; later ones share the last
HALF_LIVES: Final = (1.0, 4.0, 16.0)  # days, of what being new is worth; each four times the one before
OF_AGE: Final = PLACES, PLACES + len(HALF_LIVES)  # columns of `context_of`: first, and the one behind the last
# What adds up to a row's log odds: `click` and `view` without the user, `match` with the user's own level, `taste`
# without it; `level` of the item and `age`, for reasons; then the log odds of a click and of a long view.
PARTS: Final = ("click", "view", "match", "taste", "level", "age", "click_odds", "view_odds")


class Learned(NamedTuple):
    """Parameters as these loops read them. Keys are sorted; row 0 of values is for every other key."""

    keys: np.ndarray  # int64[items]
    whole: np.ndarray  # float64[items + 1, d + 2]: vector, levels of click and of long view
    categories: np.ndarray  # buckets
    category: np.ndarray  # float64[categories + 1, d + 2]
    creators: np.ndarray
    creator: np.ndarray
    item_types: np.ndarray
    item_type: np.ndarray
    types: np.ndarray  # those for which a user has a level
    shelves: np.ndarray
    context: np.ndarray  # float64[columns of `context_of` but for the last, 2]
    named: np.ndarray  # float64[2], of that one
    base: np.ndarray  # float64[2]
    slope: float


def context_of(read: np.ndarray, shelves: np.ndarray) -> np.ndarray:
    """Where and when, float64[n, PLACES + HALF_LIVES + 2 + shelves + 1]: place, age, hour, shelf, and last whether the
    user says to like the category. Missing is 0.

    Args:
        read: float32[n, len(READ)]
    """
    out = np.zeros((len(read), OF_AGE[1] + 2 + len(shelves) + 1))
    _fill_contexts(read, shelves, out)
    return out


def whole_of(learned: Learned, item_key: np.ndarray, read: np.ndarray) -> np.ndarray:
    """Vector and levels of each row's item, float64[n, d + 2]."""
    out = np.empty((len(item_key), learned.whole.shape[1]))
    _fill_whole(learned, item_key, read, out)
    return out


def parts_of(
    learned: Learned, item_key: np.ndarray, read: np.ndarray, users: np.ndarray, whose: np.ndarray
) -> np.ndarray:
    """PARTS of n rows, float64[len(PARTS), n].

    Args:
        read: float32[n, len(READ)]
        users, whose: as of `Factors.users`
    """
    out = np.empty((len(PARTS), len(item_key)))
    _fill_parts(learned, item_key, read, users, whose, out)
    return out


@njit(cache=True, nogil=True)
def _decays(age, out):  # type: ignore[no-untyped-def]
    """What is left of being new, by HALF_LIVES: a decay is the fourth power of the next one's."""
    out[:] = 0.0
    if age >= 0:
        decay = np.exp2(-math.expm1(float(age)) / HALF_LIVES[-1])
        for h in range(len(out) - 1, -1, -1):
            out[h] = decay
            decay = (decay * decay) * (decay * decay)


@njit(cache=True, nogil=True)
def _moment(slot, hour, shelf, shelves, out):  # type: ignore[no-untyped-def]
    """The columns of `context_of` that do not come from the age, which the rows of a request share."""
    out[:] = 0.0
    for c in range(PLACES):
        if slot == c or (c == PLACES - 1 and slot > c):
            out[c] = 1.0
    at = OF_AGE[1]
    if hour >= 0:
        turn = float(hour) * (2.0 * math.pi / 24.0)
        out[at], out[at + 1] = math.cos(turn), math.sin(turn)
    for s in range(len(shelves)):
        if shelf == shelves[s]:
            out[at + 2 + s] = 1.0


@njit(cache=True, nogil=True)
def _fill_contexts(read, shelves, out):  # type: ignore[no-untyped-def]
    for r in range(len(read)):
        _moment(read[r, SLOT], read[r, HOUR], read[r, SHELF], shelves, out[r])
        _decays(read[r, AGE], out[r, OF_AGE[0] : OF_AGE[1]])
        out[r, -1] = read[r, NAMED] > 0


@njit(cache=True, nogil=True)
def _fill_whole(learned, item_key, read, out):  # type: ignore[no-untyped-def]
    """`whole_of`. The parameters are taken out of their tuple once: to hand it on for each row took 0.3 us a row."""
    keys, whole, categories, category, creators, creator, item_types, item_type = learned[:8]
    for r in range(len(item_key)):
        at = row_in(keys, item_key[r])
        if at:
            for k in range(out.shape[1]):
                out[r, k] = whole[at, k]
            continue
        of_category, of_creator = row_in(categories, read[r, CATEGORY]), row_in(creators, read[r, CREATOR])
        of_type = row_in(item_types, read[r, TYPE])
        for k in range(out.shape[1]):  # they speak for an item that the training days did not show
            out[r, k] = category[of_category, k] + creator[of_creator, k] + item_type[of_type, k]


@njit(cache=True, nogil=True)
def _log_probability(odds):  # type: ignore[no-untyped-def]
    """The logarithm of a probability, from its log odds."""
    return min(odds, 0.0) - math.log1p(math.exp(-abs(odds)))


@njit(cache=True, nogil=True)
def _fill_parts(learned, item_key, read, users, whose, out):  # type: ignore[no-untyped-def]
    types, shelves, context, named, base, slope = learned[8:]
    item, moment = np.empty((len(item_key), learned.whole.shape[1])), np.empty(len(context))
    decays = np.empty(len(HALF_LIVES))
    _fill_whole(learned, item_key, read, item)
    d, clicks, views = item.shape[1] - 2, 0.0, 0.0
    for r in range(len(item_key)):
        same = r > 0
        for c in (SLOT, HOUR, SHELF):
            same &= read[r, c] == read[r - 1, c]
        if not same:  # added up once for rows that share it
            _moment(read[r, SLOT], read[r, HOUR], read[r, SHELF], shelves, moment)
            clicks, views = 0.0, 0.0
            for c in range(len(moment)):
                clicks += moment[c] * context[c, 0]
                views += moment[c] * context[c, 1]
        taste, u = 0.0, whose[r]
        for k in range(d):
            taste += item[r, k] * users[u, k]
        own = users[u, d]
        if len(types):
            by_type = row_in(types, read[r, TYPE])
            own += users[u, d + by_type] if by_type else 0.0
        _decays(read[r, AGE], decays)
        age, viewed = 0.0, 0.0
        for h in range(len(decays)):
            age += decays[h] * context[OF_AGE[0] + h, 0]
            viewed += decays[h] * context[OF_AGE[0] + h, 1]
        click = base[0] + item[r, d] + clicks + age
        view = base[1] + item[r, d + 1] + views + viewed
        if read[r, NAMED] > 0:
            click += named[0]
            view += named[1]
        odds = click + (taste + own)
        out[0, r], out[1, r], out[2, r], out[3, r] = click, view, taste + own, taste
        out[4, r], out[5, r], out[6, r] = item[r, d], age, odds
        if slope == 0.0:  # one outcome alone was learned
            out[7, r] = odds
        else:  # log of the product of two probabilities: as an order its log odds, but for no overflow at 1
            out[7, r] = _log_probability(odds) + _log_probability(view + slope * taste)
