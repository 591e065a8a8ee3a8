"""The neural ranker keeps the promises of the default one: heads, bytes, disk, reasons, and a resumed training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from recsys.evaluation import metrics
from recsys.events import KINDS
from recsys.features.catalog import HISTORY_KINDS, HISTORY_LENGTH
from recsys.features.history import History
from recsys.ranking import mmoe_training
from recsys.ranking.mmoe import WEIGHTS, MMoERanker
from recsys.ranking.mmoe_network import MMoE
from recsys.ranking.mmoe_predict import TASKS, MMoEConfig
from recsys.ranking.mmoe_training import Batches, TrainingConfig, listwise, train
from recsys.ranking.ranker import RankerError
from recsys.ranking.saved import load_ranker
from recsys.training_sets.dropout import Dropout
from recsys.training_sets.examples import Examples, concat
from recsys.training_sets.imported import Imported
from recsys.training_sets.inputs import Inputs
from recsys.training_sets.labels import LabelError
from recsys.training_sets.states import state_of
from tests.ranking.rows import NAMES, rows

SMALL = TrainingConfig(
    max_epochs=8, batch_rows=256, learning_rate=5e-3, network=MMoEConfig(experts=2, width=16, min_rows=20)
)
BUCKETS = (*NAMES[:3], "creator_bucket", NAMES[4])  # the noise column holds a hashed name here


def named(n: int, seed: int) -> Examples:
    """Rows whose clicks also depend on a hashed name of five values, one of them rare."""
    made = rows(n, seed)
    rng = np.random.default_rng(seed)
    made.features[:, 3] = rng.choice([11.0, 222.0, 3333.0, 44444.0, 55555.0], n, p=[0.3, 0.3, 0.2, 0.199, 0.001])
    liked = (made.features[:, 3] == 222.0) & (rng.random(n) < 0.7)
    made.click[liked] = 1
    return replace(made, inputs=replace(made.inputs, item_key=rng.integers(0, 30, n), history=some_history(n, rng)))


def some_history(n: int, rng: np.random.Generator) -> History:
    """Rows with nothing, a little or all that a history can hold."""
    length = rng.choice([0, 1, 7, HISTORY_LENGTH], n)
    start = rng.integers(0, 2_000 - HISTORY_LENGTH, n)
    kinds = rng.choice([KINDS[kind] for kind in HISTORY_KINDS], 2_000).astype(np.int8)
    return History(rng.integers(0, 40, 2_000), kinds, np.zeros(2_000, np.int64), start, start + length)


def tastes(n: int, seed: int) -> Inputs:
    """Items of two sorts, 1-10 and 11-20, and users who were shown ten of one sort and passed over all of them."""
    rng = np.random.default_rng(seed)
    disliked = rng.integers(0, 2, n)
    shown = (disliked[:, None] * 10 + rng.integers(1, 11, (n, 10))).ravel()
    kinds = np.full(len(shown), KINDS["impression"], np.int8)
    start = np.arange(n) * 10
    history = History(shown, kinds, np.zeros(len(shown), np.int64), start, start + 10)
    return Inputs(rows(n, seed).features, rng.integers(1, 21, n), history)


def fits(inputs: Inputs) -> np.ndarray:
    """bool [n]: the item is not of the sort that the user passed over."""
    return (inputs.item_key > 10) != (inputs.history.item_key[inputs.history.start] > 10)


@pytest.fixture(scope="module")
def ranker(tmp_path_factory: pytest.TempPathFactory) -> MMoERanker:
    folder = tmp_path_factory.mktemp("checkpoints")
    return train(named(6000, 1), named(3000, 2), BUCKETS, "f1", folder, config=SMALL)


@pytest.fixture(scope="module")
def fresh() -> Inputs:
    return named(300, 3).inputs


def test_heads_find_what_moves_each_outcome_and_stay_calibrated(ranker: MMoERanker) -> None:
    judged = named(4000, 4)
    predictions = ranker.predict(judged.inputs)
    assert metrics.auc(judged.click, predictions.p_click) > 0.78
    assert metrics.auc(judged.long_view, predictions.p_long_view) > 0.72
    assert metrics.gauc(judged.slate, judged.relevance > 0, predictions.score) > 0.72
    assert metrics.calibration_error(judged.click, predictions.p_click) < 0.05
    assert predictions.watch_seconds.min() >= 0
    assert predictions.watch_seconds.mean() == pytest.approx(judged.watch_ms.mean() / 1000, rel=0.2)


def test_a_name_is_known_by_name_and_a_rare_or_unseen_one_is_just_unknown(ranker: MMoERanker) -> None:
    assert ranker.network.vocabulary_0.tolist() == [11.0, 222.0, 3333.0, 44444.0]
    row = np.zeros((4, 5), np.float32)
    row[:, 3] = (222.0, 11.0, 55555.0, 1.0)
    liked, plain, rare, unseen = ranker.predict(Inputs.of_strangers(row)).p_click
    assert liked > plain + 0.2 and rare == unseen


def test_a_row_is_predicted_bit_for_bit_alike_alone_and_in_any_batch(ranker: MMoERanker, fresh: Inputs) -> None:
    together, backwards = ranker.predict(fresh).columns(), ranker.predict(fresh.take(slice(None, None, -1))).columns()
    for name, values in together.items():
        alone = np.concatenate([ranker.predict(fresh.take(slice(i, i + 1))).columns()[name] for i in range(60)])
        assert alone.tobytes() == values[:60].tobytes(), name
        assert backwards[name][::-1].tobytes() == values.tobytes(), name


def test_a_network_of_full_size_rounds_alike_in_every_place() -> None:
    """The small one above did while this one did not: in a third of the rows a gate's last bit hung on the place."""
    rng, n = np.random.default_rng(1), 320
    names = tuple(f"f{i}" for i in range(145))
    torch.manual_seed(0)
    network = MMoE(MMoEConfig(own_vectors=True), [], [], len(names), np.arange(1, 40)).eval()
    learned, medians = (network.config, state_of(network)), np.zeros(len(names), np.float32)
    full = MMoERanker(names, "f", *learned, {}, medians, {}, ("click", "long_view"))
    inputs = Inputs(rng.normal(size=(n, 145)).astype(np.float32), rng.integers(0, 40, n), some_history(n, rng))
    order = rng.permutation(n)
    together, shuffled = full.outputs(inputs), full.outputs(inputs.take(order))
    for task in TASKS:
        assert together[task][order].tobytes() == shuffled[task].tobytes(), task
    request = replace(inputs, history=inputs.history.take(np.full(n, 3)))  # candidates of one user: a way of its own
    alone, among = full.outputs(request), full.outputs(Inputs.below(request, inputs))
    for task in TASKS:
        assert alone[task].tobytes() == among[task][:n].tobytes(), task


@pytest.mark.parametrize("own", [False, True])
def test_what_is_predicted_row_by_row_is_what_the_network_says(ranker: MMoERanker, fresh: Inputs, own: bool) -> None:
    torch.manual_seed(1)
    vocabulary = [np.array([11.0, 222.0]), np.zeros(0)]
    other = MMoE(MMoEConfig(own_vectors=own), [3, 1], vocabulary, len(NAMES), np.arange(1, 20)).eval()
    odd = fresh.features.copy()
    odd[::3, 1], odd[::5, 3], odd[::7, 0] = np.nan, np.nan, 1e30
    for asked in (ranker, replace(ranker, config=other.config, state=state_of(other))):
        for impressions in (fresh, fresh.with_features(odd), Inputs.of_strangers(odd), fresh.take(slice(0, 0))):
            with torch.inference_mode():
                theirs = asked.network(torch.from_numpy(impressions.features), asked.network.bags(impressions))
            for task, ours in asked.outputs(impressions).items():
                np.testing.assert_allclose(ours, theirs[task].numpy(), rtol=1e-5, atol=1e-5, err_msg=task)


def test_what_learns_is_what_predicts(ranker: MMoERanker, fresh: Inputs) -> None:
    """Two ways through one network: by layers that share an input, and layer by layer."""
    odd = fresh.features.copy()
    odd[::3, 1], odd[::5, 3], odd[::7, 0] = np.nan, np.nan, 1e30
    network, rows = ranker.network, torch.from_numpy(odd)
    met = network.bags(fresh)
    with torch.inference_mode():
        predicted, learned = network(rows, met), network.learn(*network.prepare(rows), met)
        alone = network.learn(*network.prepare(rows), met, ["watch"])
    assert list(learned) == list(TASKS) and list(alone) == ["watch"]
    for task in TASKS:
        torch.testing.assert_close(learned[task], predicted[task], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(alone["watch"], predicted["watch"], atol=1e-5, rtol=1e-5)


def test_a_refit_goes_on_from_what_was_fitted_and_names_of_the_later_days_begin_as_unknown(tmp_path: Path) -> None:
    """With a rate of nothing it predicts what was fitted, whatever is in the vocabularies of either."""
    before, after = named(1500, 1), named(900, 2)
    after.features[:300, 3] = 77.0
    after.inputs.item_key[:60] = 500
    config = replace(SMALL, max_epochs=2)
    fitted = train(before, after, BUCKETS, "f", tmp_path, config=config)
    both = concat(before, after)
    still = mmoe_training.refit(fitted, both, after, tmp_path, config=replace(config, rate_on=0.0))
    assert 77.0 in still.network.vocabulary_0 and 77.0 not in fitted.network.vocabulary_0
    assert 500 in still.network.taste.item_keys and 500 not in fitted.network.taste.item_keys
    asked = both.inputs
    for task, values in fitted.outputs(asked).items():
        np.testing.assert_allclose(still.outputs(asked)[task], values, atol=1e-6)
    moved = [mmoe_training.refit(fitted, both, after, tmp_path, config=replace(config, rate_on=1e-3)) for _ in "ab"]
    odds = [ranker.outputs(after.inputs)["click"] for ranker in (fitted, *moved)]
    losses = [metrics.log_loss(after.click, 1 / (1 + np.exp(-of))) for of in odds]  # before any calibration
    assert losses[1] < losses[0] - 0.002 and losses[1] == losses[2]


def test_dropout_leaves_out_its_share_and_keeps_the_mean() -> None:
    dropout, ones = Dropout(0.3), torch.ones(1001, 203)
    torch.manual_seed(1)
    left = dropout(ones)
    assert abs(float((left == 0).float().mean()) - 77 / 256) < 0.003 and abs(float(left.mean()) - 1.0) < 0.005
    by_column = (left == 0).float().mean(dim=0)
    assert abs(float(by_column.std()) - (0.3 * 0.7 / 1001) ** 0.5) < 0.004, "neighbours share no draw"
    torch.manual_seed(1)
    assert torch.equal(dropout(ones), left)
    assert dropout.eval()(ones) is ones


def test_a_saved_ranker_predicts_the_same_bytes_and_gives_the_same_reasons(
    ranker: MMoERanker, fresh: Inputs, tmp_path: Path
) -> None:
    ranker.save(tmp_path)
    again = load_ranker(tmp_path)
    assert (again.name, again.fingerprint, again.feature_names) == ("mmoe", "f1", BUCKETS)
    for name, values in ranker.predict(fresh).columns().items():
        assert again.predict(fresh).columns()[name].tobytes() == values.tobytes(), name
    assert again.explain(fresh.take(slice(20))) == ranker.explain(fresh.take(slice(20)))
    torch.save(ranker.network.state_dict(), (tmp_path / WEIGHTS).with_suffix(".pt"))  # as it was saved before
    (tmp_path / WEIGHTS).unlink()
    assert load_ranker(tmp_path).predict(fresh).p_click.tobytes() == ranker.predict(fresh).p_click.tobytes()
    (tmp_path / WEIGHTS).write_bytes(b"half")
    with pytest.raises(RankerError, match=r"mmoe\.npz is not readable"):
        load_ranker(tmp_path)


def test_contributions_add_up_to_the_distance_from_the_median_row(ranker: MMoERanker, fresh: Inputs) -> None:
    median = fresh.with_features(np.tile(ranker.medians, (len(fresh), 1)))
    logit = ranker.outputs(fresh)["long_view"] - ranker.outputs(median)["long_view"]
    added = ranker.contributions(fresh).sum(axis=1)
    assert np.abs(added - logit).max() < 0.15 and np.corrcoef(added, logit)[0, 1] > 0.999


def test_an_interrupted_training_ends_in_the_bytes_of_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = (named(1500, 1), named(900, 2), BUCKETS, "f")
    whole = train(*given, tmp_path / "whole", config=SMALL)
    epochs = iter([None, None, KeyboardInterrupt])
    stop = mmoe_training.MMoETask.on_train_epoch_start

    def dies(task: mmoe_training.MMoETask) -> None:
        if next(epochs, None) is not None:
            raise RuntimeError("killed")
        stop(task)

    with monkeypatch.context() as patched:
        patched.setattr(mmoe_training.MMoETask, "on_train_epoch_start", dies)
        with pytest.raises(RuntimeError, match="killed"):
            train(*given, tmp_path / "halves", config=SMALL)
    told: list[str] = []
    resumed = train(*given, tmp_path / "halves", config=SMALL, say=told.append)
    assert told and told[0].startswith("mmoe epoch 3"), "it went on where it stopped"
    for name, values in whole.network.state_dict().items():
        assert torch.equal(values, resumed.network.state_dict()[name]), name
    assert not list((tmp_path / "halves").iterdir())


def test_batches_hold_every_row_once_and_users_together() -> None:
    made = rows(1000, 5)
    made = replace(made, watch_ms=1000 * np.arange(1000), inputs=tastes(1000, 5))
    imported = Imported(np.arange(3000), np.zeros(3000, np.int8), History.none(3000))
    network = MMoE(MMoEConfig(width=4), [3], [np.arange(2.0)], len(NAMES), np.arange(3000))
    batches = Batches(made, imported, network, 125, 7)
    parts = list(batches)
    assert len(parts) == 8
    assert sorted(torch.cat([part.rows.watch for part in parts]).tolist()) == list(range(1000))
    assert sorted(torch.cat([part.imported.item for part in parts]).tolist()) == list(range(1, 3001))
    for part in parts:
        items = made.inputs.item_key[part.rows.watch.long().numpy()]
        assert part.met.item.tolist() == (items + 1).tolist(), "each row is met with its own item"
    user = torch.cat([part.rows.user for part in parts])
    assert len(torch.unique_consecutive(user)) == len(torch.unique(user))
    batches.epoch = 1
    assert not torch.equal(user, torch.cat([part.rows.user for part in batches]))


def test_what_was_passed_over_tells_what_will_be(tmp_path: Path) -> None:
    def world(n: int, seed: int) -> Examples:
        made, inputs = rows(n, seed), tastes(n, seed)
        chance = np.where(fits(inputs), 0.7, 0.3)
        click = (np.random.default_rng(seed).random(n) < chance).astype(np.int8)
        return replace(made, inputs=inputs, click=click, long_view=click)

    judged = world(3000, 3)
    config = replace(SMALL, max_epochs=15, patience=15, rate_kept=0.9)
    ranker = train(world(6000, 1), world(2000, 2), NAMES, "f", tmp_path, config=config)
    assert metrics.auc(fits(judged.inputs), ranker.predict(judged.inputs).p_click) > 0.95
    blank = replace(judged.inputs, history=History.none(len(judged)))
    assert abs(metrics.auc(fits(judged.inputs), ranker.predict(blank).p_click) - 0.5) < 0.05


def test_tastes_are_learned_from_imported_exposures_too(tmp_path: Path) -> None:
    old = tastes(8000, 4)
    viewed = (np.random.default_rng(4).random(8000) < np.where(fits(old), 0.7, 0.3)).astype(np.int8)
    imported = Imported(old.item_key, viewed, old.history)
    judged, config = tastes(2000, 5), replace(SMALL, max_epochs=15, patience=15, batch_rows=64, rate_kept=0.9)
    ranker = train(rows(600, 1), rows(600, 2), NAMES, "f", tmp_path, imported=imported, config=config)
    assert metrics.auc(fits(judged), ranker.predict(judged).p_long_view) > 0.7


def test_the_order_loss_is_the_cross_entropy_of_each_user() -> None:
    scores = torch.tensor([1.0, 0.0, 2.0, 5.0])
    relevance = torch.tensor([1.0, 0.0, 3.0, 0.0])
    user = torch.tensor([9, 9, 4, 4])
    by_hand = (np.log(1 + np.exp(-1.0)) + np.log(1 + np.exp(3.0))) / 2
    assert float(listwise(scores, relevance, user)) == pytest.approx(by_hand, rel=1e-5)
    assert float(listwise(scores, torch.zeros(4), user)) == 0.0


def test_a_label_of_one_kind_is_one_clear_line(tmp_path: Path) -> None:
    silent = rows(400, 1)
    silent.click[:] = silent.long_view[:] = 0
    with pytest.raises(LabelError, match="validation has 400 impressions, 0 with click, 0 with long_view"):
        train(rows(400, 1), silent, NAMES, "f", tmp_path)
