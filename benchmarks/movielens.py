"""`python -m benchmarks.movielens FOLDER`: our retrieval on MovieLens-100k beside popular, item-kNN and EASE.

FOLDER holds `u.data` and `u.item` of the published archive; nothing is downloaded. A rating is a click on what was
shown. The last fifth of each user's ratings is the test, the last fifth of the rest the validation: towers, fusion and
every peer are chosen there, then learned from all but the test. A user is asked for once, at the first test rating; as
the cut is by user, all of them learn from others' rows of later days too. Needs the `peers` extra.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa

from benchmarks.models_retrievers import PEERS, World, ease, matrix
from recsys.evaluation import report
from recsys.evaluation.bootstrap import Resamples, interval
from recsys.evaluation.metrics import hits
from recsys.events import DAY_MS, ITEM_SCHEMA, first_position, key64
from recsys.features.log import EventLog, from_table, items_from_table
from recsys.retrieval import engagements, replay, sources, two_tower_training
from recsys.retrieval.embeddings import embed, indexed
from recsys.retrieval.item_index import ExactMirror
from recsys.retrieval.sources import Retriever
from recsys.retrieval.text import with_content

HELD_OUT: Final = 0.2  # of each user's rows, the last ones
RECENT_EASE: Final = "EASE of the last 20 items"
RECENT: Final = 20  # items that a stronger EASE goes by: as many as our item-item source, and better than all of them
LATER: Final = "2000-01-01"  # the day of what is held out: what is learned is before it


def read_ratings(folder: Path) -> pl.DataFrame:
    """Every rating as an impression that was clicked, in order of time."""
    rows = np.loadtxt(folder / "u.data", dtype=np.int64)  # user, item, rating, second
    ratings = pl.DataFrame(rows, schema=["user_id", "item_id", "rating", "second"]).with_columns(
        pl.col("user_id", "item_id").cast(pl.String), occurred_at=pl.col("second") * 1_000
    )
    ratings = ratings.sort("occurred_at", maintain_order=True)
    return ratings.select(
        "user_id",
        "item_id",
        "occurred_at",
        user_key=pl.Series(key64(ratings["user_id"])),
        item_key=pl.Series(key64(ratings["item_id"])),
        # two events a rating: the impression has this position, the click the next
        position=(pl.col("occurred_at") // DAY_MS) * first_position(1) + 2 * pl.int_range(pl.len()),
        impression_id=pl.int_range(pl.len()).cast(pl.String),
        date=pl.from_epoch("occurred_at", "ms").dt.strftime("%Y-%m-%d"),
        shelf=pl.lit(None, pl.String),
        device=pl.lit(None, pl.String),
        click=pl.lit(1, pl.Int8),
        long_view=pl.lit(0, pl.Int8),
    )


def read_items(folder: Path) -> pa.Table:
    """The catalogue by item id, with `item_key`. Release dates stay out: 231 ratings lie before them."""
    rows = [line.split("|") for line in (folder / "u.item").read_text("latin-1").splitlines()]
    genres = [[f"genre {place}" for place, flag in enumerate(row[5:]) if flag == "1"] for row in rows]
    columns = {
        "item_id": [row[0] for row in rows],
        "item_type": ["video"] * len(rows),
        "creator_id": [None] * len(rows),
        "category": [names[0] if names else None for names in genres],
        "tags": genres,
        "title": [row[1] for row in rows],
        "duration_ms": [0] * len(rows),
        "published_at": [0] * len(rows),
        "is_available": [True] * len(rows),
    }
    table = pa.table([pa.array(columns[name], ITEM_SCHEMA.field(name).type) for name in columns], names=list(columns))
    return table.append_column("item_key", pa.array(key64(columns["item_id"]))).sort_by("item_id")


def cut(ratings: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """All but the last fifth of each user's rows, and that fifth, each row of it after what is known of its user."""
    place, rows = pl.int_range(pl.len()).over("user_id"), pl.len().over("user_id")
    is_known = place < rows - (rows * HELD_OUT).round().cast(pl.Int64)
    known, held_out = ratings.filter(is_known), ratings.filter(~is_known)
    last = known.group_by("user_id").agg(last=pl.col("occurred_at").max())
    held_out = held_out.join(last, on="user_id", maintain_order="left").with_columns(
        occurred_at=pl.max_horizontal("occurred_at", pl.col("last") + 1), date=pl.lit(LATER)
    )
    return known, held_out.drop("last").sort("occurred_at", "position")


def log_of(ratings: pl.DataFrame, items: pa.Table) -> EventLog:
    """Impression and click of every row."""
    category = items_from_table(items).lookup(ratings["item_key"].to_numpy()).category_key
    events = [
        ratings.select(
            "user_key",
            "item_key",
            "occurred_at",
            position=pl.col("position") + place,
            kind=pl.lit(kind),
            category_key=pl.Series(category),
            creator_key=pl.lit(0, pl.Int64),
            shelf_key=pl.lit(0, pl.Int64),
            received_at="occurred_at",
            watch_ms=pl.lit(0, pl.Int64),
        )
        for place, kind in enumerate(("impression", "click"))
    ]
    return from_table(pl.concat(events).sort("position").to_arrow())


class Ours:
    """Towers and fusion: chosen on what is held out of the known rows, then learned from all of these."""

    def __init__(self, known: pl.DataFrame, items: pa.Table, folder: Path) -> None:
        self.items, self.known = items, known
        earlier, later = cut(known)
        log, whole = log_of(earlier, items), log_of(known, items)
        catalogue = with_content(items_from_table(items), items)
        learned, judged = (engagements.from_impressions(rows.to_arrow(), log) for rows in (earlier, later))
        config = two_tower_training.TrainingConfig()
        chosen, told = two_tower_training.fit(learned, judged, log, catalogue, config, folder, say)
        self.fitted = replay.fit(chosen, items, earlier.to_arrow(), later.to_arrow(), log)
        parts = (known.join(rows, on="impression_id", how="semi", maintain_order="left") for rows in (earlier, later))
        again = (engagements.from_impressions(rows.to_arrow(), whole) for rows in parts)
        self.tower = two_tower_training.refit(chosen, told, *again, whole, catalogue, config, folder, say)
        self.log = whole

    def lists(self, held_out: pl.DataFrame, task: report.RetrievalTask) -> dict[str, np.ndarray]:
        """What every source and the fusion propose to each user of the task, int64[q, CANDIDATES] item keys."""
        embedded = embed(self.tower, self.items)
        mirror = ExactMirror("known", indexed(embedded))
        shelves = replay.shelf_types(self.known.to_arrow(), self.items)
        data = sources.learn(self.log, self.items, shelves, self.fitted.fusion, self.fitted.repeats)
        retriever = Retriever(self.tower, mirror, mirror.collection, embedded, data)
        proposed = replay.replay(retriever, replay.first_requests(held_out.to_arrow()), self.log)
        return report.aligned(pl.DataFrame(pl.from_arrow(proposed)), task)


def recent_ease(world: World, weight: float) -> np.ndarray:
    """EASE asked with the RECENT last items alone."""
    last = [history[-RECENT:] for history in world.histories]
    return ease(replace(world, asked=matrix(last, world.asked.shape[1])), weight)


def run(folder: Path) -> dict[str, Any]:
    """Recall@50 and @100 of every source and peer for the test users, and the fusion's lead with its interval."""
    ratings, items = read_ratings(folder), read_items(folder)
    known, held_out = cut(ratings)
    earlier, later = cut(known)
    task = report.retrieval_task(held_out)
    with tempfile.TemporaryDirectory() as checkpoints:
        mine = Ours(known, items, Path(checkpoints))
    lists = mine.lists(held_out, task)
    catalogue, ever = items_from_table(items), int(ratings["occurred_at"].max()) + DAY_MS  # type: ignore[arg-type]
    come_back = mine.fitted.repeats.come_back
    validation = World.of(log_of(earlier, items), catalogue, report.retrieval_task(later), ever, come_back)
    test = World.of(mine.log, catalogue, task, ever, come_back)
    chosen = {}
    for name in ("item-kNN (implicit)", "EASE", RECENT_EASE):
        retrieve, grid = PEERS[name] if name in PEERS else (recent_ease, PEERS["EASE"][1])
        best = max(grid, key=lambda given: validation.quality(retrieve(validation, **given)))
        lists[name], chosen[name] = retrieve(test, **best), dict(best)
    targets = np.bincount(task.target_query, minlength=len(task.user_id))
    drawn = Resamples.draw(task.user_key)
    by_user = {
        name: {k: hits(listed, task.target_query, task.target_item)[:, :k].sum(axis=1) / targets for k in (50, 100)}
        for name, listed in lists.items()
    }
    told = {
        name: {
            "recall": {k: float(value.mean()) for k, value in recalls.items()},
            "fused_minus": list(interval(drawn.mean(by_user[replay.FUSED][50] - recalls[50]))),
        }
        for name, recalls in by_user.items()
    }
    rows = {"known": known.height, "test": held_out.height, "users": len(task.user_id), "items": items.num_rows}
    fusion, repeats, validated = mine.fitted
    facts = {"weights": dict(fusion.weights), "constant": fusion.constant, "repeats": repeats._asdict()}
    return {"rows": rows, "fusion": facts, "validation": validated, "peers": chosen, "sources": told}


def say(line: str) -> None:
    print(f"  {line}", flush=True)


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or not all((Path(arguments[0]) / name).is_file() for name in ("u.data", "u.item")):
        print("python -m benchmarks.movielens FOLDER, which holds u.data and u.item of MovieLens-100k", file=sys.stderr)
        return 2
    try:
        import implicit  # noqa: F401
    except ImportError:
        print("implicit is missing: install the `peers` extra", file=sys.stderr)
        return 2
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    figures = run(Path(arguments[0]))
    print(json.dumps({name: value for name, value in figures.items() if name != "sources"}, indent=1))
    print("| source | recall@50 | recall@100 | fused minus source, recall@50, 95 % |\n| --- | --- | --- | --- |")
    for name, told in sorted(figures["sources"].items(), key=lambda each: -each[1]["recall"][50]):
        low, high = told["fused_minus"]
        lead = "" if name == replay.FUSED else f"{low:+.4f} to {high:+.4f}"
        print(f"| {name} | {told['recall'][50]:.4f} | {told['recall'][100]:.4f} | {lead} |")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
