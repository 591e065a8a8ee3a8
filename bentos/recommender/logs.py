"""The worker's log: one JSON object a line on stderr, with the request's id wherever there is one."""

from __future__ import annotations

import logging
import sys
import time

from pythonjsonlogger.json import JsonFormatter


class _Utc(JsonFormatter):
    converter = time.gmtime


def to_stderr(level: int = logging.INFO) -> None:
    """Send what `recsys.*` logs to stderr, and nowhere else."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _Utc(
            "{asctime}{levelname}{name}{message}",
            style="{",
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            datefmt="%Y-%m-%dT%H:%M:%SZ",
        )
    )
    ours = logging.getLogger("recsys")
    ours.handlers = [handler]
    ours.setLevel(level)
    ours.propagate = False
    # uvicorn puts a line together for every answer as long as somebody might read it; nobody does
    logging.getLogger("uvicorn.access").propagate = False
