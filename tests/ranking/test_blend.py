"""The blend of trees and network: better than its parts are on average, and one ranker to everybody else."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from recsys.evaluation import metrics
from recsys.ranking import mmoe_training, xgboost_ranker
from recsys.ranking.blend import BlendRanker
from recsys.ranking.mmoe import MMoERanker
from recsys.ranking.mmoe_predict import MMoEConfig
from recsys.ranking.ranker import Ranker, RankerError
from recsys.ranking.saved import REFRESHED, load_ranker, load_serving
from recsys.training_sets.examples import concat
from tests.ranking.rows import NAMES, poorer, rows

CONFIG = mmoe_training.TrainingConfig(
    max_epochs=6, batch_rows=256, learning_rate=5e-3, network=MMoEConfig(experts=2, width=16, min_rows=20)
)
TRAIN, VALIDATION = rows(1500, 1), rows(1500, 2)


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> list[Ranker]:
    trees = xgboost_ranker.train(TRAIN, VALIDATION, NAMES, "f", threads=1, seed=7, rounds=40)
    network = mmoe_training.train(TRAIN, VALIDATION, NAMES, "f", tmp_path_factory.mktemp("c"), config=CONFIG)
    return [trees, network]


@pytest.fixture(scope="module")
def blend(members: list[Ranker]) -> BlendRanker:
    return BlendRanker.fit(members, VALIDATION)


def test_the_blend_has_a_lower_log_loss_than_its_members_on_average(blend: BlendRanker, members: list[Ranker]) -> None:
    judged = rows(6000, 3)
    losses = [metrics.log_loss(judged.click, ranker.predict(judged.inputs).p_click) for ranker in (blend, *members)]
    assert losses[0] < np.mean(losses[1:]) - 0.005
    assert metrics.calibration_error(judged.click, blend.predict(judged.inputs).p_click) < 0.05


@pytest.mark.parametrize("orders", [0, None])
def test_a_row_is_predicted_bit_for_bit_alike_alone_and_only_what_is_asked_for(
    blend: BlendRanker, orders: int | None
) -> None:
    blend, fresh = dataclasses.replace(blend, orders=orders), rows(50, 4).inputs
    together = blend.predict(fresh).columns()
    for name, values in together.items():
        alone = np.concatenate(
            [blend.predict_only(fresh.take(slice(i, i + 1)), [name])[name] for i in range(len(fresh))]
        )
        assert alone.tobytes() == values.tobytes(), name


def test_validation_rows_too_few_to_teach_anything_cost_no_training_more(members: list[Ranker], tmp_path: Path) -> None:
    few, (trees, network) = VALIDATION.take(np.arange(len(TRAIN) // 101)), members[:2]
    poor = dataclasses.replace(trees, facts={**trees.facts, "validation_rows": len(few)})  # type: ignore[type-var, attr-defined]
    again = xgboost_ranker.refit(poor, concat(TRAIN, few), threads=1, seed=7)  # type: ignore[arg-type]
    assert again.boosters is trees.boosters and again.facts["refit_rows"] == len(TRAIN)  # type: ignore[attr-defined]
    same = mmoe_training.refit(network, concat(TRAIN, few), few, tmp_path, config=CONFIG)  # type: ignore[arg-type]
    assert same.state is network.state and not list(tmp_path.iterdir())  # type: ignore[attr-defined]


def test_the_member_that_orders_better_is_the_one_whose_order_and_reasons_are_told(
    members: list[Ranker], tmp_path: Path
) -> None:
    BlendRanker.fit(members, VALIDATION, orders=1).save(tmp_path)
    loaded, fresh = load_ranker(tmp_path), rows(40, 4).inputs
    assert loaded.predict(fresh).score.tobytes() == members[1].predict(fresh).score.tobytes()
    assert loaded.explain(fresh) == members[1].explain(fresh)


def test_all_members_order_by_what_the_probability_of_the_aim_is_made_of(members: list[Ranker], tmp_path: Path) -> None:
    BlendRanker.fit(members, VALIDATION, orders=None).save(tmp_path)
    loaded, fresh = load_ranker(tmp_path), rows(40, 4).inputs
    told, parts = loaded.predict(fresh), [member.predict(fresh).p_long_view for member in members]
    weighed = [
        weight * (np.log(p) - np.log1p(-p)) for weight, p in zip(loaded.weights["p_long_view"], parts, strict=True)
    ]  # type: ignore[attr-defined]
    assert told.score.tobytes() == (weighed[0] + weighed[1]).tobytes()
    assert told.p_long_view.tobytes() == loaded.calibrations["p_long_view"](told.score).tobytes()  # type: ignore[attr-defined]
    assert loaded.explain(fresh) in [member.explain(fresh) for member in members]


def test_candidates_are_ordered_by_the_first_member_alone(
    blend: BlendRanker, members: list[Ranker], monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = rows(40, 4).inputs
    monkeypatch.setattr(MMoERanker, "outputs", lambda *given: pytest.fail("the network was run"))
    assert blend.predict_only(fresh, ["score"])["score"].tobytes() == members[0].predict(fresh).score.tobytes()


def test_it_comes_back_from_disk_with_new_members(blend: BlendRanker, members: list[Ranker], tmp_path: Path) -> None:
    both = concat(TRAIN, VALIDATION)
    assert len(np.unique(both.slate)) == len(np.unique(TRAIN.slate)) + len(np.unique(VALIDATION.slate))
    trees = xgboost_ranker.refit(members[0], both, threads=1, seed=7)  # type: ignore[arg-type]
    assert trees.facts["refit_rows"] == 3000
    assert trees.facts["click"]["rounds"] == trees.boosters["click"].num_boosted_rounds()
    network = mmoe_training.refit(members[1], both, VALIDATION, tmp_path / "c", config=CONFIG)  # type: ignore[arg-type]
    again = blend.with_members([trees, network])
    again.save(tmp_path / "ranker")
    loaded = load_ranker(tmp_path / "ranker")
    fresh = rows(80, 5).inputs
    assert loaded.name == "blend" and loaded.fingerprint == "f" and loaded.feature_names == NAMES
    for name, values in again.predict(fresh).columns().items():
        assert loaded.predict(fresh).columns()[name].tobytes() == values.tobytes(), name
    assert loaded.explain(fresh) == trees.explain(fresh)
    judged = rows(4000, 6)
    assert metrics.auc(judged.click, loaded.predict(judged.inputs).p_click) > 0.75


def test_rankers_of_different_catalogues_are_not_blended(members: list[Ranker]) -> None:
    other = dataclasses.replace(members[0], fingerprint="g")  # type: ignore[type-var]
    with pytest.raises(RankerError, match="different features"):
        BlendRanker.fit([other, members[1]], VALIDATION)


def test_a_blend_of_a_poorer_log_predicts_what_its_members_learned(tmp_path: Path) -> None:
    train, validation = (poorer(made, ("long_view", "watch_ms")) for made in (TRAIN, VALIDATION))
    trees = xgboost_ranker.train(train, validation, NAMES, "f", threads=1, seed=7, rounds=10)
    brief = dataclasses.replace(CONFIG, max_epochs=2)
    network = mmoe_training.train(train, validation, NAMES, "f", tmp_path / "c", config=brief)
    BlendRanker.fit([trees, network], validation).save(tmp_path / "b")
    blend = load_ranker(tmp_path / "b")
    told = blend.predict(rows(200, 3).inputs)
    assert blend.labels == network.labels == ("click",)
    assert np.isfinite(told.p_click).all() and np.isfinite(told.score).all()
    assert np.isnan(told.p_long_view).all() and np.isnan(told.watch_seconds).all()


def test_weights_follow_what_a_member_is_worth_and_of_no_worth_it_is_not_asked(
    members: list[Ranker], tmp_path: Path
) -> None:
    made = rows(1500, 2)
    noise = dataclasses.replace(made, click=np.roll(made.click, 7), long_view=np.roll(made.long_view, 7))
    useless = xgboost_ranker.train(noise, noise, NAMES, "f", threads=1, seed=7, rounds=5)
    blend = BlendRanker.fit([*members, dataclasses.replace(useless, name="useless")], VALIDATION)
    for name in ("p_click", "p_long_view"):
        *worth, nothing = blend.weights[name]
        assert sum(worth) > 0.5 and nothing < 0.3 * sum(worth)
    blend = dataclasses.replace(blend, weights={name: (*given[:2], 0.0) for name, given in blend.weights.items()})
    blend.save(tmp_path)
    loaded = BlendRanker.load(tmp_path, load_ranker)
    assert loaded.weights == blend.weights
    unasked = dataclasses.replace(loaded, members=(*loaded.members[:2], None))  # type: ignore[arg-type]
    outputs = unasked.predict_only(rows(10, 3).inputs, ["p_click", "watch_seconds"])
    assert all(np.isfinite(values).all() for values in outputs.values())


def test_a_bundle_serves_with_the_refreshed_member_and_keeps_what_was_judged(
    blend: BlendRanker, members: list[Ranker], tmp_path: Path
) -> None:
    asked, judged = rows(50, 6).inputs, blend.predict(rows(50, 6).inputs)
    blend.save(tmp_path / "ranker")
    assert load_serving(tmp_path).predict(asked).columns()["p_click"].tobytes() == judged.p_click.tobytes()
    newest = xgboost_ranker.train(rows(1500, 7), VALIDATION, NAMES, "f", threads=1, seed=7, rounds=40)
    newest.save(tmp_path / REFRESHED)
    assert load_serving(tmp_path).predict(asked).score.tobytes() == newest.predict(asked).score.tobytes()
    assert load_ranker(tmp_path / "ranker").predict(asked).p_click.tobytes() == judged.p_click.tobytes()
    members[1].save(tmp_path / "ranker")  # the trees are no member of the network
    with pytest.raises(RankerError, match="is no member of mmoe: materialize bundle again"):
        load_serving(tmp_path)
