"""What challengers would get by the champion's log, before they are tried on anyone."""

import json
from typing import TYPE_CHECKING, Any

import dagster as dg

from recsys_assets.content import content
from recsys_assets.defs.monitoring.feedback import told_since
from recsys_assets.resources import Workspace

if TYPE_CHECKING:
    from recsys.registry import Registry

NEWEST = 3  # challengers that are looked at beside the arms of experiments


@dg.asset(deps=["online_metrics"], kinds={"polars"}, owners=["team:recsys"])
def foreseen(context: dg.AssetExecutionContext, workspace: Workspace) -> dg.MaterializeResult:
    """Each challenger by what places explored before anybody saw it: reports/foreseen.json. Too few is a result."""
    from recsys.lake import replacing
    from recsys.registry import Registry
    from recsys.serving.foreseen import words

    registry, told = Registry(workspace.lake.registry), {}
    for (champion, until), challengers in _asked(registry).items():
        report = _report(workspace, registry, champion, until, challengers)
        for name in challengers:
            told[name] = {"champion": champion, "until": until, "figures": report, "words": words(report, name)}
            context.log.info(f"bundle {name}: {told[name]['words']}")
    path = workspace.lake.reports / "foreseen.json"
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(told, indent=1))
    lines = [f"- {name}: {one['words']}" for name, one in told.items()]
    return dg.MaterializeResult(
        metadata={"challengers": len(told), "told": dg.MetadataValue.md("\n".join(lines) or "nobody is a challenger")},
        data_version=content(path),
    )


def _asked(registry: "Registry") -> dict[tuple[str, int | None], list[str]]:
    """Challengers by whose log they are looked at and until when (UTC ms; None: now): arms until they were tried, and
    the newest bundles since the champion.
    """
    from recsys.features.catalog import FINGERPRINT

    asked: dict[tuple[str, int | None], list[str]] = {}
    running = registry.experiments.running()[0]
    for trial in running:
        control = trial.arms[trial.control]
        asked[control, trial.begins] = [arm for arm in trial.arms.values() if arm != control]
    champion, tried = registry.champion(), {arm for trial in running for arm in trial.arms.values()}
    if champion is not None:
        fit = [b for b in registry.bundles() if b.facts.features == FINGERPRINT and b.bundle_id not in tried]
        newer = [b.bundle_id for b in fit if b.created_at > champion.created_at]
        if newer:
            asked[champion.bundle_id, None] = newer[-NEWEST:]
    return asked


def _report(
    workspace: Workspace, registry: "Registry", champion: str, until: int | None, challengers: list[str]
) -> dict[str, Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    from recsys.monitoring.feedback import of_events
    from recsys.policy.exploration import Explorer
    from recsys.registry import RegistryError
    from recsys.serving import served_log
    from recsys.serving.bundle import BundleRefused, ServingBundle, load
    from recsys.serving.foreseen import ESTIMATORS, foreseen
    from recsys.store.opening import open_store

    lake = workspace.lake
    kept = []
    for path in served_log.segments(lake.served_log):  # one in memory at a time: its features are most of it
        rows = served_log.read([path]).drop_columns(["features"])
        mine = pc.and_kleene(rows["explored"], pc.equal(rows["bundle"], champion))
        kept.append(rows.filter(pc.and_kleene(mine, pc.less(rows["served_at"], until or 1 << 62))))
    drawn = pa.concat_tables(kept or [served_log.SCHEMA.empty_table().drop_columns(["features"])])
    seen = of_events(told_since(workspace, served_log.days(lake.served_log)[:1]))
    clicked = {
        (request, item): bool(click) for request, item, click in seen.select("request_id", "item_id", "click").rows()
    }
    store = open_store(workspace.settings)

    def loaded(name: str) -> ServingBundle:
        return load(registry.get(name), None, store.fingerprint, registry)

    try:
        able: dict[str, ServingBundle] = {}
        wrong: dict[str, str] = {}
        for name in challengers:
            try:
                able[name] = loaded(name)
            except (BundleRefused, RegistryError) as error:
                wrong[name] = str(error)
        report = foreseen(drawn, clicked, store, loaded, Explorer(registry.secret()), able).report()
        return report | {name: dict.fromkeys(ESTIMATORS, why) for name, why in wrong.items()}
    finally:
        store.close()
