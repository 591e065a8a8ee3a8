"""A state of other features is built beside the one in service, while that one is read and written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recsys.features.catalog import FINGERPRINT
from recsys.registry import PARTS, Facts, Registry
from recsys.store import upgrade
from recsys.store.errors import StoreError, StoreMissing
from recsys.store.lmdb_journal import LmdbJournal
from recsys.store.online import OnlineStore
from recsys_assets.upgrade import main
from tests.features.crowd import Crowd, disorder, opened
from tests.features.streams import random_log
from tests.features.test_store import NOW

OTHER = "other-features"


def lived(place: str) -> OnlineStore:
    store = OnlineStore(opened(place, create=True), create=True)
    log, _, table = random_log(1, 300)
    store.bootstrap(log, table, log.head)
    return store


def test_it_is_built_under_load_and_reads_the_same(place: str, tmp_path: Path) -> None:
    store = lived(place)
    with Crowd(place, tmp_path, processes=2, threads=2) as crowd:
        crowd.wait(50, 180)
        _, values = upgrade.build_beside(store.journal, FINGERPRINT, OTHER)
        crowd.check_alive()
        crowd.wait(len(crowd.calls()) + 50, 180)
    assert values > 10_000 and disorder(crowd.calls(), store) == []
    beside = OnlineStore(opened(place), fingerprint=OTHER)
    for user in ("u1", "u2", "u3"):
        both = [one.read(user, ["i0", "i1", "i2"], NOW) for one in (store, beside)]
        assert len({(read.position, read.aggregates.tobytes()) for read in both}) == 1
    with pytest.raises(StoreError, match="already"):
        upgrade.build_beside(store.journal, FINGERPRINT, OTHER)
    store.journal.drop(OTHER)
    with pytest.raises(StoreMissing, match=OTHER):
        OnlineStore(opened(place), fingerprint=OTHER)
    assert store.read("u1", ["i0"], NOW).position == store.head()
    for one in (store, beside):
        one.close()


def test_what_is_not_what_a_replay_gives_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    LmdbJournal(tmp_path / "store", create=True).close()
    store = lived(str(tmp_path / "store"))
    packed = upgrade.packed

    def poor(state: object, *rest: object) -> dict[str, np.ndarray]:
        arrays = packed(None, *rest)  # type: ignore[arg-type]
        return {**arrays, "cells": arrays["cells"] + 1}

    monkeypatch.setattr(upgrade, "packed", poor)
    with pytest.raises(StoreError, match="differs from a replay"):
        upgrade.build_beside(store.journal, FINGERPRINT, OTHER)
    assert store.journal.mark(OTHER).snapshot == "" and len(list((tmp_path / "store").glob("snapshot-*"))) == 1
    store.close()


def test_by_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path))
    assert main([]) == 2 and "no bundle is in service" in capsys.readouterr().err
    registry, folder = Registry(tmp_path / "registry"), tmp_path / "folder"
    for part in PARTS:
        (folder / part).mkdir(parents=True)
        (folder / part / "x").write_text(part)
    bundle = registry.register(folder, Facts(OTHER, OTHER, "t", "t", "items__1", 0))
    registry.promote(bundle.bundle_id)
    LmdbJournal(tmp_path / "store", create=True).close()
    store = lived(str(tmp_path / "store"))
    upgrade.build_beside(store.journal, FINGERPRINT, OTHER)  # as a service of before had it
    store.journal.drop(FINGERPRINT)
    store.close()
    for given, status, words in (
        (["nothing"], 2, "no state of features nothing"),
        ([OTHER], 2, "cannot be dropped while its bundle serves"),
        ([], 0, f"the state of features {FINGERPRINT} stands beside {OTHER}"),
        ([], 2, "already"),
        ([FINGERPRINT], 0, f"is dropped; {OTHER} serves as before"),
    ):
        assert main(given) == status
        told = capsys.readouterr()
        assert words in (told.err if status else told.out) and (told.err + told.out).count("\n") == 1
