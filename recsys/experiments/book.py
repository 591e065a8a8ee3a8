"""The experiments of a registry: one file each, written once; what became of it is beside its record.

registry/experiments/<name>.json    record, its digest, state, decision and reasons
"""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from recsys.experiments.record import Experiment, ExperimentError
from recsys.lake import replacing

State = Literal["running", "stopped", "promoted", "refused"]
RUNNING: Final = "running"


@dataclass(frozen=True)
class Entry:
    """An experiment and what became of it."""

    experiment: Experiment
    state: State
    reasons: tuple[str, ...] = ()
    decided_at: int | None = None  # UTC ms
    report: dict[str, Any] | None = None  # the figures that decided


class Book:
    """The experiments below one folder; several processes may hold it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def start(self, experiment: Experiment, instead_of: Collection[str] = ()) -> None:
        """Keep an experiment, from now on as it is.

        Args:
            instead_of: names of experiments that are stopped for it; where it cannot be, they go on

        Raises:
            ExperimentError: one of that name was there, or one that runs in the layer has some of its users.
        """
        with self._writing():
            if self._path(experiment.name).exists():
                raise ExperimentError(f"there was an experiment {experiment.name}: another one needs another name")
            for entry in self.entries():
                if isinstance(entry, ExperimentError):
                    continue  # nobody is in it any more
                other = entry.experiment
                (low, high), (begin, end) = experiment.widest, other.widest
                runs = entry.state == RUNNING and other.name not in instead_of
                if runs and other.layer == experiment.layer and low < end and begin < high:
                    raise ExperimentError(
                        f"experiment {other.name} runs in layer {other.layer} on users at {begin:g} to {end:g}: "
                        f"stop it, or take others than {low:g} to {high:g} (`from_place`)"
                    )
            for name in instead_of:
                self._end(name, "stopped", [f"{experiment.name} goes on in its place"], None)
            self._write(Entry(experiment, RUNNING))

    def end(self, name: str, state: State, reasons: Sequence[str], report: dict[str, Any] | None = None) -> Entry:
        """Stop an experiment, or decide it; its users are the champion's again.

        Raises:
            ExperimentError: there is none, or it has ended before.
        """
        with self._writing():
            return self._end(name, state, reasons, report)

    def get(self, name: str) -> Entry:
        """One experiment.

        Raises:
            ExperimentError: there is none of that name, or its record was edited.
        """
        known = [path.stem for path in sorted(self.root.glob("*.json"))]
        if name not in known:
            raise ExperimentError(f"no experiment {name!r:.60}: there are {', '.join(known) or 'none yet'}")
        try:
            told = json.loads(self._path(name).read_text())
            experiment = Experiment.of(told["record"])
            if experiment.digest != told["digest"]:
                raise ExperimentError("its record was edited")
            reasons, decided_at = tuple(told["reasons"]), told["decided_at"]
            return Entry(experiment, told["state"], reasons, decided_at, told["report"])
        except (ValueError, KeyError, TypeError) as error:
            raise ExperimentError(
                f"experiment {name} is not the one that was started ({error}): nothing of it is served or analysed; "
                "start another one"
            ) from None

    def entries(self) -> Iterator[Entry | ExperimentError]:
        """Every experiment, by name, or what is wrong with it."""
        for path in sorted(self.root.glob("*.json")):
            try:
                yield self.get(path.stem)
            except ExperimentError as error:
                yield error

    def running(self) -> tuple[list[Experiment], list[str]]:
        """The experiments that run, and what is wrong with those that cannot be read."""
        experiments, wrong = [], []
        for entry in self.entries():
            if isinstance(entry, ExperimentError):
                wrong.append(str(entry))
            elif entry.state == RUNNING:
                experiments.append(entry.experiment)
        return experiments, wrong

    def _end(self, name: str, state: State, reasons: Sequence[str], report: dict[str, Any] | None) -> Entry:
        entry = self.get(name)
        if entry.state != RUNNING:
            raise ExperimentError(f"experiment {name} was {entry.state} before: {'; '.join(entry.reasons)}")
        ended = Entry(entry.experiment, state, tuple(reasons), time.time_ns() // 1_000_000, report)
        self._write(ended)
        return ended

    def _path(self, name: str) -> Path:
        return self.root / f"{name}.json"

    def _write(self, entry: Entry) -> None:
        told = {
            "record": entry.experiment.told(),
            "digest": entry.experiment.digest,
            **{name: value for name, value in asdict(entry).items() if name != "experiment"},
        }
        with replacing(self._path(entry.experiment.name)) as temporary:
            temporary.write_text(json.dumps(told, indent=1))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
