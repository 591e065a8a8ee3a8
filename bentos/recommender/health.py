"""What a worker says of itself: whether it answers, and which parts it does without.

A worker with a part down stays ready, since it answers from what is left. Every other worker lacks the same part, so
taking them out of service would turn a lower rung into no answer at all. `/readyz` says "degraded" then and names the
parts; `/readyz?full` refuses (503), for whoever would rather send elsewhere.
"""

from __future__ import annotations

import shutil
import threading
import time
from typing import Any, Final

from bentos.recommender.calls import Calls, Starting
from bentos.recommender.ending import Ending
from recsys.retrieval.milvus_server import answers
from recsys.settings import Settings

PROBE_SECONDS: Final = 2.0
SILENT_SECONDS: Final = 12.0  # a probe that has not come back for so long hangs in the store
ANSWER_SECONDS: Final = 2.0
FREE_BYTES: Final = 16 << 20  # of disk, below which events will soon be refused


class Ends(Starting):
    """The worker is going down: ask another."""


class Health:
    """Asks store, Milvus and disk in a thread of its own, for without traffic no breaker would."""

    def __init__(self, settings: Settings, calls: Calls, ending: Ending) -> None:
        self._settings, self._calls, self.ending = settings, calls, ending
        self._down: dict[str, str] = {}
        self._asked_at = time.monotonic()
        self._stop = threading.Event()

    def start(self) -> None:
        """Begin to ask."""
        self._asked_at = time.monotonic()  # opening took a while
        threading.Thread(target=self._watch, name="health", daemon=True).start()

    def stop(self) -> None:
        """Ask no more."""
        self._stop.set()

    def down(self) -> dict[str, str]:
        """Parts that are done without now, and why; empty when all answer."""
        down = dict(self._down)
        if time.monotonic() - self._asked_at > SILENT_SECONDS:
            down["store"] = "does not answer"
        for part, state in self._calls.recommender.state()["breakers"].items():
            if state != "closed":
                down.setdefault(part, "left alone after repeated failures")
        return down

    def state(self) -> dict[str, Any]:
        """What `/readyz` answers.

        Raises:
            Starting: this worker does not answer yet, or not for long any more.
        """
        state = self._calls.recommender.state()
        if self.ending.begun:
            raise Ends("this worker is ending: ask another")
        down = self.down()
        return {"status": "degraded" if down else "ready", "down": down, **state}

    def _watch(self) -> None:
        while not self._stop.wait(PROBE_SECONDS):
            self._down = self._ask()
            self._asked_at = time.monotonic()

    def _ask(self) -> dict[str, str]:
        down = {}
        try:
            self._calls.recommender.probe()
        except Exception as error:
            down["store"] = f"does not answer ({type(error).__name__})"
        uri = self._settings.milvus_uri
        if uri is not None and not answers(uri.get_secret_value(), ANSWER_SECONDS):
            down["milvus"] = "does not answer"
        try:
            if shutil.disk_usage(self._settings.home).free < FREE_BYTES:
                down["disk"] = "full"
        except OSError as error:
            down["disk"] = error.strerror or "cannot be read"
        return down
