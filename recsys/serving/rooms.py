"""What the page asks beside inspections: users, items and past requests by a few letters, and all about one item."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, Field

from recsys.events import DAY_MS, KINDS, key64
from recsys.features.log import EventLog
from recsys.lake import Lake
from recsys.policy.shelves import shelf_of
from recsys.registry import Registry
from recsys.serving import served_log
from recsys.serving.bundle import ServingBundle
from recsys.serving.inspect import Inspector
from recsys.serving.schema import BadRequest, Id, _Request

MOST: Final = 50  # rows of an answer
USERS_FROM_DAYS: Final = 3  # newest days of impressions that users are found in
USERS_SECONDS: Final = 600.0  # that the list of users is kept
DAYS: Final = 28  # of an item's counters
COUNTED: Final = ("impression", "click", "long_view", "like", "skip")
NEIGHBOURS: Final = 20


class FindRequest(_Request):
    """Rows whose id or title holds `text`."""

    what: Literal["users", "items", "requests"]
    text: str = Field(default="", max_length=128)
    limit: int = Field(default=20, ge=1, le=MOST)


class Found(BaseModel):
    id: str
    title: str | None  # of an item; of a request the user
    detail: str
    at: int | None = None  # of a request, UTC ms


class FindResponse(BaseModel):
    rows: list[Found]
    words: str | None  # why there are none, or that there are more


class ItemRequest(_Request):
    item_id: Id


class RoomsRequest(_Request):
    """Nothing: the answer tells all there is."""


class Neighbour(BaseModel):
    item_id: str | int
    title: str | None
    similarity: float


class Day(BaseModel):
    """What happened with the item on one UTC day."""

    day: str
    counts: dict[str, int]  # COUNTED


class OnShelf(BaseModel):
    shelf: str
    counts: dict[str, int]
    trending: int | None  # place in the shelf's list, 1 first
    popular: int | None
    exploring: int | None  # impressions by chance that are left to it as something new; null where nothing explores


class ItemResponse(BaseModel):
    item_id: str | int
    title: str | None
    item_type: str
    category: str | None
    creator_id: str | None
    duration_ms: int
    published_at: int
    is_available: bool
    bundle: str
    neighbours: list[Neighbour]  # engaged with by the same people
    days: list[Day]  # the last DAYS days of the log, oldest first
    shelves: list[OnShelf]
    ever: dict[str, int]


class Rooms:
    """Looks things up. Used by one thread at a time."""

    def __init__(self, inspector: Inspector, home: Path) -> None:
        self._inspector, self._lake = inspector, Lake(home)
        self._users: Counter[str] = Counter()
        self._read_at = -USERS_SECONDS

    def find(self, request: FindRequest) -> FindResponse:
        """Users, items or past requests."""
        return {"users": self._find_users, "items": self._find_items, "requests": self._find_requests}[request.what](
            request
        )

    def item(self, request: ItemRequest) -> ItemResponse:
        """All about an item, as the bundle in service and the store know it.

        Raises:
            BadRequest: the bundle does not have it.
        """
        bundle = self._inspector.bundles.current
        row = bundle.catalogue.row.get(request.item_id)
        if row is None:
            raise BadRequest(f"item_id: bundle {bundle.bundle_id} has no item {request.item_id}")
        facts = {name: bundle.items[name][row].as_py() for name in _FACTS}
        past = self._inspector.store.past()
        log = past.log.take(np.flatnonzero(past.log.item_key == bundle.catalogue.candidates.item_key[row]))
        newest_at = int(past.log.occurred_at.max(initial=0))  # the log's own clock
        newest = newest_at // DAY_MS
        days = log.occurred_at // DAY_MS
        return ItemResponse(
            item_id=bundle.catalogue.written(request.item_id),
            bundle=bundle.bundle_id,
            **{**facts, "duration_ms": facts["duration_ms"] or 0, "published_at": facts["published_at"] or 0},
            neighbours=_neighbours(bundle, row),
            days=[
                Day(day=str(np.datetime64(int(day), "D")), counts=_counts(log.kind[days == day]))
                for day in range(newest - DAYS + 1, newest + 1)
            ],
            shelves=[
                _on_shelf(bundle, request.item_id, shelf, log, _exploring(bundle, shelf, facts, log, newest_at))
                for shelf in bundle.log_shelves
            ],
            ever=_counts(log.kind),
        )

    def _find_users(self, request: FindRequest) -> FindResponse:
        border = self._inspector.border
        if border is not None and border.key is not None:
            words = "Users are known here by pseudonyms alone: type the whole id."
            return FindResponse(rows=[], words=words)
        known = [(user, n) for user, n in self._known_users().most_common() if request.text in user]
        rows = [
            Found(id=user, title=None, detail=f"{n} impressions lately" if n else "an example of the bundle")
            for user, n in known[: request.limit]
            if border is None or user not in border.forgotten
        ]
        return _told(rows, len(known), request, "Nobody whose id holds this was shown anything lately")

    def _known_users(self) -> Counter[str]:
        """Users of the newest days with their impressions, and the bundle's examples where there is no lake."""
        if time.monotonic() - self._read_at > USERS_SECONDS:
            users: Counter[str] = Counter()
            for day in self._lake.days("cleaned", "impressions")[-USERS_FROM_DAYS:]:
                table = pq.read_table(self._lake.day(day, "cleaned", "impressions"), columns=["user_id"])
                for pair in pc.value_counts(table["user_id"]).to_pylist():
                    users[pair["values"]] += pair["counts"]
            bundle_id = self._inspector.bundles.current.bundle_id
            for user in Registry(self._lake.registry).get(bundle_id).lineage.get("example_users", ()):
                users[str(user)] += 0
            self._users, self._read_at = users, time.monotonic()
        return self._users

    def _find_items(self, request: FindRequest) -> FindResponse:
        bundle = self._inspector.bundles.current
        table = bundle.items
        hit = pc.match_substring(table["item_id"], request.text)
        for name in ("title", "category", "creator_id"):
            also = pc.match_substring(table[name], request.text, ignore_case=True)
            hit = pc.or_(hit, pc.fill_null(also, False))
        chosen = np.flatnonzero(hit.to_numpy(zero_copy_only=False))
        rows = [
            Found(id=bundle.catalogue.item_id[row], title=table["title"][row].as_py(), detail=_kind(bundle, row))
            for row in chosen[: request.limit].tolist()
        ]
        return _told(
            rows, len(chosen), request, "No item of the bundle holds this in its id, title, category or creator"
        )

    def _find_requests(self, request: FindRequest) -> FindResponse:
        slates = served_log.latest(self._inspector.served_log, request.limit, request.text)
        rows = [
            Found(
                id=row["request_id"],
                title=row["user_id"] or "without consent",
                detail=f"{row['shelf']}, {len(row['item_id'])} items, rung {row['rung']}, bundle {row['bundle']}",
                at=row["served_at"],
            )
            for row in slates
        ]
        return _told(rows, len(rows), request, "The served log keeps no request of such a user or id")


_FACTS: Final = ("title", "item_type", "category", "creator_id", "duration_ms", "published_at", "is_available")


def _told(rows: list[Found], number: int, request: FindRequest, nothing: str) -> FindResponse:
    if not number:
        return FindResponse(rows=[], words=f"{nothing}.")
    more = number - len(rows)
    return FindResponse(rows=rows, words=f"{more:,} more: type some letters of it." if more > 0 else None)


def _kind(bundle: ServingBundle, row: int) -> str:
    told = [bundle.items["item_type"][row].as_py(), bundle.catalogue.category[row]]
    return ", ".join(str(one) for one in told if one)


def _counts(kinds: np.ndarray) -> dict[str, int]:
    return {name: int((kinds == KINDS[name]).sum()) for name in COUNTED}


def _neighbours(bundle: ServingBundle, row: int) -> list[Neighbour]:
    data = bundle.retriever.data
    pairs = zip(data.neighbours[row].tolist(), data.similarity[row].tolist(), strict=True)
    return [
        Neighbour(
            item_id=bundle.catalogue.written(bundle.catalogue.item_id[other]),
            title=bundle.items["title"][other].as_py(),
            similarity=like,
        )
        for other, like in pairs
        if other >= 0
    ][:NEIGHBOURS]


def _exploring(bundle: ServingBundle, name: str, facts: Mapping[str, Any], log: EventLog, now: int) -> int | None:
    """What is left to an item of its shelf's budget for new ones."""
    shelf = shelf_of(name, bundle.come_back)
    if shelf.explores is None or facts["item_type"] not in shelf.item_types:
        return None
    age = (now - (facts["published_at"] or 0)) / DAY_MS
    if not facts["published_at"] or not 0 <= age <= shelf.explores.fresh_days:
        return 0
    return max(0, shelf.explores.fresh_budget - _counts(log.kind)["impression"])


def _on_shelf(bundle: ServingBundle, item_id: str, shelf: str, log: EventLog, exploring: int | None) -> OnShelf:
    lists = bundle.retriever.data.lists

    def place(name: str) -> int | None:
        listed: Sequence[str] = lists[name].get(shelf, ())
        return listed.index(item_id) + 1 if item_id in listed else None

    there = log.kind[log.shelf_key == int(key64([shelf])[0])]
    places = {name: place(name) for name in ("trending", "popular")}
    return OnShelf(shelf=shelf, counts=_counts(there), exploring=exploring, **places)
