"""What chance put in places over HTTP, through the whole graph: the chance logged is what the trees weigh rows by."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg
import numpy as np
import polars as pl
import pytest

from recsys.events import DAY_MS
from recsys.lake import Lake
from recsys.retrieval.milvus_server import stop_milvus
from recsys.serving import served_log
from recsys.settings import from_environment
from recsys.sources.source import day_name, day_number
from recsys.store.opening import told_events
from recsys_assets import partitions
from recsys_assets.home import headless, prepare
from recsys_assets.stock import take_stock
from tests.serving.running import Service, serving
from tests.serving.world import World, make

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1600)]
SLATES, PLACES = 260, 100  # five places of a slate explore
LEARNED = ("feedback", "training_set", "xgboost_ranker")


class Lived(NamedTuple):
    lake: Lake
    served: pl.DataFrame  # rows of the served log


def reactions(answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What people made of their slates: each item was seen, and some are liked by most."""
    rng, told = np.random.default_rng(5), []
    for n, answer in enumerate(answers):
        for slot, item in enumerate(answer["items"]):
            shared = {"request_id": answer["request_id"], "item_id": item["item_id"], "slot": slot, "shelf": "feed"}
            shared |= {"user_id": f"somebody {n}"}
            liked = 0.5 if sum(map(ord, str(item["item_id"]))) % 3 == 0 else 0.1
            kinds = ["impression"] + (["click", "long_view"] if rng.random() < liked else [])
            told += [{"event_id": f"{n} {slot} {kind}", "kind": kind, **shared} for kind in kinds]
    return told


def live(service: Service) -> None:
    answers = [
        service.http.post("/recommend", json={"user_id": f"somebody {n}", "k": PLACES}).json() for n in range(SLATES)
    ]
    events = reactions(answers)
    for start in range(0, len(events), 1000):
        told = service.http.post("/events", json={"events": events[start : start + 1000]}).json()
        assert not told["rejected"], told["rejected"][:3]


def deliver(world: World, folder: Path, last: str) -> None:
    """The log of the world's own days, and another day of it behind the last one that was served."""
    (folder / "events").mkdir(parents=True)
    pl.DataFrame(world.simulator.items()).drop("id_is_integer").write_parquet(folder / "items.parquet")
    first, until = (day_number(day) for day in (world.simulator.first_day(), world.simulator.last_day()))
    days = [(number, number) for number in range(first, until + 1)] + [(until, day_number(last) + 1)]
    for number, dated in days:
        events = pl.DataFrame(world.simulator.read_day(day_name(number)).events).drop("position", "event_key", "date")
        again = "" if number == dated else "again "
        events = events.with_columns(
            pl.col("event_id", "request_id", "impression_id").str.replace("^", again),
            pl.col("occurred_at", "received_at") + (dated - number) * DAY_MS,
        )
        events.write_parquet(folder / "events" / f"{day_name(dated)}.parquet")


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lived]:
    """A service that explores, what came of it, and the graph up to the trees."""
    folder = tmp_path_factory.mktemp("explored")
    world = make(folder / "home")
    with pytest.MonkeyPatch.context() as patch:
        with serving(world, folder, RECSYS_EXPLORE="true") as service:
            live(service)
        stop_milvus(world.settings)
        days = [day_name(n) for n in np.unique(told_events(world.settings)["received_at"].to_numpy() // DAY_MS)]
        deliver(world, folder / "data", days[-1])
        for name, value in {"HOME": folder / "home", "SOURCE": "files", "DATA": folder / "data"}.items():
            patch.setenv(f"RECSYS_{name}", str(value))
        patch.setenv("DAGSTER_HOME", "")  # `prepare` sets it
        settings = from_environment()
        prepare(settings)
        partitions.days.cache_clear()
        stock = take_stock(settings)
        from recsys_assets.definitions import defs

        definitions = defs()
        job = definitions.resolve_implicit_global_asset_job_def()
        graph = definitions.get_repository_def().asset_graph
        tags = {
            "dagster/asset_partition_range_start": min(stock.days),
            "dagster/asset_partition_range_end": max(stock.days),
        }
        # the hours before the newest day's last ones are validation, and all before them trains: what explored is there
        config = {"ops": {"training_set": {"config": {"hours": 8}}}}
        with headless() as instance:
            job.execute_in_process(
                instance=instance,
                asset_selection=list(dg.AssetSelection.assets(*LEARNED).upstream().resolve(graph)),
                tags=tags,
                run_config=config,
            )
        partitions.days.cache_clear()
        lake = Lake(folder / "home")
        paths = [path for day in served_log.days(lake.served_log) for path in served_log.segments(lake.served_log, day)]
        yield Lived(lake, pl.DataFrame(served_log.read(paths).drop_columns(["features"])))


def test_every_row_that_is_learned_from_carries_the_chance_that_was_logged(lived: Lived) -> None:
    parts = [pl.DataFrame(lived.lake.read(lived.lake.table("training_sets", part))) for part in ("train", "validation")]
    learned = pl.concat([part.select("request_id", "item_id", "user_id", "propensity") for part in parts])
    served = lived.served.filter(pl.col("user_id").str.starts_with("somebody "))
    both = served.join(learned, on=["request_id", "item_id"], suffix="_learned")
    assert both.height == served.height == SLATES * PLACES
    assert both["propensity_learned"].to_list() == both["propensity"].to_list()
    drawn = both.filter("explored")
    assert drawn.height >= 1_000 and drawn["propensity"].max() < 1  # type: ignore[operator]
    others = learned.filter(~pl.col("user_id").str.starts_with("somebody "))
    assert others.height > 5_000 and set(others["propensity"]) == {1.0}


def test_the_trees_are_learned_both_ways_and_both_figures_are_told(lived: Lived) -> None:
    told = json.loads((lived.lake.reports / "explored.json").read_text())
    assert set(told["entrants"]) == {"as they are", "weighed"} and told["chosen"] in told["entrants"]
    plain, weighed = (told["entrants"][way] for way in ("as they are", "weighed"))
    assert 0 < plain["log_loss"] != weighed["log_loss"] > 0 and plain["log_loss_less"] == [0.0, 0.0]
    facts = json.loads((lived.lake.models / "rankers" / "xgboost" / "ranker.json").read_text())["facts"]
    assert facts["weighed"] == (told["chosen"] == "weighed")
