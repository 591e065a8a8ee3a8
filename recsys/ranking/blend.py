"""Several rankers as one: they err differently, and a weighted sum of their log odds errs less than each.

The weights are learned on validation rows (logistic regression without negative weights). On the validation days of
KuaiRand the network, which reads histories, adds 0.003 AUC to the trees, and they 0.0005 to it. The order (`score`) is
that of one member, who alone is asked about five hundred candidates, or the sum of all members' log odds of the aim.
Their orders themselves are never added up: a mean of two lies between them (on 300 users of the simulator ndcg@5 of
long views .469 by the trees, .413 by the network, .450 by their mean).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, cast

import numpy as np

from recsys.lake import replacing
from recsys.ranking import calibration
from recsys.ranking.calibration import Calibration
from recsys.ranking.ranker import FILE, PREDICTIONS, Predictions, Ranker, RankerError, not_learned, read_header
from recsys.training_sets.examples import Examples
from recsys.training_sets.inputs import Inputs
from recsys.training_sets.labels import WATCH

PROBABILITIES: Final = {"p_click": "click", "p_long_view": "long_view"}


@dataclass(frozen=True)
class BlendRanker:
    """Members of one catalogue; the calibrations map the sum of their log odds to a probability."""

    members: tuple[Ranker, ...]
    calibrations: Mapping[str, Calibration]
    facts: Mapping[str, Any]
    weights: Mapping[str, tuple[float, ...]]  # by prediction, one a member; of weight 0 it is not asked
    orders: int | None = 0  # the member whose order and reasons are told; None: its own odds of the aim order
    name: str = "blend"

    @staticmethod
    def fit(members: Sequence[Ranker], validation: Examples, orders: int | None = 0) -> BlendRanker:
        """Weigh the members and calibrate their sum on validation rows.

        Raises:
            RankerError: the members know different features.
        """
        if len({(member.fingerprint, member.feature_names) for member in members}) != 1:
            raise RankerError("rankers of different features cannot be blended: materialize them again")
        facts = {"members": [member.name for member in members]}
        blend = BlendRanker(tuple(members), {}, facts, {}, orders)
        learned = {name: label for name, label in PROBABILITIES.items() if label in blend.labels}
        told = [member.predict_only(validation.inputs, learned) for member in members]
        weights = {
            name: _weights([_logit(p[name]) for p in told], getattr(validation, learned[name])) for name in learned
        }
        of_watch = [WATCH in member.labels for member in members]
        weights["watch_seconds"] = tuple(is_there / max(sum(of_watch), 1) for is_there in of_watch)
        blend = replace(blend, weights=weights)
        odds = blend._sums(validation.inputs, learned)
        fitted = {name: calibration.fit(odds[name], getattr(validation, label)) for name, label in learned.items()}
        return replace(blend, calibrations=fitted)

    def with_members(self, members: Sequence[Ranker]) -> BlendRanker:
        """The same blend of the same kinds of rankers, trained anew."""
        return replace(self, members=tuple(members))

    def with_member(self, newest: Ranker) -> BlendRanker:
        """The same blend with this one in place of the member of its name."""
        return self.with_members([newest if member.name == newest.name else member for member in self.members])

    @property
    def feature_names(self) -> tuple[str, ...]:
        return self.members[0].feature_names

    @property
    def fingerprint(self) -> str:
        return self.members[0].fingerprint

    @property
    def labels(self) -> tuple[str, ...]:
        """What all members learned, and watch time where one did."""
        shared = [label for label in PROBABILITIES.values() if all(label in member.labels for member in self.members)]
        return (*shared, *([WATCH] if any(WATCH in member.labels for member in self.members) else []))

    def predict(self, inputs: Inputs) -> Predictions:
        """Predictions of impressions; bit for bit the same alone or among others."""
        return Predictions(**self.predict_only(inputs, PREDICTIONS))

    def predict_only(self, inputs: Inputs, names: Collection[str]) -> dict[str, np.ndarray]:
        """Those of PREDICTIONS by name; a head that none of them needs is not run."""
        joint = [name for name in names if name != "score"]
        orderer = self.orderer
        own = [self._aim] if "score" in names and orderer is None else []
        sums = self._sums(inputs, dict.fromkeys([*joint, *own]))
        outputs = {
            name: self.calibrations[name](sums[name]) if name in self.calibrations else sums[name] for name in joint
        }
        if "score" in names:
            outputs |= orderer.predict_only(inputs, ["score"]) if orderer else {"score": sums[self._aim]}
        return outputs

    @property
    def orderer(self) -> Ranker | None:
        """The member that orders; None where all do together."""
        return None if self.orders is None else self.members[self.orders]

    @property
    def teller(self) -> Ranker:
        """The member that gives reasons: who orders, or where all do the one of the largest weight."""
        weights = self.weights[self._aim]
        return self.orderer or self.members[weights.index(max(weights))]

    @property
    def reads(self) -> tuple[int, ...] | None:
        """Places of the features that its score is made of; None: any."""
        return getattr(self.orderer, "reads", None)

    def explain(self, inputs: Inputs) -> list[str]:
        """One short reason a row, by `teller`."""
        return self.teller.explain(inputs)

    def importances(self) -> Mapping[str, float]:
        """Of the first member that tells them, largest first; empty when none does."""
        return next((member.importances() for member in self.members if hasattr(member, "importances")), {})

    def save(self, folder: Path) -> None:
        """Write `ranker.json` and a folder a member."""
        for member in self.members:
            member.save(folder / member.name)
        header = {
            "kind": "blend",
            "name": self.name,
            "members": [member.name for member in self.members],
            "orders": self.orders,
            "weights": {name: list(weights) for name, weights in self.weights.items()},
            "calibrations": {name: fitted.to_json() for name, fitted in self.calibrations.items()},
            "facts": dict(self.facts),
        }
        with replacing(folder / FILE) as temporary:
            temporary.write_text(json.dumps(header, indent=1))

    @staticmethod
    def load(folder: Path, load_ranker: Callable[[Path], Ranker]) -> BlendRanker:
        """The ranker saved in a folder; `load_ranker` reads its members, whatever their kinds.

        Raises:
            RankerError: when a file is missing or unreadable.
        """
        header = read_header(folder)
        equal = (1.0 / len(header["members"]),) * len(header["members"])  # as blends were before they had weights
        saved = header.get("weights", dict.fromkeys((*PROBABILITIES, "watch_seconds"), equal))
        return BlendRanker(
            members=tuple(load_ranker(folder / name) for name in header["members"]),
            calibrations={name: Calibration.from_json(saved) for name, saved in header["calibrations"].items()},
            facts=header["facts"],
            weights={name: tuple(weights) for name, weights in saved.items()},
            orders=header.get("orders", 0),
            name=header["name"],
        )

    @property
    def _aim(self) -> str:
        """The prediction that slates are ordered for."""
        return "p_long_view" if "p_long_view" in self.calibrations else "p_click"

    def _sums(self, inputs: Inputs, names: Collection[str]) -> dict[str, np.ndarray]:
        """Weighted sum over the members of each prediction, of a probability its log odds; NaN where nobody learned."""
        sums = {name: np.zeros(len(inputs)) for name in names}
        asked = {name for name in names if any(self.weights.get(name, ()))}
        for place, member in enumerate(self.members):
            mine = [name for name in names if name in asked and self.weights[name][place] > 0]
            for name, told in (member.predict_only(inputs, mine) if mine else {}).items():
                part = _logit(told) if name in PROBABILITIES else told
                sums[name] = sums[name] + self.weights[name][place] * part
        return {name: total if name in asked else not_learned(len(inputs)) for name, total in sums.items()}


def predict_all(rankers: Mapping[str, Ranker], inputs: Inputs) -> dict[str, Predictions]:
    """What each says of the same rows, by name. Who is a member of a blend among them too is asked once."""
    alone = {id(r): r.predict(inputs) for r in rankers.values() if not isinstance(r, BlendRanker)}
    made = {}
    for name, ranker in rankers.items():
        if isinstance(ranker, BlendRanker):
            told = [_Told(alone[id(m)]) if id(m) in alone else m for m in ranker.members]
            made[name] = ranker.with_members(cast(list[Ranker], told)).predict(inputs)
        else:
            made[name] = alone[id(ranker)]
    return made


@dataclass(frozen=True)
class _Told:
    """A member that has been asked about these rows."""

    predictions: Predictions

    def predict_only(self, _: Inputs, names: Collection[str]) -> dict[str, np.ndarray]:
        return {name: self.predictions.columns()[name] for name in names}


def _weights(odds: Sequence[np.ndarray], truth: np.ndarray) -> tuple[float, ...]:
    """Of members' log odds, by the likelihood of outcomes: none below 0. Kept to six digits, so that it reads."""
    from scipy.optimize import minimize  # a twentieth of what a service would import, which only learning asks for

    columns = np.stack([*odds, np.ones(len(truth))], axis=1)
    sign = 1.0 - 2.0 * truth

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (columns @ weights)
        slope = sign / (1.0 + np.exp(-margin))
        return float(np.logaddexp(0.0, margin).mean()), columns.T @ slope / len(truth)

    start = np.append(np.full(len(odds), 1.0 / len(odds)), 0.0)
    bounds = [(0.0, None)] * len(odds) + [(None, None)]
    best = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x[:-1]
    return tuple(round(float(weight), 6) for weight in best) if best.any() else tuple(start[:-1])


def _logit(p: np.ndarray) -> np.ndarray:
    return np.log(p) - np.log1p(-p)
