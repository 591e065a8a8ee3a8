"""The two commands of a person: `make run` on the simulator, then `make serve`, spoken to by public clients."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import grpc
import httpx
import numpy as np
import polars as pl
import pytest

from bentos.recommender.recsys_v1 import recommender_pb2 as pb
from bentos.recommender.recsys_v1 import recommender_pb2_grpc as stubs
from recsys.evaluation.metrics import auc
from recsys.lake import Lake, content_hash
from recsys.ranking.factors import FactorRanker
from recsys.ranking.inside import members
from recsys.ranking.ranker import read_header
from recsys.ranking.saved import load_serving
from recsys.registry import Registry
from recsys.settings import from_environment
from recsys.sources.opening import open_source
from recsys.training_sets.split import PARTS
from recsys_assets import definitions, partitions
from recsys_assets.defs.evaluation import shelves_judged
from recsys_assets.defs.evaluation.contenders import judged_ranker
from recsys_assets.home import headless, prepare
from recsys_assets.stock import take_stock
from tests.page.conftest import Visit, chromium

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("RECSYS_")},
        "RECSYS_HOME": str(tmp_path_factory.mktemp("home")),
        "RECSYS_DAYS": "10",
        "RECSYS_USERS": "1200",
        "RECSYS_HTTP_PORT": str(free_port()),
        "RECSYS_GRPC_PORT": str(free_port()),
        "RECSYS_EXPLORE": "false",  # HTTP and gRPC are to answer the same
        "RECSYS_SANDBOX": "true",
    }


@pytest.fixture(scope="module")
def printed(environment: dict[str, str]) -> str:
    """What a whole run prints."""
    done = subprocess.run(
        [sys.executable, "-m", "recsys_assets.run"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-4000:] + Path(environment["RECSYS_HOME"], "run.log").read_text()[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def service(printed: str, environment: dict[str, str]) -> Iterator[str]:
    """Address of a running service over what the run left."""
    url = f"http://127.0.0.1:{environment['RECSYS_HTTP_PORT']}"
    log = Path(environment["RECSYS_HOME"], "serve.log")
    with log.open("w") as file:
        server = subprocess.Popen(
            [sys.executable, "-m", "bentos.recommender.serve"], cwd=ROOT, env=environment, stdout=file, stderr=file
        )
    try:
        for _ in range(240):
            assert server.poll() is None, log.read_text()[-4000:]
            try:
                if httpx.get(url + "/readyz", timeout=2).status_code == 200:
                    break
            except httpx.TransportError:
                pass
            time.sleep(0.5)
        else:
            pytest.fail("not ready after two minutes: " + log.read_text()[-4000:])
        yield url
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)


def test_a_run_says_what_it_did_and_what_is_next(printed: str) -> None:
    for words in ("raw_events", "item_index", "champion", "gate passed", "because", "evaluation.json", "make serve"):
        assert words in printed, words


def test_anyone_can_recompute_the_report_from_the_predictions(printed: str, environment: dict[str, str]) -> None:
    home = Path(environment["RECSYS_HOME"])
    report = json.loads((home / "reports" / "evaluation.json").read_text())
    predictions = pl.read_parquet(home / "reports" / "predictions.parquet")
    assert {"model", "user_id", "item_id", "occurred_at", "date", "p_click", "p_long_view", "score"} <= set(
        predictions.columns
    )
    outcomes = pl.read_parquet(home / "lake" / "cleaned" / "impressions" / "*.parquet").select(
        "user_id", "item_id", "occurred_at", "click", "long_view"
    )
    champion = predictions.filter(pl.col("model") == "champion").join(
        outcomes, on=["user_id", "item_id", "occurred_at"]
    )
    assert champion.height > 1000
    for label, column in (("click", "p_click"), ("long_view", "p_long_view")):
        recomputed = auc(champion[label].to_numpy(), champion[column].to_numpy())
        assert recomputed == pytest.approx(report["ranking"]["champion"][label]["auc"], abs=2e-3)


def test_champion_beats_every_heuristic_in_its_own_report(printed: str, environment: dict[str, str]) -> None:
    report = json.loads(Path(environment["RECSYS_HOME"], "reports", "evaluation.json").read_text())
    champion = report["ranking"]["champion"]
    for name in report["heuristics"]:
        for label in ("click", "long_view"):
            assert champion[label]["auc"] > report["ranking"][name][label]["auc"], (name, label)


def test_what_serves_has_learned_the_test_days_and_what_was_judged_has_not(
    printed: str, environment: dict[str, str]
) -> None:
    lake = Lake(Path(environment["RECSYS_HOME"]))
    champion = Registry(lake.registry).champion()
    assert champion is not None
    judged, newest = read_header(champion.path / "ranker" / "factors"), read_header(champion.path / "refreshed")
    train, validation, test = (pl.read_parquet(lake.table("training_sets", part)).height for part in PARTS)
    assert judged["facts"]["refit_rows"] == train + validation
    assert newest["facts"]["refit_rows"] == train + validation + test
    assert newest["facts"]["refreshes"] == content_hash(champion.path / "ranker" / "factors")
    assert content_hash(champion.path / "ranker") == content_hash(judged_ranker(lake))
    assert newest["calibrations"] == judged["calibrations"]
    (serving,) = (one for one in members(load_serving(champion.path)) if isinstance(one, FactorRanker))
    *before, shown = (set(pl.read_parquet(lake.table("training_sets", part))["item_key"]) for part in PARTS)
    assert shown - set.union(*before) and shown <= set(serving.factors.item.keys.tolist())


def test_events_change_the_features_and_the_next_slate(service: str) -> None:
    user = "someone-new"
    with httpx.Client(base_url=service, timeout=30) as client:
        before = client.post("/recommend", json={"user_id": user, "k": 10}).json()
        assert before["rung"] == "full" and len(before["items"]) == 10
        assert [i["score"] for i in before["items"]] == sorted((i["score"] for i in before["items"]), reverse=True)
        loved = before["items"][0]["item_id"]
        ask = {"user_id": user, "item_ids": [loved]}
        cold = client.post("/features", json=ask).json()
        sent = client.post(
            "/events",
            json={
                "events": [
                    {"event_id": f"e2e-{kind}", "kind": kind, "user_id": user, "item_id": loved, "watch_ms": watch}
                    for kind, watch in (("impression", None), ("click", None), ("play", 60_000), ("long_view", None))
                ]
            },
        ).json()
        assert (sent["accepted"], sent["duplicates"], sent["rejected"]) == (4, 0, [])
        again = client.post(
            "/events",
            json={"events": [{"event_id": "e2e-click", "kind": "click", "user_id": user, "item_id": loved}]},
        ).json()
        assert (again["accepted"], again["duplicates"]) == (0, 1)
        warm = client.post("/features", json=ask).json()
        assert warm["position"] >= sent["position"] > cold["position"]
        changed = {n for n, a, b in zip(warm["names"], cold["rows"][0], warm["rows"][0], strict=True) if a != b}
        assert "user_clicks_log_all" in changed and "user_item_clicks_log_all" in changed
        after = client.post("/recommend", json={"user_id": user, "k": 10}).json()
        assert [i["item_id"] for i in after["items"]] != [i["item_id"] for i in before["items"]]


def test_grpc_and_http_answer_the_same(service: str, environment: dict[str, str]) -> None:
    at = int(time.time() * 1000)
    with grpc.insecure_channel(f"127.0.0.1:{environment['RECSYS_GRPC_PORT']}") as channel:
        stub = stubs.RecommenderStub(channel)
        request = pb.RecommendRequest(user_id="someone-else", k=10, context=pb.Context(at=at))
        over_grpc = stub.Recommend(request, timeout=30)
    over_http = httpx.post(
        service + "/recommend", json={"user_id": "someone-else", "k": 10, "context": {"at": at}}, timeout=30
    ).json()
    assert [str(i["item_id"]) for i in over_http["items"]] == [i.item_id for i in over_grpc.items]
    np.testing.assert_array_equal([i["score"] for i in over_http["items"]], [i.score for i in over_grpc.items])


def test_the_page_tells_what_the_run_found(service: str, environment: dict[str, str]) -> None:
    reports = Path(environment["RECSYS_HOME"], "reports")
    cold = json.loads((reports / "evaluation.json").read_text())["cold_start"]["users_by_events"]
    recall = [None if not found["rows"] else found["champion"]["recall@50"] for found in cold.values()]
    drift = pl.read_parquet(next(Path(environment["RECSYS_HOME"], "lake/monitoring/drift").glob("*.parquet")))
    furthest = drift.sort("excess", descending=True).row(0, named=True)
    with chromium() as browser:
        visit = Visit(browser.new_page(), service)
        visit.to("shelves")
        assert visit.cells("people by events", 0) == list(cold)
        assert visit.cells("people by events", 2) == ["–" if found is None else f"{found:.3f}" for found in recall]
        visit.to("health")
        assert visit.cells("drift", 0)[0] == furthest["column"]
        assert visit.cells("drift", 1)[0] == f"{100 * furthest['excess']:.1f} %"
        assert "full" in visit.cells("rungs", 0) and len(visit.cells("completeness", 0)) == 10
        assert {"features/impressions", "models/two_tower", "reports/verdict.json"} <= set(visit.cells("freshness", 0))
    assert visit.complaints == [] and visit.foreign == []


def test_shelves_are_judged_beside_the_champions_own_way(
    printed: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The champion is what is trained: asked at the same requests, both ways are worth the same to the last digit."""
    file = Path(environment["RECSYS_HOME"]) / "reports" / "evaluation.json"
    alone = json.loads(file.read_text())["shelves"]
    for name, value in {**environment, "DAGSTER_HOME": ""}.items():  # `prepare` sets it
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(shelves_judged, "FEWEST_FRESH", 100)  # so small a world has few requests a shelf
    prepare(from_environment())
    job = definitions.defs().resolve_implicit_global_asset_job_def()
    with headless() as instance:
        job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey("evaluation")])
    beside = json.loads(file.read_text())["shelves"]
    for name in ("feed", "shortcuts"):
        way, champion = beside[name]["former"], alone[name]["champion"]
        assert beside[name]["champion"] == champion, name
        assert {metric: way[metric] for metric in champion} == champion, name


def test_a_ranker_that_nobody_judged_gets_no_bundle(printed: str, environment: dict[str, str]) -> None:
    """Under the executor that the UI uses: one more file in its folder, and the verdict is about another."""
    home = Path(environment["RECSYS_HOME"])
    bundles, more = sorted((home / "registry" / "bundles").iterdir()), judged_ranker(Lake(home)) / "more"
    dagster = str(Path(sys.executable).with_name("dagster"))
    command = [dagster, "asset", "materialize", "--select", "bundle", "-m", "recsys_assets.definitions"]
    more.write_bytes(b"")
    try:
        where = {**environment, "DAGSTER_HOME": str(home / "dagster")}
        ended = subprocess.run(command, cwd=ROOT, env=where, capture_output=True, text=True, timeout=400, check=False)
    finally:
        more.unlink()
    assert ended.returncode != 0
    assert "the verdict is about another ranker than what is there: materialize" in ended.stderr, ended.stderr[-3000:]
    assert sorted((home / "registry" / "bundles").iterdir()) == bundles


def test_the_run_of_the_day_after_learns_nothing_of_what_a_copy_was_sent(
    service: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user and their copy do the same with two items: the day that follows has the user's, and none of the copy's."""
    lake, user = Lake(Path(environment["RECSYS_HOME"])), "somebody with a copy"
    copy = f"sandbox:{user}"

    def shown(of: str) -> list[str]:
        with httpx.Client(base_url=service, timeout=60) as client:
            return [item["item_id"] for item in client.post("/recommend", json={"user_id": of}).json()["items"]]

    before = shown(copy)
    ours, theirs = before[:2]
    for who, item in ((user, ours), (copy, theirs)):
        events = [
            {"event_id": f"{who} {kind}", "kind": kind, "user_id": who, "item_id": item, "shelf": "feed"}
            for kind in ("impression", "click", "dislike")
        ]
        assert httpx.post(service + "/events", json={"events": events}, timeout=60).json()["accepted"] == 3
    assert ours not in shown(copy) and theirs not in shown(copy) and theirs in shown(user)
    day = time.strftime("%Y-%m-%d", time.gmtime())
    for name, value in {**environment, "DAGSTER_HOME": ""}.items():
        monkeypatch.setenv(name, value)
    settings = from_environment()
    prepare(settings)
    take_stock(settings, open_source(settings))
    partitions.days.cache_clear()  # read once a process, and a test before this one has read them
    cleaned = ("cleaned_events", "impressions", "sessions", "quarantine", "duplicates", "searches")
    day_after = ("raw_events", "stg_events", "judged_events", *cleaned, "impression_features", "training_set")
    job = definitions.defs().resolve_implicit_global_asset_job_def()
    tags = {"dagster/asset_partition_range_start": day, "dagster/asset_partition_range_end": day}
    taken_in = [dg.AssetKey(name) for name in (*day_after, "online_state")]
    with headless() as instance:
        job.execute_in_process(instance=instance, asset_selection=taken_in, tags=tags)
    rows = {name: pl.read_parquet(lake.day(day, *name.split("/"))) for name in ("raw/events", "cleaned/events")}
    for name in ("cleaned/impressions", "cleaned/quarantine", "features/impressions"):
        rows[name] = pl.read_parquet(lake.day(day, *name.split("/")))
    for name, table in rows.items():
        if "user_id" in table.columns:
            assert not table.filter(pl.col("user_id").str.starts_with("sandbox:")).height, name
    for name, times in (("raw/events", 3), ("cleaned/events", 3), ("cleaned/impressions", 1)):
        assert rows[name].filter(pl.col("user_id") == user)["item_id"].to_list() == [ours] * times, name
    impressions = rows["cleaned/impressions"]["impression_id"].to_list()
    assert sorted(rows["features/impressions"]["impression_id"].to_list()) == sorted(impressions)
    parts = [path for path in (lake.home / "lake" / "training_sets").glob("*.parquet") if path.stem != "left_out"]
    learned = pl.concat([pl.read_parquet(path, columns=["user_id", "impression_id"]) for path in parts])
    assert not learned.filter(pl.col("user_id").str.starts_with("sandbox:")).height and learned.height > 1000
    assert theirs not in shown(copy) and theirs in shown(user), "the state began anew, and the copy is as it was"
