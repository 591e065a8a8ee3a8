"""The official KuaiRand files, any subset of the logs, as canonical events.

Gao et al., CIKM 2022, doi 10.1145/3511808.3557624. Ids are integers; `date` and `hourmin` are UTC+8, `time_ms` is UTC.
One log row unfolds into an impression at `time_ms` and its outcomes at `time_ms + play_time_ms`: nothing of them is
known before the watch is over. The optional history before the log has sequences without instants: it becomes
exposures received one minute apart before the log's first row.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Final, Literal

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from recsys.events import (
    ATTRIBUTE_SCHEMA,
    BARE_ITEM_SCHEMA,
    DAY_MS,
    EVENT_SCHEMA,
    HOUR_MS,
    MINUTE_MS,
    SKIP_MS,
    USER_SCHEMA,
)
from recsys.sources.days import stray_days
from recsys.sources.derived import Rules
from recsys.sources.source import (
    EARLIEST_MS,
    LATEST_MS,
    DayOfEvents,
    SourceError,
    check_columns,
    day_number,
    rejected_rows,
    rows_by_day,
)
from recsys.sources.tabular import read_csv

# fmt: off
LOG_NEEDED: Final = (
    "user_id", "video_id", "date", "time_ms", "is_click", "is_like", "is_follow", "is_forward", "is_hate", "long_view",
    "play_time_ms", "is_rand", "tab",
)
LOG_COLUMNS: Final = (
    *LOG_NEEDED, "hourmin", "is_comment", "duration_ms", "profile_stay_time", "comment_stay_time", "is_profile_enter",
)
FLAGS: Final = ("is_click", "is_like", "is_follow", "is_forward", "is_hate", "long_view", "is_rand")
ITEM_NEEDED: Final = ("video_id", "author_id", "upload_dt", "video_duration", "tag")
ITEM_COLUMNS: Final = (
    *ITEM_NEEDED, "video_type", "upload_type", "visible_status", "server_width", "server_height", "music_id",
    "music_type",
)
# fmt: on
HISTORY_COLUMNS: Final = ("user_id", "history_len", "last_time_ms", "watch_seq", "like_seq", "long_watch_seq")
# Kind, and the condition on a log row under which it happened.
HAPPENED: Final[dict[str, pl.Expr]] = {
    "click": pl.col("is_click") == 1,
    "play": pl.col("play_time_ms") > 0,
    "long_view": pl.col("long_view") == 1,
    "like": pl.col("is_like") == 1,
    "dislike": pl.col("is_hate") == 1,
    # a cover that was never opened is no skip: 17,705 of the 74,490 short rows (15,089 on tab 0) have no play
    "skip": pl.col("play_time_ms").is_between(1, SKIP_MS - 1) & (pl.col("long_view") == 0) & (pl.col("is_click") == 0),
    "share": pl.col("is_forward") == 1,
    "follow": pl.col("is_follow") == 1,
}
USER_ATTRIBUTES: Final = tuple(f"onehot_feat{n}" for n in range(18))
USER_COLUMNS: Final = (
    "user_id", *USER_ATTRIBUTES, "user_active_degree", "is_lowactive_period", "is_live_streamer", "is_video_author",
    "follow_user_num", "follow_user_num_range", "fans_user_num", "fans_user_num_range", "friend_user_num",
    "friend_user_num_range", "register_days", "register_days_range",
)  # fmt: skip
COPIED: Final = ("user_id", "item_id", "request_id", "shelf", "date")


class KuaiRand:
    """A folder of KuaiRand files: `log_*_pure.csv`, `video_features_basic_pure.csv`, and what else is there."""

    name = "kuairand"
    utc_offset_ms = 8 * HOUR_MS

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        logs = sorted([*folder.glob("log_standard_*_pure.csv"), *folder.glob("log_random_*_pure.csv")])
        if not logs:
            raise SourceError(
                f"{folder} holds no log_standard_*_pure.csv: put the KuaiRand logs there (see the README)"
            )
        self._logs = logs
        self._history = next(iter(sorted(folder.glob("user_history_before_*.parquet"))), None)

    @property
    def derives(self) -> Rules:
        return Rules()

    @property
    def kinds(self) -> tuple[str, ...]:
        return ()

    def days(self) -> dict[str, int]:
        return self._rows

    def digests(self) -> dict[str, str]:
        return {}

    def first_day(self) -> str:
        return min(self._rows)

    def last_day(self) -> str:
        return max(self._rows)

    def read_day(self, day: str) -> DayOfEvents:
        number, offset = day_number(day), self.utc_offset_ms
        log = self._log
        shown_on = (pl.col("time_ms") + offset) // DAY_MS
        ended_on = (pl.col("time_ms") + pl.col("play_time_ms") + offset) // DAY_MS
        shown = log.filter(shown_on == number)
        frames = [_impressions(shown), *_outcomes(log.filter(ended_on == number))]
        if self._history is not None:
            frames.append(self._exposures.filter((pl.col("received_at") + offset) // DAY_MS == number))
        rejected = self._rejected if day == self.first_day() else self._rejected.slice(0, 0)
        return DayOfEvents(
            events=pl.concat(frames).to_arrow().cast(EVENT_SCHEMA),
            rejected=rejected,
            rows_read=shown.height + rejected.num_rows,
            rows_kept=shown.height,
        )

    def items(self) -> pa.Table:
        path = self.folder / "video_features_basic_pure.csv"
        if not path.exists():
            raise SourceError(f"{path} is missing: it names the author, tags and duration of every video")
        table, torn = read_csv(path, ITEM_COLUMNS, ITEM_NEEDED, ITEM_NEEDED)
        if torn:
            raise SourceError(f"{torn[0]['origin']}: {torn[0]['reason']}: {torn[0]['text']:.80}")
        tags = pl.col("tag").fill_null("").str.split(",").list.eval(pl.element().filter(pl.element() != ""))
        uploaded = pl.col("upload_dt").str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("ms")).cast(pl.Int64)
        frame = table.with_columns(tags=tags, number=pl.col("video_id").cast(pl.Int64, strict=False))
        if (bad := frame.filter(pl.col("number").is_null())).height:
            raise SourceError(
                f"{path.name}: video_id {bad['video_id'][0]!r} is not an integer: repair or remove the row"
            )
        seconds = pl.col("video_duration").cast(pl.Float64, strict=False).fill_nan(0.0).fill_null(0.0)
        return (
            frame.select(
                item_id=pl.col("video_id"),
                item_type=pl.lit("video"),
                creator_id=pl.col("author_id"),
                category=pl.col("tags").list.first(),
                tags=pl.col("tags"),
                title=pl.lit(None, pl.String),
                duration_ms=seconds.cast(pl.Int64),
                published_at=(uploaded - self.utc_offset_ms).fill_null(0),
                is_available=pl.lit(True),
                id_is_integer=pl.lit(True),
            )
            .unique("item_id", keep="first", maintain_order=True)
            .to_arrow()
            .cast(BARE_ITEM_SCHEMA)
        )

    def refused(self, table: Literal["items", "users"]) -> pa.Table:
        return rejected_rows([])

    def users(self) -> pa.Table:
        """Every user of the logs and the history. `register_days` is counted after the log, so it is not used."""
        seen = [self._log["user_id"].cast(pl.String)]
        if self._history is not None and self._longest_history:
            seen.append(pl.read_parquet(self._history, columns=["user_id"])["user_id"].cast(pl.String))
        ids = pl.concat(seen).unique().sort()
        return (
            pl.DataFrame({"user_id": ids}).with_columns(registered_at=pl.lit(0, pl.Int64)).to_arrow().cast(USER_SCHEMA)
        )

    def attributes(self) -> pa.Table:
        """The encrypted attributes of `user_features_pure.csv`, from always. What it counts (followers, days of use,
        how active somebody is) was counted after the log, so it is not used.
        """
        path = self.folder / "user_features_pure.csv"
        if not path.exists():
            return ATTRIBUTE_SCHEMA.empty_table()
        table, _ = read_csv(path, USER_COLUMNS, ("user_id",), ("user_id", *USER_ATTRIBUTES))
        named = [name for name in USER_ATTRIBUTES if name in table.columns]
        value = {name: pl.col(name).str.replace(r"\.0$", "") for name in named}
        words = [pl.when(v != "").then(pl.concat_str(pl.lit(f"{name}="), v)) for name, v in value.items()]
        said = table.select(
            "user_id", attributes=pl.concat_list(words).list.drop_nulls().list.sort(), valid_from=pl.lit(0, pl.Int64)
        )
        return said.filter(pl.col("user_id").is_not_null()).to_arrow().cast(ATTRIBUTE_SCHEMA)

    @cached_property
    def _parsed(self) -> tuple[pl.DataFrame, pa.Table]:
        frames, refused = [], []
        for path in self._logs:
            table, torn = read_csv(path, LOG_COLUMNS, LOG_NEEDED, LOG_NEEDED)
            refused += torn
            typed = table.with_row_index("row", offset=2).with_columns(
                pl.col(c).cast(pl.Int64, strict=False).alias(f"{c}#") for c in LOG_NEEDED
            )
            reason = pl.coalesce(
                *(pl.when(pl.col(f"{c}#").is_null()).then(pl.lit(f"{c} is not an integer")) for c in LOG_NEEDED),
                *(pl.when(~pl.col(f"{c}#").is_in([0, 1])).then(pl.lit(f"{c} is neither 0 nor 1")) for c in FLAGS),
                pl.when(~pl.col("time_ms#").is_between(EARLIEST_MS, LATEST_MS)).then(
                    pl.lit("time_ms is no instant in milliseconds")
                ),
                pl.when(~pl.col("play_time_ms#").is_between(0, DAY_MS)).then(
                    pl.lit("play_time_ms is not within a day")
                ),
                pl.when(pl.col("date").str.to_date("%Y%m%d", strict=False).is_null()).then(
                    pl.lit("date is not a day as YYYYMMDD")
                ),
                pl.lit(None, pl.String),
            )
            typed = typed.with_columns(reason=reason)
            refused += (
                typed.filter(pl.col("reason").is_not_null())
                .select(
                    origin=pl.format("{}:{}", pl.lit(path.name), "row"),
                    reason="reason",
                    text=pl.concat_str(LOG_NEEDED, separator=",", ignore_nulls=True),
                )
                .to_dicts()
            )
            frames.append(
                typed.filter(pl.col("reason").is_null()).select(
                    pl.col("user_id#").cast(pl.String).alias("user_id"),
                    pl.col("video_id#").cast(pl.String).alias("item_id"),
                    pl.col("date").str.to_date("%Y%m%d").dt.strftime("%Y-%m-%d"),
                    *(pl.col(f"{c}#").alias(c) for c in (*FLAGS, "time_ms", "play_time_ms")),
                    shelf=pl.when(pl.col("is_rand#") == 1).then(pl.lit("random")).otherwise(pl.format("tab{}", "tab#")),
                )
            )
        log = pl.concat(frames)
        if not log.height:
            first = f" (first: {refused[0]['origin']}: {refused[0]['reason']})" if refused else ""
            raise SourceError(f"{self.folder} holds no readable log row{first}: download the logs again")
        stem = pl.format("{}:{}:{}", "user_id", "item_id", "time_ms")
        log = log.with_columns(stem=stem, request_id=pl.format("{}:{}", "user_id", "time_ms"))
        return log, rejected_rows(refused)

    @property
    def _log(self) -> pl.DataFrame:
        return self._parsed[0]

    @property
    def _rejected(self) -> pa.Table:
        return self._parsed[1]

    @cached_property
    def _rows(self) -> dict[str, int]:
        ended = self._log.with_columns(ended=pl.col("time_ms") + pl.col("play_time_ms"))
        instants = [ended["time_ms"], *(ended.filter(happened)["ended"] for happened in HAPPENED.values())]
        if self._history is not None:
            instants.append(self._exposures["received_at"])
        return rows_by_day(pl.concat(instants).to_numpy(), self.utc_offset_ms)

    @property
    def _longest_history(self) -> int:
        assert self._history is not None
        try:
            check_columns(
                self._history.name,
                pq.read_schema(self._history).names,
                ("user_id", "watch_seq", "like_seq", "long_watch_seq"),
                HISTORY_COLUMNS,
            )
            longest = pl.scan_parquet(self._history).select(pl.col("watch_seq").list.len().max()).collect().item()
        except (pa.ArrowInvalid, OSError, pl.exceptions.PolarsError) as error:
            raise SourceError(f"{self._history} is not readable Parquet ({error}): download it again") from None
        return int(longest or 0)

    @cached_property
    def _exposures(self) -> pl.DataFrame:
        """The history before the log: exposures, their long views and likes.

        Received one minute apart, the last a minute before the log's first row, so that all of it lies before every
        read. `occurred_at` keeps the one instant the file has: the user's last exposure, `last_time_ms`. The other two
        sequences reach further back than the watched one for a user with over 50 exposures: what lies before it
        is left out, since it would count long views without the exposures that were not watched long.
        """
        assert self._history is not None
        if not self._longest_history:
            return pl.DataFrame(pl.from_arrow(EVENT_SCHEMA.empty_table()))
        table = pl.read_parquet(self._history)
        shown = self._log["time_ms"].to_numpy()
        strays = stray_days(rows_by_day(shown, self.utc_offset_ms))  # one wrong clock must not carry all this along
        real = ~np.isin((shown + self.utc_offset_ms) // DAY_MS, [day_number(day) for day in strays])
        begin = int(shown[real].min())
        kinds: dict[str, list[str]] = {"user_id": [], "item_id": [], "kind": []}
        instants: dict[str, list[int]] = {"occurred_at": [], "received_at": [], "rank": []}
        last_seen = table["last_time_ms"].to_list() if "last_time_ms" in table.columns else [begin] * table.height
        rows = zip(
            *(table[c].to_list() for c in ("user_id", "watch_seq", "long_watch_seq", "like_seq")),
            last_seen,
            strict=True,
        )
        for user, watched, long_viewed, liked, last in rows:
            marks = {"exposure_long_view": _aligned(watched, long_viewed), "like": _aligned(watched, liked)}
            for i, item in enumerate(watched):
                before = (len(watched) - i) * MINUTE_MS
                received = begin - before
                occurred = min(received, (last or begin) - before + MINUTE_MS)
                for kind in ("exposure", *(k for k, places in marks.items() if i in places)):
                    kinds["user_id"].append(str(user))
                    kinds["item_id"].append(str(item))
                    kinds["kind"].append(kind)
                    instants["occurred_at"].append(occurred)
                    instants["received_at"].append(received)
                    instants["rank"].append(i)
        stem = pl.format("{}:{}:h{}", "user_id", "item_id", "rank")
        local = pl.from_epoch(pl.col("received_at") + self.utc_offset_ms, time_unit="ms").dt.strftime("%Y-%m-%d")
        return _canonical(
            pl.DataFrame({**kinds, **instants}).with_columns(
                event_id=pl.format("{}:{}", stem, "kind"),
                impression_id=pl.when(pl.col("kind") != "exposure").then(pl.format("{}:exposure", stem)),
                request_id=pl.lit(None, pl.String),
                shelf=pl.lit("history"),
                date=local,
                watch_ms=pl.lit(None, pl.Int64),
            )
        )


def _aligned(watched: list[int], marked: list[int]) -> set[int]:
    """Places in `watched` of the marked items, a subsequence of it, matched from the end: both end at one instant."""
    places: set[int] = set()
    at = len(watched) - 1
    for item in reversed(marked):
        while at >= 0 and watched[at] != item:
            at -= 1
        if at < 0:
            break
        places.add(at)
        at -= 1
    return places


def _impressions(log: pl.DataFrame) -> pl.DataFrame:
    return _canonical(
        log.select(
            *COPIED,
            event_id=pl.format("{}:i", "stem"),
            kind=pl.lit("impression"),
            occurred_at="time_ms",
            received_at="time_ms",
            impression_id=pl.lit(None, pl.String),
            watch_ms=pl.lit(None, pl.Int64),
        )
    )


def _outcomes(log: pl.DataFrame) -> list[pl.DataFrame]:
    ended = pl.col("time_ms") + pl.col("play_time_ms")
    return [
        _canonical(
            log.filter(happened).select(
                *COPIED,
                event_id=pl.format("{}:{}", "stem", pl.lit(kind)),
                kind=pl.lit(kind),
                occurred_at=ended,
                received_at=ended,
                impression_id=pl.format("{}:i", "stem"),
                watch_ms=pl.col("play_time_ms") if kind == "play" else pl.lit(None, pl.Int64),
            )
        )
        for kind, happened in HAPPENED.items()
    ]


def _canonical(frame: pl.DataFrame) -> pl.DataFrame:
    """The columns of EVENT_SCHEMA in order; those that KuaiRand does not know are null."""
    return frame.with_columns(
        device=pl.lit(None, pl.String),
        slot=pl.lit(None, pl.Int32),
        consent=pl.lit(True),
        position=pl.lit(None, pl.Int64),
        query=pl.lit(None, pl.String),
        event_key=pl.lit(None, pl.String),
    ).select(EVENT_SCHEMA.names)
