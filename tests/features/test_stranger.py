"""The contract written anew from the docs agrees with lake, fold, service and replay while items change every day."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.metadata import changing
from recsys.features.log import ItemColumns, ItemHistory

ROWS = 160


def test_a_stranger_computes_the_same_bytes_from_the_page_alone(tmp_path: Path) -> None:
    parities = {name: parity for name, _, parity in changing(tmp_path / "store", ROWS, file_days=3, live_days=2)}
    assert len(parities) == 8 and {name: str(p) for name, p in parities.items() if not p.holds} == {}
    assert sum(parity.values for parity in parities.values()) > 100_000


def test_items_read_as_they_are_now_would_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The world changes enough: a lake that ignores instants, as it once did, disagrees."""
    as_of = ItemHistory.lookup

    def now(self: ItemHistory, item_keys: np.ndarray, instants: np.ndarray) -> ItemColumns:
        return as_of(self, item_keys, np.full(len(instants), np.iinfo(np.int64).max))

    monkeypatch.setattr(ItemHistory, "lookup", now)
    parities = {name: parity for name, _, parity in changing(tmp_path / "store", ROWS, file_days=3, live_days=2)}
    assert all(parities[name].mismatches > 20 for name in ("lake, day by day: features", "fold: features"))
