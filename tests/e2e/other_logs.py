"""Other people's logs as folders of the `files` source, to run the whole graph on:

python -m tests.e2e.other_logs bandit ../shared/data/open_bandit OUT    one folder a campaign and policy
python -m tests.e2e.other_logs plays OUT                                100,000 plays of 1,700 items over 215 days
python -m tests.e2e.other_logs movielens FOLDER OUT                     u.data and u.item of MovieLens-100k, as ratings
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import polars as pl

from recsys.events import DAY_MS
from tests.e2e.poor_worlds import START, items, write

CAMPAIGNS = ("men", "women")
POLICIES = ("random", "bts")


def open_bandit(source: Path, out: Path) -> list[Path]:
    """Impressions with a click a second later: a user is the four hashed features, a slot the position less one."""
    made = []
    for campaign in CAMPAIGNS:
        catalogue = pl.read_parquet(source / f"items_{campaign}.parquet").select(
            "item_id", category=pl.col("item_feature_1"), creator_id=pl.col("item_feature_2")
        )
        for policy in POLICIES:
            rows = pl.read_parquet(source / f"{policy}_{campaign}.parquet")
            shown = rows.select(
                "item_id",
                user_id=pl.concat_str([f"user_feature_{i}" for i in range(4)], separator="-"),
                occurred_at=pl.col("timestamp").str.to_datetime("%+", time_zone="UTC").dt.epoch("ms"),
                slot=pl.col("position") - 1,
                clicked=pl.col("click") > 0,
            )
            clicks = shown.filter("clicked").with_columns(pl.col("occurred_at") + 1_000, kind=pl.lit("click"))
            events = pl.concat([shown.with_columns(kind=pl.lit("impression")), clicks]).drop("clicked")
            made.append(write(out / f"{policy}_{campaign}", events.sort("occurred_at"), catalogue))
    return made


def long_and_sparse(out: Path, share: float = 1.0) -> Path:
    """Plays in the shape of MovieLens-100k: 943 users come for a while, half of them on one day, over 215 days."""
    rng = np.random.default_rng(4)
    users, n_items, n = int(943 * share), int(1_700 * share), int(100_000 * share)
    first_day = rng.integers(0, 205, users)
    user = rng.choice(users, n, p=rng.dirichlet(np.full(users, 0.8)))
    stays = np.where(rng.random(n) < 0.8, 0, rng.integers(0, 10, n))
    item = (n_items * rng.random(n) ** 2.5).astype(np.int64)
    at = START - 200 * DAY_MS + (first_day[user] + stays) * DAY_MS + rng.integers(0, DAY_MS, n)
    events = pl.DataFrame(
        {
            "kind": "play",
            "user_id": [f"u{u}" for u in user],
            "item_id": [f"i{i}" for i in item],
            "occurred_at": at,
            "watch_ms": rng.gamma(1.5, 20_000.0, n).astype(np.int64),
        }
    )
    return write(
        out,
        events.unique(["user_id", "item_id"], keep="first", maintain_order=True).sort("occurred_at"),
        items(n_items),
    )


def movielens(source: Path, out: Path) -> Path:
    """Ratings as they are, and films with their genres. Release dates stay out: 231 ratings lie before them."""
    ratings = pl.read_csv(
        source / "u.data",
        separator="\t",
        has_header=False,
        new_columns=["user_id", "item_id", "rating", "occurred_at"],
    )
    films = [line.split("|") for line in (source / "u.item").read_text("latin-1").splitlines()]
    genres = [[f"genre {place}" for place, flag in enumerate(film[5:]) if flag == "1"] for film in films]
    catalogue = pl.DataFrame(
        {"item_id": [int(film[0]) for film in films], "title": [f[1] for f in films], "tags": genres}
    )
    return write(out, ratings.with_columns(pl.col("occurred_at") * 1_000).sort("occurred_at"), catalogue)


if __name__ == "__main__":
    if sys.argv[1:2] == ["movielens"]:
        print(movielens(Path(sys.argv[2]), Path(sys.argv[3])))
    elif sys.argv[1:2] == ["bandit"]:
        print(*open_bandit(Path(sys.argv[2]), Path(sys.argv[3])), sep="\n")
    else:
        print(long_and_sparse(Path(sys.argv[2])))
