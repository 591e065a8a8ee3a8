"""What happens in the day: runs that the daemon launches, users at the services, and the same night in one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pyarrow.parquet as pq
from dagster._core.storage.tags import WILL_RETRY_TAG

from deploy.cluster.processes import Ended, Nest
from recsys.lake import Lake
from recsys.settings import from_environment
from recsys_assets.home import prepare

ROOT = Path(__file__).parents[2]
DEFINITIONS = ("-m", "recsys_assets.definitions")
FIRST, LAST = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
ASKED = "recsys/asked"
USERS, K = 40, 10
RUN_SECONDS = 3600.0


def environment(home: Path, settings: Mapping[str, str]) -> dict[str, str]:
    """All of it, for a command of one profile; no setting comes from outside but what is given."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("RECSYS_", "DAGSTER_"))}
    return {**outside, **settings, "RECSYS_HOME": str(home)}


def prepared(given: Mapping[str, str]) -> dict[str, str]:
    """An environment with what Dagster needs, and its configuration in the home."""
    before = dict(os.environ)
    try:
        prepare(from_environment(own(given)))
        return {**{name: value for name, value in os.environ.items() if not name.startswith("RECSYS_")}, **given}
    finally:
        os.environ.clear()
        os.environ.update(before)


def own(given: Mapping[str, str]) -> dict[str, str]:
    """The settings of this project in an environment."""
    return {name: value for name, value in given.items() if name.startswith("RECSYS_")}


def ended(name: str, arguments: Sequence[str | Path], given: Mapping[str, str], logs: Path) -> None:
    """Run Python, or a program beside it, to its end.

    Raises:
        Ended: it failed.
    """
    program = [sys.executable] if arguments[0] == "-m" else [Path(sys.executable).with_name("dagster")]
    command = [str(word) for word in (*program, *arguments)]
    with (logs / f"{name}.log").open("ab") as log:
        done = subprocess.run(command, env=dict(given), stdout=log, stderr=log, cwd=ROOT, check=False)
    if done.returncode:
        raise Ended(f"{name} ended with status {done.returncode}: see {logs / name}.log")


def by_daemon(nest: Nest, given: Mapping[str, str], job: str, days: tuple[str, str]) -> str:
    """Ask for a run; the daemon takes it out of the queue and launches it. Returns by what it succeeded, once it has.

    Raises:
        Ended: it failed, or the daemon is gone.
    """
    asked = uuid.uuid4().hex
    tags = json.dumps({FIRST: days[0], LAST: days[1], ASKED: asked})
    ended("launch", ["job", "launch", "-w", ROOT / "workspace.yaml", "-j", job, "--tags", tags], given, nest.logs)
    os.environ["RECSYS_DAGSTER_STORAGE"] = given["RECSYS_DAGSTER_STORAGE"]  # dagster.yaml names the variable
    with dg.DagsterInstance.from_config(given["DAGSTER_HOME"]) as instance:
        deadline = time.monotonic() + RUN_SECONDS
        while time.monotonic() < deadline:
            nest.require()
            if by := succeeded(instance, asked):
                return by
            time.sleep(0.5)
    raise Ended(f"the run {job} of {' to '.join(days)} did not end within {RUN_SECONDS:.0f} s")


def succeeded(instance: dg.DagsterInstance, asked: str) -> str:
    """By what the run that was asked for has succeeded, in words; "" while it goes on, or is to be retried.

    Raises:
        Ended: it failed, and Dagster will not retry it.
    """
    run, *before = instance.get_runs(dg.RunsFilter(tags={ASKED: asked}))  # the newest first: a retry has the same tags
    if run.status == dg.DagsterRunStatus.SUCCESS:
        return "a run of the daemon" + ", retried once" * bool(before)  # dagster.yaml allows no more
    # Dagster says whether it will a moment after the run has failed
    to_be_retried = run.status == dg.DagsterRunStatus.FAILURE and run.tags.get(WILL_RETRY_TAG) != "false"
    if run.is_finished and not to_be_retried:
        raise Ended(f"the run {run.job_name} failed: {_failure(instance, run.run_id)}")
    return ""


def _failure(instance: dg.DagsterInstance, run_id: str) -> str:
    """The words of the first step that failed."""
    for record in instance.get_records_for_run(run_id, of_type={dg.DagsterEventType.STEP_FAILURE}).records:
        event = record.event_log_entry.dagster_event
        error = event.step_failure_data.error if event is not None else None
        while error is not None and error.cause is not None:
            error = error.cause
        if event is not None and error is not None:
            return f"{event.step_key}: {error.message.strip().splitlines()[0]}"
    return "see the log of the daemon"


def in_process(given: Mapping[str, str], job: str, days: tuple[str, str], logs: Path) -> None:
    """The same run without a daemon."""
    tags = json.dumps({FIRST: days[0], LAST: days[1]})
    ended(f"alone-{job}", ["job", "execute", *DEFINITIONS, "-j", job, "--tags", tags], given, logs)


def lived(urls: Sequence[str], home: Path) -> tuple[list[str], int]:
    """Users who are shown a slate by one service, and tell another what they did.

    Returns:
        The events acknowledged, and how many reads by the first service, right after, were of a log before them.
    """
    told: list[str] = []
    behind = 0
    with httpx.Client(timeout=60.0) as http:
        for n, user in enumerate(users_of(home)[:USERS]):
            here, there = (urls[(n + i) % len(urls)] for i in range(2))
            slate = ask(http, here, "recommend", {"user_id": user, "k": K})
            events = _reactions(user, slate)
            answer = ask(http, there, "events", {"events": events})
            if answer["accepted"] != len(events):
                raise Ended(f"of {len(events)} events {answer['accepted']} were accepted: {answer['rejected'][:1]}")
            told += [event["event_id"] for event in events]
            first = slate["items"][0]["item_id"]
            behind += (
                ask(http, here, "features", {"user_id": user, "item_ids": [first]})["position"] < answer["position"]
            )
    return told, behind


def _reactions(user: str, slate: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All items are seen; every third is clicked, every sixth watched long."""
    return [
        {
            "event_id": f"{slate['request_id']}-{slot}-{kind}",
            "kind": kind,
            "user_id": user,
            "item_id": item["item_id"],
            "request_id": slate["request_id"],
            "shelf": "feed",
        }
        for slot, item in enumerate(slate["items"])
        for kind, every in (("impression", 1), ("click", 3), ("long_view", 6))
        if slot % every == 0
    ]


def ask(http: httpx.Client, url: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """An answer of a service.

    Raises:
        Ended: it is none.
    """
    answer = http.post(f"{url}/v1/{path}", json=body)
    if answer.status_code != 200:
        raise Ended(f"{path} at {url}: {answer.status_code} {answer.text[:200]}")
    told: dict[str, Any] = answer.json()
    return told


def users_of(home: Path) -> list[str]:
    """Users of the last two days, in one order."""
    lake = Lake(home)
    paths = [lake.day(day, "cleaned", "impressions") for day in lake.days("cleaned", "impressions")[-2:]]
    found = {user for path in paths for user in pq.read_table(path, columns=["user_id"])["user_id"].to_pylist()}
    return sorted(found - {None})
