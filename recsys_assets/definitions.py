"""Loads `defs/`; wires resources. Nothing is computed here."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path

import dagster as dg
from dagster_shared.record import replace

from recsys.settings import Settings, from_environment
from recsys_assets.partitions import days
from recsys_assets.resources import Workspace, spark


@dg.definitions
def defs() -> dg.Definitions:
    return _built(from_environment(), days())


@cache
def _built(settings: Settings, _days: dg.DailyPartitionsDefinition) -> dg.Definitions:
    """Once for all steps that are forked: it takes 0.55 s. Settings and days are all that it depends on."""
    loaded = dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # two lines of it an asset
        assets = dg.with_source_code_references(list(loaded.assets or []))
    return dg.Definitions.merge(
        replace(loaded, assets=assets),
        dg.Definitions(
            resources={"workspace": Workspace(), "spark": spark(settings)},
            # Steps are forked from a process that has built the definitions: spawning one costs 4 CPU s each.
            executor=dg.multiprocess_executor.configured(
                {
                    "max_concurrent": 2,
                    "start_method": {"forkserver": {"preload_modules": ["recsys_assets.preload"]}},
                }
            ),
        ),
    )
