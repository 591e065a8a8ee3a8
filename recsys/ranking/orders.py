"""Who orders a shelf: the ranker that shelves share, one that the shelf learned for itself, or a rule."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import numpy as np

from recsys.lake import replacing
from recsys.policy.shelves import HABITS, LISTS, Shelf
from recsys.policy.value import VALUE, value
from recsys.ranking.habits import RULES, HabitRanker
from recsys.ranking.ranker import Ranker, RankerError
from recsys.ranking.saved import load_ranker
from recsys.training_sets.inputs import Inputs

FILE: Final = "order.json"
RANKER: Final = "ranker"
HABITS_ALONE: Final = "habits"  # trees over a person's habits, learned at the starts of sessions
HEAD: Final = "head"  # the ranker's score and what trees over it and habits add, learned on what a shelf shows
LEARNED: Final = (RANKER, HABITS_ALONE, HEAD)  # what a row may name as its order
# Of LISTS, those that a ruled ranker orders by, which may so serve.
AS_RANKER: Final[Mapping[str, str]] = {"popular": "popular", "trending": "trending_24h", "item_rate": "item_rate"}


class Asked(NamedTuple):
    """n candidates of one request."""

    inputs: Inputs
    fused: np.ndarray  # float64[n], above 0: how far up the sources propose each
    habits: Callable[[], np.ndarray]  # float64[n, len(habits.COLUMNS)], computed for whoever reads them


class Order(Protocol):
    """Candidates to scores, float64[n]: the higher the earlier. A row's score does not depend on the other rows."""

    @property
    def name(self) -> str: ...

    def scores(self, asked: Asked) -> np.ndarray: ...

    def save(self, folder: Path) -> None: ...


@dataclass(frozen=True)
class ByRanker:
    """A ranker's predictions, weighed, and beside them what the sources propose.

    A ranker learns what becomes of an item that is shown. Where slates are judged by what people meet next, it has to
    know too what they will meet, and of that the sources know more (KuaiRand's validation days, ndcg@10 of next items:
    .008 to .012 by a ranker alone, .083 by the sources alone).
    """

    ranker: Ranker
    weights: Mapping[str, float]
    retrieval: float = 0.0  # what the logarithm of the fused score counts

    @property
    def name(self) -> str:
        return self.ranker.name

    @property
    def reads(self) -> tuple[int, ...] | None:
        """Places of the features that it is made of; None: any, or it weighs more than the ranker's score."""
        return getattr(self.ranker, "reads", None) if set(self.weights) == {"score"} else None

    def scores(self, asked: Asked) -> np.ndarray:
        return self.beside(value(self.ranker.predict_only(asked.inputs, self.weights), self.weights), asked.fused)

    def beside(self, scores: np.ndarray, fused: np.ndarray) -> np.ndarray:
        """Scores of the ranker alone, float64[n], with what the sources count."""
        return scores + self.retrieval * np.log(fused) if self.retrieval else scores

    def save(self, folder: Path) -> None:
        self.ranker.save(folder / RANKER)
        self.save_beside(folder)

    def save_beside(self, folder: Path) -> None:
        """As `save`, but for the ranker: whoever loads it has that one."""
        _write(folder, {"kind": RANKER, "weights": dict(self.weights), "retrieval": self.retrieval})


@dataclass(frozen=True)
class ByRule:
    """One of habits.RULES."""

    name: str

    def scores(self, asked: Asked) -> np.ndarray:
        return np.asarray(RULES[self.name](asked.habits()), np.float64)

    def save(self, folder: Path) -> None:
        _write(folder, {"kind": "rule", "name": self.name})


@dataclass(frozen=True)
class ByHabits:
    """What a shelf learned for itself."""

    ranker: HabitRanker
    shared: ByRanker | None = None  # whose score it reads

    @property
    def name(self) -> str:
        return HABITS_ALONE if self.shared is None else HEAD

    def scores(self, asked: Asked) -> np.ndarray:
        return self.ranker.scores(asked.habits(), None if self.shared is None else self.shared.scores(asked))

    def save(self, folder: Path) -> None:
        if self.shared is not None:
            self.shared.save(folder / "shared")
        self.save_beside(folder)

    def save_beside(self, folder: Path) -> None:
        """As `save`, but for the ranker whose score it reads: whoever loads it has that one."""
        self.ranker.save(folder)
        _write(folder, {"kind": HABITS_ALONE})


def load_order(folder: Path, shared: ByRanker) -> Order:
    """What an order's `save` wrote.

    Args:
        shared: whose score is read by what was saved beside it

    Raises:
        RankerError: it is not there, not readable, or of an unknown kind.
    """
    try:
        said = json.loads((folder / FILE).read_text())
        if said["kind"] == RANKER:
            ranker = load_ranker(folder / RANKER) if (folder / RANKER).is_dir() else shared.ranker
            return ByRanker(ranker, said["weights"], said.get("retrieval", 0.0))  # a home of before has none
        if said["kind"] == "rule" and said["name"] in RULES:
            return ByRule(said["name"])
        if said["kind"] == HABITS_ALONE:
            trees, own = HabitRanker.load(folder), folder / "shared"
            if trees.reads_score and own.is_dir():
                shared = ByRanker(load_ranker(own / RANKER), json.loads((own / FILE).read_text())["weights"])
            return ByHabits(trees, shared if trees.reads_score else None)
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, RankerError):
            raise
        raise RankerError(f"{folder / FILE} is not readable ({error}): materialize shelf_orders again") from None
    raise RankerError(f"{folder / FILE} names an order that is no more: materialize shelf_orders again")


def default_order(shelf: Shelf, ranker: Ranker) -> Order:
    """Who orders a shelf for which nothing was saved: the shared ranker, or of a shelf of habits alone a rule."""
    if shelf.order != HABITS_ALONE:
        return ByRanker(ranker, shelf.weights)
    rule = next((name for name in shelf.heuristics if name in HABITS), HABITS[0])
    return ByRule(rule)


def heuristic_order(name: str, folder: Path) -> Order:
    """A heuristic that can serve, as an order.

    Args:
        folder: holds the ruled rankers that were evaluated, by name
    """
    return ByRule(name) if name in HABITS else ByRanker(load_ranker(folder / AS_RANKER[name]), VALUE)


def can_serve(heuristic: str) -> bool:
    """Whether a heuristic that a row names may order a shelf in service."""
    return heuristic in HABITS or heuristic in AS_RANKER


assert set(HABITS) == set(RULES) and set(AS_RANKER) <= set(LISTS)


def _write(folder: Path, said: Mapping[str, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / FILE) as path:
        path.write_text(json.dumps(said))
