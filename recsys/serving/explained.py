"""What an inspection says of items: their candidates, the parts of their scores, what was left out, events behind."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np

from recsys.events import KINDS
from recsys.features.catalog import AGGREGATES, FEATURES
from recsys.features.evidence import COLUMNS, DEFINITIONS, GROUPS, behind
from recsys.features.judged import Judged
from recsys.features.log import EventLog
from recsys.policy.filters import FILTERS, STAYS, dropping
from recsys.policy.slate import SURE, UNIT
from recsys.policy.spread import DAMPED, LIKE, REACH
from recsys.ranking import inside
from recsys.ranking.factors import Taste
from recsys.ranking.orders import ByRanker
from recsys.ranking.ranker import PREDICTIONS
from recsys.serving.bundle import ServingBundle
from recsys.serving.inspected import (
    LAST_EVENTS,
    TASTED,
    Behind,
    Candidate,
    Counted,
    Dropped,
    Evidence,
    Proposal,
    Tasted,
    UserEvent,
)
from recsys.serving.schema import BadRequest
from recsys.serving.steps import known
from recsys.serving.watched import Looked
from recsys.store.journal import key_of
from recsys.store.past import Past

_KIND: Final = {code: kind for kind, code in KINDS.items()}
_PREDICTED: Final = {"p_click": "p_click", "p_long_view": "p_long_view", "watch_seconds": "expected_watch_seconds"}
_PASSED: Final = {
    UNIT: "its show has its share of the slate already, with another episode",
    SURE: "its share of the slate is kept for what a source is sure of",
    DAMPED: "it was shown to this person before",
    LIKE: "it is like what stands above it",
    REACH: "what stands there had moved as far as it may",
}
_NOT_A_CANDIDATE: Final[Mapping[str, Any]] = {
    "sources": [],
    "score": 0.0,
    "p_click": None,
    "p_long_view": None,
    "expected_watch_seconds": None,
    "rank": 0,
    "place": None,
    "displacement": None,
    "cause": None,
}


class Names:
    """Ids, titles and the like of a bundle's items, by row and by key."""

    def __init__(self, bundle: ServingBundle) -> None:
        self.catalogue, self.retriever = bundle.catalogue, bundle.retriever
        self._titles, self._types = bundle.items["title"], bundle.items["item_type"]

    def title(self, row: int | None) -> str | None:
        return None if row is None else self._titles[row].as_py()

    def type(self, row: int) -> str:
        return str(self._types[row].as_py())

    def titles(self, rows: np.ndarray) -> list[str | None]:
        return list(self._titles.take(rows).to_pylist())

    def written(self, row: int) -> str | int:
        return self.catalogue.written(self.catalogue.item_id[row])

    def row(self, key: int) -> int | None:
        """Of an item by its key; None where the bundle does not know it."""
        rows = self.retriever.rows(np.array([key]))
        return int(rows[0]) if len(rows) else None

    def events(self, log: EventLog, head: int) -> list[UserEvent]:
        """Events with the items' names; those after `head` are imagined."""
        known = self.retriever.rows(np.unique(log.item_key))
        keys = self.retriever.item_keys[known].tolist()
        named = dict(zip(keys, zip(map(self.written, known.tolist()), self.titles(known), strict=True), strict=True))
        columns = (log.position, log.kind, log.item_key, log.occurred_at)
        return [
            {
                "position": position,
                "kind": _KIND[kind],
                "item_id": (name := named.get(key, (None, None)))[0],
                "title": name[1],
                "occurred_at": at,
                "imagined": position > head,
            }
            for position, kind, key, at in zip(*(column.tolist() for column in columns), strict=True)
        ]


def _ranks(proposals: Mapping[str, np.ndarray], of: np.ndarray) -> dict[int, list[Proposal]]:
    """Of rows [m], each with the sources that propose it and their ranks."""
    ranks: dict[int, list[Proposal]] = {row: [] for row in of.tolist()}
    for source, rows in proposals.items():
        for rank, row in enumerate(rows.tolist(), start=1):
            if row in ranks:
                ranks[row].append({"source": source, "rank": rank})
    return ranks


def candidates_of(looked: Looked, names: Names, network: bool) -> list[Candidate]:
    """Every candidate, in the order of scores."""
    bundle, ranked = looked.bundle, looked.ranked
    rows, n = ranked.pool.rows, len(ranked.pool)
    order = np.lexsort((bundle.catalogue.candidates.item_key[rows], -ranked.scores))
    place = {int(index): p for p, index in enumerate(looked.steps.places.tolist(), start=1)}
    told: dict[str, list[float | None]] = {name: [None] * n for name in PREDICTIONS}
    if ranked.is_scored and ranked.inputs is not None:
        all_of_them = network or inside.network_of(bundle.ranker) is None
        at = np.arange(n) if all_of_them else looked.steps.places
        has = {} if all_of_them else looked.slate.predictions or {}  # of those shown some were predicted already
        wanted = [name for name in PREDICTIONS if name != "score" and name not in has]
        predicted = bundle.about_log.told(bundle.ranker.predict_only(ranked.inputs.take(at), wanted))
        for name, values in {**has, **predicted}.items():
            for index, one in zip(at.tolist(), known(values), strict=True):
                told[name][index] = one
    ranks, titles = _ranks(looked.steps.proposals, rows), names.titles(rows)
    ids, scores = list(map(names.written, rows.tolist())), ranked.scores.tolist()
    cause, source = _causes(looked, order, place), ranked.pool.sources
    listed: list[Candidate] = []
    for rank, index in enumerate(order.tolist(), start=1):
        listed.append(
            {
                "item_id": ids[index],
                "title": titles[index],
                "sources": ranks[int(rows[index])] or [{"source": source[index], "rank": index + 1}],
                "score": scores[index],
                "p_click": told["p_click"][index],
                "p_long_view": told["p_long_view"][index],
                "expected_watch_seconds": told["watch_seconds"][index],
                "rank": rank,
                "place": place.get(index),
                "displacement": place[index] - rank if index in place else None,
                "cause": cause.get(index),
            }
        )
    return listed


def _causes(looked: Looked, order: np.ndarray, place: Mapping[int, int]) -> dict[int, str]:
    """Why a candidate does not stand where its score would put it."""
    passed = looked.steps.passed_over or {}
    drawn = set(looked.steps.places[looked.slate.drawn.explored].tolist())
    causes, ahead = {}, 0
    for rank, index in enumerate(order.tolist(), start=1):
        if index in drawn:
            causes[index] = "drawn by chance"
        elif passed.get(index) in (DAMPED, LIKE, REACH) and place.get(index, rank) > rank:
            causes[index] = _PASSED[passed[index]]
        elif index in passed and index not in place:
            causes[index] = _PASSED.get(passed[index], f"its {passed[index]} has its share of the slate already")
            ahead += 1
        elif index in place and place[index] != rank:
            causes[index] = f"{ahead} ahead of it {'was' if ahead == 1 else 'were'} passed over"
        elif index in passed:
            causes[index] = f"its {passed[index]} has its share, but no other candidate was left"
    return causes


def explained(
    looked: Looked, past: Past, rows: np.ndarray, candidates: Sequence[Candidate], names: Names, network: bool
) -> list[dict[str, Any]]:
    """The items shown and those asked for, each with the parts of its score."""
    bundle, scene, slate = looked.bundle, looked.scene, looked.slate
    by_id: dict[str | int, Any] = {item["item_id"]: item for item in candidates}
    n = len(slate.pool)
    inputs = slate.inputs
    if len(rows) > n:
        keys = bundle.catalogue.candidates.item_key[rows[n:]]
        more = scene.inputs(past.read(key_of(scene.user_id), keys, scene.at, scene.shelf_code))
        inputs = type(more).below(inputs, more) if inputs is not None else None
    listed: list[dict[str, Any]] = []
    for place, row in enumerate(rows.tolist()):
        item = by_id.get(names.written(row))
        listed.append(
            {
                **(item or {**_NOT_A_CANDIDATE, "item_id": names.written(row), "title": names.title(row)}),
                "category": bundle.catalogue.category[row],
                "item_type": names.type(row),
                "source": None,
                "reason": None,
                "propensity": float(looked.slate.drawn.propensity[place]) if place < n else None,
                "out": None,
                "base": None,
                "parts": [],
                "contributions": [],
                "values": [],
                "taste": [],
                "match": None,
            }
        )
    if inputs is None or not len(inputs):
        return listed
    values = inputs.features.astype(float)
    order = bundle.order(scene.shelf_name)
    by_ranker = looked.ranked.is_scored and isinstance(order, ByRanker)
    parts = inside.parts(bundle.ranker, inputs) if by_ranker else None
    trees = inside.by_group(bundle.ranker.feature_names, parts.values).tolist() if parts is not None else None
    reads = inside.network_of(bundle.ranker) if network and by_ranker else None
    effects = inside.effects(reads, inputs).tolist() if reads is not None else None
    taste = inside.taste(bundle.ranker, inputs) if by_ranker else None
    strangers = [place for place, item in enumerate(listed) if item["rank"] == 0]
    if strangers and looked.ranked.is_scored:
        asked = inputs.take(np.array(strangers))
        predicted = bundle.about_log.told(bundle.ranker.predict_only(asked, PREDICTIONS))
        judged = past.judged(key_of(scene.user_id)) if scene.user_id else Judged.none()
        pool = looked.ranked.pool.as_last(rows[strangers])
        scores = order.scores(scene.asked(bundle, pool, judged, asked))
        for at, place in enumerate(strangers):
            listed[place] |= {"score": float(scores[at])} | {
                to: known(predicted[name])[at] for name, to in _PREDICTED.items()
            }
    for place, item in enumerate(listed):
        item["values"] = [None if math.isnan(x) else x for x in values[place].tolist()]
        if parts is not None and trees is not None:
            item["base"] = parts.base
            item["contributions"] = parts.values[place].tolist()
        if taste is not None:
            item["match"], item["taste"] = float(taste.parts[place].sum()), _tasted(taste, place, names)
        item["parts"] = [
            {
                "group": group,
                "trees": trees[place][g] if trees is not None and g < len(GROUPS) else None,
                "network": effects[place][g] if effects is not None else None,
            }
            for g, group in enumerate(inside.EFFECTS)
            if effects is not None or (trees is not None and g < len(GROUPS))
        ]
    return listed


def _tasted(taste: Taste, place: int, names: Names) -> list[Tasted]:
    """The items of the history that did most for one item, the largest first."""
    parts = taste.parts[place]
    told: list[Tasted] = []
    for at in np.argsort(-np.abs(parts), kind="stable")[:TASTED].tolist():
        opened: Literal["opened", "passed over"] = "opened" if taste.opened[at] else "passed over"
        row = names.row(int(taste.item_key[at]))
        told.append(
            {
                "item_id": None if row is None else names.written(row),
                "title": names.title(row),
                "told": "liked" if taste.liked[at] else "viewed long" if taste.viewed[at] else opened,
                "part": float(parts[at]),
            }
        )
    return told


def dropped(looked: Looked, names: Names) -> list[Dropped]:
    """What the sources would have proposed, had nothing been kept out, and what kept it out."""
    ask, bundle = looked.steps.ask, looked.bundle
    if ask is None:
        return []
    proposals = bundle.retriever.propose(ask, anything=True)
    rows = np.unique(np.concatenate(list(proposals.values())))
    fate = _fate(looked, rows)
    gone = rows[fate != STAYS]
    proposed, codes = _ranks(proposals, gone), fate[fate != STAYS].tolist()
    listed: list[Dropped] = [
        {"item_id": names.written(row), "title": title, "filter": FILTERS[code], "sources": proposed[row]}
        for row, title, code in zip(gone.tolist(), names.titles(gone), codes, strict=True)
    ]
    return sorted(listed, key=lambda one: min(proposal["rank"] for proposal in one["sources"]))


def _fate(looked: Looked, rows: np.ndarray) -> np.ndarray:
    seen = looked.steps.ask.seen if looked.steps.ask is not None else np.empty(0, np.int64)
    return dropping(looked.bundle.catalogue.candidates, looked.scene.audience(seen), rows)


def why_not(looked: Looked, row: int) -> str:
    """Why an item that was asked for is no candidate."""
    code = int(_fate(looked, np.array([row]))[0])
    if code != STAYS:
        return FILTERS[code]
    if any(row in rows for rows in looked.steps.proposals.values()):
        return "proposed, and behind the best that are scored"
    return "no source proposed it"


def evidence(asked: Behind, looked: Looked, past: Past, names: Names, head: int) -> Evidence:
    """A feature's value, and the events of the log behind each of its inputs."""
    if asked.feature not in DEFINITIONS:
        raise BadRequest(f"evidence: there is no feature {asked.feature}")
    row = looked.bundle.catalogue.row.get(asked.item_id)
    if row is None:
        raise BadRequest(f"evidence: bundle {looked.bundle.bundle_id} has no item {asked.item_id}")
    scene, feature = looked.scene, DEFINITIONS[asked.feature]
    key = looked.bundle.catalogue.candidates.item_key[row : row + 1]
    read = past.read(key_of(scene.user_id) if scene.user_id else 0, key, scene.at, scene.shelf_code)
    keys = {
        "user": read.user_key if scene.user_id else 0,
        "item": int(key[0]),
        "category": int(read.item[0][0]),
        "creator": int(read.item[1][0]),
        "shelf": scene.shelf_code,
    }
    computed = scene.features(read)[0]
    inputs = []
    for name in feature.inputs:
        if name not in COLUMNS:
            continue
        counted = past.counted(name)
        places = behind(counted, name, keys, scene.at)
        last = names.events(counted.take(places[-LAST_EVENTS:]), head)[::-1]
        at = AGGREGATES.index(name)
        inputs.append(Counted(name=name, value=int(read.aggregates[0, at]), events=len(places), last=last))
    said = float(computed[FEATURES.index(asked.feature)])
    constants = ", ".join([*feature.inputs, *(f"{c:g}" for c in feature.constants)])
    return Evidence(
        item_id=names.written(row),
        feature=asked.feature,
        value=None if math.isnan(said) else said,
        definition=f"{feature.op}({constants})",
        inputs=inputs,
    )
