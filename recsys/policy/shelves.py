"""The shelves of the home page, as data: what may stand on each, where it comes from, who orders it, what success is.

A shelf is one row. Nothing asks for a shelf by its name: retrieval, policy, training, evaluation, gates, service and
page read its row. What a row may name beside its types (sources, orders, heuristics, metrics) is known above this
package: `recsys.evaluation.shelves.checked` refuses a row that names anything else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final, Literal

import numpy as np

from recsys.events import DAY_MS, ITEM_TYPES
from recsys.features.judged import VERDICTS
from recsys.policy.exploration import Exploration
from recsys.policy.named import ShelfError, require
from recsys.policy.spread import Spread
from recsys.policy.value import VALUE

FOR_GOOD: Final = 1 << 62
# recsys.features.judged.VERDICTS -> for how long (ms) what a person judged so stays away. Half a year after it was
# finished an item is worth a second look, a week after it was skipped a second chance; a dislike stands.
LEFT_OUT: Final[Mapping[str, int]] = {"disliked": FOR_GOOD, "finished": 180 * DAY_MS, "skipped": 7 * DAY_MS}
# beside it, where the people of a log never come back to what they engaged with (repeats.py)
ENGAGED_ONCE: Final[Mapping[str, int]] = {"finished": FOR_GOOD, "opened": FOR_GOOD}
# Candidate sources of a shelf that names none, and the places of a slate that each is sure of.
GENERAL: Final[Mapping[str, int]] = dict.fromkeys(
    ("two_tower", "item_item", "trending", "popular", "fresh", "resume"), 0
)
# The same for all; for all whose favourite category is one; for all who declare the same country and age.
LISTS: Final = ("popular", "trending", "item_rate", "segment_popular", "declared_popular")
NEWCOMER: Final = 5  # units played: a person of fewer is one
HABITS: Final = ("last_played", "most_played", "recency_frequency", "same_hour")  # of the person's own plays
GROUPS: Final = ("creator", "category")  # that a cap may bound

Unit = Literal["item", "show"]


@dataclass(frozen=True)
class Shelf:
    """One shelf. A cap is the largest share of a slate that one creator or category may take, at least one place."""

    item_types: tuple[str, ...]
    caps: Mapping[str, float] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=lambda: LEFT_OUT)
    unit: Unit = "item"  # what takes one place: "show": all episodes (podcasts) of one creator take one together
    label: str = "long_view"  # what counts as success: recsys.evaluation.shelves.LABELS
    sources: Mapping[str, int] = field(default_factory=lambda: GENERAL)  # and the places that each is sure of
    order: str = "ranker"  # who orders it: recsys.ranking.orders.LEARNED
    weights: Mapping[str, float] = field(default_factory=lambda: VALUE)  # of the ranker's predictions
    heuristics: tuple[str, ...] = LISTS  # to beat; the first that can serve does, until something passed the gate
    metrics: tuple[str, ...] = ("ndcg@10", "recall@10", "hit@10")  # the first is the gate's
    margin: float = 0.01  # of the first metric: as far behind a heuristic the middle of the interval may lie
    gates: bool = True  # its own gate may keep its new order from serving; else the bundle's verdict alone decides
    explores: Exploration | None = field(default_factory=Exploration)  # what is left to chance; None: nothing
    spread: Spread | None = None  # damps what was shown, sets what is alike apart; None: the score alone, and caps

    def __post_init__(self) -> None:
        require("item type", self.item_types, ITEM_TYPES)
        require("unit", (self.unit,), ("item", "show"))
        require("group to cap", self.caps, GROUPS)
        require("verdict", self.left_out, VERDICTS)
        if not (self.item_types and self.heuristics and self.metrics and self.sources):
            raise ShelfError("a shelf needs item types, sources, heuristics and metrics")
        if any(not 0 < share <= 1 for share in self.caps.values()) or any(n < 0 for n in self.sources.values()):
            raise ShelfError("a cap is a share above 0, of 1 at most, and places are not negative")

    @property
    def type_codes(self) -> frozenset[int]:
        return frozenset(ITEM_TYPES[name] for name in self.item_types)

    @cached_property
    def shown_types(self) -> np.ndarray:
        """bool, by code of an item's type; empty where all are shown, also one that is not known."""
        shown = np.zeros(max(ITEM_TYPES.values()) + 1, bool)
        shown[list(self.type_codes)] = True
        return shown[:0] if len(self.type_codes) == len(ITEM_TYPES) else shown


SHELVES: Final[Mapping[str, Shelf]] = {
    # The verdict judges the feed's own slates: a second judge of the same could keep back what it let pass.
    "feed": Shelf(item_types=tuple(ITEM_TYPES), caps={"creator": 0.3, "category": 0.6}, gates=False),
    "podcasts": Shelf(
        item_types=("podcast",),
        caps={"category": 0.6},
        left_out={**LEFT_OUT, "finished": FOR_GOOD},  # an episode that was heard never comes back
        unit="show",
        sources={**GENERAL, "followed": 2, "resume": 2},  # one in progress does not vanish
        order="head",
        heuristics=(*LISTS, "recency_frequency"),
        metrics=("ndcg@10", "recall@10", "habitual_recall@10", "new_recall@10"),
    ),
    "playlists": Shelf(
        item_types=("playlist", "album"),
        caps={"creator": 0.5},
        metrics=("ndcg@10", "recall@10", "hit@10", "newcomer_ndcg@10"),
    ),
    "shortcuts": Shelf(
        item_types=tuple(ITEM_TYPES),
        left_out={"disliked": FOR_GOOD},
        unit="show",
        label="first_play",
        sources={"familiar": 0},
        order="habits",
        heuristics=("recency_frequency", "last_played", "most_played", "same_hour"),
        metrics=("hit@6", "hit@1", "ndcg@6"),
        margin=0.0,
        explores=None,
    ),
}
DEFAULT: Final = "feed"


def shelf_of(name: str | None, come_back: bool) -> Shelf:
    """The shelf of that name; one of a log's own (KuaiRand's tabs) goes by the default's rules.

    Args:
        come_back: whether people come back to what they engaged with; else a shelf that leaves out what is finished
            leaves out, for good, whatever they engaged with, unless it keeps places for what they opened
    """
    shelf = SHELVES.get(name or DEFAULT, SHELVES[DEFAULT])
    if come_back or "finished" not in shelf.left_out or shelf.sources.get("resume"):
        return shelf
    return replace(shelf, left_out={**shelf.left_out, **ENGAGED_ONCE})
