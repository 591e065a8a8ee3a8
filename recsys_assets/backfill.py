"""`make backfill FROM=... TO=...`: takes in days, ten at a time, and goes on where a killed run stopped.

`backfill/<from>_<to>.jsonl` says which ten days are done. Files are replaced in one step, and the same days give the
same bytes. So what was cut off half-way is simply done again.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import uuid
import warnings
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

from recsys.settings import Settings, SettingsError, from_environment
from recsys.sources.source import SourceError
from recsys.store.errors import StoreError
from recsys_assets.home import HomeError, bury_killed_runs, headless, one_run_at_a_time, prepare
from recsys_assets.stock import take_stock

CHUNK = 10  # days a run: dbt starts (2.5 CPU s) and the log before is read once a chunk


class BackfillError(RuntimeError):
    """The days cannot be taken in; the message says which, why and what to do."""


def days_between(first: str, last: str, offered: Sequence[str]) -> list[str]:
    """The days on offer from first to last: those of which the source or the service has rows.

    Raises:
        BackfillError: no days, or a range that reaches beyond them.
    """
    try:
        date.fromisoformat(first), date.fromisoformat(last)
    except ValueError:
        raise BackfillError(f"{first} to {last} is no range of days: write FROM=2026-01-05 TO=2026-02-03") from None
    if first > last:
        raise BackfillError(f"{first} is after {last}: swap FROM and TO")
    if first < offered[0] or last > offered[-1]:
        raise BackfillError(
            f"{first} to {last} reaches beyond what source and service have, {offered[0]} to {offered[-1]}"
        )
    days = [day for day in offered if first <= day <= last]
    if not days:
        raise BackfillError(f"neither source nor service has a row from {first} to {last}")
    return days


def left(days: Sequence[str], journal: Path) -> Iterator[list[str]]:
    """Chunks of days that the journal does not have yet; a torn last line of it is not there."""
    done = set()
    if journal.exists():
        for line in journal.read_text().splitlines():
            if line.endswith("}"):
                done.add(tuple(json.loads(line)["days"]))
    for start in range(0, len(days), CHUNK):
        chunk = list(days[start : start + CHUNK])
        if tuple(chunk) not in done:
            yield chunk


def backfill(settings: Settings, first: str, last: str, *, again: bool = False) -> int:
    """Run every chunk that is left; returns their number.

    Raises:
        BackfillError: when a chunk fails; what was done before it stays done.
        SourceError: the source cannot be read, or the home belongs to another.
    """
    days = days_between(first, last, list(take_stock(settings).days))
    journal = settings.home / "backfill" / f"{first}_{last}.jsonl"
    journal.parent.mkdir(parents=True, exist_ok=True)
    if again:
        journal.unlink(missing_ok=True)
    chunks = list(left(days, journal))
    if not chunks:
        print(f"{first} to {last} was taken in already ({journal}); AGAIN=1 does it once more")
        return 0

    from recsys_assets.definitions import defs

    job = defs().resolve_job_def("take_in")
    with headless() as instance:
        bury_killed_runs(instance)
        for number, chunk in enumerate(chunks, 1):
            began = time.monotonic()
            done = job.execute_in_process(
                instance=instance,
                run_id=str(uuid.uuid4()),
                raise_on_error=False,
                tags={"dagster/asset_partition_range_start": chunk[0], "dagster/asset_partition_range_end": chunk[-1]},
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            )
            if not done.success:
                raise BackfillError(
                    f"{chunk[0]} to {chunk[-1]} failed: {_why(done)}. The days before are done; correct it and run the "
                    "same command again"
                )
            _note(journal, {"days": chunk, "run_id": done.run_id})
            print(f"{chunk[0]} to {chunk[-1]} ({number} of {len(chunks)}) {time.monotonic() - began:.0f} s", flush=True)
    return len(chunks)


def _why(done: object) -> str:
    for event in done.all_events:  # type: ignore[attr-defined]
        if event.event_type_value == "STEP_FAILURE":
            error = event.step_failure_data.error
            while error is not None and error.cause is not None:
                error = error.cause
            return f"{event.step_key}: {str(error.message).strip().splitlines()[0]}" if error else str(event.step_key)
    return "see the run in the Dagster UI"


def _note(journal: Path, row: dict[str, object]) -> None:
    with journal.open("a") as file:
        file.write(json.dumps(row) + "\n")
        file.flush()
        os.fsync(file.fileno())


def main() -> int:
    if len(sys.argv) != 3:
        print("say which days: make backfill FROM=2026-01-05 TO=2026-02-03", file=sys.stderr)
        return 2
    try:
        settings = from_environment()
        prepare(settings)
        logging.disable(logging.INFO)
        warnings.simplefilter("ignore")  # libraries' advice to us: seven lines of it for two days
        with one_run_at_a_time(settings):
            backfill(settings, sys.argv[1], sys.argv[2], again=os.environ.get("AGAIN") == "1")
    except (SettingsError, HomeError, SourceError, StoreError, BackfillError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
