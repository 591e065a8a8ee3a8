"""Hyper-parameters of the boosted trees by Optuna: split by time, pruned, in parallel, and resumed where it stopped.

Each trial trains on earlier days and is judged on later ones, twice: on the last training days and on the validation
days. Test days take no part. The study lies in a journal file, so that several threads or processes may work on it and
a killed one costs only the trials that were running, which are tried again. Whether a process lives is told by a lock
that it holds, which the kernel frees in any case: a journal has no heartbeat (Optuna has one for databases alone).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from recsys.lake import replacing
from recsys.ranking import xgboost_ranker
from recsys.ranking.objectives import ROUNDS, SHARED
from recsys.training_sets.examples import Examples
from recsys.training_sets.labels import PROBABILITIES, has_both

FILE: Final = "tuned.json"
JOURNAL: Final = "study.journal"
WORKERS: Final = "workers"  # a file for each process at work, locked while it lives
WORKER: Final = "worker"  # which of them tries a trial
REPORT_EVERY: Final = 10  # rounds between two reports to the pruner
WARM_UP: Final = 60  # rounds before which a small eta would always look bad
# name -> (low, high, logarithmic); integers stay integers. max_bin stays: finer bins gained nothing.
SPACE: Final[Mapping[str, tuple[float, float, bool]]] = {
    "max_depth": (3, 7, False),
    "eta": (0.03, 0.15, True),
    "min_child_weight": (5, 200, True),
    "subsample": (0.5, 1.0, False),
    "colsample_bytree": (0.1, 0.6, False),
    "reg_lambda": (1.0, 100.0, True),
    "reg_alpha": (1e-3, 10.0, True),
}


class TuningError(ValueError):
    """Saved parameters cannot be used; the message names the file and what to do."""


@dataclass(frozen=True)
class Budget:
    """What a study may cost; it ends with whichever is spent first."""

    trials: int
    jobs: int = 1  # trials at once
    seconds: float | None = None


@dataclass(frozen=True)
class Tuned:
    """Parameters for `xgboost_ranker.train`, and where they are from."""

    params: Mapping[str, Any]
    trials: int  # finished or pruned so far; 0: these are the defaults
    pruned: int
    auc: float | None  # mean over both folds and both heads, None without a study
    default_auc: float | None  # the same of the defaults

    def save(self, folder: Path) -> None:
        with replacing(folder / FILE) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=1))

    @staticmethod
    def load(folder: Path) -> Tuned:
        """What `save` wrote; the defaults where nothing was tuned.

        Raises:
            TuningError: the file is not readable.
        """
        try:
            saved = Tuned(**json.loads((folder / FILE).read_text()))
            return saved if saved.trials else DEFAULTS  # those of today, not of the day it was written
        except FileNotFoundError:
            return DEFAULTS
        except (ValueError, TypeError) as error:
            raise TuningError(
                f"{folder / FILE} is not readable ({error}): materialize ranker_parameters again"
            ) from None


DEFAULTS: Final = Tuned(SHARED, 0, 0, None, None)


@dataclass(frozen=True)
class Fold:
    """Earlier rows to learn from and later rows to be judged on."""

    learned: Examples
    judged: Examples


def folds(train: Examples, days: Sequence[str], validation: Examples) -> tuple[Fold, ...]:
    """Rolling origin: the last quarter of the training days judged by the days before, validation by all of them.

    Args:
        days: local day of each training row.
    """
    day = np.asarray(days)
    names = np.unique(day)
    last = names[-max(1, len(names) // 4) :]
    late = np.isin(day, last)
    whole = Fold(train, validation)
    if len(names) == 1:
        return (whole,)
    earlier = Fold(train.take(~late), train.take(late))
    teaches = any(has_both(earlier.learned, label) and has_both(earlier.judged, label) for label in PROBABILITIES)
    return (earlier, whole) if teaches else (whole,)


def tune(
    study_folds: Sequence[Fold],
    folder: Path,
    budget: Budget,
    *,
    seed: int,
    threads: int = 1,
    rounds: int = ROUNDS,
    space: Mapping[str, tuple[float, float, bool]] = SPACE,
    say: Callable[[str], None] = lambda line: print(line, flush=True),
) -> tuple[Tuned, optuna.Study]:
    """Spend the budget on the study of these rows in `folder`; trials made before count. The defaults are trial 0."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("optuna").setLevel(logging.ERROR)
    folder.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name=_key(study_folds, space, rounds),
        storage=JournalStorage(JournalFileBackend(str(folder / JOURNAL))),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=6, n_warmup_steps=WARM_UP),
        direction="maximize",
        load_if_exists=True,
    )
    # seeded by what was tried before, too: a resumed study would else draw the same points again
    seed_now = seed + 1_000 * len(study.get_trials(deepcopy=False))
    study.sampler = optuna.samplers.TPESampler(seed=seed_now, multivariate=True, n_startup_trials=8, constant_liar=True)
    with _at_work(folder / WORKERS) as worker:
        _work(study, study_folds, folder / WORKERS, budget, worker, seed, threads, rounds, space, say)
    return _tuned(study), study


def _work(
    study: optuna.Study,
    study_folds: Sequence[Fold],
    workers: Path,
    budget: Budget,
    worker: str,
    seed: int,
    threads: int,
    rounds: int,
    space: Mapping[str, tuple[float, float, bool]],
    say: Callable[[str], None],
) -> None:
    """Spend what is left of the budget."""
    _retry_killed(study, workers)
    if not study.get_trials(deepcopy=False):
        study.enqueue_trial({name: SHARED[name] for name in space if name in SHARED})
    began = time.monotonic()

    def objective(trial: optuna.Trial) -> float:
        trial.set_user_attr(WORKER, worker)
        params = {**SHARED, **{name: _suggest(trial, name, *bounds) for name, bounds in space.items()}}
        scores: list[float] = []
        for fold in study_folds:
            first = len(scores) * 2 * rounds

            def on_round(step: int, value: float, first: int = first) -> None:
                if step % REPORT_EVERY == 0:
                    trial.report(value, first + step)
                    if trial.should_prune():
                        raise optuna.TrialPruned

            scores.append(
                xgboost_ranker.judged(
                    fold.learned, fold.judged, params, threads=threads, seed=seed, rounds=rounds, on_round=on_round
                )
            )
        return float(np.mean(scores))

    def told(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        done = len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)))
        value = f"AUC {trial.value:.5f}" if trial.state == TrialState.COMPLETE else "pruned"
        say(f"tuning {done} of {budget.trials}, {time.monotonic() - began:.0f} s: {value}, best {_best(study)}")

    spent = (TrialState.COMPLETE, TrialState.PRUNED)
    left = budget.trials - len(study.get_trials(deepcopy=False, states=spent))
    if left > 0:
        enough = optuna.study.MaxTrialsCallback(budget.trials, states=spent)  # others may spend the same budget
        study.optimize(objective, n_trials=left, timeout=budget.seconds, n_jobs=budget.jobs, callbacks=[told, enough])


def plots(study: optuna.Study, folder: Path) -> list[Path]:
    """History, importance and slices of the study as SVGs; importances need two complete trials."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from optuna.visualization import matplotlib as draw

    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    made: dict[str, Callable[..., Any]] = {"history": draw.plot_optimization_history, "slices": draw.plot_slice}
    if len({trial.value for trial in complete}) > 1:
        made["importances"] = draw.plot_param_importances
    written = []
    for name, plot in made.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # all its matplotlib plots say so
            axes = np.atleast_1d(plot(study))
        path = folder / f"tuning_{name}.svg"
        with replacing(path) as temporary:
            axes[0].figure.savefig(temporary, format="svg", bbox_inches="tight")
        pyplot.close(axes[0].figure)
        written.append(path)
    return written


def _suggest(trial: optuna.Trial, name: str, low: float, high: float, log: bool) -> float:
    if isinstance(low, int):
        return trial.suggest_int(name, low, int(high), log=log)
    return trial.suggest_float(name, low, high, log=log)


@contextmanager
def _at_work(workers: Path) -> Iterator[str]:
    """The name of this process among those at work, whose file it holds."""
    workers.mkdir(exist_ok=True)
    path = workers / uuid.uuid4().hex
    with path.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        try:
            yield path.name
        finally:
            path.unlink(missing_ok=True)


def _alive(workers: Path) -> set[str]:
    """Names of the processes at work."""
    alive = set()
    for path in workers.iterdir():
        try:
            with path.open() as held:
                fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)  # of one that was killed
        except BlockingIOError:
            alive.add(path.name)
        except FileNotFoundError:  # it ended meanwhile
            continue
    return alive


def _retry_killed(study: optuna.Study, workers: Path) -> None:
    """Trials that a killed process left running are given up, and their parameters tried again; those of a process
    that lives are its own. One that does not say whose it is was just begun where others are at work.
    """
    alive = _alive(workers)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        whose = trial.user_attrs.get(WORKER)
        if whose in alive or (whose is None and len(alive) > 1):
            continue
        study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        study.enqueue_trial(trial.params, skip_if_exists=False)


def _tuned(study: optuna.Study) -> Tuned:
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    if not complete:
        return DEFAULTS
    pruned = len(trials) - len(complete)
    best = max(complete, key=lambda trial: trial.value or 0.0)
    default = complete[0].value if complete[0].number == 0 else None
    return Tuned({**SHARED, **best.params}, len(trials), pruned, best.value, default)


def _best(study: optuna.Study) -> str:
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return f"{max(trial.value or 0.0 for trial in complete):.5f}" if complete else "none yet"


def _key(study_folds: Sequence[Fold], space: Mapping[str, tuple[float, float, bool]], rounds: int) -> str:
    digest = hashlib.sha256(json.dumps([dict(space), rounds, dict(SHARED)], sort_keys=True).encode())
    for fold in study_folds:
        for rows in (fold.learned, fold.judged):
            digest.update(np.ascontiguousarray(rows.features).tobytes())
            digest.update(rows.relevance.tobytes())
    return f"ranker_{digest.hexdigest()[:16]}"
