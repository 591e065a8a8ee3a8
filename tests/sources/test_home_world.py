"""The world `home`: what its truth says is what its log shows, and the default world is what it was."""

import numpy as np
import polars as pl
import pytest
import xxhash

from recsys.events import DAY_MS, EVENT_SCHEMA, HOUR_MS
from recsys.sources.home import EMBEDDING, LANGUAGES, LATE_CATEGORY
from recsys.sources.home_log import LIBRARY, HomeSimulator
from recsys.sources.simulator import Simulator
from recsys.sources.source import day_name
from recsys.sources.world import BEGIN_MS, FIRST_DAY

DAYS, USERS, LATE_DAY = 8, 2500, 5


@pytest.fixture(scope="module")
def home():
    return HomeSimulator(days=DAYS, users=USERS, seed=3, new_category_on=LATE_DAY)


@pytest.fixture(scope="module")
def log(home):
    """What happened, once each and at its own instant, with the items' and users' places in the world."""
    days = [home.read_day(day_name(FIRST_DAY + n)).events for n in range(DAYS)]
    assert all(day.schema == EVENT_SCHEMA for day in days)
    rows = pl.concat([pl.DataFrame(day) for day in days]).unique("event_id", maintain_order=True)
    rows = rows.filter(pl.col("occurred_at").is_between(BEGIN_MS, pl.col("received_at")))
    items, users = ({name: i for i, name in enumerate(n)} for n in (home.world.item_names, home.world.user_names))
    place = pl.col("item_id").replace_strict(items, default=None), pl.col("user_id").replace_strict(users, default=None)
    return rows.with_columns(item=place[0], user=place[1]).filter(pl.col("user").is_not_null())


def test_the_default_world_s_rows_are_the_bytes_they_were():
    world, digest = Simulator(days=4, users=600, seed=7), xxhash.xxh3_128()
    tables = [world.read_day(day_name(FIRST_DAY + n)).events for n in range(4)]
    for table in (*tables, world.items(), world.users()):
        digest.update(repr(table.to_pydict()).encode())
    assert digest.hexdigest() == "85179c833e064e17a6886881ae08954c"


def test_a_day_is_the_same_whatever_was_read_before(home):
    day = day_name(FIRST_DAY + 4)
    assert (
        HomeSimulator(days=DAYS, users=USERS, seed=3, new_category_on=LATE_DAY)
        .read_day(day)
        .events.equals(home.read_day(day).events)
    )


@pytest.mark.parametrize("shelf", ["feed", "podcasts", "playlists", "shortcuts"])
def test_the_truth_is_what_is_clicked_on_each_shelf(home, log, shelf):
    shown = log.filter(kind="impression", shelf=shelf)
    clicked = log.filter(kind="click", shelf=shelf).select(event_id="impression_id", click=pl.lit(1)).unique()
    shown = shown.join(clicked, on="event_id", how="left").with_columns(pl.col("click").fill_null(0))
    shown = shown.filter(pl.col("item").is_not_null())
    truth = home.truth.outcome(
        shown["user_id"].to_list(), shown["item_id"].to_list(), shown["occurred_at"].to_numpy(),
        shown["slot"].to_numpy(), shown["shelf"].to_list(),
    ).click  # fmt: skip
    parts = pl.DataFrame({"p": truth, "click": shown["click"]}).sort("p").with_row_index()
    for _, part in parts.group_by(pl.col("index") * 5 // len(parts)):
        p, happened = part["p"].mean(), part["click"].mean()
        error = 5 * np.sqrt(p * (1 - p) / len(part))
        assert p * 0.96 - error <= happened <= p + error


def test_the_words_of_a_search_tell_what_somebody_likes(home, log):
    """Slates after a search: items of the category that it names are clicked more than others, of the same person."""
    category = pl.Series([str(home.world.categories[c]) for c in home.world.item_category])
    asked = log.filter(kind="search").select("user_id", "occurred_at", "query").sort("occurred_at")
    clicked = log.filter(kind="click").select(event_id="impression_id", click=pl.lit(1)).unique()
    shown = log.filter(pl.col("kind") == "impression", pl.col("shelf") == "feed", pl.col("item").is_not_null())
    shown = shown.drop("query").join(clicked, on="event_id", how="left").with_columns(pl.col("click").fill_null(0))
    shown = shown.sort("occurred_at").join_asof(asked, on="occurred_at", by="user_id").drop_nulls("query")
    named = shown["query"].str.split(" ").list.first() == category[shown["item"]]
    assert named.sum() > 300
    assert shown.filter(named)["click"].mean() > 1.15 * shown.filter(~named)["click"].mean()


def test_listeners_come_back_to_what_they_know_at_its_hour(home, log):
    """Of all plays out of routine most are of what was played before, near the hour at which that was played."""
    plays = log.filter(pl.col("kind") == "click", pl.col("shelf").is_in(["shortcuts", LIBRARY]), pl.col("item") >= 0)
    show = home.world.item_show[plays["item"].to_numpy()]
    plays = plays.with_columns(what=pl.Series(np.where(show >= 0, -1 - show, plays["item"].to_numpy())))
    again = plays.sort("occurred_at").with_columns(before=pl.col("occurred_at").shift().over("user", "what"))
    assert again["before"].is_not_null().mean() > 0.25
    hours = (again["occurred_at"] - again["before"]).drop_nulls().to_numpy() % DAY_MS / HOUR_MS
    assert (np.minimum(hours, 24 - hours) < 2).mean() > 0.45
    assert again.filter(shelf=LIBRARY)["slot"].null_count() == again.filter(shelf=LIBRARY).height > 0


def test_episodes_are_of_shows_and_heard_once(home, log):
    items = pl.DataFrame(home.items()).with_columns(show=pl.Series(home.world.item_show))
    episodes = items.filter(item_type="podcast")
    assert episodes["creator_id"].n_unique() == episodes["show"].n_unique() == 80
    assert episodes.group_by("creator_id").len()["len"].min() >= 4
    routine = [home.routine(FIRST_DAY + n) for n in range(DAYS)]
    played = pl.concat([pl.DataFrame({"user": r.user, "item": r.played, "ms": r.watch_ms}) for r in routine])
    played = played.filter(pl.Series(home.world.item_show[played["item"]] >= 0) & (pl.col("item") >= 0))
    heard = played.group_by("user", "item").agg(pl.col("ms").sum())
    assert (heard["ms"].to_numpy() <= home.world.item_duration_ms[heard["item"]] + 18_000).all()


def test_who_somebody_is_says_what_they_like_and_what_they_declare_says_more(home):
    world = home.world
    first = world.user_first_taste

    def gain(of):  # how much likelier the commonest taste of a group is than that of everybody
        groups = pl.DataFrame({"of": of, "taste": first}).group_by("of").agg(pl.col("taste").mode().first())
        guess = groups.rename({"taste": "guess"}).join(pl.DataFrame({"of": of, "taste": first}), on="of")
        return (guess["guess"] == guess["taste"]).mean() / np.bincount(first).max() * len(first)

    segment = world.user_country * 10 + world.user_age_band
    declared = [tastes[0] if tastes else "" for tastes in world.user_tastes]
    assert 1.2 < gain(segment.tolist()) < gain(declared)
    known = pl.Series(home.world.user_registered_at) >= BEGIN_MS
    arrived = np.bincount((np.array(home.world.user_registered_at)[known] - BEGIN_MS) // DAY_MS)
    assert len(arrived) == DAYS and arrived.min() > 0.02 * USERS


def test_a_category_begins_on_its_day(home):
    items = pl.DataFrame(home.items()).filter(category=LATE_CATEGORY)
    first = BEGIN_MS + (LATE_DAY - 1) * DAY_MS
    assert items.height > 20 and first <= items["published_at"].min() < first + DAY_MS
    usual = pl.DataFrame(HomeSimulator(days=14, users=10).items()).filter(category=LATE_CATEGORY)
    assert (usual["published_at"].min() - BEGIN_MS) // DAY_MS == 11  # of 14 days the first of three test days


def test_what_is_said_of_an_item_tells_its_taste_and_nothing_of_its_quality(home):
    items, world = pl.DataFrame(home.items()), home.world
    assert items["language"].to_list() == [LANGUAGES[language] for language in world.item_language]
    assert items.select("description", "creator_name").null_count().sum_horizontal().item() == 0
    given = np.array(items["embedding"].to_list())
    assert given.shape == (items.height, EMBEDDING)
    given /= np.linalg.norm(given, axis=1, keepdims=True)
    of = np.random.default_rng(1).permutation(items.height)[:800]
    pairs = np.triu_indices(800, 1)
    true = (world.item_vectors[of] @ world.item_vectors[of].T)[pairs]
    assert np.corrcoef((given[of] @ given[of].T)[pairs], true)[0, 1] > 0.6
    words = items["description"].str.replace_all(",", "").str.split(" ").to_numpy()[of]
    shared = np.array([len(set(words[a][1:-1]) & set(words[b][1:-1])) for a, b in zip(*pairs, strict=True)])
    assert true[shared == 3].mean() > true[shared == 1].mean() + 0.2 > true[shared == 0].mean() + 0.3
    quality = np.linalg.lstsq(given, world.item_quality, rcond=None)[0]
    assert np.corrcoef(given @ quality, world.item_quality)[0, 1] < 0.25  # 16 numbers fitted to 2,000 items
