"""Experiments from served log to decision: exposure, sums of users, looks, and what is refused instead of analysed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from recsys.events import DAY_MS, HOUR_MS, ITEM_SCHEMA
from recsys.experiments.interleaving import policy_of
from recsys.experiments.record import Experiment
from recsys.lake import Lake
from recsys.monitoring.feedback import joined
from recsys.monitoring.trials import analysed, exposures, grouped, needs, of_group, table
from recsys.registry import Registry
from recsys.serving.served_log import Served, ServedLog
from recsys.settings import from_environment
from recsys.sources.source import day_name
from recsys.store.opening import open_store
from tests.automation.test_sensors import FITTING
from tests.experiments.test_record import BEGINS, experiment
from tests.registry.test_registry import parts

PLACES = 5
# Two creators of one item each, one of three; what two of them published is of the last week.
ITEMS = pl.DataFrame(
    {"item_id": [f"i{n}" for n in range(PLACES)], "creator_key": [1, 2, 3, 3, 3],
     "published_at": [BEGINS - 2 * DAY_MS, 0, BEGINS - 90 * DAY_MS, BEGINS - 2 * DAY_MS, BEGINS + 90 * DAY_MS]}
)  # fmt: skip


def world(
    made: Experiment,
    rates: dict[str, float],
    users: int = 300,
    days: int = 4,
    *,
    seed: int = 1,
    lost: Sequence[str] = (),
    start: int = BEGINS,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Served rows and seen rows: each user asks once a day for a slate of five, and an arm's rate is what they click.

    Args:
        lost: arms of whose answers two of three are not on rung full
    """
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    own = rng.beta(4, 4, users)
    for day in range(days):
        for user in range(users):
            name, at = f"u{user}", start + day * DAY_MS + int(rng.integers(0, 20 * HOUR_MS))
            arm = made.arm_of(name, at)
            bundle = made.arms[arm] if arm else "a"
            rung = "cached" if arm in lost and user % 3 else "full"
            for slot in range(PLACES):
                click = int(rng.random() < 2 * own[user] * rates[bundle])
                request = f"{name} on {start // DAY_MS + day}"
                rows.append(
                    {"request_id": request, "user_id": name, "item_id": f"i{slot}", "slot": slot, "served_at": at,
                     "bundle": bundle, "rung": rung, "click": click, "occurred_at": at + 1000, "k": PLACES,
                     "took_ms": 5.0 + user % 3, "device": ("ios", "web")[user % 2]}
                )  # fmt: skip
    both = pl.DataFrame(rows)
    impressions = both.select(
        "request_id", "item_id", "slot", "click", "occurred_at", long_view="click", watch_ms=pl.col("click") * 60_000,
        impression_id=pl.concat_str("request_id", "item_id"),
    )  # fmt: skip
    served = both.drop("click", "occurred_at")
    return served, grouped(joined(served, impressions), ITEMS)


def at_end_of(day: int) -> int:
    return BEGINS + day * DAY_MS


def test_exposed_is_who_was_answered_in_full_by_their_arm() -> None:
    made = experiment(days=4)
    served, seen = world(made, {"a": 0.2, "b": 0.2}, users=60, days=1)
    first = served["request_id"][0]
    other = served.with_columns(
        rung=pl.when(pl.col("request_id") == first).then(pl.lit("no_ranker")).otherwise("rung"),
        bundle=pl.when(pl.col("user_id") == "u1").then(pl.lit("c")).otherwise("bundle"),
        user_id=pl.when(pl.col("user_id") == "u2").then(pl.lit("")).otherwise("user_id"),
    )
    slates = exposures(made, other)
    assert set(slates.filter(~pl.col("exposed"))["user_id"]) == {"u0", "u1"} and "" not in slates["user_id"].to_list()
    users = table(made, other, seen, at_end_of(1))
    assert users.height == 57 and users["impressions"].to_list() == [PLACES] * 57
    assert dict(users.select("user_id", "arm").iter_rows()) == {u: made.arm_of(u, BEGINS) for u in users["user_id"]}


def test_the_sums_of_a_user_are_those_of_their_rows_and_the_covariate_ends_before_the_experiment() -> None:
    made = experiment(days=4)
    during, seen_during = world(made, {"a": 0.3, "b": 0.3}, users=30, days=3)
    earlier = replace(made, begins=BEGINS + 99 * DAY_MS)  # nobody was in it then
    before, seen_before = world(earlier, {"a": 0.3}, users=20, days=2, start=BEGINS - 2 * DAY_MS)
    served, seen = pl.concat([before, during]), pl.concat([seen_before, seen_during])
    users = table(made, served, seen, at_end_of(3))
    for row in users.head(5).to_dicts() + users.tail(5).to_dicts():
        mine = seen_during.filter(pl.col("user_id") == row["user_id"])
        past = seen_before.filter(pl.col("user_id") == row["user_id"])
        assert (row["click"], row["impressions"]) == (mine["click"].sum(), mine.height)
        assert (row["click_before"], row["impressions_before"]) == (past["click"].sum(), past.height)
        assert (row["minutes"], row["sessions"], row["slates"]) == (mine["click"].sum(), 3, 3)
        assert (row["known_1"], row["back_within_7"], row["known_7"]) == (1, 0, 0)  # a week is not over
    assert users["back_within_1"].sum() > 0
    assert table(made, served.sample(fraction=1, shuffle=True, seed=3), seen, at_end_of(3)).equals(users)


@pytest.mark.parametrize("method", ["planned", "always_valid"])
def test_a_better_arm_is_promoted_at_the_first_look_that_can_tell_and_a_worse_one_refused(method: str) -> None:
    made = experiment(days=6, method=method, minimum_effect=0.3)
    better = analysed(made, *world(made, {"a": 0.2, "b": 0.4}), at_end_of(4))
    assert (better.verdict, better.arm) == ("promote", "treatment")
    told = [look for look in better.looks if look.metric == "ctr"][-1]
    assert told.low > 0 and told.relative == pytest.approx(1.0, abs=0.3) and "clicks an impression" in better.reasons[0]
    worse = analysed(made, *world(made, {"a": 0.4, "b": 0.2}), at_end_of(4))
    assert worse.verdict == "refuse" and "-" in worse.reasons[0]


def test_what_cannot_be_told_goes_on_and_is_refused_at_the_end() -> None:
    made = experiment(days=4)
    served, seen = world(made, {"a": 0.3, "b": 0.3}, users=200)
    assert analysed(made, served, seen, at_end_of(0) + 5).reasons == ("its first look is at the end of its first day",)
    assert analysed(made, served, seen, at_end_of(-3)).verdict == "goes on"
    assert analysed(made, served, seen, at_end_of(3)).verdict == "goes on"
    ended = analysed(made, served, seen, at_end_of(4))
    assert ended.verdict == "refuse" and "not shown to be better within its 4 days" in ended.reasons[0]
    late = seen.with_columns(occurred_at=pl.col("occurred_at") + 30 * DAY_MS, click=pl.lit(1, pl.Int64))
    assert analysed(made, served, pl.concat([seen, late], how="vertical_relaxed"), at_end_of(9)) == ended
    assert ended.report() == analysed(made, served, seen, at_end_of(9)).report()


def test_arms_that_lose_their_users_or_their_answers_are_refused_whatever_they_show() -> None:
    made = experiment(days=4)
    served, seen = world(made, {"a": 0.2, "b": 0.5}, users=600, days=2)
    gone = ~((pl.col("bundle") == "b") & (pl.col("user_id").str.slice(1).cast(pl.Int64) % 2 == 0))
    decision = analysed(made, served.filter(gone), seen, at_end_of(2))
    assert decision.verdict == "refuse" and "do not hold the shares" in decision.reasons[0]
    nobody = analysed(made, served.filter(pl.col("bundle") != "b"), seen, at_end_of(2))
    assert nobody.verdict == "refuse" and "treatment 0" in nobody.reasons[0]  # its bundle never came into service
    partly = [replace_rungs(frame) for frame in (served, seen)]
    guarded = analysed(made, *partly, at_end_of(2))
    assert guarded.verdict == "refuse" and "guardrail: treatment: slates answered in full" in guarded.reasons[0]


def replace_rungs(frame: pl.DataFrame) -> pl.DataFrame:
    """The treatment answers in full on the first day alone, but for every second user."""
    late = (pl.col("served_at") >= at_end_of(1)) & (pl.col("bundle") == "b")
    some = pl.col("user_id").str.slice(1).cast(pl.Int64) % 3 > 0
    return frame.with_columns(rung=pl.when(late & some).then(pl.lit("no_ranker")).otherwise("rung"))


def test_a_metric_without_variance_and_too_few_users_decide_nothing() -> None:
    made = experiment(days=2)
    for rates, users in (({"a": 0.0, "b": 0.0}, 300), ({"a": 0.2, "b": 0.8}, 40)):
        decision = analysed(made, *world(made, rates, users=users, days=2), at_end_of(2))
        assert decision.verdict == "refuse" and "cannot be compared" in decision.reasons[0], decision.reasons


def test_whom_an_arm_crowds_out_and_what_it_costs_are_guardrails_and_metrics() -> None:
    made = experiment(days=4, guardrails=("fresh", "small_creators"))
    served, seen = world(made, {"a": 0.2, "b": 0.2}, users=300)
    users = table(made, served, seen, at_end_of(4))
    assert (users["fresh"] / users["impressions"]).unique().to_list() == [0.4]  # of five, two
    for one, other in (("places", "impressions"), ("wanted", "impressions"), ("timed", "slates")):
        assert users[one].to_list() == users[other].to_list()
    late = at_end_of(4)
    of_b, rare = pl.col("bundle") == "b", (pl.col("request_id").hash(1) % 3 == 0) & (pl.col("slot") == 2)
    short = served.filter(~(of_b & rare))
    told = analysed(made, short, seen.join(short.select("request_id", "item_id"), on=["request_id", "item_id"]), late)
    assert told.verdict == "refuse" and "guardrail: treatment: places filled" in told.reasons[0]
    crowded = seen.with_columns(fresh=pl.col("fresh") & ~(of_b & (pl.col("request_id").hash(2) % 3 == 0)))
    told = analysed(made, served, crowded, late)
    assert told.verdict == "refuse" and "items of the last week" in told.reasons[0]
    quick = served.with_columns(took_ms=pl.col("took_ms") - of_b.cast(pl.Float64))
    for metric, guards, verdict in (("latency", (), "promote"), ("ctr", ("latency",), "goes on")):
        told = analysed(replace(made, days=5, metric=metric, guardrails=guards), quick, seen, late)
        assert told.verdict == verdict, told.reasons
    slow = served.with_columns(took_ms=pl.col("took_ms") + of_b.cast(pl.Float64))
    assert "milliseconds a slate" in analysed(replace(made, guardrails=("latency",)), slow, seen, late).reasons[0]


def test_new_items_that_keep_their_impressions_and_lose_their_places_lose_attention() -> None:
    """Of a slate of five the first and the fourth item are new; the treatment turns two of three slates by one."""
    made = experiment(days=4)
    served, seen = world(made, {"a": 0.2, "b": 0.2}, users=300)
    turned = (pl.col("bundle") == "b") & (pl.col("request_id").hash(2) % 3 > 0)
    down = pl.when(turned).then((pl.col("slot") + 4) % 5).otherwise("slot")
    seen = seen.with_columns(slot=down).drop("fresh", "small", "attention")
    curve = {"0": 0.0, "1": -0.4, "2": -0.7, "3": -0.9}  # what is below its last place gets what that gets
    weighed, alike = (grouped(seen, ITEMS, told) for told in (curve, {}))
    weights = dict(weighed.select("slot", "attention").unique().iter_rows())
    assert weights == {0: 1.0, 1: np.exp(-0.4), 2: np.exp(-0.7), 3: np.exp(-0.9), 4: np.exp(-0.9)}
    users = table(made, served, weighed, at_end_of(4))
    shares = users.group_by("arm").agg((pl.col("fresh_attention").sum() / pl.col("attention").sum()).alias("share"))
    told = dict(shares.iter_rows())
    assert told["control"] == pytest.approx((weights[0] + weights[3]) / sum(weights.values()))
    assert (weights[4] + weights[2]) / sum(weights.values()) < told["treatment"] < 0.9 * told["control"]
    for name, given, verdict in (
        ("fresh_attention", weighed, "refuse"), ("fresh_attention", alike, "goes on"), ("fresh", weighed, "goes on"),
    ):  # fmt: skip
        decision = analysed(replace(made, days=5, guardrails=(name,)), served, given, at_end_of(4))
        assert decision.verdict == verdict, decision.reasons
    guarded = analysed(replace(made, guardrails=("fresh_attention",)), served, weighed, at_end_of(4))
    assert "guardrail: treatment: share of attention that goes to items of the last week" in guarded.reasons[0]


def test_a_group_of_people_who_get_less_is_a_guardrail_and_every_group_is_told() -> None:
    made = experiment(days=4, minimum_effect=0.3)
    during, _ = world(made, {"a": 0.2, "b": 0.26}, users=900)
    earlier = replace(made, begins=BEGINS + 99 * DAY_MS)
    before, seen_before = world(earlier, {"a": 0.2}, users=500, days=3, start=BEGINS - 3 * DAY_MS)
    came = pl.col("user_id").str.slice(1).cast(pl.Int64)
    once = (came < 250) & (pl.col("served_at") >= BEGINS - 2 * DAY_MS)  # half of those who were there came on one day
    before, seen_before = before.filter(~once), seen_before.filter(~once)
    _, seen = world(made, {"a": 0.2, "b": 0.26}, users=900)
    lost = (pl.col("bundle") == "b") & (came >= 500)  # those who are new get next to nothing by the treatment
    seen = seen.with_columns(click=pl.when(lost).then(pl.lit(0)).otherwise(pl.col("click")))
    served, seen = pl.concat([before, during]), pl.concat([seen_before, seen], how="vertical_relaxed")
    users = table(made, served, seen, at_end_of(4))
    halves = [of_group(users, group) for group in ("newcomers", "seldom", "often", "device=ios", "device=web")]
    assert [part.height for part in halves] == [400, 250, 250, 450, 450]
    assert set(halves[0]["user_id"]) == {f"u{n}" for n in range(500, 900)}
    told = analysed(made, served, seen, at_end_of(4))
    by_group = {look.metric: look for look in told.people}
    assert list(by_group) == [f"ctr@{name}" for name in ("newcomers", "seldom", "often", "device=ios", "device=web")]
    assert by_group["ctr@newcomers"].high < -0.5 and by_group["ctr@often"].relative > 0
    assert told.report()["people"][0]["users_control"] == halves[0].filter(pl.col("arm") == "control").height
    for guards, words in ((("ctr@newcomers",), "clicks an impression of newcomers"), (("ctr@often", "ctr@seldom"), "")):
        decision = analysed(replace(made, guardrails=guards), served, seen, at_end_of(4))
        assert ("guardrail: treatment: " + words in decision.reasons[0]) == bool(words), decision.reasons


def test_what_only_ranks_unseen_decides_nothing() -> None:
    made = experiment(days=2, stages=((0, 0.0),), unseen=0.5)
    served, seen = world(made, {"a": 0.2}, users=60, days=3)
    assert analysed(made, served, seen, at_end_of(1)).verdict == "goes on"
    told = analysed(made, served, seen, at_end_of(3))
    assert told.verdict == "refuse" and "cannot be compared" in told.reasons[0]
    assert 20 < sum(made.ranks_unseen(f"u{n}", BEGINS) for n in range(60)) < 40 and not made.ranks_unseen("u1", 0)


def test_users_and_days_are_told_before_the_start() -> None:
    made = experiment(days=4, minimum_effect=0.2)
    _, seen = world(made, {"a": 0.3, "b": 0.3}, users=200)
    wanted = needs(made, seen)
    assert 200 < wanted.users < 5000 and wanted.days is None and "more than the log has" in str(wanted)
    assert needs(replace(made, minimum_effect=0.8), seen).days == 1
    with pytest.raises(ValueError, match="does not tell sessions"):
        needs(replace(made, metric="sessions"), seen)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path))
    return tmp_path


def test_by_the_asset_one_experiment_ends_in_a_promotion_and_one_in_a_refusal(home: Path) -> None:
    """Bundles in a registry, a served log on disk, events in the store, the asset run by Dagster."""
    from recsys_assets.defs.monitoring.experiments import experiments
    from recsys_assets.experiment import listed
    from recsys_assets.resources import Workspace

    registry = Registry(home / "registry")
    folders = [parts(home / name, name) for name in ("one", "two", "three")]
    for folder in folders:
        ITEMS.write_parquet(folder / "items.parquet")
    champion, good, bad = (registry.register(folder, FITTING).bundle_id for folder in folders)
    registry.promote(champion)
    for name, treatment, place in (("better", good, 0.0), ("worse", bad, 0.5)):
        arms = {"control": champion, "treatment": treatment}
        made = experiment(name=name, arms=arms, stages=((0, 0.5),), from_place=place, days=3)
        registry.run_experiment(made, held=FITTING.features, now=BEGINS)
    running, _ = registry.experiments.running()
    store = open_store(from_environment(), create=True)
    blank = dict.fromkeys(ITEM_SCHEMA.names)
    items = [{**blank, "item_id": f"i{n}", "item_type": "video", "is_available": True} for n in range(PLACES)]
    store.put_items(pa.Table.from_pylist(items, ITEM_SCHEMA), BEGINS)
    log = ServedLog(home / "served_log")
    for number, made in enumerate(running):
        rates = {champion: 0.2, good: 0.45, bad: 0.05, "a": 0.2}
        served, seen = world(made, rates, users=600, days=2, seed=number)
        kept = pl.Series([made.arm_of(user, BEGINS) is not None for user in served["user_id"]])
        write(log, served.filter(kept))
        store.append(list(events(seen.filter(kept))), at_end_of(2))
    write(log, pl.DataFrame({"request_id": ["last"], "user_id": ["u0"], "item_id": ["i0"], "served_at": [at_end_of(2)],
                             "bundle": [champion], "rung": ["full"]}))  # fmt: skip
    log.close()
    store.close()
    for _ in range(2):  # again changes nothing
        assert dg.materialize([experiments], resources={"workspace": Workspace()}).success
        better, worse = (registry.experiments.get(name) for name in ("better", "worse"))
        assert (better.state, worse.state) == ("promoted", "refused"), (better.reasons, worse.reasons)
        assert registry.alias_id() == good
        (promoted,) = [row for row in registry.history() if row["bundle_id"] == good]
        assert "experiment better: treatment: clicks an impression" in promoted["reason"]
    assert better.report is not None and better.report["looks"][0]["day"] == 1
    assert "better promoted: treatment" in listed(from_environment())


def test_by_the_asset_a_sieve_tells_who_is_preferred_and_promotes_nobody(home: Path) -> None:
    from recsys_assets.defs.monitoring.experiments import experiments
    from recsys_assets.resources import Workspace

    registry = Registry(home / "registry")
    folders = [parts(home / name, name) for name in ("one", "two")]
    for folder in folders:
        ITEMS.write_parquet(folder / "items.parquet")
    champion, good = (registry.register(folder, FITTING).bundle_id for folder in folders)
    registry.promote(champion)
    arms = {"control": champion, "treatment": good}
    made = experiment(name="mixed", arms=arms, stages=((0, 1.0),), days=3, guardrails=(), kind="interleave")
    registry.run_experiment(made, held=FITTING.features, now=BEGINS)
    store = open_store(from_environment(), create=True)
    blank = dict.fromkeys(ITEM_SCHEMA.names)
    items = [{**blank, "item_id": f"i{n}", "item_type": "video", "is_available": True} for n in range(PLACES)]
    store.put_items(pa.Table.from_pylist(items, ITEM_SCHEMA), BEGINS)
    served, seen = world(made, {champion: 0.3, good: 0.3}, users=200, days=1)
    teams = pl.col("slot") % 2
    liked = (teams == 1) & (pl.col("request_id").hash(3) % 10 < 8)
    seen = seen.with_columns(click=pl.when(liked).then(1).otherwise("click"))
    log = ServedLog(home / "served_log")
    write(log, served.with_columns(bundle=pl.lit(champion)), policy_of(good), [0, 1, 0, 1, 0])
    write(log, pl.DataFrame({"request_id": ["last"], "user_id": ["u0"], "item_id": ["i0"], "served_at": [at_end_of(1)],
                             "bundle": [champion], "rung": ["full"]}))  # fmt: skip
    log.close()
    store.append(list(events(seen)), at_end_of(1))
    store.close()
    for _ in range(2):  # again changes nothing
        assert dg.materialize([experiments], resources={"workspace": Workspace()}).success
        entry = registry.experiments.get("mixed")
        assert entry.state == "stopped" and "of 200 users click on treatment's places more" in entry.reasons[0]
        assert registry.alias_id() == champion and len(registry.history()) == 1


def test_an_experiment_that_would_have_begun_before_it_is_started_is_refused_in_one_line(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from recsys_assets import experiment as command

    registry = Registry(home / "registry")
    one, two = (registry.register(parts(home / name, name), FITTING).bundle_id for name in ("one", "two"))
    registry.promote(one)
    record = home / "record.json"
    told = {"arms": {"control": one, "treatment": two}, "shares": {"control": 0.5, "treatment": 0.5}, "days": 3,
            "stages": [[0, 1.0]]}  # fmt: skip
    monkeypatch.setattr("sys.argv", ["experiment", "start", "tried", "--file", str(record)])
    record.write_text(json.dumps({**told, "begins": BEGINS}))
    assert command.main() == 2
    assert capsys.readouterr().err == (
        "experiment tried would have begun at 2024-10-04 00:00 UTC, which is over: leave `begins` out, and it begins "
        "now, or name an instant to come\n"
    )
    assert not registry.experiments.running()[0]
    record.write_text(json.dumps(told))
    assert command.main() == 0
    assert [made.name for made in registry.experiments.running()[0]] == ["tried"]


def test_a_champion_does_not_settle_on_days_on_which_it_was_only_tried(home: Path) -> None:
    """Half of the users are tried on three days; then it is promoted, and answers all of them."""
    from recsys_assets.defs.monitoring.drift_report import _first_days

    lake, registry = Lake(home), Registry(home / "registry")
    one, two = (registry.register(parts(home / name, name), FITTING).bundle_id for name in ("one", "two"))
    made = experiment(arms={"control": one, "treatment": two}, stages=((0, 0.8),), days=5)
    registry.run_experiment(made, held=FITTING.features, now=BEGINS)
    names = [day_name(BEGINS // DAY_MS + day) for day in range(6)]
    for day, name in enumerate(names):
        at = at_end_of(day) + HOUR_MS
        arms = [made.arm_of(f"u{n}", at) for n in range(60)]
        tried = day < 3  # its record names two more days, on which nobody is in it any more
        bundles = [(two if arm == "treatment" else one) if tried else two for arm in arms]
        rows = pl.DataFrame({"user_id": [f"u{n}" for n in range(60)], "served_at": at, "bundle": bundles})
        lake.write(rows.to_arrow(), lake.day(name, "feedback", "slates"))
    registry.experiments.end("one", "promoted", ["better"])
    assert _first_days(lake, two) == names[3:5]
    assert _first_days(lake, one) == names[:2]  # what it is tried against serves


def write(log: ServedLog, served: pl.DataFrame, policy: str | None = None, teams: Sequence[int] | None = None) -> None:
    for (_, user, at, bundle, rung), rows in served.group_by("request_id", "user_id", "served_at", "bundle", "rung"):
        n = rows.height
        log.append(
            Served(rows["request_id"][0], at, user, "feed", "feed", None, bundle, rung, 1, at, "f",
                   rows["item_id"].to_list(), list(range(n)), ["fresh"] * n, [0.0] * n, [None] * n, [None] * n,
                   None, policy=policy, team=teams)
        )  # fmt: skip


def events(seen: pl.DataFrame) -> list[dict[str, Any]]:
    """What the users of those rows tell the service."""
    told = []
    for row in seen.to_dicts():
        for kind in ("impression", *["click"] * row["click"]):
            told.append(
                {"event_id": f"{kind} {row['request_id']} {row['item_id']}", "kind": kind, "user_id": row["user_id"],
                 "item_id": row["item_id"], "occurred_at": row["occurred_at"], "request_id": row["request_id"],
                 "slot": row["slot"]}
            )  # fmt: skip
    return told
