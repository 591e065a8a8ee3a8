"""An experiment is what was written down: who is in it follows from that alone, and what cannot be is refused."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recsys.events import DAY_MS
from recsys.experiments.book import Book
from recsys.experiments.record import METRICS, STAGES, Experiment, ExperimentError

BEGINS = 20_000 * DAY_MS
USERS = [f"u{n}" for n in range(20_000)]
HALVES = {"control": 0.5, "treatment": 0.5}


def experiment(**changes: Any) -> Experiment:
    told: dict[str, Any] = {
        "name": "one",
        "arms": {"control": "a", "treatment": "b"},
        "shares": HALVES,
        "begins": BEGINS,
        "days": 10,
        "stages": ((0, 1.0),),
    }
    return Experiment(**{**told, **changes})


def arms(made: Experiment, day: int) -> dict[str, str]:
    at = BEGINS + day * DAY_MS
    return {user: arm for user in USERS if (arm := made.arm_of(user, at)) is not None}


def test_a_record_of_the_usual_kind_is_the_one_that_it_was_before_there_was_another() -> None:
    """Experiments that run are not taken for edited after an update."""
    assert "kind" not in experiment().told() and Experiment.of(experiment().told()).kind == "arms"
    assert Experiment.of(experiment(kind="interleave").told()).kind == "interleave"
    assert experiment(kind="interleave").digest != experiment().digest


def test_a_careful_start_widens_by_day_and_nobody_changes_their_arm() -> None:
    made = experiment(stages=tuple((day, 2 * share) for day, share in STAGES))
    before: dict[str, str] = {}
    for day, share in ((0, 0.02), (1, 0.1), (2, 0.4), (3, 1.0), (9, 1.0)):
        now = arms(made, day)
        assert abs(len(now) / len(USERS) - share) < 0.01
        assert abs(Counter(now.values())["treatment"] / len(now) - 0.5) < 0.08
        assert before.items() <= now.items()
        before = now
    assert not arms(made, -1) and not arms(made, 10)


def test_layers_are_independent_experiments_of_one_share_out_the_users_and_a_holdout_is_in_none() -> None:
    first, second = experiment(stages=((0, 0.4),)), experiment(name="two", stages=((0, 0.6),), from_place=0.4)
    other = experiment(name="three", layer="page", holdout=0.1)
    mine, theirs, elsewhere = (arms(made, 0) for made in (first, second, other))
    assert not mine.keys() & theirs.keys() and len(mine) + len(theirs) == len(USERS)
    both = Counter((arm, elsewhere[user]) for user, arm in mine.items() if user in elsewhere)
    assert max(both.values()) / min(both.values()) < 1.15  # all four pairs about alike
    held = arms(experiment(name="four", holdout=0.2), 0)
    assert held.keys() < elsewhere.keys() and abs(len(elsewhere) / len(USERS) - 0.9) < 0.01


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"shares": {"control": 0.5, "treatment": 0.6}}, "add up to 1.1"),
        ({"shares": {"treatment": 0.5, "control": 0.5}}, "control first"),
        ({"arms": {"control": "a"}, "shares": {"control": 1.0}}, "at least two arms"),
        ({"stages": ((0, 0.5), (2, 0.2))}, "a share never falls"),
        ({"stages": ((1, 0.5),)}, "begin on day 0"),
        ({"stages": ()}, "begin on day 0"),
        ({"from_place": 0.5}, "at most 1"),
        ({"metric": "revenue"}, "no metric revenue: there are ctr"),
        ({"guardrails": ("ctr@women",)}, "no group of people women: there are newcomers"),
        ({"guardrails": ("revenue@often",)}, "no metric revenue"),
        ({"metric": "ctr@often"}, "no metric ctr@often"),
        ({"name": "../one"}, "letters, digits"),
        ({"kind": "interleave", "shares": {"control": 0.4, "treatment": 0.6}}, "their shares are .5 and .5"),
        ({"kind": "interleave", "guardrails": ("ctr",)}, "without guardrails"),
        ({"minimum_effect": 0.0}, "minimum effect"),
        ({"days": 0, "stages": ()}, "days are 1 or more"),
        ({"begins": -5}, "UTC milliseconds"),
        ({"stages": ((0, 0.0),)}, "over 0 and at most 1, unless it ranks unseen"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ExperimentError, match=words) as refused:
        experiment(**changes)
    assert "\n" not in str(refused.value)


def test_a_record_comes_back_as_it_was_and_unknown_words_are_refused() -> None:
    made = experiment(guardrails=("sessions",), stages=((0, 0.1), (3, 0.5)))
    assert Experiment.of(json.loads(json.dumps(made.told()))) == made
    with pytest.raises(ExperimentError, match="has no colour"):
        Experiment.of({**made.told(), "colour": "red"})
    with pytest.raises(ExperimentError, match="an experiment's arms: Field required"):
        Experiment.of({"name": "one", "stages": [[0, 1.0]]})
    for wrong in ({"days": "3"}, {"arms": {"control": "a", "treatment": None}}, {"stages": [[0]]}, {"layer": 5}):
        with pytest.raises(ExperimentError, match=f"an experiment's {next(iter(wrong))}"):
            Experiment.of({**made.told(), **wrong})
    assert len({made.digest, replace(made, days=11).digest, experiment(shares=HALVES).digest}) == 3
    assert all(metric.words for metric in METRICS.values())


def test_two_experiments_of_one_layer_never_have_the_same_users(tmp_path: Path) -> None:
    book = Book(tmp_path)
    book.start(experiment(stages=((0, 0.3),)))
    with pytest.raises(ExperimentError, match=r"one runs in layer bundles on users at 0 to 0\.3"):
        book.start(experiment(name="two", stages=((0, 0.1), (2, 0.5)), from_place=0.2))
    with pytest.raises(ExperimentError, match="another name"):
        book.start(experiment())
    book.start(experiment(name="two", stages=((0, 0.5),), from_place=0.3))
    book.start(experiment(name="three", layer="page"))
    book.end("one", "stopped", ["it was enough"])
    book.start(experiment(name="four", stages=((0, 0.3),)))
    with pytest.raises(ExperimentError, match="was stopped before: it was enough"):
        book.end("one", "promoted", [])
    with pytest.raises(ExperimentError, match="no experiment 'five'"):
        book.get("five")
    assert sorted(made.name for made in book.running()[0]) == ["four", "three", "two"]


@pytest.mark.parametrize(
    "edit", [lambda told: told["record"].update(days=30), lambda told: told.pop("digest"), lambda told: told.clear()]
)
def test_an_experiment_that_is_edited_while_it_runs_is_served_and_analysed_no_more(tmp_path: Path, edit: Any) -> None:
    book = Book(tmp_path)
    book.start(experiment())
    path = tmp_path / "one.json"
    told = json.loads(path.read_text())
    edit(told)
    path.write_text(json.dumps(told))
    running, wrong = book.running()
    book.start(experiment(name="two"))  # nobody is in the edited one any more
    assert not running and "not the one that was started" in wrong[0]
    path.write_text("{")
    assert "not the one that was started" in book.running()[1][0]
