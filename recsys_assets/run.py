"""`make run`: materialize the whole graph in this process, one line a stage, then say what came out.

In process, because 15 trivial assets take 3 s this way and 26 s through the multiprocess executor (docs/operations.md).
"""

from __future__ import annotations

import atexit
import logging
import os
import resource
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from recsys.lake import Lake
from recsys.registry import Registry
from recsys.settings import Settings, SettingsError, from_environment
from recsys_assets.home import HomeError, bury_killed_runs, one_run_at_a_time, prepare

if TYPE_CHECKING:
    import dagster as dg

story = logging.getLogger("recsys.run")  # goes to RECSYS_HOME/run.log, not to the screen


@dataclass
class Progress:
    """Turns Dagster events into one line a step: stage, asset, rows, seconds; and keeps verdicts and the failure."""

    console: Console
    groups: dict[str, str]  # asset key -> group
    started: dict[str, float] = field(default_factory=dict)
    materialized: dict[str, dict[str, int | None]] = field(default_factory=dict)  # step -> asset key -> rows
    checks: list[tuple[str, str, bool, str, str]] = field(default_factory=list)  # asset, check, passed, severity, words
    failure: str | None = None

    def __call__(self, entry: dg.EventLogEntry) -> None:
        event = entry.dagster_event
        story.info("%s", entry.user_message if event is None else f"{event.event_type_value} {event.message or ''}")
        if event is None or event.step_key is None:
            return
        kind, step = event.event_type_value, event.step_key
        if kind == "STEP_START":
            self.started[step] = time.monotonic()
        elif kind == "ASSET_MATERIALIZATION":
            materialization = event.step_materialization_data.materialization
            key = materialization.asset_key.to_user_string()
            count = materialization.metadata.get("dagster/row_count")
            rows = self.materialized.setdefault(step, {})
            if count is not None:
                rows[key] = (rows.get(key) or 0) + int(str(count.value))  # one event a day, each with its own rows
            else:
                rows.setdefault(key, None)
        elif kind == "ASSET_CHECK_EVALUATION":
            self._check(event.asset_check_evaluation_data)
        elif kind == "STEP_SUCCESS":
            self._finished(step)
        elif kind == "STEP_FAILURE":
            self._failed(step, event.step_failure_data)

    def _finished(self, step: str) -> None:
        seconds = time.monotonic() - self.started.get(step, time.monotonic())
        for key, rows in self.materialized.get(step, {}).items():
            group = self.groups.get(key, "")
            shown = f"{rows:>12,} rows" if rows is not None else " " * 17
            self.console.print(f"[cyan]{group:<14}[/] {escape(key):<22} {shown} {seconds:>7.1f} s", highlight=False)

    def _check(self, evaluation: Any) -> None:
        words = evaluation.description or ""
        asset, name = evaluation.asset_key.to_user_string(), evaluation.check_name
        self.checks.append((asset, name, evaluation.passed, evaluation.severity.value, words))
        if not evaluation.passed:
            colour = "red" if evaluation.severity.value == "ERROR" else "yellow"
            self.console.print(f"[{colour}]  check {escape(name)} on {escape(asset)} failed: {escape(words)}[/]")

    def _failed(self, step: str, data: Any) -> None:
        error = data.error
        story.error("%s", error.to_string() if error is not None else step)
        while error is not None and error.cause is not None:
            error = error.cause
        message = error.message.strip().splitlines()[0] if error is not None and error.message.strip() else "failed"
        if self.failure is None:
            self.failure = f"{step}: {message.split(': ', 1)[-1]}"
        self.console.print(f"[red]  {escape(step)} failed: {escape(message)}[/]")


def main() -> int:
    screen = os.fdopen(os.dup(1), "w", buffering=1)
    console = Console(file=screen, soft_wrap=True, width=None if screen.isatty() else 160)
    try:
        settings = from_environment()
        prepare(settings)
        with one_run_at_a_time(settings), _noise_to(settings.home / "run.log"):
            return _run(settings, console)
    except (SettingsError, HomeError) as error:
        console.print(f"[red]{escape(str(error))}[/]", highlight=False)
        return 2


@contextmanager
def _noise_to(path: Path) -> Iterator[None]:
    """What dbt, Lightning and their servers would print goes to a file, so that the screen keeps one line a stage."""
    out, err = os.dup(1), os.dup(2)
    with path.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        # what C++ libraries print once Python has ended (nanobind: 40 lines of "leaked instance") is noise as well
        atexit.register(os.dup2, os.dup(file.fileno()), 2)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, force=True)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(out, 1)
        os.dup2(err, 2)


def _run(settings: Settings, console: Console) -> int:
    began = time.monotonic()
    with console.status("loading the asset graph"):
        import dagster as dg

        from recsys.retrieval.milvus_server import running_milvus, stop_milvus
        from recsys.sources.source import SourceError, open_source

        try:
            source = open_source(settings)
            first, last = source.first_day(), source.last_day()
        except SourceError as error:
            console.print(f"[red]{escape(str(error))}[/]", highlight=False)
            return 2
        from recsys_assets.definitions import defs

        definitions = defs()
        job = definitions.resolve_implicit_global_asset_job_def()
        graph = definitions.resolve_asset_graph()
    groups = {key.to_user_string(): graph.get(key).group_name or "" for key in graph.get_all_asset_keys()}
    console.print(f"source [bold]{settings.source}[/], days {first} to {last}, written to {escape(str(settings.home))}")
    progress = Progress(console, groups)
    was_running = running_milvus(Lake(settings.home).milvus) is not None  # a service may be using it
    try:
        with dg.DagsterInstance.get() as instance, console.status("materializing"):
            bury_killed_runs(instance)
            run_id = str(uuid.uuid4())
            instance.add_event_listener(run_id, progress)
            result = job.execute_in_process(
                instance=instance,
                run_id=run_id,
                raise_on_error=False,
                tags={
                    "dagster/asset_partition_range_start": first,
                    "dagster/asset_partition_range_end": last,
                    "recsys/cause": "by hand",
                },
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            )
        return _ending(settings, console, progress, result.success, time.monotonic() - began)
    finally:
        if not was_running:
            stop_milvus(settings)


def _ending(settings: Settings, console: Console, progress: Progress, success: bool, seconds: float) -> int:
    log = settings.home / "run.log"
    if not success:
        failed = [c for c in progress.checks if not c[2] and c[3] == "ERROR"]
        why = progress.failure or "; ".join(f"{a}: {n}: {w}" for a, n, _, _, w in failed) or "see the log"
        console.print(f"\n[red bold]stopped after {seconds:.0f} s[/]: {escape(why)}", highlight=False)
        console.print(f"What was materialized before it is kept. The whole story: {escape(str(log))}", highlight=False)
        return 1
    from recsys_assets.summary import summarize

    try:
        summarize(settings, console, progress.checks)
    except Exception as error:  # the graph itself succeeded: say so, then what could not be shown
        story.exception("summary failed")
        console.print(f"[red]everything is materialized, but the summary could not be shown: {escape(str(error))}[/]")
        return 1
    champion = Registry(Lake(settings.home).registry).champion()
    command = "make serve" if champion else "make dev, and look at why the gate refused"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)  # KiB on Linux
    console.print(
        f"\ndone in [bold]{seconds:.0f} s[/], {peak:.1f} GiB at most. Next: [bold]{command}[/]", highlight=False
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
