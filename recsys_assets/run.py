"""`make run`: materialize the whole graph in this process, one line a stage, then say what came out.

In process, because 15 trivial assets take 3 s this way and 26 s through the multiprocess executor (docs/operations.md).
"""

from __future__ import annotations

import atexit
import logging
import os
import resource
import signal
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner

from recsys.lake import Lake
from recsys.registry import Registry
from recsys.settings import Settings, SettingsError, from_environment
from recsys_assets.home import HomeError, bury_killed_runs, headless, one_run_at_a_time, prepare
from recsys_assets.progress import STOPPED, Progress, clock, story

if TYPE_CHECKING:
    from recsys.sources.manifest import Manifest


def main() -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # both end a run in the same words
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
    except KeyboardInterrupt:  # before the first step, or after the last
        console.print(f"\n[red bold]{STOPPED}[/]", highlight=False)
        return 130


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
        from sqlalchemy.exc import OperationalError

        from recsys.retrieval.milvus_server import running_milvus, stop_milvus
        from recsys.sources.check import lacks
        from recsys.sources.opening import open_source
        from recsys.sources.source import SourceError
        from recsys.store.errors import StoreError
        from recsys_assets import since
        from recsys_assets.check import survey_of, too_few
        from recsys_assets.stock import take_stock

        try:
            source = open_source(settings)
            stock = take_stock(settings, source)
            read, before = since.Read.of(settings, stock), since.last(settings)
            asked = since.left(None if os.environ.get("AGAIN") == "1" else before, read)
            if asked is None:
                console.print("nothing has changed since the last run: code, settings, source, store and what it made")
                console.print("AGAIN=1 make run makes all of it anew", highlight=False)
                _next(settings, console, {f"done in {clock(time.monotonic() - began)}": "nothing was materialized"})
                return 0
            surveyed = None if settings.source == "simulator" else survey_of(source)
        except (SourceError, StoreError) as error:
            console.print(f"[red]{escape(str(error))}[/]", highlight=False)
            return 2
        mend = list(surveyed.mend) if surveyed else []
        kept = set(Lake(settings.home).days("raw", "events"))
        if kept <= set(stock.days) and not stock.live_days:  # nothing but what the source has can be split
            mend += too_few(surveyed.dates if surveyed else stock.days, settings)
        if mend:
            for line in mend:
                console.print(f"[red]{escape(line)}[/]", highlight=False)
            return 2
        from recsys_assets.definitions import defs

        definitions = defs()
        job = definitions.resolve_implicit_global_asset_job_def()
        graph = definitions.resolve_asset_graph()
    groups = {key.to_user_string(): graph.get(key).group_name or "" for key in graph.get_all_asset_keys()}
    console.print(f"source [bold]{settings.source}[/], {_days(stock)}, written to {escape(str(settings.home))}")
    if asked != (stock.first_day, stock.last_day):
        console.print(f"{asked[0]} to {asked[1]} are taken in: the days before are as they were")
    for line in lacks(surveyed) if surveyed else []:
        console.print(f"[yellow]  {escape(line)}[/]", highlight=False)
    progress = Progress(console, groups, settings.home / "run_seconds.json", len(job.graph.nodes))
    was_running = running_milvus(Lake(settings.home).milvus) is not None  # a service may be using it
    try:
        with (
            headless() as instance,
            Live(
                Spinner("dots", progress), console=console, transient=True, redirect_stdout=False, redirect_stderr=False
            ),
        ):  # what steps print goes to the log
            bury_killed_runs(instance)
            run_id = str(uuid.uuid4())
            instance.add_event_listener(run_id, progress)
            result = job.execute_in_process(
                instance=instance,
                run_id=run_id,
                raise_on_error=False,
                tags={
                    "dagster/asset_partition_range_start": asked[0],
                    "dagster/asset_partition_range_end": asked[1],
                    "recsys/cause": "by hand",
                },
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            )
            if result.success:
                progress.keep()
                read.done(settings)
        return _ending(settings, console, progress, result.success, time.monotonic() - began)
    except OperationalError as error:  # of Dagster's records: a full disk, a folder that is read alone
        story.exception("Dagster's records")
        why = f"Dagster's records below {settings.home} cannot be written ({error.orig}): free space, then run again"
        console.print(f"\n[red bold]stopped[/]: {escape(why)}", highlight=False)
        return 1
    finally:
        if not was_running:
            stop_milvus(settings)


def _days(stock: Manifest) -> str:
    """`days 2026-01-05 to 2026-01-18`, and what is unusual about them."""
    live = sum(rows == stock.days[day] for day, rows in stock.live_days.items())
    gaps = (date.fromisoformat(stock.last_day) - date.fromisoformat(stock.first_day)).days + 1 - len(stock.days)
    unusual = {"told to the service alone": live, "without a row": gaps, "strays, in quarantine": len(stock.stray_days)}
    told = ", ".join(f"{n} {words}" for words, n in unusual.items() if n)
    return f"days {stock.first_day} to {stock.last_day}{f' ({told})' if told else ''}"


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
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)  # KiB on Linux
    _next(settings, console, {f"done in {clock(seconds)}": f"{peak:.1f} GiB at most; {progress.told_checks()}"})
    return 0


def _next(settings: Settings, console: Console, done: Mapping[str, str]) -> None:
    """What to look at last: one screen of what came out, and the command that serves it."""
    registry = Registry(Lake(settings.home).registry)
    champion, newest = registry.champion(), registry.bundles()[-1].bundle_id
    reports = settings.home / "reports"
    rows = {
        **done,
        "champion": champion.bundle_id if champion else "none: the gate refused",
        "reports": f"{reports / 'evaluation.html'} and {len(list(reports.iterdir())) - 1} more beside it",
        "next": "make serve" if champion else f'make promote BUNDLE={newest} REASON="...", then make serve',
        "the page": f"http://{settings.host}:{settings.http_port}/ (when it serves)" if settings.page else "off",
    }
    console.print()
    for name, words in rows.items():
        console.print(f"[bold]{name:<15}[/]{escape(words)}", highlight=False)


if __name__ == "__main__":
    sys.exit(main())
