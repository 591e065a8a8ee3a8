"""What exploration and experiments cost a recommend: CPU of the same requests with them and without, in turns.

`python -m benchmarks.exploring HOME [rounds]`: a home that has a champion (`make run`). The same build answers the same
requests with nothing of it; with exploration and the assignment of an experiment; and with slates that are mixed of the
rankings of two bundles (here the champion, loaded twice). In each round every way has its turn, in another order.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.running import users_of
from recsys.experiments.record import Experiment, Kind
from recsys.lake import Lake
from recsys.policy.exploration import Explorer
from recsys.registry import Registry
from recsys.serving.bundle import ServingBundle
from recsys.serving.bundles import BundleWatch
from recsys.serving.opening import open_recommender
from recsys.serving.pipeline import Recommender
from recsys.serving.schema import RecommendRequest
from recsys.settings import Settings

REQUESTS: Final = 2_000
ROUNDS: Final = 20
DAYS: Final = 30
WITHOUT: Final = "without"


def main(home: Path, rounds: int) -> int:
    settings = Settings(home=home, explore=False)
    lake = Lake(home)
    users, registry = users_of(lake), Registry(lake.registry)
    plain = open_recommender(settings, follow=False, logged=False)
    bundles: BundleWatch = plain._bundles  # type: ignore[assignment]
    tried = Recommender(plain._store, bundles, None, explorer=Explorer(registry.secret()))
    champion = bundles.current
    published = registry.champion()
    assert published is not None
    other = replace(bundles._loading(published), bundle_id="other")
    now, without = time.time_ns() // 1_000_000, bundles._now

    def in_trial(treatment: ServingBundle, kind: Kind) -> Any:
        arms, shares = {"a": champion.bundle_id, "b": treatment.bundle_id}, {"a": 0.5, "b": 0.5}
        trial = Experiment("cost", arms, shares, now, DAYS, stages=((0, 1.0),), kind=kind)
        return without._replace(trials=(trial,), arms={b.bundle_id: b for b in (champion, treatment)})

    ways = {
        WITHOUT: (plain, without),
        "exploring": (tried, in_trial(champion, "arms")),
        "mixed": (tried, in_trial(other, "interleave")),
    }
    ratios: dict[str, list[float]] = {name: [] for name in ways}
    orders = list(permutations(ways))  # who follows whom changes: what comes behind more work costs more
    for turn in range(rounds):
        seconds = {}
        for name in orders[turn % len(orders)]:
            recommender, bundles._now = ways[name]
            began = time.process_time()
            for n in range(REQUESTS // rounds):
                recommender.recommend(RecommendRequest(user_id=users[(turn + n) % len(users)], k=10))
            seconds[name] = time.process_time() - began
        for name in ways:
            ratios[name].append(seconds[name] / seconds[WITHOUT])
        of_one = seconds[WITHOUT] / (REQUESTS // rounds) * 1e3
        print(f"{turn}: {of_one:.2f} ms", *(f"{ratios[name][-1]:.3f} {name}" for name in ways), flush=True)
    rng = np.random.default_rng(1)
    for name in ways:
        medians = np.median(rng.choice(ratios[name], (2_000, rounds)), axis=1)
        low, high = np.quantile(medians, [0.025, 0.975])
        print(f"CPU {name}, of that without: {np.median(ratios[name]):.3f} ({low:.3f} to {high:.3f})")
    plain.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else ROUNDS))
