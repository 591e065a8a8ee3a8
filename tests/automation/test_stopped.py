"""What ends a run is told in one line: a cause that says something, or that somebody stopped it."""

from __future__ import annotations

import itertools
import os
import resource
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import httpx
import psutil
import pytest
from dagster._utils.error import serializable_error_info_from_exc_info

from recsys_assets.progress import STOPPED, words_of
from tests.conftest import ROOT


class DagsterExecutionInterruptedError(Exception):
    """As Dagster's, whose name is all that a record keeps of its class."""


def told(*errors: BaseException) -> str:
    """The words on a chain of causes, the outermost first."""
    for error, cause in itertools.pairwise(errors):
        error.__cause__ = cause
    try:
        raise errors[0]
    except BaseException:
        return words_of(serializable_error_info_from_exc_info(sys.exc_info()))


def test_the_innermost_cause_that_says_something_is_told() -> None:
    assert told(RuntimeError("step failed"), ValueError("no: such day\nmore of it")) == "no: such day"
    assert told(RuntimeError("the towers are missing"), AssertionError()) == "the towers are missing"
    assert told(AssertionError()) == "AssertionError, without a word (see the log)"
    assert words_of(None) == "failed (see the log)"


def test_a_stopped_run_says_that_it_was_stopped() -> None:
    assert told(RuntimeError("step failed"), DagsterExecutionInterruptedError()) == STOPPED
    assert told(KeyboardInterrupt()) == STOPPED


def home(tmp_path: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RECSYS_", "DAGSTER_"))}
    return {**kept, "RECSYS_HOME": str(tmp_path / "home"), "RECSYS_DAYS": "6", "RECSYS_USERS": "60", **more}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_in_these_words(tmp_path: Path, number: int) -> None:
    command = [sys.executable, "-m", "recsys_assets.run"]
    heeds = partial(signal.signal, signal.SIGINT, signal.default_int_handler)  # tests in the background ignore it
    with subprocess.Popen(
        command, cwd=ROOT, env=home(tmp_path), stdout=subprocess.PIPE, text=True, preexec_fn=heeds
    ) as run:
        assert run.stdout is not None
        first = run.stdout.readline()
        run.send_signal(number)
        said, _ = run.communicate(timeout=120)
    assert run.returncode in (1, 130) and STOPPED in first + said and "Error" not in said, said
    assert not [line for line in said.splitlines() if line.endswith(":")], said


@pytest.mark.slow
def test_records_that_cannot_be_written_end_a_run_in_one_line(tmp_path: Path) -> None:
    """A full disk: it was a traceback of eighty lines. A bound on the size of files is one to SQLite."""
    bound = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (64_000, 64_000))
    command = [sys.executable, "-m", "recsys_assets.run"]
    ended = subprocess.run(
        command, cwd=ROOT, env=home(tmp_path), capture_output=True, text=True, check=False, preexec_fn=bound
    )
    assert ended.returncode == 1 and "records below" in ended.stdout and "free space" in ended.stdout, ended.stdout
    assert "Traceback" not in ended.stdout + ended.stderr


@pytest.mark.slow
def test_the_ui_says_its_address_and_ends_with_all_that_it_began(tmp_path: Path) -> None:
    port = "3977"
    given = home(tmp_path, RECSYS_DAGSTER_PORT=port)
    command = [sys.executable, "-m", "recsys_assets.dev"]
    with (tmp_path / "said").open("w") as said:
        ui = subprocess.Popen(command, cwd=ROOT, env=given, stdout=said, stderr=said)
    begun: list[psutil.Process] = []
    try:
        deadline = time.monotonic() + 180
        while True:
            assert ui.poll() is None and time.monotonic() < deadline, (tmp_path / "said").read_text()
            begun = psutil.Process(ui.pid).children(recursive=True)
            try:
                if httpx.get(f"http://127.0.0.1:{port}/server_info", timeout=5).status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(1)
        asked = time.monotonic()
        ui.send_signal(signal.SIGINT)
        assert ui.wait(30) == 0 and time.monotonic() - asked < 20
    finally:
        ui.kill()
        left = [process for process in begun if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
        for process in left:
            process.kill()
    text = (tmp_path / "said").read_text()
    assert len(begun) >= 3 and not left, left
    assert f"http://127.0.0.1:{port}" in text and "Warning" not in text and "Traceback" not in text, text
