"""Slates ahead of time, for e-mails, notifications and caches: the third front over the same core."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import pyarrow as pa

from recsys.policy.shelves import DEFAULT
from recsys.serving.pipeline import Recommender
from recsys.serving.schema import Context, RecommendRequest

SLATE_SCHEMA: Final = pa.schema(
    [
        ("user_id", pa.string()),
        ("shelf", pa.string()),
        ("slot", pa.int32()),  # 0 first
        ("item_id", pa.string()),
        ("score", pa.float64()),
        ("p_click", pa.float64()),
        ("expected_watch_seconds", pa.float64()),
        ("source", pa.string()),
        ("reason", pa.string()),
        ("rung", pa.string()),
        ("bundle", pa.string()),
        ("position", pa.int64()),
    ]
)


def slates(
    recommender: Recommender,
    user_ids: Sequence[str],
    *,
    shelf: str = DEFAULT,
    k: int = 10,
    device: str | None = None,
    at: int | None = None,
) -> pa.Table:
    """A slate for each user as SLATE_SCHEMA; `at` as in a request (UTC ms), else now. Nothing was shown by this."""
    context = Context(device=device, at=at)
    rows = [
        row
        for user_id in user_ids
        for row in _rows(recommender, RecommendRequest(user_id=user_id, shelf=shelf, k=k, context=context))
    ]
    return pa.Table.from_pylist(rows, schema=SLATE_SCHEMA)


def _rows(recommender: Recommender, request: RecommendRequest) -> Iterator[dict[str, Any]]:
    answer = recommender.recommend(request)
    for slot, item in enumerate(answer.items):
        yield {
            **item.model_dump(),
            "item_id": str(item.item_id),
            "user_id": request.user_id,
            "shelf": request.shelf,
            "slot": slot,
            "rung": answer.rung,
            "bundle": answer.bundle,
            "position": answer.position,
        }
