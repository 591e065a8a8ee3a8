"""What keeps a worker from starting is told once: as the launcher's one line and status 2.

Workers and launcher share the launch's scratch folder. While no worker of a launch has opened yet, what stops one stops
all: the first to fail says why and ends the supervisor. Later, a worker that cannot open tries again beside those that
answer.
"""

from __future__ import annotations

import logging
import os
import signal
import traceback
from pathlib import Path
from typing import Final

from bentos.recommender.ending import SUPERVISOR
from bentos.recommender.ports import PortTaken
from recsys.privacy.border import PrivacyError
from recsys.registry import RegistryError
from recsys.retrieval.milvus_server import MilvusServerError
from recsys.settings import SettingsError
from recsys.store.errors import StoreError
from recsys.stream.errors import StreamError

FOLDER: Final = "RECOMMENDER_SCRATCH"  # the launch's, in the environment of workers
SPEAKING: Final = (
    SettingsError,
    StoreError,
    StreamError,
    RegistryError,
    MilvusServerError,
    PrivacyError,
    PortTaken,
    OSError,
)
log = logging.getLogger("recsys.service")


def line_of(error: Exception) -> str:
    """One line: the error's own words where it has some for people, else its type, with the stack in the log."""
    from recsys.serving.bundle import BundleRefused  # models and all: not for the launcher

    if isinstance(error, (*SPEAKING, BundleRefused)):
        return " ".join(str(error).split())
    log.error("%s\n%s", type(error).__name__, "".join(traceback.format_tb(error.__traceback__)))
    return f"the service cannot start: {type(error).__name__}, whose stack is in the log"


def opened() -> None:
    """A worker of this launch has opened."""
    if folder := os.environ.get(FOLDER):
        Path(folder, "opened").touch()


def end_launch(line: str) -> bool:
    """End the launch with that line, unless a worker has opened before; whether that was done."""
    folder = os.environ.get(FOLDER)
    if not folder or Path(folder, "opened").exists():
        return False
    Path(folder, "fault").write_text(line)
    os.kill(int(os.environ[SUPERVISOR]), signal.SIGTERM)
    return True


def told(folder: Path) -> str | None:
    """What ended a launch, if a fault did."""
    return (folder / "fault").read_text() if (folder / "fault").exists() else None
