"""Which of the trained rankers challenges the champion: decided on the validation days, never on the test days.

The default (the boosted trees) stands unless another one is better beyond chance: lower log loss of both
probabilities, users resampled in pairs, and an order of the slate that is not worse.
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
from recsys.lake import replacing
from recsys.ranking.ranker import Predictions
from recsys.training_sets.examples import Examples

NDCG_MARGIN: Final = 0.003  # how much ndcg@5 of `score` may be lower at the interval's lower end


@dataclass(frozen=True)
class Entrant:
    """What one ranker showed on the validation rows, against the default."""

    log_loss: float  # of click plus that of long view
    ndcg: float  # ndcg@5 of long view by `score`
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


def choose(default: str, predicted: Mapping[str, Predictions], rows: Examples) -> Contest:
    """The contest between these predictions of the validation rows."""
    drawn = Resamples.draw(rows.user)
    labels = {"click": rows.click.astype(np.float64), "long_view": rows.long_view.astype(np.float64)}
    losses, orders = {}, {}
    for name, found in predicted.items():
        click = metrics.row_log_loss(labels["click"], found.p_click)
        by_user = drawn.by_user(click + metrics.row_log_loss(labels["long_view"], found.p_long_view))
        losses[name] = (by_user, drawn.per_row(by_user))
        ndcg = np.nan_to_num(metrics.ndcg_by_group(drawn.user, labels["long_view"], found.score, 5).value)
        orders[name] = (float(ndcg.mean()), drawn.mean(ndcg))
    n = len(rows)
    entrants = {
        name: Entrant(
            log_loss=float(losses[name][0].sum() / n),
            ndcg=orders[name][0],
            log_loss_less=interval(losses[name][1] - losses[default][1]),
            ndcg_more=interval(orders[name][1] - orders[default][1]),
        )
        for name in predicted
    }
    better = [
        name
        for name, entrant in entrants.items()
        if name != default and entrant.log_loss_less[1] < 0 and entrant.ndcg_more[0] >= -NDCG_MARGIN
    ]
    chosen = min(better, key=lambda name: entrants[name].log_loss, default=default)
    return Contest(chosen, _words(default, chosen, entrants), entrants)


def _words(default: str, chosen: str, entrants: Mapping[str, Entrant]) -> str:
    if chosen == default:
        return f"{default} stands: no other ranker has a lower log loss beyond chance and orders as well"
    low, high = entrants[chosen].log_loss_less
    return f"{chosen} has a lower log loss than {default} by {-high:.4f} to {-low:.4f} (95 % interval, validation days)"
