"""The two towers and the candidate sources beside them: chosen on validation, blind to the test days."""

import dagster as dg
import pyarrow as pa

from recsys_assets.content import content
from recsys_assets.resources import Workspace

TOWERS_ON_TRAIN = "two_tower_on_train"  # beside them: those that have not seen the validation days


@dg.asset(
    name="two_tower",
    deps=["training_set", "cleaned_events", "items", "raw_users"],
    kinds={"torch"},
    owners=["team:recsys"],
)
def trained_towers(workspace: Workspace) -> dg.MaterializeResult:
    """Query and item tower: epochs and fusion chosen on validation, then learned from train and validation together."""
    from recsys.cleaned.log import read_log
    from recsys.cleaned.people import people_of
    from recsys.cleaned.versions import item_history, items_before
    from recsys.features.log import items_from_table
    from recsys.retrieval import engagements, replay, sources, two_tower_training
    from recsys.retrieval.text import with_content
    from recsys_assets.defs.retrieval.tables import split_tables

    settings, lake = workspace.settings, workspace.lake
    train, validation, test = split_tables(lake)
    items = items_before(lake, min(test["occurred_at"].to_pylist()))
    log = read_log(lake, before=min(test["date"].to_pylist()))
    learned = engagements.concat(engagements.from_history(log), engagements.from_impressions(train, log))
    judged = engagements.from_impressions(validation, log)
    catalogue = with_content(items_from_table(items), items)
    config = two_tower_training.TrainingConfig(seed=settings.seed)
    checkpoints, people = lake.models / "two_tower_checkpoints", people_of(lake)
    chosen, report = two_tower_training.fit(learned, judged, log, catalogue, config, checkpoints, people=people)
    fitted = replay.fit(chosen, items, train, validation, log, item_history(lake), people)
    given = (learned, judged, log, catalogue, config, checkpoints)
    tower = two_tower_training.refit(chosen, report, *given, people=people)
    shelves = replay.shelf_types(pa.concat_tables([train, validation]), items)
    for folder, towers, known in (("two_tower", tower, log), (TOWERS_ON_TRAIN, chosen, replay.before(validation, log))):
        towers.save(lake.models / folder)
        sources.learn(known, items, shelves, fitted.fusion, fitted.repeats).save(lake.models / folder)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": report.examples,
            "fingerprint": tower.fingerprint,
            "validation_recall_at_100": report.recall_at_100,
            "seconds": report.seconds,
            "device": report.device,
            "epochs": dg.MetadataValue.json([dict(epoch) for epoch in report.epochs]),
            "fusion": dg.MetadataValue.json(
                {"weights": dict(fitted.fusion.weights), "constant": fitted.fusion.constant}
            ),
            "repeats": dg.MetadataValue.json(fitted.repeats._asdict()),
            "validation_recall_by_source": dg.MetadataValue.json(fitted.recalls),
        },
        data_version=content(lake.models / "two_tower", lake.models / TOWERS_ON_TRAIN),
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
