"""Why an item is shown, in words that name what of the person's own brought it, where something did.

A template is said only where its evidence holds: a neighbour of something that they engaged with, a creator or category
that they engaged with. What the ranker's largest contribution says comes after it, what a source says comes last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from recsys.events import DAY_MS, KINDS
from recsys.features.history import History
from recsys.retrieval.sources import RECENT_ITEMS, distinct_newest
from recsys.serving.bundle import ServingBundle

NEW_MS: Final = 7 * DAY_MS  # since an item was published, to call it new
OFTEN: Final = 2  # engaged events of the last ENGAGED_LENGTH, to say that somebody watches a creator or category
OWN: Final = "you"  # every reason that names something of the person's own says so to them
# language -> what is said -> words. {title}, {creator} and {category} are names as the catalogue has them.
TEMPLATES: Final[Mapping[str, Mapping[str, str]]] = {
    "en": {
        "watched": "because you watched {title}",
        "liked": "because you liked {title}",
        "opened": "because you opened {title}",
        "new_from": "new from {creator}, whom you watch",
        "creator": "by {creator}, whom you watch",
        "category": "you watch {category}",
    }
}
SAID_OF: Final = {"long_view": "watched", "exposure_long_view": "watched", "like": "liked", "click": "opened"}
_STRENGTH: Final = ("opened", "watched", "liked")  # of several kinds of event on one item, the strongest is said
_SAID: Final = {KINDS[kind]: _STRENGTH.index(word) for kind, word in SAID_OF.items()}


class OwnReasons:
    """What can be said of one person at one moment. Evidence is looked up for the few items that are shown."""

    def __init__(self, bundle: ServingBundle, history: History, at: int, language: str = "en") -> None:
        """
        Args:
            history: of one row, as it was read
            at: instant of the request, UTC ms
        """
        self._bundle, self._at, self._words = bundle, at, TEMPLATES[language]
        keys, kinds, _ = history.engaged().row(0)
        retriever = bundle.retriever
        self._recent = retriever.rows(distinct_newest(keys)[:RECENT_ITEMS])  # newest first
        self._neighbours = retriever.data.neighbours[self._recent]
        self._similarity = retriever.data.similarity[self._recent]
        rows = retriever.rows(keys)
        self._creators = _often(bundle.catalogue.candidates.creator_key[rows])
        self._categories = _often(bundle.catalogue.category_key[rows])
        self._strongest: dict[int, int] = {}
        for key, kind in zip(keys.tolist(), kinds.tolist(), strict=True):
            self._strongest[key] = max(self._strongest.get(key, 0), _SAID[kind])

    def of(self, row: int) -> str | None:
        """The reason of an item of the catalogue, None where nothing of the person's own brought it."""
        return self._because(row) or self._of_creator(row)

    def of_category(self, row: int) -> str | None:
        """That they watch its category, where it has a name and they do."""
        name = self._bundle.catalogue.category[row]
        if name is None or name.isdigit() or int(self._bundle.catalogue.category_key[row]) not in self._categories:
            return None
        return self._words["category"].format(category=name)

    def _because(self, row: int) -> str | None:
        """The engaged item of which this one is the nearest neighbour; newer ones first among equals."""
        likeness = np.where(self._neighbours == row, self._similarity, 0.0).max(axis=1, initial=0.0)
        if not len(likeness) or likeness.max() <= 0.0:
            return None
        source = int(self._recent[int(likeness.argmax())])
        title = self._bundle.items["title"][source].as_py()
        if not title or source == row:
            return None
        key = int(self._bundle.catalogue.candidates.item_key[source])
        return self._words[_STRENGTH[self._strongest[key]]].format(title=title)

    def _of_creator(self, row: int) -> str | None:
        candidates = self._bundle.catalogue.candidates
        name = self._bundle.items["creator_id"][row].as_py()
        if name is None or name.isdigit() or int(candidates.creator_key[row]) not in self._creators:
            return None
        is_new = self._at - NEW_MS < int(candidates.published_at[row]) <= self._at
        return self._words["new_from" if is_new else "creator"].format(creator=name)


def best(own: OwnReasons, rows: Sequence[int], told: Sequence[str]) -> list[str]:
    """The reason of each row: of the person's own where there is one, else what was told of it."""
    reasons = []
    for row, words in zip(rows, told, strict=True):
        said = own.of(row)
        if said is None and not is_own(words):
            said = own.of_category(row)
        reasons.append(said or words)
    return reasons


def is_own(words: str) -> bool:
    """Whether a reason names something of the person's own."""
    return OWN in words.lower().replace("your", OWN).split()


def _often(keys: np.ndarray) -> set[int]:
    known, counts = np.unique(keys[keys != 0], return_counts=True)
    return set(known[counts >= OFTEN].tolist())
