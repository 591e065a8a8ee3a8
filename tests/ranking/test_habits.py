"""Columns of habits as a loop over the plays gives them, and a ranker that finds the habit that was planted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.events import DAY_MS, HOUR_MS, KINDS
from recsys.features.judged import Judged, Judgements
from recsys.ranking import habits
from recsys.ranking.habits import COLUMNS, RULES, HabitRanker, Sessions, column_of
from recsys.ranking.orders import ByHabits, ByRule, load_order
from recsys.ranking.ranker import RankerError
from tests.features.test_judged import USER, log_of

SHARED: Any = None  # nothing here reads a ranker's score
NOW = 20_500 * DAY_MS + 8 * HOUR_MS  # eight in the morning


def columns(events: list[tuple[str, int, int]], candidates: list[int]) -> np.ndarray:
    judged = Judgements.of_log(log_of(events)).of(USER) if events else Judged.none()
    keys = np.array(candidates)
    return habits.columns(judged, judged.plays[:, 0], judged.in_progress(), keys, keys, NOW)


def test_columns_are_what_a_loop_over_the_plays_gives() -> None:
    rng = np.random.default_rng(3)
    at = np.sort(NOW - rng.integers(0, 20 * DAY_MS, 60))
    events = [(str(rng.choice(["click", "long_view"])), int(rng.integers(1, 6)), int(when)) for when in at]
    candidates = [1, 2, 3, 4, 5, 99]
    table = columns(events, candidates)
    clicked = {item for kind, item, _ in events if kind == "click"}
    plays = [(item, when) for kind, item, when in events if kind == "click" or item not in clicked]
    for row, item in enumerate(candidates):
        mine, told = [when for other, when in plays if other == item], dict(zip(COLUMNS, table[row], strict=True))
        last = [when for _, other, when in events if other == item]
        assert told["plays"] == len(mine) and told["unplayed"] == (item == 99)
        assert told["hours_since"] == ((NOW - max(last)) / HOUR_MS if last else habits.NEVER)
        assert told["decayed"] == pytest.approx(sum(1 / np.sqrt(1 + (NOW - when) / HOUR_MS) for when in mine))
        apart = [abs(when % DAY_MS - NOW % DAY_MS) for when in mine]
        near = [max(0, 1 - min(a, DAY_MS - a) / (2 * HOUR_MS)) for a in apart]
        assert told["same_hour"] == pytest.approx(sum(near))
        assert told["days"] == len({when // DAY_MS for when in last})
    alone = columns(events, [3])
    assert alone.tobytes() == table[2:3].tobytes(), "a row does not depend on the others"
    assert not columns([], [1]).any(
        where=~np.isin(COLUMNS, ("hours_since", "hours_since_first", "recency_rank", "unplayed"))
    )


def test_rules_order_as_they_say() -> None:
    yesterday = [("click", 1, NOW - DAY_MS), ("click", 2, NOW - DAY_MS - 5 * HOUR_MS), ("click", 2, NOW - HOUR_MS * 40)]
    old = [("click", 3, NOW - day * DAY_MS) for day in range(9, 6, -1)]  # at this hour of the day, thrice
    table = columns(sorted([*old, *yesterday], key=lambda event: event[2]), [1, 2, 3, 4])
    first = {name: int(np.argmax(rule(table))) + 1 for name, rule in RULES.items()}
    assert first == {"last_played": 1, "most_played": 3, "recency_frequency": 2, "same_hour": 3}
    assert all(int(np.argmin(rule(table))) == 3 for rule in RULES.values()), "what was never played comes last"
    streak = columns([("click", 1, NOW - day * DAY_MS) for day in (5, 3, 2, 1)], [1])
    assert column_of(streak, "streak")[0] == 3


def test_a_ranker_learns_the_hour_that_people_keep_and_is_the_same_bits_again(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    parts = []
    for session in range(300):
        morning, evening = (20_500 * DAY_MS + hour * HOUR_MS for hour in (8, 20))
        events = [("click", 1, morning - d * DAY_MS) for d in range(1, 6)]
        events += [("click", 2, evening - d * DAY_MS) for d in range(1, 6 + int(rng.integers(0, 4)))]
        events += [("click", item, NOW - int(rng.integers(1, 9 * DAY_MS))) for item in (3, 4)]
        parts.append((columns(sorted(events, key=lambda event: event[2]), [1, 2, 3, 4]), session))
    table, session = np.concatenate([p for p, _ in parts]), np.repeat([s for _, s in parts], 4)
    wanted = np.tile([True, False, False, False], len(parts))
    ranker = HabitRanker.of_sessions(Sessions(table, session, wanted), seed=1)
    assert ranker is not None
    scores = ranker.scores(table).reshape(-1, 4)
    assert (scores.argmax(axis=1) == 0).mean() > 0.97
    ByHabits(ranker).save(tmp_path / "own")
    again = load_order(tmp_path / "own", SHARED)
    assert isinstance(again, ByHabits) and again.ranker.scores(table).tobytes() == scores.tobytes()
    assert again.ranker.scores(table[5:6]).tobytes() == scores.reshape(-1)[5:6].tobytes()
    assert HabitRanker.of_sessions(Sessions(table[:0], session[:0], wanted[:0]), seed=1) is None
    ByRule("same_hour").save(tmp_path / "rule")
    assert load_order(tmp_path / "rule", SHARED) == ByRule("same_hour")
    (tmp_path / "own" / habits.FILE).write_text("{}")
    with pytest.raises(RankerError, match="materialize shelf_orders again"):
        load_order(tmp_path / "own", SHARED)


def test_a_head_keeps_the_order_of_scores_that_it_never_saw_and_one_of_before_still_gives_its_own(
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(2)
    score, table = rng.normal(size=600), np.zeros((600, len(COLUMNS)))
    table[:, COLUMNS.index("plays")] = rng.integers(0, 2, 600)
    success = rng.random(600) < 1.0 / (1.0 + np.exp(2.0 - score - table.sum(axis=1)))
    head = HabitRanker.of_impressions(score, table, success, seed=1)
    assert head is not None
    higher = np.linspace(score.max(), score.max() + 1.0, 50)
    assert (np.diff(head.scores(np.zeros((50, len(COLUMNS))), higher)) > 0).all()
    head.save(tmp_path)
    loaded = HabitRanker.load(tmp_path)
    assert loaded.scores(table, score).tobytes() == head.scores(table, score).tobytes()
    before = json.loads((tmp_path / habits.FILE).read_text())
    del before["adds_to_score"]
    (tmp_path / habits.FILE).write_text(json.dumps(before))
    assert np.allclose(HabitRanker.load(tmp_path).scores(table, score) + score, head.scores(table, score))


def test_a_session_wants_the_first_known_thing_that_is_played_in_it() -> None:
    from recsys.training_sets.sessions import starts

    events = [("click", 1, 0), ("click", 2, 1), ("impression", 3, DAY_MS), ("click", 3, DAY_MS + 1)]
    events += [("click", 2, DAY_MS + 2), ("click", 1, DAY_MS + 3), ("click", 4, 3 * DAY_MS)]
    log = log_of([(kind, item, NOW + at) for kind, item, at in events])
    assert KINDS["click"] == log.kind[0]
    sessions = starts(log, lambda keys: keys)
    assert sessions.user_key.tolist() == [USER] and sessions.at.tolist() == [NOW + DAY_MS]
    assert [played.tolist() for played in sessions.played] == [[2, 1]], "3 was new to them, and so was 4"
