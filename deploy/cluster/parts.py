"""The parts of the cluster as processes on loopback: Redis Cluster, Spark, Milvus, Postgres, Dagster, two services."""

from __future__ import annotations

import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import redis

from deploy.cluster.processes import Ended, Nest
from deploy.cluster.tools import Tools
from recsys.retrieval.milvus_server import answers

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
NODES, WORKERS = 6, 2
START_SECONDS = 300.0  # of Spark and of a service, on a busy machine
BUS = 10_000  # a node of Redis listens to the others so many ports above its own


@dataclass
class Parts:
    """`folder` holds all that the parts write; `settings` is what a command needs to be part of the cluster."""

    nest: Nest
    tools: Tools
    folder: Path
    settings: dict[str, str] = field(default_factory=dict)

    def redis_cluster(self) -> str:
        """Three primaries with a replica each."""
        ports = free_ports(NODES, beside=BUS)
        for port in ports:
            folder = self.folder / "redis" / str(port)
            folder.mkdir(parents=True)
            self.nest.start(
                f"redis-{port}", [self.tools.redis, HERE / "redis.conf", "--port", str(port), "--dir", folder]
            )
        nodes = [f"127.0.0.1:{port}" for port in ports]
        for port in ports:
            self.nest.until(lambda port=port: listens(port), f"redis at {port}")
        join = [self.tools.redis_cli, "--cluster", "create", *nodes, "--cluster-replicas", "1", "--cluster-yes"]
        joined = subprocess.run(join, capture_output=True, text=True, check=False, timeout=60)
        if joined.returncode:
            raise Ended(f"the Redis Cluster was not made: {joined.stdout.strip().splitlines()[-1:]}")
        self.nest.until(lambda: all(is_whole(port) for port in ports), "the Redis Cluster")
        self.settings["RECSYS_STORE"] = "redis+cluster://" + ",".join(nodes[:3])
        return f"Redis Cluster: 3 primaries, 3 replicas at {ports[0]} to {ports[-1]}; acknowledged after WAIT 1"

    def spark(self) -> str:
        """A master and two workers of one core each."""
        import pyspark

        home = Path(pyspark.__file__).parent
        port, *pages = free_ports(2 + WORKERS)
        local = {"SPARK_HOME": str(home), "SPARK_CONF_DIR": str(HERE / "spark"), "PYSPARK_PYTHON": sys.executable}
        local |= {"SPARK_LOCAL_IP": "127.0.0.1", "SPARK_LOCAL_DIRS": str(self.folder / "spark" / "local")}
        run, local = [home / "bin" / "spark-class"], {**os.environ, **local}
        master = ["org.apache.spark.deploy.master.Master", "--host", "127.0.0.1"]
        self.nest.start("spark-master", [*run, *master, "--port", str(port), "--webui-port", str(pages[0])], local)
        worker = ["org.apache.spark.deploy.worker.Worker", "--host", "127.0.0.1", "--cores", "1", "--memory", "1g"]
        for number, page in enumerate(pages[1:]):
            work = self.folder / "spark" / f"work-{number}"
            more = ["--webui-port", str(page), "--work-dir", work, f"spark://127.0.0.1:{port}"]
            self.nest.start(f"spark-worker-{number}", [*run, *worker, *more], local)
        for at in (port, *pages[1:]):  # a worker asks for its master until it is there
            self.nest.until(lambda at=at: listens(at), "Spark", START_SECONDS)
        self.settings |= {"RECSYS_ENGINE": "spark", "RECSYS_SPARK_MASTER": f"spark://127.0.0.1:{port}"}
        self.settings |= {name: local[name] for name in ("SPARK_CONF_DIR", "PYSPARK_PYTHON", "SPARK_LOCAL_IP")}
        return f"Spark: standalone, 1 master at {port}, {WORKERS} workers of one core"

    def milvus(self) -> str:
        """A Milvus by its address; here the one that embedded homes use, as a server of nobody's home."""
        (port,) = free_ports(1)
        command = [sys.executable, "-m", "recsys.retrieval.milvus_server", self.folder / "milvus", "--port", str(port)]
        self.nest.start("milvus", command, cwd=ROOT)
        self.settings["RECSYS_MILVUS_URI"] = f"http://127.0.0.1:{port}"
        self.nest.until(lambda: answers(self.settings["RECSYS_MILVUS_URI"], 1.0), "Milvus")
        return f"Milvus Lite, by its URI, at {port}"

    def postgres(self) -> str:
        """A database of its own, made now, with a password that no file keeps."""
        (port,), owner, programs = free_ports(1), self.tools.owner, self.tools.postgres
        home = self.folder / "postgres"
        home.mkdir()
        password = secrets.token_hex(16)
        (home / "password").write_text(password)
        (home / "password").chmod(0o600)
        who: dict[str, Any] = {}
        if owner is not None:
            who = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
            for path in (home, home / "password"):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        made = subprocess.run(
            [programs / "initdb", "-D", home / "data", "-U", "dagster", "--pwfile", home / "password", "-E", "UTF8",
             "--auth-local=reject", "--auth-host=scram-sha-256", "--no-locale"],
            capture_output=True, text=True, check=False, cwd=home, **who,
        )  # fmt: skip
        (home / "password").unlink()
        if made.returncode:
            raise Ended(f"initdb: {made.stderr.strip()}")
        with (home / "data" / "postgresql.conf").open("a") as file:
            file.write((HERE / "postgresql.conf").read_text())
        command = [programs / "postgres", "-D", home / "data", "-k", home, "-p", str(port)]
        # by SIGTERM it would wait for its clients
        self.nest.start("postgres", command, cwd=home, ending=signal.SIGINT, who=who)
        ready = [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]  # it listens before it answers
        self.nest.until(lambda: subprocess.run(ready, check=False).returncode == 0, "Postgres")
        self.settings["RECSYS_DAGSTER_STORAGE"] = f"postgresql+psycopg2://dagster:{password}@127.0.0.1:{port}/postgres"
        return f"Postgres {programs.parent.name} at {port}, for Dagster's records"

    def dagster(self, given: Mapping[str, str]) -> str:
        """The daemon, which takes runs out of their queue, and the code server below it."""
        program = Path(sys.executable).with_name("dagster-daemon")
        self.nest.start("dagster-daemon", [program, "run", "-w", ROOT / "workspace.yaml"], given, cwd=ROOT)
        return "Dagster's daemon, with a queue of runs"

    def service(self, name: str, given: Mapping[str, str]) -> str:
        """`make serve` over a home, ready; returns its address."""
        http, grpc = free_ports(2)
        ports = {"RECSYS_HTTP_PORT": str(http), "RECSYS_GRPC_PORT": str(grpc)}
        self.nest.start(name, [sys.executable, "-m", "bentos.recommender.serve"], {**given, **ports}, cwd=ROOT)
        url = f"http://127.0.0.1:{http}"
        self.nest.until(lambda: httpx.get(f"{url}/readyz").json()["status"] == "ready", name, START_SECONDS)
        return url

    def write_settings(self, given: Mapping[str, str]) -> Path:
        """A file to source, for our alone: what a command needs to be part of the cluster."""
        path = self.folder / "cluster.env"
        path.touch(0o600)
        names = [name for name in given if name in self.settings or name in ("RECSYS_HOME", "DAGSTER_HOME")]
        path.write_text("".join(f"export {name}={shlex.quote(given[name])}\n" for name in names))
        return path


def free_ports(count: int, beside: int = 0) -> list[int]:
    """Ports of loopback that nobody has, below those that the system gives to clients by itself.

    Args:
        beside: each one's port so much above is free too
    """
    found: list[int] = []
    port = 21_000 + (os.getpid() * 37 + time.monotonic_ns() // 1000) % 1_000
    while len(found) < count and port < 32_000:
        if not any(map(is_taken, {port, port + beside})):
            found.append(port)
        port += 1
    if len(found) < count:
        raise Ended("there are no free ports between 21000 and 32000")
    return found


def is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def listens(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), 1.0):
        return True


def is_whole(port: int) -> bool:
    """Whether a node knows all slots to be served, and has its replica or its primary."""
    with redis.Redis(port=port) as client:
        role = client.role()
        follows = role[3] == b"connected" if role[0] == b"slave" else len(role[2]) == 1
        return bool(follows) and client.execute_command("CLUSTER INFO")["cluster_state"] == "ok"
