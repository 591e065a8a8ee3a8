"""Why a bundle that passed its gates must still wait."""

from __future__ import annotations

import dagster as dg

from recsys.lake import Lake
from recsys.registry import Bundle, Registry
from recsys_assets.checks.standing import DRIFT, drift_is_explained, standing


def holds(instance: dg.DagsterInstance, lake: Lake, bundle: Bundle) -> list[str]:
    """Findings that hold this bundle back, in words; none lets it be promoted.

    Drift is explained, and holds nobody back, when it is why the bundle or the champion was learned, when a person
    asked for the bundle, or while nothing serves yet.
    """
    champion = Registry(lake.registry).champion()
    drift = f"{DRIFT.asset_key.to_user_string()}: {DRIFT.name}"
    explaining = [bundle.lineage, *([champion.lineage] if champion else [])]
    by_hand = champion is None or bundle.lineage.get("cause") == "by hand"
    return [
        str(finding)
        for finding in standing(instance, lake)
        if not (finding.check.startswith("drift_report: ") and by_hand)
        and not (finding.check == drift and any(drift_is_explained(finding.day, told) for told in explaining))
    ]
