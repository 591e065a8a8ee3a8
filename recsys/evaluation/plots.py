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


def _save(figure: Figure, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, format="svg")
