"""Strict in: what is not exactly a request is refused, by field, without repeating what was sent."""

from __future__ import annotations

import codecs
import contextlib
import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.serving.schema import (
    BadRequest,
    EventsRequest,
    FeaturesRequest,
    Item,
    ItemsRequest,
    RecommendRequest,
    events_of,
    parse,
)
from recsys.sources.files import Files
from recsys.vocabulary import wrong


def recommend(**fields: object) -> RecommendRequest:
    return parse(RecommendRequest, json.dumps(fields).encode())


def test_only_a_user_is_needed_and_ids_may_be_integers() -> None:
    assert recommend(user_id="7") == recommend(user_id=7)
    request = recommend(user_id=7)
    assert (request.user_id, request.shelf, request.k, request.context.at) == ("7", "feed", 10, None)


def test_a_word_for_nothing_says_nothing_and_na_is_a_country() -> None:
    said = recommend(user_id=1, context={"country": "NA", "device": "NA", "app": "(null)"}).context
    assert said.words() == ["country=na"] and said.device is None


def test_an_instant_is_milliseconds_or_iso_and_both_mean_the_same() -> None:
    instants = [1_767_605_400_000, "2026-01-05T09:30:00Z", "2026-01-05T10:30:00+01:00", "2026-01-05T09:30:00"]
    assert {recommend(user_id=1, context={"at": at}).context.at for at in instants} == {1_767_605_400_000}


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({}, "user_id"),
        ({"user_id": None}, "user_id"),
        ({"user_id": True}, "user_id"),
        ({"user_id": 1.5}, "user_id"),
        ({"user_id": -(2**63) - 1}, "user_id"),
        ({"user_id": 2**64}, "user_id"),
        ({"user_id": ""}, "user_id"),
        ({"user_id": " null "}, "user_id"),
        ({"user_id": "undefined"}, "user_id"),
        ({"user_id": "NA"}, "user_id"),
        ({"user_id": "a" * 257}, "user_id"),
        ({"user_id": "é" * 129}, "user_id"),
        ({"user_id": "a\nb"}, "user_id"),
        ({"user_id": "a\x00"}, "user_id"),
        ({"user_id": ["a"]}, "user_id"),
        ({"user_id": "a", "k": 0}, "k"),
        ({"user_id": "a", "k": 101}, "k"),
        ({"user_id": "a", "k": "10"}, "k"),
        ({"user_id": "a", "k": 10.0}, "k"),
        ({"user_id": "a", "k": True}, "k"),
        ({"user_id": "a", "shelf": ""}, "shelf"),
        ({"user_id": "a", "shelf": 1}, "shelf"),
        ({"user_id": "a", "more": 1}, "more"),
        ({"user_id": "a", "context": {"at": "yesterday"}}, "context.at"),
        ({"user_id": "a", "context": {"at": -1}}, "context.at"),
        ({"user_id": "a", "context": {"at": 1_767_605_400}}, "context.at"),  # seconds
        ({"user_id": "a", "context": {"at": 20_260_105_093_000}}, "context.at"),  # a date of 14 digits
        ({"user_id": "a", "context": {"at": 202_601_050_930}}, "context.at"),  # a date of 12 digits
        ({"user_id": "a", "context": {"at": 1e300}}, "context.at"),
        ({"user_id": "a", "context": {"at": "9999-12-31T23:59:59Z"}}, "context.at"),
        ({"user_id": "a", "context": {"at": "0001-01-01T00:00:00"}}, "context.at"),
        ({"user_id": "a", "context": {"device": "x" * 65}}, "context.device"),
        ({"user_id": "a", "context": {"screen": "x"}}, "context.screen"),
        ({"user_id": "a", "context": []}, "context"),
    ],
)
def test_what_is_wrong_is_named_by_its_field(fields: dict[str, object], names: str) -> None:
    with pytest.raises(BadRequest, match=f"^{names}: "):
        recommend(**fields)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"null", b"[]", b"7", b'"x"', b"\xff\xfe", b'{"user_id":"\\ud800"}', b'{"user_id":NaN}', b"[" * 5000],
)
def test_what_is_not_a_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        parse(RecommendRequest, body)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_refusal(body: bytes) -> None:
    for model in (RecommendRequest, FeaturesRequest, EventsRequest):
        with contextlib.suppress(BadRequest):
            parse(model, body)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda x: st.lists(x) | st.dictionaries(st.text(), x),
)


@given(st.lists(json_values, max_size=5))
def test_every_event_is_either_good_or_rejected_with_its_index(events: list[object]) -> None:
    good, bad = events_of(events)
    assert sorted([i for i, _ in good] + [r.index for r in bad]) == list(range(len(events)))


def test_one_bad_event_does_not_cost_the_others() -> None:
    click = {"event_id": "e1", "kind": "click", "user_id": 1, "item_id": 2, "occurred_at": 1_767_605_400_000}
    wrong = [
        {**click, "position": 9},  # the service's to give
        {**click, "received_at": 9},
        {**click, "event_key": "k"},
        {**click, "watch_ms": "9"},
        {**click, "user_id": True},
        7,
    ]
    good, bad = events_of([click, *wrong, {**click, "kind": "play", "watch_ms": 0}])
    assert [i for i, _ in good] == [0, len(wrong) + 1]
    assert [r.index for r in bad] == list(range(1, len(wrong) + 1))
    assert "position" in bad[0].reason and "received_at" in bad[1].reason and "watch_ms" in bad[3].reason
    assert (good[0][1].user_id, good[0][1].item_id) == ("1", "2")


@pytest.mark.parametrize("half", [r"\ud800", r"a\uDC00b", r"\ud800\ud800"])
@pytest.mark.parametrize("field", ["user_id", "event_id", "device", "query", "half"])
def test_half_a_surrogate_pair_costs_its_own_event_alone(half: str, field: str) -> None:
    good = {"kind": "click", "user_id": "u1", "item_id": "i\U0001f600"}
    bad = json.dumps({**good, field: "HALF", "x\ud800" if field == "half" else field: "HALF"}).replace("HALF", half)
    body = f'{{"events": [{json.dumps(good)}, {bad}, {json.dumps(good)}]}}'.encode()
    told, refused = events_of(parse(EventsRequest, body).events)
    assert [(place, event.item_id) for place, event in told] == [(0, "i\U0001f600"), (2, "i\U0001f600")]
    assert [one.index for one in refused] == [1]
    assert "half a surrogate pair" in refused[0].model_dump_json()
    for broken in (body[:-1], body + b"]", body.replace(b'"events"', b'"event"')):
        with pytest.raises(BadRequest):
            parse(EventsRequest, broken)


def test_an_id_or_an_instant_told_is_what_the_same_one_in_a_file_is(tmp_path: Path) -> None:
    """Or both refuse it: negative numbers, joiners of characters, blanks, words for nothing, fractions of a ms."""
    ids = [
        -5,
        2**64 - 1,
        "zw\u200dj",
        "a\u00ad",
        " a\u3000",
        "None",
        "nan",
        "a\x07",
        "a\x1f",
        "\x85a",
        "a\x85b",
        "x" * 257,
    ]
    at = "2026-01-05T09:30:00.0009Z"
    rows = [
        {"kind": "click", "user_id": f"u{n}", "item_id": id_, "occurred_at": at, "shelf": str(id_), "device": str(id_)}
        for n, id_ in enumerate(ids)
    ]
    rows += [{**row, "item_id": "i", "event_id": "e" + row["user_id"]} for row in rows]  # of no consequence to the item
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "items.jsonl").write_text("".join(json.dumps({"item_id": i}) + "\n" for i in [*ids, "i"]))
    names = ("user_id", "item_id", "event_id", "occurred_at", "shelf", "device")
    files = Files(tmp_path)
    read = files.events().filter(pl.col("item_id").is_not_null()).select(names).rows()
    good, _ = events_of(rows)
    told = [event.model_dump() | {"received_at": 1_767_605_400_000} for _, event in good]
    assert [tuple(event[name] for name in names) for event in told if wrong(event) is None] == read
    assert len(read) == 6 + 8 and {row[3] for row in read} == {1_767_605_400_000}
    items = pl.DataFrame(files.items())
    answered = set(items.filter("id_is_integer")["item_id"])
    assert answered == {"-5"}


def test_a_body_may_begin_with_a_mark_of_its_byte_order() -> None:
    assert parse(FeaturesRequest, codecs.BOM_UTF8 + b'{"user_id": "a", "item_ids": ["b"]}').user_id == "a"


def test_metadata_in_seconds_is_refused_as_events_are() -> None:
    for at in (1_767_605_400, 5):
        with pytest.raises(BadRequest, match=r"^items\.0\.published_at: is in seconds"):
            parse(ItemsRequest, json.dumps({"items": [{"item_id": "a", "published_at": at}]}).encode())
        with pytest.raises(BadRequest, match=r"^at: is in seconds"):
            parse(FeaturesRequest, json.dumps({"user_id": "a", "item_ids": ["a"], "at": at}).encode())


def test_an_event_without_an_id_bears_that_of_the_same_row_in_a_file(tmp_path: Path) -> None:
    said = {
        "kind": "play", "user_id": "7", "item_id": "i", "occurred_at": 1_767_605_400_000, "request_id": "r",
        "shelf": "feed", "slot": 0, "watch_ms": 900,
    }  # fmt: skip
    search = {"kind": "search", "user_id": "7", "occurred_at": 1_767_605_400_000, "query": "whales"}
    fractions = said | {"watch_ms": 902.0, "slot": 1.0}, said | {"watch_ms": 903.5}
    rows = [said, said | {"watch_ms": 901}, search, *fractions]
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "items.jsonl").write_text('{"item_id": "i"}\n')
    source = Files(tmp_path)
    read = [id_ for day in source.days() for id_ in source.read_day(day).events["event_id"].to_pylist()]
    good, bad = events_of([*rows, said, {**said, "user_id": 7}])
    told = [event.event_id for _, event in good]
    assert not bad and told[-1] == told[-2] == told[0]  # a retry, and an id of the other JSON type
    assert len(set(told)) == 5 and set(told) == {id_ for id_ in read if "#" not in id_}  # less what is derived


def test_events_that_say_neither_id_nor_instant_are_each_their_own() -> None:
    one = {"kind": "like", "user_id": "u", "item_id": "i"}
    good, _ = events_of([one, one])
    assert good[0][1].event_id != good[1][1].event_id


@pytest.mark.parametrize(
    ("sent", "held", "is_integer"),
    [
        ("42", "42", True),
        ("42.0", "42", True),
        ('"42"', "42", False),
        ("999999999999999", "999999999999999", True),
        ("123456789012345678", "123456789012345678", False),  # every digit is kept; a double would lose the last
        ('"007"', "007", False),
        ('"promo-a"', "promo-a", False),
    ],
)
def test_an_item_keeps_the_digits_and_the_type_of_its_id(sent: str, held: str, is_integer: bool) -> None:
    body = f'{{"items": [{{"item_id": {sent}, "item_type": "video"}}]}}'
    (item,) = parse(ItemsRequest, body.encode()).items
    assert (item.item_id, item.id_is_integer) == (held, is_integer)


def test_blanks_around_an_id_are_no_part_of_it() -> None:
    """As files are read: the same user would be another one live."""
    assert parse(RecommendRequest, b'{"user_id": " u1\\t"}').user_id == "u1"
    with pytest.raises(BadRequest, match="user_id"):
        parse(RecommendRequest, b'{"user_id": "   "}')


def test_null_tags_and_null_duration_are_not_known() -> None:
    """As an export of a catalogue says it: the file border reads a null so as well."""
    item = Item.model_validate_json('{"item_id": "i", "tags": null, "duration_ms": null, "category": null}')
    assert (item.tags, item.duration_ms, item.category) == ([], 0, None)
    assert {"tags", "duration_ms"} <= item.model_fields_set  # said, so a known item's tags go
