"""Logs for `benchmarks.experiments`: drawn ones whose truth is known, and the Open Bandit Dataset's two policies."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from scipy import stats

from recsys.experiments.off_policy import (
    Estimate,
    EstimateRefused,
    doubly_robust,
    ips,
    slates,
    snips,
    weights,
)
from recsys.policy.exploration import Exploration, Explorer, Scored

BANDIT: Final = Path(
    os.environ.get("RECSYS_OPEN_BANDIT", Path(__file__).parents[2] / "shared" / "data" / "open_bandit")
)
LOGS: Final = 1_000
ROWS: Final = 5_000
CONTEXTS, ARMS, PLACES = 20, 10, 3


def true_logs() -> None:
    """Logs of a softmax policy; what is asked is a sharper and contrary one. A model that is wrong helps DR."""
    rng = np.random.default_rng(5)
    truth = rng.beta(1.5, 8, (CONTEXTS, ARMS))
    mine, other = (_softmax(rng.normal(size=(CONTEXTS, ARMS)), heat) for heat in (2.0, 1.6))
    model = 0.5 * truth + 0.5 * truth.mean() + 0.03
    value = float((other * truth).sum(axis=1).mean())
    covered: dict[str, list[bool]] = {}
    worth: list[float] = []
    for _ in range(LOGS):
        context = rng.integers(0, CONTEXTS, (ROWS, PLACES))
        arm = (rng.random((ROWS, PLACES, 1)) > mine.cumsum(axis=1)[context]).sum(axis=-1).clip(max=ARMS - 1)
        reward = (rng.random(arm.shape) < truth[context, arm]).astype(np.float64)
        weight = weights(mine[context, arm], other[context, arm])
        first, drawn = reward[:, 0], weight[:, 0]
        expected, of_target = model[context, arm][:, 0], (other * model).sum(axis=1)[context[:, 0]]
        told = {
            "IPS": (ips(first, drawn), value),
            "SNIPS": (snips(first, drawn), value),
            "DR": (doubly_robust(first, drawn, expected, of_target), value),
            "slate, independent": (slates(reward, weight, "independent"), PLACES * value),
            "slate, cascade": (slates(reward, weight, "cascade"), PLACES * value),
        }
        worth.append(told["IPS"][0].effective)
        for name, (estimate, right) in told.items():
            covered.setdefault(name, []).append(estimate.interval[0] <= right <= estimate.interval[1])
    print(f"{LOGS:,} logs of {ROWS:,} rows worth {np.mean(worth):,.0f}; 95 % intervals that hold the truth:")
    print("| estimate | coverage |\n| --- | --- |")
    for name, hits in covered.items():
        print(f"| {name} | {np.mean(hits):.1%} +- {np.sqrt(np.mean(hits) * (1 - np.mean(hits)) / LOGS):.1%} |")


def _softmax(score: np.ndarray, heat: float) -> np.ndarray:
    odds = np.exp(score / heat)
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class Frequencies:
    """How often items were drawn, held against the chance that was told of each."""

    p_value: float  # of a chi-square test over the pool, cells under 5 pooled
    outside: int  # items outside of their interval of 1 - 10^-6

    def __str__(self) -> str:
        return f"p {self.p_value:.3f}, {self.outside} items outside of their interval"


def frequencies(explorer: Explorer, how: Exploration, scored: Scored, pool: np.ndarray, draws: int) -> Frequencies:
    """So many requests draw at one place from one pool."""
    counts, chance = (dict.fromkeys(pool.tolist(), 0.0) for _ in range(2))
    for request in range(draws):
        item, propensity = explorer.draw(how, scored, pool, 0, f"request {request}")
        counts[item] += 1
        chance[item] = propensity
    drawn = np.array(list(counts.values()))
    told = np.array(list(chance.values()))
    never = drawn == 0  # nobody was told their chance: what the others leave
    told[never] = max(0.0, 1 - told.sum()) / max(1, never.sum())
    expected = draws * told
    rare = expected < 5
    cells = [np.r_[column[~rare], column[rare].sum()] for column in (drawn, expected)]
    kept = cells[1] > 0
    p_value = stats.chisquare(cells[0][kept], cells[1][kept] * draws / cells[1][kept].sum()).pvalue
    low, high = stats.binom.interval(1 - 1e-6, draws, np.clip(told, 0, 1))
    return Frequencies(float(p_value), int(((drawn < low) | (drawn > high)).sum()))


def exploring_draws() -> None:
    """100,000 requests draw at one place from a pool of 20 whose scores and evidence differ."""
    rng, n = np.random.default_rng(6), 20
    scored = Scored(
        scores=rng.normal(-0.5, 0.3, n),
        item_keys=rng.integers(1, 1 << 62, n),
        impressions=rng.integers(0, 200, n).astype(np.float64),
        age_days=np.full(n, 30.0),
        units=np.arange(n),
        groups={},
        caps={},
    )
    explorer = Explorer(b"secret of the benchmark")
    for how in ("uniform", "softmax", "thompson", "epsilon"):
        policy = Exploration(how=how, deviation=3.0)  # type: ignore[arg-type]
        print(f"{how}: {frequencies(explorer, policy, scored, np.arange(n), 100_000)}", flush=True)


@dataclass(frozen=True)
class Judged:
    """A policy's click rate by another's log, and what it really got: interval of 95 %."""

    campaign: str
    policy: str
    log: str
    estimate: Estimate | str  # or why it is refused
    rate: float
    reach: float

    @property
    def meets(self) -> bool:
        """Whether the two intervals meet; of a refusal never."""
        if isinstance(self.estimate, str):
            return False
        low, high = self.estimate.interval
        return low <= self.rate + self.reach and self.rate - self.reach <= high


def judged(folder: Path, campaign: str) -> list[Judged]:
    """Each of the two policies by the other's log. The uniform one's chances are known. Thompson sampling's are known
    of what it chose alone: how often it showed an item at a place on that day stands for it, an estimate itself.
    """
    chosen, uniform = (pl.read_parquet(folder / f"{policy}_{campaign}.parquet") for policy in ("bts", "random"))
    chance = 1 / uniform["item_id"].n_unique()
    day = pl.col("timestamp").str.slice(0, 10).alias("day")
    place = ["position", "day"]
    often = chosen.with_columns(day).group_by("item_id", *place).len("times")
    often = often.with_columns(chance=pl.col("times") / pl.col("times").sum().over(place))
    asked = uniform.with_columns(day).join(often, on=["item_id", *place], how="left", maintain_order="left")
    real = {name: _rate(log) for name, log in (("bts", chosen), ("random", uniform))}
    return [
        Judged(campaign, policy, log, _told(rows, propensity, target), *real[policy])
        for policy, log, rows, propensity, target in (
            ("random", "bts", chosen, chosen["propensity_score"].to_numpy(), np.full(chosen.height, chance)),
            ("bts", "random", uniform, np.full(uniform.height, chance), asked["chance"].fill_null(0.0).to_numpy()),
        )
    ]


def _told(rows: pl.DataFrame, propensity: np.ndarray, target: np.ndarray) -> Estimate | str:
    try:
        return snips(rows["click"].to_numpy().astype(np.float64), weights(propensity, target))
    except EstimateRefused as refusal:
        return str(refusal)


def _rate(log: pl.DataFrame) -> tuple[float, float]:
    rate = float(log["click"].sum()) / log.height
    return rate, 1.96 * float(np.sqrt(rate * (1 - rate) / log.height))


def open_bandit(folder: Path) -> None:
    if not folder.exists():
        print(f"{folder} is not there: no figures of the Open Bandit Dataset")
        return
    print("| campaign | policy, by the log of | estimate (SNIPS) | overlap | it really got | meet |")
    print("| --- | --- | --- | --- | --- | --- |")
    for campaign in ("men", "women"):
        for row in judged(folder, campaign):
            overlap = "" if isinstance(row.estimate, str) else f"{row.estimate.overlap:.2f}"
            real = f"{row.rate:.5f} ({row.rate - row.reach:.5f} to {row.rate + row.reach:.5f})"
            words = f"refused: {row.estimate}" if isinstance(row.estimate, str) else str(row.estimate)
            meet = "refused" if isinstance(row.estimate, str) else "yes" if row.meets else "no"
            print(f"| {campaign} | {row.policy}, {row.log} | {words} | {overlap} | {real} | {meet} |")
