"""docs/capacity.md, from the constants and the formulas: `python -m recsys.capacity.page` writes it."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from recsys.capacity import plan as formulas
from recsys.capacity.plan import CONSTANTS, GIB, Size, constants, plan, redis_server_bytes, redis_worker_bytes
from recsys.capacity.simulation import simulate
from recsys.lake import replacing

SIZES: Final = (
    Size(10_000, 10_000, 500_000, 10),
    Size(1_000_000, 100_000, 50_000_000, 500),
    Size(10_000_000, 1_000_000, 500_000_000, 5_000),
    Size(100_000_000, 10_000_000, 5_000_000_000, 50_000),
)
FORMULAS: Final = """
- events a second in the busiest hour: `e` = EVENTS / 86,400 x {peak:g}; QPS is that of the busiest hour
- CPU of a recommend: `r` = recommend_cpu + min(ITEMS, {mirror:,}) x search_cpu_item
- busy cores = (QPS x r + e x append_cpu_event) / {busy:g} x {zones} / {others}: one of {zones} zones may be lost
- state that reads touch = USERS x state_bytes_user + ITEMS x state_bytes_item + EVENTS x {days} days x
  state_bytes_event; beside it the log, which replays touch: EVENTS x {days} days x log_bytes_event, and ids by which
  events are known: EVENTS x {known} days (RECSYS_DEDUPLICATION_DAYS) x {id} bytes
- shards = the larger of e x append_cpu_event / {sequencer:g} (one sequencer a shard) and state / half of {gib} GiB;
  partitions: twice as many, as a power of two
- workers = busy cores, two a shard at least; own memory of one = worker_bytes + its {dimensions} dimensions of each
  item; machines of {cores} cores
- memory = workers x own + the state on each machine of its shard + Milvus (twice the vectors, beyond {mirror:,} items)
  + 1 GiB a machine
- on Redis instead (ADR 9): a worker holds redis_worker_bytes of the store + the smaller of the state and
  RECSYS_STORE_CACHE_MB ({cache}); the servers hold USERS x redis_bytes_user + ITEMS x redis_bytes_item + EVENTS x
  {days} days x redis_bytes_event, twice that for an hour behind each night's bootstrap, and a journal of EVENTS x
  {journal} days x redis_journal_bytes_event. Replicas hold as much again
- disk = the state twice on each machine (a checkpoint writes the next beside) + a journal of {journal} days
  (RECSYS_JOURNAL_DAYS and today) + a served log of {served} days + a lake of {lake} days + backups ({backups:g} times
  lake, journal and state)
- network = QPS x slate_bytes + e x event_bytes x machines a shard
- the night = EVENTS x {days} days x (bootstrap_cpu_event + sweep_cpu_row / 2): half of the events are impressions
"""
LEFT_OUT: Final = """
What the formulas leave out: Milvus's CPU beyond a mirror's, training beyond the sweep, and that the measured world has
one shape. An event's bytes of state are those of pairs that are new (8 events a user); people who come back to the same
items, creators and categories take less, so this is an upper bound for long histories. A shard on LMDB lies on one
machine: what a lost one had not backed up comes again from the stream of events. On a Redis Cluster a replica takes
over within seconds instead (ADR 8). A worker there is asked for everything in turn until it has reached its bound; the
figure is the most that it held between two reads. Ids by which events are known are not in the servers' figure. CPU
seconds are the quickest of some, since other programs slow a CPU down; of what is held out, those planned are of the
default size, measured in turn with it. One service runs one log: how
users are split over the logs of many shards, and items' counters joined again, is not built. The plan only counts them.
"""


def told(size: Size) -> str:
    """One plan in words."""
    of = constants()
    made = plan(size, of)
    hour = simulate(size, made, of)
    lines = [
        f"{size.users:,} users and {size.events:,} events a day, {size.items:,} items, {size.qps:,} recommends/s:",
        f"{made.machines:,} machines, {made.cores:,} cores, {made.workers:,} workers, {made.memory_gib:,.1f} GiB",
        f"{made.shards:,} shards of {made.state_gib / made.shards:,.1f} GiB state, {made.partitions:,} partitions",
        f"{made.disk_gib:,.0f} GiB disk, {made.network_mbit:,.0f} Mbit/s, {made.nightly_cpu_hours:,.2f} CPU h a night",
        f"on Redis instead: {redis_server_bytes(size, of) / GIB:,.1f} GiB of state in its servers, twice that for an "
        f"hour a night, and up to {redis_worker_bytes(size, of) / GIB:,.2f} GiB of the store in a worker",
        f"the hottest user: {hour.hottest_user:.4%} of the load; the hottest shard: {hour.hottest_shard:.2f} times the "
        f"mean, its cores at work {hour.busiest:.0%} of the time",
        f"a lost shard: {hour.shard_lost_users:.2%} of the users wait, {hour.back_hours:.1f} h to restore it",
        f"a lost zone: {hour.zone_lost_users:.0%} wait as long; then the others are at work {hour.zone_lost_busy:.0%}",
    ]
    return "\n  ".join(lines) + "\nformulas, constants and what they leave out: docs/capacity.md"


def page() -> str:
    """The page."""
    kept, of = tomllib.loads(CONSTANTS.read_text()), constants()
    plans = [(size, plan(size, of)) for size in SIZES]
    hours = [(size, simulate(size, made, of)) for size, made in plans]
    rule = FORMULAS.format(
        peak=formulas.PEAK, mirror=formulas.MIRROR_ROWS, busy=formulas.UTILISATION, zones=formulas.ZONES,
        others=formulas.ZONES - 1, days=formulas.HISTORY_DAYS, sequencer=formulas.SEQUENCER, gib=formulas.MACHINE_GIB,
        dimensions=formulas.DIMENSIONS, cores=formulas.MACHINE_CORES, served=formulas.SERVED_DAYS,
        lake=formulas.LAKE_DAYS, backups=formulas.BACKUPS, journal=formulas.JOURNAL_DAYS,
        cache=formulas.CACHE_MB, known=formulas.KNOWN_DAYS, id=formulas.ID_BYTES,
    )  # fmt: skip
    lines = [
        "# Capacity",
        "",
        "Generated by `make docs` from `recsys/capacity/`; a test fails while it is stale. `make plan USERS= ITEMS=",
        "EVENTS= QPS=` plans any size up to 100 M daily users, 10 M items and 50,000 recommends a second.",
        "",
        "## Formula",
        rule,
        "## Sizes",
        "",
        *_table(
            "users a day, items, events a day, recommends/s, machines, cores, memory GiB, shards, partitions, "
            "disk TiB, network Mbit/s, CPU hours a night",
            (
                f"{size.users:,} | {size.items:,} | {size.events:,} | {size.qps:,} | {made.machines:,} | "
                f"{made.cores:,} | {made.memory_gib:,.0f} | {made.shards:,} | {made.partitions:,} | "
                f"{made.disk_gib / 1024:,.1f} | {made.network_mbit:,.1f} | {made.nightly_cpu_hours:,.2f}"
                for size, made in plans
            ),
        ),
        "",
        "## A bad hour",
        "",
        "Simulated with a seed: activity of users by a Pareto, shards by their keys, three zones.",
        "",
        *_table(
            "users a day, hottest user's share of the load, hottest shard over the mean, its cores at work, "
            "users who wait for a lost shard, for a lost zone, hours to restore, others at work then",
            (
                f"{size.users:,} | {hour.hottest_user:.4%} | {hour.hottest_shard:.2f} | {hour.busiest:.0%} | "
                f"{hour.shard_lost_users:.2%} | {hour.zone_lost_users:.0%} | {hour.back_hours:.1f} | "
                f"{hour.zone_lost_busy:.0%}"
                for size, hour in hours
            ),
        ),
        "",
        "## Constants",
        "",
        f"Machine: {kept['machine']}.",
        "",
        *_table(
            "name, value, unit, from, date",
            (
                f"{name} | {about['value']:.4g} | {about['unit']} | `{about['command']}` | {about['date']}"
                for name, about in kept["constants"].items()
            ),
        ),
        "",
        "## Held out",
        "",
        "`python -m benchmarks.capacity check`: four times the store's default world; no constant was measured on it.",
        "",
        *_table(
            "figure, planned, measured, off by",
            (
                f"{name} | {planned:,.4g} | {measured:,.4g} | {planned / measured - 1:+.0%}"
                for name, (planned, measured) in kept["held_out"].items()
            ),
        ),
    ]
    return "\n".join(lines) + "\n" + LEFT_OUT


def _table(names: str, rows: Iterable[str]) -> list[str]:
    columns = names.split(", ")
    return [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}", *(f"| {row} |" for row in rows)]


if __name__ == "__main__":
    with replacing(Path(sys.argv[1])) as temporary:
        temporary.write_text(page())
