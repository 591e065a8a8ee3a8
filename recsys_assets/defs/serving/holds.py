"""Why a bundle that passed its gates must still wait."""

from __future__ import annotations

import dagster as dg

from recsys.lake import Lake
from recsys.registry import Bundle, Registry
from recsys_assets.defs.monitoring.standing import DRIFT, PREDICTED, drift_is_explained, name_of, standing


def holds(instance: dg.DagsterInstance, lake: Lake, bundle: Bundle) -> list[str]:
    """Findings that hold this bundle back, in words; none lets it be promoted.

    Nothing holds the first champion back, as there is none to protect. Drift is explained, and holds nobody back, when
    it is why the bundle or the champion was learned, or when a person asked for the bundle.
    """
    champion = Registry(lake.registry).champion()
    if champion is None or champion.facts.features != bundle.facts.features:  # of other features: it cannot serve
        return []
    drift = {name_of(check) for check in (DRIFT, PREDICTED)}
    explaining = [bundle.lineage, champion.lineage]
    by_hand = bundle.lineage.get("cause") == "by hand"
    return [
        str(finding)
        for finding in standing(instance, lake)
        if not (finding.check.startswith("drift_report: ") and by_hand)
        and not (finding.check in drift and any(drift_is_explained(finding.day, told) for told in explaining))
    ]
