from __future__ import annotations

from collections.abc import Iterator

import pytest

from bentos.recommender.dev_stream import Broker
from tests.features.conftest import place, redis_cluster, redis_server  # noqa: F401


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    with Broker() as running:
        yield running
