"""Why an item is shown, in words that name what of the person's own brought it, where something did.

A template is said only where its evidence holds: a neighbour of something that they engaged with, a creator or category
that they engaged with. What the ranker's largest contribution says comes after it, what a source says comes last.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numba import njit

from recsys.events import DAY_MS, KINDS
from recsys.features.history import History
from recsys.serving.bundle import ServingBundle
from recsys.vocabulary import language_of

NEW_MS: Final = 7 * DAY_MS  # since an item was published, to call it new
OFTEN: Final = 2  # engaged events of the last ENGAGED_LENGTH, to say that somebody watches a creator or category
OWN: Final = "you"  # every reason that names something of the person's own says so to them, in English
ENGLISH: Final = "en"
OTHER: Final = "source.other"
_FOLDER: Final = Path(__file__).with_name("words")
# language -> key -> words. {title}, {creator} and {category} are names as the catalogue has them.
TEMPLATES: Final[Mapping[str, Mapping[str, str]]] = {
    path.stem: json.loads(path.read_text()) for path in sorted(_FOLDER.glob("*.json"))
}
SAID_OF: Final = {"long_view": "watched", "exposure_long_view": "watched", "like": "liked", "click": "opened"}
_STRENGTH: Final = ("opened", "watched", "liked")  # of several kinds of event on one item, the strongest is said
_SAID: Final = {KINDS[kind]: _STRENGTH.index(word) for kind, word in SAID_OF.items()}


class Reason(NamedTuple):
    """Why an item is shown: a template, and the name that it is filled with."""

    key: str  # of TEMPLATES; words of a ranker of one's own are none, and are said as they are
    names: Mapping[str, str] = {}

    def words(self, language: str, category: str | None) -> str:
        """In that language, or in English where it lacks the template.

        Args:
            category: of the item; None where it has no name
        """
        own = TEMPLATES[language]
        template = own.get(self.key) or TEMPLATES[ENGLISH].get(self.key)
        if template is None:
            return own[OTHER] if self.key.startswith("source.") else self.key
        return template.format(**{"category": category or own["this_category"], **self.names})


def language_for(said: str | None, accepted: str) -> str:
    """The language of a reader: the first that there are templates in, else English.

    Args:
        said: in the request's context
        accepted: the Accept-Language header
    """
    weighed = []
    for part in accepted.split(","):
        tag, _, weight = part.partition(";")
        with suppress(ValueError):
            weighed.append((-float(weight.strip().removeprefix("q=") or 1), tag.strip()))
    wanted = [said or "", *(tag for weight, tag in sorted(weighed, key=lambda one: one[0]) if weight)]
    return next((found for tag in wanted if (found := language_of(tag)) in TEMPLATES), ENGLISH)


class OwnReasons:
    """What can be said of one person at one moment. Evidence is looked up for the few items that are shown."""

    def __init__(self, bundle: ServingBundle, history: History, at: int) -> None:
        """
        Args:
            history: of one row, as it was read
            at: instant of the request, UTC ms
        """
        self._bundle, self._at = bundle, at
        keys, kinds, _ = history.engaged().row(0)
        retriever = bundle.retriever
        self._recent = retriever.recent(keys)
        self._neighbours = retriever.data.neighbours[self._recent]
        self._similarity = retriever.data.similarity[self._recent]
        rows = retriever.rows(keys)
        self._creators = _often(bundle.catalogue.candidates.creator_key[rows])
        self._categories = _often(bundle.catalogue.category_key[rows])
        self._strongest: dict[int, int] = {}
        for key, kind in zip(keys.tolist(), kinds.tolist(), strict=True):
            self._strongest[key] = max(self._strongest.get(key, 0), _SAID[kind])

    def of(self, row: int) -> Reason | None:
        """The reason of an item of the catalogue, None where nothing of the person's own brought it."""
        return self._because(row) or self._of_creator(row)

    def of_category(self, row: int) -> Reason | None:
        """That they watch its category, where it has a name and they do."""
        name = named(self._bundle, row)
        if name is None or int(self._bundle.catalogue.category_key[row]) not in self._categories:
            return None
        return Reason("own.category", {"category": name})

    def _because(self, row: int) -> Reason | None:
        """The engaged item of which this one is the nearest neighbour; newer ones first among equals."""
        at = _likest(self._neighbours, self._similarity, row)
        if at < 0:
            return None
        source = int(self._recent[at])
        title = self._bundle.titles[source].as_py()
        if not title or source == row:
            return None
        key = int(self._bundle.catalogue.candidates.item_key[source])
        return Reason(f"own.{_STRENGTH[self._strongest[key]]}", {"title": title})

    def _of_creator(self, row: int) -> Reason | None:
        candidates = self._bundle.catalogue.candidates
        name = self._bundle.creators[row].as_py()
        if name is None or name.isdigit() or int(candidates.creator_key[row]) not in self._creators:
            return None
        is_new = self._at - NEW_MS < int(candidates.published_at[row]) <= self._at
        return Reason("own.new_from" if is_new else "own.creator", {"creator": name})


def best(own: OwnReasons, rows: Sequence[int], told: Sequence[str]) -> list[Reason]:
    """The reason of each row: of the person's own where there is one, else what was told of it (a key)."""
    reasons = []
    for row, key in zip(rows, told, strict=True):
        said = own.of(row)
        if said is None and key not in _OWN:
            said = own.of_category(row)
        reasons.append(said or Reason(key))
    return reasons


def named(bundle: ServingBundle, row: int) -> str | None:
    """The category of an item of the catalogue, where it has a name that says something."""
    name = bundle.catalogue.category[row]
    return None if name is None or name.isdigit() else name


def is_own(words: str) -> bool:
    """Whether a reason names something of the person's own, by its English words."""
    return OWN in words.lower().replace("your", OWN).split()


_OWN: Final = frozenset(key for key, words in TEMPLATES[ENGLISH].items() if is_own(words))


@njit(cache=True, nogil=True)
def _likest(neighbours, similarity, row):  # type: ignore[no-untyped-def]
    """Which of m engaged items [m, NEIGHBOURS] has the row as its nearest neighbour, the first of equals; else -1."""
    best, found = 0.0, -1
    for e in range(len(neighbours)):
        for place in range(neighbours.shape[1]):
            if neighbours[e, place] == row and similarity[e, place] > best:
                best, found = similarity[e, place], e
    return found


def _often(keys: np.ndarray) -> set[int]:
    return {key for key, count in Counter(keys.tolist()).items() if key and count >= OFTEN}
