"""The embedded server: one per home, found again, back after a kill, and clear when it cannot start."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from recsys.lake import Lake
from recsys.retrieval.item_index import IndexedItems, ItemIndexUnavailable, MilvusIndex
from recsys.retrieval.milvus_server import MilvusServerError, ensure_milvus, running_milvus, stop_milvus
from recsys.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    settings = Settings(home=tmp_path)
    yield settings
    stop_milvus(settings)


def launch(folder: Path, port: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "recsys.retrieval.milvus_server", str(folder), "--port", str(port)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=Path(__file__).parents[2])


def test_two_processes_that_start_it_at_once_share_one_server_and_it_ends_when_told(settings: Settings) -> None:
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: ensure_milvus(settings), range(2))
    assert first == second
    assert ensure_milvus(settings) == first
    assert first.uri.startswith("http://127.0.0.1:")

    again = launch(Lake(settings.home).milvus)  # a second server on the folder refuses, in one line
    assert again.returncode == 1
    assert "another Milvus server holds" in again.stderr
    assert len(again.stderr.strip().splitlines()) == 1

    assert stop_milvus(settings)
    assert running_milvus(Lake(settings.home).milvus) is None
    assert not stop_milvus(settings)


def test_after_kill_9_the_next_start_has_every_row_and_old_clients_find_it_at_the_same_port(settings: Settings) -> None:
    address = ensure_milvus(settings)
    vectors = np.eye(8, dtype=np.float32)
    index = MilvusIndex(address.uri, timeout=5.0)
    collection = index.publish("a", IndexedItems.of(list("abcdefgh"), ["video"] * 8, vectors), {})
    assert address.pid is not None
    os.kill(address.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while running_milvus(Lake(settings.home).milvus) is not None and time.monotonic() < deadline:
        time.sleep(0.05)
    with pytest.raises(ItemIndexUnavailable, match="could not search items__a"):
        index.search(collection, vectors[2], 1)

    again = ensure_milvus(settings)
    assert again.pid != address.pid
    assert again.uri == address.uri
    assert index.search(collection, vectors[2], 1).item_ids == ["c"]  # loaded before it was bound
    assert index.current() == collection
    index.close()


def test_a_data_folder_that_another_process_holds_is_named_with_what_to_do(settings: Settings) -> None:
    from milvus_lite.db import MilvusLite

    holder = MilvusLite(str(Lake(settings.home).milvus / "data"))
    try:
        with pytest.raises(MilvusServerError, match=r"held by another process.*RECSYS_HOME"):
            ensure_milvus(settings)
    finally:
        holder.close()


def test_a_port_that_is_taken_is_named_and_never_shared(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = launch(tmp_path, port)
    assert refused.returncode == 1
    assert refused.stderr.strip().splitlines()[-1].startswith(f"port {port} of 127.0.0.1 is taken")


def test_an_address_where_nothing_answers_is_named(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(MilvusServerError, match="RECSYS_MILVUS_URI"):
        ensure_milvus(Settings(home=tmp_path, milvus_uri=uri))
