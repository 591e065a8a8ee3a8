"""The neural ranker's predictions, row by row in compiled loops: the bits of a row are its own, alone or among others.

Ten rows take .09 ms of CPU in a loop. Torch took .56 for a block of 32, most of it between its hundred operations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from recsys.compiled import njit
from recsys.training_sets.layers import affine, rectify
from recsys.training_sets.states import State

TASKS: Final = ("click", "long_view", "watch", "order")
CLIP: Final = 5.0  # standard deviations: a feature of a rare row must not carry it away
MAX_LOG_WATCH: Final = 5.0  # expected watch time stays below e^5 = 148 times the mean


@dataclass(frozen=True)
class MMoEConfig:
    """Shape of the network. Defaults were chosen on validation days of KuaiRand."""

    experts: int = 4
    width: int = 64
    tower: int = 32
    embedding: int = 8
    taste: int = 48  # width of an item's vector
    own_vectors: bool = False  # whether an item's vector also speaks for the item alone
    dropout: float = 0.3
    min_rows: int = 1_000  # a hashed name on fewer training rows has no embedding of its own: its item may have
    min_shown: int = 20  # an item that was shown less often has no vector of its own


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


def weights_of(config: MMoEConfig, state: State) -> Weights:
    """Those of an MMoE's state."""

    def stacked(layers: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        weights, biases = ([state[f"{layer}.{what}"] for layer in layers] for what in ("weight", "bias"))
        return np.stack([np.ascontiguousarray(weight.T) for weight in weights]), np.stack(biases)

    names = range(len(state["named"]))
    vocabularies = [state[f"vocabulary_{place}"] for place in names]
    tables = [state[f"embeddings.{place}.weight"] for place in names]
    first, second = ([f"experts.{expert}.{place}" for expert in range(config.experts)] for place in (0, 3))
    before, after = ([f"towers.{task}.{place}" for task in TASKS] for place in (0, 2))
    read = [*first, *(f"gates.{task}" for task in TASKS)]
    last, last_bias = stacked(after)
    return Weights(
        state["numeric"],
        state["mean"],
        state["scale"],
        CLIP,
        state["named"],
        np.concatenate([*vocabularies, np.zeros(0, np.float32)]),
        np.cumsum([0, *map(len, vocabularies)]),
        np.concatenate([*tables, np.zeros((0, config.embedding), np.float32)]),
        state["taste.items.weight"],
        state["taste.turn"],
        state["taste.shift"],
        config.own_vectors,
        np.ascontiguousarray(np.concatenate([state[f"{layer}.weight"].T for layer in read], axis=1)),
        np.concatenate([state[f"{layer}.bias"] for layer in read]),
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
