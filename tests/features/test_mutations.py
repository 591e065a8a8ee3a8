"""Planted bugs must turn the suite red: each is written into a copy of the engine, which the judge then tries.

The copies run uncompiled, in forked children: a mutation costs a second.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sys
import warnings
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]

# name -> file, text as it stands there once, text that replaces it
MUTATIONS = {
    "a window off by one hop": (
        "kernel.py",
        "(as_of - groups[g, G_LENGTH]) // groups[g, G_HOP]",
        "(as_of - groups[g, G_LENGTH]) // groups[g, G_HOP] - 1",
    ),
    "a cut that keeps less than a hop": (
        "prefix.py",
        "cut = (as_of - length) // groups[w, G_HOP] * groups[w, G_HOP]",
        "cut = as_of - length",
    ),
    "<= for < at an imported read": ("sweep.py", 'instants, side="left"', 'instants, side="right"'),
    "a tie in position broken the other way": (
        "kernel.py",
        "log.position[stop] <= reads.position[r]",
        "log.position[stop] < reads.position[r]",
    ),
    "a late event dropped": (
        "kernel.py",
        "or lateness > groups[g, G_LATENESS]",
        "or lateness > groups[g, G_LATENESS] // 2",
    ),
    "a very late event admitted": ("prefix.py", "if known[e, 2] <= groups[w, G_LENGTH]:", "if c >= 0:"),
    "a search without its words": (
        "prefix.py",
        "log.item_key[i] & QUERY_MASK if log.kind[i] == SEARCH_CODE else log.watch_ms[i]",
        "log.watch_ms[i]",
    ),
    "a float sum": (
        "prefix.py",
        "e_sums = np.zeros((longest + 1, width), np.int64)",
        "e_sums = np.zeros((longest + 1, width), np.float32)",
    ),
    "a snapshot that its readers change": (
        "snapshot_files.py",
        "mmap.MAP_PRIVATE | _FIXED, descriptor, 0",
        "mmap.MAP_SHARED | _FIXED, os.open(f'/proc/self/fd/{descriptor}', os.O_RDWR), 0",
    ),
    "a stale fingerprint": (
        "lmdb_journal.py",
        "snapshot = transaction.get(_pointer(fingerprint), db=opened.meta)",
        "snapshot = next((v for k, v in transaction.cursor(opened.meta) if k.startswith(b'snapshot:')), None)",
    ),
    "the local day slipped to UTC": (
        "hot.py",
        "first_position((received_at + self.utc_offset_ms) // DAY_MS)",
        "first_position(received_at // DAY_MS)",
    ),
    "the hour slipped by one": ("derive.py", "+ b[r]) // np.int64(c)", "+ b[r]) // np.int64(c) + 1"),
    "dtype narrowed": (
        "sweep.py",
        "if len(program.views) else 0), np.int64)",
        "if len(program.views) else 0), np.int32)",
    ),
    "zero for never": ("derive.py", "x = c1 if b[r] == 0 else log1p", "x = 0.0 if b[r] == 0 else log1p"),
    "double apply after a restart": (
        "hot.py",
        "np.array(about, np.int64)",
        "np.array((about[0] >> 33 << 33, *about[1:]), np.int64)",
    ),
    "a shard boundary": (
        "prefix.py",
        "    for k in range(first, last):\n        base,",
        "    for k in range(first, last - 1):\n        base,",
    ),
    "a repeated event taken again": ("lmdb_journal.py", "if digest in known:", "if digest in ():"),
    "a cache that outlives its window": (
        "kernel.py",
        "if cells[at + 2] != cut + 1 and cells[at] > 0:",
        "if cells[at + 2] == 0 and cells[at] > 0:",
    ),
    "an event that misses the cache": ("kernel.py", "if summed:", "if summed and m < 0:"),
    "tiles that are gone read as zero": ("kernel.py", "if cut < cells[at + 1]:", "if cut < 0:"),
    "A - E where it does not hold": ("prefix.py", "if max(latest[b], late_latest[w, d]) <= until:", "if until >= 0:"),
    "a decay that rounds too early": ("kernel.py", "shift = 16 + octave + 1", "shift = 12 + octave + 1"),
    "a session gap off by nothing": (
        "kernel.py",
        "elif cells[at + 2] > 0 and now - cells[at] <= groups[g, G_LENGTH]:",
        "elif cells[at + 2] > 0 and now - cells[at] < groups[g, G_LENGTH] // 2:",
    ),
    "an instant ahead of our clock kept": ("intake.py", "min(occurred_at, received_at)", "occurred_at"),
    "items as they are now, not as they were": ("hot.py", "records[:, 0] <= position", "records[:, 0] >= 0"),
    "events lost by a bootstrap": (
        "online.py",
        "if mark.head > (hot.foreseen if owing else hot.position):",
        "if self._loaded == '':",
    ),
    "a ring that forgets one": (
        "kernel.py",
        "(cells[at] % groups[g, G_TILES]) * RECENT_FIELDS",
        "(cells[at] % (groups[g, G_TILES] - 1)) * RECENT_FIELDS",
    ),
    "what a state owes applied twice": ("hot.py", "owed, self._owed = self._owed, []", "owed = self._owed"),
    "an archive's event taken again": (
        "online.py",
        "new = (~hot.has([entry.digest for entry in entries])).tolist()",
        "new = [True] * len(entries)",
    ),
}


def _try(folder: Path, name: str | None) -> None:
    """In a forked child: exit 0 when the judge finds nothing wrong."""
    os.dup2(os.open(folder / "output", os.O_CREAT | os.O_WRONLY), 2)
    import numba

    numba.config.DISABLE_JIT = True
    warnings.simplefilter("ignore")  # uncompiled, the mixing of keys overflows aloud
    shutil.copytree(REPOSITORY / "recsys", folder / "recsys", ignore=shutil.ignore_patterns("__pycache__"))
    if name is not None:
        file, old, new = MUTATIONS[name]
        [path] = [*(folder / "recsys").glob(f"features/{file}"), *(folder / "recsys").glob(f"store/{file}")]
        text = path.read_text()
        if text.count(old) != 1:
            os._exit(77)
        path.write_text(text.replace(old, new))
    for module in [m for m in sys.modules if m.split(".")[0] == "recsys" or m.startswith("tests.features.")]:
        del sys.modules[module]
    sys.path.insert(0, str(folder))
    try:
        from tests.features.judge import judge

        judge(folder / "stores")
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def verdict(folder: Path, name: str | None) -> tuple[int | None, str]:
    folder.mkdir()
    child = multiprocessing.get_context("fork").Process(target=_try, args=(folder, name))
    child.start()
    child.join(120)
    return child.exitcode, (folder / "output").read_text()


def test_the_judge_passes_the_engine_as_it_is(tmp_path: Path) -> None:
    code, words = verdict(tmp_path / "engine", None)
    assert code == 0, words


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_planted_bug_is_found(name: str, tmp_path: Path) -> None:
    code, words = verdict(tmp_path / "engine", name)
    assert code != 77, f"{MUTATIONS[name][0]} no longer holds {MUTATIONS[name][1]!r} once: write the mutation anew"
    assert code == 1, words
