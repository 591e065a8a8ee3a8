"""What a plan meets in a bad hour, drawn by chance: hot users, a lost shard, a lost zone. Seeded: always the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np

from recsys.capacity.plan import ZONES, Plan, Size, state_bytes

DRAWN: Final = 1_000_000  # of the busiest users; the others' load lies evenly on the shards
TAIL: Final = 1.6  # of the Pareto of a user's activity: the busiest of a million does .2 % of all
RESTORE_BYTES: Final = 200e6  # a second, from a backup in the same region
BACKUP_HOURS: Final = 24.0  # of events that come again from the stream


class BadHour(NamedTuple):
    """What was met."""

    hottest_user: float  # share of the load
    hottest_shard: float  # load over the mean
    busiest: float  # share of the time that the hottest shard's cores work
    shard_lost_users: float  # share of the users who wait
    zone_lost_users: float
    back_hours: float  # until a shard answers again, with the stream's events since the backup
    zone_lost_busy: float  # share of the time that the other zones' cores work, once they have its shards


def simulate(size: Size, plan: Plan, of: Mapping[str, float], seed: int = 1) -> BadHour:
    """The bad hour of a plan."""
    chance, drawn = np.random.default_rng(seed), min(size.users, DRAWN)
    # the busiest users' ranks among all of them, from 0 to 1: sums of exponentials are order statistics of a uniform
    ranks = np.minimum(np.cumsum(chance.exponential(size=drawn)) / size.users, 1.0)
    activity = ranks ** (-1 / TAIL)
    others = 0.0 if drawn == size.users else size.users * (1 - ranks[-1] ** (1 - 1 / TAIL)) / (1 - 1 / TAIL)
    load = np.bincount(chance.integers(plan.shards, size=drawn), activity, plan.shards) + others / plan.shards
    hottest = float(load.max() / load.mean())
    usual = plan.busy / plan.workers
    left = plan.workers - -(-plan.workers // ZONES) if plan.workers >= ZONES else plan.workers
    behind = size.events / 24 * BACKUP_HOURS / plan.shards * of["append_cpu_event"]
    copied = sum(state_bytes(size, of)) / plan.shards / RESTORE_BYTES
    return BadHour(
        hottest_user=float(activity[0] / load.sum()),
        hottest_shard=hottest,
        busiest=usual * hottest,
        shard_lost_users=1 / plan.shards,
        zone_lost_users=-(-plan.shards // ZONES) / plan.shards,
        back_hours=(behind + copied) / 3600,
        zone_lost_busy=plan.busy / left,
    )
