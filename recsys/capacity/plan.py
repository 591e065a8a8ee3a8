"""How many machines a size takes: from what benchmarks measured (constants.toml), by the formulas of docs/capacity.md.

A deployment is split by users into shards that share none (ADR 6): each has a log and a store of its own, and an LMDB
map that the workers of its machine share. Every number here is a mean of a busy hour, with UTILISATION's room above it.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from recsys.settings import Settings

CONSTANTS: Final = Path(__file__).with_name("constants.toml")
PEAK: Final = 3.0  # events a second in the busiest hour, over the day's mean
UTILISATION: Final = 0.6  # of a core in that hour: beyond it the queue, and p99, grow
SEQUENCER: Final = 0.5  # of what one log takes, in that hour
HISTORY_DAYS: Final = 30  # of events in the state and its log
# what the settings keep unless they say another number; the journal has today as well until the night has run
JOURNAL_DAYS: Final = int(Settings.model_fields["journal_days"].default) + 1
KNOWN_DAYS: Final = int(Settings.model_fields["deduplication_days"].default)
ID_BYTES: Final = 16  # of an event within them
CACHE_MB: Final = int(Settings.model_fields["store_cache_mb"].default)
SERVED_DAYS: Final = int(Settings.model_fields["served_log_days"].default)
LAKE_DAYS: Final = 365
BACKUPS: Final = 2.0  # times the lake, log and state, parts that stay the same counted once
ZONES: Final = 3  # one may be lost: the others carry all
MACHINE_CORES: Final = 32
MACHINE_GIB: Final = 128
MIRROR_ROWS: Final = 200_000  # items that a worker searches itself; a larger catalogue is searched in Milvus
DIMENSIONS: Final = 64
LIMITS: Final = {"users": 100_000_000, "items": 10_000_000, "events": 20_000_000_000, "qps": 50_000}
GIB: Final = 2.0**30


class PlanError(ValueError):
    """A size that cannot be planned; the message says which number and what it takes."""


@dataclass(frozen=True)
class Size:
    """What a deployment serves."""

    users: int  # a day
    items: int  # in the catalogue
    events: int  # a day
    qps: int  # recommends a second in the busiest hour

    def __post_init__(self) -> None:
        for name, most in LIMITS.items():
            given = getattr(self, name)
            if not 1 <= given <= most:
                raise PlanError(f"{name.upper()}={given}: give a whole number from 1 to {most:,}")


@dataclass(frozen=True)
class Plan:
    """What it takes."""

    shards: int  # logs, by users
    partitions: int  # of the stream of events
    busy: float  # cores at work in the busiest hour
    workers: int  # processes that answer, with a zone to spare
    cores: int  # of all of that
    machines: int
    state_gib: float  # of all shards, once
    memory_gib: float  # of all machines
    disk_gib: float
    network_mbit: float  # in and out
    nightly_cpu_hours: float


def constants(path: Path = CONSTANTS) -> dict[str, float]:
    """What was measured, by name."""
    told = tomllib.loads(path.read_text())["constants"]
    return {name: float(of["value"]) for name, of in told.items()}


def state_bytes(size: Size, of: Mapping[str, float], days: float = HISTORY_DAYS) -> tuple[float, float]:
    """Bytes of the state that reads touch, and of the log beside it that replays touch."""
    events = size.events * days
    touched = size.users * of["state_bytes_user"] + size.items * of["state_bytes_item"]
    return touched + events * of["state_bytes_event"], events * of["log_bytes_event"]


def redis_server_bytes(size: Size, of: Mapping[str, float], days: float = HISTORY_DAYS) -> float:
    """Bytes of state and its log in Redis, without the journal: owners under keys of their own (ADR 9)."""
    touched = size.users * of["redis_bytes_user"] + size.items * of["redis_bytes_item"]
    return touched + size.events * days * of["redis_bytes_event"]


def redis_worker_bytes(size: Size, of: Mapping[str, float], days: float = HISTORY_DAYS) -> float:
    """The most that a worker holds of a store in Redis, with its interpreter and libraries."""
    return of["redis_worker_bytes"] + min(CACHE_MB * 2.0**20, state_bytes(size, of, days)[0])


def recommend_seconds(items: int, of: Mapping[str, float]) -> float:
    """CPU of one recommend."""
    return of["recommend_cpu"] + min(items, MIRROR_ROWS) * of["search_cpu_item"]


def plan(size: Size, of: Mapping[str, float]) -> Plan:
    """See the module."""
    peak = size.events / 86_400 * PEAK
    touched, log = state_bytes(size, of)
    state = touched + log + size.events * KNOWN_DAYS * ID_BYTES
    busy = size.qps * recommend_seconds(size.items, of) + peak * of["append_cpu_event"]
    busy_cores = busy / UTILISATION * ZONES / (ZONES - 1)
    own = of["worker_bytes"] + min(size.items, MIRROR_ROWS) * DIMENSIONS * 4
    by_memory = touched / (0.5 * MACHINE_GIB * GIB)  # half of a machine for the state that reads touch
    shards = max(1, math.ceil(max(peak * of["append_cpu_event"] / SEQUENCER, by_memory)))
    workers = max(math.ceil(busy_cores), 2 * shards if shards > 1 else 1)
    machines = max(shards, math.ceil(workers / MACHINE_CORES))
    replicas = math.ceil(machines / shards)  # machines that hold one shard's state
    vectors = size.items * DIMENSIONS * 4 * 2 if size.items > MIRROR_ROWS else 0.0
    memory = workers * own + replicas * touched + vectors
    served = size.qps / PEAK * 86_400 * SERVED_DAYS * of["served_bytes_slate"]
    lake = size.events * LAKE_DAYS * of["lake_bytes_event"]
    journal = size.events * JOURNAL_DAYS * of["journal_bytes_event"]
    disk = 2 * replicas * state + journal + served + lake + BACKUPS * (lake + journal + state)
    traffic = size.qps * of["slate_bytes"] + peak * of["event_bytes"] * replicas
    nightly = size.events * HISTORY_DAYS * (of["bootstrap_cpu_event"] + of["sweep_cpu_row"] / 2)
    return Plan(
        shards=shards,
        partitions=1 << math.ceil(math.log2(2 * shards)),
        busy=busy,
        workers=workers,
        cores=workers + machines,  # one of each machine for the system, sealing and checkpoints
        machines=machines,
        state_gib=state / GIB,
        memory_gib=memory / GIB + machines,
        disk_gib=disk / GIB,
        network_mbit=traffic * 8 / 1e6,
        nightly_cpu_hours=nightly / 3600,
    )
