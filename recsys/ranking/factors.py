"""The personal ranker: matrix factorisation whose user vectors are solved at the request.

    log odds of a click                    = place, hour, age, shelf + level of the item + user . item
                                             + the user's own level, and that for items of this type
                                             + what naming the item's category adds
    log odds of a long view of what was opened = the same with weights of its own + slope * (user . item)
    log odds of a like of what was opened = level of the item + that of a long view + slope * (user . item)

An item's vector and level are the sum of what its category, its creator, its tags and its own impressions say, learned
once (factors_training.py). A user's vector is inferred anew from what their history says (factors_solve.py), what they
passed over as well as what they opened. Its prior are people of whom the same is said: a stranger gets the order of
those of their country, language, age and plan, where nothing is said that of the population, and each impression moves
it. Likes only tell of tastes, beside how freely a person gives them; none is predicted. The levels are those of the
items for everybody; counters of what was shown take no part, so what a policy chose to show does not pass for what
people want.
"""

from __future__ import annotations

import json
import weakref
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from recsys.events import KINDS
from recsys.features.history import History
from recsys.features.log import rows_in
from recsys.lake import replacing
from recsys.ranking.calibration import Calibration
from recsys.ranking.explain import Reasons
from recsys.ranking.factors_score import CATEGORY, CREATOR, PARTS, READ, SAID, TYPE, Learned, parts_of, whole_of
from recsys.ranking.factors_solve import STEPS, Outcomes, Tables, outcomes_of, solve
from recsys.ranking.ranker import FILE, LABEL_OF, PREDICTIONS, Predictions, RankerError, not_learned, read_header
from recsys.training_sets.inputs import Inputs
from recsys.training_sets.labels import aim

ARRAYS: Final = "factors.npz"
# arrays of Factors
PLAIN: Final = (
    "base", "context", "named", "usual", "shelves", "types", "type_of", "whole", "like", "precision", "said",
    "said_mean",
)  # fmt: skip
NUMBERS: Final = ("slope", "like_slope", "like_viewed")
# by level that others share, its place in READ
SIDES: Final = {"category": CATEGORY, "creator": CREATOR, "item_type": TYPE}
LEVELS: Final = (*SIDES, "item")
TOLD: Final = np.zeros(max(KINDS.values()) + 1, np.uint8)  # by kind: what an event of a history tells of its item
TOLD[[KINDS[kind] for kind in ("impression", "exposure")]] = 1
TOLD[KINDS["click"]] = 2
TOLD[[KINDS[kind] for kind in ("long_view", "exposure_long_view")]] = 6
TOLD[KINDS["like"]] = 10


@dataclass(frozen=True)
class Level:
    """What a category, a creator or an item adds, float64: rows of a vector, then levels of click and of long view."""

    keys: np.ndarray  # [m], sorted
    values: np.ndarray  # [m + 1, d + 2]; row 0 is for every other key


@dataclass(frozen=True)
class Factors:
    """The learned parameters. d is the width of a vector."""

    base: np.ndarray  # float64[2], levels of click and of long view
    context: np.ndarray  # float64[columns of `context_of` but for the last, 2]
    named: np.ndarray  # float64[2], of that one: what it adds that the user says to like the item's category
    usual: np.ndarray  # float64[2], what the context of the training rows added on average
    shelves: np.ndarray  # float32[s], buckets of the shelves that have a level of their own
    category: Level  # by category_bucket
    creator: Level  # by creator_bucket
    item_type: Level  # by its code
    item: Level  # by item_key, its own share alone
    types: np.ndarray  # float32[t], the codes of item_type for which a user has a level; none where all items are alike
    type_of: np.ndarray  # int64[items], of each known item its place among `types`, -1 none
    whole: np.ndarray  # float64[items + 1, d + 2]: what is said of each known item, together
    slope: float
    like: np.ndarray  # float64[items], log odds of a like of each known item, once it is opened
    like_slope: float  # 0 where likes are not learned
    like_viewed: float  # what a long view adds to them
    precision: np.ndarray  # float64[d + 1 + t (+ 1)], of the prior of a user's vector and levels, of likes the last
    said: np.ndarray  # float32[w], sorted buckets of words about users
    said_mean: np.ndarray  # float64[w + 1, d + 1 + t (+ 1)], what each adds to the prior's mean; row 0: every other

    @cached_property
    def tables(self) -> Tables:
        """The known items, as `solve` takes them."""
        whole, numbers = self.whole[1:], (self.slope, self.like_slope, self.like_viewed)
        levels = np.column_stack([whole[:, -2:] + self.base, self.like])
        return Tables.of(whole[:, :-2], levels, numbers, self.type_of, self.precision)

    def prior(self, read: np.ndarray) -> np.ndarray:
        """Mean of the prior of each row's user, by what is said of them: float64[n, len(precision)].

        Args:
            read: float32[n, len(READ)]
        """
        means = np.zeros((len(read), len(self.precision)))
        for words in read[:, SAID].T if len(self.said) else ():
            means += self.said_mean[rows_in(self.said, words)]
        return means

    def distinct(self, history: History, read: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A row of each different history and words about its user int64[h]; which of them each row has, int64[n]."""
        (first, whose), said = history.distinct(), read[:, SAID]
        if len(self.said) and (said != said[:1]).any():
            both = np.column_stack([whose, said])
            _, first, whose = np.unique(both, axis=0, return_index=True, return_inverse=True)
        return first, whose.reshape(-1)

    def outcomes(self, history: History) -> tuple[Outcomes, np.ndarray]:
        """What the h histories tell, and the bounds int64[h + 1] of each among it."""
        start, stop = history.start.astype(np.int64), history.stop.astype(np.int64)
        most = int((stop - start).sum())
        item, bounds = np.empty(most, np.int64), np.zeros(len(start) + 1, np.int64)
        opened, viewed, liked = (np.empty(most, np.uint8) for _ in range(3))
        outcomes_of(
            self.item.keys, history.item_key, history.kind, start, stop, TOLD, item, opened, viewed, liked, bounds
        )  # fmt: skip
        usual = [np.full(most, offset) for offset in self.usual]
        return Outcomes(item, opened, viewed, liked, *usual), bounds

    def users(self, history: History, read: np.ndarray) -> np.ndarray:
        """Vectors float64[n, d + 1 + t (+ 1)] of users of those histories, and of whom that is said."""
        outcomes, bounds = self.outcomes(history)
        prior = self.prior(read)
        vectors = prior.copy()
        solve(outcomes, self.tables, prior, bounds, STEPS, vectors)
        return vectors

    @cached_property
    def learned(self) -> Learned:
        """The parameters, as `parts_of` takes them."""
        category, creator, item_type = self.category, self.creator, self.item_type
        return Learned(
            self.item.keys,
            self.whole,
            category.keys,
            category.values,
            creator.keys,
            creator.values,
            item_type.keys,
            item_type.values,
            self.types,
            self.shelves,
            self.context,
            self.named,
            self.base,
            self.slope,
        )


class Taste(NamedTuple):
    """What the m items of a history told, and what each adds to the log odds of a click on n items."""

    item_key: np.ndarray  # int64[m]
    opened: np.ndarray  # bool[m]; else it was passed over
    viewed: np.ndarray  # bool[m], long
    liked: np.ndarray  # bool[m]
    parts: np.ndarray  # float64[n, m]; with what is said of the user they add up to how user and item agree


def columns_of(feature_names: tuple[str, ...]) -> tuple[int, ...]:
    """Place of each feature of READ.

    Raises:
        RankerError: one is missing.
    """
    missing = [name for name in READ if name not in feature_names]
    if missing:
        raise RankerError(f"the rows have no column {missing[0]}: materialize training_set with the present catalogue")
    return tuple(feature_names.index(name) for name in READ)


@dataclass(frozen=True)
class FactorRanker:
    """The factors with their calibrations; implements `ranker.Ranker`."""

    feature_names: tuple[str, ...]
    fingerprint: str
    factors: Factors
    calibrations: Mapping[str, Calibration]  # by label, of its log odds
    medians: np.ndarray  # float32[F], of the training rows: they make reasons true
    facts: Mapping[str, Any]
    labels: tuple[str, ...]
    name: str = "factors"

    @property
    def reads(self) -> tuple[int, ...]:
        """Places of the features that its score is made of, beside the history."""
        return self._columns

    def predict(self, inputs: Inputs) -> Predictions:
        """Predictions of impressions; bit for bit the same alone or among others."""
        return Predictions(**self.predict_only(inputs, PREDICTIONS))

    def predict_only(self, inputs: Inputs, names: Collection[str]) -> dict[str, np.ndarray]:
        """Those of PREDICTIONS by name."""
        odds = self.log_odds(inputs)
        outputs = {}
        for name in names:
            if name == "score":
                outputs[name] = odds[aim(self.labels)]
            else:  # of watch time it learns nothing
                label = LABEL_OF[name]
                fitted = self.calibrations.get(label)
                outputs[name] = not_learned(len(inputs)) if fitted is None else fitted(odds[label])
        return outputs

    def log_odds(self, inputs: Inputs) -> dict[str, np.ndarray]:
        """float64[n] of each label before calibration."""
        parts = self._parts(inputs)
        return {"click": parts["click_odds"], "long_view": parts["view_odds"]}

    def explain(self, inputs: Inputs) -> list[str]:
        """The strongest of taste, level and age that raised a row, in words that its features bear out."""
        parts, told = self._parts(inputs), np.zeros((len(inputs), len(self.feature_names)), np.float32)
        reasons = {"user_category_affinity_log_7d": "taste", "user_creator_affinity_log_7d": "taste"}
        reasons |= {"item_long_view_rate_all": "level", "item_age_days": "age"}
        for name, part in reasons.items():
            if name in self.feature_names:
                told[:, self.feature_names.index(name)] = parts[part]
        return self._reasons.of(told, inputs.features)

    def taste(self, inputs: Inputs) -> Taste:
        """What each item of the first row's history adds to the taste for another, beside the user's own level and what
        is said of them.

        The most likely vector is where the prior's pull equals the sum of what the outcomes pull: from the prior's mean
        it is that sum over its precision apart, outcome by outcome, and so is its product with an item's vector.
        """
        factors, tables = self.factors, self.factors.tables
        one = inputs.history.take(slice(0, 1))
        outcomes, bounds = factors.outcomes(one)
        mine = slice(0, bounds[1])
        item, opened = outcomes.item[mine], outcomes.opened[mine].astype(np.float64)
        user, vector = factors.users(one, self._read(inputs)[:1])[0], tables.vector[item]
        own, by_type = user[vector.shape[1] - 1], user[vector.shape[1] :]
        if len(by_type):
            own = own + np.where(factors.type_of[item] >= 0, by_type[factors.type_of[item]], 0.0)
        agreed = vector[:, :-1] @ user[: vector.shape[1] - 1]
        clicked = 1.0 / (1.0 + np.exp(-(tables.click[item] + outcomes.click_offset[mine] + agreed + own)))
        pull = (opened - clicked)[:, None] * vector[:, :-1]
        aims = tables.long_view[item] + outcomes.view_offset[mine] + factors.slope * agreed
        missed = opened * (outcomes.viewed[mine] - 1.0 / (1.0 + np.exp(-aims)))
        pull += factors.slope * missed[:, None] * vector[:, :-1]
        aims = tables.like[item] + tables.like_viewed * outcomes.viewed[mine] + tables.like_slope * agreed + user[-1]
        missed = opened * (outcomes.liked[mine] - 1.0 / (1.0 + np.exp(-aims)))
        pull += tables.like_slope * missed[:, None] * vector[:, :-1]
        whole = whole_of(factors.learned, inputs.item_key, self._read(inputs))
        parts = whole[:, :-2] @ (pull / factors.precision[: pull.shape[1]]).T
        viewed, liked = outcomes.viewed[mine] > 0, outcomes.liked[mine] > 0
        return Taste(factors.item.keys[item], opened > 0, viewed, liked, parts)

    def save(self, folder: Path) -> None:
        """Write `ranker.json` and the parameters."""
        folder.mkdir(parents=True, exist_ok=True)
        factors = self.factors
        arrays = {name: getattr(factors, name) for name in PLAIN}
        arrays |= {"medians": self.medians}
        for name in LEVELS:
            level = getattr(factors, name)
            arrays |= {f"{name}_keys": level.keys, f"{name}_values": level.values}
        with replacing(folder / ARRAYS) as path, path.open("wb") as file:
            np.savez(file, **arrays)
        header = {
            "kind": "factors",
            "name": self.name,
            "fingerprint": self.fingerprint,
            "feature_names": list(self.feature_names),
            "labels": list(self.labels),
            **{name: getattr(factors, name) for name in NUMBERS},
            "calibrations": {label: fitted.to_json() for label, fitted in self.calibrations.items()},
            "facts": dict(self.facts),
        }
        with replacing(folder / FILE) as temporary:
            temporary.write_text(json.dumps(header, indent=1))

    @staticmethod
    def load(folder: Path) -> FactorRanker:
        """The ranker saved in a folder.

        Raises:
            RankerError: when a file is missing or unreadable.
        """
        header = read_header(folder)
        try:
            with np.load(folder / ARRAYS) as saved:
                arrays = _with_new(saved)
            levels: dict[str, Any] = {name: Level(arrays[f"{name}_keys"], arrays[f"{name}_values"]) for name in LEVELS}
            return FactorRanker(
                feature_names=tuple(header["feature_names"]),
                fingerprint=header["fingerprint"],
                factors=Factors(
                    **levels,
                    **{name: arrays[name] for name in PLAIN},
                    **{name: header.get(name, 0.0) for name in NUMBERS},
                ),
                calibrations={label: Calibration.from_json(fit) for label, fit in header["calibrations"].items()},
                medians=arrays["medians"],
                facts=header["facts"],
                labels=tuple(header["labels"]),
                name=header["name"],
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RankerError(f"{folder / ARRAYS} is not readable ({error}): materialize ranker again") from None

    @cached_property
    def _reasons(self) -> Reasons:
        return Reasons(self.feature_names, self.medians)

    @cached_property
    def _columns(self) -> tuple[int, ...]:
        return columns_of(self.feature_names)

    @cached_property
    def _solved(self) -> dict[str, tuple[Any, Any, Any]]:
        """The vector of the history that was solved last, for as long as that lives."""
        return {}

    @cached_property
    def _held(self) -> dict[str, tuple[Any, Any]]:
        """What came last, for as long as its inputs live: an answer asks for the reasons of what it just predicted."""
        return {}

    def _users(self, history: History, read: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`Factors.users`; the shown rows of a request have the history that was solved for its candidates."""
        first, whose = self.factors.distinct(history, read)
        span = history.start[first].tolist(), history.stop[first].tolist(), read[first, SAID].tolist()
        held, then, vectors = self._solved.get("last", (None, None, None))
        if held is None or held() is not history.item_key or then != span:
            vectors = self.factors.users(history.take(first), read[first])
            if len(first) == 1:
                self._solved["last"] = weakref.ref(history.item_key), span, vectors
        return vectors, whose

    def _read(self, inputs: Inputs) -> np.ndarray:
        """READ of each row, float32[n, len(READ)]."""
        if inputs.width != len(self.feature_names):
            raise RankerError(f"the ranker takes {len(self.feature_names)} features a row, got {inputs.width}")
        return inputs.columns(self._columns)

    def _parts(self, inputs: Inputs) -> dict[str, np.ndarray]:
        """What adds up to the log odds, float64[n] each, by PARTS."""
        held, parts = self._held.get("last", (None, None))
        if held is not None and held() is inputs:
            return parts
        read = self._read(inputs)
        users, whose = self._users(inputs.history, read)
        parts = dict(zip(PARTS, parts_of(self.factors.learned, inputs.item_key, read, users, whose), strict=True))
        self._held["last"] = weakref.ref(inputs), parts
        return parts


def _with_new(saved: Mapping[str, Any]) -> dict[str, Any]:
    """The arrays of factors, and those that they lacked before users had a level by type, before likes told anything
    and before anything was said of users: as if all items and all users were alike, and nothing was liked.
    """
    none = np.zeros(0, np.float32)
    new = {
        "types": none,
        "type_of": np.full(len(saved["item_keys"]), -1),
        "like": np.zeros(len(saved["item_keys"])),
        "item_type_keys": none,
        "item_type_values": np.zeros((1, saved["whole"].shape[1])),
        "said": none,
        "said_mean": np.zeros((1, len(saved["precision"]))),
        "named": np.zeros(2),
    }
    return {**new, **saved}
