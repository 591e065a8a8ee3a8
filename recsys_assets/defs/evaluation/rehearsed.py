"""A bundle of what is trained now, for requests of the past."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from recsys.lake import Lake

if TYPE_CHECKING:
    from recsys.features.log import ItemHistory
    from recsys.ranking.ranker import Ranker
    from recsys.serving.bundle import ServingBundle


def trained(lake: Lake, ranker: Ranker, towers: str = "two_tower") -> tuple[ServingBundle, ItemHistory]:
    """It with that ranker, and the items as they were.

    Args:
        towers: folder of the models: TOWERS_ON_TRAIN holds those that have not seen the validation days
    """
    from recsys.cleaned.people import people_of
    from recsys.cleaned.versions import item_history
    from recsys.retrieval.embeddings import embed, indexed
    from recsys.retrieval.item_index import ExactMirror
    from recsys.retrieval.sources import SourceData
    from recsys.retrieval.two_tower import QueryTower
    from recsys.serving.rehearsal import bundle_of

    history, folder = item_history(lake), lake.models / towers
    tower, data = QueryTower.load(folder), SourceData.load(folder)
    embedded = lake.read(lake.table("embeddings", "items"))
    if embedded.schema.metadata[b"tower"].decode() != tower.fingerprint:
        embedded = embed(tower, embedded)
    bundle = bundle_of(tower, data, ranker, embedded, ExactMirror(towers, indexed(embedded)), history)
    return replace(bundle, people=people_of(lake)), history
