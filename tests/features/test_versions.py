"""Items as of any instant: who wins, who sees it from when, and that nothing said later changes what was seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.cleaned.versions import appended, as_of, starts_at, timeline
from recsys.events import DAY_MS, ITEM_SCHEMA, VALID_ITEM_SCHEMA, key64
from recsys.features.log import history_of
from recsys.sources.source import day_number
from recsys.store.told import TOLD_SCHEMA

D1, D2, D3, D4 = "2026-11-02", "2026-11-03", "2026-11-04", "2026-11-05"
NOON = DAY_MS // 2


def at(day: str, more: int = 0) -> int:
    return day_number(day) * DAY_MS + more


def row(item_id: str = "x", **values: Any) -> dict[str, Any]:
    known = {"item_type": "video", "category": "a", "title": "t", "tags": ["g"], "is_available": True}
    return {"item_id": item_id, "duration_ms": 1, "published_at": 0, **known, **values}


def catalogue(*rows: dict[str, Any]) -> pa.Table:
    dated = any("valid_from" in row for row in rows)
    return pa.Table.from_pylist(list(rows), VALID_ITEM_SCHEMA if dated else ITEM_SCHEMA)


def told(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), TOLD_SCHEMA)


class Home:
    """Days taken in one after the other."""

    def __init__(self) -> None:
        self.versions: pa.Table | None = None
        self.taken: list[str] = []
        self.told: list[dict[str, Any]] = []

    def take_in(self, days: list[str], *rows: dict[str, Any]) -> Home:
        start = starts_at(self.taken, days, 0)
        self.versions = appended(self.versions, catalogue(*rows), told(*self.told), start)
        self.taken = sorted({*self.taken, *days})
        return self

    def tell(self, instant: int, **values: Any) -> None:
        self.told.append(row(**values) | {"valid_from": instant, "position": len(self.told) + 1})

    def value(self, instant: int, name: str = "category", item_id: str = "x") -> Any:
        assert self.versions is not None
        value_of = {r["item_id"]: r[name] for r in as_of(timeline(self.versions), instant).to_pylist()}
        return value_of.get(item_id)


def test_the_first_day_to_take_in_decides() -> None:
    assert starts_at([], [D1], 0) == 0
    assert starts_at([D1, D2], [D3], 0) == at(D3)
    assert starts_at([D1, D2], [D2, D3], 0) == at(D3), "the night takes the day before in again"
    assert starts_at([D1, D2], [D2], 0) == at(D2)
    assert starts_at([D1, D2], [D1], 0) == at(D3), "an old day does not rewrite what came after it"
    assert starts_at([D1, D3], [D2], 0) == at(D4)
    assert starts_at([D1, D2], [D1, D2], 0) == at(D1), "all anew"
    assert starts_at([D1, D2], [], 8 * 3_600_000) == at(D3) - 8 * 3_600_000, "read for itself: in the source's time"


def test_a_first_row_holds_from_always_and_a_changed_one_from_the_first_day_taken_in_with_it() -> None:
    home = Home().take_in([D1, D2], row()).take_in([D3], row(category="b"))
    assert [home.value(t) for t in (0, at(D3) - 1, at(D3))] == ["a", "a", "b"]
    same = home.versions
    home.take_in([D3], row(category="b")).take_in([D1], row(category="b"))
    assert home.versions.equals(same)  # the same day again, and an old day with the same catalogue
    home.take_in([D4], row(category="a"))
    assert [home.value(t) for t in (at(D2), at(D3), at(D4))] == ["a", "b", "a"]


def test_what_is_said_of_an_item_beside_is_as_of_an_instant_too_and_a_home_of_before_begins_without_it() -> None:
    home = Home().take_in([D1], row())
    assert home.versions is not None
    home.versions = home.versions.drop_columns(["language", "description", "creator_name", "embedding"])
    same = home.take_in([D2], row()).versions
    first = {"description": "d", "language": "de", "creator_name": "c", "embedding": [0.1, 2.0]}
    home.take_in([D3], row(**first))
    home.tell(at(D3, NOON), **{**first, "embedding": [0.3, 1.0]})
    home.take_in([D4], row(**first, title="new"))
    assert home.versions.num_rows == same.num_rows + 3
    for name, value in first.items():
        assert home.value(at(D3) - 1, name) is None and home.value(at(D4) - 1, name) is not None
        assert name == "embedding" or home.value(at(D4), name) == value
    seen = [home.value(t, "embedding") for t in (at(D4) - 1, at(D4))]  # the word of the service was heard on D4
    assert seen == [np.float32([0.1, 2.0]).tolist(), np.float32([0.3, 1.0]).tolist()]


def test_an_item_that_comes_later_is_not_known_before() -> None:
    """What was computed of it then stays as it was: of an item that nobody knew."""
    home = Home().take_in([D1], row()).take_in([D2], row(), row("y"))
    assert (home.value(at(D2) - 1, item_id="y"), home.value(at(D2), item_id="y")) == (None, "a")


def test_rows_with_instants_hold_from_them_on() -> None:
    rows = [row(category=c, valid_from=at(d, NOON)) for c, d in (("b", D2), ("a", D1), ("c", D4))]
    home = Home().take_in([D1, D2], *rows)
    instants = (at(D1), at(D1, NOON), at(D2, NOON) - 1, at(D2, NOON), at(D4, NOON) - 1, at(D4, NOON))
    assert [home.value(t) for t in instants] == [None, "a", "a", "b", "b", "c"]
    same = home.versions
    assert home.take_in([D3], *rows).versions.equals(same)
    home.take_in([D4], *rows, row(category="late", valid_from=at(D2, NOON + 1)))
    assert home.value(at(D3)) == "b" and home.value(at(D4)) == "late", "a late word changes no day that is in"
    assert home.value(at(D4, NOON)) == "c"
    home.take_in(["2026-11-06"], *rows, row(category="later still", valid_from=at(D3)))
    assert home.value(at("2026-11-07")) == "c", "an older word that comes later"


def test_a_catalogue_that_says_no_instants_any_more_is_a_word_of_its_day() -> None:
    home = Home().take_in([D1, D2], row(valid_from=at(D1)), row(category="b", valid_from=at(D2)))
    home.take_in([D3], row(category="c"))
    assert [home.value(t) for t in (at(D1), at(D2), at(D3))] == ["a", "b", "c"]


def test_the_later_word_stands_whoever_says_it() -> None:
    home = Home().take_in([D1], row(title="old"))
    home.tell(at(D2, NOON), title="told")
    home.take_in([D2], row(title="old"))
    assert [home.value(t, "title") for t in (at(D2), at(D2, NOON), at(D4))] == ["old", "told", "told"]
    home.take_in([D3], row(title="old", is_available=False))
    assert (home.value(at(D3), "is_available"), home.value(at(D3), "title")) == (False, "told")
    home.tell(at(D3, NOON), title="told again", is_available=True)
    home.take_in([D4], row(title="old", is_available=False))
    assert (home.value(at(D4), "is_available"), home.value(at(D4), "title")) == (True, "told again")


def test_a_takedown_on_the_day_of_a_correction_is_not_lost() -> None:
    home = Home().take_in([D1], row())
    home.tell(at(D2, NOON), title="corrected")
    home.take_in([D2], row(is_available=False))
    assert home.value(at(D2, NOON), "title") == "corrected"
    later = at(D2, NOON) + 1
    assert (home.value(later, "is_available"), home.value(later, "title")) == (False, "corrected")


@pytest.mark.parametrize("news", [True, False])
def test_a_lake_that_begins_anew_knows_what_the_store_had_before(news: bool) -> None:
    home = Home()
    home.told = [row() | {"valid_from": 0, "position": 0}]
    home.tell(at(D2, NOON), title="told")
    home.take_in([D1], row(is_available=not news))
    assert (home.value(at(D3), "is_available"), home.value(at(D3), "title")) == (
        (False, "t") if news else (True, "told")
    )


def test_an_id_keeps_the_type_in_which_it_first_came() -> None:
    home = Home().take_in([D1], row("7", id_is_integer=True))
    same = home.versions
    assert home.take_in([D2], row("7", id_is_integer=False)).versions.equals(same)
    home.take_in([D3], row("7", id_is_integer=False, category="b"))
    assert home.value(at(D3), "category", "7") == "b" and home.value(at(D3), "id_is_integer", "7")


changes = st.lists(
    st.tuples(
        st.sampled_from(["file", "file", "dated", "tell"]),
        st.integers(0, 2),  # item
        st.sampled_from(["category", "title", "duration_ms", "is_available", "tags"]),
        st.integers(0, 3),
        st.integers(0, 23),
    ),
    max_size=8,
)
VALUES: dict[str, list[Any]] = {
    "category": ["a", "b", "c", None],
    "title": ["t", "u", None, ""],
    "duration_ms": [1, 2, 3, 0],
    "is_available": [True, False, True, False],
    "tags": [["g"], ["h"], [], ["g", "h"]],
}


@settings(max_examples=60)
@given(st.lists(changes, min_size=1, max_size=6))
def test_no_later_word_changes_what_was_seen(days: list[Any]) -> None:
    """Day after day, by file, with instants and live: every earlier instant reads the same; as_of and lookup agree."""
    home, seen = Home(), dict[int, Any]()
    words = {(f"x{i}", None): row(f"x{i}") for i in range(3)}
    begin = day_number(D1)
    for n, of_day in enumerate(days):
        start = (begin + n) * DAY_MS
        for how, i, name, value, hour in of_day:
            item_id, instant = f"x{i}", start + hour * 3_600_000
            if how == "tell":
                home.tell(instant, item_id=item_id, **{name: VALUES[name][value]})
            else:
                key = (item_id, start + (hour - 12) * 10 * 3_600_000 if how == "dated" else None)
                words[key] = words[item_id, None] | {name: VALUES[name][value], "valid_from": key[1]}
        home.take_in([str(np.datetime64(begin + n, "D"))], *words.values())
        assert home.versions is not None
        since = timeline(home.versions)
        for instant, before in seen.items():
            assert as_of(since, instant).equals(before)
        seen |= {t: as_of(since, t) for t in range(start, start + DAY_MS, 4 * 3_600_000)}
        for instant in seen:
            held = as_of(since, instant)
            attributes = history_of(since).lookup(key64(held["item_id"].to_pylist()), np.full(len(held), instant))
            assert attributes.duration_ms.tolist() == [max(value or 0, 0) for value in held["duration_ms"].to_pylist()]
