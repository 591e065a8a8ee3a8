"""The service beside bare servers and published peers: `make bench-serving` (benchmarks.serving [rounds requests]).

Needs a RECSYS_HOME with a champion, works on a copy. Four servers answer the same recommends with the same core, each
in its own process: the service over HTTP and over gRPC (started as `make serve` starts it, one worker), and the core
behind bare Starlette on uvicorn and behind bare grpc.aio, without limits, metrics, keys or fallback. Rounds of requests
to each (CPU of the server's processes, by psutil) alternate with rounds of the bare scoring of the same candidate rows
in this process: every booster of the ranker on every row by `Booster.inplace_predict`, one thread, no calibration, no
Python around it. It is timed with a pause before each request, as a server meets its requests, and once more in a loop
without a pause, where the trees never leave the cache. Then recommends come at half the rate that four clients reach,
evenly spaced and as a Poisson process, each timed from when it was due.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.running import free_port, machine, running, users_of
from benchmarks.serving_load import copy_of
from benchmarks.traffic import Traffic, capacity
from bentos.recommender.recsys_v1 import recommender_pb2 as pb
from bentos.recommender.recsys_v1 import recommender_pb2_grpc as pb_grpc
from recsys.lake import Lake
from recsys.policy.value import VALUE
from recsys.ranking.ranker import Ranker
from recsys.ranking.xgboost_ranker import XGBoostRanker
from recsys.retrieval.milvus_server import stop_milvus
from recsys.serving.bundles import Fixed
from recsys.serving.course import Course
from recsys.serving.opening import open_recommender
from recsys.serving.pipeline import Recommender
from recsys.serving.schema import RecommendRequest
from recsys.settings import Settings, from_environment
from recsys.training_sets.inputs import Inputs

CLIENTS, SECONDS = 4, 20.0
PAUSE = 0.02  # before a request that is scored bare
EVERY, LOOP = "bare scoring, every head", "bare scoring, every head, without a pause"
TWO = "bare scoring, the two heads that order"
ROOT = Path(__file__).parents[1]
PEERS = (
    (
        "Feast, online features of 500 rows (Python server; p50 / p99)",
        "219 / 425 ms",
        "AWS c5.4xlarge (16 vCPU), its own benchmark",
    ),
    ("Metarank, ranking of 300 items (p50 / p99)", "20 / 24 ms", "its own benchmark; the machine is not named there"),
)


class Recording:
    """A ranker that keeps the rows it was asked to order."""

    def __init__(self, ranker: XGBoostRanker) -> None:
        self.ranker, self.rows = ranker, list[np.ndarray]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.ranker, name)

    def predict_only(self, inputs: Inputs, names: Any) -> Mapping[str, np.ndarray]:
        if set(names) == set(VALUE):
            self.rows.append(inputs.features)
        return self.ranker.predict_only(inputs, names)


def rows_of(settings: Settings, users: list[str]) -> tuple[XGBoostRanker, list[np.ndarray], dict[str, float]]:
    """What the ranker is asked to score for these users, by the same core in this process, and milliseconds by stage
    (medians) once everything is warm.
    """
    opened = open_recommender(settings, follow=False, logged=False)
    bundle = opened._bundles.current
    recording = Recording(bundle.ranker)
    core = Recommender(opened._store, Fixed(dataclasses.replace(bundle, ranker=recording)), None)
    for user in users:
        core.recommend(RecommendRequest(user_id=user))
    rows, took = list(recording.rows), defaultdict[str, list[float]](list)
    for user in users:
        core.recommend(RecommendRequest(user_id=user), course := Course())
        took["whole"].append((time.perf_counter() - course.began) * 1e3)
        for stage in {stage.name for stage in course.stages}:
            took[stage].append(sum(done.seconds for done in course.stages if done.name == stage) * 1e3)
    core.close()
    opened.close()
    # whoever orders the blend's candidates, bare is what its trees cost
    members: Sequence[Ranker] = getattr(bundle.ranker, "members", (bundle.ranker,))
    trees = next(member for member in members if isinstance(member, XGBoostRanker))
    return trees, rows, {stage: float(np.median(values)) for stage, values in took.items()}


@dataclasses.dataclass(frozen=True)
class Bare:
    """One way of scoring rows with nothing around it."""

    heads: Sequence[str]
    pause: float  # seconds before each request

    def cost(self, ranker: XGBoostRanker, rows: Sequence[np.ndarray]) -> float:
        """CPU milliseconds of scoring one request's rows."""
        took = 0.0
        for matrix in rows:
            time.sleep(self.pause)
            began = time.process_time()
            for head in self.heads:
                ranker.boosters[head].inplace_predict(matrix, predict_type="margin", validate_features=False)
            took += time.process_time() - began
        return took / len(rows) * 1e3


# -- bare servers, each a process of this module ----------------------------------------------------------------------


def starlette_server(port: int) -> None:
    """The core behind Starlette, nothing else."""
    import uvicorn
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    core = open_recommender(from_environment())

    async def recommend(request: Request) -> Response:
        asked = RecommendRequest.model_validate_json(await request.body())
        answer = await run_in_threadpool(core.recommend, asked)
        return Response(answer.model_dump_json().encode(), media_type="application/json")

    routes = [Route("/recommend", recommend, methods=["POST"]), Route("/readyz", lambda _: Response("ok"))]
    uvicorn.run(Starlette(routes=routes), host="127.0.0.1", port=port, log_level="error", access_log=False)


def grpc_server(port: int) -> None:
    """The core behind grpc.aio, nothing else."""
    from concurrent.futures import ThreadPoolExecutor

    core, pool = open_recommender(from_environment()), ThreadPoolExecutor(4)

    class Bare(pb_grpc.RecommenderServicer):
        async def Recommend(self, request: pb.RecommendRequest, context: Any) -> pb.RecommendResponse:
            asked = RecommendRequest(user_id=request.user_id, k=request.k)
            answer = await asyncio.get_running_loop().run_in_executor(pool, core.recommend, asked)
            fields = [item.model_dump(exclude_none=True) for item in answer.items]
            items = [pb.RecommendedItem(**{**told, "item_id": str(told["item_id"])}) for told in fields]
            return pb.RecommendResponse(**answer.model_dump(exclude={"items"}), items=items)

    async def serve() -> None:
        server = grpc.aio.server()
        pb_grpc.add_RecommenderServicer_to_server(Bare(), server)
        server.add_insecure_port(f"127.0.0.1:{port}")
        await server.start()
        await server.wait_for_termination()

    asyncio.run(serve())


@contextmanager
def bare_server(kind: str, home: Path) -> Iterator[tuple[psutil.Process, int]]:
    """One of the two above in a process of its own."""
    port = free_port()
    environment = {**os.environ, "RECSYS_HOME": str(home)}
    command = [sys.executable, "-m", "benchmarks.serving", kind, str(port)]
    process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        yield psutil.Process(process.pid), port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def cpu_seconds(process: psutil.Process) -> float:
    """User and system time of a process and all below it."""
    times = [each.cpu_times() for each in [process, *process.children(recursive=True)]]
    return sum(t.user + t.system for t in times)


def http_asker(client: httpx.Client) -> Callable[[str], None]:
    def ask(user: str) -> None:
        answer = client.post("/recommend", json={"user_id": user, "k": 10})
        assert answer.status_code == 200 and answer.json()["rung"] == "full", answer.text

    return ask


def grpc_asker(target: str) -> Callable[[str], None]:
    stub = pb_grpc.RecommenderStub(grpc.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]))

    def ask(user: str) -> None:
        answer = stub.Recommend(pb.RecommendRequest(user_id=user, k=10), timeout=60, wait_for_ready=True)
        assert answer.rung == "full"

    return ask


def main(rounds: int = 9, requests: int = 60) -> None:
    source = from_environment().home
    console = Console(width=150)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as ending:
        home = copy_of(source, Path(folder) / "home")
        settings = Settings(home=home)
        ending.callback(stop_milvus, settings)  # the core in this process starts it for the copy
        users = users_of(Lake(home))
        ranker, rows, stages = rows_of(settings, users)
        bare = {
            EVERY: Bare(list(ranker.boosters), PAUSE),
            LOOP: Bare(list(ranker.boosters), 0.0),
            TWO: Bare(["long_view", "order"], PAUSE),
        }
        with (
            running(home, RECSYS_BUDGET_MS="10000") as service,
            bare_server("starlette", home) as (starlette, http_port),
            bare_server("grpc", home) as (aio, grpc_port),
            httpx.Client(base_url=service.url, timeout=60) as ours,
            httpx.Client(base_url=f"http://127.0.0.1:{http_port}", timeout=60) as theirs,
        ):
            while True:  # until it listens
                try:
                    theirs.get("/readyz")
                    break
                except httpx.TransportError:
                    time.sleep(0.2)
            servers: dict[str, tuple[psutil.Process, Callable[[str], None]]] = {
                "this service over HTTP": (service.launcher, http_asker(ours)),
                "this service over gRPC": (service.launcher, grpc_asker(service.grpc)),
                "the core behind bare Starlette": (starlette, http_asker(theirs)),
                "the core behind bare grpc.aio": (aio, grpc_asker(f"127.0.0.1:{grpc_port}")),
            }
            taken: dict[str, list[float]] = {name: [] for name in [*servers, *bare]}
            for number in range(-1, rounds):  # the first warms all of them
                for name, (process, ask) in servers.items():
                    began = cpu_seconds(process)
                    for i in range(requests):
                        ask(users[(number * requests + i) % len(users)])
                    if number >= 0:
                        taken[name].append((cpu_seconds(process) - began) / requests * 1e3)
                for name, scoring in bare.items():
                    took = scoring.cost(ranker, [rows[(number * requests + i) % len(rows)] for i in range(requests)])
                    if number >= 0:
                        taken[name].append(took)
            tell(console, taken, ranker, rows)
            console.print(f"in process, ms: {', '.join(f'{name} {ms:.2f}' for name, ms in stages.items())}")
            half = asyncio.run(capacity(service.url, users, 10.0, CLIENTS)) / 2
            for arrivals in ("evenly spaced", "Poisson"):
                traffic = Traffic(service.url, service.grpc, users, [], grpc_share=0.0)
                asyncio.run(traffic.run(half, 0.0, SECONDS, steady=arrivals != "Poisson"))
                p50, p99 = Traffic.quantiles(traffic.answers, 50, 99)
                console.print(
                    f"at half load ({half:.0f} of {2 * half:.0f} recommends/s, {arrivals}, "
                    f"{len(traffic.answers):,} of them): p50 {p50:.1f} ms, p99 {p99:.1f} ms, "
                    f"ratio {p99 / p50:.1f}; {dict(Traffic.rungs(traffic.answers))}"
                )
    peers = Table(title="published elsewhere, on other hardware: no comparison of machines")
    for name in ("what", "took", "on"):
        peers.add_column(name)
    for row in PEERS:
        peers.add_row(*row)
    console.print(peers)
    console.print(machine())


def tell(console: Console, taken: Mapping[str, list[float]], ranker: XGBoostRanker, rows: list[np.ndarray]) -> None:
    """The table of CPU a request; ratios are of the same round."""
    of = {"of every head": EVERY, "without a pause": LOOP, "of the two heads": TWO}
    count = np.mean([len(r) for r in rows])
    table = Table(title=f"CPU of a recommend: {count:.0f} candidates, {len(ranker.feature_names)} features, k = 10")
    for name in ("", "ms, median", *of, "least of every head", "most"):
        table.add_column(name, justify="right" if name else "left")
    for name, values in taken.items():
        ratios = [np.median(np.array(values) / np.array(taken[other])) for other in of.values()]
        each = np.array(values) / np.array(taken[EVERY])
        table.add_row(name, f"{np.median(values):.2f}", *(f"{x:.2f}" for x in (*ratios, each.min(), each.max())))
    console.print(table)


if __name__ == "__main__":
    if sys.argv[1:2] == ["starlette"]:
        starlette_server(int(sys.argv[2]))
    elif sys.argv[1:2] == ["grpc"]:
        grpc_server(int(sys.argv[2]))
    else:
        main(*(int(a) for a in sys.argv[1:]))
