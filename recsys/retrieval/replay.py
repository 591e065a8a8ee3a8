"""Past requests asked again: what the log gave the sources to go by at each instant, and what they propose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Final, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa

from recsys.events import KINDS, first_position
from recsys.features import sweep
from recsys.features.judged import Judgements
from recsys.features.log import EventLog, ItemHistory
from recsys.features.people import NO_ONE, People
from recsys.policy.filters import seen_items
from recsys.policy.repeats import Repeats
from recsys.policy.shelves import shelf_of
from recsys.retrieval.embeddings import embed, indexed
from recsys.retrieval.engagements import about_rows, met_by, read_rows, requests
from recsys.retrieval.fusion import Fusion, fit_fusion, mean_recall
from recsys.retrieval.item_index import ExactMirror
from recsys.retrieval.sources import DEPTH, Ask, Retriever, learn
from recsys.retrieval.two_tower import QueryTower

FUSED: Final = "fused"
FITTING_USERS: Final = 2_000  # validation users that the fusion is fitted on; recall then has a standard error of 0.01


class Fitted(NamedTuple):
    """What the sources learned beside their lists."""

    fusion: Fusion
    repeats: Repeats  # of the training days
    recalls: dict[str, float]  # mean recall@50/100/200 of each source on the validation days


def asks(first: pa.Table, log: EventLog, come_back: bool, people: People = NO_ONE) -> Iterator[Ask]:
    """The requests of these impressions, in their order, with what the service would leave out of their slates.

    Args:
        first: impressions (user_key, item_key, occurred_at, shelf, device).
        log: events up to them; each request sees what was received strictly before its instant.
        come_back: of `Repeats`
        people: what is said of users; each request sees what was known at its instant.
    """
    rows = requests(first, log)
    engaged = sweep.histories(log, rows.user_key, rows.position, rows.as_of).engaged()
    features = read_rows(log, rows, people)
    shelves = first["shelf"].to_pylist()
    judgements = Judgements.of_log(log)
    about = about_rows(log, rows, people)
    for r in range(first.num_rows):
        item_keys, kinds, occurred_at = engaged.row(r)
        judged = judgements.of(int(rows.user_key[r]), int(rows.position[r]))
        yield Ask(
            at=int(rows.as_of[r]),
            shelf=shelves[r] or "",
            item_keys=item_keys,
            kinds=kinds,
            occurred_at=occurred_at,
            features=features[r],
            seen=seen_items(judged, shelf_of(shelves[r], come_back), int(rows.as_of[r])),
            judged=judged,
            about=about[r],
        )


def first_requests(impressions: pa.Table) -> pa.Table:
    """Each user's first impression, for users who click or view long somewhere in the table; ordered by user."""
    frame = pl.DataFrame(pl.from_arrow(impressions))
    wanted = frame.filter((pl.col("click") > 0) | (pl.col("long_view") > 0)).select("user_key").unique()
    first = frame.sort("occurred_at", "position").unique("user_key", keep="first", maintain_order=True)
    return first.join(wanted, on="user_key", how="semi").sort("user_key").to_arrow()


def wanted_rows(impressions: pa.Table, first: pa.Table, retriever: Retriever) -> list[np.ndarray]:
    """For each of the `first` requests, the catalogue rows that its user clicks or views long in the table."""
    frame = pl.DataFrame(pl.from_arrow(impressions))
    engaged = frame.filter((pl.col("click") > 0) | (pl.col("long_view") > 0))
    by_user = dict(engaged.group_by("user_key").agg("item_key").iter_rows())
    return [retriever.rows(np.unique(by_user[user])) for user in first["user_key"].to_pylist()]


def fit(
    tower: QueryTower,
    items: pa.Table,
    train: pa.Table,
    validation: pa.Table,
    log: EventLog,
    history: ItemHistory | None = None,
    people: People = NO_ONE,
) -> Fitted:
    """The fusion that serves the validation users best; whether what was engaged with comes back.

    Lists, neighbours and repeats are learned from the days before validation for it. `history` is that of a Retriever.
    """
    embedded = embed(tower, items)
    mirror = ExactMirror("validation", indexed(embedded))
    known = before(validation, log)
    data = learn(known, items, shelf_types(train, items))
    retriever = Retriever(tower, mirror, mirror.collection, items, data, history)
    first = first_requests(validation).slice(0, FITTING_USERS)  # by key, a hash: a fair sample
    proposals = [retriever.propose(ask) for ask in asks(first, log, data.repeats.come_back, people)]
    wanted = wanted_rows(validation, first, retriever)
    judged = [i for i, rows in enumerate(wanted) if len(rows)]
    proposals, wanted = [proposals[i] for i in judged], [wanted[i] for i in judged]
    n = len(retriever.item_ids)
    met = known.item_key[np.isin(known.kind, [KINDS[kind] for kind in met_by(known)])]
    fusion = fit_fusion(proposals, wanted, np.bincount(retriever.rows(met), minlength=n))
    fused = [{**p, FUSED: fusion.filling(p).top(p, n, DEPTH)} for p in proposals]
    return Fitted(fusion, data.repeats, recalls(fused, wanted))


def before(part: pa.Table, log: EventLog) -> EventLog:
    """The events received before the first local day of some impressions began."""
    day = date.fromisoformat(min(part["date"].to_pylist()))
    return log.until(first_position((day - date(1970, 1, 1)).days) - 1)


def recalls(proposals: Sequence[Mapping[str, np.ndarray]], wanted: Sequence[np.ndarray]) -> dict[str, float]:
    """Mean recall@50/100/200 of each source over the requests."""
    return {
        source: float(
            np.mean([mean_recall(np.isin(p[source], w), len(w)) for p, w in zip(proposals, wanted, strict=True)])
        )
        for source in (proposals[0] if proposals else {})
    }


def replay(retriever: Retriever, first: pa.Table, log: EventLog, people: People = NO_ONE) -> pa.Table:
    """What each source and the fusion propose for each request: one row a source and request.

    Returns:
        columns source, user_id, user_key, as_of, item_keys (list of int64, best first, at most DEPTH).
    """
    n, fusion = len(retriever.item_ids), retriever.data.fusion
    columns: dict[str, list[object]] = {"source": [], "user_id": [], "user_key": [], "as_of": [], "item_keys": []}
    users = zip(first["user_id"].to_pylist(), first["user_key"].to_pylist(), strict=True)
    requests_again = asks(first, log, retriever.data.repeats.come_back, people)
    for (user_id, user_key), ask in zip(users, requests_again, strict=True):
        proposals = retriever.propose(ask)
        for source, rows in {**proposals, FUSED: fusion.filling(proposals).top(proposals, n, DEPTH)}.items():
            row = (source, user_id, user_key, ask.at, retriever.item_keys[rows])
            for column, value in zip(columns.values(), row, strict=True):
                column.append(value)
    types = [pa.string(), pa.string(), pa.int64(), pa.int64(), pa.list_(pa.int64())]
    schema = pa.schema(list(zip(columns, types, strict=True)))
    return pa.table({name: pa.array(values, schema.field(name).type) for name, values in columns.items()})


def shelf_types(impressions: pa.Table, items: pa.Table) -> dict[str, list[str]]:
    """Shelves of the impressions, busiest first, and the item types that each has shown."""
    frame = pl.DataFrame(pl.from_arrow(impressions)).filter(pl.col("shelf").is_not_null())
    types = pl.DataFrame(pl.from_arrow(items.select(["item_key", "item_type"])))
    shown = (
        frame.join(types, on="item_key")
        .group_by("shelf")
        .agg(pl.len().alias("rows"), pl.col("item_type").unique().sort())
        .sort("rows", "shelf", descending=[True, False])
    )
    return dict(zip(shown["shelf"].to_list(), shown["item_type"].to_list(), strict=True))
