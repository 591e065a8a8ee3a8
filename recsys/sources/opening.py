"""The source that the settings name."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from recsys.settings import Settings
from recsys.sources.derived import Heartbeats
from recsys.sources.source import Source, SourceError


def open_source(settings: Settings) -> Source:
    """The source that the settings name.

    Raises:
        SourceError: when its folder is missing or holds nothing readable.
    """
    if settings.source == "simulator":
        from recsys.sources.home_log import HomeSimulator
        from recsys.sources.simulator import Simulator

        world = HomeSimulator if settings.world == "home" else Simulator
        return world(days=settings.days, users=settings.users, seed=settings.seed)
    if settings.data is None:
        raise SourceError(f"the {settings.source} source needs a folder: set RECSYS_DATA")
    if not settings.data.is_dir():
        raise SourceError(f"RECSYS_DATA={settings.data} is not a folder: name the one that holds the data")
    if settings.source == "kuairand":
        from recsys.sources.kuairand import KuaiRand

        return KuaiRand(settings.data)
    words = (settings.kinds, settings.rating_like, settings.rating_dislike)
    return _files(settings.data, _stamp(settings.data), *words, settings.heartbeats)


@lru_cache(maxsize=1)
def _files(
    folder: Path,
    _stamp: int,
    kinds: tuple[tuple[str, str], ...],
    like: float,
    dislike: float,
    heartbeats: Heartbeats,
) -> Source:
    """Once a process, as long as no file changes: what it has read, it keeps."""
    from recsys.sources.files import Files
    from recsys.sources.rows import Words

    return Files(folder, Words(dict(kinds), like, dislike), heartbeats)


def _stamp(folder: Path) -> int:
    """Another number whenever a file below the folder was changed, added or removed."""
    try:
        files = [(str(p), p.stat()) for p in sorted(folder.rglob("*"))]
    except OSError as error:
        raise SourceError(f"{error.filename or folder} cannot be read: {error.strerror or error}") from None
    return hash(tuple((path, s.st_size, s.st_mtime_ns, s.st_ino) for path, s in files))
