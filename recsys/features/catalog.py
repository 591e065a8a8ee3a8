"""Every feature view and every feature, as data. To add one, add a declaration here: names, storage, reads, training,
serving and the documentation follow from it.
"""

from __future__ import annotations

from typing import Final

from recsys.events import DAY_MS, HOUR_MS, MINUTE_MS, SESSION_GAP_MS
from recsys.features.definition import (
    DAY,
    FIXED_POINT,
    HOUR,
    LIFETIME,
    MONTH,
    WEEK,
    Aggregation,
    Entity,
    Feature,
    FeatureView,
    Measure,
    Recent,
    Session,
    Window,
    fingerprint,
)

SHOWN: Final = ("impression", "exposure")
ENGAGED: Final = ("click", "long_view", "like", "exposure_long_view")
HISTORY_KINDS: Final = (*SHOWN, *ENGAGED)  # what is not engaged with says as much of a user as what is
HISTORY_LENGTH: Final = 128  # some 50 exposures with what came of them, and more
ENGAGED_LENGTH: Final = 50  # engaged events among them that the query tower and the sources look at

IMPRESSIONS = Measure("impressions", ("impression",))
CLICKS = Measure("clicks", ("click",))
PLAYS = Measure("plays", ("play",))
LONG_VIEWS = Measure("long_views", ("long_view",))
LIKES = Measure("likes", ("like",))
SKIPS = Measure("skips", ("skip",))
WATCH = Measure("watch_ms", ("play",), "sum")
# With the imported history, of which only long views are known.
SEEN = Measure("seen", SHOWN)
ALL_LONG_VIEWS = Measure("all_long_views", ("long_view", "exposure_long_view"))
EVENT_AT = Measure(
    "event_at", ("impression", "click", "play", "long_view", "like", "skip", "share", "follow"), "latest"
)
CLICK_AT = Measure("click_at", ("click",), "latest")
SEEN_AT = Measure("seen_at", ("impression",), "latest")
SEARCHED_AT = Measure("searched_at", ("search",), "latest")
SEARCHED = Measure("searched", ("search",), "last")
AFFINITY = Measure(
    "affinity", ("click", "long_view", "like", "share", "follow", "exposure_long_view"), "decayed", (1, 2, 4, 4, 4, 2)
)

RATES = (IMPRESSIONS, CLICKS, LONG_VIEWS)
SESSION_GAP = Window("30m", SESSION_GAP_MS, 0)

USER = Entity("user", ("user",))
ITEM = Entity("item", ("item",))
CATEGORY = Entity("category", ("category",))
CREATOR = Entity("creator", ("creator",))
SHELF = Entity("shelf", ("shelf",))
USER_ITEM = Entity("user_item", ("user", "item"))
USER_CATEGORY = Entity("user_category", ("user", "category"))
USER_CREATOR = Entity("user_creator", ("user", "creator"))
USER_SHELF = Entity("user_shelf", ("user", "shelf"))
ITEM_SHELF = Entity("item_shelf", ("item", "shelf"))
CATEGORY_SHELF = Entity("category_shelf", ("category", "shelf"))

# Keys of two parts are many (a million pairs on a slice of KuaiRand): they keep lifetimes, which need no tiles.
VIEWS: Final = (
    FeatureView(
        USER,
        (
            Aggregation((*RATES, SKIPS), (HOUR,)),
            Aggregation((*RATES, PLAYS, LIKES, SKIPS, WATCH), (DAY, WEEK)),
            Aggregation(RATES, (MONTH,)),
            Aggregation((*RATES, PLAYS, LIKES, SKIPS, WATCH, SEEN, ALL_LONG_VIEWS, EVENT_AT, CLICK_AT), (LIFETIME,)),
            Aggregation((SEARCHED_AT, SEARCHED), (LIFETIME,)),
            Aggregation((AFFINITY,), (WEEK,)),
        ),
        session=Session(EVENT_AT.kinds, SESSION_GAP),
        recent=Recent(HISTORY_KINDS, HISTORY_LENGTH),
    ),
    FeatureView(
        ITEM,
        (
            Aggregation((*RATES, PLAYS, LIKES, SKIPS, WATCH), (HOUR, DAY, WEEK)),
            Aggregation((*RATES, PLAYS, WATCH), (MONTH,)),
            Aggregation((*RATES, PLAYS, LIKES, SKIPS, WATCH, SEEN, ALL_LONG_VIEWS, CLICK_AT), (LIFETIME,)),
        ),
    ),
    FeatureView(
        CATEGORY,
        (
            Aggregation(RATES, (HOUR, DAY, WEEK)),
            Aggregation((*RATES, SEEN, ALL_LONG_VIEWS), (LIFETIME,)),
        ),
    ),
    FeatureView(
        CREATOR,
        (
            Aggregation(RATES, (DAY, WEEK)),
            Aggregation((*RATES, LIKES, SEEN, ALL_LONG_VIEWS), (LIFETIME,)),
        ),
    ),
    FeatureView(
        USER_CATEGORY,
        (
            Aggregation((*RATES, SKIPS, SEEN, ALL_LONG_VIEWS, SEEN_AT), (LIFETIME,)),
            Aggregation((AFFINITY,), (WEEK,)),
        ),
    ),
    FeatureView(
        USER_CREATOR,
        (
            Aggregation((*RATES, SEEN, ALL_LONG_VIEWS, SEEN_AT), (LIFETIME,)),
            Aggregation((AFFINITY,), (WEEK,)),
        ),
    ),
    FeatureView(USER_ITEM, (Aggregation((*RATES, LIKES, SEEN, ALL_LONG_VIEWS, SEEN_AT), (LIFETIME,)),)),
    FeatureView(SHELF, (Aggregation(RATES, (DAY, WEEK, LIFETIME)),)),
    FeatureView(
        USER_SHELF,
        (
            Aggregation((*RATES, SKIPS, PLAYS, WATCH, SEEN_AT), (LIFETIME,)),
            Aggregation((AFFINITY,), (WEEK,)),
        ),
    ),
    FeatureView(ITEM_SHELF, (Aggregation((*RATES, SKIPS, PLAYS, WATCH), (LIFETIME,)),)),
    FeatureView(CATEGORY_SHELF, (Aggregation(RATES, (LIFETIME,)),)),
)

# What is said of people (docs/people.md) that features read: one name more is one column more of every ranker.
ATTRIBUTES: Final = ("country", "language", "age_band", "plan", "app")
ABOUT: Final = (*(f"user_{name}" for name in ATTRIBUTES), "user_utc_offset_ms", "user_names_category")

AGGREGATES: Final[tuple[str, ...]] = tuple(column for view in VIEWS for column in view.columns)

# Priors of the rates: what a row without events gets. Fixed numbers, so that no feature depends on other rows.
CTR_PRIOR, LONG_VIEW_PRIOR, SKIP_PRIOR, LIKE_PRIOR, WATCH_PRIOR_SECONDS = 0.3, 0.2, 0.2, 0.02, 10.0
PAIR_STRENGTH, ENTITY_STRENGTH = 3.0, 10.0  # weight of the prior, in impressions
NEVER = -1.0  # "never happened" and "unknown", told apart from every real value
BUCKETS = 1 << 16  # hashing trick: ids become one of these; exact in float32


def _rate(name: str, clicks: str, impressions: str, prior: float, strength: float, doc: str) -> Feature:
    # A window can hold a click whose impression is just outside it, hence the clip at 2.
    return Feature(name, "ratio", (clicks, impressions), (prior, strength, 1.0, 2.0), prior, (0.0, 2.0), doc)


def _rates(entity: str, window: str, strength: float, *measures: str) -> tuple[Feature, ...]:
    told = {
        "clicks": ("ctr", CTR_PRIOR, "clicks per impression"),
        "long_views": ("long_view_rate", LONG_VIEW_PRIOR, "long views per impression"),
        "skips": ("skip_rate", SKIP_PRIOR, "skips per impression"),
        "likes": ("like_rate", LIKE_PRIOR, "likes per impression"),
    }
    span = "ever" if window == "all" else f"over {window}"
    return tuple(
        _rate(
            f"{entity}_{told[measure][0]}_{window}",
            f"{entity}_{measure}_count_{window}",
            # imported history has likes too, and only exposures to set them against
            f"{entity}_{'seen' if (measure, window) == ('likes', 'all') else 'impressions'}_count_{window}",
            told[measure][1],
            strength,
            f"{told[measure][2]} {span}, with a prior of {told[measure][1]} worth {strength:g} impressions",
        )
        for measure in measures
    )


def _history_rate(entity: str, strength: float) -> Feature:
    return _rate(
        f"{entity}_all_long_view_rate_all",
        f"{entity}_all_long_views_count_all",
        f"{entity}_seen_count_all",
        LONG_VIEW_PRIOR,
        strength,
        "long views per exposure ever, imported history included",
    )


def _log(name: str, column: str, doc: str, scale: float = 1.0, top: float = 45.0) -> Feature:
    return Feature(name, "log1p", (column,), (scale,), 0.0, (0.0, top), doc)


def _since(name: str, column: str, unit_ms: int, doc: str) -> Feature:
    return Feature(name, "since", ("as_of", column), (1.0 / unit_ms, NEVER), NEVER, (NEVER, 45.0), doc)


def _watch(entity: str, window: str) -> Feature:
    return Feature(
        f"{entity}_mean_watch_seconds_{window}",
        "ratio",
        (f"{entity}_watch_ms_sum_{window}", f"{entity}_plays_count_{window}"),
        (WATCH_PRIOR_SECONDS, ENTITY_STRENGTH, 0.001, 86_400.0),
        WATCH_PRIOR_SECONDS,
        (0.0, 86_400.0),
        f"seconds watched per play, prior {WATCH_PRIOR_SECONDS:g} s",
    )


def _trend(entity: str, measure: str) -> Feature:
    return Feature(
        f"{entity}_{measure}_trend_1h_24h",
        "trend",
        (f"{entity}_{measure}_count_1h", f"{entity}_{measure}_count_24h"),
        (1.0, 24.0),
        1.0,
        (0.0, 1e9),
        f"{measure} of the last hour against the mean hour of the last day: above 1 is rising",
    )


def _bucket(name: str, column: str, doc: str) -> Feature:
    return Feature(name, "bucket", (column,), (float(BUCKETS), NEVER), NEVER, (NEVER, BUCKETS - 1.0), doc)


def _local(name: str, unit_ms: int, units: float, first: float, doc: str) -> Feature:
    constants, bounds = (float(unit_ms), units, first), (0.0, units - 1.0)
    return Feature(name, "modulo", ("as_of", "user_utc_offset_ms"), constants, 0.0, bounds, doc)


FEATURE_DEFINITIONS: Final[tuple[Feature, ...]] = (
    # the user
    *_rates("user", "24h", ENTITY_STRENGTH, "clicks", "long_views", "skips"),
    *_rates("user", "7d", ENTITY_STRENGTH, "clicks", "long_views", "skips", "likes"),
    *_rates("user", "28d", ENTITY_STRENGTH, "clicks", "long_views"),
    *_rates("user", "all", ENTITY_STRENGTH, "clicks", "long_views", "skips", "likes"),
    _history_rate("user", ENTITY_STRENGTH),
    _watch("user", "7d"),
    _watch("user", "all"),
    _log("user_impressions_log_1h", "user_impressions_count_1h", "impressions over 1h, log1p"),
    _log("user_clicks_log_1h", "user_clicks_count_1h", "clicks over 1h, log1p"),
    _log("user_skips_log_1h", "user_skips_count_1h", "skips over 1h, log1p"),
    _log("user_impressions_log_24h", "user_impressions_count_24h", "impressions over 24h, log1p"),
    _log("user_impressions_log_all", "user_impressions_count_all", "impressions ever, log1p"),
    _log("user_clicks_log_all", "user_clicks_count_all", "clicks ever, log1p"),
    _log("user_seen_log_all", "user_seen_count_all", "exposures ever, imported history included, log1p"),
    _since("user_hours_since_event", "user_event_at_latest_all", HOUR_MS, "hours since the last event, log1p"),
    _since("user_hours_since_click", "user_click_at_latest_all", HOUR_MS, "hours since the last click, log1p"),
    _since("user_session_minutes", "user_session_start_30m", MINUTE_MS, "minutes since the session began, log1p"),
    _log("user_session_events_log", "user_session_count_30m", "events of the running session, log1p"),
    # the item
    *_rates("item", "1h", ENTITY_STRENGTH, "clicks"),
    *_rates("item", "24h", ENTITY_STRENGTH, "clicks", "long_views", "skips"),
    *_rates("item", "7d", ENTITY_STRENGTH, "clicks", "long_views", "skips", "likes"),
    *_rates("item", "28d", ENTITY_STRENGTH, "clicks", "long_views"),
    *_rates("item", "all", ENTITY_STRENGTH, "clicks", "long_views", "skips", "likes"),
    _history_rate("item", ENTITY_STRENGTH),
    _watch("item", "24h"),
    _watch("item", "all"),
    Feature(
        "item_mean_watch_fraction_all",
        "fraction",
        ("item_watch_ms_sum_all", "item_plays_count_all", "item_duration_ms"),
        (0.5, ENTITY_STRENGTH, 100.0),
        0.5,
        (0.0, 100.0),
        "share of its duration watched per play (loops count), prior 0.5; the prior where the duration is unknown",
    ),
    _log("item_popularity_log_1h", "item_clicks_count_1h", "clicks over 1h, log1p"),
    _log("item_popularity_log_24h", "item_clicks_count_24h", "clicks over 24h, log1p"),
    _log("item_popularity_log_7d", "item_clicks_count_7d", "clicks over 7d, log1p"),
    _log("item_popularity_log_all", "item_clicks_count_all", "clicks ever, log1p"),
    _log("item_impressions_log_24h", "item_impressions_count_24h", "impressions over 24h, log1p"),
    _log("item_impressions_log_all", "item_impressions_count_all", "impressions ever, log1p"),
    _log("item_seen_log_all", "item_seen_count_all", "exposures ever, imported history included, log1p"),
    _trend("item", "impressions"),
    _trend("item", "clicks"),
    _since("item_hours_since_click", "item_click_at_latest_all", HOUR_MS, "hours since anyone clicked, log1p"),
    _since("item_age_days", "item_published_at", DAY_MS, "days since publication, log1p"),
    _log("item_duration_log", "item_duration_ms", "seconds of duration, log1p; 0 when unknown", scale=0.001),
    Feature("item_type", "value", ("item_type",), (), 0.0, (0.0, 15.0), "code of the item's type, 0 unknown"),
    # category and creator
    *_rates("category", "24h", ENTITY_STRENGTH, "clicks", "long_views"),
    *_rates("category", "7d", ENTITY_STRENGTH, "clicks", "long_views"),
    *_rates("category", "all", ENTITY_STRENGTH, "clicks", "long_views"),
    _history_rate("category", ENTITY_STRENGTH),
    _trend("category", "clicks"),
    _log("category_seen_log_all", "category_seen_count_all", "exposures ever, log1p"),
    _bucket("category_bucket", "item_category_key", "the category, hashed"),
    *_rates("creator", "24h", ENTITY_STRENGTH, "clicks"),
    *_rates("creator", "7d", ENTITY_STRENGTH, "clicks", "long_views"),
    *_rates("creator", "all", ENTITY_STRENGTH, "clicks", "long_views", "likes"),
    _history_rate("creator", ENTITY_STRENGTH),
    _log("creator_seen_log_all", "creator_seen_count_all", "exposures ever, log1p"),
    _bucket("creator_bucket", "item_creator_key", "the creator, hashed"),
    # the user with the category, the creator, the very item
    *_rates("user_category", "all", PAIR_STRENGTH, "clicks", "long_views", "skips"),
    _history_rate("user_category", PAIR_STRENGTH),
    _log("user_category_seen_log_all", "user_category_seen_count_all", "exposures ever, log1p"),
    _log(
        "user_category_affinity_log_7d",
        "user_category_affinity_decayed_7d",
        "weighted engagements, halved every 7 days, log1p",
        scale=1.0 / FIXED_POINT,
    ),
    Feature(
        "user_category_affinity_share_7d",
        "ratio",
        ("user_category_affinity_decayed_7d", "user_affinity_decayed_7d"),
        (0.05, 2.0 * FIXED_POINT, 1.0, 2.0),
        0.05,
        (0.0, 2.0),
        "the category's share of the user's decayed engagement, prior 0.05 worth 2 clicks",
    ),
    _since("user_category_hours_since_seen", "user_category_seen_at_latest_all", HOUR_MS, "hours since, log1p"),
    *_rates("user_creator", "all", PAIR_STRENGTH, "clicks", "long_views"),
    _history_rate("user_creator", PAIR_STRENGTH),
    _log("user_creator_seen_log_all", "user_creator_seen_count_all", "exposures ever, log1p"),
    _log(
        "user_creator_affinity_log_7d",
        "user_creator_affinity_decayed_7d",
        "weighted engagements, halved every 7 days, log1p",
        scale=1.0 / FIXED_POINT,
    ),
    _since("user_creator_hours_since_seen", "user_creator_seen_at_latest_all", HOUR_MS, "hours since, log1p"),
    *_rates("user_item", "all", PAIR_STRENGTH, "clicks", "long_views"),
    _log("user_item_seen_log_all", "user_item_seen_count_all", "how often this item was shown before, log1p"),
    _log("user_item_impressions_log_all", "user_item_impressions_count_all", "impressions before, log1p"),
    _log("user_item_clicks_log_all", "user_item_clicks_count_all", "clicks before, log1p"),
    _log("user_item_all_long_views_log_all", "user_item_all_long_views_count_all", "long views before, log1p"),
    _since("user_item_hours_since_seen", "user_item_seen_at_latest_all", HOUR_MS, "hours since it was shown, log1p"),
    # the shelf, and who and what is on it: what is clicked in a feed differs from what is clicked in a search
    *_rates("shelf", "24h", ENTITY_STRENGTH, "clicks", "long_views"),
    *_rates("shelf", "7d", ENTITY_STRENGTH, "clicks", "long_views"),
    *_rates("shelf", "all", ENTITY_STRENGTH, "clicks", "long_views"),
    *_rates("user_shelf", "all", PAIR_STRENGTH, "clicks", "long_views", "skips"),
    _watch("user_shelf", "all"),
    _log("user_shelf_impressions_log_all", "user_shelf_impressions_count_all", "impressions there ever, log1p"),
    _log(
        "user_shelf_affinity_log_7d",
        "user_shelf_affinity_decayed_7d",
        "weighted engagements there, halved every 7 days, log1p",
        scale=1.0 / FIXED_POINT,
    ),
    _since("user_shelf_hours_since_seen", "user_shelf_seen_at_latest_all", HOUR_MS, "hours since, log1p"),
    *_rates("item_shelf", "all", ENTITY_STRENGTH, "clicks", "long_views", "skips"),
    _watch("item_shelf", "all"),
    _log("item_shelf_impressions_log_all", "item_shelf_impressions_count_all", "impressions there ever, log1p"),
    *_rates("category_shelf", "all", ENTITY_STRENGTH, "clicks", "long_views"),
    # the context
    _local("hour_of_day", HOUR_MS, 24.0, 0.0, "hour of the day by the user's clock where it is known, else UTC"),
    _local("day_of_week", DAY_MS, 7.0, 3.0, "day by the user's clock where it is known, else UTC; 0 = Monday"),
    _bucket("shelf_bucket", "shelf", "the surface, hashed"),
    _bucket("device_bucket", "device", "the device, hashed"),
    Feature("slot", "value", ("slot",), (), NEVER, (NEVER, 1e6), "place in the slate, -1 unknown; 0 when serving"),
    # who the user is, as was known then (docs/people.md)
    *(
        _bucket(f"user_{name}_bucket", f"user_{name}", f"what is said of the user's {name}, hashed")
        for name in ATTRIBUTES
    ),
    Feature(
        "user_names_category", "value", ("user_names_category",), (), 0.0, (0.0, 1.0), "1: the user says to like it"
    ),
    # what the user searched for last
    _bucket("user_last_search_bucket", "user_searched_last_all", "the words of the last search, hashed"),
    _since("user_hours_since_search", "user_searched_at_latest_all", HOUR_MS, "hours since the last search, log1p"),
    Feature(
        "user_searched_category",
        "names",
        ("user_searched_last_all", "item_category_key"),
        (),
        0.0,
        (0.0, 1.0),
        "1: the category's name is a word of the last search",
    ),
)

FEATURES: Final[tuple[str, ...]] = tuple(feature.name for feature in FEATURE_DEFINITIONS)
VALID_RANGES: Final[dict[str, tuple[float, float]]] = {f.name: f.valid_range for f in FEATURE_DEFINITIONS}
DEFAULTS: Final[dict[str, float]] = {feature.name: feature.default for feature in FEATURE_DEFINITIONS}
FINGERPRINT: Final[str] = fingerprint(VIEWS, FEATURE_DEFINITIONS)
