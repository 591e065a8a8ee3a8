"""Two rankers as one: trees and network err differently, and the mean of their log odds errs less than either.

On the validation days of KuaiRand the network, which reads histories, adds 0.003 AUC to the trees, and they 0.0005 to
it. The order (`score`) and the explanations are those of the first member: the trees have a head that learned the
order, and five hundred candidates are scored by it alone.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from recsys.lake import replacing
from recsys.ranking import calibration
from recsys.ranking.calibration import Calibration
from recsys.ranking.ranker import FILE, PREDICTIONS, Predictions, Ranker, RankerError, load_ranker, read_header
from recsys.training_sets.examples import Examples
from recsys.training_sets.inputs import Inputs

LABELS: Final = {"p_click": "click", "p_long_view": "long_view"}


@dataclass(frozen=True)
class BlendRanker:
    """Members of one catalogue; the calibrations map the mean of their log odds to a probability."""

    members: tuple[Ranker, ...]
    calibrations: Mapping[str, Calibration]
    facts: Mapping[str, Any]
    name: str = "blend"

    @staticmethod
    def fit(members: Sequence[Ranker], validation: Examples) -> BlendRanker:
        """Calibrate the mean on validation rows.

        Raises:
            RankerError: the members know different features.
        """
        if len({(member.fingerprint, member.feature_names) for member in members}) != 1:
            raise RankerError("rankers of different features cannot be blended: materialize them again")
        blend = BlendRanker(tuple(members), {}, {"members": [member.name for member in members]})
        odds = blend._means(validation.inputs, LABELS)
        fitted = {name: calibration.fit(odds[name], getattr(validation, label)) for name, label in LABELS.items()}
        return BlendRanker(blend.members, fitted, blend.facts)

    def with_members(self, members: Sequence[Ranker]) -> BlendRanker:
        """The same blend of the same kinds of rankers, trained anew."""
        return BlendRanker(tuple(members), self.calibrations, self.facts)

    @property
    def feature_names(self) -> tuple[str, ...]:
        return self.members[0].feature_names

    @property
    def fingerprint(self) -> str:
        return self.members[0].fingerprint

    def predict(self, inputs: Inputs) -> Predictions:
        """Predictions of impressions; bit for bit the same alone or among others."""
        return Predictions(**self.predict_only(inputs, PREDICTIONS))

    def predict_only(self, inputs: Inputs, names: Collection[str]) -> dict[str, np.ndarray]:
        """Those of PREDICTIONS by name; a head that none of them needs is not run."""
        joint = [name for name in names if name != "score"]
        means = self._means(inputs, joint) if joint else {}
        found = {name: self.calibrations[name](means[name]) if name in LABELS else means[name] for name in joint}
        if "score" in names:
            found |= self.members[0].predict_only(inputs, ["score"])
        return found

    def explain(self, inputs: Inputs) -> list[str]:
        """One short reason a row, by the first member."""
        return self.members[0].explain(inputs)

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
            "calibrations": {name: fitted.to_json() for name, fitted in self.calibrations.items()},
            "facts": dict(self.facts),
        }
        with replacing(folder / FILE) as temporary:
            temporary.write_text(json.dumps(header, indent=1))

    @staticmethod
    def load(folder: Path) -> BlendRanker:
        """The ranker saved in a folder.

        Raises:
            RankerError: when a file is missing or unreadable.
        """
        header = read_header(folder)
        return BlendRanker(
            members=tuple(load_ranker(folder / name) for name in header["members"]),
            calibrations={name: Calibration.from_json(saved) for name, saved in header["calibrations"].items()},
            facts=header["facts"],
            name=header["name"],
        )

    def _means(self, inputs: Inputs, names: Collection[str]) -> dict[str, np.ndarray]:
        """Mean over the members of each prediction, of a probability its log odds."""
        told = [member.predict_only(inputs, names) for member in self.members]
        found = {}
        for name in names:
            total = np.zeros(len(inputs))
            for member in told:
                total = total + (_logit(member[name]) if name in LABELS else member[name])
            found[name] = total / len(told)
        return found


def _logit(p: np.ndarray) -> np.ndarray:
    return np.log(p) - np.log1p(-p)
