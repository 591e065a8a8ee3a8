"""The cluster profile: its settings are ones that the real programs take, and nothing outlives whoever began it.

The whole of it, a day in six Redis servers, Spark, Postgres, Dagster's daemon and two services, is `make cluster`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psutil
import pyarrow as pa
import pytest

from deploy.cluster.day import ASKED, environment, prepared, succeeded
from deploy.cluster.parts import HERE, Parts
from deploy.cluster.processes import Ended, Nest
from deploy.cluster.tools import DEBIAN_POSTGRES, Tools, _other_than_root
from recsys.events import ITEM_SCHEMA
from recsys.settings import Settings
from recsys.store.opening import open_store
from recsys.stream.kafka import Kafka
from tests.conftest import ROOT

# A part that begins another one in a session of its own; both have to be killed.
STUBBORN = "import signal, subprocess, sys, time; signal.signal(15, signal.SIG_IGN); {more}; time.sleep(600)"
CHILD = STUBBORN.format(more="None")
PART = STUBBORN.format(more="subprocess.Popen([sys.executable, '-c', sys.argv[1]], start_new_session=True)")
KEEPER = f"""
import sys, time
from pathlib import Path
from deploy.cluster import processes
processes.GRACE = 0.2

def main():
    with processes.Nest(Path(sys.argv[1])) as nest:
        for name in ("one", "two"):
            nest.start(name, [sys.executable, "-c", {PART!r}, {CHILD!r}])
        time.sleep(600)

sys.exit(processes.guarded(main))
"""


@pytest.fixture
def nest(tmp_path: Path) -> Iterator[Nest]:
    with Nest(tmp_path / "logs") as nest:
        yield nest


@pytest.mark.parametrize("how", ["ctrl-c", "outer", "inner"])
def test_nothing_is_left_however_it_ends(how: str, tmp_path: Path) -> None:
    outer = subprocess.Popen([sys.executable, "-c", KEEPER, str(tmp_path)], cwd=ROOT, start_new_session=True)
    deadline = time.monotonic() + 60
    while len(below := psutil.Process(outer.pid).children(recursive=True)) < 5:
        assert time.monotonic() < deadline and outer.poll() is None
        time.sleep(0.05)
    inner = next(process for process in below if process.ppid() == outer.pid)
    match how:
        case "ctrl-c":
            os.killpg(outer.pid, signal.SIGINT)
        case "outer":
            outer.kill()
        case "inner":
            inner.kill()
    gone, alive = psutil.wait_procs(below, 30)
    assert not alive and len(gone) == 5
    assert outer.wait(30) == {"ctrl-c": 130, "outer": -9, "inner": 128 + 9}[how]


def test_what_is_missing_is_one_line() -> None:
    environment = {**os.environ, "PATH": "/nowhere"}
    ended = subprocess.run(
        [sys.executable, "-m", "deploy.cluster"], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2 and not ended.stdout
    (line,) = ended.stderr.splitlines()
    assert " is missing: " in line and "install" in line


@pytest.mark.redis
def test_redis_takes_its_settings_and_makes_a_cluster_that_acknowledges(nest: Nest, tmp_path: Path) -> None:
    tools = Tools(str(shutil.which("redis-server")), str(shutil.which("redis-cli")), "", Path(), None)
    parts = Parts(nest, tools, tmp_path)
    parts.redis_cluster()
    store = open_store(Settings(home=tmp_path, store=parts.settings["RECSYS_STORE"]), create=True)
    item = {"item_id": "i1", "item_type": "video", "is_available": True, "id_is_integer": False}
    assert store.put_items(pa.Table.from_pylist([item], ITEM_SCHEMA)) == 1  # which a replica has by now
    store.close()


@pytest.mark.skipif(not list(DEBIAN_POSTGRES.glob("*/bin/initdb")), reason="apt-get install postgresql")
def test_postgres_takes_its_settings_and_asks_for_the_password() -> None:
    programs = next(DEBIAN_POSTGRES.glob("*/bin"))
    tools = Tools("", "", "", programs, _other_than_root() if os.getuid() == 0 else None)
    # a folder of pytest's is closed to others, and Postgres may be another user
    with tempfile.TemporaryDirectory() as folder, Nest(Path(folder) / "logs") as nest:
        Path(folder).chmod(0o711)
        parts = Parts(nest, tools, Path(folder))
        parts.postgres()
        address = parts.settings["RECSYS_DAGSTER_STORAGE"].replace("+psycopg2", "")
        for url, status in ((address, 0), (address.replace("dagster:", "dagster:not"), 2)):
            psql = [str(programs / "psql"), "-w", "-Atc", "show fsync", url]
            told = subprocess.run(psql, capture_output=True, text=True, check=False)
            assert (told.returncode, told.stdout) == (status, "on\n" if status == 0 else ""), told.stderr


def test_librdkafka_takes_the_example(tmp_path: Path) -> None:
    properties = tmp_path / "kafka.properties"
    properties.write_text((HERE / "kafka.properties.example").read_text().replace("password=", "password=x"))
    kafka = Kafka.of(Settings(home=tmp_path, kafka=properties, kafka_topic="events"))
    assert kafka is not None
    kafka.consumer().close()
    kafka.producer()


@dg.op
def thing(context):  # type: ignore[no-untyped-def]
    if context.run.tags[ASKED] == "wrong":
        raise ValueError("there is no such day")


@dg.job
def night() -> None:
    thing()


def test_a_run_that_lost_its_process_is_waited_for_until_its_retry_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = prepared(environment(tmp_path, {}))
    with dg.DagsterInstance.from_config(given["DAGSTER_HOME"]) as instance:

        def lost(asked: str, before: str = "") -> str:
            of = {"dagster/root_run_id": before, "dagster/parent_run_id": before} if before else {}
            run = instance.create_run_for_job(
                night, tags={ASKED: asked, **of}, root_run_id=before or None, parent_run_id=before or None
            )
            assert not succeeded(instance, asked)
            instance.report_run_failed(run, "its process is gone")
            return run.run_id

        for asked, words in (("", "a run of the daemon"), ("again", "a run of the daemon, retried once")):
            if asked:
                lost(asked)
                assert not succeeded(instance, asked)  # Dagster will take it up again
            night.execute_in_process(instance=instance, tags={ASKED: asked})
            assert succeeded(instance, asked) == words

        first = lost("twice")
        assert not succeeded(instance, "twice")
        lost("twice", first)  # dagster.yaml retries a run once
        with pytest.raises(Ended, match="the run night failed: see the log of the daemon"):
            succeeded(instance, "twice")
        night.execute_in_process(instance=instance, tags={ASKED: "wrong"}, raise_on_error=False)
        with pytest.raises(Ended, match=r"thing: .*there is no such day"):
            succeeded(instance, "wrong")
