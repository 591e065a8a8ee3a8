"""The served log: what was appended is read back to the byte, whatever kills the writer."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from recsys.serving import retention, served_log
from recsys.serving.served_log import SCHEMA, Served, ServedLog, ServedLogError, read, segments


def served(number: int, rows: int = 3, features: bool = True) -> Served:
    rng = np.random.default_rng(number)
    matrix = rng.standard_normal((rows, 5)).astype(np.float32)
    if rows:
        matrix[0, 0] = np.nan  # 'does not apply' must come back as itself
    return Served(
        request_id=f"r{number}",
        served_at=number,
        user_id="u",
        shelf="feed",
        log_shelf="tab1",
        device=None,
        bundle="b",
        rung="full" if features else "trending",
        position=number * 7,
        as_of=number,
        fingerprint="f",
        item_id=[f"i{j}" for j in range(rows)],
        slot=list(range(rows)),
        source=["two_tower"] * rows,
        score=rng.random(rows).tolist(),
        p_click=[None] * rows,
        watch_seconds=rng.random(rows).tolist(),
        features=matrix if features else None,
    )


def test_rows_come_back_to_the_byte_in_the_order_written(tmp_path: Path) -> None:
    log = ServedLog(tmp_path)
    answers = [served(n, rows=n % 4, features=n % 5 != 0) for n in range(40)]
    for answer in answers:
        log.append(answer)
    log.close()
    table = read(segments(tmp_path))
    assert table.schema == SCHEMA
    rows = table.to_pylist()
    assert len(rows) == sum(len(answer.item_id) for answer in answers)
    expected = [(a, j) for a in answers for j in range(len(a.item_id))]
    for row, (answer, j) in zip(rows, expected, strict=True):
        assert (row["request_id"], row["item_id"], row["score"]) == (answer.request_id, f"i{j}", answer.score[j])
        if answer.features is None:
            assert row["features"] is None
        else:
            assert np.array(row["features"], dtype=np.float32).tobytes() == answer.features[j].tobytes()


def test_segments_roll_and_two_logs_never_share_one(tmp_path: Path) -> None:
    first, second = ServedLog(tmp_path, segment_bytes=2000), ServedLog(tmp_path, segment_bytes=2000)
    for n in range(20):
        first.append(served(n))
    second.append(served(99))
    assert len(segments(tmp_path)) > 3
    assert read(segments(tmp_path)).num_rows == 63
    assert segments(tmp_path, "1970-01-01") == segments(tmp_path) and segments(tmp_path, "1999-01-01") == []


def test_a_row_lies_under_the_day_it_was_served_on(tmp_path: Path) -> None:
    log = ServedLog(tmp_path)
    for hours in (10, 30, 31):
        log.append(served(hours * 3_600_000))
    assert [read(segments(tmp_path, day)).num_rows for day in ("1970-01-01", "1970-01-02")] == [3, 6]


def test_a_torn_tail_costs_only_the_frame_it_tore(tmp_path: Path) -> None:
    log = ServedLog(tmp_path)
    ends = []
    for n in range(3):
        log.append(served(n))
        ends.append(segments(tmp_path)[0].stat().st_size)
    whole = segments(tmp_path)[0].read_bytes()
    target = segments(tmp_path)[0]
    for cut in range(len(served_log.MAGIC), len(whole) + 1, 7):
        target.write_bytes(whole[:cut])
        assert read([target]).num_rows == 3 * sum(end <= cut for end in ends)
    damaged = bytearray(whole)
    damaged[ends[1] - 1] ^= 1
    target.write_bytes(damaged)
    assert read([target]).num_rows == 3


def test_a_file_that_is_no_segment_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.served"
    path.write_bytes(b"something else entirely")
    with pytest.raises(ServedLogError, match=r"x\.served"):
        read([path])


def test_a_full_disk_loses_one_row_and_nothing_before_or_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = ServedLog(tmp_path)
    log.append(served(0))
    real = os.write

    def half_then_full(descriptor: int, data: bytes) -> int:
        real(descriptor, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(os, "write", half_then_full)
        with pytest.raises(OSError, match="No space left"):
            log.append(served(1))
    log.append(served(2))
    assert sorted(set(read(segments(tmp_path))["request_id"].to_pylist())) == ["r0", "r2"]


def test_rows_acknowledged_before_kill_9_are_all_there(tmp_path: Path) -> None:
    child = (
        "import sys, itertools; from pathlib import Path\n"
        "from tests.serving.test_served_log import served; from recsys.serving.served_log import ServedLog\n"
        "log = ServedLog(Path(sys.argv[1]), segment_bytes=200_000)\n"
        "for n in itertools.count():\n"
        "    log.append(served(n)); print(n, flush=True)\n"
    )
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", child, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        acknowledged = [int(process.stdout.readline()) for _ in range(200)][-1]
        process.send_signal(signal.SIGKILL)
        acknowledged = max([acknowledged, *(int(line) for line in process.stdout.read().split("\n")[:-1])])
        process.wait()
        mine = [path for path in segments(tmp_path) if path.stem.endswith(f"-{process.pid}")]
        table = read(mine)
        requests = table["request_id"].to_pylist()[::3]
        assert requests[: acknowledged + 1] == [f"r{n}" for n in range(acknowledged + 1)]
        assert len(requests) <= acknowledged + 2


def test_days_that_are_old_enough_go_and_nothing_else(tmp_path: Path) -> None:
    for name in ("2026-01-01", "2026-01-02", "2026-01-03", "notes", "2026-13-99"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1-1.served").write_bytes(served_log.MAGIC)
    assert retention.expire(tmp_path, 2, date(2026, 1, 3)) == ["2026-01-01"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["2026-01-02", "2026-01-03", "2026-13-99", "notes"]
    assert retention.expire(tmp_path / "none", 2, date(2026, 1, 3)) == []
