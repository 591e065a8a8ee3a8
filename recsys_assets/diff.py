"""`make diff BUNDLE=a OTHER=b`: what a bundle would change, by the last day's requests on both. Writes nothing."""

from __future__ import annotations

import argparse
import sys

from rich.console import Console
from rich.table import Table

from recsys.lake import Lake
from recsys.registry import Registry, RegistryError
from recsys.serving import served_log
from recsys.serving.bundle import BundleRefused, load
from recsys.serving.diff import DiffRequest, DiffResponse, differences
from recsys.settings import SettingsError, from_environment
from recsys.store.errors import StoreError
from recsys.store.opening import open_store

COLUMNS = ("cohort", "requests", "same slate", "items kept", "places moved", "P(click)", "P(long view)", "ms")


def main() -> int:
    """The table; status 2, and one line, where there is nothing to compare."""
    asked = argparse.ArgumentParser(prog="make diff")
    asked.add_argument("bundle", help="the one in service, say")
    asked.add_argument("other", help="the one that would be")
    asked.add_argument("--latest", type=int, default=100, help="requests, of the newest served")
    given = asked.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 160)
    try:
        settings = from_environment()
        lake = Lake(settings.home)
        registry, store = Registry(lake.registry), open_store(settings)
        try:
            diff = differences(
                DiffRequest.model_construct(bundle=given.bundle, other=given.other, latest=given.latest),
                served_log.latest(lake.served_log, given.latest),
                store,
                lambda name: load(registry.get(name), None, store.fingerprint, registry, settings.mirror_rows),
            )
        finally:
            store.close()
    except (SettingsError, RegistryError, BundleRefused, StoreError) as error:
        print(error, file=sys.stderr)
        return 2
    if not diff.cohorts:
        print(diff.words, file=sys.stderr)
        return 2
    console.print(table(diff))
    if diff.left_out:
        console.print(f"{diff.left_out} requests left out: of a lower rung, or of other features")
    return 0


def table(diff: DiffResponse) -> Table:
    """By cohort; two figures are of the bundle and of the other."""
    drawn = Table(title=f"{diff.other} instead of {diff.bundle}", title_justify="left")
    for column in COLUMNS:
        drawn.add_column(column, justify="left" if column == "cohort" else "right")
    for row in diff.cohorts:
        moved = "-" if row.moved is None else f"{row.moved:.1f}"
        figures = [_pair(row.p_click, 3), _pair(row.p_long_view, 3), _pair(row.ms, 1)]
        drawn.add_row(row.cohort, str(row.requests), f"{row.same:.0%}", f"{row.kept:.0%}", moved, *figures)
    return drawn


def _pair(values: tuple[float | None, float | None], digits: int) -> str:
    return " -> ".join("-" if value is None else f"{value:.{digits}f}" for value in values)


if __name__ == "__main__":
    sys.exit(main())
