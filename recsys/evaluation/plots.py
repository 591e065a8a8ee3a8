"""Two pictures of a report: is a probability to be believed, and who ranks better."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from recsys.evaluation import metrics
from recsys.lake import replacing


def calibration(labels: Mapping[str, np.ndarray], probabilities: Mapping[str, np.ndarray], path: Path) -> None:
    """Observed against predicted share of each label, one SVG."""
    figure = Figure(figsize=(5, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1, label="perfect")
    for label, truth in labels.items():
        bins = metrics.reliability(truth, probabilities[label])
        error = metrics.calibration_error(truth, probabilities[label])
        axes.plot(bins.predicted, bins.observed, marker="o", label=f"{label} (error {error:.3f})")
    axes.set(xlabel="predicted probability", ylabel="observed share", title="Calibration on the test days")
    axes.legend()
    _save(figure, path)


def ranking_bars(ranking: Mapping[str, Any], path: Path) -> None:
    """AUC of both labels and gauc of every model, one SVG."""
    shown = {
        "AUC click": ("click", "auc"),
        "AUC long view": ("long_view", "auc"),
        "gauc long view": ("long_view", "gauc"),
    }
    names = list(ranking)
    figure = Figure(figsize=(8, 0.45 * len(names) + 1.2), layout="constrained")
    axes = figure.subplots()
    for i, (title, (label, metric)) in enumerate(shown.items()):
        values = [ranking[name][label][metric] for name in names]
        axes.barh(np.arange(len(names)) + 0.27 * (i - 1), np.nan_to_num(values), height=0.25, label=title)
    axes.set_yticks(np.arange(len(names)), names)
    axes.invert_yaxis()
    axes.axvline(0.5, color="0.5", linewidth=1)
    axes.set(xlim=(0.4, 0.85), title="Ranking of the test impressions")
    axes.legend(loc="lower right")
    _save(figure, path)


def cohort_bars(cohorts: Mapping[str, Any], path: Path) -> None:
    """AUC of both labels in every cohort that is large enough, a bar a model, one SVG."""
    models = list(cohorts)
    places = [
        (cohort, value)
        for cohort, values in cohorts[models[0]].items()
        for value, told in values.items()
        if "click" in told
    ]
    figure = Figure(figsize=(9, 0.22 * max(len(places), 1) * (len(models) + 0.6) + 1.2), layout="constrained")
    for axes, (label, title) in zip(
        np.atleast_1d(figure.subplots(1, 2, sharey=True)), (("click", "click"), ("long_view", "long view")), strict=True
    ):
        for i, model in enumerate(models):
            values = [cohorts[model][cohort][value][label]["auc"] for cohort, value in places]
            height = 0.8 / len(models)
            axes.barh(np.arange(len(places)) + height * i, np.nan_to_num(values), height=height, label=model)
        names = [f"{cohort}: {value} ({cohorts[models[0]][cohort][value]['rows']:,})" for cohort, value in places]
        axes.set_yticks(np.arange(len(places)) + 0.4 - 0.4 / len(models), names)
        axes.axvline(0.5, color="0.5", linewidth=1)
        axes.set(xlim=(0.4, 0.9), title=f"AUC {title} by cohort (test rows)")
    axes.invert_yaxis()
    axes.legend(loc="lower right")
    _save(figure, path)


def importances(shares: Mapping[str, float], path: Path, most: int = 25) -> None:
    """Share of the long-view head's gain by feature, the largest, one SVG."""
    names = sorted(shares, key=lambda name: -shares[name])[:most]
    figure = Figure(figsize=(7, 0.24 * len(names) + 1.0), layout="constrained")
    axes = figure.subplots()
    axes.barh(np.arange(len(names)), [100 * shares[name] for name in names])
    axes.set_yticks(np.arange(len(names)), names)
    axes.invert_yaxis()
    axes.set(xlabel="share of the gain, %", title="What P(long view) is made of")
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


def _save(figure: Figure, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, format="svg")
