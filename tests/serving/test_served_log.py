"""The served log: what was appended is read back to the byte, whatever kills the writer."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from recsys.serving import retention, sealing, served_log
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
    assert retention.expire(tmp_path, 2) == ["2026-01-01"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["2026-01-02", "2026-01-03", "2026-13-99", "notes"]
    assert retention.expire(tmp_path / "none", 2) == []


def test_a_clock_forty_days_ahead_takes_one_day_of_the_log_and_not_all_of_it(tmp_path: Path) -> None:
    """What was served by such a clock is a day of the log like any other, and the day it takes the place of goes."""
    for number in range(30):
        (tmp_path / str(date(2026, 1, 1) + timedelta(days=number))).mkdir()
    log = ServedLog(tmp_path)
    ahead = int(datetime(2026, 3, 11, tzinfo=UTC).timestamp() * 1000)
    log.append(replace(served(1), served_at=ahead))
    log.close()
    assert retention.expire(tmp_path, 30) == ["2026-01-01"]
    assert retention.expire(tmp_path, 30) == [] and len(list(tmp_path.iterdir())) == 30
    assert len(retention.expire(tmp_path, 7)) == retention.AT_ONCE  # when less is to be kept, not all at once either


def put(root: Path, numbers: range, **options: int) -> list[str]:
    """Those answers in segments; the text of each of their rows."""
    log = ServedLog(root, **options)
    for n in numbers:
        log.append(served(n * 3_600_000, rows=1 + n % 4, features=n % 5 != 0))
    log.close()
    return texts(read(segments(root)))


def texts(table: pa.Table) -> list[str]:
    """Each row, its floats as bytes."""
    return [
        str({**row, "features": row["features"] and np.float32(row["features"]).tobytes()}) for row in table.to_pylist()
    ]


def test_a_sealed_segment_is_parquet_and_holds_the_same_bytes(tmp_path: Path) -> None:
    rows = put(tmp_path, range(60), segment_bytes=4000)
    for path in segments(tmp_path)[::2]:
        sealing.seal(path)
    assert {path.suffix for path in segments(tmp_path)} == {".served", ".parquet"}
    assert texts(read(segments(tmp_path))) == rows
    for path in segments(tmp_path):
        sealing.seal(path)
    assert {path.suffix for path in tmp_path.glob("*/*")} == {".parquet"}
    assert texts(read(segments(tmp_path))) == rows
    whole = duckdb.sql(f"select count(*), count(features) from '{tmp_path}/*/*.parquet'").fetchall()
    assert whole == [(len(rows), sum("'features': b" in row for row in rows))]
    slate = served_log.find(tmp_path, f"r{17 * 3_600_000}")
    assert slate is not None and slate["slot"].to_pylist() == [0, 1]


def test_a_writer_whose_segment_is_sealed_begins_another_and_loses_no_row(tmp_path: Path) -> None:
    log = ServedLog(tmp_path)
    for n in range(9):
        log.append(served(n))
        if n % 3 == 2:
            sealing.seal(segments(tmp_path)[-1])
    log.close()
    assert read(segments(tmp_path))["request_id"].to_pylist()[::3] == [f"r{n}" for n in range(9)]
    assert [path.suffix for path in segments(tmp_path)] == [".parquet"] * 3


@pytest.mark.parametrize("step", ["rename", "replace", "unlink"])
def test_sealing_that_is_killed_is_ended_by_the_next_run(tmp_path: Path, step: str) -> None:
    rows = put(tmp_path, range(20))
    [path] = segments(tmp_path)
    child = (
        "import os, sys; from pathlib import Path; from recsys.serving import sealing\n"
        "real = getattr(os, sys.argv[2]); setattr(os, sys.argv[2], lambda *a, **k: (real(*a, **k), os._exit(9)))\n"
        "Path.unlink = lambda path, missing_ok=False: path.exists() and os.unlink(path)\n"
        "sealing.seal(Path(sys.argv[1]))\n"
    )
    assert subprocess.run([sys.executable, "-c", child, str(path), step]).returncode == 9
    assert texts(read(segments(tmp_path))) == rows
    later = ServedLog(tmp_path)
    later.append(served(20 * 3_600_000))
    later.close()
    for left in sealing.due(tmp_path, time.time() + 10_000):
        sealing.seal(left)
    assert texts(read(segments(tmp_path)))[: len(rows)] == rows and len(segments(tmp_path)) == 2
    assert not list(tmp_path.glob("*/*.sealing"))


def test_what_is_full_old_or_of_a_day_that_is_over_is_sealed_by_a_process_beside(tmp_path: Path) -> None:
    rows = put(tmp_path, range(60), segment_bytes=4000)
    now = time.time()
    log = ServedLog(tmp_path)
    log.append(served(int(now * 1000)))
    assert sealing.due(tmp_path, now) == []  # all of them were written to just now
    for path in segments(tmp_path)[:-1]:
        os.utime(path, (now - 100, now - 100))
    sealing.seal_beside(tmp_path)
    assert [path.suffix for path in segments(tmp_path)] == [".parquet"] * (len(segments(tmp_path)) - 1) + [".served"]
    assert texts(read(segments(tmp_path)))[:-3] == rows
    log.close()


def test_forgotten_rows_leave_sealed_segments_too(tmp_path: Path) -> None:
    log = ServedLog(tmp_path)
    for n in range(12):
        log.append(replace(served(n), user_id="gone" if n % 3 == 0 else "u"))
    log.close()
    sealing.seal(segments(tmp_path)[0])
    kept = texts(read(segments(tmp_path)).filter(pc.field("user_id") == "u"))
    assert served_log.forget(tmp_path, ["gone"]) == (1, 12)
    assert served_log.forget(tmp_path, ["gone"]) == (0, 0)
    assert texts(read(segments(tmp_path))) == kept


def test_a_draw_is_bounded_whole_and_of_many_segments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served_log, "PIECE_BYTES", 2000)
    log = ServedLog(tmp_path, segment_bytes=20_000)
    for n in range(600):
        log.append(served(n))
    log.close()
    for path in segments(tmp_path)[::2]:
        sealing.seal(path)
    every = served_log.draw(tmp_path, 10_000, np.random.default_rng(1))
    assert sorted(texts(every)) == sorted(texts(read(segments(tmp_path))))
    few = served_log.draw(tmp_path, 160, np.random.default_rng(1))
    requests = few["request_id"].to_pylist()
    assert 160 <= few.num_rows < 190 and all(requests.count(name) == 3 for name in requests)
    assert len({int(name[1:]) // 60 for name in requests}) >= 6  # of ten parts of the log
    assert texts(few) == texts(served_log.draw(tmp_path, 160, np.random.default_rng(1)))
    newest = served_log.draw(tmp_path, 30)["request_id"].to_pylist()
    assert "r599" in newest and all(int(name[1:]) > 550 for name in newest)


def test_the_oldest_segments_go_when_there_is_too_much(tmp_path: Path) -> None:
    put(tmp_path, range(60), segment_bytes=4000)
    before = segments(tmp_path)
    total = sum(path.stat().st_size for path in before)
    gone = retention.shorten(tmp_path, total / 2)
    assert 0 < gone < len(before) and segments(tmp_path) == before[gone:]
    assert sum(path.stat().st_size for path in segments(tmp_path)) <= total / 2
    assert retention.shorten(tmp_path, total) == 0


def test_a_long_log_is_drawn_from_in_little_memory(tmp_path: Path) -> None:
    """300 MB of segments, half of them sealed; the child's peak over what its imports take."""
    folder = tmp_path / "1970-01-01"
    put(tmp_path, range(20), segment_bytes=1 << 30)
    [first] = segments(tmp_path, "1970-01-01")
    frames = first.read_bytes()[len(served_log.MAGIC) :]
    body = served_log.MAGIC + frames * (50_000_000 // len(frames))
    for n in range(6):
        (folder / f"{n}-1.served").write_bytes(body)
    child = (
        "import resource, sys; from pathlib import Path; import numpy as np\n"
        "from recsys.serving import sealing, served_log\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for path in served_log.segments(Path(sys.argv[1]))[:1]: sealing.seal(path)\n"
        "rows = served_log.draw(Path(sys.argv[1]), 20_000, np.random.default_rng(1)).num_rows\n"
        "print(rows, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)\n"
    )
    ended = subprocess.run([sys.executable, "-c", child, str(tmp_path)], capture_output=True, text=True, check=True)
    rows, mib = map(int, ended.stdout.split())
    assert rows >= 20_000 and mib < 150, ended.stdout
