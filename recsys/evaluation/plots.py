"""Two pictures of a report: is a probability to be believed, and who ranks better."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from recsys.evaluation import metrics
from recsys.lake import replacing
from recsys.training_sets.labels import aim, probabilities

WORDS: Final = {"click": "click", "long_view": "long view"}


def calibration(labels: Mapping[str, np.ndarray], probabilities: Mapping[str, np.ndarray], path: Path) -> None:
    """Observed against predicted share of each label, one SVG."""
    figure = Figure(figsize=(5, 5.2), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1, label="perfect")
    for label, truth in labels.items():
        bins = metrics.reliability(truth, probabilities[label])
        error = metrics.calibration_error(truth, probabilities[label])
        axes.plot(bins.predicted, bins.observed, marker="o", label=f"{label.replace('_', ' ')} (error {error:.3f})")
    axes.set(xlabel="predicted probability", ylabel="observed share", title="Calibration on the test days")
    figure.legend(loc="outside lower center")
    _save(figure, path)


def ranking_bars(ranking: Mapping[str, Any], path: Path) -> None:
    """AUC of each label and gauc of the aim of every model, one SVG."""
    names = list(ranking)
    labels = probabilities(ranking[names[0]])
    shown = {f"AUC {WORDS[label]}": (label, "auc") for label in labels}
    shown[f"gauc {WORDS[aim(labels)]}"] = (aim(labels), "gauc")
    figure = Figure(figsize=(8, 0.45 * len(names) + 1.2), layout="constrained")
    axes = figure.subplots()
    for i, (title, (label, metric)) in enumerate(shown.items()):
        values = [ranking[name][label][metric] for name in names]
        axes.barh(np.arange(len(names)) + 0.27 * (i - 1), np.nan_to_num(values), height=0.25, label=title)
    axes.set_yticks(np.arange(len(names)), names)
    axes.invert_yaxis()
    axes.axvline(0.5, color="0.5", linewidth=1)
    axes.set(xlim=_reach(axes), title="Ranking of the test impressions")
    figure.legend(loc="outside lower center", ncols=len(shown))
    _save(figure, path)


def cohort_bars(cohorts: Mapping[str, Any], path: Path) -> None:
    """AUC of each label in every cohort that is large enough, a bar a model, one SVG."""
    models = list(cohorts)
    places = [
        (cohort, value)
        for cohort, values in cohorts[models[0]].items()
        for value, told in values.items()
        if set(told) - {"rows"}
    ]
    labels = probabilities({label for cohort, value in places for label in cohorts[models[0]][cohort][value]})
    figure = Figure(figsize=(9, 0.22 * max(len(places), 1) * (len(models) + 0.6) + 1.6), layout="constrained")
    for axes, label in zip(
        np.atleast_1d(figure.subplots(1, max(len(labels), 1), sharey=True)), labels or ("click",), strict=True
    ):
        for i, model in enumerate(models):
            values = [cohorts[model][cohort][value][label]["auc"] for cohort, value in places]
            height = 0.8 / len(models)
            axes.barh(np.arange(len(places)) + height * i, np.nan_to_num(values), height=height, label=model)
        names = [f"{cohort}: {value} ({cohorts[models[0]][cohort][value]['rows']:,})" for cohort, value in places]
        axes.set_yticks(np.arange(len(places)) + 0.4 - 0.4 / len(models), names)
        axes.axvline(0.5, color="0.5", linewidth=1)
        axes.set(xlim=_reach(axes), title=f"AUC {WORDS[label]} by cohort (test rows)")
        axes.margins(y=0.02)
    axes.invert_yaxis()
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=len(models))
    _save(figure, path)


def importances(shares: Mapping[str, float], path: Path, most: int = 25) -> None:
    """Share of the gain of the aim's head by feature, the largest, one SVG."""
    names = sorted(shares, key=lambda name: -shares[name])[:most]
    figure = Figure(figsize=(7, 0.24 * len(names) + 1.0), layout="constrained")
    axes = figure.subplots()
    axes.barh(np.arange(len(names)), [100 * shares[name] for name in names])
    axes.set_yticks(np.arange(len(names)), names)
    axes.invert_yaxis()
    axes.set(xlabel="share of the gain, %", title="What the aim is made of")
    _save(figure, path)


def position_curve(curve: Mapping[str, float], path: Path) -> None:
    """Log odds of a click that each place of the slate costs, one SVG."""
    figure = Figure(figsize=(5, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.plot([int(place) + 1 for place in curve], list(curve.values()), marker="o")
    axes.axhline(0.0, color="0.7", linewidth=1)
    axes.set(
        xlabel="place in the slate", ylabel="log odds against the first", title="What the ranker learned of places"
    )
    _save(figure, path)


def _reach(axes: Axes) -> tuple[float, float]:
    """Limits of an axis of AUCs that no bar leaves."""
    lengths = [bar.get_width() for bar in axes.patches if isinstance(bar, Rectangle) and bar.get_width() > 0]
    return min(0.4, *lengths, 0.4) - 0.02, max(0.7, *lengths, 0.7) + 0.02


def _save(figure: Figure, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, format="svg")
