"""Sandbox users: `sandbox:ID` is a copy of user ID, to whom events may be sent that nothing learns from (ADR 13).

What is sent lies beside the log, where blocks lie too. It has no position, so no log, state, table or count has it. A
read of a sandbox user takes the user's own events from the log, and then what was sent; items are as they are for all.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from recsys.events import DAY_MS, SANDBOX, SEARCH, event_key
from recsys.features.catalog import AGGREGATES
from recsys.features.evidence import COLUMNS
from recsys.features.judged import Judged
from recsys.features.log import EventLog
from recsys.sources.derived import Rules
from recsys.store.intake import Appended, Event
from recsys.store.journal import key_of
from recsys.store.online import OnlineStore
from recsys.store.past import Past, Read
from recsys.vocabulary import wrong

MOST: Final = 50  # events of one sandbox user, the newest
KEPT_MS: Final = DAY_MS
KEPT: Final = ("event_id", "kind", "item_id", "occurred_at", "watch_ms", "shelf", "query")  # of what is said
OF_USER: Final = np.array(["user" in COLUMNS[name].parts for name in AGGREGATES])  # aggregates of the user's own events


def is_sandbox(user_id: str) -> bool:
    """Whether this is a sandbox user and no real one."""
    return user_id.startswith(SANDBOX)


def copied(user_id: str) -> str:
    """The user whose copy a sandbox user is; any other user is itself."""
    return user_id.removeprefix(SANDBOX)


@dataclass(frozen=True)
class SandboxPast(Past):
    """A past, read by a copy of one of its users."""

    own: Past  # the user's own log, and after it what was sent

    def read(self, user_key: int, item_keys: np.ndarray, as_of: int, shelf_key: int = 0) -> Read:
        of_all = super().read(user_key, item_keys, as_of, shelf_key)
        mine = self.own.read(user_key, item_keys, as_of, shelf_key)
        aggregates = np.where(OF_USER, mine.aggregates, of_all.aggregates)
        return mine._replace(position=of_all.position, aggregates=aggregates)

    def judged(self, user_key: int) -> Judged:
        return self.own.judged(user_key)

    def of_user(self, user_key: int) -> EventLog:
        return self.own.of_user(user_key)

    def followed_by(self, events: EventLog) -> SandboxPast:
        return replace(self, own=self.own.followed_by(events))

    def counted(self, column: str) -> EventLog:
        return self.own.log if "user" in COLUMNS[column].parts else self.log


def take(store: OnlineStore, rows: Sequence[Event], now: int, rules: Rules) -> Appended:
    """As `store.append`, but that events of sandbox users are kept beside the log.

    Raises:
        StoreFull, StoreUnavailable: the batch may be sent again safely.
    """
    places = [place for place, row in enumerate(rows) if is_sandbox(row["user_id"])]
    real = [place for place, row in enumerate(rows) if not is_sandbox(row["user_id"])]
    known = store.known_items([item_id for place in places if (item_id := rows[place].get("item_id"))])
    rejected, of_user = [], dict[str, list[dict[str, Any]]]()
    for place in places:
        user_id, said_at = rows[place]["user_id"], rows[place].get("occurred_at")
        said = {name: value for name in KEPT if (value := rows[place].get(name)) is not None}
        said["occurred_at"] = now if said_at is None else said_at
        broken = wrong({**said, "user_id": copied(user_id), "received_at": now})
        if broken is not None:
            rejected.append((place, f"{broken.words} ({broken.reason})"))
        elif said["kind"] == SEARCH:
            rejected.append((place, "a sandbox takes no searches"))
        elif said["item_id"] not in known:
            rejected.append((place, "unknown item"))
        else:
            said["occurred_at"] = min(said["occurred_at"], now)
            said["event_key"] = event_key(said["event_id"], user_id, said["kind"], said["item_id"], said_at)
            of_user.setdefault(user_id, []).append(said)
    fresh = sum(_keep(store, user_id, events, now) for user_id, events in of_user.items())
    taken = store.append([rows[place] for place in real], now, rules)
    repeated = len(places) - len(rejected) - fresh
    rejected += [(real[place], reason) for place, reason in taken.rejected]
    return Appended(taken.accepted + fresh, taken.duplicates + repeated, sorted(rejected), taken.position)


def _keep(store: OnlineStore, user_id: str, events: Sequence[dict[str, Any]], now: int) -> int:
    """Put events of one sandbox user beside the log; returns how many were not there."""
    fresh: list[dict[str, Any]] = []

    def changed(before: bytes | None) -> bytes:
        kept = _kept(before, now)
        known = {event["event_key"] for event in kept}
        fresh[:] = {event["event_key"]: event for event in events if event["event_key"] not in known}.values()
        return json.dumps({"events": (kept + [{**event, "kept_at": now} for event in fresh])[-MOST:]}).encode()

    store.journal.block(key_of(user_id), changed)
    return len(fresh)


def _kept(listed: bytes | None, now: int) -> list[dict[str, Any]]:
    events = json.loads(listed)["events"] if listed else []
    return [event for event in events if event["kept_at"] > now - KEPT_MS]


def past_of(store: OnlineStore, user_id: str, past: Past, at: int, now: int, rules: Rules) -> SandboxPast:
    """What a sandbox user reads at an instant `at` (UTC ms).

    What was sent counts as received when it happened, so that it may be sent to a moment of a log that ended long ago.

    Args:
        past: of the log, by which items are read
        rules: what events imply
    """
    user_key = key_of(copied(user_id))
    sent = _kept(store.journal.blocked(key_of(user_id)), now)
    rows = [{**event, "user_id": copied(user_id)} for event in sent if event["occurred_at"] <= at]
    own = Past(past.of_user(user_key), past.items, past.position)
    if rows:
        events = store.imagined(rows, at, rules)
        own = own.followed_by(events._replace(received_at=events.occurred_at))
    return SandboxPast(past.log, past.items, past.position, own)


def forget(store: OnlineStore, user_id: str) -> None:
    """Drop what was sent to a user's copy; `OnlineStore.forget` removes what is left of it on disk."""
    store.journal.strip(key_of(SANDBOX + user_id), lambda raw: raw, b"")
