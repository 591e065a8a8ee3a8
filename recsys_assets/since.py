"""What a run would read, as small signatures: what the last whole run read alike is left alone by the next one.

Coarse on purpose: any other line of code or setting makes all of it anew. Dagster's own code versions
(recsys_assets/described.py) know the modules that an asset names and not what those import, and a model that passes for
a fresh one costs more than a run too many.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

import xxhash

from recsys.lake import replacing
from recsys.settings import Settings
from recsys.sources.manifest import Manifest
from recsys.store.errors import StoreMissing
from recsys.store.journal import ITEM_RECORD, NO_END, RECORD_RECEIVED, Journal
from recsys.store.opening import open_journal

T = TypeVar("T")
ROOT: Final = Path(__file__).parents[1]
FILE: Final = "last_run.json"
CODE: Final = (
    "requirements.lock",
    *(f"{folder}/**/*" for folder in ("recsys", "recsys_assets", "expectations", "bentos")),
    *(f"dbt_project/{part}" for part in ("*.yml", "macros/**/*", "models/**/*", "tests/**/*")),
)
WRITTEN: Final = ("lake", "models", "registry/bundles", "registry/aliases", "reports/evaluation.json")
# Settings that no asset reads; what days a simulator has lived is among the days.
OF_SERVICES: Final = frozenset(
    {
        "config", "secrets", "days", "store_cache_mb", "host", "http_port", "grpc_port", "dagster_port", "workers",
        "budget_ms", "keep_alive", "kafka", "kafka_topic", "kafka_rejected", "kafka_served", "stream_port", "api_keys",
        "page", "rate_limit", "trusted_proxies", "tls_cert", "tls_key", "tls_client_ca", "log_requests", "traces",
        "trace_share", "alert_webhook",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Read:
    """Everything that a run reads, and what stood in the home when it was done."""

    code: str
    settings: str
    files: Mapping[str, str]  # of the source's folder: size and time of change
    days: Mapping[str, int]  # on offer -> rows of source and service
    items_told: int  # words about items that services took
    home: str  # what runs write

    @staticmethod
    def of(settings: Settings, stock: Manifest) -> Read:
        """As things are now."""
        chosen = settings.model_dump(mode="json", exclude=set(OF_SERVICES))
        folder = settings.data
        return Read(
            code=_hashed(_stat(ROOT, CODE, contents=True).items()),
            settings=_hashed(sorted(chosen.items())),
            files=_stat(folder, ["**/*"]) if folder else {},
            days=dict(stock.days),
            items_told=_of_store(settings, _items_told, 0),
            home=_home(settings),
        )

    def done(self, settings: Settings) -> None:
        """Keep it, once a whole run that began with it has ended."""
        with replacing(settings.home / FILE) as temporary:
            temporary.write_text(json.dumps(asdict(replace(self, home=_home(settings)))))


def last(settings: Settings) -> Read | None:
    """What the last whole run read; None before the first one."""
    try:
        return Read(**json.loads((settings.home / FILE).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def left(before: Read | None, now: Read) -> tuple[str, str] | None:
    """First and last day to take in; None where a run would read what the last one did.

    A day begins with the one before it: what is shown late in a day is clicked on the next. A file that changed may
    have changed any day, so it means all of them.
    """
    every = sorted(now.days)
    whole = every[0], every[-1]
    if before is None or (before.code, before.settings, before.home) != (now.code, now.settings, now.home):
        return whole
    if any(now.files.get(path) != was for path, was in before.files.items()) or not before.days.keys() <= set(every):
        return whole
    other = [day for day in every if now.days[day] != before.days.get(day)]
    if now.items_told != before.items_told:
        other.append(max(before.days))
    if not other:
        return whole if now.files != before.files else None
    return max(day for day in every if day < min(other) or day == every[0]), every[-1]


def _home(settings: Settings) -> str:
    """What runs write: lake, models, bundles and who is champion, and which store holds the state."""
    patterns = [pattern for name in WRITTEN for pattern in (name, f"{name}/**/*")]
    return _hashed([*_stat(settings.home, patterns).items(), ("store", _of_store(settings, _name, ""))])


def _of_store(settings: Settings, ask: Callable[[Journal], T], none: T) -> T:
    """What the store's journal answers; `none` where there is no store yet."""
    try:
        journal = open_journal(settings)
    except StoreMissing:
        return none
    try:
        return ask(journal)
    finally:
        journal.close()


def _items_told(journal: Journal) -> int:
    """Words about items that services took: the records of items that bear an instant of receipt."""
    fields = journal.records(0, NO_END).fields
    return int(((fields[:, 0] == ITEM_RECORD) & (fields[:, RECORD_RECEIVED] > 0)).sum())


def _name(journal: Journal) -> str:
    return journal.identity()


def _stat(folder: Path, patterns: Iterable[str], *, contents: bool = False) -> dict[str, str]:
    """Of each file, by its path below the folder, size and time of change, or a hash of what it holds."""
    told = {}
    for path in sorted({path for pattern in patterns for path in folder.glob(pattern)}):
        if path.is_file() and "__pycache__" not in path.parts:
            stat = path.stat()
            said = xxhash.xxh3_128_hexdigest(path.read_bytes()) if contents else f"{stat.st_size} {stat.st_mtime_ns}"
            told[path.relative_to(folder).as_posix()] = said
    return told


def _hashed(told: Iterable[tuple[str, Any]]) -> str:
    return xxhash.xxh3_128_hexdigest(json.dumps(list(told)).encode())
