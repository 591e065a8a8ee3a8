"""Steps of every source as the Dagster UI, a schedule and a sensor start them: forked from a server that has built the
definitions. What starts a thread or reads the source while they are built leaves such a step hanging for ever.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from recsys.lake import Lake
from recsys.settings import from_environment
from tests.conftest import ROOT
from tests.e2e.test_spine import free_port
from tests.ingestion.test_home import DAYS, START, write
from tests.sources.test_kuairand import line
from tests.sources.test_kuairand import write as write_kuairand

pytestmark = pytest.mark.slow
T = TypeVar("T")
FIRST, LAST = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
PROJECT = {"repositoryLocationName": "recsys", "repositoryName": "__repository__"}


def environment(home: Path, **variables: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RECSYS_", "DAGSTER_HOME"))}
    (home / "dagster").mkdir(parents=True)
    return {**kept, "RECSYS_HOME": str(home), "DAGSTER_HOME": str(home / "dagster"), **variables}


@pytest.mark.parametrize("source", ["simulator", "kuairand"])
def test_steps_end_under_the_executor_of_the_project(source: str, tmp_path: Path) -> None:
    """No manifest is there yet, as with a plain `dagster` command: it is made on the way."""
    if source == "kuairand":
        (tmp_path / "data").mkdir()
        write_kuairand(tmp_path / "data", line(is_click=1, play_time_ms=61000), line(video_id=8))
        variables = {"RECSYS_DATA": str(tmp_path / "data")}
    else:
        variables = {"RECSYS_DAYS": "3", "RECSYS_USERS": "30"}
    home = environment(tmp_path / "home", RECSYS_SOURCE=source, **variables)
    dagster = str(Path(sys.executable).with_name("dagster"))
    command = [dagster, "asset", "materialize", "--select", "raw_items", "-m", "recsys_assets.definitions"]
    ended = subprocess.run(command, cwd=ROOT, env=home, capture_output=True, text=True, timeout=400, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    lake = Lake(tmp_path / "home")
    assert lake.read(lake.table("raw", "items")).num_rows > 0 and (lake.home / "source.json").exists()


class UI:
    """A running `make dev`, spoken to by GraphQL as its pages do."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        answer = httpx.post(
            f"http://127.0.0.1:{self.port}/graphql", json={"query": query, "variables": variables}, timeout=120
        ).json()
        assert "errors" not in answer, answer["errors"]
        (answered,) = answer["data"].values()
        return answered  # type: ignore[no-any-return]

    def launch(self, job: str, tags: dict[str, str], *assets: str) -> str:
        """Launch a run and wait for its end; returns its status."""
        launched = self.ask(
            "mutation($p: ExecutionParams!) { launchRun(executionParams: $p) { __typename"
            " ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }",
            p={
                "selector": {
                    **PROJECT,
                    "jobName": job,
                    "assetSelection": [{"path": [name]} for name in assets] or None,
                },
                "runConfigData": {},
                "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
            },
        )
        assert launched["__typename"] == "LaunchRunSuccess", launched
        query = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"

        def ended() -> str | None:
            status = self.ask(query, id=launched["run"]["runId"])["status"]
            return status if status in ("SUCCESS", "FAILURE", "CANCELED") else None

        return until(ended)

    def days(self, asset: str) -> list[str]:
        query = "query($k: AssetKeyInput!) { assetNodeOrError(assetKey: $k) { ... on AssetNode { partitionKeys } } }"
        return self.ask(query, k={"path": [asset]})["partitionKeys"]  # type: ignore[no-any-return]


def until(look: Callable[[], T | None], seconds: int = 400) -> T:
    """What `look` gives, once it gives something."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = look()
        if value is not None:
            return value
        time.sleep(0.5)
    raise AssertionError(f"nothing after {seconds} s")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dev") / "home"


@pytest.fixture(scope="module")
def ui(home: Path) -> Iterator[UI]:
    port = free_port()
    data = write(home.parent / "data", 978_307_200_000)  # and a row of 2001
    settings = {"RECSYS_SOURCE": "files", "RECSYS_DATA": str(data), "RECSYS_DAGSTER_PORT": str(port)}
    log = home.parent / "dev.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "recsys_assets.dev"],
            cwd=ROOT,
            env=environment(home, **settings),
            stdout=file,
            stderr=file,
        )
    running = UI(port)

    def loaded() -> bool | None:
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            query = "{ workspaceOrError { ... on Workspace { locationEntries { loadStatus } } } }"
            entries = running.ask(query)["locationEntries"]
        except httpx.TransportError:
            return None
        return True if [entry["loadStatus"] for entry in entries] == ["LOADED"] else None

    try:
        until(loaded)
        yield running
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def test_a_run_launched_in_the_ui_ends_and_only_days_with_rows_are_offered(ui: UI, home: Path) -> None:
    assert ui.days("raw_events") == DAYS
    assert ui.launch("__ASSET_JOB", {FIRST: DAYS[0], LAST: DAYS[-1]}, "raw_events", "raw_items") == "SUCCESS"
    assert Lake(home).days("raw", "events") == DAYS


def test_what_a_schedule_asks_for_ends(ui: UI) -> None:
    dry_run = (
        "mutation($s: ScheduleSelector!, $t: Float) { scheduleDryRun(selectorData: $s, timestamp: $t) {"
        " ... on DryRunInstigationTick { evaluationResult { error { message } runRequests { tags { key value } } } }"
        " ... on PythonError { message } } }"
    )

    def tick(schedule: str) -> dict[str, str]:
        evaluated = ui.ask(dry_run, s={**PROJECT, "scheduleName": schedule}, t=time.time())["evaluationResult"]
        assert evaluated["error"] is None, evaluated
        (request,) = evaluated["runRequests"]
        return {tag["key"]: tag["value"] for tag in request["tags"]}

    night = tick("observe_every_night")
    assert (night[FIRST], night[LAST]) == (DAYS[-2], DAYS[-1])
    assert ui.launch("watch", tick("watch_every_hour")) == "SUCCESS"


def test_a_sensor_of_the_daemon_ticks(ui: UI) -> None:
    start = "mutation($s: SensorSelector!) { startSensor(sensorSelector: $s) { __typename } }"
    ticks = (
        "query($s: InstigationSelector!) { instigationStateOrError(instigationSelector: $s) {"
        " ... on InstigationState { ticks(limit: 1) { status skipReason error { message } } } } }"
    )
    for sensor in ("keep_up_with_changes", "reindex_on_new_items"):
        assert ui.ask(start, s={**PROJECT, "sensorName": sensor})["__typename"] == "Sensor"

        def ticked(sensor: str = sensor) -> dict[str, Any] | None:
            newest = ui.ask(ticks, s={**PROJECT, "name": sensor})["ticks"]
            return newest[0] if newest and newest[0]["status"] != "STARTED" else None

        tick = until(ticked)
        assert tick["status"] == "SKIPPED" and tick["error"] is None, tick


def test_a_day_that_comes_in_appears_by_itself(ui: UI, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from recsys_assets.dev import changed, follow

    for name, value in {"HOME": home, "SOURCE": "files", "DATA": home.parent / "data"}.items():
        monkeypatch.setenv(f"RECSYS_{name}", str(value))
    before = changed(from_environment())
    time.sleep(0.01)
    write(home.parent / "data", START + 5 * 86_400_000)
    assert changed(from_environment()) > before
    follow(from_environment(), DAYS, ui.port)
    assert until(lambda: ui.days("raw_events") if len(ui.days("raw_events")) == 4 else None) == [*DAYS, "2026-11-07"]
