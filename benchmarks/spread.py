"""What spreading a shelf's slates costs and brings: the same ranked candidates of the feed, spread in several ways.

`python -m benchmarks.spread [USERS]`: RECSYS_HOME and the settings of a simulator's home that has a champion (`make
run`). True P(long view) is what the simulator knows; differences are paired by user, 95 %.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import combinations
from typing import Final

import numpy as np

from benchmarks.running import users_of
from recsys.evaluation.bootstrap import Resamples, interval
from recsys.events import CLOCK_SKEW_MS
from recsys.lake import Lake
from recsys.policy.slate import displaced
from recsys.policy.spread import Spread
from recsys.serving.course import Course
from recsys.serving.opening import open_recommender
from recsys.serving.scene import Scene
from recsys.serving.steps import SHOWN
from recsys.settings import from_environment
from recsys.sources.opening import open_source
from recsys.sources.simulator import Simulator

K: Final = 10
WAYS: Final[dict[str, Spread | None]] = {
    "caps alone": None,
    "damping .2": Spread(damping=0.2),
    "damping .5": Spread(damping=0.5),
    "likeness .2": Spread(likeness=0.2),
    "likeness .5": Spread(likeness=0.5),
    "likeness .5, reach 3": Spread(likeness=0.5, reach=3),
    "mix .1": Spread(mix=0.1),
    "mix .3": Spread(mix=0.3),
    "mix .3, reach 3": Spread(mix=0.3, reach=3),
    "both .5": Spread(damping=0.5, likeness=0.5),
}


def main(most: int) -> int:
    settings = from_environment()
    source = open_source(settings)
    if not isinstance(source, Simulator):
        print("only a simulator knows the truth", file=sys.stderr)
        return 2
    recommender = open_recommender(settings, follow=False, logged=False)
    steps, bundle, store = recommender._steps, recommender._bundles.current, recommender._store
    known = source.truth.user_index.keys()
    users = [user for user in users_of(Lake(settings.home), most) if user in known]
    at = int(store.past().log.received_at.max()) + CLOCK_SKEW_MS
    told = np.zeros((len(users), len(WAYS), 5))
    for row, user in enumerate(users):
        scene = Scene.at_shelf(bundle, user, at)
        ranked = steps.rank(bundle, scene, Course())
        rows = ranked.pool.rows
        keys, vectors = bundle.catalogue.candidates.item_key[rows], bundle.vectors(rows).astype(np.float64)
        assert ranked.inputs is not None
        for column, how in enumerate(WAYS.values()):
            why: dict[int, str] = {}
            slate = steps.chosen(bundle, replace(scene, shelf=replace(scene.shelf, spread=how)), ranked, K, why)
            items = bundle.catalogue.ids(rows[slate])
            truth = source.truth.outcome([user] * len(items), items, at)
            pairs = list(combinations(slate.tolist(), 2))
            genre = bundle.catalogue.category_key[rows]
            told[row, column] = (
                truth.long_view.mean(),
                np.mean([genre[a] != genre[b] for a, b in pairs]),
                np.mean([vectors[a] @ vectors[b] for a, b in pairs]),
                (ranked.inputs.features[slate, SHOWN] > 0).mean(),
                np.abs(displaced(ranked.scores, keys, slate, why)[0]).mean(),
            )
    drawn = Resamples.draw(np.arange(len(users)))
    ones = np.ones(len(users))
    print(f"{len(users):,} users; P(long view), its difference; other genre, cosine, shown before, places moved")
    for column, name in enumerate(WAYS):
        low, high = interval(drawn.ratio(told[:, column, 0] - told[:, 0, 0], ones), 1)
        worth, genres, cosine, before, moved = told[:, column].mean(axis=0)
        print(
            f"{name:22} {worth:.4f} ({low:+.4f} to {high:+.4f})  {genres:.3f}  {cosine:.3f}  {before:.3f}  {moved:.2f}"
        )
    recommender.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000))
