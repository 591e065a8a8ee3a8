"""One small world for all service tests; each test that changes it uses users of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from recsys.retrieval.milvus_server import stop_milvus
from recsys.serving.opening import open_recommender
from recsys.serving.pipeline import Recommender
from recsys.store.online import OnlineStore
from recsys.store.opening import open_store
from tests.serving.world import World, make


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = make(tmp_path_factory.mktemp("home"))
    yield made
    stop_milvus(made.settings)


@pytest.fixture(scope="module")
def recommender(world: World) -> Iterator[Recommender]:
    opened = open_recommender(world.settings, follow=False)
    yield opened
    opened.close()


@pytest.fixture
def store(world: World) -> Iterator[OnlineStore]:
    opened = open_store(world.settings)
    yield opened
    opened.close()
