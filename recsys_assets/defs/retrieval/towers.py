"""The two towers and the candidate sources beside them: chosen on validation, blind to the test days."""

import dagster as dg
import pyarrow as pa

from recsys_assets.resources import Workspace


@dg.asset(name="two_tower", deps=["training_set", "cleaned_events", "items"], kinds={"torch"}, owners=["team:recsys"])
def trained_towers(workspace: Workspace) -> dg.MaterializeResult:
    """Query and item tower: epochs and fusion chosen on validation, then learned from train and validation together."""
    from recsys.features.log import items_from_table
    from recsys.retrieval import engagements, replay, sources, two_tower_training
    from recsys.retrieval.text import with_words
    from recsys_assets.defs.retrieval.tables import events_before, split_tables

    settings, lake = workspace.settings, workspace.lake
    train, validation, test = split_tables(lake)
    items = lake.read(lake.table("cleaned", "items"))
    log = events_before(lake, min(test["date"].to_pylist()))
    learned = engagements.concat(engagements.from_history(log), engagements.from_impressions(train, log))
    judged = engagements.from_impressions(validation, log)
    catalogue = with_words(items_from_table(items), items)
    config = two_tower_training.TrainingConfig(seed=settings.seed)
    checkpoints = lake.models / "two_tower_checkpoints"
    chosen, report = two_tower_training.fit(learned, judged, log, catalogue, config, checkpoints)
    fusion, recalls = replay.fit(chosen, items, train, validation, log)
    tower = two_tower_training.refit(report, learned, judged, log, catalogue, config, checkpoints)
    shelves = replay.shelf_types(pa.concat_tables([train, validation]), items)
    tower.save(lake.models / "two_tower")
    sources.learn(log, items, shelves, fusion).save(lake.models / "two_tower")
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": report.examples,
            "fingerprint": tower.fingerprint,
            "validation_recall_at_100": report.recall_at_100,
            "seconds": report.seconds,
            "device": report.device,
            "epochs": dg.MetadataValue.json([dict(epoch) for epoch in report.epochs]),
            "fusion": dg.MetadataValue.json({"weights": dict(fusion.weights), "constant": fusion.constant}),
            "validation_recall_by_source": dg.MetadataValue.json(recalls),
        }
    )


@dg.asset_check(asset="two_tower", blocking=True)
def towers_speak_the_catalogue(workspace: Workspace) -> dg.AssetCheckResult:
    """The saved towers load unchanged, read the features that the service derives, and have their sources."""
    from recsys.retrieval.sources import SourceData, SourceDataError
    from recsys.retrieval.two_tower import QueryTower, TowerError

    folder = workspace.lake.models / "two_tower"
    try:
        tower, data = QueryTower.load(folder), SourceData.load(folder)
    except (TowerError, SourceDataError) as error:
        return dg.AssetCheckResult(passed=False, description=str(error))
    return dg.AssetCheckResult(
        passed=True, description=f"towers {tower.fingerprint}, neighbours of {len(data.item_keys):,} items"
    )
