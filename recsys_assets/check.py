"""`make check`: what settings and source hold, in seconds and before anything is computed."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from recsys.policy.named import ShelfError
from recsys.privacy.border import Border, PrivacyError
from recsys.settings import Settings, SettingsError, from_environment
from recsys.sources.check import Survey, sparkline, survey
from recsys.sources.opening import open_source
from recsys.sources.source import Source, SourceError, rows_by_day
from recsys.stream.errors import StreamError
from recsys.stream.kafka import Kafka
from recsys.training_sets.split import PARTS, SplitError, split_by_date

SHOWN = 5  # reasons of each table


def survey_of(source: Source) -> Survey:
    """A source, read as a whole.

    Raises:
        SourceError: it cannot be read.
    """
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    (today,) = rows_by_day(np.array([now_ms]), source.utc_offset_ms)
    return survey(source, None if source.name == "simulator" else today)


def too_few(dates: Mapping[str, int], settings: Settings) -> list[str]:
    """A line where these dates, with their rows, cannot be split."""
    try:
        split_by_date(dates, settings.validation_days, settings.test_days)
    except SplitError as error:
        return [str(error)]
    return []


def report(settings: Settings, console: Console) -> bool:
    """Prints what was found; whether a run can work.

    Raises:
        SourceError: the source cannot be read.
        ShelfError: a shelf's row names what there is not.
        PrivacyError: the users of the home are known by another key of pseudonyms.
    """
    import recsys.evaluation.shelves  # noqa: F401  it refuses rows that name what there is not

    Border.of(settings)
    surveyed = survey_of(open_source(settings))
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")

    def row(name: str, lines: list[str], style: str = "") -> None:
        for place, line in enumerate(lines):
            table.add_row("" if place else name, escape(line), style=style)

    where = f" {settings.data}" if settings.data and settings.source != "simulator" else ""
    row("source", [f"{surveyed.source}{where}"])
    row("read", [f"{name}: {_some(files)}" for name, files in surveyed.files.items() if files])
    row("not read", surveyed.ignored, "yellow")
    days = list(surveyed.days)
    row("days", [f"{days[0]} to {days[-1]}, {len(days):,} with rows  {sparkline(list(surveyed.days.values()))}"])
    row(
        "stray days",
        [f"{_some(list(surveyed.stray_days))}: {sum(surveyed.stray_days.values()):,} rows"] * bool(surveyed.stray_days),
    )
    row("events", [f"{surveyed.rows:,}: " + ", ".join(f"{n:,} {kind}" for kind, n in surveyed.kinds.items())])
    row("users", [f"{surveyed.users:,}"])
    said = [f"rows that say {'; '.join(surveyed.said)}"] * bool(surveyed.said)
    row("items", [f"{surveyed.items:,}, of which {surveyed.seen:,} are in events", *said])
    if surveyed.known is not None:
        hint = f" ({surveyed.hint})" if surveyed.hint else ""
        row(
            "ids",
            [f"{surveyed.known:.1%} of the events name an item of the catalogue{hint}"],
            "" if surveyed.known > 0.99 else "yellow",
        )
    for name, reasons in surveyed.refused.items():
        lines = [f"{n:,}: {reason} (first: {first})" for reason, n, first in reasons[:SHOWN]]
        lines += [f"and {len(reasons) - SHOWN} more reasons"] * (len(reasons) > SHOWN)
        row("set aside" if name == "events" else f"unread {name}", lines, "yellow")
    row("quarantine", [f"{n:,}: {reason}" for reason, n in surveyed.quarantined.items()], "yellow")
    row("learned", [", ".join(surveyed.learned) or "nothing", *surveyed.derived])
    row("lacks", surveyed.lacks)
    few = too_few(surveyed.dates, settings)
    if not few:
        split = split_by_date(surveyed.dates, settings.validation_days, settings.test_days)
        row("split", [f"{part}: {split.days(part)[0]} to {split.days(part)[-1]}" for part in PARTS])
    try:
        kafka = Kafka.of(settings)
        row("kafka", [kafka.look()] if kafka is not None else [])
    except StreamError as error:
        row("kafka", [str(error)], "red")
    mend = surveyed.mend + few
    row("to mend", mend, "red")
    console.print(table)
    console.print("[red]a run cannot end well[/]" if mend else "\nnext: [bold]make run[/]", highlight=False)
    return not mend


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")


def main() -> int:
    """Status 0 when a run can work, 2 when not."""
    console = Console(soft_wrap=False, width=None if sys.stdout.isatty() else 140)
    try:
        return 0 if report(from_environment(), console) else 2
    except (SettingsError, SourceError, ShelfError, PrivacyError) as error:
        console.print(f"[red]{escape(str(error))}[/]", highlight=False, soft_wrap=True)
        return 2


if __name__ == "__main__":
    sys.exit(main())
