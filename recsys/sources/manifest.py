"""What a home was made of: RECSYS_HOME/source.json, one small file that says which source, and which days there are.

Dagster's definitions read it and nothing else: no data, no clock, no thread. Whoever reads the source writes it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import pyarrow.compute as pc
import xxhash

from recsys.lake import Lake, replacing
from recsys.settings import Settings
from recsys.sources.days import stray_days
from recsys.sources.derived import Rules
from recsys.sources.source import Source, SourceError

FILE: Final = "source.json"


@dataclass(frozen=True)
class Manifest:
    """Days are local days of `received_at`, in order; a day that has no rows is not among them."""

    source: str
    folder: str | None  # resolved; None for the simulator
    seed: int | None  # of the simulator, as its size
    size: Mapping[str, int] | None  # its days and users
    utc_offset_ms: int
    days: Mapping[str, int]  # every day on offer -> rows of source and service
    live_days: Mapping[str, int]  # -> rows that the service was told
    stray_days: Mapping[str, str]  # a day of wrong clocks -> the day its rows go with
    fingerprint: str  # of the first day's rows: the same folder elsewhere has the same
    world: str | None = None  # of the simulator, where it is not the default one
    meaning: Mapping[str, str] | None = None  # of the files' own words, by setting; None: not written down yet
    kinds: Sequence[str] = ()  # of the files' own events so far: what they imply goes by them

    @property
    def first_day(self) -> str:
        return min(self.days)

    @property
    def last_day(self) -> str:
        return max(self.days)

    def fits(self, settings: Settings) -> bool:
        """Whether the settings name this source, at this place, and read it as it was read."""
        return self.is_named(settings) and self.meaning in (None, _meaning(settings))

    def is_named(self, settings: Settings) -> bool:
        """Whether the settings name this source, at this place."""
        return (self.source, self.folder, self.seed, self.size, self.world) == _named(settings)

    def write(self, home: Path) -> None:
        with replacing(home / FILE) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=1) + "\n")


def read(home: Path) -> Manifest | None:
    """The manifest of a home; None when it has none, or one that is no manifest (it is simply written again)."""
    try:
        return Manifest(**json.loads((home / FILE).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def of(source: Source, settings: Settings, live: Mapping[str, int], today: str) -> Manifest:
    """The manifest of a source as it is now.

    Args:
        live: rows that the service was told, by local day
        today: local day of the clock

    Raises:
        SourceError: nothing readable is there, every row lies after tomorrow, or the home is another source's.
    """
    offered = source.days()
    strays = stray_days(offered, None if settings.source == "simulator" else today)
    real = {day: rows for day, rows in offered.items() if day not in strays}
    days = {day: real.get(day, 0) + live.get(day, 0) for day in sorted({*real, *live})}
    if not days:
        raise SourceError(f"the {settings.source} source has no day with rows: is its folder complete?")
    name, folder, seed, size, world = _named(settings)
    made = Manifest(
        source=name,
        folder=folder,
        seed=seed,
        size=size,
        utc_offset_ms=source.utc_offset_ms,
        days=days,
        live_days=dict(sorted(live.items())),
        stray_days=strays,
        fingerprint=_fingerprint(source, min(real)) if real else "",
        world=world,
        meaning=_meaning(settings),
        kinds=sorted(source.kinds),
    )
    before = read(settings.home)
    if before is None or not _holds_data(settings.home):
        return made
    _refuse_another(before, made, settings)
    made = replace(made, kinds=sorted({*before.kinds, *made.kinds}))
    _refuse_other_rules(before, made, source.derives, settings)
    return made


def _refuse_another(before: Manifest, made: Manifest, settings: Settings) -> None:
    """A home that holds data holds that of one source, which may have moved, grown, or lost old days."""
    if before.fits(settings):
        return
    _refuse_another_meaning(before, made, settings)
    moved = before.folder and made.source == before.source and made.fingerprint == before.fingerprint
    if moved or before.is_named(settings):
        return
    raise SourceError(
        f"{settings.home} holds {_words(before)}, and the settings name {_words(made)}: set RECSYS_HOME to another"
        f" folder, or {_to_return(before)} to go on with it, or remove the folder (make clean) to begin anew"
    )


def _refuse_another_meaning(before: Manifest, made: Manifest, settings: Settings) -> None:
    """Days read in two ways are one log of two meanings; only a word that had none yet may get one."""
    was, now = before.meaning or {}, made.meaning or {}
    for name in sorted(set(was) & set(now)):
        if not set(was[name].split(",")) - {""} <= set(now[name].split(",")):
            raise SourceError(
                f"{settings.home} was read with RECSYS_{name}={was[name]}, and now it is {now[name] or 'nothing'}: set "
                "it back, or RECSYS_HOME to another folder, or remove the folder (make clean) to read all days anew"
            )


def _refuse_other_rules(before: Manifest, made: Manifest, rules: Rules, settings: Settings) -> None:
    """Days in which something was derived are not mixed with days that say it themselves."""
    was, due = Rules.of(before.kinds)._asdict(), Rules.of(made.kinds)._asdict()
    for name, now in rules._asdict().items():
        if now == due[name] and (due[name] == was[name] or not was[name]):
            continue
        by = "play" if (was[name] or now) is True else was[name] or now
        since = f"each {by} made a {name} there" if was[name] else f"they have a {name} of their own"
        after = "the log says it otherwise" if was[name] else f"in the log each {by} would make one"
        raise SourceError(
            f"{settings.home} was read when {since}, and now {after}, by its kinds of events: give the kinds of before,"
            " or set RECSYS_HOME to another folder, or remove the folder (make clean) to read all days anew"
        )


def _meaning(settings: Settings) -> dict[str, str] | None:
    """What decides how a row of the files is read, by setting."""
    if settings.source != "files":
        return None
    return {
        "HEARTBEATS": settings.heartbeats,
        "KINDS": ",".join(f"{word}={kind}" for word, kind in settings.kinds),
        "RATING_LIKE": f"{settings.rating_like:g}",
        "RATING_DISLIKE": f"{settings.rating_dislike:g}",
    }


def _holds_data(home: Path) -> bool:
    lake = Lake(home)
    return bool(lake.days("raw", "events")) or lake.store.exists()


def _named(settings: Settings) -> tuple[str, str | None, int | None, dict[str, int] | None, str | None]:
    if settings.source == "simulator":
        world = None if settings.world == "default" else settings.world
        return settings.source, None, settings.seed, {"days": settings.days, "users": settings.users}, world
    return settings.source, str(settings.data.resolve()) if settings.data else None, None, None, None


def _words(manifest: Manifest) -> str:
    if manifest.size is None:
        return f"the {manifest.source} source of {manifest.folder}"
    size = f"{manifest.size['days']} days, {manifest.size['users']} users, seed {manifest.seed}"
    return f"the {manifest.source} ({f'world {manifest.world}, ' if manifest.world else ''}{size})"


def _to_return(manifest: Manifest) -> str:
    given: dict[str, Any] = {"SOURCE": manifest.source, "DATA": manifest.folder, "SEED": manifest.seed}
    given["WORLD"] = (manifest.world or "default") if manifest.size else None
    given |= {name.upper(): value for name, value in (manifest.size or {}).items()}
    return " ".join(f"RECSYS_{name}={value}" for name, value in given.items() if value is not None)


def _fingerprint(source: Source, day: str) -> str:
    """Of the ids of a day's events, in whatever order."""
    ids = source.read_day(day).events["event_id"]
    return xxhash.xxh3_64_hexdigest("\n".join(sorted(map(str, pc.unique(ids).to_pylist()))).encode())
