"""The study: split by time, never worse than the defaults, pruned, and resumed where it was killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from recsys.ranking import tuning, xgboost_ranker
from recsys.ranking.objectives import SHARED
from recsys.ranking.tuning import DEFAULTS, Budget, Tuned, TuningError, folds, plots, tune
from tests.conftest import ROOT
from tests.ranking.rows import rows

TRAIN, VALIDATION = rows(1200, 1), rows(600, 2)
DAYS = np.repeat(["2024-10-01", "2024-10-02", "2024-10-03", "2024-10-04"], 300)
FOLDS = folds(TRAIN, DAYS.tolist(), VALIDATION)


def study(folder: Path, trials: int, **changes: object) -> tuple[Tuned, optuna.Study]:
    return tune(FOLDS, folder, Budget(trials, **changes), seed=7, rounds=12, say=lambda line: None)  # type: ignore[arg-type]


def test_folds_learn_from_earlier_days_only() -> None:
    inner, whole = FOLDS
    assert len(inner.learned) == 900 and len(inner.judged) == 300
    np.testing.assert_array_equal(inner.judged.features, TRAIN.features[900:])
    assert whole.learned is TRAIN and whole.judged is VALIDATION
    assert folds(TRAIN, ["2024-10-01"] * 1200, VALIDATION) == (whole,), "one day cannot be split"


def test_trial_zero_is_the_defaults_so_a_study_cannot_be_worse_and_it_draws_itself(tmp_path: Path) -> None:
    tuned, made = study(tmp_path, 5)
    first = made.trials[0]
    assert {name: first.params[name] for name in ("max_depth", "reg_lambda")} == {
        name: SHARED[name] for name in ("max_depth", "reg_lambda")
    }
    assert tuned.trials == 5 and tuned.auc is not None and tuned.default_auc is not None
    assert tuned.auc >= tuned.default_auc == first.value
    assert set(tuned.params) == {*SHARED, *tuning.SPACE} and tuned.params["max_bin"] == SHARED["max_bin"]
    by_hand = np.mean(
        [xgboost_ranker.judged(f.learned, f.judged, tuned.params, threads=1, seed=7, rounds=12) for f in FOLDS]
    )
    assert tuned.auc == pytest.approx(by_hand)
    tuned.save(tmp_path)
    assert Tuned.load(tmp_path) == tuned
    assert all("<svg" in path.read_text() for path in plots(made, tmp_path)) and len(plots(made, tmp_path)) == 3


def test_a_killed_study_goes_on_and_tries_the_running_trial_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, made = study(tmp_path, 2)
    killed = made.ask({"max_depth": optuna.distributions.IntDistribution(3, 7)})  # a process that died is still running
    honest = xgboost_ranker.judged
    calls: list[object] = []

    def counted(*given: object, **named: object) -> float:
        calls.append(given)
        return honest(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(xgboost_ranker, "judged", counted)
    tuned, made = study(tmp_path, 4)
    assert tuned.trials == 4 and len(calls) <= 2 * 2, "the two trials of before are not repeated"
    assert made.trials[killed.number].state == optuna.trial.TrialState.FAIL
    retried = made.trials[killed.number + 1]
    assert retried.params["max_depth"] == killed.params["max_depth"] and retried.value is not None
    assert len({str(trial.params) for trial in made.trials[1:]}) == len(made.trials) - 1, "no point is drawn twice"
    assert study(tmp_path, 4)[0] == tuned and len(calls) <= 2 * 2, "a spent budget tries nothing"


def test_a_second_process_leaves_the_trials_of_the_first_alone(tmp_path: Path) -> None:
    """The first is a process of its own in the middle of a trial; killed, its trial is tried again."""
    script = f"""
import time, sys
from pathlib import Path
from recsys.ranking import tuning, xgboost_ranker
from tests.ranking.test_tuning import study
def hang(*given, **named):
    print("begun", flush=True)
    time.sleep(600)
xgboost_ranker.judged = hang
study(Path({str(tmp_path)!r}), 4)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=ROOT) as first:
        try:
            assert first.stdout is not None and first.stdout.readline() == b"begun\n"
            tuned, made = study(tmp_path, 2)
            assert tuned.trials == 2
            assert [trial.number for trial in made.get_trials(states=(TrialState.RUNNING,))] == [0]
        finally:
            first.kill()
            first.wait()
    tuned, made = study(tmp_path, 3)
    assert tuned.trials == 3 and not made.get_trials(states=(TrialState.RUNNING,))
    assert made.trials[0].state == TrialState.FAIL and list((tmp_path / tuning.WORKERS).iterdir()) == []


def test_several_at_once_spend_the_same_budget(tmp_path: Path) -> None:
    assert study(tmp_path, 4, jobs=2)[0].trials == 4


def test_hopeless_trials_are_pruned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = iter([0.8] * 7 + [0.5] * 50)

    def judged(*given: object, on_round: object = None, **named: object) -> float:
        value = next(told)
        for step in range(0, 200, 10):
            on_round(step, value)  # type: ignore[operator]
        return value

    monkeypatch.setattr(xgboost_ranker, "judged", judged)
    tuned, _ = tune(FOLDS[1:], tmp_path, Budget(10), seed=7, rounds=300, say=lambda line: None)
    assert tuned.pruned == 3 and tuned.auc == 0.8


def test_without_a_study_the_defaults_of_today_stand_and_a_torn_file_is_one_clear_line(tmp_path: Path) -> None:
    assert Tuned.load(tmp_path) is DEFAULTS
    Tuned({"max_depth": 99}, 0, 0, None, None).save(tmp_path)
    assert Tuned.load(tmp_path) is DEFAULTS
    (tmp_path / tuning.FILE).write_text("{")
    with pytest.raises(TuningError, match="materialize ranker_parameters again"):
        Tuned.load(tmp_path)
