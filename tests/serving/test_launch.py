"""How the service starts, what it says of its parts, and how it ends: one line a fault, and nothing left behind."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import redis

from benchmarks.running import Running
from benchmarks.serving_faults import redis_server, small_disk
from bentos.recommender import scratch
from recsys.features.log import from_table
from recsys.lake import Lake
from recsys.privacy.border import Border
from recsys.retrieval.milvus_server import running_milvus, stop_milvus
from recsys.settings import Settings
from recsys.store.opening import open_store
from tests.conftest import ROOT
from tests.features.redis_cluster import RedisCluster
from tests.serving.running import Service, environment, free_port, serving
from tests.serving.world import World, cleaned

PASSWORD = "s3cr3t-of-the-store"


def launched(home: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bentos.recommender.serve", *arguments],
        env={**environment(home, free_port(), free_port()), **settings},
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=180,
    )


def bootstrapped(world: World, address: str) -> None:
    events, items = cleaned(world.simulator), world.simulator.items()
    log = from_table(events)
    store = open_store(Settings(home=world.settings.home, store=address), create=True)
    store.bootstrap(log, items, log.head, event_keys=events["event_key"].to_pylist())
    store.close()


def until(held: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not held():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"RECSYS_WORKRES": "2"}, "did you mean RECSYS_WORKERS"),
        ({"RECSYS_API_KEYS": ""}, "RECSYS_API_KEYS is empty"),
        ({"RECSYS_API_KEYS": "change-me-0123456789"}, "is a placeholder"),
        ({"RECSYS_STORE": "nonsense"}, "RECSYS_STORE: give lmdb"),
        ({"RECSYS_TRACES": "nonsense"}, "RECSYS_TRACES: give an address"),
        ({"RECSYS_HOST": "no-such-host.invalid"}, "RECSYS_HOST=no-such-host.invalid"),
        ({"RECSYS_HOST": "192.0.2.1"}, "RECSYS_HOST=192.0.2.1 is no address of this machine"),
    ],
)
def test_a_setting_that_is_wrong_is_one_line_and_status_2(world: World, settings: dict[str, str], words: str) -> None:
    ended = launched(world.settings.home, **settings)
    assert ended.returncode == 2 and ended.stderr.count("\n") == 1 and words in ended.stderr, ended.stderr


def test_a_store_that_no_worker_can_open_is_one_line_and_status_2(world: World) -> None:
    """It was 32 tracebacks: the supervisor started worker after worker."""
    ended = launched(world.settings.home, RECSYS_STORE="redis://u:s3cr3t@127.0.0.1:1/0", RECSYS_WORKERS="2")
    assert ended.returncode == 2 and "Traceback" not in ended.stderr and "s3cr3t" not in ended.stderr
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("Redis at redis://127.0.0.1:1/0 does not answer")
    assert all(json.loads(line)["level"] for line in ended.stderr.splitlines()[:-1])
    assert len(ended.stderr.splitlines()) <= 3  # the log's line of each worker, and the launcher's


def test_the_check_mode_opens_everything_and_ends(world: World) -> None:
    good = launched(world.settings.home, "--check")
    assert good.returncode == 0 and good.stdout.startswith(f"can serve bundle {world.champion.bundle_id}"), good.stderr
    for down in ({"RECSYS_STORE": "redis://127.0.0.1:1/0"}, {"RECSYS_MILVUS_URI": "http://127.0.0.1:1"}):
        bad = launched(world.settings.home, "--check", **down)
        assert bad.returncode == 2 and bad.stderr.count("\n") == 1 and "answer" in bad.stderr, bad.stderr


@pytest.mark.parametrize("mode", [[], ["--check"]])
def test_another_key_of_pseudonyms_is_one_line_before_anything_starts(
    world: World, tmp_path: Path, mode: list[str]
) -> None:
    home = tmp_path / "home"
    shutil.copytree(world.settings.home / "registry", home / "registry")
    first = Settings.model_validate({"home": home, "pseudonym_key": "the key of the first run"})
    Border.of(first).keep_mark(home)
    for key, words in (("another key, as long", "another RECSYS_PSEUDONYM_KEY"), (None, "and none is set")):
        ended = launched(home, *mode, **({"RECSYS_PSEUDONYM_KEY": key} if key else {}))
        assert ended.returncode == 2 and ended.stderr.count("\n") == 1 and words in ended.stderr, ended.stderr
        assert not ended.stdout and (key is None or key not in ended.stderr)


@pytest.fixture(scope="module")
def service(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(world, tmp_path_factory.mktemp("launch"), RECSYS_WORKERS="2") as started:
        yield started


def workers(service: Service) -> list[psutil.Process]:
    return Running(service.process, "", "", service.output).workers()


def test_milvus_is_started_again_by_the_running_service(service: Service, world: World) -> None:
    folder = Lake(world.settings.home).milvus
    before = running_milvus(folder)
    assert before is not None and before.pid is not None
    os.kill(before.pid, signal.SIGKILL)
    # a quick restart is over before a probe could tell
    until(lambda: service.http.get("/readyz").json()["status"] == "degraded" or running_milvus(folder) != before)
    assert service.http.get("/readyz").status_code == 200 == service.http.get("/livez").status_code
    until(lambda: (now := running_milvus(folder)) is not None and now.pid != before.pid)
    until(lambda: service.http.get("/readyz?full").status_code == 200)
    after = running_milvus(folder)
    assert after is not None and after.uri == before.uri
    assert service.http.post("/recommend", json={"user_id": world.user_ids[0]}).json()["rung"] == "full"


def test_gauges_of_a_dead_worker_go_and_it_is_started_again(service: Service) -> None:
    until(lambda: len(workers(service)) == 2)
    gone = workers(service)[0]
    folder = next(scratch.SHARED_MEMORY.glob(f"{scratch.NAME}*/prometheus_multiproc_dir/gauge_livesum_{gone.pid}.db"))
    gone.kill()
    until(lambda: len(workers(service)) == 2 and gone.pid not in [worker.pid for worker in workers(service)])
    until(lambda: service.http.get("/metrics").status_code == 200 and not folder.exists())


def test_nothing_of_a_running_service_is_mapped_below_its_home_but_the_store(service: Service, world: World) -> None:
    """A mapped file on a full disk kills whoever writes to it; the store writes by system calls that can fail."""
    for worker in workers(service):
        mapped = {
            Path(region.path) for region in worker.memory_maps() if region.path.startswith(str(world.settings.home))
        }
        assert {path.parent.name for path in mapped} <= {"store"} or all(
            "store" in path.parts or "registry" in path.parts for path in mapped
        )
    assert not (world.settings.home / "serving").exists()


def test_every_line_of_the_log_is_a_json_object(service: Service) -> None:
    lines = service.output.read_text().splitlines()
    log = [line for line in lines if not line.startswith(("serving bundle", "  "))]  # the greeting is on stdout
    assert log and all({"time", "level", "logger", "message"} <= set(json.loads(line)) for line in log), lines


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server")
def test_a_dead_redis_is_told_without_its_password_and_answers_go_on_from_memory(world: World, tmp_path: Path) -> None:
    with redis_server(tmp_path) as (server, url):
        bootstrapped(world, url)
        redis.Redis.from_url(url).config_set("requirepass", PASSWORD)
        with serving(world, tmp_path, RECSYS_STORE=url.replace("//", f"//:{PASSWORD}@")) as service:
            assert service.http.get("/readyz").json()["down"] == {}
            server.kill()
            until(lambda: "store" in service.http.get("/readyz").json()["down"])
            told = [service.http.get(f"/readyz?{how}") for how in ("full", "full=true")] + [
                service.http.get("/metrics")
            ]
            assert [answer.status_code for answer in told] == [503, 503, 200]
            assert service.http.post("/recommend", json={"user_id": world.user_ids[0]}).json()["rung"] in (
                "cached",
                "trending",
            )
            event = {"kind": "click", "user_id": "u", "item_id": world.item_ids[0]}
            refused = service.http.post("/events", json={"events": [event]})
            assert refused.status_code == 503 and "redis://127.0.0.1" in refused.text
            told += [refused, service.http.post("/features", json={"user_id": "u", "item_ids": [world.item_ids[0]]})]
            assert not any(PASSWORD in answer.text for answer in told) and PASSWORD not in service.output.read_text()


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server")
def test_a_shard_without_a_replica_is_told_and_its_reads_go_on(world: World, tmp_path: Path) -> None:
    with RedisCluster(tmp_path) as cluster:
        bootstrapped(world, cluster.url)
        with serving(world, tmp_path, RECSYS_STORE=cluster.url) as service:
            assert service.http.get("/readyz").json()["down"] == {}
            event = {"kind": "click", "user_id": "u", "item_id": world.item_ids[0], "event_id": "once"}
            cluster.primary_of("{recsys}:head").kill()
            until(lambda: "store" in service.http.get("/readyz").json()["down"])
            refused = service.http.post("/events", json={"events": [event]})
            assert refused.status_code == 503
            recommend = {"user_id": world.user_ids[0]}
            until(lambda: service.http.post("/recommend", json=recommend).json()["rung"] == "full")
            cluster.heal()
            until(lambda: service.http.get("/readyz?full").status_code == 200)
            taken = service.http.post("/events", json={"events": [event]}).json()
            assert taken["accepted"] + taken["duplicates"] == 1
            assert service.http.post("/events", json={"events": [event]}).json()["duplicates"] == 1


def test_a_full_disk_kills_nobody_and_is_told(world: World, tmp_path: Path) -> None:
    """Workers died of the counters that they had mapped below the home, and every path hung for over 100 s."""
    with small_disk(tmp_path / "disk", 80) as disk:
        if disk is None:
            pytest.skip("no small file system can be mounted here")
        home = disk / "home"
        for part in ("registry", "store"):
            shutil.copytree(world.settings.home / part, home / part, symlinks=True)
        full = World(**{**vars(world), "settings": Settings(home=home)})
        with serving(full, tmp_path, RECSYS_WORKERS="2") as service:
            before = {worker.pid for worker in workers(service)}
            with (disk / "filler").open("ab", buffering=0) as file:
                for size in (1 << 20, 4096):
                    with suppress(OSError):
                        while file.write(b"\0" * size) == size:
                            continue
            for n in range(60):  # new series too, for which the counters' files would have to grow
                asked = {"user_id": world.user_ids[n % 40], "shelf": ("feed", "podcasts", "playlists")[n % 3]}
                answer = service.http.post("/recommend", json=asked)
                assert answer.status_code == 200 and answer.json()["items"]
            until(lambda: "disk" in service.http.get("/readyz").json()["down"])
            event = {"kind": "click", "user_id": "u", "item_id": world.item_ids[0]}
            taken = [service.http.post("/events", json={"events": [event]}).status_code for _ in range(200)]
            assert set(taken) <= {200, 503} and service.http.get("/metrics").status_code == 200
            assert {worker.pid for worker in workers(service)} == before
            (disk / "filler").unlink()
            until(lambda: service.http.post("/events", json={"events": [event]}).status_code == 200)
            until(lambda: service.http.get("/readyz").json()["down"] == {})
        stop_milvus(full.settings)


def test_kept_connections_are_told_to_close_before_they_are(world: World, tmp_path: Path) -> None:
    """Not reset: a request that was on its way when the worker was told to end is answered."""
    with serving(world, tmp_path) as service:
        connection = http.client.HTTPConnection("127.0.0.1", service.ports[0], timeout=30)
        connection.request("GET", "/livez")
        connection.getresponse().read()
        service.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        connection.request("GET", "/livez")
        answer = connection.getresponse()
        assert answer.read() and answer.status == 200 and answer.getheader("connection") == "close"
        ready = service.http.get("/readyz")
        assert ready.status_code == 503 and "ending" in ready.text
        assert service.process.wait(30) == 0


def test_a_supervisor_that_is_killed_leaves_nothing_that_answers(world: World, tmp_path: Path) -> None:
    with serving(world, tmp_path, RECSYS_WORKERS="2") as service:
        orphans = workers(service)
        assert orphans
        service.process.kill()
        gone, alive = psutil.wait_procs(orphans, timeout=60)
        assert not alive and len(gone) == len(orphans)
