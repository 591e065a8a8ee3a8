"""The simulated world: known truth, the same every time, dirty as real logs are."""

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from recsys.events import CLOCK_SKEW_MS, DAY_MS, EVENT_SCHEMA, KINDS, SESSION_GAP_MS
from recsys.sources.simulator import SLATE, Simulator
from recsys.sources.source import day_name, day_number
from recsys.sources.world import FIRST_DAY

DAYS, USERS = 6, 2500


@pytest.fixture(scope="module")
def world():
    return Simulator(days=DAYS, users=USERS, seed=3)


@pytest.fixture(scope="module")
def log(world):
    days = [world.read_day(day_name(FIRST_DAY + n)).events for n in range(DAYS)]
    assert all(day.schema == EVENT_SCHEMA for day in days)
    return pl.concat([pl.DataFrame(pl.from_arrow(day)) for day in days])


@pytest.fixture(scope="module")
def shown(world, log):
    """Clean impressions with what became of them, and the truth about them."""
    clean = log.unique("event_id").filter(
        pl.col("user_id").is_not_null(), pl.col("item_id").is_not_null(), pl.col("occurred_at") <= pl.col("received_at")
    )
    clean = clean.filter(pl.col("occurred_at") > 0)
    impressions = clean.filter(kind="impression")
    for kind in ("click", "long_view"):
        happened = clean.filter(kind=kind).select(event_id="impression_id").unique().with_columns(pl.lit(1).alias(kind))
        impressions = impressions.join(happened, on="event_id", how="left").with_columns(pl.col(kind).fill_null(0))
    truth = world.truth.outcome(
        impressions["user_id"].to_list(),
        impressions["item_id"].to_list(),
        impressions["occurred_at"].to_numpy(),
        impressions["slot"].to_numpy(),
    )
    watched = clean.filter(kind="play").group_by(event_id="impression_id").agg(pl.col("watch_ms").sum())
    return (
        impressions.drop("watch_ms")
        .join(watched, on="event_id", how="left")
        .with_columns(
            pl.col("watch_ms").fill_null(0),
            p_click=pl.Series(truth.click),
            p_long_view=pl.Series(truth.long_view),
            expected=pl.Series(truth.watch_ms),
        )
    )


def test_a_day_is_the_same_whatever_was_read_before(world, log):
    alone = Simulator(days=DAYS, users=USERS, seed=3).read_day("2026-01-08").events
    assert alone.equals(world.read_day("2026-01-08").events)
    assert not alone.equals(Simulator(days=DAYS, users=USERS, seed=4).read_day("2026-01-08").events)


def test_every_event_stands_on_the_day_it_was_received(world):
    for name in ("2026-01-05", "2026-01-10"):
        received = world.read_day(name).events["received_at"].to_numpy()
        assert set(received // DAY_MS) == {day_number(name)}
    assert world.read_day("2026-01-04").events.num_rows == world.read_day("2026-01-11").events.num_rows == 0


@pytest.mark.parametrize("kind", ["click", "long_view"])
def test_the_truth_is_calibrated_in_every_tenth(shown, kind):
    tenths = shown.with_columns(tenth=pl.col(f"p_{kind}").qcut(10, labels=[str(i) for i in range(10)]))
    for _, part in tenths.group_by("tenth"):
        p, happened = part[f"p_{kind}"], part[kind].mean()
        # 2 % of outcomes are late beyond the last day, broken or lost; 5 standard errors of a tenth
        error = 5 * np.sqrt(p.mean() * (1 - p.mean()) / part.height)
        assert p.mean() * 0.97 - error <= happened <= p.mean() + error


def test_expected_watch_time_is_the_mean_watch_time(shown):
    assert shown["watch_ms"].mean() == pytest.approx(shown["expected"].mean(), rel=0.06)


def test_taste_tells_much_more_than_popularity(shown):
    seen, later = shown.filter(pl.col("date") < "2026-01-09"), shown.filter(pl.col("date") >= "2026-01-09")
    popularity = seen.group_by("item_id").agg(rate=(pl.col("click").sum() + 1) / (pl.len() + 4))
    later = later.join(popularity, on="item_id", how="left").with_columns(pl.col("rate").fill_null(0.25))
    oracle = roc_auc_score(later["click"], later["p_click"])
    popular = roc_auc_score(later["click"], later["rate"])
    assert oracle > 0.79 and 0.55 < popular < oracle - 0.1


def test_first_slots_are_clicked_more(shown):
    feed = shown.filter(shelf="feed").group_by("slot").agg(pl.col("click").mean()).sort("slot")["click"]
    assert len(feed) == SLATE["feed"] and feed[0] > 1.5 * feed[-1]


def test_nothing_is_shown_before_it_is_published_nor_to_users_before_they_register(world, shown):
    items = pl.DataFrame(pl.from_arrow(world.items())).select("item_id", "published_at")
    users = pl.DataFrame(pl.from_arrow(world.users()))
    joined = shown.join(items, on="item_id").join(users, on="user_id")
    assert joined.height == shown.height
    assert (joined["published_at"] <= joined["occurred_at"]).all()
    assert (joined["registered_at"] <= joined["occurred_at"]).all()
    assert (items["published_at"] >= FIRST_DAY * DAY_MS).sum() == 40 * DAYS


def test_a_slate_shows_an_item_once(shown):
    assert shown.group_by("request_id", "item_id").len()["len"].max() == 1


def test_visits_hold_several_slates(shown):
    slates = shown.unique("request_id").sort("user_id", "occurred_at")
    gaps = slates.select(gap=pl.col("occurred_at").diff().over("user_id")).drop_nulls()["gap"]
    assert 0.1 < (gaps < SESSION_GAP_MS).mean() < 0.9


def test_the_log_is_as_dirty_as_real_ones(log):
    n = log.height
    repeated = n - log["event_id"].n_unique()
    lateness = log["received_at"] - log["occurred_at"]
    assert 0.003 < repeated / n < 0.008
    assert 0.01 < lateness.is_between(5 * 60_000, 36 * 3_600_000).sum() / n < 0.03
    assert 0.005 < lateness.is_between(-CLOCK_SKEW_MS, -1).sum() / n < 0.015
    assert (lateness < -CLOCK_SKEW_MS).sum() > 0 and (log["occurred_at"] == 0).sum() > 0
    assert log["user_id"].null_count() > 0 and log["item_id"].null_count() > 0 and (log["watch_ms"] < 0).sum() > 0
    assert set(log["kind"]) - set(KINDS) == {"hover"}
    assert 0.001 < (log["consent"] == False).mean() < 0.05  # noqa: E712  polars


def test_tastes_drift(world):
    users = np.arange(USERS)
    taste = [world.world.taste(users, np.full(USERS, (FIRST_DAY + d) * DAY_MS)) for d in (0, 1, 14)]
    turned = [np.degrees(np.arccos(np.clip((taste[0] * t).sum(axis=1), -1, 1))).mean() for t in taste[1:]]
    assert 0 < turned[0] < turned[1] and 5 < turned[1] < 40


def test_the_best_ranking_cannot_be_beaten(world):
    at, user = FIRST_DAY * DAY_MS + 10 * 3_600_000, "u000003"
    best = world.truth.best(user, at, 10)
    available = [world.world.item_names[i] for i in world.world.available(at)]
    others = world.truth.outcome([user] * len(available), available, at).click
    chosen = world.truth.outcome([user] * 10, best, at).click
    assert np.sort(others)[::-1][:10] == pytest.approx(chosen)
    assert set(world.truth.best(user, at, 5, shelf="podcasts")) <= {
        i["item_id"] for i in world.items().to_pylist() if i["item_type"] == "podcast"
    }


def test_feedback_on_good_slates_is_better_and_repeatable(world):
    at = FIRST_DAY * DAY_MS + 10 * 3_600_000
    clicks = {"best": 0, "worst": 0}
    for user in range(60):
        name = f"u{user:06d}"
        order = world.truth.best(name, at, 10_000)
        for label, slate in (("best", order[:10]), ("worst", order[-10:])):
            events = world.feedback(name, slate, at, seed=1, request_id="q")
            assert events == world.feedback(name, slate, at, seed=1, request_id="q")
            assert [e["item_id"] for e in events if e["kind"] == "impression"] == slate
            assert all(set(e) == set(EVENT_SCHEMA.names) and e["occurred_at"] >= at for e in events)
            clicks[label] += sum(e["kind"] == "click" for e in events)
    assert clicks["best"] > 3 * clicks["worst"]
