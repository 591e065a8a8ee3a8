"""Who looked at whose data: lines that say no name, stay where they are when somebody is forgotten, and go in time."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

from recsys.events import DAY_MS
from recsys.privacy import access
from recsys.privacy.access import KEPT_DAYS, AccessLog, folder
from recsys.privacy.border import Border, Forgotten

AT = 1_767_900_000_000


def lines(home: Path) -> list[dict]:
    return [json.loads(line) for path in sorted(folder(home).glob("*/*")) for line in path.read_text().splitlines()]


def test_a_look_is_told_by_a_hash_and_a_forgotten_user_is_zeros(tmp_path: Path) -> None:
    border = Border(Forgotten(tmp_path))
    log = AccessLog(tmp_path, border)
    for user in ("u1", "u2", "u1", None):
        log.note(AT, "0a1b2c3d", "inspect", user, id="r")
    told = lines(tmp_path)
    assert [line["user"] == border.forgotten.digest("u1") for line in told] == [True, False, True, False]
    assert "u1" not in "".join(path.read_text() for path in folder(tmp_path).glob("*/*"))
    writing = next(folder(tmp_path).glob("*/*")).stat()
    assert access.forget(tmp_path, [border.forgotten.digest("u1")]) == 1
    after = next(folder(tmp_path).glob("*/*")).stat()
    assert (after.st_ino, after.st_size) == (writing.st_ino, writing.st_size)
    assert [line["user"] for line in lines(tmp_path)] == ["0" * 32, told[1]["user"], "0" * 32, None]
    log.note(AT, "0a1b2c3d", "inspect", "u2")
    assert len(lines(tmp_path)) == 5 and access.forget(tmp_path, [border.forgotten.digest("u1")]) == 0


def test_days_go_after_ninety(tmp_path: Path) -> None:
    log = AccessLog(tmp_path, Border(Forgotten(tmp_path)))
    for days in range(0, KEPT_DAYS + 3):
        log.note(AT + days * DAY_MS, "peer", "inspect", "u1")
    kept = sorted(path.name for path in folder(tmp_path).iterdir())
    assert len(kept) == KEPT_DAYS and (date.fromisoformat(kept[-1]) - date.fromisoformat(kept[0])).days == KEPT_DAYS - 1
