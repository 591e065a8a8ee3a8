"""What happens to clusters, while processes read and write: a primary dies, a slot moves, a replica is missing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from recsys.store.cluster_journal import ClusterJournal
from recsys.store.errors import StoreCorrupt, StoreUnavailable
from recsys.store.online import OnlineStore
from tests.features.crowd import Crowd, disorder, longest_wait, opened
from tests.features.redis_cluster import LOG, RedisCluster, until
from tests.features.streams import NOW, random_log
from tests.features.test_store import as_bytes, event

pytestmark = pytest.mark.redis


@pytest.fixture
def filled(redis_cluster: RedisCluster) -> OnlineStore:
    redis_cluster.flush()
    store = OnlineStore(opened(redis_cluster.url), create=True)
    log, _, table = random_log(1, 300)
    store.bootstrap(log, table, log.head)
    return store


def test_a_primary_that_dies_and_a_slot_that_moves_lose_and_double_nothing_and_every_read_replays(
    filled: OnlineStore, redis_cluster: RedisCluster, tmp_path: Path
) -> None:
    happenings: list[Callable[[], object]] = [
        lambda: redis_cluster.fail_over(LOG),
        lambda: redis_cluster.move(LOG),
        lambda: crowd.kill_one(0),
        lambda: filled.checkpoint(0),
        lambda: redis_cluster.fail_over(LOG),
    ]
    with Crowd(redis_cluster.url, tmp_path) as crowd:
        for happens in happenings:
            crowd.wait(len(crowd.calls()) + 60, 180)
            happens()
        crowd.wait(len(crowd.calls()) + 60, 180)
    calls = crowd.calls()
    assert disorder(calls, filled) == []
    assert longest_wait(calls) < 30
    read = filled.read("u1", ["i1", "i2"], NOW)
    again = OnlineStore(opened(redis_cluster.url)).read("u1", ["i1", "i2"], NOW)
    assert as_bytes(again) == as_bytes(read) and again.position == read.position


def test_what_no_replica_has_is_neither_acknowledged_nor_read(filled: OnlineStore, redis_cluster: RedisCluster) -> None:
    before = filled.read("u1", ["i1"], NOW)
    primary = redis_cluster.primary_of(LOG)
    redis_cluster.replica_of(primary).kill()
    store = OnlineStore(ClusterJournal(redis_cluster.url, timeout=1))
    for call in (store.journal.probe, lambda: store.append([event(1, user_id="u1", item_id="i1")], NOW)):
        with pytest.raises(StoreUnavailable, match="no replica that answers: nothing is acknowledged until one is"):
            call()
    for held in (store, filled):
        read = held.read("u1", ["i1"], NOW)
        assert read.position == before.position and as_bytes(read) == as_bytes(before)
    assert store.tail(0).num_rows == 0
    redis_cluster.heal()
    assert filled.append([event(1, user_id="u1", item_id="i1")], NOW)[:2] == (0, 1)  # it is there once
    for held in (store, filled):
        assert as_bytes(held.read("u1", ["i1"], NOW)) != as_bytes(before)
    assert store.tail(0)["event_id"].to_pylist() == ["e1"]


def test_a_shard_that_is_lost_for_good_is_told_and_never_read_as_empty(
    filled: OnlineStore, redis_cluster: RedisCluster
) -> None:
    log, _, table = random_log(1, 300)
    filled.bootstrap(log, table, log.head, event_keys=["kept"])
    told = [event(n, user_id=f"u{n}", item_id="i1") for n in range(9)]
    filled.append(told, NOW)
    users = [f"u{n}" for n in range(9)]
    before = [as_bytes(filled.read(user, ["i1"], NOW)) for user in users]
    held = OnlineStore(ClusterJournal(redis_cluster.url, timeout=1))  # it has asked for nobody yet
    log_is_at = redis_cluster.primary_of(LOG)
    replace = redis_cluster.lose(next(k for k in map(str, range(99)) if redis_cluster.primary_of(k) is not log_is_at))
    until(lambda: not answers(held, users))
    replace()
    for user, whole in zip(users, before, strict=True):
        with suppress(StoreCorrupt):
            assert as_bytes(held.read(user, ["i1"], NOW)) == whole
    with pytest.raises(StoreCorrupt, match="materialize online_state"):
        held.checkpoint(0)
    with pytest.raises(StoreCorrupt, match="materialize online_state"):
        held.append([event(n, user_id="u1", item_id="i1") for n in range(20, 80)], NOW)
    with pytest.raises(StoreCorrupt, match="materialize online_state"):
        OnlineStore(opened(redis_cluster.url))
    anew = OnlineStore(opened(redis_cluster.url), create=True)
    anew.bootstrap(log, table, log.head)
    assert [as_bytes(anew.read(user, ["i1"], NOW)) for user in users] == before
    assert anew.append(told, NOW)[:2] == (0, 9)


def answers(store: OnlineStore, users: list[str]) -> bool:
    try:
        return bool([store.read(user, ["i1"], NOW) for user in users])
    except StoreUnavailable:
        return False


def test_a_cluster_that_is_gone_is_told_in_one_line_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable) as error:
        ClusterJournal("redis+cluster://user:s3cret@127.0.0.1:1,127.0.0.1:2", timeout=0.1)
    assert "\n" not in str(error.value) and "s3cret" not in str(error.value)
    assert "redis+cluster://127.0.0.1:1,127.0.0.1:2" in str(error.value) and "start it" in str(error.value)
