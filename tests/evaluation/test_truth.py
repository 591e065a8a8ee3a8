"""The bench's click models on slates whose position bias is known: the curve comes back, and the weights undo it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks import models_truth
from recsys.evaluation import metrics
from recsys.features.catalog import FEATURES
from recsys.training_sets.examples import Examples
from recsys.training_sets.inputs import Inputs

PLACES, LOST = 4, np.array([0.0, -0.8, -1.4, -1.8])  # log odds of a click lost at each place


def slates(n: int, seed: int) -> tuple[Examples, np.ndarray]:
    """n slates of four, the more relevant mostly first; and each row's log odds of a click in the first place."""
    rng = np.random.default_rng(seed)
    relevance = rng.normal(size=(n, PLACES))
    relevance = np.take_along_axis(relevance, np.argsort(-relevance + rng.normal(size=relevance.shape), axis=1), 1)
    slot = np.tile(np.arange(PLACES), n)
    features = np.tile(relevance.reshape(-1, 1).astype(np.float32), len(FEATURES))  # a tree sees a third of the columns
    features[:, models_truth.SLOT] = slot
    click = (rng.random(n * PLACES) < 1 / (1 + np.exp(-(relevance.ravel() + LOST[slot])))).astype(np.int8)
    slate = np.repeat(np.arange(n), PLACES)
    watch = np.zeros(n * PLACES, np.int64)
    rows = Examples(
        Inputs.of_strangers(features),
        click=click,
        long_view=click,
        like=np.zeros_like(click),
        watch_ms=watch,
        user=slate,
        slate=slate,
        propensity=np.ones(len(click)),
    )
    return rows, relevance.ravel()


def test_the_curve_is_recovered_and_serving_sees_everything_in_the_first_place() -> None:
    (train, _), (judged, _), (test, relevance) = (slates(n, seed) for seed, n in enumerate((6_000, 1_500, 500)))
    # of seed 7 the first trees draw no slot, and 25 rounds do not beat their AUC: it stops before it has learned any
    booster = models_truth._logistic(train, judged, seed=1)
    curve = models_truth._curve(booster, judged)
    np.testing.assert_allclose(curve, LOST, atol=0.35)  # regularised trees give less than the whole
    assert (np.diff(curve) < 0).all()
    scores = models_truth._score(booster, test)
    elsewhere = replace(test, inputs=test.inputs.with_features(test.features.copy()))
    elsewhere.features[:, models_truth.SLOT] = PLACES - 1
    assert models_truth._score(booster, elsewhere).tobytes() == scores.tobytes()
    assert metrics.gauc(test.slate, relevance > np.median(relevance), scores) > 0.9

    weights = models_truth._propensities(curve, train)
    assert (weights[train.click == 0] == 1).all() and weights.max() <= models_truth.MAX_WEIGHT
    by_place = [weights[(train.click == 1) & (train.features[:, models_truth.SLOT] == place)][0] for place in range(4)]
    np.testing.assert_allclose(by_place, np.minimum(np.exp(-curve), models_truth.MAX_WEIGHT))
