"""The log: one JSON object a line on stderr, whoever writes it, with the request's id wherever there is one."""

from __future__ import annotations

import logging
import sys
import time

from pythonjsonlogger.json import JsonFormatter


class _Utc(JsonFormatter):
    converter = time.gmtime


def to_stderr(level: int = logging.INFO) -> None:
    """Send what is logged to stderr and nowhere else: ours from `level`, that of servers and libraries from WARNING."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _Utc(
            "{asctime}{levelname}{name}{message}",
            style="{",
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            datefmt="%Y-%m-%dT%H:%M:%SZ",
        )
    )
    logging.captureWarnings(True)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    for name in ("bentoml", "circus", "uvicorn", "uvicorn.error"):  # which bring handlers of their own
        theirs = logging.getLogger(name)
        theirs.handlers, theirs.propagate = [], True
        theirs.setLevel(logging.WARNING)
    logging.getLogger("recsys").setLevel(level)
    for name in logging.root.manager.loggerDict:  # BentoML's configuration switches those off that were there before it
        if name.startswith("recsys"):
            logging.getLogger(name).disabled = False
    # uvicorn puts a line together for every answer as long as somebody might read it; nobody does
    logging.getLogger("uvicorn.access").propagate = False
