"""Where a score comes from: exact parts by feature of the trees, and of any other member what a group of features did.

The trees' parts are Shapley values of the score that orders: they and the base add up to it. A network has no such
sum at a price that a page may pay; of it each group of features is set to its training median in turn (a history to
none), and the log odds of the aim are told as they are, less as they would be. A ranker of tastes has parts by the
items of the history, exact in the log odds of a click.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from recsys.features.evidence import GROUPS, group_of
from recsys.features.history import History
from recsys.ranking.blend import BlendRanker
from recsys.ranking.factors import FactorRanker, Taste
from recsys.ranking.mmoe import MMoERanker
from recsys.ranking.ranker import LABEL_OF, Ranker
from recsys.ranking.xgboost_ranker import XGBoostRanker
from recsys.training_sets.inputs import Inputs
from recsys.training_sets.labels import aim

HISTORY: Final = "history"  # the group of what a network reads beside the features
EFFECTS: Final = (*GROUPS, HISTORY)


class Parts(NamedTuple):
    """What each feature added to a row's score."""

    base: float  # score of a row of which nothing is known
    values: np.ndarray  # float32[n, F]


def members(ranker: Ranker) -> Sequence[Ranker]:
    """The rankers that it is made of: itself, where it is no blend."""
    return ranker.members if isinstance(ranker, BlendRanker) else (ranker,)


def parts(ranker: Ranker, inputs: Inputs) -> Parts | None:
    """Exact parts of the score, None where it is not the trees'."""
    ordering = ranker.orderer if isinstance(ranker, BlendRanker) else ranker
    return Parts(*ordering.score_contributions(inputs.features)) if isinstance(ordering, XGBoostRanker) else None


def taste(ranker: Ranker, inputs: Inputs) -> Taste | None:
    """What the history of the one user of these rows adds to each, None where it is not tastes that give reasons."""
    telling = ranker.teller if isinstance(ranker, BlendRanker) else ranker
    return telling.taste(inputs) if isinstance(telling, FactorRanker) else None


def by_group(names: Sequence[str], values: np.ndarray) -> np.ndarray:
    """float64[n, len(GROUPS)]: the parts of each group of features together."""
    place = np.array([GROUPS.index(group_of(name)) for name in names])
    out = np.zeros((len(values), len(GROUPS)))
    np.add.at(out.T, place, values.T.astype(np.float64))
    return out


def network_of(ranker: Ranker) -> MMoERanker | None:
    """The network among its members."""
    return next((member for member in members(ranker) if isinstance(member, MMoERanker)), None)


def effects(network: MMoERanker, inputs: Inputs) -> np.ndarray:
    """Change of the aim's log odds through each of EFFECTS, float64[n, len(EFFECTS)]: as it is, less with that group
    at its median.
    """
    n, columns = len(inputs), np.array([GROUPS.index(group_of(name)) for name in network.feature_names])
    asked = [inputs]
    for group in range(len(GROUPS)):
        features = inputs.features.copy()
        features[:, columns == group] = network.medians[columns == group]
        asked.append(inputs.with_features(features))
    asked.append(Inputs(inputs.features, inputs.item_key, History.none(n)))
    label = aim(network.labels)
    name = next(name for name, of in LABEL_OF.items() if of == label)
    told = network.predict_only(Inputs.below(*asked), [name])[name].reshape(len(asked), n)
    odds = np.log(told) - np.log1p(-told)
    return np.ascontiguousarray((odds[0] - odds[1:]).T)
