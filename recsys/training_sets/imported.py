"""The exposures from before the log, as rows to learn tastes from: of them only a long view is known, or none."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl

from recsys.events import KINDS
from recsys.features import sweep
from recsys.features.history import History
from recsys.features.log import EventLog


class Imported(NamedTuple):
    """n exposures in log order."""

    item_key: np.ndarray  # int64[n]
    long_view: np.ndarray  # int8[n]
    history: History  # of n rows, each just before its exposure was received

    def take(self, rows: np.ndarray) -> Imported:
        """Those exposures."""
        return Imported(self.item_key[rows], self.long_view[rows], self.history.take(rows))

    @staticmethod
    def of(log: EventLog) -> Imported:
        """The exposures of a log. An imported outcome is received together with its exposure."""
        shown, viewed = (
            pl.DataFrame(
                {"user": log.user_key[rows], "item": log.item_key[rows], "at": log.received_at[rows], "row": rows}
            )
            for rows in (_of_kind(log, "exposure"), _of_kind(log, "exposure_long_view"))
        )
        long = shown.join(viewed, on=["user", "item", "at"], how="semi")["row"].to_numpy()
        rows = shown["row"].to_numpy()
        positions = sweep.read_positions(log, log.received_at[rows])
        history = sweep.histories(log, log.user_key[rows], positions, log.received_at[rows])
        return Imported(log.item_key[rows], np.isin(rows, long).astype(np.int8), history)

    @staticmethod
    def none() -> Imported:
        """Of a log that begins with its own first impression."""
        return Imported(np.empty(0, np.int64), np.empty(0, np.int8), History.none(0))


def _of_kind(log: EventLog, kind: str) -> np.ndarray:
    return np.flatnonzero((log.kind == KINDS[kind]) & (log.user_key != 0))
