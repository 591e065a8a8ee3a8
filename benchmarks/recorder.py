"""`make run` with a clock beside it: where its CPU goes, by step and kind. `python recorder.py OUT`, in any checkout.

A thread looks at the main thread's stack every 20 ms and writes down the CPU that the process, and those below it, used
since it last looked. Whose it is, the innermost frame of a known package says; the innermost import before all others.
"""

from __future__ import annotations

import json
import logging
import resource
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Final

import psutil

SECONDS: Final = 0.02
KINDS: Final = {
    "importlib": "imports",
    "torch": "torch",
    "pytorch_lightning": "torch",
    "xgboost": "XGBoost",
    "dbt": "dbt",
    "great_expectations": "Great Expectations",
    "evidently": "Evidently",
    "dagster": "Dagster",
    "dagster_shared": "Dagster",
    "sqlalchemy": "Dagster",
    "matplotlib": "plots",
    "pymilvus": "Milvus",
    "optuna": "Optuna",
    "recsys": "ours",
    "recsys_assets": "ours",
}
CHILDREN: Final = "processes below"


def kind(frame: FrameType | None) -> str:
    """Of a stack, given by its innermost frame."""
    found = None
    while frame is not None:
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package == "importlib":
            return KINDS[package]
        found, frame = found or KINDS.get(package), frame.f_back
    return found or "other"


class Recorder(threading.Thread):
    """Samples until it is stopped: (instant, kind, CPU s since the one before, bytes in memory)."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.samples: list[tuple[float, str, float, int]] = []
        self._ended, self._main, self._self = threading.Event(), threading.main_thread().ident, psutil.Process()

    def run(self) -> None:
        used, below, rounds = time.process_time(), 0.0, 0
        while not self._ended.wait(SECONDS):
            now, memory = time.time(), int(self._self.memory_info().rss)
            at, used = used, time.process_time()
            self.samples.append((now, kind(sys._current_frames().get(self._main or 0)), used - at, memory))
            rounds += 1
            if rounds % 25 == 0:
                before, (below, memory) = below, self._below()
                self.samples.append((now, CHILDREN, max(0.0, below - before), memory + self.samples[-1][3]))

    def stop(self) -> None:
        self._ended.set()
        self.join()

    def _below(self) -> tuple[float, int]:
        """CPU s of all processes below, those that ended included, and bytes of those that live."""
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu, memory = ended.ru_utime + ended.ru_stime, 0
        for process in self._self.children(recursive=True):
            try:
                times = process.cpu_times()
                cpu += times.user + times.system
                memory += process.memory_info().rss
            except psutil.Error:  # it ended meanwhile
                continue
        return cpu, memory


def steps() -> list[tuple[str, float, float]]:
    """Name, begin and end (s) of each step of the newest run of this home."""
    from recsys_assets import home

    if hasattr(home, "headless"):
        opened = home.headless()
    else:  # a checkout of before 29 November 2026
        from dagster import DagsterInstance

        opened = DagsterInstance.get()
    with opened as instance:
        run = instance.get_runs(limit=1)[0]
        began: dict[str, float] = {}
        ended: dict[str, float] = {}
        for entry in instance.all_logs(run.run_id):
            event = entry.dagster_event
            if event is None or event.step_key is None:
                continue
            if event.event_type_value == "STEP_START":
                began[event.step_key] = entry.timestamp
            elif event.event_type_value in ("STEP_SUCCESS", "STEP_FAILURE"):
                ended[event.step_key] = entry.timestamp
    return [(name, began[name], ended[name]) for name in ended if name in began]


def main() -> int:
    out, sys.argv[1:] = Path(sys.argv[1]), []
    sys.path.pop(0)  # this folder: a module of another checkout may go by the name of one of its own
    recorder = Recorder()
    recorder.start()
    from recsys_assets.run import main as run

    code = run()
    recorder.stop()
    logging.disable(logging.INFO)  # of migrations, as the records of the run are opened again
    out.write_text(json.dumps({"samples": recorder.samples, "steps": steps()}))
    return code


if __name__ == "__main__":
    sys.exit(main())
