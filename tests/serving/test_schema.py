"""Strict in: what is not exactly a request is refused, by field, without repeating what was sent."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.serving.schema import (
    BadRequest,
    EventsRequest,
    FeaturesRequest,
    RecommendRequest,
    events_of,
    parse,
    written,
)


def recommend(**fields: object) -> RecommendRequest:
    return parse(RecommendRequest, json.dumps(fields).encode())


def test_only_a_user_is_needed_and_ids_may_be_integers() -> None:
    assert recommend(user_id="7") == recommend(user_id=7)
    request = recommend(user_id=7)
    assert (request.user_id, request.shelf, request.k, request.context.at) == ("7", "feed", 10, None)


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
        ({"user_id": -1}, "user_id"),
        ({"user_id": 2**63}, "user_id"),
        ({"user_id": ""}, "user_id"),
        ({"user_id": "a" * 129}, "user_id"),
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
    good, bad = events_of(EventsRequest(events=events))
    assert sorted([i for i, _ in good] + [r.index for r in bad]) == list(range(len(events)))


def test_one_bad_event_does_not_cost_the_others() -> None:
    click = {"event_id": "e1", "kind": "click", "user_id": 1, "item_id": 2, "occurred_at": 3}
    wrong = [
        {**click, "kind": "teleport"},
        {**click, "position": 9},  # the service's to give
        {**click, "received_at": 9},
        {**click, "watch_ms": 9},
        {**click, "kind": "play"},
        {**click, "slot": -1},
        7,
    ]
    good, bad = events_of(EventsRequest(events=[click, *wrong, {**click, "kind": "play", "watch_ms": 0}]))
    assert [i for i, _ in good] == [0, len(wrong) + 1]
    assert [r.index for r in bad] == list(range(1, len(wrong) + 1))
    assert "kind: must be one of impression, click" in bad[0].reason
    assert "position" in bad[1].reason and "received_at" in bad[2].reason and "watch_ms" in bad[3].reason
    assert (good[0][1].user_id, good[0][1].item_id) == ("1", "2")


def test_an_event_without_an_id_gets_its_own() -> None:
    one = {"kind": "like", "user_id": "u", "item_id": "i"}
    good, _ = events_of(EventsRequest(events=[one, one]))
    assert good[0][1].event_id != good[1][1].event_id


def test_ids_are_written_as_the_source_gave_them() -> None:
    assert written("42", "int") == 42 and written("42", "str") == "42"
    assert written("track:42", "int") == "track:42" and written("४२", "int") == "४२"
