"""What a person comes back to: columns of their own past plays, rules that order by them, a ranker that learns them.

A column is a function of the plays that a read found (`Judged.plays`) and of its instant, in sums, divisions and square
roots alone: the same bits offline, online and in a replay. A habit's hour is that of the day in UTC: two instants of
one person are apart by as much in any time zone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from recsys.events import DAY_MS, HOUR_MS, KINDS
from recsys.features.judged import Judged
from recsys.lake import replacing
from recsys.ranking.ranker import RankerError

COLUMNS: Final = (
    "hours_since",  # the last play; NEVER without any
    "hours_since_first",
    "plays",
    "plays_7d",
    "decayed",  # sum of 1 / sqrt(1 + hours): a power law
    "decayed_fast",  # sum of 1 / (1 + hours)
    "same_hour",  # plays within HOUR_REACH of this hour of the day, a nearer one counting more
    "same_hour_decayed",
    "same_hour_weekday",  # those of this day of the week
    "share",  # of the person's plays
    "days",  # on which it was played
    "streak",  # days in a row up to today or yesterday
    "in_progress",
    "finished_last",  # whether the last play was seen through
    "recency_rank",  # units played later
    "unplayed",  # whether this very item was never played (a new episode)
    "person_plays",
)
NEVER: Final = -1.0
HOUR_REACH: Final = 2  # hours
FILE: Final = "habits.json"


def columns(
    judged: Judged, played_unit: np.ndarray, going_unit: np.ndarray, unit: np.ndarray, item_key: np.ndarray, at: int
) -> np.ndarray:
    """float64[n, len(COLUMNS)] of n candidates.

    Args:
        judged: of the read
        played_unit: int64[p], the unit of each of its plays
        going_unit: int64, units of what is in progress
        unit, item_key: int64[n] of the candidates
        at: instant of the read, UTC ms
    """
    out = np.zeros((len(unit), len(COLUMNS)))
    column = {name: out[:, place] for place, name in enumerate(COLUMNS)}
    for name in ("hours_since", "hours_since_first", "recency_rank"):
        column[name][:] = NEVER
    column["in_progress"][:] = np.isin(unit, going_unit)
    played_item, kind, occurred_at = judged.plays.T
    column["unplayed"][:] = ~np.isin(item_key, played_item)
    units, which = np.unique(played_unit, return_inverse=True)
    if not len(units) or not len(unit):
        return out
    is_click = kind == KINDS["click"]
    # a click and the long view that came of it are one play; a log without clicks has its long views
    counts = (is_click | ~np.isin(played_item, played_item[is_click])).astype(np.float64)
    m, age_ms = len(units), np.maximum(at - occurred_at, 0)
    hours = age_ms / HOUR_MS
    apart = np.abs(occurred_at % DAY_MS - at % DAY_MS)
    near = np.maximum(0.0, 1.0 - np.minimum(apart, DAY_MS - apart) / (HOUR_REACH * HOUR_MS))
    day, today = occurred_at // DAY_MS, at // DAY_MS

    def total(weights: np.ndarray) -> np.ndarray:
        return np.bincount(which, counts * weights, m)

    last, first = np.full(m, np.inf), np.zeros(m)
    np.minimum.at(last, which, hours)
    np.maximum.at(first, which, hours)
    days = np.unique(np.stack([which, day], axis=1), axis=0)
    rank = np.empty(m)
    rank[np.argsort(last, kind="stable")] = np.arange(m)
    ones, plays = np.ones(len(which)), total(np.ones(len(which)))
    finished_last = np.zeros(m)
    finished_last[which] = kind != KINDS["click"]  # in log order: the last one is kept
    of_unit = {
        "hours_since": last,
        "hours_since_first": first,
        "plays": plays,
        "plays_7d": total(age_ms < 7 * DAY_MS),
        "decayed": total(1.0 / np.sqrt(1.0 + hours)),
        "decayed_fast": total(1.0 / (1.0 + hours)),
        "same_hour": total(near),
        "same_hour_decayed": total(near / np.sqrt(1.0 + hours / 24.0)),
        "same_hour_weekday": total(near * ((today - day) % 7 == 0)),
        "share": plays / counts.sum(),
        "days": np.bincount(days[:, 0], minlength=m).astype(np.float64),
        "streak": _streaks(days, m, today),
        "finished_last": finished_last,
        "recency_rank": rank,
        "person_plays": np.full(m, float(ones.sum())),
    }
    place = np.minimum(np.searchsorted(units, unit), m - 1)
    known = units[place] == unit
    for name, values in of_unit.items():
        column[name][known] = values[place[known]]
    return out


def _streaks(days: np.ndarray, m: int, today: int) -> np.ndarray:
    """float64[m]: days in a row, up to today or yesterday, of each; `days` [(which, day)] sorted, each once."""
    lengths, open_ = np.zeros(m), np.full(m, today)
    for which, day in days[::-1].tolist():
        if day == open_[which] or (lengths[which] == 0 and day == today - 1):
            lengths[which] += 1
            open_[which] = day - 1
    return lengths


def column_of(habits: np.ndarray, name: str) -> np.ndarray:
    """One of COLUMNS."""
    return habits[:, COLUMNS.index(name)]


# Each orders the candidates by the person's own plays, the higher the earlier; what they never played comes last.
RULES: Final[Mapping[str, Callable[[np.ndarray], np.ndarray]]] = {
    "last_played": lambda h: 1.0 / (2.0 + column_of(h, "hours_since")) * (column_of(h, "plays") > 0),
    "most_played": lambda h: column_of(h, "plays") + 1.0 / (2.0 + column_of(h, "hours_since")),
    "recency_frequency": lambda h: column_of(h, "decayed"),
    "same_hour": lambda h: column_of(h, "same_hour") + column_of(h, "decayed") / 1024.0,
}


class Sessions(NamedTuple):
    """Starts of sessions to learn from: s of them, with n candidates in all."""

    habits: np.ndarray  # float64[n, len(COLUMNS)]
    session: np.ndarray  # int64[n], rising
    is_wanted: np.ndarray  # bool[n]: the first that was played


class HabitRanker:
    """Boosted trees over COLUMNS; for a shelf that shows more than what its people know, over a ranker's score too, and
    added to it: a score beyond all that were learned from has its place among others, which no leaf gives it.
    """

    def __init__(self, booster: bytes, *, reads_score: bool = False, adds_to_score: bool = False) -> None:
        import xgboost as xgb

        self._raw, self.reads_score, self.adds_to_score = booster, reads_score, adds_to_score
        self._booster = xgb.Booster({"nthread": 1})
        self._booster.load_model(bytearray(booster))

    @staticmethod
    def of_sessions(learned: Sessions, seed: int, rounds: int = 80) -> HabitRanker | None:
        """What is played first in a session before the rest of what its person knows; None of no session."""
        import xgboost as xgb

        if not (learned.is_wanted.any() and (~learned.is_wanted).any()):
            return None
        rows = xgb.DMatrix(learned.habits, learned.is_wanted.astype(np.float32), qid=learned.session, nthread=1)
        params = {
            "objective": "rank:pairwise", "lambdarank_pair_method": "topk", "lambdarank_num_pair_per_sample": 12,
            "eta": 0.1, "max_depth": 4, "min_child_weight": 5.0, "lambda": 5.0, "seed": seed, "nthread": 1,
        }  # fmt: skip
        return HabitRanker(bytes(xgb.train(params, rows, rounds).save_raw("json")))

    @staticmethod
    def of_impressions(score: np.ndarray, habits: np.ndarray, is_success: np.ndarray, seed: int) -> HabitRanker | None:
        """What of that which was shown becomes a success. None where nothing or everything did.

        The trees begin with the score. In its place they cost podcasts of the home world a tenth of P(long view): .290
        where the score alone has .323 and both together .321 (validation days; ndcg@10 .309, .296, .325).

        Args:
            score: float64[n], log odds by a ranker that did not learn from these rows
            habits: float64[n, len(COLUMNS)]
            is_success: bool[n]
        """
        import xgboost as xgb

        if not (is_success.any() and (~is_success).any()):
            return None
        rows = xgb.DMatrix(
            np.column_stack([score, habits]), is_success.astype(np.float32), base_margin=score, nthread=1
        )
        params = {
            "objective": "binary:logistic", "eta": 0.1, "max_depth": 3, "min_child_weight": 10.0, "lambda": 10.0,
            "monotone_constraints": (1, *[0] * len(COLUMNS)), "base_score": 0.5, "seed": seed, "nthread": 1,
        }  # fmt: skip
        trees = bytes(xgb.train(params, rows, 60).save_raw("json"))
        return HabitRanker(trees, reads_score=True, adds_to_score=True)

    def scores(self, habits: np.ndarray, score: np.ndarray | None = None) -> np.ndarray:
        """float64[n]; a row's depends on that row alone. `score` where it `reads_score`."""
        import xgboost as xgb

        if not len(habits):
            return np.zeros(0)
        table = habits if score is None else np.column_stack([score, habits])
        margin = self._booster.predict(xgb.DMatrix(table, nthread=1), output_margin=True).astype(np.float64)
        return margin if score is None or not self.adds_to_score else margin + score

    def save(self, folder: Path) -> None:
        """Write the trees."""
        folder.mkdir(parents=True, exist_ok=True)
        reads = {"reads_score": self.reads_score, "adds_to_score": self.adds_to_score}
        saved = {"columns": COLUMNS, **reads, "trees": json.loads(self._raw)}
        with replacing(folder / FILE) as path:
            path.write_text(json.dumps(saved))

    @staticmethod
    def load(folder: Path) -> HabitRanker:
        """What `save` wrote.

        Raises:
            RankerError: it is not there, not readable, or of other columns.
        """
        try:
            saved = json.loads((folder / FILE).read_text())
            names: Sequence[str] = saved["columns"]
            if tuple(names) == COLUMNS:
                adds = saved.get("adds_to_score", False)  # trees of before stood in the score's place
                trees = json.dumps(saved["trees"]).encode()
                return HabitRanker(trees, reads_score=saved["reads_score"], adds_to_score=adds)
        except (OSError, ValueError, KeyError) as error:
            raise RankerError(f"{folder / FILE} is not readable ({error}): materialize shelf_orders again") from None
        raise RankerError(f"{folder / FILE} was learned from other columns: materialize shelf_orders again")
