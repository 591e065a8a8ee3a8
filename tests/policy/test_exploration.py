"""What is left to chance happens as often as it is said, is drawn by the request alone, and keeps the shelf's rules."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import special, stats

from benchmarks.experiments_logs import frequencies
from recsys.policy.exploration import MOST, Exploration, Explorer, Scored, chance_of_greatest, pool_at
from recsys.policy.slate import select

EXPLORER = Explorer(b"secret of these tests")
K, N = 10, 60
POLICIES = (
    Exploration(pool=8, how="uniform"),
    Exploration(pool=8, how="softmax"),
    Exploration(pool=8, how="thompson", deviation=8.0),
    Exploration(pool=8, how="epsilon"),
)


def candidates(seed: int = 1, n: int = N) -> Scored:
    rng = np.random.default_rng(seed)
    return Scored(
        scores=rng.normal(-0.5, 0.1, n),
        item_keys=rng.integers(1, 1 << 62, n),
        impressions=rng.integers(200, 5000, n).astype(np.float64),
        age_days=np.full(n, 30.0),
        units=np.arange(n),
        groups={"creator": rng.integers(0, 12, n)},
        caps={"creator": 0.3},
    )


def ranked(scored: Scored) -> np.ndarray:
    return select(scored.scores, scored.item_keys, K, scored.groups, scored.caps)


def at_place(scored: Scored, how: Exploration, place: int = 0) -> np.ndarray:
    return pool_at(how, ranked(scored), place, scored)


@pytest.mark.parametrize("how", POLICIES, ids=lambda how: how.how)
def test_items_are_drawn_as_often_as_their_propensity_says(how: Exploration) -> None:
    """`python -m benchmarks.experiments draws` asks 10^5 of each policy; here are 1,500 from a pool of eight."""
    scored = candidates()
    verdict = frequencies(EXPLORER, how, scored, at_place(scored, how), 1_500)
    assert verdict.p_value > 1e-4 and verdict.outside == 0


@pytest.mark.parametrize(("spread", "at"), [(1.0, 0), (1.0, 30), (100.0, 0), (100.0, 20), (100.0, 49)])
def test_the_chance_of_a_thompson_draw_is_its_integral(spread: float, at: int) -> None:
    """Against the trapezoid rule at 160,000 points: 50 items, the surest up to a hundred times as sure as the least."""
    mean, deviation = np.random.default_rng(3).normal(0, 1, 50), 1 / np.geomspace(1, spread, 50)
    x = mean[at] + deviation[at] * np.linspace(-8, 8, 160_001)
    density = stats.norm.pdf(x, mean[at], deviation[at])
    for other in np.delete(np.arange(50), at):
        density *= special.ndtr((x - mean[other]) / deviation[other])
    assert chance_of_greatest(mean, deviation, at) == pytest.approx(np.trapezoid(density, x), abs=1e-6)


def test_the_chance_of_one_of_two_is_closed() -> None:
    two = chance_of_greatest(np.array([0.3, 0.0]), np.array([1.0, 2.0]), 0)
    assert two == pytest.approx(float(special.ndtr(0.3 / np.sqrt(5))), abs=1e-9)


def test_a_slate_is_drawn_by_the_request_and_the_secret_alone() -> None:
    scored, how = candidates(), Exploration(share=0.5)
    slate = ranked(scored)
    first, again, other = (
        explorer.explore(how, slate, scored, "r") for explorer in (EXPLORER, EXPLORER, Explorer(b"another secret"))
    )
    assert first.chosen.tolist() == again.chosen.tolist() and first.propensity.tobytes() == again.propensity.tobytes()
    assert first.chosen.tolist() != other.chosen.tolist()
    assert first.chosen.tolist() != EXPLORER.explore(how, slate, scored, "r2").chosen.tolist()


def test_the_share_of_places_holds_over_all_slates_and_the_others_are_certain() -> None:
    scored, how = candidates(), Exploration(share=0.05)
    slate = ranked(scored)
    draws = [EXPLORER.explore(how, slate, scored, f"r{n}") for n in range(1_000)]
    explored = np.array([drawn.explored for drawn in draws])
    assert explored.mean() == pytest.approx(0.05, abs=0.005)
    assert explored.any(axis=0).all()  # every place has its turn
    for drawn in draws:
        still = ~drawn.explored
        assert (drawn.chosen[still] == slate[still]).all() and (drawn.propensity[still] == 1).all()
        assert (drawn.pool_size[still] == 1).all() and (drawn.pool_size[drawn.explored] > 1).all()
        assert len(set(drawn.chosen.tolist())) == K


def test_drawn_items_are_worth_nearly_as_much_or_fresh_and_keep_the_caps() -> None:
    scored = candidates()
    scored = replace(scored, age_days=np.where(np.arange(N) < 6, 1.0, 30.0), impressions=np.arange(N) * 12.0)
    how, slate, values = Exploration(share=1.0), ranked(scored), special.expit(scored.scores)
    limit = int(0.3 * K)
    fresh_drawn = 0
    for n in range(200):
        drawn = EXPLORER.explore(how, slate, scored, f"r{n}")
        counts = np.unique(scored.groups["creator"][drawn.chosen], return_counts=True)[1]
        assert counts.max() <= max(limit, np.unique(scored.groups["creator"][slate], return_counts=True)[1].max())
        for place in np.flatnonzero(drawn.explored):
            item = drawn.chosen[place]
            is_fresh = scored.age_days[item] <= 7 and scored.impressions[item] < how.fresh_budget
            fresh_drawn += is_fresh
            assert is_fresh or values[item] >= 0.8 * values[slate[place]]
    assert fresh_drawn > 0


def test_fresh_items_get_in_by_hope_while_their_budget_lasts_and_take_their_part_at_most() -> None:
    """20 of 60 are fresh; what never was shown may be .5 less (a deviation) below what the others may be."""
    plain, is_fresh = replace(candidates(), groups={}, caps={}), np.arange(N) < 20
    how = Exploration(pool=10, fresh=0.3, optimism=1.0, deviation=0.5, fresh_budget=30)
    floor = special.logit(0.8 * special.expit(plain.scores[~is_fresh].max()))  # of the best place

    def fresh_in(below: float, shown: float, how: Exploration = how) -> list[int]:
        scores = np.where(is_fresh, floor - below, plain.scores)
        shown_of = np.where(is_fresh, shown + np.arange(N) / N, 1e4)
        floored = replace(plain, scores=scores, impressions=shown_of, age_days=np.where(is_fresh, 1.0, 30.0))
        top = ranked(replace(plain, scores=np.where(is_fresh, -9, plain.scores)))
        pool = pool_at(how, top, 0, floored)
        assert len(pool) == 10
        return [item for item in pool.tolist() if is_fresh[item]]

    assert fresh_in(0.3, 0.0) == [0, 1, 2], "of equals those shown least, three of ten"
    assert fresh_in(0.3, 0.0, replace(how, fresh=0.0)) == []
    assert fresh_in(0.6, 0.0) == [], "no hope"
    assert fresh_in(0.3, 5.0) == [], "surer by now"
    assert fresh_in(0.05, 29.0) == [0, 1, 2] and fresh_in(0.05, 30.0) == [], "the budget is spent"


def test_optimism_chooses_the_pool_and_a_pool_has_its_bound() -> None:
    scored = replace(candidates(n=400), impressions=np.r_[np.zeros(20), np.full(380, 1e6)], groups={}, caps={})
    wide = Exploration(pool=MOST, least=0.0, deviation=9.0)
    plain, hopeful = (at_place(scored, replace(wide, optimism=bonus)) for bonus in (0.0, 2.0))
    assert len(plain) == len(hopeful) == MOST
    assert set(range(20)) <= set(hopeful.tolist()) and not set(range(20)) <= set(plain.tolist())


def test_alone_in_its_pool_an_item_is_certain_and_an_empty_slate_stays_empty() -> None:
    scored = candidates(n=K)
    drawn = EXPLORER.explore(Exploration(share=1.0), ranked(scored), scored, "r")
    assert not drawn.explored.any() and (drawn.propensity == 1).all()
    assert len(EXPLORER.explore(Exploration(share=1.0), np.empty(0, np.int64), scored, "r").chosen) == 0


@pytest.mark.parametrize("wrong", [{"share": 1.5}, {"pool": 51}, {"temperature": 0.0}, {"fresh": 1.1}])
def test_a_policy_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="exploration"):
        Exploration(**wrong)  # type: ignore[arg-type]


def test_a_policy_has_the_name_of_what_it_is() -> None:
    names = {Exploration(share=share, how=how).policy for share in (0.05, 0.1) for how in ("uniform", "softmax")}
    assert len(names) == 4 and Exploration().policy in names
