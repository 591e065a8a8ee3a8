"""Takes stock: reads source and store, and writes down which days there are (RECSYS_HOME/source.json).

The commands, `raw_events` and the ticks of schedules do it. Definitions only read what was written. They are built in
the fork server of a run's steps, and opening a source there would start threads that the forked children lack.
"""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from recsys.cleaned import live as from_service
from recsys.lake import Lake
from recsys.privacy.border import Border, PrivacyError
from recsys.settings import Settings, SettingsError, from_environment
from recsys.sources import manifest
from recsys.sources.manifest import Manifest
from recsys.sources.opening import open_source
from recsys.sources.source import Source, SourceError, rows_by_day
from recsys.store.errors import StoreError
from recsys.store.opening import told_events


def take_stock(settings: Settings, source: Source | None = None) -> Manifest:
    """Write the manifest of the home anew from what is there now.

    Args:
        source: that of the settings, where it is open already

    Raises:
        SourceError: it cannot be read, or the home belongs to another source or another key of pseudonyms; nothing was
            written then.
    """
    try:
        Border.of(settings)
    except PrivacyError as error:
        raise SourceError(str(error)) from None
    source = source or open_source(settings)
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    (today,) = rows_by_day(np.array([now_ms]), source.utc_offset_ms)
    made = manifest.of(source, settings, live_days(settings, source.utc_offset_ms), today)
    made.write(settings.home)
    return made


def own_source(settings: Settings) -> Source:
    """The source of the settings, which is that of the home.

    Raises:
        SourceError: it cannot be read, or the home belongs to another.
    """
    source = open_source(settings)
    kept = manifest.read(settings.home)
    if kept is not None and not kept.fits(settings):
        take_stock(settings, source)
    return source


def live_days(settings: Settings, utc_offset_ms: int) -> dict[str, int]:
    """Rows that the service was told, by local day, in the store's journal or, once they left that, in the lake."""
    in_journal = rows_by_day(told_events(settings)["received_at"].to_numpy(), utc_offset_ms)
    in_lake = from_service.counts(Lake(settings.home))
    return {day: max(in_lake.get(day, 0), in_journal.get(day, 0)) for day in in_lake | in_journal}


def current(settings: Settings) -> Manifest:
    """What was written last; taken in a short process of its own where nothing was, or of another source.

    Raises:
        SourceError: as `take_stock`.
    """
    kept = manifest.read(settings.home)
    return kept if kept is not None and kept.fits(settings) else fresh(settings)


def fresh(settings: Settings) -> Manifest:
    """Stock taken in a short process of its own (1.5 CPU s and the reading of the source).

    Raises:
        SourceError: as `take_stock`.
    """
    command = [sys.executable, "-m", "recsys_assets.stock"]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
    kept = manifest.read(settings.home)
    if done.returncode or kept is None:
        raise SourceError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "no stock could be taken")
    return kept


def main() -> int:
    try:
        take_stock(from_environment())
    except (SettingsError, SourceError, StoreError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
