"""Every bundle ever registered, on one page."""

import dagster as dg

from recsys_assets.content import content
from recsys_assets.defs.automation.conditions import AFTER_CHANGE
from recsys_assets.resources import Workspace


@dg.asset(
    deps=["bundle", "online_metrics"],
    automation_condition=AFTER_CHANGE,
    kinds={"html"},
    owners=["team:recsys"],
)
def bundle_versions(workspace: Workspace) -> dg.MaterializeResult:
    """All bundles side by side, from days and code to verdict, aliases, offline and online: reports/versions.html."""
    import base64

    import polars as pl

    from recsys.monitoring import versions
    from recsys.registry import Registry

    lake = workspace.lake
    online, page = lake.reports / "online.parquet", lake.reports / "versions.html"
    bundles = versions.versions(Registry(lake.registry), pl.read_parquet(online) if online.exists() else None)
    drawn = base64.b64encode(versions.write(page, bundles).encode()).decode()
    champion = bundles.filter(pl.col("aliases").str.contains("champion")).to_dicts()
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": bundles.height,
            "passed": int(bundles["passed"].fill_null(False).sum()),
            "refused": int((~bundles["passed"].fill_null(True)).sum()),
            **({"champion_auc_click": champion[0]["auc_click"]} if champion and champion[0]["auc_click"] else {}),
            "versions": dg.MetadataValue.md(versions.markdown(bundles)),
            "curves": dg.MetadataValue.md(f"![figures over the versions](data:image/svg+xml;base64,{drawn})"),
            "page": dg.MetadataValue.path(page),
        },
        data_version=content(page),
    )
