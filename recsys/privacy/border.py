"""A user's right to be nobody: what every user id passes on its way in, and rows without a user who was forgotten.

Pseudonyms: with RECSYS_PSEUDONYM_KEY a user is known inside by a keyed hash, and so is every id that tells their id.
Forgotten: audit/forgotten.jsonl names them by a keyed hash of another key, so a source that is read again, and a
service that is asked again, know them without keeping their id. What they did stays counted for the items, as nobody's.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from recsys.events import NOBODY, SANDBOX, with_event_keys
from recsys.lake import Lake, append_line, replacing
from recsys.settings import Settings

KEY_MARK: Final = "pseudonyms"  # file below the home: by which key its users are known
HIDDEN: Final = "nobody:"  # begins the event_id and event_key of what a forgotten user did
TELLING: Final = ("event_id", "request_id", "impression_id")  # ids that sources and clients build from the user's
_HIDDEN: Final = re.compile(HIDDEN + "[0-9a-f]{32}")
_GIVEN_HERE: Final = re.compile(r"[0-9a-f]{32}")  # as our own request and event ids are: they tell nothing
_HASHED: Final = ("event_id", "event_key")
_UNLINKED: Final = ("request_id", "impression_id", "device")  # what would tie nobody's events together again


class PrivacyError(RuntimeError):
    """A promise to a user cannot be kept; the message says why and what to do."""


class Forgotten:
    """Who was forgotten below one RECSYS_HOME, read again whenever another process adds to it."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "audit"
        self._stamp: tuple[int, int] | None = None
        self._known: frozenset[str] = frozenset()
        self._known_keys: frozenset[str] = frozenset()
        self._key = b""

    def __contains__(self, user_id: str) -> bool:
        """Whether this id, as it is known inside or as it was given, was forgotten."""
        return bool(self._current()) and self.digest(user_id) in self._known

    def has_key(self, user_key: int) -> bool:
        """Whether this is the key of a user who was forgotten."""
        return bool(self._current()) and self.digest(str(user_key)) in self._known_keys

    def __bool__(self) -> bool:
        return bool(self._current())

    def digest(self, text: str) -> str:
        """A keyed hash, 32 hex digits; the key is made at first use and stays in audit/key.

        Raises:
            PrivacyError: the key is gone: nobody who was forgotten can be told from others any more.
        """
        if not self._key:
            self._key = _key_in(self._folder / "key", create=not (self._folder / "forgotten.jsonl").exists())
        return _keyed(self._key, text)

    def note(self, line: Mapping[str, Any]) -> None:
        """Append to the audit, durably."""
        self._folder.mkdir(parents=True, exist_ok=True)
        append_line(self._folder / "forgotten.jsonl", line)

    def lines(self) -> list[dict[str, Any]]:
        """Every line of the audit that was written as a whole."""
        try:
            text = (self._folder / "forgotten.jsonl").read_text()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in text.splitlines() if line.endswith("}")]

    def _current(self) -> frozenset[str]:
        try:
            stat = os.stat(self._folder / "forgotten.jsonl")  # a microsecond, at every id
        except FileNotFoundError:
            return frozenset()
        stamp = (stat.st_mtime_ns, stat.st_size)
        if stamp != self._stamp:
            lines = self.lines()
            self._known = frozenset(who for line in lines for who in line["who"])
            self._known_keys = frozenset(key for line in lines for key in line.get("keys", ()))
            self._stamp = stamp
        return self._known


@dataclass(frozen=True)
class Border:
    """What every user id passes on its way in: the same at ingestion and in the service."""

    forgotten: Forgotten
    key: bytes | None = field(default=None, repr=False)  # of pseudonyms; None: ids stay as they are

    @classmethod
    def of(cls, settings: Settings) -> Border:
        """The border that the settings ask for.

        Raises:
            PrivacyError: the users of the home came in with another key of pseudonyms, with one where there is none
                now, or without one.
        """
        secret, home = settings.pseudonym_key, settings.home
        key = secret.get_secret_value().encode() if secret is not None else None
        mark = home / KEY_MARK
        if mark.exists() and mark.read_text().strip() != _mark_of(key):
            came = "another RECSYS_PSEUDONYM_KEY" if key else "a RECSYS_PSEUDONYM_KEY, and none is set"
            raise PrivacyError(f"{home} was made with {came}: set that one, or RECSYS_HOME to another folder")
        if key is not None and not mark.exists() and Lake(home).days("raw", "events"):
            raise PrivacyError(
                f"{home} was made without RECSYS_PSEUDONYM_KEY, and with one everybody in it would be a stranger: unset"
                " it, or set RECSYS_HOME to another folder"
            )
        return cls(Forgotten(home), key)

    def keep_mark(self, home: Path) -> None:
        """Note by which key users come in to this home from now on: with another one everybody were a stranger."""
        if self.key is not None and not (home / KEY_MARK).exists():
            with replacing(home / KEY_MARK) as temporary:
                temporary.write_text(_mark_of(self.key) + "\n")

    def names(self, user_id: str) -> tuple[str, ...]:
        """Every id under which a user may be known inside: their pseudonym, and the id from before there was a key."""
        if user_id.startswith(SANDBOX):
            return tuple(SANDBOX + name for name in self.names(user_id.removeprefix(SANDBOX)))
        return (user_id,) if self.key is None else (_keyed(self.key, user_id), user_id)

    def user(self, user_id: str) -> str:
        """The id under which a user is known inside; NOBODY for one who was forgotten."""
        names = self.names(user_id)
        gone = self.forgotten and any(name.removeprefix(SANDBOX) in self.forgotten for name in names)
        return NOBODY if gone else names[0]

    def told(self, name: str | None, user_id: str | None) -> str | None:
        """An event's, request's or impression's id, hashed with the key where it tells the user's id."""
        if self.key is None or name is None or not user_id or user_id not in name or _GIVEN_HERE.fullmatch(name):
            return name
        return _keyed(self.key, name)

    def event(self, event: Mapping[str, Any]) -> dict[str, Any] | None:
        """One event (EVENT_SCHEMA) as it comes in; None when its user was forgotten: there is nobody to ask it of."""
        user_id = event["user_id"]
        inside = self.user(user_id)
        if inside == NOBODY:
            return None
        told = {name: self.told(event[name], user_id) for name in TELLING if event.get(name) is not None}
        return {**event, **told, "user_id": inside}

    def events(self, table: pa.Table) -> pa.Table:
        """Delivered events (EVENT_SCHEMA) as they come in, each with its event_key.

        Those of the forgotten are nobody's, and still count.
        """
        if self.key is None and not self.forgotten:
            return with_event_keys(table)
        given = table["user_id"]
        if self.key is not None:
            users = given.to_pylist()
            for name in TELLING:
                ids = [self.told(value, user) for value, user in zip(table[name].to_pylist(), users, strict=True)]
                table = put(table, name, pa.array(ids, pa.string()))
        inside = _by_distinct(given, lambda user_id: self.names(user_id)[0])
        table = with_event_keys(put(table, "user_id", inside))
        gone = pc.equal(_by_distinct(given, self.user), NOBODY)
        return self.nobodys(table, pc.fill_null(gone, False))

    def users(self, table: pa.Table) -> pa.Table:
        """Users (USER_SCHEMA) as they come in, without the forgotten."""
        if self.key is None and not self.forgotten:
            return table
        table = put(table, "user_id", _by_distinct(table["user_id"], self.user))
        return table.filter(pc.not_equal(table["user_id"], NOBODY))

    def rejected(self, table: pa.Table) -> pa.Table:
        """Unreadable rows as they come in. Their text may name anybody: it is kept while nobody has a claim."""
        if self.keeps_texts:
            return table
        return put(table, "text", pa.array([""] * table.num_rows, pa.string()))

    @property
    def keeps_texts(self) -> bool:
        """Whether what cannot be read may be kept as it came."""
        return self.key is None and not self.forgotten

    def nobodys(self, table: pa.Table, mine: Any) -> pa.Table:
        """Rows of events, those of the mask as nobody's: counted for the item, tied to no one and to no other event.

        Their event_id and event_key become keyed hashes of themselves, so that a repeated delivery stays one. The words
        of a search go: they may name anybody.
        """
        if not pc.any(mine).as_py():
            return table
        users = table["user_id"].to_pylist() if "user_id" in table.column_names else [None] * table.num_rows
        for name in table.column_names:
            column = table[name]
            if name == "user_id":
                table = put(table, name, pc.if_else(mine, NOBODY, column))
            elif name == "user_key":
                table = put(table, name, pc.if_else(mine, 0, column))
            elif name in _HASHED:
                ids = zip(column.to_pylist(), users, mine.to_pylist(), strict=True)
                hidden = [self._hidden(i, user) if i is not None and m else i for i, user, m in ids]
                table = put(table, name, pa.array(hidden, pa.string()))
            elif name == "query":
                table = put(table, name, pc.if_else(pc.and_(mine, pc.is_valid(column)), NOBODY, column))
            elif name in _UNLINKED or name == "session_id":
                table = put(table, name, pc.if_else(mine, pa.scalar(None, column.type), column))
        return table

    def nobodys_json(self, raw: bytes) -> bytes:
        """The same for one event as the online store's log keeps it."""
        event = json.loads(raw)
        kept = {name: value for name, value in event.items() if name not in _UNLINKED}
        hidden = {name: self._hidden(event[name], event["user_id"]) for name in _HASHED if name in event}
        words = {"query": NOBODY} if "query" in event else {}
        return json.dumps({**kept, **hidden, **words, "user_id": NOBODY}).encode()

    def _hidden(self, name: str, user: str | None) -> str:
        is_hidden = _HIDDEN.fullmatch(name) and (not user or user not in name)  # a caller may give such an id too
        return name if is_hidden else HIDDEN + self.forgotten.digest(name)


def put(table: pa.Table, name: str, column: Any) -> pa.Table:
    """The table with that column replaced, its type as before."""
    column_type = table.schema.field(name)
    return table.set_column(table.column_names.index(name), column_type, pc.cast(column, column_type.type))


def _by_distinct(names: pa.ChunkedArray, of: Callable[[str], str]) -> pa.Array:
    """`of` each name, called once for each distinct one; null where it is null."""
    encoded = pa.array(names.cast(pa.string()).combine_chunks()).dictionary_encode()
    inside = pa.array([of(name) for name in encoded.dictionary.to_pylist()], pa.string())
    return inside.take(encoded.indices)


def _mark_of(key: bytes | None) -> str:
    """What tells a key from others, and does not tell the key."""
    return "" if key is None else hmac.new(key, b"the key of this home", hashlib.sha256).hexdigest()


def _keyed(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()[:32]


def _key_in(path: Path, create: bool) -> bytes:
    """The key in a file that only its owner reads, made when it is not there."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        if not create:
            raise PrivacyError(
                f"{path} is gone, without which nobody in {path.parent / 'forgotten.jsonl'} is recognised: restore it"
            ) from None
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".key.{os.getpid()}")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(os.urandom(32))
        file.flush()
        os.fsync(file.fileno())
    with suppress(FileExistsError):  # another process was first
        os.link(temporary, path)
    temporary.unlink()
    return path.read_bytes()
