"""`make backup` and `make restore`, by their commands: the same bytes elsewhere, and nothing that is half."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from recsys.features.parity import audit_served
from recsys.lake import Lake
from recsys.registry import Registry
from recsys.retrieval.item_index import MilvusIndex
from recsys.retrieval.milvus_server import ensure_milvus, stop_milvus
from recsys.serving import served_log
from recsys.serving.bundle import load
from recsys.serving.forget import traces
from recsys.serving.opening import open_recommender
from recsys.serving.replay import replay_requests
from recsys.serving.schema import BlockRequest, Context, EventsRequest, RecommendRequest
from recsys.settings import Settings
from recsys.store.opening import open_store
from recsys_assets import backup
from recsys_assets.forget import forgotten
from tests.features.redis_server import RedisServer
from tests.serving.world import World

ROOT = Path(__file__).parents[2]
LEAVES = "u000007"


def command(home: Path, *arguments: str, **settings: str) -> tuple[int, str, str]:
    """Status and words of the command; in this process, since a new one takes 3 s of imports."""
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patched,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        for name, value in {"RECSYS_HOME": str(home), **settings}.items():
            patched.setenv(name, value)
        return backup.main(arguments), out.getvalue(), err.getvalue()


def done(home: Path, *arguments: str, **settings: str) -> str:
    status, out, err = command(home, *arguments, **settings)
    assert status == 0 and out.count("\n") == 1 and not err, err
    return out


def refused(home: Path, *arguments: str, **settings: str) -> str:
    status, out, err = command(home, *arguments, **settings)
    assert status == 2 and err.count("\n") == 1 and not out, err
    return err


@pytest.mark.parametrize(
    "address",
    [
        "s3://key:{}@bucket/path",
        "ftp://u:{}@127.0.0.1:1/path",
        "memory://u:{}@x",
        "zip://a::s3://key:{}@b/c",
        "no://u:{}@x",
    ],
)
def test_no_message_of_an_address_shows_its_password(tmp_path: Path, address: str) -> None:
    said = refused(tmp_path, "restore", address.format("s3cr3t/of-the+store"))
    assert "s3cr3t" not in said and "of-the+store" not in said and address.partition(":")[0] in said, said


@pytest.mark.parametrize("form", ["{}", "file://{}", "{}/vault", "{}/../home/vault"])
def test_no_backup_lies_in_its_home(tmp_path: Path, form: str) -> None:
    said = refused(tmp_path / "home", "backup", form.format(tmp_path / "home"))
    assert "lies in RECSYS_HOME" in said and not (tmp_path / "home" / "vault").exists()


@pytest.fixture(scope="module")
def settings(world: World, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A copy of the world in which somebody is served."""
    home = tmp_path_factory.mktemp("kept") / "home"
    shutil.copytree(world.settings.home, home, symlinks=True, ignore=shutil.ignore_patterns("milvus"))
    return world.settings.model_copy(update={"home": home})


@pytest.fixture(scope="module")
def vault(world: World, settings: Settings) -> Path:
    """Two backups: one taken while a service answers and takes events, and one of what was there when it ended."""
    vault, stop, answered = settings.home.parent / "vault", threading.Event(), threading.Semaphore(0)
    with_home = open_recommender(settings, clock=lambda: world.simulator_end)
    with_home.block(BlockRequest(user_id=LEAVES, block={"item_ids": world.item_ids[:1]}))

    def serve() -> None:
        number = 0
        while not stop.is_set():
            user = world.user_ids[number % 20]
            with_home.recommend(RecommendRequest(user_id=user, k=3, context=Context(at=world.simulator_end)))
            item = world.item_ids[number % 50]
            event = {"kind": "click", "user_id": user, "item_id": item, "event_id": f"while-{number}"}
            with_home.record_events(EventsRequest(events=[event]))
            number += 1
            answered.release()

    busy = threading.Thread(target=serve)
    busy.start()
    try:
        for _ in range(20):
            assert answered.acquire(timeout=60)
        done(settings.home, "backup", str(vault))
        for _ in range(5):
            assert answered.acquire(timeout=60)
    finally:
        stop.set()
        busy.join()
        with_home.close()
    assert ", 0 of them new" not in done(settings.home, "backup", f"file://{vault}")
    assert ", 0 of them new" in done(settings.home, "backup", str(vault), "--keep", "3")
    return vault


def names(vault: Path) -> list[str]:
    return sorted(path.name for path in (vault / "backups").iterdir())


@pytest.mark.parametrize("which", [0, 1])
def test_what_is_restored_is_the_same_bytes(
    world: World, settings: Settings, vault: Path, tmp_path: Path, which: int
) -> None:
    told = done(tmp_path / "home", "restore", str(vault), "--at", names(vault)[which])
    elsewhere = settings.model_copy(update={"home": tmp_path / "home"})
    ours, theirs = open_store(settings), open_store(elsewhere)
    assert str(theirs.head()) in told and (which == 0 or theirs.head() == ours.head())
    chance, at = np.random.default_rng(which), world.simulator_end + 1000
    for user in chance.choice(world.user_ids, 1000):
        items = chance.choice(world.item_ids, 3).tolist()
        here = ours.read(user, items, at, None if which else theirs.head())
        assert here.aggregates.tobytes() == theirs.read(user, items, at).aggregates.tobytes()
    assert theirs.blocked(LEAVES).items.tolist() == ours.blocked(LEAVES).items.tolist() != []
    again = {"event_id": "while-0", "kind": "click", "user_id": world.user_ids[0], "item_id": world.item_ids[0]}
    assert theirs.append([again], world.simulator_end).duplicates == 1
    registry = Registry(Lake(elsewhere.home).registry)
    served = served_log.read(served_log.segments(Lake(elsewhere.home).served_log))
    replay = replay_requests(served, theirs, lambda name: load(registry.get(name), None, theirs.fingerprint, registry))
    assert replay.same > 3 and not replay.different and not replay.left_out, str(replay)
    audit = audit_served(theirs.export()[0], theirs.items_at, served)
    assert audit.values and audit.holds, str(audit)
    for store in (ours, theirs):
        store.close()


def test_a_service_over_it_answers_the_same_slates(
    world: World, settings: Settings, vault: Path, tmp_path: Path
) -> None:
    done(tmp_path / "home", "restore", str(vault))
    elsewhere = settings.model_copy(update={"home": tmp_path / "home"})
    index = MilvusIndex(ensure_milvus(elsewhere).uri)
    assert world.champion.facts.collection in index.collections()
    index.close()
    both = [open_recommender(where, follow=False, clock=lambda: world.simulator_end) for where in (settings, elsewhere)]
    for user in world.user_ids[:20]:
        asked = RecommendRequest(user_id=user, k=10, context=Context(at=world.simulator_end))
        here, there = (one.recommend(asked).model_dump() for one in both)
        assert here["items"] == there["items"] and here["rung"] == "full"
    for one in both:
        one.close()
    stop_milvus(elsewhere)
    stop_milvus(settings)


def test_what_is_half_torn_or_of_another_kind_is_refused_and_nothing_is_there(
    settings: Settings, vault: Path, tmp_path: Path
) -> None:
    home, broken = tmp_path / "home", tmp_path / "broken"
    assert "is not empty (" in refused(settings.home, "restore", str(vault))
    assert "no backup at" in refused(home, "restore", str(tmp_path))
    assert "there is no backup 1999" in refused(home, "restore", str(vault), "--at", "1999")
    assert "FROM=" in refused(home, "restore", "")
    assert "KEEP=0" in refused(settings.home, "backup", str(vault), "--keep", "0")
    assert "nothing to keep" in refused(tmp_path / "none", "backup", str(vault))
    assert "cannot be opened" in refused(home, "restore", "nowhere://bucket/path")
    shutil.copytree(vault, broken)
    manifest = broken / "backups" / names(broken)[-1]
    text = manifest.read_text()
    manifest.write_text(text.replace('"format": 1', '"format": 1 '))
    assert "manifest of backup" in refused(home, "restore", str(broken))
    manifest.write_text(text)
    largest = max((broken / "objects").glob("*/*"), key=lambda path: path.stat().st_size)
    whole = largest.read_bytes()
    largest.chmod(0o600)
    largest.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert "torn or was altered" in refused(home, "restore", str(broken))
    largest.unlink()
    assert "is missing in" in refused(home, "restore", str(broken))
    assert {path.name for path in home.iterdir()} <= {"run.lock", ".restoring"}
    done(home, "restore", str(vault))  # what was refused stands in nobody's way
    assert not (home / ".restoring").exists()


def test_killed_at_any_moment_no_half_counts_as_whole(settings: Settings, vault: Path, tmp_path: Path) -> None:
    target, home = tmp_path / "vault", tmp_path / "home"

    def killed(*arguments: str, home: Path, when: int, seen: Path) -> None:
        environment = {**os.environ, "RECSYS_HOME": str(home)}
        given = [sys.executable, "-m", "recsys_assets.backup", *arguments]
        process = subprocess.Popen(
            given, env=environment, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        while process.poll() is None and sum(path.is_file() for path in seen.rglob("*")) < when:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL

    killed("backup", str(target), home=settings.home, when=15, seen=target)
    assert len(list((target / "objects").glob("*/*"))) >= 10
    assert "no backup at" in refused(home, "restore", str(target))
    done(settings.home, "backup", str(target), "--keep", "1")
    assert len(names(target)) == 1 and not list(target.glob("*/*/.*"))
    killed("restore", str(target), home=home, when=15, seen=home)
    assert not (home / "registry").exists()
    done(home, "restore", str(target))
    ours, theirs = open_store(settings), open_store(settings.model_copy(update={"home": home}))
    assert ours.head() == theirs.head()
    for store in (ours, theirs):
        store.close()


def test_who_was_forgotten_since_does_not_come_back(settings: Settings, vault: Path, tmp_path: Path) -> None:
    lived, vaults, home = tmp_path / "lived", tmp_path / "vault", tmp_path / "home"
    shutil.copytree(settings.home, lived, symlinks=True, ignore=shutil.ignore_patterns("milvus"))
    shutil.copytree(vault, vaults)
    assert "events of the store" in forgotten(settings.model_copy(update={"home": lived}), LEAVES)
    shutil.copytree(lived / "audit", home / "audit")  # as `make clean` leaves it
    assert "1 users were forgotten since" in done(home, "restore", str(vault))
    assert not traces([LEAVES], home) and open_store(settings.model_copy(update={"home": home})).head()
    done(lived, "backup", str(vaults))  # or from a later backup at the same place
    assert "1 users were forgotten" in done(tmp_path / "other", "restore", str(vaults), "--at", names(vault)[0])
    assert not traces([LEAVES], tmp_path / "other")
    (home.parent / "third" / "audit").mkdir(parents=True)
    for name, text in (("key", "another key"), ("forgotten.jsonl", '{"who": [], "at": 1}\n')):
        (home.parent / "third" / "audit" / name).write_text(text)
    assert "by another key" in refused(home.parent / "third", "restore", str(vaults))


@pytest.mark.redis
def test_another_engine_takes_it_over(world: World, settings: Settings, vault: Path, tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        done(tmp_path / "home", "restore", str(vault), RECSYS_STORE=server.url)
        done(tmp_path / "home", "backup", str(tmp_path / "vault"), RECSYS_STORE=server.url)
        assert "holds records already" in refused(tmp_path / "more", "restore", str(vault), RECSYS_STORE=server.url)
    done(tmp_path / "back", "restore", str(tmp_path / "vault"))
    ours, theirs = open_store(settings), open_store(settings.model_copy(update={"home": tmp_path / "back"}))
    for user in world.user_ids[:50]:
        here, there = (one.read(user, world.item_ids[:20], world.simulator_end) for one in (ours, theirs))
        assert here.aggregates.tobytes() == there.aggregates.tobytes() and here.position == there.position
    for store in (ours, theirs):
        store.close()
