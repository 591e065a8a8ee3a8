"""What Dagster shows of an asset beside its description: the version of its code, how fresh it should be, its columns.

One pass over all of them when the definitions are built, so that no asset repeats it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa

from recsys.cleaned.keyed import CLEANED_ITEM_SCHEMA
from recsys.cleaned.publish import TABLES
from recsys.events import EVENT_SCHEMA, ITEM_SCHEMA, USER_SCHEMA
from recsys_assets.defs.automation.schedules import OBSERVED

ROOT = Path(__file__).parents[1]
SCHEMAS: dict[str, pa.Schema] = {
    "raw_events": EVENT_SCHEMA,
    "raw_items": ITEM_SCHEMA,
    "raw_users": USER_SCHEMA,
    "items": CLEANED_ITEM_SCHEMA,
    **{model: schema for model, (_, schema, _) in TABLES.items()},
}
# The schedules bring them every night, hour and week; twice as long is late. Drift is judged of one day of a night's.
LATE = {
    **dict.fromkeys(OBSERVED, timedelta(days=2)),
    **dict.fromkeys(("online_metrics", "experiments"), timedelta(hours=2)),
    "bundle": timedelta(days=2),
    "two_tower": timedelta(days=14),
}


def described(assets: Iterable[Any]) -> list[Any]:
    """Those assets, with code version, freshness policy and column schema where they have none."""
    return list(dg.map_asset_specs(_described, assets))


def _described(spec: dg.AssetSpec) -> dg.AssetSpec:
    name = spec.key.to_user_string()
    metadata = dict(spec.metadata)
    if name in SCHEMAS:
        columns = [dg.TableColumn(field.name, str(field.type)) for field in SCHEMAS[name]]
        metadata["dagster/column_schema"] = dg.TableSchema(columns=columns)
    return spec.replace_attributes(
        metadata=metadata,
        code_version=spec.code_version or _code_version(spec),
        freshness_policy=dg.FreshnessPolicy.time_window(fail_window=LATE[name]) if name in LATE else None,
    )


def _code_version(spec: dg.AssetSpec) -> str | None:
    """A hash of the asset's module and of the modules of the core that it names."""
    references = spec.metadata.get("dagster/code_references")
    paths = [ref.file_path for ref in references.code_references if hasattr(ref, "file_path")] if references else []
    modules = [path for path in paths if path.endswith(".py")]
    return _hashed(modules[0]) if modules else None


@cache
def _hashed(path: str) -> str:
    text = Path(path).read_text()
    named = sorted(set(re.findall(r"from (recsys(?:\.\w+)*) import", text)))
    files = [ROOT.joinpath(*module.split(".")).with_suffix(".py") for module in named]
    content = [text, *(file.read_text() for file in files if file.exists())]
    return hashlib.sha256("\0".join(content).encode()).hexdigest()[:12]
