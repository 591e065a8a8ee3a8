"""Who takes part in the comparison: read from the lake, the registry and the source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from filecmp import cmpfiles
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from recsys.events import DAY_MS
from recsys.lake import Lake
from recsys.privacy.border import Border
from recsys.sources.source import Source, day_number

if TYPE_CHECKING:
    from recsys.evaluation.report import RetrievalTask
    from recsys.features.log import EventLog, Items
    from recsys.ranking.ranker import Ranker
    from recsys.registry import Bundle


def tables(lake: Lake, parts: Sequence[str], columns: Sequence[str] | None = None) -> dict[str, pl.DataFrame]:
    """Training-set tables by part; None: all columns."""
    read = {part: pl.from_arrow(lake.read(lake.table("training_sets", part), columns)) for part in parts}
    return {part: frame for part, frame in read.items() if isinstance(frame, pl.DataFrame)}


def previous_champion(lake: Lake, challenger: Ranker) -> tuple[Ranker, int] | None:
    """The ranker now promoted, when it can be asked about the same features (no other can serve any more); and the
    last instant (UTC ms) of a row that it learned from.
    """
    from recsys.ranking.saved import load_ranker
    from recsys.registry import Registry

    bundle = Registry(lake.registry).champion()
    if bundle is None:
        return None
    previous = load_ranker(bundle.path / "ranker")
    return (previous, learned_until(bundle)) if previous.fingerprint == challenger.fingerprint else None


def learned_until(bundle: Bundle) -> int:
    """Last instant (UTC ms) of the rows that a bundle's ranker learned from.

    Bundles of before it was kept name the days on which they were judged: if it is one alone, its last hours may have
    been the test and the rest of it learned, so the day counts as learned whole.
    """
    if "learned_until" in bundle.lineage:
        return int(bundle.lineage["learned_until"])
    judged = bundle.lineage.get("judged_on") or []
    if not judged:
        return 0
    whole = 1 if judged[0] == judged[1] else 0
    return (day_number(judged[0]) + whole) * DAY_MS - bundle.facts.utc_offset_ms - 1


def rankers(lake: Lake) -> dict[str, Path]:
    """Folders of everything that may be the first champion or replace one, by its own name."""
    from recsys.ranking.ranker import FILE, read_header

    paths = [*sorted(lake.models.glob("heuristics/*")), *sorted(lake.models.glob("rankers/*")), lake.models / "ranker"]
    return {read_header(path)["name"]: path for path in paths if (path / FILE).exists()}


def not_chosen(lake: Lake, challenger: Ranker) -> dict[str, Ranker]:
    """The trained rankers beside the one that the contest chose: compared on the same rows, never promoted.

    One that is a member of the challenger, byte for byte, is that member.
    """
    from recsys.ranking.inside import members
    from recsys.ranking.saved import load_ranker

    folders = [path.parent for path in sorted((lake.models / "rankers").glob("*/ranker.json"))]
    inside = {member.name: member for member in members(challenger)}

    def ranker_of(folder: Path) -> Ranker:
        copy = lake.models / "ranker" / folder.name
        names = [path.name for path in copy.glob("*") if path.is_file()]
        is_same = names and folder.name in inside and len(cmpfiles(folder, copy, names, shallow=False)[0]) == len(names)
        return inside[folder.name] if is_same else load_ranker(folder)

    rankers = {ranker.name: ranker for ranker in map(ranker_of, folders)}
    return {
        name: ranker
        for name, ranker in rankers.items()
        if name != challenger.name and ranker.feature_names == challenger.feature_names
    }


def judged_ranker(lake: Lake) -> Path:
    """Folder of the ranker that the verdict is about: the contest's choice, or whatever is to be the first champion.

    Raises:
        RankerError: it is not there any more.
    """
    from recsys.evaluation.gates import Verdict
    from recsys.ranking.ranker import RankerError

    name, there = Verdict.load(lake.reports / "verdict.json").challenger, rankers(lake)
    if name not in there:
        raise RankerError(
            f"the verdict is about {name}, which is not in {lake.models}: materialize evaluation and verdict"
        )
    return there[name]


def log_and_items(lake: Lake) -> tuple[EventLog, Items]:
    """The cleaned events of all days, and the catalogue."""
    from recsys.cleaned.log import read_log
    from recsys.features.log import items_from_table

    return read_log(lake), items_from_table(lake.read(lake.table("cleaned", "items")))


def categories(lake: Lake) -> dict[int, str]:
    """Names of the categories by key."""
    items = lake.read(lake.table("cleaned", "items"), ["category_key", "category"])
    return dict(zip(items["category_key"].to_pylist(), items["category"].to_pylist(), strict=True))


def come_back(lake: Lake) -> bool:
    """Whether what was engaged with may be proposed, as the candidate sources learned it."""
    from recsys.retrieval.sources import SourceData

    return SourceData.load(lake.models / "two_tower").repeats.come_back


def candidates(lake: Lake, task: RetrievalTask, log: EventLog, items: Items) -> Mapping[str, np.ndarray]:
    """Candidates of every heuristic and every source for each query of the task, as the log stood at its instant."""
    from recsys.evaluation import report
    from recsys.evaluation.compare import retrieve_with_heuristics

    heuristics = retrieve_with_heuristics(log, items, task, come_back(lake))
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
        shelves = test["shelf"].to_list()
        outcomes = source.truth.outcome(users, test["item_id"].to_list(), test["occurred_at"].to_numpy(), shelf=shelves)
    except KeyError:
        return None
    return outcomes.long_view
