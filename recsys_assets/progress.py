"""A run as a person at a terminal sees it: one line for each stage that is done, below what runs and for how long."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from recsys.lake import replacing
from recsys_assets.checks.nothing import has_failed, is_nothing

if TYPE_CHECKING:
    import dagster as dg

INTERRUPTIONS = ("DagsterExecutionInterruptedError", "KeyboardInterrupt")
STOPPED = "stopped by Ctrl-C or a signal"
NOTHING = "NOTHING"  # instead of a severity: the check had nothing to look at
USUAL = Path(__file__).with_name("usual_seconds.json")  # of the larger steps, on the default world
FIRST_TELLS = 0.05  # share of those seconds that a first run has to have behind it, to say how long the rest may take
story = logging.getLogger("recsys.run")  # goes to RECSYS_HOME/run.log, not to the screen


@dataclass
class Progress:
    """Turns Dagster events into one line a step: stage, asset, rows, seconds; and keeps verdicts and the failure.

    It is also the line below them, on a terminal: the step that runs, its rows so far, its seconds and those of the
    last whole run, and the same of the run. A first run is held to the shares that steps usually take, and to its own
    pace.
    """

    console: Console
    groups: dict[str, str]  # asset key -> group
    seconds_file: Path  # seconds of each step of the last whole run
    steps: int  # of the run
    began: float = field(default_factory=time.monotonic)
    running: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)  # of each step that is done
    started: dict[str, float] = field(default_factory=dict)
    materialized: dict[str, dict[str, int | None]] = field(default_factory=dict)  # step -> asset key -> rows
    checks: list[tuple[str, str, bool, str, str]] = field(default_factory=list)  # asset, check, passed, severity, words
    failure: str | None = None

    def __post_init__(self) -> None:
        try:
            self.last = {str(step): float(took) for step, took in json.loads(self.seconds_file.read_text()).items()}
        except (OSError, ValueError, AttributeError, TypeError):  # none yet, or not ours: nothing is expected
            self.last = {}
        self.usual: dict[str, float] = self.last or json.loads(USUAL.read_text())

    def __rich__(self) -> Text:
        now = time.monotonic()
        if self.running is None:
            return Text("materializing")
        rows = sum(n or 0 for n in self.materialized.get(self.running, {}).values())
        words = f"{self.running}: {f'{rows:,} rows, ' if rows else ''}{clock(now - self.started[self.running])}"
        pace = self._pace(now)
        if pace is not None and self.running in self.usual:
            words += f" of about {clock(pace * self.usual[self.running])}"
        words += (
            f"; step {len(self.seconds) + 1} of {max(self.steps, len(self.seconds) + 1)}; {clock(now - self.began)}"
        )
        return Text(words + (f" of about {clock(self._expected(now, pace))}" if pace is not None else ""))

    def _pace(self, now: float) -> float | None:
        """Times the usual seconds that this run takes: 1 after a whole run; None while a first run cannot tell yet."""
        if self.last:
            return 1.0
        done = sum(took for step, took in self.usual.items() if step in self.seconds)
        if done < FIRST_TELLS * sum(self.usual.values()):
            return None
        return (self.started.get(self.running or "", now) - self.began) / done

    def _expected(self, now: float, pace: float) -> float:
        """Seconds of the whole run, if what is left takes what it usually does at this pace."""
        left = sum(took for step, took in self.usual.items() if step not in self.seconds and step != self.running)
        at_hand = pace * self.usual.get(self.running or "", 0.0) - (now - self.started.get(self.running or "", now))
        return now - self.began + max(at_hand, 0.0) + pace * left

    def keep(self) -> None:
        """Remember what each step took, for the next run's sake."""
        with replacing(self.seconds_file) as temporary:
            temporary.write_text(json.dumps({step: round(took, 1) for step, took in self.seconds.items()}))

    def told_checks(self) -> str:
        """How many checks came out how."""
        outcomes = Counter("passed" if passed else severity for _, _, passed, severity, _ in self.checks)
        words = {"passed": "passed", "ERROR": "failed", "WARN": "warn", NOTHING: "had nothing to check"}
        return (
            ", ".join(f"{outcomes[name]} {said}" for name, said in words.items() if outcomes[name]) + " of the checks"
        )

    def __call__(self, entry: dg.EventLogEntry) -> None:
        event = entry.dagster_event
        story.info("%s", entry.user_message if event is None else f"{event.event_type_value} {event.message or ''}")
        if event is None or event.step_key is None:
            return
        kind, step = event.event_type_value, event.step_key
        if kind == "STEP_START":
            self.started[step], self.running = time.monotonic(), step
        elif kind == "ASSET_MATERIALIZATION":
            materialization = event.step_materialization_data.materialization
            key = materialization.asset_key.to_user_string()
            count = materialization.metadata.get("dagster/row_count")
            rows = self.materialized.setdefault(step, {})
            if count is not None:
                rows[key] = (rows.get(key) or 0) + int(str(count.value))  # one event a day, each with its own rows
            else:
                rows.setdefault(key, None)
        elif kind == "ASSET_CHECK_EVALUATION":
            self._check(event.asset_check_evaluation_data)
        elif kind == "STEP_SUCCESS":
            self._finished(step)
        elif kind == "STEP_FAILURE":
            self._failed(step, event.step_failure_data)

    def _finished(self, step: str) -> None:
        self.seconds[step] = seconds = time.monotonic() - self.started.get(step, time.monotonic())
        for key, rows in self.materialized.get(step, {}).items():
            group = self.groups.get(key, "")
            shown = f"{rows:>12,} rows" if rows is not None else " " * 17
            self.console.print(f"[cyan]{group:<14}[/] {escape(key):<22} {shown} {seconds:>7.1f} s", highlight=False)

    def _check(self, evaluation: Any) -> None:
        words = evaluation.description or ""
        asset, name = evaluation.asset_key.to_user_string(), evaluation.check_name
        severity = NOTHING if is_nothing(evaluation) else evaluation.severity.value
        self.checks.append((asset, name, evaluation.passed, severity, words))
        if has_failed(evaluation):
            colour = "red" if evaluation.severity.value == "ERROR" else "yellow"
            self.console.print(f"[{colour}]  check {escape(name)} on {escape(asset)} failed: {escape(words)}[/]")

    def _failed(self, step: str, data: Any) -> None:
        story.error("%s", data.error.to_string() if data.error is not None else step)
        message = words_of(data.error)
        if self.failure is None:
            self.failure = f"{step}: {message}"
        self.console.print(f"[red]  {escape(step)} failed: {escape(message)}[/]")


def words_of(error: Any) -> str:
    """What ended a step, in one line: what its innermost cause says, or that somebody stopped it.

    Args:
        error: Dagster's record of it (message, cls_name, cause), or None
    """
    causes = []
    while error is not None:
        causes.append(error)
        error = error.cause
    if any(cause.cls_name in INTERRUPTIONS for cause in causes):
        return STOPPED
    for cause in reversed(causes):
        _, _, said = cause.message.partition(": ")  # after the class
        if said.strip():
            return said.strip().splitlines()[0]
    return f"{causes[-1].cls_name}, without a word (see the log)" if causes else "failed (see the log)"


def clock(seconds: float) -> str:
    """`41 s` or `2:10`."""
    return f"{seconds:.0f} s" if seconds < 60 else f"{int(seconds) // 60}:{int(seconds) % 60:02}"
