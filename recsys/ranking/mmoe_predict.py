"""The neural ranker's predictions, row by row in compiled loops: the bits of a row are its own, alone or among others.

Ten rows take .09 ms of CPU in a loop. Torch took .56 for a block of 32, most of it between its hundred operations.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit

from recsys.training_sets.layers import affine, array, rectify


class Weights(NamedTuple):
    """The network's parameters as arrays: float32 but for columns and bounds, and input before output."""

    numeric: np.ndarray  # int64[numbers], columns of the numbers
    mean: np.ndarray  # [numbers]
    scale: np.ndarray
    clip: float
    named: np.ndarray  # int64[names], columns of the hashed names
    vocabulary: np.ndarray  # the names' values one after the other, each sorted
    bounds: np.ndarray  # int64[names + 1], of each among them
    embedding: np.ndarray  # [values + names, width]: of each name the unknown, then its values
    items: np.ndarray  # [items + 1, d]
    turn: np.ndarray  # [bags, d]
    shift: np.ndarray
    own: bool  # whether the inputs hold the item's vector itself
    first: np.ndarray  # [inputs, experts * width + tasks * experts]: the experts, then the gates
    first_bias: np.ndarray
    second: np.ndarray  # [experts, width, width]
    second_bias: np.ndarray  # [experts, width]
    tower: np.ndarray  # [tasks, width, tower]
    tower_bias: np.ndarray  # [tasks, tower]
    last: np.ndarray  # [tasks, tower]
    last_bias: np.ndarray  # [tasks]


def weights_of(network: Any, clip: float) -> Weights:
    """Those of an MMoE."""

    def stacked(layers: list[torch.nn.Linear]) -> tuple[np.ndarray, np.ndarray]:
        return np.stack([array(layer.weight.T) for layer in layers]), np.stack([array(layer.bias) for layer in layers])

    names, width = len(network.embeddings), network.config.embedding
    vocabularies = [array(network.get_buffer(f"vocabulary_{place}")) for place in range(names)]
    tables = [array(table.weight) for table in network.embeddings]
    first, second = ([expert[place] for expert in network.experts] for place in (0, 3))
    before, after = ([tower[place] for tower in network.towers.values()] for place in (0, 2))
    read = [*first, *network.gates.values()]
    last, last_bias = stacked(after)
    return Weights(
        array(network.numeric),
        array(network.mean),
        array(network.scale),
        clip,
        array(network.named),
        np.concatenate([*vocabularies, np.zeros(0, np.float32)]),
        np.cumsum([0, *map(len, vocabularies)]),
        np.concatenate([*tables, np.zeros((0, width), np.float32)]),
        array(network.taste.items.weight),
        array(network.taste.turn),
        array(network.taste.shift),
        network.taste.own,
        np.ascontiguousarray(np.concatenate([array(layer.weight.T) for layer in read], axis=1)),
        np.concatenate([array(layer.bias) for layer in read]),
        *stacked(second),
        *stacked(before),
        last[:, :, 0],
        last_bias[:, 0],
    )


@njit(cache=True, nogil=True)
def users(w, rows, starts, weights, mass, out):  # type: ignore[no-untyped-def]
    """What each of h histories makes of its user, into out [h, d]. Arguments as `taste.Bags`."""
    bags, d = w.turn.shape
    total = np.empty(d, np.float32)
    for h in range(len(out)):
        out[h] = 0
        for b in range(bags):
            place = h * bags + b
            total[:] = 0
            for e in range(starts[place], starts[place + 1] if place + 1 < len(starts) else len(rows)):
                vector, weight = w.items[rows[e]], weights[e]
                for k in range(d):
                    total[k] += weight * vector[k]
            for k in range(d):
                out[h, k] += total[k] * w.turn[b, k] + mass[h, b] * w.shift[b, k]


@njit(cache=True, nogil=True)
def encode(w, row, item, user, out):  # type: ignore[no-untyped-def]
    """The inputs of one row: its numbers, the embeddings of its names, what its item is to its user."""
    at = 0
    for c in range(len(w.numeric)):
        x = (row[w.numeric[c]] - w.mean[c]) / w.scale[c]
        x = np.float32(0.0) if math.isnan(x) else x
        out[at] = min(max(x, np.float32(-w.clip)), np.float32(w.clip))
        at += 1
    for name in range(len(w.named)):
        value = row[w.named[name]]
        value = np.float32(-1.0) if math.isnan(value) else value
        known = w.vocabulary[w.bounds[name] : w.bounds[name + 1]]
        found = np.searchsorted(known, value)
        is_known = found < len(known) and known[found] == value
        vector = w.embedding[w.bounds[name] + name + (found + 1 if is_known else 0)]
        out[at : at + len(vector)] = vector
        at += len(vector)
    vector = w.items[item]
    if w.own:
        out[at : at + len(vector)] = vector
        at += len(vector)
    for k in range(len(vector)):
        out[at + k] = user[k]
        out[at + len(vector) + k] = vector[k] * user[k]


@njit(cache=True, nogil=True)
def predict(w, features, met, out):  # type: ignore[no-untyped-def]
    """Output of every task for n rows of features [n, F] and `taste.events_of` them, into out float64[tasks, n]."""
    item, whose, rows, starts, weights, mass = met
    tasks, width, tower = w.tower.shape
    experts, mixed = len(w.second), np.empty(width, np.float32)
    of_user = np.empty((len(mass), w.items.shape[1]), np.float32)
    users(w, rows, starts, weights, mass, of_user)
    inputs, read = np.empty(len(w.first), np.float32), np.empty(len(w.first_bias), np.float32)
    opinion, hidden = np.empty((experts, width), np.float32), np.empty(tower, np.float32)
    for r in range(len(features)):
        encode(w, features[r], item[r], of_user[whose[r]], inputs)
        affine(inputs, w.first, w.first_bias, read)
        rectify(read[: experts * width])
        for e in range(experts):
            affine(read[e * width : (e + 1) * width], w.second[e], w.second_bias[e], opinion[e])
            rectify(opinion[e])
        for t in range(tasks):
            gate = read[(width + t) * experts : (width + t + 1) * experts]
            highest, total = gate.max(), np.float32(0.0)
            for e in range(experts):
                gate[e] = math.exp(gate[e] - highest)
                total += gate[e]
            mixed[:] = 0
            for e in range(experts):
                share = gate[e] / total
                for k in range(width):
                    mixed[k] += share * opinion[e, k]
            affine(mixed, w.tower[t], w.tower_bias[t], hidden)
            rectify(hidden)
            told = w.last_bias[t]
            for k in range(tower):
                told += w.last[t, k] * hidden[k]
            out[t, r] = told
