"""What exploration and experiments cost a recommend: CPU of the same requests with both and without, in turns.

`python -m benchmarks.exploring HOME [rounds]`: a home that has a champion (`make run`). The same build answers the same
requests through one core with exploration and the assignment of an experiment, and through one without; rounds
alternate, the order of the two turns with them.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.running import users_of
from recsys.experiments.record import Experiment
from recsys.lake import Lake
from recsys.policy.exploration import Explorer
from recsys.registry import Registry
from recsys.serving.bundles import BundleWatch
from recsys.serving.opening import open_recommender
from recsys.serving.pipeline import Recommender
from recsys.serving.schema import RecommendRequest
from recsys.settings import Settings

REQUESTS: Final = 2_000
ROUNDS: Final = 20
DAYS: Final = 30


def main(home: Path, rounds: int) -> int:
    settings = Settings(home=home, explore=False)
    lake = Lake(home)
    users = users_of(lake)
    plain = open_recommender(settings, follow=False, logged=False)
    bundles: BundleWatch = plain._bundles  # type: ignore[assignment]
    tried = Recommender(plain._store, bundles, None, explorer=Explorer(Registry(lake.registry).secret()))
    champion = bundles.current
    arms = {"control": champion.bundle_id, "treatment": champion.bundle_id}
    now = time.time_ns() // 1_000_000
    trial = Experiment("cost", arms, {"control": 0.5, "treatment": 0.5}, now, DAYS, stages=((0, 1.0),))
    without = bundles._now
    with_trial = without._replace(trials=(trial,), arms={champion.bundle_id: champion})
    ratios = []
    for turn in range(rounds):
        seconds = {}
        for name in ("with", "without") if turn % 2 else ("without", "with"):
            recommender, bundles._now = (tried, with_trial) if name == "with" else (plain, without)
            began = time.process_time()
            for n in range(REQUESTS // rounds):
                recommender.recommend(RecommendRequest(user_id=users[(turn + n) % len(users)], k=10))
            seconds[name] = time.process_time() - began
        ratios.append(seconds["with"] / seconds["without"])
        print(f"{turn}: {seconds['without'] / (REQUESTS // rounds) * 1e3:.2f} ms without, {ratios[-1]:.3f}", flush=True)
    rng = np.random.default_rng(1)
    medians = np.median(rng.choice(ratios, (2_000, len(ratios))), axis=1)
    low, high = np.quantile(medians, [0.025, 0.975])
    print(f"CPU with exploration and an experiment, of that without: {np.median(ratios):.3f} ({low:.3f} to {high:.3f})")
    plain.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else ROUNDS))
