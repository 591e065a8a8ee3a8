"""Who looked at whose data, and when: lines that are only ever added to, kept for KEPT_DAYS.

A user is named by the keyed hash that `audit/forgotten.jsonl` uses. When one is forgotten, zeros of the same length
take its place where it stands: no line moves, so services may go on writing meanwhile.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

from recsys.privacy.border import Border

KEPT_DAYS: Final = 90


def folder(home: Path) -> Path:
    """Where the days lie."""
    return home / "audit" / "access"


class AccessLog:
    """The writing end of one process."""

    def __init__(self, home: Path, border: Border) -> None:
        self._root, self._border = folder(home), border
        self._lock = threading.Lock()

    def note(self, at: int, caller: str, call: str, user_id: str | None, **told: Any) -> None:
        """One look: durable enough for an audit when this returns, one line a call.

        Args:
            at: UTC ms
            caller: public id of the key, or the address where there are no keys
            user_id: as known inside; None where the look was at nobody's data

        Raises:
            OSError: it cannot be written; then nothing should be shown either.
        """
        who = self._border.forgotten.digest(user_id) if user_id else None
        line = json.dumps({"at": at, "caller": caller, "call": call, "user": who, **told}) + "\n"
        day = datetime.fromtimestamp(at / 1000, UTC).date()
        path = self._root / day.isoformat() / f"{os.getpid()}.jsonl"
        with self._lock:
            if not path.parent.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                self._expire(day)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                os.write(descriptor, line.encode())
            finally:
                os.close(descriptor)

    def _expire(self, today: date) -> None:
        for day in self._root.iterdir():
            if (today - date.fromisoformat(day.name)).days >= KEPT_DAYS:
                for path in day.iterdir():
                    path.unlink(missing_ok=True)
                day.rmdir()


def forget(home: Path, digests: Sequence[str]) -> int:
    """Put zeros where those users are named; returns the files that were changed."""
    changed = 0
    for path in sorted(folder(home).glob("*/*.jsonl")):
        with path.open("r+b") as file:
            text = file.read()
            places = [at for digest in digests for at in _places(text, digest.encode())]
            for at, length in places:
                file.seek(at)
                file.write(b"0" * length)
            changed += bool(places)
    return changed


def _places(text: bytes, digest: bytes) -> list[tuple[int, int]]:
    places, at = [], text.find(digest)
    while at >= 0:
        places.append((at, len(digest)))
        at = text.find(digest, at + 1)
    return places
