"""Who takes part in the comparison: read from the lake, the registry and the source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from recsys.features.privacy import Border
from recsys.lake import Lake
from recsys.sources.source import Source

if TYPE_CHECKING:
    from recsys.evaluation.report import RetrievalTask
    from recsys.features.log import EventLog, Items
    from recsys.ranking.ranker import Ranker


def tables(lake: Lake, parts: Sequence[str]) -> dict[str, pl.DataFrame]:
    """Training-set tables by part."""
    read = {part: pl.from_arrow(lake.read(lake.table("training_sets", part))) for part in parts}
    return {part: frame for part, frame in read.items() if isinstance(frame, pl.DataFrame)}


def previous_champion(lake: Lake, challenger: Ranker) -> Ranker | None:
    """The ranker now promoted, when it can be asked about the same features."""
    from recsys.ranking.ranker import load_ranker
    from recsys.registry import Registry

    bundle = Registry(lake.registry).champion()
    if bundle is None:
        return None
    previous = load_ranker(bundle.path / "ranker")
    return previous if previous.fingerprint == challenger.fingerprint else None


def not_chosen(lake: Lake, challenger: Ranker) -> dict[str, Ranker]:
    """The trained rankers beside the one that the contest chose: compared on the same rows, never promoted."""
    from recsys.ranking.ranker import load_ranker

    folders = sorted((lake.models / "rankers").glob("*/ranker.json"))
    found = {ranker.name: ranker for ranker in (load_ranker(path.parent) for path in folders)}
    return {
        name: ranker
        for name, ranker in found.items()
        if name != challenger.name and ranker.feature_names == challenger.feature_names
    }


def log_and_items(lake: Lake) -> tuple[EventLog, Items]:
    """The cleaned events of all days, and the catalogue."""
    from recsys.features.log import EventLog, from_table, items_from_table

    columns = [*(name for name in EventLog._fields if name != "kind"), "kind_code"]
    log = from_table(lake.read_days(lake.days("cleaned", "events"), "cleaned", "events", columns=columns))
    return log, items_from_table(lake.read(lake.table("cleaned", "items")))


def categories(lake: Lake) -> dict[int, str]:
    """Names of the categories by key."""
    items = lake.read(lake.table("cleaned", "items"), ["category_key", "category"])
    return dict(zip(items["category_key"].to_pylist(), items["category"].to_pylist(), strict=True))


def candidates(lake: Lake, task: RetrievalTask, log: EventLog, items: Items) -> Mapping[str, np.ndarray]:
    """Candidates of every heuristic and every source for each query of the task, as the log stood at its instant."""
    from recsys.evaluation import report
    from recsys.evaluation.compare import retrieve_with_heuristics

    heuristics = retrieve_with_heuristics(log, items, task)
    proposed = report.aligned(pl.DataFrame(lake.read(lake.table("retrieval", "candidates"))), task)
    # a source may go by a heuristic's name (popular by shelf and age, trending by half-life): both are told apart
    return {**heuristics, **{f"{n}_source" if n in heuristics else n: lists for n, lists in proposed.items()}}


def true_long_views(source: Source, border: Border, test: pl.DataFrame) -> np.ndarray | None:
    """True P(long view) of every test row in the first slot, where the source knows it; impressions told by the
    service may name users that the simulator does not have: then there is no truth for the whole.
    """
    from recsys.sources.simulator import Simulator

    if not isinstance(source, Simulator):
        return None
    given = {border.user(user): user for user in source.users()["user_id"].to_pylist()}
    users = [given.get(user, user) for user in test["user_id"].to_list()]
    try:
        found = source.truth.outcome(users, test["item_id"].to_list(), test["occurred_at"].to_numpy())
    except KeyError:
        return None
    return found.long_view
