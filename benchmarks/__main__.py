"""`make bench`: every benchmark, one after the other, each in a process of its own so that none warms or slows another.

`python -m benchmarks features_store serving` runs those named.
"""

from __future__ import annotations

import platform
import subprocess
import sys

import psutil

BENCHMARKS = {
    "features_sweep": "point-in-time build beside pandas, polars, DuckDB and Feast",
    "features_spark": "the same build on Spark: its cost a row, and the same bytes",
    "features_store": "online reads and appends, LMDB and Redis beside Feast's stores",
    "serving": "a whole recommend over HTTP against the bare scoring of its rows",
}


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"no benchmark {', '.join(unknown)}: there are {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    machine, memory = platform.processor() or platform.machine(), psutil.virtual_memory().total / 2**30
    print(f"{machine}, {psutil.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}")
    failed = []
    for name in names or BENCHMARKS:
        print(f"\n== {name}: {BENCHMARKS[name]}", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode:
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
