"""What the line of a run says while it runs: the step, its rows, its time, and when all of it will be done."""

from __future__ import annotations

import json
import time
from pathlib import Path

from rich.console import Console

from recsys_assets.progress import USUAL, Progress


def line(
    folder: Path, behind: dict[str, float], running: str, since: float, last: dict[str, float] | None = None
) -> str:
    """The line of a run with those steps behind it (seconds) and one that runs since so many."""
    if last is not None:
        (folder / "seconds.json").write_text(json.dumps(last))
    progress = Progress(Console(), {}, folder / "seconds.json", 60)
    now = time.monotonic()
    progress.began = now - sum(behind.values()) - since
    progress.seconds, progress.running, progress.started = behind, running, {running: now - since}
    return str(progress.__rich__())


def test_a_first_run_tells_its_end_by_its_own_pace_once_it_has_one(tmp_path: Path) -> None:
    usual = json.loads(USUAL.read_text())
    assert line(tmp_path, {"raw_items": 0.1}, "raw_events", 2.0) == "raw_events: 2 s; step 2 of 60; 2 s"
    steps = list(usual)
    half = {step: 2.0 * usual[step] for step in steps[: len(steps) // 2]}
    rest = [step for step in steps if step not in half]
    told = line(tmp_path, half, rest[0], 0.0)
    expected = 2.0 * sum(usual.values())
    assert told.endswith(f" of about {int(expected) // 60}:{int(expected) % 60:02}"), told
    assert f"{rest[0]}: 0 s of about " in told


def test_a_later_run_tells_its_end_by_the_one_before(tmp_path: Path) -> None:
    last = {"raw_events": 10.0, "ranker": 20.0, "bundle": 5.0}
    assert line(tmp_path, {"raw_events": 12.0}, "ranker", 4.0, last) == (
        "ranker: 4 s of about 20 s; step 2 of 60; 16 s of about 37 s"
    )
    assert line(tmp_path, {"raw_events": 12.0}, "ranker", 30.0, last).endswith("; 42 s of about 47 s")


def test_the_usual_steps_are_steps_of_the_graph() -> None:
    from recsys_assets.definitions import defs

    nodes = {node.name for node in defs().resolve_implicit_global_asset_job_def().graph.nodes}
    assert set(json.loads(USUAL.read_text())) <= nodes
