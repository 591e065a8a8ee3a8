"""A bundle of what is trained now, for requests of the past."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from recsys.lake import Lake

if TYPE_CHECKING:
    from recsys.features.log import ItemHistory
    from recsys.ranking.ranker import Ranker
    from recsys.serving.bundle import ServingBundle


def trained(lake: Lake, ranker: Ranker) -> tuple[ServingBundle, ItemHistory]:
    """It with that ranker, and the items as they were."""
    from recsys.cleaned.people import people_of
    from recsys.cleaned.versions import item_history
    from recsys.retrieval.embeddings import indexed
    from recsys.retrieval.item_index import ExactMirror
    from recsys.retrieval.sources import SourceData
    from recsys.retrieval.two_tower import QueryTower
    from recsys.serving.rehearsal import bundle_of

    embedded, history, folder = lake.read(lake.table("embeddings", "items")), item_history(lake), lake.models
    mirror = ExactMirror(json.loads((folder / "item_index.json").read_text())["collection"], indexed(embedded))
    tower, data = QueryTower.load(folder / "two_tower"), SourceData.load(folder / "two_tower")
    bundle = bundle_of(tower, data, ranker, embedded, mirror, history)
    return replace(bundle, people=people_of(lake)), history
