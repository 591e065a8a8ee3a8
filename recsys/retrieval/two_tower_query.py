"""The query tower of one request in compiled loops: torch spent most of its time between operations."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit

from recsys.events import MINUTE_MS
from recsys.features.catalog import ENGAGED_LENGTH
from recsys.features.history import IS_ENGAGED
from recsys.features.log import row_in
from recsys.features.people import MOST_WORDS
from recsys.training_sets.layers import affine, array, rectify


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


def weights_of(network: Any, identities: torch.Tensor) -> Weights:
    """Those of a TwoTower, and what it says of the items of its catalogue."""

    known, layers = network.vocabulary, [layer for layer in network.query_mix if isinstance(layer, torch.nn.Linear)]
    first, second = layers
    about = np.zeros((0, network.config.dim), np.float32) if network.about is None else array(network.about.weight)
    return Weights(
        array(network.catalogue_keys),
        array(identities),
        array(network.kind_weight.weight[:, 0]),
        array(network.age_weight.weight[:, 0]),
        known.shelves,
        array(network.shelf.weight),
        known.devices,
        array(network.device.weight),
        array(network.hour.weight),
        known.about,
        about,
        network.asks,
        array(first.weight.T),
        array(first.bias),
        array(second.weight.T),
        array(second.bias),
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
