"""The query tower of one request in compiled loops: torch spent most of its time between operations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from recsys.compiled import njit
from recsys.events import MINUTE_MS, QUERY_WORDS, WORD_BITS
from recsys.features import catalog
from recsys.features.catalog import ENGAGED_LENGTH
from recsys.features.history import IS_ENGAGED
from recsys.features.judged import SEARCHES
from recsys.features.log import row_in
from recsys.features.people import MOST_WORDS
from recsys.training_sets.layers import affine, rectify
from recsys.training_sets.states import State

AGE_BUCKETS: Final = 24  # log2 of minutes: the last one begins at 16 years
KIND_CODES: Final = 16
TABLES: Final = 4  # codes of id, creator, category and type
ITEM_BATCH: Final = 256  # items are embedded in blocks of this shape, so a vector does not depend on its neighbours
# All that is read of the feature row. What counts the user's days in the log is not: an imported example has none of
# them, and with those 27 features mean recall@50/100/200 of the validation days is lower: .441 and .437 (two seeds) on
# KuaiRand where .459 is reached without (one), by .002 and .006 on the simulator.
CONTEXT_FEATURES: Final = ("shelf_bucket", "device_bucket", "hour_of_day")
HISTORY_DROPOUT: Final = 0.15  # share of training queries that have no history, where words about users stand for it
ABOUT_WORDS: Final = MOST_WORDS + SEARCHES * QUERY_WORDS  # of a user: of what is said of them, of what they searched
NOTHING_KNOWN: Final = np.zeros(ABOUT_WORDS, np.int64)
CONTEXT_COLUMNS: Final = np.array([catalog.FEATURES.index(name) for name in CONTEXT_FEATURES])
_NO_WORDS: Final = np.zeros(0, np.int64)


@dataclass(frozen=True)
class TowerConfig:
    """Shape of both towers. Defaults were chosen on validation days only."""

    dim: int = 64
    hidden: int = 256
    dropout: float = 0.1
    id_dropout: float = 0.1  # share of training items seen as unknown, so that new ones get a sensible vector
    min_events: int = 2  # an item or creator with fewer training examples has no row of its own
    temperature: float = 0.07  # where the learned one starts
    text: bool = True  # words of title and tags


class Vocabulary(NamedTuple):
    """What the network knows by name. Sorted int64 keys; a key's row is its place + 1, row 0 is everything else."""

    items: np.ndarray
    creators: np.ndarray
    categories: np.ndarray
    words: np.ndarray  # that at least two items share: a word of one item would be a second id of it
    shelves: np.ndarray  # values of shelf_bucket
    devices: np.ndarray
    about: np.ndarray = _NO_WORDS  # words about users, and codes of words of searches; none is no part of the network


def asks(known: Vocabulary) -> bool:
    """Whether words of searches are read; a key is no code but by a chance of 1e-14."""
    return bool(np.any(np.abs(known.about) >> WORD_BITS == 0))


class Weights(NamedTuple):
    """Its parameters as arrays: float32 but for the keys, sorted int64, of which a row's place + 1 is told."""

    items: np.ndarray
    identity: np.ndarray  # [items + 1, d]: what each item of the catalogue is
    kind: np.ndarray  # [kinds]
    age: np.ndarray  # [buckets of the age]
    shelves: np.ndarray
    shelf: np.ndarray  # [shelves + 1, width]
    devices: np.ndarray
    device: np.ndarray  # [devices + 1, width]
    hour: np.ndarray  # [24, width]
    words: np.ndarray  # about users
    about: np.ndarray  # [words + 1, d]; [0, d] where none is known
    asks: bool  # whether the words of searches are read
    first: np.ndarray  # [inputs, hidden]
    first_bias: np.ndarray
    second: np.ndarray  # [hidden, d]
    second_bias: np.ndarray


def vocabulary_of(state: State) -> Vocabulary:
    """The vocabularies in the state of a TwoTower."""
    held = {name: state.get(f"vocabulary_{name}") for name in Vocabulary._fields}
    return Vocabulary(**{name: keys for name, keys in held.items() if keys is not None})


def weights_of(state: State, identities: np.ndarray) -> Weights:
    """Those of a TwoTower's state, and what it says of the items of its catalogue."""
    known, dim = vocabulary_of(state), identities.shape[1]
    (first, first_bias), (second, second_bias) = (
        (np.ascontiguousarray(state[f"query_mix.{place}.weight"].T), state[f"query_mix.{place}.bias"])
        for place in (0, 3)
    )
    return Weights(
        state["catalogue_keys"],
        identities,
        np.ascontiguousarray(state["kind_weight.weight"][:, 0]),
        np.ascontiguousarray(state["age_weight.weight"][:, 0]),
        known.shelves,
        state["shelf.weight"],
        known.devices,
        state["device.weight"],
        state["hour.weight"],
        known.about,
        state.get("about.weight", np.zeros((0, dim), np.float32)),
        asks(known),
        first,
        first_bias,
        second,
        second_bias,
    )


@njit(cache=True, nogil=True)
def mean_word(w, words, out):  # type: ignore[no-untyped-def]
    """Three times the mean of the words' vectors, 0 where none is known."""
    out[:] = 0
    count = 0
    for word in words:
        row = row_in(w.words, word)
        if row:
            count += 1
            for k in range(len(out)):
                out[k] += w.about[row, k]
    for k in range(len(out) if count else 0):
        out[k] *= np.float32(3.0) / np.float32(count)


@njit(cache=True, nogil=True)
def embed(w, item_keys, kinds, occurred_at, as_of, shelf, device, hour, about, out):  # type: ignore[no-untyped-def]
    """The unit vector of one request, into out [d].

    Args: a history oldest first, [m] each; instant; values of shelf_bucket and device_bucket; hour of the day; words
    about the user.
    """
    d = len(out)
    rows, weights = np.empty(ENGAGED_LENGTH, np.int64), np.empty(ENGAGED_LENGTH, np.float32)
    met = count = 0
    for e in range(len(item_keys) - 1, -1, -1):
        if met == ENGAGED_LENGTH:
            break
        if not IS_ENGAGED[kinds[e]]:
            continue
        met += 1
        row = row_in(w.items, item_keys[e])
        if row:
            minutes, bucket = max(as_of - occurred_at[e], 0) // MINUTE_MS, 0
            while minutes and bucket < len(w.age) - 1:
                minutes >>= 1
                bucket += 1
            rows[count], weights[count] = row, w.kind[kinds[e]] + w.age[bucket]
            count += 1
    total = np.float32(0.0)
    highest = weights[:count].max() if count else total
    for e in range(count):
        weights[e] = math.exp(weights[e] - highest)
        total += weights[e]
    history = np.zeros(d, np.float32)
    for e in range(count):
        share = weights[e] / total
        for k in range(d):
            history[k] += share * w.identity[rows[e], k]
    inputs, hidden = np.empty(len(w.first), np.float32), np.empty(len(w.first_bias), np.float32)
    for k in range(d):
        inputs[k] = np.float32(3.0) * history[k]
    at = d
    context = w.shelf[row_in(w.shelves, shelf)], w.device[row_in(w.devices, device)], w.hour[hour]
    for vector in context:
        inputs[at : at + len(vector)] = vector
        at += len(vector)
    inputs[at] = math.log1p(np.float32(count))
    at += 1
    if len(w.about):
        mean_word(w, about[:MOST_WORDS], inputs[at : at + d])
        if w.asks:
            mean_word(w, about[MOST_WORDS:], inputs[at + d :])
    affine(inputs, w.first, w.first_bias, hidden)
    rectify(hidden)
    affine(hidden, w.second, w.second_bias, out)
    length = np.float32(0.0)
    for k in range(d):
        out[k] += history[k]
        length += out[k] * out[k]
    length = np.float32(max(math.sqrt(length), 1e-12))
    for k in range(d):
        out[k] /= length
