"""One embedded Milvus for the stage's tests, in a home of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from recsys.retrieval.item_index import MilvusIndex
from recsys.retrieval.milvus_server import ensure_milvus, stop_milvus
from recsys.settings import Settings


@pytest.fixture(scope="session")
def milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusIndex]:
    settings = Settings(home=tmp_path_factory.mktemp("milvus_home"))
    index = MilvusIndex(ensure_milvus(settings).uri)
    yield index
    index.close()
    stop_milvus(settings)
