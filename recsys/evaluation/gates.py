"""What a challenger has to show before it is promoted, as data; and the verdict on it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from recsys.lake import replacing

# It must beat every heuristic on these, on the same test impressions.
BEATS_HEURISTICS_ON: Final = (("click", "auc"), ("long_view", "auc"), ("long_view", "gauc"))
# A fresh, calibrated model has an expected calibration error near 0.01; at 0.05 ten shown items are half a click off.
# This bound and the two on levels below give way where the previous champion is certainly further from the truth by the
# proper score of what was predicted (log loss, Tweedie deviance): on the days after the world has turned nobody's level
# is right (0.087 against the champion's 0.189), and to refuse would leave the worse model in service.
MAX_CALIBRATION_ERROR: Final = 0.05
# Mean predicted over mean observed watch time; the tweedie head holds 0.98.
WATCH_RATIO: Final = (0.75, 1.33)
# How much worse than the previous champion or a heuristic the paired 95 % interval may reach (challenger minus other).
NON_INFERIORITY: Final[Mapping[str, float]] = {"auc_click": 0.003, "auc_long_view": 0.003, "gauc_long_view": 0.01}
# In a slice (a shelf, a device, new users) intervals are wide: it fails only what is certainly worse than this.
SLICE_LOSS: Final = 0.01
# Predicted over observed, and that over the same of all others: refused when the whole interval of both is outside.
SLICE_CALIBRATION: Final = (0.8, 1.25)
# Share of the first places for small creators and fresh items: of what is offered, and of what the champion gave them.
LEAST_EXPOSURE: Final = 0.4
LEAST_OF_PREVIOUS: Final = 0.8


class VerdictError(RuntimeError):
    """There is no verdict to read; the message says what to materialize."""


@dataclass(frozen=True)
class Gate:
    """One claim about the challenger, and the figures that bear it out or not."""

    claim: str
    passed: bool
    reason: str


@dataclass(frozen=True)
class Verdict:
    """Promote or not; `reasons` are the failed gates' figures, or one line that all held."""

    passed: bool
    reasons: tuple[str, ...]
    gates: tuple[Gate, ...]
    challenger: str

    def save(self, path: Path) -> None:
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=1))

    @staticmethod
    def load(path: Path) -> Verdict:
        """Raises VerdictError when there is none."""
        try:
            saved = json.loads(path.read_text())
        except (FileNotFoundError, ValueError):
            raise VerdictError(f"{path} is not there or not readable: materialize evaluation and verdict") from None
        gates = tuple(Gate(**gate) for gate in saved["gates"])
        return Verdict(saved["passed"], tuple(saved["reasons"]), gates, saved["challenger"])


def decide(evaluation: Mapping[str, Any]) -> Verdict:
    """The verdict on `evaluation["challenger"]`, from an evaluation.json alone: the same report, the same verdict."""
    challenger = evaluation["challenger"]
    models = evaluation["ranking"]
    mine = models[challenger]
    gates = [
        _beats(mine, {name: models[name] for name in evaluation["heuristics"]}, label, metric, evaluation["intervals"])
        for label, metric in BEATS_HEURISTICS_ON
    ]
    before = evaluation["intervals"][evaluation["previous"]] if evaluation.get("previous") else {}
    gates += [_calibrated(mine, label, before.get(f"log_loss_{label}")) for label in ("click", "long_view")]
    gates.append(_watch(mine["watch_seconds"], before.get("watch_deviance")))
    if before:
        gates += _not_worse(before)
    gates += [gate for name, told in evaluation.get("slices", {}).items() for gate in _slice(name, told)]
    gates += _exposed(evaluation.get("exposure", {}), challenger, evaluation.get("previous"))
    failed = tuple(f"{gate.claim}: {gate.reason}" for gate in gates if not gate.passed)
    return Verdict(not failed, failed or (f"all {len(gates)} gates hold",), tuple(gates), challenger)


def _beats(
    mine: Mapping[str, Any],
    heuristics: Mapping[str, Any],
    label: str,
    metric: str,
    intervals: Mapping[str, Mapping[str, list[float | None]]],
) -> Gate:
    """Ahead of each of them, and not behind it by more than NON_INFERIORITY at the paired interval's lower end; the one
    that comes nearest is told.
    """
    name = f"{metric}_{label}"
    ours = _number(mine[label][metric])
    lead = {rule: _number(intervals[rule][name][0]) for rule in heuristics}
    theirs = {rule: _number(heuristics[rule][label][metric]) for rule in heuristics}
    ahead = {rule: ours > theirs[rule] and lead[rule] >= -NON_INFERIORITY[name] for rule in heuristics}
    nearest = min(lead, key=lambda rule: (ahead[rule], lead[rule]))
    return Gate(
        f"beats every heuristic on {metric} of {label}",
        all(ahead.values()),
        f"{ours:.4f} against {theirs[nearest]:.4f} of {nearest}, difference {lead[nearest]:+.4f} to "
        f"{_number(intervals[nearest][name][1]):+.4f}, may reach {-NON_INFERIORITY[name]}",
    )


def _nearer(less: list[float | None] | None) -> tuple[bool, str]:
    """Whether the interval of a loss, challenger minus previous, is all below zero; and that in a reason's words."""
    if less is None:
        return False, ""
    low, high = (_number(value, missing=float("nan")) for value in less)
    words = "nearer than the previous champion" if high < 0 else "not certainly nearer than the previous champion"
    return high < 0, f"; {words} (loss {low:+.4f} to {high:+.4f})"


def _calibrated(mine: Mapping[str, Any], label: str, less: list[float | None] | None) -> Gate:
    error = _number(mine[label]["calibration_error"], missing=1.0)
    nearer, words = _nearer(less)
    within = error <= MAX_CALIBRATION_ERROR
    return Gate(
        f"P({label}) is calibrated",
        within or nearer,
        f"calibration error {error:.4f}, bound {MAX_CALIBRATION_ERROR}{'' if within else words}",
    )


def _watch(watch: Mapping[str, float], less: list[float | None] | None) -> Gate:
    observed = _number(watch["mean_observed"], missing=0.0)
    ratio = _number(watch["mean_prediction"]) / observed if observed > 0 else float("nan")
    low, high = WATCH_RATIO
    nearer, words = _nearer(less)
    within = low <= ratio <= high
    return Gate(
        "expected watch time is right on average",
        within or nearer,
        f"predicted over observed {ratio:.2f}, bounds {low} to {high}{'' if within else words}",
    )


def _not_worse(intervals: Mapping[str, list[float | None]]) -> list[Gate]:
    found = []
    for metric, margin in NON_INFERIORITY.items():
        low, high = intervals[metric]
        found.append(
            Gate(
                f"not worse than the previous champion on {metric}",
                low is not None and low >= -margin,
                f"difference {_number(low):+.4f} to {_number(high):+.4f}, may reach {-margin}",
            )
        )
    return found


def _slice(name: str, told: Mapping[str, Any]) -> list[Gate]:
    """Gates of one slice: fair to it, and no worse for it than the previous champion."""
    found = []
    low_bound, high_bound = SLICE_CALIBRATION
    for label in ("click", "long_view"):
        ratio, low, high = (_number(value, missing=float("nan")) for value in told[f"calibration_{label}"])
        others = told[f"others_{label}"]
        off = high < low_bound or low > high_bound
        # a level that is off for all alike is the gates' above; nobody may be worse off than the others
        alike = others is None or not (high / others < low_bound or low / others > high_bound)
        words = f"predicted over observed {ratio:.2f} ({low:.2f} to {high:.2f}), bounds {low_bound} to {high_bound}"
        found.append(
            Gate(
                f"P({label}) is right for {name}",
                not off or alike,
                words if others is None else f"{words}; of all others {others:.2f}",
            )
        )
        if f"auc_{label}" in told:
            low, high = (_number(value, missing=float("nan")) for value in told[f"auc_{label}"])
            found.append(
                Gate(
                    f"not worse than the previous champion on auc_{label} for {name}",
                    not high < -SLICE_LOSS,
                    f"difference {low:+.4f} to {high:+.4f}, {told['rows']:,} rows",
                )
            )
    return found


def _exposed(exposure: Mapping[str, Mapping[str, float]], challenger: str, previous: str | None) -> list[Gate]:
    """Those who provide items are not crowded out of the first places."""
    found = []
    for group, mine in exposure.get(challenger, {}).items():
        offered = exposure["offered"][group]
        least, words = LEAST_EXPOSURE * offered, f"{mine:.1%} of the first places, {offered:.1%} of what is offered"
        if previous is not None and previous in exposure:
            before = exposure[previous][group]
            least, words = max(least, LEAST_OF_PREVIOUS * before), f"{words}, {before:.1%} before"
        found.append(Gate(f"{group} keep their places", mine >= least, f"{words}, at least {least:.1%}"))
    return found


def _number(value: float | None, missing: float = float("-inf")) -> float:
    return missing if value is None or value != value else float(value)
