"""The peers of `make bench-models` learn what there is to learn: a catalogue of two tastes, asked as our sources."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recsys.evaluation import metrics
from recsys.evaluation.report import CANDIDATES, RetrievalTask
from recsys.events import KINDS, MINUTE_MS
from recsys.features.log import EventLog, ItemColumns, Items
from tests.evaluation.world import START, catalogue, log_of

for peer in ("implicit", "lightgbm"):
    pytest.importorskip(peer, reason="the peers of `make bench-models` are not installed")
from benchmarks import models_protocol, models_retrievers  # noqa: E402
from benchmarks.models_retrievers import PEERS, World  # noqa: E402

ITEMS, USERS = CANDIDATES + 100, 60


@pytest.fixture(scope="module")
def log() -> EventLog:
    """Users of even number like even items, the others odd ones; each engages with 12 of them, one a minute."""
    rng = np.random.default_rng(1)
    rows = [
        ("click", user, 2 * int(item) + 1 + user % 2, START + place * MINUTE_MS + user)
        for user in range(1, USERS + 1)
        for place, item in enumerate(rng.choice(ITEMS // 2, 12, replace=False, p=_popularity()))
    ]
    return log_of(sorted(rows, key=lambda row: row[3]))


def _popularity() -> np.ndarray:
    weights = 1.0 / (5.0 + np.arange(ITEMS // 2))
    return weights / weights.sum()


@pytest.fixture(scope="module")
def world(log: EventLog) -> World:
    at = START + 6 * MINUTE_MS
    later = np.flatnonzero(log.received_at >= at)
    task = RetrievalTask(
        user_id=[str(user) for user in range(1, USERS + 1)],
        user_key=np.arange(1, USERS + 1),
        as_of=np.full(USERS, at),
        impression_id=[""] * USERS,
        position=np.zeros(USERS, np.int64),
        shelf=["feed"] * USERS,
        target_query=log.user_key[later] - 1,
        target_item=log.item_key[later],
    )
    return World.of(log, catalogue(ITEMS), task, at, come_back=True)


def test_a_world_holds_only_what_was_received_before(world: World, log: EventLog) -> None:
    assert world.learned.nnz == world.asked.nnz == (log.received_at < START + 6 * MINUTE_MS).sum() == 6 * USERS
    mine = log.item_key[(log.user_key == 5) & (log.received_at < START + 6 * MINUTE_MS)]
    assert (world.items.item_key[world.histories[4]] == mine).all(), "in the log's order"


@pytest.mark.parametrize("name", list(PEERS))
def test_a_peer_prefers_the_taste_of_its_user(world: World, name: str) -> None:
    if "implicit" in name:
        pytest.importorskip("implicit")
    retrieve, grid = PEERS[name]
    # sixty users are one batch: an epoch is one step
    params = {"epochs": 60, "dim": 32, "negatives": 128} if name == "SASRec" else grid[0]
    lists = retrieve(world, **params)
    assert lists.shape == (USERS, CANDIDATES) and all(len(set(row)) == CANDIDATES for row in lists)
    of_taste = (lists[:, :20] % 2 == np.arange(1, USERS + 1)[:, None] % 2 ^ 1).mean()
    assert of_taste > 0.65
    hit = metrics.hits(lists, world.task.target_query, world.task.target_item)
    assert metrics.recall_at_k(hit, np.full(USERS, 6), 50) > 50 / ITEMS


def test_the_protocol_splits_at_the_28th_and_closes_the_gap_from_item_rate_to_oracle() -> None:
    days = [f"2022-04-{day}" for day in range(25, 31)]
    split = models_protocol.split_of(days)
    assert split is not None
    assert (split.train, split.validation, split.test) == (tuple(days[:3]), (days[3],), tuple(days[4:]))
    assert models_protocol.split_of(["2026-01-05", "2026-01-06"]) is None
    user, label = np.repeat([1, 2], 3), np.array([1, 0, 0, 0, 1, 0])
    figures = models_protocol.judge(
        user, label, {"oracle": label, "smoothed item rate": np.zeros(6), "half": np.array([1, 0, 0, 0, 0, 0])}
    )
    assert figures["oracle"]["primary"] == 1.0 and figures["oracle"]["gap_closed"] == 1.0
    assert figures["smoothed item rate"]["gap_closed"] == 0.0
    assert figures["half"]["gauc"] == pytest.approx(0.75) and 0 < figures["half"]["gap_closed"] < 1


def test_a_history_of_one_item_is_an_array_that_torch_takes() -> None:
    at = np.array([1_000], np.int64)
    one = np.ones(1, np.int64)
    log = EventLog(one, np.array([KINDS["click"]], np.int8), one, one, one, one, one, at, at, one)
    items = Items(one, ItemColumns(*(one for _ in ItemColumns._fields)))
    history = models_retrievers._ByUser(log, items, [KINDS["click"]]).until(1, 2_000)
    assert torch.from_numpy(history).tolist() == [0]
