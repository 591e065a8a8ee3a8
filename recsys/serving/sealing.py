"""Sealing: a segment of the served log that is full, old or of a day that is over becomes a Parquet file.

A process of its own does it, one at a time, so that no worker waits. First the segment gets another name, which its
writer sees and begins a new one; then its rows are written beside it; then it goes. Killed at any moment, the next run
ends it: what is not sealed yet is read as it is.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from recsys.beside import NICE, alone, run_beside
from recsys.lake import replacing
from recsys.serving.segment_files import ServedLogError
from recsys.serving.served_log import SEALED, SEALING, SEGMENT_BYTES, WRITTEN, pieces, write_sealed

FULL: Final = 0.9  # of a segment's size
IDLE_SECONDS: Final = 3600.0  # nothing was written to it for so long
log = logging.getLogger("recsys.serving")


def due(root: Path, now: float) -> list[Path]:
    """Segments to be sealed at an instant (s since the epoch)."""
    today = time.strftime("%Y-%m-%d", time.gmtime(now))
    segments = sorted(root.glob(f"*/*{SEALING}"))
    for path in sorted(root.glob(f"*/*{WRITTEN}")):
        with suppress(FileNotFoundError):
            seen = path.stat()
            is_over = path.parent.name < today and now - seen.st_mtime > 60  # an answer may be under way at midnight
            if is_over or seen.st_size > FULL * SEGMENT_BYTES or now - seen.st_mtime > IDLE_SECONDS:
                segments.append(path)
    return segments


def seal(path: Path) -> None:
    """Put one segment's rows into a Parquet file; whoever writes to it begins another segment."""
    if path.suffix == SEALED:
        return
    with suppress(FileNotFoundError), path.open("rb") as segment:
        fcntl.flock(segment, fcntl.LOCK_EX)  # against its writer, and against `forget`, which then finds it sealed
        if not os.path.samestat(path.stat(), os.fstat(segment.fileno())):
            return  # `forget` wrote it anew meanwhile
        sealing, sealed = path.with_suffix(SEALING), path.with_suffix(SEALED)
        if path != sealing:
            os.rename(path, sealing)
        rows = list(pieces(sealing))
        if rows and not sealed.exists():  # else a run was killed before its last step
            with replacing(sealed) as temporary:
                write_sealed(temporary, (piece.read() for piece in rows), path.stem)
        sealing.unlink()


def seal_due(root: Path) -> int:
    """Seal what is due, unless another process is at it; returns how many segments."""
    done = 0
    with alone(root / "sealing.lock") as mine:
        if not mine:
            return 0
        for path in due(root, time.time()):
            try:
                seal(path)
                done += 1
            except (ServedLogError, OSError) as error:
                print(f"{path.name} stays as it is: {error}", file=sys.stderr)
    return done


def seal_beside(root: Path) -> None:
    """`seal_due` in another process, if anything is due."""
    if not due(root, time.time()):
        return
    status, said = run_beside("recsys.serving.sealing", str(root))
    if status or said:
        log.error("segments of the served log were not sealed: %s", said)


if __name__ == "__main__":
    os.nice(NICE)
    seal_due(Path(sys.argv[1]))
