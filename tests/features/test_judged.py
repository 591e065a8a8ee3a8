"""What a user finished, disliked or skipped is the same however and wherever it is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from recsys.events import ITEM_SCHEMA, KINDS
from recsys.features.fold import applied, new_state
from recsys.features.judged import MOST, SEARCHES, VERDICTS, Judged, Judgements, searched_before
from recsys.features.log import EventLog, empty
from recsys.features.sweep import PROGRAM
from recsys.store import entities
from recsys.store.entities import all_of, folded
from recsys.store.journal import key_of
from recsys.store.lmdb_journal import LmdbJournal
from recsys.store.online import OnlineStore

USER = 7


def log_of(events: list[tuple[str, int, int]], first: int = 1, user: int = USER) -> EventLog:
    """Events (kind, item, occurred_at) of one user, one position after the other."""
    n = len(events)
    kind, item, at = (np.array(column) for column in zip(*events, strict=True))
    zero = np.zeros(n, np.int64)
    codes = np.array([KINDS[name] for name in kind], np.int8)
    user_key = np.full(n, user, np.int64)
    return EventLog(np.arange(first, first + n), codes, user_key, item, zero, zero, zero, at, at, zero)


def told(judged: Judged) -> dict[int, dict[str, int]]:
    return {
        int(item): {name: int(at[place]) for name, place in VERDICTS.items() if at[place]}
        for item, at in zip(judged.item_key, judged.at, strict=True)
    }


def test_each_item_has_its_verdicts_and_what_only_was_shown_has_none() -> None:
    events = [
        ("impression", 1, 10), ("click", 1, 11), ("skip", 2, 12), ("long_view", 2, 13), ("dislike", 3, 14),
        ("like", 4, 15), ("skip", 5, 20), ("skip", 5, 16), ("exposure_long_view", 6, 17), ("play", 7, 18),
    ]  # fmt: skip
    verdicts = told(Judgements.of_log(log_of(events)).of(USER))
    assert verdicts == {
        1: {"opened": 11}, 2: {"skipped": 12, "finished": 13}, 3: {"disliked": 14}, 4: {"finished": 15},
        5: {"skipped": 20}, 6: {"finished": 17},
    }  # fmt: skip
    judged = Judgements.of_log(log_of(events)).of(USER)
    assert judged.plays.tolist() == [[1, KINDS["click"], 11], [2, KINDS["long_view"], 13], [6, 11, 17]]
    assert judged.in_progress().tolist() == [1]
    assert told(Judgements.of_log(log_of(events)).of(USER + 1)) == {}


def test_added_event_by_event_or_read_at_a_position_it_is_the_same() -> None:
    rng = np.random.default_rng(3)
    kinds = rng.choice(["impression", "skip", "dislike", "long_view", "like"], 3 * MOST)
    events = [
        (str(kind), int(item), int(at))
        for kind, item, at in zip(
            kinds, rng.integers(1, 2 * MOST, 3 * MOST), rng.integers(1, 10**6, 3 * MOST), strict=True
        )
    ]
    whole = Judgements.of_log(log_of(events))
    half = len(events) // 2
    live = Judgements.of_log(log_of(events[:half]))
    for place in (half, half + 700, len(events)):
        live.add(log_of(events[half:place], first=half + 1)) if place > half else None
        half = place
        again = Judgements.of_log(log_of(events[:place])).of(USER)
        for verdicts in (live.of(USER), whole.of(USER, place)):
            assert np.array_equal(verdicts.item_key, again.item_key) and np.array_equal(verdicts.at, again.at)
    assert len(whole.of(USER).item_key) == MOST


def test_the_last_searches_are_the_same_of_one_read_and_of_many() -> None:
    rng = np.random.default_rng(5)
    logs = [log_of([("search" if n % 3 else "click", int(n), n) for n in range(1, 20)], user=user) for user in (7, 8)]
    order = rng.permutation(38)
    log = EventLog(*(np.concatenate(columns)[order] for columns in zip(*logs, strict=True)))
    log = log._replace(position=np.arange(1, 39))
    users, positions = rng.choice([7, 8, 9], 200), rng.integers(0, 41, 200)
    many, judgements = searched_before(log, users, positions), Judgements.of_log(log)
    assert many.shape == (200, SEARCHES) and many[:, -1].any()
    for user, position, last in zip(users.tolist(), positions.tolist(), many, strict=True):
        mine = log.item_key[(log.user_key == user) & (log.kind == KINDS["search"]) & (log.position <= position)]
        assert last[last != 0].tolist() == mine[::-1][:SEARCHES].tolist()
        assert judgements.of(user, position).last_searched().tolist() == last.tolist()


def test_over_the_bound_what_was_opened_goes_first_then_the_oldest_skips_and_dislikes_last() -> None:
    dislikes = [("dislike", 1, 1)]
    finished = [("long_view", 10 + n, 10 + n) for n in range(MOST - 3)]
    skips = [("skip", 5_000 + n, 5_000 + n) for n in range(4)]
    opened = [("click", 8_000, 1_000_000), ("click", 1, 7)]
    verdicts = told(Judgements.of_log(log_of(dislikes + skips + finished + opened)).of(USER))
    assert len(verdicts) == MOST and 1 in verdicts and 10 in verdicts and 8_000 not in verdicts
    assert [item for item in verdicts if item >= 5_000] == [5_002, 5_003]
    more = [("long_view", 9_000 + n, 9_000 + n) for n in range(4)]
    verdicts = told(Judgements.of_log(log_of(dislikes + skips + finished + more)).of(USER))
    assert 1 in verdicts and not any(5_000 <= item < 5_004 for item in verdicts)
    assert 10 not in verdicts and 11 not in verdicts and 12 in verdicts


def test_the_store_reads_now_and_then_as_the_log_stood(tmp_path: Path) -> None:
    store = OnlineStore(LmdbJournal(tmp_path / "store", create=True), create=True)
    blank = dict.fromkeys(ITEM_SCHEMA.names)
    rows = [{**blank, "item_id": f"i{n}", "item_type": "video", "is_available": True} for n in range(3)]
    store.put_items(pa.Table.from_pylist(rows, ITEM_SCHEMA))
    now = 1_767_571_200_000

    def sent(number: int, kind: str, item: str) -> int:
        event = {"event_id": f"e{number}", "kind": kind, "user_id": "u", "item_id": item, "occurred_at": now + number}
        return store.append([event], now + number).position

    first = sent(1, "dislike", "i1")
    for number in range(2, 200):
        sent(number, "impression", "i0")
    sent(200, "skip", "i2")
    assert told(store.read("u", ["i0"], now + 300).judged) == {
        key_of("i1"): {"disliked": now + 1},
        key_of("i2"): {"skipped": now + 200},
    }
    assert told(store.read("u", ["i0"], now + 300, first).judged) == {key_of("i1"): {"disliked": now + 1}}
    assert told(store.judged("u")) == told(store.read("u", ["i0"], now + 300).judged)
    store.close()


def test_users_are_kept_ready_in_so_many_bytes_and_the_others_read_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recsys.features.judged.READY_BYTES", 20_000)
    judgements, alone = Judgements.of_log(empty()), {}
    for user in range(1, 101):
        log = log_of([("like", item, user + item) for item in range(1, user + 1)], first=1 + 100 * user, user=user)
        judgements.add(log)
        alone[user] = told(Judgements.of_log(log).of(user))
    for user in (*alone, *alone, *reversed(alone)):
        assert told(judgements.of(user)) == alone[user]
        assert 0 < judgements.ready_bytes <= 20_000


def test_what_is_kept_of_a_user_by_entity_tells_the_same_as_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recsys.features.judged.MOST_PLAYS", 50)
    rng = np.random.default_rng(0)
    for n in rng.integers(0, 400, 60).tolist():
        none, kinds = np.zeros(n, np.int64), rng.choice(np.array(list(KINDS.values()), np.int8), n)
        items, instants = rng.integers(1, 30, n), rng.integers(0, 50, n)
        log = EventLog(np.arange(1, n + 1), kinds, none + 7, items, none, none, none, instants, none, none)
        cut = int(rng.integers(0, n + 1))
        earlier, again = Judgements.of_log(empty()), Judgements.of_log(empty())
        earlier.add(log.take(slice(0, cut)))
        again.put(7, earlier.events_of(7))
        again.add(log.take(slice(cut, n)))
        whole = Judgements.of_log(log)
        assert [one.tobytes() for one in again.of(7)] == [one.tobytes() for one in whole.of(7)]


@pytest.mark.parametrize("kind", ["search", "dislike"])  # a view keeps the one, none the other
def test_who_did_nothing_but_search_or_dislike_is_kept_by_entity_too(kind: str) -> None:
    log = log_of([(kind, 5, 1), (kind, 6, 2)])
    ((name, blob),) = all_of(applied(PROGRAM, new_state(), log), log, 2)
    (again,) = folded(entities.USER, np.array([name]), [None], log, 2)
    assert again == (name, blob)
    held = entities.Entities()
    held.add(np.array([name]), [entities.Owned.read(blob)], [log_of([(kind, 7, 3)], first=3)])
    judged = held.judgements.of(USER)
    assert (judged.searched if kind == "search" else judged.item_key).tolist() == [5, 6, 7]
