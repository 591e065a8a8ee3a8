"""A store that keeps state by entity: what a worker holds has a bound, and nothing that it reads tells of it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from recsys.store.by_entity import ByEntity
from recsys.store.online import OnlineStore
from tests.features.crowd import opened
from tests.features.streams import NOW, random_log
from tests.features.test_store import as_bytes, event

pytestmark = pytest.mark.redis
ENGINES = ["redis", "cluster"]
USERS, MB = 400, 1
CELLS = MB * 2**20 // 8


@pytest.mark.parametrize("place", ENGINES, indirect=True)
def test_a_worker_keeps_no_more_than_its_bound_and_reads_the_same_bytes_beside_checkpoints(place: str) -> None:
    writer = OnlineStore(opened(place), create=True)
    log, _, table = random_log(1, 300)
    writer.bootstrap(log, table, log.head)
    kinds = ("click", "long_view", "skip", "click")
    for batch in range(0, 4 * USERS, 200):
        rows = [event(n, user_id=f"u{n % USERS}", kind=kinds[n % 4], watch_ms=None) for n in range(batch, batch + 200)]
        assert writer.append(rows, NOW + 9_000_000).accepted == 200
    bounded, other = OnlineStore(opened(place), cache_mb=MB), OnlineStore(opened(place))
    users = [f"u{n}" for n in range(USERS)]

    def read(store: OnlineStore, user: str) -> tuple[int, list[bytes]]:
        got = store.read(user, ["i0", "i1", "i2", "strange"], NOW + 9_100_000)
        return got.position, as_bytes(got)

    whole = dict(zip(users, (read(other, user) for user in users), strict=True))
    most = 0
    with ThreadPoolExecutor(4) as pool:  # threads of one worker fetch side by side
        for first in range(0, USERS, 40):
            few = users[first : first + 40]
            assert [*pool.map(lambda user: read(bounded, user), few)] == [whole[user] for user in few]
            assert isinstance(bounded._hot, ByEntity)
            most = max(most, bounded._hot._entities.cells)
            if first == USERS // 2 // 40 * 40:
                assert writer.checkpoint(0) and read(bounded, "u1") == whole["u1"]
                assert bounded.since_snapshot == 0  # its tail is cut: the rest lies by entity
    assert other._hot is not None and other._hot._entities.cells > 1.5 * CELLS  # type: ignore[attr-defined]
    assert CELLS // 2 < most < 1.5 * CELLS
    past = writer.past(whole["u1"][0])
    for user in users[::40]:  # as the log tells it
        swept = past.read(int(bounded.read(user, [], NOW).user_key), past.items.item_key[:3], NOW + 9_100_000)
        names = writer.read(user, past.items.item_key[:3], NOW + 9_100_000)
        assert as_bytes(names) == as_bytes(swept)
