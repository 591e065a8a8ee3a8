"""Whatever else users.* says: words about users, what is no word and why, and versions that never change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from recsys.cleaned.people import appended, people_of
from recsys.events import DAY_MS, key64
from recsys.lake import Lake
from recsys.sources.attributes import MAX_VALUES, MAX_WORDS
from recsys.sources.files import Files
from recsys.sources.home_log import HomeSimulator

AT = 1_767_600_000_000


def folder(path: Path, users: str, name: str = "users.csv") -> Files:
    path.mkdir(parents=True, exist_ok=True)
    events = "".join(f"click,{n},{n % 3},{AT + n}\n" for n in range(5))
    (path / "events.csv").write_text("kind,user_id,item_id,occurred_at\n" + events)
    (path / "items.csv").write_text("item_id\n0\n1\n2\n")
    (path / name).write_text(users)
    return Files(path)


def said(files: Files) -> dict[str, list[str]]:
    return {row["user_id"]: row["attributes"] for row in files.attributes().to_pylist()}


def test_any_column_is_words_whatever_its_type(tmp_path: Path) -> None:
    table = 'user_id,Country,age,tastes,plan\n0,DE,34,"comedy, news",premium\n1,,abc,x|y,NULL\n2,FR,-12.5,,\n'
    assert said(folder(tmp_path / "csv", table)) == {
        "0": ["age=34", "age~6", "country=de", "plan=premium", "tastes=comedy", "tastes=news"],
        "1": ["age=abc", "tastes=x", "tastes=y"],
        "2": ["age=-12.5", "age~-4", "country=fr"],
    }
    rows: list[dict[str, Any]] = [
        {"user_id": 0, "country": "de", "age": 34, "tastes": ["comedy", "news"], "plan": "premium"},
        {"user_id": 1, "age": "abc", "tastes": ["x", "y"], "plan": None},
        {"user_id": 2, "age": -12.5, "country": "FR"},
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    assert said(folder(tmp_path / "json", lines, "users.jsonl")) == said(folder(tmp_path / "csv", table))
    assert folder(tmp_path / "none", "user_id,registered_at\n0,2026-01-02\n").attributes().num_rows == 0


def test_what_is_no_attribute_is_left_out_with_its_reason(tmp_path: Path) -> None:
    many = ",".join(f"t{n}" for n in range(MAX_WORDS + 10))
    rows = [f"{n},nick{n},free,,\n" for n in range(MAX_VALUES + 1)]
    rows += [f"a,,paid,{'x' * 300},\n", f'b,,paid,,"{many}"\n']
    files = folder(tmp_path, "user_id,nick,plan,bio,tastes\n" + "".join(rows))
    words = said(files)
    assert words["0"] == ["plan=free"] and words["a"] == ["plan=paid"] and len(words["b"]) == MAX_WORDS
    reasons = [row["reason"] for row in files.refused("users").to_pylist()]
    assert len(reasons) == 3
    assert any(f"nick has {MAX_VALUES + 1:,} values" in reason for reason in reasons)
    assert any("bio is longer than 256 bytes" in reason for reason in reasons)
    assert any(f"over {MAX_WORDS} words" in reason for reason in reasons)
    nested = folder(tmp_path / "nested", '{"user_id": 1, "plan": "paid", "address": {"city": "x"}}\n', "users.jsonl")
    assert said(nested) == {"1": ["plan=paid"]}
    assert [row["reason"] for row in nested.refused("users").to_pylist()] == ["address is no list of texts: left out"]
    empty = tmp_path / "empty" / "users" / "plan=paid"
    empty.mkdir(parents=True)
    (empty / "a.json").write_text("[{}, {}]")
    of_nobody = folder(tmp_path / "empty", '{"user_id": 1}\n', "users.jsonl")
    assert [row["reason"] for row in of_nobody.refused("users").to_pylist()] == ["user_id is missing"] * 2


def test_an_offset_that_no_clock_has_is_left_out_with_its_reason(tmp_path: Path) -> None:
    files = folder(tmp_path, "user_id,utc_offset_minutes\n0,90\n1,841\n2,noon\n3,-720\n")
    clocks = {user: [w for w in words if "=" in w] for user, words in said(files).items() if words}
    assert clocks == {"0": ["utc_offset_minutes=90"], "3": ["utc_offset_minutes=-720"]}
    reasons = [row["reason"] for row in files.refused("users").to_pylist()]
    assert reasons == ["utc_offset_minutes is no whole number from -720 to 840: left out"] * 2


def test_a_change_is_seen_from_its_day_on_and_rewrites_nothing(tmp_path: Path) -> None:
    lake, days = Lake(tmp_path), [AT // DAY_MS * DAY_MS + n * DAY_MS for n in range(3)]
    path = lake.table("raw", "user_attributes")

    def taken(table: str, start: int, name: str) -> None:
        before = lake.read(path) if path.exists() else None
        lake.write(appended(before, folder(tmp_path / name, table).attributes(), start), path)

    def plan(at: int) -> str | None:
        words = people_of(lake).said(key64(["0"]), np.array([at])).words[0]
        return next((p for p in ("plan=free", "plan=paid", "plan=gold") if key64([p])[0] in words), None)

    taken("user_id,plan\n0,free\n", 0, "first")
    before = [plan(at) for at in (1, days[0], days[1])]
    taken("user_id,plan\n0,paid\n", days[1], "second")
    taken("user_id,plan\n0,paid\n", days[2], "the same again")
    assert lake.read(path).num_rows == 2
    assert before == ["plan=free"] * 3 and [plan(at) for at in (1, days[1] - 1, days[1])] == [
        "plan=free", "plan=free", "plan=paid",
    ]  # fmt: skip
    dated = f"user_id,plan,valid_from\n0,gold,{days[0]}\n"  # an older word that comes later
    taken(dated, days[2], "third")
    assert plan(days[2]) == "plan=paid" and people_of(lake).said(key64(["who"]), np.array([AT])).words.sum() == 0


def test_segments_are_of_country_and_age_together() -> None:
    home = HomeSimulator(days=3, users=300, seed=1)
    table = home.attributes()
    from recsys.features.people import People

    known = People.of(table["user_id"].to_pylist(), table["valid_from"].to_numpy(), table["attributes"].to_pylist())
    users = key64(home.world.user_names)
    segments = known.said(users, np.full(len(users), AT)).segments()
    own = home.world.user_country * 10 + home.world.user_age_band
    pairs = set(zip(own.tolist(), segments.tolist(), strict=True))
    assert len(pairs) == len(set(own.tolist())) == len(set(segments.tolist())) and 0 not in segments
    assert People.none().said(users, np.full(len(users), AT)).segments().sum() == 0


def test_words_of_users_are_learned_from_only_where_there_are_some() -> None:
    """A tower without them has no table of them, and its file nothing of them."""
    from recsys.features.log import no_items
    from recsys.retrieval.two_tower_network import TwoTower
    from recsys.retrieval.two_tower_query import TowerConfig, Vocabulary

    none = np.zeros(0, np.int64)
    with_words, without = (
        TwoTower(TowerConfig(dim=4, hidden=8), Vocabulary(*[none] * 6, words), no_items())
        for words in (key64(["country=de"]), none)
    )
    assert [name for name in without.state_dict() if "about" in name] == []
    assert without.query_mix[0].in_features + 4 == with_words.query_mix[0].in_features
