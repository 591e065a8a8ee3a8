"""The gates that a challenger must pass to replace the champion, and the verdict on it.

A gate holds, fails, or cannot tell. A comparison cannot tell when its interval reaches zero and is wider than twice the
bound: two equal models would fail it. A level cannot tell when it is out of bounds but its interval reaches back in.
Where chance is so wide that a ranker that is right would leave the bounds, only a certainly greater loss holds it up.
All COMPARISONS intervals cover the truth together in 95 % of cases: of 41 at 95 % each, two would miss it every day.
A challenger replaces the champion when no gate fails, and no comparison with the champion that cannot tell has the
middle of its interval below zero.

Without a champion there is nothing to protect, so nothing is refused: the best of all that was evaluated serves first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

from recsys.evaluation.evidence import about
from recsys.evaluation.served import FEWEST_SERVED
from recsys.lake import replacing
from recsys.policy.shelves import LISTS as SLATE_LISTS
from recsys.ranking.heuristics import RULES
from recsys.ranking.orders import AS_RANKER
from recsys.training_sets.labels import PROBABILITIES, aim, probabilities

CHAMPION: Final = "champion"  # what stands after the verdict, in reports
# Intervals of which a single failure refuses the bundle: the auc of each outcome and the gauc of the aim, beside every
# heuristic and the previous champion; the level and the loss of each outcome and of watch time; slates beside the fused
# order and every list; two groups of providers. A log that lacks an outcome has fewer, and keeps the reach. Slices
# (slices.py) are a family of their own, and so are shelves (shelves.py): a refused shelf refuses no bundle.
COMPARISONS: Final = (len(PROBABILITIES) + 1) * (len(RULES) + 1 + 2) + 1 + len(SLATE_LISTS) + 2

# It must beat every heuristic in auc of each label, and in gauc of the aim, on the same test impressions.
# A fresh, calibrated model has an expected calibration error near 0.01; at 0.05 ten shown items are half a click off.
# This bound and the two on levels below give way where the previous champion is certainly further from the truth by the
# proper score of what was predicted (log loss, Tweedie deviance): on the days after the world has turned nobody's level
# is right (0.087 against the champion's 0.189), and to refuse would leave the worse model in service.
MAX_CALIBRATION_ERROR: Final = 0.05
# Mean predicted over mean observed watch time; the tweedie head holds 0.98.
WATCH_RATIO: Final = (0.75, 1.33)
# How much worse than the previous champion or a heuristic the paired interval may reach (challenger minus other):
# on 46 to 90 users intervals of auc are .02 wide, on the 2,000 of KuaiRand's slice .0014.
NON_INFERIORITY: Final[Mapping[str, float]] = {"auc": 0.003, "gauc": 0.01}
# In a slice (a shelf, a device, new users) intervals are wide: it fails only what is certainly worse than this.
SLICE_LOSS: Final = 0.01
# Predicted over observed, and that over the same of all others: refused when the whole interval of both is outside.
SLICE_CALIBRATION: Final = (0.8, 1.25)
# Share of the first places for small creators and fresh items: of what is offered, and of what the champion gave them.
LEAST_EXPOSURE: Final = 0.4
LEAST_OF_PREVIOUS: Final = 0.8

Outcome = Literal["holds", "fails", "cannot tell"]


class VerdictError(RuntimeError):
    """There is no verdict to read; the message says what to materialize."""


@dataclass(frozen=True)
class Gate:
    """One claim about the challenger, and the figures that bear it out or not."""

    claim: str
    outcome: Outcome
    reason: str
    is_behind: bool = False  # it cannot tell, and the middle of the interval leans to the champion's side
    tells: float | None = None  # half the width of the interval: a smaller difference is none that it could tell
    is_ahead: bool = False  # the whole interval is above zero

    @property
    def lets_pass(self) -> bool:
        return self.outcome != "fails" and not self.is_behind


@dataclass(frozen=True)
class Verdict:
    """Promote or not. `reasons` say why: what stands in the way, or that nothing does."""

    passed: bool
    reasons: tuple[str, ...]
    gates: tuple[Gate, ...]
    challenger: str  # the ranker that is promoted or refused, by its own name
    is_first: bool = False  # there was no champion to protect
    judged: Mapping[str, str] = field(default_factory=dict)  # content hashes of what it is about (evidence.MADE_BY)

    def save(self, path: Path) -> None:
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=1))

    @staticmethod
    def load(path: Path) -> Verdict:
        """Raises VerdictError when there is none."""
        try:
            saved = json.loads(path.read_text())
            gates = tuple(Gate(**gate) for gate in saved.pop("gates"))
            return Verdict(**{**saved, "reasons": tuple(saved["reasons"]), "gates": gates})
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            raise VerdictError(f"{path} is not there or not readable: materialize evaluation and verdict") from None


def decide(evaluation: Mapping[str, Any]) -> Verdict:
    """The verdict, from an evaluation.json alone: the same report, the same verdict."""
    gates = _gates(evaluation)
    if not evaluation.get("previous"):
        first, why = _first(evaluation)
        name = _own_name(evaluation, first)
        return Verdict(
            True, (why, _told(evaluation, gates)), gates, name, is_first=True, judged=about(evaluation, name)
        )
    against = tuple(f"{gate.claim}: {gate.reason}" for gate in gates if not gate.lets_pass)
    challenger = _own_name(evaluation, evaluation["challenger"])
    reasons = against or (_told(evaluation, gates),)
    return Verdict(not against, reasons, gates, challenger, judged=about(evaluation, challenger))


def _first(evaluation: Mapping[str, Any]) -> tuple[str, str]:
    """Who is the first champion, and why.

    It is the ranker that won on validation, unless something else is certainly ahead of it (the whole paired interval).
    Lists that are the same for all are compared by the worth of whole slates. Where too few users tell that, everything
    that was evaluated is compared by ndcg@5 of the aim. The best of those ahead then serves.
    """
    if _judges_slates(evaluation.get("served")):  # what orders logged rows well may serve what one list serves to all
        return _first_by_slates(evaluation)
    mine, metric = evaluation["challenger"], f"ndcg@5_{_aim(evaluation)}"
    lead = {name: intervals[metric] for name, intervals in evaluation["intervals"].items() if name != mine}
    theirs = {name: evaluation["ranking"][name][_aim(evaluation)]["ndcg@5"] for name in (mine, *lead)}
    ahead = [name for name, (_, high) in lead.items() if high is not None and high < 0]
    best = max(ahead, key=lambda name: _number(theirs[name]), default=mine)
    nearest = max(evaluation["heuristics"], key=lambda name: _number(theirs[name]))
    other = best if ahead else nearest
    low, high = (_number(value, missing=float("nan")) for value in lead[other])
    first, beside = _own_name(evaluation, best), _own_name(evaluation, mine if ahead else nearest)
    span = f"{-high:+.4f} to {-low:+.4f}" if ahead else f"{low:+.4f} to {high:+.4f}"
    words = "certainly ahead of" if ahead else "nothing is certainly ahead of it; beside"
    return best, (
        f"no champion serves yet, so {first} is the first: {words} {beside} by {span} in ndcg@5 of "
        f"{_aim(evaluation)} ({_rows(evaluation)})"
    )


def _gates(evaluation: Mapping[str, Any]) -> tuple[Gate, ...]:
    challenger, labels, looked_at = evaluation["challenger"], _labels(evaluation), _looked_at(evaluation)
    mine, levels = evaluation["ranking"][challenger], evaluation["levels"]
    judged = (*((label, "auc") for label in labels), (_aim(evaluation), "gauc"))
    before = evaluation["intervals"][evaluation["previous"]] if evaluation.get("previous") else {}
    learned = evaluation.get("learned_by_previous")
    gates = [_beats(evaluation, mine, label, metric) for label, metric in judged]
    gates += [
        _level(
            f"P({label}) is calibrated",
            levels[f"calibration_error_{label}"],
            (0.0, MAX_CALIBRATION_ERROR),
            f"calibration error {{:.4f}}, bound {MAX_CALIBRATION_ERROR} ({looked_at})",
            before.get(f"log_loss_{label}"),
        )
        for label in labels
    ]
    if levels.get("watch_ratio"):
        gates.append(
            _level(
                "expected watch time is right on average",
                levels["watch_ratio"],
                WATCH_RATIO,
                f"predicted over observed {{:.2f}}, bounds {WATCH_RATIO[0]} to {WATCH_RATIO[1]} ({looked_at})",
                before.get("watch_deviance"),
                is_ratio=True,
            )
        )
    if before:
        beside = []
        for label, metric in judged:
            claim = f"not worse than the previous champion on {metric}_{label}"
            if learned and not learned["left_out"]:
                words = (
                    f"it learned from {learned['rows']:,} of the {learned['of']:,} test rows, and the "
                    "others are too few to compare on: judge on later days"
                )
                beside.append(Gate(claim, "cannot tell", words, is_behind=True))
                continue
            beside.append(_compared(claim, before[f"{metric}_{label}"], NON_INFERIORITY[metric], looked_at))
        gates += _won_elsewhere(beside)
    gates += [gate for name, told in evaluation.get("slices", {}).items() for gate in _slice(name, told, labels)]
    gates += _worth_serving(evaluation.get("served"), _one_of(evaluation))
    gates += _exposed(evaluation.get("exposure", {}), challenger, evaluation.get("previous"), looked_at)
    return tuple(gates)


def _won_elsewhere(beside: Sequence[Gate]) -> list[Gate]:
    """Comparisons with the previous champion. As in the contest, who is certainly ahead in one of them is not held up
    by another that is too wide to tell, whichever way its middle leans (70 users: -0.06 to +0.04 of gauc).
    """
    ahead = any(gate.is_ahead for gate in beside)
    return [replace(gate, is_behind=False) if ahead else gate for gate in beside]


def compared(difference: tuple[float, float], margin: float, ahead: bool = True) -> Outcome:
    """What the interval of one minus another says of "not behind by more than `margin`"; `ahead` is asked beside it."""
    low, high = difference
    if low >= -margin and ahead:
        return "holds"
    return "fails" if high - low <= 2 * margin or high < 0 else "cannot tell"


def _compared(claim: str, difference: list[float | None], margin: float, words: str, ahead: bool = True) -> Gate:
    """The gate of a comparison: `difference` is the interval of challenger minus other."""
    if None in difference:
        return Gate(claim, "cannot tell", f"it has no figure on these rows, so there was nothing to compare ({words})")
    low, high = (_number(value, missing=float("nan")) for value in difference)
    told = f"difference {low:+.4f} to {high:+.4f}, may reach {-margin} ({words})"
    outcome, tells = compared((low, high), margin, ahead), (high - low) / 2
    if outcome != "cannot tell":
        return Gate(claim, outcome, told, tells=tells, is_ahead=low > 0)
    is_behind = low + high < 0
    leans = "leans against it" if is_behind else "does not lean against it"
    return Gate(claim, "cannot tell", f"{told}: too wide to tell, and {leans}", is_behind, tells)


def _beats(evaluation: Mapping[str, Any], mine: Mapping[str, Any], label: str, metric: str) -> Gate:
    """Ahead of each heuristic, and not behind it by more than NON_INFERIORITY at the paired interval's lower end; the
    one that comes nearest is told.
    """
    name, margin = f"{metric}_{label}", NON_INFERIORITY[metric]
    claim = f"beats every heuristic on {metric} of {label}"
    by_rule, ours = {}, _number(mine[label][metric])
    for rule in evaluation["heuristics"]:
        theirs, difference = _number(evaluation["ranking"][rule][label][metric]), evaluation["intervals"][rule][name]
        gate = _compared(claim, difference, margin, _looked_at(evaluation), ours > theirs)
        words = f"{ours:.4f} against {theirs:.4f} of {_own_name(evaluation, rule)}, {gate.reason}"
        order = (gate.outcome != "fails", gate.outcome == "holds", _number(difference[0]))
        # not behind is enough: it is the champion that is protected
        by_rule[rule] = (order, Gate(claim, gate.outcome, words, tells=gate.tells))
    return min(by_rule.values(), key=lambda pair: pair[0])[1]


def _level(
    claim: str,
    level: list[float | None],
    bounds: tuple[float, float],
    words: str,
    less: list[float | None] | None,
    is_ratio: bool = False,
) -> Gate:
    """A level [value, low, high] within bounds, or nearer to the truth than the previous champion's.

    Args:
        words: with a place for the value.
        less: interval of the proper loss, challenger minus previous; None without a previous champion.
        is_ratio: 1 is right, and chance moves it by factors; else 0 is, and chance adds to it.
    """
    value, low, high = (_number(number, missing=float("nan")) for number in level)
    told, tells = words.format(value), (high - low) / 2
    if bounds[0] <= value <= bounds[1]:
        return Gate(claim, "holds", told, tells=tells)
    if less is not None and None not in less:
        least, most = (_number(number) for number in less)
        nearer = "nearer" if most < 0 else "not certainly nearer"
        told += f"; {nearer} than the previous champion (loss {least:+.4f} to {most:+.4f})"
        if most < 0:
            return Gate(claim, "holds", told, tells=tells)
    elif less is not None:
        told += "; not certainly nearer than the previous champion"
    if high < bounds[0] or low > bounds[1] or value != value:
        return Gate(claim, "fails", told, tells=tells)
    told += f": chance alone reaches from {low:.2f} to {high:.2f}"
    # around a level that is right the same chance would reach so far
    wide = (high > bounds[1] * value or low < bounds[0] * value) if is_ratio else high - value > bounds[1]
    if wide:
        told += ", as far as it would put one that is right out of bounds"
    is_behind = less is not None and None not in less and (least if wide else least + most) > 0
    return Gate(claim, "cannot tell", told, is_behind, tells)


def _slice(name: str, told: Mapping[str, Any], labels: tuple[str, ...]) -> list[Gate]:
    """Gates of one slice: fair to it, no worse for it than the previous champion. They fail only what is certain."""
    gates, looked_at = [], f"{told['users']:,} users, {told['rows']:,} rows"
    if told.get("claims", 1) > 1:
        looked_at += f", one of {told['claims']} claims on slices"
    low_bound, high_bound = SLICE_CALIBRATION
    for label in labels:
        if f"calibration_{label}" not in told:
            continue
        ratio, low, high = (_number(value, missing=float("nan")) for value in told[f"calibration_{label}"])
        others = told[f"others_{label}"]
        off = high < low_bound or low > high_bound
        # a level that is off for all alike is the gates' above; nobody may be worse off than the others
        alike = others is None or not (high / others < low_bound or low / others > high_bound)
        within = low_bound <= ratio <= high_bound or (off and alike)
        words = f"predicted over observed {ratio:.2f} ({low:.2f} to {high:.2f}), bounds {low_bound} to {high_bound}"
        words += "" if others is None else f"; of all others {others:.2f}"
        outcome: Outcome = "fails" if off and not alike else "holds" if within else "cannot tell"
        gates.append(Gate(f"P({label}) is right for {name}", outcome, f"{words} ({looked_at})", tells=(high - low) / 2))
        if f"auc_{label}" in told:
            low, high = (_number(value, missing=float("nan")) for value in told[f"auc_{label}"])
            outcome = "fails" if high < -SLICE_LOSS else "holds" if low >= -SLICE_LOSS else "cannot tell"
            claim = f"not worse than the previous champion on auc_{label} for {name}"
            words = f"difference {low:+.4f} to {high:+.4f} ({looked_at})"
            gates.append(Gate(claim, outcome, words, tells=(high - low) / 2))
    return gates


def _judges_slates(served: Mapping[str, Any] | None) -> bool:
    """Whether whole slates were judged on enough users to tell."""
    return served is not None and served["users_judged"] >= FEWEST_SERVED


def _first_by_slates(evaluation: Mapping[str, Any]) -> tuple[str, str]:
    served, mine = evaluation["served"], evaluation["challenger"]
    metric, users = served["metric"], served["users_judged"]
    worth = {name: _number(figures[metric]) for name, figures in served["slates"].items()}
    ahead = [name for name in _better_lists(served) if name in AS_RANKER]
    best = max(ahead, key=lambda name: worth[name], default=None)
    first = mine if best is None else AS_RANKER[best]
    why = (
        "nothing is certainly ahead of its slates"
        if best is None
        else f"its list is certainly ahead of {mine}'s slates"
    )
    beside = best or max(served["lists"], key=lambda name: worth[name])
    return first, (
        f"no champion serves yet, so {_own_name(evaluation, first)} is the first: {why}, {metric} "
        f"{worth['challenger']:.4f} beside {worth[beside]:.4f} of {beside} ({users:,} users)"
    )


def _better_lists(served: Mapping[str, Any]) -> list[str]:
    """Lists that are certainly worth more than the challenger's slates."""
    highs = {name: served["intervals"][name][served["metric"]][1] for name in served["lists"]}
    return [name for name, high in highs.items() if _number(high, missing=float("nan")) < 0]


def _worth_serving(served: Mapping[str, Any] | None, one_of: str = "") -> list[Gate]:
    """Slates are not certainly worse than retrieval's own order, nor than the best list that is the same for all."""
    if served is None:
        return []
    metric, users = served["metric"], served["users_judged"]
    worth = {name: _number(figures[metric]) for name, figures in served["slates"].items()}
    best, gates = max(served["lists"], key=lambda name: worth[name]), []
    for name, words in (("fused", "the fused order without a ranker"), (best, f"the best list for all, {best}")):
        claim = f"slates are not worse than {words}"
        low, high = (_number(value, missing=float("nan")) for value in served["intervals"][name][metric])
        told = (
            f"{metric} {worth['challenger']:.4f} against {worth[name]:.4f}, {low:+.4f} to {high:+.4f} "
            f"({users:,} users{one_of})"
        )
        if not _judges_slates(served):
            gates.append(Gate(claim, "cannot tell", f"{told}: under {FEWEST_SERVED} users nothing is told"))
        else:
            outcome: Outcome = "fails" if high < 0 else "holds" if low > 0 else "cannot tell"
            gates.append(Gate(claim, outcome, told, tells=(high - low) / 2))
    return gates


def _exposed(exposure: Mapping[str, Any], challenger: str, previous: str | None, looked_at: str) -> list[Gate]:
    """Those who provide items are not crowded out of the first places."""
    gates = []
    for group, (mine, low, high) in exposure.get(challenger, {}).items():
        offered = exposure["offered"][group]
        least, words = LEAST_EXPOSURE * offered, f"{mine:.1%} of the first places, {offered:.1%} of what is offered"
        if previous is not None and previous in exposure:
            before = exposure[previous][group][0]
            least, words = max(least, LEAST_OF_PREVIOUS * before), f"{words}, {before:.1%} before"
        outcome: Outcome = "holds" if mine >= least else "fails" if high < least else "cannot tell"
        reach = "" if mine >= least else f", chance alone reaches {high:.1%}"
        told = f"{words}, at least {least:.1%}{reach} ({looked_at})"
        gates.append(Gate(f"{group} keep their places", outcome, told, tells=(high - low) / 2))
    return gates


def _told(evaluation: Mapping[str, Any], gates: tuple[Gate, ...]) -> str:
    """How the gates came out, in one line."""
    count = {outcome: sum(gate.outcome == outcome for gate in gates) for outcome in ("holds", "fails", "cannot tell")}
    if count["holds"] == len(gates):
        return f"all {len(gates)} gates hold ({_rows(evaluation)})"
    failed = f"{count['fails']} fail" if count["fails"] else "none fails"
    unsure = f", {count['cannot tell']} cannot tell" if count["cannot tell"] else ""
    whose = f" of {_own_name(evaluation, evaluation['challenger'])}"
    return f"{count['holds']} of {len(gates)} gates hold{whose}, {failed}{unsure} ({_rows(evaluation)})"


def _labels(evaluation: Mapping[str, Any]) -> tuple[str, ...]:
    """The outcomes with a probability that this log has."""
    return probabilities(evaluation["labels"])


def _aim(evaluation: Mapping[str, Any]) -> str:
    return aim(evaluation["labels"])


def _own_name(evaluation: Mapping[str, Any], name: str) -> str:
    """A model's own name: a written report calls the one that stands `champion`."""
    return str(evaluation.get("champion_is") or name) if name == CHAMPION else name


def _looked_at(evaluation: Mapping[str, Any]) -> str:
    """How much a gate of a comparison looked at."""
    return _rows(evaluation) + _one_of(evaluation)


def _one_of(evaluation: Mapping[str, Any]) -> str:
    return f", one of {evaluation['comparisons']} comparisons" if "comparisons" in evaluation else ""


def _rows(evaluation: Mapping[str, Any]) -> str:
    looked_at = f"{evaluation['test_users']:,} users, {evaluation['impressions']['test']:,} rows"
    learned = evaluation.get("learned_by_previous")
    if learned and learned["left_out"]:
        looked_at += f", without {learned['rows']:,} that the previous champion learned from"
    return looked_at


def _number(value: float | None, missing: float = float("-inf")) -> float:
    return missing if value is None or value != value else float(value)
