"""Loads `defs/`; wires resources. Nothing is computed here."""

from __future__ import annotations

import sys
import warnings
from functools import cache
from pathlib import Path

import dagster as dg

from recsys.settings import Settings, from_environment
from recsys_assets.described import described
from recsys_assets.partitions import days, offering
from recsys_assets.resources import Workspace, spark


@dg.definitions
def defs() -> dg.Definitions:
    # `dagster ... -m recsys_assets.definitions` has the checkout on its path only while it imports this module.
    if (checkout := str(Path(__file__).parents[1])) not in sys.path:
        sys.path.append(checkout)
    settings = from_environment()
    return built(settings, days(settings))


@cache
def built(settings: Settings, offered: tuple[str, ...]) -> dg.Definitions:
    """Once for all steps that are forked: it takes 0.55 s. Settings and days are all that it depends on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # two lines of it an asset
        loaded = dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
        assets = described(dg.with_source_code_references(offering(loaded.assets or [], offered)))
    return dg.Definitions(
        assets=assets,
        asset_checks=loaded.asset_checks,
        jobs=loaded.jobs,
        schedules=loaded.schedules,
        sensors=loaded.sensors,
        resources={"workspace": Workspace(), "spark": spark(settings)},
        # Steps are forked from a process that has built the definitions: spawning one costs 4 CPU s each.
        executor=dg.multiprocess_executor.configured(
            {
                "max_concurrent": 2,
                "start_method": {"forkserver": {"preload_modules": ["recsys_assets.preload"]}},
            }
        ),
    )
