from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.features.redis_cluster import RedisCluster
from tests.features.redis_server import RedisServer


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    with RedisCluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture(params=["lmdb", *(pytest.param(name, marks=pytest.mark.redis) for name in ("redis", "cluster"))])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a journal of each engine lives, with nothing in it yet: a folder, or an address."""
    if request.param == "lmdb":
        return str(tmp_path / "store")
    servers: RedisServer | RedisCluster = request.getfixturevalue(
        f"redis_{'server' if request.param == 'redis' else 'cluster'}"
    )
    servers.flush()
    return servers.url
