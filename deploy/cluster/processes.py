"""Processes that never outlive whoever began them.

    sys.exit(guarded(main))        runs main in a process below this one
    with Nest(logs) as nest:       in main: what nest.start begins ends with the block
        nest.start("redis", [...])

Both processes of guarded adopt the orphans below them (PR_SET_CHILD_SUBREAPER), and the kernel tells each child when
whoever began it dies (PR_SET_PDEATHSIG). So whichever one is killed with SIGKILL (`make` as well), the other one, or
the kernel, ends all the rest.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
GRACE = 20.0  # seconds between the wish to end and the end
_asked: list[int] = []  # the signal that asked for the end
_libc = ctypes.CDLL(None, use_errno=True)


class Ended(RuntimeError):
    """A process that has to run has ended; the message has its last words."""


class Nest:
    """Processes by name, ended last begun first.

    Args:
        logs: folder that gets a file of what each of them says
    """

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self._begun: list[tuple[str, subprocess.Popen[bytes], signal.Signals]] = []

    def __enter__(self) -> Nest:
        self.logs.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        below = [one for _, process, _ in self._begun for one in _family(process.pid)]
        for _, process, ending in reversed(self._begun):
            with suppress(ProcessLookupError):
                process.send_signal(ending)
        _, left = psutil.wait_procs(below, GRACE)
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def start(
        self,
        name: str,
        command: Sequence[str | Path],
        environment: Mapping[str, str] | None = None,
        *,
        cwd: Path | None = None,
        ending: signal.Signals = signal.SIGTERM,
        who: Mapping[str, Any] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Begin a process that is told to end by a signal of its own when the block, or this process, ends.

        Args:
            environment: all of it; None: ours
            who: user, group and extra_groups, where it is not to be us
        """
        with (self.logs / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [str(word) for word in command],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=cwd,
                start_new_session=True,  # Ctrl-C in the terminal is ours to pass on
                preexec_fn=_tell_when_parent_dies(ending),
                **(who or {}),
            )
        self._begun.append((name, process, ending))
        return process

    def require(self) -> None:
        """Raises:
        Ended: one of them is not there any more.
            KeyboardInterrupt: this process was asked to end.
        """
        if _asked:
            raise KeyboardInterrupt
        for name, process, _ in self._begun:
            if process.poll() is not None:
                raise Ended(f"{name} ended with status {process.returncode}: {self.last_words(name)}")

    def last_words(self, name: str) -> str:
        lines = (self.logs / f"{name}.log").read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "without a word"

    def until(self, holds: Callable[[], Any], what: str, seconds: float = 60.0) -> None:
        """Wait until it does; what raises is not there yet.

        Raises:
            Ended: a process is gone, or it takes too long.
        """
        deadline = time.monotonic() + seconds
        while True:
            self.require()
            why = ""
            try:
                if holds():
                    return
            except Exception as error:
                why = f" ({error})"
            if time.monotonic() > deadline:
                raise Ended(f"{what} did not come within {seconds:.0f} s{why}: see {self.logs}")
            time.sleep(0.1)


def guarded(main: Callable[[], int]) -> int:
    """Run main in a process below; however that one ends, nothing of it is left. Returns its status."""
    _adopt()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))  # until there is somebody to pass it on to
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    me = os.getpid()
    child = os.fork()
    if child == 0:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != me:  # killed before that
            os._exit(1)
        signal.signal(signal.SIGTERM, _stop_once)
        signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C comes as SIGTERM from above
        _adopt()
        status = _status_of(main)
        end_below(2.0)
        os._exit(status)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: _pass_on(child))
    _, status = os.waitpid(child, 0)
    end_below(2.0)
    return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def _status_of(main: Callable[[], int]) -> int:
    try:
        status = main()
    except KeyboardInterrupt:
        status = 130
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def _stop_once(*_: object) -> None:
    """Nothing breaks off the end; a library that swallows this has it told again by `require`."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _asked.append(signal.SIGTERM)
    raise KeyboardInterrupt


def _pass_on(child: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGTERM)


def end_below(grace: float) -> None:
    """Ask everything below this process to end, then kill what is left, to the last one."""
    deadline = time.monotonic() + grace
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    while True:
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:  # orphans come to us, and would stay as zombies
                pass
        left = psutil.Process().children(recursive=True)
        if not left:
            return
        if time.monotonic() > deadline:
            for process in left:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        time.sleep(0.05)


def _family(pid: int) -> list[psutil.Process]:
    """A process and all below it; none where it is gone."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _adopt() -> None:
    if sys.platform != "linux":
        raise Ended("only Linux tells children that their parent died: run this on Linux")
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1)


def _tell_when_parent_dies(ending: signal.Signals) -> Callable[[], None]:
    parent = os.getpid()

    def tell() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, int(ending))
        if os.getppid() != parent:
            os._exit(1)

    return tell
