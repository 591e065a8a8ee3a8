"""What each shelf is worth: by its own notion of success, beside its own heuristics; and whether it may be promoted."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl

from recsys.evaluation.bootstrap import Resamples, interval
from recsys.evaluation.served import hits
from recsys.events import DAY_MS, KINDS
from recsys.features.judged import PLAYED
from recsys.features.log import EventLog
from recsys.lake import replacing
from recsys.policy.named import ShelfError, require
from recsys.policy.shelves import HABITS, LISTS, NEWCOMER, SHELVES, Shelf
from recsys.ranking.orders import LEARNED, can_serve
from recsys.ranking.ranker import PREDICTIONS
from recsys.retrieval.sources import SOURCES

CHALLENGER: Final = "challenger"
FORMER: Final = "former"  # the way in which the champion orders the shelf
BEST: Final = "best"  # what the truth would show
NEXT_MS: Final = DAY_MS  # what a person engages with so soon after a request was wanted at it
FEWEST: Final = 20  # requests with something wanted: of fewer nothing is said
# Intervals of all shelves: beside each heuristic and the former way. They cover the truth together in 95 %, as a
# family of their own: a failure keeps its shelf as it was, and refuses no bundle.
COMPARISONS: Final = sum(len(shelf.heuristics) + 1 for shelf in SHELVES.values())


class Label(NamedTuple):
    """What counts as success, and where it is asked for."""

    kinds: tuple[str, ...]
    at_start: bool = False  # of each session, of which the first is wanted alone; else at a person's first request


LABELS: Final[Mapping[str, Label]] = {
    "click": Label(("click",)),
    "long_view": Label(("long_view", "exposure_long_view")),
    "like": Label(("like",)),
    "follow": Label(("follow",)),
    "first_play": Label(PLAYED, at_start=True),
}
# wanted units and known units -> those of the wanted that a metric is about
OF: Final[Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]]] = {
    "": lambda wanted, known: wanted,
    "habitual_": lambda wanted, known: wanted[np.isin(wanted, known)],
    "new_": lambda wanted, known: wanted[~np.isin(wanted, known)],
    "newcomer_": lambda wanted, known: wanted[: len(wanted) if len(known) < NEWCOMER else 0],
}
METRICS: Final = tuple(f"{of}{metric}" for of in OF for metric in ("hit", "recall", "ndcg"))


def checked(shelves: Mapping[str, Shelf]) -> None:
    """Raises ShelfError where a row names a source, order, label, prediction, heuristic or metric that is not there."""
    for name, shelf in shelves.items():
        try:
            require("source", shelf.sources, SOURCES)
            require("order", (shelf.order,), LEARNED)
            require("label", (shelf.label,), LABELS)
            require("prediction to weigh", shelf.weights, PREDICTIONS)
            require("heuristic", shelf.heuristics, (*LISTS, *HABITS))
            require("metric", [metric.split("@")[0] for metric in shelf.metrics], METRICS)
            for metric in shelf.metrics:
                if not re.fullmatch("[1-9][0-9]*", metric.partition("@")[2]):
                    raise ShelfError(f"a shelf names the metric {metric!r}: it ends in @ and a number of places")
            if not any(can_serve(heuristic) for heuristic in shelf.heuristics):
                raise ShelfError("a shelf names no heuristic that can serve it: add popular or recency_frequency")
        except ShelfError as error:
            raise ShelfError(f"shelf {name}: {error} (recsys/policy/shelves.py)") from None


checked(SHELVES)


def label_in(log: EventLog, shelf: Shelf) -> str:
    """What counts as success on a shelf in a log: a click, where it tells of nothing that the row names."""
    there = np.isin(log.kind, [KINDS[kind] for kind in LABELS[shelf.label].kinds]).any()
    return shelf.label if there else "click"


def places(shelf: Shelf) -> int:
    """The length of the slates that a shelf's metrics look at."""
    return max(int(metric.partition("@")[2]) for metric in shelf.metrics)


@dataclass(frozen=True)
class Task:
    """q requests on one shelf, and what was wanted at each; all by unit."""

    user_id: list[str]
    user_key: np.ndarray  # int64[q]
    at: np.ndarray  # int64[q], UTC ms
    wanted: list[np.ndarray]  # of each request, int64 units that could be shown and were successes
    known: list[np.ndarray]  # of each request, int64 units that its person had played


def wanted_next(
    log: EventLog,
    label: str,
    user_key: np.ndarray,
    at: np.ndarray,
    allowed: Sequence[np.ndarray],
    units: Callable[[np.ndarray], np.ndarray],
    item_keys: np.ndarray,
) -> list[np.ndarray]:
    """Of each request, the units of allowed items that its person had a success with within NEXT_MS.

    Args:
        allowed: of each request, places in `item_keys`
    """
    rows = np.flatnonzero(np.isin(log.kind, [KINDS[kind] for kind in LABELS[label].kinds]))
    rows = rows[np.argsort(log.user_key[rows], kind="stable")]
    user, item, when = log.user_key[rows], log.item_key[rows], log.occurred_at[rows]
    wanted = []
    for place, (key, asked) in enumerate(zip(user_key.tolist(), at.tolist(), strict=True)):
        mine = slice(int(np.searchsorted(user, key, "left")), int(np.searchsorted(user, key, "right")))
        soon = item[mine][(when[mine] >= asked) & (when[mine] < asked + NEXT_MS)]
        wanted.append(np.unique(units(soon[np.isin(soon, item_keys[allowed[place]])])))
    return wanted


def figures(slates: np.ndarray, task: Task, metrics: Sequence[str]) -> dict[str, np.ndarray]:
    """Each metric of each request, float64[q]; NaN where nothing that it is about was wanted.

    Args:
        slates: int64[q, k] units, 0 pads
    """
    by_metric = {}
    for metric in metrics:
        name, _, k = metric.partition("@")
        kind = name.rpartition("_")[2]
        of = OF[name.removesuffix(kind)]
        about = [of(wanted, known) for wanted, known in zip(task.wanted, task.known, strict=True)]
        values = np.full(len(about), np.nan)
        has = np.array([len(units) > 0 for units in about], bool)
        values[has] = hits(slates[:, : int(k)], about)[f"{kind}@{min(int(k), slates.shape[1])}"]
        by_metric[metric] = values
    return by_metric


def best_units(score: np.ndarray, allowed: np.ndarray, unit_key: np.ndarray, k: int) -> np.ndarray:
    """The k allowed rows with the highest score [n], one a unit; int64[k], -1 where there are fewer."""
    order = allowed[np.lexsort((allowed, -score[allowed]))]
    _, first = np.unique(unit_key[order], return_index=True)
    best = order[np.sort(first)][:k]
    return np.pad(best, (0, k - len(best)), constant_values=-1)


def true_worth(slates: Mapping[str, np.ndarray], truth: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Mean true probability of a success of what each slate shows, float64[q] by name; 0 of an empty one.

    Args:
        slates: int64[q, k] catalogue rows, -1 pads
        truth: of each request, float64[n] of the catalogue's rows
    """
    worth = {}
    for name, rows in slates.items():
        shown = [of[slate[slate >= 0]] for of, slate in zip(truth, rows, strict=True)]
        worth[name] = np.array([held.mean() if len(held) else 0.0 for held in shown])
    return worth


def judge(
    shelf: Shelf,
    label: str,
    task: Task,
    slates: Mapping[str, np.ndarray],
    orders: Mapping[str, str],
    truth: Mapping[str, np.ndarray] | None = None,
) -> dict[str, Any]:
    """One shelf of `evaluation.json["shelves"]`. Where the source knows the truth it decides (`p_<label>`), as what a
    log's people do next depends on what that log's policy showed them; else the first metric of the shelf's row.

    Args:
        slates: int64[q, k] units by name: CHALLENGER, the shelf's heuristics, FORMER where a champion serves otherwise
        orders: what orders CHALLENGER and FORMER, by name
        truth: by name, and of BEST, as `true_worth`
    """
    worth = {name: figures(shown, task, shelf.metrics) for name, shown in slates.items()}
    metric = shelf.metrics[0]
    if truth is not None:
        metric, is_new = f"p_{label}", np.array([len(units) < NEWCOMER for units in task.known], bool)
        worth = {name: {metric: truth[name], **values_of} for name, values_of in worth.items()}
        for name, values_of in worth.items() if any(each.startswith("newcomer_") for each in shelf.metrics) else ():
            values_of[f"newcomer_{metric}"] = np.where(is_new, truth[name], np.nan)
    judged = int(sum(len(units) > 0 for units in task.wanted))
    mean = {name: {metric: _mean(values) for metric, values in values_of.items()} for name, values_of in worth.items()}
    beside = {
        name: {
            metric: _paired(worth[CHALLENGER][metric] - values, task.user_key) for metric, values in values_of.items()
        }
        for name, values_of in worth.items()
        if name != CHALLENGER
    }
    heuristics = {name: mean[name] for name in shelf.heuristics if name in mean}
    gate = _gate(shelf, metric, judged, mean[CHALLENGER], heuristics, beside)
    told: dict[str, Any] = {
        "label": label,
        "unit": shelf.unit,
        "metric": metric,
        "comparisons": COMPARISONS,
        "requests": len(task.at),
        "rows": judged,
        "champion": mean[CHALLENGER],
        "order": orders[CHALLENGER],
        "heuristics": heuristics,
        "intervals": {name: beside[name] for name in heuristics},
        "gate": gate,
    }
    if FORMER in mean:
        told["former"] = {"order": orders[FORMER], **mean[FORMER], "interval": beside[FORMER]}
    if truth is not None:
        best = _mean(truth[BEST])
        told["best_attainable"] = best
        told["regret"] = {name: best - figures[metric] for name, figures in mean.items()}
    if goes_on(shelf, told):
        return told
    # it stays as it was: what is called champion is what goes on serving
    stands = FORMER if FORMER in mean else best_that_can_serve(shelf, metric, heuristics)
    told["challenger"] = told["champion"] | {"order": orders[CHALLENGER]}
    told["champion"], told["order"] = mean.get(stands, {}), orders.get(stands, stands)
    told["intervals"] = {
        name: {each: _paired(worth[stands][each] - worth[name][each], task.user_key) for each in worth[name]}
        for name in heuristics
    }
    return told


def nothing(shelf: Shelf, label: str, why: str) -> dict[str, Any]:
    """A shelf that cannot be judged on these days."""
    order = best_that_can_serve(shelf, shelf.metrics[0], {}) if shelf.gates else shelf.order
    none = dict.fromkeys(shelf.metrics, float("nan"))
    return {
        "label": label, "unit": shelf.unit, "metric": shelf.metrics[0], "requests": 0, "rows": 0, "champion": none,
        "order": order, "heuristics": {}, "intervals": {}, "gate": {"passed": False, "reasons": [why]},
    }  # fmt: skip


def goes_on(shelf: Shelf, told: Mapping[str, Any]) -> bool:
    """Whether a shelf, as `judge` told of it, is ordered by the challenger once the bundle's verdict passed."""
    return bool(told["gate"]["passed"]) or not shelf.gates


def best_that_can_serve(shelf: Shelf, metric: str, heuristics: Mapping[str, Mapping[str, float]]) -> str:
    """The heuristic with the highest figure of those that can order the shelf in service."""
    able = [name for name in shelf.heuristics if can_serve(name)]
    return max(able, key=lambda name: np.nan_to_num(heuristics.get(name, {}).get(metric, 0.0)))


def _gate(
    shelf: Shelf,
    metric: str,
    judged: int,
    mine: Mapping[str, float],
    heuristics: Mapping[str, Mapping[str, float]],
    beside: Mapping[str, Mapping[str, Sequence[float]]],
) -> dict[str, Any]:
    """Passed where the challenger is not behind a heuristic, or the former way, by more than the shelf's margin: not
    certainly, and not in the middle of the interval.
    """
    if judged < FEWEST:
        return {"passed": False, "reasons": [f"{judged} of its requests had a success to find, {FEWEST} are needed"]}
    reasons = [
        f"{metric} {mine[metric]:.4f}, difference to {name} {low:+.4f} to {high:+.4f}"
        for name, (low, high) in ((name, spans[metric]) for name, spans in beside.items())
        if high < 0 or (low + high) / 2 < -shelf.margin
    ]
    nearest = min(heuristics, key=lambda name: beside[name][metric][0])
    low, high = beside[nearest][metric]
    looked_at = f"{judged:,} requests, one of {COMPARISONS} comparisons on shelves"
    ahead = f"{metric} {mine[metric]:.4f}, ahead of {nearest}, the nearest, by {low:+.4f} to {high:+.4f} ({looked_at})"
    return {"passed": not reasons, "reasons": reasons or [ahead], "tells": (high - low) / 2}


def _paired(difference: np.ndarray, user_key: np.ndarray) -> list[float]:
    """Interval of the mean over requests, one of COMPARISONS, users resampled; NaN without any."""
    there = ~np.isnan(difference)
    if not there.any():
        return [float("nan")] * 2
    drawn = Resamples.draw(user_key[there])
    return list(interval(drawn.per_row(drawn.by_user(difference[there])), COMPARISONS))


def _mean(values: np.ndarray) -> float:
    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else float("nan")


def table(
    task: Task, slates: Mapping[str, np.ndarray], rows: Mapping[str, np.ndarray], item_ids: Sequence[str]
) -> pl.DataFrame:
    """One row a request and model: what it showed, by item and by unit; the units that were wanted, and those known.

    Args:
        slates, rows: by model, int64[q, k] units (0 pads) and catalogue rows (-1 pads)
    """
    return pl.DataFrame(
        [
            {
                "model": name,
                "user_id": task.user_id[place],
                "as_of": int(task.at[place]),
                "item_ids": [item_ids[row] for row in rows[name][place].tolist() if row >= 0],
                "units": [unit for unit in shown[place].tolist() if unit],
                "wanted": task.wanted[place].tolist(),
                "known": task.known[place].tolist(),
            }
            for name, shown in slates.items()
            for place in range(len(task.at))
        ],
        {
            "model": pl.String, "user_id": pl.String, "as_of": pl.Int64, "item_ids": pl.List(pl.String),
            "units": pl.List(pl.Int64), "wanted": pl.List(pl.Int64), "known": pl.List(pl.Int64),
        },
    )  # fmt: skip


def write(folder: Path, tables: Mapping[str, pl.DataFrame]) -> None:
    """`shelves/<name>.parquet` of each shelf that was judged; those of before are gone."""
    (folder / "shelves").mkdir(parents=True, exist_ok=True)
    for path in (folder / "shelves").glob("*.parquet"):
        path.unlink()
    for name, rows in tables.items():
        with replacing(folder / "shelves" / f"{name}.parquet") as path:
            rows.write_parquet(path)


def told(report: Path) -> dict[str, dict[str, Any]]:
    """`shelves` of an evaluation.json; empty for one from before there were any."""
    shelves: dict[str, dict[str, Any]] = json.loads(report.read_text()).get("shelves", {})
    return shelves
