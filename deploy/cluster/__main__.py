"""`make cluster`: the cluster profile on this machine, one day in it, and the same bytes as in one process.

Processes only, all on loopback: a Redis Cluster of six, Spark with a master and two workers, a Milvus by its URI,
Postgres, Dagster's daemon, two services. Runs that the daemon launches take a small world in and learn from it; users
are served by both services for a while and tell what they did; the night takes that in. Beside it a home of one process
(LMDB, SQLite, the local sweep) is restored from a backup of before that night, and has the same night. Both are
compared. Then everything ends, as it does at Ctrl-C and when any of these processes is killed.

RECSYS_USERS (120) and RECSYS_DAYS (6) say how large the world is; STAY=1 leaves the cluster up until Ctrl-C.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from deploy.cluster.processes import Ended, Nest, guarded
from deploy.cluster.tools import Missing, Tools, look

WORLD = {"RECSYS_USERS": "120", "RECSYS_DAYS": "6", "RECSYS_TEST_DAYS": "1", "RECSYS_VALIDATION_DAYS": "1"}
SERVED = {"RECSYS_EXPLORE": "false", "RECSYS_BUDGET_MS": "10000"}  # nothing is drawn, nobody hurried: answers compare
REPLICAS = 2


def main() -> int:
    try:
        tools = look(os.getuid())
    except Missing as missing:
        print(missing, file=sys.stderr)
        return 2
    folder = Path(tempfile.mkdtemp(prefix="recsys-cluster-"))
    folder.chmod(0o711)  # Postgres may be another user, who has to reach its own folder in it
    status = guarded(lambda: _run(tools, folder))
    if status in (0, 130):
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"what was said is kept in {folder / 'logs'}", file=sys.stderr)
    return status


def _run(tools: Tools, folder: Path) -> int:
    try:
        with Nest(folder / "logs") as nest:
            return _day(nest, tools, folder)
    except Ended as ended:
        print(f"stopped: {ended}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


def _day(nest: Nest, tools: Tools, folder: Path) -> int:
    from deploy.cluster import compare, day  # they take seconds to import, the tools are looked for before
    from deploy.cluster.parts import Parts
    from recsys.sources import manifest

    began = time.monotonic()

    def say(words: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {words}", flush=True)

    world = {name: os.environ.get(name, value) for name, value in WORLD.items()} | SERVED
    parts = Parts(nest, tools, folder)
    for start in (parts.redis_cluster, parts.postgres, parts.milvus, parts.spark):
        say(start())
    home, alone = folder / "home", folder / "alone"
    cluster = day.prepared(day.environment(home, {**world, **parts.settings}))
    day.ended("stock", ["-m", "recsys_assets.stock"], cluster, nest.logs)
    history = manifest.read(home)
    assert history is not None
    say(parts.dagster(cluster))
    by = day.by_daemon(nest, cluster, "refresh", (history.first_day, history.last_day))
    say(f"{history.first_day} to {history.last_day} taken in, learned from and judged, by {by}")

    urls = [parts.service(f"service-{number}", cluster) for number in range(REPLICAS)]
    say(f"services at {' and '.join(urls)}")
    told, behind = day.lived(urls, home)
    at = time.time_ns() // 1_000_000
    say(
        f"{len(told):,} events acknowledged, told to one service after a slate of the other; {behind} reads were behind"
    )

    one = day.environment(alone, world)
    day.ended("backup", ["-m", "recsys_assets.backup", "backup", str(folder / "backup")], cluster, nest.logs)
    day.ended("restore", ["-m", "recsys_assets.backup", "restore", str(folder / "backup")], one, nest.logs)
    one = day.prepared(one)
    say("backed up from the Redis Cluster, restored into a home of one process")
    for given in (cluster, one):
        day.ended("stock", ["-m", "recsys_assets.stock"], given, nest.logs)
    live = manifest.read(home)
    assert live is not None
    night = (history.last_day, live.last_day)
    by = day.by_daemon(nest, cluster, "observe", night)
    day.in_process(one, "observe", night, nest.logs)
    say(f"{live.last_day} taken in by both, in the cluster by {by}")

    compared = compare.Comparison()
    compare.acknowledged(compared, told, home, live.last_day)
    compare.day_of_features(compared, home, alone, history.last_day, live.last_day)
    compare.state(compared, cluster, one, at)
    urls.append(parts.service("service-alone", one))
    compare.answers(compared, urls, home, at)
    nest.require()
    say(f"compared with {urls[-1]}")
    print(compared.screen(behind))
    if os.environ.get("STAY"):
        print(f"the cluster stays up until Ctrl-C: its settings are in {parts.write_settings(cluster)}", flush=True)
        while True:
            nest.require()
            time.sleep(1.0)
    return 0 if compared.holds and not behind else 1


if __name__ == "__main__":
    sys.exit(main())
