"""Loads `defs/`; wires resources. Nothing is computed here."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from recsys_assets.resources import Workspace


@dg.definitions
def defs() -> dg.Definitions:
    return dg.Definitions.merge(
        dg.load_from_defs_folder(path_within_project=Path(__file__).parent),
        dg.Definitions(resources={"workspace": Workspace()}),
    )
