"""`make stream` as a process: killed at any moment, told to end, asked how it is, and kept from beginning."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from bentos.recommender.dev_stream import Broker
from recsys.settings import Settings
from recsys.store.opening import open_store
from recsys.stream.kafka import Kafka
from tests.conftest import ROOT
from tests.serving.running import free_port
from tests.serving.world import World
from tests.stream.reading import kafka_of, produce, until

KILLS = 3
PART = 3_000  # messages between two kills


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with Broker() as running:
        yield running


@pytest.fixture
def home(world: World, tmp_path: Path) -> Path:
    """A home with the world's champion and a store of its own."""
    os.symlink(world.settings.home / "registry", tmp_path / "registry")
    shutil.copytree(world.settings.home / "store", tmp_path / "store", symlinks=True)
    return tmp_path


def settings_of(home: Path, kafka: Kafka, **more: str) -> dict[str, str]:
    """Variables of a process that reads those topics."""
    properties = "".join(f"{name}={value}\n" for name, value in kafka.properties.items())
    (home / "kafka.properties").write_text(f"# a cluster\n\n{properties}")
    given = {
        "RECSYS_HOME": str(home),
        "RECSYS_KAFKA": str(home / "kafka.properties"),
        "RECSYS_KAFKA_TOPIC": kafka.topic or "",
        "RECSYS_STREAM_PORT": str(free_port()),
    }
    return {**given, **more}


@contextmanager
def streaming(given: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "bentos.recommender.stream"],
        env=os.environ | given, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def test_killed_at_any_moment_it_loses_and_doubles_nothing_and_ends_when_told(
    broker: Broker, home: Path, world: World
) -> None:
    kafka = kafka_of(broker, partitions=3)
    given = settings_of(home, kafka, RECSYS_API_KEYS="admin:a-key-of-sixteen-or-more")
    store = open_store(Settings(home=home))
    head, parts = store.head(), [f"{kafka.topic}/{partition}" for partition in range(3)]
    like = {"kind": "like", "item_id": world.item_ids[0]}
    told = [{**like, "user_id": f"u{n}", **({"event_id": f"e{n}"} if n % 2 else {})} for n in range(PART * (KILLS + 1))]

    def taken() -> int:
        return sum(int(kept.split()[0]) for kept in store.journal.offsets(parts) if kept)

    chance = random.Random(7)
    for kill in range(KILLS):
        with streaming(given) as process:
            produce(kafka, told[kill * PART : (kill + 1) * PART])
            until(lambda kill=kill: taken() > kill * PART or process.poll() is not None)
            time.sleep(chance.random() / 20)
            process.send_signal(signal.SIGKILL)
        users = store.tail(head)["user_id"].to_pylist()
        assert len(users) == len(set(users)) == taken()  # one step: log and offsets cannot disagree
    with streaming(given) as process:
        produce(kafka, told[KILLS * PART :])
        until(lambda: taken() == len(told))
        url = f"http://127.0.0.1:{given['RECSYS_STREAM_PORT']}"
        until(lambda: httpx.get(f"{url}/readyz").json() == {"status": "ready", "down": {}})
        assert httpx.get(f"{url}/livez").status_code == 200 and httpx.get(f"{url}/metrics").status_code == 401
        key = {"Authorization": "Bearer a-key-of-sixteen-or-more"}
        until(lambda: 'recsys_stream_lag{partition="2"} 0.0' in httpx.get(f"{url}/metrics", headers=key).text)
        seen = httpx.get(f"{url}/metrics", headers=key).text
        accepted = re.search(r'recsys_stream_messages_total{outcome="accepted"} ([\d.]+)', seen)
        assert accepted and PART <= float(accepted[1]) <= len(told)
        process.send_signal(signal.SIGTERM)
        said, wrong = process.communicate(timeout=60)
    assert (process.returncode, wrong) == (0, "") and f"reading topic {kafka.topic} as group {kafka.group}" in said
    users = store.tail(head)["user_id"].to_pylist()
    assert sorted(users) == sorted(said["user_id"] for said in told)


def test_what_keeps_it_from_beginning_is_one_line(home: Path) -> None:
    given = settings_of(
        home, Kafka({"bootstrap.servers": "127.0.0.1:1", "sasl.password": "s3cr3t"}, "events", "", None)
    )
    with streaming(given) as process:
        said, wrong = process.communicate(timeout=60)
    (line,) = [one for one in wrong.splitlines() if not one.startswith("{")]
    assert process.returncode == 2 and "Kafka at 127.0.0.1:1 does not answer" in line and "s3cr3t" not in said + wrong
