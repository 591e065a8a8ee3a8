"""Why an item is shown, in words that name what of the person's own brought it, where something did.

A template is said only where its evidence holds: a neighbour of something that they engaged with, a creator or category
that they engaged with. What the ranker's largest contribution says comes after it, what a source says comes last.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from recsys.compiled import njit
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
_SAID_OF_KIND: Final = np.zeros(max(KINDS.values()) + 1, np.int64)  # by kind, its place among _STRENGTH
for _kind, _word in SAID_OF.items():
    _SAID_OF_KIND[KINDS[_kind]] = _STRENGTH.index(_word)


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


@functools.lru_cache(maxsize=100)
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


class Evidence(NamedTuple):
    """What of a person's own speaks for an item."""

    source: int  # catalogue row of the engaged item of which this one is the nearest neighbour; -1: of none
    strength: int  # of the strongest thing that was done with it, among _STRENGTH
    creator: bool  # that they watch its creator
    category: bool


class OwnReasons:
    """What can be said of one person at one moment. Evidence is looked up for the few items that are shown."""

    def __init__(self, bundle: ServingBundle, history: History, at: int) -> None:
        """
        Args:
            history: of one row, as it was read
            at: instant of the request, UTC ms
        """
        self._bundle, self._at = bundle, at
        self._keys, kinds, _ = history.engaged().row(0)
        self._strength = _SAID_OF_KIND[kinds]

    def evidence(self, rows: np.ndarray) -> list[Evidence]:
        """Of each catalogue row."""
        retriever, catalogue = self._bundle.retriever, self._bundle.catalogue
        keys = self._keys
        found = _evidence(
            rows,
            retriever.recent(keys),
            retriever.data.neighbours,
            retriever.data.similarity,
            retriever.rows(keys),
            catalogue.candidates.creator_key,
            catalogue.category_key,
            (catalogue.candidates.item_key, keys, self._strength),
        )
        return [
            Evidence(source, strength, creator >= OFTEN, category >= OFTEN)
            for source, strength, creator, category in found.tolist()
        ]

    def of(self, row: int, evidence: Evidence) -> Reason | None:
        """The reason of an item of the catalogue, None where nothing of the person's own brought it."""
        title = self._bundle.titles[evidence.source].as_py() if evidence.source >= 0 else None
        if title and evidence.source != row:
            return Reason(f"own.{_STRENGTH[evidence.strength]}", {"title": title})
        name = self._bundle.creators[row].as_py()
        if name is None or name.isdigit() or not evidence.creator:
            return None
        is_new = self._at - NEW_MS < int(self._bundle.catalogue.candidates.published_at[row]) <= self._at
        return Reason("own.new_from" if is_new else "own.creator", {"creator": name})

    def of_category(self, row: int, evidence: Evidence) -> Reason | None:
        """That they watch its category, where it has a name and they do."""
        name = named(self._bundle, row)
        return None if name is None or not evidence.category else Reason("own.category", {"category": name})


def best(own: OwnReasons, rows: np.ndarray, told: Sequence[str]) -> list[Reason]:
    """The reason of each row: of the person's own where there is one, else what was told of it (a key)."""
    reasons = []
    for row, key, evidence in zip(rows.tolist(), told, own.evidence(rows), strict=True):
        said = own.of(row, evidence)
        if said is None and key not in _OWN:
            said = own.of_category(row, evidence)
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
def _evidence(rows, recent, neighbours, similarity, engaged, creator_key, category_key, done):  # type: ignore[no-untyped-def]
    """int64[k, 4] of k catalogue rows: the recent row that has each as its nearest neighbour (the first of equals, else
    -1) and the strongest thing done with that one; how many engaged rows share its creator, and its category.

    Args:
        done: keys of the catalogue; of m engaged events the item's key, and how strong a thing each is.
    """
    item_key, keys, strength = done
    out = np.zeros((len(rows), 4), np.int64)
    for k in range(len(rows)):
        row, best = rows[k], 0.0
        out[k, 0] = -1
        for e in range(len(recent)):
            of = recent[e]
            for place in range(neighbours.shape[1]):
                if neighbours[of, place] == row and similarity[of, place] > best:
                    best, out[k, 0] = similarity[of, place], of
        if out[k, 0] >= 0:
            for e in range(len(keys)):
                if keys[e] == item_key[out[k, 0]]:
                    out[k, 1] = max(out[k, 1], strength[e])
        for e in range(len(engaged)):
            of = engaged[e]
            out[k, 2] += creator_key[of] == creator_key[row] and creator_key[row] != 0
            out[k, 3] += category_key[of] == category_key[row] and category_key[row] != 0
    return out
