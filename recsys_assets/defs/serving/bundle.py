"""Towers, sources, item index, ranker and orders under one content hash; promoted when the verdict says so."""

import dagster as dg

from recsys_assets.checks.nothing import nothing
from recsys_assets.resources import Workspace


@dg.asset(
    name="bundle",
    deps=[
        "two_tower",
        "item_index",
        "ranker",
        "refreshed_factors",
        "shelf_orders",
        "items",
        "verdict",
        "online_state",
        "drift_reference",
    ],
    kinds={"json"},
    owners=["team:recsys"],
)
def registered_bundle(context: dg.AssetExecutionContext, workspace: Workspace) -> dg.MaterializeResult:
    """Everything an answer is made of, registered as one immutable bundle; champion when the verdict says so."""
    import shutil
    import tempfile
    from pathlib import Path

    from recsys.evaluation.evidence import require
    from recsys.evaluation.gates import Verdict
    from recsys.monitoring.reference import FILE
    from recsys.registry import Registry
    from recsys.serving.assemble import assemble
    from recsys.store.opening import open_store
    from recsys_assets.defs.evaluation.contenders import judged_ranker
    from recsys_assets.defs.serving.holds import holds
    from recsys_assets.defs.serving.lineage import lineage
    from recsys_assets.defs.serving.parts import (
        about_log,
        example_users,
        facts,
        metrics,
        published_index,
        refresh_sources,
        save_orders,
        save_refreshed,
    )

    settings, lake = workspace.settings, workspace.lake
    registry, verdict = Registry(lake.registry), Verdict.load(lake.reports / "verdict.json")
    collection, index, index_tower = published_index(settings)
    lake.registry.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=lake.registry, prefix=".assembling-") as staging:
        folder = Path(staging) / "bundle"
        refresh_sources(lake, Path(staging) / "sources")
        assemble(
            folder,
            tower=lake.models / "two_tower",
            sources=Path(staging) / "sources",
            ranker=judged_ranker(lake),
            items=lake.read(lake.table("cleaned", "items")),
            index=index,
            about=about_log(settings),
        )
        require(verdict.judged, lake, folder / "ranker")
        save_refreshed(lake, folder)
        save_orders(lake, folder)
        shutil.copyfile(lake.models / FILE, folder / FILE)
        bundle = registry.register(
            folder,
            facts(settings, folder, collection, index_tower),
            metrics=metrics(lake),
            lineage={**lineage(context, settings, folder), "example_users": example_users(lake)},
        )
    held = holds(context.instance, lake, bundle)
    if verdict.passed and not held:
        store = open_store(settings)
        registry.promote(bundle.bundle_id, held=store.fingerprint, reason="; ".join(verdict.reasons))
        store.close()
    champion = registry.champion()
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(index.item_ids),
            "bundle_id": bundle.bundle_id,
            "promoted": verdict.passed and not held,
            "held_back_by": dg.MetadataValue.md("\n".join(f"- {reason}" for reason in held) or "nothing"),
            "reasons": dg.MetadataValue.md("\n".join(f"- {reason}" for reason in verdict.reasons)),
            "champion": champion.bundle_id if champion else "none",
            "collection": collection,
            "path": dg.MetadataValue.path(bundle.path),
        },
        data_version=dg.DataVersion(f"{bundle.bundle_id}, champion {champion.bundle_id if champion else 'none'}"),
    )


@dg.asset_check(asset="bundle")
def nothing_holds_promotion_back(context: dg.AssetCheckExecutionContext, workspace: Workspace) -> dg.AssetCheckResult:
    """No finding stands that a bundle must wait for; each is cleared by its day, or by the job `accept_finding`."""
    from recsys.registry import Registry
    from recsys_assets.defs.serving.holds import holds

    registry = Registry(workspace.lake.registry)
    held = holds(context.instance, workspace.lake, registry.bundles()[-1])
    return dg.AssetCheckResult(
        passed=not held,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(held) or "nothing stands in the way",
    )


@dg.asset_check(asset="bundle", blocking=True)
def the_bundle_answers(workspace: Workspace) -> dg.AssetCheckResult:
    """The champion is loaded as a worker would and gives a stranger a full slate; every byte is verified on the way."""
    from recsys.registry import Registry
    from recsys.serving.opening import open_recommender
    from recsys.serving.schema import RecommendRequest

    if Registry(workspace.lake.registry).champion() is None:
        return nothing("no bundle passed its gates yet")
    recommender = open_recommender(workspace.settings, follow=False, logged=False)
    try:
        answer = recommender.recommend(RecommendRequest(user_id="a-stranger"))
    finally:
        recommender.close()
    return dg.AssetCheckResult(
        passed=answer.rung == "full" and len(answer.items) > 0,
        description=f"bundle {answer.bundle} answers on rung {answer.rung} with {len(answer.items)} items",
    )
