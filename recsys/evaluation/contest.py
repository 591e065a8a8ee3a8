"""Which of the trained rankers challenges the champion: decided on the validation days, never on the test days.

Two things count, users resampled in pairs: the log loss of the probabilities, and the order of the slate (ndcg@5 of the
aim, by `score`). One ranker beats another that it is certainly ahead of in either, unless the other measure fails
as a gate does: certainly behind, or possibly by more than MARGIN while its interval is narrow enough to tell. The
default (the boosted trees) stands unless it is beaten; of those that beat it the one that none of them beats is chosen.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np

from recsys.evaluation import metrics
from recsys.evaluation.bootstrap import Resamples, interval
from recsys.evaluation.gates import compared
from recsys.lake import replacing
from recsys.ranking.ranker import Predictions
from recsys.training_sets.examples import Examples
from recsys.training_sets.labels import PROBABILITIES, has_both

MARGIN: Final = 0.003  # of ndcg@5, and of log loss in nats: what may be lost in one for what is won in the other


@dataclass(frozen=True)
class Entrant:
    """What one ranker showed on the validation rows, against the default."""

    log_loss: float  # of all labels together
    ndcg: float  # ndcg@5 of the aim by `score`
    log_loss_less: tuple[float, float]  # 95 % interval of this one's log loss minus the default's
    ndcg_more: tuple[float, float]


@dataclass(frozen=True)
class Contest:
    """Who was chosen, why in words, and what every entrant showed."""

    chosen: str
    reason: str
    entrants: Mapping[str, Entrant]

    def save(self, path: Path) -> None:
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=1))


@dataclass(frozen=True)
class _Shown:
    """One entrant's figures and their replicates, float64 [b]."""

    log_loss: float
    ndcg: float
    log_losses: np.ndarray
    ndcgs: np.ndarray


def choose(default: str, predicted: Mapping[str, Predictions], rows: Examples) -> Contest:
    """The contest between these predictions of the validation rows."""
    labels, drawn = _labels(rows, predicted), Resamples.draw(rows.user)
    shown = {}
    for name, predictions in predicted.items():
        losses = sum(
            (metrics.row_log_loss(truth, getattr(predictions, f"p_{label}")) for label, truth in labels.items()),
            start=np.zeros(len(rows)),
        )
        by_user = drawn.by_user(losses)
        ndcg = _ndcg(drawn, labels, predictions)
        shown[name] = _Shown(float(losses.mean()), float(ndcg.mean()), drawn.per_row(by_user), drawn.mean(ndcg))
    entrants = {
        name: Entrant(mine.log_loss, mine.ndcg, *_against(mine, shown[default])) for name, mine in shown.items()
    }
    better = [name for name in shown if name != default and _beats(shown[name], shown[default])]
    unbeaten = [name for name in better if not any(_beats(shown[other], shown[name]) for other in better)]
    chosen = min(unbeaten or better, key=lambda name: entrants[name].log_loss, default=default)
    return Contest(chosen, _words(default, chosen, entrants), entrants)


def best_order(usual: str, predicted: Mapping[str, Predictions], rows: Examples, together: str = "") -> str:
    """Whose `score` orders best: the usual's, unless others are certainly ahead of it in ndcg@5 of the aim.

    Of those it is `together`, who holds the voices of all, where that one is ahead; else the best of them.
    """
    labels, drawn = _labels(rows, predicted), Resamples.draw(rows.user)
    ndcg = {name: _ndcg(drawn, labels, predictions) for name, predictions in predicted.items()}
    ahead = [name for name in ndcg if interval(drawn.mean(ndcg[name]) - drawn.mean(ndcg[usual]))[0] > 0]
    return together if together in ahead else max(ahead, key=lambda name: float(ndcg[name].mean()), default=usual)


def _labels(rows: Examples, predicted: Mapping[str, Predictions]) -> dict[str, np.ndarray]:
    """The outcomes that tell rows apart and were learned, float64 [n] each; the last one is the aim."""
    return {
        label: getattr(rows, label).astype(np.float64)
        for label in PROBABILITIES
        if has_both(rows, label)
        and all(np.isfinite(getattr(predictions, f"p_{label}")).all() for predictions in predicted.values())
    }


def _ndcg(drawn: Resamples, labels: Mapping[str, np.ndarray], predictions: Predictions) -> np.ndarray:
    """ndcg@5 of the aim of each user, float64 [users]."""
    aim = list(labels.values())[-1]
    return np.nan_to_num(metrics.ndcg_by_group(drawn.user, aim, predictions.score, 5).value)


def _against(mine: _Shown, other: _Shown) -> tuple[tuple[float, float], tuple[float, float]]:
    """95 % intervals of mine minus the other's: log loss, ndcg."""
    return interval(mine.log_losses - other.log_losses), interval(mine.ndcgs - other.ndcgs)


def _beats(mine: _Shown, other: _Shown) -> bool:
    (low, high), more = _against(mine, other)
    gains = ((-high, -low), more)
    return any(gain[0] > 0 for gain in gains) and all(compared(gain, MARGIN) != "fails" for gain in gains)


def _words(default: str, chosen: str, entrants: Mapping[str, Entrant]) -> str:
    if chosen == default:
        return f"{default} stands: no other ranker is certainly ahead in log loss or in order without losing the other"
    (low, high), (least, most) = entrants[chosen].log_loss_less, entrants[chosen].ndcg_more
    return (
        f"{chosen} against {default}, 95 % intervals on the validation days: log loss {low:+.4f} to {high:+.4f}, "
        f"ndcg@5 {least:+.4f} to {most:+.4f}"
    )
