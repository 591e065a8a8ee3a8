"""What of a log could be so, and is rather a fault: `make check` and `make run` tell it, a line each."""

from __future__ import annotations

import re
from typing import Final, Literal

import polars as pl

from recsys.events import DAY_MS, HOUR_MS, IDENTITY, LABEL_WINDOW_MS, MINUTE_MS, SESSION_GAP_MS
from recsys.sources.derived import Rules
from recsys.sources.files import Files
from recsys.sources.source import Source

NOBODY_SHARE: Final = 0.1  # of the events, for one user who has also NOBODY_TIMES as many as the next
NOBODY_TIMES: Final = 3
EARLY: Final = 0.05  # of the events, before their item was published
TWICE: Final = 0.01  # of the events, told again under another id; of the users, written in two ways
ANSWERED: Final = 0.5  # of the clicks at least, where impressions are told
MISNAMED: Final = 0.1  # of the clicks, by an impression_id that is no event_id
LATE: Final = 0.5  # of the events, received over an hour after they occurred
LONG_SLATES: Final = 0.5  # of the impressions, in a request that goes on for over a day
MIDNIGHT: Final = 0.5  # of the events, at the first instant of a day
BEATS: Final = 0.3  # of the plays, soon after one of the same user and item
IN_SECONDS: Final = 0.9  # of the numbers that should be milliseconds, below UNLIKELY_MS
UNLIKELY_MS: Final = 10_000  # a film has some 7,000 seconds
TIMES_AS_LONG: Final = (1 / 500, 5)  # as its item is a play, in the median: beyond it one of the two has another unit
LATER: Final = 0.05  # of the events, by a date over two days after they occurred
UNITS_APART: Final = 100  # times, between the medians of two groups of plays that are MANY at least
MANY: Final = 20


def odd(events: pl.DataFrame, items: pl.DataFrame, users: list[str]) -> list[str]:
    """What could be so and is rather a fault of the log; `users`: those of whom something is said."""
    lines = []
    watched = events.filter(pl.col("kind") == "play")["watch_ms"].drop_nulls()
    elsewhere = events.filter((pl.col("kind") != "play") & (pl.col("watch_ms") > 0))["kind"].unique().sort().to_list()
    if elsewhere and not len(watched):
        lines.append(f"watch_ms stands on rows of kind {', '.join(elsewhere)}: it is read of plays alone")
    first_slot = events["slot"].min()
    if isinstance(first_slot, int) and first_slot > 0:
        lines.append(f"slots begin at {first_slot}: the first place of a slate is 0, as the service counts them")
    without_time = events.select((pl.col("occurred_at") % DAY_MS == 0).mean()).item() or 0
    if without_time > MIDNIGHT:
        lines.append(
            f"{without_time:.1%} of the events are of midnight: where occurred_at is a day alone, nobody knows what "
            "came first on it, nor the hour"
        )
    of_users = events["user_id"].drop_nulls().value_counts(sort=True, name="rows")
    if of_users.height > 2:
        most, next_most = of_users["rows"][:2]
        if most > NOBODY_SHARE * events.height and most > NOBODY_TIMES * next_most:
            lines.append(
                f"the user {of_users['user_id'][0]!r} has {most / events.height:.1%} of the events, "
                f"{most / next_most:.0f} times as many as the next one: if that is nobody, leave user_id empty there"
            )
    if alike := _alike(events["user_id"].drop_nulls().unique()):
        lines.append(alike)
    said = events.unique(IDENTITY)
    twice = (
        said.filter(pl.col("occurred_at") % DAY_MS != 0).select(pl.struct(IDENTITY[1:]).is_duplicated().mean()).item()
    )
    if (twice or 0) > TWICE:
        lines.append(
            f"{twice:.1%} of the events have kind, user, item and instant of another one, under another event_id: was "
            "a file delivered twice?"
        )
    for table, name, column in (("plays", "watch_ms", watched), ("items", "duration_ms", items["duration_ms"])):
        known = column.filter(column > 0)
        if (known < UNLIKELY_MS).sum() > IN_SECONDS * len(known):
            lines.append(f"{name} of {table} is mostly below {UNLIKELY_MS:,}: is it in seconds?")
    alone = items.filter((pl.col("item_type") == "podcast") & pl.col("creator_id").is_null())["item_id"].n_unique()
    if alone and items["creator_id"].drop_nulls().len():
        lines.append(f"{alone:,} podcasts have no creator_id, which is their show: each is a show by itself")
    seen = events["user_id"].drop_nulls().unique()
    if users and not seen.is_in(users).any():
        which = hint(seen.to_list(), users, "users")
        lines.append(f"nobody of whom users say something is in the events ({which}): write user_id alike")
    published = items.group_by("item_id").agg(pl.col("published_at").min())
    early = events.join(published, on="item_id").select((pl.col("occurred_at") < pl.col("published_at")).mean()).item()
    if (early or 0) > EARLY:
        lines.append(f"{early:.1%} of the events come before their item's published_at: is it of the right year?")
    return lines


def unanswered(events: pl.DataFrame, rules: Rules) -> list[str]:
    """Clicks, or what stands for them, of days with impressions that answer none, as dbt's impressions.sql has it: by
    another clock, or by an impression_id of another system, every label is lost.
    """
    kind, of = rules.click or "click", ["user_id", "item_id"]
    shown = events.filter(pl.col("kind") == "impression").sort("occurred_at")
    clicks = events.filter((pl.col("kind") == kind) & pl.col("received_day").is_in(shown["received_day"].implode()))
    if not len(clicks):
        return []
    asked = clicks.sort("occurred_at").with_columns(names=pl.coalesce("impression_id", "event_id"))
    named = shown.select(*of, is_named=True, names="event_id").unique()
    before = shown.select(*of, "occurred_at", is_shown=True)
    nearest = {"on": "occurred_at", "by": of, "tolerance": LABEL_WINDOW_MS, "check_sortedness": False}
    joined = asked.join(named, on=[*of, "names"], how="left", maintain_order="left").join_asof(before, **nearest)  # type: ignore[arg-type]
    lost, names_one = pl.col("is_named").is_null(), pl.col("impression_id").is_not_null()
    misnamed, alone = joined.select(
        (lost & names_one).mean(), alone=(lost & ~names_one & pl.col("is_shown").is_null()).mean()
    ).row(0)
    lines = []
    if misnamed > MISNAMED:
        lines.append(
            f"{misnamed:.1%} of the {kind}s have an impression_id that is the event_id of no impression of their user "
            "and item, and teach nothing: write it alike, or leave it out, and each answers the latest impression"
        )
    if alone > 1 - ANSWERED:
        lines.append(
            f"{alone:.1%} of the {kind}s follow no impression of their user and item within 24 hours, and teach "
            "nothing: are both told by one clock, in UTC?"
        )
    return lines


def late(events: pl.DataFrame) -> list[str]:
    """A received_at that says when a batch was loaded: no feature of what is learned sees an event before it."""
    share = _told(events).select((pl.col("received_at") - pl.col("occurred_at") > HOUR_MS).mean()).item() or 0
    if share <= LATE:
        return []
    return [
        f"{share:.1%} of the events were received over an hour after they occurred, and are known only then: if "
        "received_at says when a batch was loaded, leave it out"
    ]


def _told(events: pl.DataFrame) -> pl.DataFrame:
    """All but exposures: those are a history that is imported as a whole."""
    return events.filter(~pl.col("kind").is_in(["exposure", "exposure_long_view"]))


def long_slates(events: pl.DataFrame) -> list[str]:
    """A request_id that names a page or a device: all that a user was ever shown there is one slate."""
    shown = events.filter((pl.col("kind") == "impression") & pl.col("request_id").is_not_null())
    at = pl.col("occurred_at")
    goes_on = (at.max() - at.min()).over("user_id", "request_id") > DAY_MS
    share = shown.select(goes_on.mean()).item() or 0
    if share <= LONG_SLATES:
        return []
    return [
        f"{share:.1%} of the impressions have a request_id that goes on for over a day: it should name one slate; if "
        "it names a page or a device, leave it out"
    ]


def later_dates(events: pl.DataFrame) -> list[str]:
    """A date that says when a batch was loaded: what is old stands among the days to judge on."""
    after = pl.col("date").str.to_date("%Y-%m-%d", strict=False) - pl.from_epoch("occurred_at", "ms").dt.date()
    share = _told(events).select((after.dt.total_days() > 2).mean()).item() or 0
    if share <= LATER:
        return []
    return [
        f"{share:.1%} of the events have a date over two days after they occurred, and are learned or judged by it: if "
        "it says when a batch was loaded, name it otherwise"
    ]


def unlike_their_items(events: pl.DataFrame, items: pl.DataFrame) -> list[str]:
    """Watch times and durations of items in two units."""
    plays = events.filter((pl.col("kind") == "play") & (pl.col("watch_ms") > 0)).select("item_id", "watch_ms")
    long = items.filter(pl.col("duration_ms") > 0).unique("item_id", keep="last").select("item_id", "duration_ms")
    times = plays.join(long, on="item_id").select((pl.col("watch_ms") / pl.col("duration_ms")).median()).item()
    if times is None or TIMES_AS_LONG[0] <= times <= TIMES_AS_LONG[1]:
        return []
    return [f"a play is {times:.2g} times as long as its item in the median: are watch_ms and duration_ms in one unit?"]


def mixed_units(events: pl.DataFrame) -> list[str]:
    """Watch times of one day, or of one device, in another unit than those of another one."""
    plays = events.filter((pl.col("kind") == "play") & (pl.col("watch_ms") > 0))
    for by, words in (("received_day", "plays of"), ("device", "plays on")):
        medians = plays.drop_nulls(by).group_by(by).agg(pl.len(), pl.col("watch_ms").median())
        medians = medians.filter(pl.col("len") >= MANY).sort("watch_ms", by)
        if medians.height and medians["watch_ms"][-1] > UNITS_APART * medians["watch_ms"][0]:
            (few, _, least), (many, _, most) = medians.row(0), medians.row(-1)
            return [
                f"watch_ms is {least:,.0f} in the median of the {words} {few}, and {most:,.0f} of those {words[6:]} "
                f"{many}: is it in one unit?"
            ]
    return []


def beating(source: Source, events: pl.DataFrame) -> list[str]:
    """Plays that may be parts of one view, each of which counts as a view of its own."""
    if not isinstance(source, Files) or source.heartbeats != "none":
        return []
    plays = events.filter(pl.col("kind") == "play").sort("occurred_at")
    since = pl.col("occurred_at").diff().over("user_id", "item_id")
    share = plays.select(since.is_between(1, SESSION_GAP_MS).fill_null(False).mean()).item() or 0  # 0: delivered twice
    if share <= BEATS:
        return []
    return [
        f"{share:.1%} of the plays follow one of their user and item within {SESSION_GAP_MS // MINUTE_MS} minutes: if "
        "they are parts of one view, say with RECSYS_HEARTBEATS what they count"
    ]


def misread(source: Source) -> list[str]:
    """Instants without a zone, rows of one item that say different things, ratings of another scale than the one they
    are read by, and those that nobody reads.
    """
    if not isinstance(source, Files):
        return []
    zoneless, least, most, unrated = source.said
    lines = [f"{zoneless:.1%} of the instants name no zone: they are read as UTC"] * (zoneless > 0)
    lines += [f"rating stands on rows of kind {', '.join(unrated)}: it is read of kind rating alone"] * bool(unrated)
    lines += [
        f"{count:,} {table} have several rows that say different things, and of each the last one counts: write lists "
        "where each row has one value of several, or valid_from where each holds from an instant on"
        for table, count in source.rewritten.items()
        if count
    ]
    if least is None or most is None:
        return lines
    if most >= 2 * source.words.like or most < source.words.like:
        lines.append(
            f"ratings end at {most:g}, and a like begins at {source.words.like:g}: set RECSYS_RATING_LIKE and "
            "RECSYS_RATING_DISLIKE by your scale"
        )
    if least <= 0:
        lines.append(f"ratings begin at {least:g}, a dislike: where that says that nobody rated, leave rating empty")
    return lines


def _alike(users: pl.Series) -> str | None:
    """People who are told from each other by case or leading zeros alone: two tools may write one of them."""
    bare = users.str.to_lowercase().str.strip_chars_start("0")
    groups = pl.DataFrame({"user": users, "bare": bare}).group_by("bare").agg(pl.col("user").sort())
    groups = groups.filter(pl.col("user").list.len() > 1)
    several = groups["user"].list.len().sum()
    if several <= TWICE * len(users):
        return None
    first = groups.sort(pl.col("user").list.first())["user"][0].head(2)
    return (
        f"{several:,} of {len(users):,} users differ from another one by case or leading zeros alone (as "
        f"{' and '.join(map(repr, first))}): if they are one, write user_id alike"
    )


def hint(unknown: list[str], catalogue: list[str], table: str = "items") -> str | None:
    """Two ids that may be one, written in two ways."""
    ways: tuple[Literal["case", "digits"], ...] = ("case", "digits")
    for way in ways:
        known = {_core(item, way): item for item in catalogue}
        for item in sorted(unknown)[:1000]:
            if (core := _core(item, way)) and core in known:
                where = "the catalogue" if table == "items" else table
                return f"the events say {item!r}, {where} {known[core]!r}"
    return f"{min(unknown)!r} is in no row of {table}" if unknown else None


def _core(item: str, way: Literal["case", "digits"]) -> str:
    if way == "case":
        return item.casefold()
    digits = re.search(r"\d+(?!.*\d)", item)
    return digits.group().lstrip("0") or "0" if digits else ""
